"""Train and measure the heads of the pocket model: how a small text-to-image search is made.

Both towers stay frozen, so every photo and caption is run through them once and kept (`--cache`).
What is trained are a few small heads over those features, each in a process of its own and from
a seed of its own; side by side they are the joint space. The loss is contrastive, and it has four
sources: the photos' captions; what captions name, as words of their own; photos changed so that
words for how they look are true; and what the image tower already knows, its 1,000 ImageNet
classes. A run that is stopped goes on where it was.

    python scripts/train_pocket.py --flickr8k DIR --coco DIR             # train, write, measure
    python scripts/train_pocket.py --flickr8k DIR --coco DIR --evaluate  # measure what ships
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from pocket.cache import key_of
from pocket.lessons import RECIPE, Lessons, gather, lessons_of
from pocket.measure import HEADER, Seen, line, look_at, looks_right, nouns_right
from pocket.sources import Photo, Splits, read_coco, read_flickr8k
from safetensors.torch import save_file
from torch.nn import functional as F

from clipsearch.encoders.learning import Course
from clipsearch.encoders.pocket.encoder import PocketEncoder, load
from clipsearch.encoders.pocket.heads import Heads, HeadShape, heads_to
from clipsearch.encoders.pocket.parts import HEADS, pocket_files
from clipsearch.encoders.pocket.training import CLASS_WEIGHT, Member, MemberTraining, fill
from clipsearch.encoders.spec import parse_spec

TRAINED_ON = "Flickr8k and COCO train2014 captions, ImageNet class names"
SHAPE = HeadShape(members=3, width=256, out=160, layers=1, queries=3, dropout=0.1)
COURSE = Course(epochs=10, batch_size=600, lr=3e-3, weight_decay=0.1)


def main() -> None:
    options = _options()
    sources = {"Flickr8k": read_flickr8k(options.flickr8k), "COCO": read_coco(options.coco)}
    if not options.evaluate:
        began = time.monotonic()
        train(sources, replace(COURSE, epochs=options.epochs), options.cache, options.heads)
        print(f"trained in {(time.monotonic() - began) / 60:.0f} minutes")
    encoder = load(parse_spec(f"pocket:{options.heads}"))
    for part in ("dev", "test"):
        report(part, {name: splits[part] for name, splits in sources.items()}, encoder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flickr8k", type=Path, required=True, metavar="DIR")
    parser.add_argument("--coco", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evaluate", action="store_true", help="only measure the heads")
    parser.add_argument("--epochs", type=int, default=COURSE.epochs, help="fewer for a trial")
    parser.add_argument(
        "--heads",
        type=Path,
        default=HEADS,
        metavar="FILE",
        help="the heads, if not those that ship",
    )
    cache = Path(tempfile.gettempdir()) / "clipsearch-pocket"
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="features, 6 GB")
    return parser.parse_args()


# --- training ---------------------------------------------------------------------------------


def train(sources: dict[str, Splits], course: Course, cache: Path, heads_file: Path) -> None:
    """Train every member and write the heads file."""
    lessons = lessons_of([photo for splits in sources.values() for photo in splits["train"]])
    _, scales = gather(lessons, load(), cache)  # so that no two members make the cache
    heads = Heads(SHAPE)
    heads.scales = scales
    # Started afresh, as a fork would inherit torch's threads as locks that nobody holds.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        made = [
            pool.submit(train_member, lessons, course, cache, seed) for seed in range(SHAPE.members)
        ]
        for seed, one in enumerate(made):
            fill(heads, seed, torch.load(one.result(), weights_only=True)["average"])
    write(heads, [photo for splits in sources.values() for photo in splits["dev"]], heads_file)


def train_member(lessons: Lessons, course: Course, cache: Path, seed: int) -> Path:
    """Train one photo head and one text head; the file with the mean of their last weights."""
    torch.set_num_threads(1)  # the members share the machine
    found, scales = gather(lessons, load(), cache)
    torch.manual_seed(seed)
    training = MemberTraining(Member(found, scales, SHAPE, half=True), course, seed)
    weights = (CLASS_WEIGHT, *(names.weight for names in found.names))
    key = key_of(lessons.key, len(found.views), weights, SHAPE, course, seed)
    kept = cache / f"{key}-member.pt"
    done = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        done = state.pop("epoch")
        training.restore(state)
    for epoch in range(done + 1, course.epochs + 1):
        loss = training.epoch(epoch, lambda: None)
        print(f"member {seed}, epoch {epoch} of {course.epochs}: loss {loss:.3f}", flush=True)
        torch.save(training.state() | {"epoch": epoch}, kept.with_suffix(".part"))
        os.replace(kept.with_suffix(".part"), kept)
    return kept


def write(heads: Heads, dev: Sequence[Photo], path: Path) -> None:
    """Write the heads file, all or nothing."""
    tensors, metadata = heads_to(heads)
    metadata |= {"recipe version": RECIPE, "trained on": TRAINED_ON, "logit scale": "1"}
    part, towers = path.with_suffix(".part"), pocket_files()
    assert towers is not None  # or nothing would have been trained
    save_file(tensors, part, metadata=metadata)
    # The members' mean is sharper than each: the temperature that fits it is found on dev.
    seen = look_at(dev, PocketEncoder(towers, part, "cpu", "fp32"))
    save_file(tensors, part, metadata=metadata | {"logit scale": str(best_scale(seen))})
    part.chmod(0o644)  # save_file makes files for their owner alone
    os.replace(part, path)


def best_scale(seen: Seen) -> float:
    """What cosines of captions and photos are best multiplied by before the softmax."""
    scores, right = torch.from_numpy(seen.captions @ seen.photos.T), torch.from_numpy(seen.owners)
    return min(
        map(float, range(8, 80)), key=lambda scale: float(F.cross_entropy(scale * scores, right))
    )


# --- measuring --------------------------------------------------------------------------------


def report(part: str, sources: dict[str, list[Photo]], encoder: PocketEncoder) -> None:
    """Print how well the photos of one part are found."""
    print(HEADER)
    seen = {name: look_at(photos, encoder) for name, photos in sources.items()}
    for name, one in seen.items():
        print(f"{name:10} {part:5} {line(one, encoder)}")
    photos = [photo for some in sources.values() for photo in some]
    rows = np.concatenate([one.photos for one in seen.values()])
    forms = {"DOG": "{}", "a DOG": "a {}", "DOGs": "plural", "a photo of a DOG": "a photo of a {}"}
    right = [
        f"{form} {nouns_right(photos, rows, encoder, asked):.1f}" for form, asked in forms.items()
    ]
    print(f"of the first ten answers to common nouns right: {', '.join(right)}")
    print(f"looks, the right one of four: {looks_right(photos, encoder):.1f}\n")


if __name__ == "__main__":
    main()
