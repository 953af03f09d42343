"""One index folder opened as one object: the public Python API.

What a method says it does is done elsewhere: runs in indexing/runs.py, answers in
search/answers.py. What only some calls need is imported by them: a run with nothing to do needs no
NumPy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

from clipsearch.errors import LARGEST, InvalidInput, arg, check_number
from clipsearch.opened import asked
from clipsearch.opened.texts import Texts
from clipsearch.photos.files.urls import AllowUrl
from clipsearch.store.faults import explained
from clipsearch.store.folder import StrPath

if TYPE_CHECKING:
    from PIL import Image

    from clipsearch.indexing.later.texts import ReadReport
    from clipsearch.indexing.report import IndexReport
    from clipsearch.indexing.targets import Held
    from clipsearch.progress import Progress
    from clipsearch.search.duplicates.groups import Group, Kind
    from clipsearch.search.filtering.facets import Dot, Facets
    from clipsearch.search.filtering.filters import FilterNames, Filters
    from clipsearch.search.labels.fitting import Label, LabelCount, LabelledPhoto
    from clipsearch.search.labels.lists import Labels
    from clipsearch.search.results import Hit, Photo
    from clipsearch.search.scoring import Scores
    from clipsearch.store.conditions import Condition


class Library(Texts):
    """An index of photos: bring it up to date, and ask it.

    Open one with `Library.open`; it is a context manager. Use an instance from one thread at a
    time; `twin` gives others theirs. What is done with the photos stands here, and what is done
    with the index as a whole, such as to copy it, in `OpenIndex`; what is written about photos, in
    `Texts`.

    Besides what each method names, all raise LibraryError where the index cannot be used: what asks
    a model ModelError where that cannot, and what writes LibraryBusy where another process writes,
    and LibraryError where the disk is full or read-only.
    """

    def index(
        self,
        paths: Sequence[StrPath] = (),
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        prune: bool = False,
        verify: bool = False,
        retry: bool = False,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        follow_links: bool | None = None,
        raw_too: bool | None = None,
        max_megapixels: int | None = None,
        frames: int = 1,
        runtime: str | None = None,
        precision: str | None = None,
        store: str | None = None,
        isolated: bool = False,
        ray: str | None = None,
        ray_gpus: float | None = None,
        keep_for: int | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> IndexReport:
        """Bring folders up to date; with no `paths`, all that the index knows.

        New and changed photos are read and embedded, moved ones keep their row, and what is gone
        is removed; a folder that is missing or suddenly empty removes nothing unless `prune`.
        `verify` reads every file again, for contents that changed under the same size and mtime,
        and for what an older version could not read of them; `retry` those that failed.

        `include` and `exclude` are gitignore patterns, relative to an indexed folder: only what
        matches the first is looked at, and never what matches the second. `follow_links` also
        looks behind symbolic links, and `raw_too` keeps RAW files whose JPEG lies beside them.
        These four are remembered with the folder; None leaves them as they were.

        A picture that takes more than `max_megapixels` (256) to decode is refused. Of an animation
        the first frame counts, or the mean embedding of `frames` evenly spaced ones.

        `runtime` is what embeds pictures: "torch", "onnx" for ONNX Runtime or "openvino", for which
        the model is exported first, or "auto" (at first), which is what suits the machine and how
        many there are; it is remembered with the model, and None leaves it as it was.

        `precision` is "int8" to have the model embed in 8 bits from here on: it is calibrated on
        photos of the index, and what that costs on others is told (`logging`, "clipsearch"). Where
        that is too much, or the photos are too few, it stays with "fp32". A model in 8 bits is one
        of its own, beside that in full if the index has it.

        `store` says where a new index keeps its vectors for searching: "faiss", which is its own
        folder, or "milvus:http://HOST:19530" (docs/scale.md). It is remembered; `move` changes it.

        The embeddings and captions of what leaves the index are kept for `keep_for` days (30), and
        found again by the content when it comes back. It is remembered, and holds for what is kept
        already too: 0 frees all of it now.

        `progress` gets the number of files done and their total. `stopping` is asked after each
        file; once true, the run ends after committing what it has. With `isolated`, files are
        decoded in processes of their own, so that one that crashes or hangs a decoder costs
        itself alone; as always with `multiprocessing`, a script must then guard its main part.

        With `ray`, the machines of a Ray cluster read and embed, each process with `workers`
        decoders: it is the cluster's HOST:PORT, or "local" for one of this machine alone.
        `ray_gpus` is how much of a GPU one process gets: 1 where there are any. The folders must
        lie at the same place on all machines (see docs/scale.md).

        Raises:
            InvalidInput: a path that is no folder, numbers that make no sense, or a `store` that
                is none or not the one where the vectors are.
            ClusterError: the cluster cannot be used, or does not see the folders.
            LibraryError: the store does not answer.
        """
        from clipsearch.indexing.plan import Doubts
        from clipsearch.indexing.runs import How, Settings
        from clipsearch.indexing.targets import RuleChanges

        rules = RuleChanges(include, exclude, follow_links, raw_too)
        how = How(batch_size, workers, isolated, max_megapixels, frames, progress, stopping)
        settings = Settings(rules, runtime, store, keep_for, precision)
        doubts = Doubts(prune, verify, retry)
        return self._runs.index(paths, doubts, settings, how.on(ray, ray_gpus))

    def watch(
        self,
        paths: Iterable[StrPath] = (),
        *,
        stop: threading.Event,
        poll: float | None = None,
        isolated: bool = False,
        on_run: Callable[[IndexReport], None] | None = None,
        progress: Progress | None = None,
        on_read: Callable[[ReadReport], None] | None = None,
    ) -> None:
        """Bring folders up to date, and then follow them until `stop` is set; none means all.

        New, changed, moved and deleted files are seen as the system tells of them, and taken when
        they are complete: within two seconds where the model is loaded, which it is from the
        first new photo on. On network folders, and where the system cannot tell, the folders are
        looked at every 30 seconds instead, or every `poll` seconds if that is given.

        A folder that goes away keeps its photos and is followed again when it is back. While
        another process writes to the index, this one waits. `on_run` gets a report of the first
        look at the folders, and of each later one that changed something. `progress` and
        `isolated` are as in `index`; once `stop` is set, the photos in work are still committed.

        With `on_read`, the text in photos is read too, as by `read_texts`, in a thread beside,
        which calls it with a report each time that it has read some.

        Raises:
            InvalidInput: a path that is no folder, no folders at all, or `poll` not above 0.
            ModelError: `on_read`, and the group `ocr` is not installed.
        """
        from clipsearch.indexing.runs import How

        how = How(isolated=isolated, progress=progress, stopping=stop.is_set)
        paths = list(paths)
        if on_read is None:
            self._runs.watch(paths, stop, poll, on_run, how)
            return
        with self._reading(paths, stop, isolated, on_read) as ask:

            def told(report: IndexReport) -> None:
                ask()
                if on_run:
                    on_run(report)

            self._runs.watch(paths, stop, poll, told, how)

    def forget(self, path: StrPath, *, keep_for: int | None = None) -> int:
        """Take a folder or a photo out of the index; gives the number of photos taken out.

        Files are never touched. A part of an indexed folder stays out of later runs until it is
        named to `index` again. Until then, and for `keep_for` days at most, embeddings and captions
        are kept, so that nothing is embedded again; None is what the index keeps all for (30).

        Raises:
            InvalidInput: the index does not know the path, or `keep_for` makes no sense.
        """
        return self._runs.forget(path, keep_for)

    def held_at(self, path: StrPath) -> Held:
        """What `forget` would take out of the index.

        Raises:
            InvalidInput: the index does not know the path.
        """
        from clipsearch.indexing.targets import held_at

        with explained(self.folder):
            return held_at(self._catalog, os.fspath(path))

    @asked
    def query(
        self,
        text: str = "",
        k: int | None = 10,
        *,
        images: Sequence[StrPath | Image.Image] = (),
        minus: Sequence[str] = (),
        image_weight: float = 1.0,
        filters: Filters | None = None,
        allow_url: AllowUrl = False,
        exact: bool = False,
        relevant: bool = False,
        hybrid: bool | None = False,
        rerank: str | None = None,
        isolated: bool = False,
        **named: Unpack[FilterNames],
    ) -> list[Hit]:
        """The k photos that fit words, pictures, or both together best, best first; None is all.

        `text` is words, or several parts with signs and weights, as "horse + 2*stripes - fence +
        ./pool.jpg"; `images` are pictures (files, "-" for stdin, or PIL images) that count
        `image_weight` each, and `minus` are parts that count against. Only photos that satisfy
        the `filters` are looked at, which can be given by name too: `since="2024"`. Pictures
        behind a URL are fetched only with `allow_url`. Where the index was optimized, `exact`
        compares with every photo all the same. `relevant` leaves out what does not stand out (see
        `Hit.relevance`), which may be all.

        `hybrid` looks for the words also in file names, folders, captions, titles and keywords, and
        lifts the photos that have them (see `Hit.written`); what stands in double quotes must occur
        there, and `why_nothing` tells what of it is written nowhere. With None, as the command, the
        page and assistants ask, a question may also have no words; where none is written and none
        stands in quotes, the answer is that of False. `rerank` is a model that
        orders the first 32 answers by how well picture and words fit together: "blip",
        "blip-large", a repository of the hub or a folder of BLIP for image-text retrieval; their
        files are read for it, `isolated` as in `index`.

        Raises:
            InvalidInput: nothing is asked for, a part, a weight or a filter that makes no sense,
                a picture that cannot be read, k below 1, or `hybrid` or `rerank`
                without words.
        """
        from clipsearch.search.answers import Wanted
        from clipsearch.search.filtering.filters import with_named
        from clipsearch.search.question import read_terms

        terms = read_terms(text, images, image_weight, minus)
        among = with_named(filters, named)
        wanted = Wanted(terms, k, among, relevant=relevant, exact=exact)
        wanted = wanted.in_writing(hybrid)
        if rerank is None:
            return self._answers.find(wanted, allow_url)
        return self._answers.find_reranked(wanted, rerank, isolated, allow_url)

    @asked
    def similar(
        self,
        image: StrPath | Image.Image,
        k: int | None = 10,
        *,
        region: str | None = None,
        mask: StrPath | Image.Image | None = None,
        filters: Filters | None = None,
        allow_url: AllowUrl = False,
        exact: bool = False,
        relevant: bool = False,
        **named: Unpack[FilterNames],
    ) -> list[Hit]:
        """The k photos that look most like a picture, or a part of it, best first; None is all.

        `image` is any image file, indexed or not, "-" for stdin, a URL with `allow_url`, or a PIL
        image. The very file asked with is left out; copies of it are not. `region` is
        "x,y,width,height" in pixels or percent of the upright picture, `mask` a picture that is
        white where the part is, for an index made with Alpha-CLIP. `exact` and `relevant` are as
        in `query`.

        Raises:
            InvalidInput: the image or the mask cannot be read, a region or filter that makes no
                sense, a region and a mask, a mask that the model cannot see, or k below 1.
        """
        from clipsearch.search.answers import Wanted
        from clipsearch.search.filtering.filters import with_named

        among = with_named(filters, named)
        wanted = Wanted((), k, among, relevant=relevant, exact=exact)
        part = self._answers.pictures.part(region, mask)
        return self._answers.find_similar(image, wanted, part, allow_url)

    @asked
    def photos(
        self,
        filters: Filters | None = None,
        k: int | None = None,
        offset: int = 0,
        sort: str = "latest",
        **named: Unpack[FilterNames],
    ) -> list[Photo]:
        """The photos that satisfy the filters, the latest taken first; all, or at most k.

        The first `offset` of them are passed over. `sort` may be "oldest", "added" or "path" too.

        Raises:
            InvalidInput: a filter or a `sort` that makes no sense, or k below 1.
        """
        from clipsearch.search.nearest import check_k, check_sort

        check_k(k)
        check_sort(sort)
        check_number(arg("offset"), offset, 0, LARGEST)
        return self._photos(self._selected(filters, named), -1 if k is None else k, offset, sort)

    def each_photo(
        self, filters: Filters | None = None, **named: Unpack[FilterNames]
    ) -> Iterator[Photo]:
        """The photos that satisfy the filters, the latest taken first, and never all in memory.

        Which they are is settled at the beginning; those that are gone when it is their turn are
        passed over.

        Raises:
            InvalidInput: a filter that makes no sense.
        """
        from clipsearch.store.conditions import Is

        for ids in self._in_turn(filters, named):
            yield from self._photos(Is("id", "in", tuple(ids)))

    @asked
    def _in_turn(self, filters: Filters | None, named: FilterNames) -> list[list[int]]:
        return self._catalog.in_turn(self._selected(filters, named))

    @asked
    def _photos(
        self, selection: Condition, k: int = -1, offset: int = 0, sort: str = "latest"
    ) -> list[Photo]:
        from clipsearch.search.results import Photo
        from clipsearch.store.presence import Presence

        rows = self._catalog.photos(selection, k, offset, sort)
        there = Presence(self._catalog).of
        return [Photo.of(it, there(it.path)) for it in rows]

    @asked
    def count(self, filters: Filters | None = None, **named: Unpack[FilterNames]) -> int:
        """How many photos satisfy the filters.

        Raises:
            InvalidInput: a filter that makes no sense.
        """
        return self._catalog.count_selected(self._selected(filters, named))

    @asked
    def facets(self, filters: Filters | None = None, **named: Unpack[FilterNames]) -> Facets:
        """The photos that satisfy the filters, counted by folder, camera, month, kind and place.

        Raises:
            InvalidInput: a filter that makes no sense.
        """
        from clipsearch.search.filtering.facets import count_facets

        return count_facets(self._catalog, self._selected(filters, named))

    @asked
    def dots(
        self, grid: float = 1.0, filters: Filters | None = None, **named: Unpack[FilterNames]
    ) -> list[Dot]:
        """Where on a map the photos that satisfy the filters were taken, that of most first.

        Those in one cell of a grid, `grid` degrees wide and high, are one dot.

        Raises:
            InvalidInput: a filter that makes no sense, or `grid` is not between 0.001 and 90.
        """
        from clipsearch.search.filtering.facets import find_dots

        return find_dots(self._catalog, grid, self._selected(filters, named))

    def photo(self, id: int) -> Photo:
        """The photo that has an id, as hits name it.

        Raises:
            InvalidInput: there is none.
        """
        from clipsearch.search.results import Photo

        stored = self.stored(id)
        if stored is None:
            raise InvalidInput(f"the index holds no photo with the id {id}")
        return Photo.of(stored.row, self.is_present(stored))

    @asked
    def label(
        self,
        image: StrPath | Image.Image,
        labels: Labels = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[Label]:
        """The k labels that fit a picture best, best first.

        `image` is any image file, indexed or not, or a PIL image. `labels` are a list of texts, a
        file with one a line, "imagenet", or by default a list of what people take photos of. Those
        that the model has not embedded yet take a moment each, once; `progress` gets the number
        done and their total.

        Raises:
            InvalidInput: no labels, the image cannot be read, or k below 1.
        """
        return self._labelling.of(image, labels, k, progress)

    @asked
    def count_labels(
        self,
        folder: StrPath | None = None,
        labels: Labels = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[LabelCount]:
        """The k labels that are the best ones of most photos, in a folder or in all, most first.

        `labels` and `progress` are as for `label`.

        Raises:
            InvalidInput: no labels, a folder that the index does not know, or k below 1.
        """
        return self._labelling.count(folder, labels, k, progress)

    @asked
    def photos_labelled(
        self,
        label: str,
        folder: StrPath | None = None,
        labels: Labels = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[LabelledPhoto]:
        """The k photos, in a folder or in all, that a label is the best one of, surest first.

        `labels` and `progress` are as for `label`.

        Raises:
            InvalidInput: no such label, a folder that the index does not know, or k below 1.
        """
        return self._labelling.photos(label, folder, labels, k, progress)

    @asked
    def score(self, images: Sequence[StrPath | Image.Image], texts: Sequence[str]) -> Scores:
        """How well each text fits each picture, indexed or not.

        Raises:
            InvalidInput: no images, no texts, an empty text, or an image that cannot be read.
        """
        return self._answers.score(images, texts)

    @asked
    def duplicates(
        self,
        kinds: Sequence[Kind] = ("bytes", "pictures", "shots"),
        *,
        within: float = 60.0,
        isolated: bool = False,
        progress: Progress | None = None,
    ) -> list[Group]:
        """Groups of photos that are duplicates, of three kinds that are never mixed.

        "bytes" are files with the same content; "pictures" are re-encoded, resized or mildly
        recoloured copies of a picture; "shots" look alike and were taken within so many seconds
        of each other, as EXIF tells. Nothing is deleted, and which photo to keep is a suggestion.
        Each file is looked at first: what is gone, away, not to be read or not as it was indexed is
        in no group, and one file with several names counts once.

        Photos indexed before there were perceptual hashes are read for theirs first; `progress`
        and `isolated` are as in `index`.

        Raises:
            InvalidInput: a kind that does not exist, or a negative `within`.
        """
        from clipsearch.progress import untold
        from clipsearch.search.duplicates.groups import duplicates_in

        model = self._models.chosen()
        return duplicates_in(
            self.folder, self._catalog, model, kinds, within, isolated,
            progress or untold,
        )  # fmt: skip
