"""How well a pocket model finds: captions, class names, common nouns and looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsearch.encoders.pocket.encoder import PocketEncoder
from clipsearch.evaluation.ranks import best_ranks_of, ranks_of
from pocket.looks import LOOKS, Change
from pocket.sources import Photo, opened, read_files
from pocket.words import plural

AT_A_TIME = 16
ASKED = "a photo of a {}"
SURE = 0.6  # of a class, by the frozen classifier
FIRST = 10  # answers to a noun that are judged
EACH_LOOK = 20  # photos
OTHERS = 3  # looks that stand beside the right one
HEADER = """\
                       text to photo         photo to text        class to its photo
R@                       1     5    10         1     5    10         1     5    10    n"""
# Common nouns that some captions of every source name.
_NOUNS = """
    airplane baby ball beach bear bed bench bicycle bike bird boat bridge building bus cake car cat
    chair child clock couch cow dog elephant fence flower food giraffe girl grass horse kitchen kite
    laptop man motorcycle mountain ocean phone pizza sandwich sheep skateboard snow street surfboard
    table train tree truck umbrella water woman zebra
"""
NOUNS = _NOUNS.split()


@dataclass(frozen=True, slots=True)
class Seen:
    """What an encoder makes of photos and their captions; float32, unit rows."""

    photos: np.ndarray  # (photos, dim)
    captions: np.ndarray  # (captions, dim)
    owners: np.ndarray  # (captions,) int64: whose they are
    chances: np.ndarray  # (photos, CLASSES), the frozen classifier's


def look_at(photos: Sequence[Photo], encoder: PocketEncoder) -> Seen:
    """Encode photos and captions as a search does."""
    views = [encoder.prepare(opened(data)) for data in _data(photos)]
    batches = [np.stack(views[at : at + AT_A_TIME]) for at in range(0, len(views), AT_A_TIME)]
    logits = np.concatenate([encoder.classify(batch) for batch in batches])
    chances = np.exp(logits - logits.max(1, keepdims=True))
    return Seen(
        np.concatenate([encoder.encode_images(batch) for batch in batches]),
        read(encoder, [text for photo in photos for text in photo.captions]),
        np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos]),
        chances / chances.sum(1, keepdims=True),
    )


def read(encoder: PocketEncoder, texts: Sequence[str]) -> np.ndarray:
    """Texts as (n, dim) float32 unit rows."""
    return np.concatenate(
        [encoder.encode_texts(texts[at : at + 64]) for at in range(0, len(texts), 64)]
    )


def line(seen: Seen, encoder: PocketEncoder) -> str:
    """One row of the table of recalls, in percent."""
    to_photo = ranks_of(seen.captions, seen.photos, seen.owners)
    to_text = best_ranks_of(seen.photos, seen.captions, seen.owners)
    named = class_ranks(seen, encoder)
    recalls = (_recalls(ranks) for ranks in (to_photo, to_text, named))
    return f"{'   '.join(recalls)} {len(named):4}"


def class_ranks(seen: Seen, encoder: PocketEncoder) -> np.ndarray:
    """For each photo of whose class the classifier is sure: its rank, from 1, among other classes'.

    The question is the class's name; photos that the classifier gives the same class do not count.
    """
    from open_clip import IMAGENET_CLASSNAMES

    asked = read(encoder, [ASKED.format(name) for name in IMAGENET_CLASSNAMES]) @ seen.photos.T
    classes = seen.chances.argmax(1)
    ranks = []
    for photo in np.flatnonzero(seen.chances.max(1) > SURE):
        scores = asked[classes[photo]]
        better = (scores > scores[photo]) & (classes != classes[photo])
        ranks.append(1 + int(better.sum()))
    return np.array(ranks)


def nouns_right(
    photos: Sequence[Photo], rows: np.ndarray, encoder: PocketEncoder, form: str
) -> float:
    """How many in a hundred of the first answers to common nouns have a caption that says it.

    `rows` (photos, dim) float32 are the photos' embeddings, `form` is how the nouns are asked.
    """
    shares = []
    for noun in NOUNS:
        asked = plural(noun) if form == "plural" else form.format(noun)
        scores = rows @ read(encoder, [asked])[0]
        first = np.argsort(-scores, kind="stable")[:FIRST]
        shares.append(np.mean([_says(photos[row], noun) for row in first]))
    return 100 * float(np.mean(shares))


def looks_right(photos: Sequence[Photo], encoder: PocketEncoder) -> float:
    """How often, in percent, a photo made to look some way is nearest to its name, of four."""
    rng = np.random.default_rng(6)
    names = read(encoder, [look.name for look in LOOKS])
    right = []
    for number, look in enumerate(LOOKS):
        picked = rng.choice(len(photos), min(EACH_LOOK, len(photos)), replace=False)
        some = [photos[row] for row in picked]
        scores = encoder.encode_images(_changed(some, look.change, encoder, rng)) @ names.T
        own = scores[:, number]
        others = [row for row in range(len(LOOKS)) if row != number]
        beside = np.array([rng.choice(others, OTHERS, replace=False) for _ in some])
        right += (own > np.take_along_axis(scores, beside, 1).max(1)).tolist()
    return 100 * float(np.mean(right))


def _changed(
    photos: Sequence[Photo], change: Change, encoder: PocketEncoder, rng: np.random.Generator
) -> np.ndarray:
    return np.stack([encoder.prepare(change(opened(data), rng)) for data in _data(photos)])


def _data(photos: Sequence[Photo]) -> list[bytes]:
    wanted = {(photo.folder, photo.name) for photo in photos}
    found = {
        (folder, name): data
        for folder in sorted({photo.folder for photo in photos})
        for name, data in read_files(folder)
        if (folder, name) in wanted
    }
    return [found[photo.folder, photo.name] for photo in photos]


def _says(photo: Photo, noun: str) -> bool:
    words = {word.strip(".,;:!?\"'") for text in photo.captions for word in text.lower().split()}
    return noun in words or plural(noun) in words


def _recalls(ranks: np.ndarray) -> str:
    return f"{''.join(f'{100 * (ranks <= k).mean():6.1f}' for k in (1, 5, 10)):>18}"
