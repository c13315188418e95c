"""docs/faults.md, row by row: the line shown is printed, with its exit code, and what to type helps."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from commcast import files
from commcast.cli import prompt as asking
from commcast.ledger import location, settle, store
from commcast.ledger.oncall import record_tick
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Email, Outcome
from commcast.operations import release
from commcast.providers import registry
from commcast.providers.http import HttpAnswer, NoAnswer
from commcast.providers.sendgrid import outcomes as sendgrid
from commcast.providers.smtp import outcomes as smtp
from commcast.providers.smtp.outcomes import Answer, SmtpStage
from commcast.providers.twilio import outcomes as twilio
from tests.support.desk import Bench, nothing_can_be_written, write_desk, write_incident, write_list
from tests.support.providers import DEAD, FakeAdapter, FakeRecords, accepted, address_of, die_over
from tests.support.scenario import PEOPLE
from tests.support.terminal import do, just_now

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
CELLS = r"^\| ([^|]+) \| [^|]+ \| `\$ commcast ([^`]+)`<br>`([^`]+)` \| (\d+) \| ([^|]+) \|$"


class Row(NamedTuple):
    """One row of the page. `line` is what is printed, with "…" for any text; `remedy` says what to type."""

    when: str
    command: str
    line: str
    code: str
    remedy: str


ROWS = [Row(*found) for found in re.findall(CELLS, PAGE.read_text(), re.MULTILINE)]
PAY7, LEDGER, CUSTOMERS = "incidents/pay7.yaml", ".commcast/ledger.db", "audiences/customers.csv"
Say = Callable[[Delivery], Outcome]


@dataclass
class Scene:
    """A desk with an incident of just now that nobody has released; the clock is the real one.

    What leads to a row may leave in `trouble` how that ends.
    """

    bench: Bench
    patch: pytest.MonkeyPatch
    trouble: ExitStack = field(default_factory=ExitStack)
    is_over: bool = False

    def begin(self, minutes: float = 0, *, sends: bool = True) -> None:
        """Write the incident as of so many minutes ago and, with `sends`, send its first word then."""
        self.bench.now = just_now() - timedelta(minutes=minutes)
        path = write_incident(self.bench.folder, at=self.bench.now)
        path.write_text(path.read_text().replace("owner: dana\n", "owner: sam\nbackup: kim\n"))
        if sends:
            self.bench.send()

    def provider(self, answer: Say, name: str = "smtp", channel: Channel = Channel.EMAIL, **how: Any) -> None:
        """Let the provider of one channel answer so until the trouble is over."""
        made = registry.adapter_for

        def adapter_for(*given: Any) -> Any:
            say = accepted if self.is_over else answer
            return FakeAdapter(channel, say, name=name, **how) if given[1] is channel else made(*given)

        self.patch.setattr(registry, "adapter_for", adapter_for)
        self.patch.setattr(registry, "records_for", lambda *_: FakeRecords())

    def typed(self, answer: Callable[[], str] = lambda: "y") -> None:
        """Let a person sit at the terminal and answer every question so."""
        self.patch.setattr(asking, "at_terminal", lambda: True)
        self.patch.setattr(asking, "ask", lambda *_: answer())

    def meanwhile(self, where: object, name: str, value: object) -> None:
        """Let something be so until the trouble is over."""
        self.trouble.enter_context(self.patch.context()).setattr(where, name, value)

    def damage(self, path: str, damage: Callable[[Path], object], *, told: bool = True) -> None:
        """Damage a file or folder, which is put back in the end."""
        if told:
            self.begin()
        self.bench.ledger.close()
        kept, place = self.bench.folder.with_name("kept"), self.bench.folder / path
        shutil.copytree(self.bench.folder, kept)
        damage(place)

        def put_back() -> None:
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
            if (kept / path).exists():
                (kept / path).rename(place)

        self.trouble.callback(put_back)


def by_smtp(stage: SmtpStage, said: str, text: str = "", only: str = "") -> Say:
    """Answer as a relay does, to all or only to one."""

    def answer(item: Delivery) -> Outcome:
        assert isinstance(item.message, Email)
        if only and address_of(item) != only:
            return accepted(item)
        return smtp.outcome(item.delivery, item.message, Answer(stage, said, text), "status")

    return answer


def by_twilio(answer: HttpAnswer) -> Say:
    return lambda item: twilio.outcome(item.delivery, answer, datetime.now(UTC))


def by_sendgrid(answer: HttpAnswer) -> Say:
    return lambda item: sendgrid.outcomes([item.delivery], answer, datetime.now(UTC))[0]


S, BOB = SmtpStage, "bob@example.com"
DOWN = by_smtp(S.CONNECT, "unreachable", "Connection refused")
TWILIO_DOWN = HttpAnswer(trouble=NoAnswer.UNREACHABLE, sent=False)
ANSWERS: dict[str, tuple[Any, ...]] = {
    "The email relay is down": (DOWN,),
    "Twilio is down, email is not": (by_twilio(TWILIO_DOWN), "twilio", Channel.SMS),
    "A provider fails after it got the message": (by_twilio(HttpAnswer(503)), "twilio", Channel.SMS),
    "The connection breaks, and an answer is lost": (by_smtp(S.DOT, "lost", only=BOB),),
    "The key is refused": (by_sendgrid(HttpAnswer(401)), "sendgrid"),
    "The login at the relay is refused": (by_smtp(S.AUTH, "535 5.7.8"),),
    "Our sender is refused": (by_smtp(S.RCPT, "553 5.7.1", "sender address not owned by user"),),
    "Our sending limit is reached": (by_smtp(S.RCPT, "550 5.4.5", "daily sending limit exceeded"),),
    "The relay's certificate has expired": (by_smtp(S.TLS, "certificate", "certificate has expired"),),
    "One reader has no such mailbox": (by_smtp(S.RCPT, "550 5.1.1", "no such user", only=BOB),),
    "One reader is not accepted for now": (by_smtp(S.RCPT, "450 4.2.0", "greylisted", only=BOB),),
}


def down_for_12_minutes(scene: Scene) -> None:
    scene.bench.adapter = lambda channel: FakeAdapter(channel, DOWN if channel is Channel.EMAIL else accepted)
    scene.begin(12)
    scene.provider(DOWN)


def fallback(scene: Scene) -> None:
    scene.provider(DOWN)
    second = FakeAdapter(Channel.EMAIL, name="sendgrid")
    scene.meanwhile(registry, "fallback_for", lambda *_: second)


def everybody_refused(scene: Scene) -> None:
    rows = [f"c{number}@example.com,Customer" for number in range(30)]
    write_list(scene.bench.folder, "customers", "email,name", rows)
    scene.provider(by_smtp(S.RCPT, "550", "no such user"))


def keyless(scene: Scene) -> None:
    scene.bench.edit("commcast.toml", 'provider = "outbox"', 'provider = "sendgrid"')
    scene.trouble.callback(scene.provider, accepted, "sendgrid")


def change(old: str, new: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(path.read_text().replace(old, new))


def put(text: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def of_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("update alembic_version set version_num = '9999'")


def empty_lists(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_text("email,phone,name\n")


TEMPLATE = "Subject: {{ incident.title }}\nPlan: {{ recipient.plan }}\n"
CONFLICT = "<<<<<<< HEAD\ntitle: Cards\n=======\ntitle: All cards\n>>>>>>> theirs\n"
Damages = dict[str, tuple[str, Callable[[Path], object]]]
OF_DRAFT: Damages = {
    "A list is missing": (CUSTOMERS, Path.unlink),
    "All lists are empty": ("audiences", empty_lists),
    "One row of a list is bad": (CUSTOMERS, change("Ann\n", "Ann\nno address,,Eve\n")),
    "A template of yours is broken": ("templates/customers/first_notice.md.j2", put(TEMPLATE)),
    "commcast.toml is broken": ("commcast.toml", change("rank = 9", "rank = ")),
}
OF_TOLD: Damages = {
    "The ledger's file is damaged": (LEDGER, put("")),
    "The ledger of another desk is there": ("commcast.toml", change("9f3c", "0d5e")),
    "Anybody can write to `.commcast`": (".commcast", lambda path: path.chmod(0o777)),
    "A newer commcast wrote the ledger": (LEDGER, of_newer_version),
    "A CI runner has the files and no ledger": (".commcast", shutil.rmtree),
    "The incident's file is broken": (PAY7, put("title: [\n")),
    "A merge conflict is left in the file": (PAY7, put(CONFLICT)),
    "The incident's file is gone": (PAY7, Path.unlink),
    "Somebody edits an update that was sent": (PAY7, change("Some customers", "Few customers")),
}


def older_file(scene: Scene) -> None:
    scene.begin()
    older = (scene.bench.folder / PAY7).read_text()
    scene.bench.write(nothing_new="Half of it is back.")
    scene.bench.send()
    scene.damage(PAY7, put(older), told=False)


def ledger_lost(scene: Scene) -> None:
    scene.begin()
    scene.bench.ledger.close()
    shutil.rmtree(scene.bench.folder / ".commcast")


def old_copy(scene: Scene) -> None:
    scene.bench.ledger.close()
    older = (scene.bench.folder / LEDGER).read_bytes()
    scene.begin()
    scene.bench.ledger.close()
    (scene.bench.folder / LEDGER).write_bytes(older)


def ledger_locked(scene: Scene) -> None:
    scene.bench.ledger.close()
    scene.meanwhile(store, "BUSY_SECONDS", 0.02)
    other = sqlite3.connect(scene.bench.folder / LEDGER, isolation_level=None)
    scene.trouble.enter_context(closing(other)).execute("begin exclusive")


def disk_fails(scene: Scene, free: int = 1 << 30) -> None:
    scene.meanwhile(location, "free_bytes", lambda _: free)
    scene.trouble.enter_context(nothing_can_be_written())


ELSEWHERE = "elsewhere|boot|pid:[1]|10|99"


def died(scene: Scene, owner: str = DEAD, minutes: float = 0) -> None:
    scene.begin(minutes, sends=False)
    scene.bench.release()
    scene.bench.freeze()
    die_over(scene.bench, owner)


def power_cut(scene: Scene) -> None:
    machine, space = "host|machine", "pid:[4026531836]"
    died(scene, f"{machine}/before|{space}|10|99")
    scene.patch.setattr(settle, "_here", lambda: f"{machine}/after|{space}")


def signalled(scene: Scene, number: signal.Signals) -> None:
    once = iter([number])

    def at_first(_: FakeAdapter) -> None:
        for each in once:
            signal.raise_signal(each)

    scene.provider(accepted, before=at_first)


def interrupted() -> str:
    raise KeyboardInterrupt


def sent_meanwhile(scene: Scene) -> None:
    scene.typed(lambda: "y" if do(scene.bench.folder, "send pay7 --yes").exit_code == 0 else "n")


def list_changed_meanwhile(scene: Scene) -> None:
    rows = iter(["new@desk.example,New\n"])

    def answer() -> str:
        scene.bench.append("audiences/support.csv", next(rows, ""))
        return "y"

    scene.typed(answer)


def too_late(scene: Scene) -> None:
    scene.typed()
    scene.meanwhile(release, "QUESTION_STANDS", timedelta(seconds=-1))


def stopped(scene: Scene) -> None:
    scene.bench.release()
    scene.bench.stop()


def held(scene: Scene) -> None:
    scene.bench.append("commcast.toml", '[silence]\ncustomers = "hold"\nsupport = "hold"\n')
    scene.begin(17)


def nobody_reached(scene: Scene) -> None:
    scene.begin(15)
    path = scene.bench.folder / "commcast.toml"
    path.write_text(re.sub(r'(?m)^(email|phone) = "(sam|kim|\+49).*\n', "", path.read_text()))


def ticked(scene: Scene, minutes: float) -> None:
    scene.begin()
    with scene.bench.ledger.write() as connection:
        record_tick(connection, datetime.now(UTC) + timedelta(minutes=minutes), {})


def dated_ahead(scene: Scene) -> None:
    """In the end the time is left out."""
    scene.begin(-60, sends=False)
    path = scene.bench.folder / PAY7
    scene.trouble.callback(lambda: path.write_text(re.sub(r"at: .*\n    ", "", path.read_text(), count=1)))


SCENES: dict[str, Callable[[Scene], object]] = {
    **{when: lambda scene, how=how: scene.provider(*how) for when, how in ANSWERS.items()},  # type: ignore[misc]
    "The relay stays down until the first message is late": down_for_12_minutes,
    "A fallback takes over": fallback,
    "Everybody is refused": everybody_refused,
    "A key is missing": keyless,
    **{when: lambda scene, how=how: scene.damage(*how, told=False) for when, how in OF_DRAFT.items()},  # type: ignore[misc]
    **{when: lambda scene, how=how: scene.damage(*how) for when, how in OF_TOLD.items()},  # type: ignore[misc]
    "git checks out an older incident file": older_file,
    "The ledger is lost": ledger_lost,
    "The ledger is an old copy": old_copy,
    "A backup or a repair has locked the ledger": ledger_locked,
    "The desk's folder belongs to another user": lambda scene: scene.meanwhile(files, "TRUSTED_OWNERS", ()),
    "The disk is full": lambda scene: disk_fails(scene, free=4096),
    "The disk fails": disk_fails,
    "There is no room to read a copy of the ledger": lambda scene: scene.meanwhile(tempfile, "tempdir", "/-"),
    "kill -9 in the middle of a run": died,
    "A power cut in the middle of a run": power_cut,
    "Another run, or another host, is sending already": lambda scene: died(scene, ELSEWHERE),
    "Another host died in the middle of a run": lambda scene: died(scene, ELSEWHERE, 31),
    "Ctrl-C in the middle of a run": lambda scene: signalled(scene, signal.SIGINT),
    "The system or a CI job ends the run (SIGTERM)": lambda scene: signalled(scene, signal.SIGTERM),
    "The connection to your shell is lost (SIGHUP)": lambda scene: signalled(scene, signal.SIGHUP),
    "The same command is typed again": Scene.begin,
    "You press Ctrl-C at the question": lambda scene: scene.typed(interrupted),
    "You say no, or nothing": lambda scene: scene.typed(lambda: "n"),
    "You answer too late": too_late,
    "A script has no terminal and no --yes": lambda scene: None,
    "A colleague sends it while you read the question": sent_meanwhile,
    "A list changes while you read the question": list_changed_meanwhile,
    "Somebody has stopped the incident": stopped,
    "A draft waits until its promise has passed": lambda scene: scene.begin(180, sends=False),
    "A draft waits for a yes": lambda scene: scene.begin(5, sends=False),
    "An update is due soon": lambda scene: scene.begin(15),
    "Nobody is awake, and `[silence]` says hold": held,
    "Nobody is awake, and there is no `[silence]`": lambda scene: scene.begin(25),
    "Your monitor asks whether a promise is broken": lambda scene: scene.begin(25),
    "Nobody can be reached": nobody_reached,
    "cron has stopped": lambda scene: ticked(scene, -12),
    "An update was sent while the clock was ahead": lambda scene: scene.begin(-60),
    "A draft has a time in the future": dated_ahead,
    "Ticks ran while the clock was ahead": lambda scene: ticked(scene, 60),
}


@pytest.mark.parametrize("row", ROWS, ids=[row.when for row in ROWS])
def test_what_is_seen_and_typed_is_as_the_page_says(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "at_terminal", lambda: False)
    folder = write_desk(tmp_path / "desk", extra=PEOPLE)
    scene = Scene(Bench(folder, now=datetime.now(UTC)), monkeypatch)
    scene.begin(sends=False)
    with scene.trouble:
        SCENES[row.when](scene)
        done = do(folder, row.command)
    assert str(done.exit_code) == row.code, done.output
    line = ".*".join(map(re.escape, row.line.split("…")))
    assert any(re.fullmatch(line, printed) for printed in done.output.splitlines()), done.output
    scene.is_over = True
    scene.typed()
    for command in re.findall("`commcast ([^`]+)`", row.remedy):
        done = do(folder, command)
        assert done.exit_code == 0, f"commcast {command}\n{done.output}"
    scene.bench.ledger.close()


def test_each_row_of_the_page_has_a_scene_and_each_scene_a_row() -> None:
    written = re.findall(r"^\| (?!When|-)", PAGE.read_text(), re.MULTILINE)
    assert len(written) == len(ROWS), "a row is not of the form that is checked"
    assert sorted(row.when for row in ROWS) == sorted(SCENES)
