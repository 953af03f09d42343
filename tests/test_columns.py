"""Filters give what looking at photo by photo gives, whatever the library and however it came."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import OTHER, TinyEncoder, open_other

from clipsearch import Facts, Filters, Library, Photo
from clipsearch.indexing.placing import look_up_places
from clipsearch.photos.facts.facts import NO_TIME, Person
from clipsearch.photos.places.globe import kilometres
from clipsearch.plain import folded, plain_name
from clipsearch.search.filtering.dates import parse_date
from clipsearch.search.filtering.filters import KINDS, PROPERTIES
from clipsearch.store.catalog import Catalog, Changes, Model, NewPhoto, Told
from clipsearch.store.conditions import Below, Condition, Has, Is

PHOTOS = 4500  # more than a block of columns
CAMERAS = [None, "Canon EOS 5D", "NIKON Z 6", "Ricoh GR", "STRASSE 1", "Straße 2"]
FOLDERS = ["", "a/", "a/b/", "a b/", "b/c/d/", "caf\u00e9/", "\udcff/", "a.jpg/"]
ENDINGS = ["jpg", "JPG", "png", "heic", "\u0130.cr2"]
PLACES = [(48.8584, 2.2945), (-33.8568, 151.2153), (89.99, 10.0), (0.0, 179.99)]


class Made:
    """A library made at random, with two models of which the second saw only some photos."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.there, self.away = folder / "there", folder / "away"
        self.there.mkdir(parents=True)
        self.index = folder / "index"
        self.index.mkdir()
        self.catalog = Catalog.create(self.index)
        self.roots = [self.catalog.add_root(str(it)) for it in (self.there, self.away)]
        how = (TinyEncoder.weights, TinyEncoder.preprocess, TinyEncoder.dim, None)
        self.model = self.catalog.add_model(OTHER, *how)
        self.other = self.catalog.add_model("other", "others", "16", TinyEncoder.dim, None)
        self.write(self.model, [self.photo(number) for number in range(PHOTOS)])
        look_up_places(self.catalog, lambda: False, None, [])

    def photo(self, number: int) -> NewPhoto:
        some = self.random
        ending = some.choice(ENDINGS)
        path = f"{some.choice(FOLDERS)}{number}.{ending}"
        # Of several of a content some have other facts, as their files have other names.
        digest = f"{some.randrange(PHOTOS * 2 // 3):064}"
        # Some are of stores that know no time, so that nothing dates them.
        mtime_ns = some.choice([number, 2 * NO_TIME])
        root = some.choice(self.roots).id
        return NewPhoto(None, root, path, digest, number, mtime_ns, self.facts())

    def facts(self) -> Facts:
        some = self.random
        if some.random() < 0.2:
            return Facts()
        day = f"20{some.randint(20, 25)}-{some.randint(1, 12):02}-{some.randint(1, 28):02}"
        taken = some.choice([f"{day}T12:00:00", f"{day}T23:59:59+05:00", f"{day}T00:00:00"])
        latitude, longitude = some.choice([(None, None), *PLACES])
        if latitude is not None and longitude is not None:
            latitude -= some.random() / 10
            longitude -= some.random() / 10
        width, height = some.choice([(None, None), (4000, 3000), (300, 400), (64, 64), (2000, 100)])
        title = some.choice([None, "a title"])
        source = some.choice(["exif", "xmp"])
        return Facts(
            width, height, taken, some.choice(CAMERAS), latitude, longitude, source, title=title,
            lens=some.choice([None, "26 mm"]), keywords=some.choice([(), ("snow",)]),
            people=some.choice([(), (Person("Zoë"), Person("Ann Lee"))]),
            rating=some.choice([None, -1, 2, 5]), location=some.choice([None, "Lisbon"]),
        )  # fmt: skip

    def write(self, model: Model, photos: Sequence[NewPhoto]) -> None:
        changes = Changes()
        changes.photos.extend(photos)
        changes.vectors.extend((photo.digest, row(photo.digest)) for photo in photos)
        self.catalog.write(model.id, changes)

    def conditions(self, catalog: Catalog | None = None) -> list[tuple[int, list[list[int]]]]:
        """What some conditions select now: how many photos, and which vectors of each model."""
        catalog = catalog or self.catalog
        some: list[Condition] = [
            Below(self.roots[0].id, "a"), Is("camera", "==", "Ricoh GR"), Has("title"), Has("date"),
        ]  # fmt: skip
        models = self.model, self.other
        return [
            (
                catalog.count_selected(it),
                [catalog.selected_vector_ids(model.id, it).tolist() for model in models],
            )
            for it in some
        ]

    def known(self) -> list[NewPhoto]:
        """The photos of the first block, as somebody could write them anew."""
        every = [(root, it) for root in self.roots for it in self.catalog.known(root.id).items()]
        return [
            NewPhoto(it.id, root.id, path, it.digest, 1, 1, self.facts())
            for root, (path, it) in every if it.id < 4096
        ]  # fmt: skip

    def change(self) -> None:
        """All that can change, some photos each."""
        for change in CHANGES.values():
            for photo in self.random.sample(self.known(), 10):
                change(self, photo)


def leave(made: Made, photo: NewPhoto) -> None:
    made.catalog.remove_photos([photo.id or 0])
    made.catalog.sweep([photo.digest])


def move(made: Made, photo: NewPhoto) -> None:
    made.catalog.move_photos([(photo.id or 0, made.roots[0].id, f"a/moved/{photo.id}.png")])


def lie_beside(made: Made, photo: NewPhoto) -> None:
    told = Facts(rating=4, people=(Person("Zoë"), Person("Ann Lee")))
    id, own, held = made.catalog.own_facts(photo.root_id, photo.path) or (0, Facts(), Facts())
    made.catalog.tell([Told(id, own, held, told, "a version")])


def tell_otherwise(made: Made, photo: NewPhoto) -> None:
    made.write(made.model, [replace(photo, facts=Facts(camera="Ricoh GR", title="new"))])


def replace_by_name(made: Made, photo: NewPhoto) -> None:
    made.write(made.model, [replace(photo, id=None, digest=f"of {photo.path!a}")])


def come(made: Made, photo: NewPhoto) -> None:
    made.write(made.model, [made.photo(made.random.randrange(PHOTOS, 99 * PHOTOS))])


def see_with_another(made: Made, photo: NewPhoto) -> None:
    made.catalog.write(made.other.id, Changes(vectors=[(photo.digest, row("other"))]))


def lose_its_vector(made: Made, photo: NewPhoto) -> None:
    with closing(sqlite3.connect(made.index / "catalog.db")) as plain, plain:
        plain.execute("UPDATE vectors SET vector = x'00' WHERE digest = ?", (photo.digest,))
    made.catalog.remove_damaged_vectors()


def renew_a_model(made: Made, photo: NewPhoto) -> None:
    see_with_another(made, photo)
    made.conditions()
    made.catalog.remove_model(made.other.id)
    made.other = made.catalog.add_model("other", "others", "16", TinyEncoder.dim, None)


def is_placed(made: Made, photo: NewPhoto) -> None:
    look_up_places(made.catalog, lambda: False, None, [])


CHANGES: dict[str, Callable[[Made, NewPhoto], None]] = {
    "leaves": leave, "moves": move, "is told of otherwise": tell_otherwise,
    "gets a file beside it": lie_beside,
    "is replaced": replace_by_name, "is placed": is_placed, "comes": come,
    "is seen by another model": see_with_another,
    "loses its embedding": lose_its_vector,
    "is seen by no such model": renew_a_model,
}  # fmt: skip


def row(digest: str) -> bytes:
    numbers = np.random.default_rng(list(digest.encode())).standard_normal(TinyEncoder.dim)
    return (numbers / np.linalg.norm(numbers)).astype(np.float16).tobytes()


def random_filters(made: Made) -> dict[str, Any]:
    some = made.random
    below = [made.there, made.away, made.there / "a", made.away / "a b", made.there / "\udcff"]
    every: dict[str, Any] = {
        "folder": some.sample(below, some.randint(1, 2)),
        "since": some.choice(["2021", "2023-05", "2024-02-03T12:00:00", "2030"]),
        "camera": some.choice(["canon", "z 6", "strasse", "gr", "nothing"]),
        "near": some.choice([f"{lat},{lon}" for lat, lon in PLACES]),
        "orientation": some.choice(["landscape", "portrait", "square"]),
        "min_size": some.choice(["300", "0.2MP", "3000x100", "12MP"]),
        "type": some.sample(["jpeg", "png", "heic", "raw"], 2),
        "has": some.sample(sorted(PROPERTIES), 2),
        "person": some.choice(["zoe", "Lee", "nobody", ["Zoë", "Ann"]]),
        "min_rating": some.choice([1, 3, 5]),
        "place": some.choice(["lisbon", "Sydney", ["france", "Fiji"], "Versailles, France"]),
        "box": some.choice(["48,2,49,3", "-90,170,90,-170", "-40,0,90,152"]),
    }
    chosen = {name: every[name] for name in some.sample(sorted(every), some.randint(1, 3))}
    if "near" in chosen:
        chosen["within"] = some.choice(["5km", "9km", "300mi", "19000km"])
    if "since" in chosen and some.random() < 0.5:
        chosen["until"] = some.choice(["2030-01", "2031"])
    return chosen


def holds(photo: Photo, wanted: dict[str, Any]) -> bool:
    facts, path = photo.facts, str(photo.path)
    taken = (facts.taken_at or "")[:19]
    width, height = facts.width or 0, facts.height or 0
    has = {
        "gps": facts.latitude is not None, "date": facts.taken_from in ("exif", "xmp"),
        "people": facts.people, "rating": facts.rating is not None,
        "place": facts.location or facts.latitude is not None,
        "text": False,  # none was read
        "camera": facts.camera, "lens": facts.lens, "title": facts.title,
        "caption": facts.caption, "keywords": facts.keywords,
    }  # fmt: skip
    limit: dict[str, bool] = {
        "300": max(width, height) >= 300, "0.2MP": width * height >= 2e5,
        "3000x100": max(width, height) >= 3000 and min(width, height) >= 100,
        "12MP": width * height >= 12e6,
    }  # fmt: skip
    shapes = {
        "landscape": width > height,
        "portrait": height > width,
        "square": 0 < width == height,
    }
    checks: dict[str, Any] = {
        "folder": lambda it: any(path.startswith(f"{folder}/") for folder in it),
        "since": lambda it: taken and taken >= parse_date(it).start.isoformat(timespec="seconds"),
        "until": lambda it: taken and taken < parse_date(it).end.isoformat(timespec="seconds"),
        "camera": lambda it: facts.camera and folded(it) in folded(facts.camera),
        "near": lambda it: is_near(facts, it, wanted["within"]),
        "within": lambda _: True,
        "orientation": lambda it: shapes[it],
        "min_size": lambda it: limit[it],
        "type": lambda it: path.lower().endswith(tuple(end for kind in it for end in KINDS[kind])),
        "has": lambda it: all(has[name] for name in it),
        "person": lambda it: facts.people and it != "nobody",
        "min_rating": lambda it: (facts.rating or 0) >= it,
        "place": lambda it: any(is_in(photo, name) for name in ([it] if type(it) is str else it)),
        "box": lambda it: is_inside(facts, *map(float, it.split(","))),
    }
    return all(checks[name](value) for name, value in wanted.items())


def is_in(photo: Photo, name: str) -> bool:
    names = [*photo.place.names] if photo.place else []
    names += [photo.facts.location] if photo.facts.location else []
    return {plain_name(part) for part in name.split(",")} <= {plain_name(it) for it in names}


def is_inside(facts: Facts, south: float, west: float, north: float, east: float) -> bool:
    if facts.latitude is None or facts.longitude is None:
        return False
    between = [facts.longitude >= west, facts.longitude <= east]
    return south <= facts.latitude <= north and (any if west > east else all)(between)


def is_near(facts: Facts, near: str, within: str) -> bool:
    if facts.latitude is None or facts.longitude is None:
        return False
    latitude, longitude = map(float, near.split(","))
    limit = {"5km": 5.0, "9km": 9.0, "300mi": 300 * 1.609344, "19000km": 19000.0}[within]
    away = kilometres(facts.latitude, facts.longitude, latitude, longitude)
    return abs(facts.latitude - latitude) <= limit / 111 + 0.01 and away <= limit


def check(library: Library, made: Made) -> None:
    """Ask with one filter after the other, and look at each photo by itself for what it gives."""
    everything = library.photos()
    assert list(library.each_photo()) == everything
    with closing(Catalog.open(library.folder)) as catalog:
        rows = vectors_of(catalog, made.model)
    question = TinyEncoder().encode_texts(["a dog"])[0]
    for _ in range(12):
        wanted = random_filters(made)
        chosen = [photo for photo in everything if holds(photo, wanted)]
        filters = Filters(**wanted)
        assert library.count(filters) == len(chosen), wanted
        assert library.photos(filters) == chosen
        assert list(library.each_photo(filters)) == chosen
        offset = made.random.randrange(len(chosen) + 2)
        assert library.photos(filters, 7, offset) == chosen[offset : offset + 7]
        check_facets(library, filters, chosen)
        hits = library.query("a dog", 30, filters=filters, exact=True, hybrid=False)
        scores = {it.id: float(rows[it.id] @ question) for it in chosen if it.id in rows}
        best = sorted(scores.values(), reverse=True)[:30]
        assert [hit.score for hit in hits] == pytest.approx(best, abs=1e-5)
        assert [scores[hit.id] for hit in hits] == pytest.approx(best, abs=1e-5)
        assert len({hit.id for hit in hits}) == len(hits)


def vectors_of(catalog: Catalog, model: Model) -> dict[int, np.ndarray]:
    digests = {
        it.id: it.digest for root in catalog.roots() for it in catalog.known(root.id).values()
    }
    rows = catalog.vectors_of(model.id, list(set(digests.values())))
    return {
        id: np.frombuffer(rows[digest], np.float16).astype(np.float32)
        for id, digest in digests.items() if digest in rows
    }  # fmt: skip


def check_facets(library: Library, filters: Filters, chosen: Sequence[Photo]) -> None:
    facets = library.facets(filters)
    months = Counter(it.facts.taken_at[:7] for it in chosen if it.facts.taken_at)
    cameras = Counter(it.facts.camera for it in chosen if it.facts.camera)
    assert facets.months == tuple(sorted(months.items()))
    assert facets.cameras == tuple(sorted(cameras.items(), key=lambda it: (-it[1], it[0])))
    assert sum(count for _, count in facets.types) == len(chosen)
    countries = Counter(it.place.country for it in chosen if it.place)
    assert dict(facets.countries) == countries
    assert facets.places == sum(it.facts.latitude is not None for it in chosen)
    for folder, count in facets.folders:
        assert count == sum(str(it.path).startswith(f"{folder}/") for it in chosen)


@pytest.fixture(scope="module", params=[1])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    made = Made(tmp_path_factory.mktemp("made"), request.param)
    yield made
    made.catalog.close()


def test_any_filter_gives_what_a_look_at_each_photo_gives_while_photos_come_and_go(
    made: Made,
) -> None:
    with open_other(made.index) as library:
        check(library, made)
        made.change()
        look_up_places(made.catalog, lambda: False, None, [])
        check(library, made)


def test_photos_that_go_while_all_are_listed_are_passed_over(made: Made) -> None:
    with open_other(made.index) as library:
        photos = library.photos()
        listed = library.each_photo()
        first = next(listed)
        made.catalog.remove_photos([photos[-1].id])
        assert [first, *listed] == photos[:-1]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_photo_becomes_is_seen_at_once(
    made: Made, change: Callable[[Made, NewPhoto], None]
) -> None:
    for photo in made.random.sample(made.known(), 3):
        made.conditions()
        change(made, photo)
        now = made.conditions()
        made.catalog.keep_columns(anew=True)
        with closing(Catalog.open(made.index)) as afresh:  # which remembers nothing
            assert made.conditions(afresh) == now


@pytest.mark.parametrize(
    "done", ["SELECT 1", "DELETE FROM columns WHERE block = 0", "DROP TABLE columns"]
)
def test_a_copy_that_nothing_is_written_to_gives_the_same(
    made: Made, tmp_path: Path, done: str
) -> None:
    with open_other(made.index) as library:
        library.copy(tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy" / "catalog.db")) as plain:
        plain.execute(done)
        plain.commit()
    content = (tmp_path / "copy" / "catalog.db").read_bytes()
    with open_other(tmp_path / "copy", create=False) as copied:
        check(copied, made)
    assert (tmp_path / "copy" / "catalog.db").read_bytes() == content


@pytest.mark.parametrize("count", [10, 5000])
def test_ids_may_be_of_photos_that_are_not_there(made: Made, tmp_path: Path, count: int) -> None:
    some = Is("id", "in", tuple(range(PHOTOS - 5, PHOTOS - 5 + count)))
    known = [it.id for root in made.roots for it in made.catalog.known(root.id).values()]
    assert made.catalog.count_selected(some) == len(set(known).intersection(some.value))
    with closing(Catalog.create(tmp_path)) as empty:
        assert empty.count_selected(some) == 0
        assert empty.photos(some, 10) == []
