"""recipients: who hears, who does not, and who is forgotten."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from commcast.ledger import tables as schema
from tests.support.desk import Bench, update_text, write_list
from tests.support.terminal import bench_now, run

ANN_PHONE = "+4915112345671"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def rows(bench: Bench) -> str:
    """Return all rows of the ledger as text."""
    with bench.ledger.read() as connection:
        return "\n".join(
            str(row) for table in schema.metadata.sorted_tables for row in connection.execute(select(table))
        )


def say_more(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    at = bench.now - timedelta(minutes=1)
    path.write_text(path.read_text() + update_text(at, status="identified", issue="Cards fail."))
    bench.send()


def test_erase_leaves_no_address_in_any_row(bench: Bench) -> None:
    bench.send()
    assert "ann@example.com" in rows(bench)
    result = run("recipients", "erase", "Ann@Example.com", "--yes", folder=bench.folder)
    left = rows(bench).lower()
    for trace in ("ann@example", "ann-example", ANN_PHONE, ANN_PHONE[1:]):
        assert trace not in left, trace
    assert "still stands in the lists of: customers" in result.stderr
    assert "ann@example.com" not in result.output


def test_an_old_list_cannot_tell_an_erased_person_again(bench: Bench) -> None:
    bench.send()
    run("recipients", "erase", "ann@example.com", "--yes", folder=bench.folder)
    before = len(bench.mails()), len(bench.texts())
    say_more(bench)
    assert (len(bench.mails()), len(bench.texts())) == (before[0] + 2, before[1])
    assert "ann@example" not in rows(bench)


def test_erase_asks_first(bench: Bench) -> None:
    bench.send()
    said = run("recipients", "erase", "ann@example.com", folder=bench.folder, expect=5).stderr
    assert "--yes" in said
    assert "ann@example.com" in rows(bench)


def test_a_list_that_no_channel_of_its_audience_reaches_is_warned_of(bench: Bench) -> None:
    write_list(bench.folder, "support", "name,phone", ["Su,+4915112345679"])
    result = run("recipients", "check", folder=bench.folder)
    assert "no reader of it can be reached by email" in result.stderr
    assert "customers" in result.stdout and "warning" not in result.stdout
    document = json.loads(run("recipients", "check", "--json", folder=bench.folder).stdout)
    warned = {each["audience"]: each["warnings"] for each in document["audiences"]}
    assert warned["customers"] == []
    assert "no reader" in warned["support"][0]


def test_an_audience_that_is_none_gives_the_error_and_no_row(bench: Bench) -> None:
    result = run("recipients", "check", "vip", folder=bench.folder, expect=2)
    assert result.stdout == ""
    assert "no audience 'vip'; audiences are: support, customers" in result.stderr


def test_suppress_and_unsuppress(bench: Bench) -> None:
    run("recipients", "suppress", ANN_PHONE, "--reason", "asked by phone", folder=bench.folder)
    assert "asked by phone" in run("recipients", "suppressed", folder=bench.folder).stdout
    bench.send()
    assert bench.states()["sms", "skipped"] == 1
    assert "hears again" in run("recipients", "unsuppress", ANN_PHONE, folder=bench.folder).stdout
    assert "was not" in run("recipients", "unsuppress", ANN_PHONE, folder=bench.folder).stdout


def test_suppressed_addresses_are_shown_in_full_only_when_that_is_asked_for(bench: Bench) -> None:
    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    run("recipients", "erase", "bob@example.com", "--yes", folder=bench.folder)
    assert "ann@example.com" not in run("recipients", "suppressed", folder=bench.folder).stdout
    full = run("recipients", "suppressed", "--addresses", folder=bench.folder).stdout
    assert "ann@example.com" in full
    assert "(erased)" in full
    assert "erased:" not in full
    found = run("recipients", "suppressed", "--addresses", "--json", folder=bench.folder).stdout
    assert {each["address"] for each in json.loads(found)["suppressed"]} == {"ann@example.com", "(erased)"}


def test_check_counts_by_channel_and_names_rows_left_out(bench: Bench) -> None:
    people = ["help@acme.example,,Su Port", "bad,,Bad", f"ann@example.com,{ANN_PHONE},Ann"]
    write_list(bench.folder, "customers", "email,phone,name", people)
    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    document = json.loads(run("recipients", "check", "--json", folder=bench.folder).stdout)
    support, customers = document["audiences"]
    assert support["rows"] == 1
    assert customers["channels"] == {"email": 2, "sms": 1}
    assert (customers["left_out"], customers["again"], customers["suppressed"]) == (1, 1, 1)
    assert customers["faults"][0].startswith("audiences/customers.csv:3:")


@pytest.mark.parametrize("address", ["nonsense", "a@b@c", "-1", "123"])
def test_what_is_no_address_is_refused(bench: Bench, address: str) -> None:
    result = run("recipients", "suppress", "-C", str(bench.folder), "--", address, expect=2)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [("recipients", "suppress", "alex"), ("test", "--to", "alex")])
def test_what_holds_no_digit_is_neither_mail_nor_phone(bench: Bench, command: tuple[str, ...]) -> None:
    said = run(*command, folder=bench.folder, expect=2).stderr
    assert "is neither a mail address nor a phone number; write one such as " in " ".join(said.split())
