"""What the first picture would wait for, loaded before it is asked with."""

from __future__ import annotations

import base64
import logging
import threading

from clipsearch.photos.decoding.isolated import Processes
from clipsearch.web.libraries import Libraries

log = logging.getLogger("clipsearch")

PATIENCE = 15.0  # seconds that the end waits for a model that is being loaded

# A PNG of one pixel: to embed it takes all that a picture takes.
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


class Ahead:
    """A thread that loads what embeds pictures, after what embeds words."""

    def __init__(self, libraries: Libraries, processes: Processes) -> None:
        self.has_failed = False  # why, tells who asks with a picture
        self._libraries = libraries
        self._processes = processes
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="clipsearch-ahead", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()
        self.load()

    def stop(self) -> None:
        """Let the thread end after what it is doing."""
        self._stopping = True
        self._wanted.set()
        self._thread.join(PATIENCE)

    def load(self) -> None:
        """Load the model of an index that has another one by now."""
        self._wanted.set()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stopping:
                return
            try:
                self._load()
            except Exception as error:  # whatever it is, a picture that is asked with tells of it
                self.has_failed = True
                log.debug("pictures cannot be embedded: %s", error)

    def _load(self) -> None:
        with self._libraries.lent() as library:
            library.load()  # before: it is smaller, and not loaded where the whole model is
            if not library.is_loaded(pictures=True):
                library.embed(_PICTURE, processes=self._processes)
