"""The command tick: runs one tick or a loop of them, or shows what a tick would do."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import (
    DryRunOption,
    FolderOption,
    JsonOption,
    duration,
    find_folder,
    moment_or_now,
)
from commcast.cli.outcomes import tell_signal, trouble_document
from commcast.cli.output import going_on_unread, picked, say, show, show_json, show_prose
from commcast.cli.present import NAMES, clock_in, notice_in_words
from commcast.cli.progress import ProgressBar, story_in_words
from commcast.cli.session import desk_to_read, desk_to_work, worker_for
from commcast.errors import CommcastError, ExitCode, InputError, Interrupted, LedgerError, gravest
from commcast.files import temporary_file
from commcast.model.incident import Channel
from commcast.signals import never_lost

if TYPE_CHECKING:
    from commcast.delivery.worker import Delivered
    from commcast.oncall.nudges import Nudge
    from commcast.operations.desk import Desk
    from commcast.operations.dry_run import Foreseen
    from commcast.operations.tick import Ticked
    from commcast.operations.wake import NudgeResult
    from commcast.plan.owed import Owed


def _nudged_in_words(nudged: NudgeResult) -> str:
    """Return who was nudged and why."""
    text = f"nudged {' and '.join(nudged.people)}".rstrip() + f": {why_in_words(nudged.nudges)}"
    came = delivered_in_words(nudged.delivered) if nudged.delivered else ""
    return f"{text} ({came})" if came else text


def why_in_words(nudges: Iterable[Nudge]) -> str:
    """Return why somebody is nudged, each reason once."""
    return " and ".join(dict.fromkeys(_WHY[nudge.why] for nudge in nudges))


_WHY = {
    "promise": "an update is due",
    "late": "a promise is broken",
    "untold": "nobody was reached",
    "provider": "a provider accepts nothing",
    "held": "a holding statement goes out",
    "draft": "a draft is waiting",
    "estimate": "an estimate has passed",
    "broken file": "its file is broken",
    "handover": "it is offered to somebody else",
    "taken": "it was taken over",
}


def delivered_in_words(delivered: Delivered, zone: tzinfo = UTC) -> str:
    """Return what one run did about an incident, "" for nothing."""
    parts = [f"{count} {kind}" for kind, count in sorted(delivered.outcomes.items()) if kind != "not_taken"]
    if delivered.lost:
        parts.append(f"{delivered.lost} unknown: an earlier run ended before the answer arrived")
    if delivered.held_back:
        all_of_them = "nobody was told: all " if delivered.nobody_heard else ""
        parts.append(f"{all_of_them}{delivered.held_back} already got the most messages allowed per hour")
    if delivered.expired:
        parts.append(f"{delivered.expired} not told: the promise in their message had passed")
    if left := delivered.waiting - delivered.planned:
        parts.append(f"{left} waiting")
    if delivered.planned and delivered.planned_at:
        parts.append(f"{delivered.planned} to follow at {delivered.planned_at.astimezone(zone):%H:%M %Z}")
    if delivered.stopped_by and delivered.waiting:
        parts.append(f"stopped by {delivered.stopped_by}")
    for each in delivered.taken_over:
        parts.append(f"{each.provider} stopped accepting messages ({each.why}), {each.by} took over the rest")
    for trouble in delivered.troubles:
        parts.append(f"{trouble.provider} {'refuses us' if trouble.refuses else 'is down'}: {trouble.why}")
    about = dict.fromkeys(notice_in_words(notice, number) for notice, number in delivered.frozen)
    return f"{', '.join(about)}: {', '.join(parts)}" if about and parts else ", ".join(parts)


def as_document(ticked: Ticked, code: ExitCode) -> dict[str, Any]:
    """Return what a pass did as JSON."""
    from commcast.delivery.worker import Delivered

    stopped = {name: Delivered(stopped_by=by) for name, by in ticked.quiet.items()}
    return {
        "incidents": {name: _outcomes(done) for name, done in {**stopped, **ticked.delivered}.items()},
        "nudged": {
            name: {"nudges": [nudge.id for nudge in nudged.nudges], "unreached": nudged.unreached}
            for name, nudged in ticked.nudged.items()
        },
        "late": {name: [_owed_document(each) for each in late] for name, late in ticked.late.items()},
        "faults": _faults(ticked.errors),
        "exit_code": int(code),
    }


def _owed_document(each: Owed) -> dict[str, Any]:
    return {"audience": each.audience or None, "owed": each.word.value, "by": each.by}


def _outcomes(delivered: Delivered) -> Mapping[str, Any]:
    return {
        "outcomes": {str(kind): count for kind, count in delivered.outcomes.items()},
        **picked(delivered, "lost", "waiting", "planned", "stopped_by"),
        **trouble_document(delivered),
    }


def _faults(errors: Mapping[str, CommcastError]) -> dict[str, list[str]]:
    return {path: str(error).splitlines() for path, error in errors.items()}


def _faults_in_words(errors: Mapping[str, CommcastError]) -> list[str]:
    return [text if path in (text := str(error)) else f"{path}: {text}" for path, error in errors.items()]


def show_foreseen(folder: Path | None, now: datetime, as_json: bool) -> ExitCode:
    """Show what a tick would do at `now`, and return the exit code; nothing is written.

    Raises what opening a desk raises, and InputError if there are no files.
    """
    from commcast.operations.dry_run import Foreseen, foresee
    from commcast.operations.status import doubt_of

    with desk_to_read(folder, now) as (desk, ledger):
        doubt = doubt_of(desk, ledger)
        if doubt and ledger is None:
            raise LedgerError(doubt)
        found = foresee(desk, ledger) if ledger is not None else Foreseen()
    if as_json:
        show_json("tick-dry-run", _document(found))
    else:
        for line in _lines(found):
            show_prose(line)
        for line in _faults_in_words(found.errors):
            say(line)
    return gravest([*(error.exit_code for error in found.errors.values()), *[ExitCode.LEDGER] * bool(doubt)])


def _lines(found: Foreseen) -> Iterator[str]:
    from commcast.model.history import way_on

    for each in found.waking:
        who = " and ".join(each.people) or "nobody: no [people] in commcast.toml"
        yield f"{each.incident}: would nudge {who}: {why_in_words([each.nudge])}"
    for coming in found.coming:
        notice = notice_in_words(coming.notice, coming.number)
        by = NAMES[Channel(coming.channel)]
        yield f"{story_in_words(coming.incident)}: would send {notice} by {by} to {coming.deliveries:,}"
    for incident, who in found.stopped.items():
        yield f"{incident}: stopped by {who}; lift it with: {way_on(incident, who)}"
    if not (found.waking or found.coming):
        yield "A tick would send nothing."


def _document(found: Foreseen) -> dict[str, Any]:
    return {
        "would_send": [
            {"incident": incident, "notice": notice, "channel": channel, "send": deliveries}
            for incident, notice, _, channel, deliveries in found.coming
        ],
        "would_nudge": [
            {
                **picked(each, "incident", "people"),
                "nudge": each.nudge.id,
                **picked(each.nudge, "why", "line"),
            }
            for each in found.waking
        ],
        "stopped": found.stopped,
        "faults": _faults(found.errors),
    }


_ENDED_BY_SIGNAL = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED})


def run_loop(
    one_pass: Callable[[], ExitCode], every: float, lasting: float, is_closed: Callable[[], bool]
) -> ExitCode:
    """Run passes until `lasting` seconds are over, `is_closed`, or a signal arrives; return the exit code.

    They start `every` seconds, counted from the first: a slow pass does not shift the later ones. None starts
    more than `lasting` seconds after the first.
    """
    codes: list[ExitCode] = []
    start = time.monotonic()
    with never_lost() as raise_again:
        while True:
            codes.append(one_pass())
            if codes[-1] in _ENDED_BY_SIGNAL:
                return codes[-1]
            due = next_step(time.monotonic() - start, every)
            if is_closed() or due > lasting:
                return loop_code(codes)
            raise_again()
            time.sleep(max(start + due - time.monotonic(), 0.0))


def next_step(passed: float, every: float) -> float:
    """Return when the next pass is due, in seconds from the first; missed passes are skipped."""
    return (passed // every + 1) * every


def loop_code(codes: Sequence[ExitCode]) -> ExitCode:
    """Return the exit code of a loop: the gravest of its passes; "try again" counts only from the last."""
    return gravest([*(code for code in codes if code is not ExitCode.TRY_AGAIN), *codes[-1:]])


def tick(
    loop: Annotated[str | None, typer.Option("--loop", help="Repeat at this interval, such as 1m.")] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Stop the loop after this time, such as 5h.")
    ] = None,
    until_closed: Annotated[
        bool,
        typer.Option("--until-closed", help="Stop the loop when no incident is open and nothing is pending."),
    ] = False,
    dry_run: DryRunOption = False,
    now: Annotated[
        str | None, typer.Option("--now", help="With --dry-run: what a tick would send at this time.")
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Send released updates and everything else that is due; for cron. Running it twice, or late, is safe.

    It sends released updates, reminders, nudges and, if [silence] says so, holding statements; never a draft.
    It prints nothing if nothing happened; without a terminal, a lasting problem is repeated once an hour. A
    broken file is reported (exit 2) and stops only its own incident. It exits with 4 if something that was
    promised to readers is still late. If it exits with 0 or 1 it requests heartbeat_url, if commcast.toml
    sets one. A loop exits with the most serious code of its passes; "try again" (75) counts only from the
    last one. If a pass takes longer than the interval, the passes it missed are skipped.

    Example: commcast tick -C /srv/desk

    Example: commcast tick --loop 1m --until-closed
    """
    if dry_run:
        raise typer.Exit(show_foreseen(folder, moment_or_now(now), as_json))
    if now is not None:
        raise InputError("--now needs --dry-run: a real tick always runs now")
    if (for_ is not None or until_closed) and loop is None:
        option = "--until-closed" if until_closed else "--for"
        raise InputError(f"{option} needs --loop")
    if loop is None:
        with _remembered(folder) as talk:
            code = _pass_in_loop(folder, talk, as_json)
        raise typer.Exit(code)
    if as_json:
        raise InputError("--json describes one pass: leave out --loop")
    try:
        talk, every = RepeatFilter(), duration(loop, "--loop").total_seconds()
        lasting = duration(for_, "--for").total_seconds() if for_ else math.inf
        is_closed = (lambda: _is_closed(folder)) if until_closed else (lambda: False)
        raise typer.Exit(run_loop(lambda: _pass_in_loop(folder, talk), every, lasting, is_closed))
    except KeyboardInterrupt:
        words = "Interrupted: the loop has ended; the next tick continues where it stopped."
        raise Interrupted(words, ExitCode.INTERRUPTED) from None


_SAID_AGAIN = 3600.0  # seconds


@dataclass
class RepeatFilter:
    """Says what lasts once, and again if it comes back or after an hour; `last` has when, by line."""

    last: dict[str, dict[str, float]] = field(default_factory=dict)

    def faults(self, text: str, about: str = "files") -> None:
        if news := self.news(text.splitlines(), about):
            say("\n".join(news))

    def news(self, lines: Sequence[str], about: str) -> list[str]:
        """Return which of the lines about one thing are to be said now; others about it are forgotten."""
        now, before = time.time(), self.last.get(about, {})
        news = [line for line in lines if not 0 <= now - before.get(line, -math.inf) < _SAID_AGAIN]
        self.last[about] = {line: now if line in news else before[line] for line in lines}
        return news


@contextmanager
def _remembered(folder: Path | None) -> Iterator[RepeatFilter]:
    """Yield what earlier ticks said where nobody looks on: cron mails every line of every minute.

    At a terminal, and in a CI job, whose log stands alone, nothing is left out.
    """
    if sys.stderr.isatty() or os.environ.get("CI"):
        yield RepeatFilter()
        return
    path, talk, before = find_folder(folder) / ".commcast" / "said.json", RepeatFilter(), ""
    with suppress(OSError, ValueError):
        before = path.read_text(encoding="utf-8")
        talk.last = json.loads(before)
    yield talk
    if (said := json.dumps(talk.last)) != before:
        with suppress(OSError), temporary_file(path.parent, said.encode(), 0o600) as written:
            written.replace(path)


def _pass_in_loop(folder: Path | None, talk: RepeatFilter, as_json: bool = False) -> ExitCode:
    """Run one pass; a fault that may be fixed by the next one does not end the loop."""
    try:
        return _pass(folder, as_json, talk)
    except (LedgerError, Interrupted):
        raise
    except CommcastError as error:
        if as_json:
            raise
        talk.faults(str(error))
        return error.exit_code


def _is_closed(folder: Path | None) -> bool:
    """Return, and say, whether a loop has nothing left to wait for; an unreadable file may be open."""
    from commcast.operations.tick import is_anything_open

    try:
        with desk_to_work(folder) as (desk, ledger):
            is_open = is_anything_open(desk, ledger)
    except LedgerError:
        raise
    except CommcastError:
        return False
    if not is_open:
        show("No incident is open and nothing is pending: the loop has ended.")
    return not is_open


def _pass(folder: Path | None, as_json: bool, talk: RepeatFilter) -> ExitCode:
    from commcast.operations.tick import tick as run_tick

    bar = ProgressBar(in_log=False)
    with desk_to_work(folder) as (desk, ledger), bar as progress, going_on_unread():
        ticked = run_tick(desk, ledger, lambda: worker_for(desk, ledger, progress))
    with going_on_unread():
        code = _tell(desk, ticked, as_json, talk)
        talk.faults("" if ticked.late else _beat(desk, code), "heartbeat")
        return code


def _beat(desk: Desk, code: ExitCode) -> str:
    """Tell the monitor that this pass succeeded; return why that failed, else ""."""
    settings = desk.config.tick
    if not settings.heartbeat_url:
        return ""
    from commcast.oncall.heartbeat import WENT_WELL, ping, url_of

    if code not in WENT_WELL:
        return ""
    url = url_of(settings.heartbeat_url, os.environ)
    if not url:
        return f"Heartbeat: {settings.heartbeat_url.removeprefix('env:')} is not set where commcast runs"
    why = ping(url, private=settings.heartbeat_private)
    return f"Heartbeat: {why}. The tick itself is done." if why else ""


def _tell(desk: Desk, ticked: Ticked, as_json: bool, talk: RepeatFilter) -> ExitCode:
    from commcast.ledger.tables import OWN_STORY

    code = ticked.exit_code(desk.config.send.tolerate)
    faults = _faults_in_words(ticked.errors)
    faults += [f"{name}: {nudged.unreached}" for name, nudged in ticked.nudged.items() if nudged.unreached]
    talk.faults("\n".join(faults))
    if as_json:
        show_json("tick", as_document(ticked, code))
    else:
        for incident, nudged in ticked.nudged.items():
            waits = nudged.delivered is not None and nudged.delivered.waiting  # it is made anew next time
            if not nudged.unreached and not waits:
                show_prose(f"{incident}: {_nudged_in_words(nudged)}")
        for incident, delivered in ticked.delivered.items():
            words = delivered_in_words(delivered, desk.config.zone)
            news = [f"{story_in_words(incident)}: {words}"] if _is_news(delivered) else []
            for line in news if _has_happened(delivered) else talk.news(news, incident):
                show_prose(line)
            tell_signal(incident.removeprefix(OWN_STORY), delivered)
        for incident, late in ticked.late.items():
            since = clock_in(desk.config.zone, min(each.by for each in late), desk.now)
            words = f"{incident}: late since {since}; see: commcast status --overdue"
            talk.faults(words, f"late:{incident}")
    return code


def _is_news(delivered: Delivered) -> bool:
    """Return whether something happened, or a provider is in trouble: a stop is not news every minute."""
    return bool(_has_happened(delivered) or delivered.troubles or delivered.taken_over)


def _has_happened(delivered: Delivered) -> bool:
    return any((delivered.handed_over, delivered.lost, delivered.expired, delivered.held_back))
