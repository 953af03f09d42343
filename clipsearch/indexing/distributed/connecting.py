"""Be one of a cluster's programs: its address and token, and what Ray must not take over."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from clipsearch.errors import ClusterError
from clipsearch.indexing.distributed.faults import why_not_connected

LOCAL = "local"
PATIENCE = 5.0  # seconds that an address has to answer


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be one of a cluster's programs for a while; its actors end with it.

    Raises:
        ClusterError: nothing answers, or not to this machine with this token.
    """
    if address == LOCAL:
        with _token_of_its_own(), _joined(address):
            yield
    else:
        _check_answer(address)
        with _joined(address):
            yield


@contextmanager
def _joined(address: str) -> Iterator[None]:
    _set_up_environment(address)
    import ray

    # Even what its log is told not to show goes to stdout, where results are.
    ray._private.worker._worker_logs_enabled = False
    with _handlers_kept(), _without_stderr():
        try:
            ray.init(
                address, include_dashboard=False if address == LOCAL else None,
                configure_logging=False, log_to_driver=False,
            )  # fmt: skip
        except Exception as error:  # of a dozen kinds, by what is wrong
            raise ClusterError(why_not_connected(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def host_and_port(address: str) -> tuple[str, int] | None:
    """The two that HOST:PORT names; None for what does not."""
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
        socket.create_connection(host_and_port(address) or ("", 0), PATIENCE).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error.strerror or error})\nStart one there: ray"
            " start --head, or name the right HOST:PORT"
        ) from error


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
