"""The programs of docs/python.md run as they stand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tiny import TinyEncoder

from clipsearch import Filters, InvalidInput, Library
from clipsearch.encoders.spec import FAMILIES

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
PROGRAMS = dict(
    re.findall(
        r"^## \d+\. ([^\n]+)\n.*?^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
    )
)
SAID = {
    "Index a folder and ask": r"1 added, 0 could not be read\n(-?\d\.\d{3} photos/\S+\n){5}",
    "Ask only among some photos": r"0\n10 of 13\n\(\('\d{4}-\d\d', 13\),\)\n",
    "Ask with a picture, or with both": r"(-?\d\.\d{3} \S+\.jpg\n){3}\[('\S+\.jpg',? ?){3}\]\n",
    "Show how far a run is, and stop it": r"(\d of 1\n)+",
    "Follow folders": r"\+1 -0\n",
    "All photos as a table": r"path,taken,camera,keywords\r\n(\S+\.jpg,\S+,,\r\n){13}",
    "What the photos show": r"(\d+ of a \w+, such as \S+\.jpg\n)+(\d+% \S+\.jpg\n)*",
    "Duplicates": r"\S+\.jpg is also \['\S+\.jpg'\]\n\d+ bytes could be freed\n",
    "Embeddings of your own": r"\(9, 9\) float32\n\[[01 ]+\]\n",
    "What can go wrong": r"k must be at least 1, not 0\nno town is known that is called .*\n",
}


@pytest.fixture
def there(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos, and an index of a small model that knows all but one, a copy."""
    monkeypatch.setitem(FAMILIES, "tiny", "tiny")
    monkeypatch.chdir(tmp_path)
    with Library.open("photo-index", model="tiny:a/b", encoder=TinyEncoder()) as library:
        library.index(["photos"])
    shutil.copy(photos / "00.jpg", photos / "copy.jpg")
    return tmp_path


def test_each_program_is_run() -> None:
    assert PROGRAMS.keys() == SAID.keys()


@pytest.mark.parametrize("title", SAID)
def test_the_program_runs(title: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PROGRAMS[title], title, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out.replace(f"{there}/", "")
    assert re.fullmatch(SAID[title], said), said


def test_filters_by_name_are_those_of_an_object(there: Path) -> None:
    with Library.open("photo-index") as library:
        library.index()
        one, other = "photos/trip", Filters(folder=["photos/trip"])
        assert library.photos(folder=one) == library.photos(other) != library.photos()
        assert library.count(folder=one) == library.count(other) == len(library.photos(other))
        assert library.facets(folder=one) == library.facets(other)
        assert library.query("a dog", k=None, folder=one) == library.query(
            "a dog", None, filters=other
        )
        found = library.similar("photos/00.jpg", k=None, filters=other, type="png")
        assert found == []  # both hold
        with pytest.raises(InvalidInput, match=r"^orientation 'round' is unknown"):
            library.query("a dog", orientation="round")
        with pytest.raises(TypeError, match="colour"):
            library.query("a dog", colour="red")  # type: ignore[call-arg]
