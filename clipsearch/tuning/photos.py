"""Which photos a model learns from, and which it is validated with."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.evaluation.pairs import Pairs, read_pairs, splits_of

log = logging.getLogger("clipsearch")

TRAINING = "train"
VALIDATION = ("val", "valid", "validation", "dev")  # what a table may call what is validated with
USUAL_SHARE = 0.1  # of the photos, to validate with
MOST_SHARED = 1000  # photos, at most, of that share


@dataclass(frozen=True, slots=True)
class Captioned:
    """A photo and its captions, of which there is at least one."""

    path: Path
    captions: tuple[str, ...]


class Divided(NamedTuple):
    """Photos to learn from, and others to validate with."""

    training: list[Captioned]
    validation: list[Captioned]


def divided(
    table: Path, images: Path | None, split: str | None, val: str | None, seed: int
) -> Divided:
    """The photos of a table of pairs, as `read_pairs` reads it, divided for training.

    `split` is what is learnt from, by default "train" where the table has splits. `val` is what
    is validated with: another table, another split, or a share of the photos; by default the
    table's own split for that, or a tenth.

    Raises:
        InvalidInput: a table cannot be read, or has no such split, or none of its photos is there.
    """
    there = splits_of(table)
    if split is None and there:
        if TRAINING not in there:
            raise InvalidInput(
                f"{table} has the splits {', '.join(sorted(there))}: say with {arg('split')} NAME"
                " which to learn from"
            )
        split = TRAINING
    if val is None:
        val = next((name for name in VALIDATION if name in there), str(USUAL_SHARE))
    photos = _captioned(read_pairs(table, images, split), table)
    share = _share(val)
    if share is not None:
        return _drawn(photos, share, seed)
    if Path(val).is_file():
        held = _captioned(read_pairs(val, images), Path(val))
    else:
        held = _captioned(read_pairs(table, images, val), table)
    known = {photo.path for photo in held}
    return Divided([photo for photo in photos if photo.path not in known], held)


def fingerprint(photos: Sequence[Captioned]) -> str:
    """Tells these photos and captions from any others, hex."""
    found = hashlib.sha256()
    for photo in photos:
        status = os.stat(photo.path)
        facts = (os.fspath(photo.path), photo.captions, status.st_size, status.st_mtime_ns)
        found.update(repr(facts).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def check_seen(photos: Sequence[Captioned]) -> None:
    """Raise InvalidInput where photos that another machine sees are not on this one."""
    if photos and not photos[0].path.exists():
        raise InvalidInput(
            f"{photos[0].path} is not there on {socket.gethostname()}; photos must lie at the same"
            " place on all machines"
        )


def _captioned(pairs: Pairs, table: Path) -> list[Captioned]:
    """The photos that are there, each with its captions."""
    ends = np.cumsum(np.bincount(pairs.owners, minlength=len(pairs.images))).tolist()
    starts = [0, *ends]
    photos = [
        Captioned(path.absolute(), tuple(pairs.captions[start:end]))
        for path, start, end in zip(pairs.images, starts, ends, strict=False)
        if path.is_file()
    ]
    missing = len(pairs.images) - len(photos)
    if missing:
        first = next(path for path in pairs.images if not path.is_file())
        if not photos:
            raise InvalidInput(
                f"none of the photos that {table} names is there; the first is {first}."
                f" {arg('images')} DIR says what their names are relative to"
            )
        log.warning(
            "%d of the photos in %s are not there and are left out; the first is %s",
            missing, table, first,
        )  # fmt: skip
    return photos


def _share(val: str) -> float | None:
    try:
        share = float(val)
    except ValueError:
        return None
    if not 0 <= share <= 0.9:
        raise InvalidInput(f"{arg('val')} as a share of the photos is from 0 to 0.9")
    return share


def _drawn(photos: Sequence[Captioned], share: float, seed: int) -> Divided:
    count = min(round(len(photos) * share), MOST_SHARED)
    chosen = set(np.random.default_rng(seed).permutation(len(photos))[:count].tolist())
    return Divided(
        [photo for number, photo in enumerate(photos) if number not in chosen],
        [photo for number, photo in enumerate(photos) if number in chosen],
    )
