"""Which files beside photos tell something of them, by the names that programs give these.

`photo.jpg.xmp` is of darktable and digiKam, `photo.xmp` of Lightroom and Capture One. Google
Takeout writes `photo.jpg.json` or `photo.jpg.supplemental-metadata.json`, cut off where that is
longer than it allows, and puts the number of a second file of one name elsewhere: beside
`photo(1).jpg` lies `photo.jpg(1).json`. What was edited, `photo-edited.jpg`, has none of its own.
Picasa's `.picasa.ini` is of all photos of its folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from clipsearch.photos.scanning.listing import Found
from clipsearch.photos.scanning.names import PICASA

_LONGEST = 46  # characters of a name that Takeout gives, without ".json"
_SHORTEST_CUT = 40  # a name that is cut off and shorter is another one
_ADDED = ".supplemental-metadata"
_NUMBER = re.compile(r"(.*)(\(\d{1,5}\))", re.DOTALL)
# A name may hold a line's end, and lines that are none.
_VERSION = re.compile(r"(.*):(\d+):(-?\d+)")
# As it is called in the languages in which people use Google Photos most.
_EDITED = re.compile(
    r"-(?:edited|bearbeitet|modifi\u00e9|editado|editada|modificato|bewerkt|edytowane|\u7de8\u96c6\u6e08\u307f"
    r"|\u5df2\u4fee\u6539|\u5df2\u7f16\u8f91)$",
    re.IGNORECASE,
)


def sidecars_of(photos: Sequence[Found], sidecars: Iterable[Found]) -> dict[str, tuple[Found, ...]]:
    """The files beside photos that tell something of them, by photo; all are of one folder.

    What counts more comes later: Takeout's first, then Picasa's, then that of the whole name.
    """
    xmp: dict[str, Found] = {}
    takeout: dict[str, Found] = {}
    picasa: dict[str, Found] = {}
    for file in sidecars:
        stem, _, ending = _name(file).lower().rpartition(".")
        {"xmp": xmp, "json": takeout}.get(ending, picasa)[stem] = file
    names = _Takeout(takeout)
    of_all = tuple(picasa[stem] for stem in sorted(picasa))  # the newer first; each fills in
    found = {}
    for photo in photos:
        name = _name(photo).lower()
        several = (names.of(name), *of_all, xmp.get(name.rpartition(".")[0]), xmp.get(name))
        if own := tuple(file for file in several if file):
            found[photo.path] = of_all if own == of_all else own  # one for all: there are many
    return found


def is_of_folder(path: str) -> bool:
    """Whether a file tells of all photos of its folder, as Picasa's does."""
    return path.rpartition("/")[2].lower() in PICASA


def version_of(sidecars: Iterable[Found]) -> str:
    """What is another one when a file beside a photo is changed, comes or goes."""
    return "\n".join(f"{_name(it)}:{it.size}:{it.mtime_ns}" for it in sidecars)


def of_folder_in(version: str, photo: str) -> list[Found]:
    """Which of the files in such a version, of a photo, tell of all photos of their folder."""
    folder, slash, _ = photo.rpartition("/")
    told = [it.groups() for it in map(_VERSION.fullmatch, version.split("\n")) if it]
    return [
        Found(f"{folder}{slash}{name}", int(size), int(time))
        for name, size, time in told
        if is_of_folder(name)
    ]


def _name(file: Found) -> str:
    return file.path.rpartition("/")[2]


class _Takeout:
    """The files of Takeout in a folder, by their names without ".json", in small letters."""

    def __init__(self, files: dict[str, Found]) -> None:
        self._files = files
        # What is cut off is looked for by what is left of it.
        self._cut = {stem[:_SHORTEST_CUT] for stem in files if len(stem) >= _SHORTEST_CUT}

    def of(self, photo: str) -> Found | None:
        """The one of a photo of that name."""
        if not self._files:
            return None
        stem, dot, ending = photo.rpartition(".")
        match = _NUMBER.fullmatch(stem)
        own, number = match.groups() if match else (stem, "")
        # A number may be a part of the photo's own name too.
        for name, of_file in ((own, number), (stem, ""), (_EDITED.sub("", own), number)):
            if found := self._named(f"{name}{dot}{ending}", of_file):
                return found
        return None

    def _named(self, photo: str, number: str) -> Found | None:
        whole = photo + _ADDED
        for length in range(len(whole), len(photo) - 1, -1):  # as much of it as was left
            if found := self._files.get(whole[:length] + number):
                return found
        cut = whole[:_LONGEST]
        if cut[:_SHORTEST_CUT] not in self._cut:
            return None
        lengths = range(_LONGEST, _SHORTEST_CUT - 1, -1)
        return next((it for n in lengths if (it := self._files.get(cut[:n] + number))), None)
