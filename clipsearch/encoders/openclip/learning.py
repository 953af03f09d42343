"""open_clip's models taught by open_clip's own training loop, losses and schedule."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss, CoCaLoss, SigLipLoss
from open_clip_train.precision import get_autocast
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch

from clipsearch.encoders.aliases import OPEN_CLIP_FILES
from clipsearch.encoders.hub import from_hub
from clipsearch.encoders.images import Pixels
from clipsearch.encoders.learning import Course, Lessons, pick_precision, save_weights, seeded
from clipsearch.encoders.openclip.encoder import OpenClipEncoder
from clipsearch.encoders.openclip.recipe import (
    Recipe,
    architecture,
    build,
    resolve,
    usual_preprocess,
)
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import OPEN_CLIP_CONFIG, parse_spec
from clipsearch.errors import ModelError, arg
from clipsearch.replacing import replacing

LR, LR_FROM_SCRATCH = 1e-5, 1e-3
BATCH = 64
BETAS, EPS, CLIPPED = (0.9, 0.98), 1e-6, 1.0
KEPT_OF_PREPROCESS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


class OpenClipLearner:
    """An open_clip model while it learns; a `Learner`."""

    def __init__(self, recipe: Recipe, config: dict[str, Any], course: Course, device: str) -> None:
        """`config` is the architecture, in open_clip's form."""
        self._config, self._device = config, device
        lr = LR_FROM_SCRATCH if course.from_scratch else LR
        self.course = replace(
            course, batch_size=course.batch_size or BATCH, lr=course.lr or lr,
            precision=pick_precision(course.precision, device),
        )  # fmt: skip
        self._precision = "amp_bf16" if self.course.precision == "bf16" else "fp32"
        with quiet():
            seeded(course.seed)
            self._model = _fresh(recipe) if course.from_scratch else build(recipe)
            self._encoder = OpenClipEncoder(recipe, "", device, "fp32", self._model.eval())
        prepared = self._model.visual.preprocess_cfg
        self._pixels = Pixels(prepared["mean"], prepared["std"], device)
        self.prepare = self._encoder.prepare
        self.batch_size = self._encoder.batch_size
        self._model.output_dict = True
        self._loss = _loss(self._model)
        if course.lock_image:
            _lock(self._model, course.unlock_groups)
        if course.grad_checkpointing:
            self._model.set_grad_checkpointing()
        for part in (self._model.logit_scale, self._model.logit_bias):
            if part is not None and course.accumulate > 1:
                # open_clip goes back once for each batch, each time through the whole loss: what
                # is no batch's own would get its gradient so many times.
                part.register_hook(lambda gradient: gradient / course.accumulate)
        self._optimizer = torch.optim.AdamW(
            _groups(self._model, course.weight_decay), betas=BETAS, eps=EPS
        )

    def begin(self, lessons: Lessons, state: dict[str, Any] | None) -> None:
        """Go on from a state, if there is one."""
        if state:
            self._model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, 3) uint8 views with what is learnt so far: (n, dim) unit rows."""
        self._model.eval()
        with get_autocast(self._precision, torch.device(self._device).type)():
            return self._encoder.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with what is learnt so far: (n, dim) float32, unit rows."""
        self._model.eval()
        return self._encoder.encode_texts(texts)

    def learn(self, epoch: int, lessons: Lessons) -> float:
        """Go through one epoch, counted from 1; gives the mean loss."""
        course, losses = self.course, _Losses()
        total = course.epochs * lessons.steps
        schedule = cosine_lr(self._optimizer, course.lr, math.ceil(course.warmup * total), total)
        # What open_clip's command line would be, with its defaults for a single machine.
        arguments = SimpleNamespace(
            device=self._device, precision=self._precision, accum_freq=course.accumulate,
            grad_clip_norm=CLIPPED, batch_size=course.batch_size, log_every_n_steps=1,
            skip_scheduler=False, distill=False, horovod=False, wandb=False, rank=0, world_size=1,
        )  # fmt: skip
        seeded(course.seed, epoch)
        data = {"train": _Data(self, lessons, epoch)}
        with quiet():
            train_one_epoch(
                self._model, data, self._loss, epoch - 1, self._optimizer, None, schedule, None,
                arguments, losses,
            )  # fmt: skip
        return losses.mean()

    def tensors(self, views: np.ndarray, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Views and texts as the model takes them."""
        return self._pixels(views), self._encoder.tokenizer()(texts)

    def state(self) -> dict[str, Any]:
        """All that going on from here needs: the weights and the optimizer's moments."""
        return {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def write(self, folder: Path) -> None:
        """Write all that open_clip reads of a model into a folder."""
        prepared = self._model.visual.preprocess_cfg
        told = {
            "model_cfg": self._config,
            "preprocess_cfg": {key: prepared[key] for key in KEPT_OF_PREPROCESS},
        }
        with replacing(folder / OPEN_CLIP_CONFIG) as fresh:
            fresh.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        tokenizer = self._encoder.tokenizer()
        if hasattr(tokenizer, "save_pretrained"):  # CLIP's own comes with open_clip
            tokenizer.save_pretrained(folder)
        # Of tensors that share memory only copies can be written.
        tensors = {key: part.detach().clone() for key, part in self._model.state_dict().items()}
        save_weights(folder / OPEN_CLIP_FILES[0], tensors)

    def spec_in(self, folder: Path) -> str:
        """The model spec of what was written into a folder."""
        return f"open_clip:{folder.resolve()}"


class _Data:
    """An epoch as open_clip's training loop wants it: a data set and its loader in one."""

    def __init__(self, learner: OpenClipLearner, lessons: Lessons, epoch: int) -> None:
        self._learner, self._lessons, self._epoch = learner, lessons, epoch
        self.num_samples = len(lessons.captions)
        self.num_batches = lessons.steps * learner.course.accumulate

    @property
    def dataloader(self) -> _Data:
        return self

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the epoch was told."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for views, texts in self._lessons.batches(self._epoch):
            yield self._learner.tensors(views, texts)


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


def learner(model: str, course: Course, device: str) -> OpenClipLearner:
    """What teaches an open_clip model; from scratch `model` is an architecture, or a file of one.

    Raises:
        ModelError: no such model, or a part of it that cannot be locked.
        WeightsUnavailable: its weights are not here and could not be downloaded.
    """
    if course.from_scratch:
        name = _described(Path(model)) if model.endswith(".json") else model
        config = architecture(name)
        recipe = Recipe(name, Path(), bool(config.get("quick_gelu")), usual_preprocess(name))
    else:
        spec = parse_spec(model)
        with quiet():
            recipe = resolve(spec)
            config = open_clip.get_model_config(recipe.architecture)
    return OpenClipLearner(recipe, config | {"quick_gelu": recipe.quick_gelu}, course, device)


def _described(file: Path) -> str:
    """Make an architecture known to open_clip by a file in its form; gives its name."""
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as an architecture: {error}") from error
    if not isinstance(told, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= told.keys():
        raise ModelError(
            f"{file} describes no architecture: it must have embed_dim, vision_cfg and text_cfg,"
            " as open_clip's own files in open_clip/model_configs have"
        )
    open_clip.add_model_config(file)
    return file.stem


def _fresh(recipe: Recipe) -> Any:
    try:
        return from_hub(
            recipe.architecture,
            lambda: open_clip.create_model(
                recipe.architecture,
                pretrained_text=False,
                force_preprocess_cfg=recipe.preprocess,
            ),
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"open_clip cannot build {recipe.architecture}: {str(error).splitlines()[0]}"
        ) from error


def _loss(model: Any) -> Any:
    if isinstance(model, open_clip.CoCa):
        return CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)
    return ClipLoss() if model.logit_bias is None else SigLipLoss()


def _lock(model: Any, unlocked: int) -> None:
    try:
        model.lock_image_tower(unlocked_groups=unlocked, freeze_bn_stats=True)
    except (AssertionError, AttributeError, RuntimeError) as error:
        raise ModelError(
            "open_clip cannot lock this image tower that way"
            + (f" ({error})" if str(error) else "")
            + f"; try without {arg('unlock_groups')}"
        ) from error


def _groups(model: Any, decay: float) -> list[dict[str, Any]]:
    """What learns, in two groups: matrices, and all else, which does not decay."""
    named = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
    plain = [part for name, part in named if part.ndim < 2 or name.startswith("logit_")]
    others = [part for name, part in named if part.ndim >= 2 and not name.startswith("logit_")]
    return [{"params": others, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
