"""What filters ask of photos, as columns: arrays over all photos, which NumPy compares at once.

Derived from `photos` and `vectors`, and kept in the catalog itself, in blocks of ids that follow
each other (blocks.py). Triggers take out a block in the transaction that changes one of its photos,
whoever writes: what is there is right, also in a copy and after a crash. What is missing is made
again when it is asked for, or SQL is asked. `photos` has the arrays, and `masks` the conditions on
them, which mean what `selection` says in SQL.
"""
