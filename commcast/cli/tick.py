"""Tick, --loop, --dry-run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import DryRunOption, FolderOption, JsonOption, moment_or_now
from commcast.cli.outcomes import tell_signal, trouble_document
from commcast.cli.output import going_on_unread, say, show, show_json, show_prose
from commcast.cli.present import NAMES, notice_in_words
from commcast.cli.progress import ProgressBar
from commcast.cli.session import desk_to_read, desk_to_work, worker_for
from commcast.errors import CommcastError, ExitCode, InputError, Interrupted, LedgerError, gravest
from commcast.model.incident import Channel
from commcast.model.times import parse_duration
from commcast.signals import never_lost

if TYPE_CHECKING:
    from commcast.delivery.deliver import Delivered
    from commcast.oncall.nudges import Nudge
    from commcast.operations.desk import Desk
    from commcast.operations.dry_run import Foreseen
    from commcast.operations.tick import Ticked
    from commcast.operations.wake import NudgeResult


def nudged_in_words(nudged: NudgeResult) -> str:
    """Return who was woken and for what."""
    why = why_in_words(nudged.nudges)
    text = f"nudged {' and '.join(nudged.people)}: {why}" if nudged.people else f"nudged: {why}"
    came = delivered_in_words(nudged.delivered) if nudged.delivered else ""
    return f"{text} ({came})" if came else text


def why_in_words(nudges: Iterable[Nudge]) -> str:
    """Return what somebody is woken for, each reason once."""
    return " and ".join(dict.fromkeys(_WHY[nudge.why] for nudge in nudges))


_WHY = {
    "promise": "word is due",
    "late": "a promise is broken",
    "held": "a holding statement goes out",
    "draft": "a draft waits",
    "estimate": "an estimate has passed",
    "broken file": "its file is broken",
    "handover": "it is offered to somebody else",
    "taken": "it was taken over",
}


def delivered_in_words(delivered: Delivered) -> str:
    """Return what one run did over an incident, "" for nothing."""
    parts = [f"{count} {kind}" for kind, count in sorted(delivered.outcomes.items()) if kind != "not_taken"]
    if delivered.lost:
        parts.append(f"{delivered.lost} unknown: an earlier run ended before the answer came")
    if delivered.held_back:
        all_of_them = "nobody hears it: all " if delivered.nobody_heard else ""
        parts.append(f"{all_of_them}{delivered.held_back} had as many messages as an hour allows")
    if delivered.expired:
        parts.append(f"{delivered.expired} not told: the promise in their words had passed")
    if left := delivered.waiting - delivered.planned:
        parts.append(f"{left} waiting")
    if delivered.planned and delivered.planned_at:
        parts.append(f"{delivered.planned} to follow at {delivered.planned_at:%H:%M} UTC")
    if delivered.stopped_by and delivered.waiting:
        parts.append(f"stopped by {delivered.stopped_by}")
    for each in delivered.taken_over:
        parts.append(f"{each.provider} took no more ({each.why}), {each.by} took over the rest")
    for trouble in delivered.troubles:
        parts.append(f"{trouble.provider} {'refuses us' if trouble.refuses else 'is down'}: {trouble.why}")
    about = dict.fromkeys(notice_in_words(notice, number) for notice, number in delivered.frozen)
    return f"{', '.join(about)}: {', '.join(parts)}" if about and parts else ", ".join(parts)


def as_document(ticked: Ticked, code: ExitCode) -> dict[str, Any]:
    """Return what a pass did as JSON."""
    return {
        "incidents": {
            **{name: _nothing(stopped_by) for name, stopped_by in ticked.quiet.items()},
            **{name: _outcomes(done) for name, done in ticked.delivered.items()},
        },
        "nudged": {
            name: {"nudges": [nudge.id for nudge in nudged.nudges], "unreached": nudged.unreached}
            for name, nudged in ticked.nudged.items()
        },
        "faults": {path: str(error).splitlines() for path, error in ticked.errors.items()},
        "exit_code": int(code),
    }


def _outcomes(delivered: Delivered) -> Mapping[str, Any]:
    return {
        "outcomes": {str(kind): count for kind, count in delivered.outcomes.items()},
        "lost": delivered.lost,
        "waiting": delivered.waiting,
        "planned": delivered.planned,
        "stopped_by": delivered.stopped_by,
        **trouble_document(delivered),
    }


def _nothing(stopped_by: str) -> Mapping[str, Any]:
    return {
        "outcomes": {},
        "lost": 0,
        "waiting": 0,
        "planned": 0,
        "stopped_by": stopped_by,
        "troubles": [],
        "taken_over": [],
    }


def fault_in_words(path: str, error: CommcastError) -> str:
    text = str(error)
    return text if path in text else f"{path}: {text}"


def show_foreseen(folder: Path | None, now: datetime, as_json: bool) -> ExitCode:
    """Show what a tick would do at `now`, and return the exit code; nothing is written.

    Raises what opening a desk raises, and InputError where there are no files.
    """
    from commcast.operations.dry_run import Foreseen, foresee

    with desk_to_read(folder, now) as (desk, ledger):
        found = foresee(desk, ledger) if ledger is not None else Foreseen()
    if as_json:
        show_json("tick-dry-run", _document(found))
    else:
        for line in _lines(found):
            show_prose(line)
        for path, error in found.errors.items():
            say(fault_in_words(path, error))
    return gravest(error.exit_code for error in found.errors.values())


def _lines(found: Foreseen) -> Iterator[str]:
    for each in found.waking:
        who = " and ".join(each.people) or "nobody: no [people] in commcast.toml"
        yield f"{each.incident}: would nudge {who}: {why_in_words([each.nudge])}"
    for coming in found.coming:
        notice = notice_in_words(coming.notice, coming.number)
        by = NAMES[Channel(coming.channel)]
        yield f"{coming.incident}: would send {notice} by {by} to {coming.deliveries:,}"
    for incident, who in found.stopped.items():
        yield f"{incident}: stopped by {who}; go on with: commcast resume {incident}"
    if not (found.waking or found.coming):
        yield "A tick would send nothing."


def _document(found: Foreseen) -> dict[str, Any]:
    return {
        "would_send": [
            {
                "incident": each.incident,
                "notice": each.notice,
                "channel": each.channel,
                "send": each.deliveries,
            }
            for each in found.coming
        ],
        "would_nudge": [
            {
                "incident": each.incident,
                "nudge": each.nudge.id,
                "why": each.nudge.why,
                "people": list(each.people),
                "line": each.nudge.line,
            }
            for each in found.waking
        ],
        "stopped": found.stopped,
        "faults": {path: str(error).splitlines() for path, error in found.errors.items()},
    }


_ENDED_BY_SIGNAL = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED})


@dataclass(frozen=True, slots=True)
class Loop:
    """Passes every so many seconds, counted from the first: one that takes long shifts no later one.

    `lasting` is after how many seconds no pass begins any more, None for never.
    """

    one_pass: Callable[[], ExitCode]
    every: float
    lasting: float | None = None

    def run(self, is_closed: Callable[[], bool]) -> ExitCode:
        """Run passes until the time is over, `is_closed`, or a signal came; return what they end in."""
        codes: list[ExitCode] = []
        start = time.monotonic()
        with never_lost() as raise_again:
            while True:
                codes.append(self.one_pass())
                if codes[-1] in _ENDED_BY_SIGNAL:
                    return codes[-1]
                due = next_step(time.monotonic() - start, self.every)
                if is_closed() or (self.lasting is not None and due > self.lasting):
                    return loop_code(codes)
                raise_again()
                time.sleep(max(start + due - time.monotonic(), 0.0))


def next_step(passed: float, every: float) -> float:
    """Return when the next pass is due, in seconds from the first; steps that were missed are left out."""
    return (passed // every + 1) * every


def loop_code(codes: Sequence[ExitCode]) -> ExitCode:
    """Return what a loop ends in: the gravest of its passes, where "try again" only counts from the last."""
    return gravest([*(code for code in codes if code is not ExitCode.TRY_AGAIN), *codes[-1:]])


LoopOption = Annotated[
    str | None, typer.Option("--loop", help="Run a pass each so often, such as 1m.", show_default=False)
]
ForOption = Annotated[
    str | None, typer.Option("--for", help="End the loop after so long, such as 5h.", show_default=False)
]

UntilClosedOption = Annotated[
    bool, typer.Option("--until-closed", help="End the loop when no incident is open and nothing waits.")
]


def tick(
    loop: LoopOption = None,
    for_: ForOption = None,
    until_closed: UntilClosedOption = False,
    dry_run: DryRunOption = False,
    now: Annotated[
        str | None,
        typer.Option(
            "--now", help="With --dry-run: what a tick would send at this time.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Send what is released and owed; for cron. Running it twice, or late, is safe.

    It sends what was released, reminders, nudges, and where [silence] says so holding statements of
    released words; never a draft. It prints nothing when there is nothing to tell. A broken file is named
    (exit 2) and stops only its own incident. A loop ends in the gravest code of its passes; "try again" (75)
    counts only when the last pass says so. A pass that takes longer than the loop's step leaves out the steps
    it missed. A pass that ends in 0 or 1 asks heartbeat_url of commcast.toml, if there is one.

    Example: commcast tick --loop 1m --until-closed
    """
    if dry_run:
        raise typer.Exit(show_foreseen(folder, moment_or_now(now), as_json))
    if now is not None:
        raise InputError("--now only shows: write it with --dry-run; what is sent is sent now")
    if (for_ is not None or until_closed) and loop is None:
        option = "--until-closed" if until_closed else "--for"
        raise InputError(f"{option} bounds a loop: write it with --loop 1m")
    if loop is None:
        code = _pass(folder, as_json, RepeatFilter())
    elif as_json:
        raise InputError("--json tells of one pass: leave out --loop")
    else:
        try:
            talk, lasting = RepeatFilter(), _length(for_, "--for") if for_ else None
            passes = Loop(lambda: _pass_in_loop(folder, talk), _length(loop, "--loop"), lasting)
            code = passes.run(lambda: until_closed and _is_closed(folder))
        except KeyboardInterrupt:
            words = "Interrupted: the loop has ended; the next tick goes on where it left."
            raise Interrupted(words, ExitCode.INTERRUPTED) from None
    raise typer.Exit(code)


@dataclass
class RepeatFilter:
    """Says each thing that is wrong once, and again only when it was gone: a loop does not repeat itself."""

    last: dict[str, list[str]] = field(default_factory=dict)

    def faults(self, text: str, about: str = "files") -> None:
        lines = text.splitlines()
        before = self.last.get(about, [])
        if news := [line for line in lines if line not in before]:
            say("\n".join(news))
        self.last[about] = lines


def _pass_in_loop(folder: Path | None, talk: RepeatFilter) -> ExitCode:
    """Run one pass; what a later one may find mended does not end the loop."""
    try:
        return _pass(folder, False, talk)
    except (LedgerError, Interrupted):
        raise
    except CommcastError as error:
        talk.faults(str(error))
        return error.exit_code


def _is_closed(folder: Path | None) -> bool:
    """Return, and say, whether a loop has nothing to wait for any more; what cannot be read may be open."""
    from commcast.operations.tick import is_anything_open

    try:
        with desk_to_work(folder) as (desk, ledger):
            is_open = is_anything_open(desk, ledger)
    except LedgerError:
        raise
    except CommcastError:
        return False
    if not is_open:
        show("No incident is open and nothing waits: the loop has ended.")
    return not is_open


def _pass(folder: Path | None, as_json: bool, talk: RepeatFilter) -> ExitCode:
    from commcast.operations.tick import tick as run_tick

    with desk_to_work(folder) as (desk, ledger), ProgressBar() as progress, going_on_unread():
        ticked = run_tick(desk, ledger, lambda: worker_for(desk, ledger, progress))
    with going_on_unread():
        code = _tell(desk, ticked, as_json, talk)
        talk.faults(_beat(desk, code), "heartbeat")
        return code


def _beat(desk: Desk, code: ExitCode) -> str:
    """Tell the monitor that this pass went well; return what kept it from hearing, "" for nothing."""
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
    code = ticked.exit_code(desk.config.send.tolerate)
    faults = [fault_in_words(path, error) for path, error in ticked.errors.items()]
    faults += [f"{name}: {nudged.unreached}" for name, nudged in ticked.nudged.items() if nudged.unreached]
    talk.faults("\n".join(faults))
    if as_json:
        show_json("tick", as_document(ticked, code))
    else:
        for incident, nudged in ticked.nudged.items():
            if not nudged.unreached:
                show_prose(f"{incident}: {nudged_in_words(nudged)}")
        for incident, delivered in ticked.delivered.items():
            if _is_news(delivered) and (news := delivered_in_words(delivered)):
                show_prose(f"{incident}: {news}")
            tell_signal(incident, delivered)
    return code


def _is_news(delivered: Delivered) -> bool:
    """Return whether something happened: that an incident is still stopped is no news every minute."""
    return bool(
        delivered.handed_over
        or delivered.lost
        or delivered.expired
        or delivered.held_back
        or delivered.troubles
        or delivered.taken_over
    )


def _length(text: str, option: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
