"""Which photos are duplicates, of three kinds."""
