"""Walking a folder finds every photo once, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsearch import InvalidInput
from clipsearch.photos.scanning.listing import Found
from clipsearch.photos.scanning.names import (
    EXTENSIONS,
    PASSED_OVER,
    is_photo_name,
    is_skipped_folder,
)
from clipsearch.photos.scanning.rules import IGNORE_FILE, ScanRules
from clipsearch.photos.scanning.walk import walk, walk_folders

DEEPER_THAN_RECURSION = 1200  # Python stops at 1000 calls


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def unexpected(path: str, error: OSError) -> None:
    raise AssertionError(f"{path}: {error}")


def found_in(root: Path, below: str = "") -> list[str]:
    return sorted(found.path for found in walk(str(root), below, unexpected))


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_an_extension_counts_in_any_case(case: object, extension: str, tmp_path: Path) -> None:
    name = "photo" + case(extension)  # type: ignore[operator]
    touch(tmp_path / name)
    assert found_in(tmp_path) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt", "video.mp4", "jpg", "photo.jpg.part", "photo.jpg~", "photo", "photo.",
        ".jpg", "._x.jpg", ".hidden.jpg", "Thumbs.db", "photo.jpg.xmp",
    ],
)  # fmt: skip
def test_other_and_hidden_files_are_no_photos(name: str, tmp_path: Path) -> None:
    touch(tmp_path / name)
    assert not is_photo_name(name)
    assert found_in(tmp_path) == []


@pytest.mark.parametrize(
    "folder",
    [
        ".thumbnails", ".git", "@eaDir", "@EADIR", "#recycle", "$RECYCLE.BIN", "node_modules",
        "__MACOSX", "lost+found", "System Volume Information", "__pycache__",
    ],
)  # fmt: skip
def test_folders_that_hold_no_photos_of_anybody_are_skipped(folder: str, tmp_path: Path) -> None:
    touch(tmp_path / folder / "inner" / "a.jpg")
    touch(tmp_path / "b.jpg")
    assert is_skipped_folder(folder)
    assert found_in(tmp_path) == ["b.jpg"]


def test_a_folder_named_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "album.jpg" / "a.jpg")
    assert found_in(tmp_path) == ["album.jpg/a.jpg"]


def test_photos_come_with_their_size_and_time(tmp_path: Path) -> None:
    file = touch(tmp_path / "trip" / "a.jpg", b"12345")
    os.utime(file, ns=(1, 1_700_000_000_123_456_789))
    (found,) = walk(str(tmp_path), "", lambda path, error: None)
    assert found == Found("trip/a.jpg", 5, file.stat().st_mtime_ns)


def test_a_part_of_a_root_gives_paths_below_the_root(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "trip" / "day" / "b.jpg")
    touch(tmp_path / "trips" / "c.jpg")
    assert found_in(tmp_path, "trip") == ["trip/day/b.jpg"]
    assert found_in(tmp_path, "trip/day") == ["trip/day/b.jpg"]


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert found_in(tmp_path) == []


# Links


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path / "trip" / "a.jpg")
    (tmp_path / "trip" / "back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "itself").symlink_to("itself")
    assert found_in(tmp_path) == ["trip/a.jpg"]


def test_links_to_files_are_not_followed(tmp_path: Path) -> None:
    file = touch(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to(file)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    assert found_in(tmp_path) == ["a.jpg"]


def test_a_root_that_is_itself_a_link_is_walked(tmp_path: Path) -> None:
    touch(tmp_path / "true" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "true", target_is_directory=True)
    assert found_in(tmp_path / "link") == ["a.jpg"]


def test_what_only_looks_like_a_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.jpg"))
        assert found_in(tmp_path) == []


# Names


@pytest.mark.parametrize(
    "name",
    [
        "two\nlines.jpg", "tab\t.jpg", "a b.jpg", "-rf.jpg", "猫.jpg", "e\u0301te.jpg", "été.jpg",
        "back\\slash.jpg", "quote'\".jpg", "%20.jpg", "*.jpg", "a" * 250 + ".jpg",
    ],
)  # fmt: skip
def test_strange_names_are_found(name: str, tmp_path: Path) -> None:
    touch(tmp_path / name)
    assert found_in(tmp_path) == [name]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "fsencode"), reason="names are text here")
def test_names_that_are_not_utf_8_are_found(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with open(folder + b"/\xff.JPG", "wb") as file:
        file.write(b"x")
    (found,) = found_in(tmp_path)
    assert os.fsencode(found) == b"caf\xe9/\xff.JPG"


# Folders that cannot be read


def test_a_folder_that_vanishes_is_reported_and_the_rest_still_found(tmp_path: Path) -> None:
    touch(tmp_path / "first.jpg")
    for name in ("kept", "vanishing"):
        touch(tmp_path / name / "a.jpg")
    reported: list[tuple[str, OSError]] = []
    photos = walk(str(tmp_path), "", lambda path, error: reported.append((path, error)))
    seen = [next(photos)]
    shutil.rmtree(tmp_path / "vanishing")
    seen += photos
    assert sorted(found.path for found in seen) == ["first.jpg", "kept/a.jpg"]
    ((path, error),) = reported
    assert (path, type(error)) == ("vanishing", FileNotFoundError)


def test_a_root_that_is_missing_is_reported(tmp_path: Path) -> None:
    reported: list[str] = []
    assert not list(walk(str(tmp_path / "gone"), "", lambda path, error: reported.append(path)))
    assert reported == [""]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_folder_without_permission_is_reported_and_the_rest_still_found(tmp_path: Path) -> None:
    closed = touch(tmp_path / "closed" / "a.jpg").parent
    touch(tmp_path / "open" / "b.jpg")
    reported: list[str] = []
    closed.chmod(0)
    try:
        found = [it.path for it in walk(str(tmp_path), "", lambda path, _: reported.append(path))]
    finally:
        closed.chmod(0o700)
    assert (found, reported) == (["open/b.jpg"], ["closed"])


# Depth


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A photo at the bottom of a tree deeper than Python's recursion limit."""
    folders = [tmp_path / "deep"]
    for _ in range(DEEPER_THAN_RECURSION):
        folders.append(folders[-1] / "d")
    for folder in folders:
        folder.mkdir()
    photo = touch(folders[-1] / "a.jpg")
    yield folders[0]
    photo.unlink()
    for folder in reversed(folders):  # shutil.rmtree would recurse
        folder.rmdir()


def test_a_tree_may_be_deeper_than_pythons_recursion_limit(deep: Path) -> None:
    assert found_in(deep) == ["d/" * DEEPER_THAN_RECURSION + "a.jpg"]


# Links that are followed

FOLLOW = ScanRules(follow_links=True)


def found_by(root: Path, rules: ScanRules | None, below: str = "", *elsewhere: Path) -> list[str]:
    def unexpected(path: str, error: OSError) -> None:
        raise AssertionError(f"{path}: {error}")

    return sorted(
        it.path for it in walk(str(root), below, unexpected, rules, [*map(str, elsewhere)])
    )


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_followed_links_to_folders_and_files_show_what_is_there(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    touch(away / "trip" / "day" / "a.jpg")
    touch(away / "single.jpg")
    link(root / "linked", away / "trip")
    link(root / "b.jpg", away / "single.jpg")
    assert found_by(root, FOLLOW) == ["b.jpg", "linked/day/a.jpg"]
    assert found_by(root, ScanRules()) == []


def test_a_file_with_several_names_comes_once_under_its_own(tmp_path: Path) -> None:
    touch(tmp_path / "z" / "own.jpg")
    link(tmp_path / "a.jpg", tmp_path / "z" / "own.jpg")
    link(tmp_path / "b", tmp_path / "z")
    assert found_by(tmp_path, FOLLOW) == ["z/own.jpg"]


def test_a_file_outside_with_several_links_comes_once_under_the_first(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    touch(away / "own.jpg")
    for name in ("c.jpg", "a.jpg", "b.jpg"):
        link(root / name, away / "own.jpg")
    link(root / "d", away)
    assert found_by(root, FOLLOW) == ["a.jpg"]


def test_loops_of_followed_links_end(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    touch(root / "trip" / "a.jpg")
    touch(away / "b.jpg")
    link(root / "trip" / "back", root)
    link(root / "out", away)
    link(away / "and back", root)
    link(away / "here", away)
    link(root / "up", tmp_path)
    assert found_by(root, FOLLOW) == ["out/b.jpg", "trip/a.jpg"]


def test_hard_links_are_copies_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").hardlink_to(touch(tmp_path / "a.jpg"))
    assert found_by(tmp_path, FOLLOW) == ["a.jpg", "b.jpg"]


def test_links_into_another_indexed_folder_are_left_to_it(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "outer" / "other"
    touch(other / "a.jpg")
    touch(tmp_path / "outer" / "b.jpg")
    link(root / "a.jpg", other / "a.jpg")
    link(root / "linked", other)
    link(root / "outer", tmp_path / "outer")
    assert found_by(root, FOLLOW, "", other) == ["outer/b.jpg"]


def test_a_link_to_another_part_of_the_root_is_left_to_that(tmp_path: Path) -> None:
    touch(tmp_path / "trip" / "a.jpg")
    touch(tmp_path / "other" / "b.jpg")
    link(tmp_path / "trip" / "linked", tmp_path / "other")
    assert found_by(tmp_path, FOLLOW, "trip") == ["trip/a.jpg"]


def test_a_followed_link_to_a_drive_that_is_away_is_reported(tmp_path: Path) -> None:
    link(tmp_path / "album", tmp_path / "unplugged" / "album")
    link(tmp_path / "a.jpg", tmp_path / "unplugged" / "a.jpg")
    link(tmp_path / "deleted.jpg", tmp_path / "deleted too.jpg")
    reported: list[str] = []
    assert not list(walk(str(tmp_path), "", lambda path, _: reported.append(path), FOLLOW))
    assert sorted(reported) == ["a.jpg", "album"]


def test_a_followed_link_to_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    link(tmp_path / "root" / "a.jpg", tmp_path / "pipe")
    link(tmp_path / "root" / "b.jpg", Path("/dev/zero"))
    assert found_by(tmp_path / "root", FOLLOW) == []


# Patterns


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A few photos in folders."""
    for name in ("a.jpg", "b.png", "trip/a.jpg", "trip/day/c.PNG", "raw/d.jpg"):
        touch(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (("*.png",), ["a.jpg", "raw/d.jpg", "trip/a.jpg", "trip/day/c.PNG"]),
        (("raw/", "/a.jpg"), ["b.png", "trip/a.jpg", "trip/day/c.PNG"]),
        (("a.jpg", "!/trip/a.jpg"), ["b.png", "raw/d.jpg", "trip/a.jpg", "trip/day/c.PNG"]),
        (("trip/**/*.PNG",), ["a.jpg", "b.png", "raw/d.jpg", "trip/a.jpg"]),
        (("*",), []),
    ],
)
def test_what_is_excluded_is_left_out(
    album: Path, exclude: tuple[str, ...], left: list[str]
) -> None:
    assert found_by(album, ScanRules(exclude=exclude)) == left


def test_only_what_is_included_is_taken(album: Path) -> None:
    assert found_by(album, ScanRules(include=("trip/",))) == ["trip/a.jpg", "trip/day/c.PNG"]
    assert found_by(album, ScanRules(include=("a.jpg",), exclude=("trip",))) == ["a.jpg"]


@pytest.mark.parametrize("pattern", ["!", "\\"])
def test_a_pattern_that_means_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="is no pattern"):
        ScanRules(exclude=(pattern,))


def test_ignore_files_hold_for_their_folder_and_add_up(album: Path) -> None:
    touch(album / IGNORE_FILE, b"# a remark\n*.png\n*.PNG\n!\n")
    touch(album / "trip" / IGNORE_FILE, b"/a.jpg\n!c.PNG\n")
    assert found_by(album, ScanRules()) == ["a.jpg", "raw/d.jpg", "trip/day/c.PNG"]
    assert len(found_by(album, None)) == 5


def test_ignore_files_above_hold_for_a_part_of_a_root(album: Path) -> None:
    touch(album / IGNORE_FILE, b"day\n")
    assert found_by(album, ScanRules(), "trip") == ["trip/a.jpg"]
    assert found_by(album, ScanRules(), "trip/day") == []


def test_an_ignore_file_that_is_no_file_is_not_opened(album: Path) -> None:
    os.mkfifo(album / IGNORE_FILE)
    (album / "trip" / IGNORE_FILE).mkdir()
    assert len(found_by(album, ScanRules())) == 5


# RAW files


def test_a_raw_file_beside_its_jpeg_is_the_same_photo(tmp_path: Path) -> None:
    for name in ("IMG_1.CR2", "IMG_1.JPG", "IMG_2.CR2", "IMG_3.dng", "sub/IMG_2.JPG", "IMG_3.png"):
        touch(tmp_path / name)
    taken = ["IMG_1.JPG", "IMG_2.CR2", "IMG_3.dng", "IMG_3.png", "sub/IMG_2.JPG"]
    assert found_by(tmp_path, ScanRules()) == taken
    assert found_by(tmp_path, ScanRules(raw_too=True)) == sorted([*taken, "IMG_1.CR2"])


def test_a_raw_file_whose_jpeg_is_left_out_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "IMG_1.CR2")
    touch(tmp_path / "IMG_1.JPG")
    assert found_by(tmp_path, ScanRules(exclude=("*.JPG",))) == ["IMG_1.CR2"]


@pytest.mark.parametrize(
    "extension", ["NRW", "rwl", "3FR", "x3f", "mrw", "SR2", "kdc", "erf", "iiq"]
)
def test_a_raw_file_of_any_camera_is_the_photo_of_its_jpeg(extension: str, tmp_path: Path) -> None:
    touch(tmp_path / f"IMG_1.{extension}")
    assert found_by(tmp_path, ScanRules()) == [f"IMG_1.{extension}"]
    touch(tmp_path / "IMG_1.JPG")
    assert found_by(tmp_path, ScanRules()) == ["IMG_1.JPG"]


def test_a_thumbnail_beside_its_picture_is_no_photo_of_its_own(tmp_path: Path) -> None:
    for name in ("CRW_1.CRW", "CRW_1.THM", "IMG_2.JPG", "IMG_2.THM", "MVI_3.AVI", "MVI_3.THM"):
        touch(tmp_path / name)
    taken = ["CRW_1.CRW", "IMG_2.JPG", "MVI_3.THM"]
    assert found_by(tmp_path, ScanRules()) == taken
    assert found_by(tmp_path, ScanRules(raw_too=True)) == taken


# What is passed over


def test_pictures_of_kinds_that_are_not_read_are_told(tmp_path: Path) -> None:
    for name in ("a.PSD", "trip/b.jxl", "._a.psd", ".trash/c.psd", "draft/d.psd"):
        touch(tmp_path / name)
    for name in ("a.txt", "a.jpg.xmp", "a.AAE", "Thumbs.db", "a.mp4", "a.pdf", "a.jpg"):
        touch(tmp_path / name)
    (tmp_path / "folder.psd").mkdir()
    told: list[str] = []
    rules = ScanRules(exclude=("draft/",))
    found = list(walk_folders(str(tmp_path), "", unexpected, rules, on_passed_over=told.append))
    assert [photo.path for photos in found for photo in photos] == ["a.jpg"]
    assert sorted(told) == ["a.PSD", "trip/b.jxl"]


def test_nothing_is_both_read_and_passed_over() -> None:
    assert not EXTENSIONS & PASSED_OVER
