"""What can be wrong, or better, with an installation and an index, each with what helps."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.cache import cache_folder, damaged
from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import InvalidInput, LibraryError, ModelError, first_line, option
from clipsearch.models.loading import newer
from clipsearch.models.precision import reader_of
from clipsearch.notation import counted
from clipsearch.store.catalog import Catalog, Model
from clipsearch.store.database import FILE_NAME
from clipsearch.store.folder import default_folder

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OK, ABSENT, BROKEN = "ok", "absent", "broken"
PACKAGE = "clipsearch"
HUB_PATIENCE = 3.0  # seconds
_OF_DEVELOPERS = ("samples", "test")  # groups of packages that nobody needs to find photos


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    area: str  # "devices", "packages", "decoders", "caches", "hub" or "index"
    name: str
    state: str  # "ok"; "absent", which nothing needs; or "broken"
    what: str
    remedy: str | None = None
    short: str | None = None  # of what a screen tells in a line with others


def examine(
    folder: Path | None = None, device: str = "auto", offline: bool = False
) -> Iterator[Finding]:
    """Look at everything: the devices first and at last the index in `folder`.

    `offline` leaves out the model hub, the one thing that needs a network. Nothing is written.
    """
    yield from _devices(device)
    about = importlib.metadata.metadata(PACKAGE)
    extras = about.get_all("Provides-Extra") or []
    yield from groups(importlib.metadata.requires(PACKAGE) or [], extras, _version_of)
    yield from _decoders()
    yield from _caches()
    yield _hub(offline)
    yield from examine_index(folder or default_folder())


def _devices(device: str) -> Iterator[Finding]:
    from clipsearch.encoders.machine import seen, this_machine

    for one in seen(this_machine()):
        state = ABSENT if one.remedy else OK
        yield Finding("devices", one.name, state, one.what, one.remedy, one.short)
    from clipsearch.encoders.device import explain_precision, pick_device
    from clipsearch.encoders.images import batch_size

    try:
        picked = pick_device(device)
    except InvalidInput as error:
        what, _, remedy = error.said(option).partition("\n")
        yield Finding("devices", "used", BROKEN, what, remedy)
        return
    precision, why = explain_precision(picked)
    what = f"{picked}, {precision} ({why}), {batch_size(picked)} photos at a time"
    yield Finding("devices", "used", OK, what)
    yield Finding("devices", "photos", OK, _who_embeds(device))


def _who_embeds(device: str) -> str:
    """What embeds photos where that is left to the machine."""
    from clipsearch.encoders.choice import FEW, FEWEST, NAMES, choose

    def name(count: int) -> str:
        return NAMES[choose("open_clip", "auto", device, count).runtime]

    told = [
        f"up to {most} by {name(most)}" for most in (FEWEST, FEW) if name(most) != name(most + 1)
    ]
    return ", ".join([*told, f"more by {name(FEW + 1)}" if told else f"by {name(FEW + 1)}"])


def groups(
    requirements: Iterable[str], names: Iterable[str], version_of: Callable[[str], str | None]
) -> Iterator[Finding]:
    """What a package needs, and its optional groups `names`: whether all of each is installed."""
    from packaging.requirements import Requirement

    parsed = [Requirement(line) for line in requirements]
    needs = {name: _wanted(parsed, name) for name in ("", *sorted(names))}
    for name, wanted in needs.items():
        if name and _is_of_groups(wanted, [others for group, others in needs.items() if group]):
            continue
        found = {it.name: version_of(it.name) for it in wanted}
        missing = [package for package, version in found.items() if version is None]
        unfit = [
            f"{it.name} is {version} and not {it.specifier}"
            for it in wanted
            if (version := found[it.name]) and not it.specifier.contains(version, prereleases=True)
        ]
        if missing or unfit:
            lacks = [f"lacks {', '.join(missing)}"] if missing else []
            state = BROKEN if unfit or not name else ABSENT
            remedy = _install([name]) if name else f"pip install {PACKAGE}"
            yield Finding("packages", name or "needed", state, "; ".join(unfit + lacks), remedy)
        elif name:
            has = ", ".join(f"{package} {version}" for package, version in found.items())
            yield Finding("packages", name, OK, has)
        else:
            yield Finding("packages", "needed", OK, f"all {len(found)} are here")


def summed_up(findings: Iterable[Finding]) -> list[Finding]:
    """The findings as one screen holds them: what is as it should be in few words."""
    told: list[Finding] = []
    for area, found in groupby(findings, lambda it: it.area):
        among = [it for it in found if it.name not in _OF_DEVELOPERS]
        if summary := _SUMMARIES.get(area):
            named = [it for it in among if it.state != BROKEN]
            told += [*summary(area, named), *(it for it in among if it.state == BROKEN)]
        else:
            told += among
    return told


def _devices_in_short(area: str, found: Sequence[Finding]) -> Iterator[Finding]:
    """What runs models in one line, and then each device."""
    if runs := [it.short for it in found if it.short]:
        yield Finding(area, area, OK, ", ".join(runs))
    yield from (it for it in found if not it.short)


def _parts_in_short(area: str, found: Sequence[Finding]) -> Iterator[Finding]:
    """Packages, or decoders: those that are here, and those that are not with one remedy."""
    if fine := [it.name for it in found if it.state == OK]:
        yield Finding(area, area, OK, ", ".join(fine))
    lacks = [it for it in found if it.state == ABSENT]
    names = [it.name for it in lacks]
    if lacks and area == "packages":
        yield Finding(area, area, ABSENT, ", ".join(names), _install(names))
    elif lacks:
        from clipsearch.photos.formats import OPTIONAL

        remedy = _install_to_decode(OPTIONAL[name][0] for name in names)
        what = "; ".join(f"{it.name}: {it.what}" for it in lacks)
        yield Finding(area, area, ABSENT, what, remedy)


_SUMMARIES: dict[str, Callable[[str, Sequence[Finding]], Iterator[Finding]]] = {
    "devices": _devices_in_short, "packages": _parts_in_short, "decoders": _parts_in_short,
}  # fmt: skip


def _install(groups: Iterable[str]) -> str:
    # What is installed already stays, wherever it came from: --upgrade would look for another.
    return f"pip install '{PACKAGE}[{','.join(groups)}]'"


def _install_to_decode(groups: Iterable[str]) -> str:
    return f"{_install(groups)}, then clipsearch index --retry"


def _wanted(requirements: Iterable[Requirement], group: str) -> list[Requirement]:
    """What a group needs beside what all do; for no group what all do."""
    wanted = [it for it in requirements if _is_wanted(it, group)]
    return [it for it in wanted if it.marker and not _is_wanted(it, "")] if group else wanted


def _is_of_groups(wanted: Sequence[Requirement], groups: Iterable[Sequence[Requirement]]) -> bool:
    """Whether a group only stands for others, by their names or, in a wheel, by what they need."""
    if any(it.name == PACKAGE for it in wanted):
        return True
    own = set(map(_bare, wanted))
    smaller = [needs for some in groups if (needs := set(map(_bare, some))) < own]
    return len(smaller) > 1 and set().union(*smaller) == own


def _bare(requirement: Requirement) -> tuple[str, str]:
    return requirement.name.lower(), str(requirement.specifier)


def _is_wanted(requirement: Requirement, group: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": group})


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _decoders() -> Iterator[Finding]:
    from clipsearch.photos.formats import decoders

    for one in decoders():
        if one.version is not None:
            yield Finding("decoders", one.name, OK, one.version)
        elif one.group:
            remedy = _install_to_decode([one.group])
            yield Finding("decoders", one.name, ABSENT, one.fault, remedy)
        else:
            remedy = "pip install --force-reinstall pillow"
            yield Finding("decoders", one.name, BROKEN, one.fault, remedy)


def _caches() -> Iterator[Finding]:
    from clipsearch.encoders.hub import cache_of_hub

    caches = (
        ("clipsearch", cache_folder(), "CLIPSEARCH_CACHE"),
        ("models", cache_of_hub(), "HF_HOME"),
    )
    for name, folder, variable in caches:
        if not folder.exists():
            yield Finding("caches", name, ABSENT, f"{folder} is not there yet")
        elif os.access(folder, os.W_OK):
            yield Finding("caches", name, OK, f"{folder}, {_size(folder) / 1e6:.1f} MB")
        else:
            what = f"{folder} cannot be written"
            yield Finding("caches", name, BROKEN, what, f"name another with {variable}")
    for folder in damaged():
        what = f"{folder} is not what was written there"
        yield Finding(
            "caches", "clipsearch", BROKEN, what, f"remove it, and it is made again: rm -r {folder}"
        )


def _size(folder: Path) -> int:
    """The bytes that a folder's files take; those that are linked to count once."""
    return sum(
        entry.stat().st_size
        for entry in folder.rglob("*")
        if entry.is_file() and not entry.is_symlink()
    )


def _hub(offline: bool) -> Finding:
    if offline:
        return Finding("hub", "hub", ABSENT, "not asked")
    from clipsearch.encoders.hub import cache_of_hub, reach_hub

    try:
        return Finding("hub", "hub", OK, reach_hub(HUB_PATIENCE))
    except OSError as error:
        remedy = (
            "nothing, with pocket or a model that is here; for others connect, or run clipsearch"
            " models download NAME on another machine and copy its ~/.cache/huggingface/hub to"
            f" {cache_of_hub()}"
        )
        return Finding("hub", "hub", ABSENT, str(error), remedy)


def examine_index(folder: Path) -> Iterator[Finding]:
    """Whether the index in a folder is sound."""
    from clipsearch.store.faults import explained
    from clipsearch.store.soundness import faults_of

    if not (folder / FILE_NAME).is_file():
        what = f"{folder} holds no index yet"
        yield Finding("index", "index", ABSENT, what, "clipsearch index FOLDER")
        return
    try:
        with explained(folder):
            catalog = Catalog.open(folder)
            try:
                faults = list(faults_of(folder, catalog))
                models, photos = catalog.models(), catalog.count_photos()
                waiting = [len(catalog.digests_without_vector(it.id)) for it in models]
            finally:
                catalog.close()
    except LibraryError as error:
        what, _, remedy = error.said(option).partition("\n")
        yield Finding("index", "catalog", BROKEN, what, remedy or None)
        return
    for fault in faults:
        yield Finding("index", "index", BROKEN, fault.what, fault.remedy)
    if not faults:
        yield Finding("index", "index", OK, f"{folder} is sound, {counted(photos, 'photo')}")
    for model, count in zip(models, waiting, strict=True):
        yield _model(folder, model, count)


def _model(folder: Path, model: Model, waiting: int) -> Finding:
    """Whether a model of the index can be loaded, as far as its name tells, and is up to date."""
    spec, made_of = model.spec, None
    if model.is_int8:
        from clipsearch.encoders.onnx.calibrated import fault_of, folder_in, told_by

        place = folder_in(folder, model.weights)
        made_of = told_by(place)
        if fault := fault_of(place):
            return Finding("index", spec, BROKEN, *fault)
    try:
        parse_spec(spec)
        if newer(reader_of(folder, model)):
            what = "it is of another version of clipsearch; its photos are to be embedded anew"
            remedy = (
                f"clipsearch index {option('precision')} int8" if made_of else "clipsearch index"
            )
            return Finding("index", spec, BROKEN, what, remedy)
    except ModelError as error:
        what = f"its files are gone: {first_line(error)}"
        return Finding("index", spec, BROKEN, what, "bring them back to their place")
    if waiting:
        what = f"not embedded by it yet: {counted(waiting, 'content')}"
        return Finding("index", spec, ABSENT, what, "clipsearch index")
    what = "every photo has its embedding"
    return Finding("index", spec, OK, f"{what}; {made_of}" if made_of else what)
