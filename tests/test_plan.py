"""Which files a run reads, which photos it takes out, and what it remembers of its rules."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import picture

from clipsearch import IndexReport, InvalidInput, Library
from clipsearch.encoders import Encoder, load, parse_spec
from clipsearch.indexing.comparison import make_plan
from clipsearch.indexing.plan import Doubts, Plan
from clipsearch.indexing.targets import choose_targets
from clipsearch.photos.scanning.rules import IGNORE_FILE
from clipsearch.store.catalog import Catalog

COUNTS = ("added", "updated", "moved", "removed", "unchanged", "failed")


@pytest.fixture(scope="module")
def loaded(spec: str) -> Encoder:
    """The small model, loaded once."""
    return load(parse_spec(spec), "cpu", precision="fp32")


@pytest.fixture
def library(index: Path, spec: str, loaded: Encoder) -> Iterator[Library]:
    """A library, empty at first, whose model is loaded already."""
    with Library.open(index, model=spec, encoder=loaded) as library:
        yield library


def did(report: IndexReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in COUNTS if getattr(report, name)}


def names(library: Library, folder: Path) -> list[str]:
    """The photos of a library, below a folder."""
    return sorted(hit.path.relative_to(folder).as_posix() for hit in library.query("x", 1000))


def plan_of(library: Library, **doubts: bool) -> Plan:
    with closing(Catalog.open(library.folder)) as catalog:
        return make_plan(catalog, 1, choose_targets(catalog, ()), Doubts(**doubts))


def rewrite_in_secret(file: Path, seed: int) -> None:
    """Change a picture's content and nothing that a look at the folder shows."""
    before = file.stat()
    content = file.read_bytes()
    picture(seed).save(file, quality=30)
    shorter = file.read_bytes()
    assert len(shorter) < len(content)
    file.write_bytes(shorter.ljust(len(content), b"\0"))  # decoders pass over what follows
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


# A plan changes nothing


def test_a_plan_of_what_is_unchanged_is_empty(library: Library, photos: Path) -> None:
    library.index([photos])
    plan = plan_of(library)
    assert plan.is_empty
    assert plan.unchanged == 12


def test_a_file_beside_a_photo_that_cannot_be_read_is_nothing_to_do(
    library: Library, photos: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / ".picasa.ini").write_text("[broken.jpg]\nstar=yes\n")
    assert did(library.index([photos])) == {"added": 12, "failed": 1}
    assert plan_of(library).is_empty


def test_a_plan_names_what_is_new_changed_and_gone(library: Library, photos: Path) -> None:
    library.index([photos])
    picture(100).save(photos / "new.jpg")
    os.utime(photos / "00.jpg", (1, 1))
    (photos / "01.jpg").unlink()
    (photos / "02.jpg").rename(photos / "renamed.jpg")
    plan = plan_of(library)
    assert {work.found.path for work in plan.work} == {"new.jpg", "renamed.jpg", "00.jpg"}
    assert [work.found.path for work in plan.work if work.known] == ["00.jpg"]
    assert {gone.path for gone in plan.gone} == {"01.jpg", "02.jpg"}
    assert plan.unchanged == 9
    assert len(library.query("x", 100)) == 12


# Looking more closely


def test_a_secret_change_is_seen_only_when_all_is_verified(library: Library, photos: Path) -> None:
    library.index([photos])
    before = library.similar(photos / "04.jpg", 20)
    rewrite_in_secret(photos / "03.jpg", 100)
    assert did(library.index()) == {"unchanged": 12}
    assert did(library.index(verify=True)) == {"updated": 1, "unchanged": 11}
    assert library.similar(photos / "04.jpg", 20) != before
    assert did(library.index(verify=True)) == {"unchanged": 12}


def test_what_is_known_of_a_photo_is_read_again_only_when_all_is_verified(
    library: Library, photos: Path, index: Path
) -> None:
    library.index([photos])
    before = [(photo.path, photo.facts) for photo in library.photos()]
    with closing(sqlite3.connect(index / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE photos SET camera = 'as an older version read it', width = 1")
    library.index()
    assert {photo.facts.width for photo in library.photos()} == {1}
    assert did(library.index(verify=True)) == {"unchanged": 12}
    assert [(photo.path, photo.facts) for photo in library.photos()] == before


def test_a_failed_file_is_tried_again_only_when_asked(library: Library, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    assert did(library.index([photos])) == {"added": 12, "failed": 1}
    assert did(library.index()) == {"unchanged": 12}
    assert did(library.index(verify=True)) == {"unchanged": 12}
    assert did(library.index(retry=True)) == {"unchanged": 12, "failed": 1}
    assert len(library.status().failures) == 1


# Rules, remembered with the folder


def test_what_is_excluded_goes_and_comes_back_when_that_is_taken_back(
    library: Library, photos: Path
) -> None:
    library.index([photos])
    assert did(library.index(exclude=["trip/"])) == {"removed": 4, "unchanged": 8}
    assert did(library.index()) == {"unchanged": 8}
    assert did(library.index(retry=True, follow_links=True)) == {"unchanged": 8}
    assert did(library.index(exclude=[""])) == {"added": 4, "unchanged": 8}
    assert len(list(photos.rglob("*.jpg"))) == 12


def test_what_an_ignore_file_leaves_out_goes(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "trip" / IGNORE_FILE).write_text("*\n!08.jpg\n")
    assert did(library.index()) == {"removed": 3, "unchanged": 9}
    assert did(library.index([photos / "trip"])) == {"unchanged": 1}


def test_a_folder_of_which_all_is_left_out_is_not_taken_for_an_unplugged_one(
    library: Library, photos: Path
) -> None:
    library.index([photos])
    assert did(library.index(exclude=["*"])) == {"removed": 12}


def test_only_what_is_included_stays(library: Library, photos: Path) -> None:
    library.index([photos], include=["trip/", "00.jpg"])
    assert names(library, photos) == ["00.jpg", *(f"trip/{n:02}.jpg" for n in range(8, 12))]


def test_photos_behind_links_stay_until_links_are_followed_no_more(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    (photos / "trip").rename(away)
    (photos / "trip").symlink_to(away)
    assert did(library.index([photos])) == {"added": 8}
    assert did(library.index([photos], follow_links=True)) == {"added": 4, "unchanged": 8}
    assert did(library.index()) == {"unchanged": 12}
    assert did(library.index(follow_links=False)) == {"removed": 4, "unchanged": 8}


def test_a_folder_that_is_indexed_also_by_itself_is_not_doubled_by_links(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    (photos / "trip").rename(away)
    (photos / "trip").symlink_to(away)
    library.index([photos], follow_links=True)
    assert did(library.index([photos, away])) == {"moved": 4, "unchanged": 8}
    assert did(library.index()) == {"unchanged": 12}


def test_a_link_to_a_drive_that_is_away_keeps_its_photos(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    away = tmp_path / "drive" / "away"
    away.parent.mkdir()
    (photos / "trip").rename(away)
    (photos / "trip").symlink_to(away)
    (photos / "dead").symlink_to(tmp_path / "never was")
    library.index([photos], follow_links=True)
    away.parent.rename(tmp_path / "unplugged")
    report = library.index()
    assert did(report) == {"unchanged": 8}
    (problem,) = report.problems
    assert str(photos / "trip") in problem
    (tmp_path / "unplugged").rename(away.parent)
    assert did(library.index()) == {"unchanged": 12}


def test_a_raw_file_and_its_jpeg_are_one_photo_unless_asked(library: Library, photos: Path) -> None:
    shutil.copy(photos / "00.jpg", photos / "trip" / "new.dng")
    library.index([photos])
    assert "trip/new.dng" in names(library, photos)
    picture(50).save(photos / "trip" / "new.jpg")
    assert did(library.index()) == {"added": 1, "removed": 1, "unchanged": 12}
    assert did(library.index(raw_too=True)) == {"added": 1, "unchanged": 13}
    assert did(library.index()) == {"unchanged": 14}


def test_rules_are_for_whole_folders(library: Library, photos: Path) -> None:
    library.index([photos])
    with pytest.raises(InvalidInput, match="hold for a whole indexed folder"):
        library.index([photos / "trip"], exclude=["*.png"])


def test_a_pattern_that_means_nothing_leaves_no_folder_behind(
    library: Library, photos: Path
) -> None:
    with pytest.raises(InvalidInput, match="is no pattern"):
        library.index([photos], exclude=["!"])
    assert library.status().roots == ()


# Drives that come and go


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Path]:
    """A folder on which a file system is mounted; unmounted at the end."""
    folder = tmp_path / "drive"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount, and not in every container")
    yield folder
    subprocess.run(["umount", folder], check=False, capture_output=True)


def test_a_drive_that_is_not_mounted_keeps_its_photos(library: Library, drive: Path) -> None:
    (drive / "album").mkdir()
    picture(1).save(drive / "album" / "a.jpg")
    library.index([drive])
    subprocess.run(["umount", drive], check=True)
    report = library.index()
    assert did(report) == {}
    assert "empty" in report.problems[0]
    assert names(library, drive) == ["album/a.jpg"]
    assert did(library.index(prune=True)) == {"removed": 1}
