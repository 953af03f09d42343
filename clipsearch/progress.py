"""How far work is, as it is told while it goes on."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]  # gets what is done, and the total


def untold(done: int, total: int) -> None:
    """Progress that nobody wants to be told of."""
