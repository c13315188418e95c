"""A message as its reader has it, with a calendar; and what only root can do in a test."""

from __future__ import annotations

import email
import email.policy
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar, Event


def parsed(path: Path) -> EmailMessage:
    """Return a mail of the outbox as a mail program reads it."""
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def words(mail: EmailMessage) -> str:
    """Return the text of a mail on one line."""
    part: Any = mail.get_body(("plain",))
    return " ".join(part.get_content().split())


def calendar_file(mail: EmailMessage) -> bytes | None:
    """Return the calendar file that came with a mail, None where none did."""
    found: list[Any] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    assert len(found) <= 1
    return bytes(found[0].get_payload(decode=True)) if found else None


def event_in(content: bytes) -> Event:
    """Return the one entry of a calendar file."""
    calendar = Calendar.from_ical(content)
    (status,) = [event["status"] for event in calendar.walk("VEVENT")]
    assert calendar["method"] == ("CANCEL" if status == "CANCELLED" else "PUBLISH")
    (event,) = calendar.walk("VEVENT")
    assert isinstance(event, Event)
    return event


def sequence(content: bytes) -> int:
    """Return the number of the version that a calendar file holds."""
    return int(str(event_in(content)["sequence"]))


@dataclass
class ReaderCalendar:
    """Takes calendar files in the order in which they come; one older than what it knows is ignored."""

    entries: dict[str, Event] = field(default_factory=dict)
    _known: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    def take(self, content: bytes) -> None:
        event: Any = event_in(content)
        uid, version = str(event["uid"]), (int(event["sequence"]), event["dtstamp"].dt)
        if version < self._known.get(uid, version):
            return
        self._known[uid] = version
        if event["status"] == "CANCELLED":
            self.entries.pop(uid, None)
        else:
            self.entries[uid] = event

    @property
    def times(self) -> list[tuple[datetime, datetime]]:
        """Return from when to when each entry lasts."""
        events: Any = self.entries.values()
        return [(event["dtstart"].dt, event["dtend"].dt) for event in events]


def as_root() -> tuple[str, ...]:
    """Return what to write before a command that only root may give."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return (sudo, "-n")
    pytest.fail("only root can do this; run the tests as root, or where sudo asks for no password")


def own_disk_options() -> str:
    """Return the mount options that make a file system ours, whoever mounts it."""
    return f"uid={os.geteuid()},gid={os.getegid()}"
