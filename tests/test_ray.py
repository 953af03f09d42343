"""`index --ray` on a real cluster: what it finds, and what dying and stopping cost."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture

from clipsearch import ClusterError, InvalidInput
from clipsearch.cli.reports import FAILED
from clipsearch.indexing.distributed.actor import Claims
from clipsearch.indexing.distributed.cluster import Cluster
from clipsearch.indexing.distributed.shares import Machine, Share, share_out

needs_ray = pytest.mark.skipif(
    not find_spec("ray") or sys.platform != "linux",
    reason="starts a Ray cluster: Linux and pip install 'clipsearch[ray]'",
)

COUNT = 400
TOKEN = secrets.token_hex(32)
HERE = Path(__file__).parent
# Every Python of the cluster and of the command knows one more family of models.
START = 'from clipsearch.encoders.spec import FAMILIES\nFAMILIES["staged"] = "staged"\n'

Command = subprocess.CompletedProcess[str]


class RayCluster:
    """Machines of a cluster, all on this one; whatever carries its token is its own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.stage = scratch / "stage"
        self.stage.mkdir()
        self.commands: list[subprocess.Popen[str]] = []
        (scratch / "sitecustomize.py").write_text(START)
        self.address = f"127.0.0.1:{_free_port()}"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("RAY_")
        } | {
            "PYTHONPATH": os.pathsep.join([str(scratch), str(HERE), str(HERE.parent)]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "STAGED": str(self.stage),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.start(f"--head --port={self.address.partition(':')[2]} --temp-dir={scratch / 'ray'}"
                   " --include-dashboard=false --disable-usage-stats")  # fmt: skip

    def start(self, how: str, name: str = "first", hiding: Path | None = None) -> None:
        """Start a machine, which does not see the folder `hiding`."""
        arguments = f"start {how} --node-ip-address=127.0.0.1 --num-cpus=1"
        arguments += " --object-store-memory=80000000"
        command = [sys.executable, "-m", "ray.scripts.scripts", *arguments.split()]
        if hiding:
            script = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, str(hiding), *command]
        done = subprocess.run(
            command, env=self.environment | {"MACHINE": name}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def join(self, name: str, hiding: Path | None = None) -> None:
        self.start(f"--address={self.address}", name, hiding)

    def kill(self, name: str | None = None, program: str = "") -> None:
        """SIGKILL to what runs `program` on a machine; to everything, on all of them."""
        for pid in self._processes(name, program):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self, name: str | None, program: str) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                settings = (folder / "environ").read_bytes().split(b"\0")
                runs = (folder / "cmdline").read_bytes().split(b"\0")[0]
                here = name is None or f"MACHINE={name}".encode() in settings
                ours = f"RAY_AUTH_TOKEN={TOKEN}".encode() in settings
                if ours and here and os.fsencode(program) in runs:
                    found.append(int(folder.name))
        return found

    def index(
        self, photos: Path | str, index: Path, *more: str, address: str = "", **settings: str
    ) -> subprocess.Popen[str]:
        """Start `clipsearch index` with this cluster, or another."""
        more = ("--ray", address or self.address, "--workers", "1", *more)
        self.commands.append(_indexing(photos, index, *more, **(self.environment | settings)))
        return self.commands[-1]

    def end_commands(self) -> None:
        """Kill what a test that failed has left running."""
        for process in self.commands:
            with process:
                process.kill()
        self.commands.clear()


def _indexing(
    photos: Path | str, index: Path, *more: str, **environment: str
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "clipsearch", "index", str(photos), "--index", str(index)]
    command += ["--model", "staged:a/b", "--json", *more]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _done(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The report of a run that went well."""
    out, err = process.communicate(timeout=300)
    slow = "clipsearch: no machine has done anything yet; see what they do: ray status\n"
    said = err.replace(f"clipsearch: {FAILED}\n", "").replace(slow, "")
    assert (process.returncode, said) == (0, "")
    report: dict[str, Any] = json.loads(out)
    return {name: report[name] for name in ("added", "moved", "removed", "unchanged", "failed")}


def _refused(process: subprocess.Popen[str]) -> str:
    """What a run says that could not do its work."""
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (2, "")
    return err


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    # Not in pytest's folder: the paths of sockets are short.
    scratch = Path(tempfile.mkdtemp(prefix="clipsearch-ray-"))
    cluster = None
    try:
        cluster = RayCluster(scratch)
        yield cluster
    finally:
        if cluster:
            cluster.kill()
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def stage(cluster: RayCluster) -> Iterator[Path]:
    """An empty stage."""
    yield cluster.stage
    cluster.end_commands()
    for file in cluster.stage.iterdir():
        file.unlink()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 small pictures; one in eight is a copy of another, and two cannot be read."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        file = folder / f"{number:04}.png"
        picture(number - 1 if number % 8 == 7 else number, (32, 24)).save(file)
    (folder / "0100.png").write_bytes((folder / "0101.png").read_bytes()[:200])
    shutil.copy(folder / "0100.png", folder / "0300.png")
    return folder


@pytest.fixture(scope="module")
def local(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a run without Ray."""
    index = tmp_path_factory.mktemp("local") / "index"
    path = os.pathsep.join([str(many.parent), str(HERE), str(HERE.parent)])
    (many.parent / "sitecustomize.py").write_text(START)
    _done(_indexing(many, index, **os.environ | {"PYTHONPATH": path}))
    return index


def stored(index: Path) -> tuple[dict[str, list[tuple[Any, ...]]], np.ndarray]:
    """All that a catalog holds but the order it came in, and the vectors by their contents."""
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        db.row_factory = sqlite3.Row
        tables = {}
        for table in ("photos", "failures", "pictures", "models", "roots"):
            rows = [dict(row) for row in db.execute(f"SELECT * FROM {table}")]
            tables[table] = sorted(
                tuple((name, value) for name, value in row.items() if name != "id") for row in rows
            )
        vectors = db.execute("SELECT digest, vector FROM vectors ORDER BY digest").fetchall()
        tables["embedded"] = [(digest,) for digest, _ in vectors]
    return tables, np.stack([np.frombuffer(row, np.float16) for _, row in vectors]).astype(float)


def assert_same(index: Path, other: Path) -> None:
    tables, vectors = stored(index)
    others, expected = stored(other)
    assert tables == others
    np.testing.assert_allclose(vectors, expected, rtol=2**-8, atol=2**-10)  # bf16's rounding


def poll(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.thorough
@needs_ray
def test_a_machine_that_dies_costs_only_its_blocks(
    cluster: RayCluster, stage: Path, many: Path, local: Path, index: Path
) -> None:
    cluster.join("second")
    (stage / "two").touch()
    process = cluster.index(many, index)
    poll((stage / "stuck").exists, process)
    cluster.kill("second", "raylet")
    report = _done(process)
    assert report == {"added": COUNT - 2, "moved": 0, "removed": 0, "unchanged": 0, "failed": 2}
    assert_same(index, local)
    cluster.kill("second")


@needs_ray
def test_what_this_machine_embedded_alone_is_not_embedded_again(
    cluster: RayCluster, stage: Path, photos: Path, index: Path
) -> None:
    assert _done(cluster.index(photos, index, address="local"))["added"] == 12
    (photos / "trip" / "08.jpg").rename(photos / "moved.jpg")
    shutil.copy(photos / "00.jpg", photos / "copy.jpg")
    (photos / "01.jpg").unlink()
    report = _done(cluster.index(photos, index))
    assert report == {"added": 1, "moved": 1, "removed": 1, "unchanged": 10, "failed": 0}
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        assert db.execute("SELECT max(id), count(*) FROM vectors").fetchone() == (12, 11)


@pytest.mark.thorough
@needs_ray
def test_ctrl_c_keeps_what_was_committed_and_the_next_run_goes_on(
    cluster: RayCluster, stage: Path, many: Path, local: Path, index: Path
) -> None:
    (stage / "slow").touch()
    process = cluster.index(many, index, "--batch-size", "8")
    poll(lambda: (index / "catalog.db").exists() and count(index) > 0, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "stopped; what is done is kept" in err
    assert 0 < count(index) < COUNT
    (stage / "slow").unlink()
    _done(cluster.index(many, index))
    assert_same(index, local)


def count(index: Path) -> int:
    try:
        with closing(sqlite3.connect(index / "catalog.db")) as db:
            photos: int = db.execute("SELECT count(*) FROM photos").fetchone()[0]
    except sqlite3.OperationalError:  # the tables are being made
        return 0
    return photos


@pytest.mark.thorough
@needs_ray
def test_a_machine_that_does_not_see_the_folder_is_named_and_nothing_changes(
    cluster: RayCluster, stage: Path, photos: Path, index: Path
) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this user may not hide a folder from a process")
    cluster.join("blind", hiding=photos)
    (stage / "two").touch()  # the first machine leaves the work to this one
    err = _refused(cluster.index(photos, index, "--batch-size", "2"))
    cluster.kill("blind")
    assert f") does not see {photos}, which is here" in err
    assert "mount it there" in err
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        assert db.execute("SELECT count(*) FROM photos").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM failures").fetchone() == (0,)


@pytest.mark.thorough
@needs_ray
def test_a_machine_that_cannot_load_the_model_is_named(
    cluster: RayCluster, stage: Path, photos: Path, index: Path
) -> None:
    (stage / "unloadable").touch()
    err = _refused(cluster.index(photos, index))
    assert err.startswith(f"clipsearch: the machine {socket.gethostname()} (")
    assert err.endswith(") cannot embed: its weights are not here\n")


@needs_ray
def test_a_wrong_token_is_refused_in_a_line(cluster: RayCluster, photos: Path, index: Path) -> None:
    err = _refused(cluster.index(photos, index, RAY_AUTH_TOKEN=secrets.token_hex(32)))
    said, remedy, *more = err.splitlines()
    assert said.endswith(f" {cluster.address} does not accept the token of this machine")
    assert "~/.ray/auth_token" in remedy
    assert not more


@needs_ray
def test_an_address_where_nothing_answers_is_refused_in_a_line(
    photos: Path, index: Path, clipsearch: Callable[..., Command]
) -> None:
    address = f"127.0.0.1:{_free_port()}"
    done = clipsearch("index", photos, "--model", "pocket", "--ray", address)
    assert done.returncode == 2
    assert done.stderr.startswith(f"clipsearch: no Ray cluster answers at {address} (")


def test_without_its_group_the_option_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidInput, match=r"^ray needs: pip install 'clipsearch\[ray\]'"):
        Cluster("local")


@pytest.mark.parametrize("address", ["", "here", "host:", "host:0", ":6379", "ray://host:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"^ray takes the address of a Ray cluster"):
        Cluster(address)


@pytest.mark.parametrize("gpus", [-1, 1.5, float("nan")])
def test_what_is_no_part_of_a_gpu_is_refused(gpus: float) -> None:
    with pytest.raises(InvalidInput, match=r"^ray_gpus is a part of a GPU"):
        Cluster("local", gpus)


def test_a_share_of_a_gpu_comes_with_the_cpus_that_feed_it() -> None:
    machines = [Machine(16, 2), Machine(64, 4), Machine(32, 0)]
    assert share_out(machines, None, None) == Share(8, 1.0, 6)
    assert share_out(machines, None, 0.5) == Share(4, 0.5, 12)
    assert share_out(machines, 2, 0.25) == Share(2, 0.25, 24)
    assert share_out(machines, None, 0) == Share(4, 0.0, 28)
    assert share_out([Machine(2, 0)], None, None) == Share(2, 0.0, 1)


def test_a_share_that_no_machine_has_is_refused() -> None:
    with pytest.raises(ClusterError, match="has 1 GPUs to give"):
        share_out([Machine(8, 0)], None, 1.0)
    with pytest.raises(ClusterError, match="has 9 CPUs"):
        share_out([Machine(8, 0)], 9, None)


def test_a_content_is_claimed_once_and_by_a_block_that_runs_again_too() -> None:
    claims = Claims({"known"})
    assert claims.claim({1: "known", 2: "new", 3: "new"}) == {2}
    assert claims.claim({4: "new", 5: "other"}) == {5}
    assert claims.claim({1: "known", 2: "new", 3: "new"}) == {2}
