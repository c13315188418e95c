"""Checks the desk itself: files, lists, templates, people, ledger, ticks, disk."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from commcast.config.load import load_config
from commcast.config.settings import CONFIG_NAME
from commcast.doctor.lint import Findings, SampleRow, check_words, unread_files
from commcast.errors import CommcastError, ExitCode, InputError
from commcast.files import distrusted
from commcast.incidents.load import load_incidents
from commcast.ledger.location import check_file
from commcast.ledger.oncall import handovers_of_all
from commcast.ledger.store import check_sound, ledger_path, open_copy
from commcast.model.oncall import on_duty_for
from commcast.oncall.heartbeat import url_of
from commcast.oncall.people import reach, unreachable, variables_of
from commcast.oncall.ticks import LET_IT_RUN, Ticks, ran_ago, read_ticks, silence, too_late, usually
from commcast.recipients.lists import open_recipients

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Incident
    from commcast.model.oncall import Handover


@dataclass(frozen=True, slots=True)
class Check:
    """One line of doctor: what was checked, its state, and what to do.

    `exit_code` is what the run exits with because of this line.
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
    """Return what should be looked at; the desk can still send."""
    return Check("warn", about, what, remedy)


def fail(about: str, what: str, remedy: str, exit_code: ExitCode) -> Check:
    """Return what keeps the desk from sending, and the exit code that this causes."""
    return Check("FAIL", about, what, remedy, exit_code)


def secret(name: str, what: str) -> Check:
    """Return whether an environment variable is set, never its value; `what` says what it contains."""
    if os.environ.get(name):
        return ok("secret", f"{name} is set")
    return warn("secret", f"{name} is not set: {what}", f"set {name} where commcast runs, also in cron")


_CLOCK_WRONG = timedelta(minutes=5)
# File systems on which SQLite's locks are unreliable (sqlite.org/faq.html#q5).
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afs", "ceph"}
_LITTLE_ROOM = 64 << 20  # bytes

Look = Callable[["Config"], Iterator[Check]]


def examine(folder: Path, now: datetime, outside: Sequence[Look] = ()) -> list[Check]:
    """Return all checks of a desk's folder at `now`; `outside` are those of providers and the DNS."""
    try:
        config = load_config(folder)
    except InputError as error:
        return [fail("configuration", str(fault), "", ExitCode.INPUT) for fault in error.faults]
    incidents, readable = _incidents(config, now)
    return [
        *_configuration(config),
        readable,
        *_lists_and_templates(config, incidents),
        *_ledger(config, now),
        *_disk(config),
        *(check for look in outside for check in look(config)),
        *_people(config, incidents),
        *_heartbeat(config),
    ]


def _lists_and_templates(config: Config, incidents: Sequence[Incident]) -> Iterator[Check]:
    """Yield whether each list and template can be used, tried on the newest update of open incidents."""
    broken, listed = Findings(), {name: SampleRow() for name in config.audiences}
    for name in listed:
        with broken.noting():
            listed[name] = _opened(name, config)
    yield _check("lists", broken, f"{len(listed)} can be opened")
    broken = Findings()
    check_words(config, [each for each in incidents if not each.latest.is_end], listed, broken)
    yield _check("templates", broken, f"{broken.checked['templates']} can be used")
    for fault in unread_files(config):
        if fault.file.startswith("templates/"):
            yield warn("templates", f"{fault.file}: {fault.what}", fault.remedy)


def _opened(name: str, config: Config) -> SampleRow:
    """Return the first good row of a list. Raises InputError if the list cannot be opened."""
    first, reading = None, open_recipients(name, config)
    with suppress(InputError):  # rows are checked by lint
        first = next(iter(reading), None)
    return SampleRow(first, {"", first.locale} if first else {""})


def _check(about: str, broken: Findings, good: str) -> Check:
    if not broken.faults:
        return ok(about, good)
    return _broken(about, len(broken.faults), str(broken.faults[0]))


def _broken(about: str, count: int, which: str) -> Check:
    what = f"{count} {'is' if count == 1 else 'are'} broken: {which}"
    return fail(about, what, "run: commcast lint", ExitCode.INPUT)


def _people(config: Config, incidents: Sequence[Incident]) -> Iterator[Check]:
    """Yield whether anybody can be nudged, which address variables are set, and who cannot be reached.

    No value from the environment is shown.
    """
    if not config.people and not (config.nudge and config.nudge.command):
        person, owner = "[people.dana] with name, email and phone", "owner: dana to the incident file"
        remedy = f"add {person} to commcast.toml, and {owner}"
        yield warn("people", "nobody can be nudged before a promise breaks: there is no [people]", remedy)
    passed = dict.fromkeys(config.nudge.env if config.nudge else (), "[nudge] env passes it to the command")
    for name, what in (variables_of(config) | passed).items():
        yield secret(name, what)
    for person, what in _on_duty(config, incidents).items():
        found = reach(person, config, os.environ)
        # Variables that are not set are reported above.
        faults = [each for each in unreachable(person, config, os.environ) if " is not set: " not in each]
        if not found.email and not found.phone and not faults:
            faults = [f"{person} has no usable address"]
        for fault in faults:
            problem, _, remedy = fault.partition("; ")
            yield warn("people", f"{problem} ({person} {what})", remedy or "write one in commcast.toml")


def _on_duty(config: Config, incidents: Sequence[Incident]) -> Mapping[str, str]:
    """Return the people on duty for open incidents, each with what for: "owns pay7"."""
    handovers = _handovers(config)
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
    """Yield where the heartbeat goes, showing only the host: the address may contain a token."""
    written = config.tick.heartbeat_url
    if (name := written.removeprefix("env:")) != written:
        yield secret(name, "where the heartbeat goes")
    if not (url := url_of(written, os.environ)):
        return
    host = None
    with suppress(ValueError):
        host = urlsplit(url).hostname
    if not host:
        yield warn("heartbeat", "is not a web address", "write https://…")
    elif urlsplit(url).scheme != "https" and not config.tick.heartbeat_private:
        yield warn("heartbeat", f"goes to {host} unencrypted", "write https://…")
    else:
        yield ok("heartbeat", f"goes to {host} after every successful tick")


def _configuration(config: Config) -> Iterator[Check]:
    if fault := distrusted(config.folder, CONFIG_NAME):
        yield fail("folder", str(fault), "", ExitCode.INPUT)
    else:
        yield ok("folder", str(config.folder.absolute()))
    zone = config.zone
    yield ok("configuration", f"{len(config.audiences)} audiences, time zone {zone.key}")
    sms = config.channels.sms
    if sms is not None and sms.quiet is None and sms.provider != "outbox":
        remedy = 'write quiet = "21:00-08:00" in [channels.sms], the readers\' own time'
        yield warn("SMS", "there are no quiet hours: texts also go out at night", remedy)
    for key in config.not_served:
        yield warn("configuration", f"{key} has no effect yet", "this version ignores it")


def _incidents(config: Config, now: datetime) -> tuple[Sequence[Incident], Check]:
    """Return the incidents that can be read, and whether that is all of them."""
    try:
        loaded = load_incidents(config, now)
    except InputError as error:
        return (), fail("incidents", str(error), "", ExitCode.INPUT)
    check = ok("incidents", f"{len(loaded.incidents)} can be read")
    if loaded.broken:
        check = _broken("incidents", len(loaded.broken), ", ".join(list(loaded.broken)[:5]))
    return loaded.incidents, check


def _handovers(config: Config) -> Mapping[str, Sequence[Handover]]:
    """Return the hand-overs of each incident, none if the ledger cannot be read."""
    with suppress(CommcastError), open_copy(ledger_path(config.folder), config.desk) as ledger:
        if ledger is not None and not ledger.doubt:
            with ledger.read() as connection:
                return handovers_of_all(connection)
    return {}


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
            remedy = "run commcast as the user who owns it, on a writable disk"
            yield fail("ledger", f"{place} is not writable", remedy, ExitCode.LEDGER)
            return
    mode = stat.S_IMODE(path.stat().st_mode)
    yield ok("ledger", f"{path}, of desk {config.desk[:8]}…, mode {mode:04o}")
    yield from _ticks(ticks, config, now)


def _ticks(ticks: Ticks, config: Config, now: datetime) -> Iterator[Check]:
    """Yield when a tick last ran, how far apart ticks usually are, and which promises they can keep."""
    if ticks.last is None:
        yield warn("tick", "none has run yet", LET_IT_RUN)
    elif ticks.last > now + _CLOCK_WRONG:
        yield warn(
            "clock", "the last tick is in the future", "set this machine's clock: messages carry its time"
        )
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
    """Yield what is wrong with the disk of the ledger, and copies that a sync program left there."""
    home = ledger_path(config.folder).parent
    kind = file_system(home.absolute(), _mounts())
    if kind in _REMOTE:
        remedy = "keep the folder on a local disk; otherwise two hosts could both send"
        yield warn("disk", f"the ledger is on {kind}, where file locks are unreliable", remedy)
    if copies := sorted(path.name for path in home.glob("*.db") if path.name != "ledger.db"):
        yield warn(
            "disk", f"there are copies of the ledger next to it: {', '.join(copies[:5])}", "move them away"
        )
    free = shutil.disk_usage(config.folder).free
    if free < _LITTLE_ROOM:
        remedy = "free some space: if the ledger cannot be written, nothing is sent"
        yield warn("disk", f"nearly full: {free >> 10:,} KiB free", remedy)
    for name in ("incidents", "."):
        if not os.access(config.folder / name, os.W_OK):
            shown = "the folder" if name == "." else name
            yield warn("disk", f"{shown} is not writable", "commands such as declare write there")


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system of `path`, "" if unknown; `mounts` is like /proc/mounts."""
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
