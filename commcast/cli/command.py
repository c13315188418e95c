"""One command of the command line: names every option that is missing at once, and what belongs there."""

from __future__ import annotations

from typing import Any, cast

import typer
from typer.core import TyperCommand


class CommcastCommand(TyperCommand):
    """A command that tells a person all that is missing, not one option after another."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of `args`. Raises the library's usage error, which ends in exit code 2."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            missing = self._missing(ctx, given) if getattr(error, "param_type", self) is None else []
            if len(missing) < 2:
                raise
            cast(typer.Context, ctx).fail("\n".join([f"{len(missing)} options are missing:", *missing]))

    def _missing(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=args)
        return [
            f"  {param.opts[0]}  {getattr(param, 'help', '')}".rstrip()
            for param in self.get_params(ctx)
            if param.required and param.name not in given
        ]
