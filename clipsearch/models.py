"""The models of one index: which of them is meant, and their encoders, loaded when needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipsearch import encoders
from clipsearch.encoders.spec import Spec, parse_spec, sha256_of
from clipsearch.encoders.texts import folder_of, open_exported
from clipsearch.errors import InvalidInput, ModelError, ModelMismatch
from clipsearch.store.catalog import Catalog, Model

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("clipsearch")


class TextEncoder(Protocol):
    """What embeds words: an encoder, or what was exported of one."""

    @property
    def context(self) -> int:
        """How many tokens of text it reads."""

    @property
    def logit_scale(self) -> float:
        """Cosines times this are the logits that the model was trained with."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        ...


class Models:
    """The models of one index, the main one being the first that was added."""

    def __init__(
        self,
        catalog: Catalog,
        wanted: Spec | None,
        device: str,
        encoder: encoders.Encoder | None = None,
    ) -> None:
        self._catalog = catalog
        self._wanted = wanted
        self._device = device
        self._given = encoder  # of the model that is wanted
        self._encoders: dict[int, encoders.Encoder] = {}  # by the model's id
        self._texts: dict[int, TextEncoder] = {}
        self._loading = threading.Lock()
        if encoder is not None and (model := self._known()):
            self._encoders[model.id] = _checked(encoder, model)

    def chosen(self) -> Model | None:
        """The model asked for, or else the main one; None if the index has no model yet.

        Raises:
            ModelMismatch: the index has models, but not the one asked for.
        """
        model, held = self._known(), self._catalog.models()
        if model is None and held:
            raise ModelMismatch(
                f"this index holds no embeddings of {self._wanted}; it holds those of"
                f" {', '.join(other.spec for other in held)}.\nTo add them:"
                f" clipsearch index --model {self._wanted}"
            )
        return model

    def to_index(self) -> list[Model | None]:
        """The models that an index run brings up to date; None is one that is to be added."""
        if self._wanted is None and (held := self._catalog.models()):
            return list(held)
        return [self._known()]

    def add(self) -> Model:
        """Load the model asked for, or the default, and add it to the index.

        Raises:
            ModelError: it cannot be used.
        """
        if self._given is not None:
            spec, encoder, note = self._wanted or parse_spec("default"), self._given, None
        else:
            spec, encoder, note = encoders.load_first(self._wanted, self._device)
        identity = (encoder.weights, encoder.preprocess)
        for model in self._catalog.models():
            if identity == (model.weights, model.preprocess):  # it has another name there
                break
        else:
            model = self._catalog.add_model(str(spec), *identity, encoder.dim, note)
        self._encoders[model.id] = encoder
        return model

    def encoder(self, model: Model) -> encoders.Encoder:
        """A model's encoder, loaded once; any thread may be the first to need it.

        Raises:
            ModelMismatch: its weights are no longer those that the index was made with.
            ModelError: it cannot be loaded.
        """
        with self._loading:
            if model.id not in self._encoders:
                named = self._wanted if self._wanted and _names(self._wanted, model) else None
                encoder = encoders.load(named or parse_spec(model.spec), self._device)
                self._encoders[model.id] = _checked(encoder, model)
            return self._encoders[model.id]

    def texts(self, model: Model) -> TextEncoder:
        """What embeds words for a model; does without torch where that is possible."""
        if model.id not in self._texts:
            exported = None
            # Who names a GPU wants it used, and an encoder that is loaded need not be again.
            if model.id not in self._encoders and self._device in ("auto", "cpu"):
                exported = open_exported(model.weights, model.preprocess)
            self._texts[model.id] = exported or self.encoder(model)
        return self._texts[model.id]

    def embed_texts(self, model: Model, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, (n, dim) float32 unit rows; what was asked before needs no model."""
        import numpy as np

        texts = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates
        known = self._catalog.answered(model.id, texts)
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            encoder = self.texts(model)
            if any(encoder.count_tokens(text) > encoder.context for text in fresh):
                log.warning(
                    "the query is longer than the %d tokens that the model reads; its end is"
                    " ignored", encoder.context,
                )  # fmt: skip
            rows = encoder.encode_texts(fresh).astype("<f4")
            known |= {text: row.tobytes() for text, row in zip(fresh, rows, strict=True)}
            self._catalog.remember(model.id, {text: known[text] for text in fresh})
        return np.stack([np.frombuffer(known[text], "<f4") for text in texts])

    def remove(self, spec: Spec, folder: Path) -> int:
        """Take a model out of the index in `folder`; gives how many embeddings it had.

        Raises:
            InvalidInput: the index has no such model, or no other.
        """
        from clipsearch.store.sync import vector_file

        held = self._catalog.models()
        model = next((model for model in held if _names(spec, model)), None)
        if model is None:
            has = ", ".join(other.spec for other in held) or "none yet"
            raise InvalidInput(f"the index holds no embeddings of {spec}; it has those of: {has}")
        if len(held) == 1:
            raise InvalidInput(
                f"{spec} is the index's only model, and without one nothing can be found;\nadd"
                " another first: clipsearch index --model SPEC"
            )
        count, _ = self._catalog.fingerprint(model.id)
        self._catalog.remove_model(model.id)
        vector_file(folder, model).delete()
        return count

    def export_texts(self, texts: Sequence[str]) -> None:
        """Export the text towers of all models of which that was not tried yet.

        `texts` that every question will need are embedded, so that the first one finds them.
        """
        for model in self._catalog.models():
            try:
                if not folder_of(model.weights, model.preprocess).is_dir():
                    from clipsearch.encoders.export import export_texts

                    export_texts(self.encoder(model))
                if len(self._catalog.answered(model.id, texts)) < len(texts):
                    self.embed_texts(model, texts)
            except (ModelError, ModelMismatch) as error:  # queries will say so
                log.debug("%s", error)

    def _known(self) -> Model | None:
        held = self._catalog.models()
        if self._wanted is None:
            return held[0] if held else None
        return next((model for model in held if _names(self._wanted, model)), None)


def _checked(encoder: encoders.Encoder, model: Model) -> encoders.Encoder:
    if (encoder.weights, encoder.preprocess) != (model.weights, model.preprocess):
        raise ModelMismatch(
            f"the weights are not those of {model.spec} that this index was made with, so their"
            " scores would mean nothing.\nBring the old file back, or make a new index:"
            " clipsearch index FOLDER --index OTHER_FOLDER --model SPEC"
        )
    return encoder


def _names(spec: Spec, model: Model) -> bool:
    """Whether `spec` names the model, also when the same weights file has another path."""
    if str(spec) == model.spec:
        return True
    if not spec.file or spec.name != model.spec.partition(":")[0]:
        return False
    file = Path(spec.file)
    return file.is_file() and sha256_of(file) == model.weights
