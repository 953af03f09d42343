"""Find photos by what they show: local, private text-to-image and image-to-image search.

with Library.open("~/photo-index") as library:
    library.index(["~/Photos"])
    for hit in library.query("a black cat on a couch"):
        print(hit.score, hit.path)
"""

from importlib.metadata import version

from clipsearch.errors import (
    ClipsearchError,
    FileUnreadable,
    InvalidInput,
    LibraryBusy,
    LibraryError,
    ModelError,
    ModelMismatch,
    PhotoError,
    WeightsUnavailable,
)
from clipsearch.library import IndexReport, Library, Status
from clipsearch.photos.facts import Facts
from clipsearch.search.results import Hit

__version__ = version("clipsearch")

__all__ = [
    "ClipsearchError",
    "Facts",
    "FileUnreadable",
    "Hit",
    "IndexReport",
    "InvalidInput",
    "Library",
    "LibraryBusy",
    "LibraryError",
    "ModelError",
    "ModelMismatch",
    "PhotoError",
    "Status",
    "WeightsUnavailable",
    "__version__",
]
