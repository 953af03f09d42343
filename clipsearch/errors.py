"""Every error that clipsearch raises on purpose.

    ClipsearchError
    ├── InvalidInput       an argument makes no sense (an empty query, k below 1)
    ├── PhotoError         one file cannot be read as a picture
    │   └── FileUnreadable       not for what it holds: no permission, or a drive that is gone
    ├── ModelError         a model spec is wrong, or its weights do not fit
    │   └── WeightsUnavailable   the weights are not here and could not be fetched
    ├── ClusterError       the machines that are to help cannot
    ├── NoProcess          this machine starts no further process
    └── LibraryError       an index folder cannot be used as asked
        ├── ModelMismatch        it was made with another model
        └── LibraryBusy          another process is writing to it

A message is one or a few lines for a person: what happened, then what to do. The parameters in it
have their names in Python; `said` gives it to a person who knows them by others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PARAMETER = re.compile("\x02(\\w+)\x03")

_LONGEST = 200  # characters of another library's that are told

# The folder of an index: `folder` where one is opened, and --index to commands, whose --folder is
# one of photos.
INDEX_FOLDER = "index_folder"


def arg(name: str) -> str:
    """A parameter's name as it stands in the message of an error."""
    return f"\x02{name}\x03"


def first_line(error: BaseException) -> str:
    """What an error says, in a line; one that only announces the next lines has those too.

    The system's errors are told without the number that Python puts before them.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    line, *more = str(error).strip().splitlines() or [type(error).__name__]
    while line.endswith(":") and more:  # OpenVINO's first tell through where it came
        next_line = more.pop(0).strip()  # PyTorch's may name each of a thousand weights
        line += f" {next_line if len(next_line) <= _LONGEST else f'{next_line[:_LONGEST]}...'}"
    return f"{line} is missing" if isinstance(error, KeyError) else line


def nearest(name: str, names: Iterable[str], alike: float = 0.6) -> list[str]:
    """The names, at most three, that a name that is not among them may have been meant as."""
    import difflib

    by_lower = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), by_lower, n=3, cutoff=alike)
    return [by_lower[it] for it in near]


def did_you_mean(name: str, names: Iterable[str], alike: float = 0.6) -> str:
    """The end of a message about a name that is not among those there are: the nearest of them.

    What was typed itself is never told back, as where a name is right and lacks what goes with it.
    """
    near = [it for it in nearest(name, names, alike) if it != name]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def option(name: str) -> str:
    """What a parameter is called on the command line."""
    others = {"k": "-k", "texts": "--text", INDEX_FOLDER: "--index"}
    return others.get(name) or f"--{name.replace('_', '-')}"


class ClipsearchError(Exception):
    """The base of all errors that clipsearch raises on purpose."""

    def __str__(self) -> str:
        return self.said(lambda name: "folder" if name == INDEX_FOLDER else name)

    def said(self, name: Callable[[str], str]) -> str:
        """The message, with each parameter called what `name` makes of its name in Python."""
        return _PARAMETER.sub(lambda found: name(found[1]), super().__str__())


class InvalidInput(ClipsearchError):
    """An argument makes no sense."""


LARGEST = (1 << 63) - 1  # the largest number that a catalog can hold or be asked for
MOST = 1_000_000_000  # of what an option counts; more is a slip of the fingers


def check_number(name: str, number: float | None, least: float, most: float = MOST) -> None:
    """Raise InvalidInput unless a number that is given lies between two others.

    What is no number or infinite does not.
    """
    if number is None or least <= number <= most:
        return
    if number > most:
        raise InvalidInput(f"{name} is at most {most}")
    raise InvalidInput(f"{name} must be at least {least}, not {number!r:.40}")


class PhotoError(ClipsearchError):
    """A file that cannot be read as a picture; the message is the reason alone."""


class FileUnreadable(PhotoError):
    """A file whose bytes could not be had; the next try may go well."""


class ModelError(ClipsearchError):
    """A model spec is wrong, or its weights do not fit it."""


class WeightsUnavailable(ModelError):
    """The weights of a model are not on this machine and could not be fetched.

    `ways_on` is what a person can do, which depends on what the model is for.
    """

    def __init__(self, message: str, ways_on: str = "") -> None:
        super().__init__("\n".join(filter(None, (message, ways_on))))
        self._message = message

    def advising(self, ways_on: str) -> WeightsUnavailable:
        """The same, with other ways on."""
        return WeightsUnavailable(self._message, ways_on)


class ClusterError(ClipsearchError):
    """The machines of a cluster cannot be used as asked."""


class NoProcess(ClipsearchError):
    """The system starts no further process for this one."""


class LibraryError(ClipsearchError):
    """An index folder cannot be used as asked."""


class ModelMismatch(LibraryError):
    """The index was made with another model than the one asked for."""


class LibraryBusy(LibraryError):
    """Another process is writing to the index."""
