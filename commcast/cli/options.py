"""Options that several commands share, and the keys of a file they fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.errors import ConfigError, Fault, InputError

if TYPE_CHECKING:
    from commcast.operations.desk import Desk


FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", "-C", help="The desk's folder; default: here or the nearest above.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: release and send.")]
# Where a yes sends nothing.
NoQuestionOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be sent; write and send nothing.")
]
NowOption = Annotated[
    str | None,
    typer.Option("--now", help="Show as of this time, such as 2026-11-21T10:05+01:00.", show_default=False),
]
IncidentArgument = Annotated[
    str | None,
    typer.Argument(help="The incident's id; may be left out when one is open.", show_default=False),
]

CONFIG_NAME = "commcast.toml"


def find_folder(given: Path | None) -> Path:
    """Return the desk's folder: the one given, else this one or the nearest above that holds commcast.toml.

    Raises ConfigError where there is none.
    """
    if given is not None:
        return given
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise ConfigError(
        Fault(
            CONFIG_NAME,
            0,
            0,
            f"there is no {CONFIG_NAME} here or above",
            "go to a desk's folder, or: commcast init",
        )
    )


def clock() -> datetime:
    """Return now, aware: the one place that reads the clock."""
    return datetime.now(UTC)


def moment_or_now(text: str | None) -> datetime:
    """Return the time given with --now, else now."""
    if text is None:
        return clock()
    from commcast.model.times import parse_instant

    try:
        return parse_instant(text, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--now") from None


def duration(text: str, option: str) -> timedelta:
    """Return the length of time given with an option. Raises typer.BadParameter."""
    from commcast.model.times import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _text(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, show_default=False, metavar="TEXT")


StatusOption = Annotated[str | None, _text("--status", help="investigating, identified, monitoring …")]


def _severity(text: str) -> int:
    if text.strip() not in {"1", "2", "3", "4"}:
        what = f"severity is 1, 2, 3 or 4, not {text!r:.40}"
        raise InputError(Fault("--severity", 0, 0, what, "1 is the worst"))
    return int(text)


SeverityOption = Annotated[
    int | None,
    typer.Option(
        "--severity",
        parser=_severity,
        metavar="1-4",
        help="1 is the worst, 4 the mildest.",
        show_default=False,
    ),
]
IssueOption = Annotated[str | None, _text("--issue", help="What readers see, in their words.")]
ResolutionOption = Annotated[str | None, _text("--resolution", help="What is being done, or may be.")]
TimeframeOption = Annotated[str | None, _text("--timeframe", help="unknown, 30m, '1h to 2h', or 'by 14:00'.")]
ConfidenceOption = Annotated[
    str | None, _text("--confidence", help="How sure the timeframe is: low or high.")
]
ScopeOption = Annotated[str | None, _text("--scope", help="Who and what is hit, and what works.")]
ActionOption = Annotated[str | None, _text("--action", help="What readers should do, or not do.")]
AffectedOption = Annotated[str | None, _text("--affected", help="Components, such as payments,login.")]
AudienceOption = Annotated[
    list[str] | None,
    typer.Option("--audience", help="Who is told; repeat it. Default: by severity.", show_default=False),
]
OwnerOption = Annotated[str | None, _text("--owner", help="The person of commcast.toml who leads.")]
NextOption = Annotated[str | None, _text("--next", help="When readers hear more: 20m, or 14:00.")]
InternalOption = Annotated[str | None, _text("--internal", help="Only for audiences with internal view.")]
NothingNewOption = Annotated[
    str | None, _text("--nothing-new", help="Say this instead of repeating all: 'rollback at 60%'.")
]
WindowOption = Annotated[
    str | None,
    _text("--window", help='"2026-12-05 02:00/04:00", "2026-12-05 22:00/2026-12-06 02:00", "22:00/02:00".'),
]
ExpectedOption = Annotated[
    str | None, _text("--expected", help='It is only known to be coming, at "2026-12-05 02:00".')
]
BecauseOption = Annotated[str | None, _text("--because", help="Why, in readers' words.")]
FixedOption = Annotated[str | None, _text("--fixed", help="What mended it, or what was done.")]
RemainsOption = Annotated[str | None, _text("--remains", help="What readers may still notice.")]
PersistsOption = Annotated[
    str | None, _text("--if-it-persists", help="What to do when it is not over for a reader.")
]
EndedOption = Annotated[str | None, _text("--ended", help="When it was over, such as 11:08; default: now.")]
EditOption = Annotated[bool, typer.Option("--edit", "-e", help="Open the text in $EDITOR first.")]

_UNDECODED = re.compile("[\ud800-\udfff]")  # how Python shows bytes of the command line that are no text

# Which option fills which key of the file.
OPTION_OF = {
    "title": "TITLE",
    "id": "--id",
    "severity": "--severity",
    "started": "--started",
    "window": "--window",
    "expected_at": "--expected",
    "affected": "--affected",
    "owner": "--owner",
    "audiences": "--audience",
    "status": "--status",
    "issue": "--issue",
    "resolution": "--resolution",
    "timeframe": "--timeframe",
    "confidence": "--confidence",
    "scope": "--scope",
    "action": "--action",
    "next_update": "--next",
    "internal": "--internal",
    "nothing_new": "--nothing-new",
    "because": "--because",
    "ended": "--ended",
    "fixed": "--fixed",
    "remains": "--remains",
    "if_it_persists": "--if-it-persists",
    "wrong": "--wrong",
    "right": "--right",
    "merged_into": "--into",
    "check_in": "--check-in",
}
_KEY_OF_PARAMETER = {"next_": "next_update", "audience": "audiences", "expected": "expected_at"}
# In the order in which a person reads an update; internal words last.
_UPDATE_KEYS = [
    *("status", "expected_at", "window", "because", "severity", "affected", "audiences", "owner", "ended"),
    *("issue", "fixed", "resolution"),
    *("timeframe", "confidence", "scope", "action", "nothing_new", "remains", "if_it_persists"),
    *("merged_into", "check_in", "next_update", "corrects", "wrong", "right", "for"),
    "internal",
]


def written_keys(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an incident file that a command's options fill, as they are written there.

    Raises InputError where what was typed is no text.
    """
    keys = {_KEY_OF_PARAMETER.get(name, name): value for name, value in parameters.items()}
    if isinstance(keys.get("affected"), str):
        keys["affected"] = [part.strip() for part in keys["affected"].split(",") if part.strip()]
    keys = {key: value for key, value in keys.items() if key in OPTION_OF and value not in (None, [], ())}
    _check_decoded(keys)
    return keys


def _check_decoded(keys: Mapping[str, Any]) -> None:
    texts = {key: "".join(value) if isinstance(value, list) else str(value) for key, value in keys.items()}
    if no_text := [key for key, text in texts.items() if _UNDECODED.search(text)]:
        what, remedy = "holds bytes that are no text", "write it in UTF-8, or in an editor with --edit"
        raise InputError(Fault("", 0, 0, f"{OPTION_OF[key]} {what}", remedy) for key in no_text)


def with_dates(keys: dict[str, Any], desk: Desk, *, is_expected: bool = False) -> dict[str, Any]:
    """Return `keys` with a clock time of `started` and `ended` ("09:52") made its latest moment.

    One of `expected_at`, `timeframe` ("by 16:30") and `next_update` becomes the next such moment, with its
    distance from UTC; but how long what `is_expected` lasts is counted from its beginning. Raises InputError
    where it is so far off that another time is meant.
    """
    from commcast.cli.clock_times import check_past, with_its_date

    found: dict[str, Any] = {key: _latest(keys[key], desk) for key in ("started", "ended") if key in keys}
    if "started" in keys:
        check_past(desk, OPTION_OF["started"], keys["started"], found["started"])
    if "expected_at" in keys:
        found["expected_at"] = _ahead(keys["expected_at"], desk)
    dated = {"next_update"} if is_expected or "expected_at" in keys else {"next_update", "timeframe"}
    found |= {key: with_its_date(desk, keys[key]) for key in keys.keys() & dated}
    return {**keys, **found}


def update_entry(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `keys` that belongs to an update, in the order it is written."""
    return {key: keys[key] for key in _UPDATE_KEYS if key in keys}


def in_terms_of_options(error: InputError, text: str, name: str, first_line: int) -> InputError:
    """Return the same faults; one in a line that an option made names the option instead of a line."""
    lines = text.split("\n")
    return InputError(
        _named(fault, lines) if fault.file == name and fault.line >= first_line else fault
        for fault in error.faults
    )


def missing_options(keys: Iterable[str], *, planned: bool = False) -> InputError:
    """Return the error that lists every option that has to be given; `planned` says that it is for work."""
    return InputError(
        Fault("", 0, 0, f"{OPTION_OF[key]} is missing", meaning(key, planned=planned).partition(" (")[0])
        for key in keys
    )


def meaning(key: str, *, planned: bool = False) -> str:
    """Return what is to be said under a key: of an incident, or of `planned` work."""
    said = _MEANING | _MEANING_OF_WORK if planned else _MEANING
    return said.get(key, "what you would say to somebody who waits")


def _latest(text: str, desk: Desk) -> str:
    """Return when the desk's clocks last showed `text`; what is no clock time stays for its check."""
    from commcast.model.times import parse_instant, write_instant

    if not re.fullmatch(r"\d{1,2}:\d{2}", text):
        return text
    today = desk.now.astimezone(desk.config.zone).date()
    for day in (today, today - timedelta(days=1)):
        try:
            moment = parse_instant(f"{day}T{text:0>5}", desk.config.zone)
        except ValueError:
            return text
        if moment <= desk.now:
            break
    return write_instant(moment)


def _ahead(text: str, desk: Desk) -> str:
    """Return the moment to come that `text` names. Raises InputError where it names none."""
    from commcast.model.times import parse_clock_time, parse_instant, write_instant

    zone = desk.config.zone
    try:
        is_clock = re.fullmatch(r"\d{1,2}:\d{2}", text)
        moment = parse_clock_time(text, desk.now, zone) if is_clock else parse_instant(text, zone)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        raise InputError(Fault("--expected", 0, 0, what, remedy)) from None
    return write_instant(moment)


_MEANING = {
    "title": "what is wrong, in a few words",
    "severity": "1 is the worst, 4 the mildest",
    "issue": "what readers see, in their words",
    "resolution": "what is being done, or may be",
    "timeframe": "unknown, 30m, 1h to 2h, or by 14:00",
    "fixed": "what mended it",
    "window": 'from when to when: "2026-12-05 02:00/04:00"',
    "because": "why, in readers' words",
}
_MEANING_OF_WORK = {
    "title": "what will be done, in a few words",
    "issue": "what readers may notice, in their words",
    "resolution": "what will be done, and why",
    "fixed": "what was done",
}


def _named(fault: Fault, lines: list[str]) -> Fault:
    if (key := fault.what.partition(" ")[0]) in OPTION_OF:
        return _of_option(OPTION_OF[key], fault.what, fault.remedy)
    for line in reversed(lines[: fault.line]):
        found = re.match(r"\s*(?:- )?\s*([a-z_]+):", line)
        if found and found[1] in OPTION_OF:
            what = re.sub(rf"^{found[1]}: ", "", fault.what)
            return _of_option(OPTION_OF[found[1]], what, fault.remedy)
    return Fault("", 0, 0, fault.what, fault.remedy)


def _of_option(option: str, what: str, remedy: str) -> Fault:
    """Return a fault of a line as one of the option that made it: there is no line to take out."""
    return Fault(option, 0, 0, what, remedy.replace("take the line out", f"leave {option} out"))
