"""A model's vectors: what a search needs of them (store.py), and the files that FAISS searches.

A vector file (file.py) has its format, maps and search in modules of their own, may have an
approximate index beside it (approximate/), and is brought up to the catalog (sync.py). Rows are
float16 vectors; a position is where a row stands in a file, an id what the catalog calls it.
"""
