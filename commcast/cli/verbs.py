"""How every verb finds an open incident, appends to its file, and sends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from commcast.cli import prompt
from commcast.cli.clock_times import check_estimate, with_dates
from commcast.cli.options import (
    in_terms_of_options,
    meaning,
    missing_options,
    refuse,
    update_entry,
    written_keys,
)
from commcast.cli.output import say
from commcast.cli.question import check_can_go
from commcast.cli.release import Wishes, desk_now, ledger_for, ledger_of, send_incident
from commcast.cli.send import plan_only
from commcast.cli.session import find_incident, is_open_for_readers
from commcast.errors import DecisionNeeded, InputError, LedgerError

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


@dataclass(frozen=True, slots=True)
class VerbInput:
    """What a person gave with a verb: the keys of the file, the incident, and how to go about it.

    `edit` opens an editor first; `dry_run` shows what would be sent, and writes nothing.
    """

    keys: dict[str, Any]
    incident: str | None
    folder: Path | None
    wishes: Wishes
    edit: bool
    dry_run: bool

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> VerbInput:
        """Return what stands in the parameters of a command, its `locals()`. Raises InputError."""
        return cls(
            keys=written_keys(parameters),
            incident=parameters.get("incident"),
            folder=parameters["folder"],
            wishes=Wishes(yes=parameters["yes"], as_json=parameters["as_json"]),
            edit=parameters.get("edit", False),
            dry_run=parameters["dry_run"],
        )


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident, its desk, and the ids of all incidents there."""

    desk: Desk
    incident: Incident
    present: Collection[str]


def find_open(
    said: VerbInput,
    *,
    is_meant: Callable[[Incident], bool] = lambda _: True,
    what: str = "incidents are open",
    none: str = "no incident is open; begin one with: commcast declare",
) -> OpenIncident:
    """Return the incident to say more of: open for its readers, and without an end that waits for a yes.

    Without an id it is the only one that `is_meant`; `what` and `none` are the words for several and none.
    Raises InputError if there is not exactly one, DecisionNeeded if its end is a draft.
    """
    desk = desk_now(said.folder)
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(ledger_of(desk, dry_run=True))
        except LedgerError:  # the words are kept first; sending will say it
            ledger = None
        place = find_in(desk, ledger, said.incident, is_meant=is_meant, what=what, none=none)
        _refuse_drafted_end(place.incident, ledger)
    return place


def find_in(
    desk: Desk,
    ledger: Ledger | None,
    wanted: str | None,
    *,
    is_meant: Callable[[Incident], bool] = lambda _: True,
    what: str = "incidents are open",
    none: str,
) -> OpenIncident:
    """Return the incident `wanted`, else the only one that `is_meant` and open for its readers.

    Raises InputError.
    """
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import with_releases

    desk = with_releases(desk, ledger)
    loaded = load_incidents(desk.config, desk.now, released_at=desk.released_at)
    is_open = is_open_for_readers(ledger)
    found = find_incident(loaded, wanted, lambda each: is_meant(each) and is_open(each), what)
    if found is None:
        raise InputError(none)
    return OpenIncident(desk, found, loaded.ids)


def refuse_over(place: OpenIncident, of_maintenance: str = "") -> None:
    """Refuse to go on with what is over, and to end planned work with a verb for incidents.

    `of_maintenance` is the verb that ends planned work, "" where this verb fits both. Raises InputError.
    """
    found, last = place.incident, place.incident.latest
    name, again = found.id, f'commcast reopen {found.id} --issue "…"'
    if not last.is_end:
        if of_maintenance and found.kind == "maintenance":
            remedy = f"write: commcast {of_maintenance.format(id=name)}"
            refuse("", f"{name} is planned work, no incident", remedy)
        return
    if found.kind == "maintenance":
        remedy = f"plan it anew with: commcast schedule; if words were wrong: commcast correct {name}"
    elif last.merged_into:
        remedy = f"say more there: commcast update {last.merged_into}; if it is no part of it: {again}"
        refuse("", f"{name} is part of {last.merged_into}", remedy)
    else:
        remedy = f"if it is not: {again}; if words were wrong: commcast correct {name}"
    refuse("", f"{name} is over ({last.status})", remedy)


def refuse_untold(place: OpenIncident) -> None:
    """Refuse to take back what nobody was ever told. Raises InputError."""
    from commcast.operations.desk import read_history

    name = place.incident.id
    with suppress(LedgerError), ledger_of(place.desk, dry_run=True) as ledger:
        if not read_history(ledger, name).releases:
            refuse("", f"nobody was told of {name}", f"write: commcast discard {name}")


def _refuse_drafted_end(incident: Incident, ledger: Ledger | None) -> None:
    from commcast.operations.desk import read_history

    last = incident.latest
    if last.is_end and last.number not in read_history(ledger, incident.id).releases:
        raise DecisionNeeded(
            f"update {last.number} ({last.status}) of {incident.id} is a draft that nobody released.\n"
            f"  commcast send {incident.id}       to send it\n"
            f"  commcast discard {incident.id}    to take it back and say it anew"
        )


def typed_words(said: VerbInput, key: str, *, planned: bool = False) -> dict[str, str]:
    """Return the words under `key` as typed now; nothing where an option or an editor holds them."""
    return {} if key in said.keys or said.edit else asked_for(key, planned=planned)


def asked_for(key: str, remedy: str = "", *, planned: bool = False) -> dict[str, str]:
    """Return the one key that a person types at a terminal when the command came without words.

    Raises InputError where there is no terminal: with the `remedy`, else that the option is missing.
    """
    if not prompt.at_terminal():
        if remedy:
            refuse("", "there is nothing to say", remedy)
        raise missing_options([key], planned=planned)
    question = f"{key.replace('_', ' ').capitalize()} ({meaning(key, planned=planned)}):"
    return {key: prompt.ask_until_good(question, lambda answer: answer)}


def append_and_send(place: OpenIncident, said: VerbInput, more: Mapping[str, Any] | None = None) -> NoReturn:
    """Append the update that options and `more` make, after every check, and send it.

    Raises typer.Exit with how that ended; InputError, DecisionNeeded and LedgerError.
    """
    desk, found, keys = place.desk, place.incident, {**said.keys, **(more or {})}
    is_expected = keys.get("status", found.latest.status) == "expected"
    entry = update_entry(with_dates(keys, desk, is_expected=is_expected))
    if said.edit:
        entry = _edited(entry)
    checked, seen = checked_update(desk, found, entry)
    if said.dry_run:
        with ledger_of(desk, dry_run=True) as ledger:
            raise typer.Exit(plan_only(desk, checked, ledger, place.present, said.wishes))
    with suppress(LedgerError), ledger_of(desk) as ledger:  # without one the words are kept first
        check_unchanged(place, checked, said.wishes, ledger)
        check_can_go(desk, checked, ledger, edit=said.edit)
    incident = append(desk, checked, entry, seen)
    with ledger_for(desk, incident) as ledger:
        raise typer.Exit(send_incident(desk, incident, ledger, place.present, said.wishes))


def check_unchanged(place: OpenIncident, checked: Incident, wishes: Wishes, ledger: Ledger) -> None:
    """Refuse to add to a story whose released words changed, or unasked to a draft that somebody left.

    Raises InputError and DecisionNeeded.
    """
    from commcast.model.release import drafts
    from commcast.operations.desk import check_story, read_history

    check_story(place.desk, checked, ledger, place.present)
    name = place.incident.id
    left = drafts(place.incident, read_history(ledger, name).releases)
    if left and wishes.yes:
        # Its words would be carried forward; --yes is a yes to the words of this command alone.
        raise DecisionNeeded(
            f"update {left[0]} of {name} is a draft that nobody released; nothing was written.\n"
            f"  commcast send {name}       to send it first\n"
            f"  commcast discard {name}    to take it back"
        )


def append(desk: Desk, checked: Incident, entry: Mapping[str, Any], seen: str) -> Incident:
    """Write the update into the file whose text was `seen`; return the incident as the file then stands.

    Raises InputError if somebody changed the file meanwhile, before or right after.
    """
    from commcast.incidents.editor import append_update
    from commcast.incidents.load import load_incident

    path = desk.config.folder / checked.path
    append_update(path, entry, seen=seen)
    say(f"Wrote update {checked.latest.number} into {checked.path}.")
    written = load_incident(path, desk.config, desk.now, desk.released_at)
    if len(written.updates) != len(checked.updates):
        refuse(checked.path, "was changed by somebody meanwhile", "look first, then send")
    return written


def checked_update(desk: Desk, incident: Incident, entry: Mapping[str, Any]) -> tuple[Incident, str]:
    """Return the incident with one more update, and the text it was checked against. Nothing is written.

    Raises InputError; what an option said is named by that option.
    """
    from commcast.files import read_text_file
    from commcast.incidents.editor import with_update
    from commcast.incidents.load import parse_incident
    from commcast.incidents.yaml import examine
    from commcast.operations.desk import check_story

    folder, name = desk.config.folder, incident.path
    seen = read_text_file(folder / name, folder=folder, name=name)
    text = with_update(seen, name, entry)
    line = examine(text, name).place(("updates", len(incident.updates)))[0]
    try:
        checked = parse_incident(text, name, desk.config, desk.now, desk.released_at)
        check_story(desk, checked, None)
        check_estimate(desk, entry.get("timeframe"), checked)
        return checked, seen
    except InputError as error:
        raise in_terms_of_options(error, text, name, line) from None


def _edited(entry: dict[str, Any]) -> dict[str, Any]:
    from commcast.incidents.yaml import parse
    from commcast.incidents.yaml_lines import lines_of

    shown = entry or {"status": "", "issue": "", "resolution": "", "timeframe": ""}
    text = prompt.edited("# Lines left empty are carried forward.\n" + "\n".join(lines_of(shown, 0)) + "\n")
    data = parse(text, "the edited text").data
    if not isinstance(data, dict):
        raise InputError("the edited text is not a list of keys and values; nothing was written")
    return {key: value for key, value in data.items() if value not in (None, "")}
