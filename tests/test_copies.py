"""A copy of an index is read by other machines, where its folders may be at other places."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import Run, picture
from fastapi.testclient import TestClient
from tiny import open_tiny

from clipsearch import InvalidInput, Library, LibraryBusy, LibraryError
from clipsearch.search.filtering.filters import Filters
from clipsearch.store.catalog import Catalog
from clipsearch.store.database import mounted_at as place_of
from clipsearch.store.folder import StrPath
from clipsearch.store.lock import write_lock
from clipsearch.web.app import create_app

ALL = 100


@pytest.fixture
def copied(indexed: Path, tmp_path: Path) -> Path:
    """A copy of an index of 12 photos."""
    folder = tmp_path / "copy"
    renew(indexed, folder)
    return folder


def renew(index: Path, copy: Path, **how: Any) -> None:
    with open_tiny(index) as library:
        library.copy(copy, **how)


def found(folder: Path, **how: Any) -> list[tuple[str, float]]:
    with open_tiny(folder, create=False) as library:
        return [(str(hit.path), hit.score) for hit in library.query("a boat", ALL, **how)]


# Copying


def test_a_copy_answers_as_the_index_does(indexed: Path, copied: Path, photos: Path) -> None:
    in_trip = Filters(folder=[photos / "trip"])
    assert found(copied) == found(indexed)
    assert found(copied, filters=in_trip) == found(indexed, filters=in_trip)
    with open_tiny(copied) as library:
        held = library.status()
    assert held.copy_of is not None
    assert Path(held.copy_of.folder) == indexed
    assert held.photos == 12


def test_a_copy_needs_no_right_to_write(copied: Path, indexed: Path) -> None:
    for place in (*copied.rglob("*"), copied):
        place.chmod(0o555 if place.is_dir() else 0o444)
    assert found(copied) == found(indexed)
    assert sorted(os.listdir(copied)) == ["catalog.db", "index.lock", "vectors"]


def test_who_has_the_last_copy_open_writes_nothing_to_the_next_one(
    indexed: Path, copied: Path, photos: Path
) -> None:
    with open_tiny(copied) as library:
        picture(99).save(photos / "new.jpg")
        with open_tiny(indexed) as original:
            original.index()
        renew(indexed, copied)
        before = {file: file.read_bytes() for file in copied.glob("vectors/*")}
        assert len(library.query("a boat", ALL)) == 12
        assert {file: file.read_bytes() for file in copied.glob("vectors/*")} == before
    assert len(found(copied)) == 13


def test_the_next_copy_takes_its_place_and_is_searched_by_who_has_the_old_one_open(
    indexed: Path, copied: Path, photos: Path
) -> None:
    with open_tiny(copied) as library:
        assert len(library.query("a boat", ALL)) == 12
        (photos / "00.jpg").unlink()
        picture(99).save(photos / "new.jpg")
        with open_tiny(indexed) as original:
            original.index()
        assert not library.is_replaced()
        renew(indexed, copied)
        assert library.is_replaced()
        assert len(library.query("a boat", ALL)) == 12  # of the old one, which it has open
        with library.twin() as fresh:
            names = {hit.path.name for hit in fresh.query("a boat", ALL)}
    assert "new.jpg" in names
    assert "00.jpg" not in names
    assert found(copied) == found(indexed)


def test_a_copy_made_while_the_index_is_written_is_of_one_moment(
    photos: Path, index: Path, tmp_path: Path
) -> None:
    with open_tiny(index) as library:
        library.index([photos / "trip"])
    copies: list[int] = []
    copying = threading.Event()

    def copy_once(done: int, total: int) -> None:
        if done and not copying.is_set():
            copying.set()
            renew(index, tmp_path / "copy")
            copies.append(done)

    with open_tiny(index) as library:
        library.index([photos], batch_size=1, progress=copy_once)
    assert copies
    with open_tiny(tmp_path / "copy") as library:
        held = library.status()
        assert 4 <= held.photos < 12
        assert len(library.query("a boat", ALL)) == held.photos
    (ids,) = tmp_path.glob("copy/vectors/*.ids")
    assert ids.stat().st_size == 16 + 8 * held.models[0].vectors  # complete on the disk


def fill(index: Path) -> None:
    """Make copying take a while."""
    with closing(Catalog.open(index)) as catalog:
        catalog.add_pictures((f"{n:064}", bytes(64)) for n in range(60_000))


def stop(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_a_copy_that_is_stopped_leaves_the_old_one(
    indexed: Path, copied: Path, photos: Path
) -> None:
    before = found(copied)
    picture(99).save(photos / "new.jpg")
    with open_tiny(indexed) as library:
        library.index()
    fill(indexed)
    with pytest.raises(KeyboardInterrupt):
        renew(indexed, copied, progress=stop)
    assert found(copied) == before
    assert sorted(os.listdir(copied)) == ["catalog.db", "index.lock", "vectors"]


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_first_copy_that_was_stopped_is_made_by_the_same_command(
    how: str, indexed: Path, tmp_path: Path
) -> None:
    fill(indexed)
    copy = tmp_path / "copy"
    if how == "stopped":
        with pytest.raises(KeyboardInterrupt):
            renew(indexed, copy, progress=stop)
    else:
        code = (
            "import os, signal, sys; from pathlib import Path; from tiny import open_tiny\n"
            "kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)\n"
            "open_tiny(Path(sys.argv[1])).copy(sys.argv[2], progress=kill)"
        )
        command = [sys.executable, "-c", code, indexed, copy]
        killed = subprocess.run(command, cwd=Path(__file__).parent)
        assert killed.returncode == -signal.SIGKILL
    renew(indexed, copy)
    assert found(copy) == found(indexed)
    assert sorted(os.listdir(copy)) == ["catalog.db", "index.lock", "vectors"]


def test_the_files_of_the_copy_before_stay_until_the_next(
    indexed: Path, copied: Path, photos: Path
) -> None:
    first = (copied / "catalog.db").stat().st_ino
    renew(indexed, copied)
    assert (copied / "catalog.db.before").stat().st_ino == first
    renew(indexed, copied)
    assert (copied / "catalog.db.before").stat().st_ino != first


def test_another_index_at_the_same_place_does_not_replace_the_copy(
    indexed: Path, copied: Path, photos: Path
) -> None:
    shutil.rmtree(indexed)
    with open_tiny(indexed) as library:
        library.index([photos / "trip"])
        with pytest.raises(InvalidInput, match="but of another index than this"):
            library.copy(copied)
    assert len(found(copied)) == 12


@pytest.mark.parametrize(
    "arguments",
    [["index"], ["index", "{photos}"], ["forget", "{photos}"], ["watch"], ["serve", "--watch"],
     ["optimize", "--force"], ["store", "move", "faiss"], ["caption"]],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_written_to_a_copy(
    arguments: list[str], copied: Path, indexed: Path, photos: Path, clipsearch: Run
) -> None:
    before = (copied / "catalog.db").read_bytes()
    words = [word.format(photos=photos) for word in arguments]
    done = clipsearch(*words, "--index", copied)
    assert done.returncode == 2
    assert done.stderr.startswith(f"clipsearch: this is a copy of {indexed}, to be read only")
    assert (copied / "catalog.db").read_bytes() == before


def test_a_copy_becomes_an_index_again(copied: Path, photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    renew(copied, own, own=True)
    picture(99).save(photos / "new.jpg")
    with open_tiny(own) as library:
        assert library.status().copy_of is None
        report = library.index()
        assert (report.added, report.unchanged) == (1, 12)
        assert len(library.query("a boat", ALL)) == 13


def test_a_copy_goes_to_an_empty_place_or_that_of_the_last_one(
    indexed: Path, copied: Path, photos: Path, tmp_path: Path, clipsearch: Run
) -> None:
    other = tmp_path / "other"
    with open_tiny(other) as library:
        library.index([photos / "trip"])
    file = tmp_path / "file"
    file.touch()
    for place, what in (
        (indexed, "an index"),
        (other, "an index"),
        (photos, "other files (00.jpg...)"),
        (file, "a file"),
    ):
        before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
        refused = clipsearch("copy", place)
        assert refused.returncode == 2
        message = f"clipsearch: {place} is or holds {what}; name a new or an empty folder\n"
        assert refused.stderr == message
        assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    with open_tiny(other) as library, pytest.raises(InvalidInput, match="of another index"):
        library.copy(copied)
    with open_tiny(indexed) as library:
        with pytest.raises(InvalidInput, match="name a new"):
            library.copy(copied, own=True)
        with write_lock(copied), pytest.raises(LibraryBusy):
            library.copy(copied)


def make_folder(place: Path) -> None:
    place.mkdir()
    (place / "portrait.svg").write_text("mine")


def make_link(place: Path) -> None:
    elsewhere = place.parent.parent / "elsewhere"
    make_folder(elsewhere)
    place.symlink_to(elsewhere)


def make_text(place: Path) -> None:
    place.write_text("mine")


def tree(folder: Path) -> dict[str, bytes]:
    files = {str(it.relative_to(folder)): it for it in folder.rglob("*")}
    return {name: it.read_bytes() if it.is_file() else b"" for name, it in files.items()}


SOMEBODYS = [
    (".git", make_folder), (".draft", make_folder), (".draft", make_link), (".ssh", make_text),
    ("vectors", Path.mkdir), ("vectors", make_folder), ("vectors", make_link),
    ("vectors", make_text), ("README.md", make_text), ("index.lock", make_text),
    ("index.pid", make_text), ("index.progress", make_text), ("catalog.db", make_text),
    ("catalog.db", make_link), ("catalog.db-journal", make_text), ("catalog.db.mine", make_text),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make"), SOMEBODYS)
def test_a_folder_that_holds_what_is_somebodys_is_refused_and_left_alone(
    name: str, make: Callable[[Path], None], indexed: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    make(there / name)
    before = tree(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        renew(indexed, there)
    message = f"{there} is or holds other files ({name}...); name a new or an empty folder"
    assert str(refused.value) == message
    with pytest.raises(LibraryError):
        open_tiny(there)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "left",
    [{"index.lock": b""}, {"index.lock": b"", "index.pid": b"4711"}, {"catalog.db": b""},
     {"catalog.db": b"", "catalog.db-journal": b""}, {".DS_Store": b"Bud1"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("command", ["index", "copy"])
def test_a_folder_where_the_making_was_stopped_is_taken(
    left: dict[str, bytes], command: str, indexed: Path, photos: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name, content in left.items():
        (there / name).write_bytes(content)
    if command == "copy":
        renew(indexed, there)
    else:
        with open_tiny(there) as library:
            library.index([photos])
    assert len(found(there)) == 12


def test_what_somebody_put_into_a_copy_stays(indexed: Path, copied: Path, photos: Path) -> None:
    (rows,) = copied.glob("vectors/*.f16")
    mine = [
        "README.md", ".draft/letter.txt", ".git/config", "vectors/notes.txt", "vectors/9-lives.txt",
        "vectors/mine/1-pocket.f16",
    ]  # fmt: skip
    for name in mine:
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text("mine")
    stale = copied / "vectors" / "99-gone.f16"  # of a model that the index has no more
    stale.write_bytes(rows.read_bytes())
    linked = copied / "vectors" / "98-linked.f16"
    linked.symlink_to(photos / "00.jpg")
    (photos / "01.jpg").unlink()
    with open_tiny(indexed) as library:
        library.index()
    renew(indexed, copied)
    assert [(copied / name).read_text() for name in mine] == ["mine"] * len(mine)
    assert not stale.exists()
    assert linked.is_symlink()
    assert (photos / "00.jpg").exists()
    assert found(copied) == found(indexed)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_is_written_to_a_file_that_has_another_name_too(
    link: Callable[[Path, Path], None], indexed: Path, copied: Path, photos: Path, tmp_path: Path
) -> None:
    (rows,) = copied.glob("vectors/*.f16")
    elsewhere = tmp_path / "elsewhere.f16"
    shutil.move(rows, elsewhere)
    link(elsewhere, rows)
    before = elsewhere.read_bytes()
    picture(99).save(photos / "new.jpg")
    with open_tiny(indexed) as library:
        library.index()
    renew(indexed, copied)
    assert elsewhere.read_bytes() == before
    assert found(copied) == found(indexed)
    assert len(found(copied)) == 13


def test_a_copy_is_not_written_behind_a_link(
    indexed: Path, copied: Path, tmp_path: Path, clipsearch: Run
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(copied / "vectors", elsewhere)
    (elsewhere / "99-gone.f16").touch()
    (copied / "vectors").symlink_to(elsewhere)
    before = tree(elsewhere)
    refused = clipsearch("copy", copied)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"clipsearch: {copied / 'vectors'} is a link; name a new or an empty folder\n"
    )
    assert tree(elsewhere) == before


def test_a_folder_that_is_a_link_is_the_one_that_it_leads_to(indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "backup").symlink_to(tmp_path / "disk")
    for _ in range(2):
        renew(indexed, tmp_path / "backup")
    assert (tmp_path / "backup").is_symlink()
    assert found(tmp_path / "disk") == found(indexed)


@pytest.mark.parametrize("place", ["copy", "vectors", "vectors/copy", ".hidden/copy"])
@pytest.mark.parametrize("way", ["itself", "link"])
def test_a_copy_inside_the_index_is_refused(
    place: str, way: str, indexed: Path, tmp_path: Path, clipsearch: Run
) -> None:
    (tmp_path / "link").symlink_to(indexed)
    target = (indexed if way == "itself" else tmp_path / "link") / place
    before = tree(indexed)
    refused = clipsearch("copy", target)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"clipsearch: {target} is in the index itself; name a folder elsewhere\n"
    )
    assert tree(indexed) == before


def test_a_folder_that_holds_the_index_is_refused(indexed: Path, clipsearch: Run) -> None:
    refused = clipsearch("copy", indexed.parent)
    assert refused.returncode == 2
    assert "holds other files" in refused.stderr


def test_a_copy_among_the_photos_leaves_them_alone(indexed: Path, photos: Path) -> None:
    before = tree(photos)
    renew(indexed, photos / "copy")
    assert tree(photos).items() >= before.items()
    assert len(found(photos / "copy")) == 12


# What was asked


@pytest.mark.parametrize("own", [False, True])
def test_what_was_asked_is_not_in_a_copy(
    own: bool, indexed: Path, photos: Path, tmp_path: Path
) -> None:
    asked = "a letter to somebody that nobody else is to know about"
    with open_tiny(indexed) as library:
        library.query(asked)
        assert asked.encode() in b"".join(tree(indexed).values())
        library.label(photos / "00.jpg", ["a label of our own"])
        renew(indexed, tmp_path / "copy", own=own)
    content = b"".join(tree(tmp_path / "copy").values())
    assert asked.encode() not in content
    assert b"a label of our own" not in content
    assert b"a page of text" in content  # what every question needs is no one's question


def test_files_that_vanish_while_they_are_counted_are_no_fault(indexed: Path, copied: Path) -> None:
    going, failed = threading.Event(), list[BaseException]()

    def look() -> None:
        with open_tiny(copied) as library:
            while not going.is_set():
                try:
                    assert library.status().photos == 12
                except BaseException as error:
                    failed.append(error)
                    return

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(12):
            renew(indexed, copied)
            if failed:
                break
    finally:
        going.set()
        looking.join()
    assert not failed


def test_the_command_tells_what_it_copied(indexed: Path, tmp_path: Path, clipsearch: Run) -> None:
    told = clipsearch("copy", tmp_path / "copy")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"12 photos in {tmp_path / 'copy'}  (")
    copied = json.loads(clipsearch("copy", tmp_path / "copy", "--json").stdout)
    assert copied.keys() == {"folder", "photos", "bytes", "left"}
    held = json.loads(clipsearch("status", "--json", "--index", tmp_path / "copy").stdout)
    assert held["copy_of"].keys() == {"folder", "made"}
    assert "copy of" in clipsearch("status", "--index", tmp_path / "copy").stdout


@pytest.mark.parametrize("place", ["/etc/passwd/copy", "/proc/copy"])
def test_a_copy_that_cannot_be_made_is_told_in_a_line(
    place: str, indexed: Path, clipsearch: Run
) -> None:
    refused = clipsearch("copy", place)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"clipsearch: {place} cannot be made (")
    assert refused.stderr.count("\n") == 1


# Folders that are elsewhere on this machine


@pytest.fixture
def elsewhere(indexed: Path, photos: Path, tmp_path: Path) -> Path:
    """Where the photos are by now."""
    place = tmp_path / "mnt" / "nas"
    place.parent.mkdir()
    shutil.move(photos, place)
    return place


def test_a_folder_that_is_mounted_elsewhere_is_found_there(
    indexed: Path, photos: Path, elsewhere: Path, clipsearch: Run
) -> None:
    with open_tiny(indexed, mounted={str(photos): elsewhere}) as library:
        hits = library.query("a boat", ALL)
        assert {hit.path for hit in hits} == set(elsewhere.rglob("*.jpg"))
        in_trip = library.query("a boat", ALL, filters=Filters(folder=[elsewhere / "trip"]))
        assert {hit.path for hit in in_trip} == set(elsewhere.glob("trip/*.jpg"))
        with pytest.raises(InvalidInput, match="no photos below"):
            library.query("a boat", filters=Filters(folder=[photos]))
        assert {photo.path for photo in library.photos()} == set(elsewhere.rglob("*.jpg"))
        best, second = library.similar(elsewhere / "00.jpg", 2)
        assert best.path != elsewhere / "00.jpg" != second.path
        (root,) = library.status().roots
        assert (root.path, root.present, root.photos) == (str(elsewhere), True, 12)
    # Any folder above will do, and the longest one counts.
    places = {str(photos.parent): elsewhere.parent, str(photos): elsewhere}
    with open_tiny(indexed, mounted=places) as library:
        assert {hit.path for hit in library.query("a boat", ALL)} == {hit.path for hit in hits}
    listed = clipsearch("ls", "--paths", "--mounted", f"{photos}={elsewhere}")
    assert {Path(line) for line in listed.stdout.splitlines()} == {hit.path for hit in hits}


@pytest.mark.parametrize(
    ("root", "folder", "place", "there"),
    [
        ("/photos/a", "/", "/mnt/host", "/mnt/host/photos/a"),
        ("/photos", "/photos", "/", "/"),
        ("/photos/a", "/photos", "/", "/a"),
        ("/photos2", "/photos", "/mnt", "/photos2"),
    ],
)
def test_the_root_of_the_file_system_is_a_folder_like_any_other(
    root: str, folder: str, place: str, there: str
) -> None:
    assert place_of(root, {folder: place}) == there


def test_folders_that_are_mounted_inside_each_other_are_searched_together(
    tmp_path: Path, index: Path
) -> None:
    for name, seeds in (("one", range(3)), ("two", range(3, 5))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            picture(seed).save(tmp_path / name / f"{seed}.jpg")
    with open_tiny(index) as library:
        library.index([tmp_path / "one", tmp_path / "two"])
    inner = tmp_path / "mnt" / "archive"
    inner.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "mnt")
    mounted: dict[str, StrPath] = {
        str(tmp_path / "one"): link, str(tmp_path / "two"): link / "archive"
    }  # fmt: skip
    with open_tiny(index, mounted=mounted) as library:

        def count(folder: Path) -> int:
            return len(library.query("a boat", ALL, filters=Filters(folder=[folder])))

        assert [count(folder) for folder in (link, link / "archive", inner)] == [5, 2, 2]
    same = dict.fromkeys(mounted, inner)
    with pytest.raises(InvalidInput, match=r"two folders .* cannot both be at"):
        open_tiny(index, mounted=same)


def test_nothing_is_written_where_folders_are_elsewhere(
    indexed: Path, photos: Path, elsewhere: Path
) -> None:
    with open_tiny(indexed, mounted={str(photos): elsewhere}) as library:
        for write in (library.index, lambda: library.forget(elsewhere)):
            with pytest.raises(LibraryError, match="only where its folders have their own paths"):
                write()
    assert len(found(indexed)) == 12


@pytest.mark.parametrize(
    ("mounted", "message"),
    [
        ("{photos}", "--mounted takes two folders: --mounted /photos=/mnt/nas/photos"),
        ("={photos}", "--mounted takes two folders: --mounted /photos=/mnt/nas/photos"),
        ("{photos}=/nowhere", "there is no folder /nowhere for {photos}; is it mounted?"),
        ("/other=/tmp", "/other is no folder of this index; its folders are: {photos}"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(
    mounted: str, message: str, indexed: Path, photos: Path, clipsearch: Run
) -> None:
    refused = clipsearch("ls", "--mounted", mounted.format(photos=photos))
    assert refused.returncode == 2
    assert refused.stderr == f"clipsearch: {message.format(photos=photos)}\n"


# Many servers


@contextmanager
def served(open: Callable[[], Library]) -> Iterator[TestClient]:
    app = create_app(open)
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        yield client


def test_servers_of_a_copy_show_its_photos_from_their_own_mounts(
    copied: Path, indexed: Path, photos: Path, tmp_path: Path
) -> None:
    mounts = [tmp_path / "one", tmp_path / "two"]
    for mount in mounts:
        shutil.copytree(photos, mount)
    loads: list[Path] = []

    def opening(mount: Path) -> Callable[[], Library]:
        def open() -> Library:
            loads.append(mount)
            return open_tiny(copied, create=False, mounted={str(photos): mount})

        return open

    with ExitStack() as stack:
        clients = [stack.enter_context(served(opening(mount))) for mount in mounts]
        answers = [client.get("/api/search", params={"q": "a boat"}).json() for client in clients]
        assert [len(answer["hits"]) for answer in answers] == [12, 12]
        ids = [[hit["id"] for hit in answer["hits"]] for answer in answers]
        assert ids[0] == ids[1]
        for client, mount, answer in zip(clients, mounts, answers, strict=True):
            assert all(Path(hit["path"]).is_relative_to(mount) for hit in answer["hits"])
            hit = answer["hits"][0]
            original = client.get(f"/api/photos/{hit['id']}/original")
            assert original.content == Path(hit["path"]).read_bytes()
            thumbnail = client.get(f"/api/photos/{hit['id']}/thumbnail")
            assert thumbnail.headers["content-type"] == "image/webp"

        picture(99).save(photos / "new.jpg")
        with open_tiny(indexed) as original_index:
            original_index.index()
        renew(indexed, copied)
        for client in clients:
            hits = client.get("/api/search", params={"q": "a boat"}).json()["hits"]
            assert "new.jpg" in {Path(hit["path"]).name for hit in hits}
    assert loads == mounts  # once each: a new copy is opened, and no model loaded again


def test_a_server_that_dies_takes_no_other_with_it(
    copied: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "mount")
    command = [sys.executable, "tiny_server.py", copied, photos, tmp_path / "mount"]
    servers = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        for _ in range(2)
    ]
    try:
        addresses = [server.stderr.readline().split()[2] for server in servers if server.stderr]

        def ask(address: str) -> int:
            with urlopen(f"{address}api/search?q=boat", timeout=300) as answer:
                return len(json.load(answer)["hits"])

        assert [ask(address) for address in addresses] == [12, 12]
        servers[0].send_signal(signal.SIGKILL)
        servers[0].wait()
        with pytest.raises(URLError):
            ask(addresses[0])
        assert ask(addresses[1]) == 12
    finally:
        for server in servers:
            server.kill()
            server.communicate()
