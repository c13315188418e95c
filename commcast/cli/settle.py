"""The command settle: a person says what became of messages whose answer was lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import lost
from commcast.cli.opening import who
from commcast.cli.options import FolderOption, JsonOption, NoQuestionOption, clock
from commcast.cli.output import inert, say, show_json, show_prose
from commcast.cli.releasing import desk_now, ledger_of
from commcast.errors import ExitCode, Fault, InputError

if TYPE_CHECKING:
    from commcast.ledger.decisions import Candidate
    from commcast.ledger.doubts import Which

LONGEST_REASON = 200
# What must not stand where an erasure does not reach.
_ADDRESS = re.compile(r"\S@\S+\.\S|\+\d[\d ()/.-]{5,}\d")


class As(StrEnum):
    """What a person says became of a message."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


def settle(
    as_: Annotated[As, typer.Option("--as", help="What became of them.", show_default=False)],
    incident: lost.IdArgument = None,
    unknown: lost.UnknownOption = False,
    to: lost.ToOption = None,
    because: Annotated[
        str, typer.Option("--because", help="How you know, for those who ask later.", show_default=False)
    ] = "",
    by: lost.ByOption = None,
    yes: NoQuestionOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say what became of messages whose answer was lost, as a person who knows. It sends nothing.

    Example: commcast settle pay7 --unknown --as accepted --because "the relay's log shows all of them"
    """
    from commcast.ledger.decisions import settle_by_hand
    from commcast.ledger.schema import State

    lost.check_named(unknown, "settle")
    reason = _checked_reason(because)
    desk = desk_now(folder)
    with ledger_of(desk) as ledger:
        which, found = lost.found_lost(desk, ledger, incident, to)
        if not found:
            lost.tell_nothing(which, _counts(0, 0, as_) if as_json else None, "settle")
            return
        if not yes:
            say("\n".join(_settle_lines(which, found, as_, to)))
            many = f"Settle {lost.messages(len(found))} as {as_}?"
            lost.ask_whether(desk, many, len(found), "nothing was changed")
        with ledger.write() as connection:
            settled = settle_by_hand(
                connection, found, State(as_), because=reason, by=by or who(), now=clock()
            )
    meanwhile = len(found) - len(settled)
    if as_json:
        document = {"incident": which.incident, **_counts(len(found), len(settled), as_)}
        show_json("settle", {**document, "exit_code": int(ExitCode.DONE)})
        return
    show_prose(f"{which.incident}: {lost.messages(len(settled))} settled as {as_}.")
    if meanwhile:
        show_prose(f"{meanwhile:,} were answered or sent again meanwhile, and stay as they are.")


def _counts(found: int, settled: int, as_: As) -> dict[str, Any]:
    """Return the counts of any outcome as JSON. All that are found are chosen; there is no dry run."""
    return {
        "found": found,
        "chosen": found,
        "settled": settled,
        "as": as_,
        "became": {as_.value: settled} if settled else {},
        "left_out": {},
        "meanwhile": found - settled,
        "dry_run": False,
    }


def _checked_reason(text: str) -> str:
    if _ADDRESS.search(text):
        what = "--because holds an address or a number, and would keep it also after an erasure"
        raise InputError(Fault("", 0, 0, what, "leave it out: the ledger knows whom this is about"))
    return inert(" ".join(text.split()))[:LONGEST_REASON]


def _settle_lines(which: Which, found: Sequence[Candidate], as_: As, to: str | None) -> Iterator[str]:
    yield f"{which.incident}: no answer came for:"
    yield from lost.people(found, to)
    if as_ is As.ACCEPTED:
        yield from lost.paragraph("Accepted: they count as told, and hear the end. Nothing is sent now.")
    else:
        yield from lost.paragraph(
            "Rejected: they count as not told; who was told nothing else of it does not hear the end. "
            "Nothing is sent now."
        )
