"""The tiny encoder, as a family of models whose work on a cluster can be staged.

Where STAGED names a folder, the encoder on the machine named "second" (by MACHINE) writes the file
`stuck` there in the middle of its second block and never goes on. On the others it begins when
that file is there, so that both have work when one of them dies; and with the file `slow` there,
it takes its time. With the file `unloadable` it cannot be loaded on any of them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from tiny import TinyEncoder

from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError

DEADLINE = 300.0  # seconds; only a failing test waits so long


class StagedEncoder(TinyEncoder):
    batch_size = 8

    def __init__(self, stage: Path, is_second: bool) -> None:
        self._stage = stage
        self._is_second = is_second
        self._calls = 0

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        self._calls += 1
        if self._is_second and self._calls == 6:
            (self._stage / "stuck").touch()
            wait_for(self._stage / "never")
        elif not self._is_second and (self._stage / "two").exists():
            wait_for(self._stage / "stuck")
        if (self._stage / "slow").exists():
            time.sleep(0.2)
        return super().encode_images(batch)


def wait_for(file: Path) -> None:
    end = time.monotonic() + DEADLINE
    while not file.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"no {file.name} in {DEADLINE} seconds")
        time.sleep(0.05)


def load(spec: Spec, device: str, precision: str) -> TinyEncoder:
    """As a family of models (see docs/models.md): `staged:a/b`."""
    if "STAGED" not in os.environ:
        return TinyEncoder()
    stage, machine = Path(os.environ["STAGED"]), os.environ.get("MACHINE")
    if machine and (stage / "unloadable").exists():
        raise ModelError("its weights are not here")
    return StagedEncoder(stage, machine == "second")
