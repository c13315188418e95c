"""The command receipts: ask the providers what became of what they accepted; for cron, without any server."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.opening import desk_to_work
from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import say, show, show_json, table
from commcast.durations import parse_duration, short_duration
from commcast.errors import gravest

if TYPE_CHECKING:
    from commcast.receiving import Received

SinceOption = Annotated[
    str, typer.Option("--since", metavar="LENGTH", help="Ask about what was handed over so lately.")
]


def receipts(since: SinceOption = "3d", as_json: JsonOption = False, folder: FolderOption = None) -> None:
    """Ask the providers what became of what they accepted: delivered, bounced or failed.

    SendGrid tells of bounces and drops (and of deliveries, where the account keeps Email Activity), Twilio
    of every text. Who bounced is told nothing more: commcast recipients suppressed lists them. A full
    mailbox, too, where SendGrid counts it as a bounce: it drops all that follows. A block for a while
    silences nobody. Running it twice, or late, is safe; nothing is sent. Where its output is no terminal, as
    under cron, it prints only news. commcast status shows the sums.

    Example: commcast receipts --since 1d
    """
    length = _length(since)
    found = _ask(folder, length)
    code = gravest(each.exit_code for each in found)
    if as_json:
        show_json("receipts", {"providers": [_document(each) for each in found], "exit_code": int(code)})
    else:
        _show(found, length)
    raise typer.Exit(code)


def _ask(folder: Path | None, length: timedelta) -> list[Received]:
    from commcast.receiving import Receiver
    from commcast.wiring import records_for

    with desk_to_work(folder) as (desk, ledger):
        receiver = Receiver(ledger, lambda provider: records_for(desk.config, provider, clock), clock)
        return receiver.receive(clock() - length)


def _length(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _show(found: list[Received], length: timedelta) -> None:
    watched = sys.stdout.isatty()
    if not found:
        if watched:
            show(f"Nothing to ask: no provider owes a receipt of the last {short_duration(length)}.")
    elif watched or any(each.is_news for each in found):
        head = ("PROVIDER", "ASKED", "DELIVERED", "BOUNCED", "FAILED", "SUPPRESSED")
        show(table(head, [_row(each) for each in found]))
    for each in found:
        if each.trouble is not None:
            say(f"{each.provider}: {each.trouble}")


def _row(each: Received) -> tuple[str, ...]:
    counts = [each.joined.counts[kind] for kind in ("delivered", "bounced", "failed")]
    return (each.provider, *(f"{count:,}" for count in (each.asked, *counts, each.joined.suppressed)))


def _document(each: Received) -> dict[str, Any]:
    return {
        "provider": each.provider,
        "channel": each.channel,
        "asked": each.asked,
        **{kind: each.joined.counts[kind] for kind in ("delivered", "bounced", "failed")},
        "suppressed": each.joined.suppressed,
        "foreign": each.joined.foreign,
        "trouble": str(each.trouble) if each.trouble else None,
    }
