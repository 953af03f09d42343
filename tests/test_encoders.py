"""Our embeddings are open_clip's own, and pocket's mean what the photos show."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import SMALL, picture
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import Compose

from clipsearch.encoders import Encoder, load, parse_spec, pocket_files
from clipsearch.errors import InvalidInput
from clipsearch.photos.decoding.decode import decode
from clipsearch.photos.decoding.view import View

TEXTS = [
    "dog",
    "a photo of two dogs that play on a beach",
    "word " * 200,  # far over the context
    "🐕 🏖️ 🎉",
    "собака на пляже",
    "海辺の犬",
    "كلب على الشاطئ",
    "ÉTÉ — “quotes” & <tags>; 100 %",
    "  spaces \n and lines  ",
    "",
]

# The photographs that come inside a package, and what a person would ask to find each.
ASKED = {
    "chelsea.png": "a cat",
    "coffee.png": "a cup of coffee on a table",
    "rocket.jpg": "a rocket",
    "motorcycle_left.png": "a motorcycle",
}
PHOTOGRAPHS = [*ASKED, "astronaut.png"]


def as_jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **({"quality": 92} | options))
    return file.getvalue()


def packaged(package: str, folder: str, *names: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    files = (Path(spec.origin).parent / folder / name for name in names)
    return [file for file in files if file.is_file()]


def large_photos() -> dict[str, bytes]:
    """JPEGs of about 3 megapixels: photographs where a package has some, and smooth pictures."""
    files = packaged("sklearn", "datasets/images", "china.jpg", "flower.jpg")
    files += packaged("skimage", "data", *PHOTOGRAPHS)
    images = {file.name: Image.open(file).convert("RGB") for file in files}
    images |= {f"smooth {seed}": picture(seed) for seed in range(2)}
    images["smooth and narrow"] = picture(9, (400, 120))
    return {name: as_jpeg(enlarged(image)) for name, image in images.items()}


def enlarged(image: Image.Image) -> Image.Image:
    scale = (3_000_000 / (image.width * image.height)) ** 0.5
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    return large_photos()


@pytest.fixture(scope="module")
def whole(large: dict[str, bytes]) -> list[Image.Image]:
    return [decode(content).image for content in large.values()]


@pytest.fixture(scope="module")
def views() -> list[Image.Image]:
    sizes = [(320, 240), (240, 320), (224, 224), (500, 90), (100, 80), (1, 1), (1024, 768)]
    return [picture(seed, size) for seed, size in enumerate(sizes)]


def small(spec: str, precision: str) -> Encoder:
    return load(parse_spec(spec), device="cpu", precision=precision)


@pytest.fixture(scope="module")
def encoder(spec: str) -> Encoder:
    return small(spec, "fp32")


@pytest.fixture(scope="module")
def reference(weights: Path) -> tuple[Any, Callable[[Image.Image], torch.Tensor], Any]:
    """open_clip's own model, preprocessing and tokenizer, with the same weights."""
    model, _, preprocess = open_clip.create_model_and_transforms(SMALL, pretrained=str(weights))
    return model.eval(), preprocess, open_clip.get_tokenizer(SMALL)


@torch.inference_mode()
def by_open_clip(reference: Any, images: list[Image.Image]) -> np.ndarray:
    model, preprocess, _ = reference
    batch = torch.stack([preprocess(image) for image in images])
    return model.encode_image(batch, normalize=True).numpy()


def embedded(encoder: Encoder, images: list[Image.Image]) -> np.ndarray:
    return encoder.encode_images(np.stack([encoder.prepare(image) for image in images]))


def fractions(photos: dict[str, bytes], encoder: Encoder) -> list[Image.Image]:
    images = [decode(content, encoder.resolution).image for content in photos.values()]
    assert max(min(image.size) for image in images) < 2 * encoder.resolution
    return images


def worst(one: np.ndarray, other: np.ndarray) -> float:
    """The lowest cosine between two rows that should be the same."""
    assert one.shape == other.shape
    return float((one * other).sum(1).min())


def assert_unit(rows: np.ndarray) -> None:
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-5)


# open_clip's models


def test_an_encoder_tells_what_it_is(encoder: Encoder, weights: Path) -> None:
    assert (encoder.dim, encoder.resolution, encoder.context) == (256, 224, 77)
    assert (encoder.device, encoder.precision) == ("cpu", "fp32")
    assert encoder.weights == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_view_is_what_the_model_sees(encoder: Encoder, views: list[Image.Image]) -> None:
    for image in views:
        view = encoder.prepare(image)
        assert (view.shape, view.dtype) == ((224, 224, 3), np.uint8)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_view_has_the_pixels_of_open_clips_own(
    mode: str, interpolation: str, views: list[Image.Image]
) -> None:
    config = PreprocessCfg(224, resize_mode=mode, interpolation=interpolation, fill_color=90)
    theirs = Compose(image_transform_v2(config, is_train=False).transforms[:-2])
    resample = getattr(Image.Resampling, interpolation.upper())
    ours = View(224, mode, resample, fill=90)
    for image in views:
        difference = np.abs(ours(image).astype(int) - np.asarray(theirs(image)).astype(int))
        # Pillow rounds the corners of a box, so here and there a pixel is a level or two off.
        assert (difference.max() <= 2, difference.mean() < 0.02) == (True, True), image.size


def test_images_are_embedded_as_open_clip_does(
    encoder: Encoder, reference: Any, views: list[Image.Image]
) -> None:
    ours, theirs = embedded(encoder, views), by_open_clip(reference, views)
    assert worst(ours, theirs) >= 0.9999
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_large_photos_decoded_whole_are_embedded_as_open_clip_does(
    encoder: Encoder, reference: Any, whole: list[Image.Image]
) -> None:
    assert worst(embedded(encoder, whole), by_open_clip(reference, whole)) >= 0.9999


def test_large_photos_decoded_at_a_fraction_are_embedded_nearly_the_same(
    encoder: Encoder, reference: Any, large: dict[str, bytes], whole: list[Image.Image]
) -> None:
    ours = embedded(encoder, fractions(large, encoder))
    assert worst(ours, by_open_clip(reference, whole)) >= 0.99


def test_half_precision_changes_next_to_nothing(
    spec: str, reference: Any, views: list[Image.Image]
) -> None:
    ours = embedded(small(spec, "bf16"), views)
    assert_unit(ours)
    assert worst(ours, by_open_clip(reference, views)) >= 0.999


def test_half_precision_leaves_texts_exact(spec: str, encoder: Encoder) -> None:
    assert small(spec, "bf16").encode_texts(TEXTS) == pytest.approx(
        encoder.encode_texts(TEXTS), abs=1e-6
    )


@torch.inference_mode()
def test_texts_are_embedded_as_open_clip_does(encoder: Encoder, reference: Any) -> None:
    model, _, tokenizer = reference
    theirs = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()
    assert worst(encoder.encode_texts(TEXTS), theirs) >= 0.9999


def test_a_text_on_its_own_is_embedded_as_among_others(encoder: Encoder) -> None:
    together = encoder.encode_texts(TEXTS)
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    assert worst(together, alone) >= 0.99999


def test_a_picture_on_its_own_is_embedded_as_among_others(
    encoder: Encoder, views: list[Image.Image]
) -> None:
    together = embedded(encoder, views)
    alone = np.concatenate([embedded(encoder, [image]) for image in views])
    assert len(together) == 7
    assert worst(together, alone) >= 0.99999


def test_one_view_needs_no_copy_to_be_embedded(encoder: Encoder) -> None:
    view = encoder.prepare(picture(1))
    assert encoder.encode_images(view[None]).shape == (1, encoder.dim)


def test_embeddings_are_unit_rows(encoder: Encoder, views: list[Image.Image]) -> None:
    assert_unit(embedded(encoder, views))
    assert_unit(encoder.encode_texts(TEXTS))


def test_different_pictures_and_texts_have_different_embeddings(encoder: Encoder) -> None:
    images = embedded(encoder, [picture(1), picture(2)])
    texts = encoder.encode_texts(["a dog", "a car"])
    assert float(images[0] @ images[1]) < 0.999
    assert float(texts[0] @ texts[1]) < 0.999


def test_words_past_the_context_change_nothing(encoder: Encoder) -> None:
    longer, longest = encoder.encode_texts(["word " * 100, "word " * 100 + "different end"])
    assert longer == pytest.approx(longest, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 2), ("dog", 3), ("a black cat", 5), ("word " * 200, 202)]
)
def test_tokens_are_counted_with_start_and_end(encoder: Encoder, text: str, tokens: int) -> None:
    assert encoder.count_tokens(text) == tokens


@pytest.mark.parametrize("device", ["quantum", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_here_is_refused(spec: str, device: str) -> None:
    with pytest.raises(InvalidInput, match="device auto"):
        load(parse_spec(spec), device=device)


def test_the_logit_scale_is_the_models_own(encoder: Encoder, reference: Any) -> None:
    assert encoder.logit_scale == pytest.approx(reference[0].logit_scale.exp().item(), rel=1e-3)


# Pocket


@pytest.fixture(scope="module")
def pocket() -> Encoder:
    if pocket_files() is None:
        pytest.skip("needs: pip install 'clipsearch[pocket]'")
    return load(parse_spec("pocket"), device="cpu", precision="fp32")


def test_pocket_tells_what_it_is(pocket: Encoder) -> None:
    assert (pocket.resolution, pocket.context, pocket.precision) == (260, 64, "fp32")
    assert pocket.encode_texts(["a dog"]).shape == (1, pocket.dim)
    assert len(pocket.weights) == 64


def test_pocket_gives_unit_rows(pocket: Encoder, views: list[Image.Image]) -> None:
    assert_unit(embedded(pocket, views))
    assert_unit(pocket.encode_texts(TEXTS))
    assert pocket.encode_texts([]).shape == (0, pocket.dim)


def test_pocket_embeds_one_picture_as_among_others(
    pocket: Encoder, views: list[Image.Image]
) -> None:
    together = embedded(pocket, views[:3])
    alone = np.concatenate([embedded(pocket, [image]) for image in views[:3]])
    assert worst(together, alone) >= 0.9999


def test_pocket_embeds_one_text_as_among_others(pocket: Encoder) -> None:
    together = pocket.encode_texts(TEXTS)
    alone = np.concatenate([pocket.encode_texts([text]) for text in TEXTS])
    assert worst(together, alone) >= 0.9999


def test_pocket_embeds_one_view_without_a_copy(pocket: Encoder) -> None:
    assert pocket.encode_images(pocket.prepare(picture(1))[None]).shape == (1, pocket.dim)


def test_pocket_in_half_precision_is_nearly_the_same(
    pocket: Encoder, large: dict[str, bytes]
) -> None:
    half = load(parse_spec("pocket"), device="cpu", precision="bf16")
    images = fractions(large, pocket)
    assert worst(embedded(half, images), embedded(pocket, images)) >= 0.999


def test_pocket_sees_nearly_the_same_in_a_photo_decoded_at_a_fraction(
    pocket: Encoder, large: dict[str, bytes], whole: list[Image.Image]
) -> None:
    ours = embedded(pocket, fractions(large, pocket))
    assert worst(ours, embedded(pocket, whole)) >= 0.99


@pytest.mark.parametrize(("text", "tokens"), [("", 2), ("dog", 3), ("a black cat", 5)])
def test_pocket_counts_tokens_with_start_and_end(pocket: Encoder, text: str, tokens: int) -> None:
    assert pocket.count_tokens(text) == tokens


@pytest.fixture(scope="module")
def photographs() -> dict[str, Image.Image]:
    files = packaged("skimage", "data", *PHOTOGRAPHS)
    if len(files) < len(PHOTOGRAPHS):
        pytest.skip("needs: pip install 'clipsearch[samples]'")
    return {file.name: Image.open(file).convert("RGB") for file in files}


@pytest.fixture(scope="module")
def seen(pocket: Encoder, photographs: dict[str, Image.Image]) -> np.ndarray:
    return embedded(pocket, list(photographs.values()))


def best(pocket: Encoder, seen: np.ndarray, text: str) -> str:
    return PHOTOGRAPHS[int((seen @ pocket.encode_texts([text])[0]).argmax())]


@pytest.mark.parametrize("name", ASKED)
def test_pocket_finds_the_photograph_that_was_asked_for(
    pocket: Encoder, seen: np.ndarray, name: str
) -> None:
    assert best(pocket, seen, ASKED[name]) == name


@pytest.mark.parametrize("cat", ["a cat", "a close up of a cat's face", "a kitten"])
def test_pocket_finds_the_cat_in_other_words(pocket: Encoder, seen: np.ndarray, cat: str) -> None:
    assert best(pocket, seen, cat) == "chelsea.png"


def test_pocket_knows_a_photograph_by_a_part_of_it(
    pocket: Encoder, photographs: dict[str, Image.Image], seen: np.ndarray
) -> None:
    parts = embedded(pocket, [middle(image) for image in photographs.values()])
    assert (parts @ seen.T).argmax(1).tolist() == list(range(len(photographs)))


def middle(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 8, height // 8, width - width // 8, height - height // 8))


def test_a_batch_too_large_for_the_device_is_embedded_in_halves(
    encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = np.stack([encoder.prepare(picture(seed)) for seed in range(9)])
    whole = encoder.encode_images(views)
    model = encoder._model
    embed = model.encode_image

    def with_little_memory(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 3:
            raise torch.OutOfMemoryError("no room")
        return embed(pixels)  # type: ignore[no-any-return]

    monkeypatch.setattr(model, "encode_image", with_little_memory)
    assert np.allclose(encoder.encode_images(views), whole, atol=1e-4)
