"""Words looked for in what is written about photos, and fused with what the photos show."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from conftest import Run, picture
from tiny import open_tiny

from clipsearch import Hit, InvalidInput, Library, Nothing, Question
from clipsearch.search import hybrid
from clipsearch.search.filtering.filters import Filters
from clipsearch.store.database import FILE_NAME

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF'
    ' xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/">{}</r:Description></r:RDF></x:xmpmeta>'
)


def save(file: Path, seed: int, **words: str) -> None:
    """A picture with words in it: `description`, `title` or `subject`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    told = "".join(
        f"<dc:{name}><r:Bag><r:li>{text}</r:li></r:Bag></dc:{name}>" for name, text in words.items()
    )
    picture(seed).save(file, xmp=XMP.format(told).encode())


@pytest.fixture
def library(tmp_path: Path, index: Path) -> Iterator[Library]:
    """Twenty plain photos and some with words."""
    photos = tmp_path / "photos"
    for seed in range(20):
        save(photos / f"{seed:02}.jpg", seed)
    save(photos / "trips" / "Zoë_at-the-Fjord.jpg", 20)
    save(photos / "cake.jpg", 21, description="Grandma's birthday cake with candles")
    save(photos / "party.jpg", 22, title="The birthday", subject="balloons")
    save(photos / "tokyo.jpg", 23, description="東京都の夜")
    save(photos / "seoul.jpg", 24, description=normalize("NFD", "부산에서"))
    save(photos / "bangkok.jpg", 25, description="ที่กรุงเทพฯ")
    save(photos / "moscow.jpg", 26, description="УЛИЦА в Москве")
    with open_tiny(index) as library:
        library.index([photos])
        yield library


def names(library: Library, text: str, k: int | None = 3, **options: object) -> list[str]:
    return [hit.path.name for hit in library.query(text, k, hybrid=True, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("zoe", "Zoë_at-the-Fjord.jpg"),  # without its dots, in a name
        ("fjords", "Zoë_at-the-Fjord.jpg"),  # another form of the word
        ("trips", "Zoë_at-the-Fjord.jpg"),  # a folder
        ("candles", "cake.jpg"),
        ("a balloon", "party.jpg"),
        ("京都", "tokyo.jpg"),
        ("부산", "seoul.jpg"),  # with an ending there, and written in parts as a Mac does
        ("กรุงเทพ", "bangkok.jpg"),
        ("улица", "moscow.jpg"),
    ],
)
def test_words_that_are_written_about_a_photo_bring_it_to_the_top(
    library: Library, text: str, name: str
) -> None:
    assert name in names(library, text)
    assert library.query(text, 1)[0].path.name != name


def test_photos_that_both_rankings_have_come_before_those_that_one_has(library: Library) -> None:
    plain = [hit.path.name for hit in library.query("birthday", None)]
    both = ["cake.jpg", "party.jpg"]
    assert names(library, "birthday", 2) in (both, both[::-1])
    # The others keep their order.
    rest = [name for name in plain if name not in both]
    assert [name for name in names(library, "birthday", None) if name not in both] == rest


def test_the_score_stays_the_cosine(library: Library) -> None:
    cosines = {hit.id: hit.score for hit in library.query("birthday cake", None)}
    hits = library.query("birthday cake", None, hybrid=True)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(cosines, abs=1e-6)
    assert hits[0].score < max(cosines.values())


def test_quoted_words_must_occur(library: Library) -> None:
    assert sorted(names(library, '"birthday" cake', None)) == ["cake.jpg", "party.jpg"]
    assert names(library, '"birthday cake"', None) == ["cake.jpg"]
    assert names(library, '"cake birthday"', None) == []
    assert names(library, '"birthday" + "balloons"', None) == ["party.jpg"]
    assert names(library, '"birthday" - "candles"', None) == ["party.jpg"]
    assert names(library, '"東京"', None) == ["tokyo.jpg"]
    assert names(library, '"東都"', None) == []


def test_filters_hold_for_what_is_found_by_its_words_too(library: Library) -> None:
    only = Filters(has=["caption"])
    found = names(library, "birthday", None, filters=only)
    assert found[0] == "cake.jpg"
    assert set(found) == {f"{it}.jpg" for it in ("cake", "tokyo", "seoul", "bangkok", "moscow")}
    assert names(library, '"birthday"', None, filters=only) == ["cake.jpg"]


@pytest.mark.parametrize("text", ['"!!" dog', '"" dog', '- "dog"', "./photo.jpg"])
def test_words_are_needed(library: Library, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"words|quotes"):
        library.query(text, hybrid=True)


@pytest.mark.parametrize(
    "text",
    [
        "NEAR(a b)", "title:x OR", "(", "a\0b", "— … dog*x", "\udcff é", "a\uff02b", "AND",
        "^x {y}", "-a:b", 'an "unbalanced', "' ; --", "word " * 300,
    ],
)  # fmt: skip
def test_any_words_can_be_looked_for(library: Library, text: str) -> None:
    assert len(library.query(text, None, hybrid=True)) == 27
    assert library.query(f'"x{text}"', None, hybrid=True) == []


def test_a_question_of_many_words_is_answered(library: Library) -> None:
    words = " ".join(f"w{number}" for number in range(3000))
    hits = library.query(f"{words} candles", None, hybrid=True)
    assert [hit.path.name for hit in hits if hit.written] == ["cake.jpg"]


def test_a_word_deep_in_the_ranking_of_pictures_is_found(tmp_path: Path, index: Path) -> None:
    photos = tmp_path / "photos"
    for seed in range(12):
        save(photos / f"{seed:02}.jpg", seed)
    with open_tiny(index) as library:
        library.index([photos])
        last = library.query("Zoë", None)[-1].path
        last.rename(last.with_name("Zoë.jpg"))
        library.index()
        hits = library.query("Zoë", 2, hybrid=True)
    assert hits[0].path.name == "Zoë.jpg"


def test_words_for_what_pictures_show_lift_less_than_names(tmp_path: Path, index: Path) -> None:
    from clipsearch.search.hybrid import is_visible

    assert [is_visible(word) for word in ("dog", "Dogs,", "Zoë")] == [True, True, False]
    photos = tmp_path / "photos"
    for seed in range(12):
        save(photos / f"{seed:02}.jpg", seed)
    with open_tiny(index) as library:
        library.index([photos])
        last = library.query("dog", None)[-1].path
        best = library.query("dog", 1)[0].path
        last.rename(last.with_name("dog.jpg"))
        library.index()
        found = [hit.path for hit in library.query("dog", None, hybrid=True)]
    # It is written, and does not look like it: it comes nearer, and not before the best picture.
    assert found.index(best) < found.index(last.with_name("dog.jpg")) < len(found) - 1


# By default: where it is written anywhere


def facts(hits: list[Hit]) -> list[dict[str, object]]:
    return [hit.as_dict(rank) for rank, hit in enumerate(hits, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "zebra", "a red boat + 2*sea - fence", '"!!" boat', "- fence", "a", "…", "写真",
        'horse + sea - "ox"', 'no such words - "nor these"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"since": "2001"}, {"relevant": True}])
def test_what_is_written_nowhere_has_the_plain_answer(
    library: Library, text: str, options: dict[str, Any]
) -> None:
    assert facts(library.query(text, 5, hybrid=None, **options)) == facts(
        library.query(text, 5, **options)
    )


def test_what_is_written_is_found_by_default(library: Library) -> None:
    for text in ("zoe", "grandma cake", "Zoë in the woods", '"birthday" - "candles"'):
        expected = facts(library.query(text, None, hybrid=True))
        assert facts(library.query(text, None, hybrid=None)) == expected
        assert facts(library.query(text, None, hybrid=False)) != expected
    told = {hit.path.name: hit.written for hit in library.query("grandma zebra", None, hybrid=None)}
    assert 0 < told.pop("cake.jpg") < 1
    assert set(told.values()) == {0.0}


def test_what_all_words_are_written_about_stands_out(library: Library) -> None:
    hits = library.query("zoe fjord", None, relevant=True, hybrid=None)
    assert hits[0].path.name == "Zoë_at-the-Fjord.jpg"
    assert hits[0].written == 1


@pytest.mark.parametrize("hybrid", [None, True])
def test_what_is_in_quotes_must_be_written_however_it_is_asked(
    library: Library, hybrid: bool | None
) -> None:
    assert len(library.query('"birthday" - "candles"', None, hybrid=hybrid)) == 1
    for text, options, reason, nowhere in [
        ('"zebra" candles', {}, "quotes", ("zebra",)),
        ('"zebra" + "zoe"', {}, "quotes", ("zebra",)),
        ('"zoe" "birthday"', {}, "quotes", ()),
        ('"zoe"', {"has": ["title"]}, "quotes", ()),
        ('"birthday" cake - "birthday"', {}, "minus", ()),
        ('"zebra"', {"camera": "Leica"}, "filters", ()),
    ]:
        assert library.query(text, None, hybrid=hybrid, **options) == []
        asked = Question(text, filters=Filters(**options), hybrid=hybrid)
        assert library.why_nothing(asked) == Nothing(reason, nowhere)
    assert len(library.query('"zebra" candles', None, hybrid=False)) == 27


def test_pages_follow_each_other(library: Library) -> None:
    whole = facts(library.query("birthday balloons at the fjord", None, hybrid=None))
    for k in (1, 2, 5, 13, 26):
        assert facts(library.query("birthday balloons at the fjord", k, hybrid=None)) == whole[:k]


@pytest.mark.parametrize("depth", [1, 2, 4, 9])
@pytest.mark.parametrize("options", [{}, {"has": ["caption"]}, {"folder": "trips"}])
def test_the_first_are_the_same_however_many_are_looked_through(
    library: Library, monkeypatch: pytest.MonkeyPatch, depth: int, options: dict[str, Any]
) -> None:
    if "folder" in options:
        options = {"folder": library.status().roots[0].path}
    asked = [
        "birthday balloons at the fjord", "Zoë 東京 candles 부산에서", "party", '"birthday" cake',
        'grandma moscow - "balloons"', "00 01 02 07 11 19 zoe jpg",
    ]  # fmt: skip
    whole = {text: facts(library.query(text, None, hybrid=True, **options)) for text in asked}
    monkeypatch.setattr(hybrid, "DEPTH", depth)
    for text, expected in whole.items():
        for k in (1, 2, 3, 6, 14, 27):
            assert facts(library.query(text, k, hybrid=True, **options)) == expected[:k]


def test_words_in_quotes_are_looked_for_once_and_not_for_each_photo(
    library: Library, index: Path
) -> None:
    statements: list[str] = []
    library._catalog._db.set_trace_callback(statements.append)
    assert names(library, '"birthday" cake', None) == ["cake.jpg", "party.jpg"]
    library._catalog._db.set_trace_callback(None)
    asked = [it for it in statements if "MATCH" in it]
    with sqlite3.connect(index / FILE_NAME) as db:
        plans = [str(db.execute(f"EXPLAIN QUERY PLAN {it}").fetchall()) for it in asked]
    assert plans
    assert not any("digest=? AND rowid=?" in plan for plan in plans)  # for each id of the words


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("DSC01273", ["1273", "01273", "DSC01273", "dsc01273.jpg", "DSC01273.JPG", '"1273"']),
        (
            "BirthdayParty",
            ["birthday", "party", "a birthday party", "BIRTHDAY", '"birthday party"'],
        ),
        ("PARIS2019", ["paris", "2019", "Paris 2019", "paris2019", '"paris" - "london"']),
        ("IMG_20190704_Zoë", ["2019", "20190704", "zoe", "ZOE", "Zoë's"]),
        ("summerholiday", ["holiday", "summer", "HOLIDAY"]),
        ("éTÉàNîmes", ["nimes", "Nîmes"]),
        ("東京2019年", ["東京", "2019", "京", "2019年"]),
        ("МоскваУлица", ["улица", "москва"]),
        ("iPhone-backup", ["iphone", "phone", "backup"]),
        ("XMLParser", ["parser", "xml"]),
        ("straße7b", ["straße", "STRASSE"]),
    ],
)
def test_names_are_found_in_part(tmp_path: Path, index: Path, name: str, texts: list[str]) -> None:
    photos = tmp_path / "photos"
    for seed in range(8):
        save(photos / f"{seed:08}.jpg", seed)
    save(photos / name / "x.jpg", 20)  # a folder
    save(photos / f"{name}.jpg", 21)
    with open_tiny(index) as library:
        library.index([photos])
        for text in texts:
            written = {
                hit.path.name for hit in library.query(text, None, hybrid=None) if hit.written
            }
            assert written == {"x.jpg", f"{name}.jpg"}, text


@pytest.mark.parametrize("text", ["cat", "art", "rain", "127", "ion", "mad", "zeb"])
def test_short_words_are_not_found_inside_others(tmp_path: Path, index: Path, text: str) -> None:
    photos = tmp_path / "photos"
    for seed, name in enumerate(["vacation", "party", "train", "nomadic", "0012734", "zebra"]):
        save(photos / f"{name}.jpg", seed)
    with open_tiny(index) as library:
        library.index([photos])
        assert not any(hit.written for hit in library.query(text, None, hybrid=None))


def test_a_photo_that_was_renamed_is_found_by_its_new_name_alone(
    tmp_path: Path, index: Path
) -> None:
    photos = tmp_path / "photos"
    save(photos / "summerholiday.jpg", 1)
    save(photos / "other.jpg", 2)
    with open_tiny(index) as library:
        library.index([photos])
        (photos / "summerholiday.jpg").rename(photos / "winterholiday.jpg")
        library.index()
        (hit,) = (it for it in library.query("holiday winter", hybrid=None) if it.written)
        assert hit.path.name == "winterholiday.jpg"
        assert not any(it.written for it in library.query("summer", hybrid=None))
        library.forget(photos / "winterholiday.jpg")
        assert not any(it.written for it in library.query("holiday", hybrid=None))


def test_an_older_index_finds_names_in_part_when_it_is_opened(
    library: Library, index: Path
) -> None:
    older(library, index)
    with open_tiny(index) as again:
        assert any(hit.written for hit in again.query("jord fjord", hybrid=None))
        assert any(hit.written for hit in again.query("oscow moscow", hybrid=None))


def test_an_older_index_that_may_only_be_read_finds_whole_words(
    library: Library, index: Path
) -> None:
    from clipsearch.store.database import file

    older(library, index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "SCHEMA_VERSION", 10)
        with open_tiny(index) as again:
            assert [hit.path.name for hit in again.query("zoe", hybrid=None) if hit.written]


def older(library: Library, index: Path) -> None:
    """Make the index as it was before names were found in part."""
    library.close()
    with sqlite3.connect(index / FILE_NAME) as db:
        db.executescript(
            "DROP TABLE inside; DROP TABLE words; CREATE VIRTUAL TABLE words USING fts5 ("
            "path, title, caption, keywords, generated,"
            " tokenize = 'porter unicode61 remove_diacritics 2');"
            "INSERT INTO words (rowid, path) SELECT id, replace(path, '.jpg', '') FROM photos;"
            "DELETE FROM _sqlite_migrations"
            " WHERE name IN ('m011_parts_of_names', 'm017_readings');"
            "DROP TABLE readings; PRAGMA user_version = 10"
        )


# Kept in step


def written(index: Path) -> dict[str, tuple[str | None, ...]]:
    """The full-text table, by the path of the photo."""
    with sqlite3.connect(index / FILE_NAME) as db:
        rows = db.execute(
            "SELECT photos.path, words.path, words.title, words.caption, words.keywords"
            " FROM words LEFT JOIN photos ON photos.id = words.rowid"
        )
        return {row[0]: row[1:] for row in rows}


def test_the_words_follow_the_photos(tmp_path: Path, index: Path) -> None:
    photos = tmp_path / "photos"
    save(photos / "one.jpg", 1, title="First", subject="a b")
    save(photos / "two.jpg", 2)
    with open_tiny(index) as library:
        library.index([photos])
        assert written(index) == {
            "one.jpg": ("one", "First", None, "a b"), "two.jpg": ("two", None, None, None)
        }  # fmt: skip
        os.replace(photos / "one.jpg", photos / "two.jpg")  # moved over another
        library.index()
        assert written(index) == {"two.jpg": ("two", "First", None, "a b")}
        save(photos / "two.jpg", 3, description="Second")
        library.index()
        assert written(index) == {"two.jpg": ("two", None, "Second", None)}
        library.index([tmp_path])  # the folder becomes part of a larger one
        assert written(index) == {"photos/two.jpg": ("photos/two", None, "Second", None)}
        library.forget(photos)
        assert written(index) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM words",
        "DELETE FROM inside",
        "DELETE FROM words WHERE rowid % 2",
        "UPDATE words SET title = 'a wedding' WHERE rowid = 3",
        "UPDATE inside SET name = 'abc' WHERE rowid = 3",
        "INSERT INTO words (rowid, title) VALUES (500, 'a wedding')",
        "INSERT INTO inside (rowid, name) VALUES (500, 'wed')",
        "DELETE FROM words WHERE rowid = 2; INSERT INTO inside (rowid, name) VALUES (50, 'wed')",
        "UPDATE words_content SET c1 = 'a wedding' WHERE id = 3",  # past what it is searched by
        "DELETE FROM words_data WHERE id > 10",
        "DELETE FROM inside_idx; DELETE FROM inside_data WHERE id > 10",
    ],
)
def test_verify_mends_the_words(library: Library, index: Path, damage: str) -> None:
    def all_words() -> list[list[tuple[object, ...]]]:
        with closing(sqlite3.connect(index / FILE_NAME)) as db:
            return [
                db.execute(f"SELECT rowid, * FROM {it} ORDER BY rowid").fetchall()
                for it in ("words", "inside WHERE name IS NOT NULL")
            ]

    before, found = all_words(), [hit.id for hit in library.query('"trip"', hybrid=True)]
    with closing(sqlite3.connect(index / FILE_NAME)) as db, db:
        db.executescript(damage)
    library.index(verify=True)
    assert all_words() == before
    assert [hit.id for hit in library.query('"trip"', hybrid=True)] == found != []
    assert library.query('"wedding"', hybrid=True) == []


def test_verify_writes_no_words_that_are_as_they_are_to_be(library: Library, index: Path) -> None:
    def segments() -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(index / FILE_NAME)) as db:
            return db.execute(
                "SELECT * FROM words_data UNION ALL SELECT * FROM inside_data"
            ).fetchall()

    library.index(verify=True)
    before = segments()
    library.index(verify=True)
    assert segments() == before


def test_an_older_index_gets_its_words_when_it_is_opened(library: Library, index: Path) -> None:
    before = written(index)
    library.close()
    with sqlite3.connect(index / FILE_NAME) as db:
        db.executescript(
            "DROP TABLE words; DROP TABLE captions; PRAGMA user_version = 2;"
            "DELETE FROM _sqlite_migrations"
            " WHERE name IN ('m003_captions_and_words', 'm011_parts_of_names', 'm017_readings');"
            "DROP TABLE inside; DROP TABLE readings"
        )
    Library.open(index).close()
    assert written(index) == before


def test_a_name_that_is_not_utf_8_has_words_too(tmp_path: Path, index: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    file = os.fsencode(photos) + b"/caf\xe9 terrace.jpg"
    try:
        with open(file, "wb") as stream:
            picture(1).save(stream, "JPEG")
    except OSError:
        pytest.skip("this file system takes no such name")
    with open_tiny(index) as library:
        library.index([photos])
        assert len(library.query('"terrace"', hybrid=True)) == 1


def test_the_command(clipsearch: Run, photos: Path) -> None:
    (photos / "03.jpg").rename(photos / "a birthday cake.jpg")
    assert clipsearch("index", photos, "--model", "pocket").returncode == 0
    plain = json.loads(clipsearch("query", "birthday", "--json", "-k", "all").stdout)
    found = clipsearch("query", '"birthday cakes" at night', "--hybrid", "--json")
    (hit,) = json.loads(found.stdout)
    assert Path(hit["path"]).name == "a birthday cake.jpg"
    assert hit.keys() == plain[0].keys()
    by_default = json.loads(clipsearch("query", "birthday", "--json", "-k", "1").stdout)
    assert [(it["path"], it["written"]) for it in by_default] == [(hit["path"], 1.0)]
    alone = clipsearch("query", "birthday", "--no-hybrid", "--json", "-k", "all").stdout
    assert {it["written"] for it in json.loads(alone)} == {0.0}
    both = clipsearch("query", "birthday", "--hybrid", "--no-hybrid")
    assert (both.returncode, both.stdout) == (2, "")
    for options in [(), ("--hybrid",), ("--relevant",), ("--json",)]:
        none = clipsearch("query", '"wedding" + "birthday"', *options)
        assert (none.returncode, none.stdout.strip("[]\n")) == (1, "")
        assert none.stderr == (
            'clipsearch: no photo has all the words in quotes: "wedding" is in no path, title,'
            " caption or keyword, nor in the text of a picture; what is not in quotes is looked"
            " for in pictures too\n"
        )
    together = clipsearch("query", '"trip" "birthday"', "--type", "jpeg").stderr
    assert "no photo within the filters has all the words in quotes; what is not in" in together
    alone = clipsearch("query", '"wedding" cake', "--no-hybrid")
    assert (alone.returncode, alone.stderr) == (0, "")
    wrong = clipsearch("query", "--image", photos / "00.jpg", "--hybrid")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "ask with some" in wrong.stderr
