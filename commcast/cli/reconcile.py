"""Reconcile, receipts."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import say, show, show_json, show_prose, table
from commcast.cli.present import NAMES
from commcast.cli.progress import ProgressBar
from commcast.cli.session import desk_to_work
from commcast.errors import InputError, gravest
from commcast.model.times import parse_duration, short_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from commcast.config.settings import Config
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk
    from commcast.operations.reconcile import Received, Reconciled, ReconcileTally, UnknownGroup


LOST_ARGUMENT = typer.Argument(
    metavar="[ID]", help="The incident; left out, every one with a lost answer.", show_default=False
)


def reconcile(
    incident: Annotated[str | None, LOST_ARGUMENT] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Ask the providers what became of messages whose answer was lost. It never sends.

    Found there with our words: accepted, or rejected where the provider did not send it. All else stays
    unknown, with what was seen. SMTP relays keep no records that can be asked. Twice is as once. Ends in 0
    when nothing is left unknown, 1 when something is, 75 when a provider cannot be asked now, 78 when it
    refuses us.

    Example: commcast reconcile pay7
    """
    from commcast.ledger.unknowns import Which

    with desk_to_work(folder) as (desk, ledger):
        check_known(ledger, incident)
        with ProgressBar() as progress:
            result = _reconciled(desk, ledger, Which(incident), progress)
    for provider, error in result.troubles.items():
        say(f"{provider}: {error}")
    if as_json:
        show_json("reconcile", _document(result))
    else:
        _show(result)
    _tell_what_follows(result)
    raise typer.Exit(result.exit_code)


def check_known(ledger: Ledger, incident: str | None) -> None:
    """Refuse an incident of which nothing was ever said. Raises InputError."""
    from commcast.ledger.broadcasts import broadcasts_of

    if incident is None:
        return
    with ledger.read() as connection:
        if not broadcasts_of(connection, incident):
            raise InputError(f"nothing was said of an incident {incident!r:.60}; commcast log lists all")


def configured_providers(config: Config) -> Mapping[str, str]:
    """Return the provider of each channel in use."""
    channels = {"email": config.channels.email, "sms": config.channels.sms}
    return {channel: used.provider for channel, used in channels.items() if used is not None}


def _reconciled(desk: Desk, ledger: Ledger, which: Any, progress: ProgressBar) -> Reconciled:
    from commcast.operations.reconcile import Reconciler
    from commcast.providers import registry

    reconciler = Reconciler(
        ledger=ledger,
        configured=configured_providers(desk.config),
        records_for=lambda provider: registry.records_for(desk.config, provider, clock),
        clock=clock,
        progress=progress.asked,
    )
    return reconciler.reconcile(which)


def _show(result: Reconciled) -> None:
    if not result.tallies:
        show("Nothing is unknown: there is nothing to ask.")
        return
    rows = [
        (
            group.incident,
            NAMES[group.channel],
            group.provider or "-",
            *(str(count or "-") for count in _counts(tally).values()),
        )
        for group, tally in result.tallies.items()
    ]
    show(table(("ID", "BY", "PROVIDER", "ASKED", "ACCEPTED", "REJECTED", "UNKNOWN"), rows))
    for group, tally in result.tallies.items():
        for why, count in tally.unknown.items():
            cause = _cause(result, group) if _is_unasked(result, group, why) else ""
            show_prose(f"  {group.incident}, {count:,} unknown by {NAMES[group.channel]}: {why}{cause}")
        if tally.meanwhile:
            show(f"  {group.incident}, {tally.meanwhile:,} by {NAMES[group.channel]} sent again meanwhile")


def _is_unasked(result: Reconciled, group: UnknownGroup, why: str) -> bool:
    """Return whether these are unknown because their provider could not be asked this time."""
    from commcast.operations.reconcile import NOT_ASKED

    return why == NOT_ASKED and group.provider in result.troubles


def _cause(result: Reconciled, group: UnknownGroup) -> str:
    return ": " + "; ".join(str(result.troubles[group.provider]).splitlines())


def _counts(tally: ReconcileTally) -> dict[str, int]:
    return {
        "asked": tally.asked,
        "accepted": tally.accepted,
        "rejected": tally.rejected,
        "unknown": tally.unknown.total(),
    }


def _document(result: Reconciled) -> dict[str, Any]:
    return {
        "asked": [_row(group, tally) for group, tally in result.tallies.items()],
        "troubles": {provider: str(error) for provider, error in result.troubles.items()},
        "unknown": result.unknown,
        "exit_code": int(result.exit_code),
    }


def _row(group: UnknownGroup, tally: ReconcileTally) -> dict[str, Any]:
    return {**group._asdict(), **_counts(tally), "meanwhile": tally.meanwhile, "why": dict(tally.unknown)}


def _tell_what_follows(result: Reconciled) -> None:
    from commcast.operations.reconcile import NOT_LISTED

    unasked: dict[str, bool] = {}
    lags: set[str] = set()
    for group, tally in result.tallies.items():
        for why in tally.unknown:
            is_unasked = _is_unasked(result, group, why)
            unasked[group.incident] = unasked.get(group.incident, False) or is_unasked
            if NOT_LISTED in why:
                lags.add(group.incident)
    for incident, is_unasked in unasked.items():
        if is_unasked:
            # Sent again, or settled, would be what an answer may yet prove.
            say(f"{incident}: mend or wait, then: commcast reconcile {incident}")
            continue
        if incident in lags:
            say(f"{incident}: in a few minutes, for a provider's list lags: commcast reconcile {incident}")
        say(
            f"{incident}: what is unknown may have arrived; nothing sends it again by itself. Who it is: "
            f"commcast log {incident}\n"
            f"  commcast resend {incident} --unknown                to send it again, whoever gets it twice\n"
            f"  commcast settle {incident} --unknown --as accepted  to say that they have it (or rejected)"
        )


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
        show_json(
            "receipts", {"providers": [_receipts_document(each) for each in found], "exit_code": int(code)}
        )
    else:
        _show_receipts(found, length)
    raise typer.Exit(code)


def _ask(folder: Path | None, length: timedelta) -> list[Received]:
    from commcast.operations.reconcile import Receiver
    from commcast.providers.registry import records_for

    with desk_to_work(folder) as (desk, ledger):
        receiver = Receiver(ledger, lambda provider: records_for(desk.config, provider, clock), clock)
        return receiver.receive(clock() - length)


def _length(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _show_receipts(found: list[Received], length: timedelta) -> None:
    watched = sys.stdout.isatty()
    if not found:
        if watched:
            show(f"Nothing to ask: no provider owes a receipt of the last {short_duration(length)}.")
    elif watched or any(each.is_news for each in found):
        head = ("PROVIDER", "ASKED", "DELIVERED", "BOUNCED", "FAILED", "SUPPRESSED")
        show(table(head, [_receipts_row(each) for each in found]))
    for each in found:
        if each.trouble is not None:
            say(f"{each.provider}: {each.trouble}")


def _receipts_row(each: Received) -> tuple[str, ...]:
    counts = [each.joined.counts[kind] for kind in ("delivered", "bounced", "failed")]
    return (each.provider, *(f"{count:,}" for count in (each.asked, *counts, each.joined.suppressed)))


def _receipts_document(each: Received) -> dict[str, Any]:
    return {
        "provider": each.provider,
        "channel": each.channel,
        "asked": each.asked,
        **{kind: each.joined.counts[kind] for kind in ("delivered", "bounced", "failed")},
        "suppressed": each.joined.suppressed,
        "foreign": each.joined.foreign,
        "trouble": str(each.trouble) if each.trouble else None,
    }
