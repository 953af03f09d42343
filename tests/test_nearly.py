"""Words that were read with a letter wrong, looked for in an index by what was kept of them."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import open_tiny

from clipsearch import Library, Line
from clipsearch.store.catalog import Catalog
from clipsearch.store.database.nearly import is_near, which_have

WORDS = st.text("abc", max_size=6)
QUAD = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.2), (0.1, 0.2))


def neighbours(word: str) -> set[str]:
    """All that a word of a, b and c is but for one letter, by trying each change."""
    parts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    less = {before + after[1:] for before, after in parts if after}
    more = {before + letter + after for before, after in parts for letter in "abc"}
    other = {before + letter + after[1:] for before, after in parts for letter in "abc" if after}
    return {word} | less | more | other


@given(WORDS, WORDS)
def test_words_are_near_where_one_change_makes_them_the_same(one: str, other: str) -> None:
    assert is_near(one, other) == (other in neighbours(one))


@pytest.fixture
def library(photos: Path, index: Path) -> Library:
    library = open_tiny(index)
    library.index([photos])
    return library


def keep(library: Library, **texts: str) -> None:
    """Have texts read in photos, by their names; "/" is between two lines."""
    digests = {
        f"p{photo.path.stem}": sha256(Path(photo.path).read_bytes()).hexdigest()
        for photo in library.photos()
    }
    with closing(Catalog.open(library.folder)) as catalog:
        lines = {
            digests[name]: [Line(line, QUAD, 0.9) for line in text.split("/")]
            for name, text in texts.items()
        }
        catalog.add_readings("by hand", lines)


def found(library: Library, text: str) -> list[str]:
    hits = library.query(text, None, hybrid=True)
    return [f"p{hit.path.stem}" for hit in hits if hit.written]


def test_what_was_read_wrong_comes_after_what_was_read_right(library: Library) -> None:
    keep(library, p00="Rechnung Nr 5", p01="Rechnunq Nr 6", p02="Rechung", p03="Rechnnng X")
    for question in ("rechnung", '"rechnung"'):
        assert found(library, question)[0] == "p00"
        assert set(found(library, question)) == {"p00", "p01", "p02", "p03"}
    assert found(library, '"Rechnung Nr"') == ["p00", "p01"]


def test_a_phrase_may_go_on_in_the_next_line(library: Library) -> None:
    keep(library, p00="Thank you for/shopping here", p01="shopping")
    assert found(library, '"for shopping"') == ["p00"]
    (hit,) = library.query('"for shopping"', hybrid=True)
    assert [line.text for line in hit.lines] == ["shopping here"], "'for' stands in most questions"


def test_words_that_ran_together_are_found(library: Library) -> None:
    keep(library, p00="MobileHotspot", p01="Mobilehotspots")
    assert set(found(library, "hotspot")) == {"p00", "p01"}


def test_accents_and_case_are_no_letters(library: Library) -> None:
    keep(library, p00="CRÈME BRÛLÉE", p01="Straßenfest")
    assert found(library, '"creme brulee"') == ["p00"]
    assert found(library, '"strassenfest"') == ["p01"]


def test_scripts_without_spaces_are_found_by_their_characters(library: Library) -> None:
    keep(library, p00="五金商店收据", p01="領収書ありがとう")
    assert found(library, '"商店"') == ["p00"]
    assert found(library, '"領収書"') == ["p01"]
    assert found(library, '"店商"') == []


def test_a_text_of_any_characters_can_be_read(library: Library) -> None:
    keep(library, p00='a "quoted" word\0, and 😀 \\u0041', p01="'; DROP TABLE words; --")
    assert found(library, '"quoted word"') == ["p00"]
    assert found(library, '"drop table"') == ["p01"]


@given(st.lists(st.text(max_size=30), max_size=4), st.text(max_size=20))
def test_lines_are_looked_for_like_photos_whatever_they_hold(texts: list[str], word: str) -> None:
    numbers = which_have(texts, [word])
    assert numbers <= set(range(len(texts)))
    assert which_have(["before", "a wonderful word", "after"], ["wonderfull"]) == {1}
