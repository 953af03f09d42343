"""The tools for assistants, by the protocol's own client over a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
import skimage.data
from anyio.from_thread import start_blocking_portal
from conftest import Run, picture
from mcp import Client, StdioServerParameters, stdio_client
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_hostile import png
from tiny import open_tiny

from clipsearch import Library

TOOLS = {"search", "similar", "describe", "thumbnail", "list_photos", "status"}
CAPTIONS = {"coffee": "a cup of coffee", "rocket": "a rocket", "chelsea": "a cat"}


class Place(NamedTuple):
    """Photos, and an index of them."""

    photos: Path
    index: Path

    def ids(self) -> dict[str, int]:
        with Library.open(self.index, create=False) as library:
            return {photo.path.name: photo.id for photo in library.photos()}


Call = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three photographs, one on its side with EXIF that says so, and three made pictures."""
    place = Place(tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("index"))
    said = PngInfo()
    said.add_text("comment", "c" * 70_000)  # longer than that of a thumbnail's JPEG may be
    for name in CAPTIONS:
        file = place.photos / f"{name}.png"
        Image.fromarray(getattr(skimage.data, name)()).save(file, pnginfo=said)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it
    with Image.open(place.photos / "rocket.png") as rocket:
        turned = rocket.rotate(90, expand=True)
        turned.save(place.photos / "turned.jpg", quality=95, exif=exif, comment=b"")
    (place.photos / "trip").mkdir()
    for seed in range(3):
        picture(seed).save(place.photos / "trip" / f"{seed}.jpg")
    with Library.open(place.index, model="pocket") as library:
        library.index([place.photos])
    return place


def server(index: Path, *options: str) -> StdioServerParameters:
    environment = {name: os.environ[name] for name in ("CLIPSEARCH_CACHE",)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    arguments = ["-m", "clipsearch", "mcp", "--index", str(index), *options]
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment)


@contextmanager
def connected(index: Path, *options: str) -> Iterator[Client]:
    """A client of a server of its own, in a thread of its own: `client.portal.call(...)`."""
    with start_blocking_portal() as portal:
        client = Client(stdio_client(server(index, *options)))
        with portal.wrap_async_context_manager(client):
            client.portal = portal  # type: ignore[attr-defined]
            yield client


def calling(client: Any) -> Call:
    """Call a tool and give the result: `call("search", query="a cat")`."""
    return lambda tool, **arguments: client.portal.call(client.call_tool, tool, arguments)


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[Any]:
    """One server for the tests that leave the index alone."""
    with connected(place.index) as client:
        yield client


@pytest.fixture
def call(client: Any) -> Call:
    return calling(client)


def names(result: Any, key: str = "hits") -> list[str]:
    assert not result.is_error, result.content
    return [Path(photo["path"]).name for photo in result.structured_content[key]]


def complaint(result: Any) -> str:
    """What a tool says is wrong, which is one line."""
    (said,) = result.content
    assert result.is_error
    assert "\n" not in said.text
    return str(said.text)


def shown(result: Any) -> Image.Image:
    assert not result.is_error, result.content
    (content,) = result.content
    assert content.mime_type == "image/jpeg"
    return Image.open(BytesIO(b64decode(content.data)))


# What there is


def test_all_tools_say_that_they_only_read_and_take_nothing_else(client: Any) -> None:
    tools = client.portal.call(client.list_tools).tools
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.annotations.read_only_hint
        assert not tool.annotations.open_world_hint
        assert tool.input_schema["additionalProperties"] is False
        assert tool.description
        assert all("description" in about for about in tool.input_schema["properties"].values())


def test_every_tool_and_argument_is_documented(client: Any) -> None:
    text = (Path(__file__).parent.parent / "docs" / "mcp.md").read_text("utf-8")
    for tool in client.portal.call(client.list_tools).tools:
        assert [name for name in (tool.name, *tool.input_schema["properties"])
                if f"`{name}`" not in text] == []  # fmt: skip


# Asking


def test_words_find_photos_as_the_command_line_does(
    place: Place, call: Call, clipsearch: Run
) -> None:
    for name, caption in CAPTIONS.items():
        result = call("search", query=caption, k=3)
        assert names(result)[0].startswith((name, "turned"))
        printed = clipsearch("query", caption, "-k", "3", "--json", "--index", place.index).stdout
        assert result.structured_content["hits"] == json.loads(printed)
        assert json.loads(result.content[0].text) == result.structured_content


def test_pictures_words_and_what_should_not_show_go_together(place: Place, call: Call) -> None:
    file = place.photos / "coffee.png"
    encoded = b64encode(file.read_bytes()).decode()
    for asked in (
        {"pictures": [str(file)]},
        {"pictures_base64": [encoded]},
        {"pictures_base64": [f"data:image/png;base64,{encoded}"]},
        {"query": f"a cup + 2*{file} - a cat"},
        {"query": "a cup", "pictures": [str(file)], "minus": ["a cat"], "weight": 2},
    ):
        assert names(call("search", k=1, **asked)) == ["coffee.png"]


def test_filters_select_and_pages_follow_each_other(place: Place, call: Call) -> None:
    trip = [str(place.photos / "trip")]
    assert sorted(names(call("search", query="a cat", folder=trip))) == ["0.jpg", "1.jpg", "2.jpg"]
    assert names(call("search", query="a cat", camera="nikon")) == []
    assert sorted(names(call("search", query='"trip"', hybrid=True))) == ["0.jpg", "1.jpg", "2.jpg"]
    by_default = call("search", query="trip", k=3)
    assert sorted(names(by_default)) == ["0.jpg", "1.jpg", "2.jpg"]
    assert [hit["written"] for hit in by_default.structured_content["hits"]] == [1, 1, 1]
    plain = call("search", query="trip", k=3, hybrid=False)
    assert [hit["written"] for hit in plain.structured_content["hits"]] == [0, 0, 0]
    first, second = (call("search", query="a cat", k=2, offset=start) for start in (0, 2))
    assert names(first) + names(second) == names(call("search", query="a cat", k=4))
    assert [hit["rank"] for hit in second.structured_content["hits"]] == [3, 4]


def test_why_there_are_no_hits_is_told(place: Place, call: Call) -> None:
    def nothing(**asked: Any) -> Any:
        return call("search", **asked).structured_content["nothing"]

    assert nothing(query="a cat") is None
    unwritten = nothing(query='a "zeppelin" and a "rocket"')
    assert (unwritten["reason"], list(unwritten["nowhere"])) == ("quotes", ["zeppelin"])
    assert nothing(query="a cat", camera="nobody's")["reason"] == "filters"


def test_numbers_that_make_no_sense_are_refused_in_a_line(
    place: Place, client: Any, call: Call
) -> None:
    tried = 0
    for tool in client.portal.call(client.list_tools).tools:
        for argument, about in tool.input_schema["properties"].items():
            if about.get("type") not in ("integer", "number"):
                continue
            needed = {"query": "a cat"} if "query" in tool.input_schema["properties"] else {}
            if argument == "weight":
                needed["pictures"] = [str(place.photos / "rocket.png")]
            if "id" in tool.input_schema["properties"]:
                needed["id"] = 1
            for number in (1 << 63, 1 << 70, -(1 << 70)):
                said = complaint(call(tool.name, **needed | {argument: number}))
                assert "fault" not in said.lower(), said
                tried += 1
    assert tried >= 3 * 8


def test_similar_photos_of_a_photo_a_file_or_a_region(place: Place, call: Call) -> None:
    ids = place.ids()
    assert names(call("similar", id=ids["rocket.png"], k=1)) == ["turned.jpg"]
    assert names(call("similar", path=str(place.photos / "rocket.png"), k=1)) == ["turned.jpg"]
    whole = call("similar", id=ids["rocket.png"], region="0%,0%,100%,100%", k=1)
    part = call("similar", id=ids["rocket.png"], region="0%,0%,20%,20%", k=1)
    scores = [it.structured_content["hits"][0]["score"] for it in (whole, part)]
    assert scores[0] > scores[1]


def test_photos_are_listed_as_the_command_line_does(
    place: Place, call: Call, clipsearch: Run
) -> None:
    printed = json.loads(clipsearch("ls", "--json", "--index", place.index).stdout)
    assert call("list_photos").structured_content["photos"] == printed
    portraits = [photo["path"] for photo in printed if photo["width"] < photo["height"]]
    listed = call("list_photos", orientation="portrait").structured_content["photos"]
    assert [photo["path"] for photo in listed] == portraits


def test_a_photo_is_described_with_the_labels_given(place: Place, call: Call) -> None:
    id = place.ids()["chelsea.png"]
    facts = call("describe", id=id).structured_content
    assert "folder" in facts.pop("untrusted")
    listed = call("list_photos").structured_content["photos"]
    (expected,) = [photo for photo in listed if photo["id"] == id]
    assert facts == {k: v for k, v in expected.items() if k != "rank"} | {
        "folder": str(place.photos)
    }
    labels = call("describe", id=id, labels=["a car", "a cat"]).structured_content["labels"]
    assert [label["label"] for label in labels] == ["a cat", "a car"]
    assert sum(label["probability"] for label in labels) == pytest.approx(1, abs=1e-5)


def test_a_thumbnail_is_upright_and_within_its_size(place: Place, call: Call) -> None:
    ids = place.ids()
    with Image.open(place.photos / "rocket.png") as rocket:
        expected = rocket.convert("RGB")
    for name in ("rocket.png", "turned.jpg"):
        image = shown(call("thumbnail", id=ids[name], size=200))
        assert max(image.size) == 200
        small = expected.resize(image.size)
        difference = [abs(a - b) for a, b in zip(image.tobytes(), small.tobytes(), strict=True)]
        assert sum(difference) / len(difference) < 6  # on its side it is some 60


def test_what_strangers_wrote_is_marked_as_data(place: Place, client: Any, call: Call) -> None:
    assert "never instructions" in client.instructions
    id = place.ids()["rocket.png"]
    for tool, arguments in (
        ("search", {"query": "a rocket"}), ("list_photos", {}), ("similar", {"id": id}),
        ("describe", {"id": id}),
    ):  # fmt: skip
        answer = call(tool, **arguments).structured_content
        assert {"path", "title", "caption", "keywords"} <= set(answer["untrusted"])


def test_only_pictures_in_indexed_folders_are_looked_at_if_that_is_wanted(
    place: Place, tmp_path: Path
) -> None:
    picture(1).save(tmp_path / "other.png")
    (place.photos / "link.png").symlink_to(tmp_path / "other.png")
    own = str(place.photos / "rocket.png")
    with connected(place.index, "--only-indexed") as client:
        call = calling(client)
        assert names(call("similar", path=own))
        assert names(call("search", query=f"rocket + {own}"))
        beyond = f"{place.photos}/../{tmp_path.name}/other.png"
        for other in (str(tmp_path / "other.png"), str(place.photos / "link.png"), beyond):
            for told in (
                call("similar", path=other), call("search", pictures=[other]),
                call("search", query=f"rocket + {other}"),
            ):  # fmt: skip
                assert "is in no indexed folder" in complaint(told)
        none = complaint(call("similar", path=str(tmp_path / "none.png")))
        assert "is in no indexed folder" in none  # as what is there
    (place.photos / "link.png").unlink()


def peak_of_the_server() -> int:
    """The most memory that the one server took which this process has started, in kilobytes."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = f"PPid:\t{os.getpid()}\n" in (status := (place / "status").read_text())
            if is_ours and b"\0mcp\0" in (place / "cmdline").read_bytes():
                return int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    raise AssertionError


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_no_picture_is_decoded_in_the_server_itself(tmp_path: Path, call: Call) -> None:
    picture(1).save(tmp_path / "small.png")
    large = png(11_000, 11_000, zlib.compress(bytes((1 + 3 * 11_000) * 11_000), 1))
    (tmp_path / "large.png").write_bytes(large)
    names(call("similar", path=str(tmp_path / "small.png"), region="0,0,50,50"))
    before = peak_of_the_server()
    names(call("similar", path=str(tmp_path / "large.png"), region="0,0,50,50"))
    names(call("search", pictures_base64=[b64encode(large).decode()]))
    assert peak_of_the_server() - before < 150_000  # kilobytes; its pixels are 363,000


def test_status_counts(place: Place, call: Call) -> None:
    held = call("status").structured_content
    assert (held["index"], held["photos"], held["failed"]) == (str(place.index), 7, 0)
    assert [(root["path"], root["photos"]) for root in held["roots"]] == [(str(place.photos), 7)]
    assert [model["spec"] for model in held["models"]] == ["pocket"]


def test_calls_that_come_together_are_all_answered(place: Place, client: Any) -> None:
    id = place.ids()["coffee.png"]
    alone = [names(calling(client)("search", query=f"photo {n}")) for n in range(6)]
    answers: dict[Any, Any] = {}

    async def ask(tool: str, **arguments: Any) -> None:
        key = (tool, arguments.get("query"))
        answers[key] = await client.call_tool(tool, arguments)

    async def ask_all() -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(6):
                tasks.start_soon(lambda n=n: ask("search", query=f"photo {n}"))
            for tool in ("describe", "thumbnail"):
                tasks.start_soon(lambda tool=tool: ask(tool, id=id))
            tasks.start_soon(lambda: ask("status"))

    client.portal.call(ask_all)
    assert [names(answers["search", f"photo {n}"]) for n in range(6)] == alone
    assert not any(answers[tool, None].is_error for tool in ("describe", "thumbnail", "status"))


# What cannot be done


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("thumbnail", {"id": 999_999}, "the index holds no photo with the id 999999"),
        ("describe", {"id": -1}, "no photo with the id -1"),
        ("similar", {"id": 10**30}, "no photo with the id 1000"),
        ("thumbnail", {"id": 1, "size": 100_000}, "size: Input should be less than or equal to"),
        ("thumbnail", {"id": "../x"}, "id: Input should be a valid integer"),
        ("search", {"query": ""}, "the query is empty"),
        ("search", {"query": "cat", "near": "9,"}, "near '9,' is no place"),
        ("search", {"query": "cat", "min_size": "big"}, "min_size 'big' is no size"),
        ("search", {"query": "cat", "camra": "nikon"}, "search takes no argument 'camra'"),
        ("search", {"query": "cat", "folder": ["/nowhere"]}, "no photos below /nowhere"),
        ("search", {"query": "cat", "k": 0}, "k: Input should be greater than or equal to 1"),
        ("search", {"pictures": ["-"]}, "'-' is no absolute path"),
        ("search", {"pictures": ["/nowhere/a.jpg"]}, "No such file"),
        ("search", {"pictures_base64": ["no base64!"]}, "a picture is not in base64"),
        ("search", {"pictures_base64": ["bm8gcGljdHVyZQ=="]}, "not an image"),
        ("search", {"pictures": ["http://localhost/a.jpg"]}, "nothing is fetched"),
        ("similar", {}, "give an id or a path"),
        ("similar", {"id": 1, "region": "1,2,3"}, "region '1,2,3' is none"),
        ("list_photos", {"orientation": "round"}, "orientation: Input should be 'landscape'"),
        ("list_photos", {"since": "whenever"}, "'whenever' is no date"),
        ("remove", {"id": 1}, "Unknown tool: remove"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    call: Call, tool: str, arguments: dict[str, Any], said: str
) -> None:
    assert said in complaint(call(tool, **arguments))


def test_a_photo_that_became_a_link_is_not_shown(tmp_path: Path, photos: Path, index: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
    secret = tmp_path / "secret.png"
    picture(99).save(secret)
    ids = Place(photos, index).ids()
    (photos / "00.jpg").unlink()
    (photos / "00.jpg").symlink_to(secret)
    (photos / "02.jpg").unlink()
    with connected(index) as client:
        call = calling(client)
        assert "it leads elsewhere by now" in complaint(call("thumbnail", id=ids["00.jpg"]))
        assert shown(call("thumbnail", id=ids["01.jpg"])).size == (320, 240)
        assert "No such file" in complaint(call("thumbnail", id=ids["02.jpg"]))


def test_an_index_may_come_or_be_replaced_while_the_server_runs(
    photos: Path, index: Path, tmp_path: Path
) -> None:
    with connected(index) as client:
        call = calling(client)
        assert "holds no index" in complaint(call("search", query="a dog"))
        for number in (12, 4):
            with open_tiny(index) as library:
                library.index([photos if number == 12 else photos / "trip"])
                library.query("a dog")  # its embedding is remembered, so no model is needed
            assert call("status").structured_content["photos"] == number
            assert len(names(call("search", query="a dog", k=50))) == number
            os.replace(index, tmp_path / f"old-{number}")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_name_that_is_no_text_is_shown_with_its_bytes(photos: Path, index: Path) -> None:
    os.replace(photos / "00.jpg", os.fsencode(photos) + b"/caf\xe9.jpg")
    with open_tiny(index) as library:
        library.index([photos])
    with connected(index) as client:
        listed = names(calling(client)("list_photos"), "photos")
        assert r"caf\xe9.jpg" in listed
        assert len(listed) == 12


def test_nothing_that_is_known_of_photos_changes(place: Place, call: Call) -> None:
    before = kept(place.index)
    id = place.ids()["coffee.png"]
    call("search", query="never asked before", pictures=[str(place.photos / "chelsea.png")])
    call("similar", id=id, region="10%,10%,50%,50%")
    call("describe", id=id, labels=["a mug"])
    call("thumbnail", id=id)
    call("list_photos")
    assert kept(place.index) == before


def kept(index: Path) -> dict[str, list[Any]]:
    """Every row of the tables that are the truth of an index."""
    tables = ("roots", "photos", "vectors", "failures", "models", "excluded")
    with sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True) as catalog:
        rows = {table: catalog.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    catalog.close()
    return rows


# The process


@contextmanager
def started(index: Path) -> Iterator[subprocess.Popen[str]]:
    """A server that was greeted, without the protocol's client."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", "mcp", "--index", str(index)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )  # fmt: skip
    with process:
        try:
            about = {"name": "test", "version": "1"}
            greeting = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about}
            assert send(process, "initialize", greeting, 1)["serverInfo"]["name"] == "clipsearch"
            yield process
        finally:
            process.kill()


def send(process: subprocess.Popen[str], method: str, params: Any, id: int) -> Any:
    """Send a request and read the answer, which must be the very next line on stdout."""
    assert process.stdin
    assert process.stdout
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", id)
    return answer["result"]


def test_stdout_has_nothing_but_the_protocol_and_closing_stdin_ends_it(place: Place) -> None:
    with started(place.index) as process:
        arguments = {"query": "a sleeping cat", "pictures_base64": [tiny_png()]}
        result = send(process, "tools/call", {"name": "search", "arguments": arguments}, 2)
        assert result["structuredContent"]["hits"]
        rest, errors = process.communicate(timeout=300)  # closes stdin
        assert (process.returncode, rest, errors) == (0, "", "")


@pytest.mark.parametrize("half", ["\ud800", "a \udfff cat", "\ud800\ud800"])
def test_half_a_letter_is_answered(place: Place, half: str) -> None:
    with started(place.index) as process:
        for id, words in enumerate([half, "a \U0001f431 cat", r"a \ud800"], 2):
            asked = {"name": "search", "arguments": {"query": words}}
            answer = send(process, "tools/call", asked, id)
            assert not answer.get("isError"), (words, answer)
        asked = {"name": "similar", "arguments": {half: 1}}
        assert send(process, "tools/call", asked, 9)["isError"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_without_a_word(place: Place, number: signal.Signals) -> None:
    with started(place.index) as process:
        process.send_signal(number)
        assert process.wait(timeout=300) == -number
        assert process.stderr
        assert process.stderr.read() == ""


def tiny_png() -> str:
    stream = BytesIO()
    picture(7).save(stream, "PNG")
    return b64encode(stream.getvalue()).decode()


def test_a_missing_package_is_named_with_its_group(index: Path) -> None:
    program = "import sys; sys.modules['mcp'] = None; from clipsearch.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "mcp", "--index", str(index)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "clipsearch: clipsearch mcp needs: pip install 'clipsearch[mcp]'\n"
