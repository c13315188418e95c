"""The command doctor, and the adoption of a ledger."""

from __future__ import annotations

import secrets
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli import prompt
from commcast.cli.options import CONFIG_NAME, FolderOption, JsonOption, NoQuestionOption, clock, find_folder
from commcast.cli.output import GREEN, RED, YELLOW, inert, paint, put, say, show_json, show_prose
from commcast.cli.present import NAMES, wrapped
from commcast.cli.session import who
from commcast.errors import ConfigError, DecisionNeeded, ExitCode, Fault, gravest
from commcast.files import temporary_file

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from commcast.doctor.checks import Check, Look
    from commcast.incidents.load import Loaded


_COLOUR = {"ok": GREEN, "warn": YELLOW, "FAIL": RED}
_INDENT = " " * 6


def doctor(
    adopt_ledger: Annotated[
        bool, typer.Option("--adopt-ledger", help="Trust the existing ledger, or create a new one.")
    ] = False,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Also ask the providers whether they accept our credentials; nothing is sent."
        ),
    ] = False,
    dns: Annotated[
        bool,
        typer.Option("--dns", help="Also look up SPF, DKIM and DMARC of the domain that emails come from."),
    ] = False,
    dns_server: Annotated[
        str, typer.Option("--dns-server", metavar="HOST[:PORT]", help="Ask this resolver, with --dns.")
    ] = "",
    dkim_selector: Annotated[
        str, typer.Option("--dkim-selector", metavar="NAME", help="The selector of the DKIM key, with --dns.")
    ] = "",
    yes: NoQuestionOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Check whether this desk can send: settings, lists, templates, ledger, providers, ticks.

    With --adopt-ledger the ledger becomes this desk's own; if there is none, a new one is created. Everything
    in incidents/ then counts as sent elsewhere, so old history is never sent.

    --connect only asks: it logs in to a mail server, reads what SendGrid's key may do, and Twilio's account,
    sender and balance. SendGrid's DKIM selectors (s1, s2) are known; for other senders pass --dkim-selector.

    Example: commcast doctor --connect
    """
    from commcast.doctor.checks import examine
    from commcast.doctor.dns import DnsQuestion, mail_domain
    from commcast.doctor.providers import providers

    asks = connect or dns or bool(dns_server or dkim_selector)
    found = find_folder(folder, shows=not (adopt_ledger or asks))
    if adopt_ledger:
        adopt(found, yes=yes)
    outside: list[Look] = [lambda config: providers(config, clock, connect=connect)]
    if dns or dns_server or dkim_selector:
        outside.append(lambda config: mail_domain(config, DnsQuestion(dns_server, dkim_selector)))
    checks = examine(found, clock(), outside)
    code = gravest(check.exit_code for check in checks)
    if as_json:
        rows = [asdict(check) for check in checks]
        for row in rows:
            del row["exit_code"]
        show_json("doctor", {"ok": code is ExitCode.DONE, "checks": rows})
    else:
        _show(checks)
    raise typer.Exit(code)


def _show(checks: Sequence[Check]) -> None:
    for check in checks:
        text = inert(f"{NAMES.get(check.about, check.about)}: {check.what}").replace("\n", "; ")
        first, *more = _lines(_INDENT + text)
        put(paint(check.state.ljust(4), _COLOUR[check.state]) + first[4:])
        for line in [*more, *(_lines(_INDENT + inert(check.remedy)) if check.remedy else [])]:
            put(line)


def _lines(text: str) -> list[str]:
    """Return a line in 78 columns at a terminal, whole in a pipe."""
    return wrapped(text.strip(), indent=_INDENT) if sys.stdout.isatty() else [text]


def adopt(folder: Path, *, yes: bool) -> None:
    """Make the ledger of `folder` this desk's own, after a yes. Raises DecisionNeeded without one.

    The configuration gets its `desk` last: until then nothing can be sent from here.
    """
    from commcast.config.load import load_config
    from commcast.incidents.load import load_incidents
    from commcast.ledger.releases import record_history
    from commcast.ledger.store import adopt_ledger, ledger_path
    from commcast.ledger.unknowns import doubt_all_open
    from commcast.oncall.nudges import update_line

    config, now = load_config(folder), clock()
    desk = config.desk or _new_desk(folder)
    path = ledger_path(folder)
    loaded = load_incidents(config, now)
    if not yes and not (
        prompt.at_terminal() and prompt.says_yes(f"{_what_happens(path, desk, loaded)} Go on?")
    ):
        raise DecisionNeeded("Nothing was changed: confirm at a terminal, or pass --yes.")
    count = in_doubt = 0

    def record(connection: Connection, doubt: str) -> None:
        nonlocal count, in_doubt
        if doubt:
            in_doubt = doubt_all_open(connection, who(), now)
        count = record_history(connection, loaded.incidents, who(), now)

    adopt_ledger(path, desk, record).close()
    if not config.desk:
        write_desk(folder / CONFIG_NAME, desk)
    show_prose(f"{path} is the ledger of desk {desk[:8]}…; {count} updates count as sent elsewhere.")
    if in_doubt:
        say(f"{in_doubt:,} pending deliveries are now unknown; see: commcast log")
    for each in loaded.incidents:
        if not each.latest.is_end and each.latest.at_written:
            say(
                f"{each.id} is open, and this ledger does not know who was told about it. "
                f"Post its next update now: {update_line(each, each.latest, config)}"
            )
    for name in loaded.broken:
        say(f"{name} is broken and was left out: fix it, then adopt again before you send anything from it.")


def _what_happens(path: Path, desk: str, loaded: Loaded) -> str:
    from commcast.ledger.store import open_copy
    from commcast.ledger.unknowns import count_open

    what = "A new ledger is created"
    with open_copy(path, desk, any_desk=True) as ledger:
        if ledger is not None:
            what = "The existing ledger becomes this desk's own"
        if ledger is not None and ledger.doubt:
            with ledger.read() as connection:
                count = count_open(connection)
            what = (
                f"{ledger.doubt}\n{what}. {count:,} deliveries still pending in it may have been sent since: "
                "they become unknown, and are resent only if you say so (commcast resend)"
            )
    updates = sum(len(incident.updates) for incident in loaded.incidents)
    return (
        f"{what}. Those of the {updates} updates in incidents/ that it does not know count as told "
        "elsewhere: they will never be sent from here."
    )


def _new_desk(folder: Path) -> str:
    """Return a new desk's id. Raises ConfigError if the file holds an empty one, which we do not edit."""
    data = tomllib.loads((folder / CONFIG_NAME).read_text(encoding="utf-8-sig"))
    if "desk" in data:
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, "desk is empty", "remove that line and try again"))
    return secrets.token_hex(8)


def write_desk(path: Path, desk: str) -> None:
    """Write `desk` into the configuration as its first line; every other byte stays."""
    real = path.resolve()
    raw = real.read_bytes()
    mark = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    end = b"\r\n" if b"\r\n" in raw else b"\n"
    content = mark + f'desk = "{desk}"'.encode() + end + raw[len(mark) :]
    try:
        with temporary_file(real.parent, content, real.stat().st_mode & 0o7777) as written:
            written.replace(real)
    except OSError as error:
        what, remedy = f"cannot be written: {error.strerror}", f'add the line: desk = "{desk}"'
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, what, remedy)) from None
