"""From a template to the wire: the short way gives the bytes that the stdlib makes for that reader alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.model.message import CalendarFile, Email
from commcast.providers import mime
from commcast.rendering.compose import DeliveryKey, ReaderGroup, ReaderWords, build_message
from commcast.rendering.templates import Wording
from tests.support.desk import Bench, write_desk, write_incident
from tests.support.templates import group_of, readers, wordings

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
NAMES = st.sampled_from(["", "Dana", "Zoë Ünal", "李 雷", 'O"Neil, Sons', "x" * 90, "=?utf-8?q?x?="])


CALENDARS = st.none() | st.builds(
    CalendarFile, st.just("move1.ics"), st.text(min_size=1, alphabet=st.characters(codec="utf-8"))
)


def mail_of(words: ReaderWords, group: ReaderGroup, name: str, calendar: CalendarFile | None = None) -> Email:
    message = build_message(
        words,
        group.envelope,
        DeliveryKey("pay7", "update:1", Channel.EMAIL, "dana@example.com"),
        address="dana@example.com",
        name=name,
        secret=b"secret",
        now=NOW,
        calendar=calendar,
    )
    assert isinstance(message, Email)
    return message


def stuffed(raw: bytes) -> bytes:
    """Return a mail as SMTP carries it: a dot before each dot that begins a line (RFC 5321 4.5.2)."""
    return b"".join(b"." + line if line.startswith(b".") else line for line in raw.splitlines(keepends=True))


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(wordings(), st.lists(readers(), min_size=1, max_size=4), NAMES, CALENDARS)
def test_spliced_bytes_are_those_the_stdlib_makes_for_that_reader_alone(
    wording: Wording, people: list[Mapping[str, Any]], name: str, calendar: CalendarFile | None
) -> None:
    try:
        group = group_of(wording)
    except TemplateError:
        return
    for reader in people:
        try:
            alone = group.alone(reader)
        except TemplateError:
            continue
        mail = mail_of(group.words(reader), group, name, calendar)
        own = mime.by_stdlib(mail_of(ReaderWords(alone, ""), group, name, calendar))
        event(f"spliced: {mail.spliced is not None}")
        assert mime.build(mail) == own
        assert mime.wire(mail) == stuffed(own)


def test_an_error_for_one_reader_of_sixty_thousand_stops_before_the_first_mail(tmp_path: Path) -> None:
    """The words of reader 50,000 alone cannot be made: they are looked at before anything leaves."""
    people = [f"c{n}@example.com,,Customer {n}" for n in range(60_000)]
    people[49_999] = f"c49999@example.com,,{'Customer ' * 20}"
    write_desk(tmp_path, customers=people)
    write_incident(tmp_path)
    own = tmp_path / "templates" / "customers"
    own.mkdir(parents=True)
    subject = "{{ incident.title }}: what it means for you, {{ recipient.name }}, and when we speak again"
    (own / "email.txt.j2").write_text(
        f"{{% block subject %}}{subject}, {'in words that take their room, ' * 2}{{% endblock %}}\n"
        "{{ recipient.greeting }}\n{{ update.issue }}\n"
    )
    bench = Bench(tmp_path)
    with pytest.raises(TemplateError, match=r"subject has \d+ characters.* line 50001 of audience customers"):
        bench.send()
    assert not (tmp_path / "outbox").exists()
    assert Counter(row.state for row in bench.rows()) == {}
