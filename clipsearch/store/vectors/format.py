"""The format of a model's vector files, and the header that says what they were written from.

`<model>.f16` is a 4096-byte header and then float16 rows; `<model>.ids` is a 16-byte header and
then their int64 ids, ascending.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MAGIC = b"clipsearch f16 2"  # 16 bytes: what the file is, and the format's version
BEFORE_SEALS = b"clipsearch f16 1"  # it has as many rows as ids
ROWS_START = 4096  # rows begin on a page, so that float16 loads are aligned
IDS_START = 16
# What the file is, 8 random bytes, dim, library, count, last id, stamp, passed over; its checksum.
HEADER = struct.Struct("<16s8sq16sqq8sq")
HEADER_SIZE = HEADER.size + 8


class Seal(NamedTuple):
    """What a file was written from, by which it is told whether it is a catalog's."""

    library: str = ""  # the catalog's identity; "" where nobody said
    last_id: int = 0  # all vectors up to this id were taken from it
    stamp: bytes = bytes(8)  # random bytes that only this catalog has for that id
    passed: int = 0  # how many of them are damaged there, and so are not in the file


@dataclass(frozen=True, slots=True)
class Header:
    """What stands at the beginning of a file of rows."""

    pair: bytes  # 8 random bytes that it shares with its file of ids; rewritten files have others
    dim: int
    count: int  # of rows; what is behind them is not meant
    seal: Seal

    def packed(self) -> bytes:
        """The header as it is written."""
        library, last_id, stamp, passed = self.seal
        header = HEADER.pack(
            MAGIC, self.pair, self.dim, library.encode(), self.count, last_id, stamp, passed
        )
        return header + _checksum(header)


def read_header(header: bytes, ids_size: int) -> Header | None:
    """What a header says; None where it is none, or damaged.

    `ids_size`, the bytes of the file of ids, tells the count where an older clipsearch wrote none.
    """
    if len(header) < HEADER_SIZE:
        return None
    magic, pair, dim, library, count, *seal = HEADER.unpack_from(header)
    if magic == BEFORE_SEALS:
        return Header(pair, dim, (ids_size - IDS_START) // 8, Seal())
    if magic != MAGIC or header[HEADER.size :] != _checksum(header):
        return None
    return Header(pair, dim, count, Seal(library.rstrip(b"\0").decode("ascii", "replace"), *seal))


def ids_header(pair: bytes, dim: int) -> bytes:
    """What stands at the beginning of a file of ids, IDS_START bytes."""
    return pair + np.int64(dim).tobytes()


def row_offset(row: int, dim: int) -> int:
    """The byte of the file at which a row begins."""
    return ROWS_START + row * dim * 2


def _checksum(header: bytes) -> bytes:
    return np.int64(zlib.crc32(header[: HEADER.size])).tobytes()
