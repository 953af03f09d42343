"""What is said of a command line that was mistyped, or that means another one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

from clipsearch.errors import did_you_mean

# Verbs that could mean something else than what a command does, which is therefore named only.
_MEANT = {
    "remove": "forget", "rm": "forget", "delete": "forget",
    "backup": "copy", "train": "finetune", "download": "models download",
    "check": "doctor", "version": "--version",
}  # fmt: skip
# Short words are like many, and a wrong guess is worse than none.
_ALIKE = 0.7
_ALIKE_OPTIONS = 0.75  # which all begin with two dashes


def no_command(arguments: Sequence[str], names: Sequence[str], is_all: bool) -> str:
    """What is said where the first argument is no command; `is_all` unless of a command's own."""
    name = arguments[0]
    said = f"there is no command {name!r}"
    if is_all and name in _MEANT:
        return f"{said}; that is: clipsearch {_MEANT[name]}"
    if hint := did_you_mean(name, names, _ALIKE):
        return said + hint
    if not is_all:
        return f"{said}; there are {', '.join(names)}"
    if os.path.isdir(name):
        return f"{said}; to index the folder: clipsearch index {shlex.quote(name)}"
    if os.path.isfile(name):
        return f"{said}; to find photos like it: clipsearch similar {shlex.quote(name)}"
    return f"{said}; to find photos by words: clipsearch query {shlex.join(arguments)}"


def wrong_usage(error: Any, arguments: Sequence[str]) -> str:
    """What is said of an option or argument that a command does not take."""
    command = error.ctx.command_path if error.ctx else "clipsearch"
    if getattr(error, "option_name", None) and hasattr(error, "possibilities"):
        said = _no_option(error, arguments)
    else:
        said = error.format_message().rstrip(". ") + _for_folders(error, arguments)
    return f"{said} (see {command} --help)"


def _no_option(error: Any, arguments: Sequence[str]) -> str:
    name = str(error.option_name)
    if not name.startswith("--"):  # of "-model" it is told as -m
        name = next((word for word in arguments if word.startswith(name)), name)
    name = name.partition("=")[0]
    said, known = f"there is no option {name}", _options(error)
    word = name.lstrip("-")
    if word.isdigit() and "-k" in known:
        return f"{said}; for so many: -k {word}"
    if hint := did_you_mean(f"--{word}", known, _ALIKE_OPTIONS):
        return said + hint
    if not name.startswith("--") and "--minus" in known:
        return f"{said}; to leave out what shows it: --minus {word}"
    return said


def _for_folders(error: Any, arguments: Sequence[str]) -> str:
    """How to name a folder, where one was given to a command that takes it by an option."""
    folder = next((word for word in arguments[1:] if os.path.isdir(word)), None)
    is_extra = "unexpected extra argument" in error.message
    if folder is None or not is_extra or "--folder" not in _options(error):
        return ""
    return f"; for photos below a folder: --folder {shlex.quote(folder)}"


def _options(error: Any) -> list[str]:
    """The names of all options of the command that an error is of."""
    if error.ctx is None:
        return []
    shown = [param for param in error.ctx.command.get_params(error.ctx) if not param.hidden]
    names = [name for param in shown for name in (*param.opts, *param.secondary_opts)]
    return [name for name in names if name.startswith("-")]
