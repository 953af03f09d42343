"""Each family that open_clip can build, small and at random: our vectors are open_clip's own.

An architecture of a family is the smallest that its parts allow, registered with open_clip as one
of its own, so that everything from the spec to the vectors takes the usual way.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import asked_for, picture
from safetensors.torch import save_file

from clipsearch import Library
from clipsearch.encoders import Encoder, load, parse_spec
from clipsearch.encoders.onnx.export import export_model
from clipsearch.encoders.onnx.text_export import export_texts
from clipsearch.encoders.onnx.texts import open_exported
from clipsearch.encoders.quiet import quiet
from clipsearch.errors import ModelError

Config = dict[str, Any]

WORDS = "a dog two people on beach at sunset the red boat in snow cat house 2024 собака 狗 犬"
TEXTS = ["a dog", "two people on a beach, at sunset", "Собака in the SNOW!", "狗 🐕", "a dog " * 99]
VIEWS = [(90, 60), (60, 90), (64, 64), (200, 40)]

VIT: Config = {"layers": 2, "width": 64, "patch_size": 16, "image_size": 64}
TEXT: Config = {"width": 64, "heads": 2, "layers": 2}
SIGLIP: Config = {
    "context_length": 16, "vocab_size": 32, "no_causal_mask": True, "proj_bias": True,
    "pool_type": "last", "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
    "hf_tokenizer_name": "TOKENIZER", "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
SQUASHED = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}


def timm(name: str, pool: str, side: int = 64, **others: Any) -> Config:
    model = {"timm_model_name": name, "timm_model_pretrained": False, "timm_pool": pool}
    return {**model, "image_size": side, "timm_proj": None} | others


@dataclass(frozen=True)
class Family:
    """A small architecture, how pictures are prepared for it, and what becomes of its texts."""

    config: Config
    preprocess: Config | None = None
    exports: bool | None = True  # None: its text tower is that of another family here


FAMILIES = {
    "CLIP": Family({"vision_cfg": VIT, "text_cfg": TEXT, "quick_gelu": True}),
    "CLIP-ResNet": Family(
        {
            "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "image_size": 64},
            "text_cfg": TEXT, "quick_gelu": True,
        },
        exports=None,
    ),
    "CoCa": Family(
        {
            "vision_cfg": VIT
            | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": TEXT | {"context_length": 76, "attn_pooler_heads": 2},
            "custom_text": True,
        },
        exports=False,
    ),
    "SigLIP": Family(
        {
            "vision_cfg": timm("vit_tiny_patch16_224", "map", 224, timm_proj="none"),
            "text_cfg": TEXT | SIGLIP | {"width": 192}, "embed_dim": 192,
            "init_logit_bias": -10, "custom_text": True,
        },
        SQUASHED,
    ),
    "MobileCLIP2": Family(
        {
            "vision_cfg": timm("fastvit_mci0", "avg", timm_drop=0.0, timm_drop_path=0.0),
            "text_cfg": TEXT | {"no_causal_mask": True}, "custom_text": True,
        },
        {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    ),
    "ConvNeXt": Family(
        {
            "vision_cfg": timm("convnext_atto", "", timm_proj="linear"),
            "text_cfg": TEXT,
        },
        exports=None,
    ),
    "EVA": Family(
        {
            "vision_cfg": timm("eva02_tiny_patch14_224", "token", 224),
            "text_cfg": TEXT, "custom_text": True,
        },
        exports=None,
    ),
    "NLLB-CLIP": Family(
        {
            "vision_cfg": VIT,
            "text_cfg": {
                "hf_model_name": "TOKENIZER", "hf_tokenizer_name": "TOKENIZER",
                "hf_proj_type": "linear", "hf_pooler_type": "cls_pooler",
                "hf_model_pretrained": False,
            },
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that transformers wrote: a small tokenizer, and the shape of a small NLLB."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("language")
    vocabulary = {word: id for id, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS.split()])}
    bare = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    bare.post_processor = processors.TemplateProcessing(
        single="$0 </s>", special_tokens=[("</s>", 1)]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=bare, **special).save_pretrained(folder)
    transformers.M2M100Config(
        vocab_size=32, d_model=64, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=0,
        eos_token_id=1, bos_token_id=1, decoder_start_token_id=1, max_position_embeddings=128,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@dataclass(frozen=True)
class Both:
    """A family's encoder, and the same weights as open_clip itself loads them."""

    family: Family
    spec: str
    encoder: Encoder
    half: Encoder
    model: Any
    preprocess: Any
    tokenizer: Any


@pytest.fixture(scope="module", params=FAMILIES)
def both(
    request: pytest.FixtureRequest, language: Path, tmp_path_factory: pytest.TempPathFactory
) -> Both:
    family, name = FAMILIES[request.param], f"small-{request.param}"
    folder = tmp_path_factory.mktemp(name)
    config = {"embed_dim": 64} | family.config
    described = json.dumps(config).replace("TOKENIZER", str(language))
    (folder / f"{name}.json").write_text(described)
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    with quiet():
        made = open_clip.create_model(name, pretrained_text=False)
        made.logit_scale.data.fill_(math.log(100))  # what CLIP's own became
        weights = folder / "weights.safetensors"
        save_file({key: part.contiguous() for key, part in made.state_dict().items()}, weights)
        if family.preprocess:
            told = {"model_cfg": json.loads(described), "preprocess_cfg": family.preprocess}
            (folder / "open_clip_config.json").write_text(json.dumps(told))
        asked = {f"image_{key}": value for key, value in (family.preprocess or {}).items()}
        model, _, preprocess = open_clip.create_model_and_transforms(
            name, str(weights), pretrained_text=False, **asked
        )
    spec = parse_spec(f"{name}:{weights}")
    return Both(
        family, str(spec), load(spec, "cpu", "fp32"), load(spec, "cpu", "bf16"), model.eval(),
        preprocess, open_clip.get_tokenizer(name),
    )  # fmt: skip


@pytest.fixture(scope="module")
def images() -> list[Any]:
    return [picture(seed, size) for seed, size in enumerate(VIEWS)]


def embedded(encoder: Encoder, images: list[Any]) -> np.ndarray:
    return encoder.encode_images(np.stack([encoder.prepare(image) for image in images]))


def worst(one: np.ndarray, other: np.ndarray) -> float:
    """The lowest cosine between two rows that should be the same."""
    assert one.shape == other.shape
    return float((one * other).sum(1).min())


@torch.inference_mode()
def test_pictures_are_prepared_and_embedded_as_open_clip_does(
    both: Both, images: list[Any]
) -> None:
    batch = torch.stack([both.preprocess(image) for image in images])
    theirs = both.model.encode_image(batch, normalize=True).numpy()
    assert worst(embedded(both.encoder, images), theirs) >= 0.9999
    assert both.encoder.dim == theirs.shape[1]
    assert both.encoder.resolution == batch.shape[2]


def test_a_picture_on_its_own_is_embedded_as_in_a_batch(both: Both, images: list[Any]) -> None:
    alone = np.concatenate([embedded(both.encoder, [image]) for image in images])
    assert worst(alone, embedded(both.encoder, images)) >= 0.99999


def test_half_precision_changes_little_of_pictures_and_nothing_of_texts(
    both: Both, images: list[Any]
) -> None:
    assert worst(embedded(both.half, images), embedded(both.encoder, images)) >= 0.999
    assert both.half.encode_texts(TEXTS) == pytest.approx(
        both.encoder.encode_texts(TEXTS), abs=1e-6
    )


@torch.inference_mode()
def test_texts_are_embedded_as_open_clip_does_together_and_alone(both: Both) -> None:
    theirs = both.model.encode_text(both.tokenizer(TEXTS), normalize=True).numpy()
    assert worst(both.encoder.encode_texts(TEXTS), theirs) >= 0.99999
    alone = np.concatenate([both.encoder.encode_texts([text]) for text in TEXTS])
    assert worst(alone, theirs) >= 0.99999
    assert both.encoder.context == both.tokenizer.context_length
    assert both.encoder.logit_scale == pytest.approx(both.model.logit_scale.exp().item())


@torch.inference_mode()
def test_probabilities_are_those_that_open_clip_computes(
    both: Both, photos: Path, index: Path
) -> None:
    # As its README does, with the model's own scale; a model with a bias has a sigmoid.
    images = [picture(seed, (both.encoder.resolution,) * 2) for seed in range(4)]
    batch = torch.stack([both.preprocess(image) for image in images])
    rows = both.model.encode_image(batch, normalize=True)
    texts = both.model.encode_text(both.tokenizer(TEXTS), normalize=True)
    logits = both.model.logit_scale.exp() * rows @ texts.T
    bias = both.model.logit_bias
    theirs = logits.softmax(-1) if bias is None else (logits + bias).sigmoid()
    assert (bias is not None) is ("init_logit_bias" in both.family.config)
    with Library.open(index, model="pocket", encoder=both.encoder) as library:
        library.index([photos])
        ours = library.score(images, TEXTS)
    assert ours.probabilities == pytest.approx(theirs.numpy(), abs=1e-4)


def test_the_text_tower_is_exported_exactly_or_not_at_all(both: Both) -> None:
    if both.family.exports is None:
        pytest.skip("its text tower is that of CLIP")
    assert export_texts(both.encoder) is both.family.exports
    exported = open_exported(both.encoder.weights, both.encoder.preprocess)
    assert (exported is not None) is both.family.exports
    if exported is not None:
        assert worst(exported.encode_texts(TEXTS), both.encoder.encode_texts(TEXTS)) >= 0.9999
        assert exported.logit_scale == both.encoder.logit_scale
        assert exported.logit_bias == both.encoder.logit_bias


def test_both_towers_are_exported_exactly_or_not_at_all(
    both: Both, images: list[Any], tmp_path: Path
) -> None:
    if not asked_for("thorough") and both.family not in (FAMILIES["CLIP"], FAMILIES["SigLIP"]):
        pytest.skip("a variation of these two: -m thorough, CLIPSEARCH_TEST_THOROUGH=1")
    if both.family.exports is None or "fastvit" in str(both.family.config):
        pytest.skip("exporting it takes long, and its parts are those of others here")
    if both.family.exports is False:
        with pytest.raises(ModelError, match="cannot be exported"):
            export_model(parse_spec(both.spec), tmp_path / "onnx")
        assert not any(tmp_path.iterdir())
        return
    export_model(parse_spec(both.spec), tmp_path / "onnx")
    exported = load(parse_spec(f"onnx:{tmp_path / 'onnx'}"))
    assert worst(embedded(exported, images), embedded(both.encoder, images)) >= 0.9999
    assert worst(exported.encode_texts(TEXTS), both.encoder.encode_texts(TEXTS)) >= 0.9999
    assert (exported.dim, exported.context) == (both.encoder.dim, both.encoder.context)
    assert exported.logit_bias == both.encoder.logit_bias
