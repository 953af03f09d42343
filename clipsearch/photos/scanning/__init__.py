"""Which files below a folder are photos."""
