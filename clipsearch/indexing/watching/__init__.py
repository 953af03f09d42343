"""Folders followed for as long as one likes: what happens in them, and when to look again."""
