"""Photos as a web page: one file with all in it, for any browser, without a network."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.cli.decoding import decoders
from clipsearch.cli.wording import Photo, fit_of, printable, score_of, written_of
from clipsearch.errors import InvalidInput, PhotoError
from clipsearch.notation import counted
from clipsearch.replacing import replacing

if TYPE_CHECKING:
    from clipsearch.photos.decoding.isolated import Turn, Waited
    from clipsearch.photos.files.urls import PhotoPath

SIZE = (640, 320)  # pixels: a row is half as high, so a fine screen shows it sharp
_MOST = 10_000  # photos; a page of more is larger than a browser opens

# Each row fills the width, as every photo grows with its ratio of width to height; what comes
# after the last one takes the room that is left, so that the last row is as high as the others.
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1f; --faint: #6b6b76; --hold: #ececf0;
  font: 15px/1.4 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #131316; --ink: #ececf1; --faint: #9a9aa6; --hold: #26262c; } }
body { background: var(--ground); color: var(--ink); margin: 0 auto; max-width: 110rem;
  padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; font-weight: 600; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h1 + p { color: var(--faint); margin: .3rem 0 1.5rem; }
main { --row: 12rem; display: flex; flex-wrap: wrap; gap: 1.1rem .8rem; }
main::after { content: ""; flex: 1000 0 0; }
figure { flex: var(--ratio) 1 calc(var(--ratio) * var(--row)); margin: 0; min-width: 0; }
a { color: inherit; text-decoration: none; }
.photo { aspect-ratio: var(--ratio); background: var(--hold); border-radius: .4rem; display: flex;
  overflow: hidden; }
.photo:hover, .photo:focus-visible { outline: 2px solid var(--faint); outline-offset: 2px; }
img { height: 100%; object-fit: cover; width: 100%; }
.gone { align-items: center; box-sizing: border-box; color: var(--faint); font-size: .85rem;
  justify-content: center; padding: 1rem; text-align: center; }
figcaption { contain: inline-size; font-size: .8rem; margin-top: .35rem; }
figcaption div { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.score, .folder { color: var(--faint); }
.folder { direction: rtl; text-align: left; } /* so that the start is what is cut off */
.score { float: right; font-variant-numeric: tabular-nums; padding-left: .6em; }
@media (max-width: 40rem) { main { --row: 8rem; } body { padding: 1rem .75rem 2rem; } }
@media print { main { --row: 8rem; } figure { break-inside: avoid; } }
"""


_HEAD = (
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    # The page is let do nothing but show what is in it.
    '<meta http-equiv="Content-Security-Policy"'
    " content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
)


def check_file(file: Path) -> None:
    """Raise InvalidInput unless a page can be written to `file`."""
    if not file.parent.is_dir():
        raise InvalidInput(f"--sheet: there is no folder {printable(str(file.parent))}")
    if file.exists() and not file.is_file():
        raise InvalidInput(f"--sheet: {printable(str(file))} is no plain file")
    is_page = Path(os.path.realpath(file)).suffix.lower() in (".html", ".htm")
    if not is_page and file.exists() and file.stat().st_size and not _is_ours(file):
        raise InvalidInput(
            f"--sheet: {printable(str(file))} is there already and no web page; name another file"
        )


def write_sheet(file: Path, title: str, photos: Sequence[Photo]) -> None:
    """Write a page of photos, in place of an older one only when it is complete.

    Raises:
        InvalidInput: too many photos, or the file cannot be written.
    """
    if len(photos) > _MOST:
        raise InvalidInput(
            f"a page of {len(photos)} photos is more than a browser opens; ask for fewer, as with"
            " -k 1000"
        )
    file = Path(os.path.realpath(file))  # a link is written through, not replaced
    try:
        # A name that no encoding has is shown by its escapes.
        with (
            replacing(file) as fresh,
            fresh.open("x", encoding="utf-8", errors="backslashreplace") as page,
        ):
            page.writelines(_page(title, photos))
    except OSError as error:
        raise InvalidInput(
            f"{printable(str(file))} cannot be written: {error.strerror or error}"
        ) from error


def _is_ours(file: Path) -> bool:
    with file.open("rb") as page:
        return page.read(len(_HEAD)) == _HEAD.encode()


def _page(title: str, photos: Sequence[Photo]) -> Iterator[str]:
    shown = escape(printable(title))
    count = counted(len(photos), "photo")
    order = ", best first" if score_of(photos[0], 3) else ""
    yield (
        f"{_HEAD}<title>{shown} · clipsearch</title>\n<style>{STYLE}</style>\n"
        f"<h1>{shown}</h1>\n<p>{count}{order}</p>\n<main>\n"
    )
    yield from _figures(photos)
    yield "</main>\n</html>\n"


def _figures(photos: Sequence[Photo]) -> Iterator[str]:
    from clipsearch.photos.decoding.isolated import Turn

    workers = min(os.cpu_count() or 1, 16)
    with decoders(workers) as processes, ThreadPoolExecutor(workers) as pool:
        yield from pool.map(
            lambda photo: _figure(photo, processes.start(_small, photo.path, Turn())), photos
        )


def _small(path: PhotoPath, turn: Turn) -> tuple[bytes, float]:
    """A photo as a small JPEG, and the ratio of its width to its height."""
    from clipsearch.photos.decoding.jpeg import as_jpeg
    from clipsearch.photos.decoding.thumbnail import thumbnail

    image = thumbnail(path, SIZE, turn)
    return as_jpeg(image, 75), image.width / image.height


def _figure(photo: Photo, small: Waited) -> str:
    name = escape(printable(photo.path.name))
    folder = escape(printable(str(photo.path.parent)))
    ratio = 1.5
    try:
        jpeg, ratio = small()
    except PhotoError as error:
        shown = f'<span class="photo gone">{escape(printable(str(error)))}</span>'
    else:
        # A strip of a panorama is shown by its middle.
        ratio = min(max(ratio, 0.5), 2.5)
        data = b64encode(jpeg).decode()
        shown = (
            f'<a class="photo" href="{photo.path.as_uri()}">'
            f'<img alt="{name}" src="data:image/jpeg;base64,{data}"></a>'
        )
    numbers = " · ".join(score_of(photo, 3) + fit_of(photo) + written_of(photo))
    score = f'<span class="score">{numbers}</span>' if numbers else ""
    return (
        f'<figure style="--ratio:{ratio:.3f}">{shown}<figcaption>{score}'
        f'<div title="{name}">{name}</div>'
        f'<div class="folder" title="{folder}"><bdi>{folder}</bdi></div></figcaption></figure>\n'
    )
