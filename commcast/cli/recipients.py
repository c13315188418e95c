"""The commands recipients check, suppress, unsuppress, erase, suppressed and import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from commcast.cli import prompt
from commcast.cli.options import FolderOption, JsonOption, NoQuestionOption, clock
from commcast.cli.output import say, show, show_json, show_prose, table
from commcast.cli.present import NAMES
from commcast.cli.session import desk_to_read, desk_to_work, who
from commcast.doctor.lint import reaches_nobody
from commcast.errors import DecisionNeeded, ExitCode, Fault, InputError, LedgerError, gravest
from commcast.ledger import suppressions
from commcast.model.incident import Channel
from commcast.operations.suppress import Importer, Lists
from commcast.providers import registry
from commcast.recipients.addresses import mask, normalise_any
from commcast.recipients.lists import known_audience, open_recipients

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from commcast.config.settings import Config
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk
    from commcast.operations.suppress import Imported


class Source(StrEnum):
    """The providers that keep such lists."""

    SENDGRID = "sendgrid"


class Name(StrEnum):
    """The lists, as SendGrid calls them. Unsubscribes come first: a reader's own reason is the one kept."""

    UNSUBSCRIBES = "unsubscribes"
    BOUNCES = "bounces"
    BLOCKS = "blocks"


TITLES = {Source.SENDGRID: "SendGrid"}
AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="An email address, or a phone number such as +4930123456.")
]

recipients = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Check the lists; suppress or erase an address.",
    epilog="Example: commcast recipients check customers",
)


@dataclass
class ListCheck:
    """What reading one list gave. `again` counts addresses that stand in an earlier row or list too."""

    audience: str
    rows: int = 0
    left_out: int = 0
    by_channel: Counter[str] = field(default_factory=Counter)
    again: int = 0
    suppressed: int = 0
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)


@recipients.command()
def check(
    audience: Annotated[
        str | None, typer.Argument(metavar="[AUDIENCE]", help="Only this list.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Read the lists and show how many can be reached, and which rows are left out and why.

    Example: commcast recipients check customers
    """
    with desk_to_read(folder, clock()) as (desk, ledger):
        if audience is not None:
            known_audience(audience, desk.config)
        suppressed = _suppressed(ledger)
        secret = ledger.secret if ledger else b""
        names = list(desk.config.audiences) if audience is None else [audience]
        seen: set[tuple[str, str]] = set()
        checks = [_check(name, desk.config, suppressed, secret, seen) for name in names]
    if as_json:
        show_json("recipients", {"audiences": [_document(each) for each in checks]})
    else:
        _show_checks(checks)
    broken = [each for each in checks if not each.rows and each.faults]
    raise typer.Exit(ExitCode.INPUT if broken else ExitCode.DONE)


@recipients.command()
def suppress(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(help="Why, for those who ask later.")] = "opted out",
    folder: FolderOption = None,
) -> None:
    """Send an address no further messages; what waits for it is skipped.

    Example: commcast recipients suppress kim@bakery.example --reason "asked by phone"
    """
    with desk_to_work(folder) as (desk, ledger):
        channel, key = channel_and_key(address, desk.config)
        with ledger.write() as connection:
            suppressions.suppress(connection, channel, key, reason=reason, by=who(), now=clock())
    show(f"{mask(key)} hears nothing more.")


@recipients.command()
def unsuppress(address: AddressArgument, folder: FolderOption = None) -> None:
    """Send to an address again.

    A provider keeps its own list: if the entry came from SendGrid, remove it there, too.

    Example: commcast recipients unsuppress kim@bakery.example
    """
    with desk_to_work(folder) as (desk, ledger):
        channel, key = channel_and_key(address, desk.config)
        with ledger.write() as connection:
            is_theirs = _came_from_sendgrid(connection, ledger.secret, channel, key)
            was = suppressions.unsuppress(connection, ledger.secret, channel, key)
    show(f"{mask(key)} hears again." if was else f"{mask(key)} was not suppressed.")
    if is_theirs:
        show_prose(
            "Also take it off SendGrid's own list (Suppressions), else SendGrid takes the mail and drops it."
        )


@recipients.command()
def erase(address: AddressArgument, yes: NoQuestionOption = False, folder: FolderOption = None) -> None:
    """Erase an address: the ledger keeps only a keyed hash, so that an old list cannot bring it back.

    The phone number that was texted beside a mail address is forgotten with it. The lists in audiences/ are
    yours: remove the row there. Message files in the outbox stay as well.

    Example: commcast recipients erase kim@bakery.example
    """
    with desk_to_work(folder) as (desk, ledger):
        channel, key = channel_and_key(address, desk.config)
        if not yes and not (prompt.at_terminal() and prompt.says_yes(f"Forget {mask(key)} for good?")):
            raise DecisionNeeded("Nothing was changed: this needs a yes, at a terminal or with --yes.")
        with ledger.write() as connection:
            is_mail, secret = channel is Channel.EMAIL, ledger.secret
            phones = suppressions.phones_beside(connection, [key, address]) if is_mail else ()
            keys = [(channel, key), *((Channel.SMS, phone) for phone in phones)]
            erase_one = partial(suppressions.erase, connection, secret, by=who(), now=clock())
            count = sum(erase_one(*each) for each in keys)
        lists = [name for name in desk.config.audiences if _is_listed(name, desk.config, channel, key)]
    beside = f", {mask(phones[0])} of the same person" if phones else ""
    show_prose(f"{mask(key)}{beside} is forgotten in {count} deliveries and hears nothing more.")
    if lists:
        say(f"It still stands in the lists of: {', '.join(lists)}. Take the row out there.")


@recipients.command()
def suppressed(
    addresses: Annotated[bool, typer.Option("--addresses", help="Show each address in full.")] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """List who gets no further messages, and why.

    Example: commcast recipients suppressed
    """
    with desk_to_read(folder, clock()) as (_desk, ledger), _existing(ledger).read() as connection:
        found = suppressions.list_suppressions(connection)
    rows = [
        (
            "(erased)" if each.reason == "erased" else each.key if addresses else mask(each.key),
            each.channel,
            each.reason,
            each.by,
            f"{each.at:%Y-%m-%d}",
        )
        for each in found
    ]
    if as_json:
        names = ("address", "channel", "reason", "by", "at")
        show_json("suppressed", {"suppressed": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        shown = [(address, NAMES[channel], *rest) for address, channel, *rest in rows]
        head = ("ADDRESS", "CHANNEL", "REASON", "BY", "SINCE")
        show(table(head, shown) if rows else "Nobody is suppressed.")


@recipients.command("import")
def import_lists(
    source: Annotated[Source, typer.Option("--from", help="Whose lists to read.")],
    lists: Annotated[
        list[Name] | None,
        typer.Option(
            "--list",
            metavar="LIST",
            help="Only this list: unsubscribes, bounces or blocks; repeatable.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Read the lists and count; write nothing.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Import SendGrid's suppression lists: its unsubscribes and its bounces.

    SendGrid accepts mail to these addresses and drops it, as if they had been told. Each entry keeps
    SendGrid's reason and date; an existing entry stays as it is. Blocks are only counted unless you pass
    --list blocks: SendGrid still delivers to a blocked address, and silence is worse than a refused mail.
    What waits for a suppressed address is skipped.

    Example: commcast recipients import --from sendgrid --dry-run
    """
    names = [(each, True) for each in Name if each in (lists or ())]
    names = names or [(each, each is not Name.BLOCKS) for each in Name]  # blocks are only counted
    if dry_run:
        with desk_to_read(folder, clock()) as (desk, copy):
            # The very same work over a copy that is thrown away: the counts are those of a real run.
            found = _read_lists(desk, _existing(copy), source, names)
    else:
        with desk_to_work(folder) as (desk, ledger):
            found = _read_lists(desk, ledger, source, names)
    code = gravest(each.exit_code for each in found)
    if as_json:
        document = {"from": source, "dry_run": dry_run, "lists": [_import_document(each) for each in found]}
        show_json("import", {**document, "exit_code": int(code)})
    else:
        _show_imported(found, dry_run)
    raise typer.Exit(code)


def _existing(ledger: Ledger | None) -> Ledger:
    if ledger is None:
        raise LedgerError("there is no ledger in this folder; see: commcast doctor")
    return ledger


def _read_lists(desk: Desk, ledger: Ledger, source: Source, names: list[tuple[Name, bool]]) -> list[Imported]:
    lists = cast(Lists, registry.records_for(desk.config, source, clock))
    return Importer(ledger, TITLES[source], who(), clock).bring_in(lists, names)


def _show_imported(found: list[Imported], dry_run: bool) -> None:
    rows = [
        (each.list, *(_count(each, count) for count in (each.read, each.new, each.known, each.unreadable)))
        for each in found
    ]
    show(table(("LIST", "READ", "NEW", "KNOWN", "UNREADABLE"), rows))
    for each in found:
        if each.new and not each.suppresses:
            show(
                f"{each.new:,} new on the list {each.list}: they hear on, for SendGrid goes on delivering to "
                f"them.\nTo suppress them, too: --list {each.list}"
            )
        if each.trouble is not None:
            say(f"{each.list}: {each.trouble}")
    if dry_run:
        show("Nothing was written.")


def _count(each: Imported, count: int) -> str:
    """Return a count, "-" for a list that could not be read at all."""
    return "-" if each.trouble is not None and not each.read else f"{count:,}"


def _import_document(each: Imported) -> dict[str, Any]:
    return {
        "list": each.list,
        "suppresses": each.suppresses,
        "read": each.read,
        "new": each.new,
        "known": each.known,
        "unreadable": each.unreadable,
        "trouble": str(each.trouble) if each.trouble else None,
    }


def _came_from_sendgrid(connection: Connection, secret: bytes, channel: Channel, key: str) -> bool:
    """Return whether an address is suppressed because SendGrid, which keeps its own list, said so."""
    keys = {key, suppressions.erased_key(secret, key)}
    return any(
        each.channel == channel
        and each.key in keys
        and (each.by == Source.SENDGRID or each.reason.startswith(f"imported from {TITLES[Source.SENDGRID]}"))
        for each in suppressions.list_suppressions(connection)
    )


def channel_and_key(address: str, config: Config) -> tuple[Channel, str]:
    """Return the channel of an address and how the ledger compares it. Raises InputError."""
    try:
        is_mail, _, key = normalise_any(address, config.channels.sms.region if config.channels.sms else "")
    except ValueError as error:
        raise InputError(f"{address!r:.60} {error}") from None
    return Channel.EMAIL if is_mail else Channel.SMS, key


def _is_listed(audience: str, config: Config, channel: Channel, key: str) -> bool:
    try:
        return any(recipient.key(channel) == key for recipient in open_recipients(audience, config))
    except InputError:
        return False


def _suppressed(ledger: Ledger | None) -> Mapping[tuple[str, str], str]:
    if ledger is None:
        return {}
    with ledger.read() as connection:
        return {(each.channel, each.key): each.reason for each in suppressions.list_suppressions(connection)}


def _check(
    name: str,
    config: Config,
    suppressed: Mapping[tuple[str, str], str],
    secret: bytes,
    seen: set[tuple[str, str]],
) -> ListCheck:
    result = ListCheck(name)
    try:
        reading = open_recipients(name, config)
        for recipient in reading:
            for channel in config.audiences[name].channels:
                if key := recipient.key(channel):
                    result.by_channel[channel] += 1
                    result.again += (channel, key) in seen
                    seen.add((channel, key))
                    hidden = [(channel, key), (channel, suppressions.erased_key(secret, key))]
                    result.suppressed += any(each in suppressed for each in hidden)
    except InputError as error:
        result.faults.extend(error.faults)
        return result
    result.rows, result.left_out = reading.rows, reading.skipped
    result.faults.extend(reading.faults)
    if result.rows > result.left_out and not result.by_channel:
        result.warnings.append(reaches_nobody(config, name))
    return result


def _show_checks(checks: list[ListCheck]) -> None:
    rows = [
        (
            each.audience,
            *("broken" if not each.rows and each.faults else str(each.rows), str(each.left_out)),
            *(str(each.by_channel[channel]) for channel in Channel),
            str(each.again),
            str(each.suppressed),
        )
        for each in checks
    ]
    show(table(("AUDIENCE", "ROWS", "LEFT OUT", "EMAIL", "SMS", "AGAIN", "SUPPRESSED"), rows))
    for each in checks:
        for fault in each.faults:
            show_prose(str(fault))
        for warning in each.warnings:
            say(f"warning: {warning}")
    if any(each.again for each in checks):
        say("AGAIN counts addresses that an earlier row or list holds too: each hears one story.")


def _document(each: ListCheck) -> dict[str, object]:
    return {
        "audience": each.audience,
        "rows": each.rows,
        "left_out": each.left_out,
        "channels": {channel.value: each.by_channel[channel] for channel in Channel},
        "again": each.again,
        "suppressed": each.suppressed,
        "faults": [str(fault) for fault in each.faults],
        "warnings": [str(fault) for fault in each.warnings],
    }
