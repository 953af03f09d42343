"""What an index run tells when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did, in photos."""

    added: int
    updated: int
    moved: int
    removed: int
    unchanged: int
    failed: int
    embedded: int  # contents that a model saw for the first time
    seconds: float
    images_per_second: float  # files read, while there was work on files
    complete: bool  # False if it was stopped before the end
    problems: tuple[str, ...]  # folders that could not be looked at, a line each
    note: str | None  # why this model, where nobody chose it
    # How many pictures of kinds that are not read were passed over, by extension, most first.
    passed_over: dict[str, int] = field(default_factory=dict)
    embedded_per_second: float = 0.0  # what was only brought back by its content does not count

    @property
    def has_changes(self) -> bool:
        """Whether anything is other than before."""
        return any((self.added, self.updated, self.moved, self.removed, self.failed, self.embedded))
