"""A model's vectors: in files of the index folder that FAISS searches, and wherever else."""
