"""commcast correct: whoever got wrong words is told so there, all others get only the right ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commcast.cli import correct as command
from commcast.cli.correct import clock_near
from commcast.ledger.fence import stops_in_force
from commcast.ledger.history import deliveries
from commcast.ledger.store import ledger_path, open_copy
from commcast.ledger.tables import State
from commcast.operations import release
from tests.support.reader import parsed, words
from tests.support.terminal import do, everything_in, outbox, play, refuse, succeed, timeless

FILE = "incidents/card1.yaml"
WRONG = "correct --wrong '3 hours' --right '30 minutes'"
NOW = datetime.now(UTC)
DAY = f"{NOW + timedelta(days=9):%Y-%m-%d}"
PLANNED = (
    f"schedule 'Card database' --id card1 --window '{DAY} 02:00/04:00' --issue 'Payments pause.' "
    "--resolution 'We move it.'"
)


def card(
    issue: str = "Some cards are refused for 3 hours.", *, title: str = "Card payments fail", **more: str
) -> str:
    given = {"resolution": "We roll back.", "timeframe": "unknown", **more}
    options = " ".join(f"--{name} '{value}'" for name, value in given.items())
    return f"declare '{title}' --severity 1 --issue '{issue}' {options}"


def clock(minutes: int, zone: tzinfo = UTC) -> str:
    """Return what clocks show so many minutes from now."""
    return f"{(NOW + timedelta(minutes=minutes)).astimezone(zone):%H:%M}"


@pytest.fixture
def told(desk: Path) -> Path:
    """A desk whose customers were told a wrong number by mail and by SMS."""
    succeed(desk, card())
    return desk


def since(desk: Path, before: list[str]) -> tuple[list[str], list[str]]:
    """Return what the mails and the texts say that were handed over since."""
    new = [desk / "outbox" / name for name in outbox(desk) if name not in before]
    mails = [parsed(path) for path in new if path.suffix == ".eml"]
    return [f"{mail['subject']} {words(mail)}" for mail in mails], [
        path.read_text() for path in new if path.suffix == ".txt"
    ]


def read(desk: Path, ask: Callable[..., Iterable[Any]], *given: str) -> list[Any]:
    with open_copy(ledger_path(desk), "", any_desk=True) as ledger:
        assert ledger is not None
        with ledger.read() as connection:
            return list(ask(connection, *given))


def stops(desk: Path) -> list[str]:
    return [stop.by for stop in read(desk, stops_in_force)]


LONG = "update --next 26h --because 'They work for 3 hours.'"
DOWN = "resolve --fixed 'Down for 4 hours.'"
PLAIN = ": “Cards fail.” "  # no stop is doubled


@pytest.mark.parametrize(
    ("said", "wrong", "right", "texts", "mail", "written"),
    [
        ([card()], "3 hours", "30 minutes", 1, "refused for 30 minutes", "corrects: [1]"),
        # A channel that the wrong words never went by gets no correction.
        ([card("All fail.", scope="3 hours", action="Wait.")], "3 hours", "1 hour", 0, "1 hour. ", "scope: "),
        # A correction can be corrected.
        ([card(), WRONG], "30 minutes", "40 minutes", 1, "refused for 40 minutes", "corrects: [2]"),
        # An end is corrected for those who heard it.
        ([card(), DOWN], "4 hours", "1 hour", 0, "Down for 1 hour", "fixed: Down for 1 hour."),
        # A wrong expected end is found by what was typed; a first text names none.
        ([card("All fail.", timeframe="3h")], "3 hours", "30 minutes", 0, "fixed by ", "timeframe: by "),
        ([card("Cards fail again.")], "cards fail again", "Cards fail.", 1, PLAIN, "issue: Cards fail.\n"),
        # A wrong number in the title is read right from now on.
        ([card("All fail.", title="Card: 3 hours")], "3 hours", "1 hour", 0, "Card: 1 hour", "corrects: [1]"),
        # What was promised for tomorrow, and why, still is.
        ([card(), LONG], "3 hours", "30 minutes", 1, "work for 30 minutes.", "next_update: 2"),
    ],
    ids=["words", "one channel", "twice", "an end", "expected end", "full stops", "title", "a long promise"],
)
def test_whoever_got_the_wrong_words_reads_both_on_each_channel(
    desk: Path, said: Sequence[str], wrong: str, right: str, texts: int, mail: str, written: str
) -> None:
    before, text = succeed(desk, *said), (desk / FILE).read_text()
    done = do(desk, f"correct card1 --wrong '{wrong}' --right '{right}' --yes")
    assert done.exit_code == 0, done.output
    mails, messages = since(desk, before)
    assert (len(mails), len(messages)) == (6, texts)
    quoted = "by " if "by " in mail else f"{wrong}”".replace("cards", "Cards")  # as it stood
    assert all(mail in each and f": “{quoted}" in each for each in mails), mails[0]
    assert not any(doubled in each for each in (*mails, *messages) for doubled in ("..", '.".', ".”."))
    assert not any("no longer holds" in each for each in mails)
    assert (desk / FILE).read_text().startswith(text)
    added = (desk / FILE).read_text().removeprefix(text)
    assert written in added
    assert "resolution" not in added, "what holds nothing wrong is carried forward"
    assert ("The title contains it too" in done.stderr) == (wrong in said[0].partition(" --")[0])
    assert stops(desk) == []
    assert {row.state for row in read(desk, deliveries, "card1")} == {State.ACCEPTED}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("end", ["expected end", "end"])
def test_a_wrong_time_is_put_right_below_too(desk: Path, end: str, zone: str) -> None:
    """Such a time is nobody's words: quoted as wrong and shown again below it would help nobody.

    Each reader is told in the zone of their own message, wherever the person is who types a clock time.
    """
    config = desk / "commcast.toml"
    config.write_text(config.read_text().replace('zone = "UTC"', f'zone = "{zone}"'))
    here = ZoneInfo(zone)
    if end == "end":
        wrong, right = -20, -10
        said = [
            card("Cards fail.", started=clock(-60, here)),
            f"resolve --fixed Repaired. --ended {clock(wrong, here)}",
        ]
    else:
        wrong, right, said = 180, 150, [card("Cards fail.", timeframe=f"by {clock(180, here)}")]
    before = succeed(desk, *said)
    succeed(desk, f"correct card1 --wrong {clock(wrong, here)} --right {clock(right, here)}")
    mails, texts = since(desk, before)
    assert (len(mails), len(texts)) == (6, int(end == "end")), "a first text names no expected end"
    zones = [here, *(ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York"))]
    for message in (*mails, *texts):
        found = []
        for each in zones:
            quoted, _, below = message.partition(clock(right, each))
            found.append(
                (clock(wrong, each) in quoted, clock(wrong, each) in below, clock(right, each) in below)
            )
        assert (True, False, True) in found, message


@pytest.mark.parametrize(
    ("wrong", "right", "meant"),
    [
        ("2026-11-23T00:20", "23:50", "2026-11-22T23:50"),
        ("2026-11-22T23:50", "00:20", "2026-11-23T00:20"),
        ("2026-11-22T23:50", "by 23:20", "2026-11-22T23:20"),
        ("2026-11-22T23:50", "22:00 or 23:00", None),
        ("2026-11-22T23:50", "in an hour", None),
    ],
)
def test_the_right_time_is_the_one_next_to_the_wrong_one(wrong: str, right: str, meant: str | None) -> None:
    """Over midnight it is another day's."""
    berlin = ZoneInfo("Europe/Berlin")
    found = clock_near(datetime.fromisoformat(wrong).replace(tzinfo=berlin), right, berlin)
    assert found == (datetime.fromisoformat(meant).replace(tzinfo=berlin) if meant else None)


STATES = {
    "card": [f"{card()} --yes"],
    "started": [f"{card('Cards fail.', started=clock(-30))} --yes"],
    "corrected": [f"{card()} --yes", f"{WRONG} --yes"],
    "planned": [f"{PLANNED} --yes"],
}
Kept = Callable[..., Path]


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        ("card", "--wrong '3 hours' --right ' '", "--right"),
        ("card", "--wrong '3 hours' --right '3 hours'", "--right: says the same"),
        ("card", "--wrong '3 hours' --right now\x07", "--right: contains a control character"),
        ("card", "--wrong '3 hours' --right now --update 7", "--update: card1 has no update 7"),
        ("card", "nope --wrong '3 hours' --right now", "nope"),
        ("card", "--wrong '4 hours' --right now", "no message of card1 says '4 hours' … 3 hours"),
        ("card", "card1", "2 options are missing:\n  --wrong  The wrong words … \n  --right  What is right"),
        ("card", "card1 --wrong x", "an option is missing:\n  --right  What is right instead"),
        ("corrected", WRONG.removeprefix("correct "), "was corrected already, to '30 minutes', by update 2"),
        ("planned", "card1 --wrong 02:00 --right 05:00", "commcast reschedule card1"),
        ("started", f"card1 --wrong {clock(-30)} --right {clock(-20)}", "the start time"),
    ],
    ids=timeless,
)
def test_what_is_refused_stops_nothing(kept: Kept, state: str, options: str, said: str) -> None:
    refuse(kept(*STATES[state]), f"correct {options} --yes", said)
    assert stops(kept(*STATES[state])) == []


def test_a_dry_run_counts_and_leaves_every_byte(kept: Kept) -> None:
    desk = kept(*STATES["card"])
    before = everything_in(desk)
    error = json.loads(do(desk, "correct card1 --json").stdout)
    assert (error["commcast"], error["exit_code"]) == ("error", 2)
    assert error["message"].startswith("2 options are missing:")
    assert "who got the wrong words" in do(desk, f"{WRONG} --dry-run").stdout
    plan = json.loads(do(desk, f"{WRONG} --dry-run --json").stdout)
    corrected = {
        (notice["channel"], audience["audience"]): audience["corrected"]
        for notice in plan["notices"]
        for audience in notice["audiences"]
    }
    assert (corrected["email", "customers"], corrected["sms", "customers"]) == (2, 1)
    assert everything_in(desk) == before


def test_a_draft_is_sent_or_discarded_first_and_a_changed_file_names_this_command(desk: Path) -> None:
    """A yes to this update is not a yes to the draft that holds the wrong words."""
    assert do(desk, card()).exit_code == 5
    said = "update 1 of card1 is an unreleased draft; nothing was written"
    refuse(desk, f"{WRONG} --yes", said, 5)
    succeed(desk, "send card1")
    (desk / FILE).write_text((desk / FILE).read_text().replace("3 hours", "30 minutes"))
    refuse(desk, "send card1 --yes", 'commcast correct card1 --wrong "…" --right')


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("typed", ["n", "y, too late"])
def test_a_no_keeps_all_stopped_until_the_correction_goes(
    told: Path, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = "2 by email in customers got the wrong words … 0 only the right ones"
    with monkeypatch.context() as patch:
        if "late" in typed:
            patch.setattr(release, "QUESTION_STANDS", timedelta(seconds=-1))
        play(told, f"{WRONG} < {typed[:1]} | 5 | 0 | {counts}")
    assert len(stops(told)) == 1
    play(told, "tick | 0 | 0 |\nsend card1 < y | 0 | 7 |")
    assert stops(told) == []


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(
    "story",
    [
        f"""
        {WRONG} < n           | 5 | 0 |
        stop card1 --by sam   | 0 | 0 | card1 stopped
        send card1 --yes      | 5 | 0 |
        discard card1 --yes   | 0 | 0 | still stopped by sam
        """,
        f"""
        stop card1 --by dana  | 0 | 0 |
        {WRONG} --yes         | 0 | 7 | It was stopped by dana
        """,
        f"""
        stop --all --by dana  | 0 | 0 |
        {WRONG} --yes         | 5 | 0 |
        resume --all          | 0 | 0 |
        send card1 --yes      | 0 | 7 |
        """,
    ],
    ids=["by others meanwhile, it stays", "by a person before, it ends", "of everything, it stays"],
)
def test_a_stop_beside_that_of_the_correction(told: Path, story: str) -> None:
    play(told, story)
    assert stops(told) == (["sam"] if "sam" in story else [])


@pytest.mark.usefixtures("person")
def test_wrong_words_do_not_go_on_while_their_correction_waits(told: Path) -> None:
    ways = "commcast send card1 (the correction), or commcast discard card1"
    play(
        told,
        f"""
        {WRONG} < n         | 5 | 0 |
        resume card1        | 5 | 0 | A correction of card1 is not released … commcast send card1
        status card1        | 0 | 0 | {ways}
        stop card1 --by sam | 0 | 0 |
        resume card1        | 5 | 0 | A correction of card1 is not released
        """,
    )
    assert stops(told) == ["sam"]


@pytest.mark.usefixtures("person")
def test_a_correction_that_is_given_up_leaves_a_stop_only_if_messages_wait(told: Path) -> None:
    play(told, f"{WRONG} < n | 5 | 0 |\ndiscard card1 --yes | 0 | 0 | Discarded")
    assert stops(told) == []
    succeed(told, WRONG)


@pytest.mark.usefixtures("person")
def test_a_correction_that_ended_between_its_stop_and_its_words_can_be_given_up(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "append", interrupted)
        play(told, f"{WRONG} --yes | 130 | 0 |")
    play(told, "status card1 | 0 | 0 | or commcast discard card1\ndiscard card1 --yes | 0 | 0 | abandoned")
    assert stops(told) == []


@pytest.mark.usefixtures("person")
def test_a_correction_of_what_nobody_was_told_stops_nothing(desk: Path) -> None:
    assert do(desk, card()).exit_code == 5
    play(desk, f"{WRONG} < n | 5 | 0 |")
    assert stops(desk) == []
    play(desk, "discard card1 --yes | 0 | 0 | Discarded")
    succeed(desk, card())
