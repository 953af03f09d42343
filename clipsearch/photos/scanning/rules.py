"""Which photos of a folder are taken: rules that are given, and ignore files."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Patterns as in a .gitignore of what is left out of its folder and of those below it.
IGNORE_FILE = ".clipsearchignore"


@dataclass(frozen=True, slots=True)
class ScanRules:
    """Which photos of a root are looked at; patterns are those of a .gitignore, from the root.

    Raises:
        InvalidInput: a pattern that means nothing.
    """

    include: tuple[str, ...] = ()  # only what matches one of these; all for none
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    raw_too: bool = False  # a RAW file also where its JPEG lies beside it

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            if not _is_pattern(pattern):
                raise InvalidInput(f"{pattern!r} is no pattern; try one such as '*.png' or 'raw/'")


DEFAULT_RULES = ScanRules()

# Of folders below a root, by their paths there: what holds in them besides the root's rules.
FolderRules = Mapping[str, ScanRules]


class IgnoreFile(NamedTuple):
    """An ignore file's patterns, and the folder they are relative to."""

    prefix: str  # "" or ending in "/"
    matcher: GitIgnoreSpec


class _Patterns(NamedTuple):
    """The patterns of a folder's rules, and the folder that they are relative to."""

    prefix: str  # "" or ending in "/"
    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that hold in a folder: the root's, and those of folders on the way."""

    patterns: tuple[_Patterns, ...] = ()
    follow_links: bool = False
    raw_too: bool = False

    def narrowed(self, prefix: str, rules: ScanRules) -> Rules:
        """These with the rules of a folder."""
        own = _Patterns(prefix, _matcher(rules.include), _matcher(rules.exclude))
        return Rules(
            (*self.patterns, own) if own.include or own.exclude else self.patterns,
            self.follow_links or rules.follow_links,
            self.raw_too or rules.raw_too,
        )

    def takes(self, path: str) -> bool:
        """Whether patterns take a photo."""
        return not self.leaves_out(path) and all(
            it.include is None or it.include.check_file(path[len(it.prefix) :]).include
            for it in self.patterns
        )

    def leaves_out(self, path: str) -> bool:
        """Whether patterns leave out a path below the root; a folder's ends in "/"."""
        return any(
            it.exclude is not None and it.exclude.check_file(path[len(it.prefix) :]).include
            for it in self.patterns
        )


def ignore_file(prefix: str, content: bytes) -> IgnoreFile | None:
    """The ignore file of a folder by its content; None for one that asks for nothing."""
    content = content.removeprefix(codecs.BOM_UTF8)
    lines = [line.decode("utf-8", "surrogateescape") for line in content.splitlines()]
    matcher = _matcher([line for line in lines if _is_pattern(line)])
    return IgnoreFile(prefix, matcher) if matcher else None


def takes(path: str, rules: Rules, ignores: Sequence[IgnoreFile]) -> bool:
    """Whether the patterns of all that hold in its folder take a photo."""
    return rules.takes(path) and not _is_ignored(path, ignores)


def leaves_out(path: str, rules: Rules, ignores: Sequence[IgnoreFile]) -> bool:
    """Whether patterns leave out a path below the root; a folder's ends in "/"."""
    return rules.leaves_out(path) or _is_ignored(path, ignores)


def _is_ignored(path: str, ignores: Sequence[IgnoreFile]) -> bool:
    for prefix, matcher in reversed(ignores):  # the nearest that has a say decides
        verdict = matcher.check_file(path[len(prefix) :]).include
        if verdict is not None:
            return verdict
    return False


def _matcher(patterns: Iterable[str]) -> GitIgnoreSpec | None:
    """Patterns made ready; None for none.

    Raises:
        ValueError: one of them is no pattern.
    """
    lines = list(patterns)
    if not lines:
        return None
    # Imported late: hardly any run has patterns.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _is_pattern(line: str) -> bool:
    try:
        return _matcher([line]) is not None
    except ValueError:
        return False  # as git does, a line that means nothing is passed over
