"""The demo's folder, and the clock it moves forward."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from email import message_from_bytes, policy
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from commcast.cli.output import BOLD, DIM, show
from commcast.cli.present import wrapped
from commcast.errors import Fault, InputError
from commcast.model.message import Unheard

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk
    from commcast.operations.tick import Ticked


ZONE = ZoneInfo("Europe/Berlin")
INCIDENT = "pay7"
_EXAMPLE_DAY = date(2026, 11, 21)
_MARK = ".commcast-demo"
_INSTANT = re.compile(r"2026-11-21T(\d\d):(\d\d)\+01:00")

# Its commcast.toml has {desk} for the id. The phone numbers in its lists are from ranges that Germany and the
# United Kingdom reserve for films and books.
_SHIPPED = Path(__file__).with_name("shipped_demo")


@dataclass(frozen=True, slots=True)
class DemoDesk:
    """A demo's folder and the text of its incident file, its times moved to the day before `now` or to it."""

    folder: Path
    incident_text: str
    now: datetime

    @property
    def incident_path(self) -> Path:
        return self.folder / "incidents" / f"{INCIDENT}.yaml"


def make(folder: Path, now: datetime) -> DemoDesk:
    """Make the desk in `folder`, replacing an older demo. Raises InputError if anything else is there."""
    text = moved(_example(), _day_of_story(now))
    _clear(folder)
    try:
        for name in ("audiences", "incidents", "templates", "presets"):
            (folder / name).mkdir(parents=True)
        (folder / _MARK).write_text(
            "Made by `commcast demo`, which replaces this folder when it runs again.\n"
        )
        (folder / ".gitignore").write_text("*\n")
        config = (_SHIPPED / "commcast.toml").read_text(encoding="utf-8").format(desk=secrets.token_hex(8))
        (folder / "commcast.toml").write_text(config, encoding="utf-8")
        for path in _SHIPPED.glob("audiences/*.csv"):
            (folder / "audiences" / path.name).write_bytes(path.read_bytes())
    except OSError as error:
        raise _cannot(folder, f"cannot be made: {error.strerror}") from None
    return DemoDesk(folder, text, now)


def moved(text: str, day: date) -> str:
    """Return the example with its story on another day: the same times on the clock."""

    def instant(found: re.Match[str]) -> str:
        at = datetime(day.year, day.month, day.day, int(found[1]), int(found[2]), tzinfo=ZONE)
        return at.isoformat(timespec="minutes")

    text = text.replace(_in_words(_EXAMPLE_DAY), _in_words(day))
    return _INSTANT.sub(instant, text)


def _in_words(day: date) -> str:
    return f"{day:%A} {day.day} {day:%B %Y}"


def _day_of_story(now: datetime) -> date:
    """Return the last day on which the whole story, until 11:30, is over."""
    local = now.astimezone(ZONE)
    return local.date() if local.hour >= 12 else local.date() - timedelta(days=1)


def _example() -> str:
    """Return the shipped example: package data in a wheel, else the checkout's own folder."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data" / "incidents", package.parent / "incidents"):
        if (folder / f"{INCIDENT}.yaml").is_file():
            return (folder / f"{INCIDENT}.yaml").read_text(encoding="utf-8")
    raise InputError(Fault("pay7.yaml", 0, 0, "the shipped example is missing", "install commcast again"))


def _clear(folder: Path) -> None:
    """Remove an older demo, and nothing but an older demo."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _cannot(folder, "exists and is not a folder")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not (folder / _MARK).is_file():
                raise _cannot(folder, "exists and is not a demo folder")
            shutil.rmtree(folder)
    except OSError as error:
        raise _cannot(folder, f"cannot be replaced: {error.strerror}") from None


def _cannot(folder: Path, what: str) -> InputError:
    return InputError(Fault(str(folder), 0, 0, what, "name another: commcast demo --folder DIR"))


_MINUTE = timedelta(minutes=1)


def wait(desk: Desk, ledger: Ledger, until: datetime) -> None:
    """Tick every minute from the desk's moment until `until`; show who was nudged and what went out."""
    from commcast.operations.send import make_worker
    from commcast.operations.tick import tick

    now = desk.now + _MINUTE
    while now < until:
        moment = replace(desk, now=now)
        worker = make_worker(moment, ledger, clock=lambda now=now: now, progress=Unheard())  # type: ignore[misc]
        _show(moment, tick(moment, ledger, lambda worker=worker: worker))  # type: ignore[misc]
        now += _MINUTE


def _show(desk: Desk, ticked: Ticked) -> None:
    at = f"{desk.now.astimezone(ZONE):%H:%M}"
    if nudged := ticked.nudged.get(INCIDENT):
        from commcast.cli.tick import why_in_words

        show(f"\n{at}  tick nudges {' and '.join(nudged.people)}: {why_in_words(nudged.nudges)}", BOLD)
        show(f"       the command to paste: {nudged.nudges[0].line}", DIM)
    done = ticked.delivered.get(INCIDENT)
    if done is not None and done.handed_over:
        show(f"\n{at}  tick: nobody has posted, so a holding statement goes out automatically", BOLD)
        for text in _newest_mail(desk):
            show("\n".join(wrapped(text, "  |   ", "  | ")))


def _newest_mail(desk: Desk) -> list[str]:
    """Return what a customer's newest email says first, and when the next update is due."""
    mails = sorted((desk.config.folder / "outbox").glob("*-kim-bakery-example.eml"))
    mail = message_from_bytes(mails[-1].read_bytes(), policy=policy.default) if mails else None
    body = mail.get_body(("plain",)) if mail else None
    return heart(body.get_content())[:2] if body else []


def heart(text: str) -> list[str]:
    """Return the paragraphs of an email's text between its greeting and its list of facts, or its foot."""
    lines = [line for line in text.splitlines() if line.strip()][1:]
    return [*takewhile(lambda line: not line.startswith("-"), lines)]
