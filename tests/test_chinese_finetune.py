"""Chinese-CLIP learns: by the loss of its authors' own training, in both stages, to the bit."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run
from PIL import Image
from safetensors.torch import load_file
from test_chinese_authors import CLIP, TEXTS, cn_clip, random_model, save, small, unit
from test_finetune import COLOURS, FixedLessons, batch, changed, course, halves

from clipsearch import InvalidInput, ModelError
from clipsearch.encoders import load, parse_spec
from clipsearch.encoders.learning import Learner, learner
from clipsearch.encoders.onnx.export import export_model
from clipsearch.tuning.run import Epoch, Outcome, finetune

transformers = pytest.importorskip("transformers")
training = pytest.importorskip("cn_clip.training.train")

CHINESE = {
    "red": "红", "green": "绿", "blue": "蓝", "yellow": "黄", "black": "黑", "white": "白",
    "pink": "粉", "brown": "棕",
}  # fmt: skip
SIZES = ("ViT-B-16", "RN50")
STILL = {"text_attention_probs_dropout_prob": 0.0, "text_hidden_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 photos of walls in eight colours, with two Chinese captions each."""
    folder = tmp_path_factory.mktemp("walls")
    rng = np.random.default_rng(0)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption", "split"])
        for number in range(64):
            colour = list(COLOURS)[number % 8]
            noisy = np.array(COLOURS[colour]) + rng.normal(0, 12, (40, 48, 3))
            name = f"{number:02}.png"
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name)
            split = "val" if number >= 56 else "train"
            rows.writerow([name, f"{CHINESE[colour]}色的墙", split])
            rows.writerow([name, f"有“{CHINESE[colour]}”的东西", split])
    return folder / "pairs.csv"


def tiny(size: str, **others: Any) -> dict[str, Any]:
    """A size in small, in the authors' form, with their vocabulary."""
    return small(size) | {"image_resolution": 32, "vocab_size": 21128} | others


def written(told: dict[str, Any], folder: Path) -> str:
    """What a model of that configuration is called, to begin with from scratch."""
    file = folder / "tiny.json"
    file.write_text(json.dumps(told | {"vision_layers": str(told["vision_layers"])}))
    return f"chinese-clip:{file}"


def by_cn_clip(told: dict[str, Any], file: Path) -> Any:
    """The authors' own model with the weights of a file, read as they read it."""
    model = CLIP(**told)
    state = torch.load(file)["state_dict"]
    model.load_state_dict({name.removeprefix("module."): part for name, part in state.items()})
    return model


def of_file(told: dict[str, Any], folder: Path) -> tuple[Any, str]:
    """cn_clip's model with nothing random in it, and the same as transformers has it."""
    theirs = random_model(told | STILL).float()
    file = save(theirs, folder / "clip.pt")
    taught = learner(f"chinese-clip:{file}", course(from_scratch=False), "cpu")
    (folder / "still").mkdir()
    taught.write(folder / "still")
    written = folder / "still" / "config.json"
    config = json.loads(written.read_text())
    config["text_config"] |= {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    written.write_text(json.dumps(config))
    return theirs, f"chinese-clip:{folder / 'still'}"


def from_nothing(told: dict[str, Any], folder: Path) -> Learner:
    return learner(written(told | STILL, folder), course(from_scratch=True), "cpu")


def lesson(count: int = 16) -> tuple[np.ndarray, list[str]]:
    views, _ = batch(count)
    return views, [f"第{number}只“猫”" for number in range(count)]


# --- the arithmetic ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_is_that_of_the_authors_own_training(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tiny(size)
    if size == "RN50":
        taught = from_nothing(told, tmp_path)
        taught.write(tmp_path)
        theirs = by_cn_clip(told | STILL, tmp_path / "clip_cn.pt")
    else:
        theirs, spec = of_file(told, tmp_path)
        taught = learner(spec, course(from_scratch=False), "cpu")
    views, texts = lesson()
    pictures = [cn_clip.image_transform(32)(Image.fromarray(view)) for view in views]
    # As their data set prepares texts, which needs a database to be imported.
    adapted = [text.lower().replace("“", '"').replace("”", '"') for text in texts]
    arguments = SimpleNamespace(
        accum_freq=1, mask_ratio=0, distillation=False, aggregate=False, local_device_rank=0,
        report_training_batch_acc=False,
    )  # fmt: skip
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)
    expected, _ = training.get_loss(
        theirs.train(), torch.stack(pictures), cn_clip.tokenize(adapted),
        torch.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), arguments,
    )  # fmt: skip
    taught.begin(FixedLessons([], 1), None)
    ours = taught.learn(1, FixedLessons([(views, texts)], 1))
    assert ours == pytest.approx(expected.item(), rel=1e-5)


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    _, spec = of_file(tiny("ViT-B-16"), tmp_path)
    large = learner(spec, course(from_scratch=False), "cpu")
    small = learner(spec, course(from_scratch=False, accumulate=2, batch_size=8), "cpu")
    for epoch in range(1, 4):
        one = large.learn(epoch, FixedLessons([lesson()], 1))
        other = small.learn(epoch, FixedLessons(halves(lesson()), 1))
        assert one == pytest.approx(other, rel=1e-4)


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    _, spec = of_file(tiny("ViT-B-16"), tmp_path)
    losses = [
        [taught.learn(epoch, FixedLessons([lesson()], 1)) for epoch in (1, 2)]
        for taught in (
            learner(spec, course(from_scratch=False, grad_checkpointing=it), "cpu") for it in (0, 1)
        )
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def weights_in(taught: Learner, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    taught.write(folder)
    if (folder / "clip_cn.pt").is_file():
        state: dict[str, torch.Tensor] = torch.load(folder / "clip_cn.pt")["state_dict"]
        return state
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("size", "unlocked", "learning"),
    [
        ("RN50", 0, set()),
        ("ViT-B-16", 0, set()),
        ("ViT-B-16", 1, {"visual_projection"}),
        (
            "ViT-B-16", 2,
            {"visual_projection", "vision_model.post_layernorm", "vision_model.encoder.layers.1."},
        ),
    ],
)  # fmt: skip
def test_a_locked_image_tower_stays_but_for_its_unlocked_groups(
    size: str, unlocked: int, learning: set[str], tmp_path: Path
) -> None:
    told = course(lock_image=True, unlock_groups=unlocked, from_scratch=True)
    taught = learner(written(tiny(size), tmp_path), told, "cpu")
    before = weights_in(taught, tmp_path / "before")
    taught.learn(1, FixedLessons([lesson()], 1))
    names = changed(before, weights_in(taught, tmp_path / "after"))
    seen = {name for name in names if "visual" in name or "vision" in name}  # what it counted too
    assert all(name.startswith(tuple(learning)) for name in seen)
    assert {part for part in learning if any(name.startswith(part) for name in seen)} == learning
    assert any("word_embeddings" in name for name in names)


def test_of_a_resnet_no_groups_are_unlocked(tmp_path: Path) -> None:
    told = course(lock_image=True, unlock_groups=1, from_scratch=True)
    with pytest.raises(ModelError, match="unlock_groups"):
        learner(written(tiny("RN50"), tmp_path), told, "cpu")


# --- whole runs -------------------------------------------------------------------------------


def kept_after_first(
    pairs: Path, model: str, told: Any, folder: Path
) -> tuple[Outcome, Path, Outcome, Path]:
    """A run that nothing disturbed, and one that goes on from what that had after its first."""
    out, kept = folder / "out", folder / "kept"

    def keep(epoch: Epoch) -> None:
        if epoch.number == 1:
            shutil.copytree(out, kept)

    whole = finetune(pairs, out, model, told, workers=1, after_epoch=keep)
    return whole, out, finetune(pairs, kept, model, told, workers=1, resume=True), kept


@pytest.mark.parametrize(
    ("size", "precision"), [("ViT-B-16", "fp32"), ("ViT-B-16", "fp16"), ("RN50", "bf16")]
)
def test_a_resumed_run_equals_an_undisturbed_one_to_the_bit(
    size: str, precision: str, pairs: Path, tmp_path: Path
) -> None:
    told = course(epochs=3, precision=precision)
    whole, out, resumed, kept = kept_after_first(
        pairs, written(tiny(size), tmp_path), told, tmp_path
    )
    assert [(it.loss, it.recall) for it in resumed.epochs] == [
        (it.loss, it.recall) for it in whole.epochs
    ]
    names = {file.name for file in out.iterdir()}
    assert {file.name for file in kept.iterdir()} == names
    for name in names - {"finetune.json"}:
        assert (kept / name).read_bytes() == (out / name).read_bytes()


@pytest.fixture(scope="module")
def learnt(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A small ViT and RoBERTa that learnt from nothing."""
    folder = tmp_path_factory.mktemp("learnt")
    model = written(tiny("ViT-B-16"), folder)
    return finetune(pairs, folder / "out", model, course(epochs=12), workers=1)


@pytest.mark.thorough
def test_recall_rises_from_nothing(learnt: Outcome) -> None:
    before, best = learnt.epochs[0].recall, learnt.epochs[learnt.best].recall
    assert before is not None
    assert best is not None
    assert best.text_to_image[0] >= 0.5  # of eight photos
    assert best.mean > before.mean


@pytest.mark.thorough
def test_transformers_and_an_export_read_what_was_learnt(learnt: Outcome, tmp_path: Path) -> None:
    spec = parse_spec(str(learnt.spec))
    encoder = load(spec, "cpu", "fp32")
    model = transformers.ChineseCLIPModel.from_pretrained(spec.file).eval()
    read = transformers.ChineseCLIPProcessor.from_pretrained(spec.file)
    views, _ = batch(4)
    told = read(images=list(views), return_tensors="pt")
    cut = read.tokenizer(TEXTS, padding=True, truncation=True, max_length=52, return_tensors="pt")
    with torch.inference_mode():
        pictures = unit(model.get_image_features(told["pixel_values"]).pooler_output)
        texts = unit(model.get_text_features(**cut).pooler_output)
    assert encoder.encode_images(views) == pytest.approx(pictures, abs=1e-5)
    assert encoder.encode_texts(TEXTS) == pytest.approx(texts, abs=1e-5)
    export_model(spec, tmp_path / "onnx")
    exported = load(parse_spec(f"onnx:{tmp_path / 'onnx'}"))
    assert exported.encode_texts(TEXTS) == pytest.approx(texts, abs=1e-3)


def test_the_authors_package_reads_a_resnet_that_learnt(pairs: Path, tmp_path: Path) -> None:
    told = tiny("RN50")
    outcome = finetune(
        pairs, tmp_path / "out", written(told, tmp_path), course(epochs=1), workers=1
    )
    spec = parse_spec(str(outcome.spec))
    encoder = load(spec, "cpu", "fp32")
    model = by_cn_clip(told, Path(spec.file)).eval()
    views, _ = batch(4)
    pictures = [cn_clip.image_transform(32)(Image.fromarray(view)) for view in views]
    with torch.inference_mode():
        seen = unit(model.encode_image(torch.stack(pictures)))
        texts = unit(model.encode_text(cn_clip.tokenize(TEXTS)))
    assert encoder.encode_images(views) == pytest.approx(seen, abs=1e-5)
    assert encoder.encode_texts(TEXTS) == pytest.approx(texts, abs=1e-5)


def test_both_stages_from_the_command_line(
    clipsearch: Run, learnt: Outcome, pairs: Path, tmp_path: Path
) -> None:
    def stage(model: str, name: str, *options: str) -> str:
        done = clipsearch(
            "finetune", pairs, "--model", model, "--out", tmp_path / name, "--epochs", "1",
            "--batch-size", "16", "--device", "cpu", "--workers", "1", "--json", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["spec"])

    first = stage(str(learnt.spec), "first", "--lock-image")
    second = stage(first, "second", "--precision", "bf16", "--grad-checkpointing")
    before, locked, whole = (
        load_file(Path(parse_spec(it).file) / "model.safetensors")
        for it in (str(learnt.spec), first, second)
    )
    assert {name.split(".")[0] for name in changed(before, locked)} == {
        "text_model", "text_projection", "logit_scale",
    }  # fmt: skip
    assert {name.split(".")[0] for name in changed(locked, whole)} >= {
        "vision_model", "visual_projection", "text_model",
    }  # fmt: skip


def test_a_configuration_of_transformers_is_begun_with_too(pairs: Path, tmp_path: Path) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ChineseCLIPConfig(
        text_config=shape | {"intermediate_size": 32, "vocab_size": 21128},
        vision_config=shape | {"intermediate_size": 32, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    config.save_pretrained(tmp_path / "config")
    model = f"chinese-clip:{tmp_path / 'config'}"
    outcome = finetune(pairs, tmp_path / "out", model, course(epochs=1), workers=1)
    assert load(parse_spec(str(outcome.spec)), "cpu", "fp32").dim == 16


@pytest.mark.parametrize("said", ["{}", '{"vision_config": {"hidden_size": "large"}}', "nothing"])
def test_what_describes_no_model_is_refused(said: str, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(said)
    with pytest.raises(ModelError, match=r"config\.json"):
        finetune(pairs, tmp_path / "out", f"chinese-clip:{tmp_path / 'config.json'}", course())


def test_the_pocket_model_does_not_learn_in_fp16(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="fp16"):
        finetune(pairs, tmp_path / "out", "pocket", course(precision="fp16"))
