"""The commands recipients check, suppress, unsuppress, erase, suppressed and import."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from commcast.cli import prompt
from commcast.cli.log import known_ledger, shown_address
from commcast.cli.options import FolderOption, JsonOption, NoQuestionOption, clock
from commcast.cli.output import picked, say, show, show_json, show_prose, table
from commcast.cli.present import NAMES
from commcast.cli.session import desk_to_read, desk_to_work, who
from commcast.errors import DecisionNeeded, ExitCode, Fault, InputError, gravest
from commcast.model.incident import Channel, Recipient

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
    """SendGrid's lists. Unsubscribes come first: the reader's own reason is the one that is kept."""

    UNSUBSCRIBES = "unsubscribes"
    BOUNCES = "bounces"
    BLOCKS = "blocks"


_TITLE = "SendGrid"
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
    """What reading one list gave. `again` counts addresses that are also in an earlier row or list."""

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
    audience: Annotated[str | None, typer.Argument(metavar="[AUDIENCE]", help="Only this list.")] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Read the lists and show how many can be reached, and which rows are left out and why.

    Example: commcast recipients check customers
    """
    from commcast.recipients.lists import known_audience

    with desk_to_read(folder, clock()) as (desk, ledger):
        if audience is not None:
            known_audience(audience, desk.config)
        is_suppressed = _suppressions(ledger)
        names = list(desk.config.audiences) if audience is None else [audience]
        seen: set[tuple[str, str]] = set()
        checks = [_check(name, desk.config, is_suppressed, seen) for name in names]
    if as_json:
        show_json("recipients", {"audiences": [_document(each) for each in checks]})
    else:
        _show_checks(checks)
    broken = [each for each in checks if not each.rows and each.faults]
    raise typer.Exit(ExitCode.INPUT if broken else ExitCode.DONE)


@recipients.command()
def suppress(
    address: AddressArgument,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "opted out",
    folder: FolderOption = None,
) -> None:
    """Send an address no further messages; pending ones are skipped.

    Example: commcast recipients suppress kim@bakery.example --reason "asked by phone"
    """
    from commcast.ledger.suppressions import suppress
    from commcast.recipients.addresses import mask

    with desk_to_work(folder) as (desk, ledger):
        channel, key = channel_and_key(address, desk.config)
        with ledger.write() as connection:
            suppress(connection, channel, key, reason=reason, by=who(), now=clock())
    show(f"{mask(key)} gets no further messages.")


@recipients.command()
def unsuppress(address: AddressArgument, folder: FolderOption = None) -> None:
    """Send to an address again.

    Providers keep their own lists: if the entry came from SendGrid, remove it there as well.

    Example: commcast recipients unsuppress kim@bakery.example
    """
    from commcast.ledger.suppressions import unsuppress
    from commcast.recipients.addresses import mask

    with desk_to_work(folder) as (desk, ledger):
        channel, key = channel_and_key(address, desk.config)
        with ledger.write() as connection:
            is_theirs = _came_from_sendgrid(connection, ledger.secret, channel, key)
            was = unsuppress(connection, ledger.secret, channel, key)
    show(f"{mask(key)} gets messages again." if was else f"{mask(key)} was not suppressed.")
    if is_theirs:
        show_prose("Also remove it from SendGrid's own list (Suppressions), or SendGrid drops the emails.")


@recipients.command()
def erase(address: AddressArgument, yes: NoQuestionOption = False, folder: FolderOption = None) -> None:
    """Erase an address: the ledger keeps only a keyed hash, so that an old list cannot bring it back.

    The phone number that was texted along with an email address is erased with it. The lists in audiences/
    are yours: remove the row there. Message files in the outbox stay as well.

    Example: commcast recipients erase kim@bakery.example
    """
    from commcast.ledger import suppressions
    from commcast.recipients.addresses import mask

    with desk_to_work(folder) as (desk, ledger):
        channel, key = channel_and_key(address, desk.config)
        if not yes and not (prompt.at_terminal() and prompt.says_yes(f"Erase {mask(key)} permanently?")):
            raise DecisionNeeded("Nothing was changed: confirm at a terminal, or pass --yes.")
        with ledger.write() as connection:
            is_mail, secret = channel is Channel.EMAIL, ledger.secret
            phones = suppressions.phones_beside(connection, [key, address]) if is_mail else ()
            keys = [(channel, key), *((Channel.SMS, phone) for phone in phones)]
            erase_one = partial(suppressions.erase, connection, secret, by=who(), now=clock())
            count = sum(erase_one(*each) for each in keys)
        lists = [name for name in desk.config.audiences if _is_listed(name, desk.config, channel, key)]
    beside = f", {mask(phones[0])} of the same person" if phones else ""
    show_prose(f"{mask(key)}{beside} is erased from {count} deliveries and gets no further messages.")
    if lists:
        say(f"It is still in the lists of: {', '.join(lists)}. Remove the row there.")


@recipients.command()
def suppressed(
    addresses: Annotated[bool, typer.Option("--addresses", help="Show each address in full.")] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """List who gets no further messages, and why.

    Example: commcast recipients suppressed
    """
    from commcast.ledger.suppressions import list_suppressions

    with desk_to_read(folder, clock()) as (_desk, ledger), known_ledger(ledger).read() as connection:
        found = list_suppressions(connection)
    documents = [
        {
            "address": shown_address("" if each.reason == "erased" else each.key, addresses),
            **picked(each, "channel", "reason", "by"),
            "at": f"{each.at:%Y-%m-%d}",
        }
        for each in found
    ]
    if as_json:
        show_json("suppressed", {"suppressed": documents})
    else:
        rows = [[*{**each, "channel": NAMES[each["channel"]]}.values()] for each in documents]
        head = ("ADDRESS", "CHANNEL", "REASON", "BY", "SINCE")
        show(table(head, rows) if rows else "Nobody is suppressed.")


@recipients.command("import")
def import_lists(
    source: Annotated[Source, typer.Option("--from", help="Whose lists to read.")],
    lists: Annotated[
        list[Name] | None,
        typer.Option(
            "--list", metavar="LIST", help="Only this list: unsubscribes, bounces or blocks; repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Read the lists and count; write nothing.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Import SendGrid's suppression lists: its unsubscribes and its bounces.

    SendGrid accepts email to these addresses and drops it, so they would seem to have been told. Each entry
    keeps SendGrid's reason and date; existing entries stay unchanged. Blocks are only counted unless you pass
    --list blocks: SendGrid still delivers to a blocked address, and silence is worse than a refused email.
    Messages that are pending for a suppressed address are skipped.

    Example: commcast recipients import --from sendgrid --dry-run
    """
    names = [(each, True) for each in Name if each in (lists or ())]
    names = names or [(each, each is not Name.BLOCKS) for each in Name]  # blocks are only counted
    if dry_run:
        with desk_to_read(folder, clock(), shows=False) as (desk, copy):
            # The same work on a copy that is thrown away: the counts are those of a real run.
            found = _read_lists(desk, known_ledger(copy), source, names)
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


def _read_lists(desk: Desk, ledger: Ledger, source: Source, names: list[tuple[Name, bool]]) -> list[Imported]:
    from commcast.operations.suppress import Importer, Lists
    from commcast.providers import registry

    lists = cast(Lists, registry.records_for(desk.config, source, clock))
    return Importer(ledger, _TITLE, who(), clock).bring_in(lists, names)


def _show_imported(found: list[Imported], dry_run: bool) -> None:
    rows = [
        (each.list, *(_count(each, count) for count in (each.read, each.new, each.known, each.unreadable)))
        for each in found
    ]
    show(table(("LIST", "READ", "NEW", "KNOWN", "UNREADABLE"), rows))
    for each in found:
        if each.new and not each.suppresses:
            show(
                f"{each.new:,} new on the list {each.list} not suppressed: SendGrid still delivers to them.\n"
                f"To suppress them as well: --list {each.list}"
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
        **picked(each, "list", "suppresses", "read", "new", "known", "unreadable"),
        "trouble": str(each.trouble) if each.trouble else None,
    }


def _came_from_sendgrid(connection: Connection, secret: bytes, channel: Channel, key: str) -> bool:
    """Return whether an address is suppressed because it is on SendGrid's own list."""
    from commcast.ledger.suppressions import erased_key, list_suppressions

    keys = {key, erased_key(secret, key)}
    return any(
        each.channel == channel
        and each.key in keys
        and (each.by == Source.SENDGRID or each.reason.startswith(f"imported from {_TITLE}"))
        for each in list_suppressions(connection)
    )


def channel_and_key(address: str, config: Config) -> tuple[Channel, str]:
    """Return the channel of an address and the key that the ledger compares. Raises InputError."""
    from commcast.recipients.addresses import normalise_any

    try:
        is_mail, _, key = normalise_any(address, config.channels.sms.region if config.channels.sms else "")
    except ValueError as error:
        raise InputError(f"{address!r:.60} {error}") from None
    return Channel.EMAIL if is_mail else Channel.SMS, key


def _is_listed(audience: str, config: Config, channel: Channel, key: str) -> bool:
    from commcast.recipients.lists import open_recipients

    try:
        return any(recipient.key(channel) == key for recipient in open_recipients(audience, config))
    except InputError:
        return False


def _suppressions(ledger: Ledger | None) -> Callable[[Channel, str], bool]:
    """Return a test for addresses that are suppressed, as themselves or erased."""
    from commcast.ledger.suppressions import erased_key, list_suppressions

    if ledger is None:
        return lambda _channel, _key: False
    with ledger.read() as connection:
        found = {(each.channel, each.key) for each in list_suppressions(connection)}
    return lambda channel, key: (
        not found.isdisjoint({(channel, key), (channel, erased_key(ledger.secret, key))})
    )


def _check(
    name: str, config: Config, is_suppressed: Callable[[Channel, str], bool], seen: set[tuple[str, str]]
) -> ListCheck:
    from commcast.doctor.lint import reaches_nobody
    from commcast.recipients.lists import counted_rows, open_recipients

    audience = config.audiences[name]
    doubts: dict[tuple[str, str], list[int]] = {}
    result = ListCheck(name)
    try:
        reading = open_recipients(name, config)
        for recipient in reading:
            for doubt in _doubts(recipient, config):
                doubts.setdefault(doubt, []).append(recipient.line)
            for channel in audience.channels:
                if key := recipient.key(channel):
                    result.by_channel[channel] += 1
                    result.again += (channel, key) in seen
                    seen.add((channel, key))
                    result.suppressed += is_suppressed(channel, key)
    except InputError as error:
        result.faults.extend(error.faults)
        return result
    result.rows, result.left_out = reading.rows, reading.skipped
    result.faults.extend(reading.faults)
    result.warnings.extend(reading.warnings)
    for (what, remedy), lines in doubts.items():
        what = f"{what}: {counted_rows(len(lines))}"
        result.warnings.append(Fault(audience.recipients, lines[0], 0, what, remedy))
    if result.rows > result.left_out and not result.by_channel:
        result.warnings.append(reaches_nobody(config, name))
    return result


def _doubts(recipient: Recipient, config: Config) -> Iterator[tuple[str, str]]:
    """Yield what may keep a message from a reader, and what to do, as far as it is known without asking."""
    from commcast.recipients.addresses import is_digit_off

    email, sms = config.channels.email, config.channels.sms
    if recipient.phone and is_digit_off(recipient.phone):
        yield "phone may lack a digit or have one too many", "check its source"
    if email and email.provider == "sendgrid" and not recipient.email.isascii():
        yield "SendGrid accepts only ASCII before the @", "use another address"
    is_name = sms and sms.provider == "twilio" and re.fullmatch(r"(?!\+?\d+$).{1,11}", sms.sender)
    if is_name and recipient.phone.startswith("+1") and not config.providers.twilio.messaging_service:
        yield "Twilio does not text US or Canadian numbers from a name", "set from to a number"


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
        say("AGAIN counts addresses that are also in an earlier row or list: each is told once.")


def _document(each: ListCheck) -> dict[str, object]:
    return {
        **picked(each, "audience", "rows", "left_out", "again", "suppressed"),
        "channels": {channel.value: each.by_channel[channel] for channel in Channel},
        "faults": [str(fault) for fault in each.faults],
        "warnings": [str(fault) for fault in each.warnings],
    }
