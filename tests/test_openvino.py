"""Photos embedded by OpenVINO: the vectors of onnxruntime, and nothing told to its makers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Run, picture

from clipsearch import InvalidInput, Library
from clipsearch.encoders import load, load_light, parse_spec
from clipsearch.encoders.choice import FEWEST, choose
from clipsearch.encoders.onnx.encoder import OnnxEncoder, open_cached
from clipsearch.encoders.onnx.export import export_to_cache
from clipsearch.encoders.onnx.folder import cached_folder
from clipsearch.encoders.onnx.openvino import LEAST, version
from clipsearch.encoders.onnx.probes import made_views
from clipsearch.encoders.processor import bf16

# What is found with each precision is noted by it.
KEYS = {"bf16": f"{version()} {bf16()}", "fp32": f"{version()} fp32"}

pytestmark = pytest.mark.skipif(
    version() is None or platform.machine().lower() not in ("x86_64", "amd64"),
    reason="there is no OpenVINO for such a machine",
)


@pytest.fixture(scope="module")
def pocket() -> Iterator[OnnxEncoder]:
    """The pocket model by onnxruntime, in a cache that knows nothing of OpenVINO yet."""
    light = load_light(parse_spec("pocket"))
    assert isinstance(light, OnnxEncoder)
    note_of(light).unlink(missing_ok=True)
    yield light
    note_of(light).unlink(missing_ok=True)


def note_of(encoder: OnnxEncoder) -> Path:
    return cached_folder(encoder.weights, encoder.preprocess) / "openvino.json"


def again(encoder: OnnxEncoder) -> OnnxEncoder:
    found = open_cached(encoder.weights, encoder.preprocess, "auto", fast=True)
    assert found is not None
    return found


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of so many photos that onnxruntime is not to embed them."""
    (folder := tmp_path / "many").mkdir()
    for seed in range(FEWEST + 1):
        picture(seed).save(folder / f"{seed:02}.jpg", quality=92)
    return folder


def test_it_gives_the_vectors_of_onnxruntime(pocket: OnnxEncoder) -> None:
    fast = pocket.by_openvino
    assert fast is not None
    assert fast.runtime == f"OpenVINO {metadata.version('openvino')} ({fast.precision})"
    for count in (1, 3, 8):
        views = made_views(pocket, count)
        rows, expected = fast.encode_images(views), pocket.encode_images(views)
        assert rows.dtype == np.float32
        assert (rows * expected).sum(axis=1).min() >= LEAST[fast.precision]
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)


def test_what_was_found_out_once_is_not_asked_again(pocket: OnnxEncoder) -> None:
    assert again(pocket).uses_openvino
    found = json.loads(note_of(pocket).read_text("utf-8"))
    assert any(found.get(key, 0) > LEAST[precision] for precision, key in KEYS.items())
    before = note_of(pocket).stat().st_mtime_ns
    assert again(pocket).uses_openvino
    assert note_of(pocket).stat().st_mtime_ns == before


@pytest.mark.parametrize(("pace", "precision"), [(0.5, "fp32"), (2.0, "bf16")])
def test_bf16_is_taken_where_it_is_no_slower(
    pocket: OnnxEncoder, monkeypatch: pytest.MonkeyPatch, pace: float, precision: str
) -> None:
    monkeypatch.setattr("clipsearch.encoders.onnx.openvino.bf16", lambda: "avx512_bf16")
    key = f"{version()} avx512_bf16"
    told = {key: 1.0, f"{key}, times onnxruntime": pace, f"{version()} fp32": 1.0}
    note_of(pocket).write_text(json.dumps(told), "utf-8")
    assert again(pocket).runtime == f"OpenVINO {version()} ({precision})"


def test_how_fast_bf16_is_without_amx_is_found_out_and_noted(
    pocket: OnnxEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipsearch.encoders.onnx.openvino.bf16", lambda: "avx512_bf16")
    key = f"{version()} avx512_bf16"
    note_of(pocket).write_text(json.dumps({key: 1.0}), "utf-8")
    again(pocket)
    assert json.loads(note_of(pocket).read_text("utf-8"))[f"{key}, times onnxruntime"] > 0


@pytest.mark.parametrize("cosine", ["0.5", "NaN"])
def test_where_its_vectors_are_others_onnxruntime_embeds(pocket: OnnxEncoder, cosine: str) -> None:
    told = ", ".join(f'"{key}": {cosine}' for key in KEYS.values())
    note_of(pocket).write_text(f"{{{told}}}", "utf-8")
    found = again(pocket)
    assert not found.uses_openvino
    assert "ONNX Runtime" in found.runtime


NOTES = ["", "[]", "{", '{"2020 bf16": 0.9}', '{"1": "x"}', "null", "[" * 10**5]
NOTES += [f'{{"{key}": {"9" * 400}}}' for key in KEYS.values()]


@pytest.mark.parametrize("content", NOTES)
def test_a_note_that_says_nothing_of_it_is_written_anew(pocket: OnnxEncoder, content: str) -> None:
    note_of(pocket).write_text(content, "utf-8")
    assert again(pocket).uses_openvino
    assert any(version() in key for key in json.loads(note_of(pocket).read_text("utf-8")))


class Damaged:
    """What is installed as OpenVINO: it compiles whatever it is given, and then fails."""

    def read_model(self, file: Path) -> Path:
        return file

    def compile_model(self, *_: object) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
        return self.embed

    def embed(self, views: list[np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError(
            "Exception from src/infer.cpp:223:\nException from b.cpp:5:\nno kernel\n\n"
        )


class OfAnotherShape(Damaged):
    def embed(self, views: list[np.ndarray]) -> list[np.ndarray]:
        return [np.ones((len(views[0]), 3), np.float32)]


class WithoutMemory(Damaged):
    def embed(self, views: list[np.ndarray]) -> list[np.ndarray]:
        raise MemoryError


@pytest.mark.parametrize("core", [Damaged, OfAnotherShape, WithoutMemory])
def test_where_it_compiles_a_model_and_then_fails_onnxruntime_embeds(
    pocket: OnnxEncoder, core: type[Damaged], monkeypatch: pytest.MonkeyPatch
) -> None:
    note_of(pocket).unlink(missing_ok=True)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=core))
    found = again(pocket)
    assert not found.uses_openvino
    assert found.encode_images(made_views(pocket, 2)).shape == (2, pocket.dim)
    assert not note_of(pocket).exists()  # it may be mended, or memory be there


def test_of_its_errors_the_reason_is_told(
    pocket: OnnxEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    note_of(pocket).unlink(missing_ok=True)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=Damaged))
    with caplog.at_level("DEBUG", "clipsearch"):
        again(pocket)
    assert "no kernel" in caplog.text


def test_where_it_cannot_compute_in_bf16_it_does_in_fp32(
    pocket: OnnxEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    from openvino import Core

    class InFp32Alone(Core):
        """As where its instructions for bf16 are kept from it, by ONEDNN_MAX_CPU_ISA or a guest."""

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            if settings["INFERENCE_PRECISION_HINT"] == "bf16":
                raise RuntimeError("Supported primitive descriptors list is empty")
            return super().compile_model(model, device, settings)

    note_of(pocket).unlink(missing_ok=True)
    monkeypatch.setattr("clipsearch.encoders.onnx.openvino.bf16", lambda: "amx_bf16")
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=InFp32Alone))
    assert again(pocket).runtime == f"OpenVINO {version()} (fp32)"
    assert [*json.loads(note_of(pocket).read_text("utf-8"))] == [f"{version()} fp32"]


def test_in_bf16_where_the_processor_has_it_and_it_is_near_enough(spec: str) -> None:
    exported = export_to_cache(parse_spec(spec), load(parse_spec(spec), "cpu", "fp32"), "auto")
    fast, views = exported.by_openvino, made_views(exported, 12)
    assert fast is not None
    assert fast.precision == ("bf16" if bf16() else "fp32")
    rows, expected = fast.encode_images(views), exported.encode_images(views)
    assert (rows * expected).sum(axis=1).min() >= LEAST[fast.precision]
    assert bf16() is None or not np.array_equal(rows, expected)


def test_it_is_said_and_tells_nobody(many: Path, index: Path, tmp_path: Path) -> None:
    watched = """
import sys

def watch(event, arguments):
    asked = event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple)
    if asked or event == "socket.getaddrinfo":
        print("NETWORK", event, arguments, file=sys.stderr)

sys.addaudithook(watch)
for name in ("torch", "open_clip", "transformers", "timm"):
    sys.modules[name] = None
from clipsearch.cli import main
main()
"""
    (home := tmp_path / "home").mkdir()
    environment = os.environ | {"HOME": str(home), "CLIPSEARCH_INDEX": str(index)}
    command = [sys.executable, "-c", watched, "index", str(many), "--model", "pocket", "--debug"]
    command += ["--runtime", "openvino"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f"pictures are embedded by OpenVINO {version()}" in done.stderr
    assert "NETWORK" not in done.stderr
    assert [*home.rglob("*openvino*"), *home.rglob("intel")] == []


def test_one_may_ask_for_it(clipsearch: Run, many: Path, index: Path) -> None:
    done = clipsearch("index", many, "--model", "pocket", "--runtime", "openvino")
    assert f"pictures are embedded by OpenVINO {version()}" in done.stderr
    assert "by OpenVINO" in clipsearch("status").stdout
    (model,) = json.loads(clipsearch("status", "--json").stdout)["models"]
    assert model["runtime"] == "openvino"
    assert len(clipsearch("similar", many / "03.jpg", "-k", "3").stdout.splitlines()) == 3


def test_once_it_was_seen_to_agree_onnxruntime_does_not_read_the_model_too(
    many: Path, index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Library.open(index, model="pocket") as library:
        library.index([many], runtime="openvino")
    picture(FEWEST + 1).save(many / "one_more.jpg")
    with caplog.at_level("DEBUG", "clipsearch"):
        with Library.open(index) as library:
            assert library.index().added == 1
        with Library.open(tmp_path / "new", model="pocket") as library:
            assert library.index([many], runtime="openvino").embedded == FEWEST + 2
    assert "embedded by OpenVINO" in caplog.text
    assert "embedded by ONNX Runtime" not in caplog.text


def test_who_asks_for_it_is_told_where_it_cannot_run_a_new_model_as_well(
    pocket: OnnxEncoder, many: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_of(pocket).unlink(missing_ok=True)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=Damaged))
    with Library.open(index, model="pocket") as library:
        with pytest.raises(InvalidInput, match="OpenVINO cannot run pocket"):
            library.index([many], runtime="openvino")
        assert library.status().models == ()
        assert library.index([many], runtime="onnx").added == FEWEST + 1
        with pytest.raises(InvalidInput, match="OpenVINO cannot run pocket"):
            library.index([many], runtime="openvino")


def test_where_it_is_not_installed_that_is_said(
    monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    monkeypatch.setattr("clipsearch.encoders.choice.version", lambda: None)
    with (
        Library.open(index, model="pocket") as library,
        pytest.raises(InvalidInput, match="OpenVINO is not installed"),
    ):
        library.index([index.parent], runtime="openvino")
    choice = choose("pocket", "openvino", "auto", 10**6)  # an index from another machine
    assert choice == ("onnx", "OpenVINO was asked for, and is not here")
