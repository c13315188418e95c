"""recipients import: SendGrid's own lists, brought in or only counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commcast.errors import ConfigError, Fault, TryAgain
from commcast.providers import registry as wiring
from commcast.providers.base import Refused, SuppressionEntry
from tests.support.desk import Bench
from tests.support.providers import FakeLists
from tests.support.terminal import bench_now, every_byte, run

THEN = datetime(2025, 3, 1, tzinfo=UTC)
IMPORT = ("recipients", "import", "--from", "sendgrid")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def stand(monkeypatch: pytest.MonkeyPatch, **lists: Sequence[str | Exception]) -> None:
    """Let these addresses stand on SendGrid's lists."""
    entries: dict[str, list[SuppressionEntry | Exception]] = {"unsubscribes": [], "bounces": [], "blocks": []}
    for name, found in lists.items():
        entries[name] = [
            each if isinstance(each, Exception) else SuppressionEntry(name, each, THEN, "550 gone")
            for each in found
        ]
    monkeypatch.setattr(wiring, "records_for", lambda *_: FakeLists(lists=dict(entries)))


def suppressed(bench: Bench) -> str:
    return run("recipients", "suppressed", folder=bench.folder).stdout


def test_bounces_and_unsubscribes_come_in_and_blocks_are_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(
        monkeypatch,
        bounces=["ann@example.com", "gone@example.com", "no address"],
        unsubscribes=["ann@example.com"],
        blocks=["bob@example.com"],
    )
    result = run(*IMPORT, folder=bench.folder)
    assert result.stdout.splitlines() == [
        "LIST          READ  NEW  KNOWN  UNREADABLE",
        "unsubscribes  1     1    0      0",
        "bounces       3     1    1      1",
        "blocks        1     1    0      0",
        "1 new on the list blocks: they hear on, for SendGrid goes on delivering to them.",
        "To suppress them, too: --list blocks",
    ]
    listed = suppressed(bench)
    assert "imported from SendGrid: unsubscribes: 550 gone" in listed
    assert "imported from SendGrid: bounces: 550 gone" in listed
    assert "2025-03-01" in listed
    assert "b…@example.com" not in listed
    bench.send()
    assert bench.states()["email", "skipped"] == 1
    assert "ann@example.com" not in result.output


def test_blocks_are_suppressed_when_they_are_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, bounces=["ann@example.com"], blocks=["bob@example.com"])
    result = run(*IMPORT, "--list", "blocks", folder=bench.folder)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["LIST", "blocks"]
    assert "b…@example.com" in suppressed(bench)
    assert "a…@example.com" not in suppressed(bench)


def test_a_dry_run_counts_the_same_and_leaves_every_byte(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ledger.close()
    stand(monkeypatch, bounces=["ann@example.com"], unsubscribes=["ann@example.com"])
    before = every_byte(bench.folder)
    dry = run(*IMPORT, "--dry-run", folder=bench.folder).stdout
    assert every_byte(bench.folder) == before
    assert dry == run(*IMPORT, folder=bench.folder).stdout + "Nothing was written.\n"
    assert "1     0    1" in run(*IMPORT, "--list", "bounces", folder=bench.folder).stdout


def test_json_tells_each_list(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, bounces=["ann@example.com"], unsubscribes=[Refused("no scope")])
    document = json.loads(run(*IMPORT, "--json", folder=bench.folder, expect=78).stdout)
    unsubscribes, bounces, blocks = document["lists"]
    assert (unsubscribes["trouble"], bounces["new"], blocks["suppresses"]) == ("no scope", 1, False)
    assert (document["from"], document["dry_run"], document["exit_code"]) == ("sendgrid", False, 78)


def test_a_list_that_may_not_be_read_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, bounces=["ann@example.com"], unsubscribes=[Refused("the key may not read it")])
    result = run(*IMPORT, folder=bench.folder, expect=78)
    assert result.stderr == "unsubscribes: the key may not read it\n"
    assert "unsubscribes  -     -    -      -" in result.stdout
    assert "bounces       1     1    0      0" in result.stdout
    assert "a…@example.com" in suppressed(bench)


def test_what_was_read_before_the_trouble_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, unsubscribes=["ann@example.com", TryAgain("is down")])
    shown = run(*IMPORT, folder=bench.folder, expect=75).stdout
    assert "unsubscribes  1     1    0      0" in shown


def test_who_hears_again_is_still_on_the_list_of_sendgrid(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(monkeypatch, bounces=["ann@example.com"])
    run(*IMPORT, folder=bench.folder)
    run("recipients", "suppress", "bob@example.com", folder=bench.folder)
    theirs = "Also take it off SendGrid's own list (Suppressions)"
    assert theirs in run("recipients", "unsuppress", "Ann@example.com", folder=bench.folder).stdout
    assert theirs not in run("recipients", "unsuppress", "ann@example.com", folder=bench.folder).stdout
    assert theirs not in run("recipients", "unsuppress", "bob@example.com", folder=bench.folder).stdout


def test_a_missing_key_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError(Fault("commcast.toml", 0, 0, "SENDGRID_API_KEY is not set", "set it"))

    monkeypatch.setattr(wiring, "records_for", refuse)
    assert "SENDGRID_API_KEY is not set" in run(*IMPORT, folder=bench.folder, expect=2).stderr


def test_only_known_providers_and_lists_are_taken(bench: Bench) -> None:
    assert "--from" in run("recipients", "import", folder=bench.folder, expect=2).stderr
    run("recipients", "import", "--from", "twilio", folder=bench.folder, expect=2)
    run(*IMPORT, "--list", "friends", folder=bench.folder, expect=2)


def test_help_says_why_blocks_are_left_alone() -> None:
    assert "silence is worse" in " ".join(run("recipients", "import", "--help").stdout.split())
