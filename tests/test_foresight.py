"""The dry run of a tick tells beforehand what that very tick then does, whatever state a desk is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.tables import State
from commcast.operations.dry_run import Foreseen, foresee
from commcast.operations.tick import Ticked
from tests.support.desk import Bench, update_text, write_desk, write_incident
from tests.support.scenario import night


def told(bench: Bench) -> Counter[tuple[str, str]]:
    """Count what readers were told, by notice and channel."""
    return Counter((row.notice, row.channel) for row in bench.rows() if row.state is State.ACCEPTED)


def foreseen_and_done(bench: Bench) -> tuple[Foreseen, Ticked]:
    """Tick after a dry run, and check that it did what the dry run had said."""
    before = told(bench)
    found = foresee(bench.desk, bench.ledger)
    assert told(bench) == before
    ticked = bench.tick()
    coming = Counter({(each.notice, each.channel): each.deliveries for each in found.coming})
    assert told(bench) - before == coming
    woken = {name: [nudge.id for nudge in done.nudges] for name, done in ticked.nudged.items()}
    wakes = {each.incident: [one.nudge.id for one in found.waking] for each in found.waking}
    assert wakes == woken
    people = {name for each in found.waking for name in each.people}
    assert people == {name for done in ticked.nudged.values() for name in done.people}
    assert {path: str(error) for path, error in found.errors.items()} == {
        path: str(error) for path, error in ticked.errors.items()
    }
    return found, ticked


def broken(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text().replace("severity: 1", "severity: 9"))


def mended(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text().replace("severity: 9", "severity: 1"))


def gone(bench: Bench) -> None:
    (bench.folder / "incidents" / "pay7.yaml").rename(bench.folder / "away.yaml")


def drafted(bench: Bench) -> None:
    with (bench.folder / "incidents" / "pay7.yaml").open("a") as file:
        file.write(update_text(bench.now, nothing_new="rollback at 60%"))


def released(bench: Bench) -> None:
    drafted(bench)
    bench.release()


def stopped(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "dana", bench.now)


def resumed(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        lift_stop(connection, "pay7", "dana", bench.now)


def frozen(bench: Bench) -> None:
    released(bench)
    bench.freeze()


@pytest.mark.parametrize(
    "happens",
    [
        {},
        {6: broken, 30: mended},
        {18: gone},
        {9: drafted},
        {9: released},
        {9: stopped, 24: resumed},
        {9: frozen},
        {9: stopped, 12: released},
    ],
    ids=lambda happens: " ".join(f"{at}:{what.__name__}" for at, what in happens.items()) or "nothing",
)
def test_a_dry_run_says_what_the_tick_does(
    happens: dict[int, Callable[[Bench], None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third minute of a time in which nobody writes, and something goes wrong."""
    with night(tmp_path, monkeypatch) as here:
        here.bench.send()
        sent, woken = 0, 0
        for minute in range(3, 46, 3):
            here.bench.later(minutes=3)
            if minute in happens:
                happens[minute](here.bench)
            found, _ = foreseen_and_done(here.bench)
            sent += sum(each.deliveries for each in found.coming)
            woken += len(found.waking)
        assert woken
        assert sent or "stopped" in {what.__name__ for what in happens.values()}


def test_a_draft_that_nobody_released_wakes_and_is_not_sent(tmp_path: Path) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.later(minutes=5)
    found, _ = foreseen_and_done(bench)
    assert [each.nudge.why for each in found.waking] == ["draft"]
    assert found.coming == []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def test_what_has_expired_meanwhile_does_not_go(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    bench.later(hours=3)
    found, _ = foreseen_and_done(bench)
    assert found.coming == []


def test_newer_words_take_the_place_of_those_that_wait(bench: Bench) -> None:
    """The mails of the first are overtaken; its texts go, since the second is not texted."""
    bench.release()
    bench.freeze()
    bench.later(minutes=5)
    released(bench)
    found, _ = foreseen_and_done(bench)
    going = {(each.notice, each.channel) for each in found.coming}
    assert going == {("update:1", "sms"), ("update:2", "email")}


def test_who_waits_for_others_to_hear_first_is_not_counted(bench: Bench) -> None:
    config = bench.folder / "commcast.toml"
    config.write_text(config.read_text().replace("rank = 1\n", 'rank = 1\nlead = "10m"\n'))
    path = write_incident(bench.folder, severity=3)
    path.write_text(path.read_text().replace("updates:", "audiences: [support, customers]\nupdates:", 1))
    bench.release()
    bench.later(minutes=1)
    found, _ = foreseen_and_done(bench)
    assert [each.deliveries for each in found.coming] == [1]


def test_what_waits_of_a_file_that_is_gone_is_counted_once(bench: Bench) -> None:
    bench.release()
    bench.freeze()
    gone(bench)
    bench.later(minutes=1)
    found, _ = foreseen_and_done(bench)
    assert sum(each.deliveries for each in found.coming) == 5


def test_a_text_that_the_night_made_stale_is_not_counted(tmp_path: Path) -> None:
    write_desk(tmp_path, sms='quiet = "21:00-08:00"\nwake_for = [1]', customers=[",+4915112345671,Ann"])
    at = datetime(2026, 11, 21, 21, tzinfo=UTC)
    write_incident(tmp_path, severity=2, at=at)
    bench = Bench(tmp_path, at)
    bench.send()
    bench.now = datetime(2026, 11, 22, 7, tzinfo=UTC)
    found, _ = foreseen_and_done(bench)
    assert found.coming == []
