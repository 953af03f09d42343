"""What embeds photos, and that few of them, or any with pocket on a processor, need no torch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event

import anyio
import numpy as np
import pytest
from conftest import Run, picture
from mcp import Client, StdioServerParameters, stdio_client
from safetensors.numpy import load_file, save_file
from tiny import OTHER, TinyEncoder, open_other

from clipsearch import InvalidInput, Library
from clipsearch.encoders import load, load_light, parse_spec
from clipsearch.encoders.aliases import ALIASES
from clipsearch.encoders.choice import FEW, FEWEST, choose
from clipsearch.encoders.onnx.export import write_to_cache
from clipsearch.encoders.onnx.folder import Facts, cached_folder
from clipsearch.encoders.onnx.probes import made_views
from clipsearch.encoders.onnx.text_export import PROBES, export_texts
from clipsearch.encoders.openclip.graphs import KNOWN, graph_file
from clipsearch.encoders.pocket.parts import HEADS
from clipsearch.errors import ModelError
from clipsearch.indexing.succession import Succession
from clipsearch.replacing import remove

# Runs the command line where torch and what is built on it cannot be imported.
LIGHT = """
import sys
for name in ("torch", "open_clip", "transformers", "timm"):
    sys.modules[name] = None
from clipsearch.cli import main
main()
"""


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache in which nothing was exported yet."""
    folder, before = tmp_path_factory.mktemp("cache"), os.environ["CLIPSEARCH_CACHE"]
    os.environ["CLIPSEARCH_CACHE"] = str(folder)
    yield folder
    os.environ["CLIPSEARCH_CACHE"] = before


def without_openvino(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """As a machine is for which there is no OpenVINO, more than so few photos being many."""
    monkeypatch.setattr("clipsearch.encoders.choice._suits_openvino", lambda: False)
    monkeypatch.setattr("clipsearch.encoders.choice.FEWEST", few)
    monkeypatch.setattr("clipsearch.encoders.choice.FEW", few)


# The choice


def no_card() -> None:
    return None


def no_bf16() -> None:
    return None


def no_openvino() -> bool:
    return False


@pytest.mark.parametrize(
    ("family", "runtime", "device", "count", "expected"),
    [
        ("open_clip", "auto", "auto", FEW, "onnx"),
        ("open_clip", "auto", "auto", FEW + 1, "torch"),
        ("open_clip", "auto", "cpu", FEW + 1, "torch"),
        ("open_clip", "auto", "cuda", 1, "torch"),
        ("open_clip", "torch", "auto", 1, "torch"),
        ("open_clip", "onnx", "auto", 10**6, "onnx"),
        ("pocket", "auto", "auto", 10**6, "onnx"),
        ("pocket", "torch", "auto", 1, "torch"),
        ("onnx", "auto", "cuda", 10**6, "onnx"),
    ],
)
def test_few_are_for_onnx_runtime_and_many_for_torch_where_the_processor_has_bf16(
    family: str, runtime: str, device: str, count: int, expected: str
) -> None:
    choice = choose(family, runtime, device, count, no_card, lambda: "amx_bf16", no_openvino)
    assert choice.runtime == expected


def test_all_but_a_handful_are_for_openvino_where_the_processor_has_bf16_and_there_is_no_card() -> (
    None
):
    def chosen(
        count: int, device: str, card: str | None, family: str = "open_clip", bf16: bool = True
    ) -> str:
        answers = (lambda: card), (lambda: "amx_bf16" if bf16 else None), (lambda: True)
        return choose(family, "auto", device, count, *answers).runtime

    assert chosen(FEWEST, "auto", None) == "onnx"
    assert chosen(FEWEST + 1, "auto", None) == "openvino"
    assert chosen(10**6, "auto", None) == "openvino"
    assert chosen(FEW, "auto", "cuda") == "openvino"
    assert chosen(FEW + 1, "auto", "cuda") == "torch"
    assert chosen(FEW + 1, "cpu", "cuda") == "openvino"
    assert chosen(10**6, "auto", None, bf16=False) == "onnx"
    assert chosen(10**6, "auto", None, family="pocket") == "onnx"


def test_without_bf16_and_without_a_card_all_are_for_onnx_runtime() -> None:
    choice = choose("open_clip", "auto", "auto", 10**6, no_card, no_bf16, no_openvino)
    assert choice == ("onnx", "the processor has neither amx_bf16 nor avx512_bf16")


@pytest.mark.parametrize("family", ["open_clip", "pocket"])
def test_a_card_takes_many_and_not_where_the_processor_is_asked_for(family: str) -> None:
    answers = (lambda: "cuda"), no_bf16, no_openvino
    choice = choose(family, "auto", "auto", FEW + 1, *answers)
    assert choice == ("torch", "there is a GPU, cuda")
    assert choose(family, "auto", "auto", FEW, *answers).runtime == "onnx"
    assert choose(family, "auto", "cpu", FEW + 1, *answers).runtime == "onnx"


# Pocket, whose graphs ship


def test_what_ships_gives_the_embeddings_of_torch() -> None:
    light, torch = load_light(parse_spec("pocket")), load(parse_spec("pocket"), "cpu", "fp32")
    assert light is not None
    for name in ("weights", "preprocess", "dim", "resolution", "context", "logit_scale", "prepare"):
        assert getattr(light, name) == getattr(torch, name)
    views = made_views(torch, 7)
    np.testing.assert_allclose(light.encode_images(views), torch.encode_images(views), atol=1e-5)
    np.testing.assert_allclose(light.encode_texts(PROBES), torch.encode_texts(PROBES), atol=1e-5)
    assert [light.count_tokens(it) for it in PROBES] == [torch.count_tokens(it) for it in PROBES]


@pytest.mark.thorough
def test_other_heads_of_the_same_shape_need_no_torch_and_those_of_another_do(
    tmp_path: Path,
) -> None:
    from safetensors import safe_open

    with safe_open(HEADS, framework="np") as stored:
        metadata = stored.metadata()
    tensors = {name: tensor * np.float16(0.9) for name, tensor in load_file(HEADS).items()}
    save_file(tensors, same := tmp_path / "same.safetensors", metadata)
    light, torch = (open_it(parse_spec(f"pocket:{same}")) for open_it in (load_light, load))
    assert light is not None
    np.testing.assert_allclose(light.encode_texts(PROBES), torch.encode_texts(PROBES), atol=1e-5)
    shape = json.loads(metadata["shape"]) | {"members": 2}
    fewer = {name: it for name, it in tensors.items() if ".2." not in name}
    save_file(
        fewer, other := tmp_path / "other.safetensors", metadata | {"shape": json.dumps(shape)}
    )
    assert load_light(parse_spec(f"pocket:{other}")) is None
    torch = load(parse_spec(f"pocket:{other}"))
    assert torch.dim == 320
    assert export_texts(torch)  # that it could not be done without torch keeps torch from nothing


def test_a_damaged_cache_is_written_anew(own_cache: Path) -> None:
    light = load_light(parse_spec("pocket"))
    assert light is not None
    tower = cached_folder(light.weights, light.preprocess) / "images.onnx"
    tower.write_bytes(tower.read_bytes()[:1000])
    again = load_light(parse_spec("pocket"))
    assert again is not None
    assert again.encode_images(made_views(again, 1)).shape == (1, again.dim)


def _without_files(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _without_the_first_file(folder: Path) -> None:
    for name in ("model.json", "rules.json"):
        (folder / name).unlink(missing_ok=True)


def _a_file_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


@pytest.mark.parametrize("harm", [_without_files, _without_the_first_file, _a_file_in_its_place])
def test_a_cache_that_was_cleared_in_part_is_written_anew(
    own_cache: Path, harm: Callable[[Path], None]
) -> None:
    assert load_light(parse_spec("pocket"))
    for folder in own_cache.glob("*/*"):
        harm(folder)
    again = load_light(parse_spec("pocket"))
    assert again is not None
    assert again.encode_images(made_views(again, 1)).shape == (1, again.dim)
    assert again.encode_texts(["a dog"]).shape == (1, again.dim)


def test_what_a_killed_export_left_goes_with_a_later_one(own_cache: Path) -> None:
    left = own_cache / "onnx" / ".clipsearch-0123456789abcdef.new"
    of_another = own_cache / "text" / ".clipsearch-fedcba9876543210.new"
    for draft in (left, of_another):
        draft.mkdir(parents=True)
    os.utime(left, (1, 1))
    for folder in own_cache.glob("*/[0-9a-f]*"):
        remove(folder)  # which may be a file by now
    assert load_light(parse_spec("pocket"))
    assert (left.exists(), of_another.exists()) == (False, True)
    of_another.rmdir()


def test_of_two_that_export_at_once_the_first_stays(own_cache: Path) -> None:
    first = load_light(parse_spec("pocket"))
    assert first is not None
    folder = cached_folder(first.weights, first.preprocess)

    def write(draft: Path) -> Facts:
        (draft / "images.onnx").write_bytes(b"of a process that began when there was none")
        return first.facts

    before = (folder / "images.onnx").stat()
    write_to_cache(first.weights, first.preprocess, write)
    assert (folder / "images.onnx").stat() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_disk_that_takes_no_more_is_no_fault_and_tried_again(own_cache: Path) -> None:
    shutil.rmtree(own_cache)
    limited = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
from clipsearch.encoders import load_light, parse_spec
assert load_light(parse_spec("pocket")) is None
"""
    subprocess.run([sys.executable, "-c", limited], check=True, timeout=300)
    assert load_light(parse_spec("pocket"))


def test_where_the_cache_cannot_be_written_torch_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path, index: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "file"))
    assert load_light(parse_spec("pocket")) is None
    with Library.open(index, model="pocket") as library:
        assert library.index([photos]).added == 12
        library.export_texts()
    assert f"{tmp_path / 'file'} cannot be written to, or is full" in caplog.text


def test_where_the_cache_cannot_be_written_nothing_is_blamed_on_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path, index: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "file"))
    with Library.open(index, model="pocket") as library:
        with pytest.raises(InvalidInput, match="file cannot be written to, or is full"):
            library.index([photos], runtime="onnx")
        assert library.status().models == ()


# Models of open_clip whose graphs ship


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights at random of the default model's architecture, in fp16, as a file of 300 MB."""
    return random_weights("ViT-B-32-256", tmp_path_factory.mktemp("weights"))


def random_weights(architecture: str, folder: Path) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(architecture, load_weights=False, pretrained_text=False)
    tensors = {name: it.half().contiguous() for name, it in model.state_dict().items()}
    save_file(tensors, file := folder / "open_clip_model.safetensors")
    return file


def check_light(spec: str) -> None:
    light, torch = load_light(parse_spec(spec)), load(parse_spec(spec), "cpu", "fp32")
    assert light is not None
    for name in (
        "weights", "preprocess", "dim", "resolution", "context", "logit_bias", "prepare",
    ):  # fmt: skip
        assert getattr(light, name) == getattr(torch, name)
    assert light.logit_scale == pytest.approx(torch.logit_scale)
    views = made_views(torch, 7)
    np.testing.assert_allclose(light.encode_images(views), torch.encode_images(views), atol=1e-5)
    np.testing.assert_allclose(light.encode_texts(PROBES), torch.encode_texts(PROBES), atol=1e-5)
    assert [light.count_tokens(it) for it in PROBES] == [torch.count_tokens(it) for it in PROBES]


def test_the_graphs_that_ship_of_open_clip_give_the_embeddings_of_torch(weights: Path) -> None:
    check_light(f"ViT-B-32-256:{weights}")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("ViT-B-32", "ViT-B-32-gelu"),
        ("ViT-B-32-quickgelu", "ViT-B-32-quickgelu"),
        ("ViT-B-16", "ViT-B-16-gelu"),
        ("ViT-L-14-336-quickgelu", "ViT-L-14-336-quickgelu"),
        ("PE-Core-L-14-336", "PE-Core-L-14-336"),
    ],
)
def test_so_do_those_of_the_others(architecture: str, name: str, tmp_path: Path) -> None:
    check_light(f"{name}:{random_weights(architecture, tmp_path)}")


@pytest.mark.parametrize("alias", ["default", "best", "fast", "openai-l14-336"])
def test_the_aliases_have_graphs(alias: str) -> None:
    told = ALIASES[alias]
    known = json.loads(KNOWN.read_text("utf-8"))
    weights = known["weights"][told.spec]
    assert weights["hub"] == told.hub
    assert weights["view"]["size"] == told.resolution
    assert known["graphs"][weights["graph"]]["dim"] == told.dim
    assert all(graph_file(weights["graph"], tower).is_file() for tower in ("image", "text"))


def test_what_the_hub_keeps_of_an_alias_is_found_and_needs_no_torch(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert load_light(parse_spec("default")) is None
    here = tmp_path / f"models--{(ALIASES['default'].hub or '').replace('/', '--')}"
    (here / "refs").mkdir(parents=True)
    (here / "refs" / "main").write_text("0" * 40)
    (place := here / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (place / "open_clip_model.safetensors").symlink_to(weights)
    light = load_light(parse_spec("default"))
    assert light is not None
    assert light.dim == 512


def test_weights_of_another_shape_are_for_torch_to_judge(tmp_path: Path) -> None:
    weights = {"logit_scale": np.ones((), np.float32), "visual.conv1.weight": np.ones((2, 2))}
    save_file(weights, file := tmp_path / "other.safetensors")
    assert load_light(parse_spec(f"ViT-B-32-256:{file}")) is None
    file.write_bytes(b"none at all")
    assert load_light(parse_spec(f"ViT-B-32-256:{file}")) is None


def test_a_first_run_with_open_clip_needs_no_torch(
    weights: Path, run: Callable[..., str], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "empty"))
    model = f"ViT-B-32-256:{weights}"
    assert run("index", photos, "--model", model).startswith("12 added")
    assert len(run("query", "a dog", "-k", "5").splitlines()) == 5


# One encoder after another


def test_the_better_encoder_takes_over_once_it_is_loaded() -> None:
    may_load = Event()
    first, better = TinyEncoder(), TinyEncoder()

    def load_better() -> TinyEncoder:
        assert may_load.wait(60)
        return better

    with Succession(lambda: first, load_better) as encoder:
        assert encoder() is first
        assert encoder() is first
        may_load.set()
    assert encoder() is better


def test_without_a_first_encoder_the_better_one_is_waited_for() -> None:
    better, asked = TinyEncoder(), []
    with Succession(lambda: None, lambda: asked.append(1) or better) as encoder:
        assert not asked
        assert encoder() is better
        assert encoder() is better
    assert asked == [1]


def test_where_it_is_known_how_pictures_are_prepared_only_who_embeds_waits() -> None:
    may_load, better = Event(), TinyEncoder()

    def load_better() -> TinyEncoder:
        assert may_load.wait(60)
        return better

    with Succession(lambda: None, load_better, better.prepare) as encoder:
        assert encoder.view() is better.prepare
        assert encoder.batch_size() is None
        may_load.set()
        assert encoder() is better
        assert encoder.batch_size() == better.batch_size


@pytest.mark.parametrize(
    "kind", [ModelError, InvalidInput, MemoryError, RuntimeError, KeyboardInterrupt]
)
def test_a_new_model_that_cannot_be_loaded_after_all_is_not_kept(
    kind: type[BaseException], index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise kind("its file went away")

    monkeypatch.setattr("clipsearch.encoders.load", fail)
    monkeypatch.setattr("clipsearch.encoders.load_light", fail)
    monkeypatch.setattr("clipsearch.encoders.onnx.encoder.open_cached", lambda *_: None)
    with Library.open(index, model="pocket") as library:
        with pytest.raises(kind, match="its file went away"):
            library.index([photos])
        status = library.status()
    assert (status.photos, [*status.models]) == (0, [])


def test_nor_is_one_that_was_not_waited_for(index: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "copies").mkdir()
    for name in ("a.jpg", "b.jpg"):  # files of one size are hashed, and not where that was stopped
        picture(0).save(folder / name)
    with open_other(index) as library:
        library.index([folder])
    with Library.open(index, model="pocket") as library:
        assert not library.index([folder], stopping=lambda: True).complete
        assert [it.spec for it in library.status().models] == [OTHER]
        assert library.index([folder]).complete
        assert [it.spec for it in library.status().models] == [OTHER, "pocket"]


@pytest.mark.parametrize("name", ["pocket", "ViT-B-32-256"])
def test_of_a_weights_file_that_went_away_it_is_said(name: str, tmp_path: Path) -> None:
    (file := tmp_path / "own.safetensors").write_bytes(b"")
    spec = parse_spec(f"{name}:{file}")
    file.unlink()
    with pytest.raises(ModelError, match="cannot be read: No such file or directory"):
        load_light(spec)


def test_photos_are_embedded_by_what_was_exported_until_torch_is_loaded(
    small: tuple[Path, Path], index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shutil.copytree(small[0], index)
    monkeypatch.setattr("clipsearch.encoders.choice._bf16", lambda: "amx_bf16")
    without_openvino(monkeypatch, few=5)
    with Library.open(index, device="cpu") as library:
        with caplog.at_level("DEBUG", "clipsearch"):
            assert library.index([photos], batch_size=4).added == 12
        assert "by ONNX Runtime until PyTorch is loaded" in caplog.text
        assert "pictures are embedded by PyTorch: the processor has amx_bf16" in caplog.text
        for photo in sorted(photos.glob("*.jpg"))[:3]:
            assert library.similar(photo, k=1)[0].score > 0.99


def test_where_torch_cannot_be_loaded_it_is_said_and_nothing_is_lost(
    small: tuple[Path, Path], spec: str, index: Path, photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.copytree(small[0], index)
    monkeypatch.setattr("clipsearch.encoders.choice._bf16", lambda: "amx_bf16")
    without_openvino(monkeypatch, few=5)

    def fail(*_: object) -> None:
        raise ModelError("the weights are damaged")

    monkeypatch.setattr("clipsearch.encoders.load", fail)
    with Library.open(index, device="cpu") as library:
        with pytest.raises(ModelError, match="the weights are damaged"):
            library.index([photos], batch_size=1)
        assert library.status().photos >= 6


# No command needs torch


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(index: Path, home: Path) -> Iterator[Start]:
    """Start a command in a process in which torch cannot be imported."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", LIGHT, *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=pipe, stderr=pipe, text=True, env=_environment(index, home),
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def _environment(index: Path, home: Path) -> dict[str, str]:
    return os.environ | {"HOME": str(home), "CLIPSEARCH_INDEX": str(index)}


@pytest.fixture
def run(start: Start) -> Callable[..., str]:
    """Run such a command to its end; gives what it printed."""

    def to_its_end(*arguments: str | Path) -> str:
        process = start(*arguments)
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return out

    return to_its_end


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model of open_clip's with random weights, in a folder that describes it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    shape = {
        "embed_dim": 64,
        "vision_cfg": {"layers": 2, "width": 64, "patch_size": 16, "image_size": 64},
        "text_cfg": {"width": 64, "heads": 2, "layers": 2},
    }
    torch.manual_seed(0)
    weights = {name: it.contiguous() for name, it in open_clip.CLIP(**shape).state_dict().items()}
    save_file(weights, (folder := tmp_path_factory.mktemp("clip")) / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": shape}))
    return f"open_clip:{folder}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, spec: str) -> tuple[Path, Path]:
    """An index that the command made with a model of open_clip, and the folder of its photos."""
    place = tmp_path_factory.mktemp("small")
    (photos := place / "photos").mkdir()
    for seed in range(6):
        picture(seed).save(photos / f"{seed}.jpg")
    command = [sys.executable, "-m", "clipsearch", "index", photos, "--model", spec]
    given = _environment(place / "index", place)
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return place / "index", photos


@pytest.fixture(params=["pocket", "open_clip"])
def model(request: pytest.FixtureRequest, index: Path, photos: Path) -> str:
    """An index of `photos` with a model that the machine had before."""
    if request.param == "pocket":
        with Library.open(index, model="pocket") as library:
            library.index([photos])
        return "pocket"
    made, of = request.getfixturevalue("small")
    shutil.copytree(made, index)
    shutil.rmtree(photos)
    shutil.copytree(of, photos)
    with Library.open(index) as library:
        library.index([photos])
    return str(request.getfixturevalue("spec"))


def test_pocket_needs_no_torch_from_its_first_run_on(
    run: Callable[..., str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "empty"))
    compared = run("score", photos / "00.jpg", "--text", "a dog", "--text", "a cat")
    assert len(compared.splitlines()) == 2
    assert run("index", photos, "--model", "pocket").startswith("12 added")
    assert len(run("query", "a dog", "-k", "5").splitlines()) == 5


def test_that_weights_cannot_be_had_is_known_before_torch_is_loaded(
    run: Callable[..., str], start: Start, photos: Path, index: Path
) -> None:
    process = start("index", photos, "--model", "fast")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "are not on this machine and could not be downloaded" in said
    assert not index.exists()
    assert run("index", photos).startswith("12 added")  # with pocket, as it says
    assert len(run("query", "a dog", "-k", "5").splitlines()) == 5


def test_commands_that_look_at_pictures_need_no_torch(
    model: str, run: Callable[..., str], photos: Path, tmp_path: Path
) -> None:
    picture(99).save(photos / "new.jpg")
    assert run("index").startswith("1 added")
    picture(98).save(other := tmp_path / "other.jpg")
    assert len(run("query", "a dog", "-k", "5").splitlines()) == 5
    assert len(run("similar", other, "-k", "3").splitlines()) == 3
    region = ("--region", "0%,0%,60%,60%")
    assert len(run("similar", photos / "new.jpg", *region, "-k", "3").splitlines()) == 3
    assert run("label", other)
    assert run("score", other, "--text", "a dog", "--text", "a cat")


def test_a_watch_needs_no_torch(model: str, start: Start, photos: Path) -> None:
    process = start("watch")
    assert process.stdout is not None
    assert "unchanged" in process.stdout.readline()
    picture(99).save(photos / "new.jpg")
    assert process.stdout.readline().startswith("+1 photo in ")
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 0


def test_a_server_needs_no_torch(model: str, start: Start, photos: Path) -> None:
    process = start("serve", "--port", "0")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "serving http://" in line, line
    address = line.split()[2].rstrip("/")
    sent = (photos / ("00.jpg" if model == "pocket" else "0.jpg")).read_bytes()
    head = 'Content-Disposition: form-data; name="image"; filename="a.jpg"'
    body = f"--b\r\n{head}\r\n\r\n".encode() + sent + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{address}/api/search", body, kind)
    with urllib.request.urlopen(request, timeout=300) as answer:
        assert json.load(answer)["hits"][0]["score"] > 0.99


def test_an_assistant_needs_no_torch(model: str, index: Path, home: Path, photos: Path) -> None:
    picture(97).save(other := photos / "new.png")

    async def ask() -> list[str]:
        parameters = StdioServerParameters(
            command=sys.executable, args=["-c", LIGHT, "mcp"], env=_environment(index, home)
        )
        async with Client(stdio_client(parameters)) as client:
            found = await client.call_tool("similar", {"path": str(other), "k": 3})
            assert not found.is_error, found.content
            return [hit["path"] for hit in found.structured_content["hits"]]

    assert anyio.run(ask)


# The export


def test_what_cannot_be_exported_is_said_once_and_torch_answers(
    small: tuple[Path, Path], index: Path, spec: str, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shutil.copytree(small[0], index)
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(cache := tmp_path / "cache"))
    monkeypatch.setattr("clipsearch.encoders.onnx.export.MOST_BYTES", 1000)
    with Library.open(index) as library:
        library.export_texts()
        (model,) = library.status().models
        said = f"PyTorch embeds pictures with {model.spec}, also where they are few"
        assert caplog.text.count(said) == 1
        assert "its image tower of 0.0 GB is too large to be kept twice" in caplog.text
        library.export_texts()
        assert caplog.text.count(said) == 1
        picture(98).save(other := tmp_path / "other.jpg")
        assert len(library.similar(other, k=3)) == 3
    assert cache.is_dir()


def test_many_are_for_onnx_runtime_from_the_first_run_on_where_it_is_the_faster_one(
    index: Path, photos: Path, spec: str, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("clipsearch.encoders.choice._bf16", no_bf16)
    without_openvino(monkeypatch, few=5)
    monkeypatch.setattr("clipsearch.models.MANY", 12)
    with Library.open(index, model=spec, device="cpu") as library:
        with caplog.at_level("DEBUG", "clipsearch"):
            assert library.index([photos]).added == 12
        assert "images are embedded by ONNX Runtime" in caplog.text
        assert len(library.similar(photos / "00.jpg", k=5)) == 5


def test_debug_says_what_embeds_photos_and_why(clipsearch: Run, photos: Path) -> None:
    said = clipsearch("index", photos, "--model", "pocket", "--debug").stderr
    assert "pictures are embedded by ONNX Runtime" in said
    said = clipsearch("similar", photos / "00.jpg", "--region", "0,0,9,9", "--debug").stderr
    assert "for few pictures it is not worth loading more" in said
    assert not clipsearch("similar", photos / "00.jpg", "--region", "0,0,9,9").stderr


def test_an_index_of_before_leaves_the_choice_to_the_machine(
    clipsearch: Run, photos: Path, index: Path
) -> None:
    clipsearch("index", photos, "--model", "pocket")
    with closing(sqlite3.connect(index / "catalog.db")) as db, db:
        db.execute("UPDATE models SET runtime = 'torch'")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm013_runtimes_that_suit'")
        db.execute("PRAGMA user_version = 12")
    with Library.open(index) as library:
        assert [it.runtime for it in library.status().models] == ["auto"]
