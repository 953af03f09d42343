"""What runs as on an older processor finds no newer instructions, wherever it looks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "as_processor"
CPU = Path("/proc/cpuinfo")

# Of CPUID, by NumPy; and of the system, by clipsearch.
LOOK = """
import json
from numpy._core._multiarray_umath import __cpu_features__ as features
from clipsearch.encoders.processor import bf16
print(json.dumps([features["AVX2"], features["AVX512F"], bf16()]))
"""


def can_hide() -> bool:
    if not CPU.exists() or "cpuid_fault" not in CPU.read_text("utf-8") or not shutil.which("gcc"):
        return False
    return (
        subprocess.run([SCRIPT, "avx2", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("level", ["avx2", "avx512_bf16"])
def test_as_an_older_processor_there_are_no_newer_instructions(level: str) -> None:
    if not can_hide():
        pytest.skip("this processor cannot hide what it has, or this user not have it")
    command = [SCRIPT, level, sys.executable, "-c", LOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    has_avx2, has_avx512, in_bf16 = json.loads(done.stdout)
    told = CPU.read_text("utf-8")
    assert has_avx2
    if level == "avx2":
        assert (has_avx512, in_bf16) == (False, None)
    else:
        assert has_avx512 == ("avx512f" in told)
        assert in_bf16 == ("avx512_bf16" if "avx512_bf16" in told else None)


def test_it_gives_the_status_of_what_it_ran() -> None:
    if not can_hide():
        pytest.skip("this processor cannot hide what it has, or this user not have it")
    assert subprocess.run([SCRIPT, "avx2", "false"], check=False).returncode == 1


def test_what_it_is_to_stand_for_must_be_named() -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0][:6]) == (2, "usage:")
