"""The file of an approximate index: a header, its centroids and its codes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAGIC = b"clipsearch ann 1"  # 16 bytes: what the file is, and the format's version
CHECKED = 56  # bytes before the checksum
HEADER_SIZE = 64
CODES_ALIGNMENT = 4096
BLOCK = 32  # rows whose codes FAISS interleaves


@dataclass(frozen=True, slots=True)
class Header:
    """What an approximate index was made of."""

    pair: bytes  # 8 random bytes of the vector file
    dim: int
    count: int  # of the vector file's first rows, a multiple of BLOCK
    last_id: int  # of the last of them
    candidates: int  # ranked by their exact rows for an answer of NEAREST


class Content(NamedTuple):
    """What a file holds."""

    header: Header
    centroids: np.ndarray  # (dim / 2, 16, 2) float32
    codes: np.ndarray  # (count / BLOCK, bytes of a block) uint8, mapped and not read


def read_file(path: Path, dim: int) -> Content | None:
    """What a file holds of rows of so many numbers; None if it is missing or damaged."""
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):  # missing, or of no bytes
        return None
    pairs = (dim + 1) // 2
    head = content[: HEADER_SIZE + pairs * 16 * 2 * 4].tobytes()
    checksum = zlib.crc32(head[:CHECKED] + head[HEADER_SIZE:])
    if not head.startswith(MAGIC) or head[CHECKED:HEADER_SIZE] != np.int64(checksum).tobytes():
        return None
    numbers = np.frombuffer(head, np.int64, 4, len(MAGIC) + 8).tolist()
    header = Header(head[len(MAGIC) : len(MAGIC) + 8], *numbers)
    centroids = np.frombuffer(head, np.float32, offset=HEADER_SIZE).reshape(pairs, 16, 2)
    codes = content[codes_start(dim) :]
    if header.dim != dim or len(codes) != header.count // BLOCK * block_size(dim):
        return None
    return Content(header, centroids, codes.reshape(-1, block_size(dim)))


def write_header(path: Path, header: Header, centroids: np.ndarray) -> None:
    """Put a header and its centroids at the beginning of a file."""
    numbers = [header.dim, header.count, header.last_id, header.candidates]
    head = MAGIC + header.pair + np.array(numbers, np.int64).tobytes()
    checksum = zlib.crc32(head + centroids.tobytes())
    with path.open("r+b") as file:
        file.write(head + np.int64(checksum).tobytes() + centroids.tobytes())


def block_size(dim: int) -> int:
    """Bytes of the codes of BLOCK rows: FAISS keeps an even number of half bytes a row."""
    return BLOCK * ((dim + 3) // 4)


def codes_start(dim: int) -> int:
    """The byte of the file at which the codes begin."""
    end = HEADER_SIZE + (dim + 1) // 2 * 16 * 2 * 4
    return -(-end // CODES_ALIGNMENT) * CODES_ALIGNMENT
