"""Indexing and asking, through the public API, with a small random model."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, Run, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import open_tiny

from clipsearch import (
    Hit,
    IndexReport,
    InvalidInput,
    Library,
    ModelMismatch,
    WeightsUnavailable,
)
from clipsearch.encoders import Encoder, load, parse_spec
from clipsearch.photos.decoding.decode import decode
from clipsearch.store.lock import write_lock

COUNTS = ("added", "updated", "moved", "removed", "unchanged", "failed")
ALL = 1000

Open = Callable[..., Library]


class Counting:
    """A true encoder that counts the pictures it embeds."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.embedded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        self.embedded += len(batch)
        return self._encoder.encode_images(batch)


@pytest.fixture(scope="module")
def loaded(spec: str) -> Encoder:
    """The small model, loaded once; in fp32, where a batch's size does not change its vectors."""
    return load(parse_spec(spec), "cpu", precision="fp32")


@pytest.fixture
def encoder(loaded: Encoder) -> Counting:
    return Counting(loaded)


@pytest.fixture
def library(index: Path, spec: str, encoder: Counting) -> Library:
    """A library, empty at first, whose model is loaded already."""
    return open_with(encoder, index, spec)


def open_with(encoder: Any, folder: Path, spec: str) -> Library:
    return Library.open(folder, model=spec, encoder=encoder)


def did(report: IndexReport) -> dict[str, int]:
    """The counts of a report that are not 0."""
    return {name: getattr(report, name) for name in COUNTS if getattr(report, name)}


def held(library: Library) -> dict[Path, Hit]:
    """All photos of a library, by path."""
    return {hit.path: hit for hit in library.query("a picture", ALL)}


def ids(library: Library) -> dict[Path, int]:
    return {path: hit.id for path, hit in held(library).items()}


def paint(file: Path, seed: int) -> None:
    picture(seed, (64, 48)).save(file)


# Counts


def test_new_photos_are_added(library: Library, photos: Path) -> None:
    report = library.index([photos])
    assert did(report) == {"added": 12}
    assert report.complete
    assert report.images_per_second > 0
    assert set(held(library)) == set(photos.rglob("*.jpg"))


def test_a_second_run_finds_nothing_to_do(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    assert did(library.index([photos])) == {"unchanged": 12}
    assert did(library.index()) == {"unchanged": 12}
    assert encoder.embedded == 12


def test_a_run_with_nothing_to_do_loads_no_model(library: Library, photos: Path) -> None:
    library.index([photos])
    with Library.open(library.folder) as again:
        again.index([photos])
        assert not again._models._encoders


def test_a_photo_whose_content_changed_is_updated_and_keeps_its_id(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    before = ids(library)
    paint(photos / "03.jpg", seed=100)
    assert did(library.index([photos])) == {"updated": 1, "unchanged": 11}
    assert ids(library) == before
    assert encoder.embedded == 13


def test_a_renamed_photo_keeps_its_id_and_is_not_embedded_again(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    before = ids(library)
    (photos / "03.jpg").rename(photos / "trip" / "new name.jpg")
    assert did(library.index([photos])) == {"moved": 1, "unchanged": 11}
    before[photos / "trip" / "new name.jpg"] = before.pop(photos / "03.jpg")
    assert ids(library) == before
    assert encoder.embedded == 12


def test_a_renamed_folder_is_that_many_moves(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "trip").rename(photos / "holiday")
    assert did(library.index([photos])) == {"moved": 4, "unchanged": 8}


def test_a_photo_that_moves_to_another_root_keeps_its_id(library: Library, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for seed, folder in enumerate((here, there)):
        folder.mkdir()
        paint(folder / "stays.jpg", seed)
        library.index([folder])
    paint(here / "goes.jpg", 7)
    library.index([here])
    before = ids(library)
    (here / "goes.jpg").rename(there / "goes.jpg")
    assert did(library.index()) == {"moved": 1, "unchanged": 2}
    assert ids(library)[there / "goes.jpg"] == before[here / "goes.jpg"]


def test_a_deleted_photo_is_removed(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "03.jpg").unlink()
    assert did(library.index([photos])) == {"removed": 1, "unchanged": 11}
    assert photos / "03.jpg" not in held(library)


def test_an_id_is_never_given_to_another_photo(library: Library, photos: Path) -> None:
    library.index([photos])
    last = max(ids(library), key=ids(library).__getitem__)
    gone = ids(library)[last]
    last.unlink()
    library.index([photos])
    paint(photos / "new.jpg", 100)
    library.index([photos])
    assert ids(library)[photos / "new.jpg"] > gone


def test_a_touched_photo_is_unchanged(library: Library, photos: Path, encoder: Counting) -> None:
    library.index([photos])
    os.utime(photos / "03.jpg", (1, 1))
    assert did(library.index([photos])) == {"unchanged": 12}
    assert encoder.embedded == 12


def test_a_run_that_embeds_nothing_loads_no_model(library: Library, photos: Path) -> None:
    library.index([photos])
    os.utime(photos / "03.jpg", (1, 1))
    (photos / "04.jpg").rename(photos / "moved.jpg")
    with Library.open(library.folder) as again:
        again.index([photos])
        assert not again._models._encoders


def test_a_copy_gets_a_row_of_its_own_and_is_not_embedded(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    shutil.copy(photos / "03.jpg", photos / "copy.jpg")
    assert did(library.index([photos])) == {"added": 1, "unchanged": 12}
    found = held(library)
    assert found[photos / "copy.jpg"].id != found[photos / "03.jpg"].id
    assert found[photos / "copy.jpg"].score == found[photos / "03.jpg"].score
    assert found[photos / "copy.jpg"].facts.width == found[photos / "03.jpg"].facts.width
    assert encoder.embedded == 12


def test_copies_that_are_new_together_are_embedded_once(
    library: Library, tmp_path: Path, encoder: Counting
) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        paint(tmp_path / name / "one.jpg", 0)
    assert did(library.index([tmp_path])) == {"added": 3}
    assert encoder.embedded == 1
    assert len(held(library)) == 3


def test_two_photos_that_swap_their_names_swap_their_vectors(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    before = held(library)
    one, two = photos / "01.jpg", photos / "trip" / "09.jpg"
    swap(one, two)
    assert did(library.index([photos])) == {"updated": 2, "unchanged": 10}
    after = held(library)
    assert (after[one].score, after[two].score) == (before[two].score, before[one].score)
    assert (after[one].id, after[two].id) == (before[one].id, before[two].id)
    assert encoder.embedded == 12


def test_photos_that_swap_in_different_batches_keep_their_facts(
    library: Library, tmp_path: Path
) -> None:
    first, second, third = folders = [tmp_path / name for name in ("1", "2", "3")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        picture(number, (64 + number, 48)).save(folder / "a.jpg")
        library.index([folder])
    swap(first / "a.jpg", third / "a.jpg")
    paint(second / "new.jpg", 9)  # comes between the two, and ends a batch
    library.index(batch_size=1)
    facts = {path: hit.facts for path, hit in held(library).items()}
    assert facts[first / "a.jpg"].width == 66
    assert facts[third / "a.jpg"].width == 64


def test_photos_of_equal_size_and_name_in_two_folders_stay_apart(
    library: Library, photos: Path
) -> None:
    shutil.copy(photos / "01.jpg", photos / "trip" / "01.jpg")
    library.index([photos])
    (photos / "01.jpg").unlink()
    assert did(library.index([photos])) == {"removed": 1, "unchanged": 12}
    assert photos / "trip" / "01.jpg" in held(library)


def swap(one: Path, two: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


# Files that cannot be read


def test_a_broken_file_is_remembered_and_not_tried_again_until_it_changes(
    library: Library, photos: Path
) -> None:
    broken = photos / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert did(library.index([photos])) == {"added": 12, "failed": 1}
    assert did(library.index([photos])) == {"unchanged": 12}
    assert library.status().failures == ((str(broken), "not an image that can be read"),)
    paint(broken, 50)
    assert did(library.index([photos])) == {"added": 1, "unchanged": 12}
    assert library.status().failures == ()


def test_a_photo_that_becomes_broken_leaves_the_answers(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "03.jpg").write_bytes(b"")
    assert did(library.index([photos])) == {"failed": 1, "unchanged": 11}
    assert photos / "03.jpg" not in held(library)
    assert library.status().photos == 11


def test_a_broken_file_that_is_deleted_is_forgotten(library: Library, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    library.index([photos])
    (photos / "broken.jpg").unlink()
    assert did(library.index([photos])) == {"unchanged": 12}
    assert library.status().failures == ()


def test_copies_of_a_broken_file_all_fail(library: Library, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    paint(whole, 0)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(whole.read_bytes()[:400])
    assert did(library.index([tmp_path])) == {"added": 1, "failed": 2}


def test_a_drive_unplugged_during_a_run_costs_no_photo(library: Library, photos: Path) -> None:
    aside = photos.with_name("aside")

    def unplug(done: int, total: int) -> None:
        if photos.exists():
            photos.rename(aside)

    library.index([photos], batch_size=1, workers=1, progress=unplug)
    aside.rename(photos)
    library.index([photos])
    assert len(held(library)) == 12
    assert library.status().failures == ()


# Asking


def test_answers_are_ordered_and_as_many_as_asked_for(library: Library, photos: Path) -> None:
    library.index([photos])
    hits = library.query("a dog on the beach", 5)
    assert len(hits) == 5
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits == library.query("a dog on the beach", 12)[:5]
    assert len(library.query("a dog", ALL)) == 12


def test_copies_count_towards_the_number_asked_for(library: Library, photos: Path) -> None:
    for number in range(5):
        shutil.copy(photos / "00.jpg", photos / f"copy {number}.jpg")
    library.index([photos])
    hits = library.similar(photos / "00.jpg", 3)
    assert len(hits) == 3
    assert {hit.path.name[:4] for hit in hits} == {"copy"}


def test_a_query_scores_by_the_cosine_of_words_and_photo(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    words = encoder.encode_texts(["a red car"])[0]
    for hit in library.query("a red car", ALL):
        assert hit.score == pytest.approx(float(words @ embed(encoder, hit.path)), abs=2e-3)


def test_similar_leaves_out_the_file_asked_with_and_keeps_its_copies(
    library: Library, photos: Path
) -> None:
    shutil.copy(photos / "03.jpg", photos / "trip" / "03.jpg")
    library.index([photos])
    hits = library.similar(photos / "03.jpg", ALL)
    assert hits[0].path == photos / "trip" / "03.jpg"
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert len(hits) == 12
    assert photos / "03.jpg" not in [hit.path for hit in hits]


def test_similar_to_a_file_and_to_its_pixels_agree(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    by_file = {hit.path: hit.score for hit in library.similar(photos / "03.jpg", ALL)}
    assert encoder.embedded == 12  # the stored vector was used
    with Image.open(photos / "03.jpg") as image:
        by_pixels = {hit.path: hit.score for hit in library.similar(image, ALL)}
    assert by_pixels.pop(photos / "03.jpg") == pytest.approx(1, abs=1e-3)
    assert by_file == pytest.approx(by_pixels, abs=1e-3)


def test_similar_takes_a_picture_that_is_not_indexed(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.index([photos])
    paint(tmp_path / "elsewhere.jpg", 100)
    assert len(library.similar(tmp_path / "elsewhere.jpg", ALL)) == 12


def test_similar_leaves_out_the_file_behind_a_link(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.index([photos])
    (tmp_path / "link.jpg").symlink_to(photos / "03.jpg")
    hits = library.similar(tmp_path / "link.jpg", ALL)
    assert photos / "03.jpg" not in [hit.path for hit in hits]


def test_a_library_without_photos_answers_nothing(library: Library, photos: Path) -> None:
    assert library.query("a dog") == []
    assert library.similar(photos / "03.jpg") == []


def test_facts_come_with_the_answers(library: Library, photos: Path) -> None:
    library.index([photos])
    assert {(hit.facts.width, hit.facts.height) for hit in library.query("x")} == {(320, 240)}


# Folders in folders


def test_several_folders_are_indexed_in_one_run(library: Library, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("b", "a", "c")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        paint(folder / "photo.jpg", seed)
    assert did(library.index(folders)) == {"added": 3}
    assert did(library.index(folders)) == {"unchanged": 3}


def test_a_wider_folder_takes_over_a_narrower_one(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos / "trip"])
    before = ids(library)
    assert did(library.index([photos])) == {"added": 8, "unchanged": 4}
    assert ids(library).items() > before.items()
    assert [root.path for root in library.status().roots] == [str(photos)]
    assert encoder.embedded == 12


def test_failures_and_forgotten_parts_move_along_to_the_wider_folder(
    library: Library, photos: Path
) -> None:
    (photos / "trip" / "broken.jpg").write_bytes(b"no picture")
    library.index([photos / "trip"])
    library.forget(photos / "trip" / "08.jpg")
    assert did(library.index([photos])) == {"added": 8, "unchanged": 3}
    assert [path for path, _ in library.status().failures] == [str(photos / "trip" / "broken.jpg")]


def test_a_part_of_a_folder_can_be_updated_alone(library: Library, photos: Path) -> None:
    library.index([photos])
    paint(photos / "new.jpg", 100)
    paint(photos / "trip" / "new.jpg", 101)
    (photos / "00.jpg").unlink()
    assert did(library.index([photos / "trip"])) == {"added": 1, "unchanged": 4}
    assert did(library.index([photos])) == {"added": 1, "removed": 1, "unchanged": 12}


@pytest.mark.parametrize("order", [("trip", "."), (".", "trip"), (".", ".", "trip", "trip")])
def test_overlapping_folders_count_each_file_once(
    library: Library, photos: Path, order: tuple[str, ...]
) -> None:
    assert did(library.index([photos / part for part in order])) == {"added": 12}
    assert [root.path for root in library.status().roots] == [str(photos)]


def test_a_folder_whose_name_begins_like_another_is_another(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "photos2")
    shutil.copytree(photos, tmp_path / "Photos")
    for name in ("photos", "photos2", "Photos"):
        library.index([tmp_path / name])
    assert [root.photos for root in library.status().roots] == [12, 12, 12]


def test_a_linked_folder_is_the_folder_it_leads_to(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(photos)
    library.index([photos])
    assert did(library.index([tmp_path / "link"])) == {"unchanged": 12}
    assert len(library.status().roots) == 1


# Drives that come and go


def test_an_unplugged_folder_keeps_its_photos(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    before = ids(library)
    photos.rename(photos.with_name("unplugged"))
    report = library.index()
    assert did(report) == {}
    assert "missing" in report.problems[0]
    assert ids(library) == before
    assert not library.status().roots[0].present

    photos.with_name("unplugged").rename(photos)
    assert did(library.index()) == {"unchanged": 12}
    assert ids(library) == before
    assert encoder.embedded == 12


def test_an_unplugged_folder_can_be_named(library: Library, photos: Path) -> None:
    library.index([photos])
    photos.rename(photos.with_name("unplugged"))
    assert "missing" in library.index([photos]).problems[0]


def test_prune_removes_what_an_unplugged_folder_held(library: Library, photos: Path) -> None:
    library.index([photos])
    photos.rename(photos.with_name("unplugged"))
    assert did(library.index(prune=True)) == {"removed": 12}
    assert held(library) == {}


def test_a_folder_that_is_suddenly_empty_keeps_its_photos(library: Library, photos: Path) -> None:
    library.index([photos])
    shutil.rmtree(photos)
    photos.mkdir()
    report = library.index()
    assert did(report) == {}
    assert "empty" in report.problems[0]
    assert len(held(library)) == 12
    assert did(library.index(prune=True)) == {"removed": 12}


# Forgetting


def test_a_forgotten_photo_in_a_subfolder_keeps_its_embedding_away_until_named(
    library: Library, photos: Path, encoder: Counting
) -> None:
    library.index([photos])
    assert library.forget(photos / "trip" / "08.jpg") == 1
    assert did(library.index()) == {"unchanged": 11}
    assert photos / "trip" / "08.jpg" not in held(library)
    assert (photos / "trip" / "08.jpg").exists()
    assert did(library.index([photos / "trip"])) == {"unchanged": 3}
    assert did(library.index([photos / "trip" / "08.jpg"])) == {"added": 1, "unchanged": 3}


def test_a_forgotten_photo_stays_out_until_it_is_named(library: Library, photos: Path) -> None:
    library.index([photos])
    library.forget(photos / "00.jpg")
    assert did(library.index()) == {"unchanged": 11}
    assert did(library.index([photos])) == {"unchanged": 11}
    assert did(library.index([photos / "00.jpg"])) == {"added": 1, "unchanged": 11}


def test_what_lies_in_a_forgotten_folder_does_not_come_back_alone(
    library: Library, photos: Path
) -> None:
    library.index([photos])
    library.forget(photos / "trip")
    (photos / "trip" / "day").mkdir()
    with pytest.raises(InvalidInput, match="was forgotten; name that"):
        library.index([photos / "trip" / "day"])


def test_a_forgotten_subfolder_stays_out_until_it_is_named(library: Library, photos: Path) -> None:
    library.index([photos])
    assert library.forget(photos / "trip") == 4
    assert did(library.index()) == {"unchanged": 8}
    assert did(library.index([photos / "trip"])) == {"added": 4}
    assert did(library.index()) == {"unchanged": 12}


def test_a_forgotten_folder_is_no_longer_known(library: Library, photos: Path) -> None:
    library.index([photos])
    assert library.forget(photos) == 12
    assert library.status().roots == ()
    assert held(library) == {}
    assert len(list(photos.rglob("*.jpg"))) == 12
    assert did(library.index([photos])) == {"added": 12}


def test_a_folder_above_can_be_forgotten_with_all_it_holds(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.index([photos])
    assert library.forget(tmp_path) == 12
    assert library.status().photos == 0


def test_a_folder_can_be_forgotten_through_a_link(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(photos)
    library.index([tmp_path / "link"])
    assert library.forget(tmp_path / "link") == 12


def test_a_file_that_could_not_be_read_can_be_forgotten(library: Library, photos: Path) -> None:
    broken = photos / "broken.jpg"
    broken.write_bytes(b"no picture")
    library.index([photos])
    library.forget(broken)
    assert library.status().failures == ()
    assert did(library.index()) == {"unchanged": 12}


def test_a_photo_that_is_gone_can_be_forgotten(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "03.jpg").unlink()
    assert library.forget(photos / "03.jpg") == 1


@pytest.mark.parametrize("path", ["nowhere", "photos/nothing.jpg", "photo", "photos2"])
def test_an_unknown_path_cannot_be_forgotten(
    library: Library, photos: Path, tmp_path: Path, path: str
) -> None:
    library.index([photos])
    with pytest.raises(InvalidInput, match="not in the index"):
        library.forget(tmp_path / path)
    assert len(held(library)) == 12


# The model


@pytest.fixture
def indexed(library: Library, photos: Path) -> Path:
    """An index folder with 12 photos."""
    library.index([photos])
    library.close()
    return library.folder


def test_a_model_that_the_index_lacks_is_refused_with_the_command_that_adds_it(
    indexed: Path, photos: Path
) -> None:
    with Library.open(indexed, model="ViT-B-32-256/datacomp_s34b_b86k") as library:
        for ask in (lambda: library.query("x"), lambda: library.similar(picture(1))):
            with pytest.raises(ModelMismatch, match="clipsearch index --model ViT-B-32-256/data"):
                ask()
        assert library.status().photos == 12


def test_a_model_that_cannot_be_had_leaves_no_folder_behind(indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    picture(99).save(tmp_path / "more" / "new.jpg")
    with Library.open(indexed, model="ViT-B-32-256/datacomp_s34b_b86k") as library:
        with pytest.raises(WeightsUnavailable):
            library.index([tmp_path / "more"])
        assert len(library.status().roots) == 1


def test_the_same_weights_under_another_name_are_the_same_model(
    indexed: Path, weights: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed.safetensors"
    renamed.hardlink_to(weights)
    with Library.open(indexed, model=f"{SMALL}:{renamed}") as library:
        assert did(library.index()) == {"unchanged": 12}
        assert len(library.query("a dog")) == 10


def test_other_weights_under_the_same_name_are_refused(
    weights: Path,
    photos: Path,
    tmp_path: Path,
    loaded: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors.torch import load_file, save_file

    # What was exported of the right weights would answer, and rightly.
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "mine.safetensors"
    shutil.copy(weights, file)
    with open_with(loaded, tmp_path / "mine", f"{SMALL}:{file}") as library:
        library.index([photos])
    tensors = load_file(file)
    tensors["logit_scale"] += 1
    save_file(tensors, file)
    with Library.open(tmp_path / "mine") as library:
        with pytest.raises(ModelMismatch, match="Bring the old file back"):
            library.query("a dog")
        assert library.status().photos == 12


# Names


def test_names_that_are_not_text_are_photos_like_any_other(
    library: Library, photos: Path, encoder: Counting
) -> None:
    strange = [os.fsdecode(b"caf\xe9.jpg"), "two\nlines.jpg", "tab\t.jpg", "日本.jpg", "'%_.jpg"]
    folder = photos / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    for seed, name in enumerate(strange):
        paint(folder / name, 100 + seed)
    library.index([photos])
    assert {folder / name for name in strange} <= set(held(library))
    assert did(library.index([photos])) == {"unchanged": 17}
    assert len(library.similar(folder / strange[0], ALL)) == 16
    assert did(library.index([folder])) == {"unchanged": 5}
    (folder / strange[0]).rename(folder / strange[0].replace("caf", "th"))
    assert did(library.index()) == {"moved": 1, "unchanged": 16}
    assert library.forget(folder) == 5
    assert encoder.embedded == 17


def test_a_root_whose_name_is_not_text_works_and_can_be_taken_over(
    library: Library, tmp_path: Path
) -> None:
    folder = tmp_path / "outer" / os.fsdecode(b"\xe9t\xe9") / "in"
    folder.mkdir(parents=True)
    paint(folder / "a.jpg", 0)
    library.index([folder])
    before = ids(library)
    assert did(library.index([tmp_path / "outer"])) == {"unchanged": 1}
    assert ids(library) == before == {folder / "a.jpg": before[folder / "a.jpg"]}


# Stopping


def test_a_stopped_run_keeps_what_is_done_and_the_next_completes_it(
    library: Library, photos: Path, encoder: Counting
) -> None:
    asked = iter(range(ALL))
    report = library.index([photos], batch_size=2, stopping=lambda: next(asked) >= 4)
    assert not report.complete
    done = report.added  # of several threads that ask, more or fewer may have before it is seen
    assert 0 < done < 12
    assert did(report) == {"added": done}
    assert len(held(library)) == done
    assert did(library.index()) == {"added": 12 - done, "unchanged": done}
    assert encoder.embedded == 12


def test_a_stopped_run_removes_nothing(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "00.jpg").rename(photos / "moved.jpg")
    (photos / "01.jpg").unlink()
    paint(photos / "new.jpg", 100)
    assert not library.index([photos], stopping=lambda: True).complete
    assert len(held(library)) >= 12
    library.index([photos])
    assert set(held(library)) == set(photos.rglob("*.jpg"))


def test_progress_ends_at_the_number_of_files(library: Library, photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    library.index([photos], batch_size=5, progress=lambda *step: seen.append(step))
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)


# The vector files are derived


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def scribble(file: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


def swap_with_old(file: Path) -> None:
    # What a restored backup brings: one of the pair from another day.
    file.write_bytes(file.read_bytes()[:16] + b"somebody" + file.read_bytes()[24:])


@pytest.mark.parametrize("damage", [Path.unlink, cut, scribble, swap_with_old])
@pytest.mark.parametrize("suffix", [".f16", ".ids"])
@pytest.mark.parametrize("repaired_by", ["query", "index"])
def test_lost_or_damaged_vector_files_change_no_answer(
    library: Library,
    photos: Path,
    damage: Callable[[Path], None],
    suffix: str,
    repaired_by: str,
) -> None:
    library.index([photos])
    before = library.query("a dog", ALL)
    (file,) = (library.folder / "vectors").glob("*" + suffix)
    damage(file)
    if repaired_by == "index":
        library.index()
    with library.twin() as opened_since:
        assert opened_since.query("a dog", ALL) == before
    assert file.stat().st_size > 0


def test_a_catalog_from_a_backup_is_believed_over_newer_vectors(
    library: Library, photos: Path, spec: str, encoder: Counting
) -> None:
    library.index([photos])
    library.close()
    backup = library.folder.with_name("backup.db")
    shutil.copy(library.folder / "catalog.db", backup)
    paint(photos / "new.jpg", 100)
    with open_with(encoder, library.folder, spec) as newer:
        newer.index()
    shutil.copy(backup, library.folder / "catalog.db")
    with open_with(encoder, library.folder, spec) as restored:
        assert len(held(restored)) == 12
        paint(photos / "new.jpg", 101)
        paint(photos / "newer.jpg", 102)
        restored.index()
        agrees_with_disk(restored, photos, encoder)


# In the long run


class Disk:
    """A folder of photos that a person works in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = 0
        self.draw("keeper.jpg", 0)  # a folder that is suddenly empty is a case of its own

    def draw(self, name: str, seed: int) -> None:
        picture(seed, (64 + seed % 7, 48)).save(self.folder / name)
        self._tick(name)

    def spoil(self, name: str, seed: int) -> None:
        (self.folder / name).write_bytes(b"no picture" * (1 + seed % 3))
        self._tick(name)

    def copy(self, name: str, seed: int) -> None:
        if (self.folder / name).exists() and name != self._name(seed):
            shutil.copy(self.folder / name, self.folder / self._name(seed))
            self._tick(self._name(seed))

    def move(self, name: str, seed: int) -> None:
        if (self.folder / name).exists():
            (self.folder / name).rename(self.folder / self._name(seed))

    def swap(self, name: str, seed: int) -> None:
        one, two = self.folder / name, self.folder / self._name(seed)
        if one != two and one.exists() and two.exists():
            swap(one, two)

    def delete(self, name: str, seed: int) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def _name(self, seed: int) -> str:
        return f"{seed % 6}.png"

    def _tick(self, name: str) -> None:
        # Two writes within the tick of the disk's clock must differ here too.
        self.clock += 1
        os.utime(self.folder / name, ns=(self.clock, self.clock))


deeds = st.tuples(
    st.sampled_from(["draw", "draw", "spoil", "copy", "move", "swap", "delete", "index", "stop"]),
    st.integers(0, 5),
    st.integers(1, 12),
)


@pytest.mark.thorough
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(st.lists(deeds, min_size=12, max_size=24))
def test_whatever_happens_to_the_files_the_index_ends_equal_to_them(
    spec: str, loaded: Encoder, story: list[tuple[str, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name, "photos")).mkdir()
        disk = Disk(folder)
        with open_with(loaded, Path(name, "index"), spec) as library:
            library.index([folder])
            for deed, place, seed in story:
                if deed == "index":
                    library.index(batch_size=1)
                    agrees_with_disk(library, folder, loaded)
                elif deed == "stop":
                    library.index(batch_size=1, stopping=lambda: True)
                else:
                    getattr(disk, deed)(f"{place}.png", seed)
            library.index()
            agrees_with_disk(library, folder, loaded)


def agrees_with_disk(library: Library, folder: Path, encoder: Any) -> None:
    """The catalog holds each readable file with its own digest, facts and vector, and no other."""
    good, bad = {}, set()
    for file in filter(Path.is_file, folder.rglob("*")):
        try:
            with Image.open(file) as image:
                good[file] = image.width
        except OSError:
            bad.add(str(file))
    assert {path: hit.facts.width for path, hit in held(library).items()} == good
    assert {path for path, _ in library.status().failures} == bad
    rows = stored(library.folder)
    for file in good:
        digest, vector = rows[file.relative_to(folder).as_posix()]
        assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
        np.testing.assert_allclose(vector, embed(encoder, file), atol=1e-3)


def stored(index: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Digest and vector of each photo, read as another program would."""
    with sqlite3.connect(index / "catalog.db") as db:
        rows = db.execute("SELECT path, digest, vector FROM photos JOIN vectors USING (digest)")
        found = {path: (digest, np.frombuffer(row, np.float16)) for path, digest, row in rows}
    db.close()
    return found


def embed(encoder: Any, file: Path) -> np.ndarray:
    image = decode(file.read_bytes(), min_side=encoder.resolution).image
    return np.asarray(encoder.encode_images(np.stack([encoder.prepare(image)]))[0])


def test_another_process_sees_how_far_a_run_is(index: Path, photos: Path, clipsearch: Run) -> None:
    said: list[str] = []

    def look(done: int, total: int) -> None:
        if not said:  # later ones are written once a second
            said.append(clipsearch("status", "--index", index).stdout)
            said.append(f"indexing  {done} of {total} files, ")

    with open_tiny(index) as library:
        library.index([photos], batch_size=4, progress=look)
        assert library.status().indexing is None
    status, expected = said
    assert expected in status


def test_a_run_that_was_killed_is_not_said_to_go_on(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
        told = index / "index.progress"
        told.write_text('{"done": 3, "total": 12, "begun": 1}')
        assert library.status().indexing is None
        with write_lock(index):
            assert library.status().indexing is not None
            told.write_text("half a li")
            assert library.status().indexing is None
