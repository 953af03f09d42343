"""Every model that open_clip can build, by tag, from the hub, or from a weights file."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.factory import load_state_dict
from PIL import Image

from clipsearch.encoders.aliases import OPEN_CLIP_FILES
from clipsearch.encoders.export import TextExport
from clipsearch.encoders.hub import from_hub, offline, weights_hash
from clipsearch.encoders.images import DTYPES, ImageTower, batch_size, unit_rows
from clipsearch.encoders.openclip_text import text_export
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import HUB, Spec, weights_in
from clipsearch.errors import ModelError, first_line
from clipsearch.photos.view import View

# Only OpenAI's own state dicts hold these, as leftovers of their TorchScript archives.
OPENAI_KEYS = frozenset({"input_resolution", "context_length", "vocab_size"})

CONFIG = "open_clip_config.json"  # beside weights: the architecture and how pictures are prepared
LOCAL = "local-dir:"  # what open_clip calls a folder of both


@dataclass(frozen=True, slots=True)
class Recipe:
    """What it takes to build one model from files that are on this machine."""

    architecture: str  # what open_clip.create_model and get_tokenizer take
    checkpoint: Path
    quick_gelu: bool
    preprocess: dict[str, Any] | None  # None: open_clip reads it beside the weights


class OpenClipEncoder:
    """An open_clip model as an `Encoder`."""

    def __init__(
        self, recipe: Recipe, weights: str, device: str, precision: str, model: Any = None
    ) -> None:
        """`model` is what `recipe` builds, where it is built already."""
        self._recipe = recipe
        self._model = (model or build(recipe).eval().requires_grad_(False)).to(device)
        # The image tower runs on batches, so precision pays there; a query is one sentence,
        # and fp32 keeps it exact.
        self._model.visual.to(dtype=DTYPES[precision])
        self._tokenizer: Any = None
        config = self._model.visual.preprocess_cfg
        self.prepare = _view(config)
        self._images = ImageTower(
            _Images(self._model), config["mean"], config["std"], device, precision
        )
        self.weights = weights
        self.preprocess = _describe(config, recipe.quick_gelu)
        self.resolution = self.prepare.size
        self.context = _context(recipe)
        self.device = device
        self.precision = precision
        self.batch_size = batch_size(device)
        self.dim = self._embedding_size()
        self.logit_scale = float(self._model.logit_scale.exp())
        bias = getattr(self._model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias)

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, resolution, resolution, 3) uint8 views: (n, dim) float32, unit rows.

        A batch that the device has no memory for is done in halves.
        """
        return self._images(batch)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit rows. Tokens past `context` are cut."""
        tokens = self.tokenizer()(list(texts)).to(self.device)
        return unit_rows(self._model.encode_text(tokens))

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has, start and end tokens included."""
        tokenizer = self.tokenizer()
        if isinstance(tokenizer, open_clip.SimpleTokenizer):
            return len(tokenizer.encode(text)) + 2
        return len(tokenizer.tokenizer(text)["input_ids"])

    def text_export(self) -> TextExport | None:
        """What `clipsearch.encoders.export` writes for queries without torch."""
        return text_export(self._model, self.tokenizer(), self.context)

    def image_export(self) -> torch.nn.Module:
        """What `clipsearch.encoders.export` writes for pictures without torch."""
        return self._images.whole()

    def tokenizer(self) -> Any:
        """open_clip's tokenizer of the model, read when it is first needed."""
        # Indexing needs none, and a tokenizer from the hub imports transformers.
        if self._tokenizer is None:
            self._tokenizer = from_hub(
                self._recipe.architecture,
                lambda: open_clip.get_tokenizer(self._recipe.architecture),
            )
        return self._tokenizer

    def _embedding_size(self) -> int:
        black = np.zeros((1, self.resolution, self.resolution, 3), np.uint8)
        return int(self.encode_images(black).shape[1])


class _Images(torch.nn.Module):
    """The image tower: (n, c, r, r) pixels to (n, dim) embeddings."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.model.encode_image(pixels)
        return embeddings


def load(spec: Spec, device: str, precision: str) -> OpenClipEncoder:
    """The encoder of an open_clip model.

    Raises:
        ModelError: no such model, or weights that do not fit it.
        WeightsUnavailable: the weights are not here and could not be downloaded.
    """
    recipe = resolve(spec)
    with quiet():
        return OpenClipEncoder(recipe, weights_hash(recipe.checkpoint), device, precision)


def download(spec: Spec) -> Path:
    """Fetch weights and tokenizer into the Hugging Face cache; gives the weights file."""
    recipe = resolve(spec)
    from_hub(str(spec), lambda: open_clip.get_tokenizer(recipe.architecture))
    return recipe.checkpoint


def bare(spec: Spec) -> tuple[Any, View]:
    """The open_clip model of `spec` itself, and how pictures are brought to what it sees.

    Raises:
        ModelError, WeightsUnavailable: as `load`.
    """
    with quiet():
        model = build(resolve(spec)).eval().requires_grad_(False)
    return model, _view(model.visual.preprocess_cfg)


def resolve(spec: Spec) -> Recipe:
    """The recipe of `spec`; weights that are not on this machine are downloaded first.

    OpenAI's weights, and some later ones, were trained with QuickGELU; run with plain GELU they
    give wrong scores and no error. So the activation comes from where the weights come from:
    open_clip's table for a tag, the repository's own configuration for the hub, and for a file
    what it tells, or the person.

    Raises:
        ModelError: no such model, or a file whose activation cannot be known.
        WeightsUnavailable: the weights could not be downloaded.
    """
    if spec.hub:
        return _resolve_hub(spec)
    if spec.file:
        return _resolve_folder(spec) if spec.name == spec.family else _resolve_file(spec)
    return _resolve_tag(spec)


def _resolve_folder(spec: Spec) -> Recipe:
    folder = Path(spec.file)
    weights = weights_in(folder) if folder.is_dir() else None
    if weights is None or not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} is no folder with {CONFIG} and {OPEN_CLIP_FILES[0]} in it;"
            " for a weights file write NAME:FILE"
        )
    config = _config_beside(weights).get("model_cfg", {})
    return Recipe(LOCAL + spec.file, weights, bool(config.get("quick_gelu")), None)


def _resolve_hub(spec: Spec) -> Recipe:
    architecture = HUB + spec.hub
    config = from_hub(str(spec), lambda: open_clip.get_model_config(architecture))
    checkpoint = from_hub(str(spec), lambda: open_clip.download_pretrained_from_hf(spec.hub))
    return Recipe(architecture, Path(checkpoint), bool(config.get("quick_gelu")), None)


def _resolve_tag(spec: Spec) -> Recipe:
    config = architecture(spec.name)
    entry = open_clip.get_pretrained_cfg(spec.name, spec.tag)
    if not entry:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.name)) or "none"
        raise ModelError(
            f"open_clip has no weights {spec.tag!r} for {spec.name}. It has: {tags}.\n"
            f"For weights from a file write {spec.name}:FILE."
        )
    checkpoint = from_hub(str(spec), lambda: open_clip.download_pretrained(entry))
    quick_gelu = bool(config.get("quick_gelu") or entry.get("quick_gelu"))
    return Recipe(spec.name, Path(checkpoint), quick_gelu, entry)


def _resolve_file(spec: Spec) -> Recipe:
    name, suffix = spec.name, ""
    if name.endswith("-gelu"):
        name, suffix = name.removesuffix("-gelu"), "-gelu"
    config = architecture(name)
    stored = _config_beside(Path(spec.file))
    if config.get("quick_gelu"):
        quick_gelu = True
    elif suffix:
        quick_gelu = False
    elif "model_cfg" in stored:
        quick_gelu = bool(stored["model_cfg"].get("quick_gelu"))
    else:
        quick_gelu = _trained_with_quick_gelu(name, spec.file)
    preprocess = stored.get("preprocess_cfg") or usual_preprocess(name)
    return Recipe(name, Path(spec.file), quick_gelu, preprocess)


def _config_beside(file: Path) -> dict[str, dict[str, Any]]:
    """The configuration that the hub keeps beside weights, if it was copied with them."""
    beside = file.with_name(CONFIG)
    if not beside.is_file():
        return {}
    try:
        stored = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{beside} cannot be read ({error}); correct it or move it away"
        ) from error
    if not isinstance(stored, dict) or not isinstance(stored.get("model_cfg", {}), dict):
        raise ModelError(f"{beside} is no model configuration; correct it or move it away")
    return stored


def _trained_with_quick_gelu(name: str, file: str) -> bool:
    flags = {
        bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"))
        for tag in open_clip.list_pretrained_tags_by_model(name)
    }
    if True not in flags and f"{name}-quickgelu" not in open_clip.list_models():
        return False
    if OPENAI_KEYS & _keys(file):
        return True
    raise ModelError(
        f"{file} does not tell whether it was trained with QuickGELU, and {name} exists with"
        " and without;\nwith the wrong one the scores are silently wrong. Weights from OpenAI,"
        f" DFN or MetaCLIP: write {name}-quickgelu:FILE;\nLAION, DataComp and most others:"
        f" {name}-gelu:FILE."
    )


def _keys(file: str) -> set[str]:
    try:
        return set(load_state_dict(file))
    except Exception:  # what is wrong with it is said when it is loaded
        return set()


def architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture.

    Raises:
        ModelError: there is none of that name.
    """
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ModelError(f"open_clip has no architecture {name!r}.{hint}")
    return config


def usual_preprocess(name: str) -> dict[str, Any]:
    """The preprocessing that most published weights of an architecture share."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    entries = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    keys = ("mean", "std", "interpolation", "resize_mode")
    usual = Counter(tuple((key, entry.get(key)) for key in keys) for entry in entries)
    return dict(usual.most_common(1)[0][0]) if usual else {}


def build(recipe: Recipe) -> Any:
    """The open_clip model of a recipe, in float32 on the CPU, as open_clip makes it.

    Raises:
        ModelError: the weights do not fit.
        WeightsUnavailable: the configuration of a text tower could not be downloaded.
    """
    if recipe.architecture.startswith(HUB):
        with offline():
            model = open_clip.create_model(recipe.architecture, require_pretrained=True)
    else:
        # Building downloads nothing, except the configuration of a text tower from the hub.
        model = from_hub(
            recipe.architecture,
            lambda: open_clip.create_model(
                recipe.architecture,
                load_weights=False,
                pretrained_text=False,
                force_preprocess_cfg=recipe.preprocess,
                quick_gelu=recipe.quick_gelu,
            ),
        )
        _load_weights(model, recipe)
    return model


def _context(recipe: Recipe) -> int:
    """How many tokens the tokenizer gives at most; a tower of transformers' could take more."""
    name = recipe.architecture
    config = from_hub(name, lambda: open_clip.get_model_config(name))
    return int(config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH))


def _load_weights(model: Any, recipe: Recipe) -> None:
    try:
        open_clip.load_checkpoint(model, str(recipe.checkpoint))
    except Exception as error:  # unpickling and unpacking damaged bytes raise nearly anything
        raise ModelError(
            f"the weights in {recipe.checkpoint} cannot be used for {recipe.architecture}:\n"
            f"  {first_line(error)}\n"
            "Give a .safetensors file or a .pt of plain tensors, made for that architecture."
            " A TorchScript archive or a pickle\nof other objects can run code, and is refused."
        ) from error


def _view(config: dict[str, Any]) -> View:
    # Not open_clip's transform itself: that needs torch wherever pictures are decoded, and makes
    # a float tensor of four times the bytes; normalizing is done on the device, by the batch.
    bilinear = config["interpolation"] == "bilinear"
    return View(
        _side(config["size"]),
        config["resize_mode"],
        Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC,
        config["fill_color"],
    )


def _describe(config: dict[str, Any], quick_gelu: bool) -> str:
    facts = {key: config[key] for key in ("size", "mean", "std", "interpolation", "resize_mode")}
    return json.dumps(facts | {"quick_gelu": quick_gelu}, sort_keys=True)


def _side(size: int | Sequence[int]) -> int:
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise ModelError(f"models that see {size[0]}x{size[1]} pixels are not supported")
    return int(size[0])
