"""The tiny encoder, as a family of models that never come to an end with something.

`stuck:a/load`, `stuck:a/images`, `stuck:a/texts` and `stuck:a/view`: which it is. Before it is
stuck it makes the file that STUCK names. `stuck:a/slow` is loaded once there is a file `pressed`
beside that. `stuck:a/deaf` is as `images`, and lets no other thread
run for some seconds before; `stuck:a/asleep` is stuck with texts where handlers of signals run,
and has a thread that is too.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tiny import TinyEncoder

from clipsearch.encoders.spec import Spec
from clipsearch.photos.decoding.view import View


def stick() -> None:
    """Go on for ever in a library's code, where no handler of a signal is run."""
    Path(os.environ["STUCK"]).touch()
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)


class Stuck(View):
    """Stands for a decoder that waits for ever."""

    def __call__(self, image: object) -> np.ndarray:  # type: ignore[override]
        Path(os.environ["STUCK"]).touch()
        while True:
            signal.pause()


class StuckEncoder(TinyEncoder):
    def __init__(self, where: str) -> None:
        self._where = where
        if where == "view":
            self.prepare = Stuck(16, "squash")

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        if self._where == "deaf":
            Path(os.environ["STUCK"]).touch()
            sum(range(200_000_000))
        if self._where in ("images", "deaf"):
            stick()
        return super().encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if self._where == "texts":
            stick()
        if self._where == "asleep":
            Path(os.environ["STUCK"]).touch()
            threading.Thread(target=time.sleep, args=[1e6]).start()
            time.sleep(1e6)
        return super().encode_texts(texts)


def load(spec: Spec, device: str, precision: str) -> TinyEncoder:
    """As a family of models (see docs/models.md)."""
    where = spec.hub.rpartition("/")[2]
    if where == "load":
        stick()
    if where == "slow":
        begun = Path(os.environ["STUCK"])
        begun.touch()
        while not begun.with_name("pressed").exists():
            time.sleep(0.02)
    return StuckEncoder(where)
