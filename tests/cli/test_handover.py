"""handover and take: offered, replaced, taken; who is told; who is refused."""

from __future__ import annotations

import getpass
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from commcast.cli import prompt as asking
from commcast.ledger.oncall import take as record
from tests.support.desk import Bench, update_text, write_desk, write_incident
from tests.support.terminal import just_now, run
from tests.support.terminal import run_at_terminal as at_desk

PEOPLE = """\
[people.sam]
name = "Sam Okafor"
email = "env:SAM_MAIL"
phone = "+4915199999902"
[people.kim]
name = "Kim Lee"
email = "kim@acme.example"
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(getpass, "getuser", lambda: "dana")
    monkeypatch.setenv("SAM_MAIL", "sam@acme.example")
    write_desk(tmp_path, extra=PEOPLE)
    config = tmp_path / "commcast.toml"
    dana = 'name = "Dana Reyes"\n'
    config.write_text(config.read_text().replace(dana, dana + 'email = "dana@acme.example"\n'))
    write_incident(tmp_path, at=just_now())
    bench = Bench(tmp_path, now=just_now())
    bench.send()
    return bench


def told(bench: Bench) -> list[tuple[str, str]]:
    """Return to whom hand-overs were told, and by which subject or text, in the order they were written."""
    found = []
    for path in sorted((bench.folder / "outbox").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        text = path.read_text()
        if "[Nudge]" in text and (to := re.search(r"^To: .*?([\w.]+@[\w.]+)", text, re.MULTILINE)):
            subject = re.search(r"^Subject: (.*(?:\n .*)*)", text, re.MULTILINE)
            assert subject
            found.append((to[1], " ".join(subject[1].split())))
        elif " NUDGE " in text:
            found.append(("text", text))
    return found


def test_an_incident_moves_when_it_is_taken_and_both_are_told(bench: Bench) -> None:
    done = run("handover", "pay7", "--to", "sam", "--note", "watch db-eu-3", folder=bench.folder)
    assert done.stdout == (
        "pay7 is offered to sam. Until it is taken (commcast take pay7 --as sam) dana has it.\n"
    )
    assert "Told: Dana Reyes and Sam Okafor." in done.stderr
    subject = "[Nudge] Dana Reyes offers this to Sam Okafor: watch db-eu-3 (pay7)"
    assert {each for each in told(bench) if each[0] != "text"} == {
        ("dana@acme.example", subject),
        ("sam@acme.example", subject),
    }
    assert any("commcast take pay7 --as sam" in text for to, text in told(bench) if to == "text")
    assert "  dana has it" in run("status", folder=bench.folder).stdout
    taken = run("take", "--as", "sam", folder=bench.folder)
    assert taken.stdout == "sam now has pay7.\n"
    assert "not offered" not in taken.stderr
    subject = "[Nudge] Sam Okafor has taken this over from Dana Reyes (pay7)"
    assert told(bench).count(("dana@acme.example", subject)) == 1
    assert told(bench).count(("sam@acme.example", subject)) == 1
    assert "  sam has it" in run("status", folder=bench.folder).stdout


def test_only_whom_it_is_offered_to_reads_the_line_that_takes_it(bench: Bench) -> None:
    run("handover", "pay7", "--to", "sam", folder=bench.folder)
    mails = {
        to[1]: mail
        for path in (bench.folder / "outbox").iterdir()
        if "[Nudge]" in (mail := path.read_text())
        and (to := re.search(r"^To: .*?([\w.]+@[\w.]+)", mail, re.MULTILINE))
    }
    assert "    commcast take pay7 --as sam" in mails["sam@acme.example"]
    assert "commcast take" not in mails["dana@acme.example"]
    assert "    commcast status pay7" in mails["dana@acme.example"]


def test_a_tick_tells_nothing_of_it_twice(bench: Bench) -> None:
    run("handover", "pay7", "--to", "sam", folder=bench.folder)
    before = told(bench)
    run("tick", folder=bench.folder)
    assert told(bench) == before


def test_what_a_crash_kept_from_being_told_the_next_tick_tells(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commcast.cli.handover._tell", lambda *_: None)
    run("handover", "pay7", "--to", "sam", folder=bench.folder)
    assert told(bench) == []
    assert (
        "nudged Dana Reyes and Sam Okafor: it is offered to somebody else"
        in run("tick", folder=bench.folder).stdout
    )
    assert len(told(bench)) == 3


def test_a_second_offer_replaces_the_first(bench: Bench) -> None:
    run("handover", "pay7", "--to", "sam", folder=bench.folder)
    again = run("handover", "pay7", "--to", "kim", folder=bench.folder)
    assert "is offered to kim instead of sam" in again.stdout
    shown = run("status", folder=bench.folder).stdout
    assert "offered to kim" in shown
    assert "offered to sam" not in shown


def test_an_offer_to_who_has_it_withdraws_the_one_that_waits(bench: Bench) -> None:
    run("handover", "pay7", "--to", "sam", folder=bench.folder)
    done = run("handover", "pay7", "--to", "dana", folder=bench.folder)
    assert done.stdout == "dana has pay7 already; the offer to sam is withdrawn.\n"
    assert "offered" not in run("status", folder=bench.folder).stdout


def test_what_nobody_offered_may_be_taken_with_a_word(bench: Bench) -> None:
    done = run("take", "pay7", "--as", "Sam Okafor", folder=bench.folder)
    assert done.stdout == "sam now has pay7.\n"
    assert "You take it over from dana, who had not offered it to you." in done.stderr
    run("handover", "pay7", "--to", "kim", folder=bench.folder)
    other = run("take", "pay7", "--as", "dana", folder=bench.folder)
    assert "You take it over from sam, who had not offered it to you; it was offered to kim." in other.stderr


def test_a_login_says_who_takes_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "Kim")
    assert run("take", folder=bench.folder).stdout == "kim now has pay7.\n"
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    refused = run("take", folder=bench.folder, expect=2)
    assert "'root' is nobody of [people]; say who you are with --as; known: dana, sam, kim" in refused.stderr


def test_whom_nobody_knows_is_refused_with_the_known_names(bench: Bench) -> None:
    for arguments in (("handover", "pay7", "--to", "alex"), ("take", "pay7", "--as", "alex")):
        refused = run(*arguments, folder=bench.folder, expect=2)
        assert "'alex' is not a known person; known: dana, sam, kim" in refused.stderr


def test_a_person_without_an_address_is_said_to_have_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAM_MAIL")
    done = run("handover", "pay7", "--to", "sam", folder=bench.folder)
    assert "Note: SAM_MAIL is not set: the email of sam; set it where commcast runs" in done.stderr


def test_the_file_of_an_incident_may_be_broken(bench: Bench) -> None:
    (bench.folder / "incidents" / "pay7.yaml").write_text("title: [\n")
    done = run("take", "pay7", "--as", "sam", folder=bench.folder)
    assert "sam now has pay7" in done.stdout


def test_an_owner_named_after_it_was_taken_has_it(bench: Bench) -> None:
    """The file names dana from the beginning: naming her once more gives it back to her."""
    with bench.ledger.write() as connection:
        record(connection, "pay7", "sam", by="sam", now=just_now() + timedelta(seconds=20))
    assert "  sam has it" in run("status", folder=bench.folder).stdout
    more = ["update", "pay7", "--nothing-new", "Still at it.", "--next", "20m"]
    run(*more, "--owner", "dana", "--yes", folder=bench.folder)
    assert "  dana has it" in run("status", folder=bench.folder).stdout
    run("take", "pay7", "--as", "sam", folder=bench.folder)
    run(*more, "--yes", folder=bench.folder)
    assert "  sam has it" in run("status", folder=bench.folder).stdout


def test_what_is_over_needs_nobody(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(just_now(), status="resolved", fixed="Rolled back."))
    assert "is over" in run("handover", "pay7", "--to", "sam", folder=bench.folder, expect=2).stderr
    assert "no incident is open" in run("take", "--as", "sam", folder=bench.folder, expect=2).stderr


def test_a_note_is_one_sentence(bench: Bench) -> None:
    for note in ("a\nb", "a\tb", "a\x1b[31mb", "a\u202eb", "a" * 201):
        run("handover", "pay7", "--to", "sam", "--note", note, folder=bench.folder, expect=2)


def test_json_says_who_has_it(bench: Bench) -> None:
    document = json.loads(run("handover", "pay7", "--to", "sam", "--json", folder=bench.folder).stdout)
    assert (document["commcast"], document["owner"], document["offered_to"]) == ("duty", "dana", "sam")


def test_readers_inside_are_told_who_leads_now(bench: Bench) -> None:
    """The file still names dana: what support reads names who took it over."""
    config = bench.folder / "commcast.toml"
    config.write_text(config.read_text().replace("[audiences.support]", "[audiences.internal]"))
    run("take", "pay7", "--as", "sam", folder=bench.folder)
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(just_now(), nothing_new="Still at it."))
    shown = run("preview", "pay7", folder=bench.folder).stdout
    assert "Sam Okafor" in shown
    assert "Dana Reyes" not in shown


def test_who_is_nobody_known_is_asked_for_at_a_terminal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.setattr(asking, "at_terminal", lambda: True)
    done = at_desk(bench.folder, "take", "pay7", typed="alex\n\nsam\n")
    assert (done.exit_code, done.stdout) == (0, "sam now has pay7.\n")
    assert "Who are you? (dana, sam, kim)" in done.stderr
    assert "'alex' is not a known person" in done.stderr
