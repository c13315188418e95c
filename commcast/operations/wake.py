"""Nudges an incident's people: by email, by text, by a command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from commcast.delivery.freeze import freeze
from commcast.delivery.rows import PendingRow
from commcast.delivery.worker import Delivered, Worker
from commcast.ledger.oncall import begin_call, end_call, failures
from commcast.ledger.store import Ledger
from commcast.ledger.tables import OWN_STORY
from commcast.model.incident import Channel, Incident
from commcast.model.oncall import OnDuty
from commcast.oncall.nudge_text import command_document, headline, nudge_context
from commcast.oncall.nudges import Nudge
from commcast.oncall.people import Reach, reach
from commcast.operations.desk import Desk
from commcast.plan.notices import Notice, NoticeKind
from commcast.plan.readers import SEND
from commcast.providers.masking import hide, masked
from commcast.rendering.compose import Envelope, ReaderGroup, renderer_for
from commcast.rendering.templates import Templates, shipped_templates

LONGEST_CALL = 20.0  # seconds that a command, such as a pager's, may take
LONGEST_DETAIL = 200  # characters of the command's error output


def call_once(
    ledger: Ledger,
    incident: str,
    nudge: str,
    command: Sequence[str],
    document: str,
    *,
    folder: Path,
    environ: Mapping[str, str],
    clock: Callable[[], datetime],
) -> None:
    """Run the command for this nudge, unless another process has begun to, and record the result.

    No shell is involved, and `environ` is all of its environment. Output is dropped, except the last line on
    stderr if the command fails.
    """
    with ledger.write() as connection:
        if not begin_call(connection, incident, nudge, clock()):
            return
    is_accepted, detail = _run(command, document, folder, environ)
    with ledger.write() as connection:
        end_call(connection, incident, nudge, is_accepted=is_accepted, detail=detail, now=clock())


def passed_on(environ: Mapping[str, str], named: Collection[str]) -> dict[str, str]:
    """Return what a command may know of our environment: no secret, unless it is `named`."""
    for name in named:
        hide(environ.get(name, ""))  # the command may show it when it fails
    plain = {"PATH", "HOME", "TZ", "LANG", "LANGUAGE", *named}
    return {name: value for name, value in environ.items() if name in plain or name.startswith("LC_")}


def _run(command: Sequence[str], document: str, folder: Path, environ: Mapping[str, str]) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            list(command),
            input=document.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environ,
            timeout=LONGEST_CALL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} took longer than {LONGEST_CALL:.0f} seconds and was stopped"
    except OSError as error:
        return False, f"{command[0]} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return True, ""
    complaint = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    said = f": {masked(complaint[0])[:LONGEST_DETAIL]}" if complaint else ""
    return False, f"{command[0]} exited with {done.returncode}{said}"


AUDIENCE = "_nudge"  # no audience of a desk can have this name


@dataclass(slots=True)
class NudgeResult:
    """What became of an incident's nudges. `unreached` says who was not reached and why, "" for nobody."""

    nudges: list[Nudge] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    delivered: Delivered | None = None
    unreached: str = ""


def whom(desk: Desk, on_duty: OnDuty, nudge: Nudge, environ: Mapping[str, str]) -> list[Reach]:
    """Return who is nudged: the owner, the backup if need be, everybody if there is no owner.

    An offer that nobody took nudges both the person who made it and the person it was made to.
    """
    offered = on_duty.offered.person if on_duty.offered else None
    backup = on_duty.backup if nudge.backup_too or on_duty.owner is None else None
    named = nudge.told or [key for key in (on_duty.owner, backup, offered) if key]
    known = [key for key in dict.fromkeys(named) if key in desk.config.people]
    return [reach(key, desk.config, environ) for key in known or desk.config.people]


@dataclass(frozen=True)
class Nudger:
    """Nudges for one process. `environ` holds the addresses that commcast.toml only names."""

    desk: Desk
    worker: Worker
    environ: Mapping[str, str]

    def nudge(
        self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty, earlier: NudgeResult | None = None
    ) -> NudgeResult:
        """Give each of these nudges once, even if another process is about to give it, too.

        The result is added to that of an `earlier` call.
        """
        done = earlier or NudgeResult()
        done.nudges.extend(nudges)
        for nudge in nudges:
            people = whom(self.desk, on_duty, nudge, self.environ)
            done.people.extend(person.name for person in people if person.name not in done.people)
            self._one(incident, nudge, people, on_duty, done)
        done.delivered = self.worker.deliver(OWN_STORY + incident.id)
        done.unreached = done.unreached or self._failed(incident, nudges)
        return done

    def _failed(self, incident: Incident, nudges: Sequence[Nudge]) -> str:
        """Say which nudge was given and reached nobody: its email was refused, its command cannot be run."""
        with self.worker.ledger.read() as connection:
            for nudge in nudges:
                why = failures(connection, incident.id, nudge.id)
                if why is not None:
                    said = headline(self.desk.config, nudge, self.desk.now)
                    return f"{said}, and the nudge reached nobody: {'; '.join(why)}; see: commcast doctor"
        return ""

    def _one(
        self, incident: Incident, nudge: Nudge, people: Sequence[Reach], on_duty: OnDuty, done: NudgeResult
    ) -> None:
        config = self.desk.config
        owner = config.people.get(on_duty.owner or "")
        of_others = replace(nudge, line=nudge.line_of_others or nudge.line)
        contexts = [
            nudge_context(config, incident, each, owner.name if owner else "", self.desk.now)
            for each in (nudge, of_others)
        ]
        by_channel = [_ChannelNudge(self.desk, incident, nudge, each, people, contexts) for each in Channel]
        sendable = [each for each in by_channel if each.rows]
        if sendable:
            worker = self.worker
            notices, rows = [each.notice for each in sendable], [each.rows for each in sendable]
            told = worker.progress.freezing
            freeze(worker.ledger, notices, enumerate(rows), (), worker.owner, self.desk.now, told)
        command = config.nudge.command if config.nudge else ()
        if config.nudge and command:
            names = [each.name for each in people]
            document = command_document(config, incident, nudge, contexts[0], names)
            call_once(
                self.worker.ledger,
                incident.id,
                nudge.id,
                command,
                json.dumps(document, ensure_ascii=False),
                folder=config.folder,
                environ=passed_on(self.environ, config.nudge.env),
                clock=self.worker.clock,
            )
        if not sendable and not command:
            self._note_unreached(incident, nudge, people, done)

    def _note_unreached(
        self, incident: Incident, nudge: Nudge, people: Sequence[Reach], done: NudgeResult
    ) -> None:
        """Say once that nobody could be reached: then cron's output nudges the person who reads it."""
        with self.worker.ledger.write() as connection:
            if not begin_call(connection, incident.id, nudge.id, self.desk.now):
                return
            detail = "nobody can be reached"
            end_call(connection, incident.id, nudge.id, is_accepted=False, detail=detail, now=self.desk.now)
        named = " and ".join(each.name for each in people)
        why = f"no usable address for {named}" if named else "commcast.toml has no [people]"
        done.unreached = (
            f"{headline(self.desk.config, nudge, self.desk.now)}, and {why}; see: commcast doctor"
        )


@dataclass
class _ChannelNudge:
    """One nudge over one channel, as the freeze reads it: rows that all have to be sent.

    The first of `contexts` is for those whom its line is for (Nudge.line_for), the second for all others.
    """

    desk: Desk
    incident: Incident
    nudge: Nudge
    channel: Channel
    people: Sequence[Reach]
    contexts: Sequence[Mapping[str, Any]]

    @property
    def notice(self) -> Notice:
        return Notice(
            incident=OWN_STORY + self.incident.id,
            id=self.nudge.id,
            number=0,
            channel=self.channel,
            events=frozenset(),
            audiences=(AUDIENCE,),
            affected=frozenset(),
            severity=self.incident.latest.severity,
            is_end=False,
            told_elsewhere=False,
            next_update_by={AUDIENCE: None},
            kind=NoticeKind.NUDGE,
            only_told=True,
        )

    @cached_property
    def rows(self) -> list[PendingRow]:
        """Everybody who has an address on this channel; nobody if the channel is not in use."""
        if getattr(self.desk.config.channels, self.channel) is None:
            return []
        return list({row.key: row for row in self._rows()}.values())

    def _rows(self) -> Iterator[PendingRow]:
        for_them, for_others = map(self._group, self.contexts)
        for person in self.people:
            address = person.email if self.channel is Channel.EMAIL else person.phone
            if address:
                values = {"name": person.name, "greeting": f"Hello {person.name},", "email": person.email}
                group = for_them if self.nudge.line_for in {"", person.key} else for_others
                key = address.lower()
                yield PendingRow(key, address, AUDIENCE, SEND, values, group, group.words(values))

    def _group(self, context: Mapping[str, Any]) -> ReaderGroup:
        config = self.desk.config
        used = getattr(config.channels, self.channel)
        # The shipped templates: a fault in the desk's own must not keep a nudge from going.
        file = f"{AUDIENCE}/{self.channel.value}.txt.j2"
        wording = Templates(None, shipped_templates()).fixed(self.channel, file)
        return ReaderGroup(
            channel=self.channel,
            incident=self.incident.id,
            audience=AUDIENCE,
            zone=config.organisation.zone,
            locale="",
            wording=wording,
            context=context,
            envelope=Envelope(sender=used.sender),
            next_update_by=None,
            renderer=renderer_for(wording.to_json()),
        )
