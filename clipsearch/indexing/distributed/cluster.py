"""The machines that embed, as a run is given them: which, connected, and with how much of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec

from clipsearch.errors import InvalidInput, arg
from clipsearch.indexing.distributed.actor import Job
from clipsearch.indexing.distributed.connecting import LOCAL, connected, host_and_port
from clipsearch.indexing.distributed.driver import RayData
from clipsearch.indexing.distributed.shares import machines_of, share_out


class Cluster:
    """The machines that embed: a Ray cluster's, or this one as a cluster of its own."""

    def __init__(self, address: str, gpus: float | None = None) -> None:
        """`address` is HOST:PORT or "local"; `gpus` is how much of a GPU one actor gets.

        Raises:
            InvalidInput: neither, no share that can be given, or Ray is not installed.
        """
        if address != LOCAL and not host_and_port(address):
            raise InvalidInput(
                f"{arg('ray')} takes the address of a Ray cluster, HOST:PORT, or {LOCAL}, not"
                f" {address!r}"
            )
        if gpus is not None and not (0 <= gpus <= 1 or gpus in range(2, 65)):
            raise InvalidInput(
                f"{arg('ray_gpus')} is a part of a GPU or a number of them, not {gpus:g}"
            )
        if not find_spec("ray") or not find_spec("pyarrow"):
            raise InvalidInput(f"{arg('ray')} needs: pip install 'clipsearch[ray]'")
        self._address = address
        self._gpus = gpus

    def connected(self) -> AbstractContextManager[None]:
        """Be one of the cluster's programs for a while; its actors end with it.

        Raises:
            ClusterError: nothing answers, or not to this machine with this token.
        """
        return connected(self._address)

    def elsewhere(self, job: Job, workers: int | None, stopping: Callable[[], bool]) -> RayData:
        """What does the job on the cluster while it is `connected`; `workers` decode for an actor.

        Raises:
            ClusterError: no machine of it has that many processors, or such a part of a GPU.
        """
        import ray

        share = share_out(machines_of(ray.nodes()), workers, self._gpus)
        return RayData(job, share, stopping)
