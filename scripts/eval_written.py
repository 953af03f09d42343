"""What it is worth to look for words in what is written about photos, beside what they show.

Usage: python scripts/eval_written.py INDEX CAPTIONS.csv [CAPTIONS.csv ...]

INDEX holds photos that have five captions in the files (`image,caption`, a row a caption). In a
copy of it some get words: nouns of one caption as keywords, or that caption as their title; a few
get keywords that are wrong, and twenty names stand on twenty photos each. Then it is asked for

- captions that are written nowhere: how often the one photo is among the first 1, 5 and 10,
- nouns: how many of the first 10 answers show it, as two of five captions say,
- names: how many of the first 20 answers have it,
- a name and a noun: how many of the photos with that name whose captions name it are found, among
  as many answers and three more,

by pictures alone and with what is written.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from clipsearch.library import Library
from clipsearch.search.labels.lists import OURS
from clipsearch.store.catalog import Catalog

NAMES = (
    "Zoe", "Ann", "Tariq", "Marseille", "Lisboa", "Hokkaido", "Oktoberfest", "Lindqvist", "Nguyen",
    "Abernathy", "Quintero", "Kowalski", "Ibiza", "Yosemite", "Glastonbury", "Ramirez", "Delphine",
    "Anneliese", "Vladimir", "Bratislava",
)  # fmt: skip
ON = 20  # photos a name
SENTENCES, NOUNS, BESIDE_NAMES = 250, 71, 6
# The share of photos that have words, which, and on how many photos each noun is wrong.
LIBRARIES = [
    (0.0, "keywords", 3), (0.02, "keywords", 3), (0.2, "keywords", 3), (1.0, "keywords", 0),
    (0.02, "title", 0), (0.2, "title", 0), (1.0, "title", 0),
]  # fmt: skip


class Photos:
    """The photos of an index that have captions, and what these name."""

    def __init__(self, index: Path, files: Iterable[Path]) -> None:
        said: dict[str, list[str]] = {}
        for file in files:
            with file.open(encoding="utf-8") as rows:
                for row in csv.DictReader(rows):
                    said.setdefault(Path(row["image"]).stem, []).append(row["caption"].strip(" ."))
        with sqlite3.connect(index / "catalog.db") as db:
            stored = db.execute("SELECT id, path FROM photos ORDER BY path").fetchall()
        known = {id: said.get(Path(path).stem, []) for id, path in stored}
        self.captions = {id: some[:5] for id, some in known.items() if len(some) >= 5}
        self.ids = list(self.captions)
        self.named = {
            id: Counter(word for text in some for word in set(words(text)))
            for id, some in self.captions.items()
        }
        labels = {line.split()[-1] for line in OURS.read_text("utf-8").splitlines() if line}
        labels |= {"man", "woman", "boy", "girl", "child", "people"}
        shown = Counter(word for it in self.named.values() for word in it if it[word] >= 2)
        self.nouns = [word for word, _ in shown.most_common(400) if word in labels][:NOUNS]


def words(text: str) -> list[str]:
    """Words of a text, of plurals in -s the singular."""
    return [re.sub(r"(?<=\w\w\w)(?<!s)s$", "", word) for word in re.findall("[a-z]+", text.lower())]


def write(index: Path, photos: Photos, share: float, kind: str, wrong: int) -> dict[str, set[int]]:
    """Give photos words; the photos of each name."""
    chance = random.Random(0)
    titles: dict[int, str] = {}
    keywords: dict[int, list[str]] = {id: [] for id in photos.ids}
    for id in photos.ids:
        text = photos.captions[id][chance.randint(1, 4)]
        if chance.random() < share:
            if kind == "title":
                titles[id] = text
            else:
                keywords[id] += [word for word in words(text) if word in photos.nouns]
    for noun in photos.nouns:
        for id in chance.sample(photos.ids, wrong):
            keywords[id].append(noun)
    having = {name: set(chance.sample(photos.ids, ON)) for name in NAMES}
    for name, ids in having.items():
        for id in ids:
            keywords[id].append(name)
    rows = [
        (titles.get(id), json.dumps(some) if some else None, id) for id, some in keywords.items()
    ]
    with sqlite3.connect(index / "catalog.db") as db:
        db.executemany("UPDATE photos SET title = ?, keywords = ? WHERE id = ?", rows)
    catalog = Catalog.open(index)
    catalog.rebuild_words()
    catalog.close()
    return having


def measure(
    library: Library, photos: Photos, having: dict[str, set[int]], hybrid: bool
) -> list[float]:
    """The six figures, in percent."""

    def ask(text: str, k: int) -> list[int]:
        return [hit.id for hit in library.query(text, k, hybrid=hybrid)]

    asked = random.Random(1).sample(photos.ids, min(SENTENCES, len(photos.ids)))
    found = {id: ask(photos.captions[id][0].replace('"', ""), 10) for id in asked}
    first = [mean(id in hits[:most] for id, hits in found.items()) for most in (1, 5, 10)]
    nouns = [mean(photos.named[id][noun] >= 2 for id in ask(noun, 10)) for noun in photos.nouns]
    names = [mean(id in ids for id in ask(name, ON)) for name, ids in having.items()]
    both = []
    for name, ids in having.items():
        for noun in photos.nouns[:BESIDE_NAMES]:
            if right := {id for id in ids if photos.named[id][noun]}:
                hits = ask(f"{name} with a {noun}", len(right) + 3)
                both.append(len(right.intersection(hits)) / len(right))
    return [100 * it for it in (*first, mean(nouns), mean(names), mean(both))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("captions", type=Path, nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch) / "index"
        shutil.copytree(options.index, index)
        photos = Photos(index, options.captions)
        print(f"{len(photos.ids)} photos\n")
        print("| written | asked by | R@1 | R@5 | R@10 | nouns | names | name and noun |")
        print("|---|---|---|---|---|---|---|---|")
        for share, kind, wrong in LIBRARIES:
            having = write(index, photos, share, kind, wrong)
            what = f"{kind} on {share:.0%}" + f", {wrong} wrong a noun" * bool(wrong)
            with Library.open(index) as library:
                for how in (False, True):
                    figures = measure(library, photos, having, how)
                    asked = "pictures and words" if how else "pictures"
                    print(f"| {what} | {asked} |", *(f"{it:.1f} |" for it in figures), flush=True)


if __name__ == "__main__":
    main()
