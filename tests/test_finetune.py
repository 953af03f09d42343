"""A model is taught: by open_clip's own arithmetic, to the bit again after any interruption."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import Run
from open_clip.loss import ClipLoss, SigLipLoss
from PIL import Image
from safetensors.torch import load_file
from test_docs import documented

from clipsearch import ClipsearchError, InvalidInput, Library, ModelError
from clipsearch.encoders import load, parse_spec
from clipsearch.encoders.learning import Course, Learner, learner, save_weights
from clipsearch.encoders.pocket import features
from clipsearch.encoders.pocket.parts import HEADS, pocket_files
from clipsearch.evaluation.embedding import candidates
from clipsearch.evaluation.pairs import read_pairs
from clipsearch.evaluation.retrieval import evaluate_retrieval
from clipsearch.indexing.loading import Loaders
from clipsearch.photos.decoding.view import View
from clipsearch.replacing import is_unfinished
from clipsearch.tuning.lessons import PhotoLessons, PhotoReader
from clipsearch.tuning.photos import Captioned, divided
from clipsearch.tuning.run import CHECKPOINT, REPORT, Epoch, Outcome, finetune

COLOURS = {
    "red": (220, 30, 30), "green": (30, 190, 40), "blue": (30, 40, 220), "yellow": (230, 220, 30),
    "black": (10, 10, 10), "white": (245, 245, 245), "pink": (240, 150, 190), "brown": (90, 50, 20),
}  # fmt: skip
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32, "patch_size": 16, "width": 64, "head_width": 32, "layers": 3,
        "patch_dropout": 0.25,  # what is random in a model must be the same again, too
    },
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 2},
}  # fmt: skip
SIGMOID = ARCHITECTURE | {"init_logit_bias": -10}
COURSE = Course(
    epochs=10, batch_size=16, lr=2e-3, precision="fp32", from_scratch=True, weight_decay=0.0
)
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 photos of walls in eight colours, with two captions each."""
    folder = tmp_path_factory.mktemp("walls")
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption", "split"])
        for number in range(64):
            colour = names[number % 8]
            noisy = np.array(COLOURS[colour]) + rng.normal(0, 12, (40, 48, 3))
            name = f"{number:02}.png"
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name)
            split = "val" if number >= 56 else "train"
            rows.writerow([name, f"a {colour} wall", split])
            rows.writerow([name, f"something {colour}", split])
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("architecture") / "tiny-for-tuning.json"
    file.write_text(json.dumps(ARCHITECTURE))
    return str(file)


@pytest.fixture(scope="module")
def undisturbed(
    pairs: Path, architecture: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    """The folder and the outcome of a run that nothing disturbed, on one thread."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    outcome = finetune(pairs, out, architecture, COURSE, workers=1)
    torch.set_num_threads(threads)
    return out, outcome


@dataclass
class FixedLessons:
    """The same batches in every epoch."""

    drawn: list[tuple[np.ndarray, list[str]]]
    steps: int
    folder: Path = Path()
    captions: Sequence[Sequence[str]] = field(default_factory=lambda: [["one"]])

    def batches(self, epoch: int) -> Iterator[tuple[np.ndarray, list[str]]]:
        yield from self.drawn

    def photos(self) -> Iterator[tuple[list[int], np.ndarray]]:
        yield from ()

    def tick(self, done: int, total: int, what: str = "") -> None:
        pass


def batch(count: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(1)
    views = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return views, [f"number {number}" for number in range(count)]


def halves(whole: tuple[np.ndarray, list[str]]) -> list[tuple[np.ndarray, list[str]]]:
    middle = len(whole[1]) // 2
    return [(whole[0][:middle], whole[1][:middle]), (whole[0][middle:], whole[1][middle:])]


def plain(tmp_path: Path, config: dict[str, Any] = ARCHITECTURE) -> str:
    """An architecture without anything random, in a file."""
    vision = config["vision_cfg"] | {"patch_dropout": 0.0}
    file = tmp_path / "plain.json"
    file.write_text(json.dumps(config | {"vision_cfg": vision}))
    return str(file)


def weights_of(taught: Learner, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    taught.write(folder)
    return load_file(folder / WEIGHTS)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


# --- the arithmetic ---------------------------------------------------------------------------


@pytest.mark.parametrize("config", [ARCHITECTURE, SIGMOID], ids=["softmax", "sigmoid"])
def test_the_loss_is_open_clips_own(config: dict[str, Any], tmp_path: Path) -> None:
    views, texts = batch(16)
    taught = learner(plain(tmp_path, config), COURSE, "cpu")
    taught.begin(FixedLessons([], 1), None)
    taught.write(tmp_path)
    model, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{tmp_path}", output_dict=True
    )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    pictures = torch.stack([preprocess(Image.fromarray(view)) for view in views])
    loss = SigLipLoss() if config is SIGMOID else ClipLoss()
    theirs = loss(**model.train()(pictures, tokenizer(texts)), output_dict=True)
    ours = taught.learn(1, FixedLessons([(views, texts)], 1))
    assert ours == pytest.approx(theirs["contrastive_loss"].item(), rel=1e-5)


@pytest.mark.parametrize("config", [ARCHITECTURE, SIGMOID], ids=["softmax", "sigmoid"])
def test_accumulated_batches_are_one_large_batch(config: dict[str, Any], tmp_path: Path) -> None:
    name, whole = plain(tmp_path, config), batch(16)
    large = learner(name, COURSE, "cpu")
    small = learner(name, Course(**vars_of(COURSE) | {"accumulate": 2, "batch_size": 8}), "cpu")
    for epoch in range(1, 4):
        one = large.learn(epoch, FixedLessons([whole], 1))
        other = small.learn(epoch, FixedLessons(halves(whole), 1))
        assert one == pytest.approx(other, rel=1e-4)


def vars_of(course: Course) -> dict[str, Any]:
    return {name: getattr(course, name) for name in course.__slots__}


def course(**others: Any) -> Course:
    return Course(**vars_of(COURSE) | others)


@pytest.mark.parametrize(
    ("unlocked", "learning"),
    [
        (0, set()),
        (1, {"visual.proj"}),
        (2, {"visual.proj", "visual.ln_post", "visual.transformer.resblocks.2"}),
    ],
)
def test_a_locked_image_tower_stays_but_for_its_unlocked_groups(
    unlocked: int, learning: set[str], tmp_path: Path
) -> None:
    taught = learner(plain(tmp_path), course(lock_image=True, unlock_groups=unlocked), "cpu")
    before = weights_of(taught, tmp_path / "before")
    taught.learn(1, FixedLessons([batch(16)], 1))
    names = changed(before, weights_of(taught, tmp_path / "after"))
    seen = {name for name in names if name.startswith("visual.")}
    assert all(name.startswith(tuple(learning)) for name in seen)
    assert {part for part in learning if any(name.startswith(part) for name in seen)} == learning
    assert "token_embedding.weight" in names


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    name = plain(tmp_path)
    losses = [
        [taught.learn(epoch, FixedLessons([batch(16)], 1)) for epoch in (1, 2)]
        for taught in (learner(name, course(grad_checkpointing=it), "cpu") for it in (0, 1))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# --- what is learnt from ----------------------------------------------------------------------


def test_an_epoch_shows_each_photo_once_and_seed_and_epoch_alone_say_how(
    pairs: Path, tmp_path: Path
) -> None:
    photos, _ = divided(pairs, None, None, None, 0)

    def shown(epoch: int, seed: int = 0) -> list[tuple[bytes, str]]:
        with Loaders(1, isolated=False) as loaders:
            reader = PhotoReader(loaders, 8, lambda: False)
            lessons = PhotoLessons(
                photos, View(32), course(seed=seed, accumulate=3, batch_size=10), reader, tmp_path,
                lambda done, total: None, lambda: False,
            )  # fmt: skip
            assert lessons.steps == 2
            batches = list(lessons.batches(epoch))
        assert len(batches) == 6
        return [
            (view.tobytes(), text)
            for views, texts in batches
            for view, text in zip(views, texts, strict=True)
        ]

    first = shown(1)
    assert len({view for view, _ in first}) == len(photos) == 56
    np.random.seed(5)
    torch.manual_seed(5)
    assert shown(1) == first
    assert shown(2) != first
    assert shown(1, seed=1) != first
    both = {text for _, text in first} | {text for _, text in shown(2)}
    assert both == {text for photo in photos for text in photo.captions}


def test_a_photo_to_validate_with_is_never_learnt_from(pairs: Path, tmp_path: Path) -> None:
    def names(photos: Sequence[Captioned]) -> set[str]:
        return {photo.path.name for photo in photos}

    training, validation = divided(pairs, None, None, None, 0)
    assert names(validation) == {f"{number}.png" for number in range(56, 64)}
    assert not names(training) & names(validation)
    training, validation = divided(pairs, None, "train", "0.25", 0)
    assert (len(training), len(validation)) == (42, 14)
    assert not names(training) & names(validation)
    other = tmp_path / "other.csv"
    other.write_text("image,caption\n01.png,a green wall\n")
    training, validation = divided(pairs, pairs.parent, None, str(other), 0)
    assert names(validation) == {"01.png"}
    assert len(training) == 55


# --- whole runs -------------------------------------------------------------------------------


def test_recall_rises_and_the_spec_is_the_model_that_was_measured(
    undisturbed: tuple[Path, Outcome], pairs: Path, tmp_path: Path
) -> None:
    out, outcome = undisturbed
    before, best = outcome.epochs[0].recall, outcome.epochs[outcome.best].recall
    assert before is not None
    assert best is not None
    assert best.text_to_image[0] >= 0.75
    assert best.mean > before.mean
    assert not (out / CHECKPOINT).exists()
    assert outcome.spec is not None
    report = evaluate_retrieval(
        read_pairs(pairs, split="val"), candidates([outcome.spec], "cpu", "fp32")
    )
    (figures,) = report.models
    assert figures.text_to_image.recall[1].value == pytest.approx(best.text_to_image[0])
    with Library.open(tmp_path / "index", model=outcome.spec, device="cpu") as library:
        library.index([pairs.parent])
        assert library.status().models[0].spec == outcome.spec
    with Library.open(tmp_path / "index") as library:
        hits = library.query("a red wall", 4)
    assert {int(hit.path.stem) % 8 for hit in hits} == {0}


def test_it_ends_when_nothing_gets_better(pairs: Path, architecture: str, tmp_path: Path) -> None:
    outcome = finetune(pairs, tmp_path / "out", architecture, course(lr=1e-12), patience=2)
    assert outcome.complete
    assert (outcome.best, len(outcome.epochs) - 1) == (1, 3)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(
    "number",
    [
        *(pytest.param(it, marks=pytest.mark.thorough) for it in (signal.SIGINT, signal.SIGTERM)),
        signal.SIGKILL,
    ],
)
def test_an_interrupted_and_resumed_run_equals_an_undisturbed_one(
    number: signal.Signals,
    pairs: Path,
    architecture: str,
    undisturbed: tuple[Path, Outcome],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    options = [
        "--epochs", "10", "--batch-size", "16", "--lr", "2e-3", "--precision", "fp32",
        "--from-scratch", "--weight-decay", "0", "--workers", "1", "--device", "cpu",
    ]  # fmt: skip
    command = [sys.executable, "-m", "clipsearch", "finetune", str(pairs), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--model", architecture, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not (out / CHECKPOINT).exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.001)
        os.killpg(process.pid, number)  # as a terminal or an init system does: the workers too
        told, said = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert told == ""
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "kept. To go on: the same command with --resume" in said
    with pytest.raises(InvalidInput, match="resume"):
        finetune(pairs, out, architecture, COURSE)
    with pytest.raises(InvalidInput, match=r"with lr 0\.002, not 0\.001"):
        finetune(pairs, out, architecture, course(lr=1e-3), resume=True)
    with pytest.raises(InvalidInput, match="other photos or captions to learn from"):
        finetune(pairs, out, architecture, COURSE, split="val", val="val", resume=True)
    began = len(torch.load(out / CHECKPOINT)["epochs"])
    assert 1 < began < 11
    outcome = finetune(pairs, out, architecture, COURSE, resume=True)
    equal(out, outcome, *undisturbed)


def equal(out: Path, outcome: Outcome, other: Path, others: Outcome) -> None:
    assert (out / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    assert [(it.loss, it.recall) for it in outcome.epochs] == [
        (it.loss, it.recall) for it in others.epochs
    ]
    assert outcome.best == others.best
    assert {file.name for file in out.iterdir()} == {file.name for file in other.iterdir()}


def test_what_is_stopped_in_its_first_epoch_begins_anew(
    pairs: Path, architecture: str, undisturbed: tuple[Path, Outcome], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = iter([False] * 70)
    stopped = finetune(
        pairs, out, architecture, COURSE, stopping=lambda: next(asked, True), workers=1
    )
    assert (stopped.complete, stopped.spec, len(stopped.epochs)) == (False, None, 1)
    outcome = finetune(pairs, out, architecture, course(epochs=1), resume=True)
    assert outcome.complete
    with pytest.raises(InvalidInput, match="finished run"):
        finetune(pairs, out, architecture, course(epochs=1), resume=True)


def test_what_is_done_is_told_from_the_first_moment(
    pairs: Path, architecture: str, tmp_path: Path
) -> None:
    told: list[str] = []
    finetune(
        pairs, tmp_path / "out", architecture, course(epochs=1), workers=1,
        progress=lambda what, done, total: told.append(what),
    )  # fmt: skip
    first = ["reading the table", "loading the model", "validating", "validating captions"]
    assert list(dict.fromkeys(told)) == [*first, "epoch 1"]


# --- the pocket model -------------------------------------------------------------------------


@pytest.mark.skipif(pocket_files() is None, reason="needs the pocket model's packages")
def test_the_heads_of_the_pocket_model_learn_and_go_on(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "TEMPLATES", ("a photo of a {}",))  # a ninth of the work
    short = Course(epochs=2, batch_size=28, precision="fp32", lr=2e-3)
    kept: list[Path] = []

    def keep(epoch: Epoch) -> None:
        if epoch.number == 1:
            kept.append(Path(shutil.copytree(tmp_path / "out", tmp_path / "kept")))

    told: list[str] = []
    whole = finetune(
        pairs, tmp_path / "out", "pocket", short, after_epoch=keep,
        progress=lambda what, done, total: told.append(what),
    )  # fmt: skip
    first = ["looking at the photos", "reading the captions", "reading the names of classes"]
    assert list(dict.fromkeys(told))[2:5] == first
    resumed = finetune(pairs, kept[0], "pocket", short, resume=True)
    ours, theirs = (Path(parse_spec(str(it.spec)).file) for it in (resumed, whole))
    assert ours.read_bytes() == theirs.read_bytes() != HEADS.read_bytes()
    encoder = load(parse_spec(str(whole.spec)), "cpu", "fp32")
    shipped = load(parse_spec("pocket"), "cpu", "fp32")
    assert encoder.weights != shipped.weights
    assert encoder.encode_texts(["a red wall"]).shape == (1, shipped.dim)
    before, after = whole.epochs[0].recall, whole.epochs[-1].recall
    assert before is not None
    assert after is not None
    assert after.mean > before.mean
    with pytest.raises(InvalidInput, match="lock_image are not for it"):
        finetune(pairs, tmp_path / "no", "pocket", Course(lock_image=True))


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("learning", "others", "message"),
    [
        ({"epochs": 0}, {}, "epochs must be at least 1"),
        ({"batch_size": 1}, {}, "batch_size must be at least 2"),
        ({"lr": 0.0}, {}, "lr must be between 0 and 1"),
        ({"warmup": 2.0}, {}, "warmup is a share"),
        ({"unlock_groups": 1}, {}, "add lock_image"),
        ({"precision": "int8"}, {}, "auto, bf16, fp16 or fp32"),
        ({"accumulate": 40}, {"split": "val", "val": "0"}, "a step needs at least 80"),
        ({}, {"patience": 0}, "patience must be at least 1"),
        ({}, {"val": "0.99"}, "from 0 to 0.9"),
        ({}, {"val": "nothing"}, "no row of the split 'nothing'"),
        ({}, {"images": "elsewhere"}, "none of the photos"),
        ({"from_scratch": False}, {"model": "nonsense"}, "names no model"),
        ({"from_scratch": False}, {"model": "alpha-clip:a/b"}, "alpha-clip are not fine-tuned"),
        ({}, {"model": "nonsense"}, "no architecture 'nonsense'"),
        ({}, {"model": "missing.json"}, "cannot be read as an architecture"),
        ({"lock_image": True, "unlock_groups": 1}, {"model": "RN50"}, "cannot lock"),
    ],
)
def test_what_cannot_be_is_told(
    learning: dict[str, Any],
    others: dict[str, Any],
    message: str,
    pairs: Path,
    architecture: str,
    tmp_path: Path,
) -> None:
    if "images" in others:
        others = {"images": tmp_path / "elsewhere"}
    with pytest.raises(ClipsearchError) as raised:
        finetune(
            pairs,
            tmp_path / "out",
            **{"model": architecture, "course": course(**learning)} | others,
        )
    assert message in str(raised.value)


def test_a_folder_that_holds_something_else_is_left_alone(
    clipsearch: Run, pairs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.txt").write_text("months of work")
    done = clipsearch("finetune", pairs, "--model", "pocket", "--out", folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "holds other files (thesis.txt...)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(folder) == ["thesis.txt"]


def test_a_folder_that_cannot_be_made_is_told_before_a_model_is_loaded(
    pairs: Path, tmp_path: Path
) -> None:
    (file := tmp_path / "notes.txt").write_text("")
    with pytest.raises(InvalidInput, match=r"is or lies in a file, .*notes\.txt; name"):
        finetune(pairs, file / "out", "no such model", COURSE)


@pytest.mark.parametrize("now", ["gone", "a file"])
def test_a_folder_that_is_lost_on_the_way_is_told(
    now: str, pairs: Path, architecture: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def lose(epoch: Epoch) -> None:
        out.rmdir()
        if now == "a file":
            out.touch()

    with pytest.raises(InvalidInput, match=r"out could not be written \(.*the same command with"):
        finetune(pairs, out, architecture, course(epochs=1), workers=1, after_epoch=lose)


@pytest.mark.skipif(os.name != "posix", reason="limits of files' sizes")
def test_a_full_disk_is_told_and_costs_nothing_that_was_kept(
    pairs: Path, architecture: str, tmp_path: Path
) -> None:
    import resource

    out, (_, most) = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(epoch: Epoch) -> None:
        if epoch.number == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))

    try:
        with pytest.raises(InvalidInput, match=r"could not be written \(File too large\); what"):
            finetune(pairs, out, architecture, course(epochs=2), workers=1, after_epoch=fill)
        with pytest.raises(OSError, match="File too large"):
            save_weights(out / WEIGHTS, {"a": torch.zeros(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert not [it for it in out.iterdir() if is_unfinished(it.name)]
    assert len(torch.load(out / CHECKPOINT)["epochs"]) == 2
    assert finetune(pairs, out, architecture, course(epochs=2), resume=True).complete


def test_an_architecture_below_a_file_is_told_in_words(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = str(tmp_path / "file" / "a.json")
    with pytest.raises(ModelError, match=r"as an architecture: Not a directory") as raised:
        finetune(pairs, tmp_path / "out", model, COURSE)
    assert "Errno" not in str(raised.value)


def test_a_folder_spec_needs_its_two_files(tmp_path: Path) -> None:
    spec = parse_spec(f"open_clip:{tmp_path}")
    assert str(spec) == f"open_clip:{tmp_path}"
    with pytest.raises(ModelError, match=r"no folder with open_clip_config\.json"):
        load(spec, "cpu")
    with pytest.raises(ModelError, match="no file or folder"):
        parse_spec("pocket:missing.safetensors")
    file = tmp_path / "heads.safetensors"
    file.write_bytes(b"no heads")
    with pytest.raises(ModelError, match="no heads of the pocket model"):
        load(parse_spec(f"pocket:{file}"), "cpu")


def test_the_report_says_what_was_done(undisturbed: tuple[Path, Outcome]) -> None:
    out, outcome = undisturbed
    report = json.loads((out / REPORT).read_text())
    assert report["options"]["lr"] == COURSE.lr
    assert {name: report[name] for name in outcome.as_dict()} == outcome.as_dict()
    assert documented("finetune") == outcome.as_dict().keys()
