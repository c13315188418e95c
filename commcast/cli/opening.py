"""Opens a desk and its ledger for a command: to work with it, or to read it without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commcast.cli.options import clock, find_folder
from commcast.cli.output import say
from commcast.cli.present import NAMES
from commcast.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from commcast.cli.progress import Progress
    from commcast.desk import Desk, Owed
    from commcast.ledger.store import Ledger
    from commcast.sending import Sender


@contextmanager
def desk_to_work(folder: Path | None) -> Iterator[tuple[Desk, Ledger]]:
    """Yield the desk as of now and its ledger, open for writing. Raises ConfigError and LedgerError."""
    from commcast.desk import open_desk
    from commcast.ledger.store import ledger_path, open_ledger

    found = find_folder(folder)
    desk = open_desk(found, clock())
    ledger = open_ledger(ledger_path(found), desk.config.desk)
    try:
        yield desk, ledger
    finally:
        ledger.close()


@contextmanager
def desk_to_read(folder: Path | None, now: datetime) -> Iterator[tuple[Desk, Ledger | None]]:
    """Yield the desk as of `now` and a copy of its ledger: no byte of the folder changes."""
    from commcast.desk import open_desk
    from commcast.ledger.store import ledger_path, open_copy

    found = find_folder(folder)
    desk = open_desk(found, now)
    with open_copy(ledger_path(found), desk.config.desk) as ledger:
        tell_doubt(ledger)
        yield desk, ledger


def tell_doubt(ledger: Ledger | None) -> None:
    """Say of a ledger that is only read why it is not to be sent from."""
    if ledger is not None and ledger.doubt:
        say(ledger.doubt)


def sender_for(desk: Desk, ledger: Ledger, progress: Progress) -> Sender:
    """Return what sends for this process, and tells `progress` how far it is."""
    from commcast.broadcast import DRAIN_SECONDS
    from commcast.wiring import make_sender

    def halting() -> None:
        progress.end()
        say(
            f"Nothing more is sent. What is on its way may finish, for at most {DRAIN_SECONDS:.0f} seconds; "
            "Ctrl-C ends that at once."
        )

    return make_sender(desk, ledger, clock=clock, progress=progress, halting=halting)


def tell_unusable(desk: Desk, owed: Owed) -> ExitCode:
    """Warn of each channel of what is owed that cannot be served, a missing secret above all.

    Returns the exit code that the real run would end in for it. Nothing connects.
    """
    from commcast.sending import unusable
    from commcast.wiring import adapter_for, fallback_for

    code = ExitCode.DONE
    try:
        for channel, error in unusable(
            owed,
            lambda channel: adapter_for(desk.config, channel, clock),
            lambda channel: fallback_for(desk.config, channel, clock),
        ):
            for fault in error.faults:
                say(f"Warning: {NAMES[channel]} cannot be sent: {fault}")
            code = error.exit_code
    except ConfigError as error:  # a channel is gone
        say(f"Warning: {error}")
        code = error.exit_code
    return code


def who() -> str:
    """Return the name under which the ledger remembers this person's decisions."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without this user's name
        return "somebody"
