"""Texts of photos that are not in their files: captions that models write, and text in pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipsearch.errors import arg, check_number
from clipsearch.opened import OpenIndex, asked
from clipsearch.store.faults import explained
from clipsearch.store.folder import StrPath

if TYPE_CHECKING:
    from clipsearch.encoders.reading.line import Line
    from clipsearch.indexing.later.captions import CaptionReport
    from clipsearch.indexing.later.texts import ReadReport
    from clipsearch.progress import Progress


class Texts(OpenIndex):
    """An index that is open, with what models write about its photos, and read in them."""

    def write_captions(
        self,
        folders: Sequence[StrPath] = (),
        *,
        model: str = "blip",
        batch_size: int | None = None,
        isolated: bool = False,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> CaptionReport:
        """Have a model write captions for photos that have none by it; all, or those of folders.

        They are kept in the index and looked for by `query` with `hybrid`. `model` is "blip",
        "blip-large", "vit-gpt2", "coca", "coca-large", a repository of the hub, a folder that
        transformers wrote, or open_clip's name of a CoCa model. `progress`, `stopping` and
        `isolated` are as in `index`; what is done is kept, and the next run goes on from there.

        Raises:
            InvalidInput: a folder that the index does not know, or `batch_size` below 1.
        """
        from clipsearch.encoders.captions import captioner_name
        from clipsearch.indexing.later.captions import write_captions
        from clipsearch.progress import untold
        from clipsearch.search.filtering.filters import some_below

        check_number(arg("batch_size"), batch_size, 1)
        name = captioner_name(model)
        with explained(self.folder):
            self._catalog.open_to_write()
            return write_captions(
                self._catalog, name, self._models.device, some_below(folders, self._catalog),
                batch_size, isolated, progress or untold, stopping or (lambda: False),
            )  # fmt: skip

    @asked
    def captions(self, image: StrPath) -> dict[str, str]:
        """What models wrote about a photo, by the model's name; none if it is not indexed.

        Raises:
            InvalidInput: the photo cannot be read.
        """
        return self._answers.captions(image)

    @contextmanager
    def _reading(
        self,
        folders: Sequence[StrPath],
        stop: threading.Event,
        isolated: bool,
        on_read: Callable[[ReadReport], None],
    ) -> Iterator[Callable[[], None]]:
        """Gives what has the text read in a thread beside, which calls `on_read` when it did."""
        from clipsearch.encoders.reading import check_installed
        from clipsearch.indexing.later.behind import Behind

        check_installed()

        def read() -> None:
            with self.twin() as twin:
                report = twin.read_texts(folders, isolated=isolated, stopping=stop.is_set)
            if report.read:
                on_read(report)

        with Behind(read, stop) as behind:
            yield behind.ask

    def read_texts(
        self,
        folders: Sequence[StrPath] = (),
        *,
        model: str = "PP-OCRv6",
        isolated: bool = False,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> ReadReport:
        """Read the text in photos that `model` did not read yet; all, or those of folders.

        It is kept in the index, with the place of each line, and looked for by `query` with
        `hybrid`. `model` is "PP-OCRv6", which reads Latin letters, Chinese and Japanese, or for
        other alphabets the file of a recognition model of PaddleOCR's that was exported to ONNX.
        `progress`, `stopping` and `isolated` are as in `index`; what is done is kept, and the next
        run goes on from there.

        Raises:
            InvalidInput: a folder that the index does not know.
            ModelError: the model reads no text, or the group `ocr` is not installed.
        """
        from clipsearch.indexing.later.texts import read_texts
        from clipsearch.progress import untold
        from clipsearch.search.filtering.filters import some_below

        with explained(self.folder):
            self._catalog.open_to_write()
            return read_texts(
                self._catalog, model, some_below(folders, self._catalog), isolated,
                progress or untold, stopping or (lambda: False),
            )  # fmt: skip

    @asked
    def lines(self, image: StrPath, *, model: str = "PP-OCRv6") -> list[Line]:
        """The lines of text in a picture, indexed or not: as `model` read them, or reads them now.

        What it reads now is not kept.

        Raises:
            InvalidInput: the picture cannot be read.
            ModelError: as `read_texts`.
        """
        return self._answers.lines(image, model)
