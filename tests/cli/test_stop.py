"""stop and resume: nothing leaves while an incident is stopped, and afterwards nobody is told twice."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from commcast.ledger.fence import stop_incident
from commcast.ledger.tables import ALL_INCIDENTS
from tests.support.desk import Bench, numbered, write_desk
from tests.support.providers import FakeAdapter
from tests.support.terminal import bench_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def told(bench: Bench) -> Counter[str]:
    """Return how often each address got a file of the outbox."""
    names = [path.name.split("-", 1)[1] for path in [*bench.mails(), *bench.texts()]]
    return Counter(names)


def test_a_stopped_incident_sends_nothing_until_it_is_resumed(bench: Bench) -> None:
    bench.release()
    assert "pay7 stopped" in run("stop", "pay7", folder=bench.folder).stdout
    run("tick", folder=bench.folder)
    assert bench.mails() == []
    assert "pay7: update 1: 5 accepted" in run("resume", "pay7", folder=bench.folder).stdout
    assert set(told(bench).values()) == {1}


def test_stopped_in_the_middle_and_resumed_nobody_gets_a_second_copy(tmp_path: Path) -> None:
    bench = bench_now(tmp_path)
    write_desk(tmp_path, customers=numbered(40))
    adapters: list[FakeAdapter] = []

    def stopping(channel: object) -> FakeAdapter:
        adapters.append(FakeAdapter(channel, before=stop_after_five))  # type: ignore[arg-type]
        return adapters[-1]

    def stop_after_five(adapter: FakeAdapter) -> None:
        if len(adapter.handed) == 5:
            with bench.ledger.write() as connection:
                stop_incident(connection, "pay7", "dana", bench.now)

    bench.adapter = stopping
    bench.send()
    handed = sum(len(adapter.handed) for adapter in adapters)
    assert handed < 40
    run("resume", "pay7", folder=tmp_path)
    assert len(bench.mails()) + len(bench.texts()) == 81 - handed
    assert all(state == "accepted" for _, state in bench.states())


def test_preview_counts_what_waits_and_says_how_it_goes_on(bench: Bench) -> None:
    bench.adapter = lambda channel: FakeAdapter(channel, before=stop_now)

    def stop_now(_adapter: FakeAdapter) -> None:
        with bench.ledger.write() as connection:
            stop_incident(connection, "pay7", "dana", bench.now)

    bench.send()
    shown = run("preview", "pay7", folder=bench.folder).stdout
    assert re.search(r"By email \d of 3 still waits?: commcast resume pay7", shown)
    assert "Update 1 by email: " not in shown


def test_all_stops_every_incident_and_names_who(bench: Bench) -> None:
    bench.release()
    run("stop", "--all", "--by", "dana", folder=bench.folder)
    assert "still stopped by dana" in run("resume", "pay7", folder=bench.folder, expect=5).stdout
    assert bench.mails() == []
    run("resume", "--all", folder=bench.folder)
    run("tick", folder=bench.folder)
    assert len(bench.mails()) == 3
    assert ALL_INCIDENTS == "*"


def test_stop_needs_no_id_where_one_is_open(bench: Bench) -> None:
    bench.send()
    assert "pay7 stopped" in run("stop", folder=bench.folder).stdout
    assert "was stopped already" in run("stop", folder=bench.folder).stdout


@pytest.mark.parametrize("arguments", [["nothing1"], [], ["pay7", "--all"]])
def test_what_cannot_be_meant_is_refused(bench: Bench, arguments: list[str]) -> None:
    run("stop", *arguments, folder=bench.folder, expect=2)


def test_resume_finishes_an_incident_whose_file_is_broken(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    run("stop", "pay7", folder=bench.folder)
    run("tick", folder=bench.folder)
    (bench.folder / "incidents" / "pay7.yaml").write_text("title: [\n")
    run("resume", "pay7", folder=bench.folder)
    assert len(bench.mails()) == 3
