"""Whom readers reach, and when: open hours as clocks show them, and the contact of each audience."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.contact import OpenContact, contact_for
from commcast.model.hours import opens_at, parse_hours
from tests.support.values import config_of

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = "Mon-Fri 08:00-18:00, Sat 09:00-12:00"


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        (OFFICE, "2026-11-20T08:00", ""),  # a Friday
        (OFFICE, "2026-11-20T17:59:59", ""),
        (OFFICE, "2026-11-20T18:00", "2026-11-21T09:00"),
        (OFFICE, "2026-11-21T03:09", "2026-11-21T09:00"),
        (OFFICE, "2026-11-21T12:00", "2026-11-23T08:00"),
        (OFFICE, "2026-11-23T07:59", "2026-11-23T08:00"),
        ("mon 8:00-18:00", "2026-11-23T18:00", "2026-11-30T08:00"),
        ("Sat–Mon 10:00–12:00", "2026-11-23T11:00", ""),
        ("Sat-Mon 10:00-12:00", "2026-11-23T12:00", "2026-11-28T10:00"),
        # Through the night: open on the morning of the next day, too.
        ("Sun 22:00-06:00", "2026-11-23T05:59", ""),
        ("Sun 22:00-06:00", "2026-11-23T06:00", "2026-11-29T22:00"),
        ("Mon-Sun 00:00-24:00", "2026-11-22T23:59:59", ""),
        ("24/7", "2026-11-22T03:00", ""),
        ("", "2026-11-22T03:00", ""),
        # Clocks go back at 03:00 on 25 Oct 2026, and forward at 02:00 on 28 Mar 2027.
        ("Mon-Sun 08:00-18:00", "2026-10-24T18:00", "2026-10-25T08:00"),
        ("Mon-Sun 08:00-18:00", "2027-03-27T18:00", "2027-03-28T08:00"),
        ("Sun 02:30-04:00", "2027-03-28T01:59", "2027-03-28T03:30"),  # 02:30 does not come
        ("Sun 02:30-04:00", "2026-10-25T02:29", "2026-10-25T02:30"),  # and here it comes twice
    ],
)
def test_when_it_opens(hours: str, now: str, opens: str) -> None:
    assert opens_at(parse_hours(hours), local(now).astimezone(UTC), BERLIN) == (
        local(opens) if opens else None
    )


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Mon-Fri",
            "8-18",
            "Mon 8-18",
            "Mon-Fri 08:00",
            "Mo-Fr 08:00-18:00",
            "Mon 08:00-08:00",
            "Mon,Tue 8:00-9:00",
        ),
        *(
            "Mon 24:00-08:00",
            "Mon 08:60-09:00",
            "Mon 25:00-26:00",
            "Mon 08:00-24:01",
            "Mon 08:00-18:00,",
            "Mon ٠٨:00-18:00",
        ),
    ],
)
def test_hours_that_nobody_can_read_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape('; write "Mon-Fri 08:00-18:00, Sat 09:00-12:00", or "24/7"')
    ):
        parse_hours(text)


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES = st.integers(0, 1439).map(lambda each: f"{each // 60:02}:{each % 60:02}")
PARTS = st.builds("{}-{} {}-{}".format, st.sampled_from(DAYS), st.sampled_from(DAYS), MINUTES, MINUTES)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])


@given(st.text(max_size=40) | st.lists(PARTS, max_size=3).map(", ".join))
def test_any_text_is_hours_or_refused(text: str) -> None:
    try:
        spans = parse_hours(text)
    except ValueError as error:
        assert "; write " in str(error)
    else:
        assert all(0 <= each.weekday < 7 and 0 <= each.start < each.end <= 2880 for each in spans)


@given(st.lists(PARTS, min_size=1, max_size=3), st.integers(0, 730 * 24 * 60), ZONES)
def test_it_is_closed_until_it_opens_and_open_then(parts: list[str], minute: int, name: str) -> None:
    try:
        spans = parse_hours(", ".join(parts))
    except ValueError:
        return
    zone, now = ZoneInfo(name), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    opens = opens_at(spans, now, zone)
    if opens is not None:
        assert now < opens <= now + timedelta(days=8)
        assert opens_at(spans, opens, zone) is None
        between = now + (opens - now) * 0.999
        assert opens_at(spans, between, zone) == opens


PUBLIC = {
    "reply_to": "help+{id}@acme.example",
    "phone": "+49 30 1",
    "hours": OFFICE,
    "after_hours": "leave a message",
}
NIGHT, DAY = local("2026-11-21T03:09"), local("2026-11-20T10:00")
OPENS = local("2026-11-21T09:00")
REPLY = PUBLIC["reply_to"]


@pytest.mark.parametrize(
    ("contact", "audience", "now", "found"),
    [
        (PUBLIC, "customers", DAY, OpenContact(REPLY, "+49 30 1", OFFICE)),
        (PUBLIC, "customers", NIGHT, OpenContact(REPLY, "", OFFICE, OPENS, "leave a message")),
        (PUBLIC | {"hours": ""}, "customers", NIGHT, OpenContact(REPLY, "+49 30 1")),
        # Who may reply needs no word that they may reply.
        (
            PUBLIC | {"after_hours": "reply to this mail"},
            "customers",
            NIGHT,
            OpenContact(REPLY, "", OFFICE, OPENS),
        ),
        (
            PUBLIC | {"after_hours": "Please reply to this email."},
            "customers",
            NIGHT,
            OpenContact(REPLY, "", OFFICE, OPENS),
        ),
        (
            {"hours": OFFICE, "after_hours": "reply to this mail"},
            *("customers", NIGHT, OpenContact("", "", OFFICE, OPENS, "reply to this mail")),
        ),
        # Its own table goes before the general one, key by key; our own people only have theirs.
        (
            PUBLIC | {"customers": {"phone": "+49 30 2"}},
            "customers",
            DAY,
            OpenContact(REPLY, "+49 30 2", OFFICE),
        ),
        (
            PUBLIC | {"customers": {"hours": "24/7"}},
            "customers",
            NIGHT,
            OpenContact(REPLY, "+49 30 1", "24/7"),
        ),
        (PUBLIC, "support", DAY, OpenContact()),
        (PUBLIC | {"support": {"phone": "+49 30 3"}}, "support", NIGHT, OpenContact("", "+49 30 3")),
    ],
)
def test_how_the_readers_of_an_audience_reach_a_person(
    contact: dict[str, Any], audience: str, now: datetime, found: OpenContact
) -> None:
    assert contact_for(config_of(contact=contact), audience, now) == found
