"""How every verb sends its draft: look, ask, release, send, report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import typer

from commcast.cli import outcomes, prompt, question
from commcast.cli.options import VerbInput, clock
from commcast.cli.output import going_on_unread, say, show, show_json, show_prose
from commcast.cli.present import clock_of, messages, rows_left_out, tally_document
from commcast.cli.progress import ProgressBar
from commcast.cli.question import keeping_words
from commcast.cli.session import Place, ledger_of, tell_unusable, who, worker_for
from commcast.errors import DecisionNeeded, ExitCode, InputError

if TYPE_CHECKING:
    from commcast.delivery.tally import Tally
    from commcast.delivery.worker import Delivered
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk, Plan
    from commcast.operations.release import Look, Released

_LOOKS = 3  # how often one command looks: if the words keep changing, the person looks again


class _SentByOthers(Exception):
    """Somebody else released all of it while this person was asked; its argument is their release."""


def send_incident(place: Place, ledger: Ledger, said: VerbInput) -> ExitCode:
    """Release the drafts of an incident, if a person says yes, and send what is due; a dry run only shows it.

    Returns the exit code of the delivery. Raises DecisionNeeded, InputError, LedgerError, TryAgain; then
    nothing was sent.
    """
    from commcast.delivery.worker import stopping_on_interrupt
    from commcast.operations.desk import make_plan
    from commcast.operations.release import fill
    from commcast.operations.send import hand_over

    desk, incident, present = place.desk, place.incident, place.present
    is_draft = (incident.id, incident.latest.number) not in desk.released_at
    with keeping_words(incident) if is_draft and not said.dry_run else nullcontext():
        plan = make_plan(desk, incident, ledger, present=present, as_if_released=True, late=said.late)
    if said.dry_run:
        return _show_plan(desk, plan, ledger, said)
    is_draft = bool(plan.drafts or plan.review)
    if not is_draft and not (said.late and plan.deliveries):
        return _send_released(desk, plan, ledger, said)
    with ExitStack() as looks:
        try:
            with keeping_words(incident) if is_draft else nullcontext():
                look, released = _ask_and_release(desk, plan, ledger, present, said, looks)
        except _SentByOthers as sent:
            [theirs] = sent.args
            at = clock_of(desk.config, desk.now)(theirs.at)
            words = f"update {theirs.number} was sent by {theirs.by} while you were being asked ({at})"
            return _tell(desk, plan, ledger, said, text=f"{incident.id}: {words}; nothing was sent by you.")
        # From here on the words are released: Ctrl-C stops the incident.
        with stopping_on_interrupt(ledger, incident.id, clock), going_on_unread():
            if released.signal:
                signal.raise_signal(released.signal)
            if released.not_written:
                say(f"Warning: {released.not_written}. The ledger has the time; the file gets it later.")
            fill(look, released)
            looks.close()
            with ProgressBar() as progress:
                worker = worker_for(look.desk, ledger, progress)
                delivered = hand_over(look.desk, worker, released.plan, risen=True)
            return _tell(look.desk, released.plan, ledger, said, delivered, released.numbers)


def _check_not_stopped(plan: Plan) -> None:
    name, history = plan.incident.id, plan.history
    # A stop put by a correction ends as soon as its words are ready to go.
    if history.stopped_by and not (history.correcting and plan.incident.latest.corrects):
        from commcast.model.history import way_on

        lift = way_on(name, history.stopped_by)
        raise DecisionNeeded(f"{name} is stopped by {history.stopped_by}; lift it with: {lift}")


def _ask_and_release(
    desk: Desk, plan: Plan, ledger: Ledger, present: Collection[str], said: VerbInput, looks: ExitStack
) -> tuple[Look, Released]:
    """Look, ask and release; if something changes meanwhile, look again, and ask again if it shows.

    Raises DecisionNeeded for anything but a yes, InputError if lists hold nobody or everybody opted out.
    """
    from commcast.operations import release
    from commcast.operations.send import check_providers

    shown, good_until = "", desk.now
    for _ in range(_LOOKS):
        _check_not_stopped(plan)
        check_providers(worker_for(desk, ledger, ProgressBar()), plan)
        with ProgressBar() as progress:
            late, freezing = said.late, progress.freezing
            found = release.looking(desk, plan, ledger, present, late=late, progress=freezing)
            look = looks.enter_context(found)
        _check_tally(plan, look.tally)
        question.check_somebody_hears(plan, look.tally)
        if look.tally.digest != shown:
            if shown and not said.yes:
                say("The lists, the templates or the incident have changed since you looked. Look again:")
            asked = _ask(look, said)
            if asked is None:
                looks.close()
                again = _edited(look)
                return _ask_and_release(*again, ledger, present, said, looks)
            good_until, shown = asked, look.tally.digest
        try:
            how = "yes" if said.yes else "question"
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
        if said.yes and plan.drafts != before.drafts:
            # A yes covers the words that were there; not those that somebody adds meanwhile.
            raise DecisionNeeded(f"{plan.incident.path} was changed by someone else in the meantime.")
    raise DecisionNeeded(f"{plan.incident.id} changed each time you looked.")


def _check_tally(plan: Plan, tally: Tally) -> None:
    """Refuse words for lists that hold nobody (InputError), and words that are stale (DecisionNeeded)."""
    from commcast.delivery.rows import check_not_empty

    for notice in tally.notices:
        check_not_empty(notice.notice, notice.counts)
    stale = [line.reason for line in plan.lines if not line.is_due and "--late" in line.reason]
    if stale and not tally.notices:
        raise DecisionNeeded(f"Update {plan.incident.latest.number} was not sent: {stale[0]}.")


def _show_plan(desk: Desk, plan: Plan, ledger: Ledger, said: VerbInput) -> ExitCode:
    """Show what would be released and sent; write and send nothing. Returns 78 if that cannot be sent."""
    tally = plan.tally()
    _check_tally(plan, tally)
    if said.as_json:
        show_json("plan", tally_document(plan, tally))
        return tell_unusable(desk, plan)
    whole = not sys.stdout.isatty()
    for line in question.full_text(desk, plan, tally, ledger, whole=whole):
        show(line)
    code = tell_unusable(desk, plan)
    without = "it would be refused" if code else question.in_words(tally)
    show_prose(f"Dry run: nothing was written, nothing was sent. Without it: {without}.")
    if not whole:
        show("To see every message, add: | less")
    return code


def _edited(look: Look) -> tuple[Desk, Plan]:
    """Let a person edit the draft in its file; return the plan that it makes then. Raises InputError."""
    from commcast.operations.release import plan_again

    while True:
        prompt.edit_file(look.desk.config.folder / look.plan.incident.path)
        try:
            return plan_again(look)
        except InputError as error:
            say(str(error))
            if not prompt.says_yes("Edit it again?"):
                raise


def _ask(look: Look, said: VerbInput) -> datetime | None:
    """Show what goes out and ask; return until when the yes counts, None if the words are to be edited.

    Raises DecisionNeeded for any other answer.
    """
    desk, plan, tally = look.desk, look.plan, look.tally
    asked_at = clock()
    good_until = look.good_until(asked_at)
    if said.yes:
        when = clock_of(desk.config, desk.now)
        warned = question.word_warnings(plan, tally)
        for line in [*rows_left_out(tally), *question.lasting_lines(desk, tally, when), *warned]:
            say(line)
        return good_until
    if not prompt.at_terminal():
        raise DecisionNeeded("There is no terminal to ask at, and no --yes: nothing was released.")
    for line in question.full_text(desk, plan, tally, look.ledger):
        say(line)
    question.check_lasts_no_longer(desk, tally)
    if good_until <= asked_at:
        raise DecisionNeeded(question.too_late(desk, good_until))
    count = sum(line.startswith("--- ") for line in messages(tally))
    ways = (
        f"v: {f'all {count} messages' if count > 1 else 'the whole message'}{', e: edit' * bool(plan.drafts)}"
    )
    say(f"This question is good until {good_until.astimezone(desk.config.zone):%H:%M:%S %Z}; {ways}.")
    while True:
        try:
            seconds = (good_until - clock()).total_seconds()
            answer = question.answer_to(tally, desk.config.send.confirm_above, seconds)
        except prompt.NothingTyped:
            raise DecisionNeeded(question.too_late(desk, good_until)) from None
        if answer == "yes":
            return good_until
        if answer == "e" and plan.drafts:
            return None
        if answer != "v":
            raise DecisionNeeded("No: nothing was released.")
        for line in messages(tally):
            say(line)


def _send_released(desk: Desk, plan: Plan, ledger: Ledger, said: VerbInput) -> ExitCode:
    """Send what was released before and has not gone yet; say so if all of it has."""
    from commcast.delivery.worker import stopping_on_interrupt
    from commcast.ledger.broadcasts import held_rows, open_broadcasts
    from commcast.operations.send import freeze_released, hand_over

    _check_not_stopped(plan)
    name = plan.incident.id
    with ledger.read() as connection:
        waits = open_broadcasts(connection, name) or held_rows(connection, name, desk.now)
    if not plan.deliveries and not waits:
        if stale := [line.reason for line in plan.lines if "--late" in line.reason]:
            raise DecisionNeeded(f"{name}: update {plan.incident.latest.number} was not sent: {stale[0]}")
        return _tell(desk, plan, ledger, said)
    with stopping_on_interrupt(ledger, name, clock), going_on_unread():
        with ProgressBar() as progress:
            worker = worker_for(desk, ledger, progress)
            freeze_released(desk, worker, plan)
            delivered = hand_over(desk, worker, plan)
        return _tell(desk, plan, ledger, said, delivered)


def _tell(
    desk: Desk,
    plan: Plan,
    ledger: Ledger,
    said: VerbInput,
    delivered: Delivered | None = None,
    released: Sequence[int] = (),
    text: str = "",
) -> ExitCode:
    """Show what became of the newest update, and what is left to do; return the command's exit code.

    `text` says what this command did, if it did not deliver.
    """
    from commcast.delivery.worker import Delivered

    delivered = delivered or Delivered()
    counted, is_ours = outcomes.count_newest(plan.incident, ledger)
    stands = outcomes.standing(counted, delivered, is_ours=is_ours)
    code = stands.exit_code(desk.config.send.tolerate)
    if said.as_json:
        document = outcomes.outcome_document(plan.incident, counted, list(released), delivered, code)
        show_json("send", document)
    else:
        show_prose(text or outcomes.what_happened(plan, released, delivered, counted))
        outcomes.show_outcomes(counted)
    outcomes.tell_trouble(plan.incident.id, stands)
    outcomes.tell_planned(desk, delivered)
    if released:
        outcomes.tell_held_back(desk, delivered)
    is_heard = delivered.handed_over or delivered.waiting or delivered.planned
    if released and is_heard and code is ExitCode.DONE and not plan.incident.latest.is_end:
        # At a question these warnings were shown before.
        outcomes.tell_promise(desk, plan, question.tick_warnings(desk, plan) if said.yes else ())
    return code


def send_written(place: Place, said: VerbInput) -> NoReturn:
    """Send an incident whose words were just written, or, for a dry run, show it.

    Raises typer.Exit with how that ended. If the ledger cannot be opened, the words are kept.
    """
    with ExitStack() as stack:
        with nullcontext() if said.dry_run else keeping_words(place.incident):
            ledger = stack.enter_context(ledger_of(place.desk, dry_run=said.dry_run))
        raise typer.Exit(send_incident(place, ledger, said))
