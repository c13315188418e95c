"""send, stop and resume: only what a person said yes to goes out, once; the same again sends nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from commcast.cli import prompt as asking
from commcast.cli import verbs
from commcast.config.load import load_config
from commcast.errors import ExitCode, Interrupted
from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.claims import settle_and_claim
from commcast.ledger.fence import stop_incident, stops_in_force
from commcast.ledger.releases import read_releases
from commcast.ledger.settle import Settlement, settle
from commcast.ledger.store import ledger_path, open_ledger
from commcast.ledger.suppressions import erase, list_suppressions
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Outcome, OutcomeKind
from commcast.operations import release
from commcast.operations import send as sending
from tests.support.desk import Bench, numbered, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, address_of
from tests.support.terminal import (
    WORDS,
    bench_now,
    declare,
    do,
    everything_in,
    just_now,
    missing,
    outbox,
    play,
    run,
    run_at_terminal,
)

DRAFT = """\
title: Card payments fail
severity: 1
updates:
  - issue: Some cards are refused.
    resolution: We roll back the last release.
    timeframe: unknown
"""
OLD = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="minutes")
AGED = DRAFT.replace("  - issue", f"  - at: {OLD}\n    issue")


def draft(desk: Path, name: str = "card1", text: str = DRAFT) -> Path:
    path = desk / "incidents" / f"{name}.yaml"
    path.write_text(text)
    return path


def releases(desk: Path, incident: str = "card1") -> list[int]:
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.read() as connection:
        found = sorted(read_releases(connection, incident))
    ledger.close()
    return found


def nothing_went_out(desk: Path) -> None:
    """Neither now, nor by any tick that comes later."""
    assert releases(desk) == []
    done = run_at_terminal(desk, "tick")
    # 5: a draft of long ago should nudge somebody, and these desks name nobody.
    assert done.exit_code in {0, 2, 5}, done.output
    assert outbox(desk) == []


def interrupted(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Bench:
    """A desk with a draft of just now."""
    return bench_now(tmp_path)


# --- the yes


# --- the yes


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("typed", ["n\n", "\n", "maybe\n", "yes please\n", ""])
def test_anything_but_yes_keeps_the_draft_and_a_tick_sends_nothing(desk: Path, typed: str) -> None:
    before = draft(desk).read_text()
    done = do(desk, "send card1", typed)
    assert done.exit_code == 5
    assert missing("commcast send card1 … commcast discard card1", done.stderr) == []
    assert (desk / "incidents" / "card1.yaml").read_text() == before
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
def test_a_yes_writes_the_time_that_was_shown_and_sends_once(desk: Path) -> None:
    path = draft(desk)
    play(
        desk,
        """
        send < y         | 0 | 7 | The next update is promised by … commcast update card1
        send card1       | 0 | 0 | already sent
        send             | 0 | 0 | already sent
        send card1 --yes | 0 | 0 | already sent
        """,
    )
    assert "at: 2" in path.read_text()


@pytest.mark.usefixtures("person")
def test_ctrl_c_is_final_or_stops_the_incident(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft(desk)
    with monkeypatch.context() as patch:
        patch.setattr(asking, "ask", interrupted)
        play(desk, "send card1 | 130 | 0 | nothing was released")
    nothing_went_out(desk)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "hand_over", interrupted)
        play(desk, "send card1 < y | 130 | 0 | commcast resume card1")
    play(desk, "tick | 0 | 0 |\nresume card1 | 0 | 7 |")


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("changes", ["list", "words"])
def test_what_changes_is_asked_again(desk: Path, monkeypatch: pytest.MonkeyPatch, changes: str) -> None:
    """A yes counts for what was shown: the second question shows the new readers or words."""
    answers = [False, True] if changes == "list" else [True, True]

    def yes_after_a_change(_question: str, _seconds: float) -> bool:
        if changes == "words":
            draft(desk, text=DRAFT.replace("Some cards", "All cards"))
        else:
            with (desk / "audiences" / "support.csv").open("a") as file:
                file.write("new@desk.example,New\n")
        return answers.pop()

    monkeypatch.setattr(asking, "says_yes", yes_after_a_change)
    before = draft(desk).read_text()
    done = do(desk, "send card1")
    assert "have changed since you looked" in done.stderr
    assert (done.exit_code, answers) == (0 if changes == "words" else 5, []), done.output
    assert all("All cards" in (desk / "outbox" / each).read_text() for each in outbox(desk))
    if changes == "list":
        assert (desk / "incidents" / "card1.yaml").read_text() == before
        nothing_went_out(desk)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("", "update 1 was sent by … while you were asked … nothing was sent by you"),
        ("--json", '"released": []'),
    ],
)
def test_what_others_sent_meanwhile_is_not_sent_again(
    desk: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    def sent_meanwhile(_question: str, _seconds: float) -> bool:
        assert do(desk, "send card1 --yes").exit_code == 0
        return True

    monkeypatch.setattr(asking, "says_yes", sent_meanwhile)
    draft(desk)
    play(desk, f"send card1 {how} | 0 | 7 | {said}")


@pytest.mark.usefixtures("person")
def test_an_old_question_is_asked_again(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times have passed: 10:25 is not a promise at 10:40."""
    monkeypatch.setattr(release, "QUESTION_STANDS", timedelta(seconds=-1))
    draft(desk)
    play(desk, "send card1 < y | 5 | 0 | no longer right")
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
def test_above_confirm_above_the_number_is_typed(desk: Path) -> None:
    config = desk / "commcast.toml"
    config.write_text(config.read_text().replace("confirm_above = 1000", "confirm_above = 6"))
    draft(desk)
    for typed, code, sent in (("y", 5, 0), ("6", 5, 0), ("7", 0, 7)):
        play(desk, f"send card1 < {typed} | {code} | {sent} | Type 7 to send")


# --- what is refused before anything is released


def take_ledger(desk: Path, *, give: bool = False) -> None:
    """Remove the ledger, or put that of another desk in its place."""
    path = draft(desk).parents[1] / ".commcast" / "ledger.db"
    path.unlink()
    if give:
        other = desk.parent / "other"
        run_at_terminal(desk.parent, "init", str(other))
        (other / ".commcast" / "ledger.db").replace(path)


def empty_lists(desk: Path) -> None:
    draft(desk)
    for path in (desk / "audiences").glob("*.csv"):
        path.write_text("email,phone\n")


def break_three(desk: Path) -> None:
    draft(desk, "a1", DRAFT.replace("severity: 1", "severity: 9"))
    draft(desk, "b1", DRAFT.replace("unknown", "soon"))
    draft(desk, "c1", "title: [\n")


HALF = DRAFT[: DRAFT.index("resolution")] + "res"
THREE = "incidents/a1.yaml:2:11:  … incidents/b1.yaml:6:16:  … incidents/c1.yaml:"


@pytest.mark.parametrize(
    ("prepare", "command", "code", "said"),
    [
        (draft, "send card1", 5, "no terminal to ask at"),
        (draft, "send pay9", 2, "no incident 'pay9'; known: card1"),
        (lambda desk: [draft(desk), draft(desk, "login1")], "send --yes", 2, "card1, login1"),
        (lambda desk: draft(desk, text=HALF), "send card1 --yes", 2, "incidents/card1.yaml:5:"),
        (break_three, "send --yes", 2, THREE),
        (empty_lists, "send card1 --yes", 2, "no recipients: audiences/ … have no usable row"),
        (lambda desk: do(draft(desk).parents[1], "stop card1"), "send card1 --yes", 5, "resume card1"),
        (lambda desk: draft(desk, text=AGED), "send card1 --yes", 5, "--late"),
        *((take_ledger, f"send card1 --yes{dry}", 3, "doctor --adopt") for dry in ("", " --dry-run")),
        *(
            (lambda desk: take_ledger(desk, give=True), f"send card1 --yes{dry}", 3, "another desk")
            for dry in ("", " --dry-run")
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_may_not_go_is_not_released(
    desk: Path, prepare: Callable[[Path], Any], command: str, code: int, said: str
) -> None:
    prepare(desk)
    done = do(desk, command, "y\n")
    assert done.exit_code == code, done.output
    assert missing(said, done.stderr) == [], done.stderr
    if code == 3:
        assert outbox(desk) == []
    else:
        nothing_went_out(desk)


def test_what_does_not_keep_words_from_going(desk: Path) -> None:
    """--late is given; another file is broken, and a row; a hundred incidents were over long before."""
    old = (
        DRAFT.replace("  - issue", "  - at: 2025-01-02T10:00Z\n    issue")
        + "  - at: 2025-01-02T11:00Z\n    status: resolved\n    fixed: It is fixed.\n"
    )
    for number in range(100):
        draft(desk, f"old{number}", old.replace("Card payments", f"Old card payments {number}"))
    play(desk, "tick | 0 | 0 |\nsend | 0 | 0 | Nothing to send")
    draft(desk, text=AGED)
    draft(desk, "b1", "title: [\n")
    with (desk / "audiences" / "customers.csv").open("a") as file:
        file.write("no address,,Bob,\n")
    play(
        desk,
        "send card1 --yes --late | 0 | 7 | commcast lint … 1 of 3 rows of customers are bad … customers.csv:",
    )


@pytest.mark.parametrize(
    ("settings", "suppress", "code", "said"),
    [
        ("", ("ann@example.com", "help@acme.example"), 2, "all 2 readers are suppressed"),
        ('security = "none"\nuser = "status"', (), 78, "providers.smtp.user"),
    ],
    ids=["all suppressed", "settings"],
)
def test_what_reaches_nobody_is_not_released(
    tmp_path: Path, settings: str, suppress: tuple[str, ...], code: int, said: str
) -> None:
    email = "smtp" if settings else "outbox"
    folder = write_desk(
        tmp_path, email=email, customers=["ann@example.com,,Ann"], support=["help@acme.example,S"]
    )
    config = folder / "commcast.toml"
    if settings:
        config.write_text(config.read_text().replace('security = "none"', settings))
    for address in suppress:
        run("recipients", "suppress", address, folder=folder)
    done = run("declare", "Cards fail", "--severity", "1", *WORDS, "--yes", folder=folder, expect=code)
    assert said in done.stderr
    assert not list((folder / "outbox").glob("*"))
    assert "draft" in run("status", folder=folder).stdout


def test_a_renamed_file_and_released_words_that_changed_are_refused(desk: Path) -> None:
    path = draft(desk)
    play(desk, "send --yes | 0 | 7 | The next update is promised by … commcast update card1")
    text = path.read_text()
    path.write_text(text.replace("Some cards", "All cards"))
    for command in ("send card1", "update card1 --issue More."):
        play(desk, f"{command} --yes | 2 | 0 | was released and has changed since")
    path.write_text(text)
    path.rename(path.with_name("card9.yaml"))
    play(desk, "send card9 --yes | 2 | 0 | id: card1")


def test_an_audience_or_a_channel_may_not_go_while_messages_are_due(ours: Bench) -> None:
    ours.send()
    config = ours.folder / "commcast.toml"
    whole = config.read_text()

    def without(start: str, end: str) -> str:
        return whole[: whole.index(start)] + whole[whole.index(end) :]

    config.write_text(without("[audiences.customers]", "[channels.email]"))
    result = run("resolve", "--fixed", "Done.", "--yes", folder=ours.folder, expect=2)
    assert "put [audiences.customers] back" in result.stderr
    config.write_text(whole)
    write_incident(ours.folder, "web1", at=just_now())
    ours.release("web1")
    ours.freeze("web1")
    text = without("[channels.sms]", "[providers.smtp]")
    config.write_text(text.replace('channels = ["email", "sms"]', 'channels = ["email"]'))
    assert "put it back" in run("tick", folder=ours.folder, expect=2).stderr


# --- what is shown, and what goes


def test_a_dry_run_leaves_every_byte_and_shows_what_send_hands_over(desk: Path) -> None:
    """Also beside a ledger whose write-ahead log is not moved in yet."""
    declare(desk, "--yes")
    draft(desk, "login1", DRAFT.replace("Card payments fail", "Sign-in fails"))
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.read():
        assert (desk / ".commcast" / "ledger.db-wal").exists()
        before = everything_in(desk)
        planned = json.loads(do(desk, "send login1 --dry-run --json").stdout)
        assert everything_in(desk) == before
    ledger.close()
    sent = set(outbox(desk))
    assert do(desk, "send login1 --yes").exit_code == 0
    new = [desk / "outbox" / name for name in outbox(desk) if name not in sent and name.endswith(".eml")]
    subjects = {str(message_from_bytes(path.read_bytes(), policy=policy.default)["Subject"]) for path in new}
    shown = {
        part["message"]["subject"]
        for notice in planned["notices"]
        if notice["channel"] == "email"
        for part in notice["audiences"]
    }
    assert (shown, planned["send"]) == (subjects, 7)


def test_two_drafts_are_released_together_and_readers_get_the_newest(desk: Path) -> None:
    draft(desk, text=DRAFT + "  - status: identified\n    issue: All cards are refused.\n")
    document = json.loads(do(desk, "send --yes --json").stdout)
    assert (document["released"], document["exit_code"], releases(desk)) == ([1, 2], 0, [1, 2])
    assert len([name for name in outbox(desk) if name.endswith(".eml")]) == 6
    assert sum(row["accepted"] for row in document["outcomes"]) == len(outbox(desk))


# --- interruptions and races


@pytest.mark.parametrize("by_tick", [False, True], ids=["send", "a tick over two"])
def test_ctrl_c_in_the_freeze_stops_it(bench: Bench, monkeypatch: pytest.MonkeyPatch, by_tick: bool) -> None:
    """Released, interrupted in the freeze: no tick may go on with it."""
    write_incident(bench.folder, "web1")
    bench.release()
    bench.release("web1")
    with monkeypatch.context() as patch:
        patch.setattr(sending, "freeze", interrupted)
        with pytest.raises(Interrupted, match="commcast resume pay7"):
            bench.tick() if by_tick else bench.send_released()
    with bench.ledger.read() as connection:
        stops = [(stop.incident, stop.by) for stop in stops_in_force(connection)]
    assert stops == [("pay7", "Ctrl-C")]
    if not by_tick:
        bench.tick()
        assert bench.states() == Counter()


def test_discard_spares_what_was_sent_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def sent_meanwhile(_question: str) -> bool:
        bench.send()
        return True

    monkeypatch.setattr(asking, "at_terminal", lambda: True)
    monkeypatch.setattr(asking, "says_yes", sent_meanwhile)
    run("discard", "pay7", folder=bench.folder, expect=5)
    assert (bench.folder / "incidents/pay7.yaml").exists()
    assert len(bench.mails()) == 3


def test_an_update_spares_what_others_write(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked against one text, appended to another: nothing is written."""
    ours.send()
    path, checked = ours.folder / "incidents/pay7.yaml", verbs.checked_update

    def meanwhile(*arguments: Any) -> Any:
        found = checked(*arguments)
        path.write_text(path.read_text() + update_text(ours.now, issue="THEIRS"))
        return found

    monkeypatch.setattr(verbs, "checked_update", meanwhile)
    result = run("update", "--issue", "MINE", "--yes", folder=ours.folder, expect=2)
    assert "changed by somebody meanwhile" in result.stderr
    assert "MINE" not in path.read_text()


def test_a_draft_is_still_a_draft_after_an_adoption(desk: Path) -> None:
    draft(desk)
    for file in (desk / ".commcast").iterdir():
        file.unlink()
    play(desk, "doctor --adopt-ledger --yes | 0 | 0 |\nstatus | 0 | 0 | draft")
    nothing_went_out(desk)


# --- refusals and erasures


def refusing(*accepted: str) -> Callable[[Channel], FakeAdapter]:
    """Make adapters that refuse everybody for good but those named."""

    def answer(item: Delivery) -> Outcome:
        if address_of(item) in accepted:
            return Outcome(item.delivery, OutcomeKind.ACCEPTED)
        return Outcome(item.delivery, OutcomeKind.REJECTED, "no such mailbox", suppress=True)

    return lambda channel: FakeAdapter(channel, answer)


@pytest.mark.parametrize(
    ("accepted", "suppressed"),
    [((), set()), (("bob@example.com", "help@acme.example"), {"ann@example.com"})],
    ids=["of everybody", "of one"],
)
def test_a_refusal_of_one_is_remembered(
    bench: Bench, accepted: tuple[str, ...], suppressed: set[str]
) -> None:
    """One of everybody is not, and the provider is not asked again by a tick."""
    if not accepted:
        write_desk(bench.folder, customers=[f"c{n}@example.com,,C" for n in range(60)])
    bench.adapter = refusing(*accepted)
    assert (bench.send().exit_code(0.02) is ExitCode.REFUSED) == (not accepted)
    with bench.ledger.read() as connection:
        assert {each.key for each in list_suppressions(connection)} == suppressed
    refused = bench.states()["email", "rejected"]
    bench.tick()
    assert bench.states()["email", "rejected"] == refused


def test_who_was_not_told_in_time_is_counted(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    bench.later(hours=3)
    delivered = bench.send_released()
    assert (delivered.expired, delivered.exit_code(0.02)) == (5, ExitCode.DECISION)


def test_an_answer_after_an_erasure_does_not_bring_the_address_back(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    with bench.ledger.write() as connection:
        broadcast = next(each for each in open_broadcasts(connection, "pay7") if each.channel == "email")
        turn = settle_and_claim(
            connection, broadcast.id, [], count=9, owner="me|1|1", lease=timedelta(hours=1), now=bench.now
        )
    ann = next(claim for claim in turn.claims if claim.key == "ann@example.com")
    with bench.ledger.write() as connection:
        erase(connection, bench.ledger.secret, "email", "ann@example.com", by="dana", now=bench.now)
        taken = Outcome(ann.delivery, OutcomeKind.ACCEPTED, "to ann@example.com", "ann-example-com.eml")
        settle(connection, [Settlement(taken, "outbox")], owner="me|1|1", now=bench.now)
    row = next(row for row in bench.rows() if row.channel == "email" and not row.address)
    assert (row.state.value, row.reason, row.provider_id) == ("accepted", "", "")


# --- stop and resume: nothing leaves while an incident is stopped; afterwards nobody is told twice


def break_file(bench: Bench) -> None:
    (bench.folder / "incidents" / "pay7.yaml").write_text("title: [\n")


def mend_list(bench: Bench) -> None:
    write_list(bench.folder, "customers", "email,phone,name", ["right@example.com,,Right"])


STOPS = {
    "the one": (
        """
        stop             | 0 | 0 | pay7 stopped
        stop pay7        | 0 | 0 | was stopped already
        tick             | 0 | 0 |
        send pay7        | 5 | 0 | lift it with: commcast resume pay7
        stop nothing1    | 2 | 0 | no incident 'nothing1'
        stop pay7 --all  | 2 | 0 | not both
        resume pay7      | 0 | 5 | pay7: update 1: 5 accepted
        """
    ),
    "all": (
        """
        stop --all --by dana | 0 | 0 | Everything stopped
        resume pay7          | 5 | 0 | still stopped by dana
        resume --all         | 0 | 5 | may go on … pay7: 5 accepted
        """
    ),
}


@pytest.mark.parametrize("story", STOPS.values(), ids=STOPS)
def test_what_is_stopped_sends_nothing_until_it_is_resumed(ours: Bench, story: str) -> None:
    ours.release()
    if "resume --all" in story:
        ours.freeze()
    play(ours.folder, story)
    names = [path.name.split("-", 1)[1] for path in [*ours.mails(), *ours.texts()]]
    assert set(Counter(names).values()) == {1}
    (ours.folder / "incidents/pay7.yaml").rename(ours.folder / "incidents/pay8.yaml")
    play(ours.folder, "tick | 2 | 0 | id: pay7")


@pytest.mark.parametrize(
    ("frozen", "meanwhile", "readers"),
    [(True, break_file, {"ann", "bob", "help"}), (False, mend_list, {"right", "help"})],
    ids=["the file breaks", "the list is fixed"],
)
def test_what_changes_while_stopped(
    ours: Bench, frozen: bool, meanwhile: Callable[[Bench], None], readers: set[str]
) -> None:
    """What was frozen goes, even if its file breaks; a stop before that leaves the list to be fixed."""
    ours.release()
    if frozen:
        ours.freeze()
    play(ours.folder, "stop pay7 | 0 | 0 |\ntick | 0 | 0 |")
    meanwhile(ours)
    run("resume", "pay7", folder=ours.folder)
    assert {row.address.split("@")[0] for row in ours.rows() if row.channel == "email"} == readers
    assert len(ours.mails()) == len(readers)


def test_stopped_in_the_middle_the_rest_waits_and_is_told_once(ours: Bench) -> None:
    write_desk(ours.folder, customers=numbered(40))
    adapters: list[FakeAdapter] = []

    def stop_after_five(adapter: FakeAdapter) -> None:
        if len(adapter.handed) == 5:
            with ours.ledger.write() as connection:
                stop_incident(connection, "pay7", "dana", ours.now)

    def make(channel: Channel) -> FakeAdapter:
        adapters.append(FakeAdapter(channel, before=stop_after_five))
        return adapters[-1]

    ours.adapter = make
    ours.send()
    handed = sum(len(adapter.handed) for adapter in adapters)
    assert handed < 40
    shown = run("preview", "pay7", folder=ours.folder).stdout
    assert re.search(r"By email \d+ of 41 still waits?: commcast resume pay7", shown)
    assert "Update 1 by email: " not in shown
    play(ours.folder, f"resume pay7 | 0 | {81 - handed} |")
    assert all(state == "accepted" for _, state in ours.states())


def test_a_text_glues_no_full_stop_to_a_link(desk: Path) -> None:
    declare(desk, "--id", "card1", "--scope", "cards, see https://status.acme.example/card1", "--yes")
    texts = [(desk / "outbox" / name).read_text() for name in outbox(desk) if name.endswith(".txt")]
    assert texts and all("/card1 " in text for text in texts)
