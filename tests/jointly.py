"""Has models learn in several ways, each in all processes that torchrun started this in.

Run as a program: `torchrun ... jointly.py WAYS.json LEARNT.pt`, where the ways have names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
from test_finetune import FixedLessons, batch

from clipsearch.encoders.joint.world import ALONE, World, joined
from clipsearch.encoders.learning import Course, learner
from clipsearch.encoders.quiet import quiet
from clipsearch.ending import end_now

PHOTOS = 15  # which no two processes have equal shares of
EPOCHS = 3


def learnt(way: dict[str, Any], world: World = ALONE) -> dict[str, Any]:
    """The losses of a few steps, and what the model and its optimizer are then."""
    course = Course(**way["course"])
    taught = learner(way["model"], course, "cpu", world)
    views, texts = batch(PHOTOS)
    parts = [range(start, PHOTOS, course.accumulate) for start in range(course.accumulate)]
    shares = [list(world.share(part)) for part in parts]
    lessons = FixedLessons([(views[it], [texts[n] for n in it]) for it in shares], 1)
    taught.begin(lessons, None)
    losses = [taught.learn(epoch, lessons) for epoch in range(1, EPOCHS + 1)]
    return {"losses": losses} | taught.state()


def _ended(rank: int) -> NoReturn:
    end_now(2)


if __name__ == "__main__":
    world = joined("cpu", _ended)
    ways = json.loads(Path(sys.argv[1]).read_text())
    with quiet():
        told = {name: learnt(way, world) for name, way in ways.items()}
    if world.is_first:
        torch.save(told, sys.argv[2])
    world.leave()
