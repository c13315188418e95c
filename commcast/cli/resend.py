"""The command resend: a person has messages sent once more that may or may not have arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from commcast.cli import lost
from commcast.cli.opening import sender_for, who
from commcast.cli.options import DryRunOption, FolderOption, JsonOption, YesOption, clock
from commcast.cli.outcomes import tell_trouble
from commcast.cli.output import going_on_unread, say, show, show_json, show_prose
from commcast.cli.present import NAMES
from commcast.cli.progress import Progress
from commcast.cli.reconcile import configured_providers
from commcast.cli.releasing import desk_now, ledger_of
from commcast.errors import DecisionNeeded, ExitCode, InputError, gravest

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.desk import Desk
    from commcast.ledger.decisions import Candidate
    from commcast.ledger.store import Ledger


def resend(
    incident: lost.IdArgument = None,
    unknown: lost.UnknownOption = False,
    to: lost.ToOption = None,
    by: lost.ByOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Send once more what may or may not have arrived: who did get it gets it twice.

    Nothing does this by itself. A mail over SMTP has the same Message-ID as before, so that mail systems can
    drop a second copy. Who opted out, or has newer words, or whose promise has passed, is left out. Ends
    like a delivery: 0 done, 1 unknown again or some left out, 5 nobody said yes or all are left out, 75 try
    again, 78 refused.

    Example: commcast resend pay7 --unknown
    """
    lost.check_named(unknown, "resend")
    desk = desk_now(folder)
    with ledger_of(desk, dry_run=dry_run) as ledger:
        which, found = lost.found_lost(desk, ledger, incident, to)
        going = [each for each in found if not each.unfit]
        if not found:
            lost.tell_nothing(which, _counts(found, dry_run=dry_run) if as_json else None, "resend")
            return
        assert which.incident is not None  # noqa: S101 - there is one, since something was found
        _check_not_stopped(ledger, which.incident)
        lines = list(_resend_lines(desk.config, which.incident, found, to))
        if dry_run:
            _tell_plan(which.incident, found, lines, as_json)
            return
        say("\n".join(lines))
        if not going:
            raise DecisionNeeded(
                "Nothing was sent again. Say what is true now, or what became of these:\n"
                f"  commcast update {which.incident}\n"
                f"  commcast settle {which.incident} --unknown --as accepted"
            )
        if not yes:
            many = f"Send {lost.messages(len(going))} again?"
            lost.ask_whether(desk, many, len(going), "nothing was sent again")
        with going_on_unread():
            raise typer.Exit(_send_again(desk, ledger, which.incident, found, by or who(), as_json))


def _check_not_stopped(ledger: Ledger, incident: str) -> None:
    from commcast.ledger.decisions import stopped_in_words
    from commcast.ledger.stops import stops_in_force

    with ledger.read() as connection:
        if stops := stops_in_force(connection, incident):
            raise DecisionNeeded(stopped_in_words(incident, stops[0].by))


def _resend_lines(config: Config, incident: str, found: Sequence[Candidate], to: str | None) -> Iterator[str]:
    """Yield what a person decides by: to whom it goes again, to whom not and why, and what that means."""
    going = [each for each in found if not each.unfit]
    providers = configured_providers(config)
    if going:
        yield f"{incident}: would be sent again, although it may have arrived:"
        yield from lost.people(going, to)
    for why, count in Counter(each.unfit for each in found if each.unfit).items():
        yield f"  left out: {count:,}, {why}"
    if not going:
        return
    yield from lost.paragraph("Who did get it gets it a second time.")
    by_smtp = {each.channel for each in going if providers.get(each.channel) == "smtp"}
    if by_smtp:
        yield from lost.paragraph(
            "Mails have the same Message-ID as before: some mail systems drop the second copy, others show "
            "both."
        )
    others = {each.channel for each in going} - by_smtp
    if others:
        names = " and ".join(f"{NAMES[each]} ({providers.get(each, 'nobody')})" for each in sorted(others))
        yield from lost.paragraph(f"By {names} nothing keeps a second copy away.")
    had_by = Counter(each.provider or providers.get(each.channel, "") for each in going if not each.was_asked)
    for provider, count in had_by.items():
        if _keeps_records(config, provider):
            yield from lost.paragraph(f"Nobody has asked {provider} about {count:,} of them yet. First:")
            yield f"  commcast reconcile {incident}"


def _keeps_records(config: Config, provider: str) -> bool:
    from commcast import wiring

    try:
        return wiring.records_for(config, provider, clock) is not None
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
    """Write down the decision, deliver by the one path, and show what became of it."""
    from commcast.delivering import Delivered, stopping_on_interrupt
    from commcast.ledger.decisions import send_again, states_of
    from commcast.ledger.schema import State
    from commcast.model import Channel

    going = [each for each in found if not each.unfit]
    with Progress() as progress:
        deliverer = sender_for(desk, ledger, progress).deliverer
        for channel in sorted({each.channel for each in going}):
            deliverer.adapter_for(Channel(channel))  # raises ConfigError before anything is decided
        with stopping_on_interrupt(ledger, incident, clock):
            with ledger.write() as connection:
                chosen = send_again(connection, going, by=by, now=clock())
            delivered = deliverer.deliver(incident) if chosen else Delivered()
    with ledger.read() as connection:
        became = Counter(state.value for state in states_of(connection, chosen))
        left = State.UNKNOWN in states_of(connection, [each.delivery for each in found])
    code = gravest(
        [
            delivered.exit_code(desk.config.send.tolerate),
            ExitCode.UNKNOWN_OUTCOME if left else ExitCode.DONE,
        ]
    )
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
    released = f"{incident}: {lost.messages(count)} {verb} released again{none_left}"
    show_prose(released + (f": {outcomes}." if outcomes else "."))
    if meanwhile:
        show_prose(f"{meanwhile:,} were answered, or may not go any more, since you looked.")
