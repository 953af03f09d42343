"""The folders of the index: their rules, what is kept out of them, and the file systems in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from clipsearch.photos.files.inode import Inode
from clipsearch.photos.files.urls import is_below, path_below
from clipsearch.photos.scanning.rules import ScanRules
from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.records import Listing, Root, Seams
from clipsearch.store.database import fulltext
from clipsearch.store.database.paths import from_db, to_db


class Roots(Connection):
    """The roots of an index."""

    def roots(self) -> list[Root]:
        """The folders of this index, by path."""
        rows = self._db.execute("SELECT id, path FROM roots ORDER BY path")
        return [Root(id, from_db(path)) for id, path in rows]

    def add_root(self, path: str) -> Root:
        """Remember a folder; roots below it become part of it, their photos kept."""
        with self.transaction():
            inner = [root for root in self.roots() if is_below(root.path, path)]
            cursor = self._db.execute("INSERT INTO roots (path) VALUES (?)", (to_db(path),))
            root = Root(int(cursor.lastrowid or 0), path)
            for old in inner:
                self._absorb(old, root)
        return root

    def remove_root(self, root_id: int) -> None:
        """Forget a folder that holds no photos any more."""
        with self.transaction():
            self._delete_root(root_id)

    def _delete_root(self, root_id: int) -> None:
        for table in ("failures", "excluded", "seams", "folder_rules", "folders", "listings"):
            self._db.execute(f"DELETE FROM {table} WHERE root_id = ?", (root_id,))
        self._db.execute("DELETE FROM roots WHERE id = ?", (root_id,))

    def _absorb(self, old: Root, root: Root) -> None:
        folder = path_below(old.path, root.path)
        if not self.seams(old.id):  # whatever it lies on, it need not be there now
            self._set_seams(old.id, {"": frozenset({""})})
        self._take_along(old, root, folder)
        for table in ("photos", "failures", "excluded", "seams", "folder_rules", "folders"):
            rows = self._db.execute(
                f"SELECT rowid, path FROM {table} WHERE root_id = ?", (old.id,)
            ).fetchall()
            self._db.executemany(
                f"UPDATE {table} SET root_id = ?, path = ? WHERE rowid = ?",
                [(root.id, to_db(_under(folder, from_db(path))), rowid) for rowid, path in rows],
            )
        self._db.execute("DELETE FROM listings WHERE root_id = ?", (old.id,))
        fulltext.renew(self._db, "root_id = ?", [(root.id,)])
        self._db.execute("DELETE FROM roots WHERE id = ?", (old.id,))

    def carry_rules(self, old: Root, root: Root, folder: str) -> None:
        """Have the rules and the exclusions of a root hold also in a folder of another one.

        `folder` is its path there, "" for all of it.
        """
        with self.transaction():
            self._take_along(old, root, folder)
            for path in self.exclusions(old.id):
                values = (root.id, to_db(_under(folder, path)))
                self._db.execute("INSERT OR IGNORE INTO excluded VALUES (?, ?)", values)
            for path, rules in self.folder_rules(old.id).items():
                self._set_rules(root.id, _under(folder, path), rules)

    def _take_along(self, old: Root, root: Root, folder: str) -> None:
        """Have the rules of a root hold in a folder of another one, where none do yet."""
        rules = self.rules(old.id)
        known = self.folder_rules(root.id).get(folder) if folder else self.rules(root.id)
        if rules != ScanRules() and known in (None, ScanRules()):
            self._set_rules(root.id, folder, rules)

    def rules(self, root_id: int) -> ScanRules:
        """Which photos of a root are looked at."""
        (text,) = self._db.execute("SELECT rules FROM roots WHERE id = ?", (root_id,)).fetchone()
        return _rules(text)

    def folder_rules(self, root_id: int) -> dict[str, ScanRules]:
        """What holds besides in folders that were roots before, by their paths below the root."""
        rows = self._db.execute(
            "SELECT path, rules FROM folder_rules WHERE root_id = ?", (root_id,)
        )
        return {from_db(path): _rules(text) for path, text in rows}

    def follows_links(self, root_id: int, path: str = "") -> bool:
        """Whether links are followed on the way to a path below a root; for "", anywhere."""
        own = self.folder_rules(root_id).items()
        return self.rules(root_id).follow_links or any(
            rules.follow_links for folder, rules in own if not path or is_below(path, folder)
        )

    def set_rules(self, root_id: int, rules: ScanRules, folder: str = "") -> None:
        """Remember which photos of a root are looked at, in place of what was said before.

        Or of a folder that has rules of its own, by its path below the root.
        """
        with self.transaction():
            self._set_rules(root_id, folder, rules)

    def _set_rules(self, root_id: int, folder: str, rules: ScanRules) -> None:
        text = json.dumps(asdict(rules))
        if not folder:
            self._db.execute("UPDATE roots SET rules = ? WHERE id = ?", (text, root_id))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO folder_rules VALUES (?, ?, ?)",
                (root_id, to_db(folder), text),
            )

    def seams(self, root_id: int) -> Seams:
        """The file systems that photos of a root were seen on, by the folders where each begins."""
        found: dict[str, frozenset[str]] = {}
        rows = self._db.execute("SELECT path, volume FROM seams WHERE root_id = ?", (root_id,))
        for path, volume in rows:
            found[from_db(path)] = found.get(from_db(path), frozenset()) | {volume}
        return found

    def set_seams(self, root_id: int, seams: Seams) -> None:
        """Remember the file systems of a root, in place of what was known before."""
        with self.transaction():
            self._set_seams(root_id, seams)

    def _set_seams(self, root_id: int, seams: Seams) -> None:
        self._db.execute("DELETE FROM seams WHERE root_id = ?", (root_id,))
        self._db.executemany(
            "INSERT INTO seams VALUES (?, ?, ?)",
            [(root_id, to_db(path), volume) for path, all in seams.items() for volume in all],
        )

    def folders(self, root_id: int) -> dict[str, Inode]:
        """The inodes that folders of a root had when they last showed photos."""
        rows = self._db.execute(
            "SELECT path, device, inode FROM folders WHERE root_id = ?", (root_id,)
        )
        return {from_db(path): (device, inode) for path, device, inode in rows}

    def set_folders(self, root_id: int, shown: Mapping[str, Inode], gone: Iterable[str]) -> None:
        """Remember the inodes of folders of a root, and forget those of others."""
        rows = [(root_id, to_db(path), *inode) for path, inode in shown.items()]
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?)", rows)
            self._db.executemany(
                "DELETE FROM folders WHERE root_id = ? AND path = ?",
                [(root_id, to_db(path)) for path in gone],
            )

    def listings(self, root_id: int, model_id: int | None) -> dict[str, Listing | None]:
        """The listings that were all that is held of each folder of a root, by its path.

        None where that is not known, or a photo is not embedded by the model. Paths that are not
        text are left out: see `without_listing`.
        """
        rows = self._db.execute(
            "SELECT path, photos, CASE WHEN model_id = ? THEN digest END FROM listings"
            " WHERE root_id = ?",
            (model_id, root_id),
        )
        return {path: Listing(count, digest) if digest else None for path, count, digest in rows}

    def set_listings(
        self,
        root_id: int,
        model_id: int | None,
        known: Mapping[str, Listing],
        bare: Iterable[str],
    ) -> None:
        """Remember listings of folders of a root, and forget folders of which nothing is held."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM listings WHERE root_id = ? AND path = ?",
                [(root_id, path) for path in bare],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO listings VALUES (?, ?, ?, ?, ?)",
                [(root_id, path, model_id, *listing) for path, listing in known.items()],
            )

    def exclusions(self, root_id: int) -> set[str]:
        """Paths below a root that were forgotten by hand and are not to come back."""
        rows = self._db.execute("SELECT path FROM excluded WHERE root_id = ?", (root_id,))
        return {from_db(path) for (path,) in rows}

    def exclude(self, root_id: int, path: str) -> None:
        """Keep a path below a root out of later runs."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO excluded VALUES (?, ?)", (root_id, to_db(path)))

    def include(self, root_id: int, path: str) -> None:
        """Take back the exclusion of a path."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM excluded WHERE root_id = ? AND path = ?", (root_id, to_db(path))
            )


def _rules(text: str | None) -> ScanRules:
    if not text:
        return ScanRules()
    kept = json.loads(text)
    kept |= {name: tuple(kept[name]) for name in ("include", "exclude")}
    return ScanRules(**kept)


def _under(folder: str, path: str) -> str:
    """What lies at `path` below a folder, both below a root and "" for itself."""
    return "/".join(filter(None, (folder, path)))
