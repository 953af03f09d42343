"""What is kept: the catalog (SQLite, the truth) and the vectors (FAISS, derived)."""
