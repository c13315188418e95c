"""The commands reconcile and receipts: what providers say became of messages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.log import nothing_sent_for
from commcast.cli.options import FolderOption, JsonOption, clock, duration
from commcast.cli.output import picked, say, show, show_json, show_prose, table
from commcast.cli.present import NAMES, RECEIPTS
from commcast.cli.progress import ProgressBar
from commcast.cli.session import desk_to_work
from commcast.errors import gravest
from commcast.model.times import short_duration

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.ledger.store import Ledger
    from commcast.operations.reconcile import Received, Reconciled, ReconcileTally, UnknownGroup


def reconcile(
    incident: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The incident; default: all with unknown deliveries."),
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Ask providers about deliveries with an unknown outcome. It never sends.

    If the provider has the message it is marked accepted, or rejected if the provider did not send it. All
    others stay unknown, with what was seen. SMTP relays keep no records that can be asked. Safe to repeat.
    Exits with 0 if nothing is left unknown, 1 if something is, 75 if a provider cannot be asked now, 78 if it
    refuses us.

    Example: commcast reconcile pay7
    """
    from commcast.ledger.unknowns import Which
    from commcast.operations.reconcile import Reconciler
    from commcast.providers import registry

    with desk_to_work(folder) as (desk, ledger):
        check_known(ledger, incident)
        with ProgressBar() as progress:
            reconciler = Reconciler(
                ledger=ledger,
                configured=configured_providers(desk.config),
                records_for=lambda provider: registry.records_for(desk.config, provider, clock),
                clock=clock,
                progress=progress.asked,
            )
            result = reconciler.reconcile(Which(incident))
    for provider, error in result.troubles.items():
        say(f"{provider}: {error}")
    if as_json:
        show_json("reconcile", _document(result))
    else:
        _show(result)
    _tell_what_follows(result)
    raise typer.Exit(result.exit_code)


def check_known(ledger: Ledger, incident: str | None) -> None:
    """Raise InputError for an incident of which nothing was ever sent."""
    from commcast.ledger.broadcasts import broadcasts_of

    with ledger.read() as connection:
        if incident is not None and not broadcasts_of(connection, incident):
            raise nothing_sent_for(incident)


def configured_providers(config: Config) -> Mapping[str, str]:
    """Return the provider of each channel in use."""
    channels = {"email": config.channels.email, "sms": config.channels.sms}
    return {channel: used.provider for channel, used in channels.items() if used is not None}


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
    return {**picked(tally, "asked", "accepted", "rejected"), "unknown": tally.unknown.total()}


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
            # Do not offer to resend or settle what an answer may still prove.
            say(f"{incident}: fix this or wait, then: commcast reconcile {incident}")
            continue
        if incident in lags:
            say(f"{incident}: providers' lists lag; in a few minutes: commcast reconcile {incident}")
        say(
            f"{incident}: what is unknown may have arrived; nothing is resent automatically. The list: "
            f"commcast log {incident}\n"
            f"  commcast resend {incident} --unknown                to send it again; some get it twice\n"
            f"  commcast settle {incident} --unknown --as accepted  to record that it arrived (or rejected)"
        )


def receipts(
    since: Annotated[
        str, typer.Option(metavar="LENGTH", help="Ask about what was handed over within this period.")
    ] = "3d",
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Ask providers whether accepted messages were delivered, bounced or failed.

    SendGrid reports bounces and drops (and deliveries, if the account keeps Email Activity), Twilio reports
    every text. Addresses that bounced get no further messages; that includes a full mailbox if SendGrid
    counts it as a bounce, because it drops all later messages. commcast recipients suppressed lists them.
    Temporary blocks suppress nobody. Running it twice, or late, is safe; nothing is sent. Without a terminal,
    as under cron, it prints only news. commcast status shows the sums.

    Example: commcast receipts --since 1d
    """
    from commcast.operations.reconcile import Receiver
    from commcast.providers import registry

    length = duration(since, "--since")
    with desk_to_work(folder) as (desk, ledger):
        receiver = Receiver(ledger, lambda name: registry.records_for(desk.config, name, clock), clock)
        found = receiver.receive(clock() - length)
    code = gravest(each.exit_code for each in found)
    if as_json:
        providers = [_receipts_document(each) for each in found]
        show_json("receipts", {"providers": providers, "exit_code": int(code)})
    else:
        _show_receipts(found, length)
    raise typer.Exit(code)


def _show_receipts(found: list[Received], length: timedelta) -> None:
    watched = sys.stdout.isatty()
    if not found:
        if watched:
            show(f"Nothing to ask: no receipt from the last {short_duration(length)} is missing.")
    elif watched or any(each.is_news for each in found):
        head = ("PROVIDER", "ASKED", "DELIVERED", "BOUNCED", "FAILED", "SUPPRESSED")
        show(table(head, [_receipts_row(each) for each in found]))
    for each in found:
        if each.trouble is not None:
            say(f"{each.provider}: {each.trouble}")


def _receipts_row(each: Received) -> tuple[str, ...]:
    counts = [each.joined.counts[kind] for kind in RECEIPTS]
    return (each.provider, *(f"{count:,}" for count in (each.asked, *counts, each.joined.suppressed)))


def _receipts_document(each: Received) -> dict[str, Any]:
    return {
        **picked(each, "provider", "channel", "asked"),
        **{kind: each.joined.counts[kind] for kind in RECEIPTS},
        **picked(each.joined, "suppressed", "foreign"),
        "trouble": str(each.trouble) if each.trouble else None,
    }
