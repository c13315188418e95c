"""The commands preview and test: show every message, or send them all to yourself."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import present, question
from commcast.cli.options import (
    FolderOption,
    IncidentArgument,
    JsonOption,
    NowOption,
    argument,
    clock,
    moment_or_now,
)
from commcast.cli.output import say, show, show_json
from commcast.cli.session import desk_to_read, find_incident, is_open, load, needs_sending, tell_unusable
from commcast.errors import ExitCode, Fault, InputError, gravest
from commcast.files import temporary_file
from commcast.model.history import NOBODY_KNOWS
from commcast.model.incident import Channel, Incident
from commcast.model.message import Blame, Delivery, Email, Outcome, OutcomeKind

if TYPE_CHECKING:
    from commcast.delivery.rows import PendingRow, PendingRows
    from commcast.delivery.tally import Tally
    from commcast.incidents.load import Loaded
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk, Plan


def preview(
    incident: IncidentArgument = None,
    audience: Annotated[
        str | None, typer.Option("--audience", help="Only the messages of this audience.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Show the HTML part as well.")] = False,
    eml: Annotated[
        Path | None, typer.Option("--eml", help="Write one email per audience into this folder.")
    ] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Show exactly what would be sent, to whom and why; changes and sends nothing.

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
        width = present.WIDTH if sys.stdout.isatty() else None
        for line in [
            *present.messages(tally, html=html, width=width),
            *question.summary(desk, plan, tally, ledger),
            *present.destinations(desk.config, tally),
        ]:
            show(line)
        tell_unusable(desk, plan)


def test(
    incident: Annotated[
        str | None, argument("An incident's id, or a preset's name; default: the open one, or this desk.")
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="Your email address or phone number (+49…); repeatable.")
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Send every audience's newest message to yourself, marked as a test.

    Nothing is released or recorded in the ledger. If no incident is open, the messages say that they are a
    test of this desk.

    Example: commcast test payments --to me@example.com --to +4915550100001
    """
    with looking_at(folder, clock().replace(microsecond=0), incident, all_words=True) as (desk, plan, ledger):
        addresses = own_addresses(to or [], desk)
        outcomes = _send_tests(desk, plan, addresses, ledger)
    raise typer.Exit(outcomes)


@contextmanager
def looking_at(
    folder: Path | None, now: datetime, wanted: str | None, *, all_words: bool = False
) -> Iterator[tuple[Desk, Plan, Ledger | None]]:
    """Yield what an incident would send now; no byte of the folder changes.

    `all_words`, to be sent as a test: its newest update to all its readers, even if it was sent before.
    """
    from commcast.operations.desk import make_plan

    with desk_to_read(folder, now, shows=not all_words) as (desk, ledger):
        if ledger is None:
            say("Note: there is no ledger here, so this shows what is sent if nobody was told before.")
        desk, loaded = load(desk, ledger)
        if all_words and (made_up := _made_up(desk, loaded, wanted)):
            yield desk, make_plan(desk, made_up, None, as_if_released=True), ledger
            return
        found = find_incident(loaded, wanted, needs_sending(desk, ledger), "incidents have something to send")
        found = found or find_incident(loaded, None, is_open, "incidents are open")
        if found is None:
            raise InputError("no incident is open; name one, or start one with: commcast declare")
        if all_words:
            yield desk, make_plan(desk, found, None, as_if_released=True, late=True), ledger
            return
        present = [each.id for each in loaded.incidents]
        plan = make_plan(desk, found, ledger, present=present, as_if_released=True)
        yield desk, _with_held(plan, ledger), ledger


def _made_up(desk: Desk, loaded: Loaded, wanted: str | None) -> Incident | None:
    """Return an incident for a test that nobody declared: a preset's, or, if none is open, of this desk."""
    from commcast.cli.declare import first_words
    from commcast.incidents.load import parse_incident
    from commcast.incidents.presets import preset_names
    from commcast.incidents.yaml_lines import lines_of

    if wanted in loaded.ids or wanted not in {None, *preset_names(desk.config)}:
        return None
    if wanted is None and (loaded.broken or any(map(is_open, loaded.incidents))):
        return None
    data: dict[str, Any] = {"title": "A test of our messages", "severity": 1}
    data |= {} if wanted else {"audiences": [*desk.config.audiences]}
    data |= first_words(desk.config, wanted, {})
    words = {
        "issue": "This is a test. Nothing is wrong.",
        "resolution": "We're checking how our messages look.",
    }
    data["updates"][0] = words | {"timeframe": "unknown"} | data["updates"][0]
    text = "\n".join(lines_of({"id": wanted or "test", **data}, 0))
    return parse_incident(text, f"incidents/{wanted or 'test'}.yaml", desk.config, desk.now)


def _with_held(plan: Plan, ledger: Ledger | None) -> Plan:
    """Return the plan with how many frozen deliveries are held by quiet hours."""
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import State
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
    """Return the part of a tally for one audience. Raises InputError if only others get these messages."""
    known = {name for notice in tally.notices for name in notice.audiences}
    if audience is None or not known:
        return tally
    if audience not in known:
        names = ", ".join(sorted(known))
        raise InputError(f"audience {audience!r:.60} gets none of these messages; these do: {names}")
    return replace(
        tally,
        notices=tuple(
            replace(notice, audiences={audience: notice.audiences[audience]})
            for notice in tally.notices
            if audience in notice.audiences
        ),
    )


def own_addresses(given: list[str], desk: Desk) -> dict[Channel, str]:
    """Return the address of a test for each channel. Raises InputError for what is not an address."""
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
    """Send each audience's message to these addresses, and show its outcome."""
    import asyncio

    from commcast.providers.registry import adapter_for

    codes = [ExitCode.DONE]
    for deliveries in plan.deliveries:
        channel = deliveries.notice.channel
        address = addresses.get(channel)
        rows = one_an_audience(deliveries)
        if address is None or not rows:
            continue
        batch = [
            _test_message(desk, plan, row, number, address, ledger) for number, row in enumerate(rows, 1)
        ]
        outcomes = asyncio.run(_hand_over(adapter_for(desk.config, channel, clock), batch))
        for row, over in zip(rows, batch, strict=True):
            words, code = _result_of(outcomes.get(over.delivery))
            show(f"{row.audience}, {present.NAMES[channel]}: {words}")
            codes.append(code)
        say(f"{present.NAMES[channel]}: {present.destination(desk.config, channel, with_fallback=False)}")
    if len(codes) == 1:
        say("Nothing to test: no audience gets this update on the channels you gave.")
        return ExitCode.INPUT
    return gravest(codes)


def one_an_audience(deliveries: PendingRows) -> list[PendingRow]:
    """Return one reader's message of each audience, also where quiet hours or an opt-out hold it now."""
    from commcast.plan.readers import SEND

    found: dict[str, PendingRow] = {}
    for row in replace(deliveries, all_told=True):  # so that an end has its readers
        if row.audience not in found and row.address:
            reader = deliveries.reader(row.key, row.address, row.audience, row.values)
            found[row.audience] = deliveries.written(reader, SEND, NOBODY_KNOWS)
    return list(found.values())


def _result_of(outcome: Outcome | None) -> tuple[str, ExitCode]:
    """Return an outcome in words, and the exit code for it."""

    if outcome is None:
        return "unknown: no answer arrived", ExitCode.UNKNOWN_OUTCOME
    if outcome.kind is OutcomeKind.ACCEPTED:
        return ", ".join(filter(None, ("accepted", outcome.provider_id))), ExitCode.DONE
    kind, code = outcome.kind.value, ExitCode.UNKNOWN_OUTCOME
    if outcome.kind is OutcomeKind.NOT_TAKEN:
        kind = "not sent"
        code = ExitCode.REFUSED if outcome.blame is Blame.ACCOUNT else ExitCode.TRY_AGAIN
    return f"{kind} ({outcome.detail})" if outcome.detail else kind, code


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

    from commcast.rendering.calendars import as_test
    from commcast.rendering.compose import DeliveryKey, build_message, mark_test

    assert row.group is not None and row.content is not None  # noqa: S101 - a sample is a row that is sent
    # A new notice each time: mail systems drop a second copy of the same Message-ID.
    key = DeliveryKey(
        plan.incident.id, f"test:{token_hex(8)}", row.group.channel, f"{row.audience}:{row.key}"
    )
    calendar = row.group.calendar
    if calendar is not None:
        calendar = calendar._replace(text=as_test(calendar.text, f"[TEST for {row.audience}]"))
    message = build_message(
        mark_test(row.content, row.audience),
        row.group.envelope,
        key,
        address=address,
        name="",
        secret=ledger.secret if ledger else token_hex(32).encode(),
        now=desk.now,
        calendar=calendar,
    )
    return Delivery(number, message)


def _write_samples(desk: Desk, plan: Plan, tally: Tally, folder: Path, ledger: Ledger | None) -> None:
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
    """Write a whole file that only its owner can read; a link of that name is replaced, never followed.

    Raises InputError if it cannot be written there.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with temporary_file(path.parent, content, 0o600) as written:
            written.replace(path)
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}"
        raise InputError(Fault("--eml", 0, 0, what, "name a folder of your own")) from None
