"""What a person sees before anything is sent, and the question itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from commcast.cli import present, prompt
from commcast.cli.output import say
from commcast.cli.present import other_stories
from commcast.errors import CommcastError, DecisionNeeded, ExitCode, InputError, Interrupted
from commcast.model.incident import SENTENCES, goes_back
from commcast.model.times import short_duration
from commcast.model.translation import translation_warnings
from commcast.plan.reasons import HELD_BACK

if TYPE_CHECKING:
    from commcast.cli.present import When
    from commcast.config.settings import Config
    from commcast.delivery.tally import Tally
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident, Update
    from commcast.operations.desk import Desk, Plan


def check_can_go(desk: Desk, incident: Incident, ledger: Ledger | None, *, edit: bool) -> None:
    """Refuse an update, before it is written, if broken lists or templates would keep it from going.

    What a person may have typed, in an editor or at a terminal, is not refused but kept as a draft. Raises
    InputError with the faults of all lists and templates.
    """
    if edit or prompt.at_terminal():
        return
    from commcast.delivery.tally import faults_in
    from commcast.operations.desk import make_plan

    remedy = "Nothing was written, nothing was sent. Fix that, then run the same command again."
    with _adding(remedy):
        plan = make_plan(desk, incident, ledger, as_if_released=True)
        if faults := faults_in(plan.deliveries):
            raise InputError(faults)


@contextmanager
def keeping_words(incident: Incident) -> Iterator[None]:
    """Add to every error before the release that the draft is kept, and what to do with it."""
    remedy = draft_kept(incident)
    try:
        with _adding(f"Nothing was released. {remedy}"):
            yield
    except KeyboardInterrupt:
        say("")
        raise Interrupted(f"Interrupted: nothing was released. {remedy}", ExitCode.INTERRUPTED) from None
    except DecisionNeeded as error:
        raise DecisionNeeded(f"{error}\n{remedy}") from None


def draft_kept(incident: Incident) -> str:
    """Return where the draft is kept, and what to do with it."""
    return f"The draft is kept in {incident.path}.\n{ways_on(incident.id)}"


def ways_on(name: str, send: str = "to send it", discard: str = "to delete it") -> str:
    """Return the two commands for a draft, each with what it does."""
    return f"  commcast send {name}       {send}\n  commcast discard {name}    {discard}"


@contextmanager
def _adding(remedy: str) -> Iterator[None]:
    """Note on an error what to do next: it is shown below the faults."""
    try:
        yield
    except CommcastError as error:
        error.add_note(remedy)
        raise


_MOST_NAMED = 3  # people; commcast doctor names all


def silence_line(desk: Desk, plan: Plan, tally: Tally, when: When) -> str:
    """Return what happens if nobody posts before the promised time: what is sent, who is nudged."""
    from commcast.plan.promises import hold_at, says_hold

    update, config = plan.incident.latest, desk.config
    promised = _promised(tally)
    holding = {name: by for name, by in promised.items() if says_hold(config, update, name, by)}
    if not promised:
        return "Nobody is promised a time."
    if holding:
        early = plan.known.hold_before(config)
        first = min(hold_at(update, desk.now, by, early) for by in holding.values())
        others = [name for name in promised if name not in holding]
        said = f"{_listed(holding)} get{'s' * (len(holding) == 1)} a holding statement from {when(first)} on"
        said += f", {_listed(others)} nothing" if others else ""
    else:
        said = "nothing is sent automatically ([silence] in commcast.toml)"
    nudge = _nudge_sentence(desk, plan, min(promised.values()), when)
    return f"If nobody posts by then, {said}. {nudge}"


def _promised(tally: Tally) -> dict[str, datetime]:
    """Return, by audience, the promise that these emails make."""
    return {
        name: by
        for each in tally.notices
        if each.notice.channel == "email"
        for name in each.notice.audiences
        if (by := each.notice.next_update_by.get(name)) is not None
    }


def _nudge_sentence(desk: Desk, plan: Plan, promised: datetime, when: When) -> str:
    from commcast.model.oncall import on_duty_for
    from commcast.oncall.nudges import first_nudge
    from commcast.oncall.people import reach

    config, on_duty = desk.config, on_duty_for(plan.incident, plan.known.handovers)
    at = when(first_nudge(plan.incident.latest, desk.now, promised))
    keys = [key for key in (on_duty.owner, on_duty.backup) if key and key in config.people][:1]
    keys = keys or list(config.people)
    reached = [reach(key, config, os.environ) for key in keys]
    reachable = [found.name for found in reached if found.email or found.phone]
    if config.nudge and config.nudge.command:
        reachable.append(f"the command {config.nudge.command[0]}")
    if not reachable and keys:
        return f"Nobody can be nudged: {_without_address(keys, config)}."
    if not reachable:
        return f"Nobody can be nudged: add [people] to commcast.toml, and owner to {plan.incident.path}."
    return f"{_listed(reachable)} {'is' if len(reachable) == 1 else 'are'} nudged at {at}."


def _without_address(keys: Sequence[str], config: Config) -> str:
    """Return that none of these people can be reached, and what to do, as doctor says it."""
    from commcast.oncall.people import unreachable

    # If there is no address at all, only what to write is said.
    faults = [
        fault.removeprefix(f"{key} has no address; ")
        for key in keys[:_MOST_NAMED]
        for fault in unreachable(key, config, os.environ)
    ]
    has = "has" if len(keys) == 1 else "have"
    return f"{_listed(keys)} {has} no usable address ({'; '.join(faults)})"


def _listed(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_UNIT = (
    r"%|percent|ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|days?|weeks?|months?|years?|"
    "[kM]|bn|[kMGT]i?B|(?:thousand|million|billion)s?|EUR|USD|GBP|CHF"
)
_TELLING = re.compile(
    rf"""(?P<link>https?://[^\s<>"')]+)
    |(?<![\w:.-])(?:\d{{4}}-\d\d-\d\d|\d{{1,2}}:\d\d(?:\s?[ap]m)?|\d{{1,2}}\s?[ap]m)(?![\w:-])  # date, time
    |\b(?:{_MONTH}\s{_DAY}|{_DAY}\.?\s{_MONTH})(?:,?\s\d{{4}})?(?!\w|:\d)
    |(?<![\w.-])\+?\d{{2,4}}(?:[ -]\d{{2,6}}){{2,}}(?![\w-])  # a phone number
    |(?<![\w./#-])(?:[€$£]\s?)?\d+(?:[.,]\d+)*\s?(?:{_UNIT})(?!\w)
    |(?P<bare>(?<![\w./#-])(?:[€$£]\s?)?\d+(?:[.,]\d+)*(?![\w/-]|[.,]\d))""",
    re.VERBOSE,
)
# A number behind a name belongs to it ("Windows 11"), and that of an error is its name ("a 502 page").
_NO_NAME = "About|All|Around|At|Between|By|Every|For|From|In|Of|On|Only|Over|Since|Some|To|Until|We|With"
_NAMED = re.compile(rf"(?:\b(?!(?:{_NO_NAME})\b)[A-Z][\w&]*|\b(?i:version|error|code|status|level))\s$")
_ERROR = re.compile(r"\s(?:errors?|pages?|responses?|status|codes?|Bad)\b")


def full_text(
    desk: Desk, plan: Plan, tally: Tally, ledger: Ledger | None, *, whole: bool = False
) -> Iterator[str]:
    """Yield the lines to look at: messages, then, close to the question, what the decision rests on.

    They fit one screen, with one email and one text; `whole` shows the message of every audience.
    """
    yield from present.messages(tally) if whole else present.examples(desk.config, tally)
    yield present.rule("what goes out")
    yield from summary(desk, plan, tally, ledger)
    warnings = [*word_warnings(plan, tally), *reader_warnings(desk, plan), *tick_warnings(desk, plan)]
    for warning in warnings:
        yield from present.wrapped(warning, indent="         ", first="")
    yield from present.destinations(desk.config, tally)


def summary(desk: Desk, plan: Plan, tally: Tally, ledger: Ledger | None) -> Iterator[str]:
    """Yield what goes out, to how many, what is new in it, what it promises, and what happens then."""
    when = present.clock_of(desk.config, desk.now)
    yield from present.headline(plan)
    if counts := present.counts_table(tally):
        yield counts
    lines = [*present.reasons(tally, when), *present.not_sent(plan, ledger)]
    lines += [*_not_told_so_mild(desk, plan, tally), *other_stories(plan, when)]
    if tally.notices:
        update, previous = plan.incident.latest, _last_released(plan)
        lines += [*_carried(plan.incident), *_own_words(plan.incident, tally)]
        if news := [*new_facts(previous, update), *new_timeframe(previous, update, when)]:
            lines.append(f"New here, check each: {', '.join(news)}")
        lines += [*lasting_lines(desk, tally, when), present.promise_line(tally, when)]
        if not update.is_end:
            lines.append(silence_line(desk, plan, tally, when))
    for line in lines:
        yield from present.wrapped(line, indent="    " if line.startswith("  ") else "  ", first="")
    if tally.notices and (price := desk.config.send.sms_price):
        segments = sum(notice.segments for notice in tally.notices)
        yield f"SMS cost: {segments} segments x {price:g} = {segments * price:,.2f}"


_QUOTED = ("scope", "works", "data", "action", "short", "link", "offer")
# Of those that are not quoted readers notice themselves that they are out of date.
_CARRIED = ("issue", "resolution", "timeframe", *_QUOTED, "affected", "audiences")


def _carried(incident: Incident) -> Iterator[str]:
    """Yield what the newest update says because an earlier one did, and what it no longer says."""
    now, before = incident.latest, next(reversed(incident.updates[:-1]), None)
    said = {key: (old, getattr(now, key)) for key in _CARRIED if (old := getattr(before, key, None))}
    shown = {
        key: f'{key} "{str(old)[:80].rstrip(".")}"' if key in _QUOTED else key
        for key, (old, _) in said.items()
    }
    if kept := [shown[key] for key, (old, new) in said.items() if new == old]:
        yield f"Carried forward: {_listed(kept)}."
    if gone := [shown[key] for key, (_, new) in said.items() if not new]:
        yield f"No longer said: {_listed(gone)}."


def _own_words(incident: Incident, tally: Tally) -> Iterator[str]:
    """Yield which of these audiences read their own words, for which sentences, and which no longer do."""
    told = {name for each in tally.notices for name in each.audiences}
    was, own = (
        {name: [*words.model_dump(exclude_none=True)] for name, words in each.words_in_force.items()}
        for each in (incident.updates[-2:][0], incident.latest)
    )
    gone = {name: [key for key in keys if key not in own.get(name, ())] for name, keys in was.items()}
    for those, verb in ((own, "are used for"), (gone, "are no longer used for")):
        if named := [f"{name} ({', '.join(keys)})" for name, keys in those.items() if keys and name in told]:
            yield f"Words of their own (for:) {verb} {_listed(named)}."


def _not_told_so_mild(desk: Desk, plan: Plan, tally: Tally) -> Iterator[str]:
    """Yield which audiences are not told because of the severity, unless the update names its audiences."""
    from commcast.plan.notices import audiences_of

    update = plan.incident.latest
    if update.audiences is not None or not (plan.drafts or tally.notices):
        return
    hearing = audiences_of(plan.incident, update, desk.config)
    if silent := [name for name in desk.config.audiences if name not in hearing]:
        yield f"Not told at severity {update.severity}: {', '.join(silent)} (severities in commcast.toml)"


def lasting_lines(desk: Desk, tally: Tally, when: present.When) -> Iterator[str]:
    """Yield how long each channel takes at its provider's limit, and whether that breaks the promise."""
    from commcast.delivery.tally import lastings

    for each in lastings(desk.config, tally, desk.now):
        name = present.NAMES[each.channel] + (" message" if each.messages == 1 else " messages")
        length = short_duration(each.length) if each.length >= timedelta(seconds=1) else "less than a second"
        yield (
            f"At {each.per_second:g} per second the last of {each.messages:,} {name} leaves by "
            f"{when(each.last_at)}, in {length}."
        )
        if each.outlasts_promise and each.promised:
            yield (
                f"Warning: that is after {when(each.promised)}, when these messages promise the next update: "
                "readers not reached by then are dropped."
            )


def check_lasts_no_longer(desk: Desk, tally: Tally) -> None:
    """Refuse an update whose promise passes before the last message leaves. Raises DecisionNeeded."""
    from commcast.delivery.tally import lastings

    when = present.clock_of(desk.config, desk.now)
    for each in lastings(desk.config, tally, desk.now):
        if each.outlasts_promise and each.promised:
            provider = getattr(desk.config.channels, each.channel).provider
            raise DecisionNeeded(
                f"The last of {each.messages:,} {present.NAMES[each.channel]} messages leaves by "
                f"{when(each.last_at)} at {each.per_second:g} per second, after the promised "
                f"{when(each.promised)}. Raise per_second if {provider} allows it, or lengthen the "
                "cadence in commcast.toml; with --yes the readers not reached by then are dropped."
            )


def check_somebody_hears(plan: Plan, tally: Tally) -> None:
    """Refuse an update if all its readers are suppressed. Raises InputError.

    Ends go through: readers who opted out don't keep an incident open. So does what a cap holds back: it is
    released, and the next message to each reader says so.
    """
    skipped = [a.skipped for n in tally.notices for a in n.audiences.values()]
    if any(HELD_BACK in each for each in skipped):
        return
    suppressed = sum(sum(each.values()) for each in skipped)
    if suppressed and not tally.send and not tally.held and not plan.incident.latest.is_end:
        raise InputError(
            f"nobody would be told: all {suppressed:,} readers are suppressed; "
            "see who and why with: commcast recipients suppressed"
        )


def _last_released(plan: Plan) -> Update | None:
    """Return the update that was released last; drafts before this one don't count."""
    before = [number for number in plan.history.releases if number < plan.incident.latest.number]
    return plan.incident.update(max(before)) if before else None


def word_warnings(plan: Plan, tally: Tally) -> Iterator[str]:
    """Yield what readers will not read as it is meant, at its place in the incident file."""
    from commcast.rendering.render import word_warnings as found_in

    samples = [each.sample for notice in tally.notices for each in notice.audiences.values() if each.sample]
    is_too_long = any(getattr(each.content, "is_shortened", False) for each in samples)
    found = [*found_in(plan.incident, is_too_long=is_too_long), *translation_warnings(plan.incident)]
    yield from (f"Warning: {each}" for each in found)


def reader_warnings(desk: Desk, plan: Plan) -> Iterator[str]:
    """Yield what readers will miss in these messages, while it can still be added."""
    incident, contact = plan.incident, desk.config.contact
    is_first = not plan.history.releases and incident.kind == "incident"
    if is_first and not incident.started_written:
        yield (
            "Warning: No start is given: readers are told when we first noticed. Add started: to the file, "
            "or --started 09:52"
        )
    update, previous = incident.latest, _last_released(plan)
    if previous and goes_back(previous.status, update.status) and not _says_why(update, previous):
        yield (
            f"Warning: Readers were told {previous.status}, and nothing here says why it is {update.status} "
            'again: add because: to the file (--because "…")'
        )
    yield from _carrier_warnings(desk, plan)
    if not any((contact.reply_to, contact.phone, contact.hours, contact.after_hours)):
        yield "Warning: Readers cannot reach you: [contact] in commcast.toml is empty"


def _says_why(update: Update, previous: Update) -> bool:
    own = (update.issue, update.resolution) != (previous.issue, previous.resolution)
    return own or bool(update.because or update.nothing_new)


def _carrier_warnings(desk: Desk, plan: Plan) -> Iterator[str]:
    """Yield a warning if the provider that carries the messages is itself said to be affected."""
    config = desk.config
    public = [
        config.components[name].public for name in plan.incident.latest.affected if name in config.components
    ]
    affected = " ".join([*plan.incident.latest.affected, *public]).casefold()
    smtp = config.providers.smtp
    for channel, used in (("email", config.channels.email), ("sms", config.channels.sms)):
        name = used.provider if used else ""
        words = [name, *([smtp.host.casefold()] if smtp and name == "smtp" else [])]
        if name and name != "outbox" and any(word in affected for word in words):
            remedy = f"commcast doctor --connect tells whether {name} answers"
            if used and not used.fallback:
                remedy += "; a fallback in commcast.toml would take over"
            yield f"Warning: {present.NAMES[channel]} goes through {name}, which is itself affected: {remedy}"


def new_facts(previous: Update | None, update: Update) -> list[str]:
    """Return the numbers, times and links that this update says and the one before did not."""
    known = set(_facts(previous)) if previous else set()
    return [fact for fact in dict.fromkeys(_facts(update)) if fact not in known]


def new_timeframe(previous: Update | None, update: Update, when: present.When) -> list[str]:
    """Return the expected end, if this update is the first to say it."""
    frame = update.timeframe
    if update.is_end or (previous and previous.timeframe == frame):
        return []
    if frame.latest is None:
        return ["end unknown again"] if previous else []
    earliest = f"{when(frame.earliest)} to " if frame.earliest else ""
    return [f"end expected {earliest}{when(frame.latest)}"]


def tick_warnings(desk: Desk, plan: Plan) -> Iterator[str]:
    """Yield a warning if no tick has run lately, or ticks are too late for what is promised."""
    from commcast.oncall.ticks import Ticks, silence, too_late

    ticks = Ticks(plan.history.last_tick, plan.known.drift)
    if words := silence(ticks, desk.now):
        yield f"Warning: {words}. In another window run: commcast tick --loop 1m --until-closed"
    if words := too_late(ticks.drift, desk.config):
        yield f"Warning: {words}"


def in_words(tally: Tally) -> str:
    """Return how many messages go out now: "20 messages: 17 emails, 3 SMS"."""
    parts = [
        f"{notice.send:,} {'SMS' if notice.notice.channel == 'sms' else 'email' + 's' * (notice.send != 1)}"
        for notice in tally.notices
        if notice.send
    ]
    if len(parts) < 2:
        return parts[0] if parts else "no message"
    return f"{tally.send:,} messages: {', '.join(parts)}"


def answer_to(tally: Tally, confirm_above: int, seconds: float) -> str:
    """Return "yes", or what else a person typed; above `confirm_above` messages a yes is their number.

    Raises prompt.NothingTyped after `seconds` without an answer.
    """
    held = f", and {tally.held:,} after quiet hours" if tally.held else ""
    question, yes = f"Send {in_words(tally)}{held}?", ["y", "yes"]
    if not tally.send and not tally.held:
        question = "Nobody is told of this now. Release it anyway?"
    how = "[y/N]"
    if tally.send > confirm_above:
        how, yes = f"Type {tally.send} to send, anything else to cancel:", [str(tally.send)]
    answer = prompt.ask(f"{question} {how}", seconds).lower()
    return "yes" if answer.replace(",", "") in yes else answer


def too_late(desk: Desk, until: datetime) -> str:
    """Return that a yes would come too late: the times in the words are wrong, or quiet hours have begun."""
    at = f"{until.astimezone(desk.config.zone):%H:%M:%S %Z}"
    return f"This question expired at {at}: the times in these messages are no longer right."


def _facts(update: Update) -> Iterator[str]:
    for said in (update, *update.words_in_force.values()):  # words for one audience have fewer keys
        for text in (getattr(said, key, None) for key in SENTENCES):
            yield from facts_in(text or "")
    translated = (text for words in update.translations_in_force.values() for text in words.values())
    for text in (update.offer, update.link, *translated):
        yield from facts_in(text or "")


def facts_in(text: str) -> Iterator[str]:
    """Yield the numbers with their units, the times, dates and links of a text, but no number in a name."""
    for found in _TELLING.finditer(text):
        before, behind = text[max(found.start() - 40, 0) : found.start()], text[found.end() :]
        if not (found["bare"] and (_NAMED.search(before) or _ERROR.match(behind))):
            yield found[0].rstrip(".,;:")
