"""The models whose vectors the catalog has."""

from __future__ import annotations

from clipsearch.store.catalog.connection import Connection
from clipsearch.store.catalog.records import Model


class Models(Connection):
    """The models of an index."""

    def models(self) -> list[Model]:
        """The models of this index, its main one first."""
        columns = "id, spec, weights, preprocess, dim, note, runtime"
        return [
            Model(*row) for row in self._db.execute(f"SELECT {columns} FROM models ORDER BY id")
        ]

    def unused_models(self) -> list[Model]:
        """Those that embedded no photo there is, nor, where somebody chose them, one that left."""
        now, left = (
            {id for (id,) in self._db.execute(f"SELECT DISTINCT model_id FROM {table}")}
            for table in ("vectors", "departed_vectors")
        )
        held = self.models()
        return [it for it in held if it.id not in now and (it.note or it.id not in left)]

    def add_model(
        self, spec: str, weights: str, preprocess: str, dim: int, note: str | None
    ) -> Model:
        """Remember a model, and give it with its id."""
        with self.transaction():
            cursor = self._db.execute(
                "INSERT INTO models (spec, weights, preprocess, dim, note, runtime)"
                " VALUES (?, ?, ?, ?, ?, 'auto')",
                (spec, weights, preprocess, dim, note),
            )
        return Model(int(cursor.lastrowid or 0), spec, weights, preprocess, dim, note)

    def set_runtime(self, model_id: int, runtime: str) -> None:
        """Remember what embeds pictures with a model: "auto", "torch" or "onnx"."""
        with self.transaction():
            self._db.execute("UPDATE models SET runtime = ? WHERE id = ?", (runtime, model_id))

    def renew_model(self, model_id: int, weights: str, preprocess: str, dim: int) -> None:
        """Give a model other weights, with which nothing is embedded yet."""
        with self.transaction():
            self._clear(model_id)
            self._db.execute(
                "UPDATE models SET weights = ?, preprocess = ?, dim = ? WHERE id = ?",
                (weights, preprocess, dim, model_id),
            )

    def set_note(self, model_id: int, note: str | None) -> None:
        """Remember why a model is here that nobody chose, or with None that somebody did."""
        with self.transaction():
            self._db.execute("UPDATE models SET note = ? WHERE id = ?", (note, model_id))

    def remove_model(self, model_id: int) -> None:
        """Forget a model with its vectors."""
        with self.transaction():
            self._clear(model_id)
            self._db.execute("DELETE FROM models WHERE id = ?", (model_id,))

    def _clear(self, model_id: int) -> None:
        """Within a transaction."""
        for table in ("questions", "vectors", "departed_vectors", "batches"):
            self._db.execute(f"DELETE FROM {table} WHERE model_id = ?", (model_id,))
