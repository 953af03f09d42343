"""A real Milvus server for the tests, in a process that leaves nothing behind.

Run as a program, `python engine.py FOLDER`: it prints the address, kills and starts the server
again for each line "kill" that it reads, and at the end of its input removes all. The server dies
with it, and it ends with whoever writes to it, whatever happens to either.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

SECONDS_TO_START = 120
TOKEN = "root:Milvus"  # what a server of this kind knows at first
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class Engine:
    """A server that is up, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._line()

    def kill(self) -> None:
        """Kill the server with SIGKILL, and wait until it is up again at the same address."""
        assert self._process.stdin is not None
        print("kill", file=self._process.stdin, flush=True)
        assert self._line() == self.address

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the server did not start")
        return line


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """A server for a while, with its files in `folder`; skips the test where there is none."""
    for package in ("milvus", "pymilvus"):
        if find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    command = [sys.executable, __file__, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Engine(process)
        finally:
            process.communicate("", timeout=300)


class Server:
    """The server process."""

    def __init__(self, folder: Path) -> None:
        from milvus import MilvusServerConfig, _initialize_data_files

        self._folder = folder
        config = MilvusServerConfig(data_dir=str(folder))
        config.set("authorization_enabled", True)
        config.resolve()  # takes other ports where the usual ones are busy
        self.address = f"127.0.0.1:{config.get('proxy_port')}"
        self._metrics = _free_port(config, 9091)
        # Of its etcd it moves the clients alone to another port, and none of the servers.
        clients = f"http://127.0.0.1:{config.get('etcd_port')}"
        peers = f"http://127.0.0.1:{_free_port(config, 23800)}"
        (folder / "etcd.yaml").write_text(
            f"listen-client-urls: {clients}\nadvertise-client-urls: {clients}\n"
            f"listen-peer-urls: {peers}\ninitial-advertise-peer-urls: {peers}\n"
            f"initial-cluster: default={peers}\n"
        )
        _initialize_data_files(str(folder))

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        programs = self._folder / "bin"
        environment = os.environ | {
            "DEPLOY_MODE": "STANDALONE",
            "ETCD_CONFIG_PATH": str(self._folder / "etcd.yaml"),
            "METRICS_PORT": str(self._metrics),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
            "LD_LIBRARY_PATH": str(programs),
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [programs / "milvus", "run", "standalone"],
                cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=_die_with_parent,
            )  # fmt: skip
        deadline = monotonic() + SECONDS_TO_START
        while not self._is_healthy():
            if monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                sys.exit(f"the server did not start: see {self._folder}/log")
            sleep(0.2)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._metrics}/healthz", timeout=5
            ) as answer:
                return b"OK" in answer.read()
        except OSError:
            return False


def _free_port(config: Any, first: int) -> int:
    port, socket = config.resolve_port(first)
    socket.close()
    return int(port)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def main() -> None:
    """Serve until the input ends."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the input, too
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    try:
        server = Server(folder)
        server.start()
        try:
            print(server.address, flush=True)
            for _ in sys.stdin:
                server.kill()
                server.start()
                print(server.address, flush=True)
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
