"""What is away is not gone: drives inside folders, folders that moved, and their rules."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

if sys.platform != "win32":
    import pty
    import termios

import pytest
from conftest import Run, all_of, picture
from test_output import without_codes
from test_watch import NO_RIGHTS, eventually, watched
from tiny import open_other

from clipsearch import IndexReport

COUNTS = ("added", "updated", "moved", "removed", "unchanged", "failed")

mounts = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="only root mounts",
)


def did(report: IndexReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in COUNTS if getattr(report, name)}


def run(index: Path, *folders: Path, **how: bool) -> tuple[dict[str, int], tuple[str, ...]]:
    with open_other(index) as library:
        report = library.index(folders, **how)
        return did(report), report.problems


def ids(index: Path) -> dict[str, int]:
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        return dict(
            db.execute(
                "SELECT roots.path || '/' || photos.path, photos.id FROM photos"
                " JOIN roots ON roots.id = root_id"
            )
        )


def put(folder: Path, *seeds: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        picture(seed, (64, 48)).save(folder / f"{seed}.png")


@contextmanager
def mounted(*how: str | Path) -> Iterator[Path]:
    """Mount something for a while, at the last of the arguments."""
    place = Path(how[-1])
    place.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", *map(str, how)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mount: {made.stderr}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def usb(photos: Path) -> Path:
    return photos / "usb"


# A drive inside an indexed folder


@mounts
def test_a_drive_that_goes_and_comes_back_keeps_ids(
    index: Path, photos: Path, usb: Path, tmp_path: Path
) -> None:
    put(tmp_path / "drive" / "DCIM", 100, 101)
    with mounted("--bind", tmp_path / "drive", usb):
        assert run(index, photos) == ({"added": 14}, ())
        before = ids(index)
    counts, (line,) = run(index)
    assert counts == {"unchanged": 12}
    assert line.startswith(f"{usb} is empty where it held 2 photos")
    assert "--prune" in line
    assert "forget" in line
    for how in ({"verify": True}, {"retry": True}, {}):
        assert run(index, **how)[0] == {"unchanged": 12}
    assert run(index, usb)[0] == {}
    with mounted("--bind", tmp_path / "drive", usb):
        assert run(index) == ({"unchanged": 14}, ())
    assert ids(index) == before
    assert run(index, prune=True)[0] == {"removed": 2, "unchanged": 12}
    assert run(index) == ({"unchanged": 12}, ())


@mounts
def test_a_drive_whose_mount_point_is_removed_with_it_is_away(
    index: Path, photos: Path, usb: Path
) -> None:
    with mounted("-t", "tmpfs", "one", usb):
        put(usb, 100, 101)
        run(index, photos)
    usb.rmdir()
    counts, (line,) = run(index)
    assert counts == {"unchanged": 12}
    assert "is missing, with 2 photos" in line


@mounts
def test_what_is_gone_for_good_is_taken_out_by_its_name_alone(
    index: Path, photos: Path, usb: Path, clipsearch: Run
) -> None:
    with mounted("-t", "tmpfs", "one", usb), mounted("-t", "tmpfs", "other", photos / "a card"):
        put(usb, 100)
        put(photos / "a card", 101)
        run(index, photos)
    usb.rmdir()
    (photos / "a card").rmdir()
    lines = clipsearch("index", photos).stderr.splitlines()
    assert len(lines) == 2
    assert f" clipsearch index --prune '{photos / 'a card'}'," in lines[1] + lines[0]
    assert run(index, usb) == ({}, (next(line for line in lines if "usb" in line)[12:],))
    assert run(index, usb, prune=True) == ({"removed": 1}, ())
    assert run(index, photos)[0] == {"unchanged": 12}
    assert clipsearch("index", usb).stderr == f"clipsearch: there is no folder '{usb}'\n"
    assert clipsearch("forget", photos / "a card", "--yes").returncode == 0
    assert run(index, photos) == ({"unchanged": 12}, ())


@mounts
def test_what_lies_beneath_a_mount_does_not_replace_the_drive(
    index: Path, photos: Path, usb: Path, tmp_path: Path
) -> None:
    put(usb, 200)
    put(tmp_path / "drive", 100, 101)
    with mounted("--bind", tmp_path / "drive", usb):
        assert run(index, photos)[0] == {"added": 14}
    counts, (line,) = run(index)
    assert counts == {"added": 1, "unchanged": 12}
    assert "is not mounted" in line
    with mounted("--bind", tmp_path / "drive", usb):
        counts, (line,) = run(index)
        assert counts == {"unchanged": 14}
    assert len(ids(index)) == 15


@mounts
def test_a_drive_over_a_folder_with_photos_hides_them(index: Path, photos: Path, usb: Path) -> None:
    put(usb, 200, 201)
    assert run(index, photos)[0] == {"added": 14}
    with mounted("-t", "tmpfs", "one", usb):
        put(usb, 100)
        assert run(index)[0] == {"added": 1, "unchanged": 12}
    assert run(index)[0] == {"unchanged": 14}
    assert len(ids(index)) == 15


@mounts
def test_another_drive_at_the_same_place_takes_nothing_of_the_first(
    index: Path, photos: Path, usb: Path
) -> None:
    with mounted("-t", "tmpfs", "one", usb):
        put(usb, 100, 101)
        run(index, photos)
    before = ids(index)
    with mounted("-t", "tmpfs", "other", usb):
        put(usb, 102)
        picture(103, (64, 48)).save(usb / "100.png")  # of the same name
        for _ in range(2):
            assert "removed" not in run(index)[0]
    after = ids(index)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    run(index)
    assert ids(index) == after


@mounts
def test_another_drive_in_the_place_of_a_root_takes_nothing_of_the_first(
    index: Path, tmp_path: Path
) -> None:
    place = tmp_path / "stick"
    with mounted("-t", "tmpfs", "one", place):
        put(place, 100, 101)
        run(index, place)
    before = ids(index)
    with mounted("-t", "tmpfs", "other", place):
        put(place, 102)
        counts, (line,) = run(index)
        assert counts == {"added": 1}
        assert "another drive" in line
    assert before.items() <= ids(index).items()


@mounts
def test_a_look_at_a_part_of_another_drive_takes_nothing_of_the_first(
    index: Path, tmp_path: Path
) -> None:
    place = tmp_path / "stick"
    with mounted("-t", "tmpfs", "one", place):
        put(place, 100, 101)
        run(index, place)
    before = ids(index)
    with mounted("-t", "tmpfs", "other", place):
        put(place / "new", 102)
        assert run(index, place / "new")[0] == {"added": 1}
        counts, (line,) = run(index)
        assert counts == {"unchanged": 1}
        assert "2 photos" in line
    assert before.items() <= ids(index).items()
    with mounted("-t", "tmpfs", "one", place):
        put(place, 100, 101)
        assert run(index)[0] == {"unchanged": 2}
    assert before.items() <= ids(index).items()


@mounts
def test_a_drive_that_holds_a_copy_of_the_first_is_taken_for_it(
    index: Path, photos: Path, usb: Path
) -> None:
    for _ in range(2):
        with mounted("-t", "tmpfs", "one", usb):
            put(usb, 100, 101)
            assert run(index, photos)[1] == ()
            before = ids(index)
            (usb / "101.png").unlink()
            assert run(index) == ({"removed": 1, "unchanged": 13}, ())
            put(usb, 101)
            run(index)
    assert ids(index).keys() == before.keys()


@mounts
def test_a_drive_that_holds_some_of_the_first_takes_nothing_of_it(
    index: Path, photos: Path, usb: Path
) -> None:
    with mounted("-t", "tmpfs", "one", usb):
        put(usb, 100, 101)
        run(index, photos)
        before = ids(index)
    with mounted("-t", "tmpfs", "other", usb):
        put(usb, 100)
        for _ in range(2):
            counts, (line,) = run(index)
            assert counts == {"unchanged": 13}
            assert "1 photo " in line
        assert run(index, verify=True)[0] == {"unchanged": 13}
    assert ids(index) == before


@mounts
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4")
def test_drives_that_only_have_the_name_of_their_device_are_told_apart(
    index: Path, photos: Path, usb: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", 100), ("other", 200)):
        image = tmp_path / name
        image.write_bytes(b"")
        os.truncate(image, 4 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-U", "clear", image], check=True)
        with mounted("-o", "loop", image, usb):
            put(usb, seed, seed + 1)
            assert "removed" not in run(index, photos)[0]
            before = ids(index)
    with mounted("-o", "loop", tmp_path / "one", usb):
        assert run(index)[0] == {"unchanged": 14}
    assert ids(index) == before
    assert len(before) == 16


@mounts
def test_what_is_deleted_from_a_drive_that_is_there_is_gone(
    index: Path, photos: Path, usb: Path
) -> None:
    with mounted("-t", "tmpfs", "one", usb):
        put(usb / "a", 100, 101)
        put(usb / "b", 102)
        run(index, photos)
        (usb / "a" / "100.png").unlink()
        shutil.rmtree(usb / "b")
        assert run(index) == ({"removed": 2, "unchanged": 13}, ())


@mounts
def test_a_root_that_another_takes_in_while_its_drive_is_away_keeps_its_photos(
    index: Path, tmp_path: Path
) -> None:
    media = tmp_path / "media"
    put(media / "other", 1)
    with mounted("-t", "tmpfs", "one", media / "stick"):
        put(media / "stick", 100, 101)
        run(index, media / "stick")
    (media / "stick").rmdir()
    counts, (line,) = run(index, media)
    assert counts == {"added": 1}
    assert "stick is missing, with 2 photos" in line


@mounts
def test_a_copy_of_what_is_on_a_drive_that_is_away_is_a_copy(
    index: Path, photos: Path, usb: Path, tmp_path: Path
) -> None:
    put(tmp_path / "drive", 100, 101)
    with mounted("--bind", tmp_path / "drive", usb):
        run(index, photos)
    before = ids(index)
    put(tmp_path / "other", 100)
    shutil.copyfile(tmp_path / "drive" / "101.png", photos / "trip" / "copy.png")
    assert run(index, tmp_path / "other")[0] == {"added": 1}
    assert run(index)[0] == {"added": 1, "unchanged": 13}
    with mounted("--bind", tmp_path / "drive", usb):
        assert run(index)[0] == {"unchanged": 16}
    assert before.items() < ids(index).items()


@mounts
def test_a_drive_that_is_at_another_place_has_moved(
    index: Path, photos: Path, usb: Path, tmp_path: Path
) -> None:
    put(tmp_path / "drive", 100, 101)
    with mounted("--bind", tmp_path / "drive", usb):
        run(index, photos)
    before = ids(index)
    with mounted("--bind", tmp_path / "drive", photos / "stick"):
        assert run(index) == ({"moved": 2, "unchanged": 12}, ())
        assert ids(index) == {it.replace("/usb/", "/stick/"): id for it, id in before.items()}
    assert run(index)[0] == {"unchanged": 12}
    with mounted("--bind", tmp_path / "drive", usb):
        assert run(index) == ({"moved": 2, "unchanged": 12}, ())
    assert ids(index) == before


def test_a_folder_emptied_all_at_once_is_away_until_its_photos_are_found(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    run(index, photos)
    before = ids(index)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for file in list((photos / "trip").iterdir()):
        file.rename(hidden / file.name)
    counts, (line,) = run(index)
    assert counts == {"unchanged": 8}
    assert "trip is empty where it held 4 photos" in line
    put(photos / "trip", 50)  # which says nothing of those that are away
    assert run(index)[0] == {"added": 1, "unchanged": 8}
    (hidden / "08.jpg").rename(photos / "08.jpg")
    counts, (line,) = run(index)
    assert counts == {"moved": 1, "unchanged": 9}
    assert "with 3 photos" in line or "3 photos" in line
    assert ids(index)[str(photos / "08.jpg")] == before[str(photos / "trip" / "08.jpg")]


def test_a_folder_that_was_deleted_or_emptied_into_another_is_not_away(
    index: Path, photos: Path
) -> None:
    put(photos / "deleted", 100)
    run(index, photos)
    shutil.rmtree(photos / "deleted")
    for file in list((photos / "trip").iterdir()):
        file.rename(photos / file.name)
    assert run(index) == ({"moved": 4, "removed": 1, "unchanged": 8}, ())


@mounts
def test_a_watch_sees_a_drive_go_and_come_back(
    index: Path, photos: Path, usb: Path, tmp_path: Path
) -> None:
    put(tmp_path / "drive", 100, 101)
    with mounted("--bind", tmp_path / "drive", usb):
        run(index, photos)
    before = ids(index)
    with watched(index, photos) as watch:
        assert ids(index) == before
        with mounted("--bind", tmp_path / "drive", usb):
            put(tmp_path / "drive", 102)
            eventually(lambda: str(usb / "102.png") in ids(index))
            put(usb, 103)
            eventually(lambda: str(usb / "103.png") in ids(index))
        put(photos, 104)
        eventually(lambda: str(photos / "104.png") in ids(index))
        eventually(lambda: watch.did() == {"added": 3})
    assert before.items() <= ids(index).items()


@mounts
def test_a_photo_that_a_watch_finds_beside_a_drive_that_is_away_is_no_sign_of_it(
    index: Path, photos: Path, usb: Path
) -> None:
    with mounted("-t", "tmpfs", "one", usb):
        put(usb, 100, 101)
        run(index, photos)
    before = ids(index)
    usb.rmdir()
    with watched(index, photos):
        put(photos, 102)
        eventually(lambda: str(photos / "102.png") in ids(index))
    assert run(index)[0] == {"unchanged": 13}
    assert before.items() <= ids(index).items()


@mounts
def test_a_mount_point_that_cannot_be_read_is_no_sign_of_the_drive(
    index: Path, photos: Path, usb: Path
) -> None:
    with mounted("-t", "tmpfs", "one", usb):
        put(usb, 100, 101)
        run(index, photos)
    usb.chmod(0)
    if shutil.which(NO_RIGHTS[0]) is None:
        pytest.skip("needs setpriv")
    code = "import sys; from test_away import Path, run; print(run(Path(sys.argv[1])))"
    done = subprocess.run(
        [*NO_RIGHTS, sys.executable, "-c", code, index],
        cwd=Path(__file__).parent, capture_output=True, text=True,
    )  # fmt: skip
    assert "Permission denied" in done.stdout, done.stderr
    usb.rmdir()
    assert run(index)[0] == {"unchanged": 12}
    assert len(ids(index)) == 14


# A root that moved


def test_a_root_that_moved_keeps_ids_rules_and_what_was_forgotten(
    index: Path, photos: Path
) -> None:
    put(photos / "raw", 100)
    with open_other(index) as library:
        library.index([photos], exclude=["raw/"], follow_links=True)
        library.forget(photos / "00.jpg")
    before = ids(index)
    moved = photos.rename(photos.with_name("pictures"))
    assert run(index, moved) == ({"moved": 11}, ())
    assert ids(index) == {path.replace("/photos/", "/pictures/"): id for path, id in before.items()}
    with open_other(index) as library:
        (root,) = library.status().roots
        assert (root.path, root.rules.exclude) == (str(moved), ("raw/",))
        assert root.rules.follow_links
    assert run(index) == ({"unchanged": 11}, ())


def test_a_root_that_moved_into_a_folder_under_another_name_keeps_its_rules(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    put(photos / "raw", 100)
    put(tmp_path / "media" / "other" / "raw", 101)
    with open_other(index) as library:
        library.index([photos], exclude=["/raw/"])
    before = sorted(ids(index).values())
    photos.rename(tmp_path / "media" / "pictures")
    assert run(index, tmp_path / "media") == ({"added": 1, "moved": 12}, ())
    assert set(before) < set(ids(index).values())
    assert run(index) == ({"unchanged": 13}, ())


def test_contents_found_under_other_names_and_times_have_moved_too(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    put(other, 100)
    run(index, photos, other)
    before = sorted(ids(index).values())
    for file in sorted(photos.rglob("*.jpg")):
        shutil.copyfile(file, other / f"new {file.name}")
    shutil.rmtree(photos)
    assert run(index, other) == ({"moved": 12, "unchanged": 1}, ())
    assert sorted(ids(index).values()) == before
    with open_other(index) as library:
        assert [root.path for root in library.status().roots] == [str(other)]


def test_what_is_not_found_of_a_root_that_moved_stays_away(index: Path, photos: Path) -> None:
    run(index, photos)
    before = ids(index)
    moved = photos.rename(photos.with_name("pictures"))
    (moved / "00.jpg").unlink()
    assert run(index, moved) == ({"moved": 11}, ())
    after = ids(index)
    assert after[str(photos / "00.jpg")] == before[str(photos / "00.jpg")]
    assert sorted(after.values()) == sorted(before.values())


def test_a_copy_of_a_root_that_is_there_has_not_moved(index: Path, photos: Path) -> None:
    run(index, photos)
    copy = shutil.copytree(photos, photos.with_name("copy"))
    assert run(index, Path(copy)) == ({"added": 12}, ())


def test_no_id_comes_twice_where_two_missing_roots_held_the_same(index: Path, photos: Path) -> None:
    copy = Path(shutil.copytree(photos, photos.with_name("copy")))
    run(index, photos, copy)
    moved = photos.rename(photos.with_name("pictures"))
    shutil.rmtree(copy)
    assert run(index, moved)[0] == {"moved": 12}
    after = ids(index)
    assert len(after) == len(set(after.values())) == 24
    moved.rename(photos)
    with open_other(index) as library:
        report = library.index([photos])
        assert report.embedded == 0


def test_a_part_of_a_root_that_moved_keeps_ids(index: Path, photos: Path, tmp_path: Path) -> None:
    run(index, photos)
    before = ids(index)
    other = tmp_path / "other"
    other.mkdir()
    moved = (photos / "trip").rename(other / "trip")
    shutil.copyfile(photos / "00.jpg", other / "copy.jpg")
    assert run(index, other) == ({"added": 1, "moved": 4}, ())
    after = ids(index)
    assert {after.pop(str(it)) for it in moved.iterdir()} == {
        before.pop(path) for path in list(before) if "/trip/" in path
    }
    assert before.items() < after.items()
    assert run(index) == ({"unchanged": 13}, ())


def test_a_root_emptied_into_another_has_moved(index: Path, photos: Path) -> None:
    with open_other(index) as library:
        library.index([photos], exclude=["0*.jpg"])
    before = sorted(ids(index).values())
    other = photos.with_name("other")
    other.mkdir()
    for it in list(photos.iterdir()):
        it.rename(other / it.name)
    counts, problems = run(index, other)
    assert (counts, problems) == ({"moved": len(before)}, ())
    assert sorted(ids(index).values()) == before
    assert run(index)[0] == {"unchanged": len(before)}


def test_a_file_that_failed_before_is_no_failure_where_a_photo_moved_to(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "00.jpg").write_bytes(b"no picture")
    assert run(index, photos, other)[0] == {"added": 12, "failed": 1}
    for file in photos.glob("*.jpg"):
        file.replace(other / file.name)
    shutil.rmtree(photos)
    assert run(index, other)[0]["moved"] == 8
    with open_other(index) as library:
        assert library.status().failures == ()


# The rules of a folder that another takes in


def test_the_rules_of_a_folder_hold_when_one_above_it_is_indexed(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    put(photos / "trip", 100)
    put(photos, 101)
    outside = tmp_path / "outside"
    put(outside, 102)
    (photos / "trip" / "link").symlink_to(outside)
    (photos / "link").symlink_to(outside)
    with open_other(index) as library:
        library.index([photos / "trip"], exclude=["*.png", "!/link/*"], follow_links=True)
    before = ids(index)
    assert run(index, photos)[0] == {"added": 9, "unchanged": 5}
    assert before.items() <= ids(index).items()
    assert (photos / "trip" / "100.png").as_posix() not in ids(index)
    assert run(index) == ({"unchanged": 14}, ())
    with open_other(index) as library:
        assert did(library.index([photos / "trip"], exclude=[""])) == {"added": 1, "unchanged": 5}


def test_the_rules_of_two_folders_hold_each_in_its_own(
    index: Path, photos: Path, tmp_path: Path, clipsearch: Run
) -> None:
    outside = tmp_path / "outside"
    put(outside, 100)
    for folder in ("one", "other"):
        put(photos / folder, 1)
        put(photos / folder / "x", 2)
        put(photos / folder / "y", 3)
        (photos / folder / "link").symlink_to(outside)
    with open_other(index) as library:
        library.index([photos / "one"], exclude=["x/"])
        library.index([photos / "other"], exclude=["y/"], follow_links=True)
        before = {path.path for path in library.photos()}
        library.index([photos])
        for how in ({}, {"verify": True}, {"prune": True}):
            assert did(library.index(**how)).keys() == {"unchanged"}
        inside = {it.path for it in library.photos() if {"one", "other"} & set(it.path.parts)}
        assert inside == before
    assert "one: --exclude x/\n" in (said := clipsearch("status").stdout)
    assert "other: --exclude y/ --follow-links\n" in said
    undo = clipsearch("forget", photos, "--yes").stderr.splitlines()[-1].partition(": clip")[2]
    assert [it.partition(" index ")[2] for it in undo.split(" && ")] == [
        f"--exclude x/ {photos / 'one'}",
        f"--exclude y/ --follow-links {photos / 'other'}",
        str(photos),
    ]
    with open_other(index) as library:
        library.index([photos / "one"], exclude=["x/"])
        library.index([photos / "other"], exclude=["y/"], follow_links=True)
        library.index([photos])
        assert len(library.photos()) == len(before) + 12
        assert did(library.index([photos / "one"], exclude=[""]))["added"] == 1
        assert did(library.index())["unchanged"] == len(before) + 13
    assert "one:" not in clipsearch("status").stdout


def test_rules_go_along_from_folder_to_folder_above(index: Path, photos: Path) -> None:
    inner = photos / "a" / "b"
    for folder in (photos, photos / "a", inner):
        put(folder, 1, 2, 3)
    with open_other(index) as library:
        library.index([inner], exclude=["/1.png"])
        library.index([photos / "a"], exclude=["/2.png"])
        library.index([photos], exclude=["/3.png"])
        named = {str(it.path.relative_to(photos)) for it in library.photos() if it.path.stem < "4"}
    assert {it for it in named if it.endswith(".png")} == {
        "1.png", "2.png", "a/1.png", "a/3.png", "a/b/2.png", "a/b/3.png",
    }  # fmt: skip


@mounts
def test_photos_moved_out_of_a_folder_that_was_a_root_keep_ids(index: Path, tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "one", tmp_path / "drive") as drive:
        put(drive / "inner", 1, 2)
        put(drive, 3)
        run(index, drive / "inner")
        assert run(index, drive)[0] == {"added": 1, "unchanged": 2}
        before = sorted(ids(index).values())
        for file in list((drive / "inner").iterdir()):
            file.rename(drive / f"moved {file.name}")
        assert run(index) == ({"moved": 2, "unchanged": 1}, ())
        assert sorted(ids(index).values()) == before


# What is said of photos that are away


def test_photos_that_are_away_come_last_among_copies_and_are_marked(
    index: Path, photos: Path
) -> None:
    copy = Path(shutil.copytree(photos, photos.with_name("copy")))
    with open_other(index) as library:
        library.index([photos])
        library.index([copy])
        photos.rename(photos.with_name("unplugged"))
        hits = library.similar(copy / "00.jpg", 24)
        assert [hit.present for hit in hits] == [False, *[True, False] * 11]
        assert all(hit.present == (copy in hit.path.parents) for hit in hits)
        assert {it.present for it in library.photos()} == {True, False}
        assert [root.present for root in library.status().roots] == [True, False]
        assert hits[0].as_dict(1)["present"] is False
        photos.with_name("unplugged").rename(photos)
        assert all(hit.present for hit in library.similar(copy / "00.jpg", 24))


@mounts
def test_photos_of_a_drive_that_is_away_are_not_present(
    index: Path, photos: Path, usb: Path
) -> None:
    with open_other(index) as library:
        with mounted("-t", "tmpfs", "one", usb):
            put(usb, 100, 101)
            library.index([photos])
            assert all(it.present for it in library.photos())
        away = {it.path for it in library.photos() if not it.present}
        assert away == {usb / "100.png", usb / "101.png"}
        with mounted("-t", "tmpfs", "other", usb):
            picture(100, (64, 48)).save(usb / "else.png")
            assert {it.path for it in library.photos() if not it.present} == away


def test_an_emptied_folders_photos_are_not_present(index: Path, photos: Path) -> None:
    with open_other(index) as library:
        library.index([photos])
        for file in list((photos / "trip").iterdir()):
            file.unlink()
        library.index()
        assert sum(not it.present for it in library.photos()) == 4


def on_a_terminal(index: Path, *words: str) -> list[str]:
    """The lines that a command writes to a terminal, without colours and links."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 300))
    given = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", *words, "--index", index],
        env=given | {"TERM": "xterm-256color", "FORCE_HYPERLINK": ""},
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    shown = all_of(ours)
    assert process.wait() == 0
    return without_codes(shown)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_a_terminal_and_json_say_what_is_away(index: Path, photos: Path, clipsearch: Run) -> None:
    trip, rest = photos / "trip", photos.with_name("rest")
    shutil.copytree(trip, rest)
    run(index, photos, rest)
    trip.rename(photos.with_name("unplugged"))
    trip.mkdir()
    (line,) = clipsearch("index").stderr.splitlines()
    assert "is empty where it held 4 photos" in line
    for words in (("similar", str(rest / "08.jpg"), "-k", "30"), ("ls",)):
        lines = [line for line in on_a_terminal(index, *words) if ".jpg" in line]
        away = {line for line in lines if line.rstrip().endswith("(away)")}
        assert len(away) == 4
        assert away == {line for line in lines if "/trip/" in line}
        asked = json.loads(clipsearch(*words, "--json").stdout)
        assert len(asked) == len(lines)
        assert all(it["present"] == ("/trip/" not in it["path"]) for it in asked)
        # What is no terminal gets plain paths.
        assert "(away)" not in clipsearch(*words).stdout


def test_photos_that_are_away_are_kept_as_photos_and_not_as_what_left(
    index: Path, photos: Path, clipsearch: Run
) -> None:
    run(index, photos)
    photos.rename(photos.with_name("unplugged"))
    with open_other(index) as library:
        library.index()
        status = library.status()
        assert (status.photos, status.kept.contents) == (12, 0)
        library.index(prune=True)
        status = library.status()
        assert (status.photos, status.kept.contents) == (0, 12)


@pytest.mark.parametrize(
    "command",
    [
        ("index", "", "--model", "pocket"),
        ("watch", ""),
        ("forget", "", "--yes"),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_no_folder(
    clipsearch: Run, indexed: Path, command: tuple[str, ...]
) -> None:
    done = clipsearch(*command)
    assert done.returncode == 2
    assert done.stderr == "clipsearch: the folder's name is empty\n"
    assert len(ids(indexed)) == 12
