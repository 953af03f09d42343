"""Find photos by what they show: local, private text-to-image and image-to-image search.

with Library.open("~/photo-index") as library:
    library.index(["~/Photos"])
    for hit in library.query("a black cat on a couch"):
        print(hit.score, hit.path)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipsearch.errors import (
        ClipsearchError,
        ClusterError,
        FileUnreadable,
        InvalidInput,
        LibraryBusy,
        LibraryError,
        ModelError,
        ModelMismatch,
        PhotoError,
        WeightsUnavailable,
    )
    from clipsearch.indexing.captions import CaptionReport
    from clipsearch.indexing.report import IndexReport
    from clipsearch.library import Library
    from clipsearch.photos.facts import Facts
    from clipsearch.scores import score
    from clipsearch.search.duplicates import Duplicate, Group
    from clipsearch.search.labels import Label, LabelCount, LabelledPhoto
    from clipsearch.search.results import Hit
    from clipsearch.search.scoring import Scores
    from clipsearch.store.status import Status

    __version__: str

__all__ = [
    "CaptionReport",
    "ClipsearchError",
    "ClusterError",
    "Duplicate",
    "Facts",
    "FileUnreadable",
    "Group",
    "Hit",
    "IndexReport",
    "InvalidInput",
    "Label",
    "LabelCount",
    "LabelledPhoto",
    "Library",
    "LibraryBusy",
    "LibraryError",
    "ModelError",
    "ModelMismatch",
    "PhotoError",
    "Scores",
    "Status",
    "WeightsUnavailable",
    "__version__",
    "score",
]

# Where the names are that are not errors; looked up when first used, since a command must not
# wait for what it does not use.
_HOMES = {
    "CaptionReport": "clipsearch.indexing.captions",
    "Duplicate": "clipsearch.search.duplicates",
    "Facts": "clipsearch.photos.facts",
    "Group": "clipsearch.search.duplicates",
    "Hit": "clipsearch.search.results",
    "IndexReport": "clipsearch.indexing.report",
    "Label": "clipsearch.search.labels",
    "LabelCount": "clipsearch.search.labels",
    "LabelledPhoto": "clipsearch.search.labels",
    "Library": "clipsearch.library",
    "Scores": "clipsearch.search.scoring",
    "Status": "clipsearch.store.status",
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
