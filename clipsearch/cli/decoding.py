"""Where the command line decodes the pictures that a person names: not in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipsearch.photos.decoding.isolated import Processes


@contextmanager
def decoders(count: int = 1) -> Iterator[Processes]:
    """Processes for decoding, of which the first starts while the command gets ready.

    A file that crashes or hangs a decoder, or takes too much memory, is an error in a line then.
    """
    from clipsearch.photos.decoding.isolated import Processes

    with Processes(count) as processes:
        processes.start(len, ())
        yield processes
