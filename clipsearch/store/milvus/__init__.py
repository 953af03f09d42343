"""A model's vectors in Milvus, on machines of their own."""
