"""Write one self-contained HTML page with the answers to some questions.

Usage: python scripts/contact_sheet.py OUT.html QUESTION... [--similar IMAGE] [--index DIR] [-k N]
"""

from __future__ import annotations

import argparse
import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from clipsearch import Hit, Library
from clipsearch.photos.decoding.decode import decode, read_file

THUMBNAIL = 256  # pixels, the longer side

STYLE = """
:root { color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h2 { font-weight: 500; margin: 2rem 0 .5rem; }
ol { display: flex; flex-wrap: wrap; gap: .75rem; list-style: none; margin: 0; padding: 0; }
img { display: block; height: 11rem; border-radius: .4rem; }
figure { margin: 0; }
figcaption { font-size: .8rem; opacity: .75; margin-top: .2rem; }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--similar", type=Path, metavar="IMAGE")
    parser.add_argument("--index", type=Path, metavar="DIR")
    parser.add_argument("-k", type=int, default=5)
    options = parser.parse_args()
    with Library.open(options.index, create=False) as library:
        parts = [section(text, library.query(text, options.k)) for text in options.questions]
        if options.similar:
            title = f"like {options.similar.name}"
            parts.append(section(title, library.similar(options.similar, options.k)))
    options.out.write_text(page(parts), encoding="utf-8")


def page(sections: Sequence[str]) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>clipsearch</title>'
        f"<style>{STYLE}</style><h1>clipsearch</h1>{''.join(sections)}</html>\n"
    )


def section(title: str, hits: Sequence[Hit]) -> str:
    return f"<h2>{html.escape(title)}</h2><ol>{''.join(map(figure, hits))}</ol>"


def figure(hit: Hit) -> str:
    name = html.escape(hit.path.name)
    return (
        f'<li><figure><img src="{thumbnail(hit.path)}" alt="{name}">'
        f"<figcaption>{hit.score:.3f} &middot; {name}</figcaption></figure></li>"
    )


def thumbnail(path: Path) -> str:
    image = decode(read_file(path), min_side=THUMBNAIL).image
    image.thumbnail((2 * THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


if __name__ == "__main__":
    main()
