"""The processes that torchrun started to do one thing together.

Each learns from its share of every batch. The first one, of rank 0, writes and speaks; what ends
them all is told by whichever of them asks first to have the word.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any, NoReturn, TypeVar

from clipsearch.errors import InvalidInput, arg

T = TypeVar("T")

log = logging.getLogger("clipsearch")

_EVER = timedelta(days=365)
# That one waits for what another one does alone; if that one is gone, it is seen before.
_LONG = timedelta(hours=6)
_SOON = timedelta(seconds=10)
_PATIENCE = 5  # seconds, until what a failure came of is known


def _number(name: str) -> int:
    return int(os.environ[name])


def take_word() -> bool:
    """Whether this process may tell what ends them all: the first one that asks may."""
    try:
        return bool(_store().add("word", 1) == 1)
    except RuntimeError:  # torchrun itself is gone, or the machine where the first one was
        return _number("LOCAL_RANK") == 0


def _store() -> Any:
    """What all processes can read and write, which torchrun holds."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        os.environ["MASTER_ADDR"], _number("MASTER_PORT"), timeout=_SOON, multi_tenant=True,
        is_master=not by_torchrun and _number("RANK") == 0, wait_for_workers=False,
    )  # fmt: skip
    return PrefixStore(f"clipsearch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


@dataclass(frozen=True, slots=True)
class World:
    """A process among those that it works with; by default there are no others."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of its machine
    local_size: int = 1
    _control: Any = None  # the group that facts are told in, on CPUs
    _watch: _Watch | None = None
    _held: _Held | None = None  # what is logged here and told by the first process

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of some items, in order; those of all are equal but for one item."""
        base, more = divmod(len(items), self.size)
        start = self.rank * base + min(self.rank, more)
        return items[start : start + base + (self.rank < more)]

    def told(self, fact: T) -> list[T]:
        """What each of the processes says here, by rank; all must ask."""
        if self.size == 1:
            return [fact]
        from torch import distributed

        all_told: list[Any] = [None] * self.size
        heard = self._held.taken() if self._held else []
        distributed.all_gather_object(all_told, (fact, heard), self._control)
        for _, lines in all_told if self.is_first else ():
            for level, line in lines:
                log.log(level, "%s", line)
        return [told for told, _ in all_told]

    def by_first(self, made: Callable[[], T]) -> T:
        """What a function gives in the first process, which alone calls it; all must ask."""
        if self.size == 1:
            return made()
        from torch import distributed

        box: list[Any] = [made() if self.is_first else None]
        distributed.broadcast_object_list(box, 0, self._control)
        given: T = box[0]
        return given

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Within it the first process of each machine goes before the others, all at once."""
        if self.local_rank:
            self.told(None)
        yield
        if not self.local_rank:
            self.told(None)

    @contextmanager
    def ended_by_others(self) -> Iterator[None]:
        """Around what fails where another process is gone: that is what is told then."""
        try:
            yield
        except RuntimeError:
            if self._watch:
                self._watch.thread.join(_PATIENCE)
            raise

    def leave(self) -> None:
        """Wait until all are here, and part."""
        if self._watch is None:
            return
        from torch import distributed

        self.told(None)
        self._watch.end()
        self.told(None)
        distributed.destroy_process_group()


ALONE = World()


def device_of(wanted: str) -> str:
    """The device of this process where there are several: a GPU each, or all of them the CPU.

    Raises:
        InvalidInput: there are not enough GPUs, or it is no device for this.
    """
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if wanted not in ("auto", "cuda"):
        raise InvalidInput(
            f"with torchrun {arg('device')} is auto, cpu or cuda, each process with a GPU of its"
            f" own, not {wanted}"
        )
    cards, processes = torch.cuda.device_count(), _number("LOCAL_WORLD_SIZE")
    if cards < processes:
        raise InvalidInput(
            f"{processes} processes and {cards} GPUs of NVIDIA's or AMD's on this machine: start"
            f" as many as there are GPUs, or add {arg('device')} cpu"
        )
    return f"cuda:{_number('LOCAL_RANK')}"


def joined(device: str, lost: Callable[[int], NoReturn]) -> World:
    """Meet the others that torchrun started, if there are any; `device` is of `device_of`.

    From here on `lost` is called, in a thread, with the rank of a process that is gone; it has to
    end this one.
    """
    size = _number("WORLD_SIZE")
    if size == 1:
        return ALONE
    import torch
    from torch import distributed

    rank, on_gpus = _number("RANK"), device != "cpu"
    if on_gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if on_gpus else "gloo", store=_store(), rank=rank, world_size=size
    )
    control, ring = (distributed.new_group(backend="gloo", timeout=it) for it in (_LONG, _EVER))
    return World(
        rank, size, _number("LOCAL_RANK"), _number("LOCAL_WORLD_SIZE"), control,
        _Watch(rank, size, ring, lost), _one_voice(rank),
    )  # fmt: skip


class _Watch:
    """Waits for a word of the next process, which says it at the end; each is so watched by one.

    When one is gone the one before it ends, and so they all do, whatever they wait for.
    """

    def __init__(self, rank: int, size: int, ring: Any, lost: Callable[[int], NoReturn]) -> None:
        self._before, self._next = (rank - 1) % size, (rank + 1) % size
        self._ring, self._lost = ring, lost
        self.thread = Thread(target=self._wait, name="clipsearch-watch", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Say the word, and wait for that of the next one."""
        import torch
        from torch import distributed

        distributed.send(torch.zeros(1), self._before, self._ring)
        self.thread.join()

    def _wait(self) -> None:
        import torch
        from torch import distributed

        try:
            distributed.recv(torch.zeros(1), self._next, self._ring)
        except RuntimeError:
            self._lost(self._next)


def _one_voice(rank: int) -> _Held | None:
    """Have what is logged be told by the first process, and what several say once."""
    if rank == 0:
        log.addFilter(_Once())
        return None
    log.handlers = [held := _Held(logging.WARNING)]
    return held


class _Once(logging.Filter):
    """Lets through a warning that was not told before."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be told."""
        line = record.getMessage()
        is_new = record.levelno < logging.WARNING or line not in self._told
        self._told.add(line)
        return is_new


class _Held(logging.Handler):
    """Keeps what is logged until it can be told to the first process."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        """All lines with their levels, which are forgotten here."""
        lines, self._lines = self._lines, []
        return lines
