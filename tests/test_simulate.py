"""The simulation of large libraries runs at a small size, and tries nothing that does not fit."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipsearch.store.catalog import Catalog, Changes

SCRIPT = Path(__file__).parent.parent / "scripts" / "simulate_scale.py"
DIM = 64


def simulate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def tables(output: str) -> dict[str, list[str]]:
    """The cells of each row, by the first of them."""
    rows = [line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in rows}


def test_a_small_library_is_measured_and_taken_away(tmp_path: Path) -> None:
    options = ["--rows", "3000", "--catalog", "500", "--dim", f"{DIM}", "--questions", "3"]
    said = simulate(*options, "--scratch", tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    rows = tables(said.stdout)
    for share in ("all", "50 %", "8 %", "1 %"):
        exact, approximate, *recalls = rows[share]
        assert exact.endswith(" ms")
        assert approximate.endswith(" ms")
        assert [float(recall) for recall in recalls] == pytest.approx([1] * 4, abs=0.05)
    assert {"ten photos of an answer", "ids of the latest 8 %"} <= rows.keys()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["rows", "catalog"])
def test_what_does_not_fit_is_not_tried(what: str, tmp_path: Path) -> None:
    other = "--catalog" if what == "rows" else "--rows"
    said = simulate(f"--{what}", f"{10**12}", other, "--scratch", tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith("1,000,000,000,000 ")
    assert said.stderr.endswith(" are free: not tried\n")
    assert said.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_made_up_photos_are_set_beside_those_of_an_index(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((200, DIM)) / DIM**0.5  # of length 1 or so
    with closing(Catalog.create(tmp_path)) as catalog:
        model = catalog.add_model("tiny", "weights", "preprocess", DIM, None)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        vectors = [(f"{n}", row.tobytes()) for n, row in enumerate(rows.astype(np.float16))]
        catalog.write(model.id, Changes(vectors=vectors))
    said = simulate("--rows", "--catalog", "--like", tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    found = tables(said.stdout)
    means = [float(found[name][0]) for name in ("real", "made up", "noise")]
    assert means == pytest.approx([0, 0.5, 0], abs=0.1)
