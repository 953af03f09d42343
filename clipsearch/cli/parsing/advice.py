"""What is said of a command line that was mistyped, or that means another one."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from clipsearch.errors import InvalidInput, did_you_mean, nearest

# Verbs that could mean something else than what a command does, which is therefore named only.
_MEANT = {
    "remove": "forget", "rm": "forget", "delete": "forget",
    "backup": "copy", "train": "finetune", "download": "models download",
    "check": "doctor", "version": "--version",
    "completion": "--install-completion", "completions": "--install-completion",
    "install-completion": "--install-completion", "show-completion": "--show-completion",
}  # fmt: skip
# What other programs call an option, where a command has the one that is meant.
_OPTIONS_MEANT = {
    "count": "--limit", "max": "--limit", "number": "--limit", "num": "--limit", "top": "--limit",
    "after": "--since", "from": "--since", "before": "--until", "to": "--until",
    "dir": "--folder", "path": "--folder", "not": "--minus", "without": "--minus",
    "verbose": "--debug", "v": "--version", "V": "--version",
}  # fmt: skip
# Short words are like many, and a wrong guess is worse than none.
_ALIKE = 0.7
_MOST_OF_A_LETTER = 3  # options that begin with it, of which one may be meant
# The commands that are asked something, which may have been meant as a question in words.
_ASKED = ("similar", "label", "ls")
# What Typer says, in words for who wrote the command.
_EXTRA = re.compile(r"unexpected extra argument(?:s|\(s\))? \((.*)\)")
_VALUE = re.compile(r"Invalid value for (.*?): (.*)", re.DOTALL)
_NUMBER = re.compile(r"is not a valid (?:int|float)\w*\.?")
_LACKING = re.compile(r"Option '(.*)' requires an argument\.?")


def no_command(arguments: Sequence[str], names: Sequence[str], is_all: bool) -> str:
    """What is said where the first argument is no command; `is_all` unless of a command's own."""
    name = arguments[0]
    said = f"there is no command {name!r}"
    if is_all and name in _MEANT:
        return f"{said}; that is: clipsearch {_MEANT[name]}"
    if hint := did_you_mean(name, [*names, *["help"] * is_all], _ALIKE):
        return said + hint
    if not is_all:
        return f"{said}; there are {', '.join(names)}"
    if os.path.isdir(name):
        return f"{said}; to index the folder: clipsearch index {shlex.quote(name)}"
    if os.path.isfile(name):
        return f"{said}; to find photos like it: clipsearch similar {shlex.quote(name)}"
    return f"{said}; {by_words(arguments)}"


def check_no_word(text: str) -> None:
    """Raise InvalidInput for a word in place of a picture: it is asked with another command."""
    if text.replace(" ", "").isalpha() and not os.path.lexists(text):
        raise InvalidInput(f"there is no picture {text!r}; {by_words([text])}")


def by_words(arguments: Sequence[str]) -> str:
    """What is said to who asks something with another command than the one for words."""
    words = [word for word in arguments if not word.startswith("-")]
    return f"to find photos by words: clipsearch query {shlex.join(words)}"


def wrong_usage(error: Any, arguments: Sequence[str]) -> str:
    """What is said of an option or argument that a command does not take."""
    command = error.ctx.command_path if error.ctx else f"clipsearch {arguments[0]}"
    if getattr(error, "option_name", None) and hasattr(error, "possibilities"):
        said = _no_option(error, arguments)
    elif extra := _EXTRA.search(error.message):
        said = f"{command} takes no {extra[1]!r}{_for_extra(error, arguments)}"
    elif found := _VALUE.fullmatch(error.format_message()):
        names, fault = found[1].replace("'", "").replace(" / ", ", "), found[2]
        said = f"{names}: {_NUMBER.sub('is no number', fault)}"
    elif found := _LACKING.fullmatch(error.format_message()):
        said = f"{found[1]} needs a value after it"
    else:
        said = error.format_message().rstrip(". ")
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
    if meant := _meant(word, known):
        return f"{said}; did you mean {' or '.join(map(repr, meant))}?"
    if not name.startswith("--") and len(word) > 1 and "--minus" in known:
        return f"{said}; to leave out what shows it: --minus {word}"
    return said


def _meant(word: str, known: Sequence[str]) -> list[str]:
    """Which of the options may be meant by a word, or a letter, that is none."""
    if (meant := _OPTIONS_MEANT.get(word)) in known:
        return [str(meant)]
    if len(word) > 1:
        return [f"--{name}" for name in nearest(word, _words(known), _ALIKE)]
    if (other := f"-{word.swapcase()}") in known:
        return [other]
    begin = [f"--{name}" for name in _words(known) if name.startswith(word.lower())]
    return begin if len(begin) <= _MOST_OF_A_LETTER else []


def _words(options: Sequence[str]) -> list[str]:
    return [name[2:] for name in options if name.startswith("--")]


def _for_extra(error: Any, arguments: Sequence[str]) -> str:
    """What helps where a command was given more words than it takes: a folder, or a question."""
    known = _options(error)
    folder = next((word for word in arguments[1:] if os.path.isdir(word)), None)
    if folder is not None and "--folder" in known:
        return f"; for photos below a folder: --folder {shlex.quote(folder)}"
    is_asked = error.ctx and error.ctx.info_name in _ASKED
    if is_asked and not any(map(os.path.exists, arguments[1:])):
        return f"; {by_words(arguments[1:])}"
    return ""


def _options(error: Any) -> list[str]:
    """The names of all options of the command that an error is of."""
    if error.ctx is None:
        return []
    shown = [param for param in error.ctx.command.get_params(error.ctx) if not param.hidden]
    names = [name for param in shown for name in (*param.opts, *param.secondary_opts)]
    return [name for name in names if name.startswith("-")]
