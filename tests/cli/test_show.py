"""preview, status, log, report, templates: what is shown is true, fits, and touches nothing."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from commcast.cli import status as watching
from commcast.cli.log import Record, _table
from commcast.cli.preview import _result_of
from commcast.cli.status import Watch, picture
from commcast.config.load import load_config
from commcast.incidents import load
from commcast.ledger import tables as schema
from commcast.ledger.oncall import offer, take
from commcast.ledger.releases import record_history
from commcast.ledger.store import ledger_path
from commcast.ledger.tables import stamp
from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.report.story import Shape, Telling
from tests.support import terminal
from tests.support.desk import Bench, numbered, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, saying
from tests.support.scenario import FIRST, ReportedNight, night_of_pay7
from tests.support.terminal import at_terminal, declare, everything_in, in_one, outbox, run, run_at_terminal
from tests.support.values import cases, rows

bench = pytest.fixture(lambda tmp_path: terminal.bench_now(tmp_path))


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}
CHANGES |= {"os.truncate", "os.link", "os.symlink"}
ASKS = {"socket.connect", "socket.sendto", "socket.getaddrinfo"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture(scope="module", params=["closed", "write-ahead log"])
def untouched(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A desk at a mail server that would be spoken to, one update told and one a draft."""
    folder = tmp_path_factory.mktemp("desk")
    bench = terminal.bench_now(folder)
    bench.send()
    bench.edit("commcast.toml", 'provider = "outbox"', 'provider = "smtp"')
    bench.write(status="identified")
    bench.ledger.close()
    if request.param != "closed":  # the ledger is changed in a process that is killed
        if (child := os.fork()) == 0:
            other = Bench(folder)
            other.stop()
            other.resume()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (folder / ".commcast/ledger.db-wal").stat().st_size > 0
    return folder


def watched(desk: Path, *command: str) -> tuple[int, set[str]]:
    """Run a command; return its exit code, and what it did to the folder and the network."""
    seen: set[str] = set()

    def watch(event: str, given: tuple[Any, ...]) -> None:
        inside = bool(given) and isinstance(given[0], str | bytes) and str(desk) in os.fsdecode(given[0])
        opens = event == "open" and inside and (given[2] or 0) & WRITES
        if event in ASKS or opens or (inside and event in {"sqlite3.connect", *CHANGES}):
            seen.add(event)

    with terminal.audited(watch):
        return run_at_terminal(desk, *command).exit_code, seen


SHOWS = """
    preview pay7
    preview pay7 --html
    preview pay7 --json --audience customers
    send pay7 --dry-run
    declare Another --severity 1 --issue a --resolution b --timeframe unknown --dry-run
    update pay7 --issue c --dry-run
    resolve pay7 --fixed d --dry-run
    tick --dry-run
    status | log pay7 | report pay7 | lint | templates | recipients check
"""


def test_what_only_shows_touches_nothing(untouched: Path) -> None:
    before = everything_in(untouched)
    for command in (each for row in rows(SHOWS) for each in row):
        assert (command, *watched(untouched, *command.split())) == (command, 0, set())
        assert everything_in(untouched) == before, command
    code, seen = watched(untouched, "send", "pay7", "--yes")  # the watch is not blind
    assert (code, {"socket.connect", "sqlite3.connect"} <= seen) == (75, True)


def draft(desk: Path) -> None:
    assert declare(desk).exit_code == 5  # no terminal: the draft is kept


def preview(desk: Path, *arguments: str, code: int = 0) -> Any:
    done = run_at_terminal(desk, "preview", "card1", *arguments)
    assert done.exit_code == code, done.output
    return done


def handed_over(path: Path) -> tuple[str, str, str]:
    """Return subject, text and HTML of a message in the outbox."""
    raw = path.read_bytes()
    if path.suffix == ".txt":
        return "", raw.decode().partition("\n\n")[2].removesuffix("\n"), ""
    mail = message_from_bytes(raw, policy=policy.default)
    parts: list[Any] = [mail.get_body((kind,)) for kind in ("plain", "html")]
    text, html = (part.get_content().replace("\r\n", "\n") for part in parts)
    return str(mail["Subject"]), text, html


def test_preview_shows_what_send_hands_over(desk: Path) -> None:
    """Subject, text and HTML of every audience's mail, and the text message, are those of the outbox."""
    draft(desk)
    path = desk / "incidents" / "card1.yaml"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(path.read_text().replace("  - issue", f"  - at: {now}\n    issue"))
    shown = json.loads(preview(desk, "--json").stdout)
    assert run_at_terminal(desk, "send", "card1", "--yes").exit_code == 0
    sent = {handed_over(desk / "outbox" / name) for name in outbox(desk)}
    messages = [part["message"] for notice in shown["notices"] for part in notice["audiences"]]
    assert len(messages) == 6
    for message in messages:
        assert (message.get("subject", ""), message["text"], message.get("html", "")) in sent
    assert "Update 1 by email: already sent\n" in preview(desk).stdout


def test_preview_masks_addresses_knows_another_time_and_one_audience(desk: Path) -> None:
    """A look-alike is replaced and said; an emoji is kept, and named as what makes the text costly."""
    declare(desk, "--issue", "Card payments “fail” \N{PARTY POPPER}")
    sms = json.loads(preview(desk, "--json").stdout)["notices"][1]["audiences"][0]["message"]
    assert (sms["encoding"], sms["forced_by"]) == ("UCS-2", "\N{PARTY POPPER}")
    assert ["“", '"'] in sms["replaced"]
    done = preview(desk, "--now", "2031-01-02T10:05Z")
    said = "UCS-2 because of … Look-alikes replaced … a…@customer.example … 10:25 UTC"
    assert terminal.missing(said, done.stdout) == []
    assert "alex@customer.example" not in done.output and "+4915550100001" not in done.output
    preview(desk, "--now", "10:05", code=2)
    one = preview(desk, "--audience", "customers").stdout
    assert re.findall("^--- (.*, by \\w+)", one, re.M) == ["customers, by email", "customers, by SMS"]
    assert "these do: customers" in preview(desk, "--audience", "custmers", code=2).stderr
    path = next((desk / "incidents").glob("*.yaml"))
    fresh = path.read_text()
    path.write_text(fresh.replace("updates:\n  -", "updates:\n  - at: 2026-11-21T10:05Z\n   "))
    said = "its own promise has passed; send it anyway with --late"
    assert said in preview(desk, "--audience", "customers").stdout
    path.write_text(fresh)
    (desk / ".commcast" / "ledger.db").unlink()  # as in a reviewer's clone
    assert "there is no ledger here" in preview(desk).stderr


def test_preview_says_what_quiet_hours_hold_and_to_whom_a_holding_statement_goes(desk: Path) -> None:
    """A line without its notice would read as if nothing at all went by mail."""
    path, now = desk / "commcast.toml", datetime.now(UTC).astimezone(load_config(desk).zone)
    quiet = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"
    night = path.read_text().replace('quiet = "21:00-08:00"', f'quiet = "{quiet}"')
    night = night.replace(
        'executives = "hold"\ninternal = "hold"', 'executives = "nudge"\ninternal = "nudge"'
    )
    path.write_text(night.replace("wake_for = [1, 2]", "wake_for = []"))
    declare(desk, "--yes")
    said = (
        "Update 1 by email: already sent … Update 1 by SMS: quiet hours hold back 1 of 1 until they end … "
        "Holding statement by email to executives, internal: no holding statement, only a nudge … "
        "Holding statement by email to support, partners, customers: is sent automatically from"
    )
    assert terminal.missing(said, in_one(preview(desk).stdout)) == []


def test_preview_says_what_keeps_the_owner_from_being_nudged(desk: Path) -> None:
    """Not that [people] and an owner are missing, where both are there."""
    with (desk / "commcast.toml").open("a") as file:
        file.write('\n[people.dana]\nname = "Dana Reyes"\nemail = "env:NOBODY_SET_THIS"\n')
    assert "write [people]" not in in_one(declare(desk, "--owner", "dana", "--dry-run").output)
    declare(desk, "--owner", "dana")
    said = "Nobody can be nudged: dana has no usable address (NOBODY_SET_THIS is not set: the email"
    assert said in in_one(preview(desk).output)


def test_samples_are_mails_of_their_owner_alone_and_follow_no_link(desk: Path, tmp_path: Path) -> None:
    draft(desk)
    precious, folder = tmp_path / "precious", tmp_path / "samples"
    precious.write_text("precious")
    folder.mkdir()
    sample = folder / "card1-customers.eml"
    sample.symlink_to(precious)
    before = os.umask(0)
    try:
        preview(desk, "--eml", str(folder))
    finally:
        os.umask(before)
    assert precious.read_text() == "precious"
    assert {(path.is_symlink(), path.stat().st_mode & 0o777) for path in folder.iterdir()} == {(False, 0o600)}
    assert not message_from_bytes(sample.read_bytes(), policy=policy.default).defects
    for below in ("", "deeper"):
        assert "--eml: " in preview(desk, "--eml", str(precious / below), code=2).stderr


def test_test_sends_every_audience_to_oneself_and_changes_nothing_of_what_is_owed(desk: Path) -> None:
    draft(desk)
    before = everything_in(desk)
    to = ("--to", "alex@customer.example", "--to", "+4915550100009")  # the first is a reader, too
    done = run("test", "card1", *to, folder=desk)
    assert "SMS: as files in outbox/" in done.stderr
    assert len(outbox(desk)) == 6
    for name in outbox(desk):
        raw, of = (desk / "outbox" / name).read_bytes(), b"(customers|support|executives|internal|partners)"
        assert re.search(rb"(?m)^(Subject: )?\[TEST for " + of + rb"\]", raw)
        assert name in done.stdout
        assert b"alex@customer.example" in raw or b"+4915550100009" in raw
    after = {name: state for name, state in everything_in(desk).items() if not name.startswith("outbox")}
    assert after == before
    run_at_terminal(desk, "tick")
    assert len(outbox(desk)) == 6
    assert "7 handed over" in run("send", "card1", "--yes", folder=desk).stdout
    declare(desk, title="Nobody was told of this")
    run_at_terminal(desk, "resolve", "nobody1", "--fixed", "It works again.")
    done = run_at_terminal(desk, "test", "nobody1", "--to", "me@own.example")
    assert (done.exit_code, len(outbox(desk))) == (0, 6 + 7 + 5)  # an end finds its readers all the same


@cases("""
    about    | subject
             | A test of our messages (test)
    payments | Card payments failing (payments)
    slow     |
""")
def test_a_preset_and_the_desk_itself_can_be_tested_without_an_incident(
    kept: Callable[..., Path], about: str, subject: str
) -> None:
    """`slow` is too mild for customers; a desk's own words say that they are a test."""
    folder = kept()
    before = set(outbox(folder))
    done = run("test", *about.split(), "--to", "me@own.example", folder=folder)
    new = [(folder / "outbox" / name).read_bytes() for name in set(outbox(folder)) - before]
    to_customers = [
        message_from_bytes(raw, policy=policy.default)["Subject"]
        for raw in new
        if b"[TEST for customers]" in raw
    ]
    assert to_customers == [f"[TEST for customers] [Investigating] {subject}"] * bool(subject)
    assert "support, email: accepted" in done.stdout
    assert not list((folder / "incidents").glob("*.yaml"))


def test_a_test_without_a_usable_address_sends_nothing(desk: Path) -> None:
    draft(desk)
    for to, said in (("", "--to is missing"), ("--to me@", "--to: "), ("--to 12", "--to: ")):
        assert said in run("test", "card1", *to.split(), folder=desk, expect=2).stderr
    assert outbox(desk) == []


def test_a_test_says_what_became_of_it() -> None:
    assert _result_of(None) == ("unknown: no answer arrived", 1)
    accepted, rejected, not_taken = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.NOT_TAKEN
    assert _result_of(Outcome(1, accepted, "", "its-id")) == ("accepted, its-id", 0)
    assert _result_of(Outcome(1, rejected, "busy")) == ("rejected (busy)", 1)
    for blame, code in ((Blame.PROVIDER, 75), (Blame.ACCOUNT, 78)):
        assert _result_of(Outcome(1, not_taken, "busy", blame=blame)) == ("not sent (busy)", code)


def test_templates_says_which_file_wins(tmp_path: Path) -> None:
    folder = write_desk(tmp_path)
    document = json.loads(run("templates", "--json", folder=folder).stdout)
    assert {row["audience"] for row in document["templates"]} == {"support", "customers"}
    assert {
        row["file"] for row in document["templates"] if row["moment"] == "resolved" and row["locale"] == "en"
    } == {
        "shipped templates/resolved.md.j2",
        "shipped templates/resolved.sms.j2",
    }
    own = folder / "templates" / "customers"
    own.mkdir(parents=True)
    (own / "resolved.md.j2").write_text("Subject: Over\n\nIt is over.")
    lines = run("templates", "--audience", "customers", folder=folder).stdout.splitlines()
    assert any("yours    customers/resolved.md.j2" in line for line in lines)
    assert any("shipped  reopened.md.j2" in line for line in lines)
    assert max(map(len, lines)) <= 80 and "support" not in "".join(lines)
    run("templates", "--audience", "nobody", folder=folder, expect=2)
    for kind in ("incident", "config", "preset"):
        assert json.loads(run("schema", kind).stdout)["properties"]
    run("schema", "poem", expect=2)


def status_at(bench: Bench, *arguments: str, expect: int = 0, **later: float) -> list[str]:
    """Return what status prints so much later."""
    now = (bench.now + timedelta(**later)).isoformat()
    result = run("status", *arguments, "--now", now, folder=bench.folder, expect=expect)
    return [line.rstrip() for line in result.stdout.splitlines()]


def document_at(bench: Bench, *arguments: str, expect: int = 0, **later: float) -> Any:
    return json.loads("\n".join(status_at(bench, *arguments, "--json", expect=expect, **later)))


def first_words(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


def test_status_says_what_somebody_has_to_do(bench: Bench) -> None:
    assert "  1 draft is waiting to be released: commcast send pay7" in status_at(bench)
    bench.send()
    run("stop", "pay7", "--by", "dana", folder=bench.folder)
    (bench.folder / "incidents" / "half.yaml").write_text("title: [\n")
    lines = "\n".join(status_at(bench))
    said = "  stopped by dana: commcast resume pay7\n … broken: incidents/half.yaml: … \npay7"
    assert terminal.missing(said, lines) == []
    run("status", "nothing1", folder=bench.folder, expect=2)


def test_what_is_open_comes_first_and_planned_work_has_no_first_word_that_is_late(bench: Bench) -> None:
    end = update_text(bench.now - timedelta(minutes=3), status="resolved", fixed="Rolled back.")
    write_incident(bench.folder, "aaa", at=bench.now - timedelta(minutes=4), more=end)
    bench.send("aaa")
    bench.send()
    window = ("--window", "2031-02-03 02:00/04:00", "--issue", "a", "--resolution", "b")
    run("schedule", "Database moves", *window, folder=bench.folder, expect=5)
    lines = status_at(bench)
    order = ["pay7", "database1", "aaa"]
    assert [word for word in first_words(lines) if word in order] == order
    assert [each["id"] for each in document_at(bench)["incidents"]] == order
    assert not any("first message" in line for line in lines)


def test_a_first_word_that_reaches_nobody_is_overdue(bench: Bench) -> None:
    busy = FakeAdapter(answer=saying(OutcomeKind.NOT_TAKEN, Blame.PROVIDER, retry_after=9000.0))
    bench.adapter = lambda channel: busy
    bench.send()
    status_at(bench, "--overdue")
    now = (bench.now + timedelta(minutes=16)).isoformat()
    late = run("status", "--overdue", "--now", now, folder=bench.folder, expect=4)
    assert terminal.missing("never … LATE by ", late.stdout) == [] and "commcast send pay7" in late.stderr


def test_a_draft_has_waited_since_a_tick_saw_it_first_and_its_first_word_is_late(bench: Bench) -> None:
    """Not since somebody edited its file, a fault stood in it, or it was checked out anew."""
    path = bench.folder / "incidents" / "pay7.yaml"
    text = re.sub(r"(?m)^started:.*\n|^ +at:.*\n|(?<=- )at:.*\n +", "", path.read_text())
    for minutes, written in ((0, text), (4, "title: ["), (3, text)):
        bench.later(minutes=minutes)
        path.write_text(written)
        os.utime(path, (bench.now.timestamp(),) * 2)
        bench.tick()
    waits = "first message due: … in 3m; the cadence says within 10m"
    assert terminal.missing(waits, "\n".join(status_at(bench))) == []
    assert status_at(bench, "--overdue", minutes=3) == []
    late = status_at(bench, "--overdue", minutes=4, expect=4)
    assert "  first message due: LATE by 1m; the cadence says within 10m" in late
    assert document_at(bench, "--overdue", minutes=4, expect=4)["overdue"] == ["pay7"]
    bench.later(minutes=4)
    (nudge,) = bench.tick().nudged["pay7"].nudges
    assert (nudge.id, nudge.deadline) == ("nudge:draft:1:late", bench.now - timedelta(minutes=1))


FOUR = """\
[people.sam]
name = "Sam Okafor"
[audiences.executives]
recipients = "audiences/executives.csv"
rank = 3
severities = [1]
[audiences.partners]
recipients = "audiences/partners.csv"
rank = 5
[cadence.1]
every = "20m"
executives = "30m"
"""


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Bench]:
    """A desk of four audiences; executives are promised word every 30 minutes, the others every 20."""
    write_desk(tmp_path, extra=FOUR)
    for name in ("executives", "partners"):
        write_list(tmp_path, name, "email,name", [f"a@{name}.example,A"])
    write_incident(tmp_path)
    made = Bench(tmp_path)
    made.later(minutes=1)
    yield made
    made.ledger.close()


def test_without_its_ledger_or_over_an_old_copy_a_desk_is_not_said_to_be_calm(four: Bench) -> None:
    """Nobody knows then who was told what: neither that nothing is late, nor that something is a draft."""
    path = ledger_path(four.folder)
    four.ledger.close()
    old = path.read_bytes()
    four.send()
    four.ledger.close()
    path.write_bytes(old)
    for asked in ((), ("--overdue",), ("--json",)):
        status_at(four, *asked, expect=3, minutes=60)
    run("tick", "--dry-run", folder=four.folder, expect=3)
    path.unlink()
    lines = status_at(four, expect=3, minutes=60)
    assert "draft" not in " ".join(lines)
    assert lines[1].split()[:4] == ["pay7", "1", "unknown", "never"]
    status_at(four, "--overdue", expect=3, minutes=60)
    assert "there is no ledger" in json.loads("\n".join(status_at(four, "--json", expect=3)))["doubt"]
    assert "there is no ledger" in run("tick", "--dry-run", folder=four.folder, expect=3).stderr


def test_a_tick_says_what_is_late_and_a_stop_how_to_go_on(four: Bench) -> None:
    four.send()
    four.stop()
    ticked = run("tick", folder=four.folder, expect=5)  # nobody can be nudged
    assert "pay7: late since 21 Nov" in ticked.stderr
    late = run("status", "--overdue", folder=four.folder, expect=4)
    assert "stopped it; lift it with: commcast resume pay7" in in_one(late.stderr)


def test_what_an_adopted_ledger_did_not_send_first_is_not_called_late(four: Bench) -> None:
    with four.ledger.write() as connection:
        record_history(connection, [four.incident()], "dana", four.now)
    four.later(minutes=30)
    four.append("incidents/pay7.yaml", update_text(four.now, issue="It is all of Europe."))
    four.send()
    assert "the first message went out" not in " ".join(status_at(four))


def test_each_audience_has_what_it_was_told_and_its_own_promise(four: Bench) -> None:
    four.send()
    assert status_at(four, minutes=21)[3:7] == [
        "  support     update 1 10:06 by email       LATE by 2m",
        "  executives  update 1 10:06 by email       10:35, in 8m",
        "  partners    update 1 10:06 by email       LATE by 2m",
        "  customers   update 1 10:06 by email, SMS  LATE by 2m",
    ]
    found = document_at(four, minutes=21)
    assert (found["commcast"], found["version"]) == ("status", 1)
    (incident,) = found["incidents"]
    assert incident["deliveries"]["accepted"] == 7
    late = {each["audience"]: each["overdue"] for each in incident["audiences"]}
    assert late == {"support": True, "executives": False, "partners": True, "customers": True}
    customers = incident["audiences"][3]
    assert (customers["notice"], customers["channels"]) == ("update:1", ["email", "sms"])
    assert incident["next_update_by"] == customers["next_update_by"] == "2026-11-21T09:25:00+00:00"


def test_the_last_word_to_who_only_gets_texts_is_their_last_text(tmp_path: Path) -> None:
    only_texts = [",+4915112345671,Ann", ",+4915112345672,Bob"]
    write_desk(tmp_path, customers=only_texts, extra='[silence]\ncustomers = "hold"\n')
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    bench.later(hours=1, minutes=58)
    bench.tick()
    assert any(each.startswith("  customers  promised text 12:03 by SMS") for each in status_at(bench))
    customers = document_at(bench)["incidents"][0]["audiences"][1]
    assert (customers["notice"][:8], customers["last_told"]) == ("holding:", bench.now.isoformat())


def test_overdue_prints_only_what_is_late_and_exits_with_4(four: Bench) -> None:
    """An audience is late until each reader got something newer: partners refuse it, one customer waits."""
    four.send()
    write_incident(four.folder, "dns2", at=four.now, severity=2)
    four.send("dns2")
    assert status_at(four, "--overdue", minutes=5) == []
    lines = status_at(four, "--overdue", expect=4, minutes=21)
    assert not any("dns2" in line or "executives" in line for line in lines)
    assert first_words([each for each in lines if "LATE" in each])[1:] == ["support", "partners", "customers"]
    found = document_at(four, "--overdue", expect=4, minutes=21)
    assert (found["overdue"], [each["id"] for each in found["incidents"]]) == (["pay7"], ["pay7"])
    four.later(minutes=10)
    four.write(nothing_new="Still at it.")
    four.release()
    four.freeze()
    d = schema.delivery.c
    partners, ann = d.audience == "partners", d.key == "ann@example.com"
    with four.ledger.write() as connection:
        for state, which in (("accepted", ~partners), ("rejected", partners), ("pending", ann)):
            values = update(schema.delivery).where(which, d.notice == "update:2").values(state=state)
            connection.execute(values)
    lines = status_at(four, "pay7", "--overdue", expect=4, minutes=12)
    assert first_words([line for line in lines if "LATE" in line]) == ["pay7", "partners", "customers"]
    four.adapter = lambda channel: FakeAdapter(channel)
    four.later(minutes=12)
    four.write(status="resolved", fixed="Rolled back.")
    four.send()
    assert status_at(four, "pay7", "--overdue", hours=2) == []


def test_three_incidents_and_four_audiences_fit_eighty_columns(four: Bench) -> None:
    four.send()
    for name, severity in (("dns2", 2), ("login4", 1)):
        write_incident(four.folder, name, at=four.now, severity=severity)
        four.send(name)
    with four.ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=four.now)
    lines = status_at(four, days=40)
    assert max(map(len, [*lines, *status_at(four)])) <= 80
    assert first_words([each for each in lines if each[:1] not in " T"]) == ["ID", "pay7", "login4", "dns2"]


@pytest.mark.parametrize("file", ["there", "gone", "broken"])
def test_who_is_on_duty_and_an_offer_that_waits_are_shown(four: Bench, file: str) -> None:
    """A tick nudges that owner from the ledger: also without the file, status asks nobody to name one."""
    four.send()
    path = four.folder / "incidents" / "pay7.yaml"
    if file != "there":
        path.unlink() if file == "gone" else path.write_text("updates: [")
    lines = status_at(four, minutes=1)
    lost = "  its file is gone or broken; messages that are already frozen still go out"
    assert ("  dana has it" in lines, lost in lines) == (True, file != "there")
    with four.ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=four.now)
    offered = "  offered to sam 5m ago, not taken yet: commcast take pay7 --as sam"
    assert {"  dana has it", offered} <= set(status_at(four, minutes=5))
    waiting = document_at(four)["incidents"][0]["on_duty"]
    assert (waiting["offered_to"], waiting["offered_at"]) == ("sam", four.now.isoformat())
    with four.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=four.now)
    assert "  sam has it" in status_at(four)
    nobody: dict[str, None] = {"backup": None, "offered_to": None, "offered_at": None}
    assert document_at(four)["incidents"][0]["on_duty"] == {"owner": "sam", **nobody}


def called(bench: Bench, notice: str, state: str, detail: str = "", minute: int = 0) -> None:
    """Leave in the ledger that the command of [tick] was called for a nudge."""
    at = stamp(bench.now + timedelta(minutes=minute))
    row = {"incident": "pay7", "notice": notice, "at": at, "state": state, "detail": detail}
    with bench.ledger.write() as connection:
        connection.execute(schema.call.insert().values(**row))


def nudged(bench: Bench, minute: int, states: dict[str, str]) -> None:
    """Leave a nudge in the ledger as one is told: a story of the incident's own people."""
    at = stamp(bench.now + timedelta(minutes=minute))
    for channel, state in states.items():
        of = {"incident": "~pay7", "notice": f"nudge:{minute}", "channel": channel}
        sent = {"number": 1, "state": "frozen", "owner": "", "created_at": at}
        row: dict[str, object] = {"key": channel, "address": channel, "audience": "people", "digest": ""}
        new = schema.broadcast.insert().values(**of, **sent).returning(schema.broadcast.c.id)
        with bench.ledger.write() as connection:
            row |= {"broadcast": connection.execute(new).scalar_one(), "recipient": {"name": "Dana Reyes"}}
            connection.execute(schema.delivery.insert().values(**of, **row, state=state, changed_at=at))


def test_the_last_nudge_is_shown_under_its_incident_and_is_none_of_its_own(four: Bench) -> None:
    four.send()
    nudged(four, 10, {"email": "accepted"})
    nudged(four, 15, {"email": "accepted", "sms": "rejected"})
    called(four, "nudge:15", "accepted", minute=15)
    lines = status_at(four, minutes=16)
    assert "  nudged 10:21: Dana Reyes by email and SMS (rejected), by command" in lines
    assert not any("~" in line for line in lines)
    found = document_at(four, minutes=16)
    assert [each["id"] for each in found["incidents"]] == ["pay7"]
    assert found["incidents"][0]["nudged"]["command"] == "accepted"
    assert found["incidents"][0]["deliveries"]["accepted"] == 7
    nudged(four, 17, {"email": "pending"})
    assert document_at(four, minutes=18)["sending"] == []  # what is sent to readers, that is


def test_who_was_not_reached_and_a_nudge_that_reached_nobody_say_so(four: Bench) -> None:
    four.adapter = lambda channel: FakeAdapter(channel, answer=saying(OutcomeKind.REJECTED))
    four.send()
    assert "  partners    nobody was reached  10:21, in 15m" in status_at(four)
    called(four, "nudge:handover:sam:1", "accepted")  # that it was handed over is no nudge
    assert not any("nudged" in line for line in status_at(four))
    called(four, "nudge:1", "rejected", "nobody can be reached")
    lines = status_at(four)
    assert "  nudged 10:06: nobody can be reached" in lines
    assert "  that nudge reached nobody: commcast doctor" in lines
    called(four, "nudge:2", "accepted", minute=1)
    assert not any("reached nobody" in line for line in status_at(four, minutes=2))


def test_a_late_first_word_is_said_and_one_in_time_is_not(four: Bench) -> None:
    within = "the cadence says within 15m"
    began = f"\nstarted: {(four.now - timedelta(minutes=25)).isoformat()}"
    assert f"  first message due: 10:20, in 14m; {within}" in status_at(four)
    four.edit("incidents/pay7.yaml", "severity: 1", f"severity: 1{began}")
    assert f"  first message due: LATE by 10m; {within}" in status_at(four)
    four.send()
    assert f"  the first message went out 25m after the start; {within}" in status_at(four)
    four.edit("incidents/pay7.yaml", began, "")
    assert not any("first message" in line for line in status_at(four))


def watch_of(bench: Bench, incident: str | None = None) -> tuple[Watch, list[float]]:
    """Return a watch, and the seconds of its clock."""
    seconds = [0.0]
    return Watch(bench.folder, incident, seconds=lambda: seconds[0]), seconds


def pictured(watch: Watch) -> str:
    return "\n".join(text for text, _ in picture(watch.look(), watch.rates))


def frozen(bench: Bench, count: int) -> None:
    write_desk(bench.folder, customers=numbered(count), support=[])
    bench.release()
    bench.freeze()


def settle(bench: Bench, **states: int) -> None:
    """Leave a frozen mail of which so many have their outcome and the rest waits."""
    d = schema.delivery.c
    outcomes = [state for state, count in states.items() for _ in range(count)]
    with bench.ledger.write() as connection:
        ids = list(connection.execute(schema.delivery.select().where(d.channel == "email")).scalars())
        for number, state in zip(ids, outcomes, strict=False):
            connection.execute(schema.delivery.update().where(d.id == number).values(state=state))


def test_what_is_being_sent_is_shown_with_its_rate_between_two_looks(bench: Bench) -> None:
    frozen(bench, 100)
    watch, seconds = watch_of(bench)
    settle(bench, accepted=10)
    assert "pay7 email, update:1: 10 of 100\n" in pictured(watch)
    settle(bench, accepted=50, rejected=4, unknown=2)
    seconds[0] += 2
    text = pictured(watch)
    assert "pay7 email, update:1: 56 of 100, 23/s, 4 rejected, 2 unknown" in text
    assert "pay7 SMS, update:1: 0 of 100, nothing since the last refresh" in text


def test_nothing_is_read_if_nothing_changed_and_every_byte_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.send()
    parse = Mock(wraps=load.parse_incident)
    monkeypatch.setattr(load, "parse_incident", parse)
    watch, _ = watch_of(bench, "pay7")
    before = terminal.every_byte(bench.folder)
    for _ in range(3):
        watch.look()
    assert (terminal.every_byte(bench.folder) == before, watch.looks, parse.call_count) == (True, 1, 1)
    with bench.ledger.write() as connection:
        connection.execute(schema.tick.insert().values(at=stamp(datetime.now(UTC)), host="here"))
    watch.look()
    assert (watch.looks, parse.call_count) == (2, 1)
    bench.append("incidents/pay7.yaml", "# a comment\n")
    watch.look()
    assert (watch.looks, parse.call_count) == (3, 2)
    assert "The last tick ran" in pictured(watch)
    for later, said in ((timedelta(minutes=11), "No tick has run for 1"), (timedelta(days=9), "LATE by")):
        watch.now = lambda later=later: datetime.now(UTC) + later  # type: ignore[misc]
        assert said in pictured(watch)
    assert watch.looks == 3


def steps_of(*acts: Callable[[], object]) -> Callable[..., Any]:
    """Return what takes the place of a rest: an act each time, and then Ctrl-C."""
    left: Iterator[Callable[[], object]] = iter([*acts, Mock(side_effect=KeyboardInterrupt)])
    return lambda *_: next(left)()


def test_json_is_a_line_for_each_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen(bench, 10)
    rest = steps_of(lambda: None, lambda: settle(bench, accepted=4), lambda: None)
    monkeypatch.setattr(time, "sleep", rest)
    lines = run("status", "--watch", "--json", folder=bench.folder).stdout.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["commcast"], first["version"]) == ("status", 1)
    assert (first["sending"][0]["done"], first["sending"][0]["per_second"]) == (0, None)
    assert second["sending"][0]["done"] == 4 and second["sending"][0]["per_second"] > 0


def test_a_person_sees_it_in_place_and_ends_it_with_ctrl_c(bench: Bench) -> None:
    bench.send()
    arguments, pressed = ["status", "--watch", "--every", "1s"], [b"", terminal.CTRL_C]
    seen = at_terminal(bench.folder, arguments, [("Ctrl-C to stop", key) for key in pressed], COLUMNS="50")
    assert (seen.exit_code, "Traceback" in seen.screen) == (0, False)
    assert seen.screen.rfind("\x1b[?25h") > seen.screen.rfind("\x1b[?25l")
    left = seen.left(50)
    assert [sum(said in line for line in left) for said in ("Ctrl-C to stop", "pay7  ")] == [1, 1]
    assert max(map(len, left)) < 50


def test_a_file_half_written_is_named_and_the_watch_goes_on(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.send()
    config = bench.folder / "commcast.toml"
    whole, seen = config.read_text(), list[str]()

    def becomes(text: str) -> None:
        seen.append(capsys.readouterr().out)
        config.write_text(text)

    acts = [partial(becomes, text) for text in ("[organisation\n", whole, whole)]
    with pytest.raises(KeyboardInterrupt):
        watching.draw(watch_of(bench)[0], steps_of(*acts))
    shown = [("pay7" in each, "cannot be read now: commcast.toml" in each) for each in seen]
    assert shown == [(True, False), (True, True), (True, False)]


def test_a_window_too_low_says_how_many_lines_are_missing() -> None:
    lines = [(f"line {number} [bold]\x1b[2J", "red") for number in range(1, 31)]
    assert "more lines" not in watching._fitted(lines[:10], 12).plain
    shown = watching._fitted(lines, 12).plain.splitlines()
    last = "… 21 more lines: a taller window or commcast status shows them"
    assert shown[8:] == ["line 9 [bold]\\u001b[2J", last]  # no markup, and nothing that a terminal obeys


LATER = ("--now", "2026-11-22T09:00Z")
TREND = ("report", "--since", "30d", "--now", "2026-12-20T12:00Z")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The desk of a night that is over; nothing here changes it."""
    folder = tmp_path_factory.mktemp("desk")
    night_of_pay7(folder).close()
    return folder


def test_a_report_at_a_terminal_as_json_markdown_and_page(told: Path, tmp_path: Path) -> None:
    text = run("report", "pay7", folder=told).stdout
    assert text.startswith("Card payments fail in the EU\n")
    assert "\nKept 18 of 21 promises, first message after 9 min, longest silence 31 min.\n" in text
    assert re.search("11:15.*11 min late", text)
    ((segments, cost),) = re.findall(r"24 texts, (\d+) segments, (\S+) in all", text)
    assert cost == f"{int(segments) * 0.0712:.2f}"
    assert run("report", folder=told).stdout == text  # the only incident needs no id
    for command in (["report", "pay7"], ["log"], [*TREND, "--by", "audience"]):
        seen = at_terminal(told, command, NO_COLOR="1").screen.splitlines()
        assert max(map(len, seen)) < 80
        assert "\x1b" not in "".join(seen)
    document = json.loads(run("report", "pay7", "--json", folder=told).stdout)
    assert (document["commcast"], document["version"]) == ("report", 1)
    promises = document["promises"]
    assert (promises["due"], promises["kept"], document["down_seconds"]) == (21, 18, 129 * 60)
    assert {each["late_seconds"] for each in promises["each"] if each["state"] == "late"} == {11 * 60}
    text = run("report", "pay7", "--markdown", folder=told).stdout
    assert text.startswith("## How we communicated: Card payments fail in the EU")
    assert "| 11:15 | customers, executives, support | 10:55 | 11 min late, at 11:26 |" in text
    run("report", "pay7", "--html", tmp_path / "r.html", *LATER, folder=told)
    page = (tmp_path / "r.html").read_text().rstrip()
    assert page.startswith("<!doctype html>")
    assert run("report", "pay7", "--html", "-", *LATER, folder=told).stdout.rstrip() == page


@cases("""
    arguments                          | said
    report nothing1                    | nothing was sent for an incident 'nothing1'
    report ~pay7                       | nothing was sent
    report pay7 --html none/r.html     | cannot be written
    report pay7 --json --markdown      | choose one
    report pay7 --since 90d            | it takes no ID
    report --by audience               | --by and --per need it
    report --since soon                | Invalid value for --since
    report --since 30d --by audence    | '--by': 'audence' is not one of 'audience'
    report --since 30d --per day       | '--per': 'day' is not one of 'week', 'month'
    log nothing1                       | nothing was sent
    status --watch                     | status --watch --json
    status --watch --overdue           | leave out
    status --watch --now 2026-11-21T10Z | leave out
    status --every 5s                  | --every is only for --watch
    status --watch --every soon        | --every: 'soon' is not a length of time
    feedback nothing1 --yes 1          | nothing was sent
    feedback pay7 --yes -1             | greater than or equal to 0
    feedback pay7 --no 99999999999     | less than or equal to
    feedback pay7 --yes 200            | write how many answered yes and no,
""")
def test_what_cannot_be_shown_is_refused_and_changes_nothing(told: Path, arguments: str, said: str) -> None:
    done = run(*arguments.split(), folder=told, expect=2)
    assert said in done.stderr and "last time" not in done.stderr
    assert "0 yes, 0 no" in run("feedback", "pay7", folder=told).stdout


def test_the_trend_by_week_and_by_audience_and_month(told: Path, tmp_path: Path) -> None:
    shown = run(*TREND, folder=told).stdout
    assert shown.startswith("1 incident: kept 18 of 21 promises, 1 of 3 estimates held, 2 h 9 min down.\n")
    assert re.search("\n *16 Nov +1 .*18 of 21", shown)
    run(*TREND, "--html", tmp_path / "t.html", folder=told)
    assert "How Acme Pay communicated" in (tmp_path / "t.html").read_text()
    assert "No incident" in run("report", "--since", "2d", *TREND[3:], folder=told).stdout
    asked = (*TREND, "--by", "audience", "--per", "month")
    document = json.loads(run(*asked, "--json", folder=told).stdout)
    november = {each["audience"]: each for each in document["lines"] if each["from"] == "2026-11-01"}
    kept = {name: (each["kept"], each["due"]) for name, each in november.items()}
    assert kept == dict.fromkeys(("customers", "executives", "support"), (6, 7))
    assert document["total"]["kept"] == 18
    assert "| 1 Nov | customers |" in run(*asked, "--markdown", folder=told).stdout


def test_feedback_adds_up_and_stands_in_the_report_also_without_the_file(tmp_path: Path) -> None:
    night = night_of_pay7(tmp_path)
    night.close()
    before = run("report", "pay7", "--json", *LATER, folder=tmp_path).stdout
    night.path.unlink()
    assert run("report", "pay7", "--json", *LATER, folder=tmp_path).stdout == before

    def feedback(*counts: str, expect: int = 0) -> Any:
        return run("feedback", "pay7", *counts, folder=tmp_path, expect=expect)

    assert "4 yes, 1 no" in feedback("--yes", "4", "--no", "1").stdout
    assert "7 yes, 1 no" in feedback("--yes", "3").stdout
    assert json.loads(feedback("--json").stdout)["yes"] == 7
    assert "give only what came in since the last time" in feedback("--yes", "200", expect=2).stderr
    assert "7 yes, 1 no" in feedback().stdout
    assert "Well informed?      7 yes, 1 no" in run("report", "pay7", folder=tmp_path).stdout
    assert ">88%<" in run("report", "pay7", "--html", "-", folder=tmp_path).stdout


def test_the_log_tells_who_was_told_when_by_whom_and_what_was_promised(told: Path) -> None:
    lines = run("log", "pay7", folder=told).stdout.splitlines()
    assert "21 Nov 10:01  update 1  email  customers   12 accepted  outbox   10:21" in lines
    assert "21 Nov 10:01  update 1  SMS    customers   12 accepted  outbox   -" in lines
    document = json.loads(run("log", "pay7", "--json", folder=told).stdout)
    first = document["messages"][0]
    assert first["first_accepted"] == first["last_accepted"] == "2026-11-21T09:01:00+00:00"
    assert (first["providers"], first["next_update_by"]) == (["outbox"], "2026-11-21T09:21:00+00:00")
    assert sum(each["count"] for each in document["said"] if each["notice"] == "update:1") == 26
    assert document["deliveries"] == []
    assert "Update 1 was released by test with --yes, 2026-11-21 10:01" in lines
    assert (document["releases"][0]["number"], document["releases"][0]["by"]) == (1, "test")
    for incident in ([], ["pay7"]):  # nudges are listed apart, and are no incident
        whole = run("log", *incident, folder=told).stdout
        before, _, after = whole.partition("Sent to your own people about pay7:")
        assert ("nudge" in before, after.count("nudge")) == (False, 2)
    document = json.loads(run("log", "--json", folder=told).stdout)
    assert {each["incident"] for each in document["said"]} == {"pay7"}
    keys = "incident notice number channel audience state reason count changed_at"
    assert {" ".join(each) for each in document["said"]} == {keys}
    assert [each["by"] for each in document["nudges"]] == ["email", "command"]


def test_the_log_names_the_zone_where_its_clocks_change_and_both_years() -> None:
    def shown(first: datetime, minutes: int) -> str:
        last = first + timedelta(minutes=minutes)
        telling = Telling(
            "update:1", Shape.UPDATE, 1, "email", "customers", first, first, last, {"accepted": 2}
        )
        stated = {("pay7", "update:1", "email", "customers"): first + timedelta(days=1)}
        return _table(Record([], {"pay7": [telling]}, stated), ZoneInfo("Europe/Berlin"))

    summer = shown(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), 60)
    assert "25 Oct 02:30 CEST-02:30 CET" in summer and "26 Oct 01:30 CET" in summer
    assert "2026-12-31 23:50-1 Jan 2027 00:10" in shown(datetime(2026, 12, 31, 22, 50, tzinfo=UTC), 20)


def test_a_message_that_took_a_while_shows_its_first_and_last_reader(tmp_path: Path) -> None:
    title = '"<b>x</b> | [a](http://evil.example) @all `c`"'
    night = ReportedNight(tmp_path, title=title)
    night.say("10:01", **FIRST)
    later = stamp(datetime(2026, 11, 21, 9, 5, tzinfo=UTC) + timedelta(seconds=30))
    with night.bench.ledger.write() as connection:
        one = schema.delivery.c.key == "c0@example.com"
        connection.execute(update(schema.delivery).where(one).values(changed_at=later))
    night.close()
    assert "21 Nov 10:01-10:05  update 1" in run("log", "pay7", folder=tmp_path).stdout
    text = run("report", "pay7", "--markdown", folder=tmp_path).stdout  # a hostile title makes no markup
    assert r"\<b\>x\</b\> \| \[a\]\(http\://evil.example\) \@all \`c\`" in text.splitlines()[0]


def test_log_lists_unknown_ones_masked_and_all_in_full_on_demand(bench: Bench) -> None:
    # A name for each channel: one provider that falls silent on a channel is left alone on the other, too.
    bench.adapter = lambda channel: FakeAdapter(
        channel, answer=saying(OutcomeKind.UNKNOWN), connections=10, name=f"fake {channel}"
    )
    bench.send()
    shown = run("log", "pay7", folder=bench.folder).stdout
    assert "a…@example.com" in shown and "ann@example.com" not in shown
    full = run("log", "pay7", "--addresses", "--channel", "sms", folder=bench.folder).stdout
    assert "+4915112345671" in full and "ann@example.com" not in full
