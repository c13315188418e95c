"""The command declare: from one line, or a preset, to an incident file and its first message."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import prompt
from commcast.cli.clock_times import check_ahead, read_window, written
from commcast.cli.options import (
    ActionOption,
    AffectedOption,
    AudienceOption,
    ConfidenceOption,
    DryRunOption,
    EditOption,
    ExpectedOption,
    FolderOption,
    InternalOption,
    IssueOption,
    JsonOption,
    NextOption,
    OwnerOption,
    ResolutionOption,
    ScopeOption,
    SeverityOption,
    StatusOption,
    TimeframeOption,
    YesOption,
    in_terms_of_options,
    meaning,
    missing_options,
    update_entry,
    with_dates,
    written_keys,
)
from commcast.cli.output import say
from commcast.cli.question import check_can_go
from commcast.cli.release import Wishes, desk_now, ledger_for, ledger_of, send_incident
from commcast.cli.send import plan_only
from commcast.errors import Fault, InputError, LedgerError

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.errors import ExitCode
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


_TOP_KEYS = (
    "id",
    "title",
    "kind",
    "severity",
    "started",
    "window",
    "affected",
    "audiences",
    "owner",
    "backup",
)
_NEEDED = ("issue", "resolution", "timeframe")
_TRIES = 20  # other people may take the same id at the same moment


def declare(
    title: Annotated[
        str | None, typer.Argument(help="A title, or a preset's name (payments).", show_default=False)
    ] = None,
    severity: SeverityOption = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    timeframe: TimeframeOption = None,
    confidence: ConfidenceOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    status: StatusOption = None,
    affected: AffectedOption = None,
    audience: AudienceOption = None,
    owner: OwnerOption = None,
    next_: NextOption = None,
    internal: InternalOption = None,
    expected: ExpectedOption = None,
    started: Annotated[
        str | None, typer.Option(help="When it began: 09:52, or 2026-11-21T09:52Z.", show_default=False)
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="A short id; default: made from the title.", show_default=False)
    ] = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Begin an incident: write its file, show what goes out, ask, and tell everybody.

    What is missing is asked for on a terminal. A preset's name fills in its words.

    Example: commcast declare "Card payments fail" --severity 2 --issue "Some cards are
    refused." --resolution "We roll back the last release." --timeframe unknown
    """
    keys = written_keys(locals())
    keys.pop("title", None)  # a title may be a preset's name
    if expected and keys.setdefault("status", "expected") != "expected":
        raise InputError(Fault("--expected", 0, 0, f"what is {status} has begun", "leave --status out"))
    desk = desk_now(folder)
    data = first_words(desk.config, title, with_dates(keys, desk))
    data = complete(desk, data, asked=not edit, hint=preset_hint(desk.config, title))
    wishes = Wishes(yes=yes, as_json=as_json)
    raise typer.Exit(begin(desk, data, wishes, edit=edit, dry_run=dry_run))


def begin(
    desk: Desk,
    data: dict[str, Any],
    wishes: Wishes,
    *,
    edit: bool,
    dry_run: bool,
    check: Callable[[Incident], None] = lambda _: None,
) -> ExitCode:
    """Write the file that `data` makes, and send it; return how that ended.

    `check` refuses by InputError an incident that this verb does not begin: then nothing is written.
    """
    present = ids_in_folder(desk)
    taken = present | ids_in_ledger(desk)
    if dry_run:
        incident = _checked(desk, data, taken, check, edit=edit)[0]
        with ledger_of(desk, dry_run=True) as ledger:
            return plan_only(desk, incident, ledger, present, wishes)

    def refuse(incident: Incident) -> None:
        check(incident)
        check_can_go(desk, incident, None, edit=edit)

    incident = write_incident(desk, data, taken, refuse, edit=edit)
    with ledger_for(desk, incident) as ledger:
        return send_incident(desk, incident, ledger, present, wishes)


def first_words(config: Config, title: str | None, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return an incident file's data from a preset or a title, with the options over it."""
    from commcast.incidents.presets import find_preset, list_presets

    names = {preset.name for preset in list_presets(config)} if title else set()
    data = deepcopy(dict(find_preset(config, title).data)) if title and title in names else {}
    if not data and title:
        data["title"] = title
    updates = data.pop("updates", [{}])
    data.update({key: value for key, value in keys.items() if key in _TOP_KEYS})
    updates[0] = {**updates[0], **update_entry({k: v for k, v in keys.items() if k not in _TOP_KEYS})}
    data = {key: data[key] for key in _TOP_KEYS if key in data} | data
    return {**data, "updates": updates}


def preset_hint(config: Config, title: str | None) -> str:
    """Return which presets there are or, where one was probably meant, which one; "" for any other title."""
    from difflib import get_close_matches

    from commcast.incidents.presets import preset_names

    names = preset_names(config)
    if title is None:
        return f"Presets, nearly written already:\n  commcast declare {' | '.join(names)}"
    word = title.strip().lower()
    close = get_close_matches(word, names, 1)
    if title in names or not close or " " in word:
        return ""
    return f"{title!r:.60} is no preset; did you mean: commcast declare {close[0]}"


def complete(desk: Desk, data: dict[str, Any], *, asked: bool, hint: str = "") -> dict[str, Any]:
    """Return `data` with what it needs: asked for at a terminal, else an error that lists all of it.

    `hint` says, where anything is missing, what else could have been meant. What could not be said is asked
    for again at once: a later refusal would lose the other answers.
    """
    from commcast.cli.clock_times import with_its_date

    first = data["updates"][0]
    planned = data.get("kind") == "maintenance"
    missing = [key for key in ("title", "severity", *(["window"] if planned else [])) if key not in data]
    missing += [key for key in (_NEEDED[:2] if planned else _NEEDED) if key not in first]
    if not missing or (not asked and prompt.at_terminal()):
        return _with_blanks(data, missing)
    if not prompt.at_terminal():
        error = missing_options(missing, planned=planned)
        if hint:
            error.add_note(hint)
        raise error
    if hint:
        say(hint)
    say("A few words are needed; nothing is sent before you have seen all of it.")
    for key in missing:
        question = f"{key.capitalize()} ({meaning(key, planned=planned)}):"
        answer = prompt.ask_until_good(question, _checks(desk, key))
        (data if key in _TOP_KEYS else first)[key] = _as_written(desk, key, answer)
    if "timeframe" in missing and "expected_at" not in {**data, **first}:
        first["timeframe"] = with_its_date(desk, first["timeframe"])
    return _ordered(data)


def ids_in_folder(desk: Desk) -> set[str]:
    """Return the ids of all incident files, also of broken ones."""
    from commcast.incidents.load import INCIDENTS_FOLDER, incident_paths, load_incidents

    if not os.path.lexists(desk.config.folder / INCIDENTS_FOLDER):
        return set()  # writing the first one makes the folder
    loaded = load_incidents(desk.config, desk.now)
    return {path.stem for path in incident_paths(desk.config)} | {each.id for each in loaded.incidents}


def ids_in_ledger(desk: Desk) -> frozenset[str]:
    """Return the ids that the ledger remembers: under one of them everybody would have been told already."""
    from commcast.ledger.releases import released_incidents
    from commcast.ledger.store import ledger_path, open_copy

    try:
        with open_copy(ledger_path(desk.config.folder), desk.config.desk) as ledger:
            if ledger is None:
                return frozenset()
            with ledger.read() as connection:
                return released_incidents(connection)
    except LedgerError:
        return frozenset()  # sending will say so; the words are kept all the same


def write_incident(
    desk: Desk, data: dict[str, Any], taken: set[str], check: Callable[[Incident], None], *, edit: bool
) -> Incident:
    """Write the file of a new incident once all of it is right. Raises InputError: nothing is written."""
    from commcast.incidents.editor import create_file

    for _ in range(_TRIES):
        incident, text = _checked(desk, data, taken, check, edit=edit)
        try:
            path = create_file(desk.config, incident.id, text)
        except InputError as error:
            if "id" in data or "is there already" not in str(error):
                raise
            taken.add(incident.id)
            continue
        say(f"Wrote {path.relative_to(desk.config.folder)}.")
        return incident
    raise InputError("no free id was found; name one with --id")


def _checked(
    desk: Desk, data: dict[str, Any], taken: Container[str], check: Callable[[Incident], None], *, edit: bool
) -> tuple[Incident, str]:
    """Return the incident that `data` makes, and its file's text. Raises InputError in terms of options."""
    from commcast.cli.clock_times import check_estimate
    from commcast.incidents.editor import new_incident_id
    from commcast.incidents.load import parse_incident
    from commcast.incidents.yaml_lines import lines_of
    from commcast.operations.desk import check_story

    incident_id = data.get("id") or new_incident_id(str(data.get("title", "")), taken)
    name = f"incidents/{incident_id}.yaml"
    text = "\n".join(lines_of({"id": incident_id, **data}, 0)) + "\n"
    if edit:
        text = prompt.edited(text)
    try:
        incident = parse_incident(text, name, desk.config, desk.now)
        check_story(desk, incident, None)
        check_estimate(desk, data["updates"][0].get("timeframe") if not edit else None, incident)
    except InputError as error:
        raise error if edit else in_terms_of_options(error, text, name, 1) from None
    if incident.id in taken:
        raise InputError(f"--id: {incident.id} is in use already; leave it out, or take another")
    check(incident)
    return incident, text


def _checks(desk: Desk, key: str) -> prompt.Check:
    known: dict[str, prompt.Check] = {
        "severity": _check_severity,
        "timeframe": lambda answer: _check_timeframe(desk, answer),
        "window": lambda answer: _check_window(desk, answer),
    }
    return known.get(key, lambda answer: answer)


def _as_written(desk: Desk, key: str, answer: str) -> Any:
    """Return a checked answer as an incident file holds it."""
    if key == "window":
        return written(read_window(desk, answer))
    return int(answer) if key == "severity" else answer


def _check_window(desk: Desk, answer: str) -> None:
    try:
        check_ahead(desk, read_window(desk, answer))
    except InputError as error:
        [fault] = error.faults
        raise ValueError(f"{fault.what}; {fault.remedy.replace('--window ', '')}") from None


def _check_severity(answer: str) -> None:
    if answer not in {"1", "2", "3", "4"}:
        raise ValueError("is no severity; write 1 (the worst) to 4")


def _check_timeframe(desk: Desk, answer: str) -> None:
    from commcast.cli.clock_times import far_estimate
    from commcast.model.times import parse_timeframe

    latest = parse_timeframe(answer, desk.now, desk.config.zone).latest
    if fault := far_estimate(desk, answer, latest):
        raise ValueError(f"{fault.what}; {fault.remedy}")


def _with_blanks(data: dict[str, Any], missing: list[str]) -> dict[str, Any]:
    """Return `data` with an empty place for what is missing, to be filled in an editor."""
    for key in missing:
        (data if key in _TOP_KEYS else data["updates"][0])[key] = ""
    return _ordered(data)


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    first, *others = data["updates"]
    first = {
        **update_entry(first),
        **{key: value for key, value in first.items() if key not in update_entry(first)},
    }
    head = {key: data[key] for key in _TOP_KEYS if key in data}
    return {**head, **data, "updates": [first, *others]}
