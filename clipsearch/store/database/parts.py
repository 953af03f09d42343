"""What names are made of: the words that are joined in them, and all that stands inside.

People write `BirthdayParty`, `PARIS2019` and `DSC01273`, and ask for a birthday, Paris and 1273.
"""

from __future__ import annotations

import re
from unicodedata import combining, normalize

# Shorter words stand in too many others: a cat in a vacation.
FEWEST_LETTERS, FEWEST_DIGITS = 5, 4

_RUN = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"A?a+|A+(?!a)|9+")  # of what `_shape` gives
_GRAM = 3  # characters
_END = "0"  # between runs, and never a gram


def apart(text: str) -> str | None:
    """The text with its words apart where cases, or letters and digits, meet; None if none do.

    A number that begins with zeros is followed by itself without them.
    """
    found = _RUN.sub(lambda run: _taken_apart(run[0]), text)
    return None if found == text else found


def grams(text: str) -> str | None:
    """Each three characters in a row of what is long enough to have other words inside it.

    As `grams_of` looks for them; None if there is none.
    """
    found = dict.fromkeys(runs(plain(text)))
    long = [grams_in(run) for run in found if len(run) > FEWEST_DIGITS]
    return f" {_END} ".join(long) or None


def grams_of(word: str) -> str | None:
    """What `grams` has in a row of each name that the word stands in; None if it is too short."""
    run = plain(word)
    fewest = FEWEST_DIGITS if run.isdecimal() else FEWEST_LETTERS
    return grams_in(run) if _RUN.fullmatch(run) and len(run) >= fewest else None


def runs(text: str) -> list[str]:
    """The letters and digits in a row that a text has."""
    return _RUN.findall(text)


def _taken_apart(run: str) -> str:
    if run.isalpha() and (run.islower() or run.isupper() or run.istitle()):
        return run
    pieces = [run[it.start() : it.end()] for it in _PIECE.finditer(_shape(run))]
    return " ".join(form for piece in pieces for form in _forms(piece))


def _shape(run: str) -> str:
    return "".join("9" if char.isdigit() else "A" if char.isupper() else "a" for char in run)


def _forms(piece: str) -> list[str]:
    bare = piece.lstrip("0") if piece.isdecimal() else piece
    return [piece] if bare in ("", piece) else [piece, bare]


def plain(text: str) -> str:
    """The text without what case and accents differ in."""
    parted = normalize("NFKD", text)
    return normalize("NFC", "".join(it for it in parted if not combining(it))).casefold()


def grams_in(run: str) -> str:
    """Each three characters in a row of a word."""
    return " ".join(run[at : at + _GRAM] for at in range(len(run) - _GRAM + 1))
