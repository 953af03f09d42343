"""The published weights, whose known answers are asked for: `scripts/test -m hub`, with a network.

They download 17 GB in all. The figures are those that the authors' own pages show of their own
picture; where none was found, the right text must come first. A wrong activation, tokenizer,
preparation or scale changes them.
"""

from __future__ import annotations

import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch import encoders, score
from clipsearch.encoders.aliases import ALIASES

pytestmark = pytest.mark.hub

DIAGRAM = "https://raw.githubusercontent.com/openai/CLIP/main/CLIP.png"
POKEMON = "https://clip-cn-beijing.oss-cn-beijing.aliyuncs.com/pokemon.jpeg"
TEXTS = {
    DIAGRAM: ["a diagram", "a dog", "a cat"],
    POKEMON: ["杰尼龟", "妙蛙种子", "小火龙", "皮卡丘"],  # Squirtle, Bulbasaur, Charmander, Pikachu
}

# The picture, and the probabilities of its texts as the page named shows them.
SHOWN: dict[str, tuple[str, list[float]]] = {
    "ViT-B-32/openai": (DIAGRAM, [0.9927937, 0.00421068, 0.00299572]),  # openai/CLIP, README.md
    "fast": (DIAGRAM, [1.0, 0.0, 0.0]),  # mlfoundations/open_clip, README.md
    "chinese": (POKEMON, [0.001268734, 0.05436878, 0.0006795761, 0.9436829]),  # Chinese-CLIP's
    "chinese-l14": (POKEMON, [0.0066, 0.0211, 0.0031, 0.9692]),  # the model's card
    "chinese-h14": (POKEMON, [0.011419, 0.010478, 0.00052018, 0.97758]),  # the model's card
}
DOWNLOADED = [name for name, alias in ALIASES.items() if alias.hub is not None]

CHINESE = ["一只猫", "一杯咖啡", "火箭"]
WORDS = {"chelsea.png": "a cat", "coffee.png": "a cup of coffee", "rocket.jpg": "a rocket"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pictures of the authors' pages."""
    folder = tmp_path_factory.mktemp("pages")
    files = {url: folder / url.rsplit("/", 1)[1] for url in TEXTS}
    for url, file in files.items():
        with urllib.request.urlopen(url, timeout=60) as answer:
            file.write_bytes(answer.read())
    return files


@pytest.mark.parametrize("model", SHOWN)
def test_a_model_answers_as_its_authors_page_shows(model: str, pictures: dict[str, Path]) -> None:
    picture, shown = SHOWN[model]
    found = score([pictures[picture]], TEXTS[picture], model=model, device="cpu")
    np.testing.assert_allclose(found.probabilities[0], shown, atol=0.01)


@pytest.mark.parametrize("alias", [name for name in DOWNLOADED if name not in SHOWN])
def test_the_right_text_of_the_authors_picture_comes_first(
    alias: str, pictures: dict[str, Path]
) -> None:
    picture, right = (POKEMON, 3) if alias.startswith("chinese") else (DIAGRAM, 0)
    found = score([pictures[picture]], TEXTS[picture], model=alias, device="cpu")
    assert found.probabilities[0].argmax() == right


@pytest.mark.parametrize("alias", DOWNLOADED)
def test_each_published_model_tells_a_cat_from_coffee_and_a_rocket(alias: str) -> None:
    skimage = find_spec("skimage")
    assert skimage is not None
    assert skimage.origin is not None
    photos = Path(skimage.origin).with_name("data")
    encoder = encoders.load(encoders.parse_spec(alias), "cpu", "fp32")
    views = [encoder.prepare(Image.open(photos / name).convert("RGB")) for name in WORDS]
    images = encoder.encode_images(np.stack(views))
    words = CHINESE if alias.startswith("chinese") else list(WORDS.values())
    scores = images @ encoder.encode_texts(words).T
    assert list(scores.argmax(axis=0)) == [0, 1, 2]
