"""Fine-tuning: a model taught by pictures and their captions. Knows no index."""
