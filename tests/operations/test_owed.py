"""All that tells what is late says the same: status, ticks, the heartbeat, nudges and the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from commcast.errors import ExitCode
from commcast.ledger.releases import record_history
from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind
from commcast.oncall.heartbeat import WENT_WELL
from commcast.operations.status import read_status
from commcast.report.figures import Kept, figures_of
from commcast.report.reading import read_story
from tests.support.desk import START, Bench, update_text, write_desk, write_incident
from tests.support.providers import FakeAdapter, accepted, address_of, saying
from tests.support.scenario import PEOPLE
from tests.support.values import cases

ANN, BOB = "ann@example.com", "bob@example.com"
TOLD = {"nobody": (), "some": (ANN,), "all": (ANN, BOB)}
ANSWERS: dict[str, Callable[[Delivery], Outcome | None]] = {
    "released": saying(OutcomeKind.NOT_TAKEN, Blame.PROVIDER, retry_after=3600.0),
    "refused": saying(OutcomeKind.NOT_TAKEN, Blame.ACCOUNT),
    "rejected": saying(OutcomeKind.REJECTED),
    "unknown": saying(OutcomeKind.UNKNOWN),
}


def desk(folder: Path, told: str, state: str) -> Bench:
    """Return a desk whose update reached so many of two customers, and what became of the others."""
    write_desk(folder, customers=[f"{ANN},,Ann", f"{BOB},,Bob"], support=[], extra=PEOPLE)
    more = update_text(START + timedelta(minutes=1), issue="It is all of Europe.")
    more = more if told != "nobody" or state == "resumed" else ""
    path = write_incident(folder)
    path.write_text(path.read_text().replace("owner: dana", "owner: sam\naudiences: [customers]"))
    bench = Bench(folder, START)
    otherwise = ANSWERS.get(state, ANSWERS["released"])

    def answer(item: Delivery) -> Outcome | None:
        is_reader = address_of(item) in {ANN, BOB}
        return accepted(item) if not is_reader or address_of(item) in TOLD[told] else otherwise(item)

    bench.adapter = lambda channel: FakeAdapter(channel, answer=answer)
    if state in {"adopted", "resumed"}:
        with bench.ledger.write() as connection:
            record_history(connection, [bench.incident()], "dana", START)
    elif state != "draft" or told != "nobody":
        bench.send()
    if state in {"draft", "resumed"} and more:
        bench.append("incidents/pay7.yaml", more)
    if state == "resumed":
        bench.send()
    if state == "stopped":
        bench.stop()
    return bench


@cases("""
    told   | state    | due | nudges                | promises
    nobody | draft    | 10  | draft                 |
    nobody | released | 10  | provider              | never
    nobody | refused  | 10  | provider              | never
    nobody | rejected | 10  |                       | never
    nobody | stopped  | 10  |                       | never
    nobody | unknown  | 20  | late promise          | never
    nobody | adopted  | 20  | late promise          |
    nobody | resumed  | 20  | late promise provider untold |
    some   | resumed  | 20  | late promise provider |
    some   | draft    | 20  | draft late promise provider | never
    some   | released | 20  | late promise provider | never
    some   | refused  | 20  | late promise provider | never
    some   | rejected | 20  | late promise          | never
    some   | unknown  | 20  | late promise          | never
    some   | stopped  | 20  | late promise          | never
    all    | draft    | 20  | draft late promise    | never
    all    | released | 20  | late promise          | never
    all    | stopped  | 20  | late promise          | never
""")
def test_what_is_owed_is_late_for_everybody_who_asks_or_for_nobody(
    tmp_path: Path, told: str, state: str, due: str, nudges: str, promises: str
) -> None:
    """Minutes after the start: within its minute a promise is kept, after it it is broken."""
    bench = desk(tmp_path, told, state)
    whys: set[str] = set()
    for minute in (5, int(due) - 1, int(due), int(due) + 1):
        bench.now = START + timedelta(minutes=minute, seconds=59)
        is_late = minute > int(due)
        ticked = bench.tick()
        found = read_status(bench.desk, bench.ledger, None)
        code = ticked.exit_code(0.02)
        assert (found.overdue, bool(ticked.late)) == (("pay7",) * is_late, is_late), minute
        assert is_late or code is not ExitCode.OVERDUE
        assert not is_late or code is not ExitCode.DONE
        assert not (is_late and code in WENT_WELL and not ticked.late)
        whys |= {nudge.why.value for nudged in ticked.nudged.values() for nudge in nudged.nudges}
    assert " ".join(sorted(whys)) == nudges
    with bench.ledger.read() as connection:
        story = read_story(connection, "pay7", bench.now)
    if story is not None:
        figures = figures_of(story, first_within=lambda severity: timedelta(minutes=10))
        kept = {each.state for each in figures.promises if each.state is not Kept.OPEN}
        assert {each.value for each in kept} == {*promises.split()}
    bench.ledger.close()
