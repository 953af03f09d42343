"""Which rows are embeddings: all numbers finite, and of unit length.

Anything else is what a model gave by mistake, or damage. One such row among a million spoils what
is worked out of all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from clipsearch.encoders.rows import are_units

_ROWS_AT_A_TIME = 4096


def unit_rows(blobs: Sequence[bytes], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of float16 rows that are embeddings, (m, dim), and which they are, (n,) bool."""
    whole = [len(blob) == 2 * dim for blob in blobs]
    nothing = bytes(2 * dim)
    content = b"".join(blob if good else nothing for blob, good in zip(blobs, whole, strict=True))
    rows = np.frombuffer(content, np.float16).reshape(-1, dim)
    good = are_units(rows)
    return (rows if good.all() else rows[good]), good


def remove_others(db: sqlite3.Connection, model_id: int, dim: int) -> int:
    """Delete a model's vectors that are no embeddings; gives how many there were.

    Their photos then have none, and are embedded again.
    """
    last = removed = 0
    while True:
        found = db.execute(
            "SELECT id, vector FROM vectors WHERE model_id = ? AND id > ? ORDER BY id LIMIT ?",
            (model_id, last, _ROWS_AT_A_TIME),
        ).fetchall()
        if not found:
            break
        last = found[-1][0]
        _, good = unit_rows([blob for _, blob in found], dim)
        bad = [(id,) for (id, _), is_good in zip(found, good, strict=True) if not is_good]
        db.executemany("DELETE FROM vectors WHERE id = ?", bad)
        removed += len(bad)
    return removed
