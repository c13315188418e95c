"""Things that happen at once, or in an order that nobody has in mind: promises are kept all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.errors import Fault, ProviderError
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Email, Outcome
from commcast.oncall.nudges import Nudge
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, accepted, address_of

HOLDS = '[silence]\ncustomers = "hold"\nsupport = "hold"\n'
SAM = '[people.sam]\nname = "Sam Oyo"\nemail = "sam@acme.example"\n'
ANN = "ann@example.com"


class Story:
    """A desk, and what each address was handed: minutes since the start, and the kind of mail."""

    def __init__(self, folder: Path, *, extra: str = HOLDS, start: datetime = START) -> None:
        write_desk(folder, extra=extra + SAM)
        self.start, self.folder = start, folder
        self.bench = Bench(folder, start)
        self.bench.adapter = lambda channel: FakeAdapter(channel, answer=self._hear, connections=2)
        self.heard: dict[str, list[tuple[int, str]]] = {}
        self.words: dict[str, list[str]] = {}

    @property
    def minute(self) -> int:
        return (self.bench.now - self.start) // timedelta(minutes=1)

    def _hear(self, item: Delivery) -> Outcome:
        message, to = item.message, address_of(item)
        kind = message.subject.partition("]")[0][1:] if isinstance(message, Email) else "text"
        self.heard.setdefault(to, []).append((self.minute, kind))
        self.words.setdefault(to, []).append(message.text if isinstance(message, Email) else message.body)
        return accepted(item)

    def declare(self, owner: str = "sam") -> None:
        path = write_incident(self.folder, at=self.bench.now)
        path.write_text(path.read_text().replace("owner: dana", f"owner: {owner}"))
        self.bench.send()

    def write(self, **keys: str) -> None:
        """Append an update of this moment; nobody has said yes to it yet."""
        with (self.folder / "incidents" / "pay7.yaml").open("a") as file:
            file.write(update_text(self.bench.now, **keys))

    def say(self, **keys: str) -> None:
        """Append an update and send it, as a verb with --yes does."""
        self.write(**keys)
        self.bench.check()
        self.bench.send()

    def minutes(self, count: int) -> None:
        """Tick every minute."""
        for _ in range(count):
            self.bench.later(minutes=1)
            self.bench.tick()

    def at(self, minute: int) -> str:
        return (self.start + timedelta(minutes=minute)).astimezone(UTC).isoformat()


def test_a_moment_that_a_person_promises_again_is_kept_again(tmp_path: Path) -> None:
    """The holding statement for 20 went at 17; at 18 a person says "nothing new" and names 20, too."""
    story = Story(tmp_path)
    story.declare()
    story.minutes(18)
    story.say(nothing_new="we still look", next_update=f'"{story.at(20)}"')
    story.minutes(20)
    hold = "No change"
    assert story.heard[ANN] == [
        (0, "Investigating"),
        (17, hold),
        (18, "Investigating"),
        (19, hold),
        (37, hold),
    ]


def test_a_person_is_woken_again_for_a_moment_promised_again(tmp_path: Path) -> None:
    story = Story(tmp_path, extra="")
    story.declare()
    story.minutes(15)
    assert story.heard["sam@acme.example"] == [(15, "Nudge")]
    story.say(nothing_new="we still look", next_update=f'"{story.at(20)}"')
    story.minutes(4)
    assert story.heard["sam@acme.example"] == [(15, "Nudge"), (19, "Nudge")]


def test_a_text_that_is_promised_again_is_kept_again(tmp_path: Path) -> None:
    """Texts promise the end of planned work, too: who speaks shortly before it names it once more."""
    story = Story(tmp_path)
    write_list(tmp_path, "customers", "phone,name", ["+4915112345671,Ann"])
    end = START + timedelta(hours=2)
    (tmp_path / "incidents" / "pay7.yaml").write_text(
        "title: Database moves\nkind: maintenance\nseverity: 2\n"
        f"window: {{from: {START.isoformat()}, to: {end.isoformat()}}}\nupdates:\n"
        + update_text(START, status="in_progress", issue="Payments pause.", resolution="We move it.")
    )
    story.bench.send()
    for minute in (117, 118, 119):
        story.bench.later(minutes=minute - story.minute)
        story.bench.tick()
        if minute == 118:
            story.say(severity="1", issue="One disk is slow, and all payments pause.")
    assert story.heard["+4915112345671"] == [(0, "text"), (117, "text"), (118, "text"), (119, "text")]


def test_who_is_held_only_since_others_were_is_not_left_in_silence(tmp_path: Path) -> None:
    """Somebody sees at 30 that support hears nothing, and lets holding statements go to support, too."""
    story = Story(tmp_path, extra='[silence]\ncustomers = "hold"\nsupport = "nudge"\n')
    story.declare()
    story.minutes(30)
    config = tmp_path / "commcast.toml"
    config.write_text(config.read_text().replace('support = "nudge"', 'support = "hold"'))
    story.minutes(30)
    hold = "No change"
    assert story.heard["help@acme.example"] == [(0, "Investigating"), (31, hold), (48, hold)]
    assert "We had promised to write by 10:25" in story.words["help@acme.example"][1]
    assert story.heard[ANN] == [(0, "Investigating"), (17, hold), (37, hold)]


def test_a_holding_statement_that_never_left_has_promised_nothing(tmp_path: Path) -> None:
    """Frozen at 17, promising 40, and killed; the next tick comes at 47, and owns the promise of 20."""
    story = Story(tmp_path)
    story.declare()
    story.bench.later(minutes=17)
    story.bench.freeze()
    story.bench.later(minutes=29)
    story.minutes(1)
    assert story.heard[ANN] == [(0, "Investigating"), (47, "No change")]
    assert "We had promised to write by 10:25 CET" in story.words[ANN][1]


def test_a_holding_statement_that_waits_yields_to_the_next_one(tmp_path: Path) -> None:
    """Frozen at 17 and killed; at 38, when the next one is due, readers get one message: the newest."""
    story = Story(tmp_path)
    story.declare()
    story.bench.later(minutes=17)
    story.bench.freeze()
    story.bench.later(minutes=20)
    story.minutes(2)
    assert story.heard[ANN] == [(0, "Investigating"), (38, "No change")]
    assert "We had promised to write by 10:25 CET" in story.words[ANN][1]


def test_what_is_said_after_midnight_names_the_day_before(tmp_path: Path) -> None:
    """At a quarter past, "since 23:58" would be a time that is still to come."""
    story = Story(tmp_path, start=datetime(2026, 11, 21, 22, 58, tzinfo=UTC))
    story.declare()
    story.minutes(17)
    told = story.words[ANN][1]
    assert "since Sat 21 Nov, 23:58 CET" in told
    assert "Next update: by Sun 22 Nov, 00:38 CET" in told


def test_a_cadence_made_shorter_locks_nobody_out(tmp_path: Path) -> None:
    """What was released under the old one cannot be changed any more, and must not have to be."""
    slow = '[cadence.1]\nfirst = "10m"\nevery = "60m"\n'
    story = Story(tmp_path, extra=HOLDS + slow)
    story.declare()
    story.minutes(5)
    story.say(nothing_new="we still look", next_update="50m")
    config = tmp_path / "commcast.toml"
    config.write_text(config.read_text().replace('every = "60m"', 'every = "20m"'))
    assert not story.bench.tick().errors
    story.minutes(5)
    story.say(status="resolved", fixed="We rolled back.")
    assert story.heard[ANN][-1] == (10, "Resolved")


def test_the_cadence_still_binds_what_nobody_has_released(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.declare()
    story.write(nothing_new="we still look", next_update="50m")
    assert "later than the cadence" in str(story.bench.tick().errors["incidents/pay7.yaml"])


def test_whoever_left_the_list_and_heard_the_end_hears_that_it_is_not_over(tmp_path: Path) -> None:
    write_desk(tmp_path, support=[])
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    path = tmp_path / "incidents" / "pay7.yaml"
    end = update_text(bench.later(minutes=5), status="resolved", fixed="The switch.")
    path.write_text(path.read_text() + end)
    bench.send()
    write_list(tmp_path, "customers", "email,phone,name", ["ann@example.com,+4915112345671,Ann"])
    words = {"issue": "It is back.", "resolution": "We work.", "timeframe": "unknown"}
    path.write_text(path.read_text() + update_text(bench.later(minutes=5), status="reopened", **words))
    bench.send()
    told = {row.address for row in bench.rows() if row.notice == "update:3" and row.channel == "email"}
    assert told == {"ann@example.com", "bob@example.com"}


NIGHT = datetime(2026, 11, 21, 18, tzinfo=UTC)  # 19:00 in Berlin
MORNING = datetime(2026, 11, 22, 7, tzinfo=UTC)
QUIET = 'quiet = "21:00-08:00"\nwake_for = [1]'


def held_end(folder: Path) -> Bench:
    """Return a desk whose end, said at 21:30, waits for eight o'clock as a text."""
    write_desk(folder, sms=QUIET, customers=["ann@example.com,+4915112345671,Ann"])
    write_incident(folder, severity=2, at=NIGHT)
    bench = Bench(folder, NIGHT)
    bench.send()
    at = bench.later(hours=2, minutes=30)
    end = update_text(at, status="resolved", fixed="It works again.", ended=at.isoformat())
    write_incident(folder, severity=2, at=NIGHT, more=end)
    bench.send()
    assert len(bench.texts()) == 1
    bench.now = MORNING
    return bench


def archived(folder: Path) -> None:
    (folder / "incidents" / "pay7.yaml").rename(folder / "pay7.yaml")


def broken_file(folder: Path) -> None:
    path = folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + "  - bad: [\n")


def broken_template(folder: Path) -> None:
    (folder / "templates" / "customers").mkdir(parents=True)
    (folder / "templates" / "customers" / "sms.txt.j2").write_text("{% if %}")


@pytest.mark.parametrize("happens", [archived, broken_file, broken_template])
def test_an_end_that_waited_for_the_morning_goes_whatever_became_of_its_file(
    tmp_path: Path, happens: Callable[[Path], None]
) -> None:
    """Who was told by text that it began is told by text how it ended."""
    bench = held_end(tmp_path)
    happens(tmp_path)
    for _ in range(2):
        bench.tick()
        bench.later(minutes=1)
    assert len(bench.texts()) == 2
    assert "RESOLVED" in bench.texts()[-1].read_text()


def test_an_audience_that_is_gone_from_the_configuration_stops_no_tick(tmp_path: Path) -> None:
    """Its file is refused, its other readers and all other incidents get their statements."""
    write_desk(tmp_path, extra=HOLDS)
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace("updates:", "audiences: [support, customers]\nupdates:", 1))
    write_incident(tmp_path, "pay8")
    bench = Bench(tmp_path)
    for name in ("pay7", "pay8"):
        bench.send(name)
    config = tmp_path / "commcast.toml"
    text = config.read_text()
    gone = text[text.index("[audiences.support]") : text.index("[audiences.customers]")]
    config.write_text(text.replace(gone, "").replace('support = "hold"\n', ""))
    bench.later(minutes=18)
    ticked = bench.tick()
    assert "'support' is not a known audience" in str(ticked.errors["incidents/pay7.yaml"])
    for name in ("pay7", "pay8"):
        assert ticked.delivered[name].outcomes == {"accepted": 2}, "customers, by mail"


def test_a_channel_that_is_gone_stops_only_what_waits_for_it(tmp_path: Path) -> None:
    """A text of an incident that is over waits, and SMS is taken out of the configuration."""
    write_desk(tmp_path, extra=HOLDS)
    ended = write_incident(tmp_path, "aaa")
    write_incident(tmp_path, "pay8")
    bench = Bench(tmp_path)
    for name in ("aaa", "pay8"):
        bench.send(name)
    at = bench.later(minutes=5)
    end = update_text(at, status="resolved", fixed="It works again.", ended=at.isoformat())
    ended.write_text(ended.read_text() + end)
    bench.release("aaa")
    bench.freeze("aaa")
    config = tmp_path / "commcast.toml"
    text = config.read_text()
    gone = text[text.index("[channels.sms]") : text.index("[providers.smtp]")]
    config.write_text(text.replace(gone, "").replace('"email", "sms"', '"email"'))
    bench.later(minutes=13)
    ticked = bench.tick()
    assert [path for path, error in ticked.errors.items() if "no [channels.sms]" in str(error)] == [
        "incidents/aaa.yaml"
    ]
    assert ticked.delivered["pay8"].outcomes["accepted"] == 3


def test_news_that_nobody_got_is_never_called_no_change(tmp_path: Path) -> None:
    """The provider refuses us from before the news on until its promise has passed, and takes us again."""
    story = Story(tmp_path)
    story.declare()
    story.bench.later(minutes=10)
    works = story.bench.adapter
    story.bench.adapter = refusing
    story.say(issue="Cards fail everywhere in Europe.")
    nudges: list[str] = []
    for _ in range(31):
        story.bench.later(minutes=1)
        for nudged in story.bench.tick().nudged.values():
            nudges += [nudge.id for nudge in nudged.nudges]
    assert story.heard[ANN] == [(0, "Investigating")]
    assert "nudge:2026-11-21T09:25:00Z:late" in nudges, "what readers were promised, and heard"
    story.bench.adapter = works
    story.minutes(2)
    (_, (_, kind)) = story.heard[ANN]
    assert kind == "Investigating"
    assert "Cards fail everywhere in Europe." in story.words[ANN][1]
    assert "We had promised to write by 10:25 CET" in story.words[ANN][1]
    assert "nothing new to report" not in story.words[ANN][1]


def refusing(channel: Channel) -> FakeAdapter:
    raise ProviderError("smtp", Fault("commcast.toml", 0, 0, "the password is refused", "mend it"))


def test_a_promise_of_texts_that_nothing_keeps_wakes_somebody(tmp_path: Path) -> None:
    """Bob gets mail, Ann only texts; silence is left to people."""
    rows = ["bob@example.com,,Bob", ",+4915112345671,Ann"]
    silence = '[silence]\ncustomers = "nudge"\nsupport = "nudge"\n'
    write_desk(tmp_path, customers=rows, extra=silence)
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    assert "Next text by 12:05 CET" in bench.texts()[0].read_text()
    nudges = [n.id for _ in range(42) for n in nudged_after(bench, minutes=3)]
    assert [each for each in nudges if "11:05" in each] == [
        f"nudge:2026-11-21T11:05:00Z:{mark}" for mark in ("50", "85", "late")
    ]


def nudged_after(bench: Bench, minutes: float) -> Iterator[Nudge]:
    bench.later(minutes=minutes)
    for nudged in bench.tick().nudged.values():
        yield from nudged.nudges


def test_words_that_reached_nobody_wake_somebody_once(tmp_path: Path) -> None:
    """All readers get texts only, in their night: nobody has heard a word when the promise passes."""
    write_desk(tmp_path, sms=QUIET, customers=[",+4915112345671,Ann"], support=["help@acme.example,Su"])
    at = datetime(2026, 11, 21, 21, tzinfo=UTC)  # 22:00 in Berlin
    path = write_incident(tmp_path, severity=2, at=at)
    path.write_text(path.read_text().replace("updates:", "audiences: [customers]\nupdates:", 1))
    bench = Bench(tmp_path, at)
    bench.send()
    nudges = [each for _ in range(60) for each in nudged_after(bench, minutes=15)]
    assert [each.id for each in nudges] == ["nudge:unheard:1"]
    assert "update 1 reached no reader" in nudges[0].note
