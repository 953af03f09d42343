"""What of a cluster's machines each actor gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from clipsearch.errors import ClusterError, arg

_MOST_DECODERS = 16  # of one actor
_USUAL_DECODERS = 4  # of one that embeds on the CPU, which decoding shares


class Machine(NamedTuple):
    """What a machine of the cluster has."""

    cpus: float
    gpus: float


class Share(NamedTuple):
    """What one actor gets, and how many there can be."""

    cpus: int
    gpus: float
    actors: int


def machines_of(nodes: Sequence[dict[str, Any]]) -> list[Machine]:
    """The machines of a cluster that are there, of what Ray tells of its nodes."""
    found = [node["Resources"] for node in nodes if node["Alive"]]
    return [Machine(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in found]


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
            f" CPUs: {arg('ray_gpus')} 0"
        )
    if cpus is None:
        # Each machine's GPUs are to be fed by its CPUs.
        smallest = min(m.cpus * gpus / m.gpus if gpus else m.cpus for m in fit)
        cpus = max(1, min(int(smallest), _MOST_DECODERS if gpus else _USUAL_DECODERS))
    actors = sum(_room(machine, cpus, gpus) for machine in fit)
    if not actors:
        raise ClusterError(
            f"no machine of the Ray cluster has {cpus} CPUs; take less with {arg('workers')}"
        )
    return Share(cpus, gpus, actors)


def _room(machine: Machine, cpus: int, gpus: float) -> int:
    by_cpus = int(machine.cpus // cpus)
    return min(by_cpus, int(machine.gpus / gpus + 1e-6)) if gpus else by_cpus
