"""What Picasa's file of a folder, `.picasa.ini`, tells of the photos there.

A section a photo holds what Picasa could not, or would not, write into the photo itself:

    [IMG_1.png]
    caption=At sea
    keywords=boat,sailing
    star=yes
    faces=rect64(3f845bcb59418507),8e62398ebda8c1a5;rect64(9eb15e89b6b584c1),ffffffffffffffff
    [Contacts2]
    8e62398ebda8c1a5=Zoë;;

A rectangle is left, top, right and bottom in 16 bits each, as shares of the picture as it is
stored, in hex without the zeros in front; a face of ffffffffffffffff is of nobody yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from unicodedata import normalize

from clipsearch.photos.facts.captions import plain, plain_keywords
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.facts.people import Box, in_regions, joined

# A star is all that Picasa has, and so the most that it says.
_STARRED = 5

_FACE = re.compile(r"rect64\(([^),;(]{0,40})\),([0-9a-f]{1,16})(?![0-9a-f])", re.IGNORECASE)
_RECTANGLE = re.compile("[0-9a-f]{1,16}", re.IGNORECASE)
_NOBODY = "f" * 16

NameOf = Callable[[str], str | None]  # gets a contact


@dataclass(frozen=True, slots=True)
class Picasa:
    """What the file of one folder tells."""

    sections: Mapping[str, Mapping[str, str]]  # by the names of photos, also as `_folded` has them
    contacts: Mapping[str, str]  # names, by contact

    def of(self, photo: str) -> Mapping[str, str]:
        """What is told of a photo of that name."""
        return self.sections.get(photo) or self.sections.get(_folded(photo)) or {}


def read_picasa(content: bytes) -> Picasa:
    """What such a file tells.

    Raises:
        ValueError: it is none.
    """
    if b"\0" in content:
        raise ValueError("it is no text")
    exact = _sections(_decoded(content))
    sections = {_folded(name): told for name, told in exact.items()} | exact
    contacts = sections.get("contacts2", {})
    names = {_contact(id): plain(told.partition(";")[0]) for id, told in contacts.items()}
    return Picasa(sections, {id: name for id, name in names.items() if name})


def _folded(name: str) -> str:
    # Windows does not tell large letters from small, and a Mac takes accents apart.
    return normalize("NFC", name).lower()


def _sections(text: str) -> dict[str, dict[str, str]]:
    """What stands in each section, keys in small letters; one that comes twice goes on."""
    # configparser takes a time that grows with the square of the spaces in a line.
    sections: dict[str, dict[str, str]] = {}
    told: dict[str, str] | None = None
    for line in map(str.strip, text.replace("\r", "\n").split("\n")):
        if line[:1] == "[" and line[-1:] == "]":
            told = sections.setdefault(line[1:-1], {})
        elif line and told is None:
            raise ValueError("it is no list of photos as Picasa writes it")
        elif line and told is not None:
            key, _, value = line.partition("=")
            told[key.rstrip().lower()] = value.lstrip()
    return sections


def with_picasa(facts: Facts, told: Mapping[str, str], name_of: NameOf) -> Facts:
    """The facts of a photo with what its section tells where they lack that.

    `name_of` says who a contact is. What is odd tells nothing.
    """
    starred = told.get("star", "").strip().lower() == "yes"
    faces = in_regions(_faces(told.get("faces", ""), name_of), facts.orientation)
    return replace(
        facts,
        caption=facts.caption or plain(told.get("caption", "")) or None,
        keywords=facts.keywords or plain_keywords(told.get("keywords", "").split(",")),
        rating=facts.rating or (_STARRED if starred else None),
        people=joined(facts.people, faces),
    )


def _faces(told: str, name_of: NameOf) -> Iterator[tuple[str, Box | None]]:
    for rectangle, id in _FACE.findall(told):
        if id.lower() != _NOBODY and (name := name_of(_contact(id))):
            yield name, _box(rectangle)


def _box(rectangle: str) -> Box | None:
    if not _RECTANGLE.fullmatch(rectangle):
        return None
    whole = rectangle.zfill(16)
    left, top, right, bottom = (int(whole[at : at + 4], 16) / 65536 for at in range(0, 16, 4))
    return left, top, right - left, bottom - top


def _contact(id: str) -> str:
    return id.strip().lower().lstrip("0")  # zeros in front may be left out here too


def _decoded(content: bytes) -> str:
    """UTF-8, as Picasa writes since its third version, or a code page as it did before."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")
