"""A model in 8 bits, calibrated on an index's own photos, and what that costs on others of them.

    a sample of the photos -> some calibrate, others are embedded by both -> kept, or left alone

What is not near enough to the model in full is not used, which is said in a line.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from clipsearch.cache import sha256_of
from clipsearch.encoders.choice import MANY, NAMES, choose
from clipsearch.encoders.onnx.calibrated import (
    Calibration,
    calibration_in,
    folder_in,
    write_calibration,
)
from clipsearch.encoders.onnx.calibrating import PASSES, quantize_on
from clipsearch.encoders.onnx.encoder import OnnxEncoder, open_calibrated
from clipsearch.encoders.onnx.folder import FACTS, IMAGES, facts_in
from clipsearch.encoders.processor import adds_8_bits
from clipsearch.encoders.spec import LIGHT, Spec
from clipsearch.errors import ModelError, WeightsUnavailable, first_line
from clipsearch.indexing.loading import Loaded, Loaders, Unread, load_ahead
from clipsearch.models import Models
from clipsearch.progress import Progress
from clipsearch.replacing import clear_unfinished, draft_folder, put_in_place

log = logging.getLogger("clipsearch")

CALIBRATING, MEASURED = 100, 200  # photos at most
FEWEST = 50  # of which a third calibrates
NEAREST = 10  # photos of each that are compared
# What is less near to the model in full is not used.
LEAST_MEAN, LEAST_SAME = 0.98, 0.9
_SEED = 0
_AHEAD = 32  # files in flight


class Stopped(Exception):
    """Somebody does not wait for the end of it."""


@dataclass(frozen=True, slots=True)
class Making:
    """What a model is calibrated with."""

    folder: Path  # of the index
    paths: Sequence[str]  # of its photos
    loaders: Loaders
    progress: Progress
    stopping: Callable[[], bool]


def calibrate(models: Models, making: Making) -> None:
    """Have the model that is meant embed in 8 bits from here on, if that is near enough.

    The caller holds the lock of the index.

    Raises:
        ModelError, InvalidInput: the model in full cannot be had.
        Stopped: `stopping` said so.
    """
    clear_unfinished(making.folder)  # of a calibration that was killed
    try:
        spec, full = models.exact()
    except WeightsUnavailable:
        raise
    except ModelError as error:
        _stay("the model", first_line(error))
        return
    choice = choose(spec.family, "auto", "auto", MANY)
    if choice.runtime != "onnx":
        log.warning(
            "many photos are embedded by %s here (%s), which may be faster than 8 bits by ONNX"
            " Runtime", NAMES[choice.runtime], choice.reason,
        )  # fmt: skip
    if full.precision != "fp32":
        _stay(str(spec), "it is in 8 bits already")
        return
    _calibrate(models, spec, full, making)


def _calibrate(models: Models, spec: Spec, full: OnnxEncoder, making: Making) -> None:
    views = _sample(full, making)
    if len(views) < FEWEST:
        _stay(str(spec), f"8 bits take {FEWEST} photos to calibrate and measure, and {len(views)}"
              " could be read")  # fmt: skip
        return
    first = min(CALIBRATING, len(views) // 3)
    log.info("calibrating %s in 8 bits on %d of the photos", spec, first)
    done, total = 0, PASSES * first + 2 * (len(views) - first)

    def step(count: int) -> None:
        nonlocal done
        if making.stopping():
            raise Stopped
        done += count
        making.progress(done, total)

    with draft_folder(making.folder) as folder:
        try:
            more = _write(folder, spec, full, views[:first], step)
            made_of = _measured(folder, full, views[first:], step)
            if more and not _is_near(made_of):
                log.debug("with its matrices in 8 bits: %s", made_of)
                done = 0
                _write(folder, spec, full, views[:first], step, matrices=False)
                made_of = _measured(folder, full, views[first:], step)
        except ModelError as error:
            _stay(str(spec), first_line(error))
            return
        if not _is_near(made_of):
            asked = f"at least {LEAST_MEAN} and {LEAST_SAME:.0%} are asked for"
            _stay(str(spec), f"in 8 bits, {made_of}; {asked}")
            return
        small = facts_in(folder)
        target = folder_in(making.folder, small.weights)
        shutil.rmtree(target, ignore_errors=True)  # of which a file was lost or damaged
        target.parent.mkdir(exist_ok=True)
        put_in_place(folder, target)
    models.take(spec, small)
    log.warning("%s in 8 bits: %s", spec, made_of)


def _is_near(made_of: Calibration) -> bool:
    return made_of.mean >= LEAST_MEAN and made_of.same >= LEAST_SAME


def _stay(name: str, reason: str) -> None:
    log.warning("%s stays in fp32: %s", name, reason)


def _sample(encoder: OnnxEncoder, making: Making) -> np.ndarray:
    """Views of different photos, (n, resolution, resolution, channels) uint8, always the same."""
    paths = sorted(making.paths)
    random.Random(_SEED).shuffle(paths)
    loaded = load_ahead(dict(enumerate(paths)), encoder.prepare, making.loaders, _AHEAD)
    views = islice(_different(loaded, making.stopping), CALIBRATING + MEASURED)
    return np.array(list(views))


def _different(
    loaded: Iterator[tuple[int, Loaded | Unread]], stopping: Callable[[], bool]
) -> Iterator[np.ndarray]:
    seen: set[str] = set()
    for _, result in loaded:
        if stopping():
            raise Stopped
        if isinstance(result, Loaded) and result.views is not None and result.digest not in seen:
            seen.add(result.digest)
            yield result.views[0]


def _write(
    folder: Path,
    spec: Spec,
    full: OnnxEncoder,
    views: np.ndarray,
    step: Callable[[int], None],
    matrices: bool = True,
) -> bool:
    """Write the model in 8 bits, not measured yet; gives what `quantize_on` gives."""
    with TemporaryDirectory(dir=folder) as beside:
        plain = Path(beside) / IMAGES
        # What lies in the cache may be merged into operators that have no form in 8 bits.
        is_plain = spec.family in LIGHT and import_module(LIGHT[spec.family]).write_images(
            spec, plain
        )
        tower = plain if is_plain else full.image_file
        more = quantize_on(tower, views, folder / IMAGES, step, matrices)
    digest = sha256_of(folder / IMAGES)
    facts = replace(full.facts, weights=digest, precision="int8", files={IMAGES: digest})
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=2), "utf-8")
    bits = 8 if adds_8_bits() else 7
    write_calibration(folder, Calibration(str(spec), full.weights, len(views), 0, 0, 0, 0, bits))
    return more


def _measured(
    folder: Path, full: OnnxEncoder, views: np.ndarray, step: Callable[[int], None]
) -> Calibration:
    """How near what a folder's model makes of (n, ...) views is to the model in full; written."""
    both = []
    for encoder in (full, open_calibrated(folder, "cpu")):
        rows = []
        for start in range(0, len(views), encoder.batch_size):
            batch = views[start : start + encoder.batch_size]
            rows.append(encoder.encode_images(batch))
            step(len(batch))
        both.append(np.concatenate(rows))
    cosines = np.nan_to_num((both[0] * both[1]).sum(axis=1), nan=-1)
    made_of = replace(
        calibration_in(folder),
        measured=len(views),
        mean=float(cosines.mean()),
        least=float(cosines.min()),
        same=_same(*map(_nearest, both)),
    )
    write_calibration(folder, made_of)
    return made_of


def _nearest(rows: np.ndarray) -> np.ndarray:
    """The numbers of the rows that are nearest to each of (n, dim) rows: (n, NEAREST) int64."""
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :NEAREST]


def _same(one: np.ndarray, other: np.ndarray) -> float:
    """The share of what stands in a row of one that stands in that row of the other."""
    return float((one[:, :, None] == other[:, None, :]).any(axis=2).mean())
