"""From the ledger to a story: reader by reader in the database, in as many queries for one as for many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, insert, text, update

from commcast.ledger import tables as schema
from commcast.ledger.store import Ledger
from commcast.ledger.tables import stamp
from commcast.report.figures import Figures, Kept, figures_of
from commcast.report.reading import read_stories, read_story
from commcast.report.story import Shape, Story
from tests.support.scenario import BEGAN, FIRST, ReportedNight, clock, night_of_pay7


def story_of(night: ReportedNight) -> Story:
    with night.bench.ledger.read() as connection:
        story = read_story(connection, "pay7", clock("18:00"))
    assert story is not None
    return story


def figures_after(night: ReportedNight) -> Figures:
    return figures_of(story_of(night), sms_price=0.0712)


@contextmanager
def said_to(ledger: Ledger) -> Iterator[list[str]]:
    """Collect the statements of a ledger."""
    statements: list[str] = []

    def keep(*given: object) -> None:
        statements.append(str(given[2]))

    event.listen(ledger.engine, "before_cursor_execute", keep)
    yield statements
    event.remove(ledger.engine, "before_cursor_execute", keep)


def test_a_whole_night(tmp_path: Path) -> None:
    figures = figures_after(night_of_pay7(tmp_path))
    assert figures.ended == clock("12:01")
    assert (figures.due, figures.kept) == (21, 18)
    assert (figures.holdings, figures.corrections) == (1, 1)
    late = [each for each in figures.promises if each.state is not Kept.KEPT]
    assert {(each.notice.partition(":")[0], each.audience) for each in late} == {
        ("holding", name) for name in ("customers", "executives", "support")
    }
    assert {each.late for each in late} == {timedelta(minutes=11)}
    customers = next(each for each in figures.audiences if each.name == "customers")
    assert customers.from_start == timedelta(minutes=9)
    assert customers.silence is not None
    assert (customers.silence.start, customers.silence.end) == (clock("10:55"), clock("11:26"))
    assert [(each.held, each.off) for each in figures.estimates] == [
        (False, timedelta(minutes=42)),
        (False, timedelta(minutes=1)),
        (True, timedelta(minutes=-4)),
    ]
    assert figures.texts.count == 24
    assert figures.cost == pytest.approx(figures.texts.segments * 0.0712)
    assert [each.way for each in figures.nudges] == ["email", "command"]


def test_shapes_tell_what_a_message_was(tmp_path: Path) -> None:
    story = story_of(night_of_pay7(tmp_path))
    shapes = [each.shape for each in story.tellings if each.audience == "support"]
    assert shapes == [
        *[Shape.UPDATE] * 3,
        Shape.HOLDING,
        Shape.UPDATE,
        Shape.CORRECTION,
        Shape.UPDATE,
        Shape.END,
    ]


def test_a_promise_is_kept_reader_by_reader(tmp_path: Path) -> None:
    """Three of twelve get the second update after the promise of the first, two never."""
    night = ReportedNight(tmp_path)
    night.say("10:01", **FIRST)
    night.say("10:19", nothing_new="We look on.")
    d = schema.delivery
    second = (d.c.notice == "update:2", d.c.audience == "customers")
    late = [f"c{i}@example.com" for i in range(3)]
    never = [f"c{i}@example.com" for i in (3, 4)]
    with night.bench.ledger.write() as connection:
        connection.execute(
            update(d).where(*second, d.c.key.in_(late)).values(changed_at=stamp(clock("10:40")))
        )
        connection.execute(update(d).where(*second, d.c.key.in_(never)).values(state="rejected"))
    promise = next(
        each
        for each in figures_after(night).promises
        if (each.audience, each.notice) == ("customers", "update:1")
    )
    assert (promise.state, promise.readers) == (Kept.PARTLY, 12)
    assert promise.share == pytest.approx(7 / 12)
    assert promise.late == timedelta(minutes=19)


def test_who_opted_out_since_was_owed_nothing(tmp_path: Path) -> None:
    night = ReportedNight(tmp_path, customers=2)
    night.say("10:01", **FIRST)
    with night.bench.ledger.write() as connection:
        connection.execute(
            insert(schema.suppression).values(
                channel="email",
                key="c0@example.com",
                reason="opted out",
                by="test",
                at=stamp(night.bench.now),
            )
        )
    night.say("10:19", nothing_new="We look on.")
    promise = next(each for each in figures_after(night).promises if each.audience == "customers")
    assert (promise.state, promise.share) == (Kept.KEPT, 1.0)


def test_a_text_that_states_no_time_promises_none(tmp_path: Path) -> None:
    """Everybody has mail besides: the readers of a promise are those of the mails."""
    night = ReportedNight(tmp_path)
    night.say("10:01", **FIRST)
    promise = next(each for each in figures_after(night).promises if each.audience == "customers")
    assert promise.readers == 12


def test_a_text_promises_for_itself_to_who_gets_no_mail(tmp_path: Path) -> None:
    """Texts come every two hours at the latest: that is another promise than the one of the mails."""
    night = ReportedNight(tmp_path, rows=(",+4915112999999,Only Text",))
    night.say("10:01", **FIRST)
    night.say("10:19", nothing_new="We look on.")
    night.say(
        "12:06", status="resolved", ended=clock("12:01").isoformat(), fixed="Done.", if_it_persists="Call us."
    )
    of_text = [
        each
        for each in figures_after(night).promises
        if (each.audience, each.readers, each.notice) == ("customers", 1, "update:1")
    ]
    assert [(each.promised, each.state, each.late) for each in of_text] == [
        (clock("12:01"), Kept.LATE, timedelta(minutes=5))
    ]


def test_what_a_person_settled_later_was_heard_when_it_was_handed_over(tmp_path: Path) -> None:
    night = ReportedNight(tmp_path, customers=1)
    night.say("10:01", **FIRST)
    with night.bench.ledger.write() as connection:
        row = connection.execute(
            update(schema.delivery)
            .where(schema.delivery.c.audience == "customers", schema.delivery.c.channel == "email")
            .values(changed_at=stamp(clock("16:00")), claimed_at=stamp(clock("10:01")))
            .returning(schema.delivery.c.id)
        ).scalar_one()
        connection.execute(
            insert(schema.act).values(
                delivery=row, what="settle", became="accepted", detail="", by="dana", at=stamp(clock("16:00"))
            )
        )
    customers = next(each for each in figures_after(night).audiences if each.name == "customers")
    assert customers.first_at == clock("10:01")


def test_nothing_was_said_of_what_was_only_released(tmp_path: Path) -> None:
    night = ReportedNight(tmp_path, customers=0)
    with night.bench.ledger.read() as connection:
        assert read_story(connection, "pay7", clock("18:00")) is None


@pytest.mark.parametrize("customers", [1, 60])
def test_the_number_of_queries_does_not_grow(customers: int, tmp_path: Path) -> None:
    night = night_of_pay7(tmp_path, customers=customers)
    with said_to(night.bench.ledger) as statements:
        story_of(night)
    assert sum("SELECT" in each for each in statements) <= 10
    with said_to(night.bench.ledger) as statements, night.bench.ledger.read() as connection:
        (story,) = read_stories(connection, BEGAN - timedelta(days=1), clock("18:00"))
    assert story.title == "Card payments fail in the EU"
    assert sum("SELECT" in each for each in statements) <= 4


def test_one_incidents_report_does_not_read_the_deliveries_of_others(tmp_path: Path) -> None:
    """Every statement finds its deliveries by an index."""
    night = night_of_pay7(tmp_path)
    with said_to(night.bench.ledger) as statements:
        story_of(night)
    with night.bench.ledger.engine.connect() as connection:
        for statement in statements:
            if "SELECT" in statement and "FROM delivery" in statement:
                count = statement.count("?")
                plan = connection.execute(text(f"explain query plan {statement.replace('?', 'null')}")).all()
                assert count, statement
                assert not [row.detail for row in plan if row.detail == "SCAN delivery"], statement


def test_a_trend_leaves_out_what_began_before(tmp_path: Path) -> None:
    night = night_of_pay7(tmp_path)
    with night.bench.ledger.read() as connection:
        assert read_stories(connection, clock("10:02"), clock("18:00")) == ()
        assert len(read_stories(connection, clock("10:01"), clock("18:00"))) == 1
