"""All commands, by what they are also called, and their help, which shows what matters first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from clipsearch.cli.output import end_with_the_reader
from clipsearch.cli.parsing.advice import no_command
from clipsearch.cli.terminal import broken

# In the order in which the help lists them; each is a module of `cli.commands`, with a function of
# its name or an `app` of several commands.
GROUPS = {
    "Every day": ("index", "query", "similar", "serve", "status"),
    "Looking around": ("ls", "label", "dupes", "caption", "read", "describe", "score"),
    "Keeping the index": ("watch", "forget", "doctor", "copy", "optimize", "store"),
    "Models, and other programs": ("models", "mcp", "finetune", "eval", "export"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)

# What people type who have another program in their fingers, and mean one of these.
ALIASES = {
    "find": "query", "search": "query",
    "add": "index", "update": "index", "scan": "index",
    "duplicates": "dupes", "dedupe": "dupes",
    "tags": "label", "tag": "label", "labels": "label",
    "list": "ls", "web": "serve", "info": "status",
}  # fmt: skip

# What the help of a command groups its options by, in this order. Typer keeps it as the panel of
# an option; one without a panel is among the first.
ASKING, OPTIONS, FILTERS, OUTPUT, EXPERTS = SECTIONS = (
    "Asking", "Options", "Filters", "Output", "For experts",
)  # fmt: skip
HELP_NAMES = ["-h", "--help"]
_GAP = 2
_WIDEST = 28  # of the names of options, beside which there is room for what they do

Sections = dict[str, list[tuple[str, str]]]


def also_called(command: str) -> str | None:
    """What the help of a command says of its other names; None if it has none."""
    names = ", ".join(name for name, meant in ALIASES.items() if meant == command)
    return f"Also called: {names}." if names else None


class Command(TyperCommand):
    """A command whose help has its options in groups."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, after which nothing is left to be done."""
        end_with_the_reader()
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, a section a group."""
        _write(formatter, _sections(self.get_params(ctx), ctx))


class Commands(TyperGroup):
    """Several commands; Ctrl-C ends one with a line and without waiting for its threads."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is asked for; Typer would make an exit code of Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, after which nothing is left to be done."""
        end_with_the_reader()
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, also by another name; None if there is none."""
        return super().get_command(ctx, cmd_name) or self.commands.get(ALIASES.get(cmd_name, ""))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with, and those that are left for it."""
        if not (ctx.resilient_parsing or self.get_command(ctx, args[0])):
            is_all = ctx.parent is None
            ctx.fail(no_command(args, [*self.commands, *(ALIASES if is_all else ())], is_all))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, a section a group, and then the options."""
        groups = {title: self._rows(names, formatter.width) for title, names in GROUPS.items()}
        if ctx.parent is not None:
            groups = {"Commands": self._rows(self.commands, formatter.width)}
        _write(formatter, groups)
        _write(formatter, _sections(self.get_params(ctx), ctx))

    def _rows(self, names: Iterable[str], width: int) -> list[tuple[str, str]]:
        there = [self.commands[name] for name in names if name in self.commands]
        return [(str(command.name), command.get_short_help_str(width)) for command in there]


def _sections(params: Iterable[Any], ctx: Any) -> Sections:
    sections: Sections = {"Arguments": []}
    panels = {getattr(param, "rich_help_panel", None) for param in params}
    first = ASKING if ASKING in panels else OPTIONS
    sections |= {title: [] for title in SECTIONS}
    for param in params:
        if row := param.get_help_record(ctx):
            is_argument = param.param_type_name == "argument"
            panel = getattr(param, "rich_help_panel", None) or first
            sections["Arguments" if is_argument else panel].append(row)
    return sections


def _write(formatter: Any, sections: Sections) -> None:
    """Write sections with their second columns below each other.

    Typer's own way would break the name of a model at its hyphens.
    """
    names = [name for section in sections.values() for name, _ in section]
    wide = max((len(name) for name in names if len(name) <= _WIDEST), default=0) + _GAP
    for title, section in sections.items():
        if section:
            with formatter.section(title):
                for name, what in section:
                    _write_row(formatter, name, what, wide)


def _write_row(formatter: Any, name: str, what: str, wide: int) -> None:
    indent = " " * formatter.current_indent
    first, *others = broken(what, formatter.width - len(indent) - wide)
    if len(name) + _GAP > wide:
        formatter.write(f"{indent}{name}\n")
        name = ""
    formatter.write(f"{indent}{name:{wide}}{first}".rstrip() + "\n")
    for line in others:
        formatter.write(f"{indent}{'':{wide}}{line}\n")
