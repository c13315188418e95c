"""From the send to the settlement, over a Twilio on 127.0.0.1 that takes texts and loses its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest

from commcast.providers.twilio import records as twilio_records
from commcast.providers.twilio.records import TwilioRecords
from tests.support.desk import Bench, write_desk
from tests.support.servers.http import Exchange, HttpStandIn, Writer, threaded
from tests.support.servers.twilio import ACCOUNT, TOKEN, Twilio, message, sent
from tests.support.terminal import bench_now, run

ANN, BOB, CID, DAN, EVE = (f"+491511234567{digit}" for digit in range(1, 6))
NAMES = {ANN: "ann", BOB: "bob", CID: "cid", DAN: "dan", EVE: "eve"}
RESEND = ("resend", "pay7", "--unknown")


@dataclass
class Losing(Twilio):
    """Takes the texts to `takes`, and answers none of them while `loses` is set."""

    takes: set[str] = field(default_factory=set)
    loses: bool = True

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        if exchange.method != "POST" or not self.loses:
            await super().__call__(exchange, writer)
            return
        self.forms.append(exchange.form)
        if exchange.form["To"] in self.takes:
            self.take(exchange.form["To"], exchange.form["Body"], datetime.now(UTC))
        writer.reset()

    def take(self, to: str, words: str, at: datetime, **changed: object) -> None:
        made = {"status": "delivered", "date_created": format_datetime(at), "date_sent": format_datetime(at)}
        self.messages.append(sent(len(self.messages) + 1, to, words, **{**made, **changed}))  # type: ignore[arg-type]


@pytest.fixture
def twilio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Losing, Bench]]:
    """Twilio with a list that lags by one look, and a desk that lost the answers to five texts.

    Ann's and Dan's were taken; Dan's was given up later. To Cid and Eve there are messages, but not ours.
    """
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", ACCOUNT)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(twilio_records, "TwilioRecords", partial(TwilioRecords, pause=0.0))
    stand_in = Losing(lag=1, page=2, takes={ANN, DAN})
    bench = bench_now(tmp_path)
    with threaded(HttpStandIn(stand_in)) as server:
        write_desk(
            tmp_path,
            customers=[f"{name}@example.com,{number},{name}" for number, name in NAMES.items()],
            sms='provider = "twilio"',
            extra=f'[providers.twilio]\nbase_url = "{server.url}"',
        )
        run("send", "pay7", "--yes", folder=tmp_path, expect=1)
        assert sorted(form["To"] for form in stand_in.forms) == sorted(NAMES)
        add_foreign_ones(stand_in)
        yield stand_in, bench


def add_foreign_ones(stand_in: Losing) -> None:
    """Put into the list what others sent, what readers wrote, and our own words of another day."""
    words = stand_in.forms[0]["Body"]
    now, yesterday = datetime.now(UTC), datetime.now(UTC) - timedelta(days=1)
    given_up = next(row for row in stand_in.messages if row["to"] == DAN)
    given_up.update(status="undelivered", error_code=30006)
    for number in NAMES:
        for part in range(5):
            stand_in.take(number, f"Your parcel comes today, part {part}", now)
    stand_in.take(CID, words + " ", now)
    stand_in.take(CID, words, now, direction="inbound")
    stand_in.take(EVE, words, yesterday)
    stand_in.messages.append(message(999, "+4915100000000", words))


def texts(bench: Bench) -> dict[str, str]:
    return {NAMES[row.address]: row.state.value for row in bench.rows() if row.channel == "sms"}


def test_reconcile_settles_what_it_can_prove_leaves_the_rest_and_never_sends(
    twilio: tuple[Losing, Bench],
) -> None:
    stand_in, bench = twilio
    assert set(texts(bench).values()) == {"unknown"}
    before = len(stand_in.forms)
    result = run("reconcile", "pay7", folder=bench.folder, expect=1)
    proved = {"ann": "accepted", "dan": "rejected"}
    assert texts(bench) == {**proved, "bob": "unknown", "cid": "unknown", "eve": "unknown"}
    assert ["pay7", "SMS", "twilio", "5", "1", "1", "3"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    assert "twilio has other messages to them, none with our words" in result.stdout
    rows = {row.address: row for row in bench.rows()}
    assert rows[ANN].provider_id == next(m["sid"] for m in stand_in.messages if m["to"] == ANN)
    assert rows[DAN].reason == "twilio has it, and did not deliver it (30006: landline)"
    assert len(stand_in.lists) > 2 * len(NAMES), "one look, and no pages"

    run("reconcile", folder=bench.folder, expect=1)
    run("tick", folder=bench.folder)
    assert texts(bench) == {**proved, "bob": "unknown", "cid": "unknown", "eve": "unknown"}
    assert len(stand_in.forms) == before
    for secret in (TOKEN, ACCOUNT, *NAMES):
        assert secret not in result.output


def test_what_nobody_can_prove_a_person_sends_again_once_or_settles(twilio: tuple[Losing, Bench]) -> None:
    stand_in, bench = twilio
    offered = run(*RESEND, "--dry-run", folder=bench.folder).stdout
    assert "Nobody has asked twilio about 5 of them" in offered
    run("reconcile", "pay7", folder=bench.folder, expect=1)
    stand_in.loses = False
    before = len(stand_in.forms)
    result = run(*RESEND, "--to", BOB, "--yes", "--by", "dana", folder=bench.folder, expect=0)
    assert "By SMS (twilio) nothing keeps a second copy away." in result.stderr
    assert [form["To"] for form in stand_in.forms[before:]] == [BOB]
    run("settle", "pay7", "--unknown", "--as", "rejected", "--yes", folder=bench.folder)
    assert texts(bench) == {
        "ann": "accepted",
        "bob": "accepted",
        "cid": "rejected",
        "dan": "rejected",
        "eve": "rejected",
    }
    assert "Nothing is unknown" in run("reconcile", folder=bench.folder).stdout
    shown = run("log", "pay7", folder=bench.folder).stdout
    assert "asked twilio: accepted" in shown
    assert "released again by dana" in shown


def test_what_was_lost_twice_is_found_though_only_the_first_one_arrived(twilio: tuple[Losing, Bench]) -> None:
    """Ann's first text arrived; a person sent it again, and that one got lost with its answer."""
    stand_in, bench = twilio
    stand_in.takes = set()
    run(*RESEND, "--to", ANN, "--yes", folder=bench.folder, expect=1)
    assert texts(bench)["ann"] == "unknown"
    run("reconcile", "pay7", folder=bench.folder, expect=1)
    assert texts(bench)["ann"] == "accepted"


def test_refused_credentials_end_in_78_and_settle_nothing(
    twilio: tuple[Losing, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, bench = twilio

    async def refuse(exchange: Exchange, writer: Writer) -> None:
        await writer.answer(401, {"code": 20003, "message": "Authenticate", "status": 401})

    stand_in.answers = [refuse] * 100
    result = run("reconcile", folder=bench.folder, expect=78)
    assert "TWILIO_AUTH_TOKEN" in result.stderr
    assert set(texts(bench).values()) == {"unknown"}
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    assert "TWILIO_AUTH_TOKEN" in run("reconcile", folder=bench.folder, expect=78).stderr


def test_a_twilio_that_is_down_ends_in_75(twilio: tuple[Losing, Bench]) -> None:
    stand_in, bench = twilio

    async def down(exchange: Exchange, writer: Writer) -> None:
        await writer.answer(503, b"<html>")

    stand_in.answers = [down] * 100
    run("reconcile", folder=bench.folder, expect=75)
    assert set(texts(bench).values()) == {"unknown"}
