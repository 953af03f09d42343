"""Where is kept what several indexes share and what can always be made again."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch.replacing import (
    draft_folder,
    is_unfinished,
    make_private,
    put_in_place,
    remove,
    unfinished,
)

SUMS = "SHA256SUMS"  # a file with the SHA-256 of each of the others, as sha256sum writes it
TRIED = "tried"  # a file that says of a folder that what belongs there cannot be made
LEAST_ROOM = 200_000_000  # bytes; the towers of a small model

_LONG = 86_400  # seconds, in which what is being written is done
_PIECE = 10_000_000  # bytes


def cache_folder() -> Path:
    """CLIPSEARCH_CACHE, or the platform's folder for caches."""
    chosen = os.environ.get("CLIPSEARCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("clipsearch", appauthor=False)


def is_settled(folder: Path, last: str) -> bool:
    """Whether what a folder of the cache is for was made, with `last` in it, or cannot be made.

    A folder alone says nothing: who clears caches may leave it, or some of its files.
    """
    return (folder / last).is_file() or (folder / TRIED).is_file()


def give_up(folder: Path) -> None:
    """Note that what a folder of the cache is for cannot be made; where that can be noted."""
    with suppress(OSError):
        make_private(cache_folder())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRIED).touch()


@contextmanager
def made_in_cache(folder: Path, last: str) -> Iterator[Path]:
    """A draft that takes the place of a folder of the cache when it holds the file `last`.

    Where another process was quicker, what that made stays, which others may have open by now.

    Raises:
        OSError: the disk is full or read-only.
    """
    place = folder.parent
    make_private(cache_folder())
    _clear_killed(place)
    with draft_folder(place) as draft:
        yield draft
        if not (draft / last).is_file() or (folder / last).is_file():
            return
        _write_sums(draft)
        remove(folder)  # what was cleared in part, or something else
        try:
            put_in_place(draft, folder)
        except OSError:
            if not (folder / last).is_file():
                raise


def _write_sums(folder: Path) -> None:
    names = sorted(it.relative_to(folder).as_posix() for it in folder.rglob("*") if it.is_file())
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damaged() -> Iterator[Path]:
    """The folders of the cache that hold another thing than was written to them."""
    for sums in sorted(cache_folder().glob(f"*/*/{SUMS}")):
        try:
            told = [line.split("  ", 1) for line in sums.read_text("utf-8").splitlines()]
            is_whole = all(sha256_of(sums.parent / name) == digest for digest, name in told)
        except (OSError, ValueError):
            is_whole = False
        if not is_whole:
            yield sums.parent


def has_room() -> bool:
    """Whether something can be written to the cache, of the size of a small model."""
    try:
        make_private(cache_folder())
        with draft_folder(cache_folder()) as draft:
            return shutil.disk_usage(draft).free > LEAST_ROOM
    except OSError:
        return False


def check_takes_more(folder: Path) -> None:
    """Raise OSError where no more can be written, for who was told of that in another way.

    By writing: what a disk has free is not what a person may take of it.
    """
    probe = unfinished(folder)
    try:
        with probe.open("wb") as file:
            for _ in range(LEAST_ROOM // _PIECE):
                file.write(bytes(_PIECE))
    finally:
        probe.unlink(missing_ok=True)


def _clear_killed(place: Path) -> None:
    """Remove the drafts of processes that were killed, long ago."""
    with suppress(OSError):
        for path in place.iterdir():
            if is_unfinished(path.name) and time.time() - path.stat().st_mtime > _LONG:
                remove(path)
