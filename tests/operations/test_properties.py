"""Whatever people, lists, clocks and providers do, in any order: nobody is told twice, and all ends well."""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from commcast.ledger.history import incident_history
from commcast.ledger.oncall import nudges_given
from commcast.ledger.suppressions import suppress
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, Email, Outcome, OutcomeKind
from commcast.plan.notices import moment_id
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.idle_clock import wait_in_made_up_time
from tests.support.providers import FakeAdapter, accepted, address_of

Deed = tuple[str, str | int]
PEOPLE = ["ann", "bob", "cyd", "dee"]
EMAIL = {name: f"{name}@example.com" for name in PEOPLE}
ROWS = [f"{EMAIL[name]},+49151123450{n}1,{name}" for n, name in enumerate(PEOPLE)]
SAM = "sam@acme.example"
OWNER = f'[people.sam]\nname = "Sam Oyo"\nemail = "{SAM}"\n'
HOLD = '[silence]\ncustomers = "hold"\n'
SKEW = timedelta(minutes=10)  # a file whose newest update is further ahead than 15 minutes is refused
REOPENED = {"issue": "It is back.", "resolution": "We work.", "timeframe": "unknown"}


@dataclass(frozen=True)
class Left:
    """One message that a provider took, or may have taken: to whom, when, its subject and words."""

    to: str
    channel: Channel
    at: datetime
    subject: str
    text: str

    @property
    def number(self) -> int:
        """The update that it is about: each one names itself in its words, as "stage 03"."""
        return max(int(number) for number in re.findall(r"stage (\d\d)", self.text))


@dataclass
class World:
    """A desk, what left it, and a provider whose `mood` is set. `opted_out` says since which message."""

    bench: Bench
    mood: str = "well"
    left: list[Left] = field(default_factory=list)
    ids: Counter[str] = field(default_factory=Counter)
    statuses: list[str] = field(default_factory=list)
    released: int = 0
    opted_out: dict[str, int] = field(default_factory=dict)
    stopped: bool = False
    said_at: datetime = START
    corrected: dict[str, int] = field(default_factory=dict)

    def adapter(self, channel: Channel) -> FakeAdapter:
        return FakeAdapter(channel, answer=lambda item: self.take(channel, item), connections=2)

    def take(self, channel: Channel, item: Delivery) -> Outcome:
        if self.mood == "down":
            return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, "down", blame=Blame.PROVIDER, retry_after=60)
        message = item.message
        subject, text = (message.subject, message.text) if isinstance(message, Email) else ("", message.body)
        self.left.append(Left(address_of(item), channel, self.bench.now, subject, text))
        self.ids[message.message_id if isinstance(message, Email) else f"text {len(self.left)}"] += 1
        lost = Outcome(item.delivery, OutcomeKind.UNKNOWN, "no answer")
        return accepted(item) if self.mood == "well" else lost

    @property
    def is_over(self) -> bool:
        return bool(self.statuses) and self.statuses[-1] == "resolved"

    @property
    def path(self) -> Path:
        return self.bench.folder / "incidents" / "pay7.yaml"

    def write(self, **keys: str) -> None:
        """Append an update; the first is what `write_incident` writes."""
        if not self.statuses:
            self.said_at = self.bench.now
            write_incident(self.bench.folder, at=self.said_at)
            self.bench.edit("incidents/pay7.yaml", "owner: dana", "owner: sam")
            self.bench.edit("incidents/pay7.yaml", "see an error", "see an error at stage 01")
        else:
            # Clocks may be set back: each update is later than the one above it all the same.
            self.said_at = max(self.said_at + timedelta(minutes=1), self.bench.now)
            self.bench.append("incidents/pay7.yaml", update_text(self.said_at, **keys))
        self.statuses.append(keys.get("status", "investigating"))

    def say(self, **keys: str) -> None:
        """Append an update, release it and send it, as a command with --yes does."""
        self.write(**keys)
        self.bench.send()

    def correct(self) -> None:
        """Correct what the newest update said of its stage."""
        number = len(self.statuses)
        wrong, right = f"stage {number:02d}", f"step {number:02d}"
        if wrong in self.path.read_text().rpartition("  - at:")[2]:
            self.corrected[wrong] = len(self.left)
            words = {"issue": f"Cards fail at {right}.", "corrects": str(number)}
            self.say(**words, wrong=f'"{wrong}"', right=f'"{right}"')

    def to(self, channel: Channel) -> Mapping[str, list[Left]]:
        """Return what left by one channel, by reader."""
        found: defaultdict[str, list[Left]] = defaultdict(list)
        for left in self.left:
            if left.channel is channel and left.to != SAM:
                found[left.to].append(left)
        return found

    def act(self, verb: str, what: str | int) -> None:
        """Do what anybody may do at any time; `verbs` of a story come on top."""
        bench = self.bench
        if verb == "list":
            rows = [row for row in ROWS if row[0] in str(what)]
            write_list(bench.folder, "customers", "email,phone,name", rows or ["eve@example.com,,Eve"])
        elif verb == "mood":
            self.mood = str(what)
        elif verb == "opt out" and what not in self.opted_out:
            self.opted_out[str(what)] = len(self.left)
            with bench.ledger.write() as connection:
                suppress(connection, "email", EMAIL[str(what)], reason="asked", by="x", now=bench.now)
        elif verb in {"stop", "resume"}:
            self.stopped = verb == "stop"
            (bench.stop if self.stopped else bench.resume)()

    def check(self) -> None:
        """What must hold at any moment."""
        texts = [(left.to, left.channel, left.subject, left.text) for left in self.left]
        assert len(set(texts)) == len(texts), "somebody was told the same twice"
        assert max(self.ids.values(), default=0) <= 1
        for name, count in self.opted_out.items():
            assert EMAIL[name] not in [left.to for left in self.left[count:]], "told who had opted out"
        for wrong, count in self.corrected.items():
            for left in self.left[count:]:
                text = left.text.replace(f"“{wrong}”", "").replace(f'"{wrong}"', "")
                assert wrong not in text, "wrong words went out after they were corrected"


def world_in(folder: str, silence: str = "") -> World:
    write_desk(Path(folder), customers=ROWS, support=[], extra=silence + OWNER)
    world = World(Bench(Path(folder), now=START))
    world.bench.adapter = world.adapter
    return world


PEOPLES_DEEDS = [
    st.tuples(st.just("list"), st.sampled_from(["abcd", "ab", "cd", "a", "dcba", ""])),
    st.tuples(st.just("opt out"), st.sampled_from(PEOPLE)),
    st.tuples(st.sampled_from(["stop", "resume"]), st.just("")),
]


def promise(world: World, verb: str, what: str | int) -> None:
    """Do one thing a minute later."""
    bench = world.bench
    bench.later(minutes=1)
    if verb in {"say", "end", "reopen", "correct"} and world.stopped:
        return  # a command refuses to add to what is stopped
    if verb == "say" and not world.is_over:
        world.say(issue=f"Cards fail at stage {len(world.statuses) + 1:02d}.")
    elif verb == "end" and world.statuses and not world.is_over:
        world.say(status="resolved", fixed="The switch is replaced.")
    elif verb == "correct" and not world.is_over:
        world.correct()
    elif verb == "reopen" and world.is_over:
        world.say(status="reopened", **REOPENED)
    elif verb == "tick":
        bench.later(minutes=int(what))
        bench.tick()
        check_late(world)
    elif verb == "clock back" and bench.now - timedelta(minutes=int(what)) > world.said_at - SKEW:
        bench.later(minutes=-int(what))
    else:
        world.act(verb, what)


def check_late(world: World) -> None:
    """What a tick left overdue has to have nudged somebody."""
    with world.bench.ledger.read() as connection:
        history = incident_history(connection, "pay7")
        given_ = nudges_given(connection, "pay7")
    newest = max(history.releases, default=0)
    over = newest and world.statuses[newest - 1] == "resolved"
    for said in {said.audience: said for said in history.said if said.channel is Channel.EMAIL}.values():
        if said.promised is not None and said.promised < world.bench.now and not over:
            assert any(moment_id(said.promised) in nudge for nudge in given_), "a promise passed unseen"


AFTERMATH: Sequence[Deed] = [("resume", ""), ("tick", 1), ("end", ""), ("tick", 1), ("tick", 90)]
DEEDS = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from([0, 1, 1, 2, 5, 15, 40, 200])),
    st.tuples(st.sampled_from(["say", "correct", "end", "reopen"]), st.just("")),
    st.tuples(st.just("clock back"), st.sampled_from([1, 7])),
    *PEOPLES_DEEDS,
)


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(DEEDS, max_size=12))
@example([("tick", 15), ("tick", 2), ("tick", 200), ("say", ""), ("end", ""), ("tick", 40), ("reopen", "")])
@example([("say", ""), ("list", "ab"), ("correct", ""), ("tick", 15), ("tick", 5), ("end", "")])
@example([("stop", ""), ("tick", 40), ("resume", ""), ("tick", 1), ("clock back", 7), ("tick", 15)])
@example([("correct", ""), ("clock back", 7), ("end", ""), ("tick", 0), ("clock back", 7), ("reopen", "")])
def test_promises_are_kept_or_their_breach_is_seen(deeds: list[Deed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = world_in(folder, HOLD)
        for deed in [("say", ""), *deeds, *AFTERMATH]:
            promise(world, *deed)
            world.check()
        world.bench.ledger.close()
    gone = {EMAIL[name] for name in world.opted_out}
    for address, heard in world.to(Channel.EMAIL).items():
        ended = [n for n, left in enumerate(heard) if left.subject.startswith("[Resolved]")]
        if address not in gone:
            assert ended, f"{address} was told of it and never of its end"
            assert ended[-1] == len(heard) - 1, f"{address} was told more after the end"
        for number in ended:
            after = heard[number + 1 : number + 2]
            # Check-ins and corrections of the end aside, only its undoing may follow.
            assert not after or after[0].subject.startswith("[Back again]"), after


def send(world: World, verb: str, what: str | int) -> None:
    """Do one thing a minute later; people write, release and send in steps of their own."""
    bench, number = world.bench, len(world.statuses) + 1
    bench.later(minutes=1)
    if verb == "say" and (world.statuses or what != "resolved") and not world.is_over:
        is_end = what == "resolved"
        end = {"fixed": "The switch is replaced.", "remains": f"Nothing since stage {number:02d}."}
        words = {"issue": f"Cards fail at stage {number:02d}.", "resolution": "We work."}
        world.write(status=str(what), **(end if is_end else words))
    elif verb in {"release", "send"} and world.statuses:
        bench.release()
        world.released = len(world.statuses)
    if verb in {"tick", "send"}:
        bench.tick()
    world.act(verb, what)


@settings(max_examples=25)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.sampled_from(["investigating", "identified", "resolved"])),
            st.tuples(st.sampled_from(["send", "tick", "release"]), st.just("")),
            st.tuples(st.just("mood"), st.sampled_from(["well", "down", "silent"])),
            *PEOPLES_DEEDS,
        ),
        max_size=10,
    )
)
@example([("release", ""), ("mood", "down"), ("tick", ""), ("mood", "well")])
@example([("send", ""), ("list", "ab"), ("mood", "silent"), ("say", "identified"), ("send", "")])
@example([("stop", ""), ("send", ""), ("say", "identified"), ("send", ""), ("list", "")])
def test_nobody_is_told_twice_nor_left_without_the_end(deeds: list[Deed]) -> None:
    end: list[Deed] = [("mood", "well"), ("resume", ""), ("say", "resolved"), ("release", "")]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        world = world_in(folder)
        wait_in_made_up_time(patch, lambda seconds: world.bench.later(seconds=seconds))
        for deed in [("say", "investigating"), *deeds, *end, *[("tick", 0)] * 4]:
            before = len(world.left)
            send(world, *deed)
            world.check()
            new = [left for left in world.left[before:] if left.to != SAM]
            assert not new or deed[0] in {"tick", "send"}, "something left without a send"
            assert all(left.number <= world.released for left in new), "something left that nobody released"
            if deed == ("tick", 0):
                world.bench.later(minutes=2)
        world.bench.ledger.close()
    gone = {EMAIL[name] for name in world.opted_out}
    last = len(world.statuses)
    left = {left.number for channel in Channel for heard in world.to(channel).values() for left in heard}
    for channel in Channel:
        for address, heard in world.to(channel).items():
            numbers = [left.number for left in heard]
            assert len(numbers) == len(set(numbers)), f"{address} was told the same twice"
            assert last in numbers or address in gone, f"{address} was not told that it is over"
            # Unless it was over before anybody heard the first word.
            assert set(numbers) != {last} or left == {last}, f"{address} was told only the end"
