"""One command of the command line: says all at once what is missing, and what was meant by stray words."""

from __future__ import annotations

import shlex
from typing import Any, cast

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from commcast.cli.output import inert
from commcast.errors import InputError

_TITLED = ("declare", "schedule")
# Where the words belong that somebody wrote in the place of an incident's id.
_WORDS_GO_TO = {
    "update": '--nothing-new "…" (or --issue "…")',
    "resolve": '--fixed "…"',
    "complete": '--fixed "…"',
    "cancel": '--because "…"',
    "retract": '--because "…"',
    "reopen": '--issue "…"',
}


class CommcastCommand(TyperCommand):
    """A command that tells a person all that is missing, not one option after another."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of `args`. Raises the library's usage error, which ends in exit code 2."""
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
        """Run the command. Of an id that holds spaces it is said where words go."""
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
        """Return what was probably meant by more words than a command takes, "" where nobody knows."""
        given, more, _ = self.make_parser(ctx).parse_args(args=args)
        if self.name in _TITLED:
            title = shlex.quote(inert(" ".join([str(given.get("title", "")), *more])))
            return f"Put the words in quotes: commcast {self.name} {title}"
        return self._place_of_words()

    def _place_of_words(self) -> str:
        option = _WORDS_GO_TO.get(self.name or "")
        return f"Words go behind an option: commcast {self.name} {option}" if option else ""
