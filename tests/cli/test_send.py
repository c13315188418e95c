"""send, stop and resume: only what a person said yes to goes out, once; the same again sends nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from commcast.cli import prompt as asking
from commcast.cli import verbs
from commcast.config.load import load_config
from commcast.errors import ExitCode, Interrupted
from commcast.ledger.fence import stops_in_force
from commcast.ledger.releases import read_releases
from commcast.ledger.settle import current_owner
from commcast.ledger.store import ledger_path, open_ledger
from commcast.ledger.suppressions import erase, list_suppressions
from commcast.ledger.tables import delivery
from commcast.model.message import Delivery, Outcome, OutcomeKind
from commcast.operations import release
from commcast.operations import send as sending
from tests.support.desk import Bench, numbered, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, address_of
from tests.support.reader import parsed
from tests.support.terminal import (
    bench_now,
    declare,
    do,
    everything_in,
    in_one,
    missing,
    outbox,
    play,
    run,
    succeed,
)
from tests.support.values import cases

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


def nothing_went_out(desk: Path) -> None:
    """Neither now, nor by any tick that comes later."""
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.read() as connection:
        assert not read_releases(connection, "card1")
    ledger.close()
    done = do(desk, "tick")
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
def test_a_yes_writes_the_time_and_sends_once_what_then_may_not_change(desk: Path) -> None:
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
    text = path.read_text()
    assert "at: 2" in text
    path.write_text(text.replace("Some cards", "All cards"))
    for command in ("send card1", "update card1 --issue More."):
        play(desk, f"{command} --yes | 2 | 0 | was released and has changed since")
    path.write_text(text)
    path.rename(path.with_name("card9.yaml"))
    play(desk, "send card9 --yes | 2 | 0 | id: card1")


def test_a_lost_time_is_taken_from_the_ledger_and_written_back(desk: Path) -> None:
    """Git took the file back to the draft: everything goes on, and lint says which line is missing."""
    zoned = desk / "commcast.toml"
    zoned.write_text(zoned.read_text().replace('zone = "UTC"', 'zone = "Asia/Kolkata"'))
    path = draft(desk)
    before = path.read_text()
    succeed(desk, "send card1")
    whole = path.read_text()
    at = whole.partition("at: ")[2].split()[0]
    assert at.endswith("+05:30")
    path.write_text(before)
    lost = f"card1.yaml:4: update 1 was released and has lost its line `at`; add at: {at}, or run: commcast"
    play(
        desk,
        f"""
        send card1 --yes                  | 0 | 0 | already sent
        preview card1                     | 0 | 0 | already sent … not:changed
        tick                              | 0 | 0 |
        lint                              | 0 | 0 | OK … {lost} lint --fix
        lint --fix                        | 0 | 0 | Wrote incidents/card1.yaml: at of update 1. … not:lost
        """,
    )
    assert path.read_text() == whole
    path.write_text(before)
    play(desk, "update card1 --issue More. --yes | 0 | 6 |")
    assert path.read_text().startswith(whole)
    path.write_text(whole.replace("Some cards", "All cards"))
    play(
        desk, "lint | 2 | 0 | update 1 was released and has changed … update 2 was released and is no longer"
    )
    path.write_text(before.replace("Some cards", "All cards"))
    play(desk, "send card1 --yes | 2 | 0 | has changed … not:The draft is kept")


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
def test_what_changes_is_asked_again(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A yes counts for what was shown: the second question shows the new reader."""
    answers = ["n", "y"]

    def yes_after_a_change(_question: str, _seconds: float) -> str:
        with (desk / "audiences/support.csv").open("a") as file:
            file.write("new@desk.example,New\n")
        return answers.pop()

    monkeypatch.setattr(asking, "ask", yes_after_a_change)
    before = draft(desk).read_text()
    play(desk, "send card1 | 5 | 0 | have changed since you looked")
    assert (answers, (desk / "incidents" / "card1.yaml").read_text()) == ([], before)
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("how", ["", "--json"])
def test_what_others_sent_meanwhile_is_not_sent_again(
    desk: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def sent_meanwhile(_question: str, _seconds: float) -> str:
        assert do(desk, "send card1 --yes").exit_code == 0
        return "y"

    monkeypatch.setattr(asking, "ask", sent_meanwhile)
    draft(desk)
    said = '"released": []' if how else "was sent by … while you were being asked … nothing was sent by you"
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


def take_ledger(desk: Path, *, give: bool = False) -> None:
    """Remove the ledger, or put that of another desk in its place."""
    path = draft(desk).parents[1] / ".commcast" / "ledger.db"
    path.unlink()
    if give:
        other = desk.parent / "other"
        run("init", other)
        (other / ".commcast" / "ledger.db").replace(path)


def lack_settings(desk: Path) -> None:
    draft(desk)
    path = desk / "commcast.toml"
    text = path.read_text().replace('provider = "outbox"  ', 'provider = "smtp"  ', 1)
    path.write_text(f'{text}[providers.smtp]\nhost = "127.0.0.1"\nuser = "status"\n')


def rewrite_lists(desk: Path, *rows: str) -> None:
    draft(desk)
    for path in (desk / "audiences").glob("*.csv"):
        path.write_text("\n".join(["email,phone", *rows]) + "\n")


def opt_all_out(desk: Path) -> None:
    rewrite_lists(desk, "ann@example.com,")
    do(desk, "recipients suppress ann@example.com")


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
        (rewrite_lists, "send card1 --yes", 2, "no recipients: audiences/ … have no usable row"),
        (lambda desk: do(draft(desk).parents[1], "stop card1"), "send card1 --yes", 5, "resume card1"),
        (lambda desk: draft(desk, text=AGED), "send card1 --yes", 5, "--late"),
        (opt_all_out, "send card1 --yes", 2, "all 1 readers are suppressed"),
        (lack_settings, "send card1 --yes", 78, "providers.smtp.user"),
        (take_ledger, "send card1 --yes", 3, "doctor --adopt"),
        (take_ledger, "send card1 --yes --dry-run", 3, "doctor --adopt"),
        (lambda desk: take_ledger(desk, give=True), "send card1 --yes", 3, "another desk"),
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
    """--late is given; another file is broken, and a row."""
    draft(desk, text=AGED)
    draft(desk, "b1", "title: [\n")
    with (desk / "audiences" / "customers.csv").open("a") as file:
        file.write("no address,,Bob,\n")
    said = "commcast lint … 1 of 3 rows of customers are bad … customers.csv:"
    play(desk, f"send card1 --yes --late | 0 | 7 | {said}")


def test_an_audience_may_not_go_while_messages_are_due(ours: Bench) -> None:
    ours.send()
    config = ours.folder / "commcast.toml"
    before, _, after = config.read_text().partition("[audiences.customers]")
    config.write_text(before + after[after.index("[channels.email]") :])
    play(ours.folder, "resolve --fixed Done. --yes | 2 | 0 | put [audiences.customers] back")


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
    subjects = {str(parsed(path)["Subject"]) for path in new}
    notices = [notice for notice in planned["notices"] if notice["channel"] == "email"]
    shown = {part["message"]["subject"] for notice in notices for part in notice["audiences"]}
    assert (shown, planned["send"]) == (subjects, 7)


def test_two_drafts_are_released_together_and_readers_get_the_newest(desk: Path) -> None:
    draft(desk, text=DRAFT + "  - status: identified\n    issue: All cards are refused.\n")
    document = json.loads(do(desk, "send --yes --json").stdout)
    assert (document["released"], document["exit_code"]) == ([1, 2], 0)
    assert len([name for name in outbox(desk) if name.endswith(".eml")]) == 6
    assert sum(row["accepted"] for row in document["outcomes"]) == len(outbox(desk))


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
        assert [(stop.incident, stop.by) for stop in stops_in_force(connection)] == [("pay7", "Ctrl-C")]
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
    assert "changed by someone else" in result.stderr
    assert "MINE" not in path.read_text()


def test_a_draft_is_still_a_draft_after_an_adoption(desk: Path) -> None:
    draft(desk)
    for file in (desk / ".commcast").iterdir():
        file.unlink()
    play(desk, "doctor --adopt-ledger --yes | 0 | 0 |\nstatus | 0 | 0 | draft")
    nothing_went_out(desk)


@pytest.mark.parametrize("accepted", [(), ("bob@example.com", "help@acme.example")], ids=["all", "one"])
def test_a_refusal_of_one_is_remembered(bench: Bench, accepted: tuple[str, ...]) -> None:
    """One of everybody is not, and the provider is not asked again by a tick."""

    def answer(item: Delivery) -> Outcome:
        if address_of(item) in accepted:
            return Outcome(item.delivery, OutcomeKind.ACCEPTED)
        return Outcome(item.delivery, OutcomeKind.REJECTED, "no such mailbox", suppress=True)

    if not accepted:
        write_desk(bench.folder, customers=[f"c{n}@example.com,,C" for n in range(60)])
    bench.adapter = lambda channel: FakeAdapter(channel, answer)
    assert (bench.send().exit_code(0.02) is ExitCode.REFUSED) == (not accepted)
    with bench.ledger.read() as connection:
        assert [each.key for each in list_suppressions(connection)] == ["ann@example.com"] * bool(accepted)
    refused = bench.states()["email", "rejected"]
    bench.tick()
    assert bench.states()["email", "rejected"] == refused


def test_an_answer_after_an_erasure_does_not_bring_the_address_back(bench: Bench) -> None:
    def answer(item: Delivery) -> Outcome:
        return Outcome(item.delivery, OutcomeKind.ACCEPTED, f"to {address_of(item)}", address_of(item))

    def forget(adapter: FakeAdapter) -> None:
        if address_of(adapter.handed[-1]) == "ann@example.com":
            with bench.ledger.write() as connection:
                erase(connection, bench.ledger.secret, "email", "ann@example.com", by="dana", now=bench.now)

    bench.adapter = lambda channel: FakeAdapter(channel, answer, before=forget)
    bench.send()
    row = next(row for row in bench.rows() if row.channel == "email" and not row.address)
    assert (row.state.value, row.reason, row.provider_id) == ("accepted", "", "")


@cases("""
    rows                | owner | code | says
    accepted            |       | 0    | update 1 was already sent
    accepted + rejected |       | 1    | 3 rejected … resend pay7 --rejected
    rejected            |       | 1    | update 1 has 5 rejected … resend pay7 --rejected
    unknown             |       | 1    | update 1 has 5 unknown … commcast reconcile pay7
    skipped             |       | 0    | update 1 was already sent
    claimed             | here  | 0    | update 1 has 5 waiting   # two share the work
    claimed             | other | 75   | update 1 has 5 waiting … The next tick continues
""")
def test_sending_again_says_how_the_messages_stand(
    ours: Bench, rows: str, owner: str, code: str, says: str
) -> None:
    """In words and in the exit code: "already sent" stands over no message that is not."""
    ours.send()
    pid = current_owner() if owner == "here" else "other|boot|pid:[1]|10|99"
    claim = {"owner": pid, "lease_until": datetime.now(UTC) + timedelta(minutes=9)} if owner else {}
    for state, channel in zip(rows.split(" + "), ("sms", "email"), strict=False):
        with ours.ledger.write() as connection:
            which = update(delivery).where(delivery.c.channel.in_({channel, "email"}))
            connection.execute(which.values(state=state, **claim))
    done = run("send", "pay7", folder=ours.folder, expect=int(code))
    assert missing(says, in_one(done.output)) == []
    document = json.loads(run("send", "pay7", "--json", folder=ours.folder, expect=int(code)).stdout)
    assert document["exit_code"] == int(code)


STOPS = [
    """
    stop             | 0 | 0 | pay7 stopped
    stop pay7        | 0 | 0 | was stopped already
    tick             | 0 | 0 |
    send pay7        | 5 | 0 | lift it with: commcast resume pay7
    stop nothing1    | 2 | 0 | no incident 'nothing1'
    stop pay7 --all  | 2 | 0 | not both
    resume pay7      | 0 | 5 | pay7: update 1: 5 accepted
    """,
    """
    stop --all --by dana | 0 | 0 | Everything stopped
    resume pay7          | 5 | 0 | still stopped by dana
    resume --all         | 0 | 5 | is no longer stopped … pay7: 5 accepted
    """,
]


@pytest.mark.parametrize("story", STOPS, ids=["the one", "all"])
def test_what_is_stopped_sends_nothing_until_it_is_resumed(ours: Bench, story: str) -> None:
    ours.release()
    if "resume --all" in story:
        ours.freeze()
    play(ours.folder, story)
    names = [path.name.split("-", 1)[1] for path in [*ours.mails(), *ours.texts()]]
    assert set(Counter(names).values()) == {1}
    (ours.folder / "incidents/pay7.yaml").rename(ours.folder / "incidents/pay8.yaml")
    play(ours.folder, "tick | 2 | 0 | id: pay7")


def test_a_list_is_fixed_while_stopped(ours: Bench) -> None:
    """A stop before the freeze leaves the list to be fixed."""
    ours.release()
    play(ours.folder, "stop pay7 | 0 | 0 |\ntick | 0 | 0 |")
    write_list(ours.folder, "customers", "email,phone,name", ["right@example.com,,Right"])
    run("resume", "pay7", folder=ours.folder)
    assert {row.address for row in ours.rows()} == {"right@example.com", "help@acme.example"}
    assert len(ours.mails()) == 2


def test_stopped_in_the_middle_the_rest_waits_and_is_told_once(ours: Bench) -> None:
    write_desk(ours.folder, customers=numbered(40))
    handed = 0

    def stop_at_five(adapter: FakeAdapter) -> None:
        nonlocal handed
        handed += 1
        if len(adapter.handed) == 5:
            ours.stop()

    ours.adapter = lambda channel: FakeAdapter(channel, before=stop_at_five)
    ours.send()
    assert handed < 40
    shown = run("preview", "pay7", folder=ours.folder).stdout
    assert re.search(r"By email \d+ of 41 still waits?: commcast resume pay7", shown)
    assert "Update 1 by email: " not in shown
    play(ours.folder, f"resume pay7 | 0 | {81 - handed} |")
    assert all(state == "accepted" for _, state in ours.states())


def test_a_text_glues_no_full_stop_to_a_link(desk: Path) -> None:
    declare(desk, "--id", "card1", "--action", "See https://status.acme.example/card1", "--yes")
    texts = [(desk / "outbox" / name).read_text() for name in outbox(desk) if name.endswith(".txt")]
    assert texts and all("/card1 " in text for text in texts)
