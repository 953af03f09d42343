"""How far an answer stands out: in a made-up world whose truth is known, and with pocket."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from tiny import open_tiny

from clipsearch import Library
from clipsearch.encoders import pocket_files
from clipsearch.search.neutral import NEUTRAL
from clipsearch.search.relevance import (
    SAMPLE,
    picture_scale,
    relevance,
    word_scale,
)
from clipsearch.search.results import RELEVANT
from clipsearch.store.lock import write_lock

DIM = 256
THINGS = 80  # the first half is what neutral texts speak of

each_size = pytest.mark.parametrize("size", [1, 2, 5, 30, 1000])


class World:
    """Things as directions; photos and texts are a thing, what all have in common, and chance."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.things = self._noise(THINGS)
        self.neutral = self.texts(np.arange(len(NEUTRAL)) % (THINGS // 2))

    def photos(self, things: np.ndarray) -> np.ndarray:
        return unit(self.things[things] + self._noise(len(things))).astype(np.float16)

    def texts(self, things: np.ndarray) -> np.ndarray:
        return unit(self.things[things] + 0.8 * self._noise(len(things)))

    def many(self, count: int, below: int = THINGS - 1) -> np.ndarray:
        """Photos of anything but the last thing."""
        return self.photos(self.rng.integers(0, below, count))

    def _noise(self, count: int) -> np.ndarray:
        return unit(self.rng.normal(size=(count, DIM)))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def asked(
    query: np.ndarray, rows: np.ndarray, neutral: np.ndarray | None, hits: int = 10
) -> np.ndarray:
    """The relevance of the nearest rows."""
    scores = rows.astype(np.float32) @ query
    top = np.argsort(-scores)[:hits]
    some = rows[:: -(-len(rows) // SAMPLE)]
    scale = picture_scale(some, len(rows)) if neutral is None else word_scale(some, neutral)
    return relevance(scale, query, scores[top], len(rows))


@each_size
def test_a_fitting_photo_stands_out_and_where_there_is_none_nothing_does(size: int) -> None:
    world = World()
    last, found, nothing = np.array([THINGS - 1]), [], []
    for query in world.texts(np.repeat(last, 5)):
        without = world.many(size)
        with_one = np.concatenate([without[1:], world.photos(last)])
        found.append(asked(query, with_one, world.neutral)[0])
        nothing.append(asked(query, without, world.neutral).max())
    assert np.median(found) > 0.7
    assert np.median(nothing) < 0.4


@each_size
@pytest.mark.parametrize("thing", [3, THINGS - 1], ids=["everyday", "unusual"])
def test_where_all_photos_fit_all_stand_out(size: int, thing: int) -> None:
    world = World()
    rows = world.photos(np.full(size, thing))
    assert asked(world.texts(np.array([thing]))[0], rows, world.neutral).min() > 0.5
    assert asked(world.texts(np.array([60]))[0], rows, world.neutral).max() < 0.2


@each_size
@pytest.mark.parametrize("thing", [3, THINGS - 1], ids=["everyday", "unusual"])
def test_relevance_falls_as_the_score_does(size: int, thing: int) -> None:
    world = World()
    rows = np.concatenate([world.many(size), world.photos(np.full(size, thing))])
    found = asked(world.texts(np.array([thing]))[0], rows, world.neutral, len(rows))
    assert (np.diff(found) <= 0).all()


def test_of_many_photos_more_is_asked() -> None:
    world = World()
    rows = world.many(100)
    scale, query = word_scale(rows, world.neutral), world.texts(np.array([5]))[0]
    few, many = (relevance(scale, query, np.array([0.4]), count)[0] for count in (10, 100_000))
    assert many < few - 0.1


@each_size
def test_another_range_of_cosines_changes_nothing(size: int) -> None:
    # A model whose texts and photos share little and whose photos share much, as CLIP's do.
    def other(rows: np.ndarray, common: float) -> np.ndarray:
        rest = np.sqrt(1 - common**2)
        return np.hstack([0.4 * rows, np.full((len(rows), 1), common), 0 * rows[:, :1] + rest])

    world = World()
    rows, queries = world.many(size).astype(np.float32), world.texts(np.array([5, 79]))
    for query, moved in zip(queries, other(queries, 0.3), strict=True):
        before = asked(query, rows, world.neutral)
        after = asked(moved, other(rows, 0.9), other(world.neutral, 0.3))
        assert after == pytest.approx(before, abs=0.01)


def test_a_sample_of_a_large_library_says_what_all_of_it_does() -> None:
    world = World()
    rows = unit(world.rng.normal(size=(10 * SAMPLE, DIM))).astype(np.float16)  # of all sorts
    whole, part = (word_scale(some, world.neutral) for some in (rows, rows[::10]))
    for query in world.texts(np.array([5, 79])):
        scores = rows.astype(np.float32) @ query
        top = np.argsort(-scores)[:3]
        by_part, by_whole = (relevance(it, query, scores[top], len(rows)) for it in (part, whole))
        assert by_part == pytest.approx(by_whole, abs=0.05)


@each_size
def test_by_picture_the_same_stands_out_and_the_unlike_does_not(size: int) -> None:
    world = World()
    rows = world.many(size)
    (query,) = world.photos(np.array([THINGS - 1])).astype(np.float32)
    assert asked(query, rows, None).max() < RELEVANT
    again = np.concatenate([rows, query[None].astype(np.float16)])
    assert asked(query, again, None)[0] > 0.9


def test_where_every_photo_has_a_copy_a_copy_still_stands_out() -> None:
    world = World()
    rows = np.repeat(world.photos(np.arange(THINGS)), 2, axis=0)
    (query,) = world.photos(np.array([7])).astype(np.float32)
    assert asked(query, rows, None)[0] < RELEVANT
    assert asked(rows[14].astype(np.float32), rows, None)[0] > 0.9


@each_size
def test_photos_all_the_same_give_numbers(size: int) -> None:
    world = World()
    rows = np.repeat(world.photos(np.array([0])), size, axis=0)
    for neutral in (world.neutral, None):
        for query in (world.neutral[0], world.things[0], unit(world.neutral.mean(0))):
            found = asked(query, rows, neutral)
            assert found.dtype == np.float32
            assert ((found >= 0) & (found <= 1)).all()


def test_no_neutral_text_is_given_twice() -> None:
    assert len(set(NEUTRAL)) == len(NEUTRAL)


# Through the library and the command line


def test_every_hit_tells_its_relevance(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
        hits = library.query("a dog", None)
        assert len(hits) == 12
        assert all(hit.relevance is not None and 0 <= hit.relevance <= 1 for hit in hits)
        shutil.copy(photos / "03.jpg", photos / "copy.jpg")
        library.index([photos])
        copy, *others = library.similar(photos / "03.jpg", None)
        assert copy.path.name == "copy.jpg"
        assert copy.relevance is not None
        assert copy.relevance > 0.9
        assert all(hit.relevance < copy.relevance for hit in others if hit.relevance is not None)
        (shown,) = [hit.as_dict(1) for hit in library.query("a dog", 1)]
        assert shown["relevance"] == round(json.loads(json.dumps(shown))["relevance"], 3)


def test_vectors_that_could_not_be_saved_have_the_same_relevance(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
        before = [
            (hit.id, pytest.approx(hit.relevance, abs=1e-4)) for hit in library.query("a dog")
        ]
    for path in (index / "vectors").iterdir():
        path.unlink()
    with open_tiny(index) as library, write_lock(index):  # somebody is writing
        after = [(hit.id, hit.relevance) for hit in library.query("a dog")]
    assert after == before
    assert not list((index / "vectors").glob("*.f16"))


def test_a_library_of_one_photo_answers(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    picture(1).save(folder / "one.jpg")
    with open_tiny(index) as library:
        library.index([folder])
        (hit,) = library.query("a dog")
        assert hit.relevance is not None
        (same,) = library.similar(picture(1))
        assert same.relevance is not None
        assert same.relevance > 0.9


def test_pocket_tells_what_the_samples_show_from_what_they_do_not(
    index: Path, tmp_path: Path, clipsearch: Run
) -> None:
    skimage = find_spec("skimage")
    if pocket_files() is None or skimage is None or skimage.origin is None:
        pytest.skip("needs clipsearch[pocket,samples]")
    folder = tmp_path / "samples"
    folder.mkdir()
    shows = {"a cat": "chelsea.png", "a motorcycle": "motorcycle_left.png"}
    shows |= {"a man with a camera": "camera.png", "a cup of coffee": "coffee.png"}
    for name in ("astronaut.png", "brick.png", "coins.png", "gravel.png", "page.png", "rocket.jpg"):
        shutil.copy(Path(skimage.origin).with_name("data") / name, folder)
    for name in shows.values():
        shutil.copy(Path(skimage.origin).with_name("data") / name, folder)
    with Library.open(index, model="pocket") as library:
        library.index([folder])
        for text, name in shows.items():
            best = library.query(text)[0]
            assert (best.path.name, (best.relevance or 0) >= RELEVANT) == (name, True)
            assert best in library.query(text, relevant=True)
        for text in ("a banana", "people skiing", "a wedding", "children playing soccer"):
            assert all((hit.relevance or 0) < RELEVANT for hit in library.query(text))
            assert library.query(text, relevant=True) == []
    found = clipsearch("query", "a cat", "--relevant", "-k", "all", "--paths", "--index", index)
    assert found.stdout.splitlines()[0].endswith("chelsea.png")
    nothing = clipsearch("query", "a wedding", "--relevant", "--index", index)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("clipsearch: no photo fits for certain;")
