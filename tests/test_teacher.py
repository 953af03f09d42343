"""A student learns of a teacher what the captions do not say."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_chinese
import torch
from captioners import COLOURS
from conftest import Run
from open_clip.loss import DistillClipLoss
from PIL import Image
from safetensors.torch import load_file, save_file
from test_finetune import COURSE, SIGMOID, WEIGHTS, FixedLessons, batch, plain

from clipsearch import InvalidInput, ModelError
from clipsearch.encoders import load, parse_spec
from clipsearch.encoders.learning import Course, learner
from clipsearch.encoders.openclip.teacher import WEIGHT, LikenessLoss, Teacher
from clipsearch.tuning.run import CHECKPOINT, finetune

ALONE = replace(COURSE, epochs=10, lr=1e-3)
TAUGHT = replace(ALONE, teacher="pocket")

chinese = test_chinese.folder  # a fixture


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Walls of three colours. Captions to learn from are anyone's, those to validate with right."""
    folder = tmp_path_factory.mktemp("walls")
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption", "split"])
        for number in range(51):
            colour = names[number % 3]
            noisy = np.array(COLOURS[colour]) + rng.normal(0, 12, (40, 48, 3))
            name = f"{number:02}.png"
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name)
            split = "val" if number >= 48 else "train"
            told = colour if split == "val" else str(rng.choice(names))
            rows.writerow([name, f"a {told} wall", split])
    return folder / "pairs.csv"


def test_a_student_with_a_teacher_learns_what_the_captions_do_not_say(
    pairs: Path, tmp_path: Path
) -> None:
    student = plain(tmp_path)
    alone = finetune(pairs, tmp_path / "alone", student, ALONE, workers=1).epochs[-1].recall
    taught = finetune(pairs, tmp_path / "taught", student, TAUGHT, workers=1).epochs[-1].recall
    assert alone is not None
    assert taught is not None
    assert alone.text_to_image[0] < 0.5  # chance is a third
    assert taught.text_to_image[0] == 1


@pytest.mark.thorough
def test_a_run_with_a_teacher_goes_on_where_it_was_stopped(pairs: Path, tmp_path: Path) -> None:
    student, course = plain(tmp_path), replace(TAUGHT, epochs=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = finetune(pairs, tmp_path / "whole", student, course, workers=1)
    stopped: list[Any] = []
    finetune(
        pairs, tmp_path / "parts", student, course, workers=1,
        after_epoch=stopped.append, stopping=lambda: len(stopped) > 1,
    )  # fmt: skip
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    with pytest.raises(InvalidInput, match="teacher"):
        finetune(pairs, tmp_path / "parts", student, replace(course, teacher=None), resume=True)
    parts = finetune(pairs, tmp_path / "parts", student, course, workers=1, resume=True)
    torch.set_num_threads(threads)
    assert [it.loss for it in parts.epochs] == [it.loss for it in whole.epochs]


def test_the_loss_is_open_clips_own(tmp_path: Path) -> None:
    """One step by open_clip's loop, and the same written out."""
    views, texts = batch(4)
    course = replace(TAUGHT, epochs=1, batch_size=4, lr=1e-9)
    taught = learner(plain(tmp_path), course, "cpu")
    taught.begin(lessons := FixedLessons([(views, texts)], 1), None)
    teacher = load(parse_spec("pocket"), "cpu", taught.course.precision)
    seen = np.stack([teacher.prepare(Image.fromarray(view)) for view in views])
    student = [torch.tensor(it) for it in (taught.encode_images(views), taught.encode_texts(texts))]
    theirs = [torch.tensor(it) for it in (teacher.encode_images(seen), teacher.encode_texts(texts))]
    scale = taught.state()["model"]["logit_scale"].exp()
    expected = sum(DistillClipLoss()(*student, scale, *theirs, torch.tensor(teacher.logit_scale)))
    # The teacher here computes as it does for an index, which may be in bf16.
    assert taught.learn(1, lessons) == pytest.approx(float(expected), rel=0.01)


def test_a_teacher_sees_the_same_cuts_in_its_own_size() -> None:
    views, texts = batch(3)
    teacher = Teacher("pocket", "cpu")
    teacher.show(views, texts)
    told = teacher()
    encoder = load(parse_spec("pocket"), "cpu", "fp32")
    seen = np.stack([encoder.prepare(Image.fromarray(view)) for view in views])
    assert told["image_features"].shape == (3, encoder.dim)
    cosines = (told["image_features"].numpy() * encoder.encode_images(seen)).sum(1)
    assert cosines.min() > 0.99
    assert float(told["logit_scale"]) == pytest.approx(encoder.logit_scale)


@pytest.mark.parametrize("dim", [24, 16, 40])
def test_the_loss_of_chinese_clip_with_a_teacher_is_that_of_its_authors(dim: int) -> None:
    train = pytest.importorskip("cn_clip.training.train")
    torch.manual_seed(dim)
    rows = [torch.nn.functional.normalize(torch.randn(6, size), dim=1) for size in (24, 24, dim)]
    losses = LikenessLoss()(rows[0], rows[1], torch.tensor(20.0), rows[2], output_dict=True)
    theirs = WEIGHT * train.cosineSimilarityLoss(rows[0], rows[2])
    assert float(losses["distill_loss"]) == pytest.approx(float(theirs), abs=1e-6)


def test_a_chinese_clip_has_a_teacher_of_another_size(chinese: Path) -> None:
    views, texts = batch(4)
    course = Course(epochs=8, batch_size=4, lr=3e-3, precision="fp32", teacher="pocket", warmup=0)
    taught = learner(f"chinese-clip:{chinese}", course, "cpu")
    taught.begin(lessons := FixedLessons([(views, texts)], 1), None)
    before = taught.learn(1, lessons)
    assert taught.learn(2, lessons) < before


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("plain", {"accumulate": 2}, "accumulate"),
        ("sigmoid", {}, "not for SigLIP"),
        ("pocket", {}, "a recipe of their own"),
        ("plain", {"teacher": "no-such"}, "no-such"),
        ("plain", {"teacher": ""}, "'' names no model"),
    ],
)
def test_what_has_no_teacher_is_told(
    tmp_path: Path, model: str, changes: dict[str, Any], said: str
) -> None:
    (tmp_path / "sigmoid.json").write_text(json.dumps(SIGMOID))
    specs = {"plain": plain(tmp_path), "sigmoid": str(tmp_path / "sigmoid.json")}
    with pytest.raises((InvalidInput, ModelError), match=said):
        learner(specs.get(model, model), replace(TAUGHT, **changes), "cpu")


def test_a_teacher_that_gives_no_numbers_is_told(pairs: Path, tmp_path: Path) -> None:
    teacher = learner(plain(tmp_path), COURSE, "cpu")
    teacher.write(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    save_file({name: torch.full_like(it, torch.nan) for name, it in weights.items()},
              tmp_path / WEIGHTS)  # fmt: skip
    course = replace(TAUGHT, epochs=1, teacher=f"open_clip:{tmp_path}")
    with pytest.raises(ModelError, match=rf"teacher open_clip:{tmp_path} gives no usable embedd"):
        finetune(pairs, tmp_path / "out", plain(tmp_path), course, workers=1)


def test_the_command_takes_a_teacher(pairs: Path, tmp_path: Path, clipsearch: Run) -> None:
    done = clipsearch(
        "finetune", pairs, "--model", plain(tmp_path), "--from-scratch", "--epochs", 1,
        "--batch-size", 16, "--teacher", "pocket", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["complete"]
    told = json.loads((tmp_path / "out" / "finetune.json").read_text())
    assert told["options"]["teacher"] == "pocket"
