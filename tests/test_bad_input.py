"""What a person may get wrong, and what a disk may: one clear line, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import Run, picture
from tiny import open_other, open_tiny

from clipsearch import (
    ClipsearchError,
    InvalidInput,
    Library,
    LibraryError,
    ModelError,
    WeightsUnavailable,
)
from clipsearch.encoders import Encoder, load, parse_spec

ALL = 1000
NAMED = "ViT-S-32-alt/never-loaded"  # nobody may not look at the weights file
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def loaded(spec: str) -> Encoder:
    return load(parse_spec(spec), "cpu")


@pytest.fixture
def library(index: Path, spec: str, loaded: Encoder) -> Library:
    return Library.open(index, model=spec, encoder=loaded)


@pytest.fixture
def indexed(library: Library, photos: Path) -> Library:
    """A library of 12 photos."""
    library.index([photos])
    return library


def complaint(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one message of a run that failed as it should."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("clipsearch: ")
    assert done.stderr.count("clipsearch: ") == 1
    assert "Traceback" not in done.stderr
    assert "a fault of clipsearch" not in done.stderr
    return done.stderr


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Folders


def test_a_folder_that_does_not_exist_is_named(indexed: Library, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no folder .*nowhere"):
        indexed.index([tmp_path / "nowhere"])
    assert indexed.status().photos == 12


def test_one_wrong_folder_among_good_ones_changes_nothing(
    indexed: Library, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    with pytest.raises(InvalidInput):
        indexed.index([tmp_path / "more", tmp_path / "nowhere"])
    assert [root.path for root in indexed.status().roots] == [str(photos)]


def test_a_file_is_no_folder(indexed: Library, photos: Path) -> None:
    with pytest.raises(InvalidInput, match="is a file; index takes folders"):
        indexed.index([photos / "00.jpg"])


def test_a_link_that_leads_to_itself_is_no_folder(indexed: Library, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InvalidInput, match="there is no folder"):
        indexed.index([tmp_path / "loop"])


def test_a_home_folder_of_nobody_is_no_folder(indexed: Library) -> None:
    with pytest.raises(InvalidInput):
        indexed.index(["~nobody-of-this-name/photos"])


def test_no_folder_at_all_is_an_error_while_none_is_known(library: Library) -> None:
    with pytest.raises(InvalidInput, match="clipsearch index FOLDER"):
        library.index()


def test_an_empty_folder_is_fine_and_holds_nothing(library: Library, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = library.index([tmp_path / "empty"])
    assert (report.added, report.failed, report.problems) == (0, 0, ())
    assert len(library.status().models) == 1  # the one that was named
    assert library.query("a dog") == []


def test_a_loop_of_links_is_walked_once(library: Library, photos: Path) -> None:
    (photos / "trip" / "up").symlink_to(photos)
    (photos / "loop").symlink_to(photos / "loop")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    report = library.index([photos])
    assert (report.added, report.failed, report.problems) == (12, 0, ())


@pytest.mark.skipif(not AS_ROOT, reason="becoming another user needs root")
def test_a_folder_without_permission_is_reported_and_the_rest_goes_on(
    loaded: Encoder,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        for folder in ("open", "closed"):
            (place / "photos" / folder).mkdir(parents=True)
            picture(1).save(place / "photos" / folder / "photo.jpg")
        with as_nobody(), Library.open(place / "index", model=NAMED, encoder=loaded) as library:
            assert library.index([place / "photos"]).added == 2
            with as_root():
                (place / "photos" / "closed").chmod(0)
            report = library.index()
            assert (report.removed, report.unchanged) == (0, 1)
            assert [line.partition(" (")[0] for line in report.problems] == [
                f"{place / 'photos' / 'closed'} cannot be read"
            ]
            assert len(library.query("a dog", ALL)) == 2


@pytest.mark.skipif(not AS_ROOT, reason="becoming another user needs root")
def test_a_file_without_permission_is_read_once_it_has_it(loaded: Encoder) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        (place / "photos").mkdir()
        photo = place / "photos" / "photo.jpg"
        picture(1).save(photo)
        photo.chmod(0)
        with as_nobody(), Library.open(place / "index", model=NAMED, encoder=loaded) as library:
            assert library.index([place / "photos"]).failed == 1
            assert library.status().failures == ((str(photo), "Permission denied"),)
            with as_root():
                photo.chmod(0o644)
            assert library.index().added == 1


@pytest.mark.skipif(not AS_ROOT, reason="becoming another user needs root")
def test_a_known_photo_that_may_not_be_read_any_more_stays_what_it_was() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        (place / "photos").mkdir()
        picture(1).save(photo := place / "photos" / "photo.jpg")
        with as_nobody(), open_tiny(place / "index") as library:
            library.index([place / "photos"])
            before = [(it.path, it.id) for it in library.photos()]
            with as_root():
                picture(2).save(photo)
                photo.chmod(0)
            for _ in range(4):
                assert library.index().failed == 1
                assert [(it.path, it.id) for it in library.photos()] == before
            with as_root():
                photo.chmod(0o644)
            assert library.index().updated == 1
            assert library.similar(picture(2), 1)[0].score > 0.99


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def as_root() -> Iterator[None]:
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(65534)


# Files


def truncated(file: Path) -> None:
    picture(50).save(file)
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("not a picture")


def other_format(file: Path) -> None:
    file.write_bytes(b"\xff\xd8\xff\xe0" + os.urandom(2000))


REASONS = [
    (truncated, "damaged|truncated"),
    (empty, "the file is empty"),
    (text, "not an image"),
    (other_format, "not an image|damaged"),
]


@pytest.mark.parametrize(("make", "reason"), REASONS)
def test_a_bad_file_is_counted_and_remembered_while_the_rest_goes_on(
    library: Library, photos: Path, make: Callable[[Path], None], reason: str
) -> None:
    bad = photos / "bad.jpg"
    make(bad)
    report = library.index([photos])
    assert (report.added, report.failed) == (12, 1)
    ((path, why),) = library.status().failures
    assert path == str(bad)
    with pytest.raises(InvalidInput, match=reason):
        library.similar(bad)
    assert any(part in why for part in reason.split("|"))
    assert "\n" not in why


def test_a_bad_file_whose_name_is_not_text_is_remembered(library: Library, photos: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.jpg"), "two\nlines.jpg"]
    for name in names:
        text(photos / name)
    assert library.index([photos]).failed == 2
    assert {path for path, _ in library.status().failures} == {str(photos / n) for n in names}
    assert library.index().failed == 0


def test_names_that_are_not_text_are_printed_on_one_line(
    library: Library, photos: Path, clipsearch: Run
) -> None:
    for name in (os.fsdecode(b"caf\xe9.jpg"), "two\nlines.jpg"):
        text(photos / name)
    library.index([photos])
    done = clipsearch("status", "--failures")
    assert done.returncode == 0
    shown = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert {Path(path).name for path in shown} == {r"caf\xe9.jpg", r"two\x0alines.jpg"}


@pytest.mark.parametrize("name", ["nothing.jpg", "trip", "text.txt"])
def test_similar_needs_a_picture(indexed: Library, photos: Path, name: str) -> None:
    (photos / "text.txt").write_text("words")
    with pytest.raises(InvalidInput, match=f"{name} cannot be used as a picture"):
        indexed.similar(photos / name)


# Numbers and words


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_photo_cannot_be_asked_for(indexed: Library, photos: Path, k: int) -> None:
    for ask in (lambda: indexed.query("x", k), lambda: indexed.similar(photos / "00.jpg", k)):
        with pytest.raises(InvalidInput, match="k must be at least 1"):
            ask()


@pytest.mark.parametrize("words", ["", "  ", "\n\t"])
def test_a_query_needs_words(indexed: Library, words: str) -> None:
    with pytest.raises(InvalidInput, match="the query is empty"):
        indexed.query(words)


def test_words_that_are_not_text_are_answered_or_refused(indexed: Library) -> None:
    with suppress(InvalidInput):
        assert indexed.query(os.fsdecode(b"caf\xe9"), 3)


def test_a_query_longer_than_the_model_reads_is_answered_with_one_warning(
    indexed: Library, clipsearch: Run
) -> None:
    done = clipsearch("query", "a dog on a beach " * 100, "-k", "3")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("clipsearch: the query is longer than the 77 tokens")


@pytest.mark.parametrize("option", ["batch_size", "workers"])
@pytest.mark.parametrize("value", [0, -1])
def test_less_than_one_at_a_time_makes_no_sense(
    indexed: Library, photos: Path, option: str, value: int
) -> None:
    with pytest.raises(InvalidInput, match=f"{option} must be at least 1"):
        indexed.index([photos], **{option: value})
    assert indexed.status().photos == 12


# Models and devices


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("no-such-alias", "names no model"),
        ("", "names no model"),
        ("ViT-B-32:/nowhere/weights.safetensors", "there is no weights file"),
        ("ViT-B-32:", "there is no weights file"),
        ("hf-hub:nothing", "names no repository"),
    ],
)
def test_a_spec_that_names_no_model_is_refused_at_once(
    index: Path, model: str, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        Library.open(index, model=model)
    assert not index.exists()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("ViT-B-23/datacomp_s34b_b86k", "did you mean 'ViT-B-32"),
        ("ViT-B-32/no_such_tag", "open_clip has no weights 'no_such_tag'"),
    ],
)
def test_a_model_that_open_clip_lacks_is_refused_with_a_hint(
    index: Path, photos: Path, model: str, reason: str
) -> None:
    with Library.open(index, model=model) as library:
        with pytest.raises(ModelError, match=reason):
            library.index([photos])
        assert library.status().photos == 0


def test_weights_that_cannot_be_had_are_explained(index: Path, photos: Path) -> None:
    with (
        Library.open(index, model="ViT-B-16/laion2b_s34b_b88k") as library,
        pytest.raises(WeightsUnavailable, match="Three ways on") as caught,
    ):
        library.index([photos])
    for way in ("models download", "NAME:FILE", "model pocket"):
        assert way in str(caught.value)


def test_weights_that_are_none_are_refused(index: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    with (
        Library.open(index, model=f"ViT-S-32-alt:{tmp_path}/weights.safetensors") as library,
        pytest.raises(ModelError, match="cannot be used for ViT-S-32-alt"),
    ):
        library.index([photos])


@pytest.mark.parametrize("device", ["abacus", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused(
    index: Path, spec: str, photos: Path, device: str
) -> None:
    with (
        pytest.raises(InvalidInput, match="is not available here"),
        Library.open(index, model=spec, device=device) as library,
    ):
        library.index([photos])


# Index folders


def test_a_folder_with_other_files_is_no_index_and_is_left_alone(
    photos: Path, clipsearch: Run
) -> None:
    before = files_of(photos)
    message = complaint(clipsearch("index", photos, "--index", photos))
    assert "is no index and holds other files" in message
    complaint(clipsearch("query", "a dog", "--index", photos))
    assert files_of(photos) == before


def test_a_file_is_no_index(photos: Path) -> None:
    for place in (photos / "00.jpg", photos / "00.jpg" / "index"):
        for create in (True, False):
            with pytest.raises(LibraryError):
                Library.open(place, create=create)


def test_a_link_to_nowhere_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for create in (True, False):
        with pytest.raises(LibraryError):
            Library.open(tmp_path / "link", create=create)


def not_sqlite(file: Path) -> None:
    file.write_text("a shopping list\n" * 1000)


def of_another_program(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()


def a_folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("make", [not_sqlite, of_another_program, a_folder])
@pytest.mark.parametrize("create", [True, False])
def test_a_catalog_that_is_not_ours_is_refused_and_left_alone(
    index: Path, make: Callable[[Path], None], create: bool
) -> None:
    index.mkdir()
    make(index / "catalog.db")
    before = files_of(index)
    with pytest.raises(LibraryError):
        Library.open(index, create=create)
    assert files_of(index) == before


@pytest.mark.parametrize(
    "command", [["status"], ["query", "x"], ["index"], ["serve", "--port", "0"], ["doctor"], ["ls"]]
)
def test_an_emptied_catalog_is_no_empty_index(
    photos: Path, index: Path, clipsearch: Run, command: list[str]
) -> None:
    with open_other(index) as library:
        library.index([photos])
    os.truncate(index / "catalog.db", 0)
    before = sorted(index.rglob("*"))
    folders = [photos] if command == ["index"] else []
    done = clipsearch(*command, *folders)
    said = done.stderr + done.stdout
    assert done.returncode in (1, 2), said
    assert "catalog.db is damaged: it is empty" in said
    assert "Put a copy of the index in its place" in said
    assert "Traceback" not in said
    assert (index / "catalog.db").stat().st_size == 0
    assert sorted(index.rglob("*")) == before


def test_a_damaged_catalog_is_an_error_that_says_so(indexed: Library, spec: str) -> None:
    indexed.close()
    catalog = indexed.folder / "catalog.db"
    content = catalog.read_bytes()
    catalog.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(LibraryError, match=r"photos are never touched|damaged"),
        Library.open(indexed.folder, create=False) as library,
    ):
        library.status()


def test_an_index_of_a_newer_version_is_refused_and_left_alone(
    indexed: Library, clipsearch: Run
) -> None:
    indexed.close()
    with sqlite3.connect(indexed.folder / "catalog.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    before = files_of(indexed.folder)
    for command in (["status"], ["index"], ["query", "a dog"], ["forget", "x"]):
        message = complaint(clipsearch(*command))
        assert "was made by a newer clipsearch" in message
        assert "pip install --upgrade clipsearch" in message
    after = files_of(indexed.folder)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("command", [["query", "a dog"], ["status"], ["forget", "x"]])
def test_asking_before_there_is_an_index_makes_none(
    index: Path, clipsearch: Run, command: list[str]
) -> None:
    message = complaint(clipsearch(*command))
    assert "holds no index" in message
    assert "clipsearch index" in message
    assert not index.exists()


# Disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, which `mount` can make read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if not AS_ROOT or not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a disk needs root and the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_disk_is_searched_but_not_written(
    disk: Path, indexed: Library, photos: Path, spec: str, loaded: Encoder, clipsearch: Run
) -> None:
    before = indexed.query("a dog")
    indexed.close()
    on_disk = Path(shutil.copytree(indexed.folder, disk / "index"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with Library.open(on_disk, model=spec, create=False, encoder=loaded) as library:
        assert library.query("a dog") == before
        with pytest.raises(LibraryError, match="cannot be written"):
            library.index([photos])
        with pytest.raises(LibraryError, match="cannot be written"):
            library.forget(photos)
    message = complaint(clipsearch("index", photos, "--index", on_disk))
    assert "cannot be written" in message
    assert clipsearch("status", "--index", on_disk).returncode == 0


def test_a_read_only_disk_is_searched_though_its_vectors_are_lost(
    disk: Path, indexed: Library, spec: str, loaded: Encoder
) -> None:
    before = indexed.query("a dog")
    indexed.close()
    on_disk = Path(shutil.copytree(indexed.folder, disk / "index"))
    shutil.rmtree(on_disk / "vectors")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with Library.open(on_disk, model=spec, create=False, encoder=loaded) as library:
        assert [(hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in library.query("a dog")] == [
            (hit.id, hit.score) for hit in before
        ]


def test_a_full_disk_keeps_what_was_indexed_so_far(
    disk: Path, tmp_path: Path, spec: str, loaded: Encoder
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for seed in range(60):
        picture(seed, (32, 32)).save(many / f"{seed:02}.jpg")
    with Library.open(disk / "index", model=spec, encoder=loaded) as library:
        filler = disk / "filler"
        filler.write_bytes(bytes(2_050_000 - sum(map(len, files_of(disk).values()))))
        with pytest.raises(LibraryError, match="is full"):
            library.index([many], batch_size=4)
        filler.unlink()
    with Library.open(disk / "index", model=spec, encoder=loaded) as library:
        library.index([many])
        assert len(library.query("x", ALL)) == 60


# The same through the command line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["index", "nowhere"], "there is no folder 'nowhere'"),
        (["index", "photos/00.jpg"], "is a file; index takes folders"),
        (["index", "photos", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["index", "photos", "--workers", "-1"], "--workers must be at least 1"),
        (["index", "photos", "--model", "no-such-alias"], "names no model"),
        (["index", "photos", "--model", "ViT-B-32:missing"], "there is no weights file 'missing'"),
        (["index", "photos", "--index", "photos/00.jpg"], "lies in a file"),
        (["query", "a dog", "-k", "0"], "-k must be at least 1"),
        (["query", ""], "the query is empty"),
        (["similar", "photos/00.jpg", "-k", "0"], "-k must be at least 1"),
        (["similar", "nothing.jpg"], "nothing.jpg cannot be used as a picture"),
        (["forget", "nowhere"], "is not in the index"),
        (["models", "download", "no-such-alias"], "names no model"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    indexed: Library, tmp_path: Path, clipsearch: Run, arguments: list[str], says: str
) -> None:
    assert says in complaint(clipsearch(*arguments, cwd=tmp_path))
    assert indexed.status().photos == 12


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["query", "a dog", "--weight", "heavy"], "--weight: 'heavy' is no number"),
        (["query", "a dog", "--weight", "2"], "--weight is that of pictures"),
        (["query", "a dog", "-k", "some"], "'some' is neither a number nor all"),
        (["query", "a dog", "--wait", "2"], "there is no option --wait"),
        (["similar", "a", "dog"], "clipsearch similar --help"),
        (["query", "a dog +"], "after + and - go words or a picture"),
        (["query", "a dog", "--minus", ""], "a part of the query is empty"),
        (["query", "a dog", "--image", ""], "the name of the picture is empty"),
        (["score"], "Missing argument 'IMAGE...' (see "),
        (["fly", "a dog"], "there is no command 'fly'"),
    ],
)
def test_what_cannot_be_understood_is_told_in_a_single_line(
    clipsearch: Run, indexed: Library, arguments: list[str], says: str
) -> None:
    (line,) = complaint(clipsearch(*arguments)).splitlines()
    assert says in line


def test_an_unknown_device_is_one_line_and_exit_code_2(
    indexed: Library, photos: Path, clipsearch: Run
) -> None:
    picture(100).save(photos / "new.jpg")
    message = complaint(clipsearch("index", "--device", "abacus"))
    assert "the device 'abacus' is not available here" in message
    assert indexed.status().photos == 12


@pytest.mark.thorough
def test_bad_files_are_counted_by_the_command_and_are_no_error(
    indexed: Library, photos: Path, clipsearch: Run
) -> None:
    empty(photos / "bad.jpg")
    done = clipsearch("index", "--batch-size", "8")
    assert done.returncode == 0
    assert "12 unchanged, 1 failed" in done.stdout
    assert done.stderr == (
        "clipsearch: what could not be read, and why: clipsearch status --failures\n"
    )


def test_every_error_that_is_raised_is_one_of_ours(indexed: Library, tmp_path: Path) -> None:
    for mistake in (
        lambda: indexed.index([tmp_path / "nowhere"]),
        lambda: indexed.query(""),
        lambda: indexed.similar(tmp_path / "nothing.jpg"),
        lambda: indexed.forget(tmp_path / "nowhere"),
        lambda: Library.open(tmp_path / "nowhere", create=False),
    ):
        with pytest.raises(ClipsearchError):
            mistake()
