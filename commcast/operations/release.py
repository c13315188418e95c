"""One look and one yes: what a person is shown is gathered once, and their yes releases exactly that.

From the look until the yes nothing is written. The yes is one transaction: releases, broadcasts, words and
rows, open to claims. It is refused if anything has changed that could change a word or a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from commcast.config.settings import CONFIG_NAME
from commcast.delivery.freeze import Keeper, begin_all, open_all
from commcast.delivery.tally import Tally
from commcast.errors import InputError, TryAgain
from commcast.files import FileSign, read_text_file, sign_of
from commcast.incidents.editor import fill_times, incidents_locked
from commcast.incidents.load import parse_incident, source_of
from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.bulk import Gathering
from commcast.ledger.fence import lift_stop_to_correct, read_fence
from commcast.ledger.releases import read_releases, record_release
from commcast.ledger.settle import current_owner
from commcast.ledger.store import Ledger, raise_generation
from commcast.model.incident import Channel, Incident
from commcast.model.release import Release
from commcast.operations.desk import Desk, Plan, make_plan, open_desk, with_releases
from commcast.plan.reminders import next_quiet
from commcast.signals import deferring_signals

# After this time at the question, the times in the messages are wrong.
QUESTION_STANDS = timedelta(minutes=10)
_MARGIN = timedelta(minutes=1)  # before a promise: the time until the last message has left
AT_ONCE = 100_000  # rows in one transaction; with more, other processes would wait too long


@dataclass(frozen=True, slots=True)
class Look:
    """What a person is shown before a yes: plan and tally, with the same rows and words kept for the yes.

    `signs` are those of the files it was made from. `present` are the ids of all incidents in the folder.
    """

    desk: Desk
    ledger: Ledger
    plan: Plan
    tally: Tally
    keeper: Keeper
    signs: tuple[FileSign, ...]
    present: Collection[str]
    late: bool

    def good_until(self, asked_at: datetime) -> datetime:
        """Return until when a yes counts: the times in the words are right, and no quiet hours have begun."""
        now, sms = self.desk.now, self.desk.config.channels.sms
        audiences = [audience for each in self.tally.notices for audience in each.audiences.values()]
        promised = [
            at
            for each in self.tally.notices
            for name, audience in each.audiences.items()
            if audience.send and each.notice.channel is Channel.EMAIL
            if (at := each.notice.next_update_by.get(name))
        ]
        promised += [audience.text_by for audience in audiences if audience.text_by]
        ends = [at - min(_MARGIN, (at - now) / 4) for at in promised if at > now]
        if sms and sms.quiet and self.plan.incident.latest.severity not in sms.wake_for:
            zones = {zone for audience in audiences for zone in audience.texted_in}
            ends += [next_quiet(now, sms.quiet, ZoneInfo(zone)) for zone in zones]
        return min([asked_at + QUESTION_STANDS, *ends])


@dataclass(frozen=True, slots=True)
class Released:
    """What a yes released: the plan as it stands now, and the numbers of its updates.

    `broadcasts` are still to be filled, () if all rows are in. `not_written` says why the file lacks its
    times. `signal` came during the yes and ended nothing: the caller raises it, as the words are released.
    """

    plan: Plan
    numbers: tuple[int, ...]
    broadcasts: tuple[Broadcast, ...] = ()
    not_written: str = ""
    signal: int = 0


@contextmanager
def looking(
    desk: Desk,
    plan: Plan,
    ledger: Ledger,
    present: Collection[str],
    *,
    late: bool,
    progress: Callable[[int], None],
) -> Iterator[Look]:
    """Read the lists and render every message once: counted for the question, and kept for the yes.

    Raises InputError if a list or template is wrong.
    """
    signs = _signs(desk, plan, desk.sign)
    with Gathering(ledger, desk.now) as gathering:
        notices = [each.notice for each in plan.deliveries]
        keeper = Keeper(gathering, notices, ledger.secret, desk.now, progress)
        tally = plan.tally(keeper)
        gathering.finish()
        yield Look(desk, ledger, plan, tally, keeper, signs, present, late)


def plan_again(look: Look) -> tuple[Desk, Plan]:
    """Return desk and plan as they are by now, as of the same moment: something has changed since the look.

    Raises InputError if a file is wrong by now.
    """
    folder, path = look.desk.config.folder, look.plan.incident.path
    desk = with_releases(open_desk(folder, look.desk.now), look.ledger)
    text = read_text_file(folder / path, folder=folder, name=path)
    incident = parse_incident(text, path, desk.config, desk.now, desk.released_at)
    plan = make_plan(desk, incident, look.ledger, present=look.present, as_if_released=True, late=look.late)
    return desk, plan


def released_by_others(look: Look) -> Release | None:
    """Return the release of somebody else that took all of this look's drafts; None if any is left."""
    with look.ledger.read() as connection:
        known = read_releases(connection, look.plan.incident.id)
    theirs = [known[number] for number in look.plan.drafts if number in known]
    return theirs[-1] if theirs and len(theirs) == len(look.plan.drafts) else None


def say_yes(
    look: Look, *, how: str, by: str, good_until: datetime, clock: Callable[[], datetime]
) -> Released | None:
    """Release what was looked at and open it to claims; None, with nothing written, if anything has changed.

    `how` and `by` say what kind of yes it was, and whose. With more than AT_ONCE rows the broadcasts stay
    closed until `fill`. Raises TimeOver after `good_until`, TryAgain, LedgerError; then nothing was released.
    """
    plan, owner, gathering = look.plan, current_owner(), look.keeper.gathering
    at_once = gathering.count <= AT_ONCE
    with incidents_locked(look.desk.config.folder), deferring_signals() as heard:
        with gathering.transaction() as connection:
            if not _still_holds(connection, look):
                return None
            if clock() >= good_until:
                raise TimeOver
            generation = raise_generation(connection)  # before the first message leaves
            _record(connection, look, how, by)
            broadcasts = _begin(connection, plan, owner, look.desk.now)
            if at_once:
                gathering.move_all(connection, broadcasts)
                _open(connection, look, broadcasts, owner)
        look.ledger.mark(generation)
        not_written = _write_times(look)
    return Released(
        replace(plan, history=plan.known.planned),
        plan.drafts,
        () if at_once else broadcasts,
        not_written,
        heard[0] if heard else 0,
    )


def fill(look: Look, released: Released) -> None:
    """Move the gathered rows into their broadcasts, and open these. Raises as `say_yes`."""
    if released.broadcasts:
        look.keeper.gathering.move_by_chunks(released.broadcasts)
        with look.ledger.write() as connection:
            _open(connection, look, released.broadcasts, current_owner())


class TimeOver(Exception):
    """The question was answered too late."""


def _still_holds(connection: Connection, look: Look) -> bool:
    """Return whether ledger and files are as they were when the words were made."""
    plan, config = look.plan, look.desk.config
    wrong = {each.composition for each in plan.history.wrong_words}
    path = config.folder / plan.incident.path
    return (
        read_fence(connection, plan.incident.id, wrong) == plan.known.fence
        and _signs(look.desk, plan, sign_of(config.folder / CONFIG_NAME)) == look.signs
        and source_of(read_text_file(path, folder=config.folder, name=plan.incident.path))
        == plan.incident.source
    )


def _record(connection: Connection, look: Look, how: str, by: str) -> None:
    plan = look.plan
    promised = [
        promise
        for line in plan.lines
        for name in line.notice.audiences
        if (promise := line.notice.next_update_by[name]) is not None
    ]
    for number in plan.drafts:
        record_release(
            connection,
            with_times(plan.incident),
            number,
            next_update_by=min(promised) if promised else None,
            how=how,
            by=by,
            now=look.desk.now,
        )


def with_times(incident: Incident) -> Incident:
    """Return the incident as its file will be once the times of its updates are written into it."""
    updates = tuple(update.model_copy(update={"at_written": True}) for update in incident.updates)
    return incident.model_copy(update={"updates": updates})


def _begin(connection: Connection, plan: Plan, owner: str, now: datetime) -> tuple[Broadcast, ...]:
    broadcasts = begin_all(connection, [each.notice for each in plan.deliveries], owner, now)
    if len(broadcasts) != len(plan.deliveries):
        raise TryAgain("another process is preparing this broadcast; nothing was released by this one")
    return broadcasts


def _open(connection: Connection, look: Look, broadcasts: Sequence[Broadcast], owner: str) -> None:
    plan, now = look.plan, look.desk.now
    if not open_all(connection, broadcasts, look.keeper.held_back, plan.history.wrong_words, owner, now):
        raise TryAgain("another process has taken this broadcast over, and sends it")
    if plan.history.correcting:
        lift_stop_to_correct(connection, plan.incident.id, owner, now)


def _write_times(look: Look) -> str:
    """Write each `at` that the file lacks; return why that failed: the ledger has it, so it comes later."""
    path = look.desk.config.folder / look.plan.incident.path
    times = {update.number: update.at for update in look.plan.incident.updates if not update.at_written}
    try:
        fill_times(path, times, locked=True)
    except InputError as error:
        return str(error)
    return ""


def _signs(desk: Desk, plan: Plan, of_config: FileSign) -> tuple[FileSign, ...]:
    """Return the signs of all files that words and readers are made from, except the incident's own."""
    config = desk.config
    names = {name for each in plan.deliveries for name in each.notice.audiences}
    known = sorted(names & config.audiences.keys())
    lists = [config.folder / config.audiences[name].recipients for name in known]
    paths = [*lists, *_files_in(config.folder / "templates")]
    return (of_config, *(sign_of(path) for path in paths))


def _files_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()
