"""From lists to a frozen ledger and back: what is counted is frozen, and what is frozen is recognised."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, update

from commcast.delivery.freeze import _as_json, read_whole
from commcast.delivery.freeze import freeze as freeze_rows
from commcast.delivery.rows import PendingRows
from commcast.delivery.tally import tally_all
from commcast.errors import InputError, LedgerError
from commcast.ledger import bulk as gathering
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import drop_freeze
from commcast.ledger.settle import current_owner
from commcast.model.incident import Channel
from commcast.operations.desk import make_plan
from commcast.rendering.compose import ReaderGroup, ReaderWords, content_digest, renderer_for
from commcast.rendering.render import EmailContent
from tests.support.desk import OTHER, Bench, fill, numbered, write_desk, write_incident, write_list
from tests.support.own_words import write_words

WORDS = ReaderWords(EmailContent("s", "t\n", ""), "d" * 64)


def same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rendering cost nothing: it is not what is looked at."""
    monkeypatch.setattr(ReaderGroup, "words", lambda *given, **named: WORDS)


def bench_of(folder: Path, customers: list[str], support: list[str]) -> Bench:
    write_desk(folder, customers=customers, support=support)
    write_incident(folder)
    return Bench(folder)


def mails_owed(bench: Bench) -> PendingRows:
    pending = make_plan(bench.desk, bench.incident(), bench.ledger)
    return next(each for each in pending.deliveries if each.notice.channel is Channel.EMAIL)


def freeze(bench: Bench, *pending: PendingRows) -> list[int]:
    heard: list[int] = []
    assert tried(bench, pending, heard)
    return heard


def tried(bench: Bench, pending: Sequence[PendingRows], heard: list[int]) -> bool:
    notices, rows = [each.notice for each in pending], read_whole(pending)
    return freeze_rows(bench.ledger, notices, rows, (), current_owner(), bench.now, heard.append)


def statements_of(bench: Bench) -> list[str]:
    """Return the list into which each statement of the ledger goes from now on."""
    said: list[str] = []
    event.listen(bench.ledger.engine, "before_cursor_execute", lambda *given: said.append(given[2].lower()))
    return said


addresses = st.sampled_from([f"{name}@acme.example" for name in ("a", "A", "b", "c", "B", "d")])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.lists(addresses, max_size=8), st.lists(addresses, max_size=8))
def test_an_address_is_told_once_by_the_audience_of_best_rank_and_the_tally_counts_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    customers: list[str],
    support: list[str],
) -> None:
    same_words(monkeypatch)
    if not customers + support:
        return
    rows = [f"{address},," for address in customers]
    bench = bench_of(tmp_path_factory.mktemp("desk"), rows, [f"{address}," for address in support])
    bench.release()
    tally = tally_all([mails_owed(bench)], [""]).notices[0]
    freeze(bench, mails_owed(bench))
    told = [(row.address.lower(), row.audience) for row in bench.rows()]
    best = {address.lower(): "customers" for address in customers}
    best |= {address.lower(): "support" for address in support}
    assert sorted(told) == sorted(best.items())
    repeated = sum(each.not_due["the same address again"] for each in tally.audiences.values())
    assert (tally.send, repeated) == (len(best), len(customers + support) - len(best))


def test_ten_thousand_readers_cost_a_few_questions_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the ledger for each 64 KiB of the list, and not one more a reader."""
    same_words(monkeypatch)
    bench = bench_of(tmp_path, numbered(10_000), [])
    bench.release()
    pending = mails_owed(bench)
    said = statements_of(bench)
    heard = freeze(bench, pending)
    blocks = (tmp_path / "audiences/customers.csv").stat().st_size / 65_536 + 1
    selects = sum(each.startswith("select") for each in said)
    assert heard[-1] == 10_000
    assert len(heard) <= blocks + 1
    assert selects <= 2 * blocks + 20
    assert said.count("begin immediate") <= 6


def test_a_second_update_asks_once_for_all_readers_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger knows them all by then."""
    same_words(monkeypatch)
    bench = bench_of(tmp_path, numbered(3_000), [])
    bench.release()
    pending = mails_owed(bench)
    freeze(bench, pending)
    said = statements_of(bench)
    rows = list(replace(pending, _cases={}, _groups={}))
    blocks = (tmp_path / "audiences/customers.csv").stat().st_size / 65_536 + 1
    assert {row.decision.reason for row in rows} == {"already in the ledger: pending"}
    assert sum(each.startswith("select") for each in said) <= 6 * blocks


def test_memory_is_flat_in_the_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except some ten bytes per reader, by which a repeated address is found."""
    same_words(monkeypatch)
    bench = bench_of(tmp_path, numbered(100), [])
    bench.release()
    freeze(bench, mails_owed(bench))  # what is learned once

    def peak(count: int) -> int:
        write_list(bench.folder, "customers", "email,phone,name", numbered(count))
        write_incident(bench.folder, f"pay{count}")
        bench.release(f"pay{count}")
        pending = make_plan(bench.desk, bench.incident(f"pay{count}"), bench.ledger)
        tracemalloc.start()
        freeze(bench, next(d for d in pending.deliveries if d.notice.channel is Channel.EMAIL))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(4_000), peak(20_000)
    assert many - few < 16_000 * 64


def test_a_list_that_is_broken_late_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same_words(monkeypatch)
    monkeypatch.setattr(gathering, "MOVED_AT_ONCE", 100)
    bench = bench_of(tmp_path, [*numbered(9_000), "x" * 70_000], [])
    bench.release()
    with pytest.raises(InputError, match=r"customers\.csv:9002"):
        freeze(bench, mails_owed(bench))
    assert bench.rows() == []
    with bench.ledger.read() as connection:
        assert connection.exec_driver_sql("select count(*) from broadcast").scalar_one() == 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), max_size=5))
def test_the_json_of_many_is_the_json_of_each(rows: list[dict[str, object]]) -> None:
    assert _as_json(rows) == [json.dumps(row) for row in rows]


def test_a_second_attempt_freezes_what_the_first_had_to_drop(tmp_path: Path) -> None:
    """Where another process is freezing one of them, all are dropped and tried again, from the start."""
    bench = bench_of(tmp_path, numbered(5), ["help@acme.example,Su"])
    bench.release()
    pending = make_plan(bench.desk, bench.incident(), bench.ledger)
    first, second = pending.deliveries
    theirs = fill(bench.ledger, [], channel=second.notice.channel, owner=OTHER, finish=False)
    assert not tried(bench, [first, second], [])
    with bench.ledger.write() as connection:
        drop_freeze(connection, [theirs], OTHER)
    assert tried(bench, [first, second], [])
    assert bench.states() == {("email", "pending"): 6, ("sms", "pending"): 5}


USER_EMAIL = "Subject: {{ incident.title }}\n\nDear {{ recipient.name|upper }}, {{ update.issue }}"


def frozen_bench(folder: Path, template: str = "") -> tuple[Bench, dict[str, str]]:
    """Return a desk whose first update is frozen, and the content digest of each reader's words."""
    bench = bench_of(folder, numbered(3), ["help@acme.example,Su Port"])
    if template:
        write_words(folder, "customers", email=template)
    bench.release()
    plan = make_plan(bench.desk, bench.incident(), bench.ledger).deliveries
    contents = {row.key: row.content for deliveries in plan for row in deliveries}
    bench.freeze()
    return bench, {key: content_digest(content) for key, content in contents.items() if content}


def freeze_digests(bench: Bench, digests: dict[str, str]) -> None:
    with bench.ledger.write() as connection:
        for key, digest in digests.items():
            row = schema.delivery.c.key == key
            connection.execute(update(schema.delivery).where(row).values(digest=digest))


@pytest.mark.parametrize("unspliced", [False, True], ids=["another process", "a version without splicing"])
@pytest.mark.parametrize("template", ["", USER_EMAIL], ids=["shipped", "own template"])
def test_what_others_froze_is_sent(tmp_path: Path, template: str, unspliced: bool) -> None:
    bench, plain = frozen_bench(tmp_path, template)
    renderer_for.cache_clear()
    if unspliced:
        freeze_digests(bench, plain)
    bench.send()
    assert bench.states() == {("email", "accepted"): 4, ("sms", "accepted"): 3}


@pytest.mark.parametrize("prefix", ["", "s1:", "s2:"])
def test_other_words_than_were_frozen_are_not_sent(tmp_path: Path, prefix: str) -> None:
    bench, plain = frozen_bench(tmp_path)
    freeze_digests(bench, {key: prefix + digest[::-1] for key, digest in plain.items()})
    with pytest.raises(LedgerError, match="do not render as they did"):
        bench.send()
    assert {state for _, state in bench.states()} == {"pending"}
