"""What is committed survives: SIGKILL, Ctrl-C, and two processes at once, with real indexers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture

from clipsearch import Library
from clipsearch.encoders import Encoder, load, parse_spec

COUNT = 160
BATCH = 4  # many commits, so that there are many moments
ALL = 1000

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.fixture(scope="module")
def loaded(spec: str) -> Encoder:
    return load(parse_spec(spec), "cpu")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 small photos; one in eight is a copy of another."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        seed = number - 1 if number % 8 == 7 else number
        picture(seed, (64, 48)).save(folder / f"{number:03}.jpg")
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    many: Path, spec: str, loaded: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, np.ndarray]]:
    """The catalog of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "index"
    with opened(folder, spec, loaded) as library:
        library.index([many], batch_size=BATCH)
    return stored(folder)


def opened(folder: Path, spec: str, loaded: Encoder) -> Library:
    return Library.open(folder, model=spec, encoder=loaded)


@contextmanager
def indexer(many: Path, index: Path, spec: str) -> Iterator[subprocess.Popen[str]]:
    """A real `clipsearch index` at work; killed at the end if it still lives."""
    command = [sys.executable, "-m", "clipsearch", "index", many, "--index", index]
    command += ["--model", spec, "--batch-size", str(BATCH), "--workers", "1", "--device", "cpu"]
    process = subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # threads that spin starve the other process
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    """Look until something can be seen of a process that must still be running then."""
    end = time.monotonic() + 120
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.001)


def count(index: Path) -> int:
    """The number of photos committed, as another program reads it; 0 while there is no catalog."""
    try:
        uri = f"file:{index / 'catalog.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as db:
            return int(db.execute("SELECT count(*) FROM photos").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def stored(index: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Digest and vector of each photo, by path."""
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        rows = db.execute("SELECT path, digest, vector FROM photos JOIN vectors USING (digest)")
        return {path: (digest, np.frombuffer(row, np.float16)) for path, digest, row in rows}


def answers_are_true(library: Library, loaded: Encoder) -> None:
    """What FAISS answers is what the catalog's own vectors give by plain arithmetic."""
    words = loaded.encode_texts(["a dog"])[0]
    hits = {hit.path.name: hit.score for hit in library.query("a dog", ALL)}
    truth = {
        p: float(row.astype(np.float32) @ words) for p, (_, row) in stored(library.folder).items()
    }
    assert hits == pytest.approx(truth, abs=1e-4)


def equal(one: dict[str, tuple[str, np.ndarray]], two: dict[str, tuple[str, np.ndarray]]) -> None:
    assert {path: digest for path, (digest, _) in one.items()} == {
        path: digest for path, (digest, _) in two.items()
    }
    for path, (_, vector) in one.items():
        # bf16 rounds a little differently in batches of other sizes.
        assert float(vector.astype(np.float32) @ two[path][1].astype(np.float32)) > 0.9995


def at_work(index: Path) -> bool:
    return (index / "index.pid").exists()


def after(photos: int) -> Callable[[Path], bool]:
    return lambda index: count(index) >= photos


@pytest.mark.parametrize(
    "moment",
    [
        at_work,
        pytest.param(after(1), marks=pytest.mark.thorough),
        pytest.param(after(40), marks=pytest.mark.thorough),
        pytest.param(after(100), marks=pytest.mark.thorough),
    ],
    ids=["before the first commit", "at the first commit", "after 40", "after 100"],
)
def test_a_killed_indexer_loses_nothing_committed_and_the_next_run_completes_it(
    many: Path,
    index: Path,
    spec: str,
    loaded: Encoder,
    undisturbed: dict[str, tuple[str, np.ndarray]],
    moment: Callable[[Path], bool],
) -> None:
    with indexer(many, index, spec) as process:
        wait_until(process, lambda: moment(index))
        seen = count(index)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with opened(index, spec, loaded) as library:
        kept = library.status().photos
        assert seen <= kept < COUNT
        answers_are_true(library, loaded)
        report = library.index([many], batch_size=BATCH)
        assert report.complete
        assert (report.added, report.unchanged) == (COUNT - kept, kept)
        assert (report.updated, report.moved, report.removed, report.failed) == (0, 0, 0, 0)
        answers_are_true(library, loaded)
    equal(stored(index), undisturbed)


def test_ctrl_c_stops_after_the_batch_and_says_how_to_go_on(
    many: Path, index: Path, spec: str, loaded: Encoder
) -> None:
    with indexer(many, index, spec) as process:
        wait_until(process, lambda: count(index) >= 20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "added" in out
    assert "what is done is kept. The same command goes on from there." in err
    assert "Traceback" not in err
    with opened(index, spec, loaded) as library:
        kept = library.status().photos
        assert 20 <= kept < COUNT
        assert f"{kept} added" in out
        report = library.index()
        assert (report.added, report.unchanged) == (COUNT - kept, kept)


def test_a_second_indexer_is_told_who_writes_and_a_query_is_answered(
    many: Path, index: Path, spec: str, loaded: Encoder, clipsearch: Run
) -> None:
    with indexer(many, index, spec) as process:
        wait_until(process, lambda: count(index) >= 20)
        process.send_signal(signal.SIGSTOP)  # holds it in the middle of its work
        try:
            second = clipsearch("index", many)
            with opened(index, spec, loaded) as library:
                committed = count(index)
                assert len(library.query("a dog", ALL)) == committed
        finally:
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=300)
    assert second.returncode == 2
    assert second.stdout == ""
    assert f"another clipsearch (process {process.pid}) is writing to {index}" in second.stderr
    assert second.stderr.count("\n") == 1
    assert (process.returncode, err) == (0, "")
    assert f"{COUNT} added" in out


@pytest.mark.thorough
def test_queries_are_answered_all_through_a_run(
    many: Path, index: Path, spec: str, loaded: Encoder
) -> None:
    seen = []
    with indexer(many, index, spec) as process:
        wait_until(process, lambda: count(index) > 0)
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)  # leaves the indexer most of the machine
            with opened(index, spec, loaded) as library:
                seen.append(len(library.query("a dog", ALL)))
        assert process.returncode == 0
    assert seen == sorted(seen)
    assert 0 < seen[0] <= seen[-1] <= COUNT


@pytest.mark.parametrize("attempt", range(5))
def test_an_index_that_several_open_at_the_same_moment_is_made_once(
    index: Path, spec: str, attempt: int
) -> None:
    start = threading.Barrier(6, timeout=300)

    def open_it() -> None:
        start.wait()
        Library.open(index, model=spec).close()

    with ThreadPoolExecutor(6) as pool:
        for opening in [pool.submit(open_it) for _ in range(6)]:
            opening.result()
