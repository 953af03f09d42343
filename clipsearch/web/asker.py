"""Questions of many clients at once: those that wait are embedded and searched together."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections import deque
from dataclasses import dataclass
from itertools import groupby

from prometheus_client import Histogram

from clipsearch.errors import ClipsearchError, InvalidInput
from clipsearch.search.answers import Answer, Question
from clipsearch.web.libraries import Libraries

log = logging.getLogger("clipsearch")

MOST_TOGETHER = 32  # more gain nothing, and the first would wait for the last
MOST_WAITING = 500
PATIENCE = 15.0  # seconds that a question waits: for the model while it loads, or for its turn
# Clients that were answered together ask again nearly together.
_GATHERING = 0.002  # seconds


class Busy(Exception):
    """A question that could not be answered in time; the next try may go well."""


@dataclass(eq=False, slots=True)
class _Waiting:
    question: Question
    model: str | None
    answer: asyncio.Future[Answer]


class Asker:
    """Threads that answer questions, as many as there are cores.

    Words take one thread of the model each time, so that several cores answer several clients.
    """

    def __init__(self, libraries: Libraries, batches: Histogram) -> None:
        self.problem: str | None = None  # why the model cannot be used
        self._libraries = libraries
        self._batches = batches
        self._waiting: deque[_Waiting] = deque()
        self._running = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._must_load = True
        self._loop: asyncio.AbstractEventLoop | None = None
        count = os.cpu_count() or 1
        self._threads = [
            threading.Thread(target=self._work, name=f"clipsearch-ask-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin to load the model and to answer; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the threads end after what they are doing."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE)

    def load(self) -> None:
        """Load the model of an index that has another one by now."""
        with self._changed:
            self._must_load = True
            self._changed.notify()

    async def ask(self, question: Question, model: str | None) -> Answer:
        """The answer to a question.

        Raises:
            Busy: the model is being loaded, or too many ask.
            ClipsearchError: what the library raises.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise Busy("too many questions at once")
            self._waiting.append(_Waiting(question, model, future))
            self._changed.notify()
        try:
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            raise Busy("the model is still being loaded, or busy with other questions") from None

    def _work(self) -> None:
        last = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._must_load or self._stopping)
                if self._stopping:
                    return
                load, self._must_load = self._must_load, False
                batch = [] if load else self._taken(last)
            if load:
                self._load()
            elif batch:
                last = len(batch)
                self._answer(batch)
                with self._changed:
                    self._running -= len(batch)

    def _taken(self, expected: int) -> list[_Waiting]:
        """This thread's share of the questions, so that the others have work too.

        Where several are expected, they are waited for, but not for long.
        """
        if expected > 1:
            self._changed.wait_for(lambda: len(self._waiting) >= expected, _GATHERING)
        share = math.ceil((len(self._waiting) + self._running) / len(self._threads))
        count = min(share, len(self._waiting), MOST_TOGETHER)
        self._running += count
        return [self._waiting.popleft() for _ in range(count)]

    def _load(self) -> None:
        try:
            with self._libraries.lent() as library:
                library.load()
            self.problem = None
        except ClipsearchError as error:
            if str(error) != self.problem:
                log.warning("%s", error)
            self.problem = str(error)

    def _answer(self, batch: list[_Waiting]) -> None:
        batch = [it for it in batch if not it.answer.done()]  # the others have hung up
        self._batches.observe(len(batch))
        done: list[tuple[_Waiting, Answer | Exception]] = []
        for model, group in groupby(sorted(batch, key=_model), _model):
            done += self._answers(list(group), model or None)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_deliver, done)

    def _answers(
        self, batch: list[_Waiting], model: str | None
    ) -> list[tuple[_Waiting, Answer | Exception]]:
        try:
            with self._libraries.lent() as library:
                answers = library.answer([it.question for it in batch], model)
            return list(zip(batch, answers, strict=True))
        except Exception as error:  # whatever it is, who asked must hear of it
            is_of_all = isinstance(error, ClipsearchError) and not isinstance(error, InvalidInput)
            if is_of_all or len(batch) == 1:
                return [(it, error) for it in batch]
        # One of them is at fault, and the others are not to pay for it.
        return [answer for it in batch for answer in self._answers([it], model)]


def _model(waiting: _Waiting) -> str:
    return waiting.model or ""


def _deliver(done: list[tuple[_Waiting, Answer | Exception]]) -> None:
    for waiting, answer in done:
        if waiting.answer.done():
            continue
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
