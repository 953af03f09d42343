"""Models in 8 bits that are calibrated on the photos of an index: kept with it, or refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import Run, picture
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from clipsearch import Library
from clipsearch.doctor import examine_index
from clipsearch.encoders import load, parse_spec, pocket_files
from clipsearch.encoders.onnx.calibrating import quantize_on
from clipsearch.encoders.onnx.openvino import version
from clipsearch.errors import InvalidInput, ModelError
from clipsearch.opened import OpenIndex

FILES = ("calibration.json", "images.onnx", "model.json")
COUNT = 60  # of which 20 calibrate


class Calibrated(NamedTuple):
    """An index that the command made in 8 bits, and what was said."""

    folder: Path  # of the index
    photos: Path
    said: str
    spec: str


def run(index: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clipsearch", *map(str, arguments), "--index", str(index)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def calibrated(spec: str, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    folder = tmp_path_factory.mktemp("calibrated")
    photos, index = folder / "photos", folder / "index"
    photos.mkdir()
    for seed in range(COUNT):
        picture(seed).save(photos / f"{seed:02}.jpg")
    done = run(index, "index", photos, "--model", spec, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{COUNT} added")
    return Calibrated(index, photos, done.stderr, f"int8:{spec}")


@pytest.fixture
def own(calibrated: Calibrated, tmp_path: Path) -> Calibrated:
    """The same, with an index and photos that a test may change."""
    index, photos = tmp_path / "index", tmp_path / "photos"
    shutil.copytree(calibrated.folder, index)
    shutil.copytree(calibrated.photos, photos)
    return calibrated._replace(folder=index, photos=photos)


def model_of(index: Path) -> Path:
    """The folder of the one model in 8 bits."""
    (folder,) = (index / "models").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == list(FILES)
    return folder


def fresh(tmp_path: Path) -> Path:
    file = tmp_path / "fresh.png"
    picture(1000).save(file)
    return file


def nothing_is_left(index: Path) -> bool:
    return not list(index.glob(".clipsearch-*"))


# What is kept


def test_what_8_bits_cost_is_told_before_any_photo_is_indexed(calibrated: Calibrated) -> None:
    assert "calibrating" in calibrated.said
    assert f"calibrated on 20 photos; with {COUNT - 20} others a mean cosine of" in calibrated.said
    assert "of the ten nearest the same" in calibrated.said
    assert "int8)" in calibrated.said  # what embeds
    assert nothing_is_left(calibrated.folder)


def test_status_and_doctor_tell_it(calibrated: Calibrated) -> None:
    told = json.loads(run(calibrated.folder, "status", "--json").stdout)
    (model,) = told["models"]
    assert model["spec"] == calibrated.spec
    cost = model["calibration"]
    assert (cost["photos"], cost["measured"]) == (20, COUNT - 20)
    assert cost["mean"] >= 0.98
    assert cost["same"] >= 0.9
    assert cost["least"] <= cost["mean"]
    assert told["bytes"]["models"] == sum(
        it.stat().st_size for it in model_of(calibrated.folder).iterdir()
    )
    assert "calibrated on 20 photos" in run(calibrated.folder, "status").stdout
    (found,) = [it for it in examine_index(calibrated.folder) if it.name == calibrated.spec]
    assert found.state == "ok"
    assert "calibrated on 20 photos" in found.what


def test_later_runs_and_questions_use_the_file_that_was_kept(own: Calibrated) -> None:
    before = model_of(own.folder)
    # The photos of a library that moved are known by their content.
    picture(500).save(own.photos / "new.jpg")
    with Library.open(own.folder) as library:
        report = library.index([own.photos])
        assert (report.added, report.embedded, report.moved) == (1 + COUNT, 1, 0)
        first, *_ = library.similar(own.photos / "new.jpg", 1)
        again = library.index(precision="int8")
        assert again.complete
        assert library.query("a dog", 1)
        assert first.score < 1  # the very file is left out
    assert model_of(own.folder) == before


@pytest.mark.skipif(version() is None, reason="there is no OpenVINO")
def test_what_is_found_out_of_openvino_is_noted_in_the_cache_and_not_with_the_model(
    own: Calibrated,
) -> None:
    asked = "index", "--runtime", "openvino", "--debug"
    assert "a least cosine of" in run(own.folder, *asked).stderr
    assert model_of(own.folder)  # which holds what it held
    assert "a least cosine of" not in run(own.folder, *asked).stderr


def test_a_copy_and_a_folder_that_moved_answer_as_before(own: Calibrated, tmp_path: Path) -> None:
    asked = fresh(tmp_path)
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    with Library.open(own.folder) as library:
        expected = [(hit.path, hit.score) for hit in library.similar(asked, 5)]
        library.copy(copy)
        library.copy(copy)  # in the place of the first
    own.folder.rename(moved)
    for index in (copy, moved):
        with Library.open(index, create=False) as library:
            assert [(hit.path, hit.score) for hit in library.similar(asked, 5)] == expected
    damage(model_of(copy))
    with Library.open(moved) as library:
        library.copy(copy)
    with Library.open(copy, create=False) as library:
        assert library.similar(asked, 5)


def test_a_model_that_is_removed_goes_with_its_file(own: Calibrated) -> None:
    with Library.open(own.folder, model=own.spec.removeprefix("int8:")) as library:
        library.index()
        assert len(library.status().models) == 2
        library.remove_model(own.spec)
        assert [it.calibration for it in library.status().models] == [None]
    assert not list((own.folder / "models").iterdir())


# What is lost


def damage(folder: Path) -> None:
    file = folder / "images.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "name", "how"),
    [
        (damage, "images.onnx", "damaged"),
        (lose("images.onnx"), "images.onnx", "missing"),
        (lose("model.json"), "model.json", "missing"),
        (lose("calibration.json"), "calibration.json", "missing"),
        (shutil.rmtree, "calibration.json", "missing"),
    ],
)
def test_a_file_that_is_lost_or_damaged_is_told_in_a_line(
    own: Calibrated, tmp_path: Path, spoil: Callable[[Path], None], name: str, how: str
) -> None:
    folder = model_of(own.folder)
    spoil(folder)
    with Library.open(own.folder) as library:
        with pytest.raises(ModelError) as error:
            library.similar(fresh(tmp_path))
        what, remedy = str(error.value).splitlines()
        assert what == f"{folder / name}, of the index's model in 8 bits, is {how}."
        assert "clipsearch index --precision int8" in remedy
        assert library.status().photos == COUNT
        assert library.similar(own.photos / "00.jpg", 1)  # which is embedded
        picture(500).save(own.photos / "new.jpg")
        with pytest.raises(ModelError, match=how):
            library.index([own.photos])
        assert library.status().photos >= COUNT
    (found,) = [it for it in examine_index(own.folder) if it.name == own.spec]
    assert (found.state, found.remedy) == ("broken", remedy)


def test_the_command_tells_it_and_makes_it_anew(own: Calibrated, tmp_path: Path) -> None:
    damage(model_of(own.folder))
    told = run(own.folder, "similar", fresh(tmp_path))
    assert told.returncode == 2
    assert "is damaged" in told.stderr
    assert "Traceback" not in told.stderr
    done = run(own.folder, "index", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "is damaged" in done.stderr
    assert "calibrated on 20 photos" in done.stderr
    assert run(own.folder, "similar", fresh(tmp_path)).returncode == 0
    model_of(own.folder)


@pytest.mark.skipif(pocket_files() is None, reason="needs the group pocket")
def test_what_was_made_of_an_older_model_is_told_by_doctor_as_by_a_question(
    own: Calibrated,
) -> None:
    file = model_of(own.folder) / "calibration.json"
    older = {"spec": "pocket", "weights": "0" * 64}
    file.write_text(json.dumps(json.loads(file.read_text()) | older))
    with closing(sqlite3.connect(own.folder / "catalog.db")) as db, db:
        db.execute("UPDATE models SET spec = 'int8:pocket'")
    remedy = "clipsearch index --precision int8"
    assert remedy in run(own.folder, "query", "a question that was not asked before").stderr
    (found,) = [it for it in examine_index(own.folder) if it.name == "int8:pocket"]
    assert (found.state, found.remedy) == ("broken", remedy)


# What is refused


def alike(folder: Path) -> Path:
    """Photos of which 8 bits cannot tell which is nearest to which."""
    folder.mkdir()
    plain = np.asarray(picture(1)).astype(int)
    for seed in range(COUNT):
        noise = np.random.default_rng(seed).integers(-2, 3, plain.shape)
        Image.fromarray((plain + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


@pytest.mark.thorough
def test_what_finds_others_stays_in_fp32(clipsearch: Run, index: Path, tmp_path: Path) -> None:
    photos = alike(tmp_path / "alike")
    done = clipsearch("index", photos, "--model", "pocket", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{COUNT} added")
    (line,) = [it for it in done.stderr.splitlines() if "stays in fp32" in it]
    assert line.startswith("clipsearch: pocket stays in fp32: in 8 bits, calibrated on 20 photos")
    assert line.endswith("at least 0.98 and 90% are asked for")
    with OpenIndex.open(index) as library:
        (model,) = library.status().models
    assert (model.spec, model.vectors, model.calibration) == ("pocket", COUNT, None)
    assert nothing_is_left(index)
    assert not (index / "models").exists()


def test_few_photos_stay_in_fp32(clipsearch: Run, index: Path, photos: Path) -> None:
    (left := index / ".clipsearch-0123456789abcdef.new").mkdir(parents=True)  # by a kill
    done = clipsearch("index", photos, "--model", "pocket", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "pocket stays in fp32: 8 bits take 50 photos" in done.stderr
    assert "12 could be read" in done.stderr
    assert not left.exists()
    with OpenIndex.open(index) as library:
        assert [model.spec for model in library.status().models] == ["pocket"]


def test_what_makes_no_sense_is_refused(index: Path, photos: Path) -> None:
    with Library.open(index, model="pocket") as library:
        with pytest.raises(InvalidInput, match="precision is fp32 or int8, not 'int4'"):
            library.index([photos], precision="int4")
        with pytest.raises(InvalidInput, match="exclude each other"):
            library.index([photos], precision="int8", runtime="torch")
        assert not library.status().models
    with pytest.raises(ModelError, match="calibrated on the photos of an index"):
        load(parse_spec("int8:pocket"))


@pytest.mark.parametrize(
    "after", [1, *(pytest.param(it, marks=pytest.mark.thorough) for it in (30, 62, 65, 67))]
)
def test_a_stop_meanwhile_leaves_nothing(tmp_path: Path, index: Path, after: int) -> None:
    """While 60 photos are read, 20 looked at twice in 3 batches, or 40 embedded by both."""
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with Library.open(index, model="pocket") as library:
        report = library.index(
            [alike(tmp_path / "alike")], precision="int8", stopping=stopping, workers=1
        )
        assert not report.complete
        assert (report.added, library.status().photos) == (0, 0)
        assert not library.status().models
    assert nothing_is_left(index)


# The quantizer


def outliers() -> tuple[bytes, np.ndarray]:
    """A tower of two matrices that multiplies channels of which some are a thousand times larger.

    And (64, 4, 4, 3) uint8 views for it.
    """
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(48) % 16 == 3, 1000, 1).astype(np.float32)
    first = (rng.normal(size=(48, 64)) / sizes[:, None]).astype(np.float32)
    weights: dict[str, np.ndarray] = {
        "shape": np.array([0, 48], np.int64),
        "gain": sizes,
        "offset": (0.1 * sizes).astype(np.float32),
        "first": first,
        "second": rng.normal(size=(64, 32)).astype(np.float32),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["views"], ["cast"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["cast", "shape"], ["flat"], "flat"),
        helper.make_node("LayerNormalization", ["flat", "gain", "offset"], ["normal"], "normal"),
        helper.make_node("MatMul", ["normal", "first"], ["hidden"], "one"),
        helper.make_node("Relu", ["hidden"], ["active"], "active"),
        helper.make_node("MatMul", ["active", "second"], ["made"], "two"),
        helper.make_node("ReduceL2", ["made", "axes"], ["length"], "length"),
        helper.make_node("Div", ["made", "length"], ["embeddings"], "unit"),
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("views", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 32])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString(), rng.integers(0, 256, (64, 4, 4, 3)).astype(np.uint8)


def test_channels_that_are_much_larger_than_others_cost_nothing(tmp_path: Path) -> None:
    tower, views = outliers()
    seen: list[int] = []
    quantize_on(tower, views[:32], tmp_path / "small.onnx", seen.append)
    assert sum(seen) == 2 * 32
    rows = [
        onnxruntime.InferenceSession(it, providers=["CPUExecutionProvider"]).run(
            None, {"views": views[32:]}
        )[0]
        for it in (tower, tmp_path / "small.onnx")
    ]
    assert (rows[0] * rows[1]).sum(axis=1).min() > 0.99
    kinds = {node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    assert os.listdir(tmp_path) == ["small.onnx"]
