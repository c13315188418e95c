"""The commands resend and settle: a person decides about deliveries that are unknown or rejected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import options, prompt
from commcast.cli.log import shown_address
from commcast.cli.options import clock, refuse
from commcast.cli.outcomes import tell_trouble
from commcast.cli.output import going_on_unread, inert, say, show, show_json, show_prose
from commcast.cli.present import NAMES, wrapped
from commcast.cli.progress import ProgressBar
from commcast.cli.recipients import channel_and_key
from commcast.cli.reconcile import check_known, configured_providers
from commcast.cli.session import desk_now, ledger_of, who, worker_for
from commcast.cli.status_text import WORD_OF
from commcast.cli.stop import deliver
from commcast.errors import DecisionNeeded, ExitCode, InputError, gravest
from commcast.model.incident import Channel

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.ledger.resolutions import Candidate
    from commcast.ledger.store import Ledger
    from commcast.ledger.tables import State
    from commcast.ledger.unknowns import Which
    from commcast.operations.desk import Desk


_ADDRESSES_SHOWN = 5
_LONGEST_REASON = 200
# Addresses and numbers are refused where an erasure would not find them.
_ADDRESS = re.compile(r"\S@\S+\.\S|\+\d[\d ()/.-]{5,}\d")

IdArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="The incident; may be left out when only one has unknown deliveries."
    ),
]
UnknownOption = Annotated[
    bool, typer.Option("--unknown", help="Required: the deliveries whose outcome is unknown.")
]


class As(StrEnum):
    """The outcomes that a person can record."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


def resend(
    incident: IdArgument = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="Those whose outcome is unknown.")] = False,
    rejected: Annotated[bool, typer.Option("--rejected", help="Those that a provider refused.")] = False,
    to: options.AddresseeOption = None,
    by: options.ByOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Resend messages that may not have arrived, or that were rejected.

    Nothing does this automatically. Unknown: anyone who did get it gets it twice; an email over SMTP keeps
    its Message-ID, so that mail systems can drop a second copy. Rejected: nobody gets it twice; suppressed
    addresses stay suppressed (see: commcast recipients). Readers who opted out, got a newer update or whose
    promise has passed are left out; a rejected update is then written anew. Exits like a delivery: 0 done, 1
    unknown again or some left out, 5 not confirmed or all left out, 75 try again, 78 refused.

    Example: commcast resend pay7 --unknown
    """
    from commcast.ledger.tables import State

    if unknown == rejected:
        refuse("", "resend needs --unknown or --rejected", "write: commcast resend --unknown, or --rejected")
    state = State.REJECTED if rejected else State.UNKNOWN
    desk = desk_now(folder)
    with ledger_of(desk, dry_run=dry_run) as ledger:
        which, found = _found(desk, ledger, incident, to, state)
        if not which.incident or not found:
            _tell_nothing(which, _counts(found, Counter(), dry_run=dry_run) if as_json else None, "resend")
            return
        _check_not_stopped(ledger, which.incident)
        lines = list(_resend_lines(desk.config, which, found, to))
        if dry_run and as_json:
            _show_counts("resend", which.incident, _counts(found, Counter(), dry_run=True))
            return
        if dry_run:
            show("\n".join([*lines, "Dry run: nothing was written, nothing was sent."]))
            return
        say("\n".join(lines))
        going = sum(not each.unfit for each in found)
        if not going:
            settle_ = f"\n  commcast settle {which.incident} --unknown --as accepted" if unknown else ""
            raise DecisionNeeded(
                f"Nothing was sent again. Post an update{', or record what became of these' * unknown}:\n"
                f"  commcast update {which.incident}{settle_}"
            )
        if not yes:
            _ask_whether(desk, f"Send {_messages(going)} again?", going, "nothing was sent again")
        with going_on_unread():
            raise typer.Exit(_send_again(desk, ledger, which, found, by or who(), as_json))


def settle(
    as_: Annotated[As, typer.Option("--as", help="What became of them.")],
    incident: IdArgument = None,
    unknown: UnknownOption = False,
    to: options.AddresseeOption = None,
    because: Annotated[str, typer.Option(help="How you know, for the record.")] = "",
    by: options.ByOption = None,
    yes: options.NoQuestionOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Record the outcome of unknown deliveries, if you know it. Sends nothing.

    Example: commcast settle pay7 --unknown --as accepted --because "the relay's log shows all of them"
    """
    from commcast.ledger.resolutions import settle_by_hand
    from commcast.ledger.tables import State

    if not unknown:
        refuse("", "settle needs --unknown", "write: commcast settle --unknown")
    reason = _checked_reason(because)
    desk = desk_now(folder)
    with ledger_of(desk) as ledger:
        which, found = _found(desk, ledger, incident, to, State.UNKNOWN)
        if not found:
            _tell_nothing(which, _settled_counts(0, 0, as_) if as_json else None, "settle")
            return
        if not yes:
            say("\n".join(_settle_lines(which, found, as_, to)))
            question = f"Settle {_messages(len(found))} as {as_}?"
            _ask_whether(desk, question, len(found), "nothing was changed")
        with ledger.write() as connection:
            given = {"because": reason, "by": by or who()}
            settled = len(settle_by_hand(connection, found, State(as_), **given, now=clock()))
    if as_json:
        _show_counts("settle", which.incident, _settled_counts(len(found), settled, as_))
        return
    show_prose(f"{which.incident}: {_messages(settled)} settled as {as_}.")
    if meanwhile := len(found) - settled:
        show_prose(f"{meanwhile:,} were answered or sent again meanwhile, and stay as they are.")


def _found(
    desk: Desk, ledger: Ledger, incident: str | None, to: str | None, state: State
) -> tuple[Which, Sequence[Candidate]]:
    """Return the incident and address that are meant, and their deliveries in this state."""
    from commcast.ledger.resolutions import candidates
    from commcast.ledger.settle import settle_lost
    from commcast.ledger.unknowns import Which, doubt_groups

    channel, key = channel_and_key(to, desk.config) if to is not None else (None, None)
    check_known(ledger, incident)
    with ledger.write() as connection:
        settle_lost(connection, clock(), incident)
    with ledger.read() as connection:
        named = dict.fromkeys(
            each for each, _, _ in doubt_groups(connection, Which(None, channel, key, state))
        )
        if incident is None and len(named) > 1:
            refuse("", f"{len(named)} incidents have {state} deliveries", f"say which: {', '.join(named)}")
        which = Which(incident or next(iter(named), None), channel, key, state)
        return which, candidates(connection, which, clock()) if which.incident else ()


def _tell_nothing(which: Which, document: Mapping[str, Any] | None, command: str) -> None:
    """Say that there is nothing of this kind, as JSON if there is a `document` to complete."""
    if document is not None:
        _show_counts(command, which.incident, document)
    else:
        to_them = " to this address" if which.key else ""
        show(f"Nothing{to_them} is {which.state}{f' of {which.incident}' if which.incident else ''}.")


def _people(found: Sequence[Candidate], to: str | None) -> Iterator[str]:
    """Yield for each notice and channel how many readers, and the first of them, masked unless named."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        shown = shown_address(each.address, in_full=to is not None)
        groups.setdefault((each.notice, each.channel), []).append(shown)
    for (notice, channel), people in groups.items():
        more = len(people) - _ADDRESSES_SHOWN
        names = ", ".join(people[:_ADDRESSES_SHOWN]) + f" and {more:,} more" * (more > 0)
        head = f"  {notice.replace(':', ' ')} by {NAMES[channel]}: {len(people):,} to "
        yield from wrapped(head + names, indent="    ", first="")


def _ask_whether(desk: Desk, question: str, count: int, else_: str) -> None:
    """Ask for a yes; above `confirm_above` the number has to be typed. Raises DecisionNeeded."""
    if not prompt.at_terminal():
        raise DecisionNeeded(f"There is no terminal to ask at, and no --yes: {else_}.")
    if count <= desk.config.send.confirm_above:
        is_sure = prompt.says_yes(question)
    else:
        answer = prompt.ask(f"{question} Type {count} to confirm, anything else to cancel:")
        is_sure = answer.replace(",", "") == str(count)
    if not is_sure:
        raise DecisionNeeded(f"No: {else_}.")


def _messages(count: int) -> str:
    """Return "1 message", or how many."""
    return "1 message" if count == 1 else f"{count:,} messages"


def _check_not_stopped(ledger: Ledger, incident: str) -> None:
    from commcast.ledger.fence import stops_in_force
    from commcast.ledger.resolutions import stopped_in_words

    with ledger.read() as connection:
        if stops := stops_in_force(connection, incident):
            raise DecisionNeeded(stopped_in_words(incident, stops[0].by))


def _resend_lines(config: Config, which: Which, found: Sequence[Candidate], to: str | None) -> Iterator[str]:
    """Yield what a person needs to know: who gets it again, who does not and why, and what that means."""
    going = [each for each in found if not each.unfit]
    providers = configured_providers(config)
    is_unknown = which.state == "unknown"
    if going:
        although = "it may have arrived" if is_unknown else "it was rejected"
        yield f"{which.incident}: would be sent again, although {although}:"
        yield from _people(going, to)
    for why, count in Counter(each.unfit for each in found if each.unfit).items():
        yield f"  left out: {count:,}, {why}"
    if not going or not is_unknown:
        return
    yield from wrapped("Anyone who did get it gets it twice.")
    by_smtp = {each.channel for each in going if providers.get(each.channel) == "smtp"}
    if by_smtp:
        yield from wrapped(
            "Emails keep their Message-ID: some mail systems drop the second copy, others show both."
        )
    others = {each.channel for each in going} - by_smtp
    if others:
        names = " and ".join(f"{NAMES[each]} ({providers.get(each, 'nobody')})" for each in sorted(others))
        yield from wrapped(f"Nothing filters out a second copy by {names}.")
    had_by = Counter(each.provider or providers.get(each.channel, "") for each in going if not each.was_asked)
    for provider, count in had_by.items():
        if _keeps_records(config, provider):
            yield from wrapped(f"{provider} has not been asked about {count:,} of them yet. First:")
            yield f"  commcast reconcile {which.incident}"


def _keeps_records(config: Config, provider: str) -> bool:
    from commcast.providers import registry

    try:
        return registry.records_for(config, provider, clock) is not None
    except InputError:  # it does, but a secret is missing
        return True


def _show_counts(
    command: str, incident: str | None, counts: Mapping[str, Any], code: ExitCode = ExitCode.DONE
) -> None:
    show_json(command, {"incident": incident, **counts, "exit_code": int(code)})


def _counts(found: Sequence[Candidate], became: Counter[str], *, dry_run: bool = False) -> dict[str, Any]:
    """Return the counts as JSON: `chosen` may be sent again, `sent_again` were released again."""
    return {
        "found": len(found),
        "chosen": sum(not each.unfit for each in found),
        "sent_again": became.total(),
        "became": dict(became),
        "left_out": dict(Counter(each.unfit for each in found if each.unfit)),
        "dry_run": dry_run,
    }


def _send_again(
    desk: Desk, ledger: Ledger, which: Which, found: Sequence[Candidate], by: str, as_json: bool
) -> ExitCode:
    """Record the decision, deliver as always, and show the outcomes."""
    from commcast.delivery.worker import Delivered, stopping_on_interrupt
    from commcast.ledger.resolutions import send_again, states_of

    incident = which.incident or ""
    going = [each for each in found if not each.unfit]
    with ProgressBar() as progress:
        worker = worker_for(desk, ledger, progress)
        for channel in sorted({each.channel for each in going}):
            worker.adapter_for(Channel(channel))  # raises ConfigError before anything is decided
        with stopping_on_interrupt(ledger, incident, clock):
            with ledger.write() as connection:
                chosen = send_again(connection, going, which.state, by=by, now=clock())
            delivered = Delivered()
            if chosen:
                is_unknown = which.state == "unknown"
                delivered = worker.deliver(incident) if is_unknown else deliver(desk, worker, incident)
    with ledger.read() as connection:
        became = Counter(state.value for state in states_of(connection, chosen))
        left = which.state in states_of(connection, [each.delivery for each in found])
    own = ExitCode.UNKNOWN_OUTCOME if left else ExitCode.DONE
    code = gravest([delivered.exit_code(desk.config.send.tolerate), own])
    if as_json:
        _show_counts("resend", incident, _counts(found, became), code)
    else:
        _show_outcome(incident, became, len(going) - len(chosen))
    tell_trouble(incident, delivered)
    return code


def _show_outcome(incident: str, became: Counter[str], meanwhile: int) -> None:
    outcomes = ", ".join(f"{count:,} {WORD_OF.get(state, state)}" for state, count in sorted(became.items()))
    none_left = "; none has left yet" if set(became) == {"pending"} else ""
    verb = "is" if became.total() == 1 else "are"
    released = f"{incident}: {_messages(became.total())} {verb} released again{none_left}"
    show_prose(released + (f": {outcomes}." if outcomes else "."))
    if meanwhile:
        show_prose(f"{meanwhile:,} were answered meanwhile, or may no longer be sent.")


def _settled_counts(found: int, settled: int, as_: As) -> dict[str, Any]:
    """Return the counts as JSON, with the keys of a resend: all that are found are chosen."""
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
        what = "--because contains an address or a number, which would survive an erasure"
        refuse("", what, "leave it out: the ledger knows who this is about")
    return inert(" ".join(text.split()))[:_LONGEST_REASON]


def _settle_lines(which: Which, found: Sequence[Candidate], as_: As, to: str | None) -> Iterator[str]:
    yield f"{which.incident}: no answer arrived for:"
    yield from _people(found, to)
    if as_ is As.ACCEPTED:
        yield from wrapped("Accepted: they count as told and will get the final update. Nothing is sent now.")
    else:
        yield from wrapped(
            "Rejected: they count as not told; those who got nothing else of it won't get the final update. "
            "Nothing is sent now."
        )
