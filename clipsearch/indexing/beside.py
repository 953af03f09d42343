"""Bring what files beside photos tell of them to what these are now, without embedding anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache

from clipsearch.errors import PhotoError
from clipsearch.indexing.plan import Beside, Plan
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.facts.picasa import Picasa, read_picasa, with_picasa
from clipsearch.photos.facts.sidecars import understood, with_sidecar
from clipsearch.photos.facts.xmp import LARGEST
from clipsearch.photos.files.opening import Place, open_below
from clipsearch.photos.files.urls import joined
from clipsearch.photos.scanning.beside import is_of_folder, of_folder_in, version_of
from clipsearch.photos.scanning.listing import Found
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog, Root, Told

_AT_A_TIME = 500  # photos in one transaction
_NEAR = 8  # files of folders that are kept, of which photos come one after the other


def tell_beside(
    catalog: Catalog, plan: Plan, stopping: Callable[[], bool], progress: Progress
) -> int:
    """Write what the files of a plan tell; one that cannot be understood is told in the plan.

    Gives of how many photos that are not read anew it told something else than was known. Once
    `stopping` says so, the rest is left to the next run. `progress` gets photos, if they are many.
    """
    read = {(item.root.id, item.found.path) for item in plan.work}
    files = _Files(catalog, plan)
    told, total = 0, len(plan.beside)
    for start in range(0, total, _AT_A_TIME):
        if stopping():
            break
        if total > _AT_A_TIME:
            progress(start, total)
        some = plan.beside[start : start + _AT_A_TIME]
        found = [(it, one) for it in some if (one := files.told(it))]
        catalog.tell([one for _, one in found])
        told += sum(
            one.facts != one.held and (it.root.id, it.path) not in read for it, one in found
        )
    return told


class _Files:
    """The files beside the photos of a plan, as they are read."""

    def __init__(self, catalog: Catalog, plan: Plan) -> None:
        self._catalog = catalog
        self._plan = plan
        self._picasa = lru_cache(_NEAR)(self._read_picasa)
        self._elsewhere = lru_cache(None)(self._contacts)

    def told(self, it: Beside) -> Told | None:
        """What those of a photo tell; None for one that could not be read, or is not yet."""
        known = self._catalog.own_facts(it.root.id, it.path)
        if known is None:
            return None
        id, own, held = known
        facts = own
        for sidecar in it.sidecars:
            if is_of_folder(sidecar.path):
                facts = self._as_picasa_tells(facts, it, sidecar)
                continue
            try:
                facts = with_sidecar(facts, sidecar.path, _content(it.root, sidecar))
            except PhotoError as error:
                self._pass_over(it.root, sidecar, error)
        return Told(id, own, held, facts, version_of(it.sidecars))

    def _as_picasa_tells(self, facts: Facts, it: Beside, sidecar: Found) -> Facts:
        picasa = self._picasa(it.root, sidecar)
        told = picasa.of(it.path.rpartition("/")[2]) if picasa else {}
        if not (picasa and told):
            return facts
        own = picasa.contacts
        return with_picasa(facts, told, lambda id: own.get(id) or self._elsewhere(it.root).get(id))

    def _read_picasa(self, root: Root, file: Found) -> Picasa | None:
        try:
            return understood(_content(root, file), read_picasa)
        except PhotoError as error:
            self._pass_over(root, file, error)
            return None

    def _contacts(self, root: Root) -> Mapping[str, str]:
        """Who is named in the files of any folder of a root, which Picasa wrote at any time."""
        versions = self._catalog.sidecars(root.id, "", True)
        files = {it for photo, told in versions.items() for it in of_folder_in(told, photo)}
        for it in self._plan.beside:
            if it.root == root:
                files.update(file for file in it.sidecars if is_of_folder(file.path))
        names: dict[str, str] = {}
        for file in sorted(files):
            # What is wrong with it is told where photos of its folder are.
            with suppress(PhotoError):
                names = {**understood(_content(root, file), read_picasa).contacts, **names}
        return names

    def _pass_over(self, root: Root, file: Found, error: PhotoError) -> None:
        path = joined(root.path, file.path)
        self._plan.problems.append(f"{path}: {error}; it is passed over")


def _content(root: Root, sidecar: Found) -> bytes:
    place = Place(root.path, sidecar.path, sidecar.size, sidecar.mtime_ns, False)
    with open_below(place).content as file:
        return file.read(LARGEST + 1)
