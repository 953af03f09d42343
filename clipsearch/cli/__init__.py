"""The command line: it parses, calls the library, and prints. Results go to stdout.

Exit codes: 0 done, 1 nothing found, 2 an error, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import importlib
import io
import itertools
import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from clipsearch.cli.interrupts import end_stopped, heed_signals, ignore_signals
from clipsearch.cli.options import with_groups
from clipsearch.cli.output import end_with_the_reader, note
from clipsearch.cli.parsing.advice import wrong_usage
from clipsearch.cli.parsing.commands import (
    ALIASES,
    COMMANDS,
    HELP_NAMES,
    Command,
    Commands,
    also_called,
)
from clipsearch.cli.torchrun import check_together, has_word, is_first, launched
from clipsearch.ending import end_now
from clipsearch.errors import ClipsearchError, option

# What a wrong option or argument raises; Typer has a public name for its subclass alone.
UsageError: Any = typer.BadParameter.__base__

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_NO_MEMORY = (
    "there is not enough memory for this; close other programs, or have fewer pictures worked on at"
    " a time, as index does with --workers 1 --batch-size 8. What was indexed is kept."
)


def _app(asked: str) -> typer.Typer:
    """The command that is asked for, or all: preparing one takes milliseconds, which add up."""
    app = typer.Typer(
        name="clipsearch",
        cls=Commands,
        context_settings={"help_option_names": HELP_NAMES},
        epilog="To begin: clipsearch index ~/Photos, and then clipsearch query a dog.",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help appears at once; Rich takes a tenth of a second to load
        pretty_exceptions_enable=False,
        help="Find photos by what they show, on this machine alone.",
        callback=_options,
    )
    for name in [asked] if asked in COMMANDS else COMMANDS:
        module = importlib.import_module(f"clipsearch.cli.commands.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, cls=Commands)
        else:
            app.command(cls=Command, epilog=also_called(name))(with_groups(getattr(module, name)))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        end_with_the_reader()
        typer.echo(f"clipsearch {version('clipsearch')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Say what runs models and why; show where something goes wrong."
        ),
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line; every expected error becomes one line and exit code 2."""
    arguments, debug = _take_debug(sys.argv[1:])
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    _name_shell(arguments)
    _stand_in_for_closed_streams()
    if not is_first():
        _answer_nothing()
    _print_any_name()
    _log_to_stderr(debug)
    try:
        heed_signals()
        asked = next((word for word in arguments if not word.startswith("-")), "")
        command = ALIASES.get(asked, asked)
        if command in COMMANDS:
            check_together(command)
        status = _app(command)(arguments, "clipsearch", standalone_mode=False)
        _flush()
        _exit(status or 0)
    except (KeyboardInterrupt, typer.Abort):
        end_stopped()
    except ClipsearchError as error:
        _fail(error.said(option), debug)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which Typer has no public name for
            error.show()
            sys.exit(2)
        _fail(wrong_usage(error, arguments), debug)
    except OSError as error:
        _fail(_disk_trouble(error), debug)
    except MemoryError:
        _fail(_NO_MEMORY, debug)
    except Exception as error:
        _fail(_unexpected(error), debug)


def _name_shell(arguments: list[str]) -> None:
    """Have the shell that is named beside an option for completion be the one that is meant.

    Typer takes a name only where it is kept from looking for the shell that it is started by.
    """
    words = [part for word in arguments for part in word.split("=", 1)]
    for word, named in itertools.pairwise(words):
        if word in ("--install-completion", "--show-completion") and not named.startswith("-"):
            os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"


def _unexpected(error: Exception) -> str:
    return (
        f"unexpected {type(error).__name__}: {error}\n"
        "This is a fault of clipsearch; --debug shows where. What was indexed is kept."
    )


def _disk_trouble(error: OSError) -> str:
    """What could not be written: the answer, or another file."""
    if error is _Answers.lost:
        if isinstance(error, BrokenPipeError):  # the reader has seen enough
            end_with_the_reader()
            with suppress(OSError):
                os.write(1, b"\n")  # which ends this process, where there is such a signal
        return (
            f"the answer could not be written ({error.strerror}); make room, or send it elsewhere"
        )
    if error.errno in _BARRED and error.filename:
        return (
            f"{error.filename} cannot be read or written ({error.strerror}); see what it is and"
            " who may use it, or name another"
        )
    if error.errno not in _FULL:
        return _unexpected(error)
    file = error.filename or "a file, perhaps a temporary one,"
    return f"{file} could not be written ({error.strerror}); make room, and run the command again"


def _flush() -> None:
    """Write out what was printed, while it can still be said that it could not be."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Find --debug wherever it stands, since it is added to a command that just failed."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    rest = [word for word in arguments[:end] if word != "--debug"] + arguments[end:]
    return rest, len(rest) < len(arguments)


class _Answers(io.FileIO):
    """stdout, which remembers that it could not be written."""

    lost: OSError | None = None

    def write(self, content: Any) -> int:
        """Write, or remember why not."""
        try:
            return super().write(content)
        except OSError as error:
            _Answers.lost = error
            raise


class _Notes(io.TextIOWrapper):
    """stderr, whose loss fails no command: results go to stdout."""

    def write(self, text: str) -> int:
        """Write what can be."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what can be."""
        with suppress(OSError):
            super().flush()


def _stand_in_for_closed_streams() -> None:
    """Have a stream at each place that a closed one left, which a file of an index would get."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # To stdout nothing can be written, as it was: a lost answer is to be told.
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _answer_nothing() -> None:
    """Have stdout be for another process, which gives the same answer."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _print_any_name() -> None:
    """Escape what a terminal's encoding lacks, instead of failing on it."""
    out, notes = sys.stdout, sys.stderr
    if isinstance(out, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Answers(out.fileno(), "w", closefd=False)), out.encoding,
            # A stream that holds nothing back (PYTHONUNBUFFERED) says so in another way.
            "backslashreplace", line_buffering=out.line_buffering or out.write_through,
        )  # fmt: skip
    if isinstance(notes, io.TextIOWrapper):
        raw = io.FileIO(notes.fileno(), "w", closefd=False)
        sys.stderr = _Notes(raw, notes.encoding, "backslashreplace", write_through=True)


def _fail(message: str, debug: bool) -> None:
    if launched():  # where another process failed torchrun ends this one
        ignore_signals()
    if has_word():
        if debug:
            traceback.print_exc()
        with suppress(OSError, ValueError):  # who cannot be told gets the exit code
            note(message, "red")
    # What could not be written would be tried again at exit, and complained of in Python's words.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                with suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    _exit(2)


def _exit(status: int) -> NoReturn:
    if launched() and status:  # what waits for the others would not hear of an end in order
        end_now(status)
    sys.exit(status)


class _Told(logging.Handler):
    """Tells of what is logged as commands do of what they note: a bar stays below it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line, unless nothing can be told any more."""
        with suppress(OSError, ValueError):
            note(self.format(record), "yellow" if record.levelno >= logging.WARNING else None)


def _log_to_stderr(debug: bool) -> None:
    logger = logging.getLogger("clipsearch")
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.addHandler(_Told())
    logger.propagate = False
