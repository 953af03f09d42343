"""What duplicates are found by: the files of contents, and their perceptual hashes."""

from __future__ import annotations

from collections.abc import Iterable

from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.facts.rows import path_in
from clipsearch.store.catalog.records import PhotoFile

WRITE_PICTURE = "INSERT OR REPLACE INTO pictures VALUES (?, ?)"


class Pictures(Connection):
    """The pictures of an index, and the files that show them."""

    def files(self) -> list[PhotoFile]:
        """The files of all photos."""
        rows = self._db.execute(
            "SELECT id, digest, size, mtime_ns, width, height,"
            " CASE taken_from WHEN 'exif' THEN substr(taken_at, 1, 19) END FROM photos"
        )
        return [PhotoFile(*row) for row in rows]

    def pictures(self) -> dict[str, bytes]:
        """The perceptual hashes that are known, by digest; empty bytes for a plain picture."""
        return dict(self._db.execute("SELECT digest, phash FROM pictures"))

    def add_pictures(self, pictures: Iterable[tuple[str, bytes]]) -> None:
        """Remember perceptual hashes, by digest."""
        with self.transaction():
            self._db.executemany(WRITE_PICTURE, pictures)

    def paths_without_picture(self) -> dict[str, str]:
        """A file's absolute path for each content whose perceptual hash is not known."""
        rows = self._db.execute(
            "SELECT digest, roots.path, photos.path FROM photos"
            " JOIN roots ON roots.id = root_id"
            " WHERE NOT EXISTS (SELECT 1 FROM pictures WHERE pictures.digest = photos.digest)"
        )
        return {digest: path_in(root, path) for digest, root, path in rows}
