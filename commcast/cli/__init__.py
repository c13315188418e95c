"""The app. It turns every error into a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from commcast import __version__
from commcast.cli.commands import TABLE, Commands
from commcast.cli.output import finish, say, show, show_json, silence
from commcast.errors import CommcastError, ExitCode, Fault, InputError
from commcast.signals import EndedBySignal, ending_at_once

_LEDGER_FOLDER = ".commcast"  # known here without the ledger's heavy imports


class CommcastGroup(TyperGroup):
    """The top of the command line; its help groups the commands by who needs them when.

    A command's code is imported when it runs, and not to list it.
    """

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = cast(Any, Commands())  # read only: there is one table of commands

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for entry in TABLE:
            panels.setdefault(entry.panel, []).append((entry.name, entry.help))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        try:
            with ending_at_once():
                return super().invoke(ctx)
        except TyperException as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's, not our reader's
            if as_json and hasattr(error, "format_message"):  # people read it from the library
                show_json("error", {"exit_code": ExitCode.INPUT, "message": error.format_message()})
            raise
        except CommcastError as error:
            # Further notes on the error say how to go on.
            message = "\n".join([str(error), *getattr(error, "__notes__", ())])
            faults = error.faults if isinstance(error, InputError) else ()
            raise _end(error.exit_code, message, as_json, faults) from None
        except KeyboardInterrupt:
            message = "Interrupted; what was not released was not sent."
            raise _end(ExitCode.INTERRUPTED, message, as_json) from None
        except EndedBySignal as ended:
            message = (
                f"Ended by {ended.name}: nothing more is sent. The next tick, or the same command, continues."
            )
            raise _end(ExitCode.TERMINATED, message, as_json) from None
        except BrokenPipeError:  # the reader of our output has gone (`| head`): not an error of ours
            silence(sys.stdout)
            raise typer.Exit(ExitCode.DONE) from None
        except OSError as error:
            raise _end(_code_of(error), in_words(error), as_json) from None


def in_words(error: OSError) -> str:
    """Return "path: reason" for what the operating system refused and no other place has named."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {reason}" if _has_path(error) else reason


def _code_of(error: OSError) -> ExitCode:
    of_ledger = _has_path(error) and _LEDGER_FOLDER in os.fsdecode(error.filename).split("/")
    return ExitCode.LEDGER if of_ledger else ExitCode.INPUT


def _has_path(error: OSError) -> bool:
    return isinstance(error.filename, str | bytes | os.PathLike)


def _end(code: ExitCode, message: str, as_json: bool, faults: Sequence[Fault] = ()) -> typer.Exit:
    """Print an error, with --json also as a document; return what ends the process."""
    say(message)
    if as_json:
        what = {"faults": [fault._asdict() for fault in faults]} if faults else {"message": message}
        show_json("error", {"exit_code": code, **what})
    return typer.Exit(code)


app = typer.Typer(
    cls=CommcastGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Tell people what broke, what happens next, and when they will hear from you again.",
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
