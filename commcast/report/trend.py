"""The trend over incidents: what built readers' trust and what cost it, week by week (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from commcast.report.drawing import Bar, Drawing, Label, Line
from commcast.report.figures import AudienceFigures, Figures
from commcast.report.words import Card, ReportTable, day_of, length, many, roughly, share_card

_WEEKS_UP_TO = timedelta(days=92)


class Per(StrEnum):
    """How long one row of a trend is."""

    WEEK = "week"
    MONTH = "month"


@dataclass(slots=True)
class PromiseAccount:
    """What built trust and what cost it in some incidents, or for one audience in them.

    Built by: `kept` promises, of `due` whose time has come; estimates that `held`, of those `judged` against
    a real end. Cost by: `down` time (of incidents, not planned work), `broken` promises (kept late, partly or
    never), `corrections`, and texts `at_night`. An incident counts in the row of its first release; its
    downtime, estimates and corrections count for each audience that was told anything. `still_open` counts
    incidents whose downtime continues, `at_least` those that count from their first word, as nobody wrote
    when they began.
    """

    incidents: int = 0
    kept: int = 0
    due: int = 0
    held: int = 0
    judged: int = 0
    down: timedelta = field(default_factory=timedelta)
    at_least: int = 0
    still_open: int = 0
    corrections: int = 0
    at_night: int = 0

    @property
    def down_in_words(self) -> str:
        """How long incidents lasted, "" if that is not known of any."""
        return ("at least " if self.at_least else "") + length(self.down) if self.down else ""

    @property
    def broken(self) -> int:
        return self.due - self.kept

    def join(self, other: PromiseAccount) -> None:
        """Add another account to this one."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def add(self, figures: Figures, audiences: Iterable[AudienceFigures]) -> None:
        """Add an incident, with the promises and texts of these audiences."""
        for each in audiences:
            self.kept += each.kept
            self.due += each.due
            self.at_night += each.texts_at_night
        self.incidents += 1
        self.held += sum(bool(each.held) for each in figures.estimates)
        self.judged += sum(each.held is not None for each in figures.estimates)
        self.down += figures.down_at_least or timedelta()
        self.at_least += figures.down is None and figures.down_at_least is not None
        self.still_open += figures.is_open
        self.corrections += figures.corrections


@dataclass(frozen=True, slots=True)
class TrendRow:
    """One row: a week or month, by its first day, and an audience, "" for all together."""

    start: date
    audience: str
    account: PromiseAccount


@dataclass(frozen=True, slots=True)
class Trend:
    """All rows, oldest first, including empty ones, and their sum."""

    since: datetime
    per: Per
    lines: tuple[TrendRow, ...]
    total: PromiseAccount


def per_for(span: timedelta) -> Per:
    """Return the length of a row: a week if the trend covers up to three months."""
    return Per.WEEK if span <= _WEEKS_UP_TO else Per.MONTH


def trend_of(
    all_figures: Iterable[Figures],
    since: datetime,
    now: datetime,
    zone: ZoneInfo,
    *,
    per: Per,
    by_audience: bool = False,
) -> Trend:
    """Return the trend of incidents that were first released in this period."""
    known = list(all_figures)
    names = sorted({each.name for figures in known for each in figures.audiences}) if by_audience else [""]
    starts = _starts(since.astimezone(zone).date(), now.astimezone(zone).date(), per)
    accounts = {(start, name): PromiseAccount() for start in starts for name in names}
    total = PromiseAccount()
    for figures in known:
        start = _start(figures.story.first_release.astimezone(zone).date(), per)
        total.add(figures, figures.audiences)
        told = {each.name: (each,) for each in figures.audiences if each.first_at is not None}
        for name, audiences in (told if by_audience else {"": figures.audiences}).items():
            accounts.setdefault((start, name), PromiseAccount()).add(figures, audiences)
    lines = (TrendRow(start, name, account) for (start, name), account in accounts.items())
    return Trend(since, per, tuple(lines), total)


def trend_table(trend: Trend) -> ReportTable:
    """Return the trend as a table, with the sum last; what there was none of has no column."""
    by_audience = any(line.audience for line in trend.lines)
    title = f"By {trend.per}{' and audience' if by_audience else ''}"
    filled = [line for line in trend.lines if line.account.incidents]
    if not filled:
        return ReportTable(title, _HEAD, (), small=False)
    rows = [(day_of(line.start), line.audience, *_cells(line.account)) for line in filled]
    rows.append(("all", "all" if by_audience else "", *_cells(trend.total)))
    shown = [i for i in range(len(_HEAD)) if any(row[i] for row in rows)]
    empty = len({line.start for line in trend.lines} - {line.start for line in filled})
    note = (
        "What built trust: promises kept, and estimates held (over by the latest time we named). "
        "What cost trust: downtime, promises not kept, corrections of what was wrong, texts at night."
    )
    if empty:
        note += f" Not shown: {many(empty, trend.per)} without an incident."
    kept = tuple(tuple(row[i] or "-" for i in shown) for row in rows)
    return ReportTable(title, tuple(_HEAD[i] for i in shown), kept, note, small=False)


_HEAD = (
    *("From", "Audience", "Incidents", "Promises kept", "Estimates held"),
    *("Down", "Corrections", "Texts at night"),
)


def trend_headline(trend: Trend) -> str:
    """Return the trend in one line."""
    total = trend.total
    if not total.incidents:
        return "No incidents in this period."
    kept = f"kept {total.kept:,} of {many(total.due, 'promise')}"
    held = f"{total.held} of {many(total.judged, 'estimate')} held" if total.judged else "no estimate given"
    return f"{many(total.incidents, 'incident')}: {kept}, {held}, {_down(total)}."


def _down(total: PromiseAccount) -> str:
    """Return how long incidents lasted, and whether some of them still do."""
    if not total.still_open:
        return f"{total.down_in_words} down" if total.down else "no time down known"
    still = "still open" if total.incidents == 1 else f"{total.still_open:,} of them still open"
    return f"{total.down_in_words} down so far, {still}" if total.down else still


def trend_cards(trend: Trend) -> Iterator[Card]:
    """Yield the most important figures: what built trust, then what cost it."""
    total = trend.total
    if not total.incidents:
        return
    if total.due:
        yield share_card(total.kept, total.due, "promises kept", f"{total.broken} not kept")
    if total.judged:
        yield share_card(total.held, total.judged, "estimates held", "over by the time we named")
    still = f", {total.still_open:,} still open" if total.still_open else ""
    down = roughly(total.down) if total.down >= timedelta(hours=1) else length(total.down)
    note = f"{total.down_in_words or 'not known'}, {many(total.incidents, 'incident')}{still}"
    yield Card(down if total.down else "?", "down", note)
    yield Card(str(total.corrections), "corrections", "of something we got wrong")
    yield Card(f"{total.at_night:,}", "texts at night", "by the readers' own clocks")


def trend_document(trend: Trend) -> dict[str, Any]:
    """Return the trend for JSON; durations are whole seconds."""
    return {
        "since": trend.since.isoformat(),
        "per": trend.per.value,
        "lines": [
            {"from": line.start.isoformat(), "audience": line.audience or None, **_values(line.account)}
            for line in trend.lines
        ],
        "total": _values(trend.total),
    }


def _values(account: PromiseAccount) -> dict[str, Any]:
    values = {**asdict(account), "broken": account.broken}
    values["down_seconds"] = int(values.pop("down").total_seconds())
    return values


def _cells(account: PromiseAccount) -> tuple[str, ...]:
    return (
        f"{account.incidents:,}",
        f"{account.kept:,} of {account.due:,}" if account.due else "",
        f"{account.held:,} of {account.judged:,}" if account.judged else "",
        account.down_in_words,
        str(account.corrections or ""),
        f"{account.at_night:,}" if account.at_night else "",
    )


def _start(day: date, per: Per) -> date:
    return day - timedelta(days=day.weekday()) if per is Per.WEEK else day.replace(day=1)


def _starts(first: date, last: date, per: Per) -> list[date]:
    starts = [_start(first, per)]
    while (after := _start(starts[-1] + timedelta(days=7 if per is Per.WEEK else 31), per)) <= last:
        starts.append(after)
    return starts


_EDGE = 12.0
_MIDDLE, _UP = 160.0, 130.0  # the place of the line, and the height of the largest bar
_WIDEST, _DAY_ROOM = 64.0, 22.0


def trend_chart(trend: Trend, room: float) -> Drawing:
    """Return a chart `room` wide: promises kept above a line and broken below it, over all audiences."""
    accounts: dict[date, PromiseAccount] = {}
    for line in trend.lines:
        accounts.setdefault(line.start, PromiseAccount()).join(line.account)
    step = (room - 2 * _EDGE) / max(1, len(accounts))
    deepest = max((each.broken for each in accounts.values()), default=0)
    most = max(1, deepest, *(each.kept for each in accounts.values()))
    depth = _UP * deepest / most
    made = Drawing(room, _MIDDLE + depth + 54)
    width = min(_WIDEST, step * 0.62)
    shown = max(1, round(58 / step + 0.5))
    for i, (start, account) in enumerate(accounts.items()):
        middle = _EDGE + (i + 0.5) * step
        _bars(made, middle, width, account, most, start, fits=step > 9 * len(str(most)))
        if i % shown == 0:
            along = max(_DAY_ROOM, min(middle, room - _DAY_ROOM))
            made.labels.append(Label(along, _MIDDLE + depth + 44, day_of(start), "tick", "middle"))
    made.lines.append(Line(_EDGE, _MIDDLE, room - _EDGE, _MIDDLE, "base"))
    return made


def _bars(
    made: Drawing, middle: float, width: float, account: PromiseAccount, most: int, start: date, *, fits: bool
) -> None:
    """Draw those of one row, with their counts if these fit."""
    kept = f"kept {account.kept} of {many(account.due, 'promise')}"
    title = f"from {day_of(start)}: {kept}, {account.down_in_words or length(account.down)} down"
    up, down = _UP * account.kept / most, _UP * account.broken / most
    left = middle - width / 2
    if account.kept:
        made.spans.append(Bar(left, _MIDDLE - up, width, up, "span kept", title))
        made.labels += [Label(middle, _MIDDLE - up - 6, str(account.kept), "name", "middle")] * fits
    if account.broken:
        made.spans.append(Bar(left, _MIDDLE, width, down, "span overdue", title))
        made.labels += [Label(middle, _MIDDLE + down + 15, str(account.broken), "late", "middle")] * fits
