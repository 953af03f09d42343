"""Walk a folder, of this machine or at a URL, and list the photos below it."""

from __future__ import annotations

import codecs
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.errors import InvalidInput
from clipsearch.photos.files.urls import is_url, joined

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# What cameras write before anybody developed it.
RAW_EXTENSIONS = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf", ".ori"}
    | {".rw2", ".rwl", ".raw", ".raf", ".pef", ".ptx", ".srw", ".3fr", ".fff", ".iiq", ".cap"}
    | {".x3f", ".mrw", ".mdc", ".mef", ".mos", ".dcr", ".dcs", ".kdc", ".k25", ".kc2", ".erf"}
    | {".gpr", ".ari", ".bay", ".bmq", ".cs1", ".drf", ".pxn", ".sti"}
)

# The small picture that some cameras write beside a RAW file or a video.
_THUMBNAIL = ".thm"

# Extensions only choose candidates; what a file is comes from its content when it is decoded.
EXTENSIONS = RAW_EXTENSIONS | frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo", ".jps", ".insp", _THUMBNAIL}
    | {".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dib", ".avif", ".avifs"}
    | {".heic", ".heics", ".heif", ".heifs", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx"}
    | {".jpf", ".jph", ".jhc", ".ppm", ".pgm", ".pbm", ".pnm"}
)

# Pictures of kinds that are not read, of which a person is told that they were passed over.
# Documents, videos and what programs keep beside photos are not missed among them.
PASSED_OVER = frozenset(
    {".jxl", ".jxr", ".wdp", ".hdp", ".avci", ".bpg", ".flif", ".jls", ".lri", ".rwz", ".eip"}
    | {".psd", ".psb", ".pdd", ".xcf", ".kra", ".ora", ".clip", ".procreate", ".pdn", ".psp"}
    | {".pspimage", ".afphoto", ".svg", ".svgz", ".ai", ".eps", ".cdr", ".emf", ".wmf", ".tga"}
    | {".pcx", ".sgi", ".ras", ".pict", ".pct", ".xbm", ".xpm", ".pam", ".pfm", ".exr", ".hdr"}
    | {".dds", ".fits", ".dcm", ".djvu", ".djv", ".mng", ".jng"}
)

# What may show another picture of its folder a second time.
_SECOND = RAW_EXTENSIONS | {_THUMBNAIL}

# What a camera writes beside a RAW file: the same picture, developed.
_DEVELOPED = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"})

# Folders that hold thumbnails, rubbish or a program's own files, never somebody's photos.
SKIPPED_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "node_modules", "__macosx", "lost+found"}
    | {"system volume information", "__pycache__"}
)

# Patterns as in a .gitignore of what is left out of its folder and of those below it.
IGNORE_FILE = ".clipsearchignore"

# A folder of a bucket takes a request, which is waited for: so many of them are under way at once.
_AHEAD = 8
_MOST_IGNORE_BYTES = 16 << 20

# Opening a folder once spares the system the way to it for every file in it.
_BY_DESCRIPTOR = os.scandir in os.supports_fd

OnError = Callable[[str, OSError], None]
OnPassedOver = Callable[[str], None]
Identity = tuple[int, int]  # device and inode


class Found(NamedTuple):
    """One photo file as the disk shows it; a million of these must fit in memory."""

    path: str  # below the root, with forward slashes
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ScanRules:
    """Which photos of a root are looked at; patterns are those of a .gitignore, from the root.

    Raises:
        InvalidInput: a pattern that means nothing.
    """

    include: tuple[str, ...] = ()  # only what matches one of these; all for none
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    raw_too: bool = False  # a RAW file also where its JPEG lies beside it

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            if not _is_pattern(pattern):
                raise InvalidInput(f"{pattern!r} is no pattern; try one such as '*.png' or 'raw/'")


DEFAULT_RULES = ScanRules()

# Of folders below a root, by their paths there: what holds in them besides the root's rules.
FolderRules = Mapping[str, ScanRules]


def is_photo_name(name: str) -> bool:
    """Whether a file of this name may be a photo: a known extension and not hidden."""
    return name[0] != "." and extension_of(name) in EXTENSIONS


def extension_of(name: str) -> str:
    """The extension of a file's name in small letters, with its dot."""
    return name[name.rfind(".") :].lower()


def is_skipped_folder(name: str) -> bool:
    """Whether a folder of this name is left out with all it holds."""
    return name.startswith(".") or name.lower() in SKIPPED_FOLDERS


def walk(
    root: str,
    below: str,
    on_error: OnError,
    rules: ScanRules | None = DEFAULT_RULES,
    elsewhere: Sequence[str] = (),
) -> Iterator[Found]:
    """Yield the photos of `root` at or below the folder `below` ("" is the whole root).

    A folder that cannot be listed goes to `on_error` with its path below the root, and the walk
    goes on. Links are followed only if the rules say so; then each file comes once, under its
    own name where that is met, else under the first link to it. Links to the folders `elsewhere`
    are left to walks of those. With no rules (None) ignore files are not heeded either.
    """
    return chain.from_iterable(walk_folders(root, below, on_error, rules, elsewhere))


def walk_folders(
    root: str,
    below: str,
    on_error: OnError,
    rules: ScanRules | None = DEFAULT_RULES,
    elsewhere: Sequence[str] = (),
    deep: bool = True,
    on_passed_over: OnPassedOver | None = None,
    inner: FolderRules | None = None,
    on_seam: Callable[[str], None] = lambda folder: None,
) -> Iterator[list[Found]]:
    """`walk`, giving the photos of each folder together; not `deep`, only of the folder `below`.

    `on_passed_over` gets the path below the root of each picture of a kind that is not read. In
    folders that have `inner` rules, a photo has to satisfy those too. A folder that lies on
    another device than the one above it goes to `on_seam` with its path below the root.
    """
    walking = _RemoteWalk if is_url(root) else _Walk
    return walking(
        root, below, on_error, rules, elsewhere, deep, on_passed_over, inner or {}, on_seam
    ).folders()


class _Ignore(NamedTuple):
    """An ignore file's patterns, and the folder they are relative to."""

    prefix: str  # "" or ending in "/"
    matcher: GitIgnoreSpec


class _Patterns(NamedTuple):
    """The patterns of a folder's rules, and the folder that they are relative to."""

    prefix: str  # "" or ending in "/"
    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec | None


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules that hold in a folder: the root's, and those of folders on the way."""

    patterns: tuple[_Patterns, ...] = ()
    follow_links: bool = False
    raw_too: bool = False

    def narrowed(self, prefix: str, rules: ScanRules) -> _Rules:
        """These with the rules of a folder."""
        own = _Patterns(prefix, _matcher(rules.include), _matcher(rules.exclude))
        return _Rules(
            (*self.patterns, own) if own.include or own.exclude else self.patterns,
            self.follow_links or rules.follow_links,
            self.raw_too or rules.raw_too,
        )

    def takes(self, path: str) -> bool:
        """Whether patterns take a photo."""
        return not self.leaves_out(path) and all(
            it.include is None or it.include.check_file(path[len(it.prefix) :]).include
            for it in self.patterns
        )

    def leaves_out(self, path: str) -> bool:
        """Whether patterns leave out a path below the root; a folder's ends in "/"."""
        return any(
            it.exclude is not None and it.exclude.check_file(path[len(it.prefix) :]).include
            for it in self.patterns
        )


class _Folder(NamedTuple):
    """A folder to list."""

    prefix: str  # its path below the root, ending in "/"; "" for the root itself
    ignores: tuple[_Ignore, ...]  # those of the folders above it, the outermost first
    rules: _Rules
    device: int | None = None  # of the folder above it, if that was listed
    linked: bool = False  # reached through a link

    @property
    def path(self) -> str:
        """Its path below the root."""
        return self.prefix[:-1]


class _Listing(NamedTuple):
    """What lies right in a folder, names below the root."""

    photos: list[Found]
    identities: list[Identity]  # of the photos; only where links are followed
    folders: list[str]  # prefixes
    links: list[str]
    others: list[str]  # pictures of kinds that are not read
    has_twins: bool  # whether some may show what another one of the folder does
    has_ignore_file: bool
    device: int | None = None


class _Walk:
    """One walk, and what it has to remember on the way."""

    def __init__(
        self,
        root: str,
        below: str,
        on_error: OnError,
        rules: ScanRules | None,
        elsewhere: Sequence[str],
        deep: bool,
        on_passed_over: OnPassedOver | None,
        inner: FolderRules,
        on_seam: Callable[[str], None],
    ) -> None:
        self._root = root
        self._below = below
        self._on_error = on_error
        self._on_passed_over = on_passed_over
        self._deep = deep
        self._heeding = rules is not None
        self._rules = _Rules().narrowed("", rules or ScanRules(raw_too=True))
        self._inner = inner
        self._on_seam = on_seam
        # An explicit stack: a tree may be deeper than Python's recursion limit.
        self._pending: list[_Folder] = []
        # Only where links are followed:
        self._links: list[_Folder] = []  # looked at last, so that a file's own name is met first
        self._seen: set[Identity] = set()  # folders and photos
        self._elsewhere = elsewhere

    def folders(self) -> Iterator[list[Found]]:
        """Yield the photos of each folder."""
        if self._rules.follow_links or any(it.follow_links for it in self._inner.values()):
            self._seen.update(filter(None, map(identity_of, self._elsewhere)))
        try:
            self._pending += self._start()
        except OSError as error:
            self._on_error(self._below, error)
        yield from self._in_folders()
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                yield from self._behind(link)
                yield from self._in_folders()

    def _start(self) -> list[_Folder]:
        """The folder `below`, with the ignore files above it; nothing if those leave it out."""
        folder = _Folder("", (), self._rules)
        for name in self._below.split("/") if self._below else ():
            ignores = self._ignores_in(folder) if self._heeding else ()
            prefix = f"{folder.prefix}{name}/"
            if _leaves_out(prefix, folder.rules, ignores):
                return []
            folder = _Folder(prefix, ignores, self._rules_in(prefix, folder))
        return [folder]

    def _rules_in(self, prefix: str, above: _Folder) -> _Rules:
        own = self._inner.get(prefix[:-1])
        return above.rules.narrowed(prefix, own) if own else above.rules

    def _ignores_in(self, folder: _Folder) -> tuple[_Ignore, ...]:
        """The ignore files down to a folder that may have one."""
        if os.path.isfile(os.path.join(self._root, folder.path, IGNORE_FILE)):
            return self._with_ignore_file(folder)
        return folder.ignores

    def _in_folders(self) -> Iterator[list[Found]]:
        while self._pending:
            folder = self._pending.pop()
            try:
                listing = self._list(folder)
                photos = self._chosen(folder, listing)
            except OSError as error:
                self._on_error(folder.path, error)
                continue
            yield photos

    def _list(self, folder: _Folder) -> _Listing:
        path = os.path.join(self._root, folder.path)
        if not _BY_DESCRIPTOR:
            return self._on_device(folder, path)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return self._on_device(folder, descriptor)
        finally:
            os.close(descriptor)

    def _on_device(self, folder: _Folder, place: str | int) -> _Listing:
        device = os.stat(place).st_dev
        if folder.device is not None and device != folder.device:
            self._on_seam(folder.path)
        return self._look(folder, place)._replace(device=device)

    def _look(self, folder: _Folder, place: str | int) -> _Listing:
        photos: list[Found] = []
        identities: list[Identity] = []
        folders: list[str] = []
        links: list[str] = []
        others: list[str] = []
        has_twins = has_ignore_file = False
        prefix = folder.prefix
        following = folder.rules.follow_links
        # A run over unchanged photos spends its time in this loop, so nothing is called that
        # need not be; Found's own constructor would take three times as long.
        new = tuple.__new__
        with os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                extension = name[name.rfind(".") :].lower()
                try:
                    if extension in EXTENSIONS and entry.is_file(follow_symlinks=False):
                        if name[0] == ".":
                            continue
                        stat = entry.stat(follow_symlinks=False)
                        photos.append(new(Found, (prefix + name, stat.st_size, stat.st_mtime_ns)))
                        if extension in _SECOND:
                            has_twins = True
                        if following:
                            identities.append((stat.st_dev, stat.st_ino))
                    elif entry.is_dir(follow_symlinks=False):
                        if not is_skipped_folder(name):
                            folders.append(f"{prefix}{name}/")
                    elif name == IGNORE_FILE:
                        has_ignore_file = entry.is_file()
                    elif extension in PASSED_OVER and entry.is_file(follow_symlinks=False):
                        if name[0] != ".":
                            others.append(prefix + name)
                    elif following and entry.is_symlink() and not is_skipped_folder(name):
                        links.append(prefix + name)
                except FileNotFoundError:
                    continue  # deleted between the listing and the look
                except OSError as error:
                    self._on_error(prefix + name, error)
        return _Listing(photos, identities, folders, links, others, has_twins, has_ignore_file)

    def _chosen(self, folder: _Folder, listing: _Listing) -> list[Found]:
        """The photos of a folder that the rules take; its subfolders are put on the stack."""
        photos, ignores, rules = listing.photos, folder.ignores, folder.rules
        if listing.has_ignore_file and self._heeding:
            ignores = self._with_ignore_file(folder)
        if rules.follow_links and not is_url(self._root):
            photos = self._unseen(folder, listing)
        if ignores or rules.patterns:
            photos = [photo for photo in photos if _takes(photo.path, rules, ignores)]
        if listing.has_twins:
            photos = list(_without_twins(photos, rules.raw_too))
        if listing.others and self._on_passed_over:
            for path in listing.others:
                if _takes(path, rules, ignores):
                    self._on_passed_over(path)
        if not self._deep:
            return photos
        for prefix in listing.folders:
            if not _leaves_out(prefix, rules, ignores):
                own = self._rules_in(prefix, folder) if self._inner else rules
                self._pending.append(_Folder(prefix, ignores, own, listing.device, folder.linked))
        self._links += [
            _Folder(f"{path}/", ignores, rules, listing.device, True) for path in listing.links
        ]
        return photos

    # Links

    def _unseen(self, folder: _Folder, listing: _Listing) -> list[Found]:
        """The photos of a folder, without those that a link shows a second time."""
        place = identity_of(os.path.join(self._root, folder.path))
        if folder.linked and place in self._seen:
            listing.folders.clear()  # each folder once: no loop can arise
            listing.links.clear()
            listing.others.clear()
            return []
        if place:
            self._seen.add(place)
        pairs = list(zip(listing.photos, listing.identities, strict=True))
        fresh = [photo for photo, own in pairs if not (folder.linked and own in self._seen)]
        self._seen.update(listing.identities)
        return fresh

    def _behind(self, link: _Folder) -> Iterator[list[Found]]:
        """The photo that a link leads to; a folder is put on the stack."""
        path = os.path.join(self._root, link.path)
        try:
            stat = os.stat(path)
        except OSError as error:
            if not _is_deleted(path):
                self._on_error(link.path, error)
            return
        if self._is_covered(os.path.realpath(path)):
            return
        own = (stat.st_dev, stat.st_ino)
        if os.path.isdir(path):
            if not _leaves_out(link.prefix, link.rules, link.ignores):
                self._pending.append(link)
        elif (
            is_photo_name(os.path.basename(path))
            and S_ISREG(stat.st_mode)
            and own not in self._seen
            and _takes(link.path, link.rules, link.ignores)
        ):
            self._seen.add(own)
            yield [Found(link.path, stat.st_size, stat.st_mtime_ns)]

    def _is_covered(self, real: str) -> bool:
        """Whether a place is found without the link: in another root, or elsewhere in this one."""
        if any(_is_within(real, root) for root in self._elsewhere):
            return True
        start = os.path.realpath(os.path.join(self._root, self._below))
        return _is_within(real, os.path.realpath(self._root)) and not _is_within(real, start)

    # Ignore files

    def _with_ignore_file(self, folder: _Folder) -> tuple[_Ignore, ...]:
        """The ignore files down to a folder that has one."""
        content = self._read_ignore_file(folder).removeprefix(codecs.BOM_UTF8)
        lines = [line.decode("utf-8", "surrogateescape") for line in content.splitlines()]
        matcher = _matcher([line for line in lines if _is_pattern(line)])
        return (*folder.ignores, _Ignore(folder.prefix, matcher)) if matcher else folder.ignores

    def _read_ignore_file(self, folder: _Folder) -> bytes:
        with open(os.path.join(self._root, folder.path, IGNORE_FILE), "rb") as file:
            return file.read()


class _RemoteWalk(_Walk):
    """A walk at a URL, where there are no links, and folders are what names begin with."""

    def _in_folders(self) -> Iterator[list[Found]]:
        with ThreadPoolExecutor(_AHEAD, "clipsearch-list") as listers:
            asked = deque[tuple[_Folder, Callable[[], _Listing]]]()
            while self._pending or asked:
                while self._pending and len(asked) < _AHEAD:
                    folder = self._pending.pop()
                    asked.append((folder, listers.submit(self._list, folder).result))
                folder, listed = asked.popleft()
                try:
                    photos = self._chosen(folder, listed())
                except OSError as error:
                    self._on_error(folder.path, error)
                    continue
                yield photos

    def _list(self, folder: _Folder) -> _Listing:
        from clipsearch.photos.files.remote import entries

        listing = _Listing([], [], [], [], [], False, False)
        has_twins = has_ignore_file = False
        for entry in entries(self._root, folder.prefix):
            name = entry.name
            if entry.is_folder:
                if not is_skipped_folder(name):
                    listing.folders.append(f"{folder.prefix}{name}/")
            elif is_photo_name(name):
                listing.photos.append(Found(folder.prefix + name, entry.size, entry.mtime_ns))
                has_twins |= extension_of(name) in _SECOND
            elif name == IGNORE_FILE:
                has_ignore_file = True
            elif name[:1] != "." and extension_of(name) in PASSED_OVER:
                listing.others.append(folder.prefix + name)
        return listing._replace(has_twins=has_twins, has_ignore_file=has_ignore_file)

    def _ignores_in(self, folder: _Folder) -> tuple[_Ignore, ...]:
        try:
            return self._with_ignore_file(folder)
        except FileNotFoundError:
            return folder.ignores

    def _read_ignore_file(self, folder: _Folder) -> bytes:
        from clipsearch.photos.files.remote import fetch

        return fetch(joined(self._root, folder.prefix + IGNORE_FILE), _MOST_IGNORE_BYTES)


def _takes(path: str, rules: _Rules, ignores: Sequence[_Ignore]) -> bool:
    return rules.takes(path) and not _is_ignored(path, ignores)


def _leaves_out(path: str, rules: _Rules, ignores: Sequence[_Ignore]) -> bool:
    """Whether patterns leave out a path below the root; a folder's ends in "/"."""
    return rules.leaves_out(path) or _is_ignored(path, ignores)


def _is_ignored(path: str, ignores: Sequence[_Ignore]) -> bool:
    for prefix, matcher in reversed(ignores):  # the nearest that has a say decides
        verdict = matcher.check_file(path[len(prefix) :]).include
        if verdict is not None:
            return verdict
    return False


def _matcher(patterns: Iterable[str]) -> GitIgnoreSpec | None:
    """Patterns made ready; None for none.

    Raises:
        ValueError: one of them is no pattern.
    """
    lines = list(patterns)
    if not lines:
        return None
    # Imported late: hardly any run has patterns.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _is_pattern(line: str) -> bool:
    try:
        return _matcher([line]) is not None
    except ValueError:
        return False  # as git does, a line that means nothing is passed over


def _without_twins(photos: Sequence[Found], raw_too: bool) -> Iterator[Found]:
    """The photos of one folder, without what shows another one of them.

    Such are thumbnails, and, unless `raw_too`, RAW files whose picture lies there developed.
    """
    parts = [os.path.splitext(photo.path.lower()) for photo in photos]
    developed = {stem for stem, extension in parts if extension in _DEVELOPED}
    pictures = {stem for stem, extension in parts if extension != _THUMBNAIL}
    for photo, (stem, extension) in zip(photos, parts, strict=True):
        if extension == _THUMBNAIL:
            is_twin = stem in pictures
        else:
            is_twin = extension in RAW_EXTENSIONS and stem in developed and not raw_too
        if not is_twin:
            yield photo


def identity_of(path: str) -> Identity | None:
    """What tells a file or folder from all others, whatever its name; None if it is not there."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def is_real_folder(root: str, below: str) -> bool:
    """Whether there is such a folder below a root, and not just a link to one."""
    place = root
    for name in below.split("/") if below else ():
        place = os.path.join(place, name)
        if os.path.islink(place):
            return False
    return os.path.isdir(place)


def _is_deleted(link: str) -> bool:
    """Whether what a photo's link leads to was deleted, and is not just on a drive that is away."""
    folder = os.path.dirname(os.path.realpath(link))
    return is_photo_name(os.path.basename(link)) and os.path.isdir(folder)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
