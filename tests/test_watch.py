"""Folders that are followed: whatever happens in them, the catalog soon is as the disk is."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import picture
from test_docs import documented
from tiny import TinyEncoder, open_other, open_tiny

from clipsearch import ClipsearchError, IndexReport, InvalidInput
from clipsearch.cache import give_up
from clipsearch.encoders.onnx.texts import folder_of
from clipsearch.indexing.watching.arrivals import is_open_for_writing
from clipsearch.photos.files.mounts import network_type
from clipsearch.store.lock import write_lock

HERE = Path(__file__).parent
DEADLINE = 300.0  # seconds; only a failing test waits so long

# `python -c PROGRAM INDEX FOLDER...` watches with the tiny encoder.
PROGRAM = """
import logging, signal, sys, threading
from pathlib import Path
from tiny import open_tiny
logging.basicConfig(format="%(message)s")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with open_tiny(Path(sys.argv[1])) as library:
    library.watch(sys.argv[2:], stop=stop, on_run=lambda report: print(report, flush=True))
"""

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"><rdf:RDF>
 <rdf:Description photoshop:Headline="TITLE"/></rdf:RDF></x:xmpmeta>"""


class Watch:
    """A library that is watched in a thread of its own."""

    def __init__(self, index: Path, *folders: Path, poll: float | None = None) -> None:
        self.index = index
        self.reports: list[IndexReport] = []
        self.error: ClipsearchError | None = None
        self.stop = threading.Event()
        self._arguments = (folders, poll)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        folders, poll = self._arguments
        with open_tiny(self.index) as library:
            try:
                library.watch(folders, stop=self.stop, poll=poll, on_run=self.reports.append)
            except ClipsearchError as error:
                self.error = error

    def did(self) -> dict[str, int]:
        """What all looks since the first one did together."""
        names = ("added", "updated", "moved", "removed", "failed")
        sums = {name: sum(getattr(it, name) for it in self.reports[1:]) for name in names}
        return {name: count for name, count in sums.items() if count}

    def holds(self, *names: str | Path) -> Callable[[], bool]:
        """Whether the catalog has exactly the photos whose paths end so."""
        return lambda: sorted(map(str, names)) == sorted(held(self.index))


@contextmanager
def watched(index: Path, *folders: Path, poll: float | None = None) -> Iterator[Watch]:
    watch = Watch(index, *folders, poll=poll)
    try:
        eventually(lambda: bool(watch.reports) or watch.error is not None)
        yield watch
    finally:
        watch.stop.set()
        watch.thread.join(DEADLINE)
    assert not watch.thread.is_alive()


def eventually(is_so: Callable[[], bool], deadline: float = DEADLINE) -> None:
    end = time.monotonic() + deadline
    while not is_so():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.02)


def held(index: Path) -> dict[str, tuple[int, str]]:
    """Id and digest of each photo by its absolute path, as another program reads them."""
    with closing(sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT roots.path || '/' || photos.path, photos.id, photos.digest FROM photos"
            " JOIN roots ON roots.id = root_id"
            " JOIN vectors ON vectors.digest = photos.digest"
        )
        return {path: (id, digest) for path, id, digest in rows}


def failures(index: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True)) as db:
        return [path for (path,) in db.execute("SELECT path FROM failures")]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def put(file: Path, seed: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, (64, 48)).save(file)
    return file


def ids(index: Path) -> dict[str, int]:
    return {path: id for path, (id, _) in held(index).items()}


# What happens to files


def test_new_changed_renamed_and_deleted_photos_are_seen(index: Path, photos: Path) -> None:
    with watched(index, photos) as watch:
        new = put(photos / "new.jpg", 100)
        eventually(lambda: str(new) in held(index))
        put(new, 101)
        eventually(lambda: held(index)[str(new)][1] == digest(new))
        id = ids(index)[str(new)]
        renamed = new.rename(photos / "trip" / "renamed.jpg")
        eventually(lambda: ids(index).get(str(renamed)) == id)
        renamed.unlink()
        all_four = {"added": 1, "updated": 1, "moved": 1, "removed": 1}
        eventually(lambda: watch.did() == all_four)
        assert watch.reports[0].added == 12


def test_only_the_folder_in_which_something_happened_is_looked_at(
    index: Path, photos: Path
) -> None:
    with watched(index, photos) as watch:
        put(photos / "trip" / "new.jpg", 100)
        eventually(lambda: len(watch.reports) == 2)
        assert (watch.reports[1].added, watch.reports[1].unchanged) == (1, 4)


def test_a_folder_that_is_moved_takes_its_photos_along(index: Path, photos: Path) -> None:
    with watched(index, photos) as watch:
        before = ids(index)
        (photos / "trip").rename(photos / "journey")
        after = {path.replace("/trip/", "/journey/"): id for path, id in before.items()}
        eventually(lambda: ids(index) == after)
        eventually(lambda: watch.did() == {"moved": 4})
        new = put(photos / "journey" / "new.jpg", 100)
        eventually(lambda: str(new) in held(index))


def test_a_folder_that_is_moved_in_or_out_is_seen(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    inner = put(outside / "deep" / "er" / "a.jpg", 100).relative_to(outside)
    with watched(index, photos):
        outside.rename(photos / "came")
        eventually(lambda: str(photos / "came" / inner) in held(index))
        new = put(photos / "came" / "deep" / "b.jpg", 101)
        eventually(lambda: str(new) in held(index))
        (photos / "came").rename(outside)
        eventually(lambda: not any("came" in path for path in held(index)))


def test_a_move_from_one_folder_that_is_followed_to_another_keeps_the_id(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with watched(index, photos, other) as watch:
        before = ids(index)
        (photos / "00.jpg").rename(other / "moved.jpg")
        (photos / "trip").rename(other / "trip")
        eventually(lambda: len(list(other.rglob("*.jpg"))) == watch.did().get("moved"))
        after = ids(index)
        assert after[str(other / "moved.jpg")] == before[str(photos / "00.jpg")]
        assert after[str(other / "trip" / "08.jpg")] == before[str(photos / "trip" / "08.jpg")]
        eventually(lambda: watch.did() == {"moved": 5})


def test_a_photo_is_taken_when_it_is_complete_and_never_before(index: Path, photos: Path) -> None:
    content = put(photos.parent / "elsewhere.jpg", 100).read_bytes()
    known, late = photos / "00.jpg", photos / "made" / "late.jpg"
    with watched(index, photos) as watch:
        before = held(index)
        late.parent.mkdir()
        with late.open("wb") as new, known.open("wb") as old:
            for file in (new, old):
                file.write(content[:1000])
                file.flush()
            # Both folders are looked at meanwhile, for the sake of others.
            others = [put(photos / "other.jpg", 101), put(late.parent / "other.jpg", 102)]
            eventually(lambda: {str(other) for other in others} <= held(index).keys())
            assert held(index)[str(known)] == before[str(known)]
            assert str(late) not in held(index)
            assert failures(index) == []
            for file in (new, old):
                file.write(content[1000:])
        eventually(lambda: held(index)[str(known)][1] == digest(known))
        eventually(lambda: str(late) in held(index))
        eventually(lambda: watch.did() == {"added": 3, "updated": 1})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who writes to a file")
def test_a_file_that_somebody_writes_to_is_known(tmp_path: Path) -> None:
    file = put(tmp_path / "a.jpg", 1)
    assert is_open_for_writing(str(file)) is False
    with file.open("ab"):
        assert is_open_for_writing(str(file)) is True
    with file.open("rb"):
        assert is_open_for_writing(str(file)) is False
    assert is_open_for_writing(str(tmp_path / "none")) is None


def test_what_an_editor_writes_and_renames_is_one_change(index: Path, photos: Path) -> None:
    with watched(index, photos) as watch:
        id = ids(index)[str(photos / "00.jpg")]
        (photos / "00.jpg").rename(photos / "00.jpg~")
        put(photos / ".00.tmp.jpg", 100).rename(photos / "00.jpg")
        (photos / "00.jpg~").unlink()
        eventually(lambda: held(index)[str(photos / "00.jpg")] == (id, digest(photos / "00.jpg")))
        eventually(lambda: watch.did() == {"updated": 1})


def test_a_storm_on_one_file_is_folded(index: Path, photos: Path) -> None:
    with watched(index, photos) as watch:
        for seed in range(200):
            put(photos / "stormy.jpg", seed)
        eventually(lambda: held(index).get(str(photos / "stormy.jpg"), (0, ""))[1]
                   == digest(photos / "stormy.jpg"))  # fmt: skip
        assert len(watch.reports) < 20


def test_a_burst_of_a_thousand_files_is_taken_in_batches(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    content = [put(tmp_path / f"{seed}.jpg", seed).read_bytes() for seed in range(100, 120)]
    with watched(index, photos) as watch:
        for number in range(1000):
            file = photos / f"{number % 10}" / f"{number}.jpg"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content[number % 20] + b"%d" % number)
        eventually(lambda: len(held(index)) == 1012)
        eventually(lambda: watch.did() == {"added": 1000})
        assert len(watch.reports) < 20


def test_what_is_no_photo_is_left_alone(index: Path, photos: Path, tmp_path: Path) -> None:
    with watched(index, photos) as watch:
        for name in (".hidden.jpg", ".git/a.jpg", "@eaDir/b.jpg", "text.txt"):
            put(tmp_path / "x.jpg", 100)
            (photos / name).parent.mkdir(exist_ok=True)
            (tmp_path / "x.jpg").rename(photos / name)
        last = put(photos / "last.jpg", 101)
        eventually(lambda: str(last) in held(index))
        eventually(lambda: watch.did() == {"added": 1})


def test_a_changed_ignore_file_is_heeded_at_once(index: Path, photos: Path) -> None:
    with watched(index, photos) as watch:
        (photos / ".clipsearchignore").write_text("trip/\n")
        eventually(lambda: watch.did() == {"removed": 4})
        put(photos / "trip" / "new.jpg", 100)
        (photos / ".clipsearchignore").write_text("0*.jpg\n")
        eventually(lambda: watch.did() == {"removed": 12, "added": 3})
        (photos / ".clipsearchignore").unlink()
        eventually(lambda: len(held(index)) == 13)
        assert watch.error is None


def test_a_file_beside_a_photo_is_read_when_it_comes_changes_and_goes(
    index: Path, photos: Path
) -> None:
    def title() -> str | None:
        with open_tiny(index, create=False) as library:
            return next(it.facts.title for it in library.photos() if it.path.name == "01.jpg")

    beside = photos / "01.jpg.xmp"
    with watched(index, photos) as watch:
        beside.write_text(XMP.replace("TITLE", "At sea"))
        eventually(lambda: title() == "At sea")
        beside.write_text(XMP.replace("TITLE", "In port"))
        eventually(lambda: title() == "In port")
        beside.unlink()
        eventually(lambda: title() is None)
    assert set(watch.did()) == {"updated"}  # and nothing was read anew


def test_picasas_hidden_file_is_followed(index: Path, photos: Path) -> None:
    def rated() -> set[str]:
        with open_tiny(index, create=False) as library:
            return {it.path.name for it in library.photos(min_rating=5)}

    with watched(index, photos) as watch:
        (photos / ".picasa.ini").write_text("[01.jpg]\nstar=yes\n")
        eventually(lambda: rated() == {"01.jpg"})
        (photos / ".picasa.ini").write_text("[02.jpg]\nstar=yes\n")
        eventually(lambda: rated() == {"02.jpg"})
    assert watch.did() == {"updated": 3}


def test_the_remembered_rules_are_heeded(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos], exclude=["raw/"])
    with watched(index) as watch:
        put(photos / "raw" / "a.jpg", 100)
        last = put(photos / "b.jpg", 101)
        eventually(lambda: str(last) in held(index))
        eventually(lambda: watch.did() == {"added": 1})


def test_a_link_in_the_place_of_a_folder_is_not_followed(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    with watched(index, photos) as watch:
        (photos / "trip").rename(tmp_path / "away")
        (photos / "trip").symlink_to(tmp_path / "away")
        eventually(lambda: watch.did() == {"removed": 4})


def test_a_broken_photo_is_remembered_and_mended(index: Path, photos: Path) -> None:
    with watched(index, photos):
        (photos / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
        eventually(lambda: failures(index) == ["bad.jpg"])
        put(photos / "bad.jpg", 100)
        eventually(lambda: str(photos / "bad.jpg") in held(index))
        assert failures(index) == []


# Rights, which even root lacks so
NO_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def bound(index: Path, photos: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that watches and may read only what it has the right to."""
    wrapped = NO_RIGHTS if os.geteuid() == 0 else ()
    if wrapped and subprocess.run([*wrapped, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs setpriv")
    process = program(index, photos, wrapped=wrapped)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.terminate()
    process.communicate()


def test_a_photo_that_becomes_readable_is_found(
    index: Path, photos: Path, tmp_path: Path, bound: subprocess.Popen[str]
) -> None:
    closed = put(tmp_path / "away" / "closed.jpg", 100)
    closed.chmod(0)
    closed.rename(photos / "closed.jpg")
    eventually(lambda: failures(index) == ["closed.jpg"], 300)
    (photos / "closed.jpg").chmod(0o644)
    eventually(lambda: str(photos / "closed.jpg") in held(index), 300)
    assert failures(index) == []


def test_a_folder_that_becomes_readable_is_looked_at(
    index: Path, photos: Path, tmp_path: Path, bound: subprocess.Popen[str]
) -> None:
    closed = put(tmp_path / "away" / "in.jpg", 100).parent
    closed.chmod(0)
    closed.rename(photos / "closed")
    assert bound.stderr
    assert f"{photos}/closed cannot be read (Permission denied)" in bound.stderr.readline()
    (photos / "closed").chmod(0o755)
    eventually(lambda: str(photos / "closed" / "in.jpg") in held(index), 300)
    put(photos / "closed" / "later.jpg", 101)
    eventually(lambda: str(photos / "closed" / "later.jpg") in held(index), 300)


# Folders that come and go


def test_a_folder_that_is_not_there_keeps_its_photos_and_is_followed_again(
    index: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(index, photos) as watch:
        away = photos.rename(photos.with_name("unplugged"))
        eventually(lambda: "is not there; its photos are kept" in caplog.text)
        (away / "00.jpg").unlink()
        assert len(held(index)) == 12
        away.rename(photos)
        eventually(lambda: watch.did() == {"removed": 1})
        new = put(photos / "trip" / "new.jpg", 100)
        eventually(lambda: str(new) in held(index))
        assert caplog.text.count("is not there") == caplog.text.count(f"{photos} is back") == 1


def test_a_folder_that_is_deleted_and_made_again_is_followed(index: Path, photos: Path) -> None:
    with watched(index, photos):
        shutil.rmtree(photos)
        new = put(photos / "new.jpg", 100)
        eventually(lambda: str(new) in held(index))
        newer = put(photos / "newer.jpg", 101)
        eventually(lambda: held(index).keys() == {str(new), str(newer)})


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Path]:
    """A folder on which a file system of its own is mounted, over and over if need be."""
    folder, disk = tmp_path / "drive", tmp_path / "disk"
    folder.mkdir()
    put(disk / "album" / "a.jpg", 1)
    if not mount(disk, folder):
        pytest.skip("only root may mount, and not in every container")
    yield folder
    subprocess.run(["umount", folder], check=False, capture_output=True)


def mount(disk: Path, folder: Path) -> bool:
    try:
        subprocess.run(["mount", "--bind", disk, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def test_a_drive_that_is_unmounted_pauses_and_goes_on_when_it_is_back(
    index: Path, drive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(index, drive) as watch:
        subprocess.run(["umount", drive], check=True)
        eventually(lambda: "is empty where it held 1 photo (" in caplog.text)
        put(tmp_path / "disk" / "album" / "b.jpg", 2)
        assert watch.did() == {}
        assert mount(tmp_path / "disk", drive)
        eventually(lambda: watch.did() == {"added": 1})
        put(drive / "c.jpg", 3)
        eventually(lambda: watch.did() == {"added": 2})
        assert caplog.text.count(f"{drive} is back") == 1


def test_a_folder_that_another_run_adds_is_followed_too(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    other = put(tmp_path / "other" / "a.jpg", 100).parent
    with open_tiny(index) as library:
        library.index([photos])
        with watched(index):
            library.index([other])
            new = put(other / "b.jpg", 101)
            eventually(lambda: str(new) in held(index))
            library.forget(other)
            put(other / "c.jpg", 102)
            last = put(photos / "last.jpg", 103)
            eventually(lambda: str(last) in held(index))
            assert not [path for path in held(index) if path.startswith(str(other))]


def test_a_part_of_an_indexed_folder_can_be_watched(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
    with watched(index, photos / "trip") as watch:
        put(photos / "new.jpg", 100)
        put(photos / "trip" / "new.jpg", 101)
        eventually(lambda: watch.did() == {"added": 1})
        assert str(photos / "trip" / "new.jpg") in held(index)


# Where events cannot be had


def test_looking_every_now_and_then_sees_the_same(index: Path, photos: Path) -> None:
    with watched(index, photos, poll=0.1) as watch:
        before = ids(index)
        new = put(photos / "new.jpg", 100)
        eventually(lambda: str(new) in held(index))
        (photos / "trip").rename(photos / "journey")
        eventually(lambda: watch.did().get("moved") == 4)
        assert ids(index)[str(photos / "journey" / "08.jpg")] == before[str(photos / "trip/08.jpg")]


def test_a_folder_followed_behind_links_is_looked_at_now_and_then(
    index: Path, photos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipsearch.indexing.watching import folders as module

    monkeypatch.setattr(module, "USUAL_POLL", 0.1)
    behind = put(photos.parent / "behind" / "a.jpg", 100).parent
    (photos / "link").symlink_to(behind)
    with open_tiny(index) as library:
        library.index([photos], follow_links=True)
    with watched(index, photos):
        put(behind / "b.jpg", 101)
        eventually(lambda: str(photos / "link" / "b.jpg") in held(index))
    assert "behind its links too: looking for changes every" in caplog.text


def test_a_network_folder_is_told_by_the_table_of_mounts(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/photos /mnt/my\\040nas nfs4 rw 0 0\n"
        "/dev/sdb1 /mnt/my\\040nas/local ext4 rw 0 0\n"
        "ann@host: /home/ann/far fuse.sshfs rw 0 0\n"
    )
    assert network_type("/mnt/my nas", table) == "nfs4"
    assert network_type("/mnt/my nas/2024", table) == "nfs4"
    assert network_type("/mnt/my nas/local/2024", table) is None
    assert network_type("/mnt/my nas too", table) is None
    assert network_type("/home/ann", table) == "fuse.sshfs"
    assert network_type("/home/bob", table) is None
    assert network_type("/home/ann", tmp_path / "no table") is None


def program(
    index: Path, *folders: Path, before: str = "", wrapped: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """A process that watches; `before` is shell that is run first, in a user namespace."""
    command = [*wrapped, sys.executable, "-c", PROGRAM, *map(str, (index, *folders))]
    if before:
        command = ["unshare", "--user", "--map-root-user", "sh", "-c", f'{before} && exec "$@"',
                   "sh", *command]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, **pipes)


@pytest.mark.parametrize("limit", ["watches 2", "instances 0"])
def test_where_inotify_has_no_room_folders_are_looked_at_and_a_line_says_so(
    index: Path, photos: Path, limit: str
) -> None:
    name, count = limit.split()
    before = f"echo {count} > /proc/sys/user/max_inotify_{name}"
    if subprocess.run(["unshare", "-Ur", "sh", "-c", before], capture_output=True).returncode:
        pytest.skip("needs a user namespace of its own")
    (photos / "more").mkdir()
    process = program(index, photos, before=before)
    assert process.stderr
    assert f"{photos} cannot be watched (inotify {name[:-1].replace('watche', 'watch')} limit" in (
        process.stderr.readline()
    )
    assert process.stdout
    process.stdout.readline()
    process.terminate()
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert len(held(index)) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_events_that_are_lost_lead_to_a_look_at_everything(index: Path, photos: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    process = program(index, photos)
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    for number in range(most + 1000):  # of equal events in a row only one is kept
        with (photos / f"{number % 2}.txt").open("wb"):
            pass
    (photos / "trip").rename(photos / "journey")
    (photos / "00.jpg").unlink()
    new = put(photos / "later" / "new.jpg", 100)
    process.send_signal(signal.SIGCONT)
    eventually(lambda: str(new) in held(index))
    disk = {str(path) for path in photos.rglob("*.jpg")}
    eventually(lambda: held(index).keys() == disk)
    newer = put(photos / "later" / "newer.jpg", 101)
    eventually(lambda: str(newer) in held(index))
    process.terminate()
    assert "more changed at once than the system can tell of" in process.communicate()[1]


# Beside others


def test_while_another_process_writes_it_waits(
    index: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(index, photos) as watch:
        with write_lock(index):
            new = put(photos / "new.jpg", 100)
            eventually(lambda: "is writing to" in caplog.text)
            assert str(new) not in held(index)
        eventually(lambda: str(new) in held(index))
        assert watch.error is None
        assert caplog.text.count("is writing to") == 1


def test_it_starts_while_another_process_writes(index: Path, photos: Path) -> None:
    with open_tiny(index), write_lock(index):
        watch = Watch(index, photos)
    eventually(lambda: index.exists() and len(held(index)) == 12)
    watch.stop.set()
    watch.thread.join()


@pytest.mark.thorough
def test_five_hundred_pictures_in_any_order_while_queries_go_on(
    index: Path, tmp_path: Path
) -> None:
    chance = random.Random(5)
    pictures = [put(tmp_path / "from" / f"{n}.jpg", n) for n in range(60)]
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        for folder in ("", "a", "a/b", "c"):
            put(root / folder / "first.jpg", chance.randrange(60))
    used = 0

    def anything() -> Path:
        return chance.choice([*roots[0].rglob("*.jpg"), *roots[1].rglob("*.jpg")])

    def somewhere() -> Path:
        nonlocal used
        used += 1
        folder = chance.choice(roots) / chance.choice(["", "a", "a/b", "c", f"new/{used % 7}"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{used}.jpg"

    def copy() -> None:
        target = somewhere()
        target.write_bytes(chance.choice(pictures).read_bytes() + b"%d" % chance.randrange(200))

    def edit() -> None:
        put(anything(), 1000 + used)

    def write_and_rename() -> None:
        target = anything()
        put(target.with_name(".edited.jpg"), 2000 + used).rename(target)

    def move() -> None:
        anything().rename(somewhere())

    def move_folder() -> None:
        target = somewhere().with_suffix("")
        folder = anything().parent
        if folder not in roots and not target.is_relative_to(folder):
            folder.rename(target)

    def delete() -> None:
        anything().unlink()

    def delete_folder() -> None:
        folder = anything().parent
        if folder not in roots:
            shutil.rmtree(folder)

    def slowly() -> None:
        content = chance.choice(pictures).read_bytes()
        with somewhere().open("wb") as file:
            file.write(content[:500])
            file.flush()
            copy()
            file.write(content[500:])

    steps = [copy] * 40 + [edit] * 10 + [write_and_rename] * 8 + [move] * 20 + [delete] * 12
    steps += [move_folder] * 4 + [delete_folder] * 2 + [slowly] * 4
    with watched(index, *roots) as watch, open_tiny(index) as library:
        while used < 500:
            chance.choice(steps)()
            if used % 25 == 0:
                library.query("a dog", k=5)
                library.similar(pictures[0], k=5)
                time.sleep(0.1)  # so that looks and changes alternate
        disk = {str(p): digest(p) for root in roots for p in root.rglob("*.jpg")}
        eventually(lambda: {path: it[1] for path, it in held(index).items()} == disk)
        eventually(lambda: failures(index) == [])
        assert len(watch.reports) > 3
        for path in list(disk)[:20]:
            assert library.similar(path, k=3)
    with open_tiny(index) as library:
        report = library.index()
    assert not report.has_changes


# The command


def test_the_command_watches_until_it_is_told_to_end(
    index: Path, photos: Path, home: Path, cache: Path, tmp_path: Path
) -> None:
    with open_other(index) as library:  # so that no model need be loaded
        library.index([photos])
    give_up(folder_of(TinyEncoder.weights, TinyEncoder.preprocess))
    environment = os.environ | {"HOME": str(home), "CLIPSEARCH_INDEX": str(index)}
    command = [sys.executable, "-m", "clipsearch", "watch"]
    for options, ending in (["--json"], signal.SIGTERM), ([], signal.SIGINT):
        process = subprocess.Popen(
            [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stdout
        first = process.stdout.readline()
        shutil.copy2(photos / "00.jpg", photos / "copy.jpg")
        second = process.stdout.readline()
        (photos / "copy.jpg").unlink()
        third = process.stdout.readline()
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=DEADLINE)
        assert (process.returncode, rest) == (0, "")
        # What it heard of the last change may still be in work.
        assert errors in (
            "clipsearch: stopping\n",
            "clipsearch: stopping after the current batch; once more stops at once\n",
        )
        if options:
            assert json.loads(first).keys() == documented("watch")
            assert [json.loads(line)["added"] for line in (first, second, third)] == [0, 1, 0]
            assert json.loads(third)["removed"] == 1
        else:
            assert "12 unchanged" in first
            assert second.startswith("+1 photo in ")
            assert third.startswith("-1 photo in ")


def test_errors_are_told(index: Path, photos: Path, tmp_path: Path) -> None:
    def error(*folders: Path, poll: float | None = None) -> ClipsearchError | None:
        with watched(index, *folders, poll=poll) as watch:
            return watch.error

    assert "no folder" in str(error(tmp_path / "none"))
    assert "knows no folder yet" in str(error())
    assert "poll must be above 0" in str(error(photos, poll=0))
    assert isinstance(error(photos, poll=float("nan")), InvalidInput)
