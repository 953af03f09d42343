"""What a shell completes of a command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import picture
from PIL import Image
from tiny import open_tiny


@pytest.fixture
def taken(tmp_path: Path, index: Path) -> Path:
    """A folder of two photos, indexed, one of them by a camera."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON", "D90"
    (folder := tmp_path / "Photos").mkdir()
    picture(1).save(folder / "1.jpg", exif=exif)
    picture(2).save(folder / "2.jpg")
    with open_tiny(index) as library:
        library.index([folder])
    return folder


def completed(index: Path, line: str, shell: str = "bash") -> tuple[list[str], str]:
    """What a shell is given where a line ends, and what is printed beside."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    if shell != "bash":
        asked = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch"],
        env=os.environ
        | {"CLIPSEARCH_INDEX": str(index), "_CLIPSEARCH_COMPLETE": f"complete_{shell}"}
        | asked,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else [], done.stderr


def test_what_the_index_holds_is_completed(taken: Path, index: Path) -> None:
    assert completed(index, "clipsearch query dog --camera ") == (["NIKON\\ D90"], "")
    assert completed(index, "clipsearch find dog --camera N") == (["NIKON\\ D90"], "")
    assert completed(index, "clipsearch ls --camera N", "fish") == (["NIKON D90"], "")
    assert completed(index, "clipsearch query --folder ") == ([str(taken)], "")
    assert completed(index, f"clipsearch forget {str(taken)[:-2]}") == ([str(taken)], "")
    assert completed(index, "clipsearch models remove ") == (["pocket"], "")
    assert completed(index, "clipsearch query --model po") == (["pocket"], "")
    elsewhere = f"clipsearch query --index {index} --camera N"
    assert completed(index.parent / "none", elsewhere) == (["NIKON\\ D90"], "")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("query --model poc", ["pocket"]),
        ("models download mult", ["multilingual"]),
        ("label --show weddi", ["wedding", "wedding\\ dress"]),
        ("query --orientation p", ["portrait"]),
        ("ls --type he", ["heic"]),
        ("ls --has g", ["gps"]),
        ("query --rerank blip-", ["blip-large"]),
        ("caption --model vit", ["vit-gpt2"]),
        ("index --runtime o", ["onnx", "openvino"]),
        ("index --device cu", ["cuda"]),
        ("index --store f", ["faiss"]),
        ("eval retrieval x.csv --precision b", ["bf16"]),
        ("finetune x.csv --precision f", ["fp16", "fp32"]),
        ("index --precision i", ["int8"]),
        ("label --labels imag", ["imagenet"]),
        ("store move f", ["faiss"]),
        ("quer", ["query"]),
        ("query --hyb", ["--hybrid"]),
        ("query --camera N", []),
    ],
)
def test_what_needs_no_index_is_completed_without_one(
    index: Path, line: str, found: list[str]
) -> None:
    assert completed(index, f"clipsearch {line}") == (found, "")
    assert not index.exists()
