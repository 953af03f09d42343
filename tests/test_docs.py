"""The documents say what the program does."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, picture
from packaging.requirements import Requirement
from tiny import open_tiny

from clipsearch import CaptionReport
from clipsearch.cli.parsing.commands import COMMANDS
from clipsearch.encoders.aliases import ALIASES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "index" / "README.md"]
SHOWN = (
    "caption|read|dupes|finetune|index|watch|query|similar|label|score|status|models|forget|mcp|optimize"
    "|serve|copy|store move|eval retrieval|eval zeroshot|export onnx|doctor"
)
COMMAND = re.compile(rf"clipsearch ({SHOWN})\b([^`\n]*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_option_that_the_documents_show_exists(clipsearch: Run) -> None:
    shown: dict[str, set[str]] = {}
    for page in PAGES:
        for command, rest in COMMAND.findall(page.read_text("utf-8")):
            shown.setdefault(command, set()).update(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
    assert {"index", "query", "similar", "status"} <= shown.keys()
    for command, options in shown.items():
        known = set(re.findall(r"--?[a-z][a-z-]*", clipsearch(*command.split(), "--help").stdout))
        assert options <= known, command


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [command for command in COMMANDS if f"clipsearch {command}" not in readme] == []


def test_the_json_of_each_command_has_the_keys_that_are_documented(
    clipsearch: Run, tmp_path: Path, index: Path
) -> None:
    def told(command: str) -> Any:
        done = clipsearch(command, "--json")
        assert done.returncode in (0, 1), done.stderr  # doctor finds things wrong
        return json.loads(done.stdout)

    photos = tmp_path / "photos"
    photos.mkdir()
    picture(1).save(photos / "one.jpg")
    picture(1).save(photos / "one.png")
    with open_tiny(index) as library:
        library.index([photos])
        hit, _ = library.query("a dog")
        (label,) = library.label(photos / "one.jpg", ["cat"])
        (count,) = library.count_labels(labels=["cat"])
        photo, _ = library.photos_labelled("cat", labels=["cat"])
    assert documented("query") == set(hit.as_dict(1))
    (group,) = told("dupes")
    assert documented("dupes") == group.keys()
    own = {"path", "id", "keep", "bytes", "names"}
    asked = {"rank", "score", "relevance", "path", "id", "present", "written", "lines"}
    assert group["photos"][0].keys() - own == documented("query") - asked
    assert documented("label PHOTO") == set(label.as_dict(1))
    assert documented("label FOLDER") == set(count.as_dict(1))
    assert documented("label --show LABEL") == set(photo.as_dict(1)) - documented("query")
    assert documented("caption") - {"caption"} == {it.name for it in fields(CaptionReport)}
    assert documented("status") == set(told("status"))
    assert documented("index") == set(told("index"))
    assert documented("optimize") == set(told("optimize")[0])
    assert documented("doctor") == set(told("doctor")[0])
    assert documented("models") == set(told("models")[0])


def documented(command: str) -> set[str]:
    """The keys that docs/json.md names in a command's section: in a table's first column or not."""
    text = (ROOT / "docs" / "json.md").read_text("utf-8")
    section = text.partition(f"## `clipsearch {command} --json`")[2].partition("\n## ")[0]
    if "| key |" in section:
        cells = re.findall(r"^\| (`[^|]+) \|", section, re.M)
        return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    return set(re.findall(r"`(\w+)`", section))


def test_all_is_every_group_but_those_of_developers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (every,) = project["optional-dependencies"]["all"]
    others = project["optional-dependencies"].keys() - {"all", "samples", "test"}
    assert Requirement(every).extras == others


def test_the_aliases_are_in_the_models_table() -> None:
    text = (ROOT / "docs" / "models.md").read_text("utf-8")
    for alias in ALIASES.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{alias.name}` |"))
        assert f"`{alias.spec}`" in row
        assert f"| {alias.resolution} | {alias.dim} |" in row


def test_how_large_things_are_is_said_once_and_as_it_is() -> None:
    readme = PAGES[0].read_text("utf-8")
    (default,) = re.findall(r"`default`, a CLIP of (\d+) MB", readme)
    assert int(default) == ALIASES["default"].download_mb
    # How large an install is was measured, and stands where one installs.
    size = re.compile(r"GB (?:to download|on the disk)|install[^.|\n]{0,60}\bGB\b")
    assert [page.name for page in PAGES if size.search(page.read_text("utf-8"))] == ["README.md"]
    sizes = re.search(r"([\d.]+) GB to download, and ([\d.]+) GB on\s+the disk", readme)
    small = re.search(r"with ([\d.]+) GB and ([\d.]+) GB", readme)
    assert sizes
    assert small
    download, disk, small_download, small_disk = map(float, sizes.groups() + small.groups())
    assert small_download < small_disk < download < disk
    assert "https://download.pytorch.org/whl/cpu" in readme[small.end() :][:100]
