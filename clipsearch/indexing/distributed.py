"""Read and embed files on the machines of a Ray cluster; the plan and the commit stay here.

    blocks of files -> [an actor: hash -> claim -> load -> embed] -> results, in any order

An actor holds one model and a few decoders. Where several files may hold the same, it asks before
it decodes whether another was given that content, so that none is embedded twice. Ray Data runs
the blocks of an actor or a machine that died again, and holds back where the results wait.
Needs the group `ray`; nothing else imports this module.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsearch.encoders import Encoder
from clipsearch.errors import ClipsearchError, ClusterError, InvalidInput
from clipsearch.indexing.loading import Limits, Loaded, Loaders, Unread, hash_file, load_ahead
from clipsearch.indexing.pipeline import USUAL_BATCH, Result, embed, path_of
from clipsearch.indexing.plan import Work
from clipsearch.photos.files.urls import is_url

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("clipsearch")

LOCAL = "local"

# A block is what is done again where a machine dies. One of several batches lets an actor decode
# while it embeds; there are not too many for Ray Data to keep in mind, nor too few to share out.
_BATCHES_A_BLOCK = 4
_MOST_BLOCKS = 20_000
_BLOCKS_AN_ACTOR = 4

_MOST_DECODERS = 16  # of one actor
_USUAL_DECODERS = 4  # of one that embeds on the CPU, which decoding shares
_PATIENCE = 5.0  # seconds that an address has to answer
_TICK = 0.5  # seconds between two looks at whether to stop
_LONG_START = 120.0  # seconds; it takes a model's loading, and free machines
_LONGEST_SILENCE = 30.0  # seconds that the head may be away; after 60 Ray gives up


class Machine(NamedTuple):
    """What a machine of the cluster has."""

    cpus: float
    gpus: float


class Share(NamedTuple):
    """What one actor gets, and how many there can be."""

    cpus: int
    gpus: float
    actors: int


@dataclass(frozen=True, slots=True)
class Job:
    """What an actor has to know."""

    encoder: Callable[[], Encoder]
    limits: Limits
    decoders: int
    batch_size: int | None  # None is what suits the encoder


@dataclass(slots=True)
class Report:
    """What became of a block."""

    machine: str
    results: dict[int, Result] = field(default_factory=dict)  # by the file's place in the plan
    # Those of whose folder nothing can be had, and why.
    unseen: dict[int, str] = field(default_factory=dict)
    fault: str | None = None  # why this machine can do none


class Cluster:
    """The machines that embed: a Ray cluster's, or this one as a cluster of its own."""

    def __init__(self, address: str, gpus: float | None = None) -> None:
        """`address` is HOST:PORT or "local"; `gpus` is how much of a GPU one actor gets.

        Raises:
            InvalidInput: neither, no share that can be given, or Ray is not installed.
        """
        if address != LOCAL and not _host_and_port(address):
            raise InvalidInput(
                f"--ray takes the address of a Ray cluster, HOST:PORT, or {LOCAL}, not {address!r}"
            )
        if gpus is not None and not (0 <= gpus <= 1 or gpus in range(2, 65)):
            raise InvalidInput(f"--ray-gpus is a part of a GPU or a number of them, not {gpus:g}")
        if not find_spec("ray") or not find_spec("pyarrow"):
            raise InvalidInput("--ray needs: pip install 'clipsearch[ray]'")
        self._address = address
        self._gpus = gpus

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Be one of the cluster's programs for a while; its actors end with it.

        Raises:
            ClusterError: nothing answers, or not to this machine with this token.
        """
        if self._address == LOCAL:
            with _token_of_its_own(), self._joined():
                yield
        else:
            _check_answer(self._address)
            with self._joined():
                yield

    @contextmanager
    def _joined(self) -> Iterator[None]:
        _set_up_environment(self._address)
        import ray

        # Even what its log is told not to show goes to stdout, where results are.
        ray._private.worker._worker_logs_enabled = False
        with _handlers_kept(), _without_stderr():
            try:
                ray.init(
                    self._address, include_dashboard=False if self._address == LOCAL else None,
                    configure_logging=False, log_to_driver=False,
                )  # fmt: skip
            except Exception as error:  # of a dozen kinds, by what is wrong
                raise ClusterError(_why_not_connected(self._address, error)) from error
        try:
            yield
        finally:
            ray.shutdown()

    def elsewhere(
        self,
        encoder: Callable[[], Encoder],
        limits: Limits,
        workers: int | None,
        batch_size: int | None,
        stopping: Callable[[], bool],
    ) -> RayData:
        """What embeds on the cluster while it is `connected`; `workers` decode for one actor."""
        import ray

        share = share_out(_machines(ray.nodes()), workers, self._gpus)
        job = Job(encoder, limits, share.cpus, batch_size)
        return RayData(job, share, stopping)


def share_out(machines: Sequence[Machine], cpus: int | None, gpus: float | None) -> Share:
    """What one actor gets of the machines: `cpus` and `gpus`, or what suits them.

    Raises:
        ClusterError: no machine has that much.
    """
    if gpus is None:
        gpus = 1.0 if any(machine.gpus >= 1 for machine in machines) else 0.0
    fit = [machine for machine in machines if machine.gpus >= gpus and machine.cpus >= 1]
    if not fit:
        wanted = f"{gpus:g} GPUs" if gpus else "a CPU"
        raise ClusterError(
            f"no machine of the Ray cluster has {wanted} to give; see: ray status\nTo embed on"
            " CPUs: --ray-gpus 0"
        )
    if cpus is None:
        # Each machine's GPUs are to be fed by its CPUs.
        smallest = min(m.cpus * gpus / m.gpus if gpus else m.cpus for m in fit)
        cpus = max(1, min(int(smallest), _MOST_DECODERS if gpus else _USUAL_DECODERS))
    actors = sum(_room(machine, cpus, gpus) for machine in fit)
    if not actors:
        raise ClusterError(
            f"no machine of the Ray cluster has {cpus} CPUs; take less with --workers"
        )
    return Share(cpus, gpus, actors)


def _room(machine: Machine, cpus: int, gpus: float) -> int:
    by_cpus = int(machine.cpus // cpus)
    return min(by_cpus, int(machine.gpus / gpus + 1e-6)) if gpus else by_cpus


def _machines(nodes: Sequence[dict[str, Any]]) -> list[Machine]:
    found = [node["Resources"] for node in nodes if node["Alive"]]
    return [Machine(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in found]


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
                        raise ClusterError(_why_failed(report)) from report
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
            fn_constructor_args=(self._job, _start_claims(embedded)),
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
        if is_url(path) and _fault_of(os.path.dirname(path)) is None:
            raise ClusterError(
                f"the machine {report.machine} cannot read {work[key].root.path}, which this one"
                f" can: {fault}\nEach machine reads by itself: give it the same groups and"
                " credentials, for the user that Ray runs as, and run again"
            )
        if os.path.exists(path):
            raise ClusterError(
                f"the machine {report.machine} does not see {os.path.dirname(path)}, which is here;"
                "\nmount it there at the same place, for the user that Ray runs as, and run again"
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
        if now - self._asked < _PATIENCE:
            return
        self._asked = now
        try:
            socket.create_connection(_host_and_port(self._address) or ("", 0), _PATIENCE).close()
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
        drawing.join(_PATIENCE)  # it may wait for a block, and ends with the connection


# What runs on the machines of the cluster


class Claims:
    """Which file each content is embedded from: the first that asks. One for all actors."""

    def __init__(self, embedded: set[str]) -> None:
        self._embedded = embedded
        self._owners: dict[str, int] = {}

    def claim(self, contents: dict[int, str]) -> set[int]:
        """The files, by key, that are to be embedded; a block that runs again gets the same."""
        return {
            key
            for key, digest in contents.items()
            if digest not in self._embedded and self._owners.setdefault(digest, key) == key
        }


def _start_claims(embedded: set[str]) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()  # where it can die only with the driver
    place = NodeAffinitySchedulingStrategy(here, soft=False)
    actor = ray.remote(Claims).options(num_cpus=0, scheduling_strategy=place)
    return actor.remote(embedded)


class Embedder:
    """An actor: one model and its decoders, for one block after the other."""

    def __init__(self, job: Job, claims: Any) -> None:
        self._claims = claims
        self._machine = _name_of_this_machine()
        self._fault: str | None = None
        self._loaders = Loaders(job.decoders, True, job.limits)
        self._hashers = ThreadPoolExecutor(job.decoders, "clipsearch-hash")
        try:
            self._encoder = job.encoder()
            self._batch_size = job.batch_size or self._encoder.batch_size
        except ClipsearchError as error:  # told as a result, since Ray would only try again
            self._fault = str(error)

    def __call__(self, block: pa.Table) -> dict[str, list[bytes]]:
        """The block's `Report`, pickled, as a batch of one."""
        report = Report(self._machine, fault=self._fault)
        if not self._fault:
            keys, paths = block["key"].to_pylist(), map(os.fsdecode, block["path"].to_pylist())
            files = dict(zip(keys, paths, strict=True))
            shared = [
                key for key, has in zip(keys, block["is_shared"].to_pylist(), strict=True) if has
            ]
            report.results = self._copies(files, shared)
            report.results |= self._embedded(
                {key: path for key, path in files.items() if key not in report.results}
            )
            report.unseen = _unseen(report.results, files)
        return {"report": [pickle.dumps(report)]}

    def _copies(self, files: dict[int, str], shared: list[int]) -> dict[int, Result]:
        """What came of those files that are not to be embedded, for they hold what others do."""
        import ray

        if not shared:
            return {}
        results = self._hashers.map(hash_file, [files[key] for key in shared])
        hashed = dict(zip(shared, results, strict=True))
        contents = {key: it.digest for key, it in hashed.items() if isinstance(it, Loaded)}
        claimed = ray.get(self._claims.claim.remote(contents))
        return {key: it for key, it in hashed.items() if key not in claimed}

    def _embedded(self, files: dict[int, str]) -> dict[int, Result]:
        results: dict[int, Result] = {}
        batch: dict[int, Loaded] = {}
        size = self._batch_size
        for key, loaded in load_ahead(files, self._encoder.prepare, self._loaders, 2 * size):
            if isinstance(loaded, Unread):
                results[key] = loaded
            else:
                batch[key] = loaded
            if len(batch) == size:
                results |= self._embed(batch)
                batch = {}
        return results | self._embed(batch)

    def _embed(self, batch: dict[int, Loaded]) -> dict[int, Result]:
        if not batch:
            return {}
        views = [loaded.views for loaded in batch.values() if loaded.views is not None]
        rows = embed(self._encoder, views)
        return {
            key: replace(loaded, views=None, embedding=row)
            for (key, loaded), row in zip(batch.items(), rows, strict=True)
        }


def _unseen(results: dict[int, Result], files: dict[int, str]) -> dict[int, str]:
    """Those files that cannot be had and nothing else of their folder either."""
    unread = [key for key, it in results.items() if isinstance(it, Unread) and not it.lasting]
    fault_of = cache(_fault_of)  # of many files of a folder, which takes requests at a URL
    faults = {key: fault_of(os.path.dirname(files[key])) for key in unread}
    return {key: fault for key, fault in faults.items() if fault is not None}


def _fault_of(folder: str) -> str | None:
    """Why nothing of a folder can be had here, None if something can."""
    if is_url(folder):
        from clipsearch.photos.files.remote import fault_of

        return fault_of(folder)
    try:
        with os.scandir(folder) as inside:
            return None if next(inside, None) else "it is empty"
    except OSError as error:
        return error.strerror or str(error)


def _name_of_this_machine() -> str:
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


# Connecting


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        return None
    return host.strip("[]"), int(port)


def _set_up_environment(address: str) -> None:
    """Settings that Ray reads when it is imported, and hands down to what it starts."""
    # Its ports are open to the network; without the token anyone could run programs here.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it tells its makers of each run
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is raised, or done again
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # or a late call starts another cluster
    if address != LOCAL:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # for it is known to answer


@contextmanager
def _token_of_its_own() -> Iterator[None]:
    """A token for a cluster of this machine alone, unless there is one; gone again afterwards."""
    if "RAY_AUTH_TOKEN" in os.environ:
        yield
        return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN"]


def _check_answer(address: str) -> None:
    """Ray itself waits for minutes.

    Raises:
        ClusterError: nothing answers there.
    """
    try:
        socket.create_connection(_host_and_port(address) or ("", 0), _PATIENCE).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error.strerror or error})\nStart one there: ray"
            " start --head, or name the right HOST:PORT"
        ) from error


def _quieten() -> None:
    """Leave stderr to this program; Ray keeps its own files of what happens."""
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's core, which is no Python, writes there what it makes of its settings."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes over signals, which the caller may have a use for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _why_not_connected(address: str, error: Exception) -> str:
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    if any("AuthenticationError" in f"{type(cause)} {cause}" for cause in causes):
        return (
            f"the Ray cluster at {address} does not accept the token of this machine\nBring the"
            " cluster's, which ~/.ray/auth_token of its first machine holds, to the same place here"
        )
    return (
        f"the Ray cluster at {address} cannot be used: {_lines(causes[-1])[0]}\nThis machine must"
        f" be one of its own: ray start --address {address}"
    )


def _why_failed(error: Exception) -> str:
    # With what an actor raised come where it was and all that called it.
    lines = _lines(error)
    where = re.search(r"\bip=([\w.:]+)", "\n".join(lines))
    machine = f" on the machine {where[1]}" if where else ""
    advice = (
        "\nInstall clipsearch with the same groups on all of them, for the Python that runs Ray"
        if "No module named" in lines[-1]
        else ""
    )
    return f"the Ray cluster failed{machine}: {lines[-1]}{advice}"


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
