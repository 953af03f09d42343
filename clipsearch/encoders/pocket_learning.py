"""The heads of the pocket model taught; its towers stay as they are.

Every photo and caption is run through the frozen towers once. What learns are a few small heads
over those features, each member from a seed of its own; side by side they are the joint space.
The loss is contrastive, and it has two sources: the photos' captions, and what the image tower
already knows, its 1,000 ImageNet classes, which is so not forgotten.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipsearch.encoders.learning import Course, Lessons, pick_precision, save_weights, seeded
from clipsearch.encoders.pocket import CONTEXT, HEADS, PocketEncoder, load
from clipsearch.encoders.pocket_heads import (
    CLASSES,
    GRID,
    SENTENCE,
    TOKEN_WIDTH,
    Heads,
    HeadShape,
    PhotoHead,
    Scales,
    TextHead,
    heads_to,
    standard,
)
from clipsearch.encoders.spec import Spec, parse_spec
from clipsearch.errors import InvalidInput

SHAPE = HeadShape(members=3, width=192, out=160, layers=1, queries=3, dropout=0.1)
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
LR, LR_FROM_SCRATCH = 5e-4, 3e-3
KEPT = 18  # of the map's 81 tokens: a quarter the work, and the head cannot lean on any one
WORDS_KEPT = 12  # of a caption's 14 on average: the same
AVERAGING = 0.97
CLASS_WEIGHT = 0.3
SOFTENED = 0.25  # so much of a caption's target goes to the photos whose captions are alike
ALIKE = 0.1  # the temperature of caption likeness
CLASSES_A_STEP = 150
BATCH = 500
TEMPERATURE = 16.0  # to start with: what a cosine is multiplied by
TEXTS_AT_A_TIME = 64


# --- what the towers make of photos and texts -----------------------------------------------------


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
class Features:
    """All that training reads; on the CPU, wherever the heads are."""

    views: list[Photos]  # the photos, and if need be the same photos changed
    captions: Texts
    starts: Tensor  # (photos + 1,) int64: where each photo's captions are
    prompts: Texts  # class by class, each in all templates
    sentences: tuple[Tensor, Tensor]  # of captions and prompts: (n, SENTENCE) float32
    gists: Tensor  # (photos, SENTENCE) float32 unit rows: the mean of each photo's captions
    classifier: tuple[Tensor, Tensor]  # weight (1000, 1280), bias (1000,)

    @property
    def count(self) -> int:
        """How many photos there are."""
        return len(self.views[0].pooled)


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
def read(encoder: PocketEncoder, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Texts to their words' features and starts, as `Texts` keeps them."""
    order = sorted(range(len(texts)), key=lambda row: encoder.count_tokens(texts[row]))
    words: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(texts), TEXTS_AT_A_TIME):  # of like length: little is padding
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


# --- training ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from: n photos with a caption each, and some classes."""

    photos: Tensor  # (n,) int64
    views: Tensor  # (n,) int64
    captions: Tensor  # (n,) int64
    places: Tensor  # (KEPT,) int64, which of the map's tokens are seen
    classes: Tensor  # (CLASSES_A_STEP,) int64
    prompts: Tensor  # (CLASSES_A_STEP,) int64
    bases: Tensor  # (CLASSES_A_STEP,) int64, of the step's photos: what pseudo-photos are made of
    push: Tensor  # (CLASSES_A_STEP, 1) float32: how far towards their class


def steps(found: Features, batch_size: int, rng: np.random.Generator) -> Iterator[Step]:
    """One pass over all photos, in random order."""
    starts, count = found.starts.numpy(), found.count
    for photos in np.array_split(rng.permutation(count), math.ceil(count / batch_size)):
        n = len(photos)
        classes = rng.choice(CLASSES, CLASSES_A_STEP, replace=False)
        prompts = classes * len(TEMPLATES) + rng.integers(len(TEMPLATES), size=len(classes))
        yield Step(
            photos=torch.from_numpy(photos),
            views=torch.from_numpy(rng.integers(len(found.views), size=n)),
            captions=torch.from_numpy(rng.integers(starts[photos], starts[photos + 1])),
            places=torch.from_numpy(np.sort(rng.choice(GRID * GRID, KEPT, replace=False))),
            classes=torch.from_numpy(classes),
            prompts=torch.from_numpy(prompts),
            bases=torch.from_numpy(rng.integers(n, size=len(classes))),
            push=torch.from_numpy(rng.uniform(0.3, 1.5, (len(classes), 1))).float(),
        )


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
        photos = self._photos(self._maps(step), pooled, chances, step.places)
        captions = self._texts(found.captions, found.sentences[0], step.captions)
        classes = self._texts(found.prompts, found.sentences[1], step.prompts)
        known = _expected(chances[:, step.classes], sharp * photos @ classes.T)
        pseudo = self._pseudo(step, pooled)
        named = _contrast(sharp * pseudo @ classes.T)
        told = _contrast(sharp * photos @ captions.T, self._alike(step))
        return told + CLASS_WEIGHT * (known + named)

    def _alike(self, step: Step) -> Tensor:
        """How alike, (n, n) cosines, each photo's captions are to each of the step's captions."""
        captions = F.normalize(self.features.sentences[0][step.captions], dim=-1)
        return self.features.gists[step.photos] @ captions.T

    def _maps(self, step: Step) -> Tensor:
        maps = torch.empty(len(step.photos), KEPT, TOKEN_WIDTH)
        for number, one in enumerate(self.features.views):
            mine = step.views == number
            maps[mine] = one.maps[step.photos[mine][:, None], step.places].float()
        return standard(maps, self._scales[0].tokens)

    def _picked(self, field: str, step: Step) -> Tensor:
        both = torch.stack([getattr(one, field)[step.photos] for one in self.features.views])
        return both[step.views, torch.arange(len(step.photos))]

    def _photos(self, maps: Tensor, pooled: Tensor, chances: Tensor, places: Tensor) -> Tensor:
        scales = self._scales[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            named = scales.named(chances.log())
            joint = self.photo(maps, standard(pooled, scales.pooled), named, places)
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
        return self._photos(
            torch.empty(len(base), 0, TOKEN_WIDTH), pushed, chances, step.places[:0]
        )


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
        self.steps = math.ceil(member.features.count / course.batch_size)
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


# --- the learner ------------------------------------------------------------------------------


class PocketLearner:
    """The pocket model while its heads learn; a `Learner`. The heads learn on the CPU."""

    def __init__(self, spec: Spec, course: Course, device: str) -> None:
        if course.accumulate > 1 or course.grad_checkpointing or course.lock_image:
            raise InvalidInput(
                "the towers of the pocket model never learn, so --accumulate, --grad-checkpointing"
                " and --lock-image are not for it"
            )
        lr = LR_FROM_SCRATCH if course.from_scratch else LR
        self.course = replace(
            course, batch_size=course.batch_size or BATCH, lr=course.lr or lr,
            precision=pick_precision(course.precision, device),
        )  # fmt: skip
        # The towers as they embed photos later, or the heads would learn another model's features.
        self._encoder = load(spec, device, self.course.precision)
        self._device = device
        self.prepare = self._encoder.prepare
        self.batch_size = self._encoder.batch_size
        self._members: list[MemberTraining] = []

    def begin(self, lessons: Lessons, state: dict[str, Any] | None) -> None:
        """Run the towers over all photos and captions; then go on from a state, if there is one."""
        course, fresh = self.course, self.course.from_scratch
        found = self._look(lessons)
        if fresh:
            seeded(course.seed)
            self._encoder.heads = Heads(SHAPE).eval().requires_grad_(False)
            self._encoder.heads.scales = measured(found).requires_grad_(False)
            self._encoder.heads.to(self._device)
        heads = self._encoder.heads
        scales = copy.deepcopy(heads.scales).cpu()
        temperature = TEMPERATURE if fresh else self._encoder.logit_scale
        for number in range(heads.shape.members):
            seeded(course.seed, number)
            member = Member(found, scales, heads.shape, course.precision == "bf16", temperature)
            if not fresh:
                member.photo.load_state_dict(heads.photos[number].state_dict())
                member.text.load_state_dict(heads.texts[number].state_dict())
            seed = course.seed * heads.shape.members + number
            self._members.append(MemberTraining(member, course, seed))
        for training, kept in zip(self._members, state["members"] if state else (), strict=False):
            training.restore(kept)
        self._take_over()

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, 260, 260, 3) uint8 views with what is learnt so far: (n, dim) unit rows."""
        return self._encoder.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with what is learnt so far: (n, dim) float32, unit rows."""
        return self._encoder.encode_texts(texts)

    def learn(self, epoch: int, lessons: Lessons) -> float:
        """Go through one epoch, counted from 1; gives the mean loss of the members."""
        total = sum(training.steps for training in self._members)
        counter = itertools.count()
        losses = [
            training.epoch(epoch, lambda: lessons.tick(next(counter), total))
            for training in self._members
        ]
        self._take_over()
        return float(np.mean(losses))

    def state(self) -> dict[str, Any]:
        """All that going on from here needs; what the towers make of photos is computed anew."""
        return {"members": [training.state() for training in self._members]}

    def write(self, folder: Path) -> None:
        """Write the heads into a folder."""
        tensors, metadata = heads_to(self._encoder.heads)
        metadata["logit scale"] = str(self._encoder.logit_scale)
        save_weights(folder / HEADS.name, tensors, metadata)

    def spec_in(self, folder: Path) -> str:
        """The model spec of what was written into a folder."""
        return f"pocket:{folder.resolve() / HEADS.name}"

    def _take_over(self) -> None:
        for number, training in enumerate(self._members):
            fill(self._encoder.heads, number, training.average)
        sharp = [float(training.average["temperature"].exp()) for training in self._members]
        self._encoder.logit_scale = float(np.mean(sharp))

    @torch.inference_mode()
    def _look(self, lessons: Lessons) -> Features:
        # A photo's maps take 118 KB: they go to a file without a name, which is gone at the end.
        shape = (len(lessons.captions), GRID * GRID, TOKEN_WIDTH)
        with TemporaryFile(dir=lessons.folder) as file:
            maps = np.memmap(file, np.float16, shape=shape)
        others: list[tuple[Tensor, Tensor]] = []
        numbers: list[int] = []
        for some, views in lessons.photos():
            seen, pooled, logits = (part.cpu() for part in self._encoder.see(views))
            maps[len(numbers) : len(numbers) + len(some)] = seen.half().numpy()
            others.append((pooled, logits))
            numbers += some
        pooled, logits = (torch.cat(parts) for parts in zip(*others, strict=True))
        photos = Photos(torch.from_numpy(maps[: len(numbers)]), pooled, logits)
        captions = [list(lessons.captions[number]) for number in numbers]
        texts = Texts(*read(self._encoder, [text for some in captions for text in some]))
        prompts = Texts(*read(self._encoder, class_prompts()))
        weight, bias = (part.cpu() for part in self._encoder.classifier())
        return features([photos], texts, list(map(len, captions)), prompts, (weight, bias))


def learner(model: str, course: Course, device: str) -> PocketLearner:
    """What teaches the pocket model's heads, or from scratch new ones.

    Raises:
        ModelError: the packages of the towers are missing, or a file holds no heads.
        InvalidInput: an option that makes no sense for it.
    """
    return PocketLearner(parse_spec(model), course, device)
