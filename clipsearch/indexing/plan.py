"""What an index run has to do, as a look at the disk says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clipsearch.indexing.away import Away
from clipsearch.photos.files.inode import Inode
from clipsearch.photos.scanning.listing import Found
from clipsearch.store.catalog import Known, Listing, Root, Seams

# Whether a new or changed file, by its absolute path and as it was found, can be read now.
Ready = Callable[[str, Found], bool]


class Anchor(NamedTuple):
    """A folder that was seen to be there; while it is the same one, no drive went away."""

    path: str
    inode: Inode


class Target(NamedTuple):
    """A root, and the part of it to look at: a folder below it, "" for all."""

    root: Root
    below: str
    deep: bool = True  # with all folders below; else only what lies right in the folder
    anchor: Anchor | None = None  # with one, what the target does not show is gone for sure


class Work(NamedTuple):
    """A file to read; `known` is what the catalog holds under the same path, if anything."""

    root: Root
    found: Found
    known: Known | None
    anew: bool = False  # also what is known of its content is read again


class Folders(NamedTuple):
    """Which folders of a root show photos."""

    root_id: int
    shown: dict[str, Inode]  # those of which that was not known
    gone: set[str]  # those that do not any more


class Listings(NamedTuple):
    """Which listings of folders of a root are all that the catalog holds of them, for a model."""

    root_id: int
    model_id: int | None
    known: dict[str, Listing]
    bare: set[str]  # folders of which nothing is held any more


class Gone(NamedTuple):
    """A photo of the catalog that is no longer at its place."""

    root: Root
    path: str
    known: Known
    away: str | None = None  # a folder that is not there: kept, unless found elsewhere


class Beside(NamedTuple):
    """The files beside a photo that tell something of it, which are not as they were."""

    root: Root
    path: str  # of the photo, below the root
    sidecars: Sequence[Found]  # none are left where they are gone


@dataclass(slots=True)
class Plan:
    """What an index run has to do."""

    work: list[Work] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    kept: list[Gone] = field(default_factory=list)  # not there, and moved if found elsewhere
    moves: list[tuple[Gone, Work]] = field(default_factory=list)  # known to be the same file
    moved: list[Gone] = field(default_factory=list)  # of those that are away, found in the end
    away: list[Away] = field(default_factory=list)
    seams: dict[int, Seams] = field(default_factory=dict)  # to be remembered, by root
    folders: list[Folders] = field(default_factory=list)  # to be remembered
    listings: list[Listings] = field(default_factory=list)  # to be remembered
    inodes: dict[tuple[int, str], Inode] = field(default_factory=dict)  # of all that are shown
    beside: list[Beside] = field(default_factory=list)
    mended: list[tuple[int, str]] = field(default_factory=list)  # failures whose file is gone
    unplugged: list[Target] = field(default_factory=list)  # not there, or empty all at once
    unchanged: int = 0
    targets: Sequence[Target] = ()
    unread: list[str] = field(default_factory=list)  # folders and files that gave no listing
    problems: list[str] = field(default_factory=list)  # one line each, for a person
    passed_over: Counter[str] = field(default_factory=Counter)  # pictures not read, by extension

    @property
    def is_empty(self) -> bool:
        """Whether the catalog is as the disk is."""
        return not (self.work or self.gone or self.mended or self.moves or self.beside)

    def said(self) -> tuple[str, ...]:
        """What a person is to know when all is done, a line each."""
        moved = [photo.away for photo in self.moved]
        lines = (away.line(moved.count(away.path)) for away in self.away)
        return (*filter(None, lines), *self.problems)


@dataclass(slots=True)
class Counts:
    """What an index run did, in photos."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    read: int = 0  # files
    embedded: int = 0  # contents that the model had not seen
    complete: bool = True  # False if it was stopped before the end
    seconds: float = 0.0  # that files were worked on; the model was loaded before


class Doubts(NamedTuple):
    """What is looked at more closely than usual."""

    prune: bool = False  # what a missing or empty folder held is gone
    verify: bool = False  # a file may have changed though its size and mtime did not
    retry: bool = False  # a file that failed may not fail now


USUAL = Doubts()
