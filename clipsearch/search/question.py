"""What is asked for: words and pictures, each with a weight, as one unit vector."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.errors import InvalidInput, check_number

if TYPE_CHECKING:
    from PIL import Image

# Where one term ends and the next begins: a sign between spaces, so that "t-shirt" is one word.
_SIGN = re.compile(r"(?:^|\s)([+-])(?=\s|$)")
_FACTOR = re.compile(r"([^\s*\"]+)\s*\*\s*(.*)", re.DOTALL)
_PATH_OR_URL = re.compile(r"(\.{0,2}|~[^/\\\s]*|[A-Za-z]:)[/\\]|[A-Za-z][\w+.-]+://")

# Shorter than this, a sum of unit vectors is what rounding left of parts that cancel out.
_SHORTEST = 1e-3


class Term(NamedTuple):
    """One part of a question."""

    content: str | os.PathLike[str] | Image.Image  # words, or a picture or where it is
    weight: float = 1.0
    is_picture: bool = False
    row: np.ndarray | None = None  # (dim,) float32 unit: its embedding, where that is known
    quoted: tuple[str, ...] = ()  # what stands in double quotes

    def without_quotes(self) -> Term:
        """The same words with no quotes among them."""
        if self.is_picture:
            return self
        return self._replace(content=" ".join(str(self.content).replace('"', " ").split()))


def parse_question(text: str) -> list[Term]:
    """Take apart a question such as "horse + 2*stripes - fence + ./pool.jpg".

    A sign counts between spaces, a factor before a star; neither does in double quotes. What
    begins as a path does (`./`, `../`, `/`, `~/`, `C:\\`) or as a URL does is a picture.

    Raises:
        InvalidInput: a part without words, or a weight that is no number.
    """
    if not text.strip():
        raise InvalidInput('the query is empty; describe a picture: clipsearch query "a dog"')
    # Of the same length, so that what stands somewhere in it stands there in the text.
    unquoted = re.sub(r'"[^"]*"', lambda quoted: "x" * len(quoted[0]), text)
    signs = list(_SIGN.finditer(unquoted))
    begins_with_sign = bool(signs) and not text[: signs[0].start()].strip()
    starts = [sign.end() for sign in signs]
    ends = [sign.start() for sign in signs[begins_with_sign:]] + [len(text)]
    factors = [-1.0 if sign[1] == "-" else 1.0 for sign in signs]
    if not begins_with_sign:
        starts, factors = [0, *starts], [1.0, *factors]
    return [
        parse_term(text[start:end], factor)
        for start, end, factor in zip(starts, ends, factors, strict=True)
    ]


def read_terms(
    text: str,
    images: Sequence[str | os.PathLike[str] | Image.Image],
    image_weight: float,
    minus: Sequence[str],
) -> list[Term]:
    """The parts of a question in words, pictures, and what counts against.

    Raises:
        InvalidInput: nothing is asked for, a part without words, or a weight that is no number.
    """
    terms = parse_question(text) if text.strip() or not (images or minus) else []
    terms += [Term(image, check_weight(image_weight), True) for image in images]
    return terms + [parse_term(part, -1.0) for part in minus]


def parse_term(text: str, factor: float = 1.0) -> Term:
    """One part of a question, such as `2*stripes`; its weight is multiplied by `factor`.

    Raises:
        InvalidInput: a part without words, or a weight that is no number.
    """
    content = text.strip()
    if match := _FACTOR.fullmatch(content):
        factor *= check_weight(match[1])
        content = match[2].strip()
    is_picture = names_picture(content)
    quoted = () if is_picture else tuple(re.findall(r'"([^"]*)"', content))
    if len(content) > 1 and content[0] == content[-1] == '"':
        content = content[1:-1].strip()
    if not content:
        part = text.strip()
        said = f": {part!r}" if part else "; after + and - go words or a picture"
        raise InvalidInput(f"a part of the query is empty{said}")
    return Term(content, factor, is_picture, quoted=quoted)


def names_picture(text: str) -> bool:
    """Whether a part of a question is where a picture is, and no words."""
    return bool(_PATH_OR_URL.match(text))


def check_weight(weight: float | str) -> float:
    """A weight as a number.

    Raises:
        InvalidInput: it is no number, or none that can be counted with.
    """
    try:
        number = float(weight)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(f"{weight!r:.40} is no weight; write a number, as in 2*stripes")
    check_number("a weight", abs(number), 0)
    return number


def combine(terms: Sequence[Term], embed: Callable[[Term], np.ndarray]) -> np.ndarray:
    """The weighted sum of the terms' embeddings, made a unit vector again: (dim,) float32.

    Raises:
        InvalidInput: the terms cancel out.
    """
    total = np.sum([term.weight * embed(term).astype(np.float64) for term in terms], axis=0)
    length = float(np.linalg.norm(total))
    if not length > _SHORTEST * max(abs(term.weight) for term in terms):
        raise InvalidInput("the parts of the query cancel out, so nothing is left to look for")
    return np.asarray(total / length, np.float32)
