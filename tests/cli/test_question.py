"""What a person sees before the question and after sending: what they decide by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from commcast.cli.question import new_facts
from commcast.plan.reasons import HELD_BACK
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.terminal import (
    WORDS,
    bench_now,
    declare,
    do,
    in_one,
    just_now,
    missing,
    run,
    run_at_terminal,
)
from tests.support.values import cases, update_of


def edit(folder: Path, before: str, text: str, path: str = "commcast.toml") -> None:
    (folder / path).write_text((folder / path).read_text().replace(before, text))


pytestmark = pytest.mark.usefixtures("person")


@cases("""
    before          | now                                   | found
                    | About 40% fail since 09:45.           | 40% 09:45
    About 40% fail. | About 45% fail.                       | 45%
    About 40% fail. | Still 40% fail.                       |
                    | See https://status.example/x, please. | https://status.example/x
                    | 1,250 orders, 3 hours, 2.5 GB         | 1,250 3 hours 2.5 GB
                    | Microsoft 365 and Opus 4.7 are slow.  |
                    | A 502 page, HTTP 5xx, 400 Bad Request |
                    | db-eu-3, us-east-1, v3, K6, AU1, 2FA  |
                    | Since 8 May, 3pm, call 617-253-1101.  | 8 May 3pm 617-253-1101
                    | On 2026-05-08 or May 8th, 2026: $1.5M | 2026-05-08 May 8th, 2026 $1.5M
                    | About 40 customers and 2 regions      | 40 2
""")
def test_new_numbers_times_and_links_are_named(before: str, now: str, found: str) -> None:
    earlier = update_of(1, issue=before) if before else None
    assert " ".join(new_facts(earlier, update_of(2, issue=now))) == found


SCREEN = (
    "card1 SEV-1 update 1, investigating … SMS cost: 1 segments x 0.08 = 0.08 … "
    "Left out: 1 of 2 rows of partners are bad … audiences/partners.csv:2: … "
    "Bad cell: audiences/partners.csv:3:25: locale is not a locale (ignored in 1 row) … "
    "Not told: audiences/partners.csv:4:24: opt_out: opted out (in 1 row) … "
    "readers are told to expect an update by … get a holding statement from … no tick has run yet … "
    "commcast tick --loop 1m … end expected … "
    "Readers cannot reach you: [contact] in commcast.toml is empty … customers SMS 1 1 1 … "
    "SMS: as files in outbox/ (nothing is sent) This question is good until … "
    "| Subject: [Investigating] Card payments fail (card1) … Send 7 messages: 6 emails, 1 SMS? [y/N]"
)


def test_the_screen_before_the_question(desk: Path) -> None:
    """Counts, promise, what happens without a person, what is new, the messages, and the tick that misses."""
    (desk / "audiences" / "partners.csv").write_text(
        "email,name,locale,opt_out\nno address,X\nnoc@partner.example,NOC,?\ncy@partner.example,Cy,,yes\n"
    )
    edit(desk, "# sms_price = 0.08 ", "sms_price = 0.08 ")
    done = declare(desk)
    assert (done.exit_code, done.stdout) == (5, "")
    assert missing(SCREEN, in_one(done.stderr)) == [], done.stderr
    run_at_terminal(desk, "tick")
    later = declare(desk, "--scope", "Payments by card " * 20).stderr
    assert "no tick has run" not in later
    assert max(map(len, later.split("\n"))) <= 80


def test_what_is_new_is_measured_by_what_readers_read(desk: Path) -> None:
    """A draft that was never sent told nobody of its numbers."""
    declare(desk, "--scope", "About 40% of payments.", "--yes")
    do(desk, "update card1 --scope 'About 55% of payments.'", "n\n")
    done = do(desk, "update card1 --nothing-new 'We still roll back.'", "n\n")
    assert "New here, check each: 55%" in done.stderr


def test_a_status_that_goes_back_needs_a_word(desk: Path) -> None:
    declare(desk, "--yes")
    do(desk, "update card1 --status identified --yes")
    file = desk / "incidents" / "card1.yaml"
    said = file.read_text() + "  - status: investigating\n"
    warning = "Readers were told identified, and nothing here says why it is investigating again"
    for why, is_warned in (("", True), ("    because: It was not the release.\n", False)):
        file.write_text(said + why)
        assert (warning in in_one(do(desk, "send card1", "n\n").stderr)) is is_warned


@pytest.mark.parametrize("command", ["send login1 --dry-run", "preview login1"])
def test_whom_a_mild_severity_leaves_out_is_said(desk: Path, command: str) -> None:
    """Nothing else would tell that whole audiences are not told; a person who names audiences knows it."""
    run_at_terminal(desk, "declare", "Login is slow", "--severity", "3", *WORDS)
    said = "Not told at severity 3: executives, partners, customers (severities in commcast.toml)"
    assert said in in_one(do(desk, command).stdout)
    run_at_terminal(desk, "declare", "Slow", "--severity", "3", "--audience", "support", *WORDS)
    declare(desk)
    for name in ("slow1", "card1"):
        assert "Not told at severity" not in do(desk, f"preview {name}").stdout


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what makes a desk whose mail goes through SendGrid at a limit; nothing listens there."""
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.nobody")

    def make(per_second: float) -> Path:
        extra = f'[providers.sendgrid]\nbase_url = "http://127.0.0.1:9"\nper_second = {per_second}\n'
        write_desk(tmp_path, email="sendgrid", support=[], extra=extra)
        write_incident(tmp_path, at=just_now())
        return tmp_path

    return make


def test_how_long_it_takes_is_said_and_a_promise_before_its_end_is_refused(
    limited: Callable[..., Path],
) -> None:
    """Two emails at one per hour, and an update promised within twenty minutes: a draft stays."""
    shown = in_one(run("preview", "pay7", folder=limited(1)).stdout)
    assert "At 1 per second the last of 2 email messages leaves by" in shown
    assert "promise the next update: readers" not in shown
    folder = limited(1 / 3600)
    refused = do(folder, "send pay7", "y\n")
    assert refused.exit_code == 5
    assert missing("after the promised … Raise per_second", refused.stderr) == []
    assert "1 draft is waiting" in run("status", folder=folder).stdout
    sent = run("send", "pay7", "--yes", folder=folder, expect=75)
    assert "promise the next update: readers not reached by then are dropped" in in_one(sent.stderr)


def test_what_carries_the_messages_may_itself_be_affected(limited: Callable[..., Path]) -> None:
    folder = limited(100)
    edit(folder, '"sendgrid"', '"sendgrid"\nfallback = "smtp"')
    edit(folder, "owner: dana\n", "owner: dana\naffected: [sendgrid-mail]\n", "incidents/pay7.yaml")
    shown = in_one(run("send", "pay7", "--dry-run", folder=folder).stdout)
    assert "email goes through sendgrid, which is itself affected" in shown
    assert "through sendgrid (127.0.0.1:9); if it refuses us, through 127.0.0.1:25" in shown


ROWS = ["ann@example.com,+4915112345671,Ann", ",+4915112345672,Bob", "kim@example.com,,Kim"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = bench_now(tmp_path)
    write_list(tmp_path, "customers", "email,phone,name", ROWS)
    return bench


def test_preview_says_who_follows_another_open_incident_already(bench: Bench) -> None:
    def preview() -> tuple[str, list[tuple[str, str, int]]]:
        document = json.loads(run("preview", "pay7", "--json", folder=bench.folder).stdout)
        following = [(each["incident"], each["channel"], each["readers"]) for each in document["following"]]
        return run("preview", "pay7", folder=bench.folder).stdout, sorted(following)

    write_incident(bench.folder, "net3", at=just_now(), severity=2)
    bench.send("net3")
    shown, following = preview()
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("|"))
    said = "3 of those by email were told of net3 at  … 2 of those by SMS were told of net3 at  … "
    said += ": Investigating, Card payments fail, next update by "
    assert missing(said, in_one(shown)) == []
    assert following == [("net3", "email", 3), ("net3", "sms", 2)]
    end = {"status": "resolved", "fixed": "Rolled back.", "remains": "nothing"}
    at = just_now() + timedelta(minutes=1)
    write_incident(bench.folder, "net3", at=just_now(), severity=2, more=update_text(at, **end))
    bench.send("net3")
    shown, following = preview()
    assert ("net3" in shown, following) == (False, [])


def test_a_lead_is_shown_before_and_after_and_is_no_failure(bench: Bench) -> None:
    edit(bench.folder, "[audiences.support]\n", '[audiences.support]\nlead = "5m"\n')
    write_incident(bench.folder, at=just_now(), severity=3)
    edit(bench.folder, "severity: 3", "severity: 3\naudiences: [support, customers]", "incidents/pay7.yaml")
    run("tick", folder=bench.folder)
    shown = in_one(run("preview", "pay7", folder=bench.folder).stdout)
    assert missing("Later: 2 by email in customers at  … a tick sends them", shown) == []
    done = run("send", "pay7", "--yes", folder=bench.folder)
    assert "pay7: update 1 released, 1 handed over." in done.stdout
    assert missing("4 follow at  … , sent by tick.", done.stderr) == []
    assert "still queued" not in done.stderr
    assert "would send nothing" in run("tick", "--dry-run", folder=bench.folder).stdout
    told = json.loads(run("send", "pay7", "--json", folder=bench.folder).stdout)
    assert (told["planned"], told["waiting"]) == (4, 4)


def test_a_text_shows_its_promise_and_the_promise_of_texts(bench: Bench) -> None:
    write_list(bench.folder, "customers", "email,phone,name", ROWS[1:2])
    shown = in_one(run("preview", "pay7", "--audience", "customers", folder=bench.folder).stdout)
    assert "customers, by SMS (1 segment, GSM-7)" in shown
    clock = r"by (\d\d:\d\d) "
    promises = re.search(rf"Acme Pay: .*? {clock}.* texts: the next one {clock}", shown)
    assert promises and promises[1] == promises[2]


def test_what_a_cap_holds_back_is_shown_and_released_all_the_same(bench: Bench) -> None:
    edit(bench.folder, "[send]\n", "[send]\nmost_an_hour = 1\n")
    bench.send()
    more = update_text(just_now() + timedelta(minutes=1), status="identified", resolution="A fix comes.")
    write_incident(bench.folder, at=just_now(), more=more)
    shown = in_one(run("preview", "pay7", folder=bench.folder).stdout)
    assert f"Not told: 2 by email in customers: {HELD_BACK}" in shown
    assert "Promise: none; nobody is told now." in run("send", "--dry-run", folder=bench.folder).stdout
    done = run("send", "pay7", "--yes", folder=bench.folder, expect=5)
    assert "update 2 released, 0 handed over." in done.stdout
    assert "NOBODY WAS TOLD: all 3 already got as many messages as an address" in done.stderr
    assert "Next word is promised" not in done.stderr
    assert "held back" in run("log", "pay7", folder=bench.folder).stdout


def test_who_reads_words_of_their_own_is_said(desk: Path) -> None:
    declare(desk, "--id", "card1")
    file = desk / "incidents" / "card1.yaml"
    file.write_text(file.read_text() + "    for: {customers: {issue: Cards fail., scope: In the EU.}}\n")
    shown = in_one(do(desk, "preview card1").stdout)
    assert "Words of their own (for:) are used for customers (issue, scope)." in shown
    assert "Carried forward" not in shown


def test_a_text_too_long_for_its_sentences_says_the_title_and_stops_no_email(desk: Path) -> None:
    long = "Cards are refused. " * 100
    done = declare(desk, "--id", "card1", "--action", long, "--scope", "In the **EU**.", "--yes")
    pasted = "scope: '**EU**' is not rendered: readers see it as it is; write plain text"
    assert f"Warning: incidents/card1.yaml:5: {pasted}" in in_one(done.stderr)
    what = "issue: a text would have more than 1,600 characters, so texts say the title instead"
    warning = f"{what}; add short: what texts say, in a sentence"
    assert f"Warning: incidents/card1.yaml:5: {warning}" in in_one(done.stderr)
    assert (done.exit_code, "7 handed over" in done.stdout) == (0, True)
    [text] = (desk / "outbox").glob("*.txt")
    assert "Acme Pay: Card payments fail. " in text.read_text() and "refused" not in text.read_text()
    linted = in_one(do(desk, "lint").stderr)
    assert f"incidents/card1.yaml:5: {what}" in linted and f"incidents/card1.yaml:5: {pasted}" in linted
    done = declare(desk, "--action", long, "--short", "No cards.", "--yes")
    assert "a text would have" not in in_one(done.stderr)
    assert "Acme Pay: No cards. " in "".join(map(Path.read_text, (desk / "outbox").glob("*.txt")))


def test_what_is_not_translated_is_said_before_it_is_sent(desk: Path) -> None:
    declare(desk, "--id", "card1", "--works", "Transfers.", "--link", "https://acme.example/1", "--yes")
    file = desk / "incidents" / "card1.yaml"
    german = "    translations: {de: {issue: Karten., resolution: Wir rollen.}}\n"
    file.write_text(file.read_text() + f"  - nothing_new: At 60%.\n{german}")
    shown = in_one(do(desk, "preview card1").stdout)
    assert 'works "Transfers" and link "https://acme.example/1".' in shown
    what = "readers of de get title, works, nothing_new in the language of the file"
    said = f"incidents/card1.yaml:11: {what}; write translations: {{de: {{nothing_new: …}}}}"
    assert f"Warning: {said}" in in_one(do(desk, "send card1 --yes").stderr)
    assert f"warning: {said}" in in_one(do(desk, "lint").stderr)


def test_what_is_carried_and_what_is_taken_back_is_said(desk: Path) -> None:
    """A person who writes that all is well should notice that readers are still told to stay away."""
    declare(desk, "--id", "card1", "--action", "Please stay signed out.", "--scope", "EU", "--yes")
    first = do(desk, "update card1 --nothing-new 'At 60%.' --dry-run").stdout
    kept = 'Carried forward: issue, resolution, timeframe, scope "EU" and action "Please stay signed out".'
    assert kept in in_one(first) and "No longer said" not in first
    done = do(desk, "update card1 --no-action --timeframe unknown --nothing-new 'At 90%.' --dry-run").stdout
    assert 'Carried forward: issue, resolution and scope "EU".' in in_one(done)
    assert 'No longer said: action "Please stay signed out".' in in_one(done)
    assert done.count("stay signed out") == 1
    assert "pay twice" not in do(desk, "declare payments --no-action --dry-run").stdout
    file = desk / "incidents" / "card1.yaml"
    two = "  - nothing_new: x\n    for: {customers: {issue: Cards fail.}}\n  - for: {customers: ~}\n"
    file.write_text(file.read_text() + two)
    shown = in_one(do(desk, "preview card1").stdout)
    assert "Words of their own (for:) are no longer used for customers (issue)." in shown
