"""What is read in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Corners of a line as it is read, clockwise from its upper left, each (x, y) in fractions of the
# upright picture's width and height.
Quad = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text in a picture."""

    text: str
    quad: Quad
    certainty: float  # 0 to 1: the mean of its letters'

    def as_dict(self) -> dict[str, Any]:
        """The line as `--json` shows it."""
        return {"text": self.text, "certainty": self.certainty, "quad": self.quad}
