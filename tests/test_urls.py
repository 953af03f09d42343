"""Photos at URLs, in a bucket of a server that speaks S3: what is read, kept, removed and said."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from conftest import picture
from PIL import Image
from test_ray import RayCluster, needs_ray
from tiny import open_tiny

from clipsearch import InvalidInput, Library
from clipsearch.photos.facts.facts import NO_TIME, Facts, with_file_time
from clipsearch.photos.files.urls import Url, joined, normal, path_below
from clipsearch.search.filtering.filters import Filters

needs_s3 = pytest.mark.skipif(
    not all(map(find_spec, ("s3fs", "moto", "flask", "flask_cors"))),
    reason="asks a server that speaks S3: pip install 'clipsearch[s3,test]'",
)

HERE = Path(__file__).parent
START = 'from clipsearch.encoders.spec import FAMILIES\nFAMILIES["tiny"] = "tiny"\n'
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",  # or credentials are looked for on the network
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_MAX_ATTEMPTS": "1",
}


class Server:
    """An S3 server in a process of its own, and the requests that it was asked."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with closing(socket.socket()) as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._seen = 0
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=output,
                stderr=output,
            )
        end = time.monotonic() + 300
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def asked(self, method: str = "GET") -> list[str]:
        """The paths that were asked for by a method since this was last called."""
        lines = self._log.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        found = (re.search(r'"(?:\x1b\[[\d;]*m)*([A-Z]+) (\S+) HTTP', line) for line in new)
        return [match[2] for match in found if match and match[1] == method]

    def files_read(self) -> list[str]:
        """The names of the objects that were fetched since requests were last looked at."""
        return [path for path in self.asked() if "list-type=" not in path]

    def stop(self) -> None:
        """End the server; nothing listens there from then on."""
        self._process.kill()
        self._process.wait()


class Bucket:
    """A bucket of the server, written to beside clipsearch."""

    def __init__(self, name: str) -> None:
        import botocore.session

        self.name = name
        self.url = f"s3://{name}/photos"
        self._client = botocore.session.get_session().create_client("s3")
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=f"photos/{key}", Body=content)

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._client.delete_object(Bucket=self.name, Key=f"photos/{key}")

    def move(self, old: str, new: str) -> None:
        source = {"Bucket": self.name, "Key": f"photos/{old}"}
        self._client.copy_object(Bucket=self.name, Key=f"photos/{new}", CopySource=source)
        self.delete(old)

    def keys(self) -> list[str]:
        page = self._client.list_objects_v2(Bucket=self.name)
        return [it["Key"].removeprefix("photos/") for it in page.get("Contents", [])]


class Line(ThreadingHTTPServer):
    """A way to the server that may fail, and on which listings come in short pages."""

    is_cut = False  # whether no object gets through
    page = 0  # entries in one, if any

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.onward = url
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Passing(BaseHTTPRequestHandler):
    server: Line

    def do_GET(self) -> None:
        is_listing = "list-type=" in self.path
        if self.server.is_cut and not is_listing:
            self.send_error(503)
            return
        page = f"&max-keys={self.server.page}" if self.server.page and is_listing else ""
        asked = Request(f"{self.server.onward}{self.path}{page}")
        for name in {"Authorization", "Range"} & set(self.headers):
            asked.add_header(name, self.headers[name])
        with urlopen(asked) as answer:
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        pass


def jpeg(seed: int, size: tuple[int, int] = (160, 120)) -> bytes:
    stream = BytesIO()
    picture(seed, size).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("s3") / "log")
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of nobody but the test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "FSSPEC_")):
            monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def at(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, which s3:// leads to."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    _forget_systems(monkeypatch)
    server.asked()
    return server


def _forget_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, which reads its settings anew."""
    monkeypatch.setattr("clipsearch.photos.files.remote._systems", {})


@pytest.fixture
def bucket(at: Server, request: pytest.FixtureRequest) -> Bucket:
    """Six photos in two folders of a bucket of the test's own."""
    bucket = Bucket(f"b{abs(hash(request.node.name)):x}")
    for seed in range(6):
        bucket.put(f"{'2019' if seed < 3 else '2020'}/{seed}.jpg", jpeg(seed))
    at.asked()
    return bucket


@pytest.fixture
def library(index: Path) -> Iterator[Library]:
    with open_tiny(index) as library:
        yield library


@pytest.fixture
def line(bucket: Bucket, at: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A way to the server that s3:// leads along; the bucket is written to beside it."""
    with Line(at.url) as line:
        threading.Thread(target=line.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        yield line
        line.shutdown()


def counts(report: Any) -> dict[str, int]:
    names = ("added", "updated", "moved", "removed", "unchanged", "failed")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def paths(library: Library, **filters: Any) -> set[str]:
    return {str(photo.path) for photo in library.photos(Filters(**filters))}


# Names


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3://bucket/photos/", "s3://bucket/photos"),
        ("S3A://bucket/Photos//", "s3://bucket/Photos"),
        ("gcs://bucket", "gs://bucket"),
        ("s3://bucket/a b#c?d=1%20e//f", "s3://bucket/a b#c?d=1%20e//f"),
    ],
)
def test_a_place_is_written_in_one_way(written: str, meant: str) -> None:
    assert normal(written) == meant


@pytest.mark.parametrize("path", ["a.jpg", "/a.jpg", "a//b.jpg", "../a.jpg", "a/./b.jpg"])
def test_what_is_joined_is_taken_apart_again(path: str) -> None:
    assert path_below(joined("s3://bucket/photos", path), "s3://bucket/photos") == path


def test_a_password_is_neither_taken_nor_repeated(library: Library) -> None:
    with pytest.raises(InvalidInput, match="a user or a password") as refused:
        library.index(["s3://key:hush@bucket/photos"])
    assert "hush" not in str(refused.value)
    with pytest.raises(InvalidInput, match="a user or a password"):
        library.similar("s3://key:hush@bucket/a.jpg", allow_url=True)
    assert library.status().roots == ()


def test_a_number_that_stands_for_a_checksum_is_no_time() -> None:
    assert with_file_time(Facts(), NO_TIME - 1) == Facts()
    assert with_file_time(Facts(), 0).taken_from == "file"


# Indexing


@needs_s3
def test_only_what_changed_is_read(bucket: Bucket, at: Server, library: Library) -> None:
    assert counts(library.index([bucket.url])) == {"added": 6}
    assert len(at.files_read()) == 6
    assert not at.asked("HEAD")
    assert counts(library.index()) == {"unchanged": 6}
    assert at.files_read() == []
    bucket.put("2019/0.jpg", jpeg(100))
    bucket.move("2019/1.jpg", "2020/moved.jpg")
    bucket.delete("2020/5.jpg")
    bucket.put("2020/new.jpg", jpeg(101))
    at.asked()
    ids = {str(photo.path): photo.id for photo in library.photos()}
    report = library.index()
    assert counts(report) == {"added": 1, "updated": 1, "moved": 1, "removed": 1, "unchanged": 3}
    assert report.embedded == 2
    read = set(at.files_read())
    assert {path.rpartition("/")[2] for path in read} == {"0.jpg", "moved.jpg", "new.jpg"}
    now = {str(photo.path): photo.id for photo in library.photos()}
    assert now[f"{bucket.url}/2020/moved.jpg"] == ids[f"{bucket.url}/2019/1.jpg"]


@needs_s3
def test_a_change_within_a_second_that_keeps_the_size_is_seen(
    bucket: Bucket, library: Library
) -> None:
    # As long as each other; sent one right after the other, mostly in one second.
    one, other = jpeg(0), jpeg(1)
    longest = max(len(one), len(other))
    bucket.put("x.jpg", one.ljust(longest, b"\0"))
    library.index([bucket.url])
    bucket.put("x.jpg", other.ljust(longest, b"\0"))
    assert counts(library.index()) == {"updated": 1, "unchanged": 6}


NAMES = [
    "a b.jpg", "ü/ñ 日本.jpg", "c#1.jpg", "d?e=f&g.jpg", "h%20i.jpg", "+j.jpg", "k//l.jpg",
    "/m.jpg", "n::o.jpg", "p'q\"r.jpg", "s&t;u.JPG", "[v]*w.jpg", "x\\y.jpg",
]  # fmt: skip


@needs_s3
def test_names_are_kept_as_they_are(bucket: Bucket, at: Server, library: Library) -> None:
    for number, name in enumerate(NAMES):
        bucket.put(name, jpeg(200 + number))
    assert counts(library.index([bucket.url])) == {"added": 6 + len(NAMES)}
    assert {f"{bucket.url}/{name}" for name in NAMES} < paths(library)
    assert counts(library.index()) == {"unchanged": 6 + len(NAMES)}
    for name in NAMES:
        url = f"{bucket.url}/{name}"
        hits = library.similar(url, k=None)
        assert {str(hit.path) for hit in hits} == paths(library) - {url}
    bucket.delete(*NAMES)
    assert counts(library.index()) == {"removed": len(NAMES), "unchanged": 6}


@needs_s3
def test_what_is_no_photo_is_left_out(bucket: Bucket, at: Server, library: Library) -> None:
    left_out = ("2019/", ".hidden/a.jpg", "@eaDir/a.jpg", "2019/._0.jpg", "notes.txt", "raw/b.jpg")
    for key in left_out:
        bucket.put(key, b"" if key.endswith("/") else jpeg(300))
    bucket.put("2020/.clipsearchignore", b"3.jpg\n")
    bucket.put("empty.jpg", b"")
    at.asked()
    report = library.index([bucket.url], exclude=["raw/"])
    assert counts(report) == {"added": 5, "failed": 1}
    asked = " ".join(at.asked())
    assert not any(name in asked for name in ("hidden", "eaDir", "._0", "notes", "b.jpg"))
    assert library.status().failures == ((f"{bucket.url}/empty.jpg", "the file is empty"),)
    assert counts(library.index()) == {"unchanged": 5}
    assert counts(library.index([f"{bucket.url}/2020"])) == {"unchanged": 2}
    bucket.delete("2020/.clipsearchignore")
    assert counts(library.index([f"{bucket.url}/2020"])) == {"added": 1, "unchanged": 2}


@needs_s3
def test_a_long_listing_comes_in_pages(
    bucket: Bucket, at: Server, library: Library, line: Line
) -> None:
    line.page = 2
    for number in range(5):
        bucket.put(f"2020/new{number}.jpg", jpeg(700 + number))
    assert counts(library.index([bucket.url])) == {"added": 11}
    # Eight right in one folder, three in another, and these two right in the root.
    assert len([it for it in at.asked() if "continuation-token=" in it]) == 3 + 1
    assert counts(library.index()) == {"unchanged": 11}


@needs_s3
def test_a_folder_and_a_bucket_are_in_one_index(
    bucket: Bucket, library: Library, photos: Path
) -> None:
    assert counts(library.index([photos, bucket.url])) == {"added": 18}
    (photos / "0.jpg").write_bytes(jpeg(0))
    assert counts(library.index()) == {"added": 1, "unchanged": 18}
    groups = library.duplicates(["bytes"])
    assert [{str(it.path) for it in group.photos} for group in groups] == [
        {str(photos / "0.jpg"), f"{bucket.url}/2019/0.jpg"}
    ]
    assert isinstance(library.photos(Filters(folder=[bucket.url]))[0].path, Url)
    whole = f"s3://{bucket.name}"
    assert counts(library.index([whole])) == {"unchanged": 6}
    assert {root.path for root in library.status().roots} == {str(photos), whole}


def test_other_stores_are_listed_by_fsspec(library: Library) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.store.clear()
    for number, name in enumerate(("2019/a b#1.jpg", "2019/c.jpg", ".hidden/d.jpg", "e.txt")):
        store.pipe_file(f"/bucket/photos/{name}", jpeg(number))
    root = "memory://bucket/photos"
    with pytest.raises(InvalidInput, match="there is no bucket or folder"):
        library.index(["memory://bucket/other"])
    assert counts(library.index([root])) == {"added": 2}
    assert paths(library) == {f"{root}/2019/a b#1.jpg", f"{root}/2019/c.jpg"}
    store.pipe_file("/bucket/photos/2019/f.jpg", jpeg(9))
    store.rm("/bucket/photos/2019/c.jpg")
    assert counts(library.index()) == {"added": 1, "removed": 1, "unchanged": 1}
    store.store.clear()
    report = library.index()
    assert report.removed == 0
    assert len(report.problems) == 1


# What goes away


@needs_s3
def test_a_bucket_that_is_suddenly_empty_removes_nothing(bucket: Bucket, library: Library) -> None:
    library.index([bucket.url])
    bucket.delete(*bucket.keys())
    report = library.index()
    assert report.removed == 0
    assert report.problems == (
        f"{bucket.url} is empty where it held 6 photos; they are kept. If they are gone for good:"
        " clipsearch index --prune, or clipsearch forget",
    )
    assert library.index(prune=True).removed == 6


@needs_s3
def test_a_bucket_that_is_gone_removes_nothing(bucket: Bucket, library: Library) -> None:
    library.index([bucket.url])
    bucket.delete(*bucket.keys())
    bucket._client.delete_bucket(Bucket=bucket.name)
    report = library.index()
    assert report.removed == 0
    assert "is missing, with 6 photos; they are kept" in report.problems[0]
    assert library.index(prune=True).removed == 6


@needs_s3
def test_a_server_that_is_gone_removes_nothing_not_even_if_told_to(
    bucket: Bucket, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([bucket.url])
    monkeypatch.setenv("AWS_ENDPOINT_URL", _nowhere())
    _forget_systems(monkeypatch)
    for prune in (False, True):
        report = library.index(prune=prune)
        assert counts(report) == {}
        assert len(report.problems) == 1
        assert report.problems[0].startswith(f"{bucket.url} cannot be read (Could not connect to")
        assert report.problems[0].endswith("its photos are kept")
    assert library.status().photos == 6


@needs_s3
def test_what_could_not_be_fetched_is_tried_again(
    bucket: Bucket, library: Library, line: Line
) -> None:
    library.index([bucket.url])
    bucket.put("2019/0.jpg", jpeg(400))
    bucket.put("2019/new.jpg", jpeg(401))
    line.is_cut = True
    assert counts(library.index()) == {"failed": 2, "unchanged": 5}
    assert len(paths(library)) == 6  # the changed one is kept as it was
    line.is_cut = False
    assert counts(library.index()) == {"added": 1, "updated": 1, "unchanged": 5}


def _nowhere() -> str:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


# What is wrong


@needs_s3
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://nosuchbucket/photos", "there is no bucket or folder"),
        ("{bucket}/2018", "there is no folder"),
        ("{bucket}/2019/0.jpg", "there is no folder"),
        ("s3://", "names no bucket or host"),
        ("https://example.org/photos", "the web has no listings of files"),
        ("file:///tmp", "name the folder without file://"),
        ("nonsense://bucket/photos", "nonsense:// is unknown"),
    ],
)
def test_what_cannot_be_indexed_is_said(
    bucket: Bucket, library: Library, url: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        library.index([url.format(bucket=bucket.url)])
    assert library.status().roots == ()


@needs_s3
def test_missing_credentials_are_said_with_the_remedy(
    bucket: Bucket, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([bucket.url])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    _forget_systems(monkeypatch)
    with pytest.raises(InvalidInput, match=r"no credentials were found .*aws configure"):
        library.index([f"s3://{bucket.name}-2/photos"])
    report = library.index()
    assert (report.removed, len(report.problems)) == (0, 1)
    assert "no credentials were found" in report.problems[0]


@pytest.mark.parametrize(("protocol", "group"), [("s3", "s3"), ("gs", "gcs")])
def test_a_missing_package_is_said_with_its_group(
    protocol: str, group: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget_systems(monkeypatch)
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(known, protocol, raising=False)
    with pytest.raises(InvalidInput, match=re.escape(f"pip install 'clipsearch[{group}]'")):
        library.index([f"{protocol}://bucket/photos"])


# Asking


@needs_s3
def test_what_is_in_a_bucket_is_asked_for_like_any_other(
    bucket: Bucket, at: Server, library: Library
) -> None:
    library.index([bucket.url])
    assert paths(library, folder=[f"{bucket.url}/2019/"]) == {
        f"{bucket.url}/2019/{number}.jpg" for number in range(3)
    }
    assert len(library.query("a red boat", filters=Filters(folder=[f"{bucket.url}/2020"]))) == 3
    with pytest.raises(InvalidInput, match="holds no photos below s3://other"):
        paths(library, folder=["s3://other"])
    assert library.status().roots[0].present
    assert dict(library.facets().folders) == {
        bucket.url: 6, f"{bucket.url}/2019": 3, f"{bucket.url}/2020": 3
    }  # fmt: skip


@needs_s3
def test_the_example_may_be_any_url_that_is_indexed_and_others_if_allowed(
    bucket: Bucket, library: Library
) -> None:
    library.index([f"{bucket.url}/2019"])
    own = f"{bucket.url}/2019/0.jpg"
    assert {str(hit.path) for hit in library.similar(own)} == {
        f"{bucket.url}/2019/{number}.jpg" for number in (1, 2)
    }
    other = f"{bucket.url}/2020/3.jpg"
    with pytest.raises(InvalidInput, match="allow_url"):
        library.similar(other)
    with pytest.raises(InvalidInput, match="allow_url"):
        library.similar(f"{bucket.url}/2019/../2020/3.jpg")
    assert len(library.similar(other, allow_url=True)) == 3
    assert len(library.query(f"boat + {own}")) == 3
    with pytest.raises(InvalidInput, match="it is not there"):
        library.similar(f"{bucket.url}/2019/none.jpg")


@needs_s3
def test_what_is_forgotten_stays_out_until_it_is_named(bucket: Bucket, library: Library) -> None:
    library.index([bucket.url])
    assert library.forget(f"{bucket.url}/2019/") == 3
    assert library.forget(f"{bucket.url}/2020/3.jpg") == 1
    assert counts(library.index()) == {"unchanged": 2}
    assert counts(library.index([f"{bucket.url}/2020/3.jpg"])) == {"added": 1, "unchanged": 2}
    assert counts(library.index([f"{bucket.url}/2019"])) == {"added": 3}
    assert library.forget(bucket.url) == 6
    assert library.status().roots == ()


@contextmanager
def served(index: Path) -> Iterator[Callable[..., Any]]:
    """What asks a server of the index, whose decoders find the credentials as well."""
    import requests

    process = subprocess.Popen(
        [sys.executable, "tiny_server.py", index], stderr=subprocess.PIPE, text=True, cwd=HERE
    )
    try:
        assert process.stderr is not None
        address = process.stderr.readline().split()[2].rstrip("/")
        yield lambda path, **how: requests.get(address + path, timeout=300, **how)
    finally:
        process.kill()
        process.communicate()


@needs_s3
def test_photos_of_a_bucket_are_served(bucket: Bucket, index: Path, cache: Path) -> None:
    large = jpeg(500, (1600, 1200))
    bucket.put("2020/large #1.jpg", large)
    with open_tiny(index) as library:
        library.index([bucket.url])
        id = next(it.id for it in library.photos() if "large" in it.path.name)
    with served(index) as get:
        about = get(f"/api/photos/{id}").json()
        assert (about["path"], about["folder"]) == (f"{bucket.url}/2020/large #1.jpg", bucket.url)
        thumbnail = get(f"/api/photos/{id}/thumbnail", params={"size": 160})
        assert thumbnail.status_code == 200, thumbnail.text
        assert Image.open(BytesIO(thumbnail.content)).size == (160, 120)
        original = get(f"/api/photos/{id}/original")
        assert original.content == large
        assert original.headers["content-type"] == "image/jpeg"
        part = get(f"/api/photos/{id}/original", headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, large[100:200])
        same = {"If-None-Match": original.headers["etag"]}
        assert get(f"/api/photos/{id}/original", headers=same).status_code == 304
        bucket.delete("2020/large #1.jpg")
        gone = get(f"/api/photos/{id}/original")
        assert gone.status_code == 404
        assert gone.json()["error"] == "it is not there"


@needs_s3
def test_a_watched_bucket_is_looked_at_now_and_then(bucket: Bucket, index: Path) -> None:
    stop, reports = threading.Event(), []

    def on_run(report: Any) -> None:
        reports.append(counts(report))
        if len(reports) == 1:
            bucket.put("2020/late.jpg", jpeg(600))
            bucket.delete("2019/0.jpg")
        else:
            stop.set()

    timer = threading.Timer(300, stop.set)
    timer.start()
    with open_tiny(index) as library:
        library.watch([bucket.url], stop=stop, poll=0.2, on_run=on_run)
    timer.cancel()
    assert reports == [{"added": 6}, {"added": 1, "removed": 1, "unchanged": 5}]


# The commands


@pytest.fixture
def command(index: Path, tmp_path: Path, cache: Path) -> Callable[..., Any]:
    """Run the real command line with the tiny model in a process of its own."""
    (tmp_path / "sitecustomize.py").write_text(START)
    path = os.pathsep.join([str(tmp_path), str(HERE), str(HERE.parent)])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clipsearch", *arguments],
            env=os.environ | {"PYTHONPATH": path, "CLIPSEARCH_INDEX": str(index)},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


@needs_s3
def test_the_commands_take_urls(
    bucket: Bucket, command: Callable[..., Any], index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("index", f"{bucket.url}/", "--model", "tiny:a/b", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["added"] == 6
    listed = command("ls", "--folder", f"{bucket.url}/2019", "--paths")
    assert sorted(listed.stdout.split()) == [f"{bucket.url}/2019/{it}.jpg" for it in range(3)]
    status = command("status")
    assert f"folder    {bucket.url}  6 photos\n" in status.stdout
    forgotten = command("forget", f"{bucket.url}/2019")
    assert forgotten.stdout == f"3 photos taken out: {bucket.url}/2019\n"
    monkeypatch.setenv("AWS_ENDPOINT_URL", _nowhere())
    away = command("index")
    assert (away.returncode, away.stderr.count("\n")) == (0, 1)
    assert away.stderr.startswith(f"clipsearch: {bucket.url} cannot be read (Could not connect")
    refused = command("index", "s3://elsewhere/photos")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_run_without_urls_imports_no_fsspec(photos: Path, index: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tiny import open_tiny\n"
        "with open_tiny(Path(sys.argv[1])) as library:\n"
        "    library.index([sys.argv[2]]); library.query('boat'); library.status()\n"
        "assert not {'fsspec', 's3fs', 'botocore'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(index), str(photos)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
@needs_s3
@needs_ray
def test_machines_of_a_cluster_read_by_themselves(
    bucket: Bucket, at: Server, index: Path, tmp_path: Path
) -> None:
    bucket.put("2020/copy.jpg", jpeg(0))
    own = {name: os.environ.pop(name) for name in list(os.environ) if "_ACCESS_KEY" in name}
    credentials = tmp_path / "credentials"
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(credentials)
    scratch = Path(tempfile.mkdtemp(prefix="clipsearch-ray-"))  # the paths of sockets are short
    cluster = None
    try:
        cluster = RayCluster(scratch)
        out, err = cluster.index(bucket.url, index, **own).communicate(timeout=300)
        assert out == ""
        assert f"cannot read {bucket.url}, which this one can: no credentials were found" in err
        assert err.count("\n") == 2
        lines = [f"{name.lower()} = {value}" for name, value in own.items()]
        credentials.write_text("\n".join(["[default]", *lines]))
        at.asked()
        out, err = cluster.index(bucket.url, index, **own).communicate(timeout=300)
        assert err == ""
        assert json.loads(out)["added"] == 7
        assert len(set(at.files_read())) == 7
    finally:
        if cluster:
            cluster.kill()
        shutil.rmtree(scratch, ignore_errors=True)
