"""The command line: parse, call, print, exit. One file a group of commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from commcast import __version__
from commcast.cli.group import CommcastGroup, in_words
from commcast.cli.output import finish, say, show
from commcast.errors import ExitCode

app = typer.Typer(
    cls=CommcastGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Tell people what broke, what happens next, and when they hear from you again.",
    epilog="Example: commcast declare payments --severity 2",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        show(f"commcast {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the whole program."""


def main() -> None:
    """Run the command line; ends the process with one of the documented exit codes."""
    _prepare_streams()
    try:
        sys.exit(app())
    except KeyboardInterrupt:
        say("Interrupted before anything was done.")
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:  # outside of any command, such as a --help that cannot be written
        say(in_words(error))
        sys.exit(ExitCode.INPUT)
    finally:
        finish()


def _prepare_streams() -> None:
    """Make streams that are closed (`>&-`) go nowhere, and those in another encoding than ours no failure."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - stays open
        how = "surrogateescape" if mode == "r" else "backslashreplace"
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors=how)
