"""A model's vectors in Milvus, on machines of their own.

The store (store.py) asks and tells a collection (collection.py), which has a client at an address;
what it keeps of a photo is in entities.py, and what filters it in expressions.py.
"""
