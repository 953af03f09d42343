"""What the pocket model's towers make of photos and texts, kept for its heads to learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipsearch.encoders.pocket.encoder import PocketEncoder
from clipsearch.encoders.pocket.heads import CLASSES, SENTENCE, Scales
from clipsearch.encoders.pocket.parts import CONTEXT
from clipsearch.progress import Progress, untold

TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a close-up photo of a {}",
    "a picture of a {} outside",
    "a {} in the background",
    "there is a {} here",
    "a photo of many {}s",
)
NAMING = 4  # so many templates, of the first, make a class's name for the photo heads
TEXTS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Photos:
    """What the image tower makes of n photos, as it comes."""

    maps: Tensor  # (n, 81, TOKEN_WIDTH) float16
    pooled: Tensor  # (n, 1280) float32
    logits: Tensor  # (n, 1000) float32


@dataclass(frozen=True, slots=True)
class Texts:
    """What the text tower makes of n texts, one after another."""

    words: Tensor  # (all tokens, WORD) float16
    starts: Tensor  # (n + 1,) int64

    def take(self, rows: Tensor, most: int = CONTEXT) -> tuple[Tensor, Tensor]:
        """Some texts as (n, t, WORD) float32 and (n, t) bool: which words are no padding.

        Of longer texts than `most` words, so many are taken at random, in their order.
        """
        lengths = self.starts[rows + 1] - self.starts[rows]
        steps = torch.arange(int(lengths.max()))
        present = steps < lengths[:, None]
        if len(steps) <= most:
            at = self.starts[rows, None] + steps
        else:
            lots = torch.rand(present.shape).masked_fill(~present, 2)
            picked = lots.topk(most, largest=False).indices.sort(1).values
            at, present = self.starts[rows, None] + picked, present.gather(1, picked)
        return self.words[at.clamp(max=len(self.words) - 1)].float(), present

    def sentences(self) -> Tensor:
        """(n, SENTENCE) float32, as `Scales.sentence` makes them, but without padding."""
        lengths = self.starts.diff()
        owners = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        last = self.words[:, :SENTENCE].float()
        sums = torch.zeros(len(lengths), SENTENCE).index_add_(0, owners, last)
        return F.normalize(sums, dim=-1) * math.sqrt(SENTENCE)


@dataclass(frozen=True, slots=True)
class Names:
    """Short texts, such as "a horse", and which photos each of them is true of."""

    texts: Texts  # name by name, each in as many forms as any other
    sentences: Tensor  # (texts, SENTENCE) float32
    shown: Tensor  # (photos, names) bool
    weight: float  # of their loss beside that of the captions

    @property
    def forms(self) -> int:
        """How many texts each name has."""
        return len(self.sentences) // self.shown.shape[1]


@dataclass(frozen=True, slots=True)
class Features:
    """All that training reads; on the CPU, wherever the heads are."""

    views: list[Photos]  # the photos, and if need be the same photos changed
    captions: Texts
    starts: Tensor  # (photos + 1,) int64: where each photo's captions are
    prompts: Texts  # class by class, each in all templates
    sentences: tuple[Tensor, Tensor]  # of captions and prompts: (n, SENTENCE) float32
    gists: Tensor  # (photos, SENTENCE) float32 unit rows: the mean of each photo's captions
    classifier: tuple[Tensor, Tensor]  # weight (1000, 1280), bias (1000,)
    names: tuple[Names, ...] = ()
    # The photos of an epoch, some more than once, each (n,) int64: a step takes from one of these.
    turns: tuple[Tensor, ...] = ()
    ordinary: int | None = None  # so many photos, of the first, are as the classifier knows them

    @property
    def count(self) -> int:
        """How many photos there are."""
        return len(self.views[0].pooled)

    @property
    def templates(self) -> int:
        """How many prompts each class has."""
        return (len(self.prompts.starts) - 1) // CLASSES


def features(
    views: list[Photos],
    captions: Texts,
    counts: Sequence[int],
    prompts: Texts,
    classifier: tuple[Tensor, Tensor],
) -> Features:
    """All that training reads; `counts` says how many captions each photo has."""
    sentences = (captions.sentences(), prompts.sentences())
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sums = torch.zeros(len(counts), SENTENCE).index_add_(0, owners, sentences[0])
    starts = torch.tensor([0, *np.cumsum(counts)])
    gists = F.normalize(sums, dim=-1)
    return Features(views, captions, starts, prompts, sentences, gists, classifier)


def class_prompts() -> list[str]:
    """The 1,000 ImageNet classes, in the classifier's order, each in all templates."""
    from open_clip import IMAGENET_CLASSNAMES

    return [template.format(name) for name in IMAGENET_CLASSNAMES for template in TEMPLATES]


@torch.inference_mode()
def read(
    encoder: PocketEncoder, texts: Sequence[str], progress: Progress = untold
) -> tuple[Tensor, Tensor]:
    """Texts to their words' features and starts, as `Texts` keeps them."""
    order = sorted(range(len(texts)), key=lambda row: encoder.count_tokens(texts[row]))
    words: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(texts), TEXTS_AT_A_TIME):  # of like length: little is padding
        progress(start, len(texts))
        rows = order[start : start + TEXTS_AT_A_TIME]
        found, present = encoder.read([texts[row] for row in rows])
        for row, one, here in zip(rows, found, present, strict=True):
            words[row] = one[here].half().cpu()
    starts = torch.tensor([0, *np.cumsum([len(one) for one in words])])
    return torch.cat(words), starts


def measured(found: Features) -> Scales:
    """The features' means and deviations, and the classes' names as sentence embeddings."""
    scales, plain = Scales(), found.views[0]
    # Of many photos a twelfth is enough, and does not fill the memory.
    every = 12 if found.count >= 1200 else 1
    scales.tokens.copy_(_moments(plain.maps[::every].float().flatten(0, 1)))
    scales.pooled.copy_(_moments(plain.pooled) + torch.tensor([[0.0], [0.05]]))
    floor = torch.tensor([[-math.inf], [0.05]])
    # Some of MiniLM's middle features are constant; a floor keeps them from being divided by 0.
    scales.words.copy_(_moments(found.captions.words[:60000].float()).maximum(floor))
    prompts = found.sentences[1].view(CLASSES, len(TEMPLATES), -1)
    scales.names.copy_(F.normalize(prompts[:, :NAMING].mean(1), dim=-1))
    return scales


def _moments(rows: Tensor) -> Tensor:
    return torch.stack([rows.mean(0), rows.std(0)])
