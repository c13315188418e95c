"""Shows what would be sent, as text and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from commcast.cli.output import picked, table
from commcast.plan.notices import NoticeKind, kind_of
from commcast.plan.reasons import AFTER_LEAD, QUIET_HOURS, SAME_ADDRESS

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.delivery.rows import PendingRow
    from commcast.delivery.tally import AudienceTally, NoticeTally, Tally
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Plan
    from commcast.plan.notices import Notice
    from commcast.rendering.render import SmsContent


WIDTH = 78  # columns used of 80
FAULTS_SHOWN = 3
NAMES = {"email": "email", "sms": "SMS"}
RECEIPTS = ("delivered", "bounced", "failed")  # what providers may later say of accepted messages
When = Callable[[datetime], str]
_NOTICES = {"holding": "holding statement", "reminder": "reminder", "follow-up": "follow-up"}


def notice_in_words(notice: str, number: int) -> str:
    """Return what people call a notice: "update 3", "holding statement", "promised text"."""
    if "/" in notice:  # it may hold newer facts, or say that nothing is new: its id does not tell
        return "promised text"
    return _NOTICES.get(notice.partition(":")[0], f"update {number}")


def clock_in(zone: ZoneInfo, at: datetime, reference: datetime) -> str:
    """Return a time as clocks in `zone` show it, with what is not that of `reference`: day, year, zone."""
    local, then = at.astimezone(zone), reference.astimezone(zone)
    shown = f"{local:%H:%M}" if local.utcoffset() == then.utcoffset() else f"{local:%H:%M %Z}"
    year = "" if local.year == then.year else f"{local.year} "
    return shown if local.date() == then.date() else f"{local.day} {local:%b} {year}{shown}"


def other_stories(plan: Plan, when: When) -> Iterator[str]:
    """Yield how many of the readers also follow another open incident, and what it last told them."""
    found = plan.following.found() if plan.following else ()
    for each in sorted(found, key=lambda one: one.story.channel):
        story = each.story
        many = f"{'At least ' if each.at_least else ''}{each.readers:,} of those by {NAMES[story.channel]}"
        were = "was" if each.readers == 1 else "were"
        status = story.status.replace("_", " ").capitalize()
        promised = f", next update by {when(story.promised)}" if story.promised else ""
        told = f"{status}, {story.title}{promised}"
        yield f"{many} {were} told of {story.incident} at {when(story.at)}: {told}."


def others_document(plan: Plan) -> list[dict[str, Any]]:
    """Return the same as JSON."""
    return [
        {
            **picked(each.story, "incident", "channel"),
            **picked(each, "readers", "at_least"),
            "status": each.story.status,
            "told_at": each.story.at,
            "next_update_by": each.story.promised,
        }
        for each in (plan.following.found() if plan.following else ())
    ]


def headline(plan: Plan) -> list[str]:
    """Return which incident and update this is about."""
    update = plan.incident.latest
    status = update.status.replace("_", " ")
    text = f"{plan.incident.id}  SEV-{update.severity}  update {update.number}, {status}"
    if len(plan.drafts) > 1:
        text += f" (drafts: {', '.join(map(str, plan.drafts))}; readers get the newest)"
    return wrapped(f"{text}: {plan.incident.title_as_of()}", indent="  ", first="")


def counts_table(tally: Tally) -> str:
    """Return how many messages go to each audience by each channel, and how many do not."""
    rows = [
        [
            audience.audience,
            NAMES[notice.notice.channel],
            str(audience.send),
            *(str(count or "") for count in (audience.segments, audience.held, _left_out(notice, audience))),
        ]
        for notice in tally.notices
        for audience in notice.audiences.values()
    ]
    return table(["AUDIENCE", "CHANNEL", "SEND", "SEGMENTS", "HELD", "LEFT OUT"], rows) if rows else ""


def clock_of(config: Config, now: datetime) -> When:
    """Return a function that writes a time in the desk's zone: "10:25 CET", with the day if not today."""
    from commcast.model.times import moment

    def when(at: datetime) -> str:
        return moment(at, config.zone, now)["short"].replace(",", "")

    return when


def reasons(tally: Tally, when: When) -> Iterator[str]:
    """Yield why readers are held, skipped or not told, and the bad rows of the lists."""
    for notice in tally.notices:
        channel = NAMES[notice.notice.channel]
        for audience in notice.audiences.values():
            if audience.later and audience.later_at:
                yield (
                    f"Later: {audience.later} by {channel} in {audience.audience} at "
                    f"{when(audience.later_at)}, {AFTER_LEAD}; a tick sends them"
                )
            if audience.held:
                until = f" until {when(audience.held_until)}" if audience.held_until else ""
                yield f"Held: {audience.held} by {channel} in {audience.audience}, {QUIET_HOURS}{until}"
            if audience.corrected:
                only_right = audience.send + audience.held - audience.corrected
                said = f"{audience.corrected:,} by {channel} in {audience.audience}"
                yield f"Corrected: {said} got the wrong words, {only_right:,} only the right ones"
            for why, count in [*audience.skipped.items(), *audience.not_due.items()]:
                # An address on two lists is told once: `recipients check` counts those.
                if why != SAME_ADDRESS:
                    yield f"Not told: {count} by {channel} in {audience.audience}: {why}"
    yield from rows_left_out(tally)


def rows_left_out(tally: Tally) -> Iterator[str]:
    """Yield, for each list, how many rows are bad, what is wrong with the first, and ignored cells."""
    for name, count in _lists(tally).items():
        if count.skipped:
            yield f"Left out: {count.skipped} of {count.rows} rows of {name} are bad; the first:"
            yield from (f"  {fault}" for fault in count.faults[:FAULTS_SHOWN])
        for warning in count.warnings[:FAULTS_SHOWN]:
            yield f"{'Bad cell' if '(ignored in ' in warning else 'Not told'}: {warning}"


def not_sent(plan: Plan, ledger: Ledger | None) -> Iterator[str]:
    """Yield why a channel does not send this update, and the command that sends what is still pending."""
    waiting = _waiting(plan, ledger)
    for line in plan.lines:
        if not line.is_due and line.notice.channel not in waiting:
            yield f"{_notice_by_channel(line.notice)}: {line.reason}"
    verb = "resume" if plan.history.stopped_by else "send"
    for channel, (waits, among) in waiting.items():
        how = f"{waits:,} of {among:,} still wait{'s' * (waits == 1)}"
        yield f"By {NAMES[channel]} {how}: commcast {verb} {plan.incident.id}"


def _notice_by_channel(notice: Notice) -> str:
    """Return what is not sent now: "Update 2 by SMS", "Holding statement by email to customers"."""
    name = f"{notice_in_words(notice.id, notice.number).capitalize()} by {NAMES[notice.channel]}"
    to = "" if kind_of(notice.id) is NoticeKind.UPDATE else f" to {', '.join(notice.audiences)}"
    return name + to


def _waiting(plan: Plan, ledger: Ledger | None) -> dict[str, tuple[int, int]]:
    """Return, by channel, how many deliveries of the newest update wait, and of how many."""
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import State

    if ledger is None:
        return {}
    with ledger.read() as connection:
        found = [each for each in tallies(connection, plan.incident.id) if each.state is not State.SKIPPED]
    waits: Counter[str] = Counter()
    among: Counter[str] = Counter()
    for tally in found:
        if tally.number == plan.incident.latest.number:
            among[tally.channel] += tally.count
            waits[tally.channel] += tally.count if tally.state is State.PENDING else 0
    return {channel: (waits[channel], among[channel]) for channel in among if waits[channel]}


def destinations(config: Config, tally: Tally) -> Iterator[str]:
    """Yield where the messages of each channel go."""
    used: dict[str, list[str]] = {}
    for channel in dict.fromkeys(notice.notice.channel for notice in tally.notices):
        used.setdefault(destination(config, channel), []).append(NAMES[channel])
    yield from (f"{', '.join(channels)}: {where}" for where, channels in used.items())


def destination(config: Config, channel: str, *, with_fallback: bool = True) -> str:
    """Return where a channel's messages go: "through smtp.acme.example:587"."""
    used = config.channels.email if channel == "email" else config.channels.sms
    if used is None or used.provider == "outbox":
        return f"as files in {config.providers.outbox.folder.rstrip('/')}/ (nothing is sent)"
    fallback = used.fallback if with_fallback else None
    takes_over = f"; if it refuses us, through {_place(config, fallback)}" if fallback else ""
    return f"through {_place(config, used.provider)}{takes_over}"


def _place(config: Config, provider: str) -> str:
    smtp = config.providers.smtp
    if provider == "smtp" and smtp is not None:
        return f"{smtp.host}:{smtp.port}"
    url = config.providers.sendgrid.base_url if provider == "sendgrid" else config.providers.twilio.base_url
    return f"{provider} ({url.partition('://')[2]})"


def messages(tally: Tally, *, html: bool = False, width: int | None = WIDTH) -> Iterator[str]:
    """Yield one full message per audience, channel and language; not wrapped if `width` is None."""
    for notice in tally.notices:
        for audience in notice.audiences.values():
            if audience.correction is not None:
                name = f"{audience.audience}, who got the wrong words"
                yield from _message(name, audience.correction, html, width)
            if audience.sample is not None:
                yield from _message(audience.audience, audience.sample, html, width)
            for language, row in sorted(audience.in_languages.items()):
                yield from _message(f"{audience.audience} ({language})", row, html, width)


def examples(config: Config, tally: Tally) -> Iterator[str]:
    """Yield one email and one text as their last readers get them, customers first, without blank lines."""
    for channel in NAMES:
        told = [a for n in tally.notices if n.notice.channel == channel for a in n.audiences.values()]
        rows = [(a.audience, row) for a in told if (row := a.correction or a.sample)]
        public = [
            each
            for each in rows
            if each[0] in config.audiences and config.audiences[each[0]].view == "public"
        ]
        for audience, row in (public or rows)[-1:]:
            lines = _message(audience, row, html=False, width=WIDTH)
            yield from (line for line in lines if line not in {"|", ""} and not line.startswith("| To: "))


def promise_line(tally: Tally, when: When) -> str:
    """Return when readers are told to expect more."""
    if not tally.send and not tally.held:
        return "Promise: none; nobody is told now."
    by_time: dict[datetime, dict[str, None]] = {}
    for notice in tally.notices:
        for audience, by in notice.notice.next_update_by.items():
            if by is not None and audience in notice.audiences:
                by_time.setdefault(by, {})[audience] = None
    texts = [a.text_by for notice in tally.notices for a in notice.audiences.values() if a.text_by]
    also = f"; readers who only get texts: the next one by {when(min(texts))}" if texts else ""
    if not by_time:
        return "Promise: this is the end; readers are told to expect no more."
    if len(by_time) == 1:
        return f"Promise: readers are told to expect an update by {when(next(iter(by_time)))}{also}."
    parts = [f"{', '.join(names)} by {when(by)}" for by, names in sorted(by_time.items())]
    return f"Promise: readers are told to expect an update: {'; '.join(parts)}{also}."


def wrapped(text: str, indent: str = "", first: str | None = None) -> list[str]:
    """Return `text` in lines of at most 78 columns."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    ) or [""]


def tally_document(plan: Plan, tally: Tally) -> dict[str, Any]:
    """Return what would be sent as JSON; each sample holds exactly the text that is handed over."""
    update = plan.incident.latest
    return {
        "incident": {
            "id": plan.incident.id,
            "title": plan.incident.title_as_of(),
            "file": plan.incident.path,
        },
        "update": {"number": update.number, "status": str(update.status), "severity": update.severity},
        "drafts": list(plan.drafts),
        "send": tally.send,
        "held": tally.held,
        "digest": tally.digest,
        "notices": [_notice_document(notice) for notice in tally.notices],
        "following": others_document(plan),
        "not_sent": [
            {"channel": str(line.notice.channel), "reason": line.reason}
            for line in plan.lines
            if not line.is_due
        ],
        "lists": {
            name: {"rows": count.rows, "left_out": count.skipped, **picked(count, "faults", "warnings")}
            for name, count in _lists(tally).items()
        },
    }


def _notice_document(notice: NoticeTally) -> dict[str, Any]:
    return {
        "notice": notice.notice.id,
        "channel": str(notice.notice.channel),
        "reason": notice.reason,
        "promise": {
            name: by for name, by in notice.notice.next_update_by.items() if name in notice.audiences
        },
        "audiences": [_audience_document(audience) for audience in notice.audiences.values()],
    }


def _audience_document(audience: AudienceTally) -> dict[str, Any]:
    return {
        **picked(audience, "audience", "send", "segments", "later", "later_at", "held", "held_until"),
        **picked(audience, "skipped", "corrected"),
        "not_owed": audience.not_due,
        "message": _sample_document(audience.sample) if audience.sample else None,
        "in_languages": {language: _sample_document(row) for language, row in audience.in_languages.items()},
        "correction": _sample_document(audience.correction) if audience.correction else None,
    }


def _sample_document(row: PendingRow) -> dict[str, Any]:
    from commcast.recipients.addresses import mask
    from commcast.rendering.render import EmailContent

    content = row.content
    if isinstance(content, EmailContent):
        return {
            "to": mask(row.address),
            **picked(content, "subject", "text", "html"),
            "calendar": row.group.context["calendar"] if row.group else None,
        }
    assert content is not None  # noqa: S101 - a sample is a row that is sent
    return {
        "to": mask(row.address),
        "text": content.body,
        **picked(content.size, "segments", "encoding", "forced_by"),
        "replaced": [list(pair) for pair in content.replaced],
    }


def _message(audience: str, row: PendingRow, html: bool, width: int | None) -> Iterator[str]:
    from commcast.recipients.addresses import mask
    from commcast.rendering.render import EmailContent

    content = row.content
    if isinstance(content, EmailContent):
        yield rule(f"{audience}, by email")
        head = [f"To: {mask(row.address)}", f"Subject: {content.subject}", ""]
        yield from quoted("\n".join(head) + "\n" + content.text, width)
        if row.group and (calendar := row.group.context["calendar"]):
            yield f"  Attached: {calendar['name']}, {calendar['status']}, sequence {calendar['sequence']}"
        if html:
            yield rule(f"{audience}, HTML part") if content.html else "  (no HTML part)"
            yield content.html.rstrip("\n")
    elif content is not None:
        yield rule(f"{audience}, by SMS ({_size(content)})")
        yield from quoted(f"To: {mask(row.address)}\n\n{content.body}", width)
        if content.replaced:
            pairs = ", ".join(f"{was!r} by {now!r}" for was, now in content.replaced)
            yield from wrapped(f"Look-alikes replaced: {pairs}", indent="  ")
    yield ""


def _size(content: SmsContent) -> str:
    size = content.size
    text = f"{size.segments} segment{'s' * (size.segments != 1)}, {size.encoding}"
    return f"{text} because of {size.forced_by}" if size.forced_by else text


def rule(title: str) -> str:
    """Return a rule across the screen with a title in it."""
    return f"--- {title} ".ljust(WIDTH, "-")


def quoted(text: str, width: int | None) -> Iterator[str]:
    """Yield the lines of a message, each behind a bar."""
    for line in text.rstrip("\n").split("\n"):
        if width is None:
            yield f"| {line}".rstrip()
        else:
            parts = textwrap.wrap(
                line, width - 2, subsequent_indent="  " * line.startswith("- "), break_on_hyphens=False
            )
            yield from (f"| {part}".rstrip() for part in parts or [""])


def _left_out(notice: NoticeTally, audience: AudienceTally) -> int:
    """Return how many are not told: those that the lines below the table give a reason for."""
    found = notice.counts.get(audience.audience)
    not_told = sum(count for why, count in audience.not_due.items() if why != SAME_ADDRESS)
    return sum(audience.skipped.values()) + not_told + (found.skipped if found else 0)


def _lists(tally: Tally) -> Mapping[str, Any]:
    return {name: count for notice in tally.notices for name, count in notice.counts.items()}
