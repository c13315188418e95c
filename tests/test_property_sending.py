"""Whatever people, lists and providers do, in any order: what must hold of what left."""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.suppressions import suppress
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, Email, Outcome, OutcomeKind
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, accepted, address_of

PEOPLE = ["ann", "bob", "cyd", "dee"]
KEYS = {name: (f"{name}@example.com", f"+4915112345{n}71") for n, name in enumerate(PEOPLE)}
END = "resolved"


@dataclass
class World:
    """A desk, the readers' inboxes, and a provider whose mood the story sets."""

    bench: Bench
    mood: str = "well"
    left: list[tuple[str, Channel, int]] = field(default_factory=list)
    messages: Counter[str] = field(default_factory=Counter)
    statuses: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    released: int = 0
    opted_out: set[str] = field(default_factory=set)

    def adapter(self, channel: Channel) -> FakeAdapter:
        return FakeAdapter(channel, answer=lambda item: self.hear(channel, item), connections=2)

    def hear(self, channel: Channel, item: Delivery) -> Outcome:
        """Be the provider: what it took, or may have taken, has left."""
        if self.mood == "down":
            return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, "down", blame=Blame.PROVIDER, retry_after=60)
        self.left.append((address_of(item), channel, self.number_in(item)))
        if isinstance(item.message, Email):
            self.messages[item.message.message_id] += 1
        if self.mood == "silent":
            return Outcome(item.delivery, OutcomeKind.UNKNOWN, "no answer")
        return accepted(item)

    def number_in(self, item: Delivery) -> int:
        """Return which update a message speaks of: each one names itself in its words."""
        text = item.message.text if isinstance(item.message, Email) else item.message.body
        return max(int(number) for number in re.findall(r"stage (\d\d)", text))

    def write(self) -> None:
        first = self.updates[0] if self.updates else ""
        path = write_incident(self.bench.folder)
        head = path.read_text().partition("updates:\n")[0]
        path.write_text(head + "updates:\n" + first + "".join(self.updates[1:]))

    def say(self, status: str) -> None:
        number = len(self.updates) + 1
        words = {"status": status, "issue": f"Cards fail at stage {number:02d}.", "resolution": "We work."}
        words |= {"timeframe": "unknown"} if number == 1 else {}
        if status == END:
            words = {
                "status": status,
                "fixed": "The switch is replaced.",
                "remains": f"Nothing since stage {number:02d}.",
            }
        self.updates.append(update_text(self.bench.now, **words))
        self.statuses.append(status)
        self.write()

    def told(self, channel: Channel) -> dict[str, set[int]]:
        found: defaultdict[str, set[int]] = defaultdict(set)
        for address, by, number in self.left:
            if by is channel:
                found[address].add(number)
        return found


def act(world: World, deed: tuple[str, str]) -> None:
    """Do one thing; what a person would be told of as an error is one too."""
    verb, what = deed
    bench = world.bench
    now: datetime = bench.later(minutes=1)
    over = END in world.statuses
    if verb == "say" and (world.updates or what != END) and not over:
        world.say(what)
    elif verb in {"release", "send"} and world.updates:
        bench.release()
        world.released = len(world.updates)
    if verb in {"tick", "send"}:
        bench.tick()
    if verb == "list":
        rows = [",".join([*KEYS[name], name]) for name in PEOPLE if name[0] in what]
        write_list(bench.folder, "customers", "email,phone,name", rows or ["eve@example.com,,Eve"])
    elif verb == "mood":
        world.mood = what
    elif verb == "opt out" and what not in world.opted_out:
        world.opted_out.add(what)
        with bench.ledger.write() as connection:
            suppress(connection, "email", KEYS[what][0], reason="asked", by="x", now=now)
    elif verb == "stop":
        with bench.ledger.write() as connection:
            stop_incident(connection, "pay7", "x", now)
    elif verb == "resume":
        with bench.ledger.write() as connection:
            lift_stop(connection, "pay7", "x", now)


DEEDS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["investigating", "identified", END])),
    st.tuples(st.sampled_from(["send", "tick"]), st.just("")),
    st.tuples(st.sampled_from(["release", "stop", "resume"]), st.just("")),
    st.tuples(st.just("list"), st.sampled_from(["abcd", "ab", "cd", "a", "dcba", ""])),
    st.tuples(st.just("mood"), st.sampled_from(["well", "down", "silent"])),
    st.tuples(st.just("opt out"), st.sampled_from(PEOPLE)),
)


def told_in_full(deeds: list[tuple[str, str]]) -> World:
    """Live through a story, checking after each deed; then let it end well, and deliver everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_desk(folder, customers=[",".join([*KEYS[name], name]) for name in PEOPLE], support=[])
        world = World(Bench(folder, now=START))
        world.bench.adapter = world.adapter
        for deed in [("say", "investigating"), *deeds]:
            before = len(world.left)
            act(world, deed)
            check(world, before, deed)
        for deed in [("mood", "well"), ("resume", ""), ("say", END), ("release", "")] + [("tick", "")] * 4:
            before = len(world.left)
            act(world, deed)
            check(world, before, deed)
            world.bench.later(minutes=2)
        world.bench.ledger.close()
        return world


def check(world: World, before: int, deed: tuple[str, str]) -> None:
    assert max(Counter(world.left).values(), default=0) <= 1, "somebody was told the same twice"
    assert max(world.messages.values(), default=0) <= 1
    new = world.left[before:]
    assert not new or deed[0] in {"tick", "send"}, "something left without a send"
    assert all(number <= world.released for _, _, number in new), "something left that nobody released"
    out = {KEYS[name][0] for name in world.opted_out}
    assert not {address for address, _, _ in new} & out, "somebody was told who had opted out"


@settings(max_examples=25)
@given(st.lists(DEEDS, max_size=10))
@example([("release", ""), ("mood", "down"), ("tick", ""), ("mood", "well")])
@example(
    [
        ("send", ""),
        ("list", "ab"),
        ("opt out", "cyd"),
        ("mood", "silent"),
        ("say", "identified"),
        ("send", ""),
    ]
)
@example([("stop", ""), ("send", ""), ("say", "identified"), ("send", ""), ("list", "")])
def test_nobody_is_told_twice_nor_left_without_the_end(deeds: list[tuple[str, str]]) -> None:
    world = told_in_full(deeds)
    end = len(world.updates)
    gone = {KEYS[name][0] for name in world.opted_out}
    for channel in Channel:
        for address, numbers in world.told(channel).items():
            assert end in numbers or address in gone, f"{address} was never told that it is over"
            assert numbers != {end}, f"{address} was told of the end of what they never heard of"
