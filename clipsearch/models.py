"""The models of one index: which of them is meant, and their encoders, loaded when needed."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipsearch import encoders
from clipsearch.encoders.choice import MANY, Choice, choose
from clipsearch.encoders.spec import INT8, Spec, family_of, parse_spec, sha256_of, weights_in
from clipsearch.errors import InvalidInput, ModelError, ModelMismatch, WeightsUnavailable, arg
from clipsearch.store.catalog import Catalog, Model

if TYPE_CHECKING:
    import numpy as np

    from clipsearch.encoders.onnx.encoder import OnnxEncoder
    from clipsearch.encoders.onnx.folder import Facts

log = logging.getLogger("clipsearch")

Identity = tuple[str, str]  # of a model: its weights and how pictures are prepared for it
RUNTIMES = ("auto", "torch", "onnx")
PRECISIONS = ("fp32", "int8")
MOST_RECENT = 500  # texts; 2 KB each at 512 dimensions


class TextEncoder(Protocol):
    """What embeds words: an encoder, or what was exported of one."""

    @property
    def context(self) -> int:
        """How many tokens of text it reads."""

    @property
    def logit_scale(self) -> float:
        """Cosines times this are the logits that the model was trained with."""

    @property
    def logit_bias(self) -> float | None:
        """What is added to them, and then a sigmoid was trained; None where it was a softmax."""

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
        self.device = device
        self._given = encoder  # of the model that is wanted
        self._encoders: dict[Identity, encoders.Encoder] = {}
        self._texts: dict[Identity, TextEncoder] = {}
        self._loading = threading.RLock()
        self._runtime = "auto"  # of a model that is added
        self._note: str | None = None  # why a model is added that nobody chose
        self._told: set[str] = set()  # models of which it was said what runs them
        # What was asked lately, in a process that stays; None in one that writes it down.
        self._recent: dict[tuple[Identity, str], bytes] | None = None
        if encoder is not None and (model := self._known(self._wanted)):
            self._encoders[_identity(model)] = _checked(encoder, model)

    def on(self, catalog: Catalog) -> Models:
        """The same models for another connection to the index; each is loaded once for all."""
        other = Models(catalog, self._wanted, self.device)
        for name in ("_given", "_encoders", "_texts", "_loading", "_recent"):
            setattr(other, name, getattr(self, name))
        return other

    def stay(self) -> None:
        """From here on load for many questions, and remember them here and not in the catalog."""
        self._recent = {}

    def chosen(self, spec: str | None = None) -> Model | None:
        """The model asked for, or else the main one; None if the index has no model yet.

        `spec` is that of another of the index's models, as it is written there.

        Raises:
            ModelMismatch: the index has models, but not the one asked for.
            InvalidInput: none of them is `spec`.
        """
        held = self._catalog.models()
        specs = ", ".join(other.spec for other in held)
        if spec is not None:
            model = next((model for model in held if model.spec == spec), None)
            if model is None:
                raise InvalidInput(f"the index has no model {spec!r}; it has {specs or 'none yet'}")
            return model
        model = self._known(self._wanted)
        if model is None and held:
            raise ModelMismatch(
                f"this index holds no embeddings of {self._wanted}; it holds those of {specs}.\nTo"
                f" add them: clipsearch index --model {self._wanted}"
            )
        return model

    def run_by(self, runtime: str) -> None:
        """From now on have pictures embedded by "torch", or "onnx", to which models are exported.

        "auto" leaves it to the machine and to how many pictures there are.
        It holds for the models that an index run brings up to date, and is remembered with them.

        Raises:
            InvalidInput: neither of these, or torch for a model that is ONNX.
            ModelError: a model cannot be exported.
        """
        if runtime not in RUNTIMES:
            raise InvalidInput(f"{arg('runtime')} is auto, torch or onnx, not {runtime!r}")
        held = [model for model in self.to_index() if model]
        if runtime == "torch" and any(family_of(model.spec) == "onnx" for model in held):
            raise InvalidInput(
                "a model that was exported to ONNX, or is in 8 bits, cannot be run by torch"
            )
        self._runtime = runtime
        for model in held:
            if runtime == "onnx":
                self._exported(model)
            else:
                self._encoders.pop(_identity(model), None)
            self._catalog.set_runtime(model.id, runtime)

    def in_precision(self, precision: str) -> bool:
        """From now on mean the model in full, "fp32", or in 8 bits, "int8".

        Gives whether that in 8 bits has to be made first, of `exact`, and then to be taken.

        Raises:
            InvalidInput: neither of these.
        """
        if precision not in PRECISIONS:
            raise InvalidInput(f"{arg('precision')} is fp32 or int8, not {precision!r}")
        main = self._known(self._wanted)
        wanted = self._wanted or (parse_spec(main.spec) if main else None)
        self._wanted = replace(wanted, is_int8=False) if wanted else None
        if precision == "fp32":
            return False
        small = replace(wanted, is_int8=True) if wanted else None
        held = self._known(small) if small else None
        if held is None or self._is_spoilt(held):
            return True
        self._wanted = small
        return False

    def _is_spoilt(self, model: Model) -> bool:
        """Whether a model in 8 bits lacks a file, or was made of one of another version."""
        from clipsearch.encoders.onnx.calibrated import fault_of

        if fault := fault_of(self._int8_folder(model)):
            log.warning("%s", fault[0])
            return True
        return newer(self._reader(model)) is not None

    def exact(self) -> tuple[Spec, OnnxEncoder]:
        """The model that is meant, in full, as ONNX Runtime runs it on the processor.

        Raises:
            ModelError: it cannot be had, or cannot be exported.
        """
        from clipsearch.encoders.onnx.encoder import OnnxEncoder
        from clipsearch.encoders.onnx.export import export_to_cache

        if self._given is not None:
            raise InvalidInput("an encoder that is given stays in the precision that it has")
        if model := self._known(self._wanted):
            spec = self.spec_of(model)
            encoder = _exported(spec, "cpu", model)
        else:
            spec, encoder, self._note = encoders.load_first(self._wanted, "cpu", "fp32", True)
            self._wanted = spec
        if not isinstance(encoder, OnnxEncoder):
            encoder = export_to_cache(spec, encoder, "cpu")
        return spec, encoder

    def take(self, spec: Spec, small: Facts) -> None:
        """From now on mean the model in 8 bits that was made of this one, and lies in the index.

        One that was there before, and of which a file is lost or damaged, goes with what it
        embedded, unless it came out the same.
        """
        from clipsearch.store.moving import remove

        self._wanted = replace(spec, is_int8=True)
        if spoilt := self._known(self._wanted):
            if _identity(spoilt) == small.identity:
                return
            remove(self._catalog.folder, self._catalog, spoilt)
            self._catalog.renew_model(spoilt.id, *small.identity, small.dim)
            self._remove_int8(spoilt)
        else:
            name = str(self._wanted)
            added = self._catalog.add_model(name, *small.identity, small.dim, self._note)
            self._offer(added)

    def _int8_folder(self, model: Model) -> Path:
        from clipsearch.encoders.onnx.calibrated import folder_in

        return folder_in(self._catalog.folder, model.weights)

    def _remove_int8(self, model: Model) -> None:
        if model.spec.startswith(INT8):
            shutil.rmtree(self._int8_folder(model), ignore_errors=True)

    def _reader(self, model: Model) -> Model:
        """The model that embeds words for a model: itself, or what it is in full."""
        from clipsearch.encoders.onnx.calibrated import calibration_in

        if not model.spec.startswith(INT8):
            return model
        full = calibration_in(self._int8_folder(model))
        return replace(model, spec=full.spec, weights=full.weights, runtime="auto")

    def to_index(self) -> list[Model | None]:
        """The models that an index run brings up to date; None is one that is to be added."""
        if self._wanted is None and (held := self._catalog.models()):
            return list(held)
        return [self._known(self._wanted)]

    def renew(self, folder: Path) -> None:
        """Take the present weights of models that ship; what older ones embedded is of no use.

        The caller holds the lock of the index in `folder`.
        """
        from clipsearch.store.moving import remove

        for model in self.to_index():
            if model and not self._given and (now := newer(model)):
                count, _ = self._catalog.fingerprint(model.id)
                if count:
                    log.warning(
                        "the %s of this version is another one than what embedded the %d photos of"
                        " this index: they are embedded anew", model.spec, count,
                    )  # fmt: skip
                remove(folder, self._catalog, model)
                if any(_identity(other) == now[:2] for other in self._catalog.models()):
                    self._catalog.remove_model(model.id)  # which is there by another name
                else:
                    self._catalog.renew_model(model.id, *now)

    def lacks_all(self) -> bool:
        """Whether a model of the index has embedded nothing yet, or nothing any more."""
        return any(it and not self._catalog.fingerprint(it.id)[0] for it in self.to_index())

    def confirm(self) -> None:
        """Take a model that is asked for by its name as chosen, whatever brought it here."""
        model = self._known(self._wanted) if self._wanted else None
        if model and model.note:
            self._catalog.set_note(model.id, None)

    def for_indexing(self, model: Model, count: int) -> encoders.Encoder:
        """A model's encoder as `count` pictures are indexed with it; exported if that is asked for.

        Raises:
            As `encoder`, and InvalidInput: onnxruntime has no such device.
        """
        from clipsearch.encoders.onnx.encoder import OnnxEncoder

        with self._loading:
            exports = model.runtime == "onnx"
            encoder = self._exported(model) if exports else self.encoder(model, count)
            if count >= MANY and self.choice(model, count).runtime == "onnx":
                from clipsearch.encoders.onnx.export import try_export

                encoder = try_export(self.spec_of(model), encoder)
                self._encoders[_identity(model)] = encoder
            if isinstance(encoder, OnnxEncoder) and model.spec not in self._told:
                is_asked = exports or family_of(model.spec) == "onnx"
                say = log.warning if is_asked else log.debug
                say("pictures are embedded by %s", encoder.runtime)
                self._warn_of_processor(model)
                self._told.add(model.spec)
            return encoder

    def _warn_of_processor(self, model: Model) -> None:
        from clipsearch.encoders.onnx.calibrated import told_by, warning_of

        made_of = told_by(self._int8_folder(model)) if model.spec.startswith(INT8) else None
        if made_of and (warning := warning_of(made_of)):
            log.warning("%s", warning)

    def _exported(self, model: Model) -> encoders.Encoder:
        from clipsearch.encoders.onnx.encoder import OnnxEncoder

        key = _identity(model)
        loaded = self._encoders.get(key)
        if isinstance(loaded, OnnxEncoder):
            return loaded
        self._encoders[key] = _exported(self.spec_of(model), self.device, model, loaded)
        return self._encoders[key]

    def add(self) -> Model:
        """Load the model asked for, or the default, and add it to the index.

        Raises:
            ModelError: it cannot be used.
        """
        if self._given is not None:
            spec, encoder, note = self._wanted or parse_spec("default"), self._given, None
        else:
            # To be exported, it is wanted as exact as it can be had.
            is_onnx = self._wanted is not None and self._wanted.family == "onnx"
            to_export = self._runtime == "onnx" and not is_onnx
            how = ("cpu", "fp32") if to_export else (self.device, "auto")
            light = self._runtime != "torch" and self.device in ("auto", "cpu")
            spec, encoder, note = encoders.load_first(self._wanted, *how, light)
            note = note or self._note
        identity = (encoder.weights, encoder.preprocess)
        for model in self._catalog.models():
            if identity == (model.weights, model.preprocess):  # it has another name there
                break
        else:
            model = self._catalog.add_model(str(spec), *identity, encoder.dim, note)
            self._offer(model)
            if self._runtime != model.runtime:
                self._catalog.set_runtime(model.id, self._runtime)
                model = replace(model, runtime=self._runtime)
        self._encoders[_identity(model)] = encoder
        return model

    def _offer(self, added: Model) -> None:
        """Say of a model that nobody chose how the one that was added answers in its place."""
        for model in self._catalog.models():
            if model.note and model.id != added.id:
                note = (
                    f"{model.spec} was taken when nothing better could be downloaded, and answers"
                    f" questions until: clipsearch models remove {model.spec}"
                )
                self._catalog.set_note(model.id, note)

    def encoder(self, model: Model, count: int = 1) -> encoders.Encoder:
        """A model's encoder for so many pictures, or for words.

        It is loaded once, unless it was for few pictures and there are many now; any thread may be
        the first to need it.

        Raises:
            ModelMismatch: its weights are no longer those that the index was made with.
            ModelError: it cannot be loaded.
        """
        # Not waiting for another model's long loading, if this one is there.
        if loaded := self._loaded(model, count):
            return loaded
        with self._loading:
            if loaded := self._loaded(model, count):
                return loaded
            encoder = _checked(self._load(model, count), model)
            self._encoders[_identity(model)] = encoder
            return encoder

    def _loaded(self, model: Model, count: int) -> encoders.Encoder | None:
        """The encoder that is there, if it is the one for so many pictures or better than that."""
        from clipsearch.encoders.onnx.encoder import OnnxEncoder

        loaded = self._encoders.get(_identity(model))
        if loaded is self._given or not isinstance(loaded, OnnxEncoder):
            return loaded
        return loaded if self.choice(model, count).runtime == "onnx" else None

    def choice(self, model: Model, count: int) -> Choice:
        """What embeds so many pictures with a model, and why."""
        if self._given is not None:
            return Choice("torch", "the encoder was given")
        return choose(family_of(model.spec), model.runtime, self.device, count)

    def _load(self, model: Model, count: int) -> encoders.Encoder:
        from clipsearch.encoders.onnx.encoder import open_cached

        spec, choice = self.spec_of(model), self.choice(model, count)
        if choice.runtime == "onnx" and spec.family != "onnx":
            cached = open_cached(*_identity(model), self.device)
            if encoder := cached or encoders.load_light(spec, self.device):
                log.debug("pictures are embedded by ONNX Runtime: %s", choice.reason)
                return encoder
            choice = choice._replace(reason="the model was not exported yet")
        log.debug("pictures are embedded by PyTorch: %s", choice.reason)
        try:
            return _open(spec, self.device, model)
        except WeightsUnavailable as error:
            from clipsearch.encoders.hub import three_ways

            # What was indexed with one model cannot be asked with another.
            pocket = (
                "index with the model that needs no download: clipsearch index"
                f" {arg('model')} pocket, and ask with {arg('model')} pocket"
            )
            raise error.advising(three_ways(str(spec), pocket)) from error

    def recipe(self, model: Model) -> Callable[[], encoders.Encoder]:
        """What gives an encoder, as `for_indexing` does, and can be pickled for elsewhere."""
        if self._given is not None:
            return partial(_checked, self._given, model)
        load = _exported if model.runtime == "onnx" else _loaded
        return partial(load, self.spec_of(model), self.device, model)

    def texts(self, model: Model) -> TextEncoder:
        """What embeds words for a model; does without torch where that is possible."""
        key = _identity(model)
        if loaded := self._texts.get(key):
            return loaded
        # Not before: a run with nothing to do embeds no words.
        from clipsearch.encoders.onnx.texts import open_exported

        with self._loading:
            if key not in self._texts:
                exported = None
                reader = self._reader(model)
                # Who names a GPU wants it used, and an encoder that is loaded need not be again.
                if _identity(reader) not in self._encoders and self.device in ("auto", "cpu"):
                    stay = self._recent is not None
                    exported = open_exported(*_identity(reader), stay)
                self._texts[key] = exported or self._reading(model, reader)
            return self._texts[key]

    def has_texts(self, model: Model) -> bool:
        """Whether it was tried to export what embeds words for a model, or cannot be."""
        from clipsearch.encoders.onnx.texts import folder_of

        try:
            return folder_of(*_identity(self._reader(model))).is_dir()
        except ModelError as error:
            log.debug("%s", error)
            return True

    def export_texts(self, model: Model, step: Callable[[], None]) -> None:
        """Export what embeds words for a model; `step` is as for the function of that name.

        Raises:
            As `encoder`.
        """
        from clipsearch.encoders.onnx.text_export import export_texts

        encoder = self._reading(model, self._reader(model))
        step()
        export_texts(encoder, step)

    def _reading(self, model: Model, reader: Model) -> encoders.Encoder:
        try:
            return self.encoder(reader)
        except ModelMismatch as error:
            if reader is model:
                raise
            raise ModelMismatch(
                f"{reader.spec} is by now another than {model.spec} was made of, so words cannot be"
                " compared with its photos. Bring the old one back, or have all photos embedded"
                " anew: clipsearch index --precision int8"
            ) from error

    def is_loaded(self, model: Model, pictures: bool = False) -> bool:
        """Whether words, or pictures, can be embedded without loading anything."""
        return _identity(model) in (self._encoders if pictures else self._texts)

    def embed_neutral(self, model: Model, texts: Sequence[str]) -> np.ndarray:
        """Embed those of the texts of which the model makes unit rows, (n, dim) float32."""
        import numpy as np

        rows = self.usable_rows(model, texts)
        if not rows:
            raise ModelError(f"{model.spec} gives no usable embedding of any text")
        return np.stack([*rows.values()])

    def usable_rows(self, model: Model, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The embedding of each text of which the model makes a unit row, (dim,) float32.

        What was asked before needs no model.
        """
        import numpy as np

        meant = {text: text.encode("utf-8", "replace").decode() for text in texts}  # no surrogates
        known = self._known_rows(model, [*meant.values()])
        return {
            text: np.frombuffer(known[said], "<f4") for text, said in meant.items() if said in known
        }

    def _known_rows(self, model: Model, texts: Sequence[str]) -> dict[str, bytes]:
        from clipsearch.encoders.rows import are_units

        known = self._remembered(model, texts)
        # One that an older version kept may be none.
        known = {text: row for text, row in known.items() if _is_unit(row)}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            encoder = self.texts(model)
            if any(encoder.count_tokens(text) > encoder.context for text in fresh):
                log.warning(
                    "the query is longer than the %d tokens that the model reads; its end is"
                    " ignored", encoder.context,
                )  # fmt: skip
            rows = encoder.encode_texts(fresh).astype("<f4")
            usable = zip(fresh, rows, are_units(rows).tolist(), strict=True)
            new = {text: row.tobytes() for text, row, is_unit in usable if is_unit}
            self._remember(model, new)
            known |= new
        return known

    def _remembered(self, model: Model, texts: Sequence[str]) -> dict[str, bytes]:
        if self._recent is None:
            return self._catalog.answered(model.id, texts)
        recent, key = self._recent, _identity(model)
        known = {text: row for text in texts if (row := recent.get((key, text)))}
        others = [text for text in texts if text not in known]
        return known | self._catalog.answered(model.id, others)

    def _remember(self, model: Model, rows: dict[str, bytes]) -> None:
        if self._recent is None:
            self._catalog.remember(model.id, rows)
            return
        key = _identity(model)
        self._recent.update({(key, text): row for text, row in rows.items()})
        for oldest in list(self._recent)[:-MOST_RECENT]:
            self._recent.pop(oldest, None)

    def remove(self, spec: Spec, folder: Path) -> int:
        """Take a model out of the index in `folder`; gives how many embeddings it had.

        Raises:
            InvalidInput: the index has no such model, or no other.
        """
        from clipsearch.store.moving import remove

        held = self._catalog.models()
        model = next((model for model in held if _names(spec, model)), None)
        if model is None:
            has = ", ".join(other.spec for other in held) or "none yet"
            raise InvalidInput(f"the index holds no embeddings of {spec}; it has those of: {has}")
        if len(held) == 1:
            raise InvalidInput(
                f"{spec} is the index's only model, and without one nothing can be found; add"
                " another first: clipsearch index --model SPEC"
            )
        count, _ = self._catalog.fingerprint(model.id)
        remove(folder, self._catalog, model)
        self._catalog.remove_model(model.id)
        self._remove_int8(model)
        return count

    def spec_of(self, model: Model) -> Spec:
        """The name of a model, taken apart; the one that was asked for, where it has several.

        Raises:
            ModelError: its file or folder is no longer there.
        """
        if model.spec.startswith(INT8):
            return Spec("onnx", "onnx", file=str(self._int8_folder(model)))
        named = self._wanted if self._wanted and _names(self._wanted, model) else None
        return named or parse_spec(model.spec)

    def _known(self, wanted: Spec | None) -> Model | None:
        held = self._catalog.models()
        if wanted is None:
            return held[0] if held else None
        return next((model for model in held if _names(wanted, model)), None)


def newer(model: Model) -> encoders.Shipped | None:
    """A model that ships as it is by now; None where the index has it so, and for any other."""
    now = encoders.shipped(model.spec)
    return now if now and now[:2] != _identity(model) else None


def _identity(model: Model) -> Identity:
    # Not its id, which another model has one day.
    return model.weights, model.preprocess


def _is_unit(row: bytes) -> bool:
    import numpy as np

    from clipsearch.encoders.rows import are_units

    return bool(are_units(np.frombuffer(row, "<f4")[None])[0])


def _loaded(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    return _checked(_open(spec, device, model), model)


def _open(spec: Spec, device: str, model: Model) -> encoders.Encoder:
    if not model.spec.startswith(INT8):
        return encoders.load(spec, device)
    from clipsearch.encoders.onnx.calibrated import open_calibrated

    return open_calibrated(Path(spec.file), device)


def _exported(
    spec: Spec, device: str, model: Model, loaded: encoders.Encoder | None = None
) -> encoders.Encoder:
    """The model as ONNX Runtime runs it, exported first unless that was done before."""
    from clipsearch.encoders.onnx.encoder import open_cached
    from clipsearch.encoders.onnx.export import export_to_cache

    exported: encoders.Encoder | None = open_cached(*_identity(model), device)
    if exported is None and loaded is None:
        exported = encoders.load_light(spec, device)
    if exported is None and spec.family != "onnx":
        loaded = loaded or _checked(encoders.load(spec, "cpu", "fp32"), model)
        exported = export_to_cache(spec, loaded, device)
    return exported or _loaded(spec, device, model)


def _checked(encoder: encoders.Encoder, model: Model) -> encoders.Encoder:
    if (encoder.weights, encoder.preprocess) != (model.weights, model.preprocess):
        if newer(model):
            raise ModelMismatch(
                f"this index was made with {model.spec} of another version of clipsearch; to have"
                " its photos embedded anew by that of this version: clipsearch index"
            )
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
    if spec.is_int8:  # each is of one index, whatever else is named so
        return False
    if spec.family == "onnx":
        from clipsearch.encoders.onnx.encoder import identity_of

        return identity_of(spec) == _identity(model)
    if not spec.file or spec.name != model.spec.partition(":")[0]:
        return False
    file = weights_in(Path(spec.file))
    return file is not None and sha256_of(file) == model.weights
