"""Bring what files beside photos tell of them to what these are now, without embedding anything."""

from __future__ import annotations

from collections.abc import Callable

from clipsearch.errors import PhotoError
from clipsearch.indexing.plan import Beside, Plan
from clipsearch.photos.facts.sidecars import with_sidecar
from clipsearch.photos.facts.xmp import LARGEST
from clipsearch.photos.files.opening import Place, open_below
from clipsearch.photos.files.urls import joined
from clipsearch.photos.scanning.beside import version_of
from clipsearch.photos.scanning.listing import Found
from clipsearch.store.catalog import Catalog, Root, Told

_AT_A_TIME = 500  # photos in one transaction


def tell_beside(catalog: Catalog, plan: Plan, stopping: Callable[[], bool]) -> int:
    """Write what the files of a plan tell; one that cannot be understood is told in the plan.

    Gives how many photos it was written of that are not read anew. Once `stopping` says so, the
    rest is left to the next run.
    """
    read = {(item.root.id, item.found.path) for item in plan.work}
    told = 0
    for start in range(0, len(plan.beside), _AT_A_TIME):
        if stopping():
            break
        some = plan.beside[start : start + _AT_A_TIME]
        found = [(it, one) for it in some if (one := _read(catalog, it, plan.problems))]
        catalog.tell([one for _, one in found])
        told += sum((it.root.id, it.path) not in read for it, _ in found)
    return told


def _read(catalog: Catalog, it: Beside, problems: list[str]) -> Told | None:
    known = catalog.own_facts(it.root.id, it.path)
    if known is None:  # it could not be read, or is not yet
        return None
    id, own = known
    facts = own
    for sidecar in it.sidecars:
        try:
            facts = with_sidecar(facts, sidecar.path, _content(it.root, sidecar))
        except PhotoError as error:
            problems.append(f"{joined(it.root.path, sidecar.path)}: {error}; it is passed over")
    return Told(id, own, facts, version_of(it.sidecars))


def _content(root: Root, sidecar: Found) -> bytes:
    place = Place(root.path, sidecar.path, sidecar.size, sidecar.mtime_ns, False)
    with open_below(place).content as file:
        return file.read(LARGEST + 1)
