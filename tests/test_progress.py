"""How far work is, and how fast: what is told counts the work, and what is waited for is said."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import picture
from tiny import TinyEncoder, open_tiny

from clipsearch import Library

WAITED = 2.0  # seconds


class SlowToLoad(TinyEncoder):
    """A model that is waited for."""

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        if not hasattr(self, "_is_loaded"):
            time.sleep(WAITED)
            self._is_loaded = True
        return 64


def test_images_a_second_are_those_of_the_work(photos: Path, index: Path) -> None:
    with Library.open(index, model="pocket", encoder=SlowToLoad()) as library:
        report = library.index([photos])
        assert report.seconds > WAITED
        assert report.images_per_second >= round(12 / (report.seconds - WAITED), 1)
        again = library.index()
    assert (again.unchanged, again.images_per_second) == (12, 0)


def test_what_is_brought_back_is_not_counted_as_embedded(photos: Path, index: Path) -> None:
    with open_tiny(index) as library:
        assert library.index([photos]).embedded_per_second > 0
        library.forget(photos)
        back = library.index([photos])
    assert (back.added, back.embedded, back.embedded_per_second) == (12, 0, 0)
    assert back.images_per_second > 0  # which were read


def test_preparing_queries_tells_how_far_it_is(
    indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    told: list[tuple[int, int]] = []
    with open_tiny(indexed) as library:
        library.export_texts(progress=lambda done, total: told.append((done, total)))
        assert told[0] == (0, 6)
        assert told == sorted(told)
        assert told[-1] == (6, 6)
        told.clear()
        library.export_texts(progress=lambda done, total: told.append((done, total)))
    assert told == []  # nothing to do shows no bar


@pytest.mark.parametrize(
    ("command", "model"),
    [
        pytest.param(
            ["models", "download", "fast"],
            "ViT-B-32/laion2b_s34b_b79k",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            ["finetune", "pairs.csv", "--out", "new", "--model", "fast"],
            "ViT-B-32/laion2b_s34b_b79k",
            marks=pytest.mark.thorough,
        ),
        (
            ["score", "1.jpg", "--text", "a", "--text", "b", "--model", "chinese"],
            "chinese-clip:OFA-Sys/chinese-clip-vit-base-patch16",
        ),
    ],
    ids=lambda it: it[0] if isinstance(it, list) else "",
)
def test_a_hub_that_never_answers_is_said_and_not_waited_for(
    tmp_path: Path, home: Path, command: list[str], model: str
) -> None:
    for name in ("1.jpg", "2.jpg"):
        picture(1).save(tmp_path / name)
    (tmp_path / "pairs.csv").write_text("image,caption\n1.jpg,a wall\n2.jpg,a wall\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        given = {name: it for name, it in os.environ.items() if name != "HF_HUB_OFFLINE"}
        given |= {"HOME": str(home), "HF_HOME": str(home / "hub"), "HF_ENDPOINT": address}
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", *command], cwd=tmp_path,
            env=given | {"no_proxy": "127.0.0.1"}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    told = done.stderr.splitlines()
    asking = told.index(f"clipsearch: asking {address} for {model}")
    assert asking <= 1  # what there is to learn from may come before
    # urllib has the same patience, and may be the first to lose it.
    assert f"  {address} " in told[asking + 2]
    assert re.search("did not answer within 5 s|timed out", told[asking + 2])
    assert done.returncode == 2
