"""The commands declare and update: the first message about an incident, and further ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from commcast.cli import clock_times, prompt
from commcast.cli.options import (
    VerbInput,
    argument,
    in_terms_of_options,
    missing_options,
    refuse,
    update_entry,
    verb,
)
from commcast.cli.output import say
from commcast.cli.question import check_can_go
from commcast.cli.release import send_written
from commcast.cli.session import Place, desk_now
from commcast.cli.verbs import append_and_send, ask_for, find_open, refuse_over, typed_words
from commcast.errors import InputError, LedgerError
from commcast.model.incident import goes_back, needed_at
from commcast.model.times import parse_timeframe

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


# In the order in which they appear in a file.
_TOP_KEYS = (
    *("id", "title", "translations", "kind", "severity", "started", "window", "affected", "audiences"),
    *("owner", "backup"),
)
ASKED_FOR = ("issue", "resolution", "timeframe")  # at a terminal, also what may be left out
_TRIES = 20  # other people may take the same id at the same moment


@verb(
    "severity issue resolution timeframe confidence scope works data action short link cause offer status "
    "affected audiences owner next_update because internal expected_at started ended id edit"
)
def declare(
    said: VerbInput, title: Annotated[str | None, argument("A title, or a preset's name (payments).")] = None
) -> None:
    """Start an incident: write its file, show what goes out, ask for confirmation, and send.

    At a terminal it asks for what is missing. A preset's name fills in its text.

    Example: commcast declare "Card payments fail" --severity 2 --issue "Some cards are
    refused." --resolution "We roll back the last release." --timeframe unknown
    """
    if "expected_at" in said.keys and (status := said.keys.setdefault("status", "expected")) != "expected":
        refuse("--expected", f"an incident that is {status} has begun", "leave out --status")
    desk = desk_now(said.folder)
    data = first_words(desk.config, title, clock_times.with_dates(said.keys, desk))
    begin(desk, completed(desk, data, asked=not said.edit, hint=_preset_hint(desk.config, title)), said)


def begin(
    desk: Desk, data: dict[str, Any], said: VerbInput, check: Callable[[Incident], None] = lambda _: None
) -> NoReturn:
    """Write the file that `data` makes, and send it. Raises typer.Exit with how that ended.

    `check` raises InputError for an incident that this verb does not start: then nothing is written.
    """
    present = _ids_in_folder(desk)
    taken = present | _ids_in_ledger(desk)

    def check_all(incident: Incident) -> None:
        check(incident)
        if not said.dry_run:
            check_can_go(desk, incident, None, edit=said.edit)

    incident = _write_incident(desk, data, taken, check_all, said)
    send_written(Place(desk, incident, present), said)


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
    # What is taken back of a preset is not written at all.
    data, first = ({key: value for key, value in each.items() if value is not None} for each in (data, first))
    return {**_ordered(data), "updates": [first, *others]}


def _preset_hint(config: Config, title: str | None) -> str:
    """Return the list of presets or, if one was probably meant, its name; "" for any other title."""
    from difflib import get_close_matches

    from commcast.incidents.presets import preset_names

    names = preset_names(config)
    if title is None:
        return f"Presets (ready-made drafts):\n  commcast declare {' | '.join(names)}"
    word = title.strip().lower()
    close = get_close_matches(word, names, 1)
    if title in names or not close or " " in word:
        return ""
    return f"{title!r:.60} is not a preset; did you mean: commcast declare {close[0]}"


def completed(desk: Desk, data: dict[str, Any], *, asked: bool, hint: str = "") -> dict[str, Any]:
    """Return `data` with what it needs: asked for at a terminal, else an error that lists all of it.

    `hint` says, if anything is missing, what else could have been meant. An answer that would be refused
    later is asked for again at once: a later refusal would lose the other answers.
    """
    first = data["updates"][0]
    planned = data.get("kind") == "maintenance"
    missing = [key for key in ("title", "severity", *(["window"] if planned else [])) if key not in data]
    needed = [*missing, *needed_at(first.get("status") or ("scheduled" if planned else "investigating"))]
    asks = prompt.at_terminal()
    missing += [key for key in (ASKED_FOR[: 3 - planned] if asks else needed) if key not in {**first, **data}]
    if missing and not asks:
        error = missing_options(missing, planned=planned)
        if hint:
            error.add_note(hint)
        raise error
    if missing and asked:
        opening = "A few questions first; nothing is sent until you have seen all of it."
        say(f"{hint}\n{opening}" if hint else opening)
    for key in missing:
        # An editor shows an empty value to fill in.
        answer = _asked(desk, key, planned=planned, is_needed=key in needed) if asked else ""
        if answer or not asked:
            (data if key in _TOP_KEYS else first)[key] = answer
    if asked and "timeframe" in missing and first.get("timeframe") and "expected_at" not in {**data, **first}:
        first["timeframe"] = clock_times.with_its_date(desk, first["timeframe"])
    data["updates"][0] = update_entry(first) | first
    return _ordered(data)


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in _TOP_KEYS if key in data} | data


def _asked(desk: Desk, key: str, *, planned: bool, is_needed: bool) -> Any:
    """Return what a person typed for a key, as an incident file holds it."""
    answer = ask_for(key, answer_check(desk, key), planned=planned, is_needed=is_needed)
    if key == "window":
        return clock_times.written(clock_times.read_window(desk, answer))
    return int(answer) if key == "severity" else answer


def answer_check(desk: Desk, key: str) -> prompt.Check:
    """Return the check that refuses a wrong answer for this key."""

    def check(answer: str) -> None:
        if key == "severity" and answer not in {"1", "2", "3", "4"}:
            raise ValueError("must be 1 (worst) to 4")
        if key == "timeframe":
            clock_times.check_estimate(
                desk, answer, parse_timeframe(answer, desk.now, desk.config.zone).latest
            )
        if key == "window":
            clock_times.check_ahead(desk, clock_times.read_window(desk, answer))

    return check


def _ids_in_folder(desk: Desk) -> set[str]:
    """Return the ids of all incident files, also of broken ones."""
    from commcast.incidents.load import INCIDENTS_FOLDER, incident_paths, load_incidents

    if not os.path.lexists(desk.config.folder / INCIDENTS_FOLDER):
        return set()  # writing the first one makes the folder
    loaded = load_incidents(desk.config, desk.now)
    return {path.stem for path in incident_paths(desk.config)} | {each.id for each in loaded.incidents}


def _ids_in_ledger(desk: Desk) -> frozenset[str]:
    """Return the ids in the ledger: under one of them everybody would count as told already."""
    from commcast.ledger.releases import released_incidents
    from commcast.ledger.store import ledger_path, open_copy

    with suppress(LedgerError), open_copy(ledger_path(desk.config.folder), desk.config.desk) as ledger:
        if ledger is not None:
            with ledger.read() as connection:
                return released_incidents(connection)
    return frozenset()  # if it is broken, sending will say so; the draft is kept


def _write_incident(
    desk: Desk, data: dict[str, Any], taken: set[str], check: Callable[[Incident], None], said: VerbInput
) -> Incident:
    """Write the file of a new incident once all of it is right; a dry run writes nothing.

    Raises InputError; then nothing is written.
    """
    from commcast.incidents.editor import create_file

    for _ in range(_TRIES):
        incident, text = _checked(desk, data, taken, check, edit=said.edit)
        if said.dry_run:
            return incident
        try:
            path = create_file(desk.config, incident.id, text)
        except InputError as error:
            if "id" in data or "file exists" not in str(error):
                raise
            taken.add(incident.id)
            continue
        say(f"Wrote {path.relative_to(desk.config.folder)}.")
        return incident
    raise InputError("no free id was found; choose one with --id")


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
        typed = None if edit else data["updates"][0].get("timeframe")
        clock_times.check_estimate(desk, typed, incident.latest.timeframe.latest)
    except InputError as error:
        raise error if edit else in_terms_of_options(error, text, name, 1) from None
    if incident.id in taken:
        raise InputError(f"--id: {incident.id} is already in use; leave it out, or choose another")
    check(incident)
    return incident, text


_WHY = {"issue", "resolution", "nothing_new", "because"}  # any of these says why a status goes back
# Statuses with a command of their own, and what an update alone would leave out.
_OWN_VERBS = {
    "resolved": ('resolve {id} --fixed "…"', "ends the incident without saying what fixed it"),
    "completed": ('complete {id} --fixed "…"', "ends the maintenance without saying what was done"),
    "cancelled": ('cancel {id} --because "…"', "ends the maintenance without saying why"),
    "rescheduled": ('reschedule {id} --window "…"', "needs the new window"),
    "extended": ('extend {id} --until "…"', "needs the new end"),
    "retracted": ('retract {id} --because "…"', "withdraws everything without saying why"),
    "merged": ("merge {id} --into ID", "ends it without naming the incident that goes on"),
}


@verb(
    "incident status issue resolution timeframe confidence scope works data action short link nothing_new "
    "cause offer expected_at next_update because severity affected audiences owner internal edit"
)
def update(said: VerbInput) -> None:
    """Post an update; fields you omit are carried forward.

    Example: commcast update --nothing-new "The rollback is at 60%." --next 20m
    Example: commcast update --next "2026-11-22 09:00" --because "The vendor works on it overnight."
    """
    place = find_open(said)
    if "status" not in said.keys and not said.edit:
        refuse_over(place)
    _check_status(place, said)
    _refuse_news_without_news(place, said)
    if not (said.keys or said.edit or prompt.at_terminal()):
        refuse("", "nothing new to send", "write what is new with --issue, --status …, or --nothing-new")
    asked = {} if said.keys else typed_words(said, "nothing_new")
    if goes_back(place.incident.latest.status, said.keys.get("status", "")) and not said.keys.keys() & _WHY:
        asked = typed_words(said, "because")
    append_and_send(place, said, asked)


def _check_status(place: Place, said: VerbInput) -> None:
    """Refuse a status with a command of its own, and to expect what has begun. Raises InputError."""
    name, now, status = place.incident.id, place.incident.latest.status, said.keys.get("status")
    if status in _OWN_VERBS and not said.edit:
        command, why = _OWN_VERBS[status]
        refuse("--status", f"{status} {why}", f"write: commcast {command.format(id=name)}")
    if now == "expected":
        return
    if status == "expected" and not said.edit:
        refuse("--status", f"readers were told that {name} has begun: it is {now}", "leave it out")
    if "expected_at" in said.keys:
        refuse("--expected", f"{name} has begun: it is {now}", "leave it out")


def _refuse_news_without_news(place: Place, said: VerbInput) -> None:
    """Refuse to say that nothing is new above text that is new. Raises InputError."""
    latest, keys = place.incident.latest, said.keys
    new = " and ".join(
        f"--{key}"
        for key in ("issue", "resolution")
        if key in keys and str(keys[key]).strip() != getattr(latest, key)
    )
    if "nothing_new" in keys and new:
        what = f"readers would see that nothing is new, followed by a new text of {new}"
        remedy = f"leave out --nothing-new and write what is new in {new}, or leave out {new}"
        refuse("--nothing-new", what, remedy)
