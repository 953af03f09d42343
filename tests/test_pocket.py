"""What people get with the model that ships: how small it is, and what it makes of their words."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from packaging.requirements import Requirement
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from safetensors import safe_open

import clipsearch
from clipsearch import Hit, Library
from clipsearch.encoders import load, parse_spec, pocket_files
from clipsearch.encoders.aliases import ALIASES
from clipsearch.encoders.pocket.parts import (
    CONTEXT,
    HEADS,
    IMAGE_PACKAGE,
    PREPROCESS,
    RESOLUTION,
    TEXT_PACKAGE,
    VIEW,
)
from clipsearch.photos.decoding.decode import decode

ROOT = Path(__file__).parent.parent
MOST_BYTES = 20_000_000  # of what comes with every installation, whichever model is used
SUBJECTS = {"chelsea.png": "cat", "motorcycle_left.png": "motorcycle", "coffee.png": "cup"}
OTHERS = ("astronaut.png", "brick.png", "camera.png", "coins.png", "gravel.png", "page.png")

Change = Callable[[Image.Image], Image.Image]
LOOKS: dict[str, Change] = {
    "a black and white photo": lambda photo: ImageOps.grayscale(photo).convert("RGB"),
    "a blurred photo": lambda photo: photo.filter(ImageFilter.GaussianBlur(12)),
    "a dark photo": lambda photo: ImageEnhance.Brightness(photo).enhance(0.25),
}


def samples() -> Path:
    skimage = find_spec("skimage")
    if pocket_files() is None or skimage is None or skimage.origin is None:
        pytest.skip("needs clipsearch[pocket,samples]")
    return Path(skimage.origin).with_name("data")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Photos of three subjects and of others, indexed with pocket."""
    place = tmp_path_factory.mktemp("pocket")
    (photos := place / "photos").mkdir()
    for name in (*SUBJECTS, *OTHERS):
        shutil.copy(samples() / name, photos)
    with Library.open(place / "index", model="pocket") as opened:
        opened.index([photos])
        yield opened


def test_pocket_is_small_enough_to_ship() -> None:
    place = Path(clipsearch.__file__).parent
    files = [file for file in place.rglob("*") if file.suffix in (".safetensors", ".onnx", ".npz")]
    assert files
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


def test_pocket_downloads_two_packages_and_those_that_others_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = project["optional-dependencies"]
    needed = {one.name: one for one in map(Requirement, groups["pocket"])}
    towers = {name.replace("_", "-") for name in (IMAGE_PACKAGE, TEXT_PACKAGE)}
    assert {name for name, one in needed.items() if str(one.specifier).startswith("==")} == towers
    assert needed.keys() - towers <= {Requirement(one).name for one in groups["captions"]}


def test_the_card_tells_what_ships() -> None:
    card = (ROOT / "docs" / "models.md").read_text("utf-8").partition("\n## The pocket model\n")[2]
    with safe_open(HEADS, framework="np") as stored:
        told = stored.metadata()
        dtypes = {stored.get_tensor(key).dtype.name for key in stored.keys()}  # noqa: SIM118
    shape = json.loads(told["shape"])
    dim = shape["members"] * shape["out"]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for one in map(Requirement, groups["optional-dependencies"]["pocket"]):
        version = str(one.specifier).removeprefix("==")
        assert one.name == "transformers" or f"`{one.name}` {version} |" in card
    assert dtypes == {"float16"}
    assert f"`{HEADS.name}` | {HEADS.stat().st_size / 1e6:.1f} MB, float16 |" in card.replace(
        f"{HEADS.parent.relative_to(ROOT)}/", ""
    )
    assert f"three members of width {shape['width']} " in card
    assert f"{shape['out']} dimensions each; side by side they make {dim}." in card
    assert (shape["members"], dim, RESOLUTION) == (3, ALIASES["pocket"].dim, 260)
    assert f"stretched to {RESOLUTION}x{RESOLUTION}" in card
    side, quality = re.findall(r"of (\d+) jpeg (\d+)", PREPROCESS)[0]
    assert f"stretched to {side}x{side}, and through a JPEG of quality {quality}." in card
    assert f"At most {CONTEXT} tokens are read." in card
    # What it finds on both test splits, what it was to find, and what its data allow.
    for data in ("Flickr8k", "COCO"):
        assert re.search(rf"^\| {data}, test \|( [\d.]+ / [\d.]+ / [\d.]+ \|){{3}}$", card, re.M)
        assert f"**{data}**: " in card.partition("\n### Terms\n")[2]
    assert "The goals were an R@10 of 76 on Flickr8k's test split and of 75 on COCO's" in card
    assert "\n### Limits\n" in card


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("question", ["{}", "a {}", "{}s", "a photo of a {}"])
def test_a_subject_is_found_however_it_is_asked_for(
    library: Library, name: str, question: str
) -> None:
    best, *others = library.query(question.format(SUBJECTS[name]))
    assert best.path.name == name
    assert all((best.relevance or 0) > (other.relevance or 0) for other in others)


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_photo_looks_like_is_found(library: Library, tmp_path: Path, look: str) -> None:
    photos = []
    for name in SUBJECTS:
        with Image.open(samples() / name) as opened:
            LOOKS[look](opened.convert("RGB")).save(tmp_path / name, format="PNG")
        photos.append(tmp_path / name)
    scores = library.score(photos, list(LOOKS))
    assert [list(LOOKS)[it] for it in scores.cosines.argmax(axis=1)] == [look] * len(SUBJECTS)


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "camera.png"])
def test_a_photo_is_seen_as_its_small_copy_is(library: Library, tmp_path: Path, name: str) -> None:
    with Image.open(samples() / name) as opened:
        opened.convert("RGB").resize((224, 224)).save(copy := tmp_path / "small.webp", quality=75)
    (best,) = library.similar(copy, k=1)
    assert best.path.name == name
    assert best.score > 0.93


def odd_pictures() -> dict[str, Image.Image]:
    """One for each way in which a picture may come to the model."""
    plain = picture(1)
    deep = np.asarray(plain.convert("L")).astype(np.uint16) * 257
    clear = plain.copy()
    clear.putalpha(Image.linear_gradient("L").resize(plain.size))
    return {
        "dot.png": Image.new("RGB", (1, 1), "red"),
        "tall.png": plain.resize((1, 5000)),
        "wide.jpg": plain.resize((5000, 1)),
        "print.jpg": plain.convert("CMYK"),
        "deep.png": Image.fromarray(deep),
        "clear.png": clear,
        "moves.gif": plain,
        "said.gif": picture(5),
        "turned.jpg": picture(2, (1200, 1800)),
        "learned.png": picture(3, (224, 224)),
        "larger.png": picture(4, (225, 224)),
    }


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of them."""
    (folder := tmp_path / "odd").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it
    more: dict[str, Any] = {
        "turned.jpg": {"exif": exif},
        "moves.gif": {"save_all": True, "append_images": [picture(9)], "transparency": 3},
        "said.gif": {"comment": bytes(70_000)},  # longer than a JPEG's may be
    }
    for name, one in odd_pictures().items():
        one.save(folder / name, **more.get(name, {}))
    return folder


def test_a_picture_is_the_same_whichever_way_it_comes(
    odd: Path, index: Path, tmp_path: Path
) -> None:
    if pocket_files() is None:
        pytest.skip("needs clipsearch[pocket]")
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from clipsearch.web.app import create_app

    torch = load(parse_spec("pocket"), "cpu", "fp32")
    with Library.open(index, model="pocket") as library:
        assert library.index([odd]).added == len(odd_pictures())
        for name in odd_pictures():
            content = (odd / name).read_bytes()
            stored = library.embed(content)
            seen = torch.prepare(decode(content, torch.resolution).image)
            assert float(torch.encode_images(seen[None])[0] @ stored) > 0.9999, name
            # With a byte more it is a file that the index does not know, of the same picture.
            (copy := tmp_path / name).write_bytes(content + b"\0")
            assert same(library.similar(copy, k=99), odd / name), name
            assert same(library.similar(copy, k=99, region="0%,0%,100%,100%"), odd / name, 0.99)
    app = create_app(lambda: Library.open(index, create=False))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        for name in odd_pictures():
            sent = {"image": (tmp_path / name).read_bytes()}
            answer = client.post("/api/search", files=sent, data={"k": "99"}).json()
            scores = {Path(hit["path"]).name: hit["score"] for hit in answer["hits"]}
            assert scores[name] > 0.9999, name


def same(hits: Sequence[Hit], file: Path, least: float = 0.9999) -> bool:
    return any(hit.path == file and hit.score > least for hit in hits)


def test_a_picture_of_the_size_that_was_learned_from_stays_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    picture = Image.fromarray(noise)
    np.testing.assert_array_equal(VIEW(picture), replace(VIEW, taught=0)(picture))
    larger = picture.resize((225, 224))
    assert (VIEW(larger) != replace(VIEW, taught=0)(larger)).any()


@pytest.mark.skipif(pocket_files() is None, reason="needs the pocket model's packages")
def test_what_runs_the_model_notes_nothing_for_its_makers(tmp_path: Path) -> None:
    """Where onnxruntime tells them of runs, it keeps a name for the machine and what to send."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    picture(1).save(tmp_path / "a.png")
    subprocess.run(
        [sys.executable, "-m", "clipsearch", "score", "a.png", "--text", "a", "--text", "b",
         "--model", "pocket"],
        cwd=tmp_path, env=kept | {"HOME": str(tmp_path)}, check=True, timeout=300,
    )  # fmt: skip
    assert not [it for it in tmp_path.rglob("*") if "microsoft" in it.name.lower()]
