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
from commcast.cli.present import clock_of, rows_left_out, survey_document
from commcast.cli.progress import Progress
from commcast.cli.question import keeping_words
from commcast.cli.session import sender_for, tell_doubt, tell_unusable, who
from commcast.errors import DecisionNeeded, ExitCode, InputError

if TYPE_CHECKING:
    from commcast.delivery.survey import Survey
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk, Owed


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
    from commcast.operations.desk import check_story, what_is_owed

    standing = check_story(desk, incident, ledger, present)
    is_draft = bool(drafts(incident, standing.releases))
    with keeping_words(incident) if is_draft else nullcontext():
        owed = what_is_owed(desk, incident, ledger, as_if_released=True, late=wishes.late)
    if not owed.drafts and not owed.review:
        _check_not_stopped(owed)
        return _send_released(desk, incident, ledger, wishes)
    with keeping_words(incident):
        _check_not_stopped(owed)
        sender_for(desk, ledger, Progress()).check_providers(owed)
        survey = survey_of(owed)
        question.check_somebody_hears(owed, survey)
        _ask(desk, owed, survey, ledger, wishes)
        checked = _as_it_will_stand(desk, incident, ledger, survey, wishes)
        _write_times(desk, checked, owed.drafts)
    return _release_and_deliver(desk, checked, ledger, survey, wishes)


def _check_not_stopped(owed: Owed) -> None:
    name, stopped_by = owed.incident.id, owed.standing.stopped_by
    if owed.standing.correcting and owed.incident.latest.corrects:
        return  # it ends as soon as these words are ready to go
    if stopped_by:
        raise DecisionNeeded(f"{name} is stopped by {stopped_by}; lift it with: commcast resume {name}")


def survey_of(owed: Owed) -> Survey:
    """Render every message of what is owed once, and count.

    Raises InputError where lists hold nobody, DecisionNeeded where the words have grown stale.
    """
    from commcast.delivery.rows import check_not_empty

    survey = owed.survey()
    for notice in survey.notices:
        check_not_empty(notice.notice, notice.counts)
    stale = [line.reason for line in owed.lines if not line.owed and "--late" in line.reason]
    if stale and not survey.notices:
        raise DecisionNeeded(f"Update {owed.incident.latest.number} is {stale[0]}.")
    return survey


def show_plan(desk: Desk, owed: Owed, survey: Survey, ledger: Ledger | None, *, as_json: bool) -> ExitCode:
    """Print what a --dry-run would send: the result of the command. Returns 78 where that cannot be sent."""
    if as_json:
        show_json("plan", survey_document(owed, survey))
        return tell_unusable(desk, owed)
    for line in question.full_text(desk, owed, survey, ledger):
        show(line)
    code = tell_unusable(desk, owed)
    without = "it would be refused" if code else question.in_words(survey)
    show_prose(f"Dry run: nothing was written, nothing was sent. Without it: {without}.")
    return code


def _ask(desk: Desk, owed: Owed, survey: Survey, ledger: Ledger, wishes: Wishes) -> None:
    """Show what goes out and ask. Raises DecisionNeeded for anything but a yes."""
    if wishes.yes:
        when = clock_of(desk.config, desk.now)
        for line in [*rows_left_out(survey), *question.lasting_lines(desk, survey, when)]:
            say(line)
        return
    if not prompt.at_terminal():
        raise DecisionNeeded("There is no terminal to ask at, and no --yes: nothing was released.")
    for line in question.full_text(desk, owed, survey, ledger):
        say(line)
    question.check_lasts_no_longer(desk, survey)
    asked_at = clock()
    if not question.is_sure(survey, desk.config.send.confirm_above):
        raise DecisionNeeded("No: nothing was released.")
    question.check_still_right(asked_at, clock(), QUESTION_STANDS)


def _as_it_will_stand(
    desk: Desk, incident: Incident, ledger: Ledger, survey: Survey, wishes: Wishes
) -> Incident:
    """Return the incident with the times that its release writes, if it still gives what was looked at.

    Nothing is written yet. Raises DecisionNeeded where file, lists or templates changed since.
    """
    from commcast.files import read_text_file
    from commcast.incidents.editor import with_at
    from commcast.incidents.load import parse_incident
    from commcast.operations.desk import open_desk, what_is_owed

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
    owed = what_is_owed(fresh, checked, ledger, as_if_released=True, late=wishes.late)
    # With --yes nobody looked: there is nothing to compare with.
    if not wishes.yes and owed.survey().digest != survey.digest:
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
    desk: Desk, incident: Incident, ledger: Ledger, survey: Survey, wishes: Wishes
) -> ExitCode:
    from commcast.operations.desk import what_is_owed
    from commcast.operations.release import release_updates

    with _stopping_on_doubt(incident, ledger):
        owed = what_is_owed(desk, incident, ledger, as_if_released=True, late=wishes.late)
        how = "yes" if wishes.yes else "question"
        released = list(owed.drafts)
        release_updates(desk, owed, released, ledger, how=how, by=who())
        owed = what_is_owed(desk, incident, ledger, late=wishes.late, asked=True)
        # With --yes nobody looked at a list: what it holds now is what was meant.
        expected = None if wishes.yes else _digests_seen(owed, survey)
        return _deliver(desk, owed, ledger, wishes, released, expected)


def _digests_seen(owed: Owed, survey: Survey) -> list[str]:
    seen = {(notice.notice.id, notice.notice.channel): notice.digest for notice in survey.notices}
    return [seen.get((each.notice.id, each.notice.channel), "") for each in owed.deliveries]


def _send_released(desk: Desk, incident: Incident, ledger: Ledger, wishes: Wishes) -> ExitCode:
    """Send what was released before and has not gone yet; say so where all of it has."""
    from commcast.ledger.freeze import held_rows, open_broadcasts
    from commcast.operations.desk import what_is_owed

    owed = what_is_owed(desk, incident, ledger, late=wishes.late)
    with ledger.read() as connection:
        waits = open_broadcasts(connection, incident.id) or held_rows(connection, incident.id, desk.now)
    if not owed.deliveries and not waits:
        return _nothing_to_send(owed, ledger, wishes)
    expected = None
    if wishes.late and owed.deliveries:
        survey = survey_of(owed)
        _ask(desk, owed, survey, ledger, wishes)
        expected = [notice.digest for notice in survey.notices]
        owed = what_is_owed(desk, incident, ledger, late=True)
    return _deliver(desk, owed, ledger, wishes, [], expected)


def _nothing_to_send(owed: Owed, ledger: Ledger, wishes: Wishes) -> ExitCode:
    stale = [line.reason for line in owed.lines if "--late" in line.reason]
    if stale:
        raise DecisionNeeded(f"{owed.incident.id}: update {owed.incident.latest.number} is {stale[0]}")
    if wishes.as_json:
        from commcast.delivery.deliver import Delivered

        show_json("send", outcome_document(owed.incident, ledger, [], Delivered(), ExitCode.DONE))
    else:
        show_prose(already_sent(owed))
        show_outcomes(owed.incident, ledger)
    return ExitCode.DONE


def _deliver(
    desk: Desk, owed: Owed, ledger: Ledger, wishes: Wishes, released: list[int], expected: list[str] | None
) -> ExitCode:
    with going_on_unread():
        return _deliver_and_tell(desk, owed, ledger, wishes, released, expected)


def _deliver_and_tell(
    desk: Desk, owed: Owed, ledger: Ledger, wishes: Wishes, released: list[int], expected: list[str] | None
) -> ExitCode:
    with Progress() as progress:
        delivered = sender_for(desk, ledger, progress).send(owed, expected=expected)
    code = delivered.exit_code(desk.config.send.tolerate)
    if wishes.as_json:
        show_json("send", outcome_document(owed.incident, ledger, released, delivered, code))
    else:
        show_prose(what_happened(owed, released, delivered))
        show_outcomes(owed.incident, ledger)
    tell_trouble(owed.incident.id, delivered)
    tell_planned(desk, delivered)
    if released:
        tell_held_back(desk, delivered)
    is_heard = delivered.handed_over or delivered.waiting or delivered.planned
    if released and is_heard and code is ExitCode.DONE and not owed.incident.latest.is_end:
        # A question has warned of ticks before.
        tell_promise(desk, owed, question.tick_warnings(desk, ledger) if wishes.yes else ())
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
    from commcast.ledger.files import check_file
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
