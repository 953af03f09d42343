"""Chinese-CLIP taught as its authors teach it: at first with its image tower locked, then whole.

Their loss is open_clip's symmetric cross entropy, and their loop was made of open_clip's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.loss import ClipLoss
from transformers import ChineseCLIPConfig, ChineseCLIPModel

from clipsearch.encoders.aliases import TRANSFORMERS_FILES
from clipsearch.encoders.chinese import authors
from clipsearch.encoders.chinese.encoder import (
    CONFIG,
    OWN_TOKENS,
    ChineseEncoder,
    Images,
    Parts,
    authors_tokenizer,
    download,
    embedded,
    read,
)
from clipsearch.encoders.chinese.preprocessing import (
    PREPROCESSOR,
    Preprocessing,
    read_json,
    told_in,
)
from clipsearch.encoders.images import Pixels
from clipsearch.encoders.joint.world import ALONE, World
from clipsearch.encoders.learning import Course, Lessons, pick_precision, save_weights, seeded
from clipsearch.encoders.openclip.loop import BATCH, Loop
from clipsearch.encoders.openclip.teacher import LikenessLoss
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import ModelError, arg, first_line
from clipsearch.replacing import replacing

LR, LR_FROM_SCRATCH = 2e-5, 1e-3
AUTHORS_FILE = "clip_cn.pt"  # of a model that transformers does not have

# Chinese BERT's vocabulary lacks these; the authors' training reads straight ones in their place.
_QUOTES = str.maketrans("“”", '""')


class ChineseLearner:
    """A Chinese-CLIP while it learns; a `Learner`."""

    def __init__(self, parts: Parts, course: Course, device: str, world: World) -> None:
        lr = LR_FROM_SCRATCH if course.from_scratch else LR
        self.course = replace(
            course, batch_size=course.batch_size or BATCH, lr=course.lr or lr,
            precision=pick_precision(course.precision, device),
        )  # fmt: skip
        self._parts, self._model = parts, parts.model.requires_grad_(True)
        self._encoder = ChineseEncoder(parts, "", device, "fp32")
        self._pixels = Pixels(parts.preprocessing.mean, parts.preprocessing.std, device)
        self.prepare, self.batch_size = self._encoder.prepare, self._encoder.batch_size
        if course.lock_image:
            _lock(self._model, course.unlock_groups)
        if course.grad_checkpointing:
            _checkpoint(self._model)
        pad = parts.tokenizer.pad_token_id
        self._both = _Both(self._model, pad, course.lock_image)
        loss = LikenessLoss() if course.teacher is not None else ClipLoss()
        self._loop = Loop(self._both, loss, self._tensors, self.course, device, world)

    def begin(self, lessons: Lessons, state: dict[str, Any] | None) -> None:
        """Go on from a state, if there is one."""
        self._loop.restore(state)

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, 3) uint8 views with what is learnt so far: (n, dim) unit rows."""
        self._both.eval()
        with self._loop.autocast():
            return self._encoder.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with what is learnt so far: (n, dim) float32, unit rows."""
        self._both.eval()
        return self._encoder.encode_texts(texts)

    def learn(self, epoch: int, lessons: Lessons) -> float:
        """Go through one epoch, counted from 1; gives the mean loss."""
        return self._loop.learn(epoch, lessons)

    def state(self) -> dict[str, Any]:
        """All that going on from here needs: the weights and the optimizer's moments."""
        return self._loop.state()

    def write(self, folder: Path) -> None:
        """Write all that transformers reads of a model into a folder.

        Of a ResNet, which it does not have, a file of the authors' form.
        """
        if isinstance(self._model, authors.ResNetModel):
            with replacing(folder / AUTHORS_FILE) as fresh:
                fresh.write_bytes(self._model.authors_form())
            if len(self._parts.tokenizer) == OWN_TOKENS:
                return  # their package has its vocabulary
        else:
            with replacing(folder / CONFIG) as fresh:
                fresh.write_text(_as_json(self._model), "utf-8")
            with replacing(folder / PREPROCESSOR) as fresh:
                fresh.write_text(self._parts.preprocessing.as_json(), "utf-8")
            # Of tensors that share memory only copies can be written.
            state = self._model.state_dict()
            tensors = {name: part.detach().clone() for name, part in state.items()}
            save_weights(folder / TRANSFORMERS_FILES[0], tensors, {"format": "pt"})
        self._parts.tokenizer.save_pretrained(folder)

    def spec_in(self, folder: Path) -> str:
        """The model spec of what was written into a folder."""
        is_resnet = isinstance(self._model, authors.ResNetModel)
        return f"chinese-clip:{folder.resolve() / AUTHORS_FILE if is_resnet else folder.resolve()}"

    def _tensors(self, views: np.ndarray, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, _ = self._encoder.tokens([text.translate(_QUOTES) for text in texts])
        return self._pixels(views), tokens


class _Both(torch.nn.Module):
    """Both towers at once, as open_clip's loop calls them."""

    def __init__(self, model: Any, padding: int, locked: bool) -> None:
        super().__init__()
        self.model, self._padding, self._locked = model, padding, locked

    @property
    def logit_scale(self) -> Any:
        return self.model.logit_scale

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        pictures = Images(self.model)(pixels)
        texts = embedded(self.model, tokens, tokens.ne(self._padding).long())
        return {
            "image_features": torch.nn.functional.normalize(pictures, dim=-1),
            "text_features": torch.nn.functional.normalize(texts, dim=-1),
            "logit_scale": self.model.logit_scale.exp(),
        }

    def train(self, mode: bool = True) -> _Both:
        """As ever, but what a locked ResNet has counted of pictures stays."""
        super().train(mode)
        if self._locked:
            self.model.vision_model.eval()
        return self


def learner(model: str, course: Course, device: str, world: World = ALONE) -> ChineseLearner:
    """What teaches a Chinese-CLIP; from scratch `model` names a file, or folder, that describes it.

    Raises:
        ModelError: no such model, or a part of it that cannot be locked.
        WeightsUnavailable: its weights are not here and could not be downloaded.
    """
    spec = parse_spec(model)
    with quiet():
        seeded(course.seed)
        parts = _fresh(Path(spec.file)) if course.from_scratch else read(download(spec))
        return ChineseLearner(parts, course, device, world)


def _fresh(file: Path) -> Parts:
    """A model with random weights, as a configuration of transformers' or the authors' tells."""
    file = file / CONFIG if file.is_dir() else file
    told = read_json(file) if file.suffix == ".json" else {}
    try:
        if "vision_config" in told:
            model = ChineseCLIPModel(ChineseCLIPConfig.from_dict(told))
        else:
            model = authors.fresh(authors.described(told))
    except Exception as error:  # transformers' checks raise nearly anything
        raise ModelError(
            f"{arg('from_scratch')} wants chinese-clip: and a JSON file as transformers'"
            f" {CONFIG} of a Chinese-CLIP is, or as a configuration of image and text tower in one"
            f" of the authors' is; {file} is none: {first_line(error)}"
        ) from error
    config = model.config
    tokenizer = authors_tokenizer(file.parent, config.text_config.vocab_size)
    prepared = Preprocessing.of(int(config.vision_config.image_size), *told_in(file.parent))
    return Parts(model, tokenizer, prepared)


def _lock(model: Any, unlocked: int) -> None:
    """Have the image tower stay as it is but for its last groups of layers."""
    model.vision_model.requires_grad_(False)
    model.visual_projection.requires_grad_(False)
    if not unlocked:
        return
    if isinstance(model, authors.ResNetModel):
        raise ModelError(f"a ResNet is locked as a whole; leave {arg('unlock_groups')} out")
    tower = model.vision_model
    *layers, last = tower.encoder.layers
    first = [tower.embeddings, tower.pre_layrnorm]
    groups = [first, *([it] for it in layers), [last, tower.post_layernorm]]
    groups.append([model.visual_projection])
    for part in (part for group in groups[-unlocked:] for part in group):
        part.requires_grad_(True)


def _checkpoint(model: Any) -> None:
    # A ResNet's pictures are kept, in the authors' own training too.
    towers = (model.vision_model, model.text_model)
    for tower in towers[isinstance(model, authors.ResNetModel) :]:
        tower.gradient_checkpointing_enable({"use_reentrant": False})


def _as_json(model: Any) -> str:
    """What transformers calls the configuration of a model whose weights are in float32."""
    told = json.loads(model.config.to_json_string(use_diff=False))
    for part in (told, told["vision_config"], told["text_config"]):
        part.pop("torch_dtype", None)
        part.pop("dtype", None)
    return json.dumps(told | {"architectures": ["ChineseCLIPModel"]}, indent=2) + "\n"
