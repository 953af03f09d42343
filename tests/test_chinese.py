"""Chinese-CLIP: the vectors of transformers' own model, and Chinese words through every door."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, picture

from clipsearch import Library
from clipsearch.encoders import Encoder, load, parse_spec
from clipsearch.encoders.onnx.export import export_model
from clipsearch.encoders.onnx.text_export import export_texts
from clipsearch.encoders.onnx.texts import open_exported
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError, WeightsUnavailable

transformers = pytest.importorskip("transformers")

SIDE = 32
TEXTS = [
    "一只黑猫",
    "雪地里的狗、在山上跑 2024",
    "海辺の夕日 and a café",
    "\uff21\uff22\uff23 「猫」…",
    "🐕 没有的字 龘",
    "狗在雪地" * 30,  # far over the context
    "",
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Chinese-CLIP as transformers writes one, preprocessing as the authors do."""
    folder = tmp_path_factory.mktemp("chinese-clip")
    shape = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64,
    }  # fmt: skip
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs += [*dict.fromkeys("一只黑猫雪地里的狗在山上跑、「」")]
    signs += [*"0123456789", *"abcdefghijklmnopqrstuvwxyz", *(f"##{x}" for x in "abcdef024")]
    config = transformers.ChineseCLIPConfig(
        text_config={**shape, "vocab_size": len(signs), "max_position_embeddings": 64},
        vision_config={**shape, "image_size": SIDE, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(0)
    with quiet():
        model = transformers.ChineseCLIPModel(config)
        for parameter in model.parameters():  # as they are made, all texts are nearly alike
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(signs), "utf-8")
    processor(do_center_crop=False, size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def processor(**told: Any) -> Any:
    return transformers.ChineseCLIPImageProcessor(**told)


def load_from(folder: Path, precision: str = "fp32") -> Encoder:
    return load(parse_spec(f"chinese-clip:{folder}"), "cpu", precision)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_from(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    with quiet():
        return transformers.ChineseCLIPModel.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def views() -> list[Any]:
    sizes = [(320, 240), (240, 320), (SIDE, SIDE), (500, 90), (40, 60), (1, 1)]
    return [picture(seed, size) for seed, size in enumerate(sizes)]


def unit(rows: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def worst(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float((one * other).sum(1).min())


@torch.inference_mode()
def by_transformers(model: Any, folder: Path, images: list[Any]) -> np.ndarray:
    prepared = transformers.ChineseCLIPImageProcessor.from_pretrained(folder)(
        images, return_tensors="pt"
    )
    return unit(model.get_image_features(**prepared).pooler_output)


def embedded(encoder: Encoder, images: list[Any]) -> np.ndarray:
    return encoder.encode_images(np.stack([encoder.prepare(image) for image in images]))


# The vectors


def test_an_encoder_tells_what_it_is(encoder: Encoder, theirs: Any) -> None:
    assert (encoder.dim, encoder.resolution, encoder.context) == (24, SIDE, 52)
    assert encoder.logit_scale == pytest.approx(theirs.logit_scale.exp().item())


def test_pictures_are_embedded_as_transformers_does(
    encoder: Encoder, theirs: Any, folder: Path, views: list[Any]
) -> None:
    # Resized by Pillow here and by torch there: a level of brightness more or less.
    assert worst(embedded(encoder, views), by_transformers(theirs, folder, views)) >= 0.9999


def test_pictures_that_need_no_resizing_are_embedded_exactly_so(
    encoder: Encoder, theirs: Any, folder: Path
) -> None:
    views = [picture(seed, (SIDE, SIDE)) for seed in range(5)]
    ours = embedded(encoder, views)
    assert ours == pytest.approx(by_transformers(theirs, folder, views), abs=1e-5)


def test_a_folder_that_crops_the_middle_is_taken_at_its_word(
    copied: Path, theirs: Any, views: list[Any]
) -> None:
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    processor(**size, image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(copied)
    ours = embedded(load_from(copied), views[:5])
    assert worst(ours, by_transformers(theirs, copied, views[:5])) >= 0.9999


HxW = {"height": SIDE, "width": SIDE}
NOT_NORMALIZED: dict[str, Any] = {"do_normalize": False}
NOT_SCALED: dict[str, Any] = {"do_rescale": False, "image_mean": [120] * 3, "image_std": [60] * 3}


@pytest.mark.parametrize(
    ("told", "fit"),
    [
        ({"size": HxW, "crop_size": HxW, "do_center_crop": True}, "squash"),  # the hub's own
        ({"size": HxW, "crop_size": {"height": 8, "width": 8}, "do_center_crop": False}, "squash"),
        ({"size": {"shortest_edge": SIDE}, "crop_size": HxW, "do_center_crop": True}, "shortest"),
        ({"size": SIDE, "crop_size": SIDE, "do_center_crop": True}, "shortest"),
        ({"size": [SIDE, SIDE], "crop_size": [SIDE, SIDE], "do_center_crop": True}, "squash"),
        ({"size": HxW, "crop_size": HxW, "resample": 2}, "squash"),
        ({"size": HxW, "crop_size": HxW} | NOT_NORMALIZED, "squash"),
        ({"size": HxW, "crop_size": HxW} | NOT_SCALED, "squash"),
    ],
)
@pytest.mark.parametrize("is_newest", [False, True], ids=["preprocessor", "processor"])
def test_every_form_in_which_preprocessing_was_written_is_read(
    told: dict[str, Any], fit: str, is_newest: bool, copied: Path, theirs: Any, views: list[Any]
) -> None:
    written = {"image_processor_type": "ChineseCLIPImageProcessor"} | told
    file = copied / "preprocessor_config.json"
    file.write_text(json.dumps(written))
    expected = by_transformers(theirs, copied, views[:5])
    if is_newest:
        whole = {"image_processor": written, "processor_class": "ChineseCLIPProcessor"}
        file.with_name("processor_config.json").write_text(json.dumps(whole))
        file.unlink()
    encoder = load_from(copied)
    assert encoder.prepare.fit == fit
    assert worst(embedded(encoder, views[:5]), expected) >= 0.9999


def test_what_the_processor_of_this_transformers_writes_is_read(
    copied: Path, encoder: Encoder
) -> None:
    (copied / "preprocessor_config.json").unlink()
    transformers.ChineseCLIPProcessor(
        processor(size=HxW, crop_size=HxW), transformers.BertTokenizerFast.from_pretrained(copied)
    ).save_pretrained(copied)
    assert load_from(copied).preprocess == encoder.preprocess


@torch.inference_mode()
def test_texts_are_embedded_as_transformers_does(
    encoder: Encoder, theirs: Any, folder: Path
) -> None:
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    told = tokenizer(
        TEXTS, padding="max_length", truncation=True, max_length=52, return_tensors="pt"
    )
    expected = unit(theirs.get_text_features(**told).pooler_output)
    assert encoder.encode_texts(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_text_is_embedded_alike_alone_and_among_others(encoder: Encoder) -> None:
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    assert encoder.encode_texts(TEXTS) == pytest.approx(alone, abs=1e-5)
    assert encoder.encode_texts([]).shape == (0, 24)


def test_different_words_have_different_vectors(encoder: Encoder) -> None:
    rows = encoder.encode_texts(TEXTS)
    assert (rows @ rows.T)[~np.eye(len(TEXTS), dtype=bool)].max() < 0.999


def test_half_precision_changes_next_to_nothing(
    encoder: Encoder, folder: Path, views: list[Any]
) -> None:
    half = load_from(folder, "bf16")
    assert worst(embedded(half, views), embedded(encoder, views)) >= 0.999
    assert half.encode_texts(TEXTS) == pytest.approx(encoder.encode_texts(TEXTS), abs=1e-6)


def test_the_exported_text_tower_gives_the_same_vectors(encoder: Encoder) -> None:
    assert export_texts(encoder)
    exported = open_exported(encoder.weights, encoder.preprocess)
    assert exported is not None
    assert worst(exported.encode_texts(TEXTS), encoder.encode_texts(TEXTS)) >= 0.9999
    assert [exported.count_tokens(text) for text in TEXTS] == [
        encoder.count_tokens(text) for text in TEXTS
    ]


# Through the tool's own doors


def test_photos_are_found_with_chinese_words(clipsearch: Run, photos: Path, folder: Path) -> None:
    done = clipsearch("index", photos, "--model", f"chinese-clip:{folder}")
    assert done.returncode == 0, done.stderr
    assert "Loading" not in done.stderr
    words = clipsearch("query", "雪地里的狗", "--json", "-k", "all")
    like = clipsearch("similar", photos / "03.jpg", "--json", "-k", "3")
    assert len(json.loads(words.stdout)) == 12
    assert len(json.loads(like.stdout)) == 3


def test_a_folder_that_was_moved_is_the_same_model(
    photos: Path, index: Path, copied: Path, tmp_path: Path
) -> None:
    with Library.open(index, model=f"chinese-clip:{copied}") as library:
        library.index([photos])
    moved = copied.rename(tmp_path / "moved")
    with Library.open(index, model=f"chinese-clip:{moved}") as library:
        assert len(library.similar(photos / "01.jpg")) == 10
        assert library.index([photos]).embedded == 0


# Naming one, and what can be wrong with it


def test_a_repository_and_a_folder_name_a_model(folder: Path) -> None:
    family = "chinese-clip"
    spec = parse_spec("chinese-clip:OFA-Sys/chinese-clip-vit-huge-patch14")
    assert spec == Spec(family, family, hub="OFA-Sys/chinese-clip-vit-huge-patch14")
    assert parse_spec(f"chinese-clip:{folder}") == Spec(family, family, file=str(folder))
    for named in (spec, parse_spec(f"chinese-clip:{folder}")):
        assert parse_spec(str(named)) == named


@pytest.mark.parametrize("where", ["", "OFA-Sys", "/no/such/folder", "a/b/c", "./nowhere"])
def test_what_is_neither_is_refused(where: str) -> None:
    with pytest.raises(ModelError, match="no file or folder"):
        parse_spec(f"chinese-clip:{where}")


def test_a_repository_that_is_not_here_is_answered_with_the_ways_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match="chinese-clip:OFA-Sys/chinese-clip-vit-base"):
        load(parse_spec("chinese"), "cpu", "fp32")


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_from(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_folder_of_another_kind_of_model_is_refused(copied: Path) -> None:
    (copied / "config.json").write_text('{"model_type": "clip"}')
    assert "'clip'" in refusal(copied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_a_folder_without_one_of_its_files_is_refused(name: str, copied: Path) -> None:
    (copied / name).unlink()
    assert name in refusal(copied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_damaged_file_is_refused(name: str, copied: Path) -> None:
    (copied / name).write_bytes(b"\0 no such thing")
    refusal(copied)


def test_weights_that_lack_a_part_are_not_filled_with_noise(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copied / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    assert "text_projection.weight" in refusal(copied)


@pytest.mark.parametrize(
    "told",
    [
        {"size": {"shortest_edge": SIDE}, "do_center_crop": False},  # no square comes of it
        {"size": {"height": 64, "width": 64}, "do_center_crop": False},
        {"size": HxW, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
        {"size": HxW, "crop_size": HxW, "do_resize": False},
        {"size": "large"},
        {"size": HxW, "crop_size": HxW, "image_mean": [0.5]},
        {"size": HxW, "crop_size": HxW, "resample": 17},
        {"size": HxW, "crop_size": HxW, "rescale_factor": 0},
    ],
)
def test_preprocessing_that_no_square_view_can_be_is_refused(
    told: dict[str, Any], copied: Path
) -> None:
    (copied / "preprocessor_config.json").write_text(json.dumps(told))
    assert "preprocessor_config.json" in refusal(copied)


def test_a_folder_without_preprocessing_is_seen_as_the_authors_do(
    encoder: Encoder, copied: Path
) -> None:
    (copied / "preprocessor_config.json").unlink()
    assert load_from(copied).preprocess == encoder.preprocess


def test_as_onnx_it_gives_the_same_vectors(
    encoder: Encoder, folder: Path, views: list[Any], tmp_path: Path
) -> None:
    export_model(parse_spec(f"chinese-clip:{folder}"), tmp_path / "onnx")
    exported = load(parse_spec(f"onnx:{tmp_path / 'onnx'}"))
    batch = np.stack([encoder.prepare(view) for view in views])
    cosines = (exported.encode_images(batch) * encoder.encode_images(batch)).sum(axis=1)
    assert cosines.min() >= 0.9999
    texts = ["一只狗", "雪地里的狗和人"]
    cosines = (exported.encode_texts(texts) * encoder.encode_texts(texts)).sum(axis=1)
    assert cosines.min() >= 0.9999
