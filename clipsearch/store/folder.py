"""The folder of an index: where it is, whether it is one, and the right to write to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch.errors import INDEX_FOLDER, LibraryError, arg
from clipsearch.replacing import make_private
from clipsearch.store.catalog import Catalog
from clipsearch.store.database import FILE_NAME, check_not_emptied
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock
from clipsearch.store.ownership import others_in

StrPath = str | os.PathLike[str]

# A watcher writes for a moment, and then others may.
PATIENCE = 3.0  # seconds


def default_folder() -> Path:
    """The index folder where none is named: CLIPSEARCH_INDEX, or the platform's data folder."""
    chosen = os.environ.get("CLIPSEARCH_INDEX")
    if chosen:
        return expanded(chosen)
    from platformdirs import user_data_path

    return user_data_path("clipsearch", appauthor=False) / "index"


def usual_is_there() -> bool:
    """Whether there is an index where none is named."""
    return (default_folder() / FILE_NAME).is_file()


def expanded(path: StrPath) -> Path:
    """A path with the home folder in the place of `~`; left as it is where there is none."""
    return Path(os.path.expanduser(path))


def make_folder(folder: Path) -> None:
    """Make the folder of an index, for its owner alone, unless it is there.

    Raises:
        LibraryError: it holds what is not an index's, or cannot be a folder.
    """
    try:
        make_private(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise LibraryError(
            f"{folder} is or lies in a file; name a folder with {arg(INDEX_FOLDER)}"
        ) from error
    if _is_begun(folder):
        return  # opening it tells whether it is a catalog
    check_not_emptied(folder)
    others = others_in(folder)
    if others and not _is_begun(folder):  # still not: another process may be making it just now
        raise LibraryError(
            f"{folder} is no index and holds other files ({others[0]}...); name an empty or a"
            f" new folder with {arg(INDEX_FOLDER)}"
        )


def _is_begun(folder: Path) -> bool:
    """Whether a file that is not empty lies where a catalog would."""
    with suppress(FileNotFoundError):
        return (folder / FILE_NAME).stat().st_size > 0
    return False


class IndexFolder:
    """The folder of an index that is open; another may come to be in its place meanwhile."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self.path = path
        self._catalog = catalog
        self._inode = _inode_of(path)

    def is_replaced(self) -> bool:
        """Whether another index, or none, stands by now where this one was opened."""
        return _inode_of(self.path) != self._inode

    def check(self) -> None:
        """Raise LibraryError if it is replaced: what is written would be lost with what is open."""
        if self.is_replaced():
            raise LibraryError(
                f"another index, or none, is in {self.path} by now; run the same command again"
            )

    @contextmanager
    def writing(self, wait: float = 0) -> Iterator[None]:
        """Hold the right to write to the index, waited for so many seconds.

        Raises:
            LibraryBusy: another process holds it.
            LibraryError: it may not be written, or is replaced.
        """
        with explained(self.path):
            self.check()  # before there is a lock in a folder that is no index any more
            self._catalog.open_to_write()
            with write_lock(self.path, wait):
                self.check()
                yield

    def remove_lock(self) -> None:
        """Remove what tells who writes, of an index that is no more."""
        with suppress(OSError):
            (self.path / "index.lock").unlink()

    def sizes(self) -> dict[str, int]:
        """The bytes that the "catalog", the "vectors" and the "models" take, and the "total"."""
        patterns = {"catalog": FILE_NAME + "*", "vectors": "vectors/*", "models": "models/*/*"}
        sizes = {name: self._bytes(pattern) for name, pattern in patterns.items()}
        return sizes | {"total": sum(sizes.values())}

    def _bytes(self, pattern: str) -> int:
        """What files take; one that another process replaces or removes meanwhile is none."""
        total = 0
        for file in self.path.glob(pattern):
            with suppress(FileNotFoundError):
                total += file.stat().st_size
        return total


def _inode_of(folder: Path) -> tuple[int, int] | None:
    """Tells the catalog's file from another that takes its place; None if there is none."""
    try:
        found = os.stat(folder / FILE_NAME)
    except OSError:
        return None
    return found.st_dev, found.st_ino
