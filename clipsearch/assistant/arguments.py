"""The arguments that several tools share, as an assistant is told of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from clipsearch.errors import LARGEST
from clipsearch.search.filtering.filters import PROPERTIES, SHAPES, Filters

T = TypeVar("T")

MOST = 200  # photos in one answer, which has to fit an assistant's attention


def _filter(kind: Any, description: str) -> Any:
    return Annotated[kind | None, Field(description=description)]


Count = Annotated[int, Field(description="How many photos to give.", ge=1, le=MOST)]
Offset = Annotated[
    int, Field(description="How many photos to skip, for the next page.", ge=0, le=LARGEST)
]
Id = Annotated[int, Field(description="The photo's id, as the other tools give it.")]
Region = Annotated[
    str | None,
    Field(
        description="Only this part of the picture: x,y,width,height from the top left corner, in"
        " pixels as 0,0,300,200 or in percent as 50%,0%,50%,100%."
    ),
]

_Shape: Any = Literal[tuple(SHAPES)]
_Fact: Any = Literal[tuple(PROPERTIES)]

# Named as the fields of Filters that they set.
FILTERS: dict[str, Any] = {
    "folder": _filter(list[str], "Only photos in any of these folders, or below them."),
    "since": _filter(str, "Taken then or later: 2024, 2024-05-31, 'May 2024', '2 weeks ago'."),
    "until": _filter(str, "Taken then or earlier, to the end of the day, month or year named."),
    "camera": _filter(str, "Taken with a camera of that name; a part of it will do."),
    "near": _filter(
        str, "Taken near a town, as Lisbon or 'Springfield, Illinois', or LAT,LON in degrees."
    ),
    "within": _filter(str, "How near: 300m, 5km or 2mi. Default: 5km, of a large town more."),
    "orientation": _filter(_Shape, "The photo's shape."),
    "min_size": _filter(str, "At least that large: 1920x1080, 2000 (the longer side) or 8MP."),
    "type": _filter(list[str], "Of any of these kinds: jpeg, png, heic, raw, tiff, or extensions."),
    "has": _filter(list[_Fact], "Photos that have all of these facts."),
    "person": _filter(list[str], "All of these people are named in it, by the photos' owner."),
    "min_rating": _filter(int, "At least so many stars, 1 to 5, as the owner gave them."),
    "place": _filter(
        list[str],
        "Taken in any of these towns, regions or countries, in any language: 'Lisbon, Portugal'.",
    ),
    "box": _filter(str, "Taken inside SOUTH,WEST,NORTH,EAST, in degrees."),
}


def with_filters(tool: Callable[..., T]) -> Callable[..., T]:
    """A tool whose parameter `filters` is filled from arguments of its own, those of FILTERS."""
    signature = inspect.signature(tool, eval_str=True)
    own = [one for name, one in signature.parameters.items() if name != "filters"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in FILTERS.items()
    ]

    @wraps(tool)
    def run(*self: Any, **values: Any) -> T:
        given = {name: values.pop(name, None) for name in FILTERS}
        chosen = {name: value for name, value in given.items() if value is not None}
        return tool(*self, **values, filters=Filters(**chosen))

    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return run
