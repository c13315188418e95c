"""What doctor looks at, one function a matter; nothing is changed and nothing is sent."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commcast.durations import short_duration
from commcast.errors import CommcastError, ExitCode, InputError

if TYPE_CHECKING:
    import smtplib
    import ssl

    from commcast.config import Config
    from commcast.config_providers import SmtpProvider

OK, WARN, FAIL = "ok", "warn", "FAIL"
_TICK_LATE = timedelta(minutes=5)
# File systems on which SQLite's locks are not to be trusted (sqlite.org/faq.html#q5).
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afs", "ceph"}
_REFUSED = ExitCode.REFUSED
SMTP_PASSWORD = "COMMCAST_SMTP_PASSWORD"  # noqa: S105 - the variable's name, not a password
_HELLO_SECONDS = 10.0
_LITTLE_ROOM = 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Check:
    """One line of doctor. `exit_code` is what this finding makes of the run."""

    state: str
    about: str
    what: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.DONE


def examine(folder: Path, now: datetime, *, connect: bool) -> list[Check]:
    """Return everything there is to say of a desk's folder."""
    from commcast.config_file import load_config

    try:
        config = load_config(folder)
    except InputError as error:
        return [Check(FAIL, "configuration", str(fault), "", ExitCode.INPUT) for fault in error.faults]
    looks: list[Callable[[], Iterator[Check]]] = [
        lambda: _configuration(config),
        lambda: _files(config, now),
        lambda: _ledger(config, now),
        lambda: _place(config),
        lambda: _providers(config, connect),
        lambda: _people(config),
    ]
    return [check for look in looks for check in look()]


def _configuration(config: Config) -> Iterator[Check]:
    yield Check(OK, "folder", str(config.folder.absolute()))
    zone = config.zone
    yield Check(OK, "configuration", f"{len(config.audiences)} audiences, time zone {zone.key}")
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
            f"{len(loaded.broken)} are broken: {names}",
            "see: commcast lint",
            ExitCode.INPUT,
        )
    else:
        yield Check(OK, "incidents", f"{len(loaded.incidents)} can be read")


def _ledger(config: Config, now: datetime) -> Iterator[Check]:
    from commcast.ledger.history import last_tick
    from commcast.ledger.store import check_file, ledger_path, open_copy

    path = ledger_path(config.folder)
    try:
        check_file(path)
        with open_copy(path, config.desk) as ledger:
            assert ledger is not None  # noqa: S101 - check_file has seen it
            with ledger.read() as connection:
                ticked = last_tick(connection)
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
    yield _tick(ticked, now)


def _tick(ticked: datetime | None, now: datetime) -> Check:
    remedy = "let cron run it every minute, or: commcast tick --loop 1m"
    if ticked is None:
        return Check(WARN, "tick", "none has run yet", remedy)
    if ticked > now + _TICK_LATE:
        remedy = "set this machine's clock; what is sent carries its time"
        return Check(WARN, "clock", "the last tick lies in the future", remedy)
    ago = short_duration(max(now - ticked, timedelta()))
    if now - ticked > _TICK_LATE:
        return Check(WARN, "tick", f"the last one ran {ago} ago", remedy)
    return Check(OK, "tick", f"ran {ago} ago")


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


def _providers(config: Config, connect: bool) -> Iterator[Check]:
    used = {
        name: channel.provider
        for name, channel in (("email", config.channels.email), ("sms", config.channels.sms))
        if channel is not None
    }
    live = 'to go live: README, "SMTP", then commcast doctor --connect'
    for channel, provider in used.items():
        if provider == "outbox":
            remedy = live if channel == "email" else "this version has no provider of SMS"
            yield Check(WARN, channel, f"goes into files, nothing is sent; {remedy}")
    smtp = config.providers.smtp
    if smtp is None or "smtp" not in used.values():
        return
    yield Check(OK, "email", f"goes to {smtp.host}:{smtp.port} ({smtp.security})")
    if smtp.security == "none":
        yield Check(WARN, "email", "travels in the clear", 'write security = "starttls", or "tls"')
    refused = list(_refused_settings(config))
    yield from refused
    if smtp.user and os.environ.get(SMTP_PASSWORD):
        yield _secret(SMTP_PASSWORD, f"the password of {smtp.user}")
    if connect and not refused:
        yield _hello(smtp, config.folder)


def _refused_settings(config: Config) -> Iterator[Check]:
    """Yield what keeps the mail adapter from being made, such as a user without a password."""
    from commcast.model import Channel
    from commcast.wiring import adapter_for

    try:
        adapter_for(config, Channel.EMAIL)
    except InputError as error:
        for fault in error.faults:
            yield Check(
                FAIL, "email", fault.what, f"{fault.remedy}, where commcast runs, also in cron", _REFUSED
            )


def _hello(smtp: SmtpProvider, folder: Path) -> Check:
    """Say EHLO, STARTTLS and log in where that is asked for, and NOOP; no mail."""
    import smtplib
    import ssl

    where = f"{smtp.host}:{smtp.port}"
    try:
        context = ssl.create_default_context(cafile=str(folder / smtp.ca_file) if smtp.ca_file else None)
    except (OSError, ValueError):
        what = f"ca_file {smtp.ca_file!r} cannot be read as certificates"
        return Check(FAIL, "email", what, 'write ca_file = "…": a PEM file, or leave it out', _REFUSED)
    try:
        with _dialled(smtp, context) as server:
            server.ehlo()
            if smtp.security == "starttls":
                server.starttls(context=context)
                server.ehlo()
            if smtp.user:
                _log_in(server, smtp.user)
            server.noop()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return _failed(smtp, where, error)
    return Check(OK, "email", f"{where} answers{' and takes the login' if smtp.user else ''}")


def _dialled(smtp: SmtpProvider, context: ssl.SSLContext) -> smtplib.SMTP:
    import smtplib

    if smtp.security == "tls":
        return smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=_HELLO_SECONDS, context=context)
    return smtplib.SMTP(smtp.host, smtp.port, timeout=_HELLO_SECONDS)


def _log_in(server: smtplib.SMTP, user: str) -> None:
    """Log in by one method: the library's `login` tries all, which is several failed logins at once."""
    import smtplib

    server.user, server.password = user, os.environ.get(SMTP_PASSWORD, "")
    methods: dict[str, Any] = {
        "PLAIN": server.auth_plain,
        "LOGIN": server.auth_login,
        "CRAM-MD5": server.auth_cram_md5,
    }
    offered = server.esmtp_features.get("auth", "").upper().split()
    for name, method in methods.items():
        if name in offered:
            server.auth(name, method)
            return
    raise smtplib.SMTPAuthenticationError(504, "no login that we know is offered")


def _failed(smtp: SmtpProvider, where: str, error: Exception) -> Check:
    """Return what a failed hello means, and what to write; a login's answer is left out, it may hold it."""
    import smtplib
    import ssl

    if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
        remedy = f"check user and {SMTP_PASSWORD}"
        return Check(FAIL, "email", f"{where} refuses the login of {smtp.user}", remedy, _REFUSED)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        remedy = 'write security = "tls" with port = 465, or name the port that offers it'
        return Check(FAIL, "email", f"{where} offers no STARTTLS", remedy, _REFUSED)
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the certificate of {where} is not trusted: {error.verify_message}"
        remedy = 'write ca_file = "…" with the certificates that vouch for it, or the host\'s right name'
        return Check(FAIL, "email", what[:200], remedy, _REFUSED)
    what = f"{where} does not answer as it should: {error}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        what = f"{where} takes no login now"
    remedy = 'check host, port, security ("tls" for port 465, "starttls" for 587), and the way there'
    return Check(FAIL, "email", what[:200], remedy, ExitCode.TRY_AGAIN)


def _people(config: Config) -> Iterator[Check]:
    for person, settings in config.people.items():
        for value in (settings.email, settings.phone):
            if value.startswith("env:"):
                yield _secret(value.removeprefix("env:"), f"an address of {person}")


def _secret(name: str, what: str) -> Check:
    if os.environ.get(name):
        return Check(OK, "secret", f"{name} is set")
    return Check(
        WARN, "secret", f"{name} is not set: {what}", f"set {name} where commcast runs, also in cron"
    )
