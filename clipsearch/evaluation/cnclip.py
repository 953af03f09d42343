"""The form in which Chinese-CLIP's authors give MUGE, Flickr30k-CN and COCO-CN.

SPLIT_texts.jsonl has an object a line, with a text and the ids of the images that it is of;
SPLIT_imgs.tsv beside it an image a line, its id and its file in base64. What a model finds, and
what it makes of them, is written as the authors' own scripts write it, so that theirs can read it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.evaluation.pairs import Pairs, read_pairs
from clipsearch.evaluation.ranks import nearest
from clipsearch.replacing import replacing

TEXTS, IMAGES = "_texts.jsonl", "_imgs.tsv"
FIRST = 10  # answers that a prediction has

_URL_SAFE = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Judged:
    """Texts and images, of which a text may have several, and any may have none."""

    name: str  # of the split
    images: list[Path]
    captions: list[str]
    image_ids: list[int]
    text_ids: list[int]
    # The pairs that are right, by text and then by image: numbers in the lists, (p,) int64 each.
    texts: np.ndarray
    shown: np.ndarray

    def only(self, kept: Sequence[int]) -> Judged:
        """The same with the images of some numbers alone, which ascend."""
        there = np.isin(self.shown, kept)
        return replace(
            self,
            images=[self.images[number] for number in kept],
            image_ids=[self.image_ids[number] for number in kept],
            texts=self.texts[there],
            shown=np.searchsorted(kept, self.shown[there]),
        )


def is_judged(file: str | os.PathLike[str]) -> bool:
    """Whether a file is in this form, by its name."""
    return os.fspath(file).endswith(TEXTS)


def read_judged(
    file: str | os.PathLike[str], images: str | os.PathLike[str] | None = None
) -> Judged:
    """The texts of a file and the images beside it, which are unpacked to a folder once.

    The folder is `images`, or else one beside the file, named as the images are.

    Raises:
        InvalidInput: something cannot be read or written, is not of this form, or fits nothing.
    """
    listed = Path(os.path.expanduser(file))
    split = listed.name.removesuffix(TEXTS)
    packed = listed.with_name(split + IMAGES)
    folder = Path(os.path.expanduser(images)) if images else packed.with_suffix("")
    files = _unpacked(packed, folder)
    if not files:
        raise InvalidInput(f"{packed} holds no image")
    numbers = {id: number for number, id in enumerate(files)}
    captions: list[str] = []
    text_ids: list[int] = []
    pairs: list[tuple[int, int]] = []
    for line, found in _objects(listed):
        try:
            text_id, text = int(found["text_id"]), found["text"]
            if not isinstance(text, str):
                raise TypeError(f"text is {json.dumps(text)}")
            own = sorted({numbers[int(id)] for id in found.get("image_ids", ())})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"{listed}, line {line}: needs text_id, text, and image_ids of {packed.name}"
                f" ({type(error).__name__}: {error})"
            ) from error
        pairs += [(len(captions), number) for number in own]
        captions.append(text)
        text_ids.append(text_id)
    if not captions:
        raise InvalidInput(f"{listed} holds no text")
    texts, shown = np.array(pairs, np.int64).reshape(-1, 2).T
    return Judged(split, list(files.values()), captions, list(numbers), text_ids, texts, shown)


def read_asked(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    split: str | None = None,
) -> Pairs | Judged:
    """The images and texts of a table, or of a file in this form.

    Raises:
        InvalidInput: as `read_pairs` and `read_judged`.
    """
    if not is_judged(file):
        return read_pairs(file, images, split)
    if split is not None:
        raise InvalidInput(
            f"{arg('split')} goes with a table; name the file of the split itself: SPLIT{TEXTS}"
        )
    return read_judged(file, images)


def write_answers(
    folder: str | os.PathLike[str], judged: Judged, images: np.ndarray, texts: np.ndarray
) -> None:
    """Write what a model finds and what it makes of images (n, dim) and texts (m, dim), unit rows.

    SPLIT_predictions.jsonl has the FIRST images of each text, SPLIT_tr_predictions.jsonl the FIRST
    texts of each image, SPLIT_imgs.img_feat.jsonl and SPLIT_texts.txt_feat.jsonl the embeddings.

    Raises:
        InvalidInput: the folder cannot be written to.
    """
    place, split = Path(os.path.expanduser(folder)), judged.name
    found = nearest(texts, images, FIRST), nearest(images, texts, FIRST)
    lines = {
        f"{split}_predictions.jsonl": _answered("text", judged.text_ids, "image", judged.image_ids,
                                                found[0]),
        f"{split}_tr_predictions.jsonl": _answered("image", judged.image_ids, "text",
                                                   judged.text_ids, found[1]),
        f"{split}_imgs.img_feat.jsonl": _embedded("image", judged.image_ids, images),
        f"{split}_texts.txt_feat.jsonl": _embedded("text", judged.text_ids, texts),
    }  # fmt: skip
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, objects in lines.items():
            with replacing(place / name) as fresh, open(fresh, "w", encoding="utf-8") as out:
                out.writelines(f"{json.dumps(it)}\n" for it in objects)
    except OSError as error:
        raise InvalidInput(f"{place} cannot be written to: {error.strerror or error}") from error


def _answered(
    asked: str, ids: Sequence[int], answer: str, others: Sequence[int], found: np.ndarray
) -> Iterator[dict[str, Any]]:
    for id, row in zip(ids, found.tolist(), strict=True):
        yield {f"{asked}_id": id, f"{answer}_ids": [others[number] for number in row]}


def _embedded(what: str, ids: Sequence[int], rows: np.ndarray) -> Iterator[dict[str, Any]]:
    for id, row in zip(ids, rows, strict=True):
        yield {f"{what}_id": id, "feature": row.tolist()}


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, one a line, with the numbers of their lines."""
    for line, text in _lines(file):
        if text.strip():
            try:
                found = json.loads(text)
            except ValueError as error:
                raise InvalidInput(f"{file}, line {line}: no JSON: {error}") from error
            if not isinstance(found, dict):
                raise InvalidInput(f"{file}, line {line}: no JSON object")
            yield line, found


def _unpacked(packed: Path, folder: Path) -> dict[int, Path]:
    """The images by their ids, each in a file of its own; those that are there are not written."""
    files: dict[int, Path] = {}
    for line, text in _lines(packed):
        id, _, content = text.strip().partition(b"\t")
        if not text.strip():
            continue
        try:
            number = int(id)
            image = base64.b64decode(content.translate(_URL_SAFE), validate=True)
        except (ValueError, binascii.Error) as error:
            raise _no_image(packed, line) from error
        if not image:
            raise _no_image(packed, line)
        file = folder / f"{number}.jpg"  # whatever it is: a file is what its content says
        if not file.exists():
            _write(file, image)
        files[number] = file
    return files


def _no_image(packed: Path, line: int) -> InvalidInput:
    return InvalidInput(f"{packed}, line {line}: needs an id, a tab, and an image in base64")


def _write(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, lasting=False) as fresh:
            fresh.write_bytes(content)
    except OSError as error:
        raise InvalidInput(
            f"{file.parent} cannot be written to, where the images are unpacked"
            f" ({error.strerror or error}); name another folder with {arg('images')}"
        ) from error


def _lines(file: Path) -> Iterable[tuple[int, bytes]]:
    try:
        with open(file, "rb") as lines:
            yield from enumerate(lines, 1)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}") from error
