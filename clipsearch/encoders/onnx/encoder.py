"""A model as ONNX, run by onnxruntime on whatever it can use; torch is not imported.

`clipsearch.encoders.onnx.export` writes such a model, into a folder that a person names or into
the user's cache. The image tower takes views as they are: normalizing them is a part of it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.cache import sha256_of
from clipsearch.encoders.onnx import openvino
from clipsearch.encoders.onnx.calibrated import calibration_in, check_files
from clipsearch.encoders.onnx.folder import (
    CALIBRATION,
    FACTS,
    IMAGES,
    TEXTS,
    Facts,
    cached_folder,
    existing,
    facts_in,
    view_from,
)
from clipsearch.encoders.onnx.probes import made_views
from clipsearch.encoders.onnx.providers import CPU, pick_provider
from clipsearch.encoders.onnx.texts import RULES, ExportedTexts, folder_of
from clipsearch.encoders.spec import Spec
from clipsearch.errors import InvalidInput, ModelError, arg, first_line
from clipsearch.photos.decoding.view import MaskedView, with_all

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("clipsearch")

_PROBES = 6  # made pictures by which it is seen whether OpenVINO gives the same vectors


class OnnxEncoder:
    """A model that was exported, as an `Encoder`; each tower is read when it is first needed."""

    def __init__(
        self, folder: Path, facts: Facts, texts: Path, device: str, checked: bool = True
    ) -> None:
        """`texts` is the folder of its text tower; `checked` compares files with their hashes."""
        import onnxruntime

        self.facts = facts
        self._folder, self._text_folder = folder, texts
        self._checks = checked
        self._insists = device != "auto"
        self._provider = pick_provider(device, onnxruntime.get_available_providers())
        self.device = "cpu" if self._provider[0] == CPU else self._provider[0]
        self.prepare = view_from(facts.view)
        self.weights, self.preprocess = facts.identity
        self.precision, self.dim = facts.precision, facts.dim
        self.resolution, self.context = facts.resolution, facts.context
        self.logit_scale, self.logit_bias = facts.logit_scale, facts.logit_bias
        # As with torch: a GPU wants much at once, a CPU's cache little.
        self.batch_size = 64 if self._provider[0] == CPU else 128
        self._openvino: openvino.Tower | None = None  # what embeds pictures in place of onnxruntime

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, resolution, resolution, 3) uint8 views: (n, dim) float32, unit rows.

        Where `prepare` is a `MaskedView`, also (n, resolution, resolution, 4).

        Raises:
            ModelError: the tower's file is damaged, or a batch is too large for the device.
        """
        if isinstance(self.prepare, MaskedView):
            batch = with_all(batch)
        embed = self._openvino or self._by_onnxruntime
        try:
            return embed(batch)
        except ModelError:
            raise
        except Exception as error:  # what onnxruntime raises has no common base
            raise ModelError(
                f"{self.runtime} could not embed {len(batch)} pictures at once:"
                f" {first_line(error)}\nIf memory is short, a smaller {arg('batch_size')} helps."
            ) from error

    def _by_onnxruntime(self, batch: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._images.run(None, {"views": batch})[0]
        return rows

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        return self._texts.encode_texts(texts)

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        return self._texts.count_tokens(text)

    def text_export(self) -> Path:
        """The folder of the text tower, which is exported already."""
        self._check(self._text_folder)
        return self._text_folder

    def image_export(self) -> None:
        """Nothing: it is exported already."""

    @property
    def image_file(self) -> Path:
        """The file of the image tower."""
        return self._folder / IMAGES

    @cached_property
    def by_openvino(self) -> OnnxEncoder | None:
        """This one with pictures embedded by OpenVINO; None if it is not here or not as exact.

        That is found out once for a model in the cache or in an index, and noted in the cache.
        """
        if self._openvino:
            return self
        try:
            tower = openvino.open_tower(
                self.image_file,
                lambda: made_views(self, _PROBES),
                self.encode_images,
                None if self._checks else cached_folder(*self.facts.identity),
            )
        except ModelError as error:
            log.debug("%s", first_line(error))
            return None
        other = OnnxEncoder(self._folder, self.facts, self._text_folder, "cpu", self._checks)
        other._openvino = tower
        other.batch_size = 16  # as fast as more, and the last one waits for less
        other.precision = tower.precision
        return other

    @property
    def uses_openvino(self) -> bool:
        """Whether OpenVINO embeds pictures."""
        return self._openvino is not None

    @property
    def is_fastest(self) -> bool:
        """Whether OpenVINO embeds pictures, or was found not to be up to it."""
        return self.uses_openvino or self.__dict__.get("by_openvino", self) is None

    @property
    def runtime(self) -> str:
        """What runs the image tower, for a person; it is loaded for that."""
        import onnxruntime

        if self._openvino:
            return f"OpenVINO {openvino.version()} ({self.precision})"

        (first, *_) = self._images.get_providers()
        return f"ONNX Runtime {onnxruntime.__version__} ({first}, {self.precision})"

    @cached_property
    def _images(self) -> Any:
        import onnxruntime

        self._check(self.image_file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        name, settings = self._provider
        try:
            session = onnxruntime.InferenceSession(
                self.image_file,
                options,
                providers=[(name, settings)] if name == CPU else [(name, settings), CPU],
            )
        except Exception as error:  # what onnxruntime raises has no common base
            raise ModelError(
                f"the image tower in {self._folder} cannot be used: {first_line(error)}"
            ) from error
        if self._insists and session.get_providers()[0] != name:
            raise InvalidInput(
                f"ONNX Runtime has {name}, but cannot use it here; is its driver installed?\n"
                f"Use {arg('device')} auto to take the best one there is."
            )
        return session

    @cached_property
    def _texts(self) -> ExportedTexts:
        self._check(self._text_folder)
        try:
            return ExportedTexts(self._text_folder)
        except Exception as error:  # what onnxruntime and tokenizers raise varies
            raise ModelError(
                f"the text tower in {self._text_folder} cannot be used: {first_line(error)}"
            ) from error

    def _check(self, part: Path) -> None:
        """Compare the files of a tower, as those of `part` are named, with their hashes."""
        if not self._checks:
            return
        start = part.relative_to(self._folder).as_posix()
        for name, expected in self.facts.files.items():
            if name.startswith(start) and sha256_of(existing(self._folder / name)) != expected:
                raise ModelError(
                    f"{self._folder / name} is not what was exported, so its embeddings would"
                    " mean something else.\nExport the model again: clipsearch export onnx"
                )


def load(spec: Spec, device: str, precision: str) -> OnnxEncoder:
    """The encoder of a folder that `clipsearch export onnx` wrote, or that lies with an index.

    Raises:
        ModelError: it is no such folder.
        InvalidInput: onnxruntime has no such device here.
    """
    del precision  # that of the folder
    folder = _folder(spec)
    if (folder / CALIBRATION).is_file():
        return open_calibrated(folder, device)
    return OnnxEncoder(folder, facts_in(folder), folder / TEXTS, device)


def open_calibrated(folder: Path, device: str) -> OnnxEncoder:
    """The encoder of a model in 8 bits that lies with an index.

    Raises:
        ModelError: a file of it is missing or damaged.
        InvalidInput: onnxruntime has no such device here.
    """
    made_of = calibration_in(folder)
    check_files(folder)
    log.debug("%s in 8 bits: %s", made_of.spec, made_of)
    facts = facts_in(folder)
    texts = folder_of(made_of.weights, facts.preprocess)
    return OnnxEncoder(folder, facts, texts, device, checked=False)


def download(spec: Spec) -> Path:
    """The image tower's file, which is never fetched.

    Raises:
        ModelError: it is not there.
    """
    return existing(_folder(spec) / IMAGES)


def identity_of(spec: Spec) -> tuple[str, str] | None:
    """Whose vectors the model in a folder gives; None if it cannot be told."""
    try:
        return facts_in(_folder(spec)).identity
    except ModelError:
        return None


def open_cached(
    weights: str, preprocess: str, device: str, fast: bool = False
) -> OnnxEncoder | None:
    """The model of this identity as it was exported to the cache; None if it was not.

    With `fast` it is run by OpenVINO if that can be.

    Raises:
        InvalidInput: onnxruntime has no such device here.
    """
    folder, texts = cached_folder(weights, preprocess), folder_of(weights, preprocess)
    if not (folder / FACTS).is_file() or not (texts / RULES).is_file():
        return None
    try:
        encoder = OnnxEncoder(folder, facts_in(folder), texts, device, checked=False)
        encoder = (fast and encoder.by_openvino) or encoder
        log.debug("images are embedded by %s", encoder.runtime)
    except ModelError as error:
        log.debug("%s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return encoder


def _folder(spec: Spec) -> Path:
    folder = Path(spec.file)
    if spec.hub or not folder.is_dir():
        raise ModelError(f"there is no folder {spec.hub or spec.file!r} with an exported model")
    return folder
