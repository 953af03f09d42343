"""What the towers make of photos and texts, kept in files, from which a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from clipsearch.encoders.pocket.encoder import PocketEncoder
from clipsearch.encoders.pocket.features import Photos, Texts, read
from clipsearch.encoders.pocket.heads import CLASSES, GRID, POOLED, TOKEN_WIDTH

PHOTOS_AT_A_TIME = 16  # more would leave the processor's cache
TEXTS_AT_A_TIME = 2000
KEPT_EVERY = 25  # batches of photos

View = Callable[[], np.ndarray]


def key_of(*parts: object) -> str:
    """A name for a file that is made of these: other parts, another name."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


@torch.inference_mode()
def see(encoder: PocketEncoder, views: Sequence[View], folder: Path, key: str) -> Photos:
    """Views, (260, 260, 3) uint8 each, through the image tower; mapped from files in `folder`.

    `key` is of what the views show.
    """
    shapes = {"maps": (GRID * GRID, TOKEN_WIDTH), "pooled": (POOLED,), "logits": (CLASSES,)}
    files = {
        part: _open(folder / f"{key}-{part}.npy", (len(views), *shapes[part])) for part in shapes
    }
    count = folder / f"{key}.count"
    done = int(count.read_text()) if count.exists() else 0
    told = _Told("photos", len(views), done)
    while done < len(views):
        for _ in range(KEPT_EVERY):
            if some := views[done : done + PHOTOS_AT_A_TIME]:
                seen = encoder.see(np.stack([view() for view in some]))
                for file, part in zip(files.values(), seen, strict=True):
                    file[done : done + len(some)] = part.numpy()
                done += len(some)
        for file in files.values():
            file.flush()
        _write(count, str(done))
        told.tell(done)
    return Photos(*(torch.from_numpy(file) for file in files.values()))


def read_kept(encoder: PocketEncoder, texts: Sequence[str], folder: Path) -> Texts:
    """Texts through the text tower, so many at a time, each lot kept in a file."""
    told = _Told("texts", len(texts), 0)
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        some = texts[start : start + TEXTS_AT_A_TIME]
        path = folder / f"{key_of(some)}-texts.pt"
        if not path.exists():
            torch.save(read(encoder, some), path.with_suffix(".part"))
            os.replace(path.with_suffix(".part"), path)
            told.tell(start + len(some))
        parts.append(torch.load(path, weights_only=True))
    lengths = torch.cat([starts.diff() for _, starts in parts])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return Texts(torch.cat([words for words, _ in parts]), starts)


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.float16 if path.stem.endswith("maps") else np.float32
    if path.exists():
        return np.lib.format.open_memmap(path, "r+")
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def _write(path: Path, text: str) -> None:
    path.with_suffix(".part").write_text(text)
    os.replace(path.with_suffix(".part"), path)


class _Told:
    """Says how far it is, how fast it goes and how long it takes."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._first = what, total, done
        self._began = time.monotonic()

    def tell(self, done: int) -> None:
        rate = (done - self._first) / (time.monotonic() - self._began)
        left = (self._total - done) / rate / 60
        print(
            f"{done:,} of {self._total:,} {self._what}, {rate:.0f} a second, {left:.0f} min left",
            file=sys.stderr,
        )
