"""The catalog keeps what is known of every photo, whole or not at all."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlite_utils

from clipsearch.errors import LibraryError
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.urls import is_below
from clipsearch.store.catalog import (
    EVERYTHING,
    Catalog,
    Changes,
    Failure,
    Model,
    NewPhoto,
    Root,
)
from clipsearch.store.conditions import Is
from clipsearch.store.database import APPLICATION_ID, FILE_NAME, SCHEMA_VERSION
from clipsearch.store.database.migrations import migrations

NOT_UTF_8 = os.fsdecode(b"caf\xe9/\xff.jpg")
SEEN = Facts(
    60, 40, "2024-05-06T07:08:09+02:00", "X100", 46.5, -7.25, "exif", "EF50mm", 6, "Zoë", "At sea",
    ("boat", "日本"),
)  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog.create(tmp_path)
    yield catalog
    catalog.close()


@pytest.fixture
def model(catalog: Catalog) -> Model:
    return catalog.add_model("ViT-B-32/openai", "weights", "preprocess", 2, None)


@pytest.fixture
def root(catalog: Catalog) -> Root:
    return catalog.add_root("/photos")


def photo(root: Root, path: str, digest: str = "", id: int | None = None) -> NewPhoto:
    return NewPhoto(id, root.id, path, digest or path, 10, 20, SEEN)


def row(name: str) -> bytes:
    """A row of unit length for each name, as bytes of float16."""
    angle = sum(name.encode())
    return np.array([np.cos(angle), np.sin(angle)], np.float16).tobytes()


def embed(catalog: Catalog, model: Model, *photos: NewPhoto) -> list[int]:
    """Write photos with a vector for each content; gives the ids of the new vectors."""
    digests = dict.fromkeys(photo.digest for photo in photos)
    changes = Changes(vectors=[(it, row(it)) for it in digests], photos=list(photos))
    return [id for id, _ in catalog.write(model.id, changes)]


def ids(catalog: Catalog, root: Root) -> dict[str, int]:
    return {path: known.id for path, known in catalog.known(root.id).items()}


def remove(catalog: Catalog, root: Root, *paths: str) -> None:
    catalog.remove_photos(ids(catalog, root)[path] for path in paths)
    catalog.sweep()


# The file


def test_the_schema_version_is_the_number_of_migrations(catalog: Catalog, tmp_path: Path) -> None:
    plain = sqlite3.connect(tmp_path / FILE_NAME)
    (version,) = plain.execute("PRAGMA user_version").fetchone()
    (application,) = plain.execute("PRAGMA application_id").fetchone()
    plain.close()
    database = sqlite_utils.Database(memory=True)
    assert version == SCHEMA_VERSION == len(migrations.pending(database))
    assert application == APPLICATION_ID


def test_other_programs_open_it(catalog: Catalog, model: Model, root: Root, tmp_path: Path) -> None:
    embed(catalog, model, photo(root, "a.jpg"))
    plain = sqlite3.connect(tmp_path / FILE_NAME)
    assert plain.execute("SELECT path, camera FROM photos").fetchall() == [("a.jpg", "X100")]
    assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()
    database = sqlite_utils.Database(tmp_path / FILE_NAME)
    assert database["photos"].count == database["vectors"].count == 1
    assert {"models", "roots", "photos", "vectors", "failures"} <= set(database.table_names())
    database.close()


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = Catalog.create(tmp_path)
    model, root = first.add_model("s", "w", "p", 2, "why"), first.add_root("/photos")
    embed(first, model, photo(root, "a.jpg"))
    first.close()
    for opened in (Catalog.open(tmp_path), Catalog.create(tmp_path)):
        assert (opened.models(), opened.roots()) == ([model], [root])
        assert opened.count_photos() == 1
        opened.close()


def test_a_folder_without_an_index_is_said_to_hold_none(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="holds no index"):
        Catalog.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_a_catalog(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    catalog = Catalog.open(tmp_path)
    assert catalog.roots() == []
    catalog.close()


@pytest.mark.parametrize("opener", [Catalog.open, Catalog.create])
def test_a_catalog_of_a_newer_version_is_left_alone(opener: object, tmp_path: Path) -> None:
    Catalog.create(tmp_path).close()
    plain = sqlite3.connect(tmp_path / FILE_NAME)
    plain.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    plain.close()
    with pytest.raises(LibraryError, match="newer clipsearch"):
        opener(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize("opener", [Catalog.open, Catalog.create])
@pytest.mark.parametrize("version", [0, 1, 99])
def test_a_database_of_another_program_is_left_alone(
    opener: object, version: int, tmp_path: Path
) -> None:
    plain = sqlite3.connect(tmp_path / FILE_NAME)
    plain.execute("CREATE TABLE photos (id INTEGER)")
    plain.execute(f"PRAGMA user_version = {version}")
    plain.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(LibraryError, match="not made by clipsearch"):
        opener(tmp_path)  # type: ignore[operator]
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("opener", [Catalog.open, Catalog.create])
@pytest.mark.parametrize("content", [b"x" * 600, b"no database\n" * 500, bytes(5000)])
def test_a_file_that_is_no_database_is_said_to_be_damaged(
    opener: object, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(LibraryError, match="not a database"):
        opener(tmp_path)  # type: ignore[operator]
    assert (tmp_path / FILE_NAME).read_bytes() == content


# Transactions


def test_a_transaction_that_fails_leaves_nothing(catalog: Catalog) -> None:
    def half_done() -> None:
        with catalog.transaction():
            catalog._db.execute("INSERT INTO roots (path) VALUES ('/a')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_done()
    assert catalog.roots() == []
    assert catalog.add_root("/b").path == "/b"


def test_a_batch_that_fails_leaves_nothing_of_itself(
    catalog: Catalog, model: Model, root: Root
) -> None:
    embed(catalog, model, photo(root, "before.jpg"))
    changes = Changes(
        vectors=[("new", row("new"))],
        photos=[photo(root, "new.jpg", "new"), photo(Root(99, "/nowhere"), "lost.jpg")],
        failures=[Failure(root.id, "bad.jpg", 1, 1, "damaged")],
        dropped=list(ids(catalog, root).values()),
    )
    with pytest.raises(sqlite3.IntegrityError):
        catalog.write(model.id, changes)
    assert list(catalog.known(root.id)) == ["before.jpg"]
    assert (catalog.failures(), catalog.vector_of(model.id, "new")) == ([], None)


def test_what_another_process_writes_is_seen(
    catalog: Catalog, model: Model, root: Root, tmp_path: Path
) -> None:
    reader = Catalog.open(tmp_path)
    embed(catalog, model, photo(root, "a.jpg"))
    assert reader.count_photos() == 1
    reader.close()


def test_a_version_changes_with_photos_and_not_with_what_is_remembered(
    catalog: Catalog, model: Model, root: Root, tmp_path: Path
) -> None:
    reader = Catalog.open(tmp_path)

    def is_another(write: Callable[[], object]) -> bool:
        before = catalog.version()
        assert before == reader.version()
        write()
        return catalog.version() != before and reader.version() == catalog.version()

    def first() -> int:
        return ids(catalog, root)["a.jpg"]

    for change in (
        lambda: embed(catalog, model, photo(root, "a.jpg")),
        lambda: catalog.move_photos([(first(), root.id, "b.jpg")]),
        lambda: catalog.move_photos([(ids(catalog, root)["b.jpg"], root.id, "a.jpg")]),
        lambda: catalog.add_captions("blip", {"a.jpg": "a boat"}),
        lambda: catalog.add_root("/others"),
        lambda: catalog.add_model("s", "w", "p", 2, None),
        lambda: catalog.remove_photos([first()]),
        catalog.sweep,
    ):
        assert is_another(change)
    for remember in (
        lambda: catalog.remember(model.id, {"a boat": bytes(8)}),
        lambda: reader.remember(model.id, {"a dog": bytes(8)}),
        catalog.keep_columns,
        lambda: catalog.keep_columns(anew=True),
    ):
        before = catalog.version()
        remember()
        assert catalog.version() == reader.version() == before
    reader.close()


# Photos and failures


def test_a_photo_comes_back_as_it_was_written(catalog: Catalog, model: Model, root: Root) -> None:
    (vector,) = embed(catalog, model, photo(root, "trip/a.jpg", "content"))
    ((row,),) = catalog.photos_of_vectors([vector]).values()
    assert (row.path, row.digest, row.facts) == (os.path.join("/photos", "trip", "a.jpg"),
                                                 "content", SEEN)  # fmt: skip
    known = catalog.known(root.id)["trip/a.jpg"]
    assert (known.id, known.size, known.mtime_ns, known.digest) == (row.id, 10, 20, "content")
    assert catalog.facts_of("content") == SEEN
    assert catalog.facts_of("unknown") is None


def test_copies_have_the_times_of_their_own_files(
    catalog: Catalog, model: Model, root: Root
) -> None:
    first = NewPhoto(None, root.id, "a.jpg", "content", 10, 10**18, Facts(60, 40))
    (vector,) = embed(catalog, model, first)
    facts = catalog.facts_of("content") or Facts()
    copy = NewPhoto(None, root.id, "b.jpg", "content", 10, 10**18 + 86_400 * 10**9, facts)
    catalog.write(model.id, Changes(photos=[copy]))
    (rows,) = catalog.photos_of_vectors([vector]).values()
    assert [row.facts.taken_from for row in rows] == ["file", "file"]
    one, other = (datetime.fromisoformat(row.facts.taken_at or "") for row in rows)
    assert (one.timestamp(), other - one) == (10**9, timedelta(days=1))


def test_paths_that_are_not_utf_8_come_back_as_they_were(
    catalog: Catalog, model: Model, tmp_path: Path
) -> None:
    root = catalog.add_root(os.fsdecode(b"/m\xfcsik"))
    (vector,) = embed(catalog, model, photo(root, NOT_UTF_8, "content"))
    changes = Changes(failures=[Failure(root.id, "x" + NOT_UTF_8, 1, 2, "damaged")])
    catalog.write(model.id, changes)
    catalog.exclude(root.id, "y" + NOT_UTF_8)
    again = Catalog.open(tmp_path)
    assert again.roots() == [root]
    assert list(again.known(root.id)) == [NOT_UTF_8]
    assert again.photos_of_vectors([vector])[vector][0].path == f"{root.path}/{NOT_UTF_8}"
    assert again.failed(root.id) == {"x" + NOT_UTF_8: (1, 2)}
    assert again.exclusions(root.id) == {"y" + NOT_UTF_8}
    again.close()


def test_a_photo_that_changed_keeps_its_id(catalog: Catalog, model: Model, root: Root) -> None:
    embed(catalog, model, photo(root, "a.jpg", "old"))
    before = ids(catalog, root)
    embed(catalog, model, photo(root, "a.jpg", "new", before["a.jpg"]))
    assert ids(catalog, root) == before
    assert catalog.known(root.id)["a.jpg"].digest == "new"


def test_a_photo_that_moved_keeps_its_id(catalog: Catalog, model: Model, root: Root) -> None:
    embed(catalog, model, photo(root, "a.jpg", "content"))
    number = ids(catalog, root)["a.jpg"]
    embed(catalog, model, photo(root, "trip/b.jpg", "content", number))
    assert ids(catalog, root) == {"trip/b.jpg": number}


def test_a_failure_is_forgotten_when_the_file_can_be_read(
    catalog: Catalog, model: Model, root: Root
) -> None:
    failure = Failure(root.id, "a.jpg", 1, 2, "damaged")
    catalog.write(model.id, Changes(failures=[failure]))
    assert catalog.failures() == [(os.path.join("/photos", "a.jpg"), "damaged")]
    embed(catalog, model, photo(root, "a.jpg"))
    assert catalog.failures() == []


def test_a_photo_that_became_unreadable_is_a_photo_no_more(
    catalog: Catalog, model: Model, root: Root
) -> None:
    embed(catalog, model, photo(root, "a.jpg"))
    failure = Failure(root.id, "a.jpg", 1, 2, "damaged")
    catalog.write(model.id, Changes(failures=[failure], dropped=[ids(catalog, root)["a.jpg"]]))
    assert (catalog.count_photos(), catalog.failed(root.id)) == (0, {"a.jpg": (1, 2)})


def test_a_failure_is_removed_by_its_path(catalog: Catalog, model: Model, root: Root) -> None:
    failures = [Failure(root.id, name, 1, 2, "damaged") for name in ("a.jpg", NOT_UTF_8)]
    catalog.write(model.id, Changes(failures=failures))
    catalog.remove_failures([(root.id, NOT_UTF_8)])
    assert list(catalog.failed(root.id)) == ["a.jpg"]


def test_photos_of_more_vectors_than_one_statement_takes(
    catalog: Catalog, model: Model, root: Root
) -> None:
    vectors = embed(catalog, model, *(photo(root, f"{number}.jpg") for number in range(1300)))
    assert list(catalog.photos_of_vectors(vectors)) == vectors


# Vectors


def test_copies_share_a_vector(catalog: Catalog, model: Model, root: Root) -> None:
    vectors = embed(catalog, model, photo(root, "a.jpg", "same"), photo(root, "b.jpg", "same"))
    assert len(vectors) == 1
    assert embed(catalog, model, photo(root, "c.jpg", "same")) == []
    (copies,) = catalog.photos_of_vectors(vectors).values()
    assert [Path(row.path).name for row in copies] == ["a.jpg", "b.jpg", "c.jpg"]
    assert catalog.fingerprint(model.id) == (1, vectors[0])


def test_the_vectors_of_a_model_are_counted_apart_from_those_of_others(
    catalog: Catalog, model: Model, root: Root
) -> None:
    assert catalog.fingerprint(model.id) == (0, 0)
    mine = embed(catalog, model, photo(root, "a.jpg"), photo(root, "b.jpg"))
    other = catalog.add_model("ViT-L-14/openai", "others", "preprocess", 2, None)
    assert catalog.fingerprint(model.id) == (2, mine[-1])
    assert catalog.fingerprint(other.id) == (0, 0)
    theirs = embed(catalog, other, photo(root, "a.jpg"))
    assert catalog.fingerprint(model.id) == (2, mine[-1])
    assert catalog.fingerprint(other.id) == (1, theirs[-1])


def test_selected_vectors_ascend_and_copies_are_given_once(
    catalog: Catalog, model: Model, root: Root
) -> None:
    # The order of the digests is not that of the vectors.
    vectors = embed(catalog, model, *(photo(root, f"{n}.jpg", f"{9 - n}") for n in range(9)))
    assert embed(catalog, model, photo(root, "copy of 4.jpg", "5")) == []
    other = catalog.add_model("ViT-L-14/openai", "others", "preprocess", 2, None)
    embed(catalog, other, photo(root, "4.jpg", "5"))
    known = catalog.known(root.id)
    some = Is("id", "in", tuple(known[it].id for it in ("7.jpg", "4.jpg", "copy of 4.jpg")))
    assert list(catalog.selected_vector_ids(model.id, EVERYTHING)) == vectors
    assert list(catalog.selected_vector_ids(model.id, some)) == [vectors[4], vectors[7]]


def test_few_vectors_are_selected_without_a_look_at_all(
    catalog: Catalog, model: Model, root: Root
) -> None:
    embed(catalog, model, *(photo(root, f"{number}.jpg") for number in range(3000)))
    embed(catalog, model, replace(photo(root, "one.jpg"), facts=replace(SEEN, camera="one")))
    one = Is("camera", "==", "one")
    assert catalog.count_selected(one) == 1
    assert steps(catalog, lambda: catalog.count_selected(one)) < 200
    assert steps(catalog, lambda: list(catalog.selected_vector_ids(model.id, one))) < 200
    assert steps(catalog, lambda: catalog.vector_ids_of_photos(model.id, one)) < 200
    assert steps(catalog, lambda: catalog.fingerprint(model.id)) < 100


def steps(catalog: Catalog, ask: Callable[[], object]) -> int:
    """How many instructions SQLite needs for an answer."""
    counted = itertools.count()
    catalog._db.set_progress_handler(lambda: next(counted) * 0, 1)
    ask()
    catalog._db.set_progress_handler(None, 1)
    return next(counted)


def test_a_sweep_removes_only_vectors_that_no_photo_has(
    catalog: Catalog, model: Model, root: Root
) -> None:
    embed(catalog, model, photo(root, "a.jpg", "same"), photo(root, "b.jpg", "same"))
    embed(catalog, model, photo(root, "c.jpg", "other"))
    remove(catalog, root, "a.jpg")
    assert catalog.vector_of(model.id, "same")
    remove(catalog, root, "b.jpg")
    assert not catalog.vector_of(model.id, "same")
    assert catalog.vector_of(model.id, "other") == row("other")


def test_a_vector_stays_until_it_is_swept(catalog: Catalog, model: Model, root: Root) -> None:
    embed(catalog, model, photo(root, "a.jpg"))
    catalog.remove_photos(ids(catalog, root).values())
    assert catalog.vector_of(model.id, "a.jpg")


def test_the_id_of_a_vector_is_never_used_twice(
    catalog: Catalog, model: Model, root: Root, tmp_path: Path
) -> None:
    used = embed(catalog, model, *(photo(root, f"{number}.jpg") for number in range(5)))
    remove(catalog, root, *(f"{number}.jpg" for number in range(5)))
    assert catalog.fingerprint(model.id) == (0, 0)
    assert catalog.last_vector_id() == max(used)
    again = Catalog.open(tmp_path)
    assert embed(again, model, photo(root, "new.jpg"))[0] > max(used)
    again.close()


def test_two_models_have_vectors_of_their_own(catalog: Catalog, model: Model, root: Root) -> None:
    embed(catalog, model, photo(root, "a.jpg", "content"))
    other = catalog.add_model("other", "other weights", "preprocess", 2, None)
    assert catalog.digests_without_vector(other.id) == {"content"}
    assert catalog.digests_without_vector(model.id) == set()
    catalog.write(other.id, Changes(vectors=[("content", row("theirs"))]))
    assert catalog.vector_of(model.id, "content") == row("content")
    assert catalog.vector_of(other.id, "content") == row("theirs")
    assert catalog.models() == [model, other]


def test_vectors_come_in_the_order_of_their_ids(catalog: Catalog, model: Model, root: Root) -> None:
    vectors = embed(catalog, model, *(photo(root, name) for name in ("b", "a", "c")))
    assert vectors == sorted(vectors) == list(catalog.vector_ids(model.id))
    assert list(catalog.vectors_after(model.id, vectors[0])) == [
        (vectors[1], row("a")),
        (vectors[2], row("c")),
    ]


def test_contents_are_found_by_their_size(catalog: Catalog, model: Model, root: Root) -> None:
    embed(catalog, model, photo(root, "a.jpg", "content"))
    assert catalog.taken_sizes({10, 11}) == {10}
    assert catalog.embedded_of_sizes(model.id, {10, 11}) == {"content"}
    assert catalog.embedded_of_sizes(model.id, {11}) == set()
    assert catalog.embedded_of_sizes(model.id + 1, {10}) == set()


def test_photos_are_found_by_where_they_lie(catalog: Catalog, model: Model, root: Root) -> None:
    odd = "trip/\udcff"  # no valid UTF-8
    paths = ["a.jpg", "trip", "trip-2/c.jpg", "trip/b.jpg", "trip/day/d.jpg", odd, f"{odd}/e.jpg"]
    embed(catalog, model, *(photo(root, path, str(n)) for n, path in enumerate(paths)))

    def lying(below: str, deep: bool) -> set[str]:
        known = set(catalog.known(root.id, below, deep))
        assert {path for path, _, _ in catalog.versions(root.id, below, deep)} == known
        assert catalog.without_vector(model.id + 1, root.id, below, deep) == known
        assert catalog.without_vector(model.id, root.id, below, deep) == set()
        return known

    assert lying("", True) == set(paths)
    assert lying("", False) == {"a.jpg", "trip"}
    assert lying("trip", True) == {"trip", "trip/b.jpg", "trip/day/d.jpg", odd, f"{odd}/e.jpg"}
    assert lying("trip", False) == {"trip", "trip/b.jpg", odd}
    assert lying("trip/day", True) == {"trip/day/d.jpg"}
    assert lying(odd, True) == {odd, f"{odd}/e.jpg"}
    assert lying(odd, False) == {odd, f"{odd}/e.jpg"}


def test_a_sweep_may_be_of_some_contents_alone(catalog: Catalog, model: Model, root: Root) -> None:
    embed(catalog, model, *(photo(root, path) for path in ("a", "b", "c")))
    catalog.remove_photos(known.id for path, known in catalog.known(root.id).items() if path != "c")
    catalog.sweep(["a", "c"])
    assert catalog.vectors_of(model.id, ["a", "b", "c"]).keys() == {"c"}  # b was left behind
    catalog.sweep()
    assert catalog.fingerprint(model.id)[0] == 1


# Roots


def test_roots_below_a_new_root_become_part_of_it(catalog: Catalog, model: Model) -> None:
    trip, day, apart = (
        catalog.add_root(path) for path in ("/photos/trip", "/photos/x/day", "/photos2")
    )
    embed(catalog, model, photo(trip, "a.jpg"), photo(day, "deep/" + NOT_UTF_8, "b"))
    embed(catalog, model, photo(apart, "c.jpg"))
    catalog.write(model.id, Changes(failures=[Failure(trip.id, "bad.jpg", 1, 2, "damaged")]))
    catalog.exclude(trip.id, "out.jpg")
    before = ids(catalog, trip) | ids(catalog, day)
    root = catalog.add_root("/photos")
    assert catalog.roots() == [root, apart]
    assert ids(catalog, root) == {
        "trip/a.jpg": before["a.jpg"],
        "x/day/deep/" + NOT_UTF_8: before["deep/" + NOT_UTF_8],
    }
    assert catalog.failed(root.id) == {"trip/bad.jpg": (1, 2)}
    assert catalog.exclusions(root.id) == {"trip/out.jpg"}
    assert list(catalog.known(apart.id)) == ["c.jpg"]


def test_the_root_of_all_takes_in_every_other(catalog: Catalog, model: Model) -> None:
    inner = catalog.add_root("/photos/trip")
    (vector,) = embed(catalog, model, photo(inner, "a.jpg"))
    root = catalog.add_root("/")
    assert list(catalog.known(root.id)) == ["photos/trip/a.jpg"]
    assert catalog.photos_of_vectors([vector])[vector][0].path == "/photos/trip/a.jpg"


def test_a_root_is_added_once(catalog: Catalog, root: Root) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        catalog.add_root(root.path)
    assert catalog.roots() == [root]


def test_an_empty_root_can_be_forgotten(catalog: Catalog, model: Model, root: Root) -> None:
    catalog.write(model.id, Changes(failures=[Failure(root.id, "bad.jpg", 1, 2, "damaged")]))
    catalog.exclude(root.id, "out.jpg")
    catalog.remove_root(root.id)
    assert (catalog.roots(), catalog.failures()) == ([], [])


def test_a_root_that_holds_photos_cannot_be_forgotten(
    catalog: Catalog, model: Model, root: Root
) -> None:
    embed(catalog, model, photo(root, "a.jpg"))
    catalog.exclude(root.id, "out.jpg")
    with pytest.raises(sqlite3.IntegrityError):
        catalog.remove_root(root.id)
    assert (catalog.roots(), catalog.exclusions(root.id)) == ([root], {"out.jpg"})


def test_photos_are_counted_by_root(catalog: Catalog, model: Model, root: Root) -> None:
    other = catalog.add_root("/other")
    embed(catalog, model, photo(root, "a.jpg"), photo(root, "b.jpg"), photo(other, "c.jpg"))
    counts = (catalog.count_photos(), catalog.count_photos(root.id), catalog.count_photos(other.id))
    assert counts == (3, 2, 1)


def test_an_exclusion_is_kept_once(catalog: Catalog, root: Root) -> None:
    catalog.exclude(root.id, "a.jpg")
    catalog.exclude(root.id, "a.jpg")
    assert catalog.exclusions(root.id) == {"a.jpg"}


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("", {"trip/day", "trips/c.jpg", "b.jpg"}),
        ("trip", {"trip/day", "trips/c.jpg", "b.jpg"}),
        ("trip/day/a.jpg", {"trip/day", "trips/c.jpg", "b.jpg"}),
        ("trip/day", {"trips/c.jpg", "b.jpg"}),
        ("b.jpg", {"trip/day", "trips/c.jpg"}),
        ("elsewhere", {"trip/day", "trips/c.jpg", "b.jpg"}),
    ],
)
def test_including_takes_back_the_very_path_that_was_excluded(
    path: str, left: set[str], catalog: Catalog, root: Root
) -> None:
    for excluded in ("trip/day", "trips/c.jpg", "b.jpg"):
        catalog.exclude(root.id, excluded)
    catalog.include(root.id, path)
    assert catalog.exclusions(root.id) == left


@pytest.mark.parametrize(
    ("path", "folder", "below"),
    [
        ("a/b", "a", True), ("a", "a", True), ("a", "", True), ("", "", True), ("/a", "/", True),
        ("/", "/", True), ("ab", "a", False), ("a", "a/b", False), ("A/b", "a", False),
        ("photos2/a", "photos", False), ("x/a", "a", False),
    ],
)  # fmt: skip
def test_what_lies_below_a_folder(path: str, folder: str, below: bool) -> None:
    assert is_below(path, folder) is below
