"""Look up where photos were taken, from their coordinates, without reading any of them."""

from __future__ import annotations

from collections.abc import Callable

from clipsearch.photos.places.locality import Locality
from clipsearch.progress import Progress, untold
from clipsearch.store.catalog import Catalog

_AT_A_TIME = 2_000  # photos in one transaction
_DIGITS = 3  # of degrees: 110 m; what is as near as that to others is where these are


def look_up_places(
    catalog: Catalog,
    stopping: Callable[[], bool],
    progress: Progress | None,
    problems: list[str],
) -> int:
    """Have the photos with coordinates near a town, where that was not looked up yet.

    Gives how many were. Without the group `places` it is left to a run that has it, as where that
    cannot be used, which `problems` gets; once `stopping` says so, the rest is left to the next.
    """
    count = catalog.count_unplaced()
    if not count:
        return 0
    # Late, since a run with nothing to do needs no NumPy.
    from clipsearch.photos.places.gazetteer import NoGazetteer, gazetteer, is_installed

    if not is_installed() or stopping():
        return 0
    try:
        places = gazetteer()
    except NoGazetteer as error:
        problems.append(str(error))
        return 0
    known: dict[tuple[float, float], Locality | None] = {}
    done = 0
    show = progress or untold
    show(0, count)
    while not stopping() and (some := catalog.unplaced(_AT_A_TIME)):
        found = {}
        for id, latitude, longitude in some:
            at = round(latitude, _DIGITS), round(longitude, _DIGITS)
            if at not in known:
                known[at] = places.locality_at(*at)
            found[id] = known[at]
        catalog.put_places(found)
        done += len(found)
        show(done, count)
    return done


def look_up_again(catalog: Catalog) -> None:
    """Have the next `look_up_places` look up all photos, where it can."""
    from clipsearch.photos.places.gazetteer import is_installed

    if is_installed():
        catalog.look_up_again()
