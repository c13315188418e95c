"""What is still said after the end: the review by a person's yes, and the question how it is now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.plan.reminders import next_morning
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.terminal import run

LINK = "https://acme.example/reviews/pay7"


def ended(bench: Bench, **keys: str) -> None:
    """Tell an incident from its beginning to its end."""
    bench.send()
    more = update_text(bench.later(minutes=10), status="resolved", fixed="The release is back.", **keys)
    write_incident(bench.folder, at=START, more=more)
    bench.send()


def with_review(bench: Bench) -> None:
    path = bench.folder / "incidents/pay7.yaml"
    path.write_text(f"postmortem: {LINK}\n" + path.read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def told_of(bench: Bench, notice: str) -> set[str]:
    return {row.address for row in bench.rows() if row.notice == notice and row.state == "accepted"}


def test_a_tick_sends_no_review_that_nobody_released(bench: Bench) -> None:
    ended(bench)
    with_review(bench)
    before = len(bench.mails())
    bench.later(minutes=5)
    bench.tick()
    bench.tick()
    assert len(bench.mails()) == before


def test_a_person_sends_the_review_to_those_who_were_told_the_end(tmp_path: Path) -> None:
    write_desk(tmp_path)
    now = datetime.now(UTC).replace(microsecond=0)
    write_incident(tmp_path, at=now - timedelta(minutes=20))
    bench = Bench(tmp_path, now=now - timedelta(minutes=20))
    bench.send()
    end = update_text(bench.later(minutes=10), status="resolved", fixed="The release is back.")
    write_incident(tmp_path, at=now - timedelta(minutes=20), more=end)
    bench.send()
    write_list(tmp_path, "customers", "email,phone,name", ["new@example.com,,New", "ann@example.com,,Ann"])
    with_review(bench)
    before, texts = bench.mails(), bench.texts()
    run("send", "pay7", folder=tmp_path, expect=5)
    assert bench.mails() == before
    run("send", "--yes", folder=tmp_path)
    new = [path.read_text() for path in bench.mails() if path not in before]
    assert len(new) == 3
    assert all(LINK in mail and "Subject: [Review]" in mail for mail in new)
    assert bench.texts() == texts
    assert told_of(bench, "follow-up:review") == {"ann@example.com", "bob@example.com", "help@acme.example"}
    run("send", "pay7", "--yes", folder=tmp_path)
    run("tick", folder=tmp_path)
    assert len(bench.mails()) == len(before) + 3


def test_a_check_in_goes_in_the_morning_of_each_readers_zone_to_whom_the_owner_picked(tmp_path: Path) -> None:
    """START is a Saturday: Monday is the next working day."""
    write_desk(tmp_path)
    rows = [
        "ann@example.com,Ann,Asia/Tokyo",
        "bob@example.com,Bob,Europe/Berlin",
        "cat@example.com,Cat,America/New_York",
    ]
    write_list(tmp_path, "customers", "email,name,timezone", rows)
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    ended(bench, check_in="[customers]")
    seen: dict[str, datetime] = {}
    before = len(bench.mails())
    bench.now = START.replace(hour=12, minute=0)
    while bench.now < START + timedelta(days=4):
        bench.tick()
        for address in told_of(bench, "follow-up:check-in"):
            seen.setdefault(address, bench.now)
        bench.later(minutes=30)
    assert seen == {
        "ann@example.com": datetime(2026, 11, 23, 0, 0, tzinfo=UTC),
        "bob@example.com": datetime(2026, 11, 23, 8, 0, tzinfo=UTC),
        "cat@example.com": datetime(2026, 11, 23, 14, 0, tzinfo=UTC),
    }
    assert len(bench.mails()) == before + 3
    last = bench.mails()[-1].read_text()
    assert "Is all well for you since then?" in last.replace("=\n", "")


def test_nobody_is_asked_how_it_is_when_it_goes_on_again(bench: Bench) -> None:
    ended(bench, check_in="[customers]")
    bench.now = START + timedelta(days=1, hours=18)
    bench.tick()
    path = bench.folder / "incidents/pay7.yaml"
    again = update_text(
        bench.now, status="reopened", issue="It is back.", resolution="We look.", timeframe="unknown"
    )
    path.write_text(path.read_text() + again)
    bench.send()
    for _ in range(6):
        bench.later(hours=6)
        bench.tick()
    assert told_of(bench, "follow-up:check-in") == set()


def test_a_check_in_that_comes_days_too_late_is_left_out(bench: Bench) -> None:
    ended(bench, check_in="[customers]")
    bench.now = START + timedelta(days=9)
    bench.tick()
    assert told_of(bench, "follow-up:check-in") == set()


def test_the_last_mail_asks_once_whether_readers_were_kept_informed(tmp_path: Path) -> None:
    write_desk(tmp_path)
    config = tmp_path / "commcast.toml"
    url = 'feedback_url = "https://acme.example/f/{id}?from=mail"'
    config.write_text(config.read_text().replace("[contact]\n", f"[contact]\n{url}\n"))
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    first = [path.read_text() for path in bench.mails()]
    assert not any("well informed" in mail for mail in first)
    more = update_text(bench.later(minutes=10), status="resolved", fixed="The release is back.")
    write_incident(tmp_path, more=more)
    bench.send()
    for path in bench.mails()[3:]:
        mail = path.read_text().replace("=\n", "").replace("=3D", "=")
        assert "https://acme.example/f/pay7?from=mail&incident=pay7&answer=yes" in mail
        assert "from=mail&amp;incident=pay7&amp;answer=no" in mail
        links = [word for word in mail.split() if "acme.example/f" in word]
        assert not any("@" in link for link in links)
    assert not any("well informed" in path.read_text() for path in bench.texts())


def test_an_end_that_the_night_held_back_is_texted_in_the_morning(tmp_path: Path) -> None:
    """The promise of the words before it has long passed; an end promises nothing."""
    write_desk(tmp_path, sms='quiet = "21:00-08:00"\nwake_for = []')
    evening = START.replace(hour=19, minute=30)
    write_incident(tmp_path, at=evening)
    bench = Bench(tmp_path, now=evening)
    bench.send()
    at = bench.later(minutes=60)
    write_incident(
        tmp_path, at=evening, more=update_text(at, status="resolved", fixed="The release is back.")
    )
    bench.send()
    assert len(bench.texts()) == 2
    bench.now = START.replace(day=22, hour=7, minute=1)
    bench.tick()
    assert len(bench.texts()) == 4


@given(
    hours=st.integers(0, 20_000),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Auckland", "Etc/GMT-14"]
    ),
)
def test_a_morning_is_nine_on_a_working_day_after_the_end(hours: int, zone: str) -> None:
    at = START + timedelta(hours=hours)
    morning = next_morning(at, ZoneInfo(zone)).astimezone(ZoneInfo(zone))
    local = at.astimezone(ZoneInfo(zone))
    assert (morning.hour, morning.minute) == (9, 0)
    assert morning.weekday() < 5
    assert local.date() < morning.date() <= local.date() + timedelta(days=3)
