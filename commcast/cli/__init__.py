"""The command line: parse, call, print, exit. One file a group of commands."""

from __future__ import annotations

import sys

import typer

from commcast.cli import commands
from commcast.cli.group import CommcastGroup

app = typer.Typer(
    cls=CommcastGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Tell people what broke, what happens next, and when they hear from you again.",
)
commands.register(app)


def main() -> None:
    """Run the command line; ends the process with one of the documented exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 is no reason to fail
    sys.exit(app())
