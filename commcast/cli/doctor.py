"""The command doctor: is this desk fit to send, and what to mend; and adopting a ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.colour import GREEN, RED, YELLOW, paint, show_painted
from commcast.cli.options import FolderOption, JsonOption, NoQuestionOption, clock, find_folder
from commcast.cli.output import inert, show_json
from commcast.cli.present import NAMES, wrapped
from commcast.errors import ExitCode, gravest

if TYPE_CHECKING:
    from commcast.cli.diagnosis import Check

_COLOUR = {"ok": GREEN, "warn": YELLOW, "FAIL": RED}
_INDENT = " " * 6


def doctor(
    adopt_ledger: Annotated[
        bool, typer.Option("--adopt-ledger", help="Trust the ledger that is here, or begin a new one.")
    ] = False,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also ask the providers whether they take us; nothing is sent.")
    ] = False,
    dns: Annotated[
        bool,
        typer.Option("--dns", help="Also look up SPF, DKIM and DMARC of the domain that mail comes from."),
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
    """Check whether this desk can send: configuration, lists, templates, ledger, providers, last tick.

    With --adopt-ledger the ledger becomes this desk's own, a new one where there is none. All that stands in
    incidents/ then counts as told elsewhere, so that old history is never sent.

    --connect only asks: it logs in to a mail server, reads what SendGrid's key may do, and Twilio's account,
    sender and balance. SendGrid's DKIM selectors (s1, s2) are known; of any other mail, name it.

    Example: commcast doctor --connect
    """
    found = find_folder(folder)
    if adopt_ledger:
        from commcast.cli.adopt import adopt

        adopt(found, yes=yes)
    from commcast.cli.doctor_checks import examine
    from commcast.cli.doctor_dns import DnsQuestion

    question = DnsQuestion(dns_server, dkim_selector) if dns or dns_server or dkim_selector else None
    _show(examine(found, clock(), connect=connect, dns=question), as_json)


def _show(checks: Sequence[Check], as_json: bool) -> None:
    code = gravest(check.exit_code for check in checks)
    if as_json:
        show_json(
            "doctor",
            {
                "ok": code is ExitCode.DONE,
                "checks": [
                    {"state": check.state, "about": check.about, "what": check.what, "remedy": check.remedy}
                    for check in checks
                ],
            },
        )
    else:
        for check in checks:
            text = inert(f"{NAMES.get(check.about, check.about)}: {check.what}").replace("\n", "; ")
            first, *more = _lines(_INDENT + text)
            show_painted(paint(check.state.ljust(4), _COLOUR[check.state]) + first[4:])
            for line in [*more, *(_lines(_INDENT + inert(check.remedy)) if check.remedy else [])]:
                show_painted(line)
    raise typer.Exit(code)


def _lines(text: str) -> list[str]:
    """Return a line as a terminal shows it, in 78 columns; whole where a program reads it."""
    return wrapped(text.strip(), indent=_INDENT) if sys.stdout.isatty() else [text]
