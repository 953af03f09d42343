"""open_clip's own training loop, schedule and precision around any dual encoder of torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from open_clip_train.precision import get_autocast
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch

from clipsearch.encoders.joint.loss import JointLoss, check_shareable, joint
from clipsearch.encoders.joint.world import World
from clipsearch.encoders.learning import Course, Lessons, seeded
from clipsearch.encoders.openclip.teacher import Teacher
from clipsearch.encoders.quiet import quiet

BATCH = 64
BETAS, EPS, CLIPPED = (0.9, 0.98), 1e-6, 1.0
_PRECISIONS = {"bf16": "amp_bf16", "fp16": "amp", "fp32": "fp32"}  # as open_clip calls them

# Views and texts as a model takes them.
ToTensors = Callable[[np.ndarray, list[str]], tuple[torch.Tensor, torch.Tensor]]


class Loop:
    """A model that learns, with its optimizer."""

    def __init__(
        self,
        model: Any,
        loss: Any,
        tensors: ToTensors,
        course: Course,
        device: str,
        world: World,
    ) -> None:
        """`model` gives of pictures and texts what `loss` takes, and has a `logit_scale`.

        `course` is one with a batch size, a rate and a precision. With a teacher in it the loss
        takes what that one gives too, by names that begin with "dist_".

        Raises:
            ModelError: it cannot learn in several processes here.
            ModelError, WeightsUnavailable: the teacher cannot be had.
        """
        if world.size > 1 and not course.lock_image:
            check_shareable(model, device)
        self._teacher = Teacher(course.teacher, device) if course.teacher is not None else None
        self.model, self._joint, self.tensors = model, model, tensors
        self._loss = JointLoss(loss, world) if world.size > 1 else loss
        self.course, self._device, self._world = course, device, world
        self._precision = _PRECISIONS[course.precision]
        for part in (model.logit_scale, getattr(model, "logit_bias", None)):
            if part is not None and course.accumulate > 1:
                # open_clip goes back once for each batch, each time through the whole loss: what
                # is no batch's own would get its gradient so many times.
                part.register_hook(lambda gradient: gradient / course.accumulate)
        groups = _groups(model, course.weight_decay)
        self._optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPS)
        # What is small in fp16 is nothing; with a scale it is not, and the scale is found by trial.
        self._scaler = torch.amp.GradScaler(self._kind) if course.precision == "fp16" else None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, if there is one, together with the other processes, if there are."""
        if state:
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._scaler:
                self._scaler.load_state_dict(state["scaler"])
        if self._world.size > 1:
            self._joint = joint(self.model)

    def state(self) -> dict[str, Any]:
        """All that going on from here needs: the weights, and what the optimizer remembers."""
        state = {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}
        return state | ({"scaler": self._scaler.state_dict()} if self._scaler else {})

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it torch computes in the precision that is learnt in."""
        context: AbstractContextManager[Any] = get_autocast(self._precision, self._kind)()
        return context

    def learn(self, epoch: int, lessons: Lessons) -> float:
        """Go through one epoch, counted from 1; gives the mean loss."""
        course, losses = self.course, _Losses()
        assert course.lr is not None
        total = course.epochs * lessons.steps
        schedule = cosine_lr(self._optimizer, course.lr, math.ceil(course.warmup * total), total)
        # What open_clip's command line would be, with its defaults for a single process, whose loss
        # is told: that of several is the same in each.
        arguments = SimpleNamespace(
            device=self._device, precision=self._precision, accum_freq=course.accumulate,
            grad_clip_norm=CLIPPED, batch_size=course.batch_size, log_every_n_steps=1,
            skip_scheduler=False, distill=self._teacher is not None, horovod=False, wandb=False,
            rank=0, world_size=1,
        )  # fmt: skip
        # What is dropped at random of one's share is not what the others drop.
        seeded(course.seed, epoch, *filter(None, [self._world.rank]))
        data = {"train": _Data(self, lessons, epoch)}
        with quiet():
            train_one_epoch(
                self._joint, data, self._loss, epoch - 1, self._optimizer, self._scaler, schedule,
                self._teacher, arguments, losses,
            )  # fmt: skip
        return losses.mean()

    def show(self, views: np.ndarray, texts: list[str]) -> None:
        """Show a batch to the teacher, if there is one, before it is learnt."""
        if self._teacher:
            self._teacher.show(views, texts)

    @property
    def _kind(self) -> str:
        return torch.device(self._device).type


class _Data:
    """An epoch as open_clip's training loop wants it: a data set and its loader in one."""

    def __init__(self, loop: Loop, lessons: Lessons, epoch: int) -> None:
        self._loop, self._lessons, self._epoch = loop, lessons, epoch
        self.num_samples = len(lessons.captions)
        self.num_batches = lessons.steps * loop.course.accumulate

    @property
    def dataloader(self) -> _Data:
        return self

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the epoch was told."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for views, texts in self._lessons.batches(self._epoch):
            self._loop.show(views, texts)
            yield self._loop.tensors(views, texts)


class _Losses:
    """Takes what open_clip's training loop writes down of each step, and keeps the loss."""

    def __init__(self) -> None:
        self._all: list[float] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        del step
        if name == "train/loss":
            self._all.append(value)

    def mean(self) -> float:
        """The mean of the steps' losses."""
        return float(np.mean(self._all))


def _groups(model: Any, decay: float) -> list[dict[str, Any]]:
    """What learns, in two groups: matrices, and all else, which does not decay."""
    named = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
    plain = [part for name, part in named if part.ndim < 2 or name.startswith("logit_")]
    others = [part for name, part in named if part.ndim >= 2 and not name.startswith("logit_")]
    return [{"params": others, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
