"""What towns, regions and countries cost, beside reverse-geocode where that is installed.

Usage: python scripts/bench_places.py [PHOTOS]

Prints how long it takes to make and to open the gazetteer, to find the nearest place of
coordinates, to find a town by its name, and to look up an index of 200,000 photos that are not
there, taken near 2,000 towns; and how often the nearest place is that on the sphere, everywhere and
beyond 60 degrees. `pip install reverse-geocode` for the comparison; it compares plain degrees.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch import Facts
from clipsearch.indexing.placing import look_up_places
from clipsearch.photos.places.gazetteer import Gazetteer, gazetteer
from clipsearch.photos.places.globe import distances
from clipsearch.store.catalog import Catalog, Changes, NewPhoto

TOWNS, SAMPLE, AT_A_TIME = 2_000, 2_000, 10_000
NAMES = ["Lisbon", "里斯本", "Springfield, Illinois", "Santiago", "São Paulo", "Qwxzy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=int, nargs="?", default=200_000)
    count = parser.parse_args().photos
    random = np.random.default_rng(5)
    with tempfile.TemporaryDirectory(prefix="bench-places-") as name:
        os.environ["CLIPSEARCH_CACHE"] = f"{name}/cache"
        show("gazetteer made, once", timed(gazetteer)[0])
        size = sum(it.stat().st_size for it in Path(name, "cache").rglob("*.npy"))
        gazetteer.cache_clear()
        seconds, places = timed(gazetteer)
        show(f"gazetteer opened, {size / 1e6:.0f} MB", seconds)
        near = around(places, random, SAMPLE)
        seconds, _ = timed(lambda: [places.locality_at(*at) for at in near])
        show("a place of coordinates", seconds / SAMPLE)
        seconds, _ = timed(lambda: [places.towns(it) for it in NAMES])
        show("a town by its name", seconds / len(NAMES))
        look_up(Path(name), around(places, random, count))
        compare(places, near, random)


def look_up(folder: Path, taken: Sequence[tuple[float, float]]) -> None:
    with closing(Catalog.create(folder)) as catalog:
        root = catalog.add_root("/photos").id
        model = catalog.add_model("made-up", "made-up", "made-up", 8, None)
        for start in range(0, len(taken), AT_A_TIME):
            changes = Changes()
            changes.photos.extend(
                NewPhoto(None, root, f"{start // 200}/{number}.jpg", f"{number:064}", 1, 1,
                         Facts(latitude=at[0], longitude=at[1]))
                for number, at in enumerate(taken[start : start + AT_A_TIME], start)
            )  # fmt: skip
            catalog.write(model.id, changes)
        seconds, found = timed(lambda: look_up_places(catalog, lambda: False, None, []))
    show(f"an index of {found:,} photos", seconds)


def compare(places: Gazetteer, near: Sequence[tuple[float, float]], random: Any) -> None:
    if find_spec("reverse_geocode") is None:
        print("reverse-geocode is not installed: nothing to compare with")
        return
    import reverse_geocode

    seconds, _ = timed(lambda: reverse_geocode.search([near[0]]))
    show("reverse-geocode: loaded", seconds)
    seconds, _ = timed(lambda: [reverse_geocode.search([at]) for at in near])
    show("reverse-geocode: a place of coordinates", seconds / SAMPLE)
    towns = reverse_geocode.GeocodeData()._locations
    theirs = tuple(np.array([it[name] for it in towns]) for name in ("latitude", "longitude"))
    ours = places._arrays["latitude"], places._arrays["longitude"]
    for what, low in (("anywhere", -1.0), ("beyond 60 degrees north", 3**0.5 / 2)):
        heights = np.degrees(np.arcsin(random.uniform(low, 1, SAMPLE)))
        points = list(zip(heights.tolist(), random.uniform(-180, 180, SAMPLE), strict=True))
        found = reverse_geocode.search(points)
        right = sum(
            is_nearest(theirs, at, (it["latitude"], it["longitude"]))
            for at, it in zip(points, found, strict=True)
        )
        own = sum(is_nearest(ours, at, place_of(places, at)) for at in points)
        print(f"the nearest on the sphere, {what}: clipsearch {own / SAMPLE:.1%},"
              f" reverse-geocode {right / SAMPLE:.1%}")  # fmt: skip


def place_of(places: Gazetteer, at: tuple[float, float]) -> tuple[float, float]:
    number, _ = places._nearest(*at)
    return float(places._latitude[number]), float(places._longitude[number])


def is_nearest(
    towns: tuple[np.ndarray, np.ndarray], at: tuple[float, float], found: tuple[float, float]
) -> bool:
    own = distances(np.array([found[0]]), np.array([found[1]]), *at)[0]
    return bool(own <= distances(*towns, *at).min() + 1e-6)


def around(places: Gazetteer, random: Any, count: int) -> list[tuple[float, float]]:
    """Coordinates near some large towns, as photos have them."""
    large = np.flatnonzero(places._arrays["population"] > 50_000)
    chosen = random.choice(random.choice(large, TOWNS, replace=False), count)
    latitude = places._latitude[chosen] + random.normal(0, 0.05, count)
    longitude = places._longitude[chosen] + random.normal(0, 0.05, count)
    return list(zip(latitude.tolist(), np.clip(longitude, -180, 180).tolist(), strict=True))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def show(what: str, seconds: float) -> None:
    told = f"{seconds:10.3f} s" if seconds >= 0.1 else f"{seconds * 1e3:10.3f} ms"
    print(f"{what:45} {told}", flush=True)


if __name__ == "__main__":
    main()
