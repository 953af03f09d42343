"""Chinese-CLIP as its authors give it: of their files the vectors of their own package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, picture

from clipsearch.encoders import load, parse_spec
from clipsearch.encoders.aliases import ALIASES, CHINESE
from clipsearch.encoders.chinese.encoder import authors_tokenizer
from clipsearch.encoders.onnx.export import export_model
from clipsearch.errors import ModelError

pytest.importorskip("transformers")
cn_clip = pytest.importorskip("cn_clip.clip")
from cn_clip.clip.model import CLIP, convert_weights  # noqa: E402

CONFIGS = Path(cn_clip.__file__).parent / "model_configs"
SIZES = {  # as cn_clip puts them together
    "ViT-B-16": "RoBERTa-wwm-ext-base-chinese",
    "ViT-L-14": "RoBERTa-wwm-ext-base-chinese",
    "ViT-L-14-336": "RoBERTa-wwm-ext-base-chinese",
    "ViT-H-14": "RoBERTa-wwm-ext-large-chinese",
    "RN50": "RBT3-chinese",
}
each_precision = pytest.mark.parametrize("precision", ["fp32", "fp16"])

SIGNS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只黑猫雪地里的狗在山上跑、「」ab"]
TEXTS = [
    "一只黑猫", "雪地里的狗、在山上跑 2024", "海辺の夕日 and a café", "“引号” 「猫」…\t换行",
    "🐕 没有的字 龘 ABC", "狗在雪地" * 30, "", "x" * 150, "Straße ÅNGSTRÖM 한국",
]  # fmt: skip


def described(size: str) -> dict[str, Any]:
    """What cn_clip's configurations say of a size."""
    told: dict[str, Any] = json.loads((CONFIGS / f"{size}.json").read_text())
    if isinstance(told["vision_layers"], str):
        told["vision_layers"] = json.loads(told["vision_layers"])
    return told | json.loads((CONFIGS / f"{SIZES[size]}.json").read_text())


def random_model(told: dict[str, Any], seed: int = 0) -> Any:
    """cn_clip's model in the half precision of its files, in which different texts differ."""
    torch.manual_seed(seed)
    model = CLIP(**told)
    for name, part in model.named_parameters():
        if "ln" in name or "bn" in name or "LayerNorm" in name:
            part.data.add_(torch.randn_like(part) * 0.3)
        elif name.startswith("bert.embeddings.word"):
            part.data.mul_(5)
    side = told["image_resolution"]
    for part in model.visual.modules():  # a ResNet that counted no pictures sees all alike
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        model.train().encode_image(torch.randn(4, 3, side, side))
    convert_weights(model)
    return model


def small(size: str) -> dict[str, Any]:
    """A size in small, with a vocabulary of its own."""
    told = described(size) | {"embed_dim": 32, "image_resolution": 64, "vocab_size": len(SIGNS)}
    told |= {"text_hidden_size": 64, "text_intermediate_size": 64, "text_num_attention_heads": 1}
    told |= {"text_num_hidden_layers": 2, "text_max_position_embeddings": 64}
    if size == "RN50":
        return told | {"vision_layers": [1, 2, 1, 1], "vision_width": 16}
    return told | {"vision_layers": 2, "vision_width": 64}


def save(model: Any, file: Path) -> Path:
    """A file as the authors' training writes it."""
    named = {f"module.{name}": part for name, part in model.state_dict().items()}
    torch.save({"epoch": 3, "step": 12, "name": "ours", "state_dict": named}, file)
    return file


@pytest.fixture(scope="module", params=[pytest.param(size, id=size) for size in SIZES])
def size(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A name, cn_clip's model of that size, two layers deep where it is a ViT, and its file."""
    told = described(request.param)
    if request.param != "RN50":
        told |= {"vision_layers": 2, "text_num_hidden_layers": 2}
    model = random_model(told)
    file = save(model, tmp_path_factory.mktemp("authors") / "clip.pt")
    return request.param, model.float().eval().requires_grad_(False), file


def unit(rows: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(rows.float(), dim=-1).numpy()


def test_each_size_embeds_pictures_and_texts_as_cn_clip_does(size: Any) -> None:
    name, theirs, file = size
    ours = load(parse_spec(f"chinese-clip:{file}"), "cpu", "fp32")
    alias = next(it for it in ALIASES.values() if it.hub == CHINESE[name][0])
    assert (ours.resolution, ours.dim, ours.context) == (alias.resolution, alias.dim, 52)
    assert ours.logit_scale == pytest.approx(theirs.logit_scale.exp().item())
    photos = [picture(seed, it) for seed, it in enumerate([(320, 240), (240, 320), (90, 500)])]
    views = np.stack([ours.prepare(photo) for photo in photos])
    prepared = torch.stack([cn_clip.image_transform(ours.resolution)(it) for it in photos])
    with torch.inference_mode():
        pictures = unit(theirs.encode_image(prepared))
        texts = unit(theirs.encode_text(cn_clip.tokenize(TEXTS)))
    for rows in (pictures, texts):  # or that they are equal would tell nothing
        assert (rows @ rows.T)[~np.eye(len(rows), dtype=bool)].max() < 0.9999
    assert np.abs(ours.encode_images(views) - pictures).max() <= 1e-4
    assert np.abs(ours.encode_texts(TEXTS) - texts).max() <= 1e-4


def check_onnx(file: Path, folder: Path, precision: str) -> None:
    encoder = load(parse_spec(f"chinese-clip:{file}"), "cpu", "fp32")
    towers = export_model(parse_spec(f"chinese-clip:{file}"), folder, precision)
    assert {(it.name, it.precision) for it in towers if it.bytes} == {
        ("image", precision), ("text", precision),
    }  # fmt: skip
    exported = load(parse_spec(f"onnx:{folder}"))
    views = np.stack([encoder.prepare(picture(seed, (300, 200))) for seed in range(2)])
    for one, other in (
        (exported.encode_images(views), encoder.encode_images(views)),
        (exported.encode_texts(TEXTS), encoder.encode_texts(TEXTS)),
    ):
        assert (one * other).sum(axis=1).min() >= (0.9999 if precision == "fp32" else 0.999)
    assert [exported.count_tokens(it) for it in TEXTS] == list(map(encoder.count_tokens, TEXTS))


@pytest.mark.thorough
@each_precision
def test_each_size_as_onnx_gives_the_same_vectors(
    precision: str, size: Any, tmp_path: Path
) -> None:
    check_onnx(size[2], tmp_path / "onnx", precision)


# In small, through the tool's own doors


@pytest.fixture(
    scope="module", params=["ViT-B-16", pytest.param("RN50", marks=pytest.mark.thorough)]
)
def small_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "vocab.txt").write_text("\n".join(SIGNS), "utf-8")
    return save(random_model(small(request.param)), folder / "clip.pt")


@each_precision
def test_a_small_one_as_onnx_gives_the_same_vectors(
    precision: str, small_file: Path, tmp_path: Path
) -> None:
    check_onnx(small_file, tmp_path / "onnx", precision)


@pytest.mark.thorough
@pytest.mark.parametrize("small_file", ["RN50"], indirect=True)
def test_photos_are_found_with_chinese_words(
    clipsearch: Run, photos: Path, small_file: Path
) -> None:
    done = clipsearch("index", photos, "--model", f"chinese-clip:{small_file}")
    assert done.returncode == 0, done.stderr
    assert "Loading" not in done.stderr
    words = clipsearch("query", "雪地里的狗", "--json", "-k", "all")
    assert len(json.loads(words.stdout)) == 12


def test_half_precision_changes_next_to_nothing(small_file: Path) -> None:
    full, half = (
        load(parse_spec(f"chinese-clip:{small_file}"), "cpu", it) for it in ("fp32", "bf16")
    )
    views = np.stack([full.prepare(picture(seed, (300, 200))) for seed in range(4)])
    assert (full.encode_images(views) * half.encode_images(views)).sum(1).min() >= 0.995


def test_weights_without_a_prefix_and_without_all_around_them_are_read(
    small_file: Path, tmp_path: Path
) -> None:
    bare = torch.load(small_file)["state_dict"]
    bare = {name.removeprefix("module."): part for name, part in bare.items()}
    shutil.copy(small_file.with_name("vocab.txt"), tmp_path)
    torch.save(bare, tmp_path / "bare.pt")
    one, other = (
        load(parse_spec(f"chinese-clip:{file}"), "cpu", "fp32").encode_texts(TEXTS)
        for file in (small_file, tmp_path / "bare.pt")
    )
    assert (one == other).all()


# Naming one, and what can be wrong with it


@pytest.mark.parametrize("name", list(SIZES))
def test_the_authors_names_are_names_here(name: str) -> None:
    repository, _ = CHINESE[name]
    assert parse_spec(f"chinese-clip:{name}").hub == repository
    assert [it.spec for it in ALIASES.values()].count(f"chinese-clip:{repository}") == 1


@pytest.mark.parametrize("small_file", ["RN50"], indirect=True)
def test_a_repository_that_holds_the_authors_file_alone_is_read_from_the_cache(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repository, name = CHINESE["RN50"]
    cached = tmp_path / f"models--{repository.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    shutil.copytree(small_file.parent, cached / "snapshots" / "abc")
    (cached / "snapshots" / "abc" / small_file.name).rename(cached / "snapshots" / "abc" / name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    encoder = load(parse_spec("chinese-rn50"), "cpu", "fp32")
    expected = load(parse_spec(f"chinese-clip:{small_file}"), "cpu", "fp32")
    assert (encoder.weights, encoder.preprocess) == (expected.weights, expected.preprocess)


def test_the_vocabulary_that_is_here_is_the_authors_own() -> None:
    tokenizer = cn_clip.bert_tokenizer.FullTokenizer()
    ours = authors_tokenizer(Path(), len(tokenizer.vocab))
    assert ours.get_vocab() == dict(tokenizer.vocab)


def refusal(file: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(parse_spec(f"chinese-clip:{file}"), "cpu", "fp32")
    assert str(file.parent) in str(caught.value)
    return str(caught.value)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"visual.conv1.weight": torch.zeros(4, 3, 2, 2)}}, tmp_path / "a.pt")
    said = refusal(tmp_path / "a.pt")
    assert "no Chinese-CLIP" in said
    assert said.endswith("is missing")
    (tmp_path / "b.pt").write_bytes(b"\0 no such thing")
    assert "cannot be read" in refusal(tmp_path / "b.pt")


@pytest.mark.parametrize("name", ["logit_scale", "bert.encoder.layer.1.output.dense.weight"])
def test_a_file_that_lacks_a_part_is_refused(name: str, small_file: Path, tmp_path: Path) -> None:
    told = torch.load(small_file)
    del told["state_dict"][f"module.{name}"]
    shutil.copy(small_file.with_name("vocab.txt"), tmp_path)
    torch.save(told, tmp_path / "less.pt")
    assert "less.pt" in refusal(tmp_path / "less.pt")


def test_a_vocabulary_of_another_size_is_refused(small_file: Path, tmp_path: Path) -> None:
    shutil.copy(small_file, tmp_path / "clip.pt")
    assert "no vocabulary" in refusal(tmp_path / "clip.pt")
    (tmp_path / "vocab.txt").write_text("\n".join(SIGNS[:-1]), "utf-8")
    said = refusal(tmp_path / "clip.pt")
    assert f"{len(SIGNS)} tokens" in said
