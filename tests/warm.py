"""The command line in forks of one process in which torch is loaded, which takes seconds each time.

Of clipsearch itself nothing is loaded before the fork, nor what reads the environment as it loads.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PATIENCE = 300  # seconds, after which a command hangs
LOADED = ("numpy", "PIL.Image", "faiss", "torch", "torch._dynamo", "torchvision")


class Warm:
    """A process that runs command lines, one after the other, each in a fork."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path | None = None,
        input: str | bytes | None = None,
        encoding: str = "utf-8",
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m clipsearch` with the arguments; as subprocess.run with text captured."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            files = [os.path.join(folder, name) for name in ("in", "out", "err")]
            sent = input.encode(encoding) if isinstance(input, str) else input or b""
            Path(files[0]).write_bytes(sent)
            asked = {
                "arguments": list(arguments), "environment": dict(environment), "files": files,
                "cwd": str(cwd or os.getcwd()), "input": input is not None,
            }  # fmt: skip
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            out, err = (Path(file).read_bytes().decode(encoding) for file in files[1:])
        return subprocess.CompletedProcess(list(arguments), code, out, err)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    """Run what the lines of stdin say."""
    for module in LOADED:
        importlib.import_module(module)
    assert threading.active_count() == 1
    asking = os.fdopen(os.dup(0), "rb", buffering=0)
    for line in asking:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _end(_become(asked))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)


def _become(asked: dict[str, Any]) -> int:
    """Run the command line, with the streams and surroundings that it is to have."""
    signal.alarm(PATIENCE)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    given, out, err = asked["files"]
    for number, file in enumerate((given if asked["input"] else os.devnull, out, err)):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
    sys.path.insert(0, asked["cwd"])
    sys.argv = ["clipsearch", *asked["arguments"]]
    try:
        runpy.run_module("clipsearch", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End as Python does, except that what torch holds is not taken apart, which takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
