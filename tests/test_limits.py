"""What a disk or a number can do to a command: one line, and nothing worse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run

from clipsearch.store.lock import write_lock


def test_a_killed_run_is_over_at_once_and_a_held_lock_is_a_run(
    indexed: Path, clipsearch: Run
) -> None:
    told = {"done": 3, "total": 9, "begun": time.time() - 10}
    (indexed / "index.progress").write_text(json.dumps(told))
    os.utime(indexed / "index.progress", (time.time() - 900,) * 2)  # suspended a while ago
    with write_lock(indexed):
        assert '"done": 3' in clipsearch("status", "--json", "--index", indexed).stdout
    status = clipsearch("status", "--json", "--index", indexed)
    assert status.returncode == 0
    assert '"done": 3' not in status.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["ls", "--csv"], ["status"]])
def test_output_to_a_full_disk_is_one_line(indexed: Path, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", *command, "--index", indexed],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "could not be written" in done.stderr
    assert "fault" not in done.stderr


@pytest.mark.parametrize("number", [str(1 << 63), str(1 << 70)])
@pytest.mark.parametrize("option", ["-k", "--min-size"])
def test_numbers_beyond_64_bits_are_refused(
    indexed: Path, clipsearch: Run, option: str, number: str
) -> None:
    done = clipsearch("ls", option, number, "--index", indexed)
    assert done.returncode == 2
    assert "fault" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
