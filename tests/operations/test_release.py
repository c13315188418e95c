"""One look, one yes: what is released is what was looked at, and until the yes nothing is written."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.errors import TryAgain
from commcast.incidents.load import load_incident
from commcast.ledger import bulk
from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.bulk import temporary_folder
from commcast.ledger.fence import stop_to_correct, stops_in_force
from commcast.ledger.oncall import take
from commcast.operations import release
from commcast.operations.desk import make_plan, with_releases
from commcast.operations.release import Look, Released, fill, looking, plan_again, say_yes
from commcast.operations.status import read_status
from commcast.recipients.lists import open_recipients
from tests.support.desk import START, Bench, numbered, write_desk, write_incident
from tests.support.own_words import write_words
from tests.support.terminal import every_byte

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


def look_at(bench: Bench, looks: ExitStack, again: Look | None = None) -> Look:
    """Look as a command does, at its moment, or once more as of the moment of another look."""
    if again is None:
        desk = with_releases(bench.desk, bench.ledger)
        path = bench.folder / "incidents/pay7.yaml"
        incident = load_incident(path, desk.config, desk.now, desk.released_at)
        plan = make_plan(desk, incident, bench.ledger, present=NOBODY_ELSE, as_if_released=True)
    else:
        desk, plan = plan_again(again)
    look = looking(desk, plan, bench.ledger, NOBODY_ELSE, late=False, progress=lambda _: None)
    return looks.enter_context(look)


def yes(bench: Bench, look: Look) -> Released | None:
    until = look.good_until(bench.now)
    return say_yes(look, how="question", by="dana", good_until=until, clock=lambda: bench.now)


def undated(bench: Bench) -> Path:
    """Take the time out of the file, which a yes writes; return the file."""
    bench.edit("incidents/pay7.yaml", f"  - at: {START.isoformat()}\n    ", "  - ")
    return bench.folder / "incidents/pay7.yaml"


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
    assert Counter((row.channel, row.audience) for row in bench.rows()) == shown
    assert not make_plan(bench.desk, bench.incident(), bench.ledger).deliveries


def test_the_yes_releases_freezes_opens_and_writes_the_time(bench: Bench, looks: ExitStack) -> None:
    undated(bench)
    released = yes(bench, look_at(bench, looks))
    assert released is not None
    assert (released.numbers, released.not_written, released.broadcasts) == ((1,), "", ())
    assert bench.incident().updates[0].at == START
    with bench.ledger.read() as connection:
        assert {each.channel for each in open_broadcasts(connection, "pay7")} == {"email", "sms"}
    bench.check()  # what stands in the file is what was released


def taken_over(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=bench.now)


def with_template(bench: Bench) -> None:
    write_words(bench.folder, "customers", sms="Other words.")


def other_words(bench: Bench) -> None:
    bench.edit("incidents/pay7.yaml", "Card payments fail", "Card payments fail badly")


def adding(path: str, text: str) -> Callable[[Bench], None]:
    return lambda bench: bench.append(path, text)


@pytest.mark.parametrize(
    ("change", "same_words"),
    [
        pytest.param(Bench.release, True, id="another release"),
        pytest.param(Bench.stop, True, id="a stop"),
        pytest.param(taken_over, False, id="another owner, whom support is told"),
        pytest.param(adding("audiences/customers.csv", "new@example.com,,New\n"), False, id="a reader more"),
        pytest.param(adding("commcast.toml", "\n# a comment\n"), True, id="a comment in the settings"),
        pytest.param(with_template, False, id="a template"),
        pytest.param(other_words, False, id="other words"),
        pytest.param(adding("incidents/pay7.yaml", "# seen by Sam\n"), True, id="a comment"),
    ],
)
def test_what_changes_while_a_person_looks_is_seen_before_the_yes(
    change: Callable[[Bench], None], same_words: bool, bench: Bench, looks: ExitStack
) -> None:
    """The second stream has the same moment: only what really changed differs."""
    look = look_at(bench, looks)
    change(bench)
    assert yes(bench, look) is None
    assert (rows_in(bench), bench.mails()) == (0, [])
    again = look_at(bench, looks, again=look)
    assert again.desk.now == look.desk.now
    assert again.plan.incident.latest.at == look.plan.incident.latest.at
    assert (again.tally.digest == look.tally.digest) is same_words
    assert yes(bench, again) is not None


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
    write_desk(tmp_path, sms='quiet = "21:00-08:00"')
    write_incident(tmp_path, severity=2, at=evening)
    bench = Bench(tmp_path, now=evening)
    bench.edit("commcast.toml", 'zone = "Europe/Berlin"', 'zone = "UTC"')
    assert look_at(bench, looks).good_until(evening) == evening + timedelta(minutes=5)
    bench.ledger.close()


@pytest.mark.parametrize("died", [False, True])
def test_more_rows_than_one_transaction_takes_open_only_when_all_are_in(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch, died: bool
) -> None:
    """The release is committed with the closed broadcasts; where it died, the next tick fills them."""
    monkeypatch.setattr(release, "AT_ONCE", 2)
    monkeypatch.setattr(bulk, "MOVED_AT_ONCE", 2)
    look = look_at(bench, looks)
    released = yes(bench, look)
    assert released is not None
    with bench.ledger.read() as connection:
        assert open_broadcasts(connection, "pay7") == ()
    if died:
        looks.close()
        bench.tick()
        assert len(bench.mails()) == 3
    else:
        fill(look, released)
        with bench.ledger.read() as connection:
            assert {each.channel for each in open_broadcasts(connection, "pay7")} == {"email", "sms"}
    assert len(bench.rows()) == 5


def test_a_file_without_the_time_of_its_release_takes_it_from_the_ledger(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the release and the writing of its time, or the disk was full then."""
    path = undated(bench)
    look = look_at(bench, looks)
    monkeypatch.setattr(release, "fill_times", lambda *_, **__: None)
    assert yes(bench, look) is not None
    looks.close()
    assert START.isoformat() not in path.read_text()
    bench.later(minutes=3)
    assert bench.tick().errors == {}
    assert len(bench.mails()) == 3
    monkeypatch.undo()
    bench.write(issue="News.")
    with ExitStack() as more:
        assert yes(bench, look_at(bench, more)) is not None
    assert bench.incident().updates[0].at == START


def test_a_clock_that_is_set_back_a_day_keeps_nobody_from_going_on(bench: Bench, looks: ExitStack) -> None:
    undated(bench)
    assert yes(bench, look_at(bench, looks)) is not None
    looks.close()
    bench.later(days=-1)
    bench.append("incidents/pay7.yaml", "  - issue: News.\n")
    with ExitStack() as more:
        assert yes(bench, look_at(bench, more)) is not None
    assert bench.tick().errors == {}
    assert read_status(bench.desk, bench.ledger, None).broken == {}
    assert bench.states(notice="update:2")["email", "accepted"] == 3


def test_a_full_temporary_folder_is_named_and_not_the_ledgers_disk(
    bench: Bench, looks: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(bench.folder))
    monkeypatch.setattr(bulk, "_gather_sql", lambda _: "insert into temp.nowhere values (1)")
    with pytest.raises(TryAgain, match="temporary folder") as caught:
        look_at(bench, looks)
    assert str(bench.folder) in str(caught.value)
    assert rows_in(bench) == 0


def test_the_temporary_folder_is_the_one_that_sqlite_takes() -> None:
    assert str(temporary_folder({"SQLITE_TMPDIR": "/tmp", "TMPDIR": "/var/tmp"})) == "/tmp"
    assert str(temporary_folder({"TMPDIR": "/tmp"})) == "/tmp"
    assert str(temporary_folder({})) == "/var/tmp"


def test_a_tick_during_a_question_keeps_the_promise_all_the_same(bench: Bench, looks: ExitStack) -> None:
    """The holding statement goes; the look at the update notices it, and is made again at once."""
    bench.append("commcast.toml", '[silence]\ncustomers = "hold"\n')
    bench.send()
    bench.later(minutes=17)
    bench.write(issue="News.")
    look = look_at(bench, looks)
    bench.later(minutes=1)
    assert not bench.tick().errors
    assert [row for row in bench.rows() if row.notice.startswith("holding:")]
    assert yes(bench, look) is None


@pytest.mark.parametrize("resumed", [False, True])
def test_a_correction_lifts_its_own_stop_with_the_yes_and_notices_a_resume(
    bench: Bench, looks: ExitStack, resumed: bool
) -> None:
    bench.send()
    with bench.ledger.write() as connection:
        stop_to_correct(connection, "pay7", "dana", bench.now)
    bench.later(minutes=2)
    bench.write(corrects="[1]", wrong="error", right="message", issue="Fixed.")
    look = look_at(bench, looks)
    if resumed:
        bench.resume("sam")
    assert (yes(bench, look) is None) is resumed
    with bench.ledger.read() as connection:
        assert stops_in_force(connection, "pay7") == ()


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
