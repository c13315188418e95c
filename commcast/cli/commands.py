"""The table of all commands, read from commands.toml, and how each is parsed."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from commcast.cli.output import inert
from commcast.errors import InputError


class CommandEntry(NamedTuple):
    """One command. `module` is its file under commcast.cli; `help` is the first sentence of its own help."""

    name: str
    panel: str
    module: str
    help: str


_COMMANDS = tomllib.loads(Path(__file__).with_name("commands.toml").read_text("utf-8"))
TABLE = tuple(
    CommandEntry(key.rpartition(":")[2], panel, key.partition(":")[0], help)
    for panel, commands in _COMMANDS.items()
    for key, help in commands.items()
)


_ENTRIES = {entry.name: entry for entry in TABLE}


class Commands(Mapping[str, TyperCommand | TyperGroup]):
    """All commands by name; each is imported when it is asked for, not when it is listed."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        return _make(_ENTRIES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_ENTRIES)

    def __len__(self) -> int:
        return len(_ENTRIES)


@cache
def _make(entry: CommandEntry) -> TyperCommand | TyperGroup:
    found = getattr(import_module(f"commcast.cli.{entry.module}"), entry.name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(entry.name, cls=CommcastCommand, rich_help_panel=entry.panel)(found)
        found = alone
    made: TyperCommand | TyperGroup = typer.main.get_command(found)  # type: ignore[assignment]
    made.name = entry.name
    return made


_TITLED = ("declare", "schedule")
# The option for words that somebody wrote in place of an incident's id.
_WORDS_GO_TO = {
    "update": '--nothing-new "…" (or --issue "…")',
    "resolve": '--fixed "…"',
    "complete": '--fixed "…"',
    "cancel": '--because "…"',
    "retract": '--because "…"',
    "reopen": '--issue "…"',
}


class CommcastCommand(TyperCommand):
    """A command that lists all missing options at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of `args`. Raises the library's usage error, which exits with 2."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            missing = self._missing(ctx, given) if getattr(error, "param_type", self) is None else []
            if not missing:
                raise
            count = "an option is" if len(missing) == 1 else f"{len(missing)} options are"
            cast(typer.Context, ctx).fail("\n".join([f"{count} missing:", *missing]))
        except TyperException as error:
            what = str(getattr(error, "message", ""))
            remedy = self._meant(ctx, given) if what.startswith("Got unexpected extra argument") else ""
            if not remedy:
                raise
            cast(typer.Context, ctx).fail(f"{what}\n{remedy}")

    def invoke(self, ctx: Any) -> Any:
        """Run the command; if an id holds spaces, the error says which option takes words."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            if " " in str(ctx.params.get("incident") or "") and (remedy := self._place_of_words()):
                error.add_note(remedy)
            raise

    def _missing(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=args)
        return [
            f"  {param.opts[0]}  {getattr(param, 'help', '')}".rstrip()
            for param in self.get_params(ctx)
            if param.required and param.name not in given
        ]

    def _meant(self, ctx: Any, args: list[str]) -> str:
        """Return what was probably meant by more words than a command takes, "" if unclear."""
        given, more, _ = self.make_parser(ctx).parse_args(args=args)
        if self.name in _TITLED:
            title = shlex.quote(inert(" ".join([str(given.get("title", "")), *more])))
            return f"Put the words in quotes: commcast {self.name} {title}"
        return self._place_of_words()

    def _place_of_words(self) -> str:
        option = _WORDS_GO_TO.get(self.name or "")
        return f"Text needs an option: commcast {self.name} {option}" if option else ""
