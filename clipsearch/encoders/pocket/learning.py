"""The heads of the pocket model taught; its towers stay as they are.

Every photo and caption is run through the frozen towers once. What learns are a few small heads
over those features, each member from a seed of its own; side by side they are the joint space.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipsearch.encoders.joint.world import ALONE, World
from clipsearch.encoders.learning import Course, Lessons, pick_precision, save_weights, seeded
from clipsearch.encoders.pocket.encoder import load
from clipsearch.encoders.pocket.features import (
    Features,
    Photos,
    Texts,
    class_prompts,
    features,
    measured,
    read,
)
from clipsearch.encoders.pocket.heads import GRID, TOKEN_WIDTH, Heads, HeadShape, heads_to
from clipsearch.encoders.pocket.parts import HEADS
from clipsearch.encoders.pocket.training import TEMPERATURE, Member, MemberTraining, fill
from clipsearch.encoders.spec import Spec, parse_spec
from clipsearch.errors import InvalidInput, arg

SHAPE = HeadShape(members=3, width=192, out=160, layers=1, queries=3, dropout=0.1)
LR, LR_FROM_SCRATCH = 5e-4, 3e-3
BATCH = 500


class PocketLearner:
    """The pocket model while its heads learn; a `Learner`. The heads learn on the CPU."""

    def __init__(self, spec: Spec, course: Course, device: str) -> None:
        if course.accumulate > 1 or course.grad_checkpointing or course.lock_image:
            raise InvalidInput(
                f"the towers of the pocket model never learn, so {arg('accumulate')},"
                f" {arg('grad_checkpointing')} and {arg('lock_image')} are not for it"
            )
        if course.teacher is not None:
            raise InvalidInput(
                f"the heads of the pocket model learn by a recipe of their own; {arg('teacher')} is"
                " for models of open_clip's and Chinese-CLIP"
            )
        if course.precision == "fp16":
            raise InvalidInput(
                f"the pocket model learns in bf16 or fp32, not {arg('precision')} fp16"
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
        said = [text for some in captions for text in some]
        tick = partial(lessons.tick, what="reading the captions")
        texts = Texts(*read(self._encoder, said, tick))
        tick = partial(lessons.tick, what="reading the names of classes")
        prompts = Texts(*read(self._encoder, class_prompts(), tick))
        weight, bias = (part.cpu() for part in self._encoder.classifier())
        return features([photos], texts, list(map(len, captions)), prompts, (weight, bias))


def learner(model: str, course: Course, device: str, world: World = ALONE) -> PocketLearner:
    """What teaches the pocket model's heads, or from scratch new ones.

    Raises:
        ModelError: the packages of the towers are missing, or a file holds no heads.
        InvalidInput: an option that makes no sense for it, or several processes.
    """
    if world.size > 1:
        raise InvalidInput(
            "the heads of the pocket model learn in one process; start it without torchrun"
        )
    return PocketLearner(parse_spec(model), course, device)
