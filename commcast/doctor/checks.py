"""Checks the desk itself: files, lists, templates, people, ledger, ticks, disk."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from commcast.config.load import load_config
from commcast.doctor.lint import Findings, SampleRow, check_words
from commcast.errors import CommcastError, ExitCode, InputError
from commcast.incidents.load import load_incidents
from commcast.ledger.location import check_file
from commcast.ledger.oncall import handovers_of_all
from commcast.ledger.store import check_sound, ledger_path, open_copy
from commcast.model.oncall import on_duty_for
from commcast.oncall.people import reach, unreachable, variables_of
from commcast.oncall.ticks import LET_IT_RUN, Ticks, ran_ago, read_ticks, silence, too_late, usually
from commcast.recipients.lists import open_recipients

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Incident
    from commcast.model.oncall import Handover


@dataclass(frozen=True, slots=True)
class Check:
    """One line of doctor: what was looked at, its state, and what to do.

    `exit_code` is what this finding makes of the run.
    """

    state: str
    about: str
    what: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.DONE


def ok(about: str, what: str) -> Check:
    """Return that something is as it should be."""
    return Check("ok", about, what)


def warn(about: str, what: str, remedy: str = "") -> Check:
    """Return what should be looked at; the desk can send all the same."""
    return Check("warn", about, what, remedy)


def fail(about: str, what: str, remedy: str, exit_code: ExitCode) -> Check:
    """Return what keeps the desk from sending, and the exit code that a run would end in."""
    return Check("FAIL", about, what, remedy, exit_code)


def secret(name: str, what: str) -> Check:
    """Return whether a variable of the environment is set, never its value; `what` says what it holds."""
    if os.environ.get(name):
        return ok("secret", f"{name} is set")
    return warn("secret", f"{name} is not set: {what}", f"set {name} where commcast runs, also in cron")


_CLOCK_WRONG = timedelta(minutes=5)
# File systems on which SQLite's locks are not to be trusted (sqlite.org/faq.html#q5).
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afs", "ceph"}
_LITTLE_ROOM = 64 << 20  # bytes
_FROM_ENVIRONMENT = "env:"

Look = Callable[["Config"], Iterator[Check]]


def examine(folder: Path, now: datetime, outside: Sequence[Look] = ()) -> list[Check]:
    """Return all checks of a desk's folder at `now`, an aware moment.

    `outside` are the looks at providers and the DNS.
    """
    try:
        config = load_config(folder)
    except InputError as error:
        return [fail("configuration", str(fault), "", ExitCode.INPUT) for fault in error.faults]
    incidents, handovers = _incidents(config, now)
    return [
        *_configuration(config),
        *_files(config, now),
        *_lists_and_templates(config, incidents),
        *_ledger(config, now),
        *_disk(config),
        *(check for look in outside for check in look(config)),
        *_people(config, incidents, handovers),
        *_heartbeat(config),
    ]


def _lists_and_templates(config: Config, incidents: Sequence[Incident]) -> Iterator[Check]:
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
        return ok(about, good)
    return _broken(about, len(broken.faults), str(broken.faults[0]))


def _broken(about: str, count: int, which: str) -> Check:
    what = f"{count} {'is' if count == 1 else 'are'} broken: {which}"
    return fail(about, what, "see: commcast lint", ExitCode.INPUT)


def _people(
    config: Config, incidents: Sequence[Incident], handovers: Mapping[str, Sequence[Handover]]
) -> Iterator[Check]:
    """Yield whether anybody can be nudged, which address variables are set, and who cannot be reached.

    No value of the environment is shown.
    """
    if not config.people and not (config.nudge and config.nudge.command):
        remedy = (
            "write [people.dana] in commcast.toml, with name, email and phone, and in the incident's file: "
            "owner: dana"
        )
        yield warn("people", "nobody can be woken before a promise breaks: there is no [people]", remedy)
    for name, what in variables_of(config).items():
        yield secret(name, what)
    for person, what in _on_duty(incidents, handovers).items():
        found = reach(person, config, os.environ)
        # Variables that are not set are reported above.
        faults = [each for each in unreachable(person, config, os.environ) if " is not set: " not in each]
        if not found.email and not found.phone and not faults:
            faults = [f"{person} has no address that can be used"]
        for fault in faults:
            problem, _, remedy = fault.partition("; ")
            yield warn("people", f"{problem}, and {what}", remedy or "write one in commcast.toml")


def _on_duty(incidents: Sequence[Incident], handovers: Mapping[str, Sequence[Handover]]) -> Mapping[str, str]:
    """Return who answers for an open incident, each with what for."""
    found: dict[str, str] = {}
    for incident in incidents:
        if incident.latest.is_end:
            continue
        duty = on_duty_for(incident, handovers.get(incident.id, ()))
        for person, part in ((duty.owner, "owns"), (duty.backup, "is the backup of")):
            if person:
                found.setdefault(person, f"{part} {incident.id}")
    return found


def _heartbeat(config: Config) -> Iterator[Check]:
    """Yield where the heartbeat goes, showing only the host: the address may hold a token."""
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
            yield warn("heartbeat", "goes to no web address", "write https://…")
    elif parts.scheme != "https" and not config.tick.heartbeat_private:
        yield warn("heartbeat", f"goes to {host} in the clear", "write https://…")
    else:
        yield ok("heartbeat", f"goes to {host} after every tick that went well")


def _configuration(config: Config) -> Iterator[Check]:
    yield ok("folder", str(config.folder.absolute()))
    zone = config.zone
    yield ok("configuration", f"{len(config.audiences)} audiences, time zone {zone.key}")
    sms = config.channels.sms
    if sms is not None and sms.quiet is None and sms.provider != "outbox":
        remedy = 'write quiet = "21:00-08:00" in [channels.sms], the readers\' own time'
        yield warn("SMS", "there are no quiet hours: texts also go out at night", remedy)
    for key in config.not_served:
        yield warn("configuration", f"{key} has no effect yet", "this version reads it and does nothing more")


def _files(config: Config, now: datetime) -> Iterator[Check]:
    try:
        loaded = load_incidents(config, now)
    except InputError as error:
        yield fail("incidents", str(error), "", ExitCode.INPUT)
        return
    if loaded.broken:
        yield _broken("incidents", len(loaded.broken), ", ".join(list(loaded.broken)[:5]))
    else:
        yield ok("incidents", f"{len(loaded.incidents)} can be read")


def _incidents(config: Config, now: datetime) -> tuple[Sequence[Incident], Mapping[str, Sequence[Handover]]]:
    """Return all incidents and their hand-overs, as far as they can be read."""
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
    path = ledger_path(config.folder)
    try:
        check_file(path)
        with open_copy(path, config.desk) as ledger:
            assert ledger is not None  # noqa: S101 - check_file has seen it
            if ledger.doubt:
                yield fail("ledger", ledger.doubt, "", ExitCode.LEDGER)
                return
            check_sound(ledger)
            with ledger.read() as connection:
                ticks = read_ticks(connection, now)
    except CommcastError as error:
        yield fail("ledger", str(error), "", error.exit_code)
        return
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            remedy = "run commcast as the user who owns it, on a disk that takes writes"
            yield fail("ledger", f"{place} cannot be written", remedy, ExitCode.LEDGER)
            return
    mode = stat.S_IMODE(path.stat().st_mode)
    yield ok("ledger", f"{path}, of desk {config.desk[:8]}…, mode {mode:04o}")
    yield from _ticks(ticks, config, now)


def _ticks(ticks: Ticks, config: Config, now: datetime) -> Iterator[Check]:
    """Say when a tick last ran, how late they usually are, and which promises that can keep."""
    if ticks.last is None:
        yield warn("tick", "none has run yet", LET_IT_RUN)
    elif ticks.last > now + _CLOCK_WRONG:
        remedy = "set this machine's clock; what is sent carries its time"
        yield warn("clock", "the last tick lies in the future", remedy)
    elif silence(ticks, now):
        yield warn("tick", f"the last one ran {ran_ago(ticks.last, now)}", LET_IT_RUN)
    else:
        yield ok("tick", f"ran {ran_ago(ticks.last, now)}")
    if words := too_late(ticks.drift, config):
        what, _, remedy = words.partition("; ")
        yield warn("tick", what, remedy or LET_IT_RUN)
    elif ticks.drift is not None:
        hosts = f", on {len(ticks.drift.hosts)} hosts" if len(ticks.drift.hosts) > 1 else ""
        yield ok("tick", f"comes {usually(ticks.drift)}{hosts}")


def _disk(config: Config) -> Iterator[Check]:
    """Look at the file system under the ledger, and for copies that a sync program left there."""
    home = ledger_path(config.folder).parent
    kind = file_system(home.absolute(), _mounts())
    if kind in _REMOTE:
        remedy = "keep the folder on a local disk: two hosts could both send"
        yield warn("disk", f"the ledger lies on {kind}, where locks cannot be trusted", remedy)
    if copies := sorted(path.name for path in home.glob("*.db") if path.name != "ledger.db"):
        yield warn("disk", f"copies of a ledger lie beside it: {', '.join(copies[:5])}", "move them away")
    free = shutil.disk_usage(config.folder).free
    if free < _LITTLE_ROOM:
        remedy = "make room: on a full disk nothing can be remembered, so nothing is sent"
        yield warn("disk", f"is nearly full: {free >> 10:,} KiB free", remedy)
    for name in ("incidents", "."):
        if not os.access(config.folder / name, os.W_OK):
            shown = "the folder" if name == "." else name
            yield warn("disk", f"{shown} cannot be written", "commands such as declare write there")


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
