"""Walk a folder and list the photos below it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

# Extensions only choose candidates; what a file is comes from its content when it is decoded.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".tif", ".tiff"}
    | {".bmp", ".dib", ".jp2", ".j2k", ".jpx", ".jpf", ".avif", ".avifs"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)

# Folders that hold thumbnails, rubbish or a program's own files, never somebody's photos.
SKIPPED_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "node_modules", "__macosx", "lost+found"}
    | {"system volume information", "__pycache__"}
)


class Found(NamedTuple):
    """One photo file as the disk shows it; a million of these must fit in memory."""

    path: str  # below the root, with forward slashes
    size: int  # bytes
    mtime_ns: int


def is_photo_name(name: str) -> bool:
    """Whether a file of this name may be a photo: a known extension and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def is_skipped_folder(name: str) -> bool:
    """Whether a folder of this name is left out with all it holds."""
    return name.startswith(".") or name.lower() in SKIPPED_FOLDERS


def walk(root: str, below: str, on_error: Callable[[str, OSError], None]) -> Iterator[Found]:
    """Yield the photos of `root` at or below the folder `below` ("" is the whole root).

    Links are not followed, so each file comes once and no loop can arise. A folder that cannot
    be listed goes to `on_error` with its path below the root, and the walk goes on.
    """
    # An explicit stack: a tree may be deeper than Python's recursion limit.
    pending = [below]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                listing = list(entries)
        except OSError as error:
            on_error(folder, error)
            continue
        prefix = f"{folder}/" if folder else ""
        for entry in listing:
            name = entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not is_skipped_folder(name):
                        pending.append(prefix + name)
                elif is_photo_name(name) and entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    yield Found(prefix + name, stat.st_size, stat.st_mtime_ns)
            except FileNotFoundError:
                continue  # deleted between the listing and the look
            except OSError as error:
                on_error(prefix + name, error)
