"""How the pocket model is made: what it learns from, what a stopped run keeps, the heads."""

from __future__ import annotations

import csv
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from clipsearch.encoders import pocket_files

pytest.importorskip("torch")

import torch
from pocket import cache
from pocket.lessons import lessons_of
from pocket.looks import LOOKS, Look
from pocket.sources import Photo, read_coco, read_flickr8k
from pocket.words import forms_of, names_of, plural

SCRIPT = Path(__file__).parent.parent / "scripts" / "train_pocket.py"
SPLITS = ("train", "dev", "test")


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    """Three photos, one a split, with five captions each."""
    folder = tmp_path / "flickr8k"
    names = [f"{number:03}.jpg" for number in range(3)]
    rows = [{"image": name, "caption": f"a dog {n} runs"} for name in names for n in range(5)]
    write_source(folder, rows)
    for part, name in zip(SPLITS, names, strict=True):
        (folder / f"{part}.txt").write_text(f"{name}\n")
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Four photos with one caption or five, and labels."""
    folder = tmp_path / "coco"
    said = {"caption": "a cat sleeps", "labels": "cat;stop sign"}
    rows = [
        {"image": f"{number}.webp", "split": part, **said}
        for number, part in enumerate(("train", *SPLITS), start=10)
        for _ in range(1 if part == "train" else 5)
    ]
    write_source(folder, rows)
    return folder


def write_source(folder: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with tarfile.open(folder / "images.tar", "w") as tar:
        for name in sorted({Path(row["image"]).stem for row in rows}):
            data = BytesIO()
            picture(int(name)).save(data, "WEBP")
            member = tarfile.TarInfo(f"images/{name}.webp")
            member.size = len(data.getvalue())
            tar.addfile(member, BytesIO(data.getvalue()))


def test_sources_are_read_with_their_splits_captions_and_labels(flickr8k: Path, coco: Path) -> None:
    photos = read_flickr8k(flickr8k)
    assert {part: [photo.name for photo in some] for part, some in photos.items()} == {
        "train": ["000"], "dev": ["001"], "test": ["002"],
    }  # fmt: skip
    assert photos["dev"][0].captions == [f"a dog {n} runs" for n in range(5)]
    others = read_coco(coco)
    assert [photo.name for photo in others["train"]] == ["10", "11"]
    assert [len(photo.captions) for photo in others["test"]] == [5]
    assert others["train"][0].labels == ("cat", "stop sign")


def test_what_captions_name_are_nouns_alone_and_with_the_word_before() -> None:
    captions = [["A black dog on the grass.", "a dog with two dogs in the grass"]] * 30
    captions += [["The children are running behind a red bus", "a child is running"]] * 30
    names, own = names_of(captions)
    assert {"dog", "black dog", "grass", "child", "bus", "red bus"} <= set(names)
    assert not {"the", "running", "black", "dogs", "children"} & set(names)
    assert {names[number] for number in own[0]} >= {"dog", "black dog", "grass"}
    assert "dog" not in {names[number] for number in own[-1]}


@pytest.mark.parametrize(
    ("one", "many"),
    [("dog", "dogs"), ("red bus", "red buses"), ("baby", "babies"), ("boy", "boys"),
     ("old man", "old men"), ("child", "children"), ("beach", "beaches")],
)  # fmt: skip
def test_names_come_in_the_forms_that_people_type(one: str, many: str) -> None:
    assert plural(one) == many
    assert {one, many, f"a photo of {many}"} <= set(forms_of(one))
    assert forms_of("orange")[1] == "an orange"


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_a_look_changes_a_photo_the_same_way_each_time(look: Look) -> None:
    photo = Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    ).resize((64, 64), Image.Resampling.BILINEAR)
    before = photo.tobytes()
    first, second = (look.change(photo, np.random.default_rng(4)) for _ in range(2))
    assert (first.mode, first.tobytes()) == ("RGB", second.tobytes())
    assert photo.tobytes() == before
    assert first.resize(photo.size).tobytes() != before


def test_changed_photos_are_drawn_for_every_look() -> None:
    lessons = lessons_of([Photo(Path(), str(n), ["a dog"]) for n in range(5)])
    assert len(lessons.changed) == 5 * len(LOOKS)
    assert {one.look for one in lessons.changed} == set(range(len(LOOKS)))
    assert len({one.seed for one in lessons.changed}) == len(lessons.changed)


def test_photos_that_are_prepared_in_another_way_are_not_taken_for_those_that_were_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lessons = lessons_of([Photo(Path(), "0", ["a dog"])])
    kept = lessons.key
    assert lessons.key == kept
    monkeypatch.setattr("pocket.lessons.PREPROCESS", "another way")
    assert lessons.key != kept


class Towers:
    """Stands for the image tower: what it gives of a view is told by the view."""

    def see(self, batch: np.ndarray) -> tuple[torch.Tensor, ...]:
        told = torch.from_numpy(batch.reshape(len(batch), -1)[:, :1].astype(np.float32))
        shapes = ((cache.GRID**2, cache.TOKEN_WIDTH), (cache.POOLED,), (cache.CLASSES,))
        return tuple(told.reshape(-1, *[1] * len(shape)).expand(-1, *shape) for shape in shapes)


def test_a_stopped_run_goes_on_from_what_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "KEPT_EVERY", 1)
    asked: list[int] = []

    def view(number: int) -> Callable[[], np.ndarray]:
        def give() -> np.ndarray:
            asked.append(number)
            if number == 40 and len(asked) < 50:
                raise KeyboardInterrupt
            return np.full((2, 2, 3), number, np.uint8)

        return give

    views = [view(number) for number in range(45)]
    with pytest.raises(KeyboardInterrupt):
        cache.see(Towers(), views, tmp_path, "photos")
    assert asked == list(range(41))
    seen = cache.see(Towers(), views, tmp_path, "photos")
    assert asked[41:] == list(range(32, 45))  # the batch that was not complete comes again
    for part in (seen.maps[:, 0, 0], seen.pooled[:, 0], seen.logits[:, 0]):
        assert part.tolist() == list(range(45))


@pytest.mark.thorough
def test_heads_are_trained_from_two_folders_and_measured(
    flickr8k: Path, coco: Path, tmp_path: Path
) -> None:
    if pocket_files() is None:
        pytest.skip("needs the group pocket")
    heads = tmp_path / "heads.safetensors"
    command = [
        sys.executable, str(SCRIPT), "--flickr8k", str(flickr8k), "--coco", str(coco),
        "--cache", str(tmp_path / "cache"), "--heads", str(heads), "--epochs", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert "looks, the right one of four" in done.stdout
    first = heads.read_bytes()
    again = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert "epoch" not in again.stdout  # all of it was kept
    assert heads.read_bytes() == first
