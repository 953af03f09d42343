"""Write clipsearch/web/static/land.svg: the world's land, in tenths of a degree.

    python scripts/make_land.py COUNTRIES.shp

The file is Natural Earth's countries at 1:110 million (https://www.naturalearthdata.com, in the
public domain), as geopandas 0.14 has them in its wheel: datasets/naturalearth_lowres.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

TARGET = Path(__file__).parent.parent / "clipsearch" / "web" / "static" / "land.svg"
_HEADER, _POLYGON = 100, 5  # bytes before the first record, and the kind of all of them

Point = tuple[int, int]


def main(file: str) -> None:
    rings = [ring for ring in _rings(Path(file).read_bytes()) if len(ring) > 3]
    path = "".join(map(_drawn, rings))
    TARGET.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1800 -900 3600 1800">'
        f'<path id="land" d="{path}"/></svg>\n',
        "utf-8",
    )
    print(f"{len(rings)} outlines, {TARGET.stat().st_size} bytes")


def _rings(content: bytes) -> Iterator[list[Point]]:
    """The outlines, in tenths of a degree to the east and to the south."""
    at = _HEADER
    while at < len(content):
        (words,) = struct.unpack_from(">i", content, at + 4)
        kind, *_, parts, points = struct.unpack_from("<i4d2i", content, at + 8)
        if kind != _POLYGON:
            sys.exit(f"a record is of kind {kind}, and no polygon")
        starts = struct.unpack_from(f"<{parts}i", content, at + 52)
        degrees = list(struct.iter_unpack("<2d", content[at + 52 + 4 * parts :][: 16 * points]))
        for first, last in zip(starts, (*starts[1:], points), strict=True):
            ring = [(round(10 * east), round(-10 * north)) for east, north in degrees[first:last]]
            yield [point for number, point in enumerate(ring) if point != ring[number - 1]]
        at += 8 + 2 * words


def _drawn(ring: list[Point]) -> str:
    """An outline as a path of SVG, each point from the one before."""
    steps = [(x - px, y - py) for (px, py), (x, y) in pairwise(ring)]
    return f"M{ring[0][0]} {ring[0][1]}l{' '.join(f'{x} {y}' for x, y in steps)}z"


if __name__ == "__main__":
    main(sys.argv[1])
