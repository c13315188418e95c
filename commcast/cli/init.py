"""commcast init: a new desk's folder that works at once and sends nothing outside."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Annotated

import typer

from commcast.cli.options import CONFIG_NAME
from commcast.cli.output import say, show_prose
from commcast.errors import Fault, InputError

_CONFIG = """\
# The desk of {comment}. Secrets never stand here: they come from the environment.
# All keys: commcast schema config. Is all of it right? commcast lint

desk = "{desk}"        # the ledger this folder belongs to; never change it by hand

[organisation]
name = {name}
zone = {zone}                  # gives times without an offset their meaning
# status_url = "https://status.example.com"

[contact]                     # how readers reach you; every message says it
# reply_to = "help+{{id}}@example.com"      # {{id}} becomes the incident's id
# phone = "+49 30 5550100"
# hours = "Mon-Fri 08:00-18:00"
# after_hours = "reply to this mail"
# feedback_url = "https://example.com/informed"   # the end asks "did we keep you well informed?"

# People to wake: an incident's file says owner: dana, and backup: sam. env:NAME is from the environment.
# [people.dana]
# name = "Dana Reyes"
# email = "env:DANA_MAIL"
# phone = "env:DANA_PHONE"

# What can break, with its name for readers outside (affected: [payments]).
# [components.payments]
# public = "Card payments"

# Who is told, each in words of their own. An address in two lists hears the better rank only.
# An internal view may read `internal`; a public one never does. Without severities: all of them.
[audiences.support]
recipients = "audiences/support.csv"
view = "internal"
rank = 1

[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
rank = 2
severities = [1, 2]

[audiences.internal]
recipients = "audiences/internal.csv"
view = "internal"
rank = 3
severities = [1, 2, 3]

[audiences.partners]
recipients = "audiences/partners.csv"
view = "public"
rank = 5
severities = [1, 2]

[audiences.customers]
recipients = "audiences/customers.csv"
view = "public"
rank = 9
channels = ["email", "sms"]
severities = [1, 2]

# How long readers are left without word, by severity (1 is the worst): these are the defaults.
[cadence.1]
first = "10m"
every = "20m"
after_2h = "60m"
[cadence.2]
first = "15m"
every = "30m"
after_2h = "60m"
[cadence.3]
first = "30m"
every = "60m"
after_2h = "2h"
[cadence.4]
first = "60m"
every = "24h"

# Where nobody writes in time: "hold" lets a statement go out by itself shortly before the promise breaks,
# with the last released facts and no news; for all others only the owner is nudged. steps: what one
# statement after another promises ("1x" is one cadence), then: each further one, until somebody writes.
[silence]
customers = "hold"
partners = "hold"
support = "hold"
executives = "nudge"
internal = "nudge"
severities = [1, 2]
steps = ["1x", "2x", "60m"]
then = "4h"

# Besides mail and text a nudge can run a command, which reads JSON from its standard input.
# [nudge]
# command = ["notify-oncall"]

# What notices that ticks have stopped: a monitor that is asked after every tick that went well.
# [tick]
# heartbeat_url = "env:HEARTBEAT_URL"     # its address, or env:NAME where it holds a token

# "outbox" writes real .eml and .txt files to outbox/ and sends nothing.
[channels.email]
provider = "outbox"           # or "smtp" or "sendgrid": README, "Going live"
from = {sender}

[channels.sms]
provider = "outbox"           # or "twilio", with from = "+49…" or a messaging service
events = ["first", "worse", "correction", "retracted", "reopened", "resolved", "started"]
quiet = "21:00-08:00"         # in the reader's own time zone
wake_for = [1, 2]             # the severities that may wake a reader

# [providers.smtp]            # its password: COMMCAST_SMTP_PASSWORD
# host = "smtp.example.com"
# port = 587
# user = "status"
# [providers.sendgrid]        # its key: SENDGRID_API_KEY
# base_url = "https://api.eu.sendgrid.com"
# [providers.twilio]          # its secrets: TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN
# messaging_service = "MG…"
# per_second = 10             # messages, over all processes; any provider takes it

[send]
confirm_above = 1000          # from here on the number of messages is typed, not only "y"
tolerate = "2%"               # so many refused addresses are no failure
bad_rows = "skip"             # or "stop"
# unsubscribe = "mailto:unsubscribe@example.com"
# sms_price = 0.08            # what a segment costs; shown before sending
"""

_LISTS = {
    "support": "email,name\nsupport@desk.example,Support Desk\n",
    "executives": "email,name\nceo@desk.example,Chris Ode\n",
    "internal": "email,name\nengineering@desk.example,Engineering\n",
    "partners": "email,name\nnoc@partner.example,Partner NOC\n",
    "customers": (
        "email,phone,name,timezone\n"
        "alex@customer.example,+4915550100001,Alex Example,Europe/Berlin\n"
        "kim@customer.example,,Kim Example,America/New_York\n"
    ),
}

_NOTES = {
    "templates/README.md": (
        "Put a file here only to use other words than the shipped ones: `customers/email.txt.j2`,\n"
        "`customers/resolved.sms.txt.j2`. Which file wins: `commcast templates`.\n"
    ),
    "incidents/.gitkeep": "",
    "presets/.gitkeep": "",
    ".gitignore": ".commcast/\noutbox/\n",
}


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make; default: this one.")] = Path(),
    organisation: Annotated[
        str | None, typer.Option(help="Who speaks; default: the folder's name.", show_default=False)
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Your time zone, such as Europe/Berlin.", show_default=False)
    ] = None,
    email: Annotated[
        str | None, typer.Option(help="The address that emails come from.", show_default=False)
    ] = None,
) -> None:
    """Make a desk's folder that works at once and sends nothing outside.

    Example: commcast init desk --organisation "Acme Pay" --zone Europe/Berlin
    """
    name = organisation or _name_of(folder)
    desk = secrets.token_hex(8)
    config = _config_text(desk, name, zone or system_zone(), email or "status@desk.example")
    files = {CONFIG_NAME: config}
    files |= {f"audiences/{audience}.csv": text for audience, text in _LISTS.items()}
    make_desk(folder, desk, {**files, **_NOTES})
    show_prose(f"Made the desk of {name} in {folder}/: its messages go to outbox/ as files, nothing leaves.")
    step = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    say(f"Next: look at {CONFIG_NAME} and audiences/, then: {step}commcast declare payments --dry-run")
    say('To go live: README, "Going live", then: commcast doctor --connect')


def make_desk(folder: Path, desk: str, files: dict[str, str]) -> None:
    """Write a desk's files and its ledger; nothing that is there is replaced.

    The configuration is checked before, and written last: a folder that holds it is whole.
    Raises InputError.
    """
    from commcast.config.load import load_config
    from commcast.ledger.store import create_ledger, ledger_path

    if (folder / CONFIG_NAME).exists():
        raise InputError(
            Fault(str(folder / CONFIG_NAME), 0, 0, "is there already", "use that desk, or name a new folder")
        )
    if ledger_path(folder).exists():
        raise InputError(
            Fault(
                str(ledger_path(folder)),
                0,
                0,
                "is the ledger of an earlier desk",
                f"bring its {CONFIG_NAME} back, or name a new folder",
            )
        )
    _check_config(files[CONFIG_NAME])
    try:
        for name, text in files.items():
            if name != CONFIG_NAME:
                _write_new(folder / name, text)
        create_ledger(ledger_path(folder), desk).close()
        _write_new(folder / CONFIG_NAME, files[CONFIG_NAME])
    except OSError as error:
        raise InputError(
            Fault(str(folder), 0, 0, f"cannot be made: {error.strerror}", "check the path and its rights")
        ) from None
    load_config(folder)


def system_zone() -> str:
    """Return this machine's time zone by name, "UTC" where it has none to tell."""
    from zoneinfo import ZoneInfo

    try:
        name = str(Path("/etc/localtime").resolve()).rpartition("/zoneinfo/")[2]
        return ZoneInfo(name).key if name else "UTC"
    except (OSError, ValueError, KeyError):
        return "UTC"


def _config_text(desk: str, name: str, zone: str, email: str) -> str:
    plain = re.sub(r"[^\w .-]", "", name).strip()  # a comma or a quote would be read as something else
    sender = email if "<" in email else f"{plain} <{email}>"
    quoted = {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in {"name": name, "zone": zone, "sender": sender}.items()
    }
    comment = " ".join(name.split())
    return _CONFIG.format(desk=desk, comment=comment, **quoted)


def _check_config(text: str) -> None:
    """Raise ConfigError where the options cannot stand in a configuration, before anything is written."""
    import tempfile

    from commcast.config.load import load_config

    with tempfile.TemporaryDirectory(prefix="commcast-") as folder:
        (Path(folder) / CONFIG_NAME).write_text(text, encoding="utf-8")
        load_config(Path(folder))


def _name_of(folder: Path) -> str:
    return folder.resolve().name.replace("_", " ").replace("-", " ").strip().title() or "Our Desk"


def _write_new(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text, encoding="utf-8")
