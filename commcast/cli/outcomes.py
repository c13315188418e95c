"""Shows the outcomes of an incident's newest messages as a line, a table or JSON, and what is left to do."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from commcast.cli.output import picked, say, show, table
from commcast.cli.present import NAMES, clock_of

if TYPE_CHECKING:
    from commcast.delivery.worker import Delivered
    from commcast.errors import ExitCode
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk, Plan


# In the order in which a person looks at them.
_COLUMNS = ("ACCEPTED", "REJECTED", "UNKNOWN", "SKIPPED", "HELD", "WAITING")
_WAITING = frozenset({"pending", "claimed"})


Counted = dict[tuple[str, str], Counter[str]]  # by audience and channel


def show_outcomes(counted: Counted) -> None:
    """Print the outcome table of the newest update."""
    if counted:
        rows = [
            [audience, NAMES[channel], *(str(counts[column] or "-") for column in _COLUMNS)]
            for (audience, channel), counts in counted.items()
        ]
        show(table(["AUDIENCE", "CHANNEL", *_COLUMNS], rows))


def outcome_document(
    incident: Incident, counted: Counted, released: list[int], delivered: Delivered, code: ExitCode
) -> dict[str, Any]:
    """Return the outcomes of the newest update as JSON."""
    return {
        "incident": incident.id,
        "update": incident.latest.number,
        "released": released,
        "outcomes": [
            {"audience": audience, "channel": channel, **{c.lower(): counts[c] for c in _COLUMNS}}
            for (audience, channel), counts in counted.items()
        ],
        **picked(delivered, "waiting", "planned", "planned_at"),
        "stopped_by": delivered.stopped_by or None,
        **trouble_document(delivered),
        "exit_code": int(code),
    }


def trouble_document(delivered: Delivered) -> dict[str, Any]:
    """Return which providers were in trouble, and who took over, as JSON."""
    return {
        "troubles": [trouble._asdict() for trouble in delivered.troubles],
        "taken_over": [asdict(each) for each in delivered.taken_over],
    }


def count_newest(incident: Incident, ledger: Ledger) -> tuple[Counted, bool]:
    """Return the outcomes of the newest update, and whether all that are on their way are so from here."""
    from commcast.ledger.history import tallies
    from commcast.ledger.settle import are_claims_ours

    with ledger.read() as connection:
        found = [t for t in tallies(connection, incident.id) if t.number == incident.latest.number]
        is_ours = are_claims_ours(connection, incident.id)
    counted: Counted = {}
    for tally in found:
        counts = counted.setdefault((tally.audience, tally.channel), Counter())
        state = tally.state.value
        counts["WAITING" if state in _WAITING else state.upper()] += tally.count
    return counted, is_ours


def standing(counted: Counted, delivered: Delivered, *, is_ours: bool) -> Delivered:
    """Return a run with what the newest update's messages have become by now, in whatever run."""
    if delivered.signal:
        return delivered
    rows = sum(counted.values(), Counter())
    outcomes = Counter({kind: rows[kind.upper()] for kind in ("accepted", "rejected", "unknown")})
    waiting = delivered.waiting if is_ours else max(delivered.waiting, rows["WAITING"])
    return replace(delivered, outcomes=delivered.outcomes | outcomes, waiting=waiting)


def tell_planned(desk: Desk, delivered: Delivered) -> None:
    """Say how many get it later because others are told first, and when."""
    if delivered.planned and delivered.planned_at and not delivered.stopped_by:
        when = clock_of(desk.config, desk.now)(delivered.planned_at)
        follow = "follows" if delivered.planned == 1 else "follow"
        say(f"{delivered.planned:,} {follow} at {when}, sent by tick.")


def tell_held_back(desk: Desk, delivered: Delivered) -> None:
    """Say how many did not get the newest update because they had too many messages within the hour."""
    from commcast.plan.reasons import HELD_BACK

    count, most = delivered.held_back, desk.config.send.most_an_hour
    if delivered.nobody_heard:
        say(
            f"NOBODY WAS TOLD: all {count:,} already got as many messages as an address may get in an hour.\n"
            f"To tell them now, raise most_an_hour = {most} under [send] in commcast.toml and post it\n"
            "again; otherwise their next message says that this one was held back."
        )
    elif count:
        say(f"{count:,} skipped: {HELD_BACK}.\nSee [send] most_an_hour in commcast.toml.")


def tell_promise(desk: Desk, plan: Plan, warnings: Iterable[str] = ()) -> None:
    """Say by when the person on call has to post again, after warnings about that."""
    for warning in warnings:
        say(warning)
    notices = [line.notice for line in plan.lines]
    promised = [at for notice in notices for name in notice.audiences if (at := notice.next_update_by[name])]
    if promised:
        when = clock_of(desk.config, desk.now)(min(promised))
        say(f"The next update is promised by {when}: commcast {_next_words(plan.incident)}")


def _next_words(incident: Incident) -> str:
    """Return the command to use by then: the work has started or is done, or there is news."""
    if incident.latest.status in {"scheduled", "rescheduled"}:
        return f"start {incident.id}"
    if incident.kind == "maintenance":
        return f"complete {incident.id}"
    if incident.latest.status == "expected":
        return f"update {incident.id} --status investigating"
    return f'update {incident.id} --nothing-new "…"'


def what_happened(plan: Plan, released: Sequence[int], delivered: Delivered, counted: Counted) -> str:
    """Return in one line what a run did: what it released, and how many it handed over."""
    numbers = ", ".join(map(str, released))
    handed = delivered.handed_over
    if released and not plan.deliveries:
        return f"{plan.incident.id}: update {numbers} released; nobody is told now."
    if released:
        return f"{plan.incident.id}: update {numbers} released, {handed:,} handed over."
    if handed or delivered.waiting or delivered.lost:
        return f"{plan.incident.id}: {handed:,} pending messages handed over."
    rows = sum(counted.values(), Counter())
    open_ones = [
        f"{rows[each]:,} {each.lower()}" for each in ("WAITING", "UNKNOWN", "REJECTED") if rows[each]
    ]
    was = f"has {', '.join(open_ones)}" if open_ones else "was already sent"
    return f"{plan.incident.id}: update {plan.incident.latest.number} {was}; nothing was sent now."


def tell_trouble(incident: str, delivered: Delivered) -> None:
    """Say what a delivery left undone, and what to do about it."""
    for each in delivered.taken_over:
        say(
            f"{each.provider} stopped accepting messages ({each.why}); {each.by} took over the rest. "
            "See: commcast doctor --connect"
        )
    for trouble in delivered.troubles:
        if trouble.refuses:
            go_on = f", then: commcast resume {incident}" if delivered.waiting else "."
            say(f"{trouble.provider} refused us: {trouble.why}. Fix that{go_on}")
        else:
            say(
                f"{trouble.provider} is down or busy: {trouble.why}. "
                f"The next tick continues, or: commcast send {incident}"
            )
    if rejected := delivered.outcomes["rejected"]:
        was = "was" if rejected == 1 else "were"
        say(
            f"{rejected:,} {was} rejected individually. Why: commcast log {incident}. "
            f"To send to them again: commcast resend {incident} --rejected"
        )
    if delivered.expired:
        say(
            f"{delivered.expired:,} were not told: the promise in this message has passed. "
            f"Post an update: commcast update {incident}"
        )
    if delivered.stopped_by and not delivered.signal:
        from commcast.model.history import way_on

        go_on = way_on(incident, delivered.stopped_by)
        say(f"Stopped by {delivered.stopped_by}: {delivered.waiting:,} waiting. See: {go_on}")
    elif delivered.waiting > delivered.planned and not delivered.troubles and not delivered.signal:
        left = delivered.waiting - delivered.planned
        wait = "is still queued" if left == 1 else "are still queued"
        say(f"{left:,} {wait}. The next tick continues, or: commcast send {incident}")
    if delivered.lost or delivered.outcomes["unknown"]:
        say(
            "Unknown: no answer arrived; nothing is resent automatically.\n"
            f"Ask Twilio or SendGrid: commcast reconcile {incident}\n"
            f"SMTP cannot be asked, so decide: commcast resend {incident} --unknown"
        )
    tell_signal(incident, delivered)


def tell_signal(incident: str, delivered: Delivered) -> None:
    """Say how far a run came that a signal ended, and how it continues."""
    if not delivered.signal:
        return
    unknown = delivered.outcomes["unknown"]
    count = f"{delivered.handed_over:,} handed over" + (f", {unknown:,} of them unknown" if unknown else "")
    ended, further = "Interrupted", f"Continue with: commcast resume {incident}"
    if delivered.signal != signal.SIGINT:
        ended = f"Ended by {signal.Signals(delivered.signal).name}"
        further = f"The next tick continues, or: commcast send {incident}"
    say(f"{ended}: {count}; {delivered.waiting:,} waiting. {further}")
