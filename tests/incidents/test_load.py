"""Incident files and presets: what is carried forward, what is refused, every fault at its place."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.errors import ExitCode, InputError, gravest
from commcast.incidents import load
from commcast.incidents.editor import append_update, fill_times
from commcast.incidents.load import load_incident, load_incidents, parse_incident
from commcast.incidents.presets import find_preset, list_presets
from commcast.incidents.schema import TAKEN_BACK, IncidentFile, PresetFile, json_schema
from commcast.incidents.yaml import QUOTE
from commcast.model.incident import (
    SENTENCES,
    Confidence,
    Incident,
    Kind,
    Status,
    View,
)
from commcast.model.release import digest, facts
from commcast.model.text import measure
from commcast.model.translation import translated, untranslated
from tests.support.scenario import LEAST, NOW, create_incident, faults, make_desk, read

EXAMPLE = Path(__file__).parents[2] / "incidents" / "pay7.yaml"
SECOND = "  - at: 2026-11-21T11:00+01:00\n"
END = SECOND + "    status: resolved\n"
WINDOW = "window: {from: 2026-11-28T02:00, to: 2026-11-28T04:00}\n"
LONGER = "    status: extended\n    window: {from: 2026-11-28T02:00, to: 2026-11-28T06:00}\n"
FRESH = "    issue: Again.\n    resolution: We look.\n    timeframe: unknown\n"
REOPENED = f"{LEAST}{END}  - at: 2026-11-21T11:30:40+01:00\n    status: reopened\n{FRESH}"
REOPENED += "  - at: 2026-11-21T12:00+01:00\n    status: resolved\n"
AT = "updates:\n  - at: 2026-11-21T10:05+01:00\n"
MAINTENANCE = f"title: Database upgrade\nkind: maintenance\nseverity: 3\n{WINDOW}{AT}"
MAINTENANCE += "    issue: Payments pause for some minutes.\n    resolution: We upgrade the database.\n"
STORM = f"title: Storm\nseverity: 2\n{AT}    status: expected\n    expected_at: 2026-11-24T18:00+01:00\n"
STORM += "    issue: Cards may fail.\n    resolution: We watch.\n    timeframe: 1h to 2h\n"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_desk(tmp_path_factory.mktemp("desk"))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_how_a_clock_time_was_written_is_kept_for_faults_and_published_nowhere(desk: Config) -> None:
    """A digest that held it would make every release of an older version look changed."""
    clock = read(LEAST + "    next_update: 10:20\n", desk)
    dated = read(LEAST + "    next_update: 2026-11-21T10:20+01:00\n", desk)
    assert (clock.latest.next_clock, dated.latest.next_clock) == ("10:20", "")
    assert digest(clock, clock.latest) == digest(dated, dated.latest)
    assert "next_clock" not in facts(clock, clock.latest)["update"]


def test_the_least_an_incident_needs(desk: Config) -> None:
    incident = read(LEAST, desk)
    update = incident.latest
    assert (incident.id, incident.path, incident.kind) == ("pay7", "incidents/pay7.yaml", Kind.INCIDENT)
    assert incident.started == update.at == utc("2026-11-21T09:05")
    assert incident.started_written is False
    assert (update.number, update.line, update.status, update.severity) == (1, 4, Status.INVESTIGATING, 2)
    assert update.timeframe.latest == update.at + timedelta(hours=2)
    assert update.timeframe.confidence is Confidence.LOW
    assert (update.audiences, update.next_update, update.at_written) == (None, None, True)


def test_the_shipped_example_loads(desk: Config) -> None:
    incident = read(EXAMPLE.read_text(), desk)
    assert (len(incident.updates), incident.latest.status, incident.started_written) == (5, "resolved", True)
    assert "executives" in incident.update(2).words
    assert incident.update(2).internal and not incident.update(3).internal
    first = incident.update(1)
    text = f"Acme Pay: {first.issue} Since 09:52 CET. {first.action} Next update by 10:25 CET by email."
    assert measure(text).segments == 1


def test_words_are_carried_forward_but_not_what_belongs_to_one_update(desk: Config) -> None:
    first = LEAST + (
        "    scope: EU\n    action: Wait.\n    internal: db-3\n    nothing_new: x\n    next_update: 20m\n"
        "    for: {executives: {issue: Revenue is down.}}\n    owner: dana\n    severity: 1\n"
    )
    one, two = read(first + SECOND, desk).updates
    for key in ("issue", "resolution", "timeframe", "scope", "action", "status", "severity", "owner"):
        assert getattr(one, key) == getattr(two, key), key
    assert one.internal and one.nothing_new and one.words and one.next_update
    assert not (two.internal or two.nothing_new or two.words or two.next_update)


KEPT = (
    LEAST
    + "    works: Bank transfer.\n    data: Safe.\n    link: https://acme.example/pay7\n"
    + "    cause: A release.\n"
)
KEPT += "    change: A test.\n    offer: A month free.\n    offer_public: true\n"
LEAN = LEAST.replace("    resolution: We roll back.\n    timeframe: 1h to 2h\n", "")
GERMAN = "translations: {de: {title: Karten gehen nicht}}\n" + LEAST + "    action: Wait.\n"
GERMAN += (
    "    translations:\n      de: {issue: Karten gehen nicht., action: Warten., resolution: Wir rollen.}\n"
)
GERMAN += "      de-AT: {action: Bitte warten.}\n"
WORK = MAINTENANCE + SECOND + "    status: in_progress\n    timeframe: by 2026-11-28 03:00\n"
BACK = LEAST + "    scope: EU\n    action: Wait.\n" + END + "  - status: reopened\n"
AGAIN = BACK + FRESH
SHORT = LEAST + "    short: Cards fail.\n"
BACK_TAKEN = LEAST.replace("updates", "owner: dana\nbackup: sam\naudiences: [customers]\nupdates")
BACK_TAKEN += (
    "    scope: EU\n    action: Wait.\n    short: Cards fail.\n    affected: [payments-api]\n"
    "    works: Bank transfer.\n    data: Safe.\n    link: https://acme.example/pay7\n"
    "    offer: A month free.\n    offer_public: true\n" + SECOND
)
BACK_TAKEN += "".join(f"    {key}: ~\n" for key in TAKEN_BACK) + "  - nothing_new: It goes on.\n"
MOVED = "  - at: 2026-11-21T10:10+01:00\n    expected_at: 2026-11-25T18:00+01:00\n"
# Declared and resolved as drafts: the first update is of the moment it goes, the end stands there.
UNTOLD = LEAST.replace("  - at: 2026-11-21T10:05+01:00\n    issue", "  - issue")
UNTOLD += "  - status: resolved\n    ended: 2026-11-21T08:00+01:00\n    fixed: It works again.\n"


@pytest.mark.parametrize(
    ("text", "ask", "meant"),
    [
        # The end says what was, not what is.
        (LEAST + END + "    fixed: We rolled back.\n", lambda u: u.issue, "We rolled back."),
        (LEAST + END, lambda u: (u.issue, u.ended), ("Some payments fail.", utc("2026-11-21T10:00"))),
        (LEAST + END + "    ended: 2026-11-21T10:50\n", lambda u: u.ended, utc("2026-11-21T09:50")),
        (REOPENED + "    ended: 2026-11-21T11:30\n", lambda u: u.ended, utc("2026-11-21T10:30")),
        (UNTOLD, lambda u: u.is_end, True),
        # What stood before an end is not carried over it.
        (AGAIN, lambda u: (u.status, u.timeframe.known, u.scope, u.action), ("reopened", False, None, None)),
        (LEAST + "  - issue: Most payments fail.\n", lambda u: (u.at, u.at_written), (NOW, False)),
        # A maintenance lasts as long as its window; an estimate is inside it and ends with it.
        (MAINTENANCE, lambda u: (u.status, u.window.end), ("scheduled", utc("2026-11-28T03:00"))),
        (MAINTENANCE, lambda u: u.timeframe.latest, utc("2026-11-28T03:00")),
        (MAINTENANCE + SECOND + LONGER, lambda u: u.timeframe.latest, utc("2026-11-28T05:00")),
        (WORK, lambda u: u.timeframe.latest, utc("2026-11-28T02:00")),
        (WORK + "  -" + LONGER[3:], lambda u: u.timeframe.latest, utc("2026-11-28T05:00")),
        # How long something expected takes is counted from when it comes; a moment before that is moot.
        # What is taken back is said no more, also not by the update after.
        (BACK_TAKEN, lambda u: (u.scope, u.action, u.short), (None, None, None)),
        (BACK_TAKEN, lambda u: (u.works, u.data, u.link, u.offer, u.offer_public), (*(None,) * 4, False)),
        (BACK_TAKEN, lambda u: (u.timeframe.known, u.affected, u.audiences), (False, (), None)),
        (BACK_TAKEN, lambda u: (u.owner, u.backup, u.issue), (None, None, "Some payments fail.")),
        (
            BACK_TAKEN + "    scope: All.\n    timeframe: 1h\n",
            lambda u: (u.scope, u.timeframe.known),
            ("All.", True),
        ),
        (WORK + "  - timeframe: ~\n", lambda u: u.timeframe.latest, utc("2026-11-28T03:00")),
        (
            KEPT + SECOND,
            lambda u: (u.works, u.data, u.link),
            ("Bank transfer.", "Safe.", "https://acme.example/pay7"),
        ),
        (
            KEPT + END,
            lambda u: (u.works, u.data, u.offer, u.offer_public),
            ("Bank transfer.", "Safe.", "A month free.", True),
        ),
        (KEPT + SECOND, lambda u: (u.cause, u.change), (None, None)),
        (
            KEPT + BACK[len(LEAST + "    scope: EU\n    action: Wait.\n") :] + FRESH,
            lambda u: (u.works, u.data, u.link, u.offer),
            (None,) * 4,
        ),
        (MAINTENANCE + "    urgent: true\n" + SECOND, lambda u: u.urgent, True),
        (MAINTENANCE + "    urgent: true\n" + SECOND + "    urgent: ~\n", lambda u: u.urgent, False),
        # Without an estimate it is unknown; what is being done may follow later.
        (LEAN, lambda u: (u.resolution, u.timeframe.known), ("", False)),
        (LEAN + SECOND + "    status: identified\n", lambda u: u.resolution, ""),
        (
            LEAST + "    action: none\n    scope: unknown\n" + SECOND,
            lambda u: (u.action, u.scope),
            ("none", "unknown"),
        ),
        # The short form of a text holds as long as what it is the short form of.
        (SHORT + "  - nothing_new: 60%.\n", lambda u: u.short, "Cards fail."),
        (SHORT + "  - action: Wait.\n", lambda u: u.short, None),
        (SHORT + "  - issue: Worse.\n    short: All fail.\n", lambda u: u.short, "All fail."),
        (SHORT + "  - status: resolved\n", lambda u: u.short, None),
        (STORM, lambda u: u.timeframe.earliest, utc("2026-11-24T18:00")),
        (STORM, lambda u: u.timeframe.latest, utc("2026-11-24T19:00")),
        (STORM.replace("1h to 2h", "2h") + MOVED, lambda u: u.timeframe.latest, utc("2026-11-25T19:00")),
        (STORM.replace("1h to 2h", "by 2026-11-24T20:00") + MOVED, *(lambda u: u.timeframe.latest, None)),
    ],
)
def test_what_an_update_means(desk: Config, text: str, ask: Callable[[Any], object], meant: object) -> None:
    assert ask(read(text, desk).latest) == meant


def test_when_an_expected_incident_began(desk: Config) -> None:
    later = STORM + "  - at: 2026-11-24T18:10+01:00\n    status: investigating\n"
    begun = parse_incident(later, "incidents/pay7.yaml", desk, utc("2026-11-24T18:00"))
    assert (begun.started, begun.latest.timeframe) == (utc("2026-11-24T17:10"), begun.update(1).timeframe)
    back = "  - at: 2026-11-21T10:10+01:00\n    status: retracted\n    because: It turned north.\n"
    again = f"  - at: 2026-11-21T10:20+01:00\n    status: reopened\n{FRESH}"
    assert read(STORM + back + again, desk).started == utc("2026-11-21T09:20")


BAD = """\
title: Card payments # fail
severity: big
startd: 2026-11-21T09:52+01:00
owner: no
updates:
  - at: 2026-02-30T10:05+01:00
    issue: Cards fail: all of them
    resoluton: We roll back
    timeframe: 2
    for: {executives: {issue: EU down, 40% since}, nobody: {issue: x}}
  - at: 2026-11-21T10:05
    status: investgating
    issue: {a: down, 40%}
    next_update: 20
  - at: 2026-11-21T10:04
    scope: false
    issue: text
      that goes # on
      and on
    next_update: 10:00x
    internal:
  - just words
"""


def test_all_faults_of_broken_entries_at_once(desk: Config) -> None:
    assert faults(BAD, desk) == [
        f"incidents/pay7.yaml:{line}"
        for line in (
            f'1:22: YAML drops the rest of the line after " #"; {QUOTE}',
            "2:11: severity: must be 1 (worst) to 4, not 'big'; write 1, 2, 3 or 4",
            "3:1: unknown key 'startd'; did you mean 'started'?",
            "4:1: owner: no [people.no] in commcast.toml; add it, or use one of dana, sam",
            "6:9: at: 2026-02-30T10:05+01:00 does not exist; check day, hour and minute",
            f'7:22: ": " inside text without quotes; {QUOTE}',
            "8:5: unknown key 'resoluton'; did you mean 'resolution'?",
            "9:16: timeframe: 2 has no unit; write 2m or 2h",
            f"10:40: '40% since' was read as a key: a comma ends the text inside {{ }}; {QUOTE}",
            "10:52: for: no [audiences.nobody] in commcast.toml; add it, or use one of customers, executives",
            "12:13: status: 'investgating' is not known; did you mean investigating?",
            f"13:12: issue: is not a sentence: YAML read {{ }} or [ ] or a list; {QUOTE}",
            "14:18: next_update: 20 has no unit; write 20m or 20h",
            "15:9: at is before the update above it; keep updates in order of time",
            '16:12: scope: YAML reads false as yes or no, not as text; write it in quotes: "false"',
            f'18:17: YAML drops the rest after " #"; {QUOTE}',
            "20:18: next_update: '10:00x' is not a date and time; write it as 2026-11-21T10:05+01:00",
            "21:13: internal: has no value; write it, or remove the line",
            "22:5: update 4: is not a group of keys; indent its keys below it",
        )
    ]


# Text that is no incident; text below LEAST; what of LEAST is written otherwise; the same for a maintenance.
REFUSED = [
    ("# only a comment\n", "1:1: is empty"),
    *(("- a\n", "1:1: is not a list of keys"), ("title: x\nseverity: 1\n", "1:1: 'updates' is missing")),
    ("title: x\nseverity: 1\nupdates: []\n", "3:10: updates: is empty"),
    ("title: x\nseverity: 1\nupdates: [x, {timeframe: 1h}]\n", "3:11: update 1: is not a group of keys"),
    ("title: x\nseverity: 1\nupdates: soon\n", "3:10: updates: is not a list"),
    (REOPENED + "    ended: 2026-11-21T11:29\n", "17:12: ended is before it was reopened, at 2026-11-21T11"),
]  # fmt: skip
REFUSED_BELOW = [
    ("    at: 2026-11-21T10:05+01:00\n", "8:5: 'at' appears twice"),
    ("  - just words\n  - at: 2026-11-21T10:00+01:00\n", "9:9: at is before the update above it"),
    ("    next_update: 2026-11-21T10:05+01:00\n", "8:18: next_update: 2026-11-21T10:05+01:00 is not after"),
    ("    timeframe: by 2026-11-21 10:00\n", "twice"),
    ("    status: scheduled\n", "8:13: scheduled is not a status of kind incident"),
    ("    status: reopened\n", "8:13: reopened may only follow an end"),
    (END + "    next_update: 20m\n", "10:18: no update can follow resolved"),
    (BACK[len(LEAST) :], "12:5: 'issue' is missing: it is needed again after an end"),
    ("    status: identified\n    resolution: ~\n", "resolution: has no value"),
    (BACK[len(LEAST) :], "12:5: 'resolution' is missing: it is needed again after an end"),
    (END + "  - issue: More.\n", "10:5: only reopened may follow resolved"),
    (END + "    ended: 2026-11-21T12:00\n", "10:12: ended is after"),
    ("    ended: 2026-11-21T10:00\n", "8:12: ended in an update that is investigating"),
    (END + "    ended: 2026-11-21T09:00\n", "10:12: ended is before the first update; add started: when it"),
    (END + "    ended: 2026-11-21T09:00\nstarted: 2026-11-21T09:30\n", "10:12: ended is before it started"),
    ("    audiences: [everyone]\n", "8:17: audiences: no [audiences.everyone] in commcast.toml; add"),
    ("    audiences: customers\n", "8:16: audiences: is not a list; write [customers]"),
    ("    affected: [db]\n", "8:16: affected: no [components.db] in commcast.toml; add it, or use one"),
    ("    corrects: 1\n", "8:15: no earlier update 1"),
    ("    confidence: sure\n", "8:17: confidence: 'sure' is not known"),
    ("    " + WINDOW, "8:5: only a maintenance has a window"),
    ("started: 2026-11-21T10:06+01:00\n", "8:10: started is after the first update"),
    ("id: Pay 7\n", "8:5: id: 'Pay 7' cannot be an id"),
    ("    translations: {de: {action: Warten.}}\n", "8:25: translations: de has action, which this"),
    ("    translations: {DE: {issue: x}}\n", "8:24: DE: 'DE' is not how it is spelled; write de"),
    ("    translations: {german: {issue: x}}\n", "8:28: german: is not a locale; write one such as"),
    ("    translations: {de: {isue: x}}\n", "8:25: unknown key 'isue'; did you mean 'issue'?"),
    ("translations: {de: {titel: x}}\n", "8:21: unknown key 'titel'; did you mean 'title'?"),
    ("translations: {de: ~}\n", "8:20: de: has no value; write it, or remove the line"),
    ("    link: http://acme.example/x\n", "8:11: link: is not a secure web address; write https://…"),
    *((f"    link: {bad}\n", "8:11: link: is not a secure web address") for bad in ("https://", "'https://[a'",
      "https://a.example/b c", "javascript:x", '"https://a.example/\\"x"')),
    ("    urgent: true\n", "8:5: only a maintenance is urgent; remove the line"),
    ("    urgent: soon\n", "8:13: urgent: must be true or false, not 'soon'"),
    ("    cause: ~\n", "8:12: cause: has no value; write it, or remove the line"),
    ("    action:\n", "8:11: action: has no value; write it, or remove the line"),
    ("    nothing_new: ~\n", "8:18: nothing_new: has no value; write it, or remove the line"),
    ("    severity: ~\n", "8:15: severity: has no value; write it, or remove the line"),
    ("owner: ~\n", "8:8: owner: has no value; write it, or remove the line"),
    ("    offer: refnd\n", "8:12: offer: no refnd in [offers] of commcast.toml; add it, or write a sentence"),
    ("dedupe_key: alert-77\n", "8:1: dedupe_key has no effect yet; remove the line"),
    ("postmortem: javascript:alert(1)\n", "8:13: postmortem: is not a web address"),
]  # fmt: skip
REFUSED_INSTEAD = [
    ("severity: 2", "severity: '2'", "2:11: severity: must be 1"),
    ("severity: 2\n", "", "1:1: 'severity' is missing"),
    ("    resolution: We roll back.\n", "    status: identified\n", "4:5: 'resolution' is missing: the"),
    ("    issue: Some payments fail.\n", "", "4:5: 'issue' is missing: the first update needs it"),
    ("Card payments fail", "404", "1:8: title: YAML reads 404 as a number"),
    ("Card payments fail", '"a\\nb"', "1:8: title: has a line break"),
    ("Card payments fail", "x" * 201, "1:8: title: is 201 characters long"),
    ("Some payments fail.", "x" * 4001, "5:12: issue: is 4001 characters long"),
    ("Some payments fail.", '" "', "5:12: issue: is empty"),
    ("Some payments fail.", '"a\\u202eb"', "5:12: \\u202e is a control"),
    ("10:05+01:00", "13:16+01:00", "4:9: at is in the future"),
    ("1h to 2h", "by 2026-11-21 10:00", "7:16: timeframe: 'by 2026-11-21 10:00' is not after"),
]  # fmt: skip
REFUSED_OF_WORK = [
    ("to: 2026-11-28T04:00", "to: 2026-11-28T01:00", "4:38: the window ends before"),
    (WINDOW, "", "1:1: 'window' is missing"),
    ("2026-11-28T02:00", "2026-03-29T02:30", "4:16: from: 2026-03-29T02:30 does not exist"),
    ("database.\n", "database.\n    timeframe: 2h\n", "9:16: timeframe ends outside the window; leave it"),
    (
        "database.\n",
        "database.\n    status: in_progress\n    timeframe: by 2026-11-28 05:00\n",
        "10:16: timeframe ends outside the window; leave it out: the window says it, or write status",
    ),
    ("database.\n", "database.\n    status: resolved\n", "9:13: resolved is not a status of kind"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        *REFUSED,
        *((LEAST + more, fault) for more, fault in REFUSED_BELOW),
        *((LEAST.replace(old, new), fault) for old, new, fault in REFUSED_INSTEAD),
        *((MAINTENANCE.replace(old, new), fault) for old, new, fault in REFUSED_OF_WORK),
        (STORM.replace("11-24T18:00", "11-21T10:00"), "6:18: expected_at is not after its own update"),
    ],
)
def test_what_is_refused_and_where(desk: Config, text: str, fault: str) -> None:
    found = faults(text, desk)
    assert any(fault in line for line in found), found
    assert all("; " in line for line in found), found


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "started: 1763769600\n" + LEAST,
            ["1:10: started: YAML reads 1763769600 as a number, not as a time; write it as"],
        ),
        (LEAST.replace("Card payments fail", '"a\\r\\nb"'), ["1:8: \\u000d is a control character"]),
        (LEAST + "".join(f"x{n}: *a\n" for n in range(120)), ["8:5: *a is a YAML alias"]),
        ("affected: &a [*a, *a]\n" + LEAST, ["1:11: &a is a YAML anchor", "1:15: *a is a YAML alias"]),
        (
            LEAST.replace("  - at", "    at"),
            ["4:5: updates: is not a list; begin each entry with a dash, as in - at: …"],
        ),
        (
            LEAST.replace("Card payments fail", '"Cards').replace("2\n", "9\n", 1),
            ["1:8: this quote", "2:11: severity:"],
        ),
        (
            LEAST.replace("Some", "@Some").replace("1h", "soon"),
            ["5:12: text without quotes", "7:16: timeframe:"],
        ),
        (
            LEAST.replace("Some", '"\\qSome"').replace("title", "titel"),
            ["1:1: unknown key", "5:14: \\q means nothing"],
        ),
    ],
)
def test_one_slip_is_one_fault_and_hides_no_other(desk: Config, text: str, lines: list[str]) -> None:
    found = faults(text, desk)
    assert len(found) == len(lines), found
    assert all(line in fault for line, fault in zip(lines, found, strict=True)), found


def test_components_and_the_files_name_are_checked_only_where_they_matter(desk: Config) -> None:
    without = desk.model_copy(update={"components": {}})
    assert read(LEAST + "    affected: [db]\n", without).latest.affected == ("db",)
    assert "cannot be an id" in faults(LEAST, desk, "incidents/Pay 7.yaml")[0]
    assert read(LEAST + "id: pay7\n", desk, "incidents/Pay 7.yaml").id == "pay7"


def test_a_clock_that_was_set_back_does_not_refuse_what_was_said_before(desk: Config) -> None:
    """Only the newest update can still be a draft; a quarter of an hour ahead is another machine's clock."""
    ahead = LEAST.replace("10:05+01:00", "14:30+01:00")  # it is 13:00
    assert read(ahead + "  - nothing_new: Still at it.\n", desk).latest.number == 2
    for clock in ("13:04", "13:14"):
        assert faults(LEAST.replace("10:05+01:00", f"{clock}+01:00"), desk) == []
    assert "at is in the future" in faults(ahead, desk)[0]
    released = {("pay7", 1): NOW}
    assert parse_incident(ahead, "incidents/pay7.yaml", desk, NOW, released).latest.number == 1


def test_the_first_hundred_faults_and_then_the_total(desk: Config) -> None:
    with pytest.raises(InputError) as caught:
        read(LEAST + "  - {at: x, status: y}\n" * 120, desk)
    lines = caught.value.lines()
    assert len(lines) == 101
    assert "errors, 240 in total" in lines[-1]


def test_of_several_exit_codes_the_gravest_counts() -> None:
    codes = [ExitCode(code) for code in (130, 143, 3, 2, 78, 5, 1, 4, 75, 0)]
    assert [gravest(codes[start:]) for start in range(len(codes))] == codes
    assert gravest([]) is ExitCode.DONE


def test_broken_and_foreign_files_stop_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "desk").mkdir()
    config, folder = make_desk(tmp_path / "desk"), tmp_path / "desk" / "incidents"
    texts = {"good": LEAST, "one": BAD, "three": "title: [\n"} | dict.fromkeys("ab", LEAST + "id: x1\n")
    for name, text in {**texts, "a\x1b[31m\n": LEAST, "stumble": LEAST}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "two.yaml").write_bytes(b"title: caf\xe9\n")
    (folder / ".two.yaml.swp").write_bytes(b"\0")
    (folder / ".#two.yaml").symlink_to("nobody@nowhere")
    (tmp_path / "far.yaml").write_text(LEAST)
    (folder / "far.yaml").symlink_to(tmp_path / "far.yaml")
    (folder / "old.yml").write_text(LEAST)
    os.mkfifo(folder / "pipe.yaml")
    (folder / "folder.yaml").mkdir()

    def stumble(text: str, name: str, config: Config, now: datetime, _at: object) -> Incident:
        if name == "incidents/stumble.yaml":
            raise OverflowError("Python int too large")
        return parse_incident(text, name, config, now)

    monkeypatch.setattr(load, "parse_incident", stumble)
    loaded = load_incidents(config, NOW)
    assert [(one.id, one.path) for one in loaded.incidents] == [("good", "incidents/good.yaml")]
    assert {name: error.faults[0].what for name, error in loaded.broken.items()} == {
        "incidents/a.yaml": "id 'x1' is also used by incidents/b.yaml",
        "incidents/a?[31m?.yaml": "has a control character in its name",
        "incidents/b.yaml": "id 'x1' is also used by incidents/a.yaml",
        "incidents/far.yaml": "points outside its folder",
        "incidents/folder.yaml": "is not a regular file",
        "incidents/old.yml": "is not read under this name",
        "incidents/one.yaml": 'YAML drops the rest of the line after " #"',
        "incidents/pipe.yaml": "is not a regular file",
        "incidents/stumble.yaml": "could not be read: OverflowError",
        "incidents/three.yaml": "this bracket is never closed",
        "incidents/two.yaml": "byte 0xe9 is not UTF-8",
    }
    assert list(loaded.broken) == sorted(loaded.broken)
    assert len(loaded.broken["incidents/one.yaml"].faults) == 19


def test_an_empty_folder_is_fine_a_lost_one_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a lost folder would look like a quiet day."""
    config, folder = make_desk(tmp_path), tmp_path / "incidents"
    (tmp_path.parent / f"{tmp_path.name}-elsewhere").mkdir()

    def cannot_load() -> str:
        with pytest.raises(InputError) as caught:
            load_incidents(config, NOW)
        return str(caught.value)

    assert load_incidents(config, NOW).incidents == ()
    folder.rmdir()
    assert "incidents/: is missing; create it: mkdir" in cannot_load()
    for target, said in (("nowhere", "is missing"), (f"../{tmp_path.name}-elsewhere", "points outside")):
        folder.symlink_to(tmp_path / target)
        assert said in cannot_load()
        folder.unlink()
    folder.write_text("no folder")
    assert "is not a folder" in cannot_load()

    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(os, "listdir", Mock(side_effect=refused))
    assert "incidents/: cannot be read: Permission denied" in cannot_load()


MIB = 1 << 20
ALIASES = [f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)]
WORST = (
    *(LEAST + "  - {}\n" * 990, LEAST + "  - {a: 1, b: 2, at: x}\n" * 990, LEAST + "  - {}\n" * 9000),
    LEAST + "".join(f"k{n}: v\n" for n in range(9_900)),
    LEAST + "    audiences: [" + "a,\n" * 9_900 + "]\n",
    LEAST + "    audiences: [" + ("x" * 9_000 + ",\n") * 50 + "]\n",
    LEAST.replace("1h to 2h", "1" * 9_000) + "    next_update: " + "9h" * 4_000 + "\n",
    *("a: &a [x, x]\n" + "".join(ALIASES), "a: &a [*a]\n", 'a: "' + "x" * 8 * MIB + '"\n'),
    *("a: " + "[" * 20_000, "[" * 20_000 + "]" * 20_000, "{a: " * 20_000, "- " * 5_000, "? " * 5_000),
    *("".join(" " * n + "a:\n" for n in range(900)), ("issue: " + "a " * 9_900 + "\n") * 25),
    *("a: " + "x" * 500_000, "".join(f"k{n}: v\n" for n in range(9_990)), "k: v\n" * 9_990),
    *("---\n" * 9_990, "[" + "a, \n" * 9_990 + "]", "\n" * 9_990, "# x\n" * 9_990),
    *('a: "' + ("\\n" * 4_990 + "\n") * 40 + '"', "a: |\n" + (" " + "x" * 9_900 + "\n") * 50),
    *("a: >\n" + " a\n\n" * 4_900, "a: " + "!" * 19_900, "a: b: c\n" * 9_990, "a:" * 9_900),
    *("issue: a # b\n  c\n" * 4_900, "%A\n" * 9_990),
)

# 200 MB of address space for a reader that starts at about 60, and 2 s for each.
LOADER = """
import resource, sys, time
from datetime import datetime, UTC
from pathlib import Path
from commcast.config.load import load_config
from commcast.errors import InputError
from commcast.incidents.load import load_incident
config = load_config(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
for path in (Path(sys.argv[1]) / "incidents").iterdir():
    began = time.process_time()
    try:
        load_incident(path, config, datetime(2026, 11, 21, 12, tzinfo=UTC))
    except InputError as error:
        print(str(error)[:200])
    took = time.process_time() - began
    assert took < 2, f"{path.name}: {took:.1f} s"
"""


@pytest.mark.linux("a limit of memory that holds")
def test_each_of_the_worst_files_is_read_within_2_s_and_200_mb_and_a_pipe_at_once(tmp_path: Path) -> None:
    make_desk(tmp_path)
    os.mkfifo(tmp_path / "incidents" / "pipe.yaml")
    for number, text in enumerate((*WORST, "\n".join(["[" + "a," * 4_900] * 20))):
        (tmp_path / "incidents" / f"worst{number}.yaml").write_text(text)
    command = [sys.executable, "-c", LOADER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "pipe.yaml: is not a regular file" in done.stdout
    assert f"worst{len(WORST)}.yaml:5:792: has more than 20000 values" in done.stdout


KEYS = "title severity updates id at issue status timeframe next_update for window ended".split()  # noqa: SIM905
SCALARS = ["x", "1", "1h", "by 14:00", "resolved", "2026-11-21T10:05Z", "~", "true", ".nan", '"a: b"', "a #b"]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4).map(
            lambda items: "{" + ", ".join(map(": ".join, items.items())) + "}"
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_any_keys_and_values_are_an_incident_or_faults(desk: Config, data: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in data.items())
    assert all(line.startswith("incidents/pay7.yaml") for line in faults(text, desk))


def test_faults_show_no_address_no_number_and_no_control(desk: Config, tmp_path: Path) -> None:
    text = LEAST + '    owner: dana.reyes@acme.example\n    backup: "+49 30 5550100"\n'
    text += '    for: {"a\\nb": 3, "\\x1b[31m": {}}\n'
    found = faults(text + "    " + "k" * 900 + ": v\n", desk)
    shown = "\n".join(found)
    assert len(shown.splitlines()) == len(found)
    assert "reyes@" not in shown and "5550100" not in shown and "\x1b" not in shown
    assert "…@acme.example" in shown and "…0100" in shown
    assert max(map(len, found)) < 700


def test_the_schemas_are_of_use_to_a_yaml_editor() -> None:
    schema = json_schema(IncidentFile)
    entry = schema["$defs"]["UpdateEntry"]["properties"]
    assert (entry["at"]["type"], entry["action"]["type"]) == ("string", ["string", "null"])
    assert {"for", "corrects", "wrong", "right"} <= set(entry)
    assert schema["additionalProperties"] is False
    assert "dedupe_key" not in {*entry, *schema["properties"]}  # it does nothing
    assert (
        entry["translations"]["type"] == ["object", "null"]
        and "title" in schema["$defs"]["TitleWritten"]["properties"]
    )
    assert set(SENTENCES) < set(schema["$defs"]["Translation"]["properties"])
    properties = set(json_schema(PresetFile)["properties"])
    assert "about" in properties and not {"id", "started"} & properties


OWN = "about: the night batch is late\ntitle: Statements are late\nseverity: 3\nupdates:\n"
OWN += "  - issue: Statements are late.\n    resolution: We run it again.\n    timeframe: unknown\n"


@pytest.fixture
def own_desk(tmp_path: Path) -> Config:
    (tmp_path / "presets").mkdir()
    return make_desk(tmp_path)


def test_the_shipped_presets_are_ready(own_desk: Config) -> None:
    presets = list_presets(own_desk)
    assert [preset.name for preset in presets] == ["dependency", "login", "payments", "slow"]
    for preset in presets:
        path = create_incident(own_desk, f"{preset.name}1", preset.data)
        fill_times(path, {1: NOW})
        append_update(path, {"at": NOW, "nothing_new": "We are still looking."})
        incident = load_incident(path, own_desk, NOW)
        assert incident.title == preset.title
        assert not set("<>{}[]_") & set(incident.latest.issue + incident.latest.resolution)
        assert incident.latest.action


# Formulas, blame, and words that sound translated; what customers read holds none of them.
NOT_OUR_VOICE = re.compile(
    r"look(ing)? into|provider|vendor|supplier|because of|do not|does not|we are|in order to|apologi", re.I
)
TOLD = ("issue", "resolution", "scope", "action", "fixed", "remains", "if_it_persists", "nothing_new")


def test_the_shipped_words_are_plain_and_blame_nobody(own_desk: Config, desk: Config) -> None:
    entries = [preset.data["updates"][0].get for preset in list_presets(own_desk)]
    entries += [partial(getattr, update) for update in read(EXAMPLE.read_text(), desk).updates]
    told = [words for of in entries for key in TOLD if (words := of(key, ""))]
    assert [words for words in told if NOT_OUR_VOICE.search(words)] == []
    assert all(len(sentence.split()) <= 20 for words in told for sentence in re.split(r"[.?;] ", words))


def test_a_users_own_preset_hides_the_shipped_and_an_unknown_names_the_known(own_desk: Config) -> None:
    (own_desk.folder / "presets" / "login.yaml").write_text(OWN)
    preset = find_preset(own_desk, "login")
    assert (preset.origin, preset.about) == ("presets", "the night batch is late")
    assert "about" not in preset.data
    assert len(list_presets(own_desk)) == 4
    for name, said in (("payment", "did you mean payments"), ("../../etc/passwd", "presets: dependency")):
        with pytest.raises(InputError, match=said):
            find_preset(own_desk, name)


def test_a_preset_holds_no_times_and_no_id(own_desk: Config) -> None:
    path = own_desk.folder / "presets" / "late.yaml"
    path.write_text(OWN.replace("  - is", "  - at: 2026-11-21T10:05Z\n    is") + "id: late\nstarted: x\n")
    with pytest.raises(InputError) as caught:
        find_preset(own_desk, "late")
    assert [fault.line for fault in caught.value.faults] == [5, 9, 10]
    assert caught.value.faults[0].file == "presets/late.yaml"
    assert find_preset(own_desk, "slow").origin == "shipped"


OWN_WORDS = (
    LEAST
    + "    scope: EU\n    for:\n      executives: {issue: Revenue is down., scope: 3 markets}\n"
    + "      customers: {issue: Cards fail., resolution: We repair it.}\n"
)


@pytest.mark.parametrize(
    ("more", "executives", "customers"),
    [
        ("    nothing_new: x\n", "issue scope", "issue resolution"),
        ("    resolution: We wait.\n", "issue scope", "issue"),
        ("    issue: It is worse.\n", "scope", "resolution"),
        ("    issue: It is worse.\n    for: {executives: {issue: x}}\n", "issue scope", "resolution"),
        ("    status: resolved\n    fixed: All works.\n", "scope", ""),
        ("    scope: ~\n", "issue", "issue resolution"),
        ("    for: ~\n", "", ""),
        ("    for: {customers: ~}\n", "issue scope", ""),
        ("    for: {executives: {issue: ~, action: Call us.}}\n", "scope action", "issue resolution"),
    ],
)
def test_words_for_an_audience_hold_until_their_sentence_is_written_anew(
    desk: Config, more: str, executives: str, customers: str
) -> None:
    updates = read(OWN_WORDS + SECOND + more, desk).updates
    found = {name: each.model_dump(exclude_none=True) for name, each in updates[1].words_in_force.items()}
    assert " ".join(found.get("executives", {})) == executives
    assert " ".join(found.get("customers", {})) == customers


def test_words_for_an_audience_end_with_the_incident_and_change_no_digest(desk: Config) -> None:
    incident = read(OWN_WORDS + AGAIN.removeprefix(LEAST + "    scope: EU\n    action: Wait.\n"), desk)
    assert (incident.latest.status, incident.latest.words_in_force) == (Status.REOPENED, {})
    incident = read(OWN_WORDS + SECOND, desk)
    alone = incident.latest.model_copy(update={"words_in_force": {}})
    assert incident.latest.words_in_force and digest(incident, alone) == digest(incident, incident.latest)


@pytest.mark.parametrize(
    ("more", "german", "austrian"),
    [
        ("", "title issue resolution action", "action"),
        ("    nothing_new: x\n", "title issue resolution action", "action"),
        ("    resolution: We wait.\n", "title issue action", "action"),
        ("    action: ~\n", "title issue resolution", ""),
        (
            "    action: Call.\n    translations: {de: {action: Anrufen.}}\n",
            "title issue resolution action",
            "",
        ),
        ("    translations: {de: {action: ~}}\n", "title issue resolution", "action"),
        ("    translations: {de: ~}\n", "title", "action"),
        ("    translations: ~\n", "title", ""),
        ("    status: resolved\n    fixed: All works.\n", "title", ""),
        ("    status: resolved\n    fixed: x\n    translations: {de: {fixed: x}}\n", "title fixed", ""),
        (
            "    nothing_new: x\n    translations: {de: {nothing_new: x}}\n  - nothing_new: y\n",
            *("title issue resolution action", "action"),
        ),
    ],
)
def test_a_translation_holds_until_its_sentence_is_written_anew(
    desk: Config, more: str, german: str, austrian: str
) -> None:
    incident = read(GERMAN + SECOND + more, desk)
    found = incident.latest.translations_in_force
    said = [*incident.translations["de"], *(key for key in SENTENCES if key in found.get("de", {}))]
    assert (" ".join(said), " ".join(found.get("de-AT", {}))) == (german, austrian)


@pytest.mark.parametrize(
    ("more", "audience", "locale", "said", "kept"),
    [
        ("", "customers", "", "Some payments fail. | Wait.", ""),
        ("", "customers", "de", "Karten gehen nicht. | Warten.", ""),
        ("", "customers", "de-AT", "Karten gehen nicht. | Bitte warten.", ""),
        ("", "customers", "fr", "Some payments fail. | Wait.", "title issue resolution action"),
        ("    action: Call.\n", "customers", "de-AT", "Karten gehen nicht. | Call.", "action"),
        ("    action: none\n", "customers", "de", "Karten gehen nicht. | none", ""),
        # At the end what was done stands for the issue.
        (
            "    status: resolved\n    fixed: x\n    translations: {de: {fixed: Behoben.}}\n",
            *("customers", "de", "Behoben. | None", ""),
        ),
        # Own words go before a translation of the general ones.
        ("    for: {executives: {issue: Revenue.}}\n", "executives", "de", "Revenue. | Warten.", "issue"),
    ],
)
def test_what_readers_of_a_language_get_and_what_stays_in_that_of_the_file(
    desk: Config, more: str, audience: str, locale: str, said: str, kept: str
) -> None:
    incident = read(GERMAN + SECOND + more, desk)
    words, left = translated(incident, incident.latest, audience, locale)
    assert set(words) == set(SENTENCES)
    assert (f"{words['issue']} | {words['action']}", " ".join(left)) == (said, kept)


def test_a_short_form_in_another_language_does_not_hide_a_translation(desk: Config) -> None:
    incident = read(GERMAN + "    short: Cards fail.\n", desk)
    found = [
        translated(incident, incident.latest, "customers", each)[0]["short"] for each in ("", "de", "fr")
    ]
    assert found == ["Cards fail.", None, "Cards fail."]
    assert untranslated(incident, incident.latest) == {}
    later = read(GERMAN + SECOND + "    action: Call.\n", desk)
    assert untranslated(later, later.latest) == dict.fromkeys(("de", "de-AT"), ("action",))


def test_a_corrected_title_is_corrected_in_another_language_or_falls_back(desk: Config) -> None:
    wrong = SECOND + "    corrects: 1\n    wrong: Card payments\n    right: Payments\n"
    right = wrong + "    translations: {de: {wrong: Karten, right: Zahlungen}}\n"
    titles = [read(GERMAN + more, desk).title_as_of(None, "de-AT") for more in ("", wrong, right)]
    assert titles == ["Karten gehen nicht", "Payments fail", "Zahlungen gehen nicht"]


def test_an_offer_is_a_sentence_or_a_row_of_the_table_and_not_for_the_public_by_itself(desk: Config) -> None:
    desk = desk.model_copy(update={"offers": {"refund": "One month free, if they ask."}})
    update = read(LEAST + "    offer: refund\n" + SECOND, desk).latest
    assert (update.offer_for(View.INTERNAL), update.offer_for(View.PUBLIC)) == (
        "One month free, if they ask.",
        None,
    )
    update = read(LEAST + "    offer: refund\n    offer_public: true\n" + SECOND, desk).latest
    assert update.offer_for(View.PUBLIC) == "One month free, if they ask."
    assert any(
        "no gift in [offers] of commcast.toml; add it, or use one of refund" in line
        for line in faults(LEAST + "    offer: gift\n", desk)
    )


def test_other_words_of_the_table_of_offers_change_no_release(desk: Config) -> None:
    one, two = (
        read(LEAST + "    offer: refund\n", desk.model_copy(update={"offers": {"refund": words}}))
        for words in ("A month.", "Two months.")
    )
    assert (one.latest.offer, two.latest.offer) == ("A month.", "Two months.")
    assert digest(one, one.latest) == digest(two, two.latest)
