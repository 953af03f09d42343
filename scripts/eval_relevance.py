"""Measure what is said of answers: whether anything fits a question, and which photos do.

Each trial is a question and a library made of photos of Flickr8k and COCO: nouns that many, one or
none of its photos show, captions whose photo is there or is not, and photos with and without
others of the like. What has a threshold or weights gets them from trials of the dev splits, and is
measured with those of the test splits; photos of the train splits fill the large libraries.

    python scripts/eval_relevance.py --flickr8k DIR --coco DIR
    python scripts/eval_relevance.py --flickr8k DIR --coco DIR --fit    # and find the weights anew
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pocket import measure
from pocket.sources import SPLITS, Photo, opened, read_coco, read_files, read_flickr8k
from pocket.words import plural
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clipsearch import encoders
from clipsearch.encoders.spec import parse_spec
from clipsearch.search.neutral import NEUTRAL
from clipsearch.search.relevance import SAMPLE, picture_scale, relevance, word_scale
from clipsearch.search.results import NOTHING, RELEVANT

SIZES = (1, 5, 30, 100, 1000, 8000, 30000)
CAPTIONS = 120  # of each split
FIRST = 20  # answers that are judged
FEW = 3  # photos of a split must show a noun, for it to be asked for
ALIKE = 0.1  # cosine of the TF-IDF of two photos' captions: from here on they show like things
ALIKE_PICTURES = 0.75  # the same, of their embeddings
FITTING = 0.3  # captions so much alike: a photo that fits a question by picture
RIGHT = 0.82  # of the photos of dev that are kept: where relevance is to be RELEVANT
CAPTION_WEIGHT = 0.3  # of a noun's, with which people begin
LARGEST = 8000  # photos of a library that weights are fitted with
WELL_KNOWN = 1000  # photos of a library: of more, many have one caption, which leaves much unsaid
FORMS = ("{}", "a {}", "a photo of a {}")

_SHOWN = """dog man woman ball grass snow child field street beach boy girl water shirt hat jacket
pool park skateboard mountain toy crowd frisbee ocean car picture bench road sand sidewalk baby
stick bicycle tree fence horse boat motorcycle helmet ramp lake dress cat slide bus river flower
uniform bed surfboard rope bird truck umbrella wave ice yard playground chair cliff window couch
forest fountain bridge guitar bag house kite racket leash plane plate food kitchen store building
skis snowboard pizza sweater sled trampoline puppy stairs cake book flag sign clock laptop tent
scarf bear sheep statue wetsuit mirror bottle waterfall blanket hurdle elephant cow raft kayak mask
goal tunnel bubble sunset phone cigarette volleyball goggles canoe scooter sandwich beard airport
bathroom boot wine microphone cup garden fish swing bride desert coffee beer graffiti train giraffe
zebra toilet sink banana broccoli keyboard donut tie vase carrot refrigerator oven surfer hydrant"""
_NOT_SHOWN = """submarine microscope sushi octopus jellyfish lobster pineapple typewriter calculator
satellite astronaut volcano tornado harp passport barcode gravestone syringe stethoscope courtroom
beehive vineyard cactus bonsai mosquito snail vulture chandelier toothpaste origami dice banknote
padlock hammer screwdriver drill rocket castle pyramid igloo helicopter tank sword crown dinosaur
dragon robot telescope violin trumpet saxophone piano accordion squirrel hedgehog kangaroo koala
panda tiger wolf fox owl peacock penguin dolphin whale shark turtle snake frog spider butterfly
cathedral mosque prison hospital pharmacy laboratory factory lighthouse anchor compass globe
hourglass abacus cello tuba parrot ostrich"""


@dataclass(frozen=True, slots=True)
class Data:
    """All photos as the pocket model sees them."""

    photos: np.ndarray  # (n, dim) float16, as a library keeps them
    captions: list[list[str]]
    words: list[frozenset[str]]  # of each photo's captions and labels
    split: np.ndarray  # (n,), of SPLITS
    alike: csr_matrix  # (n, terms) float32: unit rows of the captions' TF-IDF
    neutral: np.ndarray  # (m, dim) float32
    texts: dict[str, np.ndarray]  # each question, (dim,) float32

    def has(self, noun: str) -> np.ndarray:
        """Which photos show it, (n,) bool: a caption or a label says so."""
        names = {noun, plural(noun)}
        return np.array([not names.isdisjoint(words) for words in self.words])

    def likeness(self, photo: int, others: np.ndarray) -> np.ndarray:
        """The cosines of its captions' TF-IDF with those of others, (n,) float32."""
        return np.asarray((self.alike[others] @ self.alike[photo].T).todense())[:, 0]

    def far(self, photo: int, others: np.ndarray) -> np.ndarray:
        """Those of the others that show nothing like it."""
        looks = self.photos[others].astype(np.float32) @ self.photos[photo].astype(np.float32)
        return others[(self.likeness(photo, others) <= ALIKE) & (looks <= ALIKE_PICTURES)]


@dataclass(frozen=True, slots=True)
class Trial:
    """One question to one library, and its first answers."""

    kind: str
    size: int
    fits: np.ndarray  # (k,) bool, of the first answers
    features: np.ndarray  # (k, f): what relevance weighs
    values: dict[str, np.ndarray]  # what each method says of each answer, (k,)
    shows: bool  # whether any photo of the library fits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flickr8k", type=Path, required=True, metavar="DIR")
    parser.add_argument("--coco", type=Path, required=True, metavar="DIR")
    parser.add_argument("--fit", action="store_true", help="find the weights anew")
    kept = Path(tempfile.gettempdir()) / "clipsearch-relevance"
    parser.add_argument("--cache", type=Path, default=kept, metavar="DIR", help="embeddings, 35 MB")
    options = parser.parse_args()
    data = read(options.flickr8k, options.coco, options.cache)
    for name, trials in (("words", word_trials), ("pictures", picture_trials)):
        dev, test = list(trials(data, "dev")), list(trials(data, "test"))
        print(f"\nQuestions in {name}: {len(dev)} trials of dev, {len(test)} of test")
        if options.fit:
            fit(dev)
        report(dev, test)
        if name == "words":
            report_photos(test)


# --- the data ---------------------------------------------------------------------------------


def read(flickr8k: Path, coco: Path, kept: Path) -> Data:
    """Embed what is not in the cache yet."""
    encoder = encoders.load(parse_spec("pocket"))
    sources = read_flickr8k(flickr8k), read_coco(coco)
    pairs = [(part, photo) for splits in sources for part in SPLITS for photo in splits[part]]
    photos = [photo for _, photo in pairs]
    rows = cached(kept / f"photos-{encoder.weights[:8]}.npy", lambda: embedded(encoder, photos))
    counts = TfidfVectorizer(stop_words="english", min_df=3, sublinear_tf=True, dtype=np.float32)
    asked = [form.format(noun) for noun in (*shown(), *not_shown()) for form in FORMS]
    asked += [photo.captions[0] for part, photo in pairs if part != "train"]
    return Data(
        rows,
        [photo.captions for photo in photos],
        [words_of(photo) for photo in photos],
        np.array([part for part, _ in pairs]),
        counts.fit_transform([" ".join(photo.captions) for photo in photos]).tocsr(),
        encoder.encode_texts(NEUTRAL),
        dict(zip(asked, measure.read(encoder, asked), strict=True)),
    )


def words_of(photo: Photo) -> frozenset[str]:
    texts = [*photo.captions, *photo.labels]
    return frozenset(word for text in texts for word in re.findall("[a-z]+", text.lower()))


def embedded(encoder: encoders.Encoder, photos: Sequence[Photo]) -> np.ndarray:
    places = {(photo.folder, photo.name): number for number, photo in enumerate(photos)}
    rows = np.zeros((len(photos), encoder.dim), np.float16)
    for folder in {photo.folder for photo in photos}:
        for name, data in read_files(folder):
            if (folder, name) in places:
                batch = encoder.prepare(opened(data))[None]
                rows[places[folder, name]] = encoder.encode_images(batch)[0]
    return rows


def cached(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    array: np.ndarray = np.load(path)
    return array


def shown() -> list[str]:
    """What photos of every split show."""
    return _SHOWN.split()


def not_shown() -> list[str]:
    """What hardly any photo shows."""
    return _NOT_SHOWN.split()


# --- the trials -------------------------------------------------------------------------------


def word_trials(data: Data, part: str) -> Iterator[Trial]:
    """Nouns and captions, in libraries of all sizes."""
    rng = np.random.default_rng(0)
    own = np.flatnonzero(data.split == part)
    half = ("dev", "test").index(part)
    for size in SIZES:
        for noun in shown()[half::2]:
            if data.has(noun)[own].sum() >= FEW:
                yield from _noun_trials(data, noun, own, size, rng)
        for noun in not_shown()[half::2]:
            library = _library(data, own, size, rng)
            library = library[~data.has(noun)[library]]
            yield word_trial("absent", size, _row(data, noun, rng), data, library, None)
        for photo in rng.choice(own, CAPTIONS, replace=False):
            row = data.texts[data.captions[photo][0]]
            others = data.far(photo, _library(data, own, size + 2000, rng))[:size]
            yield word_trial("other captions", size, row, data, others, None)
            library = np.append(photo, others[:-1])
            yield word_trial("caption", size, row, data, library, np.arange(len(library)) == 0)


def _noun_trials(
    data: Data, noun: str, own: np.ndarray, size: int, rng: np.random.Generator
) -> Iterator[Trial]:
    """A noun that one photo shows, a share of them, all, or as many as there are."""
    has, row = data.has(noun), _row(data, noun, rng)
    fitting = own[has[own]]
    others = _library(data, own, size + 1000, rng)
    others = others[~has[others]]
    share = min(len(fitting), max(1, int(size * rng.uniform(0.05, 0.5))))
    counts = {"one": 1, "share": share if size >= 5 else 0}
    counts |= {"all": size} if size <= len(fitting) else {}
    for kind, count in counts.items():
        if count:
            some = rng.choice(fitting, count, replace=False)
            library = np.concatenate([some, others[: size - count]])
            yield word_trial(kind, size, row, data, library, has[library])
    if size >= 100:
        library = _library(data, own, size, rng)
        if has[library].any():
            yield word_trial("as it is", size, row, data, library, has[library])


def _library(data: Data, own: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """So many photos of the split, in random order; filled with photos of train."""
    if size <= len(own):
        return rng.permutation(own)[:size]
    train = np.flatnonzero(data.split == "train")
    more = rng.choice(train, min(len(train), size - len(own)), replace=False)
    return rng.permutation(np.concatenate([own, more]))


def _row(data: Data, noun: str, rng: np.random.Generator) -> np.ndarray:
    return data.texts[str(rng.choice(FORMS)).format(noun)]


def word_trial(
    kind: str,
    size: int,
    query: np.ndarray,
    data: Data,
    library: np.ndarray,
    fits: np.ndarray | None,
) -> Trial:
    """Every method's opinion; `fits` (n,) bool says which photos do, None that none does."""
    rows = data.photos[library]
    scores = rows.astype(np.float32) @ query
    top = np.argsort(-scores)[:FIRST]
    some = rows[:: max(1, -(-len(rows) // SAMPLE))]
    scale = word_scale(some, data.neutral)
    values = {
        "cosine": scores[top],
        "z-score": (scores[top] - scores.mean()) / (scores.std() + 1e-3),
        "height": (scores[top] - scale.mean) / scale.deviation,
        "two norms": two_norms(query, scores[top], rows[top], some, data.neutral, len(rows)),
        "relevance": relevance(scale, query, scores[top], len(rows)),
    }
    right = np.zeros(len(top), bool) if fits is None else fits[top]
    features = scale.features(query, scores[top], len(rows))
    return Trial(kind, size, right, features, values, fits is not None)


def two_norms(
    query: np.ndarray,
    best: np.ndarray,
    rows: np.ndarray,
    some: np.ndarray,
    neutral: np.ndarray,
    photos: int,
) -> np.ndarray:
    """A cohort and a test normalisation, as in speaker verification, fitted together.

    The score beside the best scores of everyday texts in the library, and above their mean score
    on the same photo (Auckenthaler, Carey and Lloyd-Thomas, 2000).
    """
    all_scores = neutral @ some.astype(np.float32).T
    cohort, deviation = all_scores.max(1), max(float(all_scores.std()), 1e-6)
    growth = np.sqrt(2 * np.log(photos)) - np.sqrt(2 * np.log(len(some)))
    middle = float(cohort.mean()) + float(all_scores.std(1).mean()) * growth
    beside = (best - middle) / max(float(cohort.std()), deviation / 2)
    centre = neutral.mean(0)
    distance = np.linalg.norm(query - centre) / np.linalg.norm(neutral - centre, axis=1).mean()
    above = (best - rows.astype(np.float32) @ centre) / distance / deviation
    return np.asarray(1.2 * beside + 1.2 * above)


def picture_trials(data: Data, part: str) -> Iterator[Trial]:
    """Photos that are not in the library, with and without others like them; and with captions."""
    rng = np.random.default_rng(0)
    own = np.flatnonzero(data.split == part)
    for size in SIZES:
        for photo in rng.choice(own, CAPTIONS, replace=False):
            others = _library(data, own, size + 2000, rng)
            others = others[others != photo]
            fitting = others[data.likeness(photo, others) > FITTING]
            if not len(fitting):
                continue
            far = data.far(photo, others)[:size]
            with_one = np.append(fitting[0], far[:-1])
            picture = data.photos[photo].astype(np.float32)
            both = picture + data.texts[data.captions[photo][0]]
            for kind, query in (("", picture), (" and words", both / np.linalg.norm(both))):
                yield picture_trial(f"picture{kind}", size, query, data.photos[with_one], True)
                yield picture_trial(f"other pictures{kind}", size, query, data.photos[far], False)


def picture_trial(kind: str, size: int, query: np.ndarray, rows: np.ndarray, shows: bool) -> Trial:
    scores = rows.astype(np.float32) @ query
    top = np.argsort(-scores)[:FIRST]
    scale = picture_scale(rows[:: max(1, -(-len(rows) // SAMPLE))], len(rows))
    values = {
        "cosine": scores[top],
        "z-score": (scores[top] - scores.mean()) / (scores.std() + 1e-3),
        "relevance": relevance(scale, query, scores[top], len(rows)),
    }
    features = scale.features(query, scores[top], len(rows))
    return Trial(kind, size, shows & (top == 0), features, values, shows)


# --- the weights ------------------------------------------------------------------------------


def fit(trials: Sequence[Trial]) -> None:
    """Print weights: for whether anything fits, then how steep and where it is so of a photo."""
    trials = [trial for trial in trials if trial.size <= LARGEST]
    first, shows = np.array([it.features[0] for it in trials]), [it.shows for it in trials]
    decides = LogisticRegression(C=100).fit(first, shows, sample_weight=_even(trials))
    direction = decides.coef_[0] / decides.coef_[0][0]
    nothing = -decides.intercept_[0] / decides.coef_[0][0]
    some = [it for it in trials if it.kind in ("share", "as it is") and it.size <= WELL_KNOWN]
    if some:
        values = np.concatenate([it.features @ direction for it in some])
        fits = np.concatenate([it.fits for it in some])
        steep = LogisticRegression(C=100).fit(values[:, None], fits).coef_[0, 0]
        order = np.argsort(-values)
        right = np.cumsum(fits[order]) / np.arange(1, len(order) + 1)
        cut = values[order][np.flatnonzero(right >= RIGHT)[-1]]
    else:  # questions in pictures, of whose answers one is known to fit
        steep, cut = decides.coef_[0][0], nothing
    print("weights:", np.round([*(steep * direction), -steep * cut], 2))
    print("nothing fits below:", np.round(1 / (1 + np.exp(steep * (cut - nothing))), 2))


def _even(trials: Sequence[Trial]) -> np.ndarray:
    """A weight for each trial: kinds and sizes count alike, but for captions, and yes and no do."""
    groups = Counter((trial.kind, trial.size, trial.shows) for trial in trials)
    weights = np.array(
        [
            (CAPTION_WEIGHT if "caption" in trial.kind else 1)
            / groups[trial.kind, trial.size, trial.shows]
            for trial in trials
        ]
    )
    shows = np.array([trial.shows for trial in trials])
    sides = np.where(shows, weights[shows].sum(), weights[~shows].sum())
    return np.asarray(weights / sides * len(trials) / 2)


# --- the report -------------------------------------------------------------------------------

# Which trials are set against each other: those with fitting photos, those without one.
CONTESTS = {
    "nouns, a share of the photos": ("share", "absent"),
    "nouns, as it is": ("as it is", "absent"),
    "nouns, one photo": ("one", "absent"),
    "nouns, all photos": ("all", "absent"),
    "captions": ("caption", "other captions"),
    "picture": ("picture", "other pictures"),
    "picture and words": ("picture and words", "other pictures and words"),
}

Sides = tuple[np.ndarray, np.ndarray]  # what is said where photos fit, and where none does


def report(dev: Sequence[Trial], test: Sequence[Trial]) -> None:
    """A table a contest: what is rightly said to be there and to be absent, in percent, by size."""
    names = [name for name, kinds in CONTESTS.items() if any(t.kind == kinds[0] for t in test)]
    methods = [*test[0].values, "cosine, own hindsight"]
    thresholds = {of: _threshold(dev, names, of) for of in test[0].values}
    thresholds["relevance"] = RELEVANT if "picture" in names else NOTHING
    totals: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
    for name in names:
        print(f"\n{name:30}" + "".join(f"{size:>9}" for size in SIZES))
        for method in methods:
            line, of = f"{method:30}", method.split(",")[0]
            for size in SIZES:
                pair = sides(test, name, size, of)
                if not len(pair[0]):
                    line += f"{'':9}"
                    continue
                cut = best_threshold([pair]) if "own" in method else thresholds[of]
                there, absent = (pair[0] >= cut).mean(), (pair[1] < cut).mean()
                line += f"  {100 * there:3.0f} {100 * absent:3.0f}"
                truth = np.repeat([1, 0], [len(side) for side in pair])
                auc = float(roc_auc_score(truth, np.concatenate(pair)))
                totals[method].append((auc, float(there + absent) / 2))
            print(line)
    print("\nmean over all of these: area under the ROC curve, rightly told apart")
    for method, pairs in totals.items():
        auc, share = np.mean(pairs, axis=0)
        print(f"{method:30}  {100 * auc:4.1f} {100 * share:4.1f}")


def sides(trials: Sequence[Trial], name: str, size: int, method: str) -> Sides:
    """What a method says of the best answer where photos fit, and where none does."""
    some = [
        np.array([it.values[method][0] for it in trials if (it.kind, it.size) == (kind, size)])
        for kind in CONTESTS[name]
    ]
    return some[0], some[1]


def _threshold(trials: Sequence[Trial], names: Sequence[str], method: str) -> float:
    pairs = [sides(trials, name, size, method) for name in names for size in SIZES]
    return best_threshold([pair for pair in pairs if len(pair[0])])


def best_threshold(pairs: Sequence[Sides]) -> float:
    """The one threshold that tells most apart, in the mean over contests."""
    candidates = np.quantile(
        np.concatenate([side for pair in pairs for side in pair]), np.linspace(0, 1, 300)
    )
    return float(
        max(
            candidates,
            key=lambda cut: sum((a >= cut).mean() + (b < cut).mean() for a, b in pairs),
        )
    )


def report_photos(trials: Sequence[Trial]) -> None:
    """Of the first answers to nouns: how many fit, of those kept, and how many of them are kept."""
    print(f"\nthe first {FIRST} answers to nouns: fit / of those kept / fitting ones kept / nouns")
    for kind in ("as it is", "share", "all"):
        for size in SIZES:
            some = [it for it in trials if (it.kind, it.size) == (kind, size)]
            if not some:
                continue
            fits = np.concatenate([it.fits for it in some])
            kept = np.concatenate([it.values["relevance"] for it in some]) >= RELEVANT
            shares = fits.mean(), fits[kept].mean() if kept.any() else 0, kept[fits].mean()
            print(f"{kind:10}{size:6}" + "".join(f"{100 * it:6.0f}" for it in shares), len(some))
    mostly = [it for it in trials if len(it.fits) >= 10 and it.fits[:10].mean() > 0.5]
    wrongly = sum(it.values["relevance"][0] < NOTHING for it in mostly)
    print(f"of {len(mostly)} whose first ten mostly fit, {wrongly} are said to be absent")


if __name__ == "__main__":
    main()
