"""A model that gives NaN for one picture or one word costs that picture or word alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from conftest import Run, picture
from PIL import Image
from tiny import TinyEncoder, open_tiny

from clipsearch import InvalidInput, Library, ModelError
from clipsearch.evaluation.zeroshot import evaluate_zeroshot, read_classes
from clipsearch.search.answers import Question
from clipsearch.search.neutral import NEUTRAL
from clipsearch.search.rerank import reranked

USELESS = {
    "NaN": np.nan, "infinite": np.inf, "zeros": 0.0, "long": 3.0, "too long for its type": 1e6,
}  # fmt: skip
UNUSABLE = "the model gave no usable embedding of it"


class Failing(TinyEncoder):
    """Gives rows that are none for black pictures, and for some texts."""

    def __init__(self, value: float = np.nan, words: tuple[str, ...] = ("nothing",)) -> None:
        self._value, self._words = value, words

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        rows = super().encode_images(batch)
        rows[batch.reshape(len(batch), -1).max(axis=1) == 0] = self._value
        return rows

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = super().encode_texts(texts)
        rows[[text.rstrip(".").endswith(self._words) for text in texts]] = self._value
        return rows


def opened(index: Path, encoder: TinyEncoder) -> Library:
    return Library.open(index, model="pocket", encoder=encoder)


def black(file: Path) -> None:
    Image.new("RGB", (60, 40)).save(file)


def found(library: Library) -> list[tuple[str, float, float | None]]:
    return [(hit.path.name, hit.score, hit.relevance) for hit in library.query("a dog", k=99)]


@pytest.mark.parametrize("value", USELESS.values(), ids=USELESS)
def test_a_picture_without_a_usable_row_is_a_failure_and_changes_no_other(
    photos: Path, index: Path, value: float
) -> None:
    with opened(index, Failing(value)) as library:
        library.index([photos])
        before = found(library)
        black(photos / "black.png")
        shutil.copy(photos / "black.png", photos / "copy.png")
        report = library.index()
        assert (report.added, report.failed, report.complete) == (0, 2, True)
        assert {Path(path).name: why for path, why in library.status().failures} == {
            "black.png": UNUSABLE, "copy.png": UNUSABLE,
        }  # fmt: skip
        assert found(library) == before
        assert None not in [relevance for _, _, relevance in before]
        with pytest.raises(InvalidInput, match=UNUSABLE):
            library.similar(photos / "black.png")


class Damaged(TinyEncoder):
    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), self.dim), np.nan, np.float32)


def test_a_model_that_embeds_nothing_ends_the_run_and_is_no_failure_of_photos(
    photos: Path, index: Path
) -> None:
    with opened(index, Damaged()) as library:
        with pytest.raises(ModelError, match=r"no usable embedding of any picture.*doctor"):
            library.index([photos])
        status = library.status()
        assert (status.photos, status.failures, status.models) == (0, (), ())
    with open_tiny(index) as library:
        assert library.index([photos]).added == 12


def test_a_known_photo_keeps_its_row_when_its_new_bytes_give_none(
    photos: Path, index: Path
) -> None:
    with opened(index, Failing()) as library:
        library.index([photos])
        before = found(library)
        black(photos / "00.png")
        (photos / "00.png").rename(photos / "00.jpg")
        for _ in range(3):
            assert library.index().failed == 1
        assert library.index().failed == 0
        assert found(library) == before
    with open_tiny(index) as library:  # a version of the model that can
        assert library.index(retry=True).updated == 1


@pytest.mark.parametrize("value", USELESS.values(), ids=USELESS)
def test_a_frame_without_a_usable_row_costs_its_animation_alone(
    photos: Path, index: Path, value: float
) -> None:
    frames = [picture(90, (64, 64)), Image.new("RGB", (64, 64))]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:], duration=50)
    with opened(index, Failing(value)) as library:
        report = library.index([photos], frames=2)
        assert (report.added, report.failed) == (12, 1)


@pytest.mark.parametrize("value", USELESS.values(), ids=USELESS)
def test_words_without_a_usable_row_are_refused_and_not_remembered(
    photos: Path, index: Path, value: float
) -> None:
    with opened(index, Failing(value)) as library:
        library.index([photos])
        for _ in range(2):
            for ask in (
                lambda: library.query("nothing"),
                lambda: library.query("a dog + nothing"),
                lambda: library.label(photos / "00.jpg", ["a dog", "nothing"]),
                lambda: library.score([photos / "00.jpg"], ["a dog", "nothing"]),
            ):
                with pytest.raises(InvalidInput, match=r"no usable embedding of '.*nothing"):
                    ask()
        assert len(library.label(photos / "00.jpg", ["a dog", "a cat"])) == 2
    with open_tiny(index) as library:
        assert len(library.query("nothing")) == 10
        assert len(library.label(photos / "00.jpg", ["a dog", "nothing"])) == 2


class Contrary(TinyEncoder):
    """Reads the opposite in every second text."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.repeat(super().encode_texts(["one text"]), len(texts), axis=0)
        rows[1::2] *= -1
        return rows


def test_a_class_whose_sentences_cancel_out_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        picture(len(name)).save(tmp_path / name / "0.png")
    with pytest.raises(InvalidInput, match="no usable embedding of 'cat'"):
        evaluate_zeroshot(read_classes(tmp_path), {"it": Contrary}, ["{}", "a {}"])


def test_such_words_cost_no_question_that_is_asked_at_the_same_time(
    photos: Path, index: Path
) -> None:
    with opened(index, Failing()) as library:
        library.index([photos])
        good, bad, other = library.answer([Question("a dog"), Question("nothing"), Question("b")])
        assert isinstance(bad, InvalidInput)
        assert not isinstance(good, InvalidInput)
        assert not isinstance(other, InvalidInput)
        assert [hit.path for hit in good.hits] == [hit.path for hit in library.query("a dog")]


def test_everyday_words_that_a_model_makes_nothing_of_cost_no_relevance(
    photos: Path, index: Path
) -> None:
    with opened(index, Failing(words=NEUTRAL[::3])) as library:
        library.index([photos])
        assert all(0 <= (hit.relevance or -1) <= 1 for hit in library.query("words"))
    with opened(index / "other", Failing(words=NEUTRAL)) as library:
        library.index([photos])
        with pytest.raises(ModelError, match="of any text"):
            library.query("words")


class Undecided:
    """Stands for a matcher that gives NaN for every second picture."""

    batch_size = 4
    prepare = TinyEncoder.prepare

    def match(self, batch: np.ndarray, sentence: str) -> np.ndarray:
        fits = np.arange(len(batch)) / 10
        fits[::2] = np.nan
        return fits


def test_a_fit_that_is_no_number_comes_last(indexed: Path) -> None:
    from clipsearch.indexing.loading import Loaders

    with open_tiny(indexed) as library:
        hits = library.query("a dog", 4)
    matcher: Any = Undecided()
    ordered = reranked(hits, "a dog", matcher, Loaders(1, isolated=False))
    assert ordered == [hits[3], hits[1], hits[0], hits[2]]


# What is said


def not_json(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON")


def test_json_holds_no_number_that_is_none(indexed: Path, clipsearch: Run) -> None:
    """An index of before may hold some; SQLite keeps an infinity and makes a NaN nothing."""
    with closing(sqlite3.connect(indexed / "catalog.db")) as db, db:
        db.execute("UPDATE photos SET latitude = 9e999, longitude = -9e999 WHERE id < 4")
    shown = clipsearch("ls", "--json", "-k", "99")
    photos = json.loads(shown.stdout, parse_constant=not_json)
    assert [photo["latitude"] for photo in photos] == [None] * 12
