"""Write the graphs of open_clip's towers, which ship without any weights.

    python scripts/openclip_graphs.py [ARCHITECTURE ...]

Each is traced from torch with weights at random, which are then taken out: the name that one has in
a weights file stays. `clipsearch/encoders/openclip/graphs.py` fills them, without torch, and reads
in `known.json` which weights of open_clip's list go into which graphs. To be run when a model is
added, or when open_clip computes one in another way.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import open_clip
import torch
from pocket_graphs import empty, traced

from clipsearch.encoders.onnx.folder import view_as_json
from clipsearch.encoders.openclip.encoder import OpenClipEncoder
from clipsearch.encoders.openclip.graphs import FOLDER, KNOWN, PIXELS, WEIGHT, graph_file
from clipsearch.encoders.openclip.recipe import Recipe, usual_preprocess
from clipsearch.encoders.openclip.text_tower import module_of
from clipsearch.encoders.quiet import quiet

ARCHITECTURES = (
    "ViT-B-32", "ViT-B-32-256", "ViT-B-16", "ViT-L-14", "ViT-L-14-336",
    "PE-Core-L-14-336",
)  # fmt: skip
PREPARED = ("mean", "std", "interpolation", "resize_mode")  # of what open_clip tells of weights


def main(architectures: list[str]) -> None:
    """Trace the towers of the architectures, and tell of all weights that fit them."""
    FOLDER.mkdir(exist_ok=True)
    known: dict[str, Any] = {"graphs": {}, "weights": {}}
    if architectures:  # the others stay as they are
        known = json.loads(KNOWN.read_text("utf-8"))
    for name in architectures or ARCHITECTURES:
        for quick_gelu, weights in _weights(name).items():
            graph = f"{name}-quickgelu" if quick_gelu else name
            prepared: dict[str, dict[str, Any]] = {}  # by what is asked for, as JSON
            for spec, (repository, asked) in weights.items():
                key = json.dumps(asked, sort_keys=True)
                if key not in prepared:
                    model, encoder = _built(name, quick_gelu, asked)
                    told = {"preprocess": encoder.preprocess, "view": view_as_json(encoder.prepare)}
                    if not prepared:
                        known["graphs"][graph] = _write(graph, model, encoder)
                    prepared[key] = told
                known["weights"][spec] = {"graph": graph, "hub": repository} | prepared[key]
    KNOWN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


def _weights(name: str) -> dict[bool, dict[str, tuple[str | None, dict[str, Any]]]]:
    """The weights of an architecture in open_clip's list by their specs, by their activation.

    Each with its repository and how pictures are prepared. A spec "NAME:" is of files of which
    nothing else is known.
    """
    found: dict[bool, dict[str, tuple[str | None, dict[str, Any]]]] = {}
    for architecture in (name, f"{name}-quickgelu"):
        if (config := open_clip.get_model_config(architecture)) is None:
            continue
        for tag in open_clip.list_pretrained_tags_by_model(architecture):
            entry = open_clip.get_pretrained_cfg(architecture, tag)
            repository, _, file = (entry.get("hf_hub") or "").rpartition("/")
            if repository and not file:
                quick = bool(config.get("quick_gelu") or entry.get("quick_gelu"))
                asked = {key: entry[key] for key in PREPARED if key in entry}
                found.setdefault(quick, {})[f"{architecture}/{tag}"] = (repository, asked)
    files = {f"{name}-quickgelu": True, f"{name}-gelu": False}
    if f"{name}-quickgelu" not in open_clip.list_models():
        files = {name: False}
    for architecture, quick in files.items():
        usual = usual_preprocess(architecture.removesuffix("-gelu"))
        if quick in found:
            found[quick][f"{architecture}:"] = (None, usual)
    return found


def _built(
    name: str, quick_gelu: bool, preprocess: dict[str, Any]
) -> tuple[torch.nn.Module, OpenClipEncoder]:
    """A model with weights at random, and what runs it."""
    recipe = Recipe(name, Path(), quick_gelu, preprocess)
    with quiet():
        torch.manual_seed(0)
        model = open_clip.create_model(
            recipe.architecture,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=recipe.preprocess,
            quick_gelu=recipe.quick_gelu,
        )
        return model, OpenClipEncoder(recipe, "", "cpu", "fp32", model.eval())


def _write(graph: str, model: torch.nn.Module, encoder: OpenClipEncoder) -> dict[str, Any]:
    """Write both graphs; gives what is to be known of them."""
    size = encoder.resolution
    keys = {tensor.data_ptr(): key for key, tensor in model.state_dict().items()}
    batch = torch.export.Dim("batch")
    export = encoder.text_export()
    assert export
    assert export.rules.causal
    views = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    tokens = torch.ones((2, 9), dtype=torch.int64)
    length = torch.export.Dim("length", max=encoder.context)
    text = module_of(model)
    assert text is not None
    for tower, module, name, example, dims in (
        ("image", encoder.image_export(), "views", views, {0: batch}),
        ("text", text, "tokens", tokens, {0: batch, 1: length}),
    ):
        tensors = module.eval().state_dict()
        proto = traced(module, example, name, dims)
        named = {own: keys.get(tensor.data_ptr()) for own, tensor in tensors.items()}
        empty(proto, partial(_place, keys=named))
        file = graph_file(graph, tower)
        file.write_bytes(gzip.compress(proto.SerializeToString(deterministic=True), mtime=0))
        print(f"{file}: {file.stat().st_size:,} bytes")
    return {"dim": encoder.dim, "context": encoder.context, "clean": export.rules.clean}


def _place(tensor: onnx.TensorProto, keys: Mapping[str, str | None]) -> str | None:
    """Where a weight is: by its key in a weights file, or among what is told of pixels."""
    if tensor.name in ("mean", "std"):
        return PIXELS + tensor.name
    key = keys.get(tensor.name)
    return WEIGHT + key if key else None


if __name__ == "__main__":
    main(sys.argv[1:])
