"""The command reconcile: ask the providers what became of lost answers. It never sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.opening import desk_to_work
from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import say, show, show_json, show_prose, table
from commcast.cli.present import NAMES
from commcast.cli.progress import Progress
from commcast.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from commcast.config import Config
    from commcast.desk import Desk
    from commcast.ledger.store import Ledger
    from commcast.reconciling import Group, Reconciled, Tally

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
    from commcast.ledger.doubts import Which

    with desk_to_work(folder) as (desk, ledger):
        check_known(ledger, incident)
        with Progress() as progress:
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
    from commcast.ledger.freeze import broadcasts_of

    if incident is None:
        return
    with ledger.read() as connection:
        if not broadcasts_of(connection, incident):
            raise InputError(f"nothing was said of an incident {incident!r:.60}; commcast log lists all")


def configured_providers(config: Config) -> Mapping[str, str]:
    """Return the provider of each channel in use."""
    channels = {"email": config.channels.email, "sms": config.channels.sms}
    return {channel: used.provider for channel, used in channels.items() if used is not None}


def _reconciled(desk: Desk, ledger: Ledger, which: Any, progress: Progress) -> Reconciled:
    from commcast import wiring
    from commcast.reconciling import Reconciler

    reconciler = Reconciler(
        ledger=ledger,
        configured=configured_providers(desk.config),
        records_for=lambda provider: wiring.records_for(desk.config, provider, clock),
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


def _is_unasked(result: Reconciled, group: Group, why: str) -> bool:
    """Return whether these are unknown because their provider could not be asked this time."""
    from commcast.reconciling import NOT_ASKED

    return why == NOT_ASKED and group.provider in result.troubles


def _cause(result: Reconciled, group: Group) -> str:
    return ": " + "; ".join(str(result.troubles[group.provider]).splitlines())


def _counts(tally: Tally) -> dict[str, int]:
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


def _row(group: Group, tally: Tally) -> dict[str, Any]:
    return {**group._asdict(), **_counts(tally), "meanwhile": tally.meanwhile, "why": dict(tally.unknown)}


def _tell_what_follows(result: Reconciled) -> None:
    from commcast.reconciling import NOT_LISTED

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
