"""Whatever happens at a desk, in any order: promises are kept, or their breach is seen; all ends well."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.history import incident_history
from commcast.ledger.oncall import nudges_given
from commcast.ledger.suppressions import suppress
from commcast.model.history import Said
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Email, Outcome
from commcast.plan.notices import moment_id
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, accepted, address_of

PEOPLE = ["ann", "bob", "cyd", "dee"]
MAIL = {name: f"{name}@example.com" for name in PEOPLE}
ROWS = [f"{MAIL[name]},+49151123450{n}1,{name}" for n, name in enumerate(PEOPLE)]
AFTERMATH: list[tuple[str, str | int]] = [
    ("resume", ""),
    ("tick", 1),
    ("end", ""),
    ("tick", 1),
    ("tick", 90),
]
EXTRA = """
[silence]
customers = "hold"
[people.sam]
name = "Sam Oyo"
email = "sam@acme.example"
"""
SKEW = timedelta(minutes=10)  # a file whose newest update is further ahead than 15 minutes is refused
OWNERS = {"sam@acme.example"}


@dataclass(frozen=True)
class Left:
    """One message that a provider took: to whom, when, its subject and words."""

    to: str
    channel: Channel
    at: datetime
    subject: str
    text: str


@dataclass
class World:
    """A desk, and all that left it."""

    bench: Bench
    left: list[Left] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    opted_out: dict[str, int] = field(default_factory=dict)
    stopped: bool = False
    said_at: datetime = START
    corrected: dict[str, int] = field(default_factory=dict)
    late: list[tuple[Said, datetime]] = field(default_factory=list)

    def adapter(self, channel: Channel) -> FakeAdapter:
        return FakeAdapter(channel, answer=lambda item: self.hear(channel, item), connections=2)

    def hear(self, channel: Channel, item: Delivery) -> Outcome:
        message = item.message
        subject, text = (message.subject, message.text) if isinstance(message, Email) else ("", message.body)
        self.left.append(Left(address_of(item), channel, self.bench.now, subject, text))
        return accepted(item)

    @property
    def is_over(self) -> bool:
        return bool(self.statuses) and self.statuses[-1] == "resolved"

    @property
    def path(self) -> Path:
        return self.bench.folder / "incidents" / "pay7.yaml"

    def say(self, **keys: str) -> None:
        """Append an update, release it and send it, as a verb with --yes does."""
        if not self.statuses:
            self.said_at = self.bench.now
            write_incident(self.bench.folder, at=self.said_at)
            text = self.path.read_text().replace("owner: dana", "owner: sam")
            self.path.write_text(text.replace("see an error", "see an error at stage 01"))
        else:
            with self.path.open("a") as file:
                # A clock that was set back: an update is never before the one above it.
                self.said_at = max(self.said_at, self.bench.now)
                file.write(update_text(self.said_at, **keys))
        self.statuses.append(keys.get("status", "investigating"))
        self.bench.send()

    def correct(self) -> None:
        """Put right what the newest update said of its stage."""
        number = len(self.statuses)
        wrong = f"stage {number:02d}"
        if wrong not in self.path.read_text().rpartition("  - at:")[2]:
            return
        right = f"step {number:02d}"
        words = {"issue": f"Cards fail at {right}.", "corrects": str(number)}
        before = len(self.left)
        self.say(**words, wrong=f'"{wrong}"', right=f'"{right}"')
        self.corrected[wrong] = before

    def readers(self) -> Iterator[Left]:
        return (left for left in self.left if left.to not in OWNERS)


def act(world: World, deed: tuple[str, str | int]) -> None:
    """Do one thing a minute later."""
    verb, what = deed
    bench = world.bench
    bench.later(minutes=1)
    if verb in {"say", "end", "reopen", "correct"} and world.stopped:
        return  # a verb refuses to add to what is stopped
    if verb == "say" and not world.is_over:
        world.say(issue=f"Cards fail at stage {len(world.statuses) + 1:02d}.")
    elif verb == "end" and world.statuses and not world.is_over:
        world.say(status="resolved", fixed="The switch is replaced.")
    elif verb == "correct" and not world.is_over:
        world.correct()
    elif verb == "reopen" and world.is_over:
        words = {"issue": "It is back.", "resolution": "We work.", "timeframe": "unknown"}
        world.say(status="reopened", **words)
    elif verb == "list":
        rows = [row for row in ROWS if row[0] in str(what)]
        write_list(bench.folder, "customers", "email,phone,name", rows)
    elif verb == "opt out" and what not in world.opted_out:
        world.opted_out[str(what)] = len(world.left)
        with bench.ledger.write() as connection:
            suppress(connection, "email", MAIL[str(what)], reason="asked", by="x", now=bench.now)
    elif verb in {"stop", "resume"}:
        world.stopped = verb == "stop"
        with bench.ledger.write() as connection:
            if world.stopped:
                stop_incident(connection, "pay7", "x", bench.now)
            else:
                lift_stop(connection, "pay7", "x", bench.now)
    elif verb == "tick":
        bench.later(minutes=int(what))
        bench.tick()
        note_late(world)
    elif verb == "clock back" and bench.now - timedelta(minutes=int(what)) > world.said_at - SKEW:
        bench.later(minutes=-int(what))


def note_late(world: World) -> None:
    """Remember what a tick left overdue: it has to have woken somebody for it."""
    with world.bench.ledger.read() as connection:
        history = incident_history(connection, "pay7")
        given_ = nudges_given(connection, "pay7")
    last = {said.audience: said for said in history.said if said.channel is Channel.EMAIL}
    newest = max(history.releases, default=0)
    over = newest and world.statuses[newest - 1] == "resolved"
    for said in last.values():
        if said.promised is not None and said.promised < world.bench.now and not over:
            world.late.append((said, world.bench.now))
            assert any(moment_id(said.promised) in nudge for nudge in given_), "a promise passed unseen"


DEEDS = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from([0, 1, 1, 2, 5, 15, 40, 200])),
    st.tuples(st.sampled_from(["say", "correct", "end", "reopen", "stop", "resume"]), st.just("")),
    st.tuples(st.just("list"), st.sampled_from(["abcd", "ab", "cd", "a"])),
    st.tuples(st.just("opt out"), st.sampled_from(PEOPLE)),
    st.tuples(st.just("clock back"), st.sampled_from([1, 7])),
)


def lived(deeds: list[tuple[str, str | int]]) -> World:
    """Live through a story, let it end well, and let ticks do the rest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_desk(folder, customers=ROWS, support=[], extra=EXTRA)
        world = World(Bench(folder, now=START))
        world.bench.adapter = world.adapter
        for deed in [("say", ""), *deeds, *AFTERMATH]:
            act(world, deed)
            check(world)
        world.bench.ledger.close()
        return world


def check(world: World) -> None:
    """What must hold at any moment."""
    texts = [(left.to, left.channel, left.subject, left.text) for left in world.left]
    assert len(set(texts)) == len(texts), "somebody was told the same twice"
    for wrong, count in world.corrected.items():
        for left in world.left[count:]:
            text = left.text.replace(f"“{wrong}”", "").replace(f'"{wrong}"', "")
            assert wrong not in text, "wrong words went out after they were put right"
    for name, count in world.opted_out.items():
        assert MAIL[name] not in [left.to for left in world.left[count:]], "somebody heard who had opted out"


def by_address(world: World) -> dict[str, list[Left]]:
    found: defaultdict[str, list[Left]] = defaultdict(list)
    for left in world.readers():
        if left.channel is Channel.EMAIL:
            found[left.to].append(left)
    return found


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(DEEDS, max_size=12))
@example([("tick", 15), ("tick", 2), ("tick", 200), ("say", ""), ("end", ""), ("tick", 40), ("reopen", "")])
@example([("say", ""), ("list", "ab"), ("correct", ""), ("tick", 15), ("tick", 5), ("end", "")])
@example([("stop", ""), ("tick", 40), ("resume", ""), ("tick", 1), ("clock back", 7), ("tick", 15)])
def test_promises_are_kept_or_their_breach_is_seen(deeds: list[tuple[str, str | int]]) -> None:
    world = lived(deeds)
    gone = {MAIL[name] for name in world.opted_out}
    for address, heard in by_address(world).items():
        ended = [n for n, left in enumerate(heard) if left.subject.startswith("[Resolved]")]
        if address not in gone:
            assert ended, f"{address} was told of it and never of its end"
            assert ended[-1] == len(heard) - 1, f"{address} heard more after the end"
        for number in ended:
            after = heard[number + 1 : number + 2]
            # A check or a correction of the end aside, only its undoing may follow.
            assert not after or after[0].subject.startswith("[Reopened]"), after
