"""Alpha-CLIP: CLIP to the last bit without a mask, and a part seen with its surroundings."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import Run, picture
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image
from safetensors.torch import save_file
from tiny import open_tiny
from torch.nn import functional as F

from clipsearch import InvalidInput, Library
from clipsearch.encoders import Encoder, alpha, load, parse_spec
from clipsearch.encoders.images import ImageTower
from clipsearch.encoders.onnx.export import export_model
from clipsearch.encoders.onnx.text_export import export_texts
from clipsearch.encoders.onnx.texts import open_exported
from clipsearch.encoders.openclip.recipe import Recipe
from clipsearch.errors import ModelError, WeightsUnavailable

SIDE, PATCH, WIDTH, DIM = 32, 8, 64, 24
KERNEL = "visual.conv1_alpha.weight"
TEXTS = ["a dog", "two people on a beach at sunset", "word " * 200, "собака", ""]

State = dict[str, torch.Tensor]
Write = Callable[[State], Path]


@pytest.fixture(scope="module")
def clip() -> Any:
    """A small random CLIP as OpenAI builds one."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=2, width=WIDTH, patch_size=PATCH, image_size=SIDE)
    text = CLIPTextCfg(width=64, heads=1, layers=2)
    return CLIP(DIM, vision, text, quick_gelu=True).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def kernel() -> torch.Tensor:
    return torch.randn((WIDTH, 1, PATCH, PATCH), generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(state: State) -> Path:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
        return file

    return to_file


@pytest.fixture(scope="module")
def file(clip: Any, kernel: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("alpha") / "alpha.pt"
    torch.save(clip.state_dict() | {KERNEL: kernel}, file)
    return file


def load_file(file: Path, precision: str = "fp32") -> Encoder:
    return load(parse_spec(f"alpha-clip:{file}"), "cpu", precision)


@pytest.fixture(scope="module")
def encoder(file: Path) -> Encoder:
    return load_file(file)


@pytest.fixture(scope="module")
def views() -> np.ndarray:
    return np.stack([np.asarray(picture(seed, (SIDE, SIDE))) for seed in range(5)])


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((5, SIDE, SIDE, 1)) > 0.6, 255, 0).astype(np.uint8)


def masked(views: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.concatenate([views, masks], axis=3)


def normalized(views: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    pixels = torch.tensor(views).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


def written_out(state: State, pixels: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """The image tower of the paper, step by step, from the tensors of a checkpoint."""
    visual = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    part = {name.removeprefix("visual."): tensor for name, tensor in visual.items()}
    x = F.conv2d(pixels, part["conv1.weight"], stride=PATCH)
    x = x + F.conv2d(mask, part["conv1_alpha.weight"], stride=PATCH)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([part["class_embedding"].expand(len(x), 1, -1), x], 1)
    x = norm(part, "ln_pre", x + part["positional_embedding"])
    for layer in ("transformer.resblocks.0.", "transformer.resblocks.1."):
        q, k, v = linear(part, layer + "attn.in_proj_", norm(part, layer + "ln_1", x)).chunk(3, -1)
        x = x + linear(part, layer + "attn.out_proj.", F.scaled_dot_product_attention(q, k, v))
        inner = linear(part, layer + "mlp.c_fc.", norm(part, layer + "ln_2", x))
        x = x + linear(part, layer + "mlp.c_proj.", inner * torch.sigmoid(1.702 * inner))
    return F.normalize(norm(part, "ln_post", x[:, 0]) @ part["proj"], dim=-1).numpy()


def norm(part: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], part[name + ".weight"], part[name + ".bias"])


def linear(part: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, part[name + "weight"], part[name + "bias"])


# The vectors


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_nothing_masked_and_a_kernel_of_zeros_it_is_clip_to_the_last_bit(
    precision: str, clip: Any, kernel: torch.Tensor, views: np.ndarray, write: Write
) -> None:
    ours = load_file(write(clip.state_dict() | {KERNEL: kernel * 0}), precision)
    tower = load_clip(clip, precision)
    theirs = ImageTower(tower.encode_image, alpha.MEAN[:3], alpha.STD[:3], "cpu", precision)(views)
    everything = np.full((5, SIDE, SIDE, 1), 255, np.uint8)
    assert np.array_equal(ours.encode_images(views), theirs)
    assert np.array_equal(ours.encode_images(masked(views, everything)), theirs)


def load_clip(clip: Any, precision: str) -> Any:
    tower = copy.deepcopy(clip)
    tower.visual.to(dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return tower


@torch.inference_mode()
def test_a_masked_picture_is_embedded_as_the_paper_says(
    encoder: Encoder, file: Path, views: np.ndarray, masks: np.ndarray
) -> None:
    pixels = normalized(views, alpha.MEAN[:3], alpha.STD[:3])
    mask = normalized(masks, alpha.MEAN[3:], alpha.STD[3:])
    expected = written_out(torch.load(file, weights_only=True), pixels, mask)
    assert encoder.encode_images(masked(views, masks)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.thorough
def test_as_onnx_it_sees_the_same(
    encoder: Encoder, file: Path, views: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    export_model(parse_spec(f"alpha-clip:{file}"), tmp_path / "onnx")
    exported = load(parse_spec(f"onnx:{tmp_path / 'onnx'}"))
    assert exported.prepare == encoder.prepare
    for batch in (views, masked(views, masks)):
        ours, theirs = exported.encode_images(batch), encoder.encode_images(batch)
        assert (ours * theirs).sum(axis=1).min() >= 0.9999


def test_a_mask_changes_what_is_seen(
    encoder: Encoder, views: np.ndarray, masks: np.ndarray
) -> None:
    unmasked, part = encoder.encode_images(views), encoder.encode_images(masked(views, masks))
    assert ((unmasked * part).sum(1) < 0.999).all()


def test_half_precision_changes_next_to_nothing(
    encoder: Encoder, file: Path, views: np.ndarray, masks: np.ndarray
) -> None:
    batch = masked(views, masks)
    cosines = (load_file(file, "bf16").encode_images(batch) * encoder.encode_images(batch)).sum(1)
    assert cosines.min() >= 0.999


@torch.inference_mode()
def test_texts_are_embedded_as_clip_does_with_torch_and_without(
    encoder: Encoder, clip: Any
) -> None:
    theirs = clip.encode_text(open_clip.get_tokenizer("ViT-B-32")(TEXTS), normalize=True).numpy()
    assert encoder.encode_texts(TEXTS) == pytest.approx(theirs, abs=1e-5)
    assert export_texts(encoder)
    exported = open_exported(encoder.weights, encoder.preprocess)
    assert exported is not None
    assert exported.encode_texts(TEXTS) == pytest.approx(theirs, abs=1e-4)


# The view


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (48, 48), (300, 70)])
def test_a_part_is_seen_with_the_whole_picture_around_it(
    encoder: Any, size: tuple[int, int]
) -> None:
    image, mask = Image.new("RGB", size, "white"), Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))  # the left half, with an edge of the picture
    seen = encoder.prepare.with_mask(image, mask)
    assert (seen.shape, seen.dtype) == ((SIDE, SIDE, 4), np.uint8)
    bright, marked = seen[..., 0] > 127, seen[..., 3] > 127
    assert bright.sum() == pytest.approx(SIDE * SIDE * min(size) / max(size), rel=0.1)
    assert marked.sum() == pytest.approx(bright.sum() / 2, rel=0.1)
    assert (bright | ~marked).all()
    assert not marked[:, SIDE // 2 + 1 :].any()


# Through the tool's own doors


@pytest.fixture
def library(file: Path, photos: Path, index: Path) -> Library:
    with Library.open(index, model=f"alpha-clip:{file}", device="cpu") as library:
        library.index([photos])
    return Library.open(index)


def scores(library: Library, image: Image.Image, **part: Any) -> list[float]:
    hits = library.similar(image, None, **part)
    return [hit.score for hit in sorted(hits, key=lambda hit: hit.path)]


def test_what_is_around_a_region_counts(library: Library) -> None:
    image, other = picture(3), picture(4)
    other.paste(image.crop((40, 30, 200, 150)), (40, 30))  # the same there, and only there
    region = "40,30,160,120"
    with library:
        assert scores(library, image, region=region) != scores(library, other, region=region)
        assert scores(library, image, region=region) != scores(library, image)


def test_a_mask_of_a_rectangle_is_that_region(library: Library, tmp_path: Path) -> None:
    mask = Image.new("RGB", (640, 480))  # twice the picture's size, and of its shape
    mask.paste((250, 250, 250), (80, 60, 400, 300))
    mask.save(tmp_path / "mask.png")
    image = picture(3)
    with library:
        by_mask = scores(library, image, mask=tmp_path / "mask.png")
        assert by_mask == scores(library, image, region="40,30,160,120")


@pytest.mark.thorough
def test_words_photos_and_parts_are_asked_for_on_the_command_line(
    clipsearch: Run, photos: Path, file: Path, tmp_path: Path
) -> None:
    assert clipsearch("index", photos, "--model", f"alpha-clip:{file}").returncode == 0
    picture(1).convert("L").point(lambda level: 255 * (level > 99)).save(tmp_path / "mask.png")
    for question in (
        ("query", "a red boat"),
        ("similar", photos / "01.jpg"),
        ("similar", photos / "01.jpg", "--region", "0%,0%,50%,50%"),
        ("similar", photos / "01.jpg", "--mask", tmp_path / "mask.png"),
    ):
        done = clipsearch(*question, "--json", "-k", "5")
        assert len(json.loads(done.stdout)) == 5, done.stderr


def masks_refused(library: Library, mask: Any, **others: Any) -> str:
    with library, pytest.raises(InvalidInput) as caught:
        library.similar(picture(1), mask=mask, **others)
    return str(caught.value)


def test_a_mask_and_a_region_are_refused_together(library: Library) -> None:
    both = masks_refused(library, Image.new("L", (320, 240), 255), region="0,0,9,9")
    assert "region and mask" in both


def test_a_mask_of_another_shape_is_refused_with_both_sizes(library: Library) -> None:
    refusal = masks_refused(library, Image.new("L", (100, 100), 255))
    assert "100x100" in refusal
    assert "320x240" in refusal


def test_a_mask_without_white_is_refused(library: Library) -> None:
    assert "no white" in masks_refused(library, Image.new("L", (320, 240), 90))


def test_a_mask_that_is_no_picture_is_named(library: Library, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("this is no picture")
    assert "mask.png" in masks_refused(library, tmp_path / "mask.png")


def test_a_model_that_sees_no_masks_says_what_to_do(photos: Path, index: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
    refusal = masks_refused(open_tiny(index), Image.new("L", (320, 240), 255))
    assert "region X,Y,W,H" in refusal
    assert "alpha-clip:FILE" in refusal


# Checkpoints


def authors(state: State) -> State:
    """The image tower alone, its attention named as the authors name it."""
    visual = {name.removeprefix("visual."): state[name] for name in state if "visual." in name}
    return {name.replace("in_proj_", "in_proj."): tensor for name, tensor in visual.items()}


def test_a_checkpoint_of_the_image_tower_alone_takes_openais_text_tower(
    clip: Any, file: Path, encoder: Encoder, write: Write, views: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # As if OpenAI had a model of this size, and its weights were in the cache.
    openai = write(clip.state_dict())
    monkeypatch.setitem(alpha._TOWERS, (PATCH, WIDTH, 17), "ViT-B-16")
    monkeypatch.setattr(alpha, "resolve", lambda spec: Recipe(spec.name, openai, True, None))
    alone = load_file(write(authors(torch.load(file, weights_only=True))))
    assert np.array_equal(alone.encode_images(views), encoder.encode_images(views))
    assert np.array_equal(alone.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


def test_openais_text_tower_is_asked_for_by_its_name(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    shapes = {"conv1.weight": (768, 3, 16, 16), "conv1_alpha.weight": (768, 1, 16, 16)}
    shapes["positional_embedding"] = (197, 768)
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(WeightsUnavailable, match="ViT-B-16/openai"):
        load_file(write(state))


def refused(file: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_file(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_an_image_tower_of_no_size_that_openai_has_is_refused(file: Path, write: Write) -> None:
    assert "ViT-L-14-336" in refused(write(authors(torch.load(file, weights_only=True))))


def test_weights_of_plain_clip_are_refused(clip: Any, write: Write) -> None:
    assert "not of Alpha-CLIP" in refused(write(clip.state_dict()))


@pytest.mark.parametrize("gone", ["visual.proj", "positional_embedding", "visual.ln_post.bias"])
def test_weights_that_lack_a_part_are_refused(gone: str, file: Path, write: Write) -> None:
    state = torch.load(file, weights_only=True)
    del state[gone]
    refused(write(state))


def test_a_kernel_of_another_size_is_refused(clip: Any, write: Write) -> None:
    state = clip.state_dict() | {KERNEL: torch.zeros(WIDTH, 1, 4, 4)}
    assert "not of the size" in refused(write(state))


@pytest.mark.parametrize("content", [b"", b"no weights\n", bytes(1000)])
def test_a_file_that_holds_no_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    refused(tmp_path / "w.pt")


def test_a_repository_is_refused_with_where_the_files_are() -> None:
    with pytest.raises(ModelError, match=r"github\.com/SunzeY/AlphaCLIP"):
        load(parse_spec("alpha-clip:SunzeY/AlphaCLIP"), "cpu", "fp32")
