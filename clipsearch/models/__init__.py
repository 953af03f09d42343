"""The models of one index: which of them is meant, and their encoders, loaded when needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch import encoders
from clipsearch.encoders.choice import (
    EXPORTED,
    LOCAL,
    MANY,
    Choice,
    check_runtime,
    choose,
)
from clipsearch.encoders.spec import Spec, family_of, meant_by, parse_spec
from clipsearch.errors import InvalidInput, ModelError, ModelMismatch, arg
from clipsearch.models.adding import added, renew
from clipsearch.models.exported import as_run_by, exported_for, see_that_it_runs, view_of
from clipsearch.models.loading import (
    Identity,
    checked,
    exported_as,
    identity_of,
    is_named,
    is_unit,
    loaded_as,
    newer,
    open_or_advise,
)
from clipsearch.models.precision import (
    check_precision,
    in_onnx,
    is_spoilt,
    reader_of,
    take_int8,
    warn_of_processor,
)
from clipsearch.models.remembered import Recent, remember, remembered
from clipsearch.store.catalog import Catalog, Model

if TYPE_CHECKING:
    import numpy as np

    from clipsearch.encoders.onnx.encoder import OnnxEncoder
    from clipsearch.encoders.onnx.folder import Facts
    from clipsearch.photos.decoding.view import View

log = logging.getLogger("clipsearch")


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
        self._texts: dict[Identity, encoders.TextEncoder] = {}
        self._loading = threading.RLock()
        self._runtime = "auto"  # of a model that is added
        self._note: str | None = None  # why a model is added that nobody chose
        self._told: set[str] = set()  # models of which it was said what runs them
        # What was asked lately, in a process that stays; None in one that writes it down.
        self._recent: Recent | None = None
        if encoder is not None and (model := self._known(self._wanted)):
            self._encoders[identity_of(model)] = checked(encoder, model)

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
        specs = ", ".join(other.spec for other in held) or "none yet"
        if spec is not None:
            model = next((model for model in held if model.spec == spec), None)
            if model is None:
                raise InvalidInput(f"the index has no {arg('model')} {spec!r}; it has {specs}")
            return model
        model = self._known(self._wanted)
        if model is None and held:
            raise ModelMismatch(
                f"this index holds no embeddings of {self._wanted}; it holds those of"
                f" {specs}{meant_by(self._wanted, (it.spec for it in held))}\n"
                f"To add them: clipsearch index --model {self._wanted}"
            )
        return model

    def run_by(self, runtime: str) -> None:
        """From now on have pictures embedded by "torch", or "onnx" or "openvino".

        For these two models are exported first.

        "auto" leaves it to the machine and to how many pictures there are.
        It holds for the models that an index run brings up to date, and is remembered with them.

        Raises:
            InvalidInput: none of these, torch for a model that is ONNX, or OpenVINO where it cannot
                run the model.
            ModelError: a model cannot be exported.
        """
        check_runtime(runtime)
        held = [model for model in self.to_index() if model]
        if runtime == "torch" and any(family_of(model.spec) == "onnx" for model in held):
            raise InvalidInput("a model that was exported to ONNX cannot be run by torch")
        self._runtime = runtime
        for model in held:
            if runtime in EXPORTED:
                model = replace(model, runtime=runtime)
                see_that_it_runs(model, self._exported(model))
            else:
                self._encoders.pop(identity_of(model), None)
            self._catalog.set_runtime(model.id, runtime)

    def in_precision(self, precision: str) -> bool:
        """From now on mean the model in full, "fp32", or in 8 bits, "int8".

        Gives whether that in 8 bits has to be made first, of `exact`, and then to be taken.

        Raises:
            InvalidInput: neither of these.
        """
        check_precision(precision)
        main = self._known(self._wanted)
        wanted = self._wanted or (parse_spec(main.spec) if main else None)
        self._wanted = replace(wanted, is_int8=False) if wanted else None
        if precision == "fp32" or wanted is None:
            return precision == "int8"
        small = replace(wanted, is_int8=True)
        held = self._known(small)
        if held is None or is_spoilt(self._catalog.folder, held):
            return True
        self._wanted = small
        return False

    def exact(self) -> tuple[Spec, OnnxEncoder]:
        """The model that is meant, in full, as ONNX Runtime runs it on the processor.

        Raises:
            ModelError: it cannot be had, or cannot be exported.
        """
        if self._given is not None:
            raise InvalidInput("an encoder that is given stays in the precision that it has")
        if model := self._known(self._wanted):
            spec = self.spec_of(model)
            return spec, in_onnx(spec, exported_as(spec, "cpu", model))
        spec, encoder, self._note = encoders.load_first(self._wanted, "cpu", "fp32", True)
        self._wanted = spec
        return spec, in_onnx(spec, encoder)

    def take(self, spec: Spec, small: Facts) -> None:
        """From now on mean the model in 8 bits that was made of this one, and lies in the index."""
        self._wanted = replace(spec, is_int8=True)
        held = self._known(self._wanted)
        take_int8(self._catalog, held, str(self._wanted), small, self._note)

    def to_index(self) -> list[Model | None]:
        """The models that an index run brings up to date; None is one that is to be added."""
        if self._wanted is None and (held := self._catalog.models()):
            return list(held)
        return [self._known(self._wanted)]

    def renew(self, folder: Path) -> None:
        """Take models that ship as they are by now; what older ones embedded is of no use.

        The caller holds the lock of the index in `folder`.
        """
        for model in self.to_index():
            if model and not self._given and (now := newer(model, self._wanted)):
                renew(self._catalog, folder, model, now)

    def lacks_all(self) -> bool:
        """Whether a model of the index has embedded nothing yet, or nothing any more."""
        return any(it and not self._catalog.fingerprint(it.id)[0] for it in self.to_index())

    def confirm(self) -> None:
        """Take a model that is asked for by its name as chosen, whatever brought it here."""
        if self._wanted and (model := self._known(self._wanted)) and model.note:
            self._catalog.set_note(model.id, None)

    def take_asked(self, folder: Path) -> None:
        """Take a model that is asked for by its name also where there are no photos yet.

        Those that never embedded any make room for it. The caller holds the lock of the index in
        `folder`.

        Raises:
            ModelError: it cannot be used.
        """
        if not self._wanted or self._known(self._wanted) or self._catalog.count_photos():
            return
        from clipsearch.models.removal import make_room

        make_room(self._catalog, self.add(), folder)

    def at_once(self, model: Model, count: int) -> encoders.Encoder | None:
        """What was exported of a model, where torch is to index `count` pictures and not here."""
        from clipsearch.encoders.onnx.encoder import open_cached

        is_free = self._given is None and model.runtime == "auto" and self.device in LOCAL
        if (
            not is_free
            or self.choice(model, count).runtime in EXPORTED
            or self._loaded(model, count)
        ):
            return None
        first = self._encoders.get(identity_of(model)) or open_cached(
            *identity_of(model), self.device
        )
        if first:
            log.debug("pictures are embedded by ONNX Runtime until PyTorch is loaded")
        return first

    def for_indexing(self, model: Model, count: int) -> encoders.Encoder:
        """A model's encoder as `count` pictures are indexed with it; exported if that is asked for.

        Raises:
            As `encoder`, and InvalidInput: onnxruntime has no such device.
        """
        from clipsearch.encoders.onnx.encoder import OnnxEncoder

        with self._loading:
            exports = model.runtime in EXPORTED
            encoder = self._exported(model) if exports else self.encoder(model, count)
            if self._runtime in EXPORTED:  # asked for now, and of a model that is new not seen yet
                see_that_it_runs(model, encoder)
            if count >= MANY and self.choice(model, count).runtime == "onnx":
                from clipsearch.encoders.onnx.export import try_export

                encoder = try_export(self.spec_of(model), encoder)
                self._encoders[identity_of(model)] = encoder
            if isinstance(encoder, OnnxEncoder) and model.spec not in self._told:
                is_asked = exports or family_of(model.spec) == "onnx"
                say = log.warning if is_asked else log.debug
                say("pictures are embedded by %s", encoder.runtime)
                warn_of_processor(self._catalog.folder, model)
                self._told.add(model.spec)
            return encoder

    def _exported(self, model: Model) -> encoders.Encoder:
        from clipsearch.encoders.onnx.encoder import OnnxEncoder

        key, loaded = identity_of(model), self._encoders.get(identity_of(model))
        if isinstance(loaded, OnnxEncoder):
            self._encoders[key] = as_run_by(model.runtime, loaded)
        else:
            self._encoders[key] = exported_for(self.spec_of(model), self.device, model, loaded)
        return self._encoders[key]

    def view_of(self, model: Model, count: int) -> View | None:
        """How `count` pictures are prepared for a model; None where only the loaded one tells."""
        is_later = self._given is None and identity_of(model) not in self._encoders
        is_told = is_later and self.choice(model, count).runtime in EXPORTED
        return view_of(model, self.spec_of(model)) if is_told else None

    def add(self, count: int | None = None) -> Model:
        """Load the model asked for, or the default, and add it to the index.

        For `count` pictures it is loaded later, where what is to be known of it is known before.

        Raises:
            ModelError: it cannot be used.
        """
        if count and (told := self._foretold(count)):
            spec = self._wanted or parse_spec("default")
            return added(self._catalog, spec, told, self._runtime, self._note)
        if self._given is not None:
            spec, encoder, note = self._wanted or parse_spec("default"), self._given, None
        else:
            # To be exported, it is wanted as exact as it can be had.
            is_onnx = self._wanted is not None and self._wanted.family == "onnx"
            to_export = self._runtime in EXPORTED and not is_onnx
            how = ("cpu", "fp32") if to_export else (self.device, "auto")
            light = self._runtime != "torch" and self.device in LOCAL
            spec, encoder, note = encoders.load_first(self._wanted, *how, light)
            note = note or self._note
        model = added(self._catalog, spec, encoder, self._runtime, note)
        self._encoders[identity_of(model)] = encoder
        return model

    def _foretold(self, count: int) -> encoders.Foretold | None:
        """What is known of the model asked for; None where it is to be loaded first."""
        spec = self._wanted or parse_spec("default")
        if self._given is not None or self.device not in LOCAL:
            return None
        if choose(spec.family, self._runtime, self.device, count).runtime not in EXPORTED:
            return None
        told = encoders.foretell(spec)
        held = (identity_of(model) for model in self._catalog.models())
        return None if told and told[:2] in held else told  # by another name, perhaps of no use

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
            encoder = checked(self._load(model, count), model)
            self._encoders[identity_of(model)] = encoder
            return encoder

    def _loaded(self, model: Model, count: int) -> encoders.Encoder | None:
        """The encoder that is there, if it is the one for so many pictures or better than that."""
        from clipsearch.encoders.onnx.encoder import OnnxEncoder

        loaded = self._encoders.get(identity_of(model))
        if loaded is self._given or not isinstance(loaded, OnnxEncoder):
            return loaded
        wanted = self.choice(model, count).runtime
        return loaded if wanted == "onnx" or (wanted == "openvino" and loaded.is_fastest) else None

    def choice(self, model: Model, count: int) -> Choice:
        """What embeds so many pictures with a model, and why."""
        if self._given is not None:
            return Choice("torch", "the encoder was given")
        return choose(family_of(model.spec), model.runtime, self.device, count)

    def _load(self, model: Model, count: int) -> encoders.Encoder:
        from clipsearch.encoders.onnx.encoder import open_cached

        choice = self.choice(model, count)
        is_fast, held = choice.runtime == "openvino", self._encoders.get(identity_of(model))
        if is_fast and held:
            return as_run_by(choice.runtime, held)
        spec = self.spec_of(model)
        if choice.runtime in EXPORTED and spec.family != "onnx":
            cached = open_cached(*identity_of(model), self.device, is_fast)
            if encoder := cached or encoders.load_light(spec, self.device):
                log.debug("pictures are embedded without PyTorch: %s", choice.reason)
                return as_run_by(choice.runtime, encoder)
            choice = choice._replace(reason="the model was not exported yet")
        log.debug("pictures are embedded by PyTorch: %s", choice.reason)
        return open_or_advise(spec, self.device, model)

    def recipe(self, model: Model) -> Callable[[], encoders.Encoder]:
        """What gives an encoder, as `for_indexing` does, and can be pickled for elsewhere."""
        if self._given is not None:
            return partial(checked, self._given, model)
        load = exported_for if model.runtime in EXPORTED else loaded_as
        return partial(load, self.spec_of(model), self.device, model)

    def texts(self, model: Model) -> encoders.TextEncoder:
        """What embeds words for a model; does without torch where that is possible."""
        key = identity_of(model)
        if loaded := self._texts.get(key):
            return loaded
        # Not before: a run with nothing to do embeds no words.
        from clipsearch.encoders.onnx.texts import open_exported

        with self._loading:
            if key not in self._texts:
                exported = None
                reader = reader_of(self._catalog.folder, model)
                # Who names a GPU wants it used, and an encoder that is loaded need not be again.
                if identity_of(reader) not in self._encoders and self.device in LOCAL:
                    stay = self._recent is not None
                    exported = open_exported(*identity_of(reader), stay)
                self._texts[key] = exported or self._reading(model, reader)
            return self._texts[key]

    def export_texts(self, model: Model, step: Callable[[], None]) -> None:
        """Export what embeds words for a model; `step` is as for the function of that name.

        Raises:
            As `encoder`.
        """
        from clipsearch.encoders.onnx.text_export import export_texts

        encoder = self._reading(model, reader_of(self._catalog.folder, model))
        step()
        export_texts(encoder, step)

    def _reading(self, model: Model, reader: Model) -> encoders.Encoder:
        try:
            return self.encoder(reader)
        except ModelMismatch as error:
            if reader is model:
                raise
            raise ModelMismatch(
                f"{reader.spec} is by now another than {model.spec} was made of: bring that back,"
                " or have all photos embedded anew: clipsearch index --precision int8"
            ) from error

    def is_loaded(self, model: Model, pictures: bool = False) -> bool:
        """Whether words, or pictures, can be embedded without loading anything."""
        return identity_of(model) in (self._encoders if pictures else self._texts)

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

        known = remembered(self._catalog, self._recent, model, texts)
        # One that an older version kept may be none, and one in a damaged file less.
        known = {text: row for text, row in known.items() if is_unit(row, model.dim)}
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
            remember(self._catalog, self._recent, model, new)
            known |= new
        return known

    def remove(self, spec: Spec, folder: Path) -> int:
        """Take a model out of the index in `folder`; gives how many embeddings it had.

        Raises:
            InvalidInput: the index has no such model, or no other.
        """
        from clipsearch.models.removal import remove

        return remove(self._catalog, spec, folder)

    def spec_of(self, model: Model) -> Spec:
        """The name of a model, taken apart; the one that was asked for, where it has several.

        Raises:
            ModelError: its file or folder is no longer there.
        """
        if model.is_int8:
            from clipsearch.encoders.onnx.calibrated import folder_in

            return Spec("onnx", "onnx", file=str(folder_in(self._catalog.folder, model.weights)))
        named = self._wanted if self._wanted and is_named(self._wanted, model) else None
        return named or parse_spec(model.spec)

    def _known(self, wanted: Spec | None) -> Model | None:
        held = self._catalog.models()
        if wanted is None:
            return held[0] if held else None
        return next((model for model in held if is_named(wanted, model)), None)
