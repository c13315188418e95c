"""The command declare: from one line, or a preset, to an incident file and its first message."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from commcast.cli import options, prompt
from commcast.cli.clock_times import (
    check_ahead,
    check_estimate,
    far_estimate,
    read_window,
    with_dates,
    with_its_date,
    written,
)
from commcast.cli.options import in_terms_of_options, meaning, missing_options, refuse, update_entry
from commcast.cli.output import say
from commcast.cli.question import check_can_go
from commcast.cli.release import desk_now, ledger_for, ledger_of, send_incident
from commcast.cli.send import plan_only
from commcast.cli.verbs import VerbInput
from commcast.errors import InputError, LedgerError
from commcast.model.times import parse_timeframe

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


# In the order in which a file begins with them.
_TOP_KEYS = (
    *("id", "title", "kind", "severity", "started", "window", "affected", "audiences"),
    *("owner", "backup"),
)
_NEEDED = ("issue", "resolution", "timeframe")
_TRIES = 20  # other people may take the same id at the same moment


def declare(
    title: Annotated[
        str | None, typer.Argument(help="A title, or a preset's name (payments).", show_default=False)
    ] = None,
    severity: options.SeverityOption = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    timeframe: options.TimeframeOption = None,
    confidence: options.ConfidenceOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    status: options.StatusOption = None,
    affected: options.AffectedOption = None,
    audience: options.AudienceOption = None,
    owner: options.OwnerOption = None,
    next_: options.NextOption = None,
    internal: options.InternalOption = None,
    expected: options.ExpectedOption = None,
    started: Annotated[
        str | None, typer.Option(help="When it began: 09:52, or 2026-11-21T09:52Z.", show_default=False)
    ] = None,
    id: options.IdOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Start an incident: write its file, show what goes out, ask, and send.

    At a terminal it asks for what is missing. The name of a preset fills in its words.

    Example: commcast declare "Card payments fail" --severity 2 --issue "Some cards are
    refused." --resolution "We roll back the last release." --timeframe unknown
    """
    said = VerbInput.of(locals())
    if expected and said.keys.setdefault("status", "expected") != "expected":
        refuse("--expected", f"what is {status} has begun", "leave --status out")
    desk = desk_now(folder)
    data = first_words(desk.config, title, with_dates(said.keys, desk))
    begin(desk, completed(desk, data, asked=not edit, hint=_preset_hint(desk.config, title)), said)


def begin(
    desk: Desk, data: dict[str, Any], said: VerbInput, check: Callable[[Incident], None] = lambda _: None
) -> NoReturn:
    """Write the file that `data` makes, and send it. Raises typer.Exit with how that ended.

    `check` refuses by InputError an incident that this verb does not begin: then nothing is written.
    """
    present = _ids_in_folder(desk)
    taken = present | _ids_in_ledger(desk)
    if said.dry_run:
        incident = _checked(desk, data, taken, check, edit=said.edit)[0]
        with ledger_of(desk, dry_run=True) as ledger:
            raise typer.Exit(plan_only(desk, incident, ledger, present, said.wishes))

    def check_all(incident: Incident) -> None:
        check(incident)
        check_can_go(desk, incident, None, edit=said.edit)

    incident = _write_incident(desk, data, taken, check_all, edit=said.edit)
    with ledger_for(desk, incident) as ledger:
        raise typer.Exit(send_incident(desk, incident, ledger, present, said.wishes))


def first_words(config: Config, title: str | None, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return an incident file's data from a preset or a title, with the options over it."""
    from commcast.incidents.presets import find_preset, list_presets

    is_preset = title is not None and title in {preset.name for preset in list_presets(config)}
    data = deepcopy(dict(find_preset(config, title).data)) if title and is_preset else {}
    if title and not data:
        data["title"] = title
    keys = {key: value for key, value in keys.items() if key != "title"}  # it may be a preset's name
    first, *others = data.pop("updates", [{}])
    data |= {key: value for key, value in keys.items() if key in _TOP_KEYS}
    first |= update_entry({key: value for key, value in keys.items() if key not in _TOP_KEYS})
    return {**_ordered(data), "updates": [first, *others]}


def _preset_hint(config: Config, title: str | None) -> str:
    """Return the presets or, if one was probably meant, which one; "" for any other title."""
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


def completed(desk: Desk, data: dict[str, Any], *, asked: bool, hint: str = "") -> dict[str, Any]:
    """Return `data` with what it needs: asked for at a terminal, else an error that lists all of it.

    `hint` says, if anything is missing, what else could have been meant. An answer that would be refused
    later is asked for again at once: a later refusal would lose the other answers.
    """
    first = data["updates"][0]
    planned = data.get("kind") == "maintenance"
    missing = [key for key in ("title", "severity", *(["window"] if planned else [])) if key not in data]
    missing += [key for key in (_NEEDED[:2] if planned else _NEEDED) if key not in first]
    if missing and not prompt.at_terminal():
        error = missing_options(missing, planned=planned)
        if hint:
            error.add_note(hint)
        raise error
    if missing and asked:
        opening = "A few words are needed; nothing is sent before you have seen all of it."
        say(f"{hint}\n{opening}" if hint else opening)
    for key in missing:
        # An editor gets an empty place to fill in.
        answer = _asked(desk, key, planned=planned) if asked else ""
        (data if key in _TOP_KEYS else first)[key] = answer
    if asked and "timeframe" in missing and "expected_at" not in {**data, **first}:
        first["timeframe"] = with_its_date(desk, first["timeframe"])
    data["updates"][0] = update_entry(first) | first
    return _ordered(data)


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in _TOP_KEYS if key in data} | data


def _asked(desk: Desk, key: str, *, planned: bool) -> Any:
    """Return what a person typed for a key, as an incident file holds it."""
    question = f"{key.capitalize()} ({meaning(key, planned=planned)}):"
    answer = prompt.ask_until_good(question, answer_check(desk, key))
    if key == "window":
        return written(read_window(desk, answer))
    return int(answer) if key == "severity" else answer


def answer_check(desk: Desk, key: str) -> prompt.Check:
    """Return what refuses an answer that could not stand under this key."""

    def check_severity(answer: str) -> None:
        if answer not in {"1", "2", "3", "4"}:
            raise ValueError("is no severity; write 1 (the worst) to 4")

    def check_timeframe(answer: str) -> None:
        latest = parse_timeframe(answer, desk.now, desk.config.zone).latest
        if fault := far_estimate(desk, answer, latest):
            raise ValueError(f"{fault.what}; {fault.remedy}")

    def check_window(answer: str) -> None:
        try:
            check_ahead(desk, read_window(desk, answer))
        except InputError as error:
            [fault] = error.faults
            raise ValueError(f"{fault.what}; {fault.remedy.replace('--window ', '')}") from None

    checks = {"severity": check_severity, "timeframe": check_timeframe, "window": check_window}
    return checks.get(key, lambda _: None)


def _ids_in_folder(desk: Desk) -> set[str]:
    """Return the ids of all incident files, also of broken ones."""
    from commcast.incidents.load import INCIDENTS_FOLDER, incident_paths, load_incidents

    if not os.path.lexists(desk.config.folder / INCIDENTS_FOLDER):
        return set()  # writing the first one makes the folder
    loaded = load_incidents(desk.config, desk.now)
    return {path.stem for path in incident_paths(desk.config)} | {each.id for each in loaded.incidents}


def _ids_in_ledger(desk: Desk) -> frozenset[str]:
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


def _write_incident(
    desk: Desk, data: dict[str, Any], taken: set[str], check: Callable[[Incident], None], *, edit: bool
) -> Incident:
    """Write the file of a new incident once all of it is right. Raises InputError: nothing is written."""
    from commcast.incidents.editor import create_file

    for _ in range(_TRIES):
        incident, text = _checked(desk, data, taken, check, edit=edit)
        try:
            path = create_file(desk.config, incident.id, text)
        except InputError as error:
            if "id" in data or "file exists" not in str(error):
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
