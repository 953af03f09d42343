"""`clipsearch doctor`: what there is, what is broken, and what helps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Run
from tiny import open_other

from clipsearch.cache import made_in_cache
from clipsearch.doctor import ABSENT, BROKEN, OK, Finding, examine, examine_index, groups
from clipsearch.encoders.device import precision_of_cpu
from clipsearch.encoders.machine import Machine, seen

PLAIN = Machine(
    torch="2.9.0", cuda=None, hip=None, cards=(), mps=False, xpu=(), cpu="AVX2",
    features=frozenset({"avx2", "fma3"}), drivers=frozenset(), onnxruntime="1.23.0",
    providers=("CPUExecutionProvider",), openvino=None, system="Linux", kind="riscv64",
)  # fmt: skip


def told(machine: Machine) -> dict[str, str]:
    return {one.name: one.what for one in seen(machine)}


def helped(machine: Machine) -> list[str]:
    return [one.remedy for one in seen(machine) if one.remedy]


# What the facts of a machine come to


def test_a_plain_machine_is_told_of_without_complaint() -> None:
    assert told(PLAIN) == {
        "torch": "2.9.0",
        "processor": "AVX2",
        "onnxruntime": "1.23.0, takes CPUExecutionProvider of CPUExecutionProvider",
    }
    assert helped(PLAIN) == []
    short = [one.short for one in seen(PLAIN) if one.short]
    assert short == ["torch 2.9.0", "onnxruntime 1.23.0 (CPU)"]


def test_amds_cards_are_called_by_their_names() -> None:
    card = "AMD Instinct MI300X"
    machine = replace(PLAIN, hip="6.2.41133-dd7f95766", cards=(card, card), drivers={"amd"})
    assert told(machine)["cuda:0"] == "ROCm (HIP 6.2), AMD Instinct MI300X"
    assert told(machine)["cuda:1"] == "ROCm (HIP 6.2), AMD Instinct MI300X"
    assert helped(machine) == []


def test_other_cards_are_called_by_theirs() -> None:
    assert told(replace(PLAIN, cuda="12.8", cards=("NVIDIA H100",)))["cuda:0"] == (
        "CUDA 12.8, NVIDIA H100"
    )
    assert told(replace(PLAIN, xpu=("Intel Arc B580",)))["xpu:0"] == "Intel Arc B580"
    assert told(replace(PLAIN, mps=True))["mps"] == "Apple's GPU"


NVIDIA = replace(PLAIN, cuda="12.8", cards=("NVIDIA H100",), drivers=frozenset({"nvidia"}))
APPLE = replace(PLAIN, mps=True, system="Darwin", kind="arm64")


@pytest.mark.parametrize(
    ("machine", "name", "provider", "device", "package"),
    [
        (NVIDIA, "TensorRT", "Tensorrt", "tensorrt", "onnxruntime-gpu tensorrt"),
        (APPLE, "Core ML", "CoreML", "mps", "onnxruntime"),
    ],
)
def test_what_runs_onnx_faster_is_named_with_the_way_to_it(
    machine: Machine, name: str, provider: str, device: str, package: str
) -> None:
    assert "without it" in told(machine)[name]
    (remedy,) = helped(machine)
    assert remedy.startswith("pip uninstall onnxruntime; pip install ")
    assert package in remedy
    assert remedy.endswith(f"--device {device}")
    has = replace(machine, providers=(f"{provider}ExecutionProvider", *machine.providers))
    assert told(has)[name] == f"onnxruntime has it: --runtime onnx --device {device}"
    assert helped(has) == []


def test_openvino_is_named_where_it_is_the_fastest() -> None:
    machine = replace(PLAIN, kind="x86_64")
    assert helped(machine) == ["pip install openvino"]
    has = replace(machine, openvino="2026.4.1")
    assert helped(has) == []
    assert [one.short for one in seen(has) if one.short][-1] == "OpenVINO 2026.4.1"


@pytest.mark.parametrize(
    ("driver", "builds", "said"),
    [
        ("nvidia", {}, "not built for NVIDIA's cards"),
        ("nvidia", {"cuda": "12.8"}, "torch cannot use the card"),
        ("amd", {"cuda": "12.8"}, "not built for AMD's cards"),
    ],
)
def test_a_card_that_torch_does_not_reach_is_told_of_with_a_remedy(
    driver: str, builds: dict[str, str], said: str
) -> None:
    machine = replace(PLAIN, drivers=frozenset({driver}), **builds)
    (gpu,) = (one for one in seen(machine) if one.name == "GPU")
    assert said in gpu.what
    assert gpu.remedy


def test_what_makes_a_processor_fast_is_named() -> None:
    features = frozenset({"amx_bf16", "amx_tile", "avx512_bf16", "avx512_f", "fma3"})
    machine = replace(PLAIN, cpu="AVX512", features=features)
    assert told(machine)["processor"] == "AVX512, amx_bf16, amx_tile, avx512_bf16"


@pytest.mark.parametrize(
    ("features", "precision", "why"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16", "amx_bf16"),
        ({"avx512_bf16": True}, "bf16", "avx512_bf16"),
        ({"avx512_bf16": False, "avx2": True}, "fp32", "neither"),
        ({}, "fp32", "neither"),
    ],
)
def test_the_precision_comes_with_its_reason(
    features: dict[str, bool], precision: str, why: str
) -> None:
    chosen, reason = precision_of_cpu(features)
    assert chosen == precision
    assert why in reason


# Packages


def about(installed: dict[str, str]) -> dict[str, Finding]:
    requirements = [
        "pillow>=11.3", 'rawpy>=0.25; extra == "raw"', 'b>=1,<2; extra == "two"',
        'c; extra == "two"', "d; python_version < '3'", "e>=1; python_version<'3' and extra=='two'",
    ]  # fmt: skip
    return {it.name: it for it in groups(requirements, ["two", "raw"], installed.get)}


def test_what_is_installed_is_told_with_its_version() -> None:
    found = about({"pillow": "12.0", "rawpy": "0.26.1", "b": "1.5", "c": "3"})
    assert list(found) == ["needed", "raw", "two"]
    assert {it.state for it in found.values()} == {OK}
    assert found["raw"].what == "rawpy 0.26.1"
    assert found["two"].what == "b 1.5, c 3"


def test_a_group_that_is_not_there_is_absent_and_one_that_does_not_fit_broken() -> None:
    found = about({"pillow": "12.0", "b": "2.1"})
    assert found["raw"].state == ABSENT
    assert found["raw"].remedy == "pip install 'clipsearch[raw]'"
    assert found["two"].state == BROKEN
    assert "b is 2.1" in found["two"].what
    assert "lacks c" in found["two"].what


def test_what_clipsearch_cannot_do_without_is_broken_where_it_lacks() -> None:
    needed = about({})["needed"]
    assert (needed.state, needed.what) == (BROKEN, "lacks pillow")
    assert needed.remedy == "pip install clipsearch"


def test_a_group_of_groups_is_no_thing_of_its_own() -> None:
    requirements = ['clipsearch[raw]; extra == "all"', 'rawpy>=0.25; extra == "raw"']
    assert [it.name for it in groups(requirements, ["all", "raw"], {}.get)] == ["needed", "raw"]


def test_a_group_of_groups_is_none_in_a_wheel_either() -> None:
    """Where its groups are written out."""
    requirements = [
        'rawpy>=0.25; extra == "raw"', 'pillow-heif>=1; extra == "heic"',
        'rawpy>=0.25; extra == "all"', 'pillow-heif>=1; extra == "all"',
        'pillow-heif>=1; extra == "two"', 'other; extra == "two"',
    ]  # fmt: skip
    names = ["all", "heic", "raw", "two"]
    assert [it.name for it in groups(requirements, names, {}.get)] == [
        "needed", "heic", "raw", "two"
    ]  # fmt: skip


# Indexes


@pytest.fixture
def sound(index: Path, photos: Path) -> Path:
    with open_other(index) as library:
        library.index([photos])
    return index


def broken(index: Path) -> list[Finding]:
    return [it for it in examine_index(index) if it.state == BROKEN]


def test_a_sound_index_is_sound(sound: Path) -> None:
    assert {it.state for it in examine_index(sound)} == {OK}


def test_an_index_without_photos_is_sound(index: Path) -> None:
    with open_other(index):
        pass
    assert [it.state for it in examine_index(index)] == [OK]


def test_no_index_is_no_fault(index: Path) -> None:
    (finding,) = examine_index(index)
    assert (finding.state, finding.remedy) == (ABSENT, "clipsearch index FOLDER")
    assert not index.exists()


def change(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)


def in_catalog(statement: str) -> Callable[[Path], None]:
    def harm(index: Path) -> None:
        with sqlite3.connect(index / "catalog.db") as connection:
            connection.execute(statement)
        connection.close()

    return harm


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no vector file": (lambda it: [f.unlink() for f in it.glob("vectors/*")], "missing or damaged"),
    "cut ids": (
        lambda it: [f.write_bytes(f.read_bytes()[:-16]) for f in it.glob("vectors/*.ids")],
        "lacks 2 of 12",
    ),
    "a changed row": (
        lambda it: [change(f, 4096 + 5) for f in it.glob("vectors/*.f16")],
        "has 1 row that the catalog has otherwise",
    ),
    "a short embedding": (
        in_catalog("UPDATE vectors SET vector = x'00ff' WHERE id = 3"),
        "1 embedding of ViT-B-32-256",
    ),
    "an embedding of zeros": (
        in_catalog("UPDATE vectors SET vector = zeroblob(32) WHERE id = 3"),
        "1 embedding of ViT-B-32-256",
    ),
    "a row of nobody": (
        in_catalog("UPDATE photos SET root_id = 99 WHERE id = 1"), "belong to others"
    ),
    "no database": (
        lambda it: (it / "catalog.db").write_bytes(b"no database at all" * 99), "not a database"
    ),
    "a cut catalog": (
        lambda it: (it / "catalog.db").write_bytes((it / "catalog.db").read_bytes()[:-8192]),
        "catalog",
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_found_and_comes_with_what_helps(sound: Path, harm: str) -> None:
    do, said = HARMS[harm]
    do(sound)
    found = broken(sound)
    assert found
    assert any(said in it.what for it in found), found
    assert all(it.remedy for it in found)


@pytest.mark.parametrize("harm", ["no vector file", "cut ids"])
def test_what_is_told_to_help_does(sound: Path, harm: str) -> None:
    HARMS[harm][0](sound)
    assert all("the next clipsearch query rebuilds it" in str(it.remedy) for it in broken(sound))
    with open_other(sound) as library:
        library.query("a dog")
    assert broken(sound) == []


def test_a_row_of_the_vector_file_is_mended_as_told(sound: Path) -> None:
    HARMS["a changed row"][0](sound)
    (finding,) = broken(sound)
    (file,) = sound.glob("vectors/*.f16")
    assert str(finding.remedy).startswith(f"delete {file};")
    file.unlink()
    with open_other(sound) as library:
        library.query("a dog")
    assert broken(sound) == []


def test_an_index_whose_model_is_gone_is_broken(sound: Path) -> None:
    in_catalog("UPDATE models SET spec = 'ViT-B-32:/no/where.pt'")(sound)
    finding = {it.name: it for it in broken(sound)}["ViT-B-32:/no/where.pt"]
    assert "no weights file" in finding.what


# The command


def test_the_command_tells_of_everything_and_ends_well(clipsearch: Run, sound: Path) -> None:
    done = clipsearch("doctor", "--device", "cpu")
    assert done.returncode == 0, done.stdout
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {len(row) for row in rows} == {5}
    assert {row[0] for row in rows} == {
        "devices", "packages", "decoders", "caches", "hub", "index"
    }  # fmt: skip
    found = {row[1]: row for row in rows}
    assert found["JPEG"][2] == "ok"
    assert found["hub"][2] == "absent"  # HF_HUB_OFFLINE is set
    assert "64 photos at a time" in found["used"][3]
    assert done.stderr == "clipsearch: nothing is broken\n"


def test_the_command_fails_where_something_is_broken(clipsearch: Run, sound: Path) -> None:
    HARMS["cut ids"][0](sound)
    done = clipsearch("doctor", "--offline", "--device", "quantum", "--json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    assert {tuple(it) for it in findings} == {("area", "name", "state", "what", "remedy")}
    faults = [it for it in findings if it["state"] == "broken"]
    assert [it["name"] for it in faults] == ["used", "index"]
    assert "quantum" in faults[0]["what"]
    assert "--device auto" in faults[0]["remedy"]


def test_what_is_damaged_in_the_cache_is_found_by_its_hash(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "text" / "abc"
    with made_in_cache(folder, "tower.onnx") as draft:
        (draft / "tower.onnx").write_bytes(bytes(1000))
    assert [it for it in examine(sound, offline=True) if it.state == BROKEN] == []
    for content in (b"\1" + bytes(999), bytes(999)):
        (folder / "tower.onnx").write_bytes(content)
        (broken,) = (it for it in examine(sound, offline=True) if it.state == BROKEN)
        assert (broken.area, broken.remedy) == (
            "caches", f"remove it, and it is made again: rm -r {folder}"
        )  # fmt: skip
