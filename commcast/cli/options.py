"""Options that several commands share, and the keys of an incident file that they fill."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from commcast.cli.output import say
from commcast.errors import ConfigError, Fault, InputError
from commcast.files import distrusted

CONFIG_NAME = "commcast.toml"


def _option(help: str, *names: str, **more: Any) -> Any:
    """Return an option without a default to show; without `names` it is called like its parameter."""
    return typer.Option(*names, help=help, show_default=False, **more)


def text_option(help: str, *names: str) -> Any:
    """Return an option that takes a person's words."""
    return _option(help, *names, metavar="TEXT")


def argument(help: str, **more: Any) -> Any:
    return typer.Argument(help=help, show_default=False, **more)


def _severity(text: str) -> int:
    if text.strip() not in {"1", "2", "3", "4"}:
        refuse("--severity", f"must be 1 (worst) to 4, not {text!r:.40}")
    return int(text)


FolderOption = Annotated[
    Path | None, _option("The desk's folder; default: here or the nearest above.", "--folder", "-C")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation: release and send.")]
# If a yes sends nothing.
NoQuestionOption = Annotated[bool, typer.Option("--yes", "-y", help="Skip confirmation.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be sent; write and send nothing.")
]
NowOption = Annotated[str | None, _option("Show as of this time, such as 2026-11-21T10:05+01:00.", "--now")]
LateOption = Annotated[
    bool, typer.Option("--late", help='Also send updates whose own "next update by" has passed.')
]
EditOption = Annotated[bool, typer.Option("--edit", "-e", help="Open the text in $EDITOR first.")]
ByOption = Annotated[str | None, _option("Name recorded as the decision-maker; default: your login.")]
AddresseeOption = Annotated[str | None, _option("Only to this address or number.", "--to", metavar="ADDRESS")]
IncidentArgument = Annotated[str | None, argument("The incident's id; may be left out when one is open.")]

_WORDS_OF_KEYS = tomllib.loads(Path(__file__).with_name("words_of_keys.toml").read_text("utf-8"))
# What --help says of the options of a verb that fill a key of the incident file, by that key.
_HELP_OF_KEYS: Mapping[str, str] = _WORDS_OF_KEYS["option"]
# Keys with an option --no-… that takes back what is carried forward.
TAKEN_BACK = (
    *("scope", "works", "data", "action", "short", "link", "urgent", "offer"),
    *("affected", "audiences", "owner"),
)
# In the order in which a person reads an update; internal words last.
_UPDATE_KEYS = (
    *("status", "expected_at", "window", "because", "severity", "affected", "audiences", "owner", "ended"),
    *("urgent", "issue", "cause", "fixed", "resolution", "timeframe", "confidence", "scope", "works", "data"),
    *("action", "short", "link", "nothing_new", "remains", "if_it_persists", "change"),
    *("merged_into", "check_in", "next_update", "corrects", "wrong", "right", "for", "translations"),
    *("offer", "offer_public", "internal"),
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
    if key not in {"corrects", "for", "translations", "offer_public"}
}


# The options that take a key back.
_NO = {key: f"--no-{OPTION_OF[key].removeprefix('--')}" for key in TAKEN_BACK}


def _of_key(key: str, help: str) -> Any:
    """Return the type of the parameter for a key of the incident file, with its option."""
    if key in TAKEN_BACK:
        help = f"{help} {_NO[key]} clears it."
    if key == "severity":
        return Annotated[int | None, _option(help, parser=_severity, metavar="1-4")]
    if key == "urgent":
        return Annotated[bool | None, _option(help, "--urgent")]
    if key in {"audiences", "check_in"}:
        return Annotated[list[str] | None, _option(help, OPTION_OF[key])]
    return Annotated[str | None, text_option(help, OPTION_OF[key])]


_SHARED = {
    "incident": IncidentArgument,
    **{key: _of_key(key, help) for key, help in _HELP_OF_KEYS.items()},
    **{f"no_{key}": Annotated[bool, typer.Option(_NO[key], hidden=True)] for key in TAKEN_BACK},
    "edit": EditOption,
    "late": LateOption,
    "yes": YesOption,
    "dry_run": DryRunOption,
    "as_json": JsonOption,
    "folder": FolderOption,
}
_FLAGS = ("edit", "late", "yes", "dry_run", "as_json", *(f"no_{key}" for key in TAKEN_BACK))
_KEYWORD = Parameter.KEYWORD_ONLY


@dataclass(frozen=True, slots=True)
class VerbInput:
    """What a person typed with a verb: the incident, the keys of its file, and how to proceed.

    `edit` opens an editor first; `late` also sends stale updates; `dry_run` writes and sends nothing.
    """

    keys: dict[str, Any]
    incident: str | None = None
    folder: Path | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False
    edit: bool = False
    late: bool = False


def verb(shared: str, *, incident: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options named, and those that every verb has; it gets them as a `VerbInput`.

    Options of its own stay in its signature, and come first in --help. `incident` is the help for that
    argument, if not the usual one. The command raises InputError for bytes that are not text.
    """
    kinds = _SHARED | ({"incident": Annotated[str | None, argument(incident)]} if incident else {})
    back = [f"no_{key}" for key in TAKEN_BACK if key in shared.split()]
    parameters = [
        Parameter(name, _KEYWORD, default=False if name in _FLAGS else None, annotation=kinds[name])
        for name in [*shared.split(), *back, "yes", "dry_run", "as_json", "folder"]
    ]

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        own = [*signature(function, eval_str=True).parameters.values()][1:]

        @wraps(function)
        def command(**given: Any) -> None:
            how = {each.name: given[each.name] for each in fields(VerbInput) if each.name in given}
            function(VerbInput(written_keys(given), **how), **{each.name: given[each.name] for each in own})

        first = [each.replace(kind=_KEYWORD) for each in own]
        command.__signature__ = Signature([*first, *parameters])  # type: ignore[attr-defined]
        command.__annotations__ = {}  # the signature has them
        return command

    return wrap


def refuse(option: str, what: str, remedy: str = "") -> NoReturn:
    """Raise InputError for what was typed; `option` is "" if no single option is to blame."""
    raise InputError(Fault(option, 0, 0, what, remedy))


def find_folder(given: Path | None, *, shows: bool = False) -> Path:
    """Return the desk's folder: the one given, else this one or the nearest above with commcast.toml.

    Others may not be able to change it; a command that only `shows` warns of one where they can. Raises
    ConfigError, also if there is none.
    """
    here = given or Path.cwd()
    above = (each for each in (here, *here.parents) if (each / CONFIG_NAME).is_file())
    folder = given or next(above, None)
    if folder is None:
        what = f"no desk here: no {CONFIG_NAME} in {here} or its parents"
        raise ConfigError(Fault("", 0, 0, what, "go to a desk's folder, or: commcast init"))
    if fault := distrusted(folder, CONFIG_NAME):
        if not shows:
            raise ConfigError(fault)
        _warn(f"Warning: {fault}")
    return folder


_warn = cache(say)  # once, also in a watch


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


_UNDECODED = re.compile("[\ud800-\udfff]")  # how Python shows bytes of the command line that are not text


def written_keys(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an incident file that a command's options fill, as they are written there.

    None stands for what is taken back. Raises InputError for bytes that are not text.
    """
    keys = dict(parameters)
    tilde = ("~", str(Path("~").expanduser()))  # what a shell makes of ~ without quotes
    back = {key for key in TAKEN_BACK if keys.get(f"no_{key}") or _typed(keys.get(key)) in tilde}
    if both := [key for key in back if keys.get(f"no_{key}") and keys.get(key)]:
        refuse(OPTION_OF[both[0]], "is both set and cleared", f"leave out {_NO[both[0]]}")
    if isinstance(keys.get("affected"), str):
        keys["affected"] = [part.strip() for part in keys["affected"].split(",") if part.strip()]
    keys = {key: value for key, value in keys.items() if key in OPTION_OF and value not in (None, [], ())}
    texts = {key: _typed(value) for key, value in keys.items()}
    if no_text := [key for key, text in texts.items() if _UNDECODED.search(text)]:
        what, remedy = "contains bytes that are not text", "write it in UTF-8, or in an editor with --edit"
        raise InputError(Fault("", 0, 0, f"{OPTION_OF[key]} {what}", remedy) for key in no_text)
    return keys | dict.fromkeys(back)


def _typed(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def update_entry(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `keys` that belongs to an update, in the order it is written."""
    return {key: keys[key] for key in _UPDATE_KEYS if key in keys}


def meaning(key: str, *, planned: bool = False) -> str:
    """Return what a key is for: in an incident, or in `planned` work."""
    said = _WORDS_OF_KEYS["prompt"] | (_WORDS_OF_KEYS["prompt_of_planned_work"] if planned else {})
    if key in said:
        return str(said[key])
    help = _HELP_OF_KEYS[key]
    return f"{help[0].lower()}{help[1:].rstrip('.')}"


def missing_options(keys: Iterable[str], *, planned: bool = False) -> InputError:
    """Return the error that lists every missing option, of an incident or of `planned` work."""
    return InputError(
        Fault("", 0, 0, f"{OPTION_OF[key]} is missing", meaning(key, planned=planned).partition(" (")[0])
        for key in keys
    )


def in_terms_of_options(error: InputError, text: str, name: str, first_line: int) -> InputError:
    """Return the same faults; a fault in a line that an option wrote names the option instead."""
    lines = text.split("\n")
    return InputError(
        _named(fault, lines) if fault.file == name and fault.line >= first_line else fault
        for fault in error.faults
    )


def _named(fault: Fault, lines: list[str]) -> Fault:
    """Return the fault of a line as that of the option that wrote it: there is no line to remove."""
    found = (re.match(r"\s*(?:- )?\s*([a-z_]+):", line) for line in reversed(lines[: fault.line]))
    keys = [fault.what.partition(" ")[0], *(each[1] for each in found if each)]
    key = next((key for key in keys if key in OPTION_OF), "")
    option = OPTION_OF.get(key, "")
    remedy = fault.remedy.replace("remove the line", f"leave {option} out") if option else fault.remedy
    remedy = remedy.replace("because: …", '--because "…"')
    return Fault(option, 0, 0, fault.what.removeprefix(f"{key}: "), remedy)


def duration(text: str, option: str) -> timedelta:
    """Return the length of time given with an option. Raises typer.BadParameter."""
    from commcast.model.times import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
