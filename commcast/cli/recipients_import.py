"""The command recipients import: a provider's own lists into the list of those who hear nothing more."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from commcast.cli.opening import desk_to_read, desk_to_work, who
from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import say, show, show_json, table
from commcast.errors import LedgerError, gravest

if TYPE_CHECKING:
    from commcast.desk import Desk
    from commcast.importing import Imported
    from commcast.ledger.store import Ledger


class Source(StrEnum):
    """The providers that keep such lists."""

    SENDGRID = "sendgrid"


class Name(StrEnum):
    """The lists, as SendGrid calls them. A reader's own no comes first: its reason is then kept."""

    UNSUBSCRIBES = "unsubscribes"
    BOUNCES = "bounces"
    BLOCKS = "blocks"


TITLES = {Source.SENDGRID: "SendGrid"}
# Read and counted by default, too; suppressed only when it is named.
ONLY_COUNTED = Name.BLOCKS
ListOption = Annotated[
    list[Name] | None,
    typer.Option(
        "--list",
        metavar="LIST",
        help="Only this one: unsubscribes, bounces or blocks; may be given again.",
        show_default=False,
    ),
]


def import_lists(
    source: Annotated[Source, typer.Option("--from", help="Whose lists to read.")],
    lists: ListOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Read the lists and count; write nothing.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Let those hear nothing more whom SendGrid serves no more: its unsubscribes and its bounces.

    SendGrid accepts mail to them and drops it, which looks as if they had been told. Each entry keeps
    SendGrid's reason and date; one that is here already stays as it is. Blocks are counted and, unless you
    name them with --list blocks, left alone: SendGrid goes on delivering to a blocked address, and silence
    is worse than a mail that is refused. What waits for a suppressed address is skipped.

    Example: commcast recipients import --from sendgrid --dry-run
    """
    names = [(each, True) for each in Name if each in lists] if lists else _default_lists()
    found = _bring_in(folder, source, names, dry_run)
    code = gravest(each.exit_code for each in found)
    if as_json:
        document = {"from": source, "dry_run": dry_run, "lists": [_document(each) for each in found]}
        show_json("import", {**document, "exit_code": int(code)})
    else:
        _show(found, dry_run)
    raise typer.Exit(code)


def _default_lists() -> list[tuple[Name, bool]]:
    return [(each, each is not ONLY_COUNTED) for each in Name]


def _bring_in(
    folder: Path | None, source: Source, names: list[tuple[Name, bool]], dry_run: bool
) -> list[Imported]:
    if not dry_run:
        with desk_to_work(folder) as (desk, ledger):
            return _read_lists(desk, ledger, source, names)
    with desk_to_read(folder, clock()) as (desk, copy):
        if copy is None:
            raise LedgerError("there is no ledger in this folder; see: commcast doctor")
        # The very same work over a copy that is thrown away: the counts are those of a real run.
        return _read_lists(desk, copy, source, names)


def _read_lists(desk: Desk, ledger: Ledger, source: Source, names: list[tuple[Name, bool]]) -> list[Imported]:
    from commcast.importing import Importer, Lists
    from commcast.wiring import records_for

    lists = cast(Lists, records_for(desk.config, source, clock))
    return Importer(ledger, TITLES[source], who(), clock).bring_in(lists, names)


def _show(found: list[Imported], dry_run: bool) -> None:
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
    """Return a count; nothing is known of a list that could not be read at all."""
    return "-" if each.trouble is not None and not each.read else f"{count:,}"


def _document(each: Imported) -> dict[str, Any]:
    return {
        "list": each.list,
        "suppresses": each.suppresses,
        "read": each.read,
        "new": each.new,
        "known": each.known,
        "unreadable": each.unreadable,
        "trouble": str(each.trouble) if each.trouble else None,
    }
