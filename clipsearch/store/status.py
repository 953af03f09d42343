"""What an index holds, as `Library.status` tells it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.photos.files.urls import is_url
from clipsearch.photos.scanning.rules import ScanRules
from clipsearch.store.catalog import Catalog, Model, Root
from clipsearch.store.catalog.departed import Kept
from clipsearch.store.database import Origin
from clipsearch.store.database.readings import Readings
from clipsearch.store.folder import IndexFolder
from clipsearch.store.presence import Presence
from clipsearch.store.running import Run, running

if TYPE_CHECKING:
    from clipsearch.encoders.onnx.calibrated import Calibration


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One indexed folder."""

    path: str
    photos: int
    # Whether the folder is there now, and not empty where it held photos; a URL is not asked.
    present: bool
    rules: ScanRules  # which of its photos are looked at
    # What holds besides in folders that were indexed by themselves before, by their paths in it.
    folders: dict[str, ScanRules] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model whose embeddings the index holds."""

    spec: str
    vectors: int
    dim: int
    note: str | None
    runtime: str  # what embeds pictures with it, as `--runtime` names it
    calibration: Calibration | None  # of one in 8 bits: on what, and what that costs


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds."""

    photos: int
    roots: tuple[RootStatus, ...]
    models: tuple[ModelStatus, ...]
    failures: tuple[tuple[str, str], ...]  # path, reason
    bytes: dict[str, int]  # "catalog", "vectors" and "total"
    indexing: Run | None  # the index run that is under way
    captions: dict[str, int]  # contents that a model wrote about, by the model's name
    store: str  # "faiss", or the address of the engine that the vectors are in
    copy_of: Origin | None  # the index that this is a copy of
    kept: Kept  # what left the index and is kept for when it comes back
    contents: int  # of the photos: copies are one, and have one embedding by each model
    readings: dict[str, Readings]  # contents that were looked for text in, by the model's name


def status_of(folder: IndexFolder, catalog: Catalog) -> Status:
    """What an index holds, and how large it is."""
    return Status(
        catalog.count_photos(),
        tuple(_root_status(catalog, root) for root in catalog.roots()),
        tuple(_model_status(folder.path, catalog, model) for model in catalog.models()),
        tuple(catalog.failures()),
        folder.sizes(),
        running(folder.path),
        catalog.count_captions(),
        engine.address if (engine := catalog.engine()) else "faiss",
        catalog.origin,
        catalog.kept(),
        catalog.count_contents(),
        catalog.count_readings(),
    )


def _root_status(catalog: Catalog, root: Root) -> RootStatus:
    there = is_url(root.path) or os.path.isdir(root.path)
    rules = catalog.rules(root.id)
    count, inner = catalog.count_photos(root.id), catalog.folder_rules(root.id)
    present = there and not (count and Presence(catalog).is_away(root))
    return RootStatus(root.path, count, present, rules, inner)


def _model_status(folder: Path, catalog: Catalog, model: Model) -> ModelStatus:
    count = catalog.fingerprint(model.id)[0]
    calibration = None
    if model.is_int8:
        from clipsearch.encoders.onnx.calibrated import folder_in, told_by

        calibration = told_by(folder_in(folder, model.weights))
    return ModelStatus(model.spec, count, model.dim, model.note, model.runtime, calibration)
