"""The commands preview and test: show every message, or send them all to yourself."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import present, question
from commcast.cli.options import FolderOption, IncidentArgument, JsonOption, NowOption, moment_or_now
from commcast.cli.output import say, show, show_json
from commcast.cli.session import desk_to_read, find_incident, is_open, needs_sending, tell_unusable
from commcast.errors import ExitCode, Fault, InputError, gravest

if TYPE_CHECKING:
    from commcast.delivery.rows import PendingRow, PendingRows
    from commcast.delivery.tally import Tally
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Channel
    from commcast.model.message import CalendarFile, Delivery, Outcome
    from commcast.operations.desk import Desk, Plan
    from commcast.plan.notices import Notice


AudienceOption = Annotated[
    str | None, typer.Option("--audience", help="Only the messages of this audience.", show_default=False)
]


def preview(
    incident: IncidentArgument = None,
    audience: AudienceOption = None,
    html: Annotated[bool, typer.Option("--html", help="Show the HTML part as well.")] = False,
    eml: Annotated[
        Path | None,
        typer.Option("--eml", help="Write an email of each audience into this folder.", show_default=False),
    ] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Show exactly what send would hand over, to whom and why; changes nothing, sends nothing.

    Example: commcast preview pay7 --audience customers
    """
    moment = moment_or_now(now).replace(microsecond=0)
    with looking_at(folder, moment, incident) as (desk, plan, ledger):
        tally = only(plan.tally(), audience)
        if eml is not None:
            _write_samples(desk, plan, tally, eml, ledger)
        if as_json:
            show_json("preview", present.tally_document(plan, tally))
            tell_unusable(desk, plan)
            return
        for line in [
            *present.messages(tally, html=html, width=_width()),
            *question.summary(desk, plan, tally, ledger),
            *present.destinations(desk.config, tally),
        ]:
            show(line)
        tell_unusable(desk, plan)


def test(
    incident: IncidentArgument = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Your email address, your phone (+49…); repeat it.", show_default=False),
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Send every audience's newest message to yourself, marked as a test.

    Nothing is released, and the ledger knows nothing of it.

    Example: commcast test pay7 --to me@example.com --to +4915550100001
    """
    from commcast.cli.options import clock

    with looking_at(folder, clock().replace(microsecond=0), incident, all_words=True) as (desk, plan, ledger):
        addresses = own_addresses(to or [], desk)
        outcomes = _send_tests(desk, plan, addresses, ledger)
    raise typer.Exit(outcomes)


@contextmanager
def looking_at(
    folder: Path | None, now: datetime, wanted: str | None, *, all_words: bool = False
) -> Iterator[tuple[Desk, Plan, Ledger | None]]:
    """Yield what would be owed of an incident; no byte of the folder changes.

    `all_words`: its newest update to all its readers, whatever was sent before.
    """
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import make_plan, with_releases

    with desk_to_read(folder, now) as (desk, ledger):
        if ledger is None:
            say("Note: there is no ledger here, so this is what goes out if nobody was told before.")
        desk = with_releases(desk, ledger)
        loaded = load_incidents(desk.config, now, released_at=desk.released_at)
        found = find_incident(loaded, wanted, needs_sending(desk, ledger), "incidents have something to send")
        found = found or find_incident(loaded, None, is_open, "incidents are open")
        if found is None:
            raise InputError("nothing to look at: no incident is open; name one, or: commcast declare")
        if all_words:
            yield desk, make_plan(desk, found, None, as_if_released=True, late=True), ledger
            return
        present = [each.id for each in loaded.incidents]
        plan = make_plan(desk, found, ledger, present=present, as_if_released=True)
        yield desk, _with_held(plan, ledger), ledger


def _with_held(plan: Plan, ledger: Ledger | None) -> Plan:
    """Return what is owed, where it says how much of what is frozen quiet hours hold."""
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import State
    from commcast.model.incident import Channel
    from commcast.plan.due import with_held

    if ledger is None:
        return plan
    held: Counter[tuple[str, Channel]] = Counter()
    going: Counter[tuple[str, Channel]] = Counter()
    with ledger.read() as connection:
        for each in tallies(connection, plan.incident.id):
            notice = (each.notice, Channel(each.channel))
            held[notice] += each.count * (each.state is State.HELD)
            going[notice] += each.count * (each.state is not State.SKIPPED)
    waiting = {notice: (count, going[notice]) for notice, count in (+held).items()}
    return replace(plan, lines=with_held(plan.lines, waiting))


def only(tally: Tally, audience: str | None) -> Tally:
    """Return the part of a survey that one audience gets. Raises InputError where nobody is called so."""
    if audience is None:
        return tally
    known = {name for notice in tally.notices for name in notice.audiences}
    if audience not in known:
        names = ", ".join(sorted(known)) or "none"
        raise InputError(f"audience {audience!r:.60} gets nothing of this; those that do: {names}")
    return replace(
        tally,
        notices=tuple(
            replace(
                notice, audiences={name: part for name, part in notice.audiences.items() if name == audience}
            )
            for notice in tally.notices
            if audience in notice.audiences
        ),
    )


def own_addresses(given: list[str], desk: Desk) -> dict[Channel, str]:
    """Return by channel where a test goes. Raises InputError for what is no address."""
    from commcast.model.incident import Channel
    from commcast.recipients.addresses import normalise_any

    addresses: dict[Channel, str] = {}
    faults = [] if given else [Fault("", 0, 0, "--to is missing", "write --to me@example.com, --to +49…")]
    region = desk.config.channels.sms.region if desk.config.channels.sms else ""
    for text in given:
        try:
            is_mail, address, _ = normalise_any(text, region)
            addresses[Channel.EMAIL if is_mail else Channel.SMS] = address
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            faults.append(Fault("--to", 0, 0, f"{text!r:.60} {what}", remedy))
    if faults:
        raise InputError(faults)
    return addresses


def _send_tests(desk: Desk, plan: Plan, addresses: dict[Channel, str], ledger: Ledger | None) -> ExitCode:
    """Hand over each audience's message to oneself, and say what became of it."""
    from commcast.cli.options import clock
    from commcast.providers.registry import adapter_for

    codes = [ExitCode.DONE]
    for deliveries in plan.deliveries:
        address = addresses.get(deliveries.notice.channel)
        rows = one_an_audience(deliveries)
        if address is None or not rows:
            continue
        batch = [
            _test_message(desk, plan, row, number, address, ledger) for number, row in enumerate(rows, 1)
        ]
        outcomes = asyncio.run(_hand_over(adapter_for(desk.config, deliveries.notice.channel, clock), batch))
        for row, over in zip(rows, batch, strict=True):
            outcome = outcomes.get(over.delivery)
            show(f"{row.audience}, {present.NAMES[deliveries.notice.channel]}: {_in_words(outcome)}")
            codes.append(_code_of(outcome))
        channel = deliveries.notice.channel
        say(f"{present.NAMES[channel]}: {present.destination(desk.config, channel, with_fallback=False)}")
    if len(codes) == 1:
        say("Nothing to test: no audience hears of this update by the channels you gave.")
        return ExitCode.INPUT
    return gravest(codes)


def one_an_audience(deliveries: PendingRows) -> list[PendingRow]:
    """Return one reader's message of each audience, also where quiet hours or an opt-out hold it now."""
    from commcast.model.history import ReaderHistory
    from commcast.plan.readers import SEND

    def all_told(_notice: Notice, keys: Sequence[str]) -> dict[str, ReaderHistory]:
        return dict.fromkeys(keys, ReaderHistory("", True, ""))  # so that an end has its readers

    found: dict[str, PendingRow] = {}
    zone = deliveries.config.organisation.zone
    for row in replace(deliveries, lookup=all_told):
        if row.audience in found or not row.address:
            continue
        own_zone = str(row.values.get("timezone") or zone)
        found[row.audience] = deliveries.written(
            row.key,
            row.address,
            row.audience,
            SEND,
            row.values,
            own_zone,
            str(row.values.get("locale") or ""),
        )
    return list(found.values())


def _in_words(outcome: Outcome | None) -> str:
    from commcast.model.message import OutcomeKind

    if outcome is None:
        return "unknown: no answer came"
    if outcome.kind is OutcomeKind.ACCEPTED:
        return f"accepted, {outcome.provider_id}" if outcome.provider_id else "accepted"
    kind = "not sent" if outcome.kind is OutcomeKind.NOT_TAKEN else outcome.kind.value
    return f"{kind} ({outcome.detail})" if outcome.detail else kind


def _code_of(outcome: Outcome | None) -> ExitCode:
    from commcast.model.message import Blame, OutcomeKind

    if outcome is not None and outcome.kind is OutcomeKind.NOT_TAKEN:
        return ExitCode.REFUSED if outcome.blame is Blame.ACCOUNT else ExitCode.TRY_AGAIN
    is_done = outcome is not None and outcome.kind is OutcomeKind.ACCEPTED
    return ExitCode.DONE if is_done else ExitCode.UNKNOWN_OUTCOME


async def _hand_over(adapter: Any, batch: list[Delivery]) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    async with adapter:
        for start in range(0, len(batch), adapter.batch_size):
            async for outcome in adapter.send(batch[start : start + adapter.batch_size]):
                outcomes[outcome.delivery] = outcome
    return outcomes


def _test_message(
    desk: Desk, plan: Plan, row: PendingRow, number: int, address: str, ledger: Ledger | None
) -> Delivery:
    from secrets import token_hex

    from commcast.model.message import Delivery
    from commcast.rendering.compose import DeliveryKey, build_message, mark_test

    assert row.group is not None and row.content is not None  # noqa: S101 - a sample is a row that is sent
    # A name of its own each time: a mail system drops a second copy of the same Message-ID.
    key = DeliveryKey(
        plan.incident.id, f"test:{token_hex(8)}", row.group.channel, f"{row.audience}:{row.key}"
    )
    message = build_message(
        mark_test(row.content, row.audience),
        row.group.envelope,
        key,
        address=address,
        name="",
        secret=ledger.secret if ledger else token_hex(32).encode(),
        now=desk.now,
        calendar=_test_calendar(row),
    )
    return Delivery(number, message)


def _test_calendar(row: PendingRow) -> CalendarFile | None:
    from commcast.rendering.calendars import as_test

    found = row.group.calendar if row.group else None
    return found._replace(text=as_test(found.text, f"[TEST for {row.audience}]")) if found else None


def _write_samples(desk: Desk, plan: Plan, tally: Tally, folder: Path, ledger: Ledger | None) -> None:
    from commcast.model.message import Email
    from commcast.providers.mime import build
    from commcast.rendering.compose import DeliveryKey, build_message

    for notice in tally.notices:
        for name, part in notice.audiences.items():
            row = part.sample
            if row is None or row.group is None or row.words is None:
                continue
            key = DeliveryKey(plan.incident.id, notice.notice.id, notice.notice.channel, row.key)
            message = build_message(
                row.words,
                row.group.envelope,
                key,
                address=row.address,
                name=str(row.values.get("name") or ""),
                secret=ledger.secret if ledger else b"preview",
                now=desk.now,
                calendar=row.group.calendar,
            )
            if isinstance(message, Email):
                path = folder / re.sub(r"[^a-z0-9.-]", "-", f"{plan.incident.id}-{name}.eml")
                _write_sample(path, build(message))
                say(f"Wrote {path}")


def _write_sample(path: Path, content: bytes) -> None:
    """Write a file whole, for its owner alone; a link that lies under its name is replaced, never followed.

    Raises InputError where the folder takes no file.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)  # 0600, and new
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o600)
                file.write(content)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}"
        raise InputError(Fault("--eml", 0, 0, what, "name a folder of your own")) from None


def _width() -> int | None:
    import sys

    return present.WIDTH if sys.stdout.isatty() else None
