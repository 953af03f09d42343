"""Measure how well it can be told that a library holds nothing that fits a question.

Each trial is a question and a library made of Flickr8k's photos, with photos that fit or with all
of those taken out. Several ways to tell the two apart are tried. What has a threshold or weights
gets them from questions of the dev split, and is measured with those of the test split.

    python scripts/eval_relevance.py DIR          # DIR is the Flickr8k folder
    python scripts/eval_relevance.py DIR --fit    # and find the weights anew, on dev
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pocket.sources import opened, read_files, read_flickr8k
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clipsearch import encoders
from clipsearch.encoders.spec import parse_spec
from clipsearch.search.neutral import NEUTRAL
from clipsearch.search.relevance import (
    SAMPLE,
    calibrate_picture,
    calibrate_text,
    features,
    relevance,
)
from clipsearch.search.results import RELEVANT

SIZES = (1, 5, 30, 100, 1000, 8000)
CAPTIONS = 200  # of each split
HITS = 10  # an answer stands out if one of so many does
ALIKE = 0.1  # cosine of the TF-IDF of two photos' captions: from here on they show like things
ALIKE_PICTURES = 0.75  # the same, of their embeddings
FITTING = 0.3  # captions so much alike: a photo that fits a question by picture
MENTIONED = 3  # of its five captions name what a photo surely shows

# What many of the photos show: the question, and other words that captions have for it.
SHOWN = """dog,puppy,puppies|soccer|snowboarder,snowboard|surfer,surf|bicycle,bike,bmx,cyclist
motorcycle,motorbike,dirt bike,motorcyclist|skateboard|beach|snow|swimming pool,pool|mountain
playground|horse,pony|tennis|basketball|baseball|football|hockey|frisbee|kayak,canoe,raft|tent
trampoline|fountain|guitar|fishing,fish|waterfall|boat,ship,raft,canoe,kayak|bus|train|bridge
umbrella|wedding,bride|sled|skier,ski|slide|swing|cat,kitten|cow,bull,cattle|sheep|bird|rope|rugby
volleyball|bubbles,bubble|couch,sofa|bed|sunset|fire,flame,bonfire|balloon|ice skating,skat
cowboy,rodeo|microphone|drum|flag|stairs,staircase,steps|tunnel|cliff|flowers,flower
wakeboard,water ski,waterski|parachute,paragli,parasail|race car,car,racing|truck|subway
cigarette,smok|painting,paint|parade|karate,martial|gymnast|costume|hat,cap|sunglasses
baby,toddler,infant|crowd|forest,woods|river,stream|grass,lawn|fence"""

# What no caption of any photo names, or one of eight thousand.
NOT_SHOWN = """submarine|microscope|x-ray of a hand|plate of sushi|chess pieces|giraffe|koala|owl
peacock|hummingbird|octopus|jellyfish|lobster|bowl of ramen|pineapple|broccoli|toaster|oven
microwave|dishwasher|typewriter|calculator|printer|circuit board|satellite|astronaut|planet Saturn
galaxy|missile|volcano|tornado|lightning|northern lights|harp|globe|passport|receipt|invoice
blueprint|spreadsheet|screenshot of a phone|barcode|gravestone|surgeon operating|dentist|syringe
pills|stethoscope|courtroom|beehive|vineyard|cactus|bonsai|orchid|mosquito|snail|vulture|flamingo
ostrich|wardrobe|bookshelf|chandelier|lighthouse|windmill|cathedral interior|toothbrush|mushrooms
teapot|solar panels|oil rig|cargo ship with containers|factory|laboratory|parking garage
wind turbine|dam|greenhouse|server racks in a data center|computer keyboard|remote control
lipstick|perfume bottle|sewing machine|knitting|pottery wheel|origami|dice|coins|banknotes
credit card|padlock|hammer|screwdriver|electric drill|cheese|eggs|sandwich|salad|coffee beans
honey|garlic"""


@dataclass(frozen=True, slots=True)
class Data:
    """Flickr8k as the pocket model sees it."""

    photos: np.ndarray  # (n, dim) float16, as a library keeps them
    captions: list[list[str]]  # five a photo
    own: dict[str, np.ndarray]  # of the dev and the test split: the photos' places
    questions: dict[str, np.ndarray]  # first captions of those photos, (1000, dim) float32
    neutral: np.ndarray  # (m, dim) float32
    words: dict[str, np.ndarray]  # each word of the lists above, (dim,) float32
    alike: np.ndarray  # (n, n) float32, cosines of the photos' captions
    near: np.ndarray  # (n, n) bool, which photos show like things


@dataclass(frozen=True, slots=True)
class Trial:
    """One question to one library."""

    kind: str
    size: int
    fits: bool  # whether the library holds a fitting photo
    values: dict[str, float]  # what each method says, more for a fitting photo
    features: np.ndarray  # (HITS, f): what our method weighs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("flickr8k", type=Path, metavar="DIR")
    parser.add_argument("--fit", action="store_true", help="find the weights anew")
    kept = Path(tempfile.gettempdir()) / "clipsearch-relevance"
    parser.add_argument("--cache", type=Path, default=kept, metavar="DIR", help="embeddings, 10 MB")
    options = parser.parse_args()
    data = read(options.flickr8k, options.cache)
    for name, trials in (("words", text_trials), ("pictures", picture_trials)):
        dev, test = list(trials(data, "dev")), list(trials(data, "test"))
        print(f"\nQuestions in {name}: {len(dev)} trials of dev, {len(test)} of test")
        if options.fit:
            print("weights:", np.round(fitted(dev), 2))
        report(dev, test)
    report_hits(data)


# --- the data ---------------------------------------------------------------------------------


def read(folder: Path, kept: Path) -> Data:
    """Embed what is not in the cache yet."""
    splits, encoder = read_flickr8k(folder), encoders.load(parse_spec("pocket"))
    texts = {photo.name: photo.captions for photos in splits.values() for photo in photos}
    files = {name: data for name, data in read_files(folder) if name in texts}
    names = sorted(files)

    def embed_photos() -> np.ndarray:
        parts = [
            encoder.encode_images(
                np.stack([encoder.prepare(opened(files[name])) for name in names[at : at + 16]])
            )
            for at in range(0, len(names), 16)
        ]
        return np.concatenate(parts).astype(np.float16)

    place = {name: number for number, name in enumerate(names)}
    captions = [texts[name] for name in names]
    own = {
        part: np.array([place[photo.name] for photo in splits[part]]) for part in ("dev", "test")
    }
    words = [word for word, _ in shown()] + not_shown()
    asked = [*words, *(f"a photo of a {word}" for word in words)]
    photos = cached(kept / f"photos-{encoder.weights[:8]}.npy", embed_photos)
    counts = TfidfVectorizer(stop_words="english", min_df=3, sublinear_tf=True)
    weights = counts.fit_transform([" ".join(some) for some in captions]).astype(np.float32)
    alike = (weights @ weights.T).toarray()
    looks = photos.astype(np.float32) @ photos.astype(np.float32).T
    return Data(
        photos,
        captions,
        own,
        {
            part: encoded(encoder, [captions[photo][0] for photo in places])
            for part, places in own.items()
        },
        encoder.encode_texts(NEUTRAL),
        dict(zip(asked, encoded(encoder, asked), strict=True)),
        alike,
        (alike > ALIKE) | (looks > ALIKE_PICTURES),
    )


def encoded(encoder: encoders.Encoder, texts: Sequence[str]) -> np.ndarray:
    parts = [encoder.encode_texts(texts[at : at + 64]) for at in range(0, len(texts), 64)]
    return np.concatenate(parts)


def cached(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    array: np.ndarray = np.load(path)
    return array


def shown() -> list[tuple[str, list[str]]]:
    """What photos show: the word to ask for, and all words that captions have for it."""
    groups = [group.split(",") for group in re.split(r"[|\n]", SHOWN)]
    return [(group[0], group) for group in groups]


def not_shown() -> list[str]:
    return re.split(r"[|\n]", NOT_SHOWN)


@cache
def pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b{re.escape(word)}" for word in words))


def mentions(data: Data, words: Sequence[str]) -> np.ndarray:
    """How many of each photo's captions have one of the words, (n,) int."""
    found = pattern(tuple(words))
    return np.array(
        [sum(bool(found.search(text.lower())) for text in some) for some in data.captions]
    )


# --- the trials -------------------------------------------------------------------------------


def text_trials(data: Data, part: str) -> Iterator[Trial]:
    """Captions, words, things not shown, and libraries of one subject, in all sizes."""
    rng = np.random.default_rng(0)
    half = ("dev", "test").index(part)
    named = [(word, mentions(data, group)) for word, group in shown()[half::2]]
    absent = not_shown()[half::2]
    sums = data.neutral @ data.photos.T.astype(np.float32)

    def trial(kind: str, size: int, fits: bool, query: np.ndarray, library: np.ndarray) -> Trial:
        return text_trial(kind, size, fits, query, data, library, sums)

    for size in SIZES:
        for query, photo in zip(
            data.questions[part][:CAPTIONS], data.own[part][:CAPTIONS], strict=True
        ):
            others = rng.permutation(len(data.photos))
            far = others[~data.near[photo, others]][:size]
            with_photo = np.append(photo, others[others != photo])[: len(far)]
            yield trial("caption", size, True, query, with_photo)
            yield trial("caption", size, False, query, far)
        for word, count in named:
            for text in (word, f"a photo of a {word}"):
                others = rng.permutation(len(data.photos))
                far = others[count[others] == 0][:size]
                photo = rng.choice(np.flatnonzero(count >= MENTIONED))
                with_photo = np.append(photo, others[others != photo])[: len(far)]
                yield trial("word", size, True, data.words[text], with_photo)
                yield trial("word", size, False, data.words[text], far)
            subject = rng.permutation(np.flatnonzero(count >= MENTIONED))[:size]
            if len(subject) >= min(size, 30):
                yield trial("one subject", size, True, data.words[word], subject)
                for other in rng.choice(absent, 2):
                    yield trial("one subject", size, False, data.words[other], subject)
        for word in absent:
            for text in (word, f"a photo of a {word}"):
                library = rng.permutation(len(data.photos))[:size]
                yield trial("not shown", size, False, data.words[text], library)


def text_trial(
    kind: str,
    size: int,
    fits: bool,
    query: np.ndarray,
    data: Data,
    library: np.ndarray,
    sums: np.ndarray,
) -> Trial:
    """Every method's opinion; `sums` are the neutral texts' scores of all photos."""
    rows = data.photos[library]
    scores = rows.astype(np.float32) @ query
    top = np.argsort(-scores)[:HITS]
    best, neutral = scores[top], sums[:, library[top]]
    calibration = calibrate_text(rows[:SAMPLE], len(rows), data.neutral)
    centred = best - neutral.mean(0)
    middle, deviation = np.median(scores), scores.std() + 1e-3
    tail = np.sort(scores)[::-1][: max(2, len(scores) // 20) + 1]
    excess = (best[0] - tail[-1]) / (tail.mean() - tail[-1] + 1e-3)
    normal = ((best - neutral.mean(0)) / neutral.std(0)).max()
    values = {
        "cosine": best[0],
        "z-score": (best[0] - scores.mean()) / deviation,
        "robust z-score": (best[0] - middle) / (np.median(np.abs(scores - middle)) + 1e-3),
        # A generalised Pareto tail of shape 0, the exponential.
        "tail": excess - np.log(len(tail)),
        "less two neutral": (best - neutral[:2].mean(0)).max(),
        "less best neutral": (best - neutral.max(0)).max(),
        "T-norm": normal,
        "S-norm": normal + (best[0] - scores.mean()) / deviation,
        "CSLS": (2 * best - np.sort(neutral, 0)[-10:].mean(0) - best.mean()).max(),
        "centred cosine": (centred / np.linalg.norm(query - calibration.centre)).max(),
        "above neutral's best": (best[0] - calibration.best) / calibration.spread,
        "relevance": relevance(calibration, query, best, rows[top]).max(),
    }
    return Trial(kind, size, fits, values, features(calibration, query, best, rows[top]))


def picture_trials(data: Data, part: str) -> Iterator[Trial]:
    """Photos that are not in the library, with and without others like them; and with captions."""
    rng = np.random.default_rng(0)
    for size in SIZES:
        for photo, caption in zip(
            data.own[part][:CAPTIONS], data.questions[part][:CAPTIONS], strict=True
        ):
            fitting = np.flatnonzero(data.alike[photo] > FITTING)
            fitting = fitting[fitting != photo]
            if not len(fitting):
                continue
            others = rng.permutation(len(data.photos))
            others = others[others != photo]
            far, one = others[~data.near[photo, others]][:size], rng.choice(fitting)
            with_one = np.append(one, others[others != one])[: len(far)]
            picture = data.photos[photo].astype(np.float32)
            both = (picture + caption) / np.linalg.norm(picture + caption)
            for fits, library in ((True, with_one), (False, far)):
                yield picture_trial("picture", size, fits, picture, data.photos[library])
                yield picture_trial("picture + words", size, fits, both, data.photos[library])


def picture_trial(kind: str, size: int, fits: bool, query: np.ndarray, rows: np.ndarray) -> Trial:
    scores = rows.astype(np.float32) @ query
    top = np.argsort(-scores)[:HITS]
    asked = (calibrate_picture(rows[:SAMPLE], len(rows)), query, scores[top], rows[top])
    values = {
        "cosine": scores[top[0]],
        "z-score": (scores.max() - scores.mean()) / (scores.std() + 1e-3),
        "relevance": relevance(*asked).max(),
    }
    return Trial(kind, size, fits, values, features(*asked))


# --- the report -------------------------------------------------------------------------------

# Which trials are set against each other: those with a fitting photo, those without one.
CONTESTS = {
    "caption": ("caption", "caption"),
    "word": ("word", "word"),
    "word/not shown": ("word", "not shown"),
    "one subject": ("one subject", "one subject"),
    "picture": ("picture", "picture"),
    "picture + words": ("picture + words", "picture + words"),
}


def contest(
    trials: Sequence[Trial], name: str, size: int, method: str
) -> tuple[np.ndarray, np.ndarray]:
    """What a method says where there is a fitting photo, and where there is none."""
    sides = []
    for kind, fits in zip(CONTESTS[name], (True, False), strict=True):
        chosen = [
            trial.values[method]
            for trial in trials
            if (trial.kind, trial.size, trial.fits) == (kind, size, fits)
        ]
        sides.append(np.array(chosen))
    return sides[0], sides[1]


def balanced(sides: tuple[np.ndarray, np.ndarray], threshold: float) -> float:
    return float(((sides[0] >= threshold).mean() + (sides[1] < threshold).mean()) / 2)


def best_threshold(all_sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The one threshold with the best balanced accuracy, averaged over contests."""
    values = np.concatenate([side for sides in all_sides for side in sides])
    candidates = np.quantile(values, np.linspace(0, 1, 300))
    return max(
        candidates, key=lambda value: np.mean([balanced(sides, value) for sides in all_sides])
    )


def report(dev: Sequence[Trial], test: Sequence[Trial]) -> None:
    """A table a contest: AUC and balanced accuracy in percent, by library size."""
    names = [name for name in CONTESTS if any(trial.kind == name for trial in test)]
    names += ["word/not shown"] if "word" in names else []
    methods = list(test[0].values)
    lines: dict[str, list[str]] = {}
    means: dict[str, list[tuple[float, float]]] = {}
    for method in ("cosine, own hindsight", "cosine, hindsight", *methods):
        of = method.split(",")[0]
        sides = {
            part: {
                (name, size): contest(trials, name, size, of) for name in names for size in SIZES
            }
            for part, trials in (("dev", dev), ("test", test))
        }
        seen = "test" if "hindsight" in method else "dev"
        threshold = best_threshold(list(sides[seen].values())) if of != "relevance" else RELEVANT
        for (name, size), pair in sides["test"].items():
            own = best_threshold([pair]) if "own" in method else threshold
            truth = np.repeat([1, 0], [len(side) for side in pair])
            auc, share = roc_auc_score(truth, np.concatenate(pair)), balanced(pair, own)
            lines.setdefault(name, [])
            means.setdefault(method, []).append((auc, share))
            if size == SIZES[0]:
                lines[name].append(f"{method:22}")
            lines[name][-1] += f"  {100 * auc:3.0f} {100 * share:3.0f}"
    for name, rows in lines.items():
        print(f"\n{name:22}" + "".join(f"{size:>9}" for size in SIZES), *rows, sep="\n")
    print("\nmean over all of these")
    for method, pairs in means.items():
        auc, share = np.mean(pairs, axis=0)
        print(f"{method:22}  {100 * auc:4.1f} {100 * share:4.1f}")


def fitted(trials: Sequence[Trial]) -> np.ndarray:
    """Weights and constant of a logistic regression on each trial's best hit, contests alike."""
    groups = Counter((trial.kind, trial.size, trial.fits) for trial in trials)
    sides = Counter(fits for _, _, fits in groups)
    weights = [
        1 / groups[trial.kind, trial.size, trial.fits] / sides[trial.fits] for trial in trials
    ]
    weights = np.array(weights) * len(trials) / 2
    chosen = np.array([trial.features[0] for trial in trials])
    for _ in range(5):  # which hit is best depends on the weights
        model = LogisticRegression(C=100).fit(
            chosen, [trial.fits for trial in trials], sample_weight=weights
        )
        chosen = np.array(
            [trial.features[np.argmax(trial.features @ model.coef_[0])] for trial in trials]
        )
    return np.append(model.coef_[0], model.intercept_[0])


def report_hits(data: Data) -> None:
    """Of the first 20 answers to a word: how many show it, before and after the cut."""
    print("\nanswers to words of the test half: of 20, of those kept, and share of right ones kept")
    rng = np.random.default_rng(0)
    for size in (100, 1000, 8000):
        library = rng.permutation(len(data.photos))[:size]
        rows, shares = data.photos[library], []
        calibration = calibrate_text(rows[:SAMPLE], len(rows), data.neutral)
        for word, group in shown()[1::2]:
            right = mentions(data, group)[library] > 0
            scores = rows.astype(np.float32) @ data.words[word]
            top = np.argsort(-scores)[:20]
            kept = relevance(calibration, data.words[word], scores[top], rows[top]) >= RELEVANT
            shares.append((right[top].sum(), kept.sum(), (right[top] & kept).sum()))
        right_all, kept_all, both = np.sum(shares, axis=0)
        print(
            f"{size:6}: right {100 * right_all / len(shares) / 20:3.0f} %, of those kept"
            f" {100 * both / kept_all:3.0f} %, right ones kept {100 * both / right_all:3.0f} %"
        )


if __name__ == "__main__":
    main()
