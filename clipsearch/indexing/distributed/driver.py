"""What a run does while a cluster embeds for it: share out the blocks, and wait for results."""

from __future__ import annotations

import logging
import math
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

from clipsearch.errors import ClusterError
from clipsearch.indexing.distributed.actor import Claims, Embedder, Job, Report, fault_of
from clipsearch.indexing.distributed.connecting import PATIENCE, host_and_port
from clipsearch.indexing.distributed.faults import why_failed
from clipsearch.indexing.distributed.shares import Share
from clipsearch.indexing.pipeline import USUAL_BATCH, Result, path_of
from clipsearch.indexing.plan import Work
from clipsearch.photos.files.urls import is_url

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("clipsearch")

# A block is what is done again where a machine dies. One of several batches lets an actor decode
# while it embeds; there are not too many for Ray Data to keep in mind, nor too few to share out.
_BATCHES_A_BLOCK = 4
_MOST_BLOCKS = 20_000
_BLOCKS_AN_ACTOR = 4

_TICK = 0.5  # seconds between two looks at whether to stop
_LONG_START = 120.0  # seconds; it takes a model's loading, and free machines
_LONGEST_SILENCE = 30.0  # seconds that the head may be away; after 60 Ray gives up


class RayData:
    """Embeds by Ray Data; see `Elsewhere`."""

    def __init__(self, job: Job, share: Share, stopping: Callable[[], bool]) -> None:
        self._job = job
        self._share = share
        self._stopping = stopping

    def results(
        self, work: Sequence[Work], shared: set[int], embedded: set[str]
    ) -> Iterator[tuple[Work, Result]]:
        """What came of each file, in any order; fewer than all once `stopping` says so.

        Raises:
            ClusterError: the cluster fails, or a machine cannot do its part.
        """
        left = set(range(len(work)))  # a block that was done twice counts once
        head = _Head()
        silent_until: float | None = time.monotonic() + _LONG_START
        with _streamed(self._reports(work, shared, embedded)) as reports:
            while left and not self._stopping():
                head.check()
                if silent_until and time.monotonic() > silent_until:
                    silent_until = None
                    log.warning("no machine has done anything yet; see what they do: ray status")
                with suppress(Empty):
                    report = reports.get(timeout=_TICK)
                    silent_until = None
                    if isinstance(report, Exception):
                        raise ClusterError(why_failed(report)) from report
                    _check(report, work)
                    for key in left.intersection(report.results):
                        left.remove(key)
                        yield work[key], report.results[key]

    def _reports(
        self, work: Sequence[Work], shared: set[int], embedded: set[str]
    ) -> Iterator[Report]:
        import ray
        from ray.data import ActorPoolStrategy

        _quieten()
        size = self._files_a_block(len(work))
        blocks = [_block(work, start, size, shared) for start in range(0, len(work), size)]
        dataset = ray.data.from_arrow(blocks).map_batches(
            Embedder,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            fn_constructor_args=(self._job, self._share.cpus, _start_claims(embedded)),
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus or None,
            # From as many as there is room for to all that machines which join have; what waits
            # with an actor that died waits for its return.
            compute=ActorPoolStrategy(
                min_size=1, initial_size=min(self._share.actors, len(blocks)),
                max_tasks_in_flight_per_actor=2,
            ),
        )  # fmt: skip
        for batch in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            for report in batch["report"]:
                yield pickle.loads(report.as_py())

    def _files_a_block(self, files: int) -> int:
        batch = self._job.batch_size or USUAL_BATCH
        even = math.ceil(files / (_BLOCKS_AN_ACTOR * self._share.actors))
        return max(min(max(even, batch), _BATCHES_A_BLOCK * batch), math.ceil(files / _MOST_BLOCKS))


def _block(work: Sequence[Work], start: int, size: int, shared: set[int]) -> pa.Table:
    import pyarrow as pa

    some = work[start : start + size]
    return pa.table(
        {
            "key": pa.array(range(start, start + len(some)), pa.int64()),
            "path": pa.array([os.fsencode(path_of(item)) for item in some], pa.binary()),
            "is_shared": pa.array([item.found.size in shared for item in some], pa.bool_()),
        }
    )


def _check(report: Report, work: Sequence[Work]) -> None:
    """Refuse what a machine did that cannot do its part."""
    if report.fault:
        raise ClusterError(f"the machine {report.machine} cannot embed: {report.fault}")
    for key, fault in report.unseen.items():
        path = path_of(work[key])
        if is_url(path) and fault_of(os.path.dirname(path)) is None:
            raise ClusterError(
                f"the machine {report.machine} cannot read {work[key].root.path}, which this one"
                f" can: {fault}\nEach machine reads by itself: give it the same groups and"
                " credentials, for the user that Ray runs as, and run again"
            )
        if os.path.exists(path):
            raise ClusterError(
                f"the machine {report.machine} does not see {os.path.dirname(path)}, which is here;"
                " mount it there at the same place, for the user that Ray runs as, and run again"
            )


class _Head:
    """The cluster's first machine, without which Ray ends this process a minute later."""

    def __init__(self) -> None:
        import ray

        self._address = ray.get_runtime_context().gcs_address
        self._answered = self._asked = time.monotonic()

    def check(self) -> None:
        """Ask now and then whether it is there.

        Raises:
            ClusterError: it was not for half a minute.
        """
        now = time.monotonic()
        if now - self._asked < PATIENCE:
            return
        self._asked = now
        try:
            socket.create_connection(host_and_port(self._address) or ("", 0), PATIENCE).close()
            self._answered = now
        except OSError as error:
            if now - self._answered > _LONGEST_SILENCE:
                raise ClusterError(
                    f"the head of the Ray cluster at {self._address} no longer answers; what is"
                    " committed is kept\nStart the cluster again, and run the same command"
                ) from error


@contextmanager
def _streamed(reports: Iterator[Report]) -> Iterator[Queue[Report | Exception]]:
    """Draw the reports in a thread, a few ahead, so that waiting for one can be ended."""
    queue: Queue[Report | Exception] = Queue(2)
    ended = threading.Event()

    def put(item: Report | Exception) -> None:
        while not ended.is_set():
            with suppress(Full):
                queue.put(item, timeout=_TICK)
                return

    def draw() -> None:
        try:
            for report in reports:
                put(report)
                if ended.is_set():
                    return
            put(RuntimeError("Ray Data ended before all was done"))
        except Exception as error:  # whatever it is, it is raised where it is waited for
            put(error)

    drawing = threading.Thread(target=draw, name="clipsearch-ray", daemon=True)
    drawing.start()
    try:
        yield queue
    finally:
        ended.set()
        drawing.join(PATIENCE)  # it may wait for a block, and ends with the connection


def _quieten() -> None:
    """Leave stderr to this program; Ray keeps its own files of what happens."""
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _start_claims(embedded: set[str]) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()  # where it can die only with the driver
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    actor = ray.remote(Claims).options(num_cpus=0, scheduling_strategy=strategy)
    return actor.remote(embedded)
