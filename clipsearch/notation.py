"""How values are written: as JSON that every reader takes, and as counts in a sentence.

JSON that has NaN or Infinity in it is none.
"""

from __future__ import annotations

import json
import math
from typing import Any


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON, in ASCII; a number that is not finite, which nothing is known by, is null.

    A name that is not UTF-8 keeps its bytes as lone surrogates (`os.fsencode` gives them back),
    which only an escape can hold.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), indent=indent, allow_nan=False)


def finite(value: Any) -> Any:
    """The value with None in the place of numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return value


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 photo", "2 photos"."""
    return f"{count} {noun}{'s' * (count != 1)}"
