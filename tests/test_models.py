"""Several models in one index, never mixed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny import OTHER, TinyEncoder, open_tiny

from clipsearch import InvalidInput, Library, ModelMismatch
from clipsearch.encoders import pocket_files
from clipsearch.encoders.pocket.parts import HEADS

WEIGHTS: dict[str, str | None] = {"weights": "0" * 64}
SEEN: dict[str, str | None] = {"weights": None, "preprocess": "260 squash bicubic mean .5 std .5"}


class Reversed(TinyEncoder):
    """Another model with as many dimensions: what is near to one is far from the other."""

    weights = "reversed"

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        return super().encode_images(batch)[:, ::-1]

    def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[override]
        return -super().encode_texts(texts)


def open_other(index: Path) -> Library:
    return Library.open(index, model=OTHER, encoder=Reversed())


@pytest.fixture
def both(index: Path, photos: Path) -> Path:
    """An index of twelve photos with two models."""
    with open_tiny(index) as library:
        library.index([photos])
    with open_other(index) as library:
        report = library.index()
        assert (report.added, report.unchanged, report.embedded) == (0, 12, 12)
    return index


@pytest.fixture
def by_pocket(clipsearch: Run, index: Path, photos: Path) -> Path:
    """An index of twelve photos with pocket itself, made by the command line."""
    if pocket_files() is None:
        pytest.skip("needs the group pocket")
    clipsearch("index", photos, "--model", "pocket")
    return index


def test_each_model_answers_with_its_own_embeddings(both: Path, photos: Path) -> None:
    with open_tiny(both) as library:
        tiny = {hit.path: hit.score for hit in library.query("zebra", 12)}
        assert library.similar(picture(3), 1)[0].path == photos / "03.jpg"
    with open_other(both) as library:
        other = {hit.path: hit.score for hit in library.query("zebra", 12)}
        assert library.similar(picture(3), 1)[0].path == photos / "03.jpg"
    encoder, turned = TinyEncoder(), Reversed()
    for number in range(12):
        path = photos / ("trip" if number >= 8 else "") / f"{number:02}.jpg"
        view = encoder.prepare(picture(number))[None]
        for model, scores in ((encoder, tiny), (turned, other)):
            true = model.encode_images(view)[0] @ model.encode_texts(["zebra"])[0]
            assert scores[path] == pytest.approx(float(true), abs=0.02)


def test_without_a_model_named_the_first_one_answers(both: Path) -> None:
    with open_tiny(both) as library:
        first = library.query("zebra")
    with Library.open(both) as library:  # the question is remembered, so no weights are needed
        assert library.query("zebra") == first
        assert [model.spec for model in library.status().models] == ["pocket", OTHER]
        assert [model.vectors for model in library.status().models] == [12, 12]


def test_a_new_photo_is_embedded_by_the_model_that_is_named(both: Path, photos: Path) -> None:
    picture(50).save(photos / "new.jpg")
    with open_other(both) as library:
        assert library.index().added == 1
        assert library.similar(picture(50), 1)[0].path == photos / "new.jpg"
    with open_tiny(both) as library:
        assert photos / "new.jpg" not in [hit.path for hit in library.query("zebra", 99)]
        report = library.index()
        assert (report.added, report.unchanged, report.embedded) == (0, 13, 1)
        assert len(library.query("zebra", 99)) == 13


def test_a_photo_that_is_gone_is_gone_for_all_models(both: Path, photos: Path) -> None:
    (photos / "03.jpg").unlink()
    with open_tiny(both) as library:
        assert library.index().removed == 1
        assert [model.vectors for model in library.status().models] == [11, 11]
    with open_other(both) as library:
        assert len(library.query("zebra", 99)) == 11


def test_a_model_is_removed_with_its_files_and_the_other_becomes_the_main_one(
    both: Path, clipsearch: Run
) -> None:
    assert len(list((both / "vectors").iterdir())) == 4
    done = clipsearch("models", "remove", "pocket")
    assert (done.stdout, done.stderr) == ("12 embeddings removed: pocket\n", "")
    assert len(list((both / "vectors").iterdir())) == 2
    with Library.open(both) as library:
        assert [model.spec for model in library.status().models] == [OTHER]
    with open_tiny(both) as library, pytest.raises(ModelMismatch, match="no embeddings of pocket"):
        library.query("zebra")
    with open_other(both) as library:
        assert len(library.query("zebra", 99)) == 12


def test_the_last_model_stays_and_an_unknown_one_is_told(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
        with pytest.raises(InvalidInput, match="pocket is the index's only model"):
            library.remove_model("pocket")
        with pytest.raises(InvalidInput, match=r"no embeddings of .*; it has those of: pocket"):
            library.remove_model("best")
        assert len(library.query("zebra", 99)) == 12


def test_without_a_model_named_an_index_run_keeps_all_up_to_date(
    clipsearch: Run, photos: Path, spec: str
) -> None:
    if pocket_files() is None:
        pytest.skip("needs the group pocket")
    clipsearch("index", photos, "--model", spec)
    added = clipsearch("index", "--model", "pocket")
    assert "0 added, 0 updated, 0 moved, 0 removed, 12 unchanged, 0 failed, 12 embedded anew" in (
        added.stdout
    )
    picture(50).save(photos / "new.jpg")
    report = json.loads(clipsearch("index", "--json").stdout)
    assert (report["added"], report["unchanged"]) == (1, 12)
    for model in (spec, "pocket"):
        done = clipsearch("similar", photos / "01.jpg", "-k", "all", "--model", model, "--json")
        assert len(json.loads(done.stdout)) == 12


def test_an_index_of_an_older_pocket_is_brought_to_the_present_one(
    clipsearch: Run, by_pocket: Path
) -> None:
    asked = ("query", "a cat", "--json")
    answers = json.loads(clipsearch(*asked).stdout)
    for made, arguments in ((WEIGHTS, ()), (SEEN, ()), (WEIGHTS, ("--runtime", "onnx"))):
        make_older(by_pocket, **made)
        older = clipsearch("query", "a cat")
        assert (older.returncode, older.stdout) == (2, "")
        assert "embedded anew by that of this version: clipsearch index" in older.stderr
        assert "clipsearch index" in clipsearch("doctor", "--offline").stdout
        done = clipsearch("index", *arguments)
        assert "the 12 photos of this index: they are embedded anew" in done.stderr
        assert "12 unchanged, 0 failed, 12 embedded anew" in done.stdout
        again = json.loads(clipsearch(*asked).stdout)
        scores = {hit["path"]: pytest.approx(hit["score"], abs=0.02) for hit in answers}
        assert {hit["path"]: hit["score"] for hit in again} == scores
        assert "embedded anew" not in clipsearch("index").stderr


@pytest.mark.thorough
def test_a_copy_of_an_index_of_an_older_pocket_says_so_and_stays_as_it_is(
    clipsearch: Run, by_pocket: Path, tmp_path: Path
) -> None:
    make_older(by_pocket, **SEEN)
    copy = tmp_path / "copy"
    assert clipsearch("copy", copy).returncode == 0
    as_copy = ("--index", copy)
    told = clipsearch("query", "a cat", *as_copy)
    assert (told.returncode, told.stdout) == (2, "")
    assert "embedded anew by that of this version" in told.stderr
    done = clipsearch("index", *as_copy)
    assert (done.returncode, "to be read only" in done.stderr) == (2, True)
    assert "12 embedded anew" in clipsearch("index").stdout
    assert "embedded anew" in clipsearch("query", "a cat", *as_copy).stderr
    (model,) = json.loads(clipsearch("status", "--json", *as_copy).stdout)["models"]
    assert model["vectors"] == 12


@pytest.mark.thorough
def test_what_an_older_pocket_embedded_of_other_folders_is_embedded_anew_too(
    clipsearch: Run, by_pocket: Path, tmp_path: Path
) -> None:
    (other := tmp_path / "other").mkdir()
    picture(70).save(other / "other.jpg")
    clipsearch("index", other)
    make_older(by_pocket)
    assert "13 embedded anew" in clipsearch("index", other).stdout
    assert len(json.loads(clipsearch("query", "a cat", "-k", "all", "--json").stdout)) == 13


def test_an_older_pocket_gives_way_to_the_present_one_by_another_name(
    clipsearch: Run, by_pocket: Path
) -> None:
    with closing(sqlite3.connect(by_pocket / "catalog.db")) as db, db:
        ((now,),) = db.execute("SELECT weights FROM models")
    make_older(by_pocket)
    with closing(sqlite3.connect(by_pocket / "catalog.db")) as db, db:
        db.execute(
            "INSERT INTO models (spec, weights, preprocess, dim)"
            " SELECT 'onnx:/elsewhere', ?, preprocess, dim FROM models", (now,),
        )  # fmt: skip
    done = clipsearch("index", "--model", "pocket")
    assert done.returncode == 0, done.stderr
    assert "12 embedded anew" in done.stdout
    assert len(json.loads(clipsearch("query", "a cat", "-k", "all", "--json").stdout)) == 12


def test_an_index_whose_photos_are_yet_to_be_embedded_says_so(
    clipsearch: Run, by_pocket: Path
) -> None:
    with closing(sqlite3.connect(by_pocket / "catalog.db")) as db, db:
        db.execute("DELETE FROM vectors")
    done = clipsearch("query", "a cat")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "clipsearch: no photo of the index is embedded yet; go on with: clipsearch index\n"
    )


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Heads of the pocket model in a file of their own."""
    (folder := tmp_path / "heads").mkdir()
    return Path(shutil.copy(HEADS, folder / "mine.safetensors"))


@pytest.fixture
def by_own(clipsearch: Run, index: Path, photos: Path, heads: Path) -> Path:
    """An index of twelve photos with these heads, made by the command line."""
    if pocket_files() is None:
        pytest.skip("needs the group pocket")
    clipsearch("index", photos, "--model", f"pocket:{heads}")
    return index


def test_own_heads_whose_photos_were_seen_in_another_way_embed_them_anew(
    clipsearch: Run, by_own: Path
) -> None:
    make_older(by_own, **SEEN)
    assert "embedded anew by that of this version" in clipsearch("query", "a cat").stderr
    assert "clipsearch index" in clipsearch("doctor", "--offline").stdout
    assert "12 unchanged, 0 failed, 12 embedded anew" in clipsearch("index").stdout
    assert len(json.loads(clipsearch("query", "a cat", "-k", "all", "--json").stdout)) == 12


def test_other_heads_in_the_place_of_own_ones_take_nothing_away(
    clipsearch: Run, by_own: Path, heads: Path
) -> None:
    tensors = load_file(heads)
    with safe_open(heads, framework="np") as stored:
        told = stored.metadata()
    first = min(tensors)
    save_file(tensors | {first: tensors[first] + 1}, heads, told)
    assert "embedded anew" not in clipsearch("index").stdout
    shutil.copy(HEADS, heads)
    assert len(json.loads(clipsearch("query", "a cat", "-k", "all", "--json").stdout)) == 12


@pytest.mark.thorough
def test_own_heads_that_were_moved_are_the_same_model(
    clipsearch: Run, by_own: Path, heads: Path
) -> None:
    moved = heads.rename(heads.with_name("moved.safetensors"))
    as_moved = ("--model", f"pocket:{moved}")
    done = clipsearch("query", "a cat", "-k", "all", "--json", *as_moved)
    assert len(json.loads(done.stdout)) == 12
    assert "embedded anew" not in clipsearch("index", *as_moved).stdout
    make_older(by_own, **SEEN)
    assert "12 embedded anew" in clipsearch("index", *as_moved).stdout


def make_older(index: Path, weights: str | None = "0" * 64, preprocess: str | None = None) -> None:
    """Let an index look as if an older pocket had made it."""
    with closing(sqlite3.connect(index / "catalog.db")) as db, db:
        db.execute(
            "UPDATE models SET weights = ifnull(?, weights), preprocess = ifnull(?, preprocess)",
            (weights, preprocess),
        )
        db.execute("DELETE FROM questions")


class Stretched(TinyEncoder):
    """The same model, to which pictures come in another way."""

    preprocess = "16 stretched"


def test_the_same_weights_that_see_in_another_way_are_not_called_other_weights(
    index: Path, photos: Path
) -> None:
    with open_tiny(index, OTHER) as library:
        library.index([photos])
    with pytest.raises(ModelMismatch, match="pictures were prepared for it in another way"):
        Library.open(index, model=OTHER, encoder=Stretched())
