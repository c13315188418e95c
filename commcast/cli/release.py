"""The one way from a draft to settled deliveries for every verb: look, ask, release, send, tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from commcast.cli import prompt, question
from commcast.cli.options import clock
from commcast.cli.outcomes import (
    already_sent,
    outcome_document,
    show_outcomes,
    tell_held_back,
    tell_planned,
    tell_promise,
    tell_trouble,
    what_happened,
)
from commcast.cli.output import going_on_unread, say, show, show_json, show_prose
from commcast.cli.present import clock_of, rows_left_out, tally_document
from commcast.cli.progress import ProgressBar
from commcast.cli.question import keeping_words
from commcast.cli.session import sender_for, tell_doubt, tell_unusable, who
from commcast.errors import DecisionNeeded, ExitCode, InputError

if TYPE_CHECKING:
    from commcast.delivery.tally import Tally
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk, Plan


# After so long at the question the times in the messages are wrong, and some promise may have passed.
QUESTION_STANDS = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person said with the command: `yes` asks nothing, `late` sends what is stale as well."""

    yes: bool = False
    late: bool = False
    as_json: bool = False


def send_incident(
    desk: Desk, incident: Incident, ledger: Ledger, present: Collection[str], wishes: Wishes
) -> ExitCode:
    """Release the drafts of an incident, if a person says yes, and send what is owed of it.

    `present` are the ids of all incidents in the folder. Returns the exit code of the delivery.
    Raises DecisionNeeded, InputError, LedgerError, TryAgain; then nothing was sent.
    """
    from commcast.model.release import drafts
    from commcast.operations.desk import check_story, make_plan

    history = check_story(desk, incident, ledger, present)
    is_draft = bool(drafts(incident, history.releases))
    with keeping_words(incident) if is_draft else nullcontext():
        plan = make_plan(desk, incident, ledger, as_if_released=True, late=wishes.late)
    if not plan.drafts and not plan.review:
        _check_not_stopped(plan)
        return _send_released(desk, incident, ledger, wishes)
    with keeping_words(incident):
        _check_not_stopped(plan)
        sender_for(desk, ledger, ProgressBar()).check_providers(plan)
        tally = tally_of(plan)
        question.check_somebody_hears(plan, tally)
        _ask(desk, plan, tally, ledger, wishes)
        checked = _as_it_will_stand(desk, incident, ledger, tally, wishes)
        _write_times(desk, checked, plan.drafts)
    return _release_and_deliver(desk, checked, ledger, tally, wishes)


def _check_not_stopped(plan: Plan) -> None:
    name, stopped_by = plan.incident.id, plan.history.stopped_by
    if plan.history.correcting and plan.incident.latest.corrects:
        return  # it ends as soon as these words are ready to go
    if stopped_by:
        raise DecisionNeeded(f"{name} is stopped by {stopped_by}; lift it with: commcast resume {name}")


def tally_of(plan: Plan) -> Tally:
    """Render every message of what is owed once, and count.

    Raises InputError where lists hold nobody, DecisionNeeded where the words have grown stale.
    """
    from commcast.delivery.rows import check_not_empty

    tally = plan.tally()
    for notice in tally.notices:
        check_not_empty(notice.notice, notice.counts)
    stale = [line.reason for line in plan.lines if not line.is_due and "--late" in line.reason]
    if stale and not tally.notices:
        raise DecisionNeeded(f"Update {plan.incident.latest.number} is {stale[0]}.")
    return tally


def show_plan(desk: Desk, plan: Plan, tally: Tally, ledger: Ledger | None, *, as_json: bool) -> ExitCode:
    """Print what a --dry-run would send: the result of the command. Returns 78 where that cannot be sent."""
    if as_json:
        show_json("plan", tally_document(plan, tally))
        return tell_unusable(desk, plan)
    for line in question.full_text(desk, plan, tally, ledger):
        show(line)
    code = tell_unusable(desk, plan)
    without = "it would be refused" if code else question.in_words(tally)
    show_prose(f"Dry run: nothing was written, nothing was sent. Without it: {without}.")
    return code


def _ask(desk: Desk, plan: Plan, tally: Tally, ledger: Ledger, wishes: Wishes) -> None:
    """Show what goes out and ask. Raises DecisionNeeded for anything but a yes."""
    if wishes.yes:
        when = clock_of(desk.config, desk.now)
        for line in [*rows_left_out(tally), *question.lasting_lines(desk, tally, when)]:
            say(line)
        return
    if not prompt.at_terminal():
        raise DecisionNeeded("There is no terminal to ask at, and no --yes: nothing was released.")
    for line in question.full_text(desk, plan, tally, ledger):
        say(line)
    question.check_lasts_no_longer(desk, tally)
    asked_at = clock()
    if not question.is_sure(tally, desk.config.send.confirm_above):
        raise DecisionNeeded("No: nothing was released.")
    question.check_still_right(asked_at, clock(), QUESTION_STANDS)


def _as_it_will_stand(
    desk: Desk, incident: Incident, ledger: Ledger, tally: Tally, wishes: Wishes
) -> Incident:
    """Return the incident with the times that its release writes, if it still gives what was looked at.

    Nothing is written yet. Raises DecisionNeeded where file, lists or templates changed since.
    """
    from commcast.files import read_text_file
    from commcast.incidents.editor import with_at
    from commcast.incidents.load import parse_incident
    from commcast.operations.desk import make_plan, open_desk

    folder = desk.config.folder
    fresh = replace(open_desk(folder, desk.now), now=desk.now)
    text = read_text_file(folder / incident.path, folder=folder, name=incident.path)
    for update in incident.updates:
        if not update.at_written:
            text = with_at(text, incident.path, update.number, desk.now)
    checked = parse_incident(text, incident.path, fresh.config, desk.now)
    if len(checked.updates) != len(incident.updates):
        # A yes covers the words that were there; not those that somebody adds meanwhile.
        raise DecisionNeeded(f"{incident.path} was changed by somebody meanwhile.")
    plan = make_plan(fresh, checked, ledger, as_if_released=True, late=wishes.late)
    # With --yes nobody looked: there is nothing to compare with.
    if not wishes.yes and plan.tally().digest != tally.digest:
        raise DecisionNeeded("The lists, the templates or the incident have changed since you looked.")
    return checked


def _write_times(desk: Desk, checked: Incident, drafts: Sequence[int]) -> None:
    """Write `at` into the file where it is missing; what stands there afterwards must be what was checked."""
    from commcast.incidents.editor import fill_at
    from commcast.incidents.load import load_incident

    path = desk.config.folder / checked.path
    for number in drafts:
        fill_at(path, number, desk.now)
    # Somebody may have appended since; what is released now must stand there as it was checked.
    if load_incident(path, desk.config, desk.now).updates[: len(checked.updates)] != checked.updates:
        raise DecisionNeeded(f"{checked.path} has changed since you looked.")


def _release_and_deliver(
    desk: Desk, incident: Incident, ledger: Ledger, tally: Tally, wishes: Wishes
) -> ExitCode:
    from commcast.operations.desk import make_plan
    from commcast.operations.release import release_updates

    with _stopping_on_doubt(incident, ledger):
        plan = make_plan(desk, incident, ledger, as_if_released=True, late=wishes.late)
        how = "yes" if wishes.yes else "question"
        released = list(plan.drafts)
        release_updates(desk, plan, released, ledger, how=how, by=who())
        plan = make_plan(desk, incident, ledger, late=wishes.late, asked=True)
        # With --yes nobody looked at a list: what it holds now is what was meant.
        expected = None if wishes.yes else _digests_seen(plan, tally)
        return _deliver(desk, plan, ledger, wishes, released, expected)


def _digests_seen(plan: Plan, tally: Tally) -> list[str]:
    seen = {(notice.notice.id, notice.notice.channel): notice.digest for notice in tally.notices}
    return [seen.get((each.notice.id, each.notice.channel), "") for each in plan.deliveries]


def _send_released(desk: Desk, incident: Incident, ledger: Ledger, wishes: Wishes) -> ExitCode:
    """Send what was released before and has not gone yet; say so where all of it has."""
    from commcast.ledger.broadcasts import held_rows, open_broadcasts
    from commcast.operations.desk import make_plan

    plan = make_plan(desk, incident, ledger, late=wishes.late)
    with ledger.read() as connection:
        waits = open_broadcasts(connection, incident.id) or held_rows(connection, incident.id, desk.now)
    if not plan.deliveries and not waits:
        return _nothing_to_send(plan, ledger, wishes)
    expected = None
    if wishes.late and plan.deliveries:
        tally = tally_of(plan)
        _ask(desk, plan, tally, ledger, wishes)
        expected = [notice.digest for notice in tally.notices]
        plan = make_plan(desk, incident, ledger, late=True)
    return _deliver(desk, plan, ledger, wishes, [], expected)


def _nothing_to_send(plan: Plan, ledger: Ledger, wishes: Wishes) -> ExitCode:
    stale = [line.reason for line in plan.lines if "--late" in line.reason]
    if stale:
        raise DecisionNeeded(f"{plan.incident.id}: update {plan.incident.latest.number} is {stale[0]}")
    if wishes.as_json:
        from commcast.delivery.deliver import Delivered

        show_json("send", outcome_document(plan.incident, ledger, [], Delivered(), ExitCode.DONE))
    else:
        show_prose(already_sent(plan))
        show_outcomes(plan.incident, ledger)
    return ExitCode.DONE


def _deliver(
    desk: Desk, plan: Plan, ledger: Ledger, wishes: Wishes, released: list[int], expected: list[str] | None
) -> ExitCode:
    with going_on_unread():
        return _deliver_and_tell(desk, plan, ledger, wishes, released, expected)


def _deliver_and_tell(
    desk: Desk, plan: Plan, ledger: Ledger, wishes: Wishes, released: list[int], expected: list[str] | None
) -> ExitCode:
    with ProgressBar() as progress:
        delivered = sender_for(desk, ledger, progress).send(plan, expected=expected)
    code = delivered.exit_code(desk.config.send.tolerate)
    if wishes.as_json:
        show_json("send", outcome_document(plan.incident, ledger, released, delivered, code))
    else:
        show_prose(what_happened(plan, released, delivered))
        show_outcomes(plan.incident, ledger)
    tell_trouble(plan.incident.id, delivered)
    tell_planned(desk, delivered)
    if released:
        tell_held_back(desk, delivered)
    is_heard = delivered.handed_over or delivered.waiting or delivered.planned
    if released and is_heard and code is ExitCode.DONE and not plan.incident.latest.is_end:
        # A question has warned of ticks before.
        tell_promise(desk, plan, question.tick_warnings(desk, ledger) if wishes.yes else ())
    return code


@contextmanager
def _stopping_on_doubt(incident: Incident, ledger: Ledger) -> Iterator[None]:
    """Stop the incident where its released words could not be sent as they were looked at.

    Without that a tick would send what nobody has seen.
    """
    from commcast.delivery.deliver import stopping_on_interrupt
    from commcast.ledger.releases import stop_incident

    remedy = f"Look again with commcast preview {incident.id}; send it with: commcast resume {incident.id}"
    try:
        with stopping_on_interrupt(ledger, incident.id, clock):
            yield
    except (DecisionNeeded, InputError) as error:
        reason = "a change since the question" if isinstance(error, DecisionNeeded) else "a fault found late"
        with ledger.write() as connection:
            stop_incident(connection, incident.id, reason, clock())
        say(f"{incident.id} is stopped. {remedy}")
        raise error from None


@contextmanager
def ledger_of(desk: Desk, *, dry_run: bool = False) -> Iterator[Ledger]:
    """Yield the desk's ledger: for a dry run a copy of it, which leaves no trace.

    Raises LedgerError in both cases alike.
    """
    from commcast.ledger.location import check_file
    from commcast.ledger.store import ledger_path, open_copy, open_ledger

    path = ledger_path(desk.config.folder)
    if dry_run:
        check_file(path)
        with open_copy(path, desk.config.desk) as copy:
            assert copy is not None  # noqa: S101 - check_file has seen it
            tell_doubt(copy)
            yield copy
        return
    ledger = open_ledger(path, desk.config.desk)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def ledger_for(desk: Desk, draft: Incident) -> Iterator[Ledger]:
    """Yield the ledger for words just written; where it cannot be opened, say that they are kept."""
    with ExitStack() as stack:
        with keeping_words(draft):
            ledger = stack.enter_context(ledger_of(desk))
        yield ledger


def desk_now(folder: Path | None) -> Desk:
    """Return the desk as of this second: files hold no smaller times."""
    from commcast.cli.options import find_folder
    from commcast.model.times import at_offset_of
    from commcast.operations.desk import open_desk

    desk = open_desk(find_folder(folder), clock().replace(microsecond=0))
    return replace(desk, now=at_offset_of(desk.config.zone, desk.now))
