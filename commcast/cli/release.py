"""How every verb sends its draft: look, ask, release, send, report."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
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
from commcast.cli.session import tell_doubt, tell_unusable, who, worker_for
from commcast.errors import DecisionNeeded, ExitCode

if TYPE_CHECKING:
    from commcast.delivery.tally import Tally
    from commcast.delivery.worker import Delivered
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.model.release import Release
    from commcast.operations.desk import Desk, Plan
    from commcast.operations.release import Look, Released

_LOOKS = 3  # so often one command looks: whoever's words change more often looks again by themselves


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person said with the command: `yes` asks nothing, `late` sends what is stale as well."""

    yes: bool = False
    late: bool = False
    as_json: bool = False


class _SentByOthers(Exception):
    """Somebody else has released all of it while this person was asked."""

    def __init__(self, release: Release) -> None:
        self.release = release


def send_incident(
    desk: Desk, incident: Incident, ledger: Ledger, present: Collection[str], wishes: Wishes
) -> ExitCode:
    """Release the drafts of an incident, if a person says yes, and send what is due of it.

    `present` are the ids of all incidents in the folder. Returns the exit code of the delivery.
    Raises DecisionNeeded, InputError, LedgerError, TryAgain; then nothing was sent.
    """
    from commcast.operations.desk import make_plan

    with nullcontext() if incident.latest.at_written else keeping_words(incident):
        plan = make_plan(desk, incident, ledger, present=present, as_if_released=True, late=wishes.late)
    if plan.drafts or plan.review or (wishes.late and plan.deliveries):
        return _release_and_send(desk, plan, ledger, present, wishes)
    _check_not_stopped(plan)
    return _send_released(desk, plan, ledger, wishes)


def _check_not_stopped(plan: Plan) -> None:
    name, stopped_by = plan.incident.id, plan.history.stopped_by
    if plan.history.correcting and plan.incident.latest.corrects:
        return  # it ends as soon as these words are ready to go
    if stopped_by:
        raise DecisionNeeded(f"{name} is stopped by {stopped_by}; lift it with: commcast resume {name}")


def _release_and_send(
    desk: Desk, plan: Plan, ledger: Ledger, present: Collection[str], wishes: Wishes
) -> ExitCode:
    from commcast.delivery.worker import stopping_on_interrupt
    from commcast.operations.release import fill
    from commcast.operations.send import hand_over

    is_draft = bool(plan.drafts or plan.review)
    with ExitStack() as looks:
        try:
            with keeping_words(plan.incident) if is_draft else nullcontext():
                look, released = _ask_and_release(desk, plan, ledger, present, wishes, looks)
        except _SentByOthers as sent:
            return _tell_sent_by_others(plan, ledger, sent.release, wishes)
        # From here on the words are released: Ctrl-C stops the incident.
        with stopping_on_interrupt(ledger, plan.incident.id, clock), going_on_unread():
            if released.signal:
                signal.raise_signal(released.signal)
            if released.not_written:
                say(f"Warning: {released.not_written}. The ledger has the time; it is written later.")
            fill(look, released)
            looks.close()
            with ProgressBar() as progress:
                worker = worker_for(look.desk, ledger, progress)
                delivered = hand_over(look.desk, worker, released.plan, risen=True)
            return _tell(look.desk, released.plan, ledger, wishes, list(released.numbers), delivered)


def _ask_and_release(
    desk: Desk, plan: Plan, ledger: Ledger, present: Collection[str], wishes: Wishes, looks: ExitStack
) -> tuple[Look, Released]:
    """Look, ask and release; where something changes meanwhile, look again, and ask again if it shows.

    Raises DecisionNeeded for anything but a yes.
    """
    from commcast.operations import release
    from commcast.operations.send import check_providers

    shown, good_until = "", desk.now
    for _ in range(_LOOKS):
        _check_not_stopped(plan)
        check_providers(worker_for(desk, ledger, ProgressBar()), plan)
        look = _look(desk, plan, ledger, present, wishes, looks)
        if look.tally.digest != shown:
            if shown and not wishes.yes:
                say("The lists, the templates or the incident have changed since you looked. Look again:")
            good_until = _ask(look, wishes)
            shown = look.tally.digest
        try:
            how = "yes" if wishes.yes else "question"
            released = release.say_yes(look, how=how, by=who(), good_until=good_until, clock=clock)
        except release.TimeOver:
            raise DecisionNeeded(question.too_late(desk, good_until)) from None
        if released is not None:
            return look, released
        looks.close()
        if theirs := release.released_by_others(look):
            raise _SentByOthers(theirs)
        before = plan
        desk, plan = release.plan_again(look)
        if wishes.yes and plan.drafts != before.drafts:
            # A yes covers the words that were there; not those that somebody adds meanwhile.
            raise DecisionNeeded(f"{plan.incident.path} was changed by somebody meanwhile.")
    raise DecisionNeeded(f"{plan.incident.id} changed each time you looked.")


def _look(
    desk: Desk, plan: Plan, ledger: Ledger, present: Collection[str], wishes: Wishes, looks: ExitStack
) -> Look:
    """Render every message of the plan once, counted and kept.

    Raises InputError where lists hold nobody or everybody opted out, DecisionNeeded where words are stale.
    """
    from commcast.operations.release import looking

    with ProgressBar() as progress:
        found = looking(desk, plan, ledger, present, late=wishes.late, progress=progress.freezing)
        look = looks.enter_context(found)
    check_tally(plan, look.tally)
    question.check_somebody_hears(plan, look.tally)
    return look


def tally_of(plan: Plan) -> Tally:
    """Render every message of what is due once, and count. Raises as `check_tally`, and for what is wrong."""
    tally = plan.tally()
    check_tally(plan, tally)
    return tally


def check_tally(plan: Plan, tally: Tally) -> None:
    """Refuse words for lists that hold nobody (InputError), and words that are stale (DecisionNeeded)."""
    from commcast.delivery.rows import check_not_empty

    for notice in tally.notices:
        check_not_empty(notice.notice, notice.counts)
    stale = [line.reason for line in plan.lines if not line.is_due and "--late" in line.reason]
    if stale and not tally.notices:
        raise DecisionNeeded(f"Update {plan.incident.latest.number} is {stale[0]}.")


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


def _ask(look: Look, wishes: Wishes) -> datetime:
    """Show what goes out and ask; return until when the yes counts. Else raises DecisionNeeded."""
    desk, plan, tally = look.desk, look.plan, look.tally
    asked_at = clock()
    good_until = look.good_until(asked_at)
    if wishes.yes:
        when = clock_of(desk.config, desk.now)
        for line in [*rows_left_out(tally), *question.lasting_lines(desk, tally, when)]:
            say(line)
        return good_until
    if not prompt.at_terminal():
        raise DecisionNeeded("There is no terminal to ask at, and no --yes: nothing was released.")
    for line in question.full_text(desk, plan, tally, look.ledger):
        say(line)
    question.check_lasts_no_longer(desk, tally)
    if good_until <= asked_at:
        raise DecisionNeeded(question.too_late(desk, good_until))
    say(question.good_until_line(desk, good_until))
    try:
        is_sure = question.is_sure(
            tally, desk.config.send.confirm_above, (good_until - clock()).total_seconds()
        )
    except prompt.NothingTyped:
        raise DecisionNeeded(question.too_late(desk, good_until)) from None
    if not is_sure:
        raise DecisionNeeded("No: nothing was released.")
    return good_until


def _tell_sent_by_others(plan: Plan, ledger: Ledger, release: Release, wishes: Wishes) -> ExitCode:
    from commcast.delivery.worker import Delivered

    if wishes.as_json:
        show_json("send", outcome_document(plan.incident, ledger, [], Delivered(), ExitCode.DONE))
        return ExitCode.DONE
    show_prose(
        f"{plan.incident.id}: update {release.number} was sent by {release.by} while you were asked "
        f"({release.at:%H:%M} UTC); nothing was sent by you."
    )
    show_outcomes(plan.incident, ledger)
    return ExitCode.DONE


def _send_released(desk: Desk, plan: Plan, ledger: Ledger, wishes: Wishes) -> ExitCode:
    """Send what was released before and has not gone yet; say so where all of it has."""
    from commcast.delivery.worker import stopping_on_interrupt
    from commcast.ledger.broadcasts import held_rows, open_broadcasts
    from commcast.operations.send import freeze_released, hand_over

    with ledger.read() as connection:
        waits = open_broadcasts(connection, plan.incident.id) or held_rows(
            connection, plan.incident.id, desk.now
        )
    if not plan.deliveries and not waits:
        return _nothing_to_send(plan, ledger, wishes)
    with stopping_on_interrupt(ledger, plan.incident.id, clock), going_on_unread():
        with ProgressBar() as progress:
            worker = worker_for(desk, ledger, progress)
            freeze_released(desk, worker, plan)
            delivered = hand_over(desk, worker, plan)
        return _tell(desk, plan, ledger, wishes, [], delivered)


def _nothing_to_send(plan: Plan, ledger: Ledger, wishes: Wishes) -> ExitCode:
    stale = [line.reason for line in plan.lines if "--late" in line.reason]
    if stale:
        raise DecisionNeeded(f"{plan.incident.id}: update {plan.incident.latest.number} is {stale[0]}")
    if wishes.as_json:
        from commcast.delivery.worker import Delivered

        show_json("send", outcome_document(plan.incident, ledger, [], Delivered(), ExitCode.DONE))
    else:
        show_prose(already_sent(plan))
        show_outcomes(plan.incident, ledger)
    return ExitCode.DONE


def _tell(
    desk: Desk, plan: Plan, ledger: Ledger, wishes: Wishes, released: list[int], delivered: Delivered
) -> ExitCode:
    """Show what became of it, and what is left to do; return the command's exit code."""
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
        tell_promise(desk, plan, question.tick_warnings(desk, plan) if wishes.yes else ())
    return code


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
