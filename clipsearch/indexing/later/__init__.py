"""What is made of photos when it is asked for: captions, the text in them, hashes."""
