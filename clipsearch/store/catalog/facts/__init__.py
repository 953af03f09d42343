"""What is known of photos: as columns of their rows, and what files beside them tell over it."""
