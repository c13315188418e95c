"""The chart of a trend as shapes to draw: deposits upwards, withdrawals downwards, a bar a week or month."""

from __future__ import annotations

from datetime import date

from commcast.report.shapes import Bar, Drawing, Label, Line
from commcast.report.spoken import MONTHS, length, many
from commcast.report.trend import Account, Trend

_EDGE = 12.0
_MIDDLE, _UP = 160.0, 130.0  # where the line is, and how high the largest bar reaches
_WIDEST = 64.0


def trend_chart(trend: Trend, room: float) -> Drawing:
    """Return promises kept above a line and promises broken below it, over all audiences, `room` wide."""
    accounts: dict[date, Account] = {}
    for line in trend.lines:
        accounts.setdefault(line.start, Account()).join(line.account)
    step = (room - 2 * _EDGE) / max(1, len(accounts))
    most = max([each.kept for each in accounts.values()] + [each.broken for each in accounts.values()] + [1])
    depth = _UP * max([each.broken for each in accounts.values()], default=0) / most
    made = Drawing(room, _MIDDLE + depth + 54)
    width = min(_WIDEST, step * 0.62)
    shown = max(1, round(58 / step + 0.5))
    for i, (start, account) in enumerate(accounts.items()):
        middle = _EDGE + (i + 0.5) * step
        _bars(made, middle, width, account, most, start)
        if i % shown == 0:
            day = f"{start.day} {MONTHS[start.month - 1]}"
            made.labels.append(Label(middle, _MIDDLE + depth + 44, day, "tick", "middle"))
    made.lines.append(Line(_EDGE, _MIDDLE, room - _EDGE, _MIDDLE, "base"))
    return made


def _bars(made: Drawing, middle: float, width: float, account: Account, most: int, start: date) -> None:
    title = (
        f"from {start.day} {MONTHS[start.month - 1]}: kept {account.kept} of {many(account.due, 'promise')}, "
        f"{length(account.down)} down"
    )
    up, down = _UP * account.kept / most, _UP * account.broken / most
    left = middle - width / 2
    if account.kept:
        made.spans.append(Bar(left, _MIDDLE - up, width, up, "span kept", title))
        made.labels.append(Label(middle, _MIDDLE - up - 6, str(account.kept), "name", "middle"))
    if account.broken:
        made.spans.append(Bar(left, _MIDDLE, width, down, "span overdue", title))
        made.labels.append(Label(middle, _MIDDLE + down + 15, str(account.broken), "late", "middle"))
