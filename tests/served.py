"""A server as a process of its own, asked by real connections."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

DEADLINE = 300.0  # seconds; only a failing test waits so long


class Process(NamedTuple):
    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    def get(self, path: str, timeout: float = DEADLINE, **query: Any) -> bytes:
        url = f"{self.address}{path}?{urlencode(query)}"
        with urlopen(url, timeout=timeout) as answer:
            content: bytes = answer.read()
            return content

    def stopped(self, number: int) -> tuple[int, str]:
        """The exit code after a signal, and what was said on the way."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, said


Serve = Callable[..., Process]


@contextmanager
def servers(index: Path, cache: Path) -> Iterator[Serve]:
    """Starts servers, of the tiny model where no command is given; they are killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str | Path, **more: str) -> Process:
        place = more.pop("cwd", str(Path(__file__).parent))
        environment = os.environ | {"CLIPSEARCH_CACHE": str(cache)} | more
        process = subprocess.Popen(
            command or [sys.executable, "tiny_server.py", index],
            stderr=subprocess.PIPE, text=True, env=environment, cwd=place,
        )  # fmt: skip
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "serving http://" in line, line
        return Process(process, line.split()[2].rstrip("/"))

    yield start
    for process in started:
        process.kill()
        process.communicate()
