"""FAISS, imported when it is first needed, and threads that call it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any


def import_faiss() -> Any:
    """The module `faiss`."""
    # Imported late, since it takes a quarter of a second; its type stubs lack what is used here.
    import faiss

    return faiss


def threads(count: int) -> ThreadPoolExecutor:
    """Threads in which FAISS starts no threads of its own, since they would wait for each other."""
    one = import_faiss().omp_set_num_threads
    return ThreadPoolExecutor(count, initializer=one, initargs=(1,))
