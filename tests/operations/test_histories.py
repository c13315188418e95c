"""Random histories of one incident: whatever people, providers, clocks and kills do, no calm is false.

Commands run as they are typed, over a real ledger; only the clock and the providers are made up. The suite
runs some dozens of histories, always the same. For a night, so many new ones, in folders in memory:

    COMMCAST_HISTORIES=10000 .venv/bin/python -m pytest tests/operations/test_histories.py --timeout=0
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typer.testing import Result

from commcast.cli import options
from commcast.cli import prompt as asking
from commcast.ledger import store
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Email, Outcome, OutcomeKind
from commcast.providers import registry
from commcast.providers.http import HttpAnswer, NoAnswer
from commcast.providers.smtp import outcomes as smtp
from commcast.providers.smtp.outcomes import Answer, SmtpStage
from commcast.providers.twilio import outcomes as twilio
from tests.support.desk import START, write_desk, write_list
from tests.support.idle_clock import wait_in_made_up_time
from tests.support.providers import FakeAdapter, accepted, address_of
from tests.support.terminal import do

HISTORIES = int(os.environ.get("COMMCAST_HISTORIES") or 0)
SAM = "sam@acme.example"
EXTRA = f"""\
[people.sam]
name = "Sam Oyo"
email = "{SAM}"
[silence]
customers = "hold"
support = "nudge"
"""
ANN, BOB, DEE = "ann@example.com", "bob@example.com", "dee@example.com"
CYD_SMS, ANN_SMS = "+4915112345673", "+4915112345671"
CUSTOMERS = {
    "a": f"{ANN},{ANN_SMS},Ann,",
    "b": f"{BOB},,Bob,",
    "c": f",{CYD_SMS},Cyd,",
    "d": f"{DEE},,Dee,end",
}
SUPPORT = {"a": f"{ANN},Ann", "b": f"{BOB},Bob", "s": "help@acme.example,Su Port"}
LISTS = [("abc", "s"), ("abc", "s"), ("ab", "s"), ("ac", "sb"), ("abcd", "s"), ("d", "s"), ("bc", "a")]
FIRST = """\
id: pay7
title: Card payments fail
severity: 1
owner: sam
updates:
  - issue: Some cards fail at stage 01.
    resolution: We roll back.
    timeframe: unknown
"""

# What an email server or Twilio says to one message, by mood.
MAIL = {
    "down": Answer(SmtpStage.CONNECT, "unreachable"),
    "key refused": Answer(SmtpStage.AUTH, "535 5.7.8", "5.7.8 authentication failed"),
    "sender refused": Answer(SmtpStage.RCPT, "550 5.7.60", "5.7.60 not permitted to send as this sender"),
    "limit": Answer(SmtpStage.DOT, "550 5.4.5", "5.4.5 daily user sending limit exceeded"),
    "bare 550": Answer(SmtpStage.RCPT, "550", "rejected"),
    "lost": Answer(SmtpStage.DOT, "lost"),
    "silent": Answer(SmtpStage.DOT, "silence"),
    "one refused": Answer(SmtpStage.RCPT, "550 5.1.1", "5.1.1 no such user"),
    "one unclear": Answer(SmtpStage.RCPT, "550", "no"),
}
TEXT = {
    "down": HttpAnswer(429),
    "key refused": HttpAnswer(401, body='{"code": 20003}'),
    "sender refused": HttpAnswer(400, body='{"code": 21606}'),
    "limit": HttpAnswer(429, body='{"code": 14107}'),
    "bare 550": HttpAnswer(400, body="{}"),
    "lost": HttpAnswer(503),
    "silent": HttpAnswer(trouble=NoAnswer.SILENCE),
    "one refused": HttpAnswer(400, body='{"code": 21614}'),
    "one unclear": HttpAnswer(400, body="{}"),
}
MOODS = [*["well"] * 5, *MAIL]
ONE = {BOB, CYD_SMS}  # whom "one refused" and "one unclear" are about
VERBS = {
    "update": "--issue 'Cards fail at stage {:02d}.'",
    "resolve": "--fixed 'We rolled back.'",
    "retract": "--because 'Our monitor was wrong.'",
    "reopen": "--issue 'It fails at stage {:02d}.' --resolution 'We work.' --timeframe unknown",
    "send": "",
    "send --late": "",
}
DEEDS = (
    "stop pay7",
    "resume pay7",
    "resend pay7 --unknown --yes",
    "resend pay7 --rejected --yes",
    "settle pay7 --unknown --as accepted --yes",
    "settle pay7 --unknown --as rejected --yes",
)
ENDS = ("[Resolved]", "[False alarm]", " RESOLVED:", " False alarm, please ignore ")


@dataclass(frozen=True)
class Left:
    """One message that left: whose, when, its words, and its number in the ledger of this `age`."""

    to: str
    at: datetime
    subject: str
    text: str
    delivery: tuple[int, int]

    @property
    def is_end(self) -> bool:
        return self.subject.startswith(ENDS) or any(end in self.text for end in ENDS if not self.subject)

    @property
    def promised(self) -> datetime | None:
        """By when its reader expects more, None if it promises nothing."""
        found = re.search(r"^(?:[^\n]*\. )?Next update by [^\n]*?(\d\d):(\d\d) CET", self.text, re.MULTILINE)
        if self.is_end or self.to == SAM:
            return None
        if not found:  # as in texts; an email promises a time unless it corrects an end
            assert not self.subject or self.subject.startswith("[Correction]"), f"no promise: {self.text}"
            return None
        clock = self.at.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        clock -= timedelta(hours=1)  # CET
        return clock if clock >= self.at - timedelta(minutes=1) else clock + timedelta(days=1)


@cache
def _engine() -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine("sqlite://")
    engine.connect().close()
    return engine


def create_engine(*given: Any, **more: Any) -> sqlalchemy.Engine:
    """Return an engine that knows the statements of all others: each command makes one of its own."""
    engine, known = sqlalchemy.create_engine(*given, **more), _engine()
    engine.dialect, engine._compiled_cache = known.dialect, known._compiled_cache
    return engine


class _MadeUpTime(datetime):
    """What the commands read as the clock."""

    made_up = START

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.made_up


class Night(RuleBasedStateMachine):
    """One desk, one incident, and what everybody heard of it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="night-", dir="/dev/shm" if HISTORIES else None)) / "desk"
        self.now, self.age, self.stage = START, 0, 1
        self.mood = dict.fromkeys(Channel, "well")
        self.has_fallback, self.die_at, self.leaves = False, 0, False
        self.left: list[Left] = []
        self.maybe: list[tuple[int, str]] = []  # to whom something may have left, after how many messages
        self.refused: set[str] = set()  # about whom a provider said something
        self.may_repeat: Counter[tuple[int, int]] = Counter()
        self.ever: dict[str, set[str]] = {}  # in which audiences a reader has ever been
        self.left_lists: set[str] = set()  # who was taken off all lists at some time
        self.corrected: dict[str, set[str]] = {}  # who had read wrong words when their correction began
        self.adopted = False
        self.patch.setattr(options, "datetime", _MadeUpTime)
        self.patch.setattr(asking, "at_terminal", lambda: True)
        wait_in_made_up_time(self.patch, self.pass_by)
        self.patch.setattr(store, "create_engine", create_engine)
        self.patch.setattr(registry, "adapter_for", lambda config, channel, clock: self._adapter(channel, ""))
        self.patch.setattr(registry, "fallback_for", self._fallback)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.folder.parent)

    # The providers.

    def _adapter(self, channel: Channel, second: str) -> FakeAdapter:
        name = f"{channel}{second}"
        return FakeAdapter(channel, lambda item: self._take(channel, item, second), name=name, connections=2)

    def _fallback(self, config: object, channel: Channel, clock: object) -> FakeAdapter | None:
        return self._adapter(channel, "-second") if self.has_fallback else None

    def _take(self, channel: Channel, item: Delivery, second: str) -> Outcome:
        self.die_at -= 1
        if self.die_at == 0 and not self.leaves:
            self._die()
        address = address_of(item)
        outcome = self._answer(channel, item, "well" if second else self.mood[channel], address)
        if outcome.kind in {OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN}:
            message = item.message
            subject, text = (
                (message.subject, message.text) if isinstance(message, Email) else ("", message.body)
            )
            self.left.append(Left(address, self.now, subject, text, (self.age, item.delivery)))
        if self.die_at == 0:
            self._die()
        return outcome

    def _answer(self, channel: Channel, item: Delivery, mood: str, address: str) -> Outcome:
        if mood == "well" or (mood.startswith("one") and address not in ONE):
            return accepted(item)
        if mood == "one refused":
            self.refused.add(address)
        if isinstance(item.message, Email):
            return smtp.outcome(item.delivery, item.message, MAIL[mood], "")
        return twilio.outcome(item.delivery, TEXT[mood], self.now)

    def _die(self) -> None:
        os.write(self.pipe, pickle.dumps((self.left, self.refused)))
        os._exit(137)

    # What people do.

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        _MadeUpTime.made_up = self.now

    def run(self, command: str, typed: str = "") -> Result | None:
        """Run a command as it is typed, in a process of its own if it is to be killed."""
        self.pass_by(20)
        if self.die_at <= 0:
            done = do(self.folder, command, typed)
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
            self._touch()
            return done
        ours, self.pipe = os.pipe()
        if (child := os.fork()) == 0:
            try:
                do(self.folder, command, typed)
                self._die()
            finally:
                os._exit(1)
        os.close(self.pipe)
        with os.fdopen(ours, "rb") as said:
            self.left, self.refused = pickle.load(said)  # noqa: S301 - our own child's
        os.waitpid(child, 0)
        self.die_at = 0
        maybe = self.rows("select address from delivery where state = 'claimed'")
        self.maybe += [(len(self.left), address) for (address,) in maybe]
        self._touch()
        return None

    def _touch(self) -> None:
        """Give what was written the made-up time: drafts and lists are dated by it."""
        for path in (*self.folder.glob("incidents/*"), *self.folder.glob("audiences/*")):
            if path.stat().st_mtime > self.now.timestamp():
                os.utime(path, (self.now.timestamp(),) * 2)

    @property
    def path(self) -> Path:
        return self.folder / "incidents" / "pay7.yaml"

    def rows(self, query: str) -> list[Any]:
        path = self.folder / ".commcast" / "ledger.db"
        with closing(sqlite3.connect(path)) as ledger:
            return ledger.execute(query).fetchall()

    @property
    def is_over(self) -> bool:
        found = self.rows("select status from release where incident = 'pay7' order by number")
        return bool(found) and found[-1][0] in {"resolved", "retracted"}

    def say(self, command: str, answer: str) -> None:
        if answer == "yes":
            self.run(f"{command} --yes")
        else:
            self.run(command, f"{answer}\n")

    ANSWERS = st.sampled_from(["yes", "yes", "y", "n", ""])

    @initialize(mood=st.sampled_from(MOODS), answer=ANSWERS, dies=st.sampled_from([0, 0, 0, 1, 2]))
    def begin(self, mood: str, answer: str, dies: int) -> None:
        write_desk(self.folder, extra=EXTRA)
        self.write_lists("abc", "s")
        self.path.write_text(FIRST)
        os.utime(self.path, (START.timestamp(),) * 2)
        self.mood = dict.fromkeys(Channel, mood)
        self.die_at = dies
        self.say("send pay7", answer)

    @rule(minutes=st.sampled_from([0, 1, 2, 5, 10]))
    def tick(self, minutes: int) -> None:
        self.pass_by(60 * minutes)
        self.run("tick")

    @rule(minutes=st.sampled_from([20, 45, 45, 200, 700]))
    def tick_late(self, minutes: int) -> None:
        self.tick(minutes)

    @rule(minutes=st.sampled_from([-90, -7, 3, 16]))
    def clock_jumps(self, minutes: int) -> None:
        self.pass_by(60 * minutes)

    @rule(verb=st.sampled_from(list(VERBS)), answer=ANSWERS, minutes=st.sampled_from([0, 1, 4]))
    def say_something(self, verb: str, answer: str, minutes: int) -> None:
        self.pass_by(60 * minutes)
        self.stage += 1
        self.say(f"{verb} pay7 {VERBS[verb].format(self.stage)}", answer)

    @rule(answer=ANSWERS)
    def update_for_support(self, answer: str) -> None:
        self.stage += 1
        number = f"{self.stage:02d}"
        with self.path.open("a") as file:
            file.write(f"  - issue: Cards fail, outer {number}.\n")
            file.write(f"    for: {{support: {{issue: 'Cards fail, inner {number}.'}}}}\n")
        self._touch()
        self.say("send pay7", answer)

    @rule(answer=ANSWERS)
    def correct(self, answer: str) -> None:
        before = self.path.read_text()
        for wrong in re.findall(r"stage \d\d", before)[-1:]:
            self.corrected.setdefault(wrong, {left.to for left in self.left if wrong in left.text})
            self.say(f"correct pay7 --wrong '{wrong}' --right '{wrong.replace('stage', 'step')}'", answer)
            if self.path.read_text() == before:  # it was refused
                del self.corrected[wrong]

    @rule()
    def discard(self) -> None:
        self.run("discard pay7 --yes")
        if not self.path.exists():  # nothing of it was ever released: it begins anew
            self.path.write_text(FIRST)
            self._touch()
        text = self.path.read_text()
        self.corrected = {wrong: told for wrong, told in self.corrected.items() if f"wrong: {wrong}" in text}

    @rule(deed=st.sampled_from(DEEDS))
    def decide(self, deed: str) -> None:
        if "resend" in deed:
            found = self.rows("select id from delivery where state in ('unknown', 'claimed', 'rejected')")
            self.may_repeat.update((self.age, number) for (number,) in found)
        self.run(deed)

    @rule(mood=st.sampled_from(MOODS), where=st.sampled_from(["email", "sms", "both"]))
    def provider(self, mood: str, where: str) -> None:
        self.mood |= {channel: mood for channel in Channel if where in {channel.value, "both"}}

    @rule(has=st.booleans(), at=st.integers(0, 4), leaves=st.booleans())
    def next_has_fallback_or_is_killed(self, has: bool, at: int, leaves: bool) -> None:
        self.has_fallback, self.die_at, self.leaves = has, at, leaves

    @rule(lists=st.sampled_from(LISTS))
    def edit_lists(self, lists: tuple[str, str]) -> None:
        self.write_lists(*lists)

    @rule(address=st.sampled_from([ANN, BOB, CYD_SMS]))
    def opt_out(self, address: str) -> None:
        self.refused.add(address)
        self.run(f"recipients suppress {address}")

    def write_lists(self, customers: str, support: str) -> None:
        write_list(
            self.folder, "customers", "email,phone,name,level", [CUSTOMERS[each] for each in customers]
        )
        write_list(self.folder, "support", "email,name", [SUPPORT[each] for each in support])
        self._touch()
        listed = {cell for each in customers for cell in CUSTOMERS[each].split(",")}
        listed |= {cell for each in support for cell in SUPPORT[each].split(",")}
        self.left_lists |= self.ever.keys() - listed
        for name, letters, rows in (("customers", customers, CUSTOMERS), ("support", support, SUPPORT)):
            for each in letters:
                for address in rows[each].split(",")[: 2 if name == "customers" else 1]:
                    self.ever.setdefault(address, set()).add(name)

    @rule(how=st.sampled_from(["not", "not", "not", "new", "same"]))
    def adopt(self, how: str) -> None:
        """Trust the ledger that is here, or a new one because this one is lost."""
        if how == "not":
            return
        if how == "new":
            shutil.rmtree(self.folder / ".commcast")
            self.age += 1
        self.adopted = True
        self.die_at = 0
        self.run("doctor --adopt-ledger --yes")

    # What must hold.

    @invariant()
    def holds(self) -> None:
        """All of it, after every step."""
        if self.folder.exists():
            self.nobody_is_handed_the_same_twice()
            self.nobody_is_struck_off_for_what_was_not_about_them()
            self.nobody_reads_the_words_for_others()
            self.nobody_hears_the_end_of_what_they_never_heard_of()
            self.nobody_new_reads_wrong_words()
            self.no_calm_is_false()

    def is_overdue(self) -> bool:
        _MadeUpTime.made_up = self.now
        return do(self.folder, "status --overdue").exit_code == 4

    def nobody_is_handed_the_same_twice(self) -> None:
        handed = Counter(left.delivery for left in self.left)
        assert all(count <= 1 + self.may_repeat[each] for each, count in handed.items()), "the same twice"
        free = {left.delivery for left in self.left if left.is_end or left.to == SAM} | self.may_repeat.keys()
        once = [left for left in self.left if left.delivery not in free and not self.corrected]
        words = Counter((left.to, left.subject, left.text) for left in once)
        assert max(words.values(), default=0) <= 1, "the same words twice"

    def nobody_is_struck_off_for_what_was_not_about_them(self) -> None:
        struck = self.rows(
            "select address from delivery where state = 'rejected' and incident = 'pay7' "
            "and reason not like 'settled by%'"
        )
        assert {address for (address,) in struck} <= self.refused
        suppressed = self.rows("select key from suppression")
        assert {key for (key,) in suppressed} <= self.refused

    def nobody_reads_the_words_for_others(self) -> None:
        for left in self.left:
            mine = self.ever.get(left.to, {"customers", "support"})
            assert "inner" not in left.text or "support" in mine, left
            assert "outer" not in left.text or "customers" in mine, left

    def nobody_hears_the_end_of_what_they_never_heard_of(self) -> None:
        if self.adopted:
            return  # told elsewhere
        about = dict(
            self.rows("select d.id, b.number from delivery d join broadcast b on b.id = d.broadcast")
        )
        # An end that is the first word to anybody is that to all, also to those who have to wait for it.
        first = next((about[left.delivery[1]] for left in self.left if left.to != SAM), None)
        known: set[str] = set()
        for number, left in enumerate(self.left):
            known |= {address for after, address in self.maybe if after <= number}
            if left.is_end and left.to not in known:
                is_level_end = left.to == DEE and "[False alarm]" not in left.subject
                assert is_level_end or not known - {SAM} or first == about[left.delivery[1]], left
            known.add(left.to)

    def nobody_new_reads_wrong_words(self) -> None:
        for wrong, told in self.corrected.items():
            now = {left.to for left in self.left if wrong in re.sub(f'[“"]{wrong}[”"]', "", left.text)}
            assert now <= told, f"{now - told} read {wrong} after its correction began"

    def no_calm_is_false(self) -> None:
        """Whoever waits beyond what they were promised, or was never told, is seen as overdue."""
        if self.is_over:
            return
        out = {key for (key,) in self.rows("select key from suppression")}
        # Whoever was taken off a list is only owed the end.
        told = {left.to for left in self.left} - {SAM} - out - self.left_lists
        late = [to for to in told if self._waits_too_long(to)]
        forgotten = [] if late else self._forgotten()
        assert not (late or forgotten) or self.is_overdue(), (late, forgotten)

    def _waits_too_long(self, address: str) -> bool:
        # Whatever left, or may have left, counts as told: it is shown as unknown, not as overdue.
        heard = [each for each in enumerate(self.left, 1) if each[1].to == address]
        number, last = heard[-1]
        may_know_more = any(to == address and after >= number for after, to in self.maybe)
        promised = None if may_know_more else last.promised
        return bool(promised and promised + timedelta(minutes=1) <= self.now)

    def _forgotten(self) -> list[str]:
        """Return whose newest row was given up though nothing newer went to them and nothing waits."""
        newest: dict[tuple[str, str], tuple[str, str]] = {}
        rows = self.rows(
            "select d.channel, d.key, d.state, coalesce(d.reason, '') from delivery d join broadcast b "
            "on b.id = d.broadcast where d.incident = 'pay7' and b.state = 'frozen' order by b.number, d.id"
        )
        for channel, key, state, reason in rows:
            newest[channel, key] = (state, reason)
        fair = ("opted out", "suppressed", "hears nothing", "refused", "as many messages")
        # A text is not written anew to a reader whose email is, nor if that is unknown: it is seen as that.
        handed = {left.to for left in self.left} | {address for _, address in self.maybe}
        mailed = {ANN_SMS} if ANN in handed else set()
        return [
            f"{key}: {reason}"
            for (_, key), (state, reason) in newest.items()
            if state == "skipped" and key not in self.left_lists | mailed
            if not any(each in reason for each in fair)
        ]


TestHistories = Night.TestCase
TestHistories.settings = settings(
    max_examples=HISTORIES or 60,
    stateful_step_count=9,
    derandomize=not HISTORIES,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
