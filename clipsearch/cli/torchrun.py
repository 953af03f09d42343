"""The command line in processes that torchrun started: one of them speaks."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this process tells how far they are, and what came of it."""
    return not launched() or os.environ["RANK"] == "0"


def has_word() -> bool:
    """Whether this process may tell what ends them all: the first one that asks may, and once."""
    if not launched():
        return True
    from clipsearch.encoders.joint.world import take_word

    return take_word()
