"""What resend and settle share: which lost answers a person means, who they are, and the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import asking
from commcast.cli.options import clock
from commcast.cli.output import show, show_json
from commcast.cli.present import NAMES, wrapped
from commcast.cli.reconcile import check_known
from commcast.errors import DecisionNeeded, ExitCode, Fault, InputError

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.desk import Desk
    from commcast.ledger.decisions import Candidate
    from commcast.ledger.doubts import Which
    from commcast.ledger.store import Ledger

ADDRESSES_SHOWN = 5

IdArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="The incident; may be left out when one has lost answers.",
        show_default=False,
    ),
]
UnknownOption = Annotated[bool, typer.Option("--unknown", help="Those whose answer was lost; it is needed.")]
ToOption = Annotated[
    str | None,
    typer.Option("--to", metavar="ADDRESS", help="Only to this address or number.", show_default=False),
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides this.", show_default=False)]


def check_named(unknown: bool, command: str) -> None:
    """Let the command line say what it is about. Raises InputError."""
    if not unknown:
        raise InputError(
            Fault("", 0, 0, f"{command} what?", f"those whose answer was lost: commcast {command} --unknown")
        )


def found_lost(
    desk: Desk, ledger: Ledger, incident: str | None, to: str | None
) -> tuple[Which, Sequence[Candidate]]:
    """Return what is meant, and the deliveries of it whose answer was lost; none without an incident."""
    from commcast.ledger.decisions import candidates
    from commcast.ledger.doubts import Which, doubt_groups
    from commcast.ledger.settling import settle_lost

    channel, key = _channel_and_key(to, desk.config) if to is not None else (None, None)
    check_known(ledger, incident)
    with ledger.write() as connection:
        settle_lost(connection, clock())
    with ledger.read() as connection:
        named = dict.fromkeys(each for each, _, _ in doubt_groups(connection, Which(None, channel, key)))
        if incident is None and len(named) > 1:
            raise InputError(
                Fault("", 0, 0, f"{len(named)} incidents have lost answers", f"say which: {', '.join(named)}")
            )
        which = Which(incident or next(iter(named), None), channel, key)
        return which, candidates(connection, which, clock()) if which.incident else ()


def _channel_and_key(address: str, config: Config) -> tuple[str, str]:
    """Return the channel of an address and how the ledger compares it. Raises InputError."""
    from commcast.audiences.addresses import normalise_any

    try:
        is_mail, _, key = normalise_any(address, config.channels.sms.region if config.channels.sms else "")
    except ValueError as error:
        raise InputError(f"the address {error}") from None
    return "email" if is_mail else "sms", key


def tell_nothing(which: Which, document: Mapping[str, Any] | None, command: str) -> None:
    """Say that no answer was lost, as JSON where there is a `document` to complete."""
    if document is not None:
        show_json(command, {"incident": which.incident, **document, "exit_code": int(ExitCode.DONE)})
    else:
        to_them = " to this address" if which.key else ""
        show(f"Nothing{to_them} is unknown{f' of {which.incident}' if which.incident else ''}.")


def people(found: Sequence[Candidate], to: str | None) -> Iterator[str]:
    """Yield a line for each notice and channel: how many, and the first of them, masked unless named."""
    from commcast.audiences.addresses import mask

    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        shown = (each.address if to else mask(each.address)) if each.address else "(erased)"
        groups.setdefault((each.notice, each.channel), []).append(shown)
    for (notice, channel), people in groups.items():
        more = len(people) - ADDRESSES_SHOWN
        names = ", ".join(people[:ADDRESSES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        head = f"  {notice.replace(':', ' ')} by {NAMES[channel]}: {len(people):,} to "
        yield from wrapped(head + names, indent="    ", first="")


def paragraph(text: str) -> Iterator[str]:
    """Yield a sentence in lines that fit a terminal."""
    yield from wrapped(text, indent="", first="")


def ask_whether(desk: Desk, question: str, count: int, else_: str) -> None:
    """Ask for a yes; above `confirm_above` the number is typed. Raises DecisionNeeded."""
    if not asking.at_terminal():
        raise DecisionNeeded(f"There is no terminal to ask at, and no --yes: {else_}.")
    if count <= desk.config.send.confirm_above:
        is_sure = asking.says_yes(question)
    else:
        answer = asking.ask(f"{question} Type {count} to do it, anything else to not:")
        is_sure = answer.replace(",", "") == str(count)
    if not is_sure:
        raise DecisionNeeded(f"No: {else_}.")


def messages(count: int) -> str:
    """Return "1 message", or how many."""
    return "1 message" if count == 1 else f"{count:,} messages"
