"""Whoever was told that it began is told how it ended; whoever comes later catches up once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list

WINDOW = "{from: 2026-11-21T12:00Z, to: 2026-11-21T14:00Z}"
HEAD = "email,phone,name"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def plan_work(bench: Bench) -> None:
    """Make the incident a planned work that readers were told of."""
    path = write_incident(bench.folder)
    text = path.read_text().replace("severity: 1", f"severity: 1\nkind: maintenance\nwindow: {WINDOW}")
    path.write_text(text.replace("    timeframe: unknown\n", ""))


@pytest.mark.parametrize(
    ("planned", "end"),
    [
        (False, {"status": "resolved", "fixed": "Done."}),
        (False, {"status": "retracted", "because": "Our monitor was wrong."}),
        (False, {"status": "merged", "merged_into": "net3"}),
        (True, {"status": "cancelled", "because": "A part is missing."}),
        (True, {"status": "completed", "fixed": "Done."}),
    ],
)
def test_every_end_reaches_whoever_heard_the_beginning_and_nobody_else(
    bench: Bench, planned: bool, end: dict[str, str]
) -> None:
    if planned:
        plan_work(bench)
    bench.send()
    assert len(bench.mails()) == 3
    write_list(bench.folder, "customers", HEAD, ["new@example.com,,New", "bob@example.com,,Bob"])
    path = bench.folder / "incidents/pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.later(minutes=10), **end))
    bench.send()
    told = {row.address for row in bench.rows() if row.notice == "update:2" and row.state == "accepted"}
    mails = {address for address in told if "@" in address}
    assert mails == {"ann@example.com", "bob@example.com", "help@acme.example"}
    assert {"+4915112345671", "+4915112345672"} <= told


def test_a_newcomer_gets_the_next_update_in_full_and_reads_that_it_is_not_new(bench: Bench) -> None:
    bench.send()
    write_list(bench.folder, "customers", HEAD, ["ann@example.com,,Ann", "new@example.com,,New"])
    more = update_text(bench.later(minutes=10), nothing_new="The rollback is at 60%.")
    write_incident(bench.folder, more=more)
    before = bench.mails()
    bench.send()
    texts = {path.name: path.read_text().replace("=\n", "") for path in bench.mails() if path not in before}
    assert len(texts) == 3
    for name, text in texts.items():
        is_new = "new-example" in name
        assert ("before you were on our list" in text) == is_new, name
        assert "see an error when they pay by card" in text
    write_incident(bench.folder, more=more + update_text(bench.later(minutes=10), issue="It is nearly over."))
    before = bench.mails()
    bench.send()
    assert not any("on our list" in path.read_text() for path in bench.mails() if path not in before)


def test_who_could_not_be_reached_at_first_is_no_newcomer(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    at = bench.later(minutes=5)
    write_incident(bench.folder, more=update_text(at, issue="It is nearly over."))
    bench.send()
    assert not any("on our list" in path.read_text() for path in bench.mails())


def test_nobody_is_a_newcomer_where_all_hear_of_it_for_the_first_time(bench: Bench) -> None:
    bench.send()
    assert not any("on our list" in path.read_text() for path in bench.mails())
    assert bench.later(minutes=1) > START


def test_a_newcomer_is_texted_at_the_next_update_and_hears_the_end(bench: Bench) -> None:
    bench.send()
    write_list(
        bench.folder,
        "customers",
        HEAD,
        ["ann@example.com,+4915112345671,Ann", "new@example.com,+4915112345679,New"],
    )
    more = update_text(bench.later(minutes=10), nothing_new="The rollback is at 60%.")
    write_incident(bench.folder, more=more)
    bench.send()
    texted = [row.address for row in bench.rows() if row.notice == "update:2" and row.channel == "sms"]
    assert texted == ["+4915112345679"]
    assert "see an error" in bench.texts()[-1].read_text()
    assert "No change" not in bench.texts()[-1].read_text()
    more += update_text(bench.later(minutes=10), nothing_new="The rollback is at 80%.")
    write_incident(bench.folder, more=more)
    bench.send()
    assert len(bench.texts()) == 3, "once is enough"
    write_incident(
        bench.folder, more=more + update_text(bench.later(minutes=10), status="resolved", fixed="Done.")
    )
    bench.send()
    ends = {row.address for row in bench.rows() if row.notice == "update:4" and row.channel == "sms"}
    assert ends == {"+4915112345671", "+4915112345672", "+4915112345679"}


def test_without_newcomers_a_plain_update_is_texted_to_nobody(bench: Bench) -> None:
    bench.send()
    write_list(bench.folder, "customers", HEAD, ["ann@example.com,+4915112345671,Ann"])
    write_incident(bench.folder, more=update_text(bench.later(minutes=10), issue="It is nearly over."))
    bench.send()
    assert len(bench.texts()) == 2
    assert not any(row.notice == "update:2" and row.channel == "sms" for row in bench.rows())
