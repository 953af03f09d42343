"""Many command lines at the cost of one start: each runs in a fork of one process.

    echo '[{"arguments": ["ls"], "stdout": "/dev/full"}]' | python forked.py

prints for each, as JSON, how it ended and what it wrote on stderr. `stdout` and `stderr` are files
to write to, "closed", or "unread" for a pipe that nobody reads any more.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE = 300  # seconds, after which a command hangs


class Ended(NamedTuple):
    """How a command line ended."""

    arguments: list[str]
    code: int  # negative for a signal
    stderr: str


def run_all(commands: Sequence[dict[str, Any]], **environment: str) -> list[Ended]:
    """Run command lines one after the other, in one process less than each."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(commands),
        env=os.environ | {"COLUMNS": "200"} | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Ended(*told) for told in json.loads(done.stdout)]


def main() -> None:
    """Run what stdin says."""
    for module in ("cli.index", "library", "search.query", "tuning.run", "photos.decoding.decode"):
        importlib.import_module(f"clipsearch.{module}")

    commands = json.load(sys.stdin)
    told = []
    for command in commands:
        opened, said = tempfile.mkstemp()
        os.close(opened)
        child = os.fork()
        if child == 0:
            _become(command, said)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told.append((command["arguments"], code, Path(said).read_text(errors="replace")))
        os.unlink(said)
    json.dump(told, sys.stdout)


def _become(command: dict[str, Any], said: str) -> None:
    """The command line, with the streams that it is to have, as Python opens them at a start."""
    signal.alarm(PATIENCE)
    places = command.get("stdout", os.devnull), command.get("stderr", said)
    for number, place in enumerate((os.devnull, *places)):
        _place(number, place)
    sys.stdin = os.fdopen(0)
    sys.stdout = None if places[0] == "closed" else os.fdopen(1, "w", errors="surrogateescape")
    sys.stderr = None if places[1] == "closed" else os.fdopen(2, "w", errors="backslashreplace")
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    sys.argv = ["clipsearch", *command["arguments"]]

    from clipsearch.cli import main as clipsearch

    clipsearch()


def _place(number: int, place: str) -> None:
    """Have a file stand at a descriptor."""
    os.close(number)
    if place == "closed":
        return
    if place == "unread":
        reader, writer = os.pipe()
        kept = os.dup(writer)
        os.close(reader)
        os.close(writer)
        opened = kept
    else:
        opened = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


if __name__ == "__main__":
    main()
