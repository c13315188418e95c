"""Stories for reports: a desk with three audiences, told by the engine with its clock moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from commcast.ledger import schema
from commcast.ledger.oncall import begin_call, end_call
from commcast.ledger.schema import OWN_STORY, stamp
from tests.desks import Bench, update_text, write_desk, write_list

BEGAN = datetime(2026, 11, 21, 8, 52, tzinfo=UTC)  # 09:52 in Berlin

EXTRA = """
sms_price = 0.0712
[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
rank = 2
[cadence.1]
first = "10m"
every = "20m"
executives = "30m"
"""

HEAD = """\
title: {title}
severity: 1
started: {started}
owner: dana
updates:
"""

FIRST = {
    "status": "investigating",
    "issue": "Some customers in the EU see an error when they pay by card.",
    "resolution": "We are finding out what changed.",
    "timeframe": "unknown",
}


def clock(text: str) -> datetime:
    """Return a time of the day of the story, as Berlin's clocks show it."""
    hour, minute = map(int, text.split(":"))
    return datetime(2026, 11, 21, hour, minute, tzinfo=UTC) - timedelta(hours=1)


class Night:
    """One incident on a desk, told update by update."""

    def __init__(
        self,
        folder: Path,
        *,
        customers: int = 12,
        title: str = "Card payments fail in the EU",
        extra: str = EXTRA,
        rows: tuple[str, ...] = (),
    ) -> None:
        people = [*rows, *(f"c{i}@example.com,+4915112{i:06d},Customer {i}" for i in range(customers))]
        write_desk(folder, customers=people, extra=extra)
        write_list(folder, "executives", "email,name", ["mira@acme.example,Mira Sol"])
        self.bench = Bench(folder, now=clock("10:01"))
        self.path = folder / "incidents" / "pay7.yaml"
        self.text = HEAD.format(title=title, started=BEGAN.isoformat())

    def say(self, at: str, **keys: str) -> None:
        """Write an update, and tell it."""
        self.bench.now = clock(at)
        self.text += update_text(clock(at), **keys)
        self.path.write_text(self.text)
        self.bench.send()

    def hold(self, at: str, rescues: str, *, until: str) -> None:
        """Put a holding statement into the ledger for everybody who had the last message, promising word."""
        with self.bench.ledger.write() as connection:
            _copy_last(
                connection, "pay7", f"holding:{clock(rescues):%Y-%m-%dT%H:%M:%SZ}", clock(at), clock(until)
            )

    def nudge(self, at: str) -> None:
        """Put a nudge of the owner into the ledger: a mail in the people's own story, and a call."""
        with self.bench.ledger.write() as connection:
            notice = f"nudge:{clock(at):%Y-%m-%dT%H:%M:%SZ}:1"
            own = f"{OWN_STORY}pay7"
            _copy_last(connection, "pay7", notice, clock(at), None, into=own, most=1)
            begin_call(connection, "pay7", notice, clock(at))
            end_call(connection, "pay7", notice, is_accepted=True, detail="", now=clock(at))

    def close(self) -> None:
        self.bench.ledger.close()


def _copy_last(
    connection: Connection,
    incident: str,
    notice: str,
    at: datetime,
    promised: datetime | None,
    *,
    into: str = "",
    most: int = 1_000_000,
) -> None:
    """Copy the last mailed broadcast of an incident as another notice, accepted at one moment."""
    b, c, d = schema.broadcast, schema.composition, schema.delivery
    last = connection.execute(
        select(b).where(b.c.incident == incident, b.c.channel == "email").order_by(b.c.id.desc())
    ).first()
    assert last is not None
    values = {**last._mapping, "notice": notice, "created_at": stamp(at), "incident": into or incident}
    del values["id"]
    made = _put(connection, b, values)
    words: dict[int, int] = {}
    for row in connection.execute(select(c).where(c.c.broadcast == last.id)).all():
        copy = {**row._mapping, "broadcast": made, "next_update_by": stamp(promised) if promised else None}
        number = copy.pop("id")
        words[number] = _put(connection, c, copy)
    told = connection.execute(select(d).where(d.c.broadcast == last.id, d.c.state == "accepted")).all()
    for row in told[:most]:
        copy = {**row._mapping, "broadcast": made, "notice": notice, "changed_at": stamp(at)}
        copy |= {"incident": into or incident, "composition": words[row.composition], "provider_id": ""}
        del copy["id"]
        connection.execute(insert(d).values(**copy))


def _put(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def night_of_pay7(folder: Path, **options: int | str) -> Night:
    """Tell a whole incident: updates, one of them late, holding statements, a correction, the end."""
    night = Night(folder, **options)  # type: ignore[arg-type]
    night.say("10:01", **FIRST)
    night.say(
        "10:19",
        status="identified",
        issue="About four in ten card payments in the EU end in an error.",
        resolution="The 09:45 release broke the connection to a database; we are rolling it back.",
        timeframe="30m to 60m",
    )
    night.say("10:38", nothing_new="The rollback is through in two of three data centres.")
    night.nudge("10:53")
    night.hold("10:55", "10:58", until="11:15")
    night.say(
        "11:26",
        issue="About one in ten card payments in the EU ends in an error.",
        timeframe="by 12:00",
        confidence="high",
    )
    night.say(
        "11:33",
        issue="About one in twenty card payments in the EU ends in an error.",
        corrects="[4]",
        wrong='"one in ten"',
        right='"one in twenty"',
    )
    night.say(
        "11:48", status="monitoring", issue="Card payments in the EU go through again.", timeframe="by 12:05"
    )
    night.say(
        "12:06",
        status="resolved",
        ended=clock("12:01").isoformat(),
        fixed="We took back the 09:45 release.",
        if_it_persists="Reply to this message.",
    )
    return night
