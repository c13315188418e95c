"""Lets the demo's cron run between two updates, a tick a minute, and shows what ticks do by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from commcast.cli.colour import BOLD, DIM, paint, show_painted
from commcast.cli.demo_desk import INCIDENT, ZONE
from commcast.cli.output import inert
from commcast.cli.present import wrapped
from commcast.progress import Unheard

if TYPE_CHECKING:
    from commcast.desk import Desk
    from commcast.ledger.store import Ledger
    from commcast.tick import Ticked

_MINUTE = timedelta(minutes=1)


def wait(desk: Desk, ledger: Ledger, until: datetime) -> None:
    """Tick at each minute between the desk's moment and `until`, and show who was woken and what went out."""
    from commcast.tick import tick
    from commcast.wiring import make_sender

    now = desk.now + _MINUTE
    while now < until:
        moment = replace(desk, now=now)
        sender = make_sender(moment, ledger, clock=lambda now=now: now, progress=Unheard())  # type: ignore[misc]
        for line in _lines(moment, tick(moment, ledger, lambda sender=sender: sender)):  # type: ignore[misc]
            show_painted(line)
        now += _MINUTE


def _lines(desk: Desk, ticked: Ticked) -> Iterator[str]:
    at = f"{desk.now.astimezone(ZONE):%H:%M}"
    if nudged := ticked.nudged.get(INCIDENT):
        from commcast.cli.tick_words import why_in_words

        yield ""
        yield paint(f"{at}  tick nudges {' and '.join(nudged.people)}: {why_in_words(nudged.nudges)}", BOLD)
        yield paint(f"       the line to paste: {inert(nudged.nudges[0].line)}", DIM)
    done = ticked.delivered.get(INCIDENT)
    if done is not None and done.handed_over:
        yield ""
        yield paint(f"{at}  tick: nobody wrote, and a holding statement goes out by itself", BOLD)
        for text in _newest_mail(desk):
            yield from wrapped(inert(text), "  |   ", "  | ")


def _newest_mail(desk: Desk) -> list[str]:
    """Return the lines of the last mail to a customer: what is so, and when they hear next."""
    mails = sorted((desk.config.folder / "outbox").glob("*-kim-bakery-example.eml"))
    mail = message_from_bytes(mails[-1].read_bytes(), policy=policy.default) if mails else None
    body = mail.get_body(("plain",)) if mail else None
    lines = body.get_content().splitlines() if body else []
    return [line for line in lines if line.startswith(("We have nothing new", "Next update"))]
