"""How the heads of the pocket model learn: what a step reads, its loss, and a member's training.

The loss is contrastive, and it has three sources: the photos' captions; what the image tower
already knows, its 1,000 ImageNet classes, which is so not forgotten; and, where there are any,
short names of what photos show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipsearch.encoders.learning import Course, seeded
from clipsearch.encoders.pocket.features import Features, Names, Texts
from clipsearch.encoders.pocket.heads import (
    CLASSES,
    GRID,
    TOKEN_WIDTH,
    Heads,
    HeadShape,
    PhotoHead,
    Scales,
    TextHead,
    standard,
)

KEPT = 18  # of the map's 81 tokens: a quarter the work, and the head cannot lean on any one
WORDS_KEPT = 12  # of a caption's 14 on average: the same
AVERAGING = 0.97
CLASS_WEIGHT = 0.5
SOFTENED = 0.25  # so much of a caption's target goes to the photos whose captions are alike
ALIKE = 0.1  # the temperature of caption likeness
CLASSES_A_STEP = 150
NAMES_A_STEP = 250
TEMPERATURE = 16.0  # to start with: what a cosine is multiplied by


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from: n photos with a caption each, and some classes."""

    photos: Tensor  # (n,) int64
    views: Tensor  # (n,) int64
    captions: Tensor  # (n,) int64
    cells: Tensor  # (KEPT,) int64, which of the map's tokens are seen
    classes: Tensor  # (CLASSES_A_STEP,) int64
    prompts: Tensor  # (CLASSES_A_STEP,) int64
    bases: Tensor  # (CLASSES_A_STEP,) int64, of the step's photos: what pseudo-photos are made of
    push: Tensor  # (CLASSES_A_STEP, 1) float32: how far towards their class
    names: list[tuple[Tensor, Tensor]]  # of each `Features.names`: (n,) int64 names, their texts


def steps(found: Features, batch_size: int, rng: np.random.Generator) -> Iterator[Step]:
    """One pass over all photos, in random order."""
    starts = found.starts.numpy()
    for photos in _batches(found, batch_size, rng):
        n = len(photos)
        classes = rng.choice(CLASSES, CLASSES_A_STEP, replace=False)
        prompts = classes * found.templates + rng.integers(found.templates, size=len(classes))
        yield Step(
            photos=torch.from_numpy(photos),
            views=torch.from_numpy(rng.integers(len(found.views), size=n)),
            captions=torch.from_numpy(rng.integers(starts[photos], starts[photos + 1])),
            cells=torch.from_numpy(np.sort(rng.choice(GRID * GRID, KEPT, replace=False))),
            classes=torch.from_numpy(classes),
            prompts=torch.from_numpy(prompts),
            bases=torch.from_numpy(rng.integers(n, size=len(classes))),
            push=torch.from_numpy(rng.uniform(0.3, 1.5, (len(classes), 1))).float(),
            names=[_named(names, photos, rng) for names in found.names],
        )


def _batches(found: Features, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    parts = [
        part
        for turns in found.turns or (torch.arange(found.count),)
        for part in np.array_split(
            rng.permutation(turns.numpy()), math.ceil(len(turns) / batch_size)
        )
    ]
    return [parts[number] for number in rng.permutation(len(parts))]


def _named(names: Names, photos: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Some names of what a step's photos show, rare ones as well, and a text of each."""
    shown = names.shown[torch.from_numpy(photos)].numpy()
    # Each photo has one say. A name's chance falls with how many of the photos show it.
    lots = rng.random(shown.shape) * shown / np.sqrt(1 + shown.sum(0))
    picked = np.unique(lots.argmax(1)[shown.any(1)])
    picked = np.sort(rng.permutation(picked)[:NAMES_A_STEP])
    texts = picked * names.forms + rng.integers(names.forms, size=len(picked))
    return torch.from_numpy(picked), torch.from_numpy(texts)


class Member(nn.Module):
    """One photo head, one text head and the temperature they are trained with."""

    def __init__(
        self,
        found: Features,
        scales: Scales,
        shape: HeadShape,
        half: bool,
        temperature: float = TEMPERATURE,
    ) -> None:
        """`half` computes in bfloat16 what bears it."""
        super().__init__()
        self.photo, self.text = PhotoHead(shape), TextHead(shape)
        self.temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.features, self._scales = found, [scales]  # in a list: scales are not trained
        self._half = half

    def loss(self, step: Step) -> Tensor:
        """Captions and photos, photos and their likely classes, pseudo-photos and their class."""
        found, sharp = self.features, self.temperature.exp()
        pooled = self._picked("pooled", step)
        chances = self._picked("logits", step).softmax(-1)
        photos = self._photos(self._maps(step), pooled, chances, step.cells)
        captions = self._texts(found.captions, found.sentences[0], step.captions)
        classes = self._texts(found.prompts, found.sentences[1], step.prompts)
        trusted = slice(None) if found.ordinary is None else step.photos < found.ordinary
        known = _expected(chances[trusted][:, step.classes], sharp * photos[trusted] @ classes.T)
        pseudo = self._pseudo(step, pooled)
        named = _contrast(sharp * pseudo @ classes.T)
        told = _contrast(sharp * photos @ captions.T, self._alike(step))
        called = [
            names.weight * self._called(names, step.photos, photos, sharp, *picked)
            for names, picked in zip(found.names, step.names, strict=True)
        ]
        return sum(called, told + CLASS_WEIGHT * (known + named))

    def _called(
        self, names: Names, rows: Tensor, photos: Tensor, sharp: Tensor, *picked: Tensor
    ) -> Tensor:
        """The contrast of photos and names, where several may be right; both ways, summed."""
        numbers, texts = picked
        if not len(numbers):
            return photos.new_zeros(())
        shown = names.shown[rows][:, numbers].float()
        scores = sharp * photos @ self._texts(names.texts, names.sentences, texts).T
        some = shown.sum(1) > 0
        # That a name is right for many photos is no reason to be near to all (logit adjustment).
        often = shown.mean(0).log()
        return _shared(scores.T, shown.T) + _shared(scores[some] + often, shown[some])

    def _alike(self, step: Step) -> Tensor:
        """How alike, (n, n) cosines, each photo's captions are to each of the step's captions."""
        captions = F.normalize(self.features.sentences[0][step.captions], dim=-1)
        return self.features.gists[step.photos] @ captions.T

    def _maps(self, step: Step) -> Tensor:
        maps = torch.empty(len(step.photos), KEPT, TOKEN_WIDTH)
        for number, one in enumerate(self.features.views):
            mine = step.views == number
            maps[mine] = one.maps[step.photos[mine][:, None], step.cells].float()
        return standard(maps, self._scales[0].tokens)

    def _picked(self, field: str, step: Step) -> Tensor:
        both = torch.stack([getattr(one, field)[step.photos] for one in self.features.views])
        return both[step.views, torch.arange(len(step.photos))]

    def _photos(self, maps: Tensor, pooled: Tensor, chances: Tensor, cells: Tensor) -> Tensor:
        scales = self._scales[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            named = scales.named(chances.log())
            joint = self.photo(maps, standard(pooled, scales.pooled), named, cells)
        return F.normalize(joint.float(), dim=-1)

    def _texts(self, texts: Texts, sentences: Tensor, rows: Tensor) -> Tensor:
        words, present = texts.take(rows, WORDS_KEPT)
        words = standard(words, self._scales[0].words) * present[..., None]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            joint = self.text(words, sentences[rows], present)
        return F.normalize(joint.float(), dim=-1)

    def _pseudo(self, step: Step, pooled: Tensor) -> Tensor:
        """Photos that never were: features pushed along a class's weights, without any map."""
        weight, bias = self.features.classifier
        base, along = pooled[step.bases], F.normalize(weight[step.classes], dim=-1)
        pushed = base * 0.7 + step.push * along * base.norm(dim=1, keepdim=True)
        pushed = pushed.clamp(0, 6)  # what ReLU6 lets through
        chances = F.linear(pushed, weight, bias).softmax(-1)
        return self._photos(torch.empty(len(base), 0, TOKEN_WIDTH), pushed, chances, step.cells[:0])


def _contrast(scores: Tensor, alike: Tensor | None = None) -> Tensor:
    """The symmetric contrastive loss of a square of scores whose diagonal is right.

    Where it is told what is `alike`, that is a little right too.
    """
    return (_one_way(scores, alike) + _one_way(scores.T, None if alike is None else alike.T)) / 2


def _one_way(scores: Tensor, alike: Tensor | None) -> Tensor:
    if alike is None:
        return F.cross_entropy(scores, torch.arange(len(scores)))
    near = (alike / ALIKE).softmax(-1)
    return F.cross_entropy(scores, torch.lerp(torch.eye(len(scores)), near, SOFTENED))


def _shared(scores: Tensor, right: Tensor) -> Tensor:
    """The cross-entropy where the ones that are `right` in a row share it; each row has one."""
    return F.cross_entropy(scores, right / right.sum(1, keepdim=True))


def _expected(chances: Tensor, scores: Tensor) -> Tensor:
    """The cross-entropy to soft labels, each photo weighted by how likely these classes are."""
    loss = -(chances * scores.log_softmax(-1)).sum()
    return loss / chances.sum()


class MemberTraining:
    """A member, what trains it, and the running mean of its weights, which is what is kept."""

    def __init__(self, member: Member, course: Course, seed: int) -> None:
        """Of the course nothing that is used here may be None."""
        assert course.lr is not None
        assert course.batch_size is not None
        self.member, self._seed, self._batch_size = member, seed, course.batch_size
        self.average = {name: part.detach().clone() for name, part in member.named_parameters()}
        matrices = [part for part in member.parameters() if part.ndim > 1]
        others = [part for part in member.parameters() if part.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices},
            {"params": others, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(
            groups, course.lr, betas=(0.9, 0.98), weight_decay=course.weight_decay
        )
        self.steps = len(_batches(member.features, course.batch_size, np.random.default_rng()))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, _rate(course.epochs * self.steps, course.warmup)
        )

    def epoch(self, number: int, tick: Callable[[], None]) -> float:
        """Go once through the photos, `number` counting from 1; gives the mean loss."""
        rng = np.random.default_rng((self._seed, number))
        seeded(self._seed, number)
        losses = []
        done = (number - 1) * self.steps
        self.member.train()
        for step in steps(self.member.features, self._batch_size, rng):
            tick()
            self._optimizer.zero_grad()
            loss = self.member.loss(step)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.member.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            done += 1
            for name, part in self.member.named_parameters():
                self.average[name].lerp_(part.detach(), 1 - min(AVERAGING, done / (done + 10)))
            losses.append(loss.item())
        return float(np.mean(losses))

    def state(self) -> dict[str, Any]:
        """All that going on from here needs."""
        return {
            "member": self.member.state_dict(),
            "average": self.average,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.member.load_state_dict(state["member"])
        self.average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def _rate(total: int, warmup: float) -> Callable[[int], float]:
    """A part of the way up, then down along a cosine."""
    warm = int(total * warmup) + 1
    return lambda step: (
        min((step + 1) / warm, 1) * (1 + math.cos(math.pi * min(step / total, 1))) / 2
    )


def fill(heads: Heads, number: int, weights: Mapping[str, Tensor]) -> None:
    """Give one member of the heads the weights of a trained one."""
    for part, head in (("photo.", heads.photos[number]), ("text.", heads.texts[number])):
        mine = {key.removeprefix(part): one for key, one in weights.items() if key.startswith(part)}
        head.load_state_dict(mine)
