"""Options that several commands share, and the keys of an incident file that they fill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from commcast.errors import ConfigError, Fault, InputError

CONFIG_NAME = "commcast.toml"


def _option(help: str, *names: str, **more: Any) -> Any:
    """Return an option without a default to show; without `names` it is called like its parameter."""
    return typer.Option(*names, help=help, show_default=False, **more)


def text_option(help: str, *names: str) -> Any:
    """Return an option that takes a person's words."""
    return _option(help, *names, metavar="TEXT")


def _argument(help: str, **more: Any) -> Any:
    return typer.Argument(help=help, show_default=False, **more)


def _severity(text: str) -> int:
    if text.strip() not in {"1", "2", "3", "4"}:
        refuse("--severity", f"severity is 1, 2, 3 or 4, not {text!r:.40}", "1 is the worst")
    return int(text)


FolderOption = Annotated[
    Path | None, _option("The desk's folder; default: here or the nearest above.", "--folder", "-C")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation: release and send.")]
# Where a yes sends nothing.
NoQuestionOption = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be sent; write and send nothing.")
]
NowOption = Annotated[str | None, _option("Show as of this time, such as 2026-11-21T10:05+01:00.", "--now")]
EditOption = Annotated[bool, typer.Option("--edit", "-e", help="Open the text in $EDITOR first.")]
ByOption = Annotated[str | None, _option("Name recorded as the decision-maker; default: your login.")]
AddresseeOption = Annotated[str | None, _option("Only to this address or number.", "--to", metavar="ADDRESS")]
IncidentArgument = Annotated[str | None, _argument("The incident's id; may be left out when one is open.")]

# What fills the keys of an incident file.
IdOption = Annotated[str | None, _option("A short id; default: made from the title.")]
StatusOption = Annotated[str | None, text_option("investigating, identified, monitoring …")]
SeverityOption = Annotated[
    int | None, _option("1 is the worst, 4 the mildest.", parser=_severity, metavar="1-4")
]
IssueOption = Annotated[str | None, text_option("What readers see, in their words.")]
ResolutionOption = Annotated[str | None, text_option("What is being done, or may be done.")]
TimeframeOption = Annotated[str | None, text_option("unknown, 30m, '1h to 2h', or 'by 14:00'.")]
ConfidenceOption = Annotated[str | None, text_option("How reliable the timeframe is: low or high.")]
ScopeOption = Annotated[str | None, text_option("What is affected, and what still works.")]
ActionOption = Annotated[str | None, text_option("What readers should do, or not do.")]
AffectedOption = Annotated[str | None, text_option("Components, such as payments,login.")]
AudienceOption = Annotated[list[str] | None, _option("Who is told; repeat it. Default: by severity.")]
OwnerOption = Annotated[str | None, text_option("The person of commcast.toml who leads.")]
NextOption = Annotated[str | None, text_option("When readers will hear more: 20m, or 14:00.", "--next")]
InternalOption = Annotated[str | None, text_option("Shown only to audiences with the internal view.")]
NothingNewOption = Annotated[
    str | None, text_option("A short progress note when nothing else changed: 'rollback at 60%'.")
]
WindowOption = Annotated[
    str | None, text_option('"2026-12-05 02:00/04:00", "2026-12-05 22:00/2026-12-06 02:00", "22:00/02:00".')
]
ExpectedOption = Annotated[str | None, text_option('Not here yet: when it is expected, "2026-12-05 02:00".')]
BecauseOption = Annotated[str | None, text_option("Why, in readers' words.")]
FixedOption = Annotated[str | None, text_option("What fixed it, or what was done.")]
RemainsOption = Annotated[str | None, text_option("What readers may still notice.")]
PersistsOption = Annotated[str | None, text_option("What readers should do if it is not over for them.")]
EndedOption = Annotated[str | None, text_option("When it was over, such as 11:08; default: now.")]


def refuse(option: str, what: str, remedy: str = "") -> NoReturn:
    """Raise InputError for what was typed; `option` is "" where it is about no single one."""
    raise InputError(Fault(option, 0, 0, what, remedy))


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
    what, remedy = f"there is no {CONFIG_NAME} here or above", "go to a desk's folder, or: commcast init"
    raise ConfigError(Fault(CONFIG_NAME, 0, 0, what, remedy))


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


_UNDECODED = re.compile("[\ud800-\udfff]")  # how Python shows bytes of the command line that are no text
_KEY_OF_PARAMETER = {"next_": "next_update", "audience": "audiences", "expected": "expected_at"}
# In the order in which a person reads an update; internal words last.
_UPDATE_KEYS = (
    *("status", "expected_at", "window", "because", "severity", "affected", "audiences", "owner", "ended"),
    *("issue", "fixed", "resolution"),
    *("timeframe", "confidence", "scope", "action", "nothing_new", "remains", "if_it_persists"),
    *("merged_into", "check_in", "next_update", "corrects", "wrong", "right", "for"),
    "internal",
)
_NAMED_OTHERWISE = {
    "title": "TITLE",
    "expected_at": "--expected",
    "audiences": "--audience",
    "next_update": "--next",
    "merged_into": "--into",
}
# Which option fills which key of the file.
OPTION_OF = {
    key: _NAMED_OTHERWISE.get(key, f"--{key.replace('_', '-')}")
    for key in ("title", "id", "started", *_UPDATE_KEYS)
    if key not in {"corrects", "for"}
}


def written_keys(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an incident file that a command's options fill, as they are written there.

    Raises InputError for bytes that are not text.
    """
    keys = {_KEY_OF_PARAMETER.get(name, name): value for name, value in parameters.items()}
    if isinstance(keys.get("affected"), str):
        keys["affected"] = [part.strip() for part in keys["affected"].split(",") if part.strip()]
    keys = {key: value for key, value in keys.items() if key in OPTION_OF and value not in (None, [], ())}
    texts = {key: "".join(value) if isinstance(value, list) else str(value) for key, value in keys.items()}
    if no_text := [key for key, text in texts.items() if _UNDECODED.search(text)]:
        what, remedy = "holds bytes that are no text", "write it in UTF-8, or in an editor with --edit"
        raise InputError(Fault("", 0, 0, f"{OPTION_OF[key]} {what}", remedy) for key in no_text)
    return keys


def update_entry(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `keys` that belongs to an update, in the order it is written."""
    return {key: keys[key] for key in _UPDATE_KEYS if key in keys}


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


def meaning(key: str, *, planned: bool = False) -> str:
    """Return what a key is for: in an incident, or in `planned` work."""
    said = _MEANING | _MEANING_OF_WORK if planned else _MEANING
    return said.get(key, "what you would say to somebody who waits")


def missing_options(keys: Iterable[str], *, planned: bool = False) -> InputError:
    """Return the error that lists every option that has to be given, of an incident or of `planned` work."""
    return InputError(
        Fault("", 0, 0, f"{OPTION_OF[key]} is missing", meaning(key, planned=planned).partition(" (")[0])
        for key in keys
    )


def in_terms_of_options(error: InputError, text: str, name: str, first_line: int) -> InputError:
    """Return the same faults; one in a line that an option made names the option instead of a line."""
    lines = text.split("\n")
    return InputError(
        _named(fault, lines) if fault.file == name and fault.line >= first_line else fault
        for fault in error.faults
    )


def _named(fault: Fault, lines: list[str]) -> Fault:
    if (key := fault.what.partition(" ")[0]) in OPTION_OF:
        return _of_option(OPTION_OF[key], fault.what, fault.remedy)
    for line in reversed(lines[: fault.line]):
        found = re.match(r"\s*(?:- )?\s*([a-z_]+):", line)
        if found and found[1] in OPTION_OF:
            return _of_option(OPTION_OF[found[1]], fault.what.removeprefix(f"{found[1]}: "), fault.remedy)
    return Fault("", 0, 0, fault.what, fault.remedy)


def _of_option(option: str, what: str, remedy: str) -> Fault:
    """Return a fault of a line as one of the option that made it: there is no line to remove."""
    return Fault(option, 0, 0, what, remedy.replace("remove the line", f"leave {option} out"))


def duration(text: str, option: str) -> timedelta:
    """Return the length of time given with an option. Raises typer.BadParameter."""
    from commcast.model.times import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
