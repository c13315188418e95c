"""The command line: parse, call, print, exit. One file a group of commands."""

from __future__ import annotations

import os
import sys

import typer

from commcast.cli import commands
from commcast.cli.group import CommcastGroup, in_words
from commcast.cli.output import finish, say
from commcast.errors import ExitCode

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
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
        how = "surrogateescape" if mode == "r" else "backslashreplace"
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors=how)
