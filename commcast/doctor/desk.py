"""Files, lists, templates, people, ledger, ticks."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from commcast.doctor.check import FAIL, OK, WARN, Check, secret
from commcast.doctor.dns import DnsQuestion, mail_domain
from commcast.doctor.lint import Findings, SampleRow, check_words
from commcast.doctor.providers import providers
from commcast.errors import CommcastError, ExitCode, InputError
from commcast.oncall.ticks import LET_IT_RUN, Ticks, ran_ago, read_ticks, silence, too_late, usually

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Incident
    from commcast.model.oncall import Handover


def lists_and_templates(config: Config, incidents: Sequence[Incident]) -> Iterator[Check]:
    """Yield whether each list and template can be used, tried on the newest words of what is open."""
    broken, listed = Findings(), {}
    for name in config.audiences:
        listed[name] = _opened(name, config, broken)
    yield _check("lists", broken, f"{len(listed)} can be opened")
    broken = Findings()
    check_words(config, [each for each in incidents if not each.latest.is_end], listed, broken)
    yield _check("templates", broken, f"{broken.checked['templates']} can be used")


def _opened(name: str, config: Config, broken: Findings) -> SampleRow:
    """Return the first good reader of a list; what keeps it from being opened goes to `broken`."""
    from commcast.recipients.lists import open_recipients

    try:
        reading = open_recipients(name, config)
    except InputError as error:
        broken.add(error)
        return SampleRow()
    try:
        first = next(iter(reading), None)
    except InputError:  # rows are for lint to judge
        first = None
    return SampleRow(first, {"", first.locale} if first else {""})


def _check(about: str, broken: Findings, good: str) -> Check:
    if not broken.faults:
        return Check(OK, about, good)
    count = len(broken.faults)
    what = f"{count} {'is' if count == 1 else 'are'} broken: {broken.faults[0]}"
    return Check(FAIL, about, what, "see: commcast lint", ExitCode.INPUT)


_FROM_ENVIRONMENT = "env:"


def people(
    config: Config, incidents: Sequence[Incident], handovers: Mapping[str, Sequence[Handover]]
) -> Iterator[Check]:
    """Yield whether anybody can be woken, which variables with addresses are set, and who on duty cannot be.

    No value of the environment is shown.
    """
    from commcast.oncall.people import reach, unreachable, variables_of

    if not config.people and not (config.nudge and config.nudge.command):
        remedy = (
            "write [people.dana] in commcast.toml, with name, email and phone, and in the incident's file: "
            "owner: dana"
        )
        yield Check(
            WARN, "people", "nobody can be woken before a promise breaks: there is no [people]", remedy
        )
    for name, what in variables_of(config).items():
        yield secret(name, what)
    for person, what in _on_duty(incidents, handovers).items():
        found = reach(person, config, os.environ)
        # A variable that is not set was told of above.
        faults = [each for each in unreachable(person, config, os.environ) if " is not set: " not in each]
        if not found.email and not found.phone and not faults:
            faults = [f"{person} has no address that can be used"]
        for fault in faults:
            problem, _, remedy = fault.partition("; ")
            yield Check(WARN, "people", f"{problem}, and {what}", remedy or "write one in commcast.toml")


def _on_duty(incidents: Sequence[Incident], handovers: Mapping[str, Sequence[Handover]]) -> Mapping[str, str]:
    """Return who answers for an open incident, each with what for."""
    from commcast.model.oncall import on_duty_for

    found: dict[str, str] = {}
    for incident in incidents:
        if incident.latest.is_end:
            continue
        duty = on_duty_for(incident, handovers.get(incident.id, ()))
        for person, part in ((duty.owner, "owns"), (duty.backup, "is the backup of")):
            if person:
                found.setdefault(person, f"{part} {incident.id}")
    return found


def heartbeat(config: Config) -> Iterator[Check]:
    """Yield where the heartbeat goes, by its host alone: the address may hold a token."""
    written = config.tick.heartbeat_url
    if not written:
        return
    if written.startswith(_FROM_ENVIRONMENT):
        name = written.removeprefix(_FROM_ENVIRONMENT)
        yield secret(name, "where the heartbeat goes")
        written = os.environ.get(name, "").strip()
    try:
        parts = urlsplit(written)
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        if written:
            yield Check(WARN, "heartbeat", "goes to no web address", "write https://…")
    elif parts.scheme != "https" and not config.tick.heartbeat_private:
        yield Check(WARN, "heartbeat", f"goes to {host} in the clear", "write https://…")
    else:
        yield Check(OK, "heartbeat", f"goes to {host} after every tick that went well")


_CLOCK_WRONG = timedelta(minutes=5)
# File systems on which SQLite's locks are not to be trusted (sqlite.org/faq.html#q5).
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afs", "ceph"}
_LITTLE_ROOM = 64 << 20  # bytes


def examine(
    folder: Path, clock: Callable[[], datetime], *, connect: bool, dns: DnsQuestion | None = None
) -> list[Check]:
    """Return everything there is to say of a desk's folder; `dns` is how to ask for its mail domain.

    `clock` gives aware now.
    """
    from commcast.config.load import load_config

    try:
        config = load_config(folder)
    except InputError as error:
        return [Check(FAIL, "configuration", str(fault), "", ExitCode.INPUT) for fault in error.faults]
    now = clock()
    looks: list[Callable[[], Iterator[Check]]] = [
        lambda: _configuration(config),
        lambda: _files(config, now),
        lambda: lists_and_templates(config, _open_incidents(config, now)[0]),
        lambda: _ledger(config, now),
        lambda: _place(config),
        lambda: providers(config, clock, connect=connect),
        lambda: mail_domain(config, dns) if dns else iter(()),
        lambda: people(config, *_open_incidents(config, now)),
        lambda: heartbeat(config),
    ]
    return [check for look in looks for check in look()]


def _configuration(config: Config) -> Iterator[Check]:
    yield Check(OK, "folder", str(config.folder.absolute()))
    zone = config.zone
    yield Check(OK, "configuration", f"{len(config.audiences)} audiences, time zone {zone.key}")
    sms = config.channels.sms
    if sms is not None and sms.quiet is None and sms.provider != "outbox":
        remedy = 'write quiet = "21:00-08:00" in [channels.sms], the readers\' own time'
        yield Check(WARN, "SMS", "there are no quiet hours: texts also go out at night", remedy)
    for key in config.not_served:
        yield Check(
            WARN, "configuration", f"{key} has no effect yet", "this version reads it and does nothing more"
        )


def _files(config: Config, now: datetime) -> Iterator[Check]:
    from commcast.incidents.load import load_incidents

    try:
        loaded = load_incidents(config, now)
    except InputError as error:
        yield Check(FAIL, "incidents", str(error), "", ExitCode.INPUT)
        return
    if loaded.broken:
        names = ", ".join(list(loaded.broken)[:5])
        yield Check(
            FAIL,
            "incidents",
            f"{len(loaded.broken)} {'is' if len(loaded.broken) == 1 else 'are'} broken: {names}",
            "see: commcast lint",
            ExitCode.INPUT,
        )
    else:
        yield Check(OK, "incidents", f"{len(loaded.incidents)} can be read")


def _open_incidents(
    config: Config, now: datetime
) -> tuple[Sequence[Incident], Mapping[str, Sequence[Handover]]]:
    """Return what is open and its hand-overs, as far as can be read: what cannot be was told of before."""
    from commcast.incidents.load import load_incidents
    from commcast.ledger.oncall import handovers_of_all
    from commcast.ledger.store import ledger_path, open_copy

    try:
        incidents = load_incidents(config, now).incidents
    except InputError:
        return (), {}
    try:
        with open_copy(ledger_path(config.folder), config.desk) as ledger:
            if ledger is None or ledger.doubt:
                return incidents, {}
            with ledger.read() as connection:
                return incidents, handovers_of_all(connection)
    except CommcastError:
        return incidents, {}


def _ledger(config: Config, now: datetime) -> Iterator[Check]:
    from commcast.ledger.location import check_file
    from commcast.ledger.store import check_sound, ledger_path, open_copy

    path = ledger_path(config.folder)
    try:
        check_file(path)
        with open_copy(path, config.desk) as ledger:
            assert ledger is not None  # noqa: S101 - check_file has seen it
            if ledger.doubt:
                yield Check(FAIL, "ledger", ledger.doubt, "", ExitCode.LEDGER)
                return
            check_sound(ledger)
            with ledger.read() as connection:
                ticks = read_ticks(connection, now)
    except CommcastError as error:
        yield Check(FAIL, "ledger", str(error), "", error.exit_code)
        return
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            remedy = "run commcast as the user who owns it, on a disk that takes writes"
            yield Check(FAIL, "ledger", f"{place} cannot be written", remedy, ExitCode.LEDGER)
            return
    mode = stat.S_IMODE(path.stat().st_mode)
    yield Check(OK, "ledger", f"{path}, of desk {config.desk[:8]}…, mode {mode:04o}")
    yield from _ticks(ticks, config, now)


def _ticks(ticks: Ticks, config: Config, now: datetime) -> Iterator[Check]:
    """Say when a tick last ran, how late they usually are, and which promises that can keep."""
    if ticks.last is None:
        yield Check(WARN, "tick", "none has run yet", LET_IT_RUN)
    elif ticks.last > now + _CLOCK_WRONG:
        remedy = "set this machine's clock; what is sent carries its time"
        yield Check(WARN, "clock", "the last tick lies in the future", remedy)
    elif silence(ticks, now):
        yield Check(WARN, "tick", f"the last one ran {ran_ago(ticks.last, now)}", LET_IT_RUN)
    else:
        yield Check(OK, "tick", f"ran {ran_ago(ticks.last, now)}")
    if words := too_late(ticks.drift, config):
        what, _, remedy = words.partition("; ")
        yield Check(WARN, "tick", what, remedy or LET_IT_RUN)
    elif ticks.drift is not None:
        hosts = f", on {len(ticks.drift.hosts)} hosts" if len(ticks.drift.hosts) > 1 else ""
        yield Check(OK, "tick", f"comes {usually(ticks.drift)}{hosts}")


def _place(config: Config) -> Iterator[Check]:
    """Look at the file system under the ledger, and for copies that a sync program left."""
    from commcast.ledger.store import ledger_path

    home = ledger_path(config.folder).parent
    kind = file_system(home.absolute(), _mounts())
    if kind in _REMOTE:
        remedy = "keep the folder on a local disk: two hosts could both send"
        yield Check(WARN, "disk", f"the ledger lies on {kind}, where locks cannot be trusted", remedy)
    copies = (
        sorted(path.name for path in home.glob("*.db") if path.name != "ledger.db") if home.is_dir() else []
    )
    if copies:
        yield Check(
            WARN, "disk", f"copies of a ledger lie beside it: {', '.join(copies[:5])}", "move them away"
        )
    yield from _room(config.folder)
    for name in ("incidents", "."):
        if not os.access(config.folder / name, os.W_OK):
            shown = "the folder" if name == "." else name
            yield Check(WARN, "disk", f"{shown} cannot be written", "the verbs need to write there")


def _room(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_ROOM:
        remedy = "make room: on a full disk nothing can be remembered, so nothing is sent"
        yield Check(WARN, "disk", f"is nearly full: {free >> 10:,} KiB free", remedy)


def file_system(path: Path, mounts: str) -> str:
    """Return the kind of file system that holds `path`, "" where it is not known; `mounts` as in /proc."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _device, place, found, *_rest = [*line.split(), "", "", ""]
        if path.is_relative_to(place or "\0") and len(place) >= len(best):
            best, kind = place, found
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
