"""The catalog's SQLite file: its schema, and how it is made, opened, read, copied and damaged.

What it says of photos is asked and written by `clipsearch.store.catalog`; nothing else knows SQL.
"""

from clipsearch.store.database.file import (
    APPLICATION_ID,
    FILE_NAME,
    FORBIDDEN,
    SCHEMA_VERSION,
    Origin,
    check_not_emptied,
)
from clipsearch.store.database.paths import mounted_at

__all__ = [
    "APPLICATION_ID",
    "FILE_NAME",
    "FORBIDDEN",
    "SCHEMA_VERSION",
    "Origin",
    "check_not_emptied",
    "mounted_at",
]
