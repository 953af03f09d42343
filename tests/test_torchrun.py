"""Several processes that torchrun started teach one model, as one process would."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jointly
import open_clip
import pytest
import test_chinese
import test_finetune
import torch
from conftest import Run
from safetensors.torch import load_file
from test_finetune import ARCHITECTURE, COURSE, SIGMOID, WEIGHTS, plain

from clipsearch import InvalidInput, ModelError
from clipsearch.encoders.joint.world import World
from clipsearch.encoders.learning import Course, learner
from clipsearch.tuning.photos import Captioned, check_seen
from clipsearch.tuning.run import CHECKPOINT, REPORT, finetune

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo, and signals")

pairs = test_finetune.pairs  # fixtures
chinese = test_chinese.folder

TORCHRUN = [
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
]  # fmt: skip
SHORT = replace(COURSE, epochs=2, accumulate=2, batch_size=8)
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
COCA: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": ARCHITECTURE["vision_cfg"]
    | {
        "patch_dropout": 0.0, "attentional_pool": True, "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": TEXT | {"attn_pooler_heads": 2},
    "custom_text": True,
}  # fmt: skip


def started(*arguments: str | Path, processes: int = 2) -> subprocess.Popen[str]:
    """A command in several processes, as a person starts it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*TORCHRUN[:-1], str(processes), *map(str, arguments)], text=True, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], timeout: float = 300) -> tuple[str, str]:
    """What a command said on stdout and stderr; it is gone then in any case."""
    try:
        return process.communicate(timeout=timeout)
    finally:
        process.terminate()  # its processes go with torchrun
        process.communicate()


def ours(said: str) -> list[str]:
    """What clipsearch said, of what is on stderr; the rest is torchrun's."""
    return [line for line in said.splitlines() if line.startswith("clipsearch: ")]


def begun(process: subprocess.Popen[str], checkpoint: Path) -> list[int]:
    """Wait until an epoch is kept; gives the processes by rank."""
    end = time.monotonic() + 200
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {}
    for pid in children:
        told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks[next(int(it[5:]) for it in told if it.startswith(b"RANK="))] = int(pid)
    return [ranks[rank] for rank in sorted(ranks)]


def command(pairs: Path, out: Path, model: str, course: Course) -> list[str | Path]:
    """The command of a course."""
    return [
        "-m", "clipsearch", "finetune", pairs, "--out", out, "--model", model, "--epochs",
        str(course.epochs), "--batch-size", str(course.batch_size), "--accumulate",
        str(course.accumulate), "--lr", str(course.lr), "--precision", course.precision,
        "--weight-decay", "0", "--from-scratch", "--workers", "1", "--device", "cpu",
    ]  # fmt: skip


# --- the arithmetic ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ways(chinese: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Models and how they learn, with nothing random in it."""
    folder = tmp_path_factory.mktemp("ways")
    (folder / "sigmoid").mkdir()
    still = Path(shutil.copytree(chinese, folder / "still"))
    config = json.loads((still / "config.json").read_text())
    config["text_config"] |= {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps(config))
    clip, zh = plain(folder), f"chinese-clip:{still}"
    taught = learner(clip, COURSE, "cpu")
    (folder / "teacher").mkdir()
    taught.write(folder / "teacher")
    scratch = replace(COURSE, epochs=jointly.EPOCHS, warmup=0, lr=1e-4)
    loaded = replace(scratch, from_scratch=False)
    teacher = f"open_clip:{folder / 'teacher'}"
    made = {
        "open_clip": (clip, replace(scratch, grad_checkpointing=True)),
        "accumulating": (clip, replace(scratch, accumulate=3)),
        "locked": (clip, replace(scratch, lock_image=True, unlock_groups=1)),
        "taught": (clip, replace(scratch, teacher=teacher)),
        "half": (clip, replace(scratch, precision="bf16")),
        "sigmoid": (plain(folder / "sigmoid", SIGMOID), replace(scratch, accumulate=2)),
        "coca": (coca(folder / "coca"), loaded),
        "chinese": (zh, replace(loaded, accumulate=2)),
        "chinese taught": (zh, replace(loaded, teacher=teacher)),
    }
    return {name: {"model": it, "course": asdict(course)} for name, (it, course) in made.items()}


def coca(folder: Path) -> str:
    """A small CoCa, all of whose weights have a value."""
    folder.mkdir()
    file = folder / "tiny-coca.json"
    file.write_text(json.dumps(COCA))
    open_clip.add_model_config(file)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-coca")
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.1)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    told = {"model_cfg": COCA, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    return f"open_clip:{folder}"


@pytest.mark.thorough
def test_shares_of_a_batch_teach_what_the_whole_batch_teaches(
    ways: dict[str, Any], tmp_path: Path
) -> None:
    """Two processes whose shares are not equal, in all ways of learning, to rounding."""
    (tmp_path / "ways.json").write_text(json.dumps(ways))
    process = started(jointly.__file__, tmp_path / "ways.json", tmp_path / "learnt.pt")
    alone = {name: jointly.learnt(way) for name, way in ways.items()}
    _, said = ended(process)
    assert process.returncode == 0, said
    together = torch.load(tmp_path / "learnt.pt")
    assert together.keys() == alone.keys()
    for name, theirs in together.items():
        check_alike(name, theirs, alone[name])


def check_alike(name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    rough = 0.02 if name == "half" else 1e-4
    assert theirs["losses"] == pytest.approx(ours["losses"], rel=rough), name
    for part, weight in ours["model"].items():
        assert name == "half" or torch.allclose(theirs["model"][part], weight, atol=3e-5), name
    # AdamW takes steps of the same length whatever the gradients' scale: so these are compared too.
    theirs_, ours_ = theirs["optimizer"]["state"], ours["optimizer"]["state"]
    assert theirs_.keys() == ours_.keys(), name
    largest = max(float(it["exp_avg"].abs().max()) for it in ours_.values())
    for number, moments in ours_.items():
        apart = (theirs_[number]["exp_avg"] - moments["exp_avg"]).abs().max()
        assert float(apart) < 10 * rough * largest, (name, number)


# --- whole runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a run by one process with the whole batches, and what it reported."""
    folder = tmp_path_factory.mktemp("alone")
    (pairs.parent / "00.png").write_bytes(b"no picture")
    finetune(pairs, folder / "out", plain(folder), SHORT, workers=1)
    return folder / "out", json.loads((folder / "out" / REPORT).read_text())


@pytest.mark.thorough
def test_a_process_that_is_killed_ends_all_and_the_run_goes_on_to_what_one_process_makes(
    pairs: Path, alone: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, (one, report) = tmp_path / "out", alone
    arguments = command(pairs, out, plain(tmp_path), SHORT)
    process = started(*arguments)
    killed = begun(process, out / CHECKPOINT)[1]
    os.kill(killed, signal.SIGKILL)
    told, said = ended(process, timeout=60)
    assert told == ""
    assert process.returncode != 0
    lines = ours(said)
    assert "00.png is left out" in lines[1]
    assert lines[2:] == [
        "clipsearch: process 1 of those that torchrun started ended before its time, and with it"
        " all; finished epochs are kept. To go on: the same command with --resume"
    ]
    told, said = ended(process := started(*arguments, "--resume", "--json"))
    assert process.returncode == 0, said
    check_same(out, json.loads(told), one, report)
    assert sum("00.png is left out" in line for line in ours(said)) == 1


def check_same(out: Path, told: dict[str, Any], one: Path, report: dict[str, Any]) -> None:
    """It is what one process made, to rounding."""
    assert {it.name for it in out.iterdir()} == {it.name for it in one.iterdir()}
    assert [told[name] for name in ("best", "complete", "photos", "captions", "validated")] == [
        report[name] for name in ("best", "complete", "photos", "captions", "validated")
    ]
    for theirs, ours_ in zip(told["epochs"], report["epochs"], strict=True):
        assert theirs["epoch"] == 0 or theirs["loss"] == pytest.approx(ours_["loss"], rel=1e-4)
        assert theirs["text_to_image"] == ours_["text_to_image"]
        assert theirs["image_to_text"] == ours_["image_to_text"]
    theirs, ours_ = load_file(out / WEIGHTS), load_file(one / WEIGHTS)
    assert theirs.keys() == ours_.keys()
    for name, weight in ours_.items():
        assert torch.allclose(theirs[name], weight, atol=1e-4), name


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on_with_another_number_of_processes(
    number: signal.Signals,
    pairs: Path,
    alone: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    clipsearch: Run,
) -> None:
    out, (one, report) = tmp_path / "out", alone
    arguments = command(pairs, out, plain(tmp_path), SHORT)
    process = started(*arguments, processes=3)
    begun(process, out / CHECKPOINT)
    process.send_signal(number)
    told, said = ended(process, timeout=60)
    assert told == ""
    last = "clipsearch: stopped; 1 epoch kept. To go on: the same command with --resume"
    assert ours(said)[-1] == last
    asked = [line for line in ours(said) if "stopping after the current batch" in line]
    assert len(asked) == (number == signal.SIGINT)
    done = clipsearch(*arguments[2:], "--resume", "--json")
    check_same(out, json.loads(done.stdout), one, report)


@pytest.mark.thorough
def test_a_first_process_that_is_killed_ends_all(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(*command(pairs, out, plain(tmp_path), SHORT), processes=3)
    os.kill(begun(process, out / CHECKPOINT)[0], signal.SIGKILL)
    _, said = ended(process, timeout=60)
    assert re.fullmatch(r"clipsearch: process 0 of those .* with --resume", ours(said)[-1])
    assert sum("before its time" in line for line in ours(said)) == 1


# --- what cannot be ---------------------------------------------------------------------------


def test_an_error_is_said_once(pairs: Path, tmp_path: Path) -> None:
    _, said = ended(process := started(*command(pairs, tmp_path / "out", "nonsense", SHORT)))
    assert process.returncode != 0
    (_, line) = ours(said)
    assert "no architecture 'nonsense'" in line
    assert said.count("nonsense'") == 1
    assert not (tmp_path / "out").exists()


def test_another_command_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    index = tmp_path / "index"
    arguments = ("-m", "clipsearch", "add", tmp_path, "--index", index)
    told, said = ended(process := started(*arguments))
    assert (process.returncode, told) == (1, "")
    (line,) = ours(said)
    assert "start clipsearch index without it" in line
    assert not index.exists()


@pytest.mark.thorough
def test_help_is_told_once() -> None:
    told, _ = ended(started("-m", "clipsearch", "--help"))
    assert told.count("Usage:") == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--batch-size", "2", "--accumulate", "1"], "(3); --batch-size is of all of them"),
        (["--model", "pocket"], "learn in one process; start it without torchrun"),
        (["--model", "RN50"], "add --lock-image"),
        (["--images", "nowhere"], "none of the photos"),
        (["--device", "mps"], "--device is auto, cpu or cuda"),
        (["--epochs", "no"], "no"),
    ],
)
def test_what_is_wrong_is_said_once_whatever_it_is(
    changed: list[str], message: str, pairs: Path, tmp_path: Path
) -> None:
    arguments = command(pairs, tmp_path / "out", plain(tmp_path), SHORT)
    _, said = ended(process := started(*arguments, *changed, processes=3))
    assert process.returncode != 0
    errors = [line for line in ours(said) if "learning from" not in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert sum("Traceback" in line for line in said.splitlines()) == 1  # torchrun's own


def test_shares_hold_all_and_differ_by_one_at_most() -> None:
    for count in range(9):
        shares = [World(rank, 4).share(range(count)) for rank in range(4)]
        assert [it for share in shares for it in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_machine_that_does_not_see_the_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"a\.jpg is not there on {socket.gethostname()};"):
        check_seen([Captioned(tmp_path / "a.jpg", ("a cat",))])
    check_seen([Captioned(tmp_path, ("a cat",))])


def test_a_resnet_is_taught_by_several_processes_on_gpus_alone() -> None:
    with pytest.raises(ModelError, match="on GPUs alone"):
        learner("RN50", COURSE, "cpu", World(0, 2))
    learner("RN50", replace(COURSE, lock_image=True), "cpu", World(0, 2))
    with pytest.raises(InvalidInput, match="without torchrun"):
        learner("pocket", Course(), "cpu", World(0, 2))
