"""The commands resend and settle: a person decides about deliveries whose answer was lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import options, prompt
from commcast.cli.options import clock, refuse
from commcast.cli.outcomes import tell_trouble
from commcast.cli.output import going_on_unread, inert, say, show, show_json, show_prose
from commcast.cli.present import NAMES, wrapped
from commcast.cli.progress import ProgressBar
from commcast.cli.recipients import channel_and_key
from commcast.cli.reconcile import check_known, configured_providers
from commcast.cli.session import desk_now, ledger_of, who, worker_for
from commcast.delivery.worker import Delivered, stopping_on_interrupt
from commcast.errors import DecisionNeeded, ExitCode, InputError, gravest
from commcast.ledger import resolutions
from commcast.ledger.fence import stops_in_force
from commcast.ledger.settle import settle_lost
from commcast.ledger.tables import State
from commcast.ledger.unknowns import Which, doubt_groups
from commcast.model.incident import Channel
from commcast.providers import registry
from commcast.recipients.addresses import mask

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.ledger.resolutions import Candidate
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk


_ADDRESSES_SHOWN = 5
_LONGEST_REASON = 200
# What must not stand where an erasure does not reach.
_ADDRESS = re.compile(r"\S@\S+\.\S|\+\d[\d ()/.-]{5,}\d")

IdArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="The incident; may be left out when one has lost answers.",
        show_default=False,
    ),
]
UnknownOption = Annotated[
    bool, typer.Option("--unknown", help="Required: the deliveries whose outcome is unknown.")
]


class As(StrEnum):
    """What a person says became of a message."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


def resend(
    incident: IdArgument = None,
    unknown: UnknownOption = False,
    to: options.AddresseeOption = None,
    by: options.ByOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Send again what may or may not have arrived; whoever did get it gets it twice.

    Nothing does this automatically. A mail over SMTP keeps its Message-ID, so that mail systems can drop a
    second copy. Readers who opted out, got newer words or whose promise has passed are left out. Exits like a
    delivery: 0 done, 1 unknown again or some left out, 5 nobody said yes or all are left out, 75 try again,
    78 refused.

    Example: commcast resend pay7 --unknown
    """
    _check_named(unknown, "resend")
    desk = desk_now(folder)
    with ledger_of(desk, dry_run=dry_run) as ledger:
        which, found = _found(desk, ledger, incident, to)
        if not which.incident or not found:
            _tell_nothing(which, _counts(found, dry_run=dry_run) if as_json else None, "resend")
            return
        _check_not_stopped(ledger, which.incident)
        lines = list(_resend_lines(desk.config, which.incident, found, to))
        if dry_run:
            _tell_plan(which.incident, found, lines, as_json)
            return
        say("\n".join(lines))
        going = sum(not each.unfit for each in found)
        if not going:
            raise DecisionNeeded(
                "Nothing was sent again. Say what is true now, or what became of these:\n"
                f"  commcast update {which.incident}\n"
                f"  commcast settle {which.incident} --unknown --as accepted"
            )
        if not yes:
            _ask_whether(desk, f"Send {_messages(going)} again?", going, "nothing was sent again")
        with going_on_unread():
            raise typer.Exit(_send_again(desk, ledger, which.incident, found, by or who(), as_json))


def settle(
    as_: Annotated[As, typer.Option("--as", help="What became of them.", show_default=False)],
    incident: IdArgument = None,
    unknown: UnknownOption = False,
    to: options.AddresseeOption = None,
    because: Annotated[
        str, typer.Option(help="How you know, for those who ask later.", show_default=False)
    ] = "",
    by: options.ByOption = None,
    yes: options.NoQuestionOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Record what became of messages whose answer was lost, if you know it. Sends nothing.

    Example: commcast settle pay7 --unknown --as accepted --because "the relay's log shows all of them"
    """
    _check_named(unknown, "settle")
    reason = _checked_reason(because)
    desk = desk_now(folder)
    with ledger_of(desk) as ledger:
        which, found = _found(desk, ledger, incident, to)
        if not found:
            _tell_nothing(which, _settled_counts(0, 0, as_) if as_json else None, "settle")
            return
        if not yes:
            say("\n".join(_settle_lines(which, found, as_, to)))
            question = f"Settle {_messages(len(found))} as {as_}?"
            _ask_whether(desk, question, len(found), "nothing was changed")
        with ledger.write() as connection:
            given = {"because": reason, "by": by or who()}
            settled = len(resolutions.settle_by_hand(connection, found, State(as_), **given, now=clock()))
    if as_json:
        document = {"incident": which.incident, **_settled_counts(len(found), settled, as_)}
        show_json("settle", {**document, "exit_code": int(ExitCode.DONE)})
        return
    show_prose(f"{which.incident}: {_messages(settled)} settled as {as_}.")
    if meanwhile := len(found) - settled:
        show_prose(f"{meanwhile:,} were answered or sent again meanwhile, and stay as they are.")


def _check_named(unknown: bool, command: str) -> None:
    """Require --unknown, which says what the command is about. Raises InputError."""
    if not unknown:
        refuse("", f"{command} needs --unknown", f"write: commcast {command} --unknown")


def _found(
    desk: Desk, ledger: Ledger, incident: str | None, to: str | None
) -> tuple[Which, Sequence[Candidate]]:
    """Return what is meant, and the deliveries of it whose answer was lost; none without an incident."""
    channel, key = channel_and_key(to, desk.config) if to is not None else (None, None)
    check_known(ledger, incident)
    with ledger.write() as connection:
        settle_lost(connection, clock())
    with ledger.read() as connection:
        named = dict.fromkeys(each for each, _, _ in doubt_groups(connection, Which(None, channel, key)))
        if incident is None and len(named) > 1:
            refuse("", f"{len(named)} incidents have lost answers", f"say which: {', '.join(named)}")
        which = Which(incident or next(iter(named), None), channel, key)
        return which, resolutions.candidates(connection, which, clock()) if which.incident else ()


def _tell_nothing(which: Which, document: Mapping[str, Any] | None, command: str) -> None:
    """Say that no answer was lost, as JSON where there is a `document` to complete."""
    if document is not None:
        show_json(command, {"incident": which.incident, **document, "exit_code": int(ExitCode.DONE)})
    else:
        to_them = " to this address" if which.key else ""
        show(f"Nothing{to_them} is unknown{f' of {which.incident}' if which.incident else ''}.")


def _people(found: Sequence[Candidate], to: str | None) -> Iterator[str]:
    """Yield a line for each notice and channel: how many, and the first of them, masked unless named."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        shown = (each.address if to else mask(each.address)) if each.address else "(erased)"
        groups.setdefault((each.notice, each.channel), []).append(shown)
    for (notice, channel), people in groups.items():
        more = len(people) - _ADDRESSES_SHOWN
        names = ", ".join(people[:_ADDRESSES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        head = f"  {notice.replace(':', ' ')} by {NAMES[channel]}: {len(people):,} to "
        yield from wrapped(head + names, indent="    ", first="")


def _paragraph(text: str) -> Iterator[str]:
    """Yield a sentence in lines that fit a terminal."""
    yield from wrapped(text, indent="", first="")


def _ask_whether(desk: Desk, question: str, count: int, else_: str) -> None:
    """Ask for a yes; above `confirm_above` the number is typed. Raises DecisionNeeded."""
    if not prompt.at_terminal():
        raise DecisionNeeded(f"There is no terminal to ask at, and no --yes: {else_}.")
    if count <= desk.config.send.confirm_above:
        is_sure = prompt.says_yes(question)
    else:
        answer = prompt.ask(f"{question} Type {count} to do it, anything else to not:")
        is_sure = answer.replace(",", "") == str(count)
    if not is_sure:
        raise DecisionNeeded(f"No: {else_}.")


def _messages(count: int) -> str:
    """Return "1 message", or how many."""
    return "1 message" if count == 1 else f"{count:,} messages"


def _check_not_stopped(ledger: Ledger, incident: str) -> None:
    with ledger.read() as connection:
        if stops := stops_in_force(connection, incident):
            raise DecisionNeeded(resolutions.stopped_in_words(incident, stops[0].by))


def _resend_lines(config: Config, incident: str, found: Sequence[Candidate], to: str | None) -> Iterator[str]:
    """Yield what a person needs to decide: who gets it again, who does not and why, and what that means."""
    going = [each for each in found if not each.unfit]
    providers = configured_providers(config)
    if going:
        yield f"{incident}: would be sent again, although it may have arrived:"
        yield from _people(going, to)
    for why, count in Counter(each.unfit for each in found if each.unfit).items():
        yield f"  left out: {count:,}, {why}"
    if not going:
        return
    yield from _paragraph("Who did get it gets it a second time.")
    by_smtp = {each.channel for each in going if providers.get(each.channel) == "smtp"}
    if by_smtp:
        yield from _paragraph(
            "Mails have the same Message-ID as before: some mail systems drop the second copy, others show "
            "both."
        )
    others = {each.channel for each in going} - by_smtp
    if others:
        names = " and ".join(f"{NAMES[each]} ({providers.get(each, 'nobody')})" for each in sorted(others))
        yield from _paragraph(f"By {names} nothing keeps a second copy away.")
    had_by = Counter(each.provider or providers.get(each.channel, "") for each in going if not each.was_asked)
    for provider, count in had_by.items():
        if _keeps_records(config, provider):
            yield from _paragraph(f"Nobody has asked {provider} about {count:,} of them yet. First:")
            yield f"  commcast reconcile {incident}"


def _keeps_records(config: Config, provider: str) -> bool:
    try:
        return registry.records_for(config, provider, clock) is not None
    except InputError:  # it does, and a secret is missing
        return True


def _tell_plan(incident: str, found: Sequence[Candidate], lines: Sequence[str], as_json: bool) -> None:
    if not as_json:
        show("\n".join([*lines, "Dry run: nothing was written, nothing was sent."]))
        return
    document = {"incident": incident, **_counts(found, dry_run=True), "exit_code": int(ExitCode.DONE)}
    show_json("resend", document)


def _counts(
    found: Sequence[Candidate],
    sent_again: int = 0,
    became: Mapping[str, int] | None = None,
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Return the counts of any outcome as JSON: `chosen` may go, `sent_again` were released to go."""
    return {
        "found": len(found),
        "chosen": sum(not each.unfit for each in found),
        "sent_again": sent_again,
        "became": dict(became or {}),
        "left_out": dict(Counter(each.unfit for each in found if each.unfit)),
        "dry_run": dry_run,
    }


def _send_again(
    desk: Desk, ledger: Ledger, incident: str, found: Sequence[Candidate], by: str, as_json: bool
) -> ExitCode:
    """Record the decision, deliver as always, and show what became of it."""
    going = [each for each in found if not each.unfit]
    with ProgressBar() as progress:
        worker = worker_for(desk, ledger, progress)
        for channel in sorted({each.channel for each in going}):
            worker.adapter_for(Channel(channel))  # raises ConfigError before anything is decided
        with stopping_on_interrupt(ledger, incident, clock):
            with ledger.write() as connection:
                chosen = resolutions.send_again(connection, going, by=by, now=clock())
            delivered = worker.deliver(incident) if chosen else Delivered()
    with ledger.read() as connection:
        became = Counter(state.value for state in resolutions.states_of(connection, chosen))
        left = State.UNKNOWN in resolutions.states_of(connection, [each.delivery for each in found])
    own = ExitCode.UNKNOWN_OUTCOME if left else ExitCode.DONE
    code = gravest([delivered.exit_code(desk.config.send.tolerate), own])
    if as_json:
        counts = _counts(found, len(chosen), became)
        show_json("resend", {"incident": incident, **counts, "exit_code": int(code)})
    else:
        _show_outcome(incident, len(chosen), became, len(going) - len(chosen))
    tell_trouble(incident, delivered)
    return code


def _show_outcome(incident: str, count: int, became: Counter[str], meanwhile: int) -> None:
    words = {"pending": "waiting", "claimed": "on the way"}
    outcomes = ", ".join(f"{count:,} {words.get(state, state)}" for state, count in sorted(became.items()))
    none_left = "; none has left yet" if set(became) == {"pending"} else ""
    verb = "is" if count == 1 else "are"
    released = f"{incident}: {_messages(count)} {verb} released again{none_left}"
    show_prose(released + (f": {outcomes}." if outcomes else "."))
    if meanwhile:
        show_prose(f"{meanwhile:,} were answered, or may not go any more, since you looked.")


def _settled_counts(found: int, settled: int, as_: As) -> dict[str, Any]:
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
        refuse("", what, "leave it out: the ledger knows whom this is about")
    return inert(" ".join(text.split()))[:_LONGEST_REASON]


def _settle_lines(which: Which, found: Sequence[Candidate], as_: As, to: str | None) -> Iterator[str]:
    yield f"{which.incident}: no answer came for:"
    yield from _people(found, to)
    if as_ is As.ACCEPTED:
        yield from _paragraph("Accepted: they count as told, and hear the end. Nothing is sent now.")
    else:
        yield from _paragraph(
            "Rejected: they count as not told; who was told nothing else of it does not hear the end. "
            "Nothing is sent now."
        )
