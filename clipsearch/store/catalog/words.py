"""Words: questions that were asked, captions that models wrote, and what is found by words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clipsearch.encoders.reading.line import Line
from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.facts.rows import path_in
from clipsearch.store.catalog.selection import selected
from clipsearch.store.conditions import EVERYTHING, Condition
from clipsearch.store.database import fulltext, nearly, readings
from clipsearch.store.database.readings import Readings

MOST_QUESTIONS = 10_000  # that are remembered; the oldest go first


class Words(Connection):
    """The words of an index."""

    def answered(self, model_id: int, texts: Iterable[str]) -> dict[str, bytes]:
        """The float32 rows of those texts that a model has embedded before, by text."""
        select = "SELECT vector FROM questions WHERE model_id = ? AND text = ?"
        found = ((text, self._db.execute(select, (model_id, text)).fetchone()) for text in texts)
        return {text: row[0] for text, row in found if row}

    def remember(self, model_id: int, vectors: Mapping[str, bytes]) -> None:
        """Keep the float32 rows of texts, unless the index is read-only or being written to."""
        rows = [(model_id, text, vector) for text, vector in vectors.items()]
        self._in_passing(lambda: self._remember(rows))

    def _remember(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO questions VALUES (?, ?, ?)", rows)
        self._db.execute(
            "DELETE FROM questions WHERE rowid <= (SELECT max(rowid) FROM questions) - ?",
            (MOST_QUESTIONS,),
        )

    def add_captions(self, model: str, captions: Mapping[str, str]) -> None:
        """Remember what a model wrote, by digest."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO captions VALUES (?, ?, ?)",
                [(digest, model, text) for digest, text in captions.items()],
            )
            fulltext.renew(self._db, "digest = ?", ((digest,) for digest in captions))

    def captions_of(self, digest: str) -> dict[str, str]:
        """What models wrote about a content, by the model's name."""
        select = (
            f"SELECT model, text FROM captions WHERE digest = ? AND {_HAS_PHOTO} ORDER BY model"
        )
        return dict(self._db.execute(select, (digest,)))

    def count_captions(self) -> dict[str, int]:
        """How many contents of photos each model wrote a caption for."""
        select = f"SELECT model, count(*) FROM captions WHERE {_HAS_PHOTO} GROUP BY 1 ORDER BY 1"
        return dict(self._db.execute(select))

    def paths_without_caption(
        self, model: str, selection: Condition = EVERYTHING
    ) -> dict[str, str]:
        """A file's absolute path for each selected photos' content without a model's caption."""
        return self._paths_without("captions", model, selection)

    def add_readings(self, model: str, found: Mapping[str, Sequence[Line]]) -> None:
        """Remember the text that a model read, by digest; that there is none too."""
        with self.transaction():
            readings.add(self._db, model, found)

    def lines_of(self, digest: str) -> dict[str, list[Line]]:
        """The text that models read in a content, by the model's name."""
        return readings.lines_of(self._db, digest)

    def lines_of_photos(self, ids: Sequence[int]) -> dict[int, list[Line]]:
        """The lines that were read in photos, by their ids; those without any are left out."""
        return readings.lines_of_photos(self._db, ids)

    def count_readings(self) -> dict[str, Readings]:
        """How many contents of photos each model read, and in how many there is text."""
        return readings.count(self._db)

    def paths_without_reading(
        self, model: str, selection: Condition = EVERYTHING
    ) -> dict[str, str]:
        """A file's absolute path for each selected photos' content that a model did not read."""
        return self._paths_without("readings", model, selection)

    def _paths_without(self, table: str, model: str, selection: Condition) -> dict[str, str]:
        where = selected(selection)
        rows = self._db.execute(
            "SELECT digest, roots.path, photos.path FROM photos"
            f" JOIN roots ON roots.id = root_id WHERE ({where.condition}) AND NOT EXISTS"
            f" (SELECT 1 FROM {table} AS made WHERE made.digest = photos.digest AND model = ?)"
            " ORDER BY photos.id",
            (*where.values, model),
        )
        return {digest: path_in(root, path) for digest, root, path in rows}

    def photos_with_word(self, word: str, most: int) -> list[int]:
        """The ids of photos that a word is written about, of `most` at most, in no order."""
        return fulltext.photos_with(self._db, word, most)

    def photos_nearly_saying(self, text: str) -> list[int]:
        """The ids of photos in which these words were read, where a letter may be wrong in each."""
        return nearly.photos_nearly_saying(self._db, text)

    def is_written(self, text: str) -> bool:
        """Whether words stand one right after the other in what is written about any photo."""
        wanted = fulltext.saying(text)
        written = "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1"
        return bool(wanted and self._db.execute(written, (wanted,)).fetchone())

    def mend_words(self) -> None:
        """Have the full-text tables as they are to be, whatever was written by others."""
        with self.transaction():
            fulltext.mend(self._db)


_HAS_PHOTO = "EXISTS (SELECT 1 FROM photos WHERE photos.digest = captions.digest)"
