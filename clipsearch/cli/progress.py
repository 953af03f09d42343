"""Bars for work that counts what it has done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipsearch.cli.torchrun import is_first

if TYPE_CHECKING:
    from clipsearch.progress import Progress


@contextmanager
def counting(what: str) -> Iterator[Progress | None]:
    """What takes (done, total) and draws it with the time left; None if stderr is no terminal.

    The bar appears with the first count, since often there is nothing to do.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@contextmanager
def progress(
    first: str = "looking, and loading the model", then: str = "indexing"
) -> Iterator[Callable[..., None] | None]:
    """Draw a bar with rate and time left, if stderr is a terminal.

    What it gives takes what is done, the total, or 0 where that is not known, and, where that is
    not `then`, what is being done. Until it is told of that again, what is not begun is `first`.
    """
    if not (sys.stderr.isatty() and is_first()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    rate = TextColumn("{task.fields[rate]}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeLeft(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first, total=None, rate="")
        is_told = False

        def show(done: int, total: int, what: str = then) -> None:
            nonlocal is_told
            if what == then and not done and not is_told:
                what = first
            is_told = True
            if what != bar.tasks[0].description:  # other work, with a rate of its own
                bar.reset(task, description=what)
            speed = bar.tasks[0].speed
            bar.update(
                task, completed=done, total=total or None, rate=f"{speed:.1f}/s" if speed else ""
            )

        yield show
