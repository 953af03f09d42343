"""Where a photo was taken, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Locality:
    """The town nearest to coordinates, and what it lies in; names as GeoNames has them first."""

    id: int  # of the nearest place at GeoNames; negative where that is too far to be named
    suburb: str | None  # the nearest place itself, where it lies within a larger town
    town: str | None
    town_id: int | None  # at GeoNames
    region: str | None
    region_code: str | None  # of GeoNames, "PT.14"
    country: str | None
    country_code: str | None  # ISO 3166-1, "PT"

    def __str__(self) -> str:
        return ", ".join(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that there are, from the nearest to the country, each once."""
        names = self.suburb, self.town, self.region, self.country
        return tuple(dict.fromkeys(filter(None, names)))

    def as_dict(self) -> dict[str, str | None]:
        """The place as `--json` shows it."""
        return {
            "suburb": self.suburb,
            "town": self.town,
            "region": self.region,
            "country": self.country,
            "country_code": self.country_code,
        }


@dataclass(frozen=True, slots=True)
class Town:
    """A town that is called by some name."""

    locality: Locality
    latitude: float  # degrees
    longitude: float
    kilometres: float  # from its middle to its rim, about
