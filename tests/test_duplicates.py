"""Duplicates in three kinds that are never mixed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from tiny import TinyEncoder, open_tiny

from clipsearch import Group, InvalidInput, Library
from clipsearch.photos.decoding.phash import perceptual_hash
from clipsearch.search.duplicates import pictures
from clipsearch.search.duplicates.groups import Kind
from clipsearch.search.duplicates.hamming import RADIUS, near_pairs
from clipsearch.store.catalog import PhotoFile
from clipsearch.store.lock import write_lock

PHOTOGRAPHS = ["astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for photos."""
    (place := tmp_path / "photos").mkdir()
    return place


@pytest.fixture
def library(index: Path) -> Iterator[Library]:
    """A new library whose model is the tiny one."""
    with open_tiny(index) as library:
        yield library


def names(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    return [(group.kind, [photo.path.name for photo in group.photos]) for group in groups]


def sets(groups: Sequence[Group]) -> list[set[str]]:
    return [{photo.path.name for photo in group.photos} for group in groups]


def found(library: Library, folder: Path, *kinds: str, within: float = 60) -> list[Group]:
    library.index([folder])
    chosen = kinds or ("bytes", "pictures", "shots")
    return library.duplicates(chosen, within=within)  # type: ignore[arg-type]


def save(image: Image.Image, file: Path, taken: str | None = None) -> None:
    exif = Image.Exif()
    if taken:
        exif[306] = f"2024:05:01 {taken}"
    image.save(file, quality=90, exif=exif)


# The same bytes


def test_files_with_the_same_bytes_are_a_group_that_would_keep_the_oldest(
    library: Library, folder: Path
) -> None:
    picture(1).save(folder / "new.jpg")
    for name, age in {"old.jpg": 300, "older.jpg": 500}.items():
        shutil.copy(folder / "new.jpg", folder / name)
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    picture(2).save(folder / "other.jpg")
    (group,) = found(library, folder)
    assert names([group]) == [("bytes", ["older.jpg", "old.jpg", "new.jpg"])]
    assert group.freed == 2 * (folder / "new.jpg").stat().st_size
    assert sorted(os.listdir(folder)) == ["new.jpg", "old.jpg", "older.jpg", "other.jpg"]


def test_groups_that_free_more_come_first(library: Library, folder: Path) -> None:
    for name, size in {"small": (64, 48), "large": (640, 480), "middle": (320, 240)}.items():
        picture(1 + len(name), size).save(folder / f"{name}.png")
        shutil.copy(folder / f"{name}.png", folder / f"{name} copy.png")
    freed = [group.freed for group in found(library, folder, "bytes")]
    assert freed == sorted(freed, reverse=True)
    assert len(set(freed)) == 3


# What is on the disk at that moment


def three_of(kind: str, folder: Path) -> list[Path]:
    """Three photos that are a group of a kind, the one to keep first."""
    files = [folder / f"{name}.jpg" for name in "abc"]
    image = picture(1, (640, 480))
    for number, file in enumerate(files):
        frame = image
        if kind == "pictures":
            frame = image.resize((640 - 160 * number, 480 - 120 * number))
        elif kind == "shots":
            frame = image.crop((number * 9, 0, 600 + number * 9 - number, 450))
        save(frame, file, f"10:00:0{number}" if kind == "shots" else None)
        os.utime(file, (1e9 + number, 1e9 + number))
    return files


def vanish(file: Path) -> None:
    file.unlink()


def change(file: Path) -> None:
    picture(9, (800, 600)).save(file)


def touch(file: Path) -> None:
    os.utime(file, (2e9, 2e9))


def become_a_link(file: Path) -> None:
    shutil.copy2(file, file.with_suffix(".kept"))
    file.unlink()
    file.symlink_to(file.with_suffix(".kept"))


def become_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("kind", ["bytes", "pictures", "shots"])
@pytest.mark.parametrize("lose", [vanish, change, touch, become_a_link, become_a_folder])
def test_what_is_not_there_as_it_was_indexed_is_in_no_group(
    library: Library,
    folder: Path,
    kind: Kind,
    lose: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept, second, third = three_of(kind, folder)
    library.index([folder])
    (group,) = library.duplicates([kind])
    assert [photo.path for photo in group.photos] == [kept, second, third]
    lose(kept)
    (group,) = library.duplicates([kind])
    assert [photo.path for photo in group.photos] == [second, third]
    assert group.freed == third.stat().st_size
    assert "no copies: 1 photo not there now" in caplog.text
    lose(third)
    assert library.duplicates([kind]) == []
    assert library.duplicates() == []


def test_a_copy_stands_for_a_content_whose_first_file_is_gone(
    library: Library, folder: Path
) -> None:
    """Nor does the file that is gone hide it among pictures and shots."""
    files = three_of("shots", folder)
    for file in files:
        shutil.copy(file, file.with_suffix(".copy.jpg"))
    picture_of = folder / "a small.jpg"
    save(Image.open(files[0]).resize((300, 225)), picture_of, "10:00:00")
    library.index([folder])
    files[0].unlink()
    files[1].unlink()
    assert names(library.duplicates()) == [
        ("bytes", ["c.jpg", "c.copy.jpg"]),
        ("pictures", ["a.copy.jpg", "a small.jpg"]),
        ("shots", ["a.copy.jpg", "b.copy.jpg", "c.jpg"]),
    ]


def test_hard_links_are_one_photo_and_free_nothing(
    library: Library, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(1).save(folder / "a.jpg")
    os.link(folder / "a.jpg", folder / "b.jpg")
    library.index([folder])
    assert library.duplicates() == []
    assert "left out: 1 path," in caplog.text
    shutil.copy(folder / "a.jpg", folder / "c.jpg")
    os.link(folder / "c.jpg", folder / "d.jpg")
    os.utime(folder / "a.jpg", (1e9, 1e9))
    (group,) = found(library, folder)
    kept, other = (photo.path.name for photo in group.photos)
    assert kept in ("a.jpg", "b.jpg")
    assert other in ("c.jpg", "d.jpg")
    assert group.freed == 0  # d.jpg would keep its bytes
    assert [photo.names for photo in group.photos] == [2, 2]
    (folder / "d.jpg").unlink()
    (group,) = library.duplicates()
    assert group.freed == (folder / "c.jpg").stat().st_size


def test_a_link_that_is_followed_is_no_copy_and_is_not_kept_for_one(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    original, copy = tmp_path / "elsewhere" / "original.jpg", folder / "copy.jpg"
    picture(1).save(original)
    os.utime(original, (1e9, 1e9))
    shutil.copy(original, copy)
    (folder / "link.jpg").symlink_to(original)
    library.index([folder], follow_links=True)
    (group,) = library.duplicates()
    assert names([group]) == [("bytes", ["copy.jpg", "link.jpg"])]
    assert group.freed == 0
    library.index([original.parent])
    copy.unlink()
    assert library.duplicates() == []


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """Something mounted for a while; only root may."""
    command = ["mount", *map(str, arguments)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(arguments[-1])], check=True)


def test_a_folder_that_is_seen_at_two_places_has_no_copies(
    library: Library, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (view := tmp_path / "view").mkdir()
    picture(1).save(folder / "only.jpg")
    with mounted("--bind", folder, view):
        library.index([folder, view])
        assert library.status().photos == 2
        assert library.duplicates() == []
        assert "left out: 1 path," in caplog.text
        picture(1).save(folder / "copy.jpg")
        library.index()
        (group,) = library.duplicates()
        assert {photo.path.name for photo in group.photos} == {"only.jpg", "copy.jpg"}
    assert len(library.duplicates()[0].photos) == 2
    (folder / "copy.jpg").unlink()
    assert library.duplicates() == []


def test_a_folder_below_an_overlay_has_no_copies_in_it(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    picture(1).save(folder / "only.jpg")
    for name in ("upper", "work", "view"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={folder},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    with mounted("-t", "overlay", "overlay", "-o", layers, tmp_path / "view"):
        library.index([folder, tmp_path / "view"])
        assert library.status().photos == 2
        assert library.duplicates() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_cannot_be_read_is_not_kept(
    library: Library,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        kept, second, third = three_of("bytes", folder)
        library.index([folder])
        kept.chmod(0)
        os.seteuid(65534)
        try:
            (group,) = library.duplicates(["bytes"])
        finally:
            os.seteuid(0)
    assert [photo.path for photo in group.photos] == [second, third]


# The same picture


def test_copies_of_a_picture_are_a_group_that_would_keep_the_largest(
    library: Library, folder: Path
) -> None:
    for seed in range(8):
        picture(seed, (640, 480)).save(folder / f"{seed}.png")
    image = picture(3, (640, 480))
    image.resize((320, 240)).save(folder / "half.png")
    image.save(folder / "jpeg.jpg", quality=60)
    ImageEnhance.Brightness(image).enhance(1.1).save(folder / "brighter.webp")
    (group,) = found(library, folder)
    assert group.kind == "pictures"
    assert sets([group]) == [{"3.png", "half.png", "jpeg.jpg", "brighter.webp"}]
    assert group.photos[0].path.name == "3.png"  # as large as two others, and the largest file
    assert group.photos[-1].path.name == "half.png"


def test_copies_of_real_photographs_are_found_and_nothing_else(
    library: Library, folder: Path
) -> None:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-image is not installed")
    for name in PHOTOGRAPHS:
        image = Image.open(Path(spec.origin).parent / "data" / name).convert("RGB")
        image.save(folder / f"{name}.full.png")
        image.save(folder / f"{name}.low.jpg", quality=40)
        image.resize((image.width // 3, image.height // 3)).save(folder / f"{name}.small.jpg")
        ImageEnhance.Color(image).enhance(1.3).save(folder / f"{name}.vivid.jpg")
        ImageOps.mirror(image).save(folder / f"{name}.mirrored.png")
    groups = found(library, folder)
    kinds = ("full.png", "low.jpg", "small.jpg", "vivid.jpg")
    assert sorted(sets(groups), key=min) == [{f"{n}.{kind}" for kind in kinds} for n in PHOTOGRAPHS]


def test_a_picture_that_exif_turns_is_the_same_as_its_upright_copy(
    library: Library, folder: Path
) -> None:
    image = picture(1)
    image.save(folder / "upright.jpg")
    exif = Image.Exif()
    exif[274] = 6  # to be turned right by a quarter
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif)
    assert sets(found(library, folder)) == [{"upright.jpg", "turned.jpg"}]


def test_plain_pictures_are_never_the_same(library: Library, folder: Path) -> None:
    ramp = np.linspace(0, 255, 320)[None, :].repeat(240, 0)
    plain = {
        "black": np.zeros((240, 320)),
        "nearly black": np.random.default_rng(1).integers(0, 4, (240, 320)),
        "grey": np.full((240, 320), 128),
        "white": np.full((240, 320), 255),
        "gradient": ramp,
        "darker gradient": ramp * 0.8,
        "steeper gradient": np.clip(ramp * 1.2, 0, 255),
    }
    for name, pixels in plain.items():
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(folder / f"{name}.png")
        image.save(folder / f"{name}.jpg", quality=60)
    assert found(library, folder, "pictures") == []


def test_a_stretched_copy_is_not_the_same_picture(library: Library, folder: Path) -> None:
    picture(1).save(folder / "one.png")
    picture(1).resize((240, 240)).save(folder / "square.png")
    picture(1).resize((319, 240)).save(folder / "near.png")
    assert sets(found(library, folder)) == [{"one.png", "near.png"}]


class Disagreeing(TinyEncoder):
    """Sees in a picture's size alone what it shows: a small one is the opposite of a large."""

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        rows = super().encode_images(batch)
        return np.where(np.arange(len(rows))[:, None] % 2, -rows, rows)


def test_a_pair_that_the_embeddings_do_not_confirm_is_no_group(index: Path, folder: Path) -> None:
    picture(1).save(folder / "1.png")
    picture(1).resize((160, 120)).save(folder / "2.png")
    with Library.open(index, model="pocket", encoder=Disagreeing()) as library:
        assert found(library, folder) == []
    with open_tiny(index.with_name("agreeing")) as library:
        assert sets(found(library, folder)) == [{"1.png", "2.png"}]


def test_a_file_stands_for_its_byte_copies_among_pictures(library: Library, folder: Path) -> None:
    picture(1).save(folder / "full.png")
    picture(1).save(folder / "b.jpg")
    shutil.copy(folder / "b.jpg", folder / "a.jpg")
    os.utime(folder / "b.jpg", (1e9, 1e9))
    groups = found(library, folder)
    assert names(groups) == [
        ("bytes", ["b.jpg", "a.jpg"]),
        ("pictures", ["full.png", "b.jpg"]),
    ]
    assert groups[1].freed == (folder / "b.jpg").stat().st_size


# Similar shots


def burst(folder: Path) -> None:
    """Three shots of one thing within seconds, one an hour later, one of another thing."""
    for number, taken in enumerate(["10:00:00", "10:00:02", "10:00:30", "11:00:00"]):
        frame = picture(1, (640, 480)).crop((number * 9, 0, 600 + number * 9, 450))
        save(frame, folder / f"{number}.jpg", taken)
    save(picture(5), folder / "other.jpg", "10:00:01")


def test_shots_are_similar_if_they_look_alike_and_are_close_in_time(
    library: Library, folder: Path
) -> None:
    burst(folder)
    assert sets(found(library, folder)) == [{"0.jpg", "1.jpg", "2.jpg"}]
    assert [group.kind for group in library.duplicates()] == ["shots"]
    assert sets(found(library, folder, within=2)) == [{"0.jpg", "1.jpg"}]
    assert sets(found(library, folder, within=4000)) == [{"0.jpg", "1.jpg", "2.jpg", "3.jpg"}]


def test_two_exposures_are_two_shots_though_they_look_the_same(
    library: Library, folder: Path
) -> None:
    save(picture(1), folder / "first.jpg", "10:00:00")
    save(ImageEnhance.Brightness(picture(1)).enhance(1.05), folder / "second.jpg", "10:00:01")
    assert [group.kind for group in found(library, folder)] == ["shots"]


def test_a_copy_without_a_time_goes_with_one_exposure_and_does_not_join_two(
    library: Library, folder: Path
) -> None:
    save(picture(1), folder / "first.jpg", "10:00:00")
    save(ImageEnhance.Contrast(picture(1)).enhance(1.3), folder / "second.jpg", "10:00:01")
    save(picture(1).resize((160, 120)), folder / "sent.jpg")
    groups = found(library, folder)
    kinds = {group.kind: {photo.path.name for photo in group.photos} for group in groups}
    assert kinds.keys() == {"pictures", "shots"}
    assert len(kinds["pictures"]) == 2
    assert "sent.jpg" in kinds["pictures"]
    assert kinds["shots"] == {"first.jpg", "second.jpg"}


def test_the_time_of_a_file_is_no_time_of_a_shot(library: Library, folder: Path) -> None:
    for number in range(2):
        picture(1, (640, 480)).crop((number * 40, 0, 600, 450)).save(folder / f"{number}.jpg")
        os.utime(folder / f"{number}.jpg", (1e9, 1e9))
    assert found(library, folder, "shots") == []


def test_many_shots_are_compared_across_blocks(library: Library, folder: Path) -> None:
    for number in range(300):
        taken = f"{number // 60:02}:{number % 60:02}:00"
        save(picture(number // 2, (32, 24)), folder / f"{number}.png", taken)
    groups = found(library, folder, "shots")
    assert len([s for s in sets(groups) if s >= {"254.png", "255.png"}]) == 1
    assert {f"{n}.png" for n in range(300)} == set().union(*sets(groups))


# Perceptual hashes


def hashes(index: Path) -> dict[str, bytes]:
    with sqlite3.connect(index / "catalog.db") as db:
        return dict(db.execute("SELECT digest, phash FROM pictures"))


def lose_hashes(index: Path) -> None:
    with sqlite3.connect(index / "catalog.db") as db:
        db.execute("DELETE FROM pictures")


def test_indexing_keeps_a_hash_of_each_content_and_forgetting_drops_it(
    library: Library, folder: Path, index: Path
) -> None:
    picture(1).save(folder / "one.png")
    shutil.copy(folder / "one.png", folder / "copy.png")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    library.index([folder])
    assert sorted(hashes(index).values()) == [b"", perceptual_hash(picture(1))]
    library.forget(folder / "one.png")
    assert len(hashes(index)) == 2
    library.forget(folder, keep_for=0)
    assert hashes(index) == {}


@pytest.mark.parametrize("isolated", [True, False])
def test_photos_indexed_without_hashes_are_read_for_them_once(
    library: Library, folder: Path, index: Path, isolated: bool
) -> None:
    for seed in range(3):
        picture(seed).save(folder / f"{seed}.png")
        picture(seed).save(folder / f"{seed}.jpg")
    expected = found(library, folder)
    before = hashes(index)
    lose_hashes(index)
    seen: list[tuple[int, int]] = []
    again = library.duplicates(isolated=isolated, progress=lambda *state: seen.append(state))
    assert again == expected
    assert len(again) == 3
    assert hashes(index) == before
    assert seen == [(done, 6) for done in range(7)]


def test_while_another_process_writes_it_answers_and_remembers_nothing(
    library: Library, folder: Path, index: Path
) -> None:
    picture(1).save(folder / "1.png")
    picture(1).save(folder / "1.jpg")
    expected = found(library, folder)
    lose_hashes(index)
    with write_lock(index):
        assert library.duplicates() == expected
    assert len(expected) == 1
    assert hashes(index) == {}


def test_a_file_that_is_gone_or_changed_is_left_out_and_told_of(
    library: Library, folder: Path, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(3):
        picture(seed).save(folder / f"{seed}.png")
        picture(seed).save(folder / f"{seed}.jpg")
    library.index([folder])
    lose_hashes(index)
    (folder / "0.png").unlink()
    picture(7).save(folder / "1.png")
    assert sets(library.duplicates()) == [{"2.png", "2.jpg"}]
    assert "2 photos not there" in caplog.text


def test_the_same_bytes_are_told_without_reading_a_photo(
    library: Library, folder: Path, index: Path
) -> None:
    picture(1).save(folder / "a.png")
    shutil.copy(folder / "a.png", folder / "b.png")
    library.index([folder])
    lose_hashes(index)
    assert len(library.duplicates(["bytes"])) == 1
    assert hashes(index) == {}


def test_near_pairs_are_those_of_a_comparison_of_all_with_all() -> None:
    rng = np.random.default_rng(1)
    few = rng.integers(0, 2**64, 40, np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (40, 12, 6), np.uint64)
    number = rng.integers(0, 7, (40, 12, 1))  # of bits that differ, up to 6
    flips = np.where(np.arange(6) < number, flips, np.uint64(0))
    values = (few[:, None] ^ np.bitwise_xor.reduce(flips, axis=2)).ravel()
    distances = np.bitwise_count(values[:, None] ^ values[None, :])
    expected = np.argwhere(np.triu(distances <= RADIUS, 1))
    given = np.concatenate([np.stack(pairs, 1) for pairs in near_pairs(values)])
    assert sorted(map(tuple, given.tolist())) == [tuple(pair) for pair in expected.tolist()]
    assert len(expected) > 500


@given(
    shades=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    times=st.lists(st.sampled_from([None, None, None, "10:00:00", "10:00:01"]), min_size=30),
    seed=st.integers(0, 99),
    portion=st.sampled_from([1, 3, 1 << 13]),
)
@settings(deadline=None)
def test_the_sets_are_those_that_all_pairs_give_by_the_surest_first(
    shades: list[int], times: list[str | None], seed: int, portion: int
) -> None:
    rng = np.random.default_rng(seed)
    count, there = len(shades), rng.random(len(shades)) < 0.9
    words = rng.integers(0, 2**64, 4, np.uint64)[shades] ^ (
        np.uint64(1) << rng.integers(0, 64, count, np.uint64)
    )
    rows = np.eye(16)[shades] + 0.15 * rng.standard_normal((count, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    files = [PhotoFile(n, f"{n}", 1, 1, 40, 30, times[n]) for n in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "_PAIRS", portion)
        found = pictures.Pictures(
            files,
            {f"{n}": words[n : n + 1].tobytes() for n in range(count)},
            lambda numbers: rows[numbers].astype(np.float32),
            lambda numbers: there[numbers],
        ).leaders()

    cosines = rows.astype(np.float64) @ rows.T
    pairs = [
        (one, other)
        for one, other in combinations(range(count), 2)
        if (words[one] ^ words[other]).item().bit_count() <= RADIUS
        and cosines[one, other] >= pictures.SAME_PICTURE
        and there[one]
        and there[other]
    ]
    pairs.sort(key=lambda pair: -cosines[pair])
    # No two are as sure, for which another order would be as good.
    assume(all(cosines[one] - cosines[other] > 3e-5 for one, other in pairwise(pairs)))
    expected = [{n} for n in range(count)]
    for one, other in pairs:
        joined = expected[one] | expected[other]
        if len({times[n] for n in joined} - {None}) < 2:
            for number in joined:
                expected[number] = joined
    assert found.tolist() == [min(numbers) for numbers in expected]


# The command line


def test_an_empty_index_has_none(library: Library) -> None:
    assert library.duplicates() == []


@pytest.mark.parametrize("kinds", [["photos"], ["bytes", ""]])
def test_a_kind_that_does_not_exist_is_refused(library: Library, kinds: list[str]) -> None:
    with pytest.raises(InvalidInput, match="bytes, pictures, shots"):
        library.duplicates(kinds)  # type: ignore[arg-type]


@pytest.fixture
def three(library: Library, folder: Path) -> Path:
    """An index, closed, with one group of each kind."""
    picture(1).save(folder / "1.png")
    shutil.copy(folder / "1.png", folder / "1 copy.png")
    picture(2).save(folder / "full.png")
    picture(2).save(folder / "full.jpg")
    burst(folder)
    library.index([folder])
    return folder


def test_in_a_pipe_each_photo_is_a_line_and_sums_go_to_stderr(clipsearch: Run, three: Path) -> None:
    run = clipsearch("dupes")
    assert run.returncode == 0
    rows = [line.split("\t") for line in run.stdout.splitlines()]
    size = str((three / "1.png").stat().st_size)
    kept = [row for row in rows if row[2] == "keep"]
    assert [row[:2] for row in kept] == [["1", "bytes"], ["2", "pictures"], ["3", "shots"]]
    assert {tuple(row[3:]) for row in rows if row[0] == "1"} == {
        ("320x240", size, str(three / "1.png")),
        ("320x240", size, str(three / "1 copy.png")),
    }
    assert len(rows) == 2 + 2 + 3
    assert "bytes: 1 group," in run.stderr
    assert "could be freed" in run.stderr


@pytest.mark.parametrize("name", ["-k", "-n", "--limit"])
def test_so_many_groups_are_shown_as_are_asked_for(clipsearch: Run, three: Path, name: str) -> None:
    run = clipsearch("dupes", name, "2")
    assert {line.split("\t")[0] for line in run.stdout.splitlines()} == {"1", "2"}
    assert "clipsearch: these are the first 2 groups of 3: -k 20, or -k all" in run.stderr
    assert len(json.loads(clipsearch("dupes", name, "2", "--json").stdout)) == 2
    assert clipsearch("dupes", name, "all").stdout == clipsearch("dupes").stdout
    assert clipsearch("dupes", name, "0").returncode == 2


@pytest.mark.parametrize("kinds", [["bytes"], ["pictures"], ["shots"], ["bytes", "shots"]])
def test_kinds_can_be_chosen(clipsearch: Run, three: Path, kinds: list[str]) -> None:
    run = clipsearch("dupes", "--json", *(f"--{kind}" for kind in kinds))
    assert [group["kind"] for group in json.loads(run.stdout)] == kinds


def test_json_tells_each_group_and_what_to_keep(clipsearch: Run, three: Path) -> None:
    groups = json.loads(clipsearch("dupes", "--json", "--pictures").stdout)
    (first, second) = groups[0]["photos"]
    assert (first["path"], first["keep"]) == (str(three / "full.png"), True)
    assert (second["path"], second["keep"]) == (str(three / "full.jpg"), False)
    assert groups[0]["freed"] == second["bytes"] == (three / "full.jpg").stat().st_size
    assert (second["width"], second["height"]) == (320, 240)


def test_hard_links_are_told_of_and_not_shown(clipsearch: Run, three: Path) -> None:
    os.link(three / "full.png", three / "link.png")
    assert clipsearch("index").returncode == 0
    run = clipsearch("dupes", "--bytes", "--json")
    (group,) = json.loads(run.stdout)
    assert {Path(photo["path"]).name for photo in group["photos"]} == {"1.png", "1 copy.png"}
    assert [photo["names"] for photo in group["photos"]] == [1, 1]
    assert "left out: 1 path," in run.stderr


def test_where_there_are_none_the_exit_code_is_1(clipsearch: Run, three: Path) -> None:
    run = clipsearch("dupes", "--shots", "--within", "1", "--json")
    assert (run.returncode, json.loads(run.stdout)) == (1, [])
    assert "no duplicates" in run.stderr
    assert clipsearch("dupes", "--within", "-1").returncode == 2
