"""One look, one yes: what is released is what was looked at, and until the yes nothing is written."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.errors import TryAgain
from commcast.incidents.load import load_incident
from commcast.ledger import bulk
from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.bulk import temporary_folder
from commcast.ledger.fence import lift_stop, stop_incident, stop_to_correct, stops_in_force
from commcast.ledger.oncall import take
from commcast.ledger.suppressions import suppress
from commcast.operations import release
from commcast.operations.desk import make_plan, with_releases
from commcast.operations.release import Look, Released, fill, looking, plan_again, released_by_others, say_yes
from commcast.recipients.lists import open_recipients
from tests.support.desk import START, Bench, numbered, update_text, write_desk, write_incident, write_list
from tests.support.terminal import every_byte

DRAFT = START + timedelta(minutes=1)
NOBODY_ELSE = ("pay7",)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    write_desk(tmp_path)
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    yield bench
    bench.ledger.close()


@pytest.fixture
def looks() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def look_at(bench: Bench, looks: ExitStack, name: str = "pay7") -> Look:
    """Look as a verb does, at its moment."""
    desk = bench.desk
    plan = make_plan(desk, bench.incident(name), bench.ledger, present=NOBODY_ELSE, as_if_released=True)
    return looks.enter_context(
        looking(desk, plan, bench.ledger, NOBODY_ELSE, late=False, progress=lambda _: None)
    )


def yes(bench: Bench, look: Look, *, now: datetime | None = None) -> Released | None:
    at = now or bench.now
    return say_yes(look, how="question", by="dana", good_until=look.good_until(bench.now), clock=lambda: at)


def rows_in(bench: Bench) -> int:
    with closing(sqlite3.connect(bench.ledger.path)) as ledger:
        return int(ledger.execute("select count(*) from delivery").fetchone()[0])


def test_until_the_yes_not_a_byte_of_the_folder_changes(bench: Bench, looks: ExitStack) -> None:
    before = every_byte(bench.folder)
    look_at(bench, looks)
    assert every_byte(bench.folder) == before
    looks.close()  # a no
    assert every_byte(bench.folder) == before


def test_no_file_with_a_name_holds_an_address_of_the_list(
    tmp_path: Path, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, folder = tmp_path / "room", tmp_path / "desk"
    room.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(room))
    write_desk(folder, customers=numbered(30_000))  # more than SQLite keeps in memory
    write_incident(folder)
    bench = Bench(folder)
    look_at(bench, looks)
    assert list(room.iterdir()) == []
    named = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "audiences"]
    assert not [path for path in named if b"c10000001@example.com" in path.read_bytes()]
    bench.ledger.close()


def test_what_was_counted_is_what_is_opened(bench: Bench, looks: ExitStack) -> None:
    """Rows by key and digest, and the counts that were shown."""
    look = look_at(bench, looks)
    shown = {
        (each.notice.channel.value, audience.audience): audience.send
        for each in look.tally.notices
        for audience in each.audiences.values()
        if audience.send
    }
    assert yes(bench, look) is not None
    opened: dict[tuple[str, str], int] = {}
    for row in bench.rows():
        opened[row.channel, row.audience] = opened.get((row.channel, row.audience), 0) + 1
    assert opened == shown
    again = make_plan(bench.desk, bench.incident(), bench.ledger)
    assert not again.deliveries


def test_the_yes_releases_freezes_opens_and_writes_the_time(tmp_path: Path, looks: ExitStack) -> None:
    write_desk(tmp_path)
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace(f"  - at: {START.isoformat()}\n    ", "  - "))
    bench = Bench(tmp_path)
    assert START.isoformat() not in path.read_text()
    look = look_at(bench, looks)
    released = yes(bench, look)
    assert released is not None
    assert (released.numbers, released.not_written, released.broadcasts) == ((1,), "", ())
    assert bench.incident().updates[0].at == START
    with bench.ledger.read() as connection:
        assert {each.channel for each in open_broadcasts(connection, "pay7")} == {"email", "sms"}
    bench.check()  # what stands in the file is what was released
    bench.ledger.close()


def _another_release(bench: Bench) -> None:
    bench.release()


def _somebody_stops_it(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "sam", bench.now)


def _somebody_takes_it(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=bench.now)


def _a_reader_more(bench: Bench) -> None:
    path = bench.folder / "audiences/customers.csv"
    path.write_text(path.read_text() + "new@example.com,,New\n")


def _another_config(bench: Bench) -> None:
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text() + "\n# a comment\n")


def _a_template(bench: Bench) -> None:
    folder = bench.folder / "templates/customers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sms.txt.j2").write_text("Other words.")


def _other_words(bench: Bench) -> None:
    path = bench.folder / "incidents/pay7.yaml"
    path.write_text(path.read_text().replace("Card payments fail", "Card payments fail badly"))


def _a_comment(bench: Bench) -> None:
    path = bench.folder / "incidents/pay7.yaml"
    path.write_text(path.read_text() + "# seen by Sam\n")


@pytest.mark.parametrize(
    "change",
    [
        _another_release,
        _somebody_stops_it,
        _somebody_takes_it,
        _a_reader_more,
        _another_config,
        _a_template,
        _other_words,
        _a_comment,
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_what_changes_while_a_person_looks_is_seen_before_the_yes(
    change: Callable[[Bench], None], bench: Bench, looks: ExitStack
) -> None:
    look = look_at(bench, looks)
    change(bench)
    before = rows_in(bench)
    assert yes(bench, look) is None
    assert rows_in(bench) == before
    assert bench.mails() == []


@pytest.mark.parametrize(
    ("change", "same"),
    [(_a_comment, True), (_another_config, True), (_a_reader_more, False), (_other_words, False)],
    ids=["a comment", "a comment in the settings", "a reader more", "other words"],
)
def test_the_same_digest_goes_another_is_asked_again(
    change: Callable[[Bench], None], same: bool, bench: Bench, looks: ExitStack
) -> None:
    """The second stream has the same moment: only what really changed differs."""
    look = look_at(bench, looks)
    change(bench)
    assert yes(bench, look) is None
    desk, plan = plan_again(look)
    again = looks.enter_context(
        looking(desk, plan, bench.ledger, NOBODY_ELSE, late=False, progress=lambda _: None)
    )
    assert (again.tally.digest == look.tally.digest) is same
    assert yes(bench, again) is not None


def test_of_two_who_say_yes_the_first_one_wins(bench: Bench, looks: ExitStack) -> None:
    """The other one is told whose it was; one release, one set of rows."""
    mine, theirs = look_at(bench, looks), look_at(bench, looks)
    assert yes(bench, theirs) is not None
    count = rows_in(bench)
    assert yes(bench, mine) is None
    found = released_by_others(mine)
    assert found is not None
    assert (found.number, found.by) == (1, "dana")
    assert rows_in(bench) == count


def test_who_opts_out_during_the_question_is_left_out_at_the_claim(bench: Bench, looks: ExitStack) -> None:
    look = look_at(bench, looks)
    first = look.tally.notices[0].audiences["customers"].sample
    assert first is not None
    with bench.ledger.write() as connection:
        suppress(connection, "email", first.key, reason="asked", by="dana", now=bench.now)
    assert yes(bench, look) is not None
    bench.worker.deliver("pay7")
    told = {row.address: row.state.value for row in bench.rows() if row.channel == "email"}
    assert told.pop(first.address) == "skipped"
    assert set(told.values()) == {"accepted"}


def test_the_question_is_good_until_the_promise_in_the_words_is_near(bench: Bench, looks: ExitStack) -> None:
    """Severity 1 promises the next word within twenty minutes; a slow answer comes after ten."""
    look = look_at(bench, looks)
    assert look.good_until(bench.now) == bench.now + timedelta(minutes=10)
    asked_late = bench.now + timedelta(minutes=18)
    until = look.good_until(asked_late)
    assert bench.now + timedelta(minutes=18) < until < bench.now + timedelta(minutes=20)
    with pytest.raises(release.TimeOver):
        say_yes(look, how="question", by="dana", good_until=until, clock=lambda: until)
    assert rows_in(bench) == 0


def test_the_question_ends_when_a_texted_readers_night_begins(tmp_path: Path, looks: ExitStack) -> None:
    evening = datetime(2026, 11, 21, 20, 55, tzinfo=UTC)
    write_desk(tmp_path)
    config = tmp_path / "commcast.toml"
    config.write_text(config.read_text().replace("[channels.sms]", '[channels.sms]\nquiet = "21:00-08:00"'))
    config.write_text(config.read_text().replace('zone = "Europe/Berlin"', 'zone = "UTC"'))
    write_incident(tmp_path, severity=2, at=evening)
    bench = Bench(tmp_path, now=evening)
    look = look_at(bench, looks)
    assert look.good_until(evening) == datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
    bench.ledger.close()


def test_more_rows_than_one_transaction_takes_open_only_when_all_are_in(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is committed with the closed broadcasts; nothing can be claimed before the last row."""
    monkeypatch.setattr(release, "AT_ONCE", 2)
    monkeypatch.setattr(bulk, "MOVED_AT_ONCE", 2)
    look = look_at(bench, looks)
    released = yes(bench, look)
    assert released is not None
    with bench.ledger.read() as connection:
        assert open_broadcasts(connection, "pay7") == ()
    fill(look, released)
    with bench.ledger.read() as connection:
        assert {each.channel for each in open_broadcasts(connection, "pay7")} == {"email", "sms"}
    assert len(bench.rows()) == 5


def test_a_release_that_died_before_its_rows_were_in_is_filled_by_the_next_tick(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "AT_ONCE", 2)
    look = look_at(bench, looks)
    assert yes(bench, look) is not None
    looks.close()
    bench.tick()
    assert len(bench.mails()) == 3


def test_a_file_without_the_time_of_its_release_takes_it_from_the_ledger(
    tmp_path: Path, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the release and the writing of its time, or the disk was full then."""
    write_desk(tmp_path)
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace(f"  - at: {START.isoformat()}\n    ", "  - "))
    bench = Bench(tmp_path)
    look = look_at(bench, looks)
    monkeypatch.setattr(release, "fill_times", lambda *_, **__: None)
    assert yes(bench, look) is not None
    looks.close()
    assert START.isoformat() not in path.read_text()
    bench.later(minutes=3)
    assert bench.tick().errors == {}
    assert len(bench.mails()) == 3
    monkeypatch.undo()
    path.write_text(path.read_text() + update_text(bench.now, issue="News."))
    with ExitStack() as more:
        desk = with_releases(bench.desk, bench.ledger)
        incident = load_incident(path, desk.config, desk.now, desk.released_at)
        plan = make_plan(desk, incident, bench.ledger, present=NOBODY_ELSE, as_if_released=True)
        second = more.enter_context(
            looking(desk, plan, bench.ledger, NOBODY_ELSE, late=False, progress=lambda _: None)
        )
        assert yes(bench, second) is not None
    assert bench.incident().updates[0].at == START
    bench.ledger.close()


def test_a_signal_during_the_yes_is_heard_after_it(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of the transaction: whole or not at all, and the caller raises it."""
    look = look_at(bench, looks)
    record = release._record

    def interrupted(*given: object) -> None:
        signal.raise_signal(signal.SIGINT)
        record(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(release, "_record", interrupted)
    released = yes(bench, look)
    assert released is not None
    assert released.signal == signal.SIGINT
    assert len(bench.rows()) == 5


def test_a_fault_in_the_yes_leaves_a_draft(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = look_at(bench, looks)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(release, "_open", full)
    with pytest.raises(sqlite3.OperationalError):
        yes(bench, look)
    assert rows_in(bench) == 0
    assert make_plan(bench.desk, bench.incident(), bench.ledger, as_if_released=True).drafts == (1,)


def test_a_full_temporary_folder_is_named_and_not_the_ledgers_disk(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setenv("SQLITE_TMPDIR", str(bench.folder))
    monkeypatch.setattr(bulk, "_gather_sql", lambda _: "insert into temp.nowhere values (1)")
    with pytest.raises(TryAgain, match="temporary folder") as caught:
        look_at(bench, looks)
    assert str(bench.folder) in str(caught.value)
    assert rows_in(bench) == 0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SQLITE_TMPDIR": "/tmp", "TMPDIR": "/var/tmp"}, "/tmp"),
        ({"TMPDIR": "/tmp"}, "/tmp"),
        ({}, "/var/tmp"),
    ],
)
def test_the_temporary_folder_is_the_one_that_sqlite_takes(
    environment: dict[str, str], expected: str
) -> None:
    assert str(temporary_folder(environment)) == expected


def test_a_tick_during_a_question_keeps_the_promise_all_the_same(tmp_path: Path, looks: ExitStack) -> None:
    """The holding statement goes; the look at the update notices it, and is made again at once."""
    write_desk(tmp_path, extra='[silence]\ncustomers = "hold"\n')
    path = write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    bench.later(minutes=17)
    path.write_text(path.read_text() + update_text(bench.now, issue="News."))
    look = look_at(bench, looks)
    bench.later(minutes=1)
    released = bench.incident()
    assert released.latest.number == 2
    ticked = bench.tick()
    assert not ticked.errors
    assert [row for row in bench.rows() if row.notice.startswith("holding:")]
    assert yes(bench, look, now=bench.now) is None
    bench.ledger.close()


def test_a_correction_lifts_its_own_stop_with_the_yes(bench: Bench, looks: ExitStack) -> None:
    bench.send()
    with bench.ledger.write() as connection:
        stop_to_correct(connection, "pay7", "dana", bench.now)
    path = bench.folder / "incidents/pay7.yaml"
    bench.later(minutes=2)
    path.write_text(
        path.read_text()
        + update_text(bench.now, corrects="[1]", wrong="error", right="message", issue="Fixed.")
    )
    look = look_at(bench, looks)
    assert yes(bench, look) is not None
    with bench.ledger.read() as connection:
        assert stops_in_force(connection, "pay7") == ()


def test_a_resume_during_the_question_of_a_correction_is_noticed(bench: Bench, looks: ExitStack) -> None:
    bench.send()
    with bench.ledger.write() as connection:
        stop_to_correct(connection, "pay7", "dana", bench.now)
    path = bench.folder / "incidents/pay7.yaml"
    bench.later(minutes=2)
    path.write_text(
        path.read_text()
        + update_text(bench.now, corrects="[1]", wrong="error", right="message", issue="Fixed.")
    )
    look = look_at(bench, looks)
    with bench.ledger.write() as connection:
        lift_stop(connection, "pay7", "sam", bench.now)
    assert yes(bench, look) is None


def test_caps_are_counted_again_where_another_incident_spoke_meanwhile(
    bench: Bench, looks: ExitStack
) -> None:
    write_incident(bench.folder, "web1")
    look = look_at(bench, looks)
    bench.send("web1")
    assert yes(bench, look) is None


def test_lists_are_read_once_for_all_channels(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counted(name: str, *given: object) -> object:
        opened.append(name)
        return open_recipients(name, *given)  # type: ignore[arg-type]

    monkeypatch.setattr("commcast.delivery.rows.open_recipients", counted)
    plan = make_plan(bench.desk, bench.incident(), bench.ledger, as_if_released=True)
    assert len(plan.deliveries) == 2
    plan.tally()
    assert sorted(opened) == ["customers", "support"]


def test_a_second_look_is_as_of_the_same_moment(bench: Bench, looks: ExitStack) -> None:
    look = look_at(bench, looks)
    write_list(bench.folder, "customers", "email,phone,name", ["eve@example.com,,Eve"])
    desk, plan = plan_again(look)
    assert desk.now == look.desk.now
    assert replace(desk, sign=look.desk.sign).config == look.desk.config
    assert plan.incident.latest.at == look.plan.incident.latest.at
