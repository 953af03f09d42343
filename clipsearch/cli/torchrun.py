"""The command line in processes that torchrun started: one of them speaks."""

from __future__ import annotations

import os

from clipsearch.errors import InvalidInput

TOGETHER = "finetune"  # the command that several processes do together


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def check_together(command: str) -> None:
    """Raise InvalidInput where several processes were started for what one does alone."""
    if launched() and command != TOGETHER and int(os.environ["WORLD_SIZE"]) > 1:
        raise InvalidInput(
            f"torchrun starts several processes, which only clipsearch {TOGETHER} does its work"
            f" in; start clipsearch {command} without it"
        )


def is_first() -> bool:
    """Whether this process tells how far they are, and what came of it."""
    return not launched() or os.environ["RANK"] == "0"


def has_word() -> bool:
    """Whether this process may tell what ends them all: the first one that asks may, and once."""
    if not launched():
        return True
    from clipsearch.encoders.joint.world import take_word

    return take_word()
