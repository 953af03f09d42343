"""How short questions are best asked: as typed, in a sentence, or as the mean of several.

Usage: python scripts/eval_templates.py INDEX CAPTIONS.csv [CAPTIONS.csv ...]

INDEX holds photos that have five captions in the files (`image,caption`, a row a caption). Asked
are common nouns, and the commonest runs of two and of three words that end with one ("red bus",
"man riding bike"), as captions have them without articles. Of the first ten answers by the index's
first model those are right of which one of the captions says it, in singular or plural; what fewer
than ten photos show is not asked. A mean is that of unit vectors (Radford et al. 2021, section
3.1.4), which `A + B` is as a question too. What is added beside the share is its distance from that
of the bare words, with the 95% interval of the paired bootstrap over questions.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from eval_written import Photos, words
from pocket.words import forms_of

from clipsearch.library import Library
from clipsearch.search.labels.lists import TEMPLATES

FIRST = 10  # answers that are judged, and photos that a question has at least
MOST = 60  # questions of a length
LENGTHS = (1, 2, 3)
ARTICLES = {"a", "an", "the"}
_LITTLE = """
    and are at be by for from has have her his in is it its of off on one other out over several
    some that their there three to two up very was while with
"""
LITTLE = set(_LITTLE.split())


WAYS: dict[str, Callable[[str], list[str]]] = {
    "dog": lambda text: [text],
    "a dog": lambda text: forms_of(text)[1:2],
    "dogs": lambda text: forms_of(text)[2:3],
    "a photo of a dog": lambda text: forms_of(text)[3:4],
    "mean of the first and the last": lambda text: forms_of(text)[:4:3],
    "mean of these four": lambda text: forms_of(text)[:4],
    "mean of the seven of `label`": lambda text: [it.format(text) for it in TEMPLATES],
}


def questions_of(photos: Photos, length: int) -> dict[str, set[int]]:
    """The commonest runs of so many words that end with a noun, and the photos that show each."""
    showing: dict[str, set[int]] = defaultdict(set)
    for id, captions in photos.captions.items():
        for text in captions:
            for run in _runs([word for word in words(text) if word not in ARTICLES], length):
                if run[-1] in photos.nouns and not LITTLE.intersection((run[0], run[-1])):
                    showing[" ".join(run)].add(id)
    common = sorted(showing, key=lambda run: (-len(showing[run]), run))[:MOST]
    return {run: showing[run] for run in common if len(showing[run]) >= FIRST}


def _runs(said: list[str], length: int) -> Iterable[tuple[str, ...]]:
    return zip(*(said[at:] for at in range(length)), strict=False)


def shares(
    library: Library, questions: dict[str, set[int]], way: Callable[[str], list[str]]
) -> np.ndarray:
    """Of the first answers to each question the share that is right: (questions,) float64."""
    found = [
        [hit.id in right for hit in library.query(" + ".join(way(text)), FIRST, hybrid=False)]
        for text, right in questions.items()
    ]
    return np.asarray(np.mean(found, axis=1))


def gained(shares: np.ndarray, bare: np.ndarray) -> str:
    """How much more is right than for the bare words, in points, with its interval."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(bare), (2000, len(bare)))
    low, high = np.percentile((shares - bare)[drawn].mean(1), (2.5, 97.5))
    return f"{100 * (shares - bare).mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("captions", type=Path, nargs="+")
    options = parser.parse_args()
    photos = Photos(options.index, options.captions)
    asked = [questions_of(photos, length) for length in LENGTHS]
    print(f"{len(photos.ids)} photos\n")
    heads = [
        f"{len(some)} of {length} | more |" for some, length in zip(asked, LENGTHS, strict=True)
    ]
    print("| asked as |", *heads)
    print("|---" * (1 + 2 * len(LENGTHS)) + "|")
    with Library.open(options.index) as library:
        bare = [shares(library, some, WAYS["dog"]) for some in asked]
        for name, way in WAYS.items():
            right = [shares(library, some, way) for some in asked]
            cells = [
                f"{100 * these.mean():.1f} | {gained(these, those)} |"
                for these, those in zip(right, bare, strict=True)
            ]
            print(f"| {name} |", *cells, flush=True)


if __name__ == "__main__":
    main()
