"""What a person did not mean is not sent, and what they did is not undone: interruptions, races, refusals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commcast.cli import prompt as asking
from commcast.cli import verbs
from commcast.errors import ExitCode, Interrupted
from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.claims import settle_and_claim
from commcast.ledger.fence import stops_in_force
from commcast.ledger.settle import Settlement, settle
from commcast.ledger.suppressions import erase, list_suppressions
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Outcome, OutcomeKind
from commcast.operations import send as sending
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, address_of
from tests.support.terminal import just_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def test_ctrl_c_while_the_words_are_rendered_stops_the_incident(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Released, interrupted in the freeze: no tick may go on with it."""
    bench.release()

    def interrupted(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sending, "freeze", interrupted)
        with pytest.raises(Interrupted, match="commcast resume pay7"):
            bench.send_released()
    with bench.ledger.read() as connection:
        assert [stop.by for stop in stops_in_force(connection, "pay7")] == ["Ctrl-C"]
    bench.tick()
    assert bench.mails() == []


def test_an_unasked_update_does_not_publish_a_draft_somebody_left(tmp_path: Path) -> None:
    folder = write_desk(tmp_path)
    path = write_incident(folder)
    bench = Bench(folder)
    bench.now = bench.incident().updates[0].at
    bench.send()
    path.write_text(path.read_text() + update_text(bench.later(minutes=1), issue="WRONG WORDS"))
    before = path.read_text()
    result = run("update", "pay7", "--resolution", "A fix.", "--yes", folder=folder, expect=5)
    assert "update 2 of pay7 is a draft" in result.stderr
    assert path.read_text() == before


def test_discard_does_not_delete_what_was_told_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent_meanwhile(_question: str) -> bool:
        bench.send()
        return True

    monkeypatch.setattr(asking, "at_terminal", lambda: True)
    monkeypatch.setattr(asking, "says_yes", sent_meanwhile)
    run("discard", "pay7", folder=bench.folder, expect=5)
    assert (bench.folder / "incidents/pay7.yaml").exists()
    assert len(bench.mails()) == 3


def refusing(*accepted: str) -> Callable[[Channel], FakeAdapter]:
    """Make adapters that refuse everybody for good but those named."""

    def answer(item: Delivery) -> Outcome:
        if address_of(item) in accepted:
            return Outcome(item.delivery, OutcomeKind.ACCEPTED)
        return Outcome(item.delivery, OutcomeKind.REJECTED, "no such mailbox", suppress=True)

    return lambda channel: FakeAdapter(channel, answer)


def suppressed(bench: Bench) -> set[str]:
    with bench.ledger.read() as connection:
        return {each.key for each in list_suppressions(connection)}


def test_a_relay_that_refuses_everybody_suppresses_nobody(bench: Bench) -> None:
    bench.adapter = refusing()
    bench.send()
    assert bench.states()[("email", "rejected")] == 3
    assert suppressed(bench) == set()


def test_one_refusal_among_acceptances_is_remembered(bench: Bench) -> None:
    bench.adapter = refusing("bob@example.com", "help@acme.example")
    bench.send()
    assert suppressed(bench) == {"ann@example.com"}


def test_words_that_everybody_is_suppressed_from_are_refused_before_the_release(tmp_path: Path) -> None:
    folder = write_desk(tmp_path, customers=["ann@example.com,,Ann"], support=["help@acme.example,Su"])
    for address in ("ann@example.com", "help@acme.example"):
        run("recipients", "suppress", address, "--reason", "asked", folder=folder)
    result = run(
        *("declare", "Card payments fail", "--severity", "1", "--issue", "a", "--resolution", "b"),
        *("--timeframe", "unknown", "--yes"),
        folder=folder,
        expect=2,
    )
    assert "all 2 readers are suppressed" in result.stderr


def test_settings_that_cannot_work_are_found_before_anything_is_released(tmp_path: Path) -> None:
    folder = write_desk(tmp_path, email="smtp")
    config = folder / "commcast.toml"
    config.write_text(config.read_text().replace('security = "none"', 'security = "none"\nuser = "status"'))
    result = run(
        *("declare", "Card payments fail", "--severity", "1", "--issue", "a", "--resolution", "b"),
        *("--timeframe", "unknown", "--yes"),
        folder=folder,
        expect=78,
    )
    assert "providers.smtp.user" in result.stderr
    assert not list((folder / "outbox").glob("*"))
    assert run("status", folder=folder).stdout.count("draft")


def test_a_draft_is_still_a_draft_after_an_adoption(tmp_path: Path) -> None:
    folder = write_desk(tmp_path)
    path = write_incident(folder)
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if "  - at:" not in line).replace(
            "    issue:", "  - issue:"
        )
    )
    for file in (folder / ".commcast").iterdir():
        file.unlink()
    run("doctor", "--adopt-ledger", "--yes", folder=folder)
    run("tick", folder=folder)
    assert not (folder / "outbox").exists()
    assert "draft" in run("status", folder=folder).stdout


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


def told_desk(tmp_path: Path) -> Bench:
    """A desk with an incident whose first update was told just now."""
    folder = write_desk(tmp_path)
    bench = Bench(folder, now=just_now())
    write_incident(folder, at=bench.now)
    bench.send()
    return bench


def test_an_end_that_nobody_released_is_named_as_a_draft(tmp_path: Path) -> None:
    bench = told_desk(tmp_path)
    run("resolve", "--fixed", "The release is rolled back.", folder=bench.folder, expect=5)
    result = run("resolve", "--fixed", "Other words.", folder=bench.folder, expect=5)
    assert "update 2 (resolved) of pay7 is a draft" in result.stderr
    assert "commcast discard pay7" in result.stderr


def test_a_drafted_end_does_not_move_while_it_waits(tmp_path: Path) -> None:
    bench = told_desk(tmp_path)
    run("resolve", "--fixed", "The release is rolled back.", folder=bench.folder, expect=5)
    assert "ended: " in (bench.folder / "incidents/pay7.yaml").read_text()


def test_update_does_not_end_an_incident_without_what_mended_it(tmp_path: Path) -> None:
    bench = told_desk(tmp_path)
    result = run("update", "--status", "resolved", "--yes", folder=bench.folder, expect=2)
    assert "commcast resolve pay7 --fixed" in result.stderr


def test_a_tick_names_a_renamed_file_and_is_silent_about_a_stop(tmp_path: Path) -> None:
    bench = told_desk(tmp_path)
    run("stop", "pay7", folder=bench.folder)
    assert run("tick", folder=bench.folder).output == ""
    (bench.folder / "incidents/pay7.yaml").rename(bench.folder / "incidents/pay8.yaml")
    assert "id: pay7" in run("tick", folder=bench.folder, expect=2).output


def test_rows_left_out_are_said_also_where_nobody_is_asked(tmp_path: Path) -> None:
    folder = write_desk(tmp_path, customers=["ann@example.com,,Ann", "no address,,Bob"])
    write_incident(folder, at=just_now())
    result = run("send", "pay7", "--yes", folder=folder)
    assert "1 of 2 rows of customers are bad" in result.stderr
    assert "customers.csv:3" in result.stderr


def test_nothing_is_frozen_of_what_is_stopped(tmp_path: Path) -> None:
    """Stopped for a wrong list, ticked, list mended, resumed: the mended list is the one that goes."""
    folder = write_desk(tmp_path, customers=["wrong@example.com,,Wrong"])
    bench = Bench(folder, now=just_now())
    write_incident(folder, at=bench.now)
    bench.release()
    run("stop", "pay7", folder=folder)
    run("tick", folder=folder)
    write_list(folder, "customers", "email,phone,name", ["right@example.com,,Right"])
    run("resume", "pay7", folder=folder)
    assert {row.address for row in bench.rows()} == {"right@example.com", "help@acme.example"}


def test_who_was_not_told_in_time_is_counted_and_named(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    bench.later(hours=3)
    delivered = bench.send_released()
    assert delivered.expired == 5
    assert delivered.exit_code(0.02) is ExitCode.DECISION


def test_a_provider_that_refuses_everybody_is_not_asked_again_by_a_tick(tmp_path: Path) -> None:
    write_desk(tmp_path, customers=[f"c{n}@example.com,,C" for n in range(60)])
    write_incident(tmp_path)
    bench = Bench(tmp_path, adapter=refusing())
    assert bench.send().exit_code(0.02) is ExitCode.REFUSED
    refused = bench.states()[("email", "rejected")]
    bench.tick()
    assert bench.states()[("email", "rejected")] == refused


def test_ctrl_c_ends_a_tick_over_several_incidents(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_incident(bench.folder, "web1")
    bench.release("pay7")
    bench.release("web1")

    def interrupted(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(sending, "freeze", interrupted)
    with pytest.raises(Interrupted):
        bench.tick()
    with bench.ledger.read() as connection:
        assert [stop.incident for stop in stops_in_force(connection)] == ["pay7"]


def test_an_audience_that_was_told_may_not_go_before_the_end_is_told(tmp_path: Path) -> None:
    bench = told_desk(tmp_path)
    config = bench.folder / "commcast.toml"
    text = config.read_text()
    start, end = text.index("[audiences.customers]"), text.index("[channels.email]")
    config.write_text(text[:start] + text[end:])
    result = run("resolve", "--fixed", "Done.", "--yes", folder=bench.folder, expect=2)
    assert "put [audiences.customers] back" in result.stderr


def test_a_channel_may_not_go_while_messages_wait_for_it(tmp_path: Path) -> None:
    folder = write_desk(tmp_path)
    bench = Bench(folder, now=just_now())
    write_incident(folder, at=bench.now)
    bench.release()
    bench.freeze()
    config = folder / "commcast.toml"
    text = config.read_text().replace('channels = ["email", "sms"]', 'channels = ["email"]')
    start, end = text.index("[channels.sms]"), text.index("[providers.smtp]")
    config.write_text(text[:start] + text[end:])
    assert "put it back" in run("tick", folder=folder, expect=2).stderr


def test_an_update_does_not_go_over_what_somebody_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked against one text, appended to another: nothing is written."""
    bench = told_desk(tmp_path)
    path = bench.folder / "incidents/pay7.yaml"
    checked = verbs.checked_update

    def meanwhile(*arguments: Any) -> Any:
        found = checked(*arguments)
        path.write_text(path.read_text() + update_text(bench.now, issue="THEIRS"))
        return found

    monkeypatch.setattr(verbs, "checked_update", meanwhile)
    result = run("update", "--issue", "MINE", "--yes", folder=bench.folder, expect=2)
    assert "changed by somebody meanwhile" in result.stderr
    assert "MINE" not in path.read_text()
