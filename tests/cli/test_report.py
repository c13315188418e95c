"""report, feedback and log: what was promised and kept, for whoever has to answer for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from commcast.ledger import tables as schema
from commcast.ledger.tables import stamp
from tests.support.scenario import FIRST, ReportedNight, night_of_pay7
from tests.support.terminal import every_byte, run


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    night_of_pay7(folder).close()
    return folder


def test_text_fits_a_terminal_and_begins_with_what_matters(told: Path) -> None:
    before = every_byte(told)
    lines = run("report", "pay7", folder=told).stdout.splitlines()
    assert every_byte(told) == before
    assert lines[0] == "Card payments fail in the EU"
    assert "Kept 18 of 21 promises, first word after 9 min, longest silence 31 min." in lines
    assert any("11:15" in line and "11 min late" in line for line in lines)
    assert any("24 texts, 24 segments, 1.71 in all" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_the_ledger_serves_when_the_file_is_gone(tmp_path: Path) -> None:
    night = night_of_pay7(tmp_path)
    night.close()
    before = run("report", "pay7", "--json", "--now", "2026-11-22T09:00Z", folder=tmp_path).stdout
    night.path.unlink()
    assert run("report", "pay7", "--json", "--now", "2026-11-22T09:00Z", folder=tmp_path).stdout == before


def test_json_is_one_stable_document(told: Path) -> None:
    document = json.loads(run("report", "pay7", "--json", folder=told).stdout)
    assert (document["commcast"], document["version"]) == ("report", 1)
    assert (document["promises"]["due"], document["promises"]["kept"]) == (21, 18)
    assert document["down_seconds"] == (2 * 60 + 9) * 60
    late = [each for each in document["promises"]["each"] if each["state"] == "late"]
    assert {each["late_seconds"] for each in late} == {11 * 60}


def test_markdown_is_for_the_review(told: Path) -> None:
    text = run("report", "pay7", "--markdown", folder=told).stdout
    assert text.startswith("## How we communicated: Card payments fail in the EU")
    assert "| 11:15 | customers, executives, support | 10:55 | 11 min late, at 11:26 |" in text


def test_a_hostile_title_makes_no_markup(tmp_path: Path) -> None:
    title = '"<b>x</b> | [a](http://evil.example) @all `c`"'
    ReportedNight(tmp_path, title=title).say("10:01", **FIRST)
    text = run("report", "pay7", "--markdown", folder=tmp_path).stdout
    assert r"\<b\>x\</b\> \| \[a\]\(http\://evil.example\) \@all \`c\`" in text.splitlines()[0]


def test_html_goes_to_a_file_or_to_stdout(told: Path, tmp_path: Path) -> None:
    run("report", "pay7", "--html", tmp_path / "r.html", "--now", "2026-11-22T09:00Z", folder=told)
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>")
    printed = run("report", "pay7", "--html", "-", "--now", "2026-11-22T09:00Z", folder=told).stdout
    assert printed.rstrip() == page.rstrip()


def test_a_page_that_cannot_be_written_is_no_crash(told: Path, tmp_path: Path) -> None:
    result = run("report", "pay7", "--html", tmp_path / "none" / "r.html", folder=told, expect=2)
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize("name", ["nothing1", "~pay7"])
def test_a_report_of_what_nobody_said_is_refused(name: str, told: Path) -> None:
    assert "nothing was said" in run("report", name, folder=told, expect=2).stderr


def test_two_ways_at_once_are_refused(told: Path) -> None:
    run("report", "pay7", "--json", "--markdown", folder=told, expect=2)
    run("report", "pay7", "--since", "90d", folder=told, expect=2)
    run("report", "--by", "audience", folder=told, expect=2)


def test_the_only_incident_needs_no_id_when_it_is_over(told: Path) -> None:
    assert run("report", folder=told).stdout == run("report", "pay7", folder=told).stdout


# --- the trend

NOW = "2026-12-20T12:00Z"


def test_the_trend_tells_deposits_and_withdrawals(told: Path) -> None:
    shown = run("report", "--since", "30d", "--now", NOW, folder=told).stdout.splitlines()
    assert shown[0] == "1 incident: kept 18 of 21 promises, 1 of 3 estimates held, 2 h 9 min down."
    assert any(line.split()[:3] == ["16", "Nov", "1"] and "18 of 21" in line for line in shown)
    assert max(map(len, shown)) <= 80


def test_the_trend_by_audience_and_month(told: Path) -> None:
    asked = ("report", "--since", "30d", "--now", NOW, "--by", "audience", "--per", "month")
    document = json.loads(run(*asked, "--json", folder=told).stdout)
    november = {each["audience"]: each for each in document["lines"] if each["from"] == "2026-11-01"}
    assert {name: (each["kept"], each["due"]) for name, each in november.items()} == {
        "customers": (6, 7),
        "executives": (6, 7),
        "support": (6, 7),
    }
    assert document["total"]["kept"] == 18
    assert max(map(len, run(*asked, folder=told).stdout.splitlines())) <= 80
    assert "| 1 Nov | customers |" in run(*asked, "--markdown", folder=told).stdout


def test_the_trend_as_a_page(told: Path, tmp_path: Path) -> None:
    run("report", "--since", "30d", "--now", NOW, "--html", tmp_path / "t.html", folder=told)
    assert "How Acme Pay communicated" in (tmp_path / "t.html").read_text()


def test_a_trend_over_nothing_says_so(told: Path) -> None:
    shown = run("report", "--since", "2d", "--now", NOW, folder=told).stdout
    assert "No incident" in shown
    run("report", "--since", "soon", folder=told, expect=2)


def test_a_choice_that_is_none_is_said_in_plain_words(told: Path) -> None:
    done = run("report", "--since", "30d", "--by", "audence", folder=told, expect=2)
    assert "--by: 'audence' is not known; write --by audience" in done.stderr
    done = run("report", "--since", "30d", "--per", "day", folder=told, expect=2)
    assert "--per: 'day' is not known; write --per week or --per month" in done.stderr


# --- feedback


def test_feedback_adds_up_and_stands_in_the_report(tmp_path: Path) -> None:
    night_of_pay7(tmp_path).close()
    assert "4 yes, 1 no" in run("feedback", "pay7", "--yes", "4", "--no", "1", folder=tmp_path).stdout
    assert "7 yes, 1 no" in run("feedback", "pay7", "--yes", "3", folder=tmp_path).stdout
    assert "7 yes, 1 no" in run("feedback", "pay7", folder=tmp_path).stdout
    assert json.loads(run("feedback", "pay7", "--json", folder=tmp_path).stdout)["yes"] == 7
    assert "Well informed?      7 yes, 1 no" in run("report", "pay7", folder=tmp_path).stdout
    assert ">88%<" in run("report", "pay7", "--html", "-", folder=tmp_path).stdout


@pytest.mark.parametrize(
    "counts", [("--yes", "-1"), ("--no", "-1"), ("--yes", "200"), ("--no", "99999999999")]
)
def test_absurd_counts_are_refused_and_change_nothing(counts: tuple[str, str], told: Path) -> None:
    run("feedback", "pay7", *counts, folder=told, expect=2)
    assert "0 yes, 0 no" in run("feedback", "pay7", folder=told).stdout


def test_more_answers_than_messages_are_refused_by_what_was_entered_before(tmp_path: Path) -> None:
    night_of_pay7(tmp_path).close()
    first = run("feedback", "pay7", "--yes", "200", folder=tmp_path, expect=2).stderr
    assert "write how many answered yes and no, " in first
    assert "last time" not in first
    run("feedback", "pay7", "--yes", "4", folder=tmp_path)
    again = run("feedback", "pay7", "--yes", "200", folder=tmp_path, expect=2).stderr
    assert "give only what came in since the last time" in again


def test_feedback_on_what_nobody_was_told_is_refused(told: Path) -> None:
    run("feedback", "nothing1", "--yes", "1", folder=told, expect=2)


# --- the log


def test_the_log_tells_who_was_told_when_by_whom_and_what_was_promised(told: Path) -> None:
    lines = run("log", "pay7", folder=told).stdout.splitlines()
    assert "21 Nov 10:01  update 1  email  customers   12 accepted  outbox   10:21" in lines
    assert "21 Nov 10:01  update 1  SMS    customers   12 accepted  outbox   -" in lines
    assert max(map(len, lines)) <= 80
    document = json.loads(run("log", "pay7", "--json", folder=told).stdout)
    first = document["messages"][0]
    assert first["first_accepted"] == first["last_accepted"] == "2026-11-21T09:01:00+00:00"
    assert (first["providers"], first["next_update_by"]) == (["outbox"], "2026-11-21T09:21:00+00:00")


def test_nudges_are_listed_apart_and_are_no_incident(told: Path) -> None:
    for incident in ([], ["pay7"]):
        shown = run("log", *incident, folder=told).stdout
        before, _, after = shown.partition("Told to our own people, of pay7:")
        assert "nudge" not in before
        assert after.count("nudge") == 2
    document = json.loads(run("log", "--json", folder=told).stdout)
    assert {each["incident"] for each in document["said"]} == {"pay7"}
    assert [each["by"] for each in document["nudges"]] == ["email", "command"]
    status = json.loads(run("status", "--json", folder=told).stdout)
    assert [each["id"] for each in status["incidents"]] == ["pay7"]


def test_what_waits_for_the_own_people_is_not_shown_as_being_sent(tmp_path: Path) -> None:
    night = night_of_pay7(tmp_path)
    with night.bench.ledger.write() as connection:
        of_people = schema.delivery.c.incident == "~pay7"
        connection.execute(update(schema.delivery).where(of_people).values(state="pending"))
    night.close()
    assert json.loads(run("status", "--json", folder=tmp_path).stdout)["sending"] == []


def test_a_message_that_took_a_while_shows_its_first_and_last_reader(tmp_path: Path) -> None:
    night = ReportedNight(tmp_path)
    night.say("10:01", **FIRST)
    later = stamp(datetime(2026, 11, 21, 9, 5, tzinfo=UTC) + timedelta(seconds=30))
    with night.bench.ledger.write() as connection:
        one = schema.delivery.c.key == "c0@example.com"
        connection.execute(update(schema.delivery).where(one).values(changed_at=later))
    night.close()
    assert "21 Nov 10:01-10:05  update 1" in run("log", "pay7", folder=tmp_path).stdout
