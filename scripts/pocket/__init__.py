"""What `scripts/train_pocket.py` is made of."""
