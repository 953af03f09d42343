"""open_clip's models taught by open_clip's own training loop, losses and schedule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss, CoCaLoss, DistillClipLoss, SigLipLoss

from clipsearch.encoders.aliases import OPEN_CLIP_FILES
from clipsearch.encoders.hub import from_hub
from clipsearch.encoders.images import Pixels
from clipsearch.encoders.joint.world import ALONE, World
from clipsearch.encoders.learning import Course, Lessons, pick_precision, save_weights, seeded
from clipsearch.encoders.openclip.encoder import OpenClipEncoder
from clipsearch.encoders.openclip.loop import BATCH, Loop
from clipsearch.encoders.openclip.recipe import (
    Recipe,
    architecture,
    build,
    resolve,
    usual_preprocess,
)
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import OPEN_CLIP_CONFIG, parse_spec
from clipsearch.errors import ModelError, arg, first_line
from clipsearch.replacing import replacing

LR, LR_FROM_SCRATCH = 1e-5, 1e-3
KEPT_OF_PREPROCESS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


class OpenClipLearner:
    """An open_clip model while it learns; a `Learner`."""

    def __init__(
        self,
        recipe: Recipe,
        config: dict[str, Any],
        course: Course,
        device: str,
        world: World,
    ) -> None:
        """`config` is the architecture, in open_clip's form."""
        self._config, self._device = config, device
        lr = LR_FROM_SCRATCH if course.from_scratch else LR
        self.course = replace(
            course, batch_size=course.batch_size or BATCH, lr=course.lr or lr,
            precision=pick_precision(course.precision, device),
        )  # fmt: skip
        with quiet():
            seeded(course.seed)
            self._model = _fresh(recipe) if course.from_scratch else build(recipe)
            self._encoder = OpenClipEncoder(recipe, "", device, "fp32", self._model.eval())
        prepared = self._model.visual.preprocess_cfg
        self._pixels = Pixels(prepared["mean"], prepared["std"], device)
        self.prepare = self._encoder.prepare
        self.batch_size = self._encoder.batch_size
        self._model.output_dict = True
        if course.lock_image:
            _lock(self._model, course.unlock_groups)
        if course.grad_checkpointing:
            self._model.set_grad_checkpointing()
        loss = _loss(self._model, course.teacher is not None)
        self._loop = Loop(self._model, loss, self._tensors, self.course, device, world)

    def begin(self, lessons: Lessons, state: dict[str, Any] | None) -> None:
        """Go on from a state, if there is one."""
        self._loop.restore(state)

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, 3) uint8 views with what is learnt so far: (n, dim) unit rows."""
        self._model.eval()
        with self._loop.autocast():
            return self._encoder.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with what is learnt so far: (n, dim) float32, unit rows."""
        self._model.eval()
        return self._encoder.encode_texts(texts)

    def learn(self, epoch: int, lessons: Lessons) -> float:
        """Go through one epoch, counted from 1; gives the mean loss."""
        return self._loop.learn(epoch, lessons)

    def state(self) -> dict[str, Any]:
        """All that going on from here needs: the weights and the optimizer's moments."""
        return self._loop.state()

    def _tensors(self, views: np.ndarray, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return self._pixels(views), self._encoder.tokenizer()(texts)

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


def learner(model: str, course: Course, device: str, world: World = ALONE) -> OpenClipLearner:
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
    return OpenClipLearner(
        recipe, config | {"quick_gelu": recipe.quick_gelu}, course, device, world
    )


def _described(file: Path) -> str:
    """Make an architecture known to open_clip by a file in its form; gives its name."""
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read as an architecture: {first_line(error)}"
        ) from error
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


def _loss(model: Any, taught: bool) -> Any:
    if taught:
        if isinstance(model, open_clip.CoCa) or model.logit_bias is not None:
            raise ModelError(
                f"{arg('teacher')} is for models with the loss of CLIP, and not for SigLIP and CoCa"
            )
        return DistillClipLoss()
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
