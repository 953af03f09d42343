"""Find photos by what they show: local, private text-to-image and image-to-image search.

with Library.open("~/photo-index") as library:
    library.index(["~/Photos"])
    for hit in library.query("a black cat on a couch"):
        print(hit.score, hit.path)
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Or onnxruntime 1.32 tells its makers of each run, under a name that it gives the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from clipsearch.describing import Describer, describe
    from clipsearch.encoders import Encoder
    from clipsearch.encoders.reading.line import Line
    from clipsearch.errors import (
        ClipsearchError,
        ClusterError,
        FileUnreadable,
        InvalidInput,
        LibraryBusy,
        LibraryError,
        ModelError,
        ModelMismatch,
        NoProcess,
        PhotoError,
        WeightsUnavailable,
    )
    from clipsearch.indexing.later.captions import CaptionReport
    from clipsearch.indexing.later.texts import ReadReport
    from clipsearch.indexing.report import IndexReport
    from clipsearch.indexing.targets import Held
    from clipsearch.library import Library
    from clipsearch.photos.decoding.isolated import Processes
    from clipsearch.photos.facts.facts import Facts
    from clipsearch.photos.files.urls import AllowUrl
    from clipsearch.photos.places.locality import Locality
    from clipsearch.photos.scanning.rules import ScanRules
    from clipsearch.progress import Progress
    from clipsearch.scores import score
    from clipsearch.search.answers import Answer, Question
    from clipsearch.search.duplicates.groups import Duplicate, Group, Kind
    from clipsearch.search.filtering.facets import Dot, Facets
    from clipsearch.search.filtering.filters import FilterNames, Filters
    from clipsearch.search.labels.fitting import Label, LabelCount, LabelledPhoto
    from clipsearch.search.labels.lists import Labels
    from clipsearch.search.results import Hit, Nothing, Photo
    from clipsearch.search.scoring import Scores
    from clipsearch.store.catalog import StoredPhoto
    from clipsearch.store.catalog.departed import Kept
    from clipsearch.store.copying import Copied
    from clipsearch.store.database import Origin
    from clipsearch.store.database.readings import Readings
    from clipsearch.store.folder import StrPath
    from clipsearch.store.moving import Moved
    from clipsearch.store.running import Run
    from clipsearch.store.status import ModelStatus, RootStatus, Status
    from clipsearch.store.vectors.approximate.building import Optimized

    __version__: str

__all__ = [
    "AllowUrl",
    "Answer",
    "CaptionReport",
    "ClipsearchError",
    "ClusterError",
    "Copied",
    "Describer",
    "Dot",
    "Duplicate",
    "Encoder",
    "Facets",
    "Facts",
    "FileUnreadable",
    "FilterNames",
    "Filters",
    "Group",
    "Held",
    "Hit",
    "IndexReport",
    "InvalidInput",
    "Kept",
    "Kind",
    "Label",
    "LabelCount",
    "LabelledPhoto",
    "Labels",
    "Library",
    "LibraryBusy",
    "LibraryError",
    "Line",
    "Locality",
    "ModelError",
    "ModelMismatch",
    "ModelStatus",
    "Moved",
    "NoProcess",
    "Nothing",
    "Optimized",
    "Origin",
    "Photo",
    "PhotoError",
    "Processes",
    "Progress",
    "Question",
    "ReadReport",
    "Readings",
    "RootStatus",
    "Run",
    "ScanRules",
    "Scores",
    "Status",
    "StoredPhoto",
    "StrPath",
    "WeightsUnavailable",
    "__version__",
    "describe",
    "score",
]

# Where the names are that are not errors; looked up when first used, since a command must not
# wait for what it does not use.
_HOMES = {
    "AllowUrl": "clipsearch.photos.files.urls",
    "Answer": "clipsearch.search.answers",
    "CaptionReport": "clipsearch.indexing.later.captions",
    "Copied": "clipsearch.store.copying",
    "Describer": "clipsearch.describing",
    "Dot": "clipsearch.search.filtering.facets",
    "Duplicate": "clipsearch.search.duplicates.groups",
    "Encoder": "clipsearch.encoders",
    "Facets": "clipsearch.search.filtering.facets",
    "Facts": "clipsearch.photos.facts.facts",
    "FilterNames": "clipsearch.search.filtering.filters",
    "Filters": "clipsearch.search.filtering.filters",
    "Group": "clipsearch.search.duplicates.groups",
    "Held": "clipsearch.indexing.targets",
    "Hit": "clipsearch.search.results",
    "IndexReport": "clipsearch.indexing.report",
    "Kept": "clipsearch.store.catalog.departed",
    "Kind": "clipsearch.search.duplicates.groups",
    "Label": "clipsearch.search.labels.fitting",
    "LabelCount": "clipsearch.search.labels.fitting",
    "LabelledPhoto": "clipsearch.search.labels.fitting",
    "Labels": "clipsearch.search.labels.lists",
    "Library": "clipsearch.library",
    "Line": "clipsearch.encoders.reading.line",
    "Locality": "clipsearch.photos.places.locality",
    "ModelStatus": "clipsearch.store.status",
    "Moved": "clipsearch.store.moving",
    "Nothing": "clipsearch.search.results",
    "Optimized": "clipsearch.store.vectors.approximate.building",
    "Origin": "clipsearch.store.database",
    "Photo": "clipsearch.search.results",
    "Processes": "clipsearch.photos.decoding.isolated",
    "Progress": "clipsearch.progress",
    "Question": "clipsearch.search.answers",
    "ReadReport": "clipsearch.indexing.later.texts",
    "Readings": "clipsearch.store.database.readings",
    "RootStatus": "clipsearch.store.status",
    "Run": "clipsearch.store.running",
    "ScanRules": "clipsearch.photos.scanning.rules",
    "Scores": "clipsearch.search.scoring",
    "Status": "clipsearch.store.status",
    "StoredPhoto": "clipsearch.store.catalog",
    "StrPath": "clipsearch.store.folder",
    "describe": "clipsearch.describing",
    "score": "clipsearch.scores",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("clipsearch")
    elif name in __all__:
        value = getattr(importlib.import_module(_HOMES.get(name, "clipsearch.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
