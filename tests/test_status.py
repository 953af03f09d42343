"""`status` says the truth, and what failed before it began leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Run, picture
from tiny import BlindEncoder, open_tiny

from clipsearch import InvalidInput, Library
from clipsearch.encoders.aliases import ALIASES
from clipsearch.store.catalog import Catalog

NOWHERE = "cuda:63"  # a device that no machine has
FAST = ALIASES["fast"].spec


class Other(BlindEncoder):
    """A second model."""

    weights = "other"


@pytest.mark.parametrize("command", ["index", "watch", "update"])
def test_without_a_folder_no_index_is_made(clipsearch: Run, index: Path, command: str) -> None:
    done = clipsearch(command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no index yet; name a folder: clipsearch index FOLDER" in done.stderr
    assert not index.exists()


def test_what_cannot_be_indexed_makes_no_index(clipsearch: Run, photos: Path, index: Path) -> None:
    for wrong, said in [
        ([photos / "nowhere"], "there is no folder"),
        ([photos / "00.jpg"], "is a file"),
        ([photos, "--device", NOWHERE], f"the device '{NOWHERE}' is not available here"),
        ([photos, "--model", "pockt"], "did you mean 'pocket'?"),
        ([photos, "--model", "fast"], "are not on this machine"),
    ]:
        done = clipsearch("index", *wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert not index.exists()
    index.mkdir()  # which is a person's, and no index
    assert clipsearch("watch", photos, "--model", "fast").returncode == 2
    assert list(index.iterdir()) == []
    open_tiny(index).close()  # and this one was there
    assert clipsearch("index", photos, "--model", "fast").returncode == 2
    assert clipsearch("status").returncode == 0


def test_a_device_that_is_not_there_is_an_error_also_where_nothing_is_computed(
    indexed: Path, clipsearch: Run
) -> None:
    with open_tiny(indexed) as library:
        library.query("dog")
    photo = indexed.parent / "photos" / "00.jpg"
    for command in (
        ["index"], ["query", "dog"], ["caption", "--show", photo], ["serve", "--port", "0"],
    ):  # fmt: skip
        done = clipsearch(*command, "--device", NOWHERE)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert f"the device '{NOWHERE}' is not available here" in done.stderr, command
        assert "Use --device auto" in done.stderr
        assert "torch" not in done.stderr  # whose own words are for who wrote this
    assert clipsearch("query", "dog", "--device", "cpu").returncode == 0
    with pytest.raises(InvalidInput, match="not available here"):
        Library.open(indexed, device=NOWHERE)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("cdua", "did you mean 'cuda'?"),
        ("gpu", "a GPU is called cuda, mps or xpu"),
        ("meta", "PyTorch knows none of that name"),  # it does, and nothing is computed there
        ("cuda:x", "not available here"),
    ],
)
def test_a_device_that_is_none_is_told_what_may_be_meant(
    indexed: Path, clipsearch: Run, typed: str, said: str
) -> None:
    done = clipsearch("query", "dog", "--device", typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("typed", ["cpu:1", "cpu:x"])
def test_a_processor_is_one_device(indexed: Path, clipsearch: Run, typed: str) -> None:
    done = clipsearch("query", "dog", "--device", typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{typed}' is not available here: all processors are one device, cpu" in done.stderr
    assert "did you mean" not in done.stderr


@pytest.mark.parametrize("had_photos", [False, True])
def test_a_model_that_is_named_is_taken_where_there_are_no_photos(
    index: Path, tmp_path: Path, clipsearch: Run, had_photos: bool
) -> None:
    (folder := tmp_path / "folder").mkdir()
    photo = folder / "1.jpg"
    with open_tiny(index) as library:
        if had_photos:
            picture(1).save(photo)
            library.index([folder])
            photo.unlink()
        library.index([folder], prune=True)
        assert [model.spec for model in library.status().models] == ["pocket"]
        library._catalog.set_note(1, "pocket was taken because")
    done = clipsearch("index", "--model", "fast")
    assert (done.returncode, done.stdout) == (2, "")
    assert "are not on this machine" in done.stderr
    with Library.open(index, model="fast", encoder=Other()) as library:
        assert library.index().note is None
        assert [(it.spec, it.note) for it in library.status().models] == [(FAST, None)]
        picture(1).save(photo)
        assert library.index().embedded == 1
    with open_tiny(index) as library:  # where there are photos the main one stays
        assert library.index().embedded == 1
        assert [(it.spec, it.vectors) for it in library.status().models] == [
            (FAST, 1),
            ("pocket", 1),
        ]


def test_copies_explain_why_there_are_fewer_embeddings(
    photos: Path, index: Path, clipsearch: Run
) -> None:
    shutil.copy(photos / "00.jpg", photos / "copy.jpg")
    with open_tiny(index) as library:
        library.index([photos])
    shown = clipsearch("status").stdout
    assert "photos    13, of which 1 is a copy of another; copies share an embedding\n" in shown
    assert "12 embeddings of 16 numbers\n" in shown
    held = json.loads(clipsearch("status", "--json").stdout)
    assert (held["photos"], held["contents"]) == (13, 12)


def test_after_prune_nothing_is_said_to_be_kept(
    photos: Path, index: Path, tmp_path: Path, clipsearch: Run
) -> None:
    (gone := tmp_path / "gone").mkdir()
    picture(50).save(gone / "50.jpg")
    (gone / "broken.jpg").write_bytes(b"")
    with open_tiny(index) as library:
        library.index([photos, gone])
    shutil.rmtree(gone)
    assert f"{gone}  1 photo  (not there now; its photos are kept)" in clipsearch("status").stdout
    assert clipsearch("index", "--prune").returncode == 0
    shown = clipsearch("status").stdout
    assert f"{gone}  0 photos  (not there now; clipsearch forget {gone} takes it off" in shown
    assert "photos are kept" not in shown
    assert "failed" not in shown


def test_a_model_that_is_named_is_chosen_whatever_brought_it_here(
    indexed: Path, clipsearch: Run
) -> None:
    with closing(Catalog.open(indexed)) as catalog:
        catalog.set_note(1, "pocket was taken because")
    assert "pocket was taken because" in clipsearch("status").stdout
    assert "with the pocket model" in clipsearch("index").stdout
    assert "with the pocket model" not in clipsearch("index", "--model", "pocket").stdout
    assert "was taken" not in clipsearch("status").stdout


def test_a_better_model_that_came_is_not_said_to_be_missing(indexed: Path, clipsearch: Run) -> None:
    with closing(Catalog.open(indexed)) as catalog:
        catalog.set_note(1, "pocket was taken because; clipsearch index --model default")
    with Library.open(indexed, model="default", encoder=Other()) as library:
        library.index()
    shown = clipsearch("status").stdout
    assert "answers questions until: clipsearch models remove pocket\n" in shown
    assert "--model default" not in shown
    assert clipsearch("models", "remove", "pocket").returncode == 0
    assert "was taken" not in clipsearch("status").stdout


def test_of_several_models_it_is_told_which_answers_and_what_is_to_come(
    indexed: Path, tmp_path: Path, clipsearch: Run
) -> None:
    (more := tmp_path / "more").mkdir()
    picture(60).save(more / "60.jpg")
    with Library.open(indexed, model="default", encoder=Other()) as library:
        library.index([more])
    shown = clipsearch("status").stdout
    assert "model     pocket  12 embeddings of 16 numbers; 1 to come: clipsearch index" in shown
    assert "1 embedding of 16 numbers; 12 to come: clipsearch index --model ViT-B-32-256/" in shown
