"""The web page in a real browser, before a real server, over the demo's photographs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zipfile import ZipFile

import pytest
from conftest import picture, soon
from PIL import Image

from clipsearch import Library, Line
from clipsearch.store.catalog import Catalog

pytest.importorskip("uvicorn", reason="no web server: pip install '.[web]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install '.[test]'")
expect = sync_api.expect
# How long something may take that will come: a busy machine is slow, and right all the same.
DEADLINE = 300_000  # ms
expect.set_options(timeout=DEADLINE)

CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no browser: apt-get install chromium")

SCRIPTS = Path(__file__).parent.parent / "scripts"
# Chromium, too, shall ask nothing of anyone.
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

MADE = 80  # more than the page asks for at once
CAPTION = "Lamp <script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"

NOTED = """<x:xmpmeta xmlns:x="adobe:ns:meta/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:MP="http://ns.microsoft.com/photo/1.2/"
 xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
 xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"><rdf:RDF>
 <rdf:Description xmp:Rating="4"><MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>
 <rdf:li MPReg:PersonDisplayName="Zoë Lee" MPReg:Rectangle="0.25, 0.5, 0.25, 0.5"/>
 </rdf:Bag></MPRI:Regions></MP:RegionInfo></rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photographs, two of them side by side in one, and made ones with dates."""
    folder = tmp_path_factory.mktemp("page") / "photos"
    subprocess.run([sys.executable, SCRIPTS / "sample_photos.py", folder], check=True)
    both = Image.new("RGB", (800, 400))
    for left, name in ((0, "cat.png"), (400, "coffee.png")):
        with Image.open(folder / name) as photo:
            both.paste(photo.convert("RGB").resize((400, 400)), (left, 0))
    both.save(folder / "both.png")
    (folder / "made").mkdir()
    for seed in range(MADE):
        exif = Image.Exif()
        day = date(2001, 1, 1) + timedelta(days=7 * seed)
        exif.get_ifd(0x8769)[0x9003] = day.strftime("%Y:%m:%d 12:00:00")
        exif[0x0110] = "Camera A" if seed % 2 else "Camera B"
        if seed == 1:
            exif.get_ifd(0x8769).update({0x829A: 0.004, 0x829D: 2.8, 0x8827: 400, 0x920A: 23.0})
        if seed == 0:
            place = exif.get_ifd(0x8825)
            place.update({1: "N", 2: (54.0, 11.0, 0.0), 3: "E", 4: (7.0, 53.0, 0.0)})
        xmp = (
            "<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
            "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
            "<rdf:Description xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:description><rdf:Alt>"
            f"<rdf:li xml:lang='x-default'><![CDATA[{CAPTION}]]></rdf:li></rdf:Alt>"
            "</dc:description><dc:subject><rdf:Bag><rdf:li>Old Town</rdf:li></rdf:Bag></dc:subject>"
            "</rdf:Description></rdf:RDF></x:xmpmeta>"
        )
        more = {"xmp": xmp.encode()} if seed in (0, 3) else {}
        picture(seed, (240 + 4 * seed, 240)).save(
            folder / "made" / f"{seed:03}.jpg", exif=exif, **more
        )
    (folder / "made" / "005.xmp").write_text(NOTED)
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path, cache: Path) -> dict[str, str]:
    return os.environ | {
        "HOME": str(folder.parent),
        "CLIPSEARCH_INDEX": str(folder.parent / "index"),
        "CLIPSEARCH_CACHE": str(cache),
    }


@pytest.fixture(scope="module")
def served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """The address of a server over the indexed photos."""
    command = [sys.executable, "-m", "clipsearch", "index", str(folder), "--model", "pocket"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    port = free_port()
    server = serve(port, environment)
    yield f"http://127.0.0.1:{port}"
    stop(server)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def serve(port: int, environment: dict[str, str], *options: str) -> subprocess.Popen[bytes]:
    """A server that answers, with its model ready."""
    command = [sys.executable, "-m", "clipsearch", "serve", "--port", str(port), *options]
    server = subprocess.Popen(
        command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = monotonic() + 300
    while monotonic() < deadline:
        assert server.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status") as answer:
                if b'"loading"' not in answer.read():
                    return server
        except urllib.error.URLError:
            pass
        sleep(0.1)
    raise AssertionError("the server does not answer")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console says; empty unless a test expects something."""
    return []


@pytest.fixture
def context(browser: Any, served: str, complaints: list[str]) -> Iterator[Any]:
    """A window whose pages say nothing on the console and ask nothing outside this machine."""
    context = browser.new_context(base_url=served, viewport={"width": 1200, "height": 800})
    context.set_default_timeout(DEADLINE)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: complaints.append(message.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert complaints == []
    outside = [url for url in asked if not url.startswith((served, "blob:", "data:"))]
    assert asked
    assert outside == []


@pytest.fixture
def page(context: Any) -> Any:
    """The page with the library on it."""
    page = context.new_page()
    page.goto("/")
    expect(page.locator(".tile").first).to_be_visible()
    return page


def held_back(page: Any, what: str) -> list[Any]:
    """The requests that match, kept without an answer."""
    held: list[Any] = []
    handed: list[Any] = []
    page.route(what, lambda route: held.append(route))
    page.route("**/icon.svg?handed", lambda route: (handed.append(route), route.fulfill(body="")))
    # A page that is there already hands its requests over a moment later, and later still on a
    # busy machine; until then they go to the server.
    while not handed and page.url != "about:blank":
        page.evaluate("fetch('/static/icon.svg?handed').then((answer) => answer.text())")
    return held


def names(page: Any) -> list[str]:
    """The photos that are in the document, in their order, as a screen reader tells them."""
    labels: list[str] = page.locator(".tile a").evaluate_all("all => all.map((a) => a.ariaLabel)")
    return labels


def expect_first(page: Any, name: str) -> None:
    expect(page.locator(".tile a").first).to_have_attribute("aria-label", re.compile(f"^{name}"))


def parameters(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def becomes(page: Any, expected: dict[str, list[str]]) -> bool:
    """Whether the address tells that in the end."""
    return bool(soon(lambda: page.evaluate("1") and parameters(page) == expected))


# Asking


def test_the_library_is_there_newest_first_and_the_box_has_the_focus(page: Any) -> None:
    expect(page.locator("#words")).to_be_focused()
    expect(page.locator("#summary")).to_have_text(f"{18 + MADE} photos")
    expect(page.locator("#photos h2").first).to_be_visible()
    shown = [name for name in names(page) if re.match(r"\d", name)]
    assert shown == sorted(shown, reverse=True)


def test_words_are_answered_as_they_are_typed(page: Any) -> None:
    page.keyboard.type("a cup of coffee", delay=20)
    expect_first(page, "coffee.png")
    assert becomes(page, {"q": ["a cup of coffee"]})
    expect(page.locator("#announcer")).to_contain_text("stand")
    assert page.title() == "a cup of coffee · clipsearch"
    page.go_back()  # all the typing is one step
    expect(page.locator("#words")).to_have_value("")
    expect(page.locator("#summary")).to_have_text(f"{18 + MADE} photos")
    page.go_forward()
    expect(page.locator("#words")).to_have_value("a cup of coffee")
    expect_first(page, "coffee.png")


def test_an_answer_that_comes_late_is_dropped(page: Any) -> None:
    held = held_back(page, "**/api/search?*q=a+motorcycle*")
    with page.expect_request(lambda request: "motorcycle" in request.url):
        page.fill("#words", "a motorcycle")
    with page.expect_event("requestfailed", lambda request: "motorcycle" in request.url):
        page.fill("#words", "a cat")  # hangs up on the first
    expect_first(page, "cat.png")
    for route in held:
        with suppress(sync_api.Error):
            route.fulfill(json={"hits": [], "total": 0})
    expect_first(page, "cat.png")


def test_a_link_is_a_question(page: Any) -> None:
    page.goto("/?q=a+motorcycle")
    expect_first(page, "motorcycle.png")
    expect(page.locator("#words")).to_have_value("a motorcycle")


def test_what_stands_out_is_told_apart(page: Any) -> None:
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    expect(page.locator("#summary")).to_have_text(re.compile(r"stands? out"))
    expect(page.locator("#nothing")).to_be_hidden()
    expect(page.get_by_role("heading", name="Less certain")).to_be_visible()
    page.fill("#words", "a submarine under water")
    expect(page.locator("#nothing")).to_contain_text(
        "Nothing seems to fit “a submarine under water”"
    )
    expect(page.locator("#summary")).to_have_text("Nothing seems to fit")
    expect(page.get_by_role("heading", name="Less certain")).to_be_hidden()


OPACITY = """tiles => tiles.map((tile) => {
    let seen = 1;
    for (let it = tile.querySelector("img"); it; it = it.parentElement) {
        const { opacity, filter } = getComputedStyle(it);
        seen *= Number(opacity) * (filter === "none" ? 1 : 0);
    }
    return seen;
})"""


@pytest.mark.parametrize("words", ["a cat", "a submarine under water", "old town", ""])
def test_no_photo_is_faded(page: Any, words: str) -> None:
    page.fill("#words", words)
    if words:
        expect(page).to_have_title(f"{words} · clipsearch")
    expect(page.locator("#photos")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".tile.loaded").first).to_be_visible()
    # Each fades in, once its picture is there.
    page.wait_for_function(f"""() => {{
        const tiles = [...document.querySelectorAll(".tile.loaded")];
        return tiles.length > 0 && ({OPACITY})(tiles).every((seen) => seen === 1);
    }}""")


def test_numbers_are_shown_where_they_are_wanted(page: Any) -> None:
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    number = page.locator(".tile .number").first
    expect(number).to_be_hidden()
    page.get_by_role("button", name="Settings and keys").click()
    page.get_by_label(re.compile("in numbers")).check()
    expect(number).to_have_text(re.compile(r"^[01]\.\d\d · 0\.\d{3}$"))
    page.reload()
    expect(page.locator(".tile .number").first).to_be_visible()


def test_a_photo_is_found_by_the_text_in_it_which_is_marked(page: Any, folder: Path) -> None:
    digest = sha256((folder / "made" / "002.jpg").read_bytes()).hexdigest()
    quad = ((0.25, 0.5), (0.75, 0.5), (0.75, 0.75), (0.25, 0.75))
    with closing(Catalog.open(folder.parent / "index")) as catalog:
        lines = [Line("Zanzibar ferry", quad, 0.98), Line("Departures", quad, 0.97)]
        catalog.add_readings("by hand", {digest: lines})
    page.fill("#words", '"zanzibar"')
    expect(page.locator(".tile")).to_have_count(1)
    page.locator(".tile a").first.click()
    expect(page.locator("#fact-list q")).to_have_text(["Zanzibar ferry"])
    mark, photo = page.locator("#frame .lines polygon"), page.locator("#large")
    expect(mark).to_have_count(1)
    seen, whole = mark.bounding_box(), photo.bounding_box()
    assert seen["x"] - whole["x"] == pytest.approx(whole["width"] / 4, abs=8)
    assert seen["y"] - whole["y"] == pytest.approx(whole["height"] / 2, abs=8)
    assert seen["width"] == pytest.approx(whole["width"] / 2, abs=16)
    page.keyboard.press("Escape")
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    page.locator(".tile a").first.click()
    expect(page.locator("#viewer")).to_be_visible()
    expect(mark).to_have_count(0)


def test_a_question_that_makes_no_sense_is_told(page: Any, complaints: list[str]) -> None:
    page.goto("/?since=neverday")
    expect(page.locator("#error")).to_contain_text("neverday")
    page.fill("#words", "a cat")
    page.goto("/")
    expect(page.locator("#error")).to_be_hidden()
    assert complaints  # the browser tells of the refusal, and of nothing else
    assert all(text.startswith("Failed to load resource") for text in complaints)
    complaints.clear()


def test_nothing_is_complained_of_in_the_middle_of_typing(page: Any) -> None:
    page.keyboard.type("a cat", delay=20)
    expect_first(page, "cat.png")
    for end in (" +", " 2", "*"):
        page.keyboard.type(end)
        page.wait_for_timeout(2000)  # longer than typing is waited for, and a complaint with it
        expect(page.locator("#error")).to_be_hidden()
        expect(page.locator("#words")).to_have_value(re.compile(re.escape(end) + "$"))
    assert parameters(page)["q"] in (["a cat"], ["a cat + 2"])


def test_what_makes_no_sense_is_told_when_it_is_asked(page: Any, complaints: list[str]) -> None:
    page.fill("#words", "a cat +")
    page.keyboard.press("Enter")
    expect(page.locator("#error")).to_contain_text("a part of the query is empty", ignore_case=True)
    expect(page.locator(".tile")).to_have_count(0)
    page.fill("#words", "a cat - a cat")  # no Enter, but nothing further is typed
    expect(page.locator("#error")).to_contain_text("cancel out")
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    expect(page.locator("#error")).to_be_hidden()
    complaints.clear()  # of the refusals


def test_the_last_questions_lead_back(page: Any) -> None:
    lately = page.get_by_role("navigation", name="Ways in").locator("#lately button")
    expect(lately).to_have_count(0)
    page.fill("#words", "a motorcycle")
    page.keyboard.press("Enter")
    expect_first(page, "motorcycle.png")
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    page.locator(".tile a").first.click()  # what was found is kept as well
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear the search").click()
    expect(lately).to_have_text(["a cat", "a motorcycle"])
    page.reload()
    lately.last.click()
    expect_first(page, "motorcycle.png")
    page.get_by_role("button", name="Clear the search").click()
    expect(lately).to_have_text(["a motorcycle", "a cat"])
    page.get_by_role("button", name="Forget").click()
    expect(lately).to_have_count(0)


def test_labels_lead_in(page: Any) -> None:
    found = [{"label": "motorcycle", "photos": 1}, {"label": "cat", "photos": 2}]
    page.route(
        "**/api/tags",
        lambda route: route.fulfill(
            json={"labels": found if route.request.method == "POST" else []}
        ),
    )
    page.reload()
    page.get_by_role("button", name="Find out what your photos show").click()
    expect(page.get_by_role("button", name="motorcycle, 1 photo")).to_be_focused()
    page.keyboard.press("Enter")
    expect_first(page, "motorcycle.png")
    assert parameters(page) == {"q": ["motorcycle"]}
    expect(page.get_by_role("navigation", name="Ways in")).to_be_hidden()


# Waiting


def test_what_takes_long_is_said_and_the_old_answers_are_gone(page: Any) -> None:
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    held = held_back(page, "**/api/search?*q=a+motorcycle*")
    page.fill("#words", "a motorcycle")
    expect(page.get_by_role("status").filter(has_text="Searching for")).to_contain_text(
        "a motorcycle"
    )
    expect(page.locator(".tile")).to_have_count(0)
    expect(page.locator("#summary")).to_have_text("")
    held[0].continue_()
    expect_first(page, "motorcycle.png")
    expect(page.locator("#waiting")).to_be_hidden()


def test_the_first_picture_is_said_to_wait_for_its_model(page: Any, folder: Path) -> None:
    held_back(page, "**/api/search")
    page.set_input_files("#file", folder / "rocket.jpg")
    expect(page.locator("#waiting")).to_contain_text("Looking at the picture")
    state = {"photos": 98, "state": "ready", "pictures": "loading", "indexing": None}
    page.route("**/api/status", lambda route: route.fulfill(json=state))
    page.reload()
    with page.expect_response("**/api/status"):
        pass
    page.set_input_files("#file", folder / "rocket.jpg")
    expect(page.locator("#waiting")).to_contain_text("only the first picture waits for it")


def test_what_looks_at_pictures_is_loaded_ahead(served: str) -> None:
    end = monotonic() + DEADLINE / 1000
    while state(served)["pictures"] != "ready":  # nobody has asked with a picture
        assert monotonic() < end
        sleep(0.1)


def state(address: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/status") as answer:
        return json.load(answer)


def test_what_fails_leaves_no_answers_to_another_question(page: Any, complaints: list[str]) -> None:
    page.route(
        "**/api/search?*q=wrong*",
        lambda route: route.fulfill(status=400, json={"error": "that makes no sense"}),
    )
    page.goto("/?q=a+cat")
    expect_first(page, "cat.png")
    page.fill("#words", "wrong")
    expect(page.locator("#error")).to_have_text("That makes no sense.")
    expect(page.locator(".tile")).to_have_count(0)
    complaints.clear()  # of the refusal


# Pictures


def drop(page: Any, file: Path) -> None:
    """Drop a file on the page as a hand would."""
    data = base64.b64encode(file.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }""",
        [data, file.name],
    )
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def test_a_dropped_picture_finds_its_like(page: Any, folder: Path) -> None:
    drop(page, folder / "coffee.png")
    expect_first(page, "coffee.png")
    expect(page.locator("#drop")).to_be_hidden()
    chip = page.get_by_role("button", name="Searching with your picture")
    expect(chip).to_be_visible()
    chip.click()
    expect(page.locator("#summary")).to_have_text(f"{18 + MADE} photos")


def test_a_dropped_file_that_is_no_picture_says_so(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page.set_input_files("#file", tmp_path / "notes.txt")
    expect(page.locator("#toast")).to_have_text("“notes.txt” is no picture")
    expect(page.locator(".example")).to_have_count(0)
    assert "pictures" not in parameters(page)


def test_a_picture_that_cannot_be_read_leaves_the_question(
    page: Any, folder: Path, tmp_path: Path, complaints: list[str]
) -> None:
    junk = tmp_path / "junk.jpg"
    junk.write_bytes(b"no picture at all" * 100)
    page.fill("#words", "a cup")
    expect_first(page, "coffee.png")
    drop(page, junk)
    expect(page.locator("#toast")).to_contain_text("junk.jpg")
    expect(page.locator(".example")).to_have_count(0)
    expect_first(page, "coffee.png")
    expect(page.locator("#error")).to_be_hidden()
    assert "pictures" not in parameters(page)
    page.set_input_files("#file", [junk, folder / "rocket.jpg", junk])
    expect(page.locator(".example")).to_have_count(1)
    page.fill("#words", "")
    expect_first(page, "rocket.jpg")
    expect(page.locator("#error")).to_be_hidden()
    assert len(complaints) == 3  # of the server's answers, each by the browser
    assert all("400" in it for it in complaints)
    complaints.clear()


def test_a_picked_picture_goes_together_with_words(page: Any, folder: Path) -> None:
    page.set_input_files("#file", folder / "rocket.jpg")
    expect_first(page, "rocket.jpg")
    page.fill("#words", "a cat")
    with page.expect_response(lambda answer: answer.request.method == "POST") as waiting:
        pass
    assert waiting.value.ok
    expect(page.get_by_role("button", name="Searching with your picture")).to_be_visible()


def test_a_pasted_picture_is_searched_with(page: Any, folder: Path) -> None:
    data = base64.b64encode((folder / "moon.png").read_bytes()).decode()
    page.evaluate(
        """(data) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            document.querySelector("#words").dispatchEvent(
                new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true })
            );
        }""",
        data,
    )
    expect_first(page, "moon.png")


def test_a_rectangle_drawn_on_a_photo_searches_for_that_part(page: Any) -> None:
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    page.locator(".tile a[aria-label^='both.png']").click()
    expect(page.locator("#large")).to_be_visible()
    frame = page.locator("#frame").bounding_box()
    x, y, width, height = (frame[key] for key in ("x", "y", "width", "height"))
    page.mouse.move(x + width * 0.51, y + height * 0.02)
    page.mouse.down()
    page.mouse.move(x + width * 0.99, y + height * 0.98, steps=5)
    page.mouse.up()
    with page.expect_response("**/similar?*region*"):
        page.get_by_role("button", name="Search for this part").click()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.get_by_role("button", name="Searching with a part of a photo")).to_be_visible()
    first_two = page.locator("[data-index='0'] a, [data-index='1'] a")  # the photo itself and:
    expect(first_two.and_(page.locator("[aria-label^='coffee.png']"))).to_be_visible()
    (region,) = parameters(page)["region"]
    assert [round(float(part.rstrip("%"))) for part in region.split(",")] == pytest.approx(
        [51, 2, 48, 96], abs=1
    )
    assert "q" not in parameters(page)
    page.go_back()  # to the photo, in the answers it came from
    expect(page.locator("#viewer")).to_be_visible()
    expect(page.locator("#name")).to_have_text("both.png")


def test_more_like_this_comes_from_the_grid_and_from_the_photo(page: Any) -> None:
    page.fill("#words", "a cup of coffee")
    expect_first(page, "coffee.png")
    page.locator(".tile").first.hover()
    page.get_by_role("button", name="More like coffee.png").click()
    expect(page.get_by_role("button", name="Searching with a photo")).to_be_visible()
    assert parameters(page).keys() == {"like"}
    page.locator(".tile a").first.click()
    name = page.locator("#name").text_content()
    page.get_by_role("button", name="More like this", exact=True).click()
    expect(page.locator("#viewer")).to_be_hidden()
    page.go_back()
    expect(page.locator("#name")).to_have_text(name)


# Looking


def test_scrolling_pages_through_all_photos_and_keeps_few_in_the_document(page: Any) -> None:
    seen: dict[str, None] = {}
    most = 0
    for _ in range(200):
        tiles = names(page)
        most = max(most, len(tiles))
        seen.update(dict.fromkeys(tiles))
        at, height = page.evaluate("[scrollY + innerHeight, document.documentElement.scrollHeight]")
        if at >= height - 1 and len(seen) == 18 + MADE:
            break
        page.mouse.wheel(0, 600)
        page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
    assert len(seen) == 18 + MADE
    assert most < 18 + MADE


def test_rows_fill_the_width_and_keep_ratios(page: Any) -> None:
    page.goto("/?until=2001")
    expect(page.locator("#summary")).to_have_text("53 photos")
    rows = page.locator("#photos .row").evaluate_all(
        """rows => rows.map((row) => [...row.children].map((tile) => {
            const { left, right, width, height } = tile.getBoundingClientRect();
            return { left, right, ratio: width / height, index: Number(tile.dataset.index) };
        }))"""
    )
    grid = page.locator("#photos").bounding_box()
    for row in rows[:-1]:
        assert row[0]["left"] == pytest.approx(grid["x"], abs=0.5)
        assert row[-1]["right"] == pytest.approx(grid["x"] + grid["width"], abs=0.5)
    for tile in (tile for row in rows for tile in row):
        seed = 52 - tile["index"]  # newest first
        assert tile["ratio"] == pytest.approx((240 + 4 * seed) / 240, rel=0.01)


def test_the_keyboard_is_enough(page: Any) -> None:
    page.locator("body").click(position={"x": 2, "y": 400})
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.type("a cat")
    expect_first(page, "cat.png")
    page.keyboard.press("ArrowDown")
    focused = page.locator(".tile a:focus")
    expect(focused).to_have_attribute("aria-label", re.compile("^cat.png"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(focused).to_have_attribute("aria-label", re.compile("^cat.png"))
    second = names(page)[1].partition(",")[0]
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#name")).to_have_text("cat.png")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#name")).to_have_text(second)
    page.keyboard.press("r")  # a rectangle that arrows move
    expect(page.locator(".region")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#name")).to_have_text(second)
    page.keyboard.press("Escape")
    expect(page.locator(".region")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(focused).to_have_attribute("aria-label", re.compile(f"^{re.escape(second)}"))
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="Searching with a photo")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()


def focused(page: Any) -> str:
    """What has the focus: its id or its name, and BODY where nothing has."""
    what: str = page.evaluate(
        "(({ id, ariaLabel, tagName }) => id || ariaLabel || tagName)(document.activeElement)"
    )
    return what


def pressed(page: Any, button: str) -> None:
    """Press a button by the keyboard, once it is there to be pressed."""
    expect(page.locator(button).first).to_be_visible()  # to focus what is hidden does nothing
    page.locator(button).focus()
    expect(page.locator(button)).to_be_focused()
    page.keyboard.press("Enter")


def test_keys_go_on_after_a_button_of_the_open_photo_has_done_its_last(page: Any) -> None:
    page.goto("/?q=a+cat")
    opened(page, "cat.png")
    name, level = page.locator("#name"), page.locator("#zoom-level")
    pressed(page, "#zoom-in")
    expect(level).to_have_text("150%")
    pressed(page, "#zoom-out")  # which is disabled with that
    page.keyboard.press("+")
    expect(level).to_have_text("150%")
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    expect(name).not_to_have_text("cat.png")
    second = name.text_content()
    expect(page.locator("#viewer").get_by_role("status").first).to_have_text(second)
    pressed(page, "#previous")
    expect(name).to_have_text("cat.png")
    page.keyboard.press("ArrowRight")
    expect(name).to_have_text(second)
    page.keyboard.press("r")
    pressed(page, "#region-clear")
    page.keyboard.press("ArrowLeft")
    expect(name).to_have_text("cat.png")


def test_the_focus_goes_to_the_photos_where_what_had_it_goes_away(page: Any) -> None:
    page.fill("#words", "a motorcycle")
    page.keyboard.press("Enter")
    expect_first(page, "motorcycle.png")
    pressed(page, "#clear")
    expect(page.locator("#lately button")).to_have_text(["a motorcycle"])
    pressed(page, "#lately button")
    expect(page.locator(".tile a").first).to_be_focused()
    assert focused(page).startswith("motorcycle.png")
    page.goto("/?camera=Leica")
    pressed(page, "#no-match-clear")
    expect(page.locator(".tile a").first).to_be_focused()


def test_the_focus_waits_with_who_asks_for_more_like_a_photo(page: Any) -> None:
    page.goto("/?q=a+cat")
    expect_first(page, "cat.png")
    held = held_back(page, "**/similar?*")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("m")
    expect(page.locator("#waiting")).to_be_visible()
    assert focused(page) == "photos"
    for route in held:
        route.continue_()
    expect(page.locator(".tile a").first).to_be_focused()


def test_a_photo_keeps_the_focus_when_the_library_has_changed(page: Any) -> None:
    page.goto("/?until=2001")
    expect(page.locator("#summary")).to_have_text("53 photos")
    page.locator(".tile a").nth(3).focus()
    before = focused(page)
    page.route("**/api/status", lambda route: route.fulfill(json={"photos": 1, "state": "ready"}))
    with page.expect_response("**/api/search?*"):
        pass
    expect(page.locator("#photos:not([aria-busy])")).to_be_attached()
    assert focused(page) == before


def test_the_photo_that_was_open_has_the_focus_afterwards(page: Any) -> None:
    page.goto("/?until=2001")
    page.locator(".tile a").nth(2).focus()
    third = focused(page)
    page.keyboard.press("x")
    pressed(page, "#selected-open")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert focused(page) == third
    page.locator("#selected-copy").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_be_hidden()
    expect(page.locator("#select")).to_be_focused()


def test_a_photo_has_a_link_and_its_facts_are_text(page: Any) -> None:
    page.goto("/?since=2001-01-01&until=2001-01-01")
    expect(page.locator("#summary")).to_have_text("1 photo")
    page.locator(".tile a").click()
    expect(page.locator("#caption")).to_have_text(CAPTION)
    facts = page.locator("#facts")
    for text in (
        "Monday, 1 January 2001",
        "Camera B",
        "54.18° N, 7.88° E",
        "240 \N{MULTIPLICATION SIGN} 240",
        "made/000.jpg",
    ):
        expect(facts).to_contain_text(text)
    assert page.locator("dialog script, dialog img[src='x']").count() == 0
    assert page.evaluate("window.hacked") is None
    page.reload()
    expect(page.locator("#caption")).to_have_text(CAPTION)
    page.get_by_role("button", name="Camera B").click()
    expect(page.locator("#filter-camera")).to_contain_text("Camera B")
    assert parameters(page)["camera"] == ["Camera B"]


def test_a_keyword_leads_to_the_photos_that_have_it(page: Any) -> None:
    page.goto("/?since=2001-01-01&until=2001-01-22")
    expect(page.locator("#summary")).to_have_text("4 photos")
    page.locator(".tile a").last.click()
    page.locator("#keywords").get_by_text("Old Town").click()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(".tile a")).to_have_count(2)
    assert parameters(page)["q"] == ['"Old Town"']


def test_people_and_stars_are_filters_and_who_is_named_is_framed(page: Any) -> None:
    page.goto("/")
    page.locator("#filter-people .open").click()
    page.get_by_label("Zoë Lee").check()
    expect(page.locator(".tile a")).to_have_count(1)
    assert parameters(page)["person"] == ["Zoë Lee"]
    page.keyboard.press("Escape")
    page.locator("#filter-people .remove").click()
    page.locator("#filter-stars .open").click()
    page.get_by_label("★★★★ or more").check()
    expect(page.locator(".tile a")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator(".tile a").click()
    page.locator("#fact-list").get_by_text("Zoë Lee").hover()
    face = page.locator("#frame .face")
    expect(face).to_have_text("Zoë Lee")
    around, box = (it.bounding_box() for it in (page.locator("#frame"), face))
    assert (box["x"] - around["x"]) / around["width"] == pytest.approx(0.25, abs=0.02)
    assert box["height"] / around["height"] == pytest.approx(0.5, abs=0.02)
    page.locator("#path").hover()
    expect(face).to_have_count(0)
    page.locator("#fact-list").get_by_text("★★★★").click()
    assert parameters(page)["min_rating"] == ["4"]


def test_the_map_at_the_edges_of_the_globe(page: Any) -> None:
    def look(box: str) -> None:
        page.goto(f"/?box={box}")
        page.locator("#filter-place .open").click()

    drawing = page.locator(".map svg")
    look("-90,-180,90,180")
    expect(page.locator(".map .dots circle")).to_have_count(1)
    expect(drawing).to_have_attribute("aria-label", "A map of where 1 photo was taken")
    look("-20,-180,20,-160")  # what is around it lies beyond the date line, with its land
    expect(drawing).to_have_attribute("aria-label", "A map of where 0 photos were taken")
    left, _, width, _ = map(float, drawing.get_attribute("viewBox").split())
    assert -1800 <= left < 1800 < left + width
    # The map shows more than there is above the pole, where a frame holds nothing.
    page.locator(".map").get_by_text("Whole world").click()
    there = drawing.bounding_box()
    page.mouse.move(there["x"] + 50, there["y"] + 1)
    page.mouse.down()
    page.mouse.move(there["x"] + 90, there["y"] + 12, steps=3)
    page.mouse.up()
    expect(page.locator("#no-match")).to_be_visible()
    assert parameters(page)["box"][0].startswith("90,")


def test_places_are_on_a_map_and_in_words(page: Any) -> None:
    page.goto("/")
    page.locator("#filter-place .open").click()
    dots = page.locator(".map .dots circle")
    expect(dots).to_have_count(1)
    there = dots.bounding_box()
    x, y = there["x"] + there["width"] / 2, there["y"] + there["height"] / 2
    page.mouse.move(x - 12, y - 12)
    page.mouse.down()
    page.mouse.move(x + 12, y + 12, steps=3)
    expect(page.locator(".map .frame")).to_be_visible()
    page.mouse.up()
    expect(page.locator("#summary")).to_have_text("1 photo")
    south, west, north, east = map(float, parameters(page)["box"][0].split(","))
    assert south < 54.18 < north
    assert west < 7.88 < east
    expect(dots).to_have_count(1)
    page.locator(".map").get_by_text("Whole world").click()
    expect(page.locator("#filter-place.set")).to_have_count(0)
    # What lies elsewhere is not in a frame there.
    page.mouse.click(*(page.locator(".map svg").bounding_box()[it] + 9 for it in ("x", "y")))
    expect(page.locator("#no-match")).to_be_visible()
    page.locator(".map").get_by_text("Whole world").click()
    page.get_by_role("checkbox", name="Germany 1 photo", exact=True).check()
    expect(page.locator("#summary")).to_have_text("1 photo")
    assert parameters(page)["place"] == ["Germany"]
    page.keyboard.press("Escape")
    page.locator(".tile a").click()
    page.locator("#fact-list").get_by_text("Helgoland").first.click()
    assert parameters(page)["place"][0].startswith("Helgoland")
    expect(page.locator("#summary")).to_have_text("1 photo")
    page.locator("#filter-place .open").click()
    page.get_by_label("A town, or latitude and longitude").fill("Cuxhaven")
    page.get_by_label("Distance").select_option("100km")
    assert parameters(page)["near"] == ["Cuxhaven"]
    expect(page.locator("#summary")).to_have_text("1 photo")


def opened(page: Any, name: str) -> None:
    """Open a photo that the words in its name find."""
    page.locator(f".tile a[aria-label^='{name}']").click()
    expect(page.locator("#viewer")).to_be_visible()


def shown_width(page: Any) -> float:
    """How wide the open photo is as it is shown, in pixels."""
    width: float = page.locator("#frame").evaluate("it => it.getBoundingClientRect().width")
    return width


def test_an_open_photo_is_enlarged_by_wheel_double_click_button_and_key(page: Any) -> None:
    page.goto("/?q=a+cat")
    opened(page, "cat.png")
    whole = shown_width(page)
    level = page.locator("#zoom-level")
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.wheel(0, -300)
    expect(level).to_have_text(re.compile("%$"))
    assert shown_width(page) > whole * 1.5
    left = page.locator("#frame").bounding_box()["x"]
    page.mouse.down()  # moves it, and draws no rectangle
    page.mouse.move(box["x"] + box["width"] / 4 - 60, box["y"] + box["height"] / 4, steps=3)
    page.mouse.up()
    assert page.locator("#frame").bounding_box()["x"] == pytest.approx(left - 60, abs=1)
    expect(page.locator(".region")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(level).to_have_text("")
    assert shown_width(page) == pytest.approx(whole)
    page.mouse.dblclick(box["x"] + 20, box["y"] + 20)
    assert shown_width(page) >= whole * 2.4
    page.mouse.dblclick(box["x"] + 20, box["y"] + 20)
    expect(level).to_have_text("")
    page.get_by_role("button", name="Zoom in").click()
    expect(level).to_have_text("150%")
    page.keyboard.press("-")
    expect(level).to_have_text("")
    page.keyboard.press("+")
    name = page.locator("#name").text_content()
    page.keyboard.press("ArrowRight")  # moves it as well
    expect(page.locator("#name")).to_have_text(name)
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#name")).not_to_have_text(name)


def test_two_fingers_enlarge_an_open_photo(page: Any, context: Any) -> None:
    page.goto("/?q=a+cat")
    opened(page, "cat.png")
    whole = shown_width(page)
    box = page.locator("#frame").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = context.new_cdp_session(page)
    for kind, apart in (("touchStart", 40), ("touchMove", 80), ("touchMove", 120)):
        points = [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert shown_width(page) == pytest.approx(3 * whole, rel=0.1)


def test_an_open_photo_tells_its_exposure_and_the_size_of_its_file(page: Any) -> None:
    page.goto("/?since=2001-01-08&until=2001-01-08")
    page.locator(".tile a").click()
    expect(page.locator("#fact-list")).to_contain_text("1/250 s · f/2.8 · ISO 400 · 23 mm")
    expect(page.locator("#fact-list")).to_contain_text("KB")


def test_a_photo_that_takes_long_is_said_to_come(page: Any) -> None:
    page.goto("/?q=a+cat")
    expect_first(page, "cat.png")
    held = held_back(page, "**/thumbnail?*")
    opened(page, "cat.png")
    expect(page.locator("#photo-comes")).to_have_text("The photo is being fetched")
    page.unroute("**/thumbnail?*")
    for route in held:
        with suppress(sync_api.Error):  # one that was let go with that
            route.continue_()
    expect(page.locator("#photo-comes")).to_have_text("")


def test_photos_whose_folder_is_away_are_marked(
    page: Any, folder: Path, complaints: list[str]
) -> None:
    unplugged = folder.rename(folder.with_name("unplugged"))
    try:
        page.reload()
        tile = page.locator(".tile.away a").first
        assert tile.get_attribute("aria-label").endswith(", not there now")
        tile.click()
        expect(page.locator("#away")).to_be_visible()
    finally:
        unplugged.rename(folder)
    page.goto("/")
    page.locator(".tile a").first.click()
    expect(page.locator("#path")).to_be_visible()
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator(".tile.away")).to_have_count(0)
    complaints.clear()  # of pictures that are not there


def test_a_photo_that_was_moved_since_it_was_indexed_says_so(
    page: Any, folder: Path, complaints: list[str]
) -> None:
    page.goto("/?q=a+cat")
    expect_first(page, "cat.png")
    moved = (folder / "cat.png").rename(folder.with_name("cat.png"))
    try:
        opened(page, "cat.png")
        expect(page.locator("#moved")).to_be_visible()
        expect(page.locator("#original")).to_be_hidden()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#moved")).to_be_hidden()
        expect(page.locator("#original")).to_be_visible()
    finally:
        moved.rename(folder / "cat.png")
    complaints.clear()  # of what the file would have told


def test_a_path_is_copied(page: Any, context: Any, folder: Path) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    page.locator(".tile a").first.click()
    page.get_by_role("button", name="Copy path").click()
    expect(page.locator("#viewer #toast")).to_have_text("The path is copied")
    assert page.evaluate("navigator.clipboard.readText()") == str(folder / "cat.png")


# Several photos


def test_photos_are_selected_by_keys_and_their_paths_copied(page: Any, context: Any) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/?until=2001&camera=Camera")
    page.locator(".tile a").first.focus()
    page.keyboard.press("x")
    selected = page.get_by_role("group", name="Selected photos")
    expect(selected).to_contain_text("1 photo selected")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+X")
    expect(selected).to_contain_text("3 photos selected")
    expect(page.locator("[role=gridcell][aria-selected=true]")).to_have_count(3)
    page.keyboard.press("c")
    expect(page.locator("#toast")).to_have_text("3 paths copied")
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [Path(line).name for line in copied] == ["052.jpg", "051.jpg", "050.jpg"]
    page.keyboard.press("x")
    expect(selected).to_contain_text("2 photos selected")
    page.keyboard.press("Escape")
    expect(selected).to_be_hidden()
    expect(page.locator("[aria-selected=true]")).to_have_count(0)


def test_photos_are_selected_by_clicks_opened_and_downloaded(page: Any, folder: Path) -> None:
    page.goto("/?until=2001&camera=Camera")
    tiles = page.locator(".tile")
    tiles.nth(1).hover()
    page.get_by_role("button", name="Select 051.jpg").click()
    tiles.nth(3).locator("a").click()  # from here on a click selects
    tiles.nth(4).locator("a").click(modifiers=["Shift"])
    selected = page.get_by_role("group", name="Selected photos")
    expect(selected).to_contain_text("3 photos selected")
    selected.get_by_role("button", name="Open").click()
    names = []
    for _ in range(3):
        names.append(page.locator("#name").text_content())
        page.keyboard.press("ArrowRight")
    assert names == ["051.jpg", "049.jpg", "048.jpg"]  # those, and none between
    expect(page.locator("#next")).to_be_disabled()
    page.keyboard.press("Escape")
    with page.expect_download() as waiting:
        selected.get_by_role("link", name="Download").click()
    with ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == names
        assert archive.read("049.jpg") == (folder / "made" / "049.jpg").read_bytes()
    selected.get_by_role("button", name="Select no photos").click()
    expect(page.get_by_role("button", name="Select", exact=True)).to_be_focused()


# Narrowing down


def test_filters_go_together_and_can_be_taken_away(page: Any) -> None:
    page.get_by_role("button", name="Camera", exact=True).click()
    page.get_by_label("Camera A").check()
    expect(page.locator("#summary")).to_have_text(f"{MADE // 2} photos")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Date", exact=True).click()
    page.get_by_role("button", name="2002", exact=True).click()
    expect(page.locator("#summary")).to_have_text("14 photos")
    page.keyboard.press("Escape")
    assert parameters(page) == {"camera": ["Camera A"], "since": ["2002"], "until": ["2002"]}
    page.get_by_role("button", name="Remove the filter: Camera").click()
    expect(page.locator("#summary")).to_have_text("27 photos")
    page.go_back()
    expect(page.locator("#summary")).to_have_text("14 photos")


def test_photos_near_a_place_are_asked_for(page: Any) -> None:
    page.get_by_role("button", name="Place", exact=True).click()
    page.get_by_label("Latitude and longitude").fill("54.18, 7.89")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_have_text("1 photo")
    assert parameters(page) == {"near": ["54.18,7.89"], "within": ["5km"]}


def test_a_month_of_the_timeline_is_asked_for_by_a_click_or_a_key(page: Any) -> None:
    page.goto("/?camera=Camera")
    month = page.get_by_role("button", name="May 2001, 4 photos")
    month.click()
    expect(page.locator("#summary")).to_have_text("4 photos")
    expect(month).to_have_attribute("aria-pressed", "true")
    month.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-date")).to_contain_text("June 2001")


def test_kind_shape_and_size_are_asked_for(page: Any) -> None:
    page.get_by_role("button", name="Kind", exact=True).click()
    page.get_by_label("JPEG").check()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Shape", exact=True).click()
    page.get_by_label("Square").check()
    expect(page.locator("#summary")).to_have_text(re.compile(r"^\d photos?$"))
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Size", exact=True).click()
    page.get_by_label("Pixels at least").fill("240 x 240")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-size")).to_contain_text("240 \N{MULTIPLICATION SIGN} 240 or more")
    assert parameters(page) == {
        "type": ["jpeg"], "orientation": ["square"], "min_size": ["240x240"],
    }  # fmt: skip
    page.get_by_label("Pixels at least").fill("large")
    page.keyboard.press("Enter")
    assert parameters(page)["min_size"] == ["240x240"]  # the box says what is wrong with it
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove the filter: Kind").click()
    expect(page.locator("#filter-kind")).to_have_text("Kind")
    assert "type" not in parameters(page)


def test_only_what_stands_out_can_be_asked_for(page: Any) -> None:
    choice = page.get_by_role("button", name="Only what stands out")
    expect(choice).to_be_hidden()  # where nothing is asked, nothing does
    page.fill("#words", "a cat")
    expect_first(page, "cat.png")
    with page.expect_response("**/api/search?*relevant=true*"):
        choice.click()
    expect(choice).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="Less certain")).to_have_count(0)
    page.go_back()
    expect(choice).to_have_attribute("aria-pressed", "false")


def test_the_timeline_keeps_its_place_whatever_is_asked(page: Any) -> None:
    top = "it => it.getBoundingClientRect().top + scrollY"
    places = set()
    for query in ("until=2001", "camera=Camera", "near=54.18,7.89&within=5km"):
        page.goto(f"/?{query}")
        expect(page.locator(".tile").first).to_be_visible()
        expect(page.locator(".month").first).to_be_visible()
        places.add(page.locator("#photos").evaluate(top))
    assert len(places) == 1
    held = held_back(page, "**/api/facets*")
    page.goto("/?until=2001")
    expect(page.locator(".tile").first).to_be_visible()
    assert held
    assert page.locator("#photos").evaluate(top) in places  # before its months are known, too


def test_no_photo_passes_is_said(page: Any) -> None:
    page.goto("/?camera=Leica")
    expect(page.locator("#no-match")).to_contain_text("No photo passes these filters")
    page.get_by_role("button", name="Remove the filters").click()
    expect(page.locator("#summary")).to_have_text(f"{18 + MADE} photos")


def test_a_photo_that_is_found_by_what_is_written_says_so(page: Any) -> None:
    page.fill("#words", "old town")
    tile = page.locator(".tile[data-marks='written']").first
    expect(tile).to_be_visible()
    shown = tile.evaluate("it => getComputedStyle(it, '::before').content")
    assert shown == '"written"'
    expect(tile.locator("a")).to_have_attribute("aria-label", re.compile(", written$"))
    page.fill("#words", '"old town"')
    expect(page.locator(".tile[data-marks='written']")).to_have_count(2)
    page.fill("#words", "a cat")  # the same photos in another answer
    expect_first(page, "cat.png")
    expect(page.locator(".tile[data-marks='written']")).to_have_count(1)  # of cat.png
    page.fill("#words", "a cat zebra")
    expect(page.locator(".tile[data-marks='partly written'] a").first).to_have_attribute(
        "aria-label", re.compile(", partly written$")
    )


def test_words_in_quotes_that_no_photo_has_are_named(page: Any) -> None:
    page.fill("#words", '"coffee" "zebra"')
    notice = page.locator("#no-match")
    expect(notice).to_contain_text("No photo has all the words in quotes")
    expect(notice).to_contain_text("“zebra” is in no name, title, caption or keyword")
    page.fill("#words", '"coffee" "rocket"')
    expect(notice).to_contain_text("not all about one of your photos")
    expect(notice.get_by_role("button", name="Remove the filters")).to_be_hidden()
    notice.get_by_role("button", name="Search without quotes").click()
    expect(page.locator(".tile").first).to_be_visible()
    expect(notice).to_be_hidden()
    assert parameters(page)["q"] == ["coffee rocket"]


# The page itself


def test_every_control_has_a_name(page: Any) -> None:
    page.locator(".tile a").first.click()
    nameless = page.evaluate(
        """[...document.querySelectorAll("a, button, input:not([hidden]), select")]
            .filter((it) => !it.ariaLabel && !it.textContent.trim() && !it.labels?.length)
            .map((it) => it.outerHTML)"""
    )
    assert nameless == []


def test_the_theme_follows_the_system_until_one_is_chosen(page: Any) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.get_by_role("button", name="Settings and keys").click()
    page.get_by_text("Light", exact=True).click()
    page.reload()
    assert page.evaluate(ground) == light


def test_a_phone_shows_it_all_without_scrolling_sideways(browser: Any, served: str) -> None:
    context = browser.new_context(
        base_url=served, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto("/")
    expect(page.locator(".tile").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".tile a").first.tap()
    expect(page.locator("#large")).to_be_visible()
    page.locator("#draw").tap()
    expect(page.locator("#region-hint")).to_be_visible()
    photo, bar = page.locator("#frame").bounding_box(), page.locator("#region-bar").bounding_box()
    assert photo["y"] + photo["height"] <= bar["y"]  # it hides nothing of the photo
    page.get_by_role("button", name="Cancel").tap()
    page.locator("#close").tap()
    expect(page.locator("#viewer")).to_be_hidden()
    context.close()


# The server's state


def test_an_index_run_and_a_loading_model_are_told(page: Any) -> None:
    run = {"done": 300, "total": 20_000, "rate": 40.0, "seconds_left": 480}
    state: dict[str, Any] = {"photos": 300, "state": "ready", "indexing": run}
    page.route("**/api/status", lambda route: route.fulfill(json=state))
    page.reload()
    expect(page.locator("#indexing-text")).to_have_text(
        "300 of 20,000 photos · 40 a second · about 8 minutes left"
    )
    state |= {"indexing": None, "state": "loading"}
    expect(page.locator("#loading")).to_be_visible()
    expect(page.locator("#indexing")).to_be_hidden()
    state["state"] = "ready"
    expect(page.locator("#loading")).to_be_hidden()


def test_an_empty_index_says_how_to_fill_it_and_shows_photos_as_they_come(
    browser: Any, environment: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    environment = environment | {"CLIPSEARCH_INDEX": str(tmp_path / "index")}
    Library.open(tmp_path / "index").close()
    port = free_port()
    server = serve(port, environment)
    page = browser.new_page()
    try:
        held = held_back(page, "**/api/status")
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#summary")).to_have_text("No photos")
        expect(page.locator("#no-match")).to_be_hidden()  # also before the server's state is known
        page.unroute("**/api/status")
        for route in held:
            with suppress(sync_api.Error):  # one that was let go with that
                route.continue_()
        expect(page.locator("#empty")).to_contain_text("clipsearch index ~/Photos")
        shutil.copy(folder / "cat.png", tmp_path)
        command = [sys.executable, "-m", "clipsearch", "index", str(tmp_path), "--model", "pocket"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        expect(page.locator(".tile")).to_have_count(1)
        expect(page.locator("#empty")).to_be_hidden()
        stop(server)
        expect(page.locator("#gone")).to_be_visible(timeout=DEADLINE)
        server = serve(port, environment)
        expect(page.locator("#gone")).to_be_hidden(timeout=DEADLINE)
    finally:
        page.close()
        stop(server)


def test_the_page_works_below_a_path(
    browser: Any, served: str, environment: dict[str, str]
) -> None:
    server = serve(port := free_port(), environment, "--root-path", "/photos")
    base = f"http://127.0.0.1:{port}/photos/"
    context = browser.new_context(base_url=base, viewport={"width": 1200, "height": 800})
    context.set_default_timeout(DEADLINE)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    try:
        page = context.new_page()
        page.goto(base)
        page.fill("#words", "a motorcycle")
        page.keyboard.press("Enter")
        expect_first(page, "motorcycle.png")
        assert page.url.startswith(f"{base}?q=")
        opened(page, "motorcycle.png")
        expect(page.locator("#caption")).to_be_attached()
        page.reload()
        expect(page.locator("#viewer")).to_be_visible()
        page.goto("docs")
        page.locator(".try a").first.click()
        page.goto(base)
        page.click("#home")
        expect(page.locator(".tile").first).to_be_visible()
        assert [url for url in asked if not url.startswith((base, "blob:", "data:"))] == []
    finally:
        context.close()
        stop(server)
