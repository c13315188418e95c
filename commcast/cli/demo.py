"""The command demo: plays one incident from its first message to its last."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.demo_desk import ZONE, DemoDesk, heart, make, wait
from commcast.cli.options import moment_or_now
from commcast.cli.output import BOLD, CYAN, DIM, show
from commcast.cli.present import NAMES, wrapped
from commcast.model.message import Unheard

if TYPE_CHECKING:
    from commcast.delivery.tally import AudienceTally, Tally
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident, Update
    from commcast.operations.desk import Desk


def demo(
    folder: Annotated[
        Path,
        typer.Option("--folder", "-C", help="Where to create the demo's desk; an older demo is replaced."),
    ] = Path("commcast-demo"),
    now: Annotated[
        str | None, typer.Option("--now", help="When the story starts, such as 2026-11-21T10:05+01:00.")
    ] = None,
) -> None:
    """Watch a whole incident from start to end: no account, no network, no prompts.

    Three audiences get the same facts in different words, by email and SMS, until it is over. All messages
    are written to files in the demo's folder.

    Example: commcast demo
    """
    tell(make(folder, moment_or_now(now)))


_LINES_ONLY_THEY_READ = 3
_HEADINGS = {
    1: "commcast declare: the cause is not known yet, and readers are told so",
    2: "commcast update: the cause is found, and there is a first estimate",
    3: "commcast update: nothing new, but the promise of {promise} is kept",
    4: "commcast update: the fix is in place, and is being watched",
    5: "commcast resolve: everyone who was told is told that it is over",
}
_NEXT = (
    ("report pay7", "what was promised and kept"),
    ("log pay7", "who was told what, and when"),
    ("declare payments --severity 2", "your turn, from a preset"),
    ("init ../my-desk", "a desk of your own"),
)
_SHOWN_IN_FULL = {1, 2, 5}


def tell(demo: DemoDesk) -> None:
    """Release the updates one by one, each at its own time, and show what readers get; then what to do."""
    from commcast.incidents.load import parse_incident
    from commcast.ledger.store import create_ledger, ledger_path
    from commcast.operations.desk import open_desk

    desk = open_desk(demo.folder, demo.now)
    name = demo.incident_path.relative_to(demo.folder).as_posix()
    whole = parse_incident(demo.incident_text, name, desk.config, demo.now)
    _say_what_this_is()
    ledger = create_ledger(ledger_path(demo.folder), desk.config.desk)
    try:
        promise, seen = None, set[str]()
        for update in whole.updates:
            if update.number > 1:
                wait(replace(desk, now=whole.update(update.number - 1).at), ledger, update.at)
            demo.incident_path.write_text(_text_until(demo.incident_text, whole, update), encoding="utf-8")
            promise = _one_moment(demo, replace(desk, now=update.at), ledger, update, promise, seen)
    finally:
        ledger.close()
    _show_end(demo, whole)


def _text_until(text: str, whole: Incident, update: Update) -> str:
    """Return the file as it stood when `update` was its last."""
    if update.number == len(whole.updates):
        return text
    lines = text.splitlines()
    return "\n".join(lines[: whole.update(update.number + 1).line - 1]).rstrip() + "\n"


def _one_moment(
    demo: DemoDesk, desk: Desk, ledger: Ledger, update: Update, promise: datetime | None, seen: set[str]
) -> datetime | None:
    """Release and send one update the way the verbs do, and show it; return what was promised."""
    from commcast.incidents.load import load_incident
    from commcast.operations.desk import make_plan
    from commcast.operations.release import looking, say_yes
    from commcast.operations.send import hand_over, make_worker

    incident = load_incident(demo.incident_path, desk.config, desk.now)
    plan = make_plan(desk, incident, ledger, present=[incident.id], as_if_released=True)
    worker = make_worker(desk, ledger, clock=lambda: desk.now, progress=Unheard())
    with looking(desk, plan, ledger, [incident.id], late=False, progress=worker.progress.freezing) as look:
        good_until, tally = look.good_until(desk.now), look.tally
        released = say_yes(look, how="yes", by="demo", good_until=good_until, clock=worker.clock)
    assert released is not None  # noqa: S101 - nobody else works at the demo's desk
    hand_over(desk, worker, released.plan)
    _show_moment(update, tally, promise, seen)
    return min((by for n in tally.notices for by in n.notice.next_update_by.values() if by), default=None)


def _show_moment(update: Update, tally: Tally, promise: datetime | None, seen: set[str]) -> None:
    heading = _HEADINGS[update.number].format(promise=_clock(promise) if promise else "")
    _show_heading(f"{_clock(update.at)}  {heading}")
    show(f"       {_told(tally)}", DIM)
    if update.number in _SHOWN_IN_FULL:
        for heading, lines in _readings(update, tally, seen):
            _show_heading(f"  {heading}", CYAN)
            for line in lines:
                show("\n".join(wrapped(line, "  |   ", "  | ")))


def _show_heading(text: str, style: str = BOLD) -> None:
    show("")
    show(text, style)


def _told(tally: Tally) -> str:
    """Return who is told by what, in one line."""
    told = [
        f"{NAMES[notice.notice.channel]}: " + ", ".join(f"{a.audience} {a.send}" for a in sent)
        for notice in tally.notices
        if (sent := [a for a in notice.audiences.values() if a.send])
    ]
    return "; ".join(told) + ("" if len(told) > 1 else "; no SMS for a routine update")


def _readings(update: Update, tally: Tally, seen: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield what each audience reads: the customers' messages first, then what only the others read."""
    mails, texts = _by_channel(tally, "email"), _by_channel(tally, "sms")
    customers = _body(mails["customers"])
    yield f"customers, email: {_subject(mails['customers'])}", heart(_text(mails["customers"]))
    for audience, text in texts.items():
        segments = text.segments // text.send
        yield f"{audience}, SMS of {segments} {'segment' if segments == 1 else 'segments'}", _body(text)
    for audience in ("executives", "support"):
        theirs = _only_theirs(update, _body(mails[audience]), customers, seen)
        if theirs:
            yield f"{audience}, email: the same facts, and what only they see", theirs


def _by_channel(tally: Tally, channel: str) -> dict[str, AudienceTally]:
    """Return the audiences that are told something on a channel."""
    return {
        audience.audience: audience
        for notice in tally.notices
        if notice.notice.channel == channel
        for audience in notice.audiences.values()
        if audience.sample is not None
    }


def _only_theirs(update: Update, lines: list[str], customers: list[str], seen: set[str]) -> list[str]:
    """Return the sentences that customers do not get and the screen has not shown yet, line by line."""
    known = {_value(each) for line in customers for each in _sentences(line)} | seen
    theirs = [" ".join(each for each in _sentences(line) if _value(each) not in known) for line in lines[1:]]
    inside = [line for line in theirs if update.internal and _value(update.internal) in _value(line)]
    shown = inside or [line for line in theirs if line][:_LINES_ONLY_THEY_READ]
    seen.update(_value(each) for line in shown for each in _sentences(line))
    return shown


def _sentences(line: str) -> list[str]:
    return re.split(r"(?<=[.!?]) ", line)


def _value(sentence: str) -> str:
    """Return what a sentence says behind its label."""
    return " ".join(sentence.partition(": ")[2].split() or sentence.split()).strip("“”").lower()


def _subject(audience: AudienceTally) -> str:
    return str(getattr(_content(audience), "subject", ""))


def _body(audience: AudienceTally) -> list[str]:
    lines = (line.removeprefix("- ") for line in _text(audience).partition("\n---\n")[0].splitlines())
    return [line for line in lines if line.strip()]


def _text(audience: AudienceTally) -> str:
    content = _content(audience)
    return str(getattr(content, "text", "") or getattr(content, "body", ""))


def _content(audience: AudienceTally) -> object:
    return audience.sample.content if audience.sample else None


def _clock(at: datetime) -> str:
    return f"{at.astimezone(ZONE):%H:%M}"


def _say_what_this_is() -> None:
    show("Card payments fail at Acme Pay. Watch three audiences being told.", BOLD)
    show("The clock is simulated; every message is written to a file, and nothing is sent.")


def _show_end(demo: DemoDesk, whole: Incident) -> None:
    from commcast.cli.status import show_status

    _show_heading("The desk afterwards")
    show_status(demo.folder, now=whole.latest.at + timedelta(minutes=1), incident=None)
    outbox = demo.folder / "outbox"
    mails, texts = len(list(outbox.glob("*.eml"))), len(list(outbox.glob("*.txt")))
    _show_heading(f"Open them: {mails} emails and {texts} SMS are in {outbox}")
    _show_heading("And now:")
    show(f"  cd {demo.folder}")
    program = program_name()
    width = len(program) + 35
    for rest, why in _NEXT:
        show(f"{f'  {program} {rest}'.ljust(width)}  # {why}")


def program_name() -> str:
    """Return how to run this program: with its whole path if no shell would find it."""
    found = shutil.which("commcast")
    started = Path(sys.argv[0])
    return "commcast" if found or started.name != "commcast" else str(started.absolute())
