"""What it takes to build one open_clip model: its architecture, its weights and its activation."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import load_state_dict
from open_clip.pretrained import download_pretrained_from_hf

from clipsearch.encoders.aliases import OPEN_CLIP_FILES
from clipsearch.encoders.hub import from_hub, offline
from clipsearch.encoders.openclip.checkpoint import reason_of
from clipsearch.encoders.spec import HUB, OPEN_CLIP_CONFIG, Spec, weights_in
from clipsearch.errors import ModelError, did_you_mean, first_line

# Only OpenAI's own state dicts hold these, as leftovers of their TorchScript archives.
OPENAI_KEYS = frozenset({"input_resolution", "context_length", "vocab_size"})

LOCAL = "local-dir:"  # what open_clip calls a folder of both


@dataclass(frozen=True, slots=True)
class Recipe:
    """What it takes to build one model from files that are on this machine."""

    architecture: str  # what open_clip.create_model and get_tokenizer take
    checkpoint: Path
    quick_gelu: bool
    preprocess: dict[str, Any] | None  # None: open_clip reads it beside the weights


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
    if weights is None or not (folder / OPEN_CLIP_CONFIG).is_file():
        raise ModelError(
            f"{folder} is no folder with {OPEN_CLIP_CONFIG} and {OPEN_CLIP_FILES[0]} in it;"
            " for a weights file write NAME:FILE"
        )
    config = _config_beside(weights).get("model_cfg", {})
    return Recipe(LOCAL + spec.file, weights, bool(config.get("quick_gelu")), None)


def _resolve_hub(spec: Spec) -> Recipe:
    architecture = HUB + spec.hub
    config = from_hub(str(spec), lambda: open_clip.get_model_config(architecture))
    checkpoint = from_hub(str(spec), lambda: download_pretrained_from_hf(spec.hub))
    return Recipe(architecture, Path(checkpoint), bool(config.get("quick_gelu")), None)


def _resolve_tag(spec: Spec) -> Recipe:
    config = architecture(spec.name)
    entry = open_clip.get_pretrained_cfg(spec.name, spec.tag)
    if not entry:
        tags = open_clip.list_pretrained_tags_by_model(spec.name)
        raise ModelError(
            f"open_clip has no weights {spec.tag!r} for {spec.name}. It has:"
            f" {', '.join(tags) or 'none'}{did_you_mean(spec.tag, tags) or '.'}\n"
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
    beside = file.with_name(OPEN_CLIP_CONFIG)
    if not beside.is_file():
        return {}
    try:
        stored = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{beside} cannot be read ({first_line(error)}); correct it or move it away"
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
        " and without; with the wrong one the scores are silently wrong. Weights from OpenAI,"
        f" DFN or MetaCLIP: write {name}-quickgelu:FILE; LAION, DataComp and most others:"
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
        hint = did_you_mean(name, open_clip.list_models(), 0.5)
        raise ModelError(f"open_clip has no architecture {name!r}{hint}")
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


def _load_weights(model: Any, recipe: Recipe) -> None:
    try:
        open_clip.load_checkpoint(model, str(recipe.checkpoint))
    except Exception as error:  # unpickling and unpacking damaged bytes raise nearly anything
        raise ModelError(
            f"the weights in {recipe.checkpoint} cannot be used for {recipe.architecture}:\n"
            f"  {reason_of(error)}\n"
            "Give a .safetensors file or a .pt of plain tensors, made for that architecture."
            " A TorchScript archive or a pickle of other objects can run code, and is refused."
        ) from error
