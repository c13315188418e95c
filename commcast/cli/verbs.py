"""How every verb finds an open incident, appends to its file, and sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from commcast.cli import prompt, session
from commcast.cli.clock_times import check_estimate, with_dates
from commcast.cli.options import (
    VerbInput,
    in_terms_of_options,
    meaning,
    missing_options,
    refuse,
    update_entry,
)
from commcast.cli.output import say
from commcast.cli.question import check_can_go, ways_on
from commcast.cli.release import send_written
from commcast.cli.session import Place
from commcast.errors import DecisionNeeded, InputError, LedgerError

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


# Whether an incident is meant, given whether it is open for its readers.
IsMeant = Callable[["Incident", bool], bool]


def find_open(
    said: VerbInput,
    *,
    is_meant: IsMeant = lambda _, is_open: is_open,
    what: str = "incidents are open",
    none: str = "no incident is open; start one with: commcast declare",
) -> Place:
    """Return the incident to update: open for its readers, and without an end that waits for a yes.

    Without an id it is the only one that `is_meant`; `what` and `none` are the words for several and none.
    Raises InputError if there is not exactly one, DecisionNeeded if its end is a draft.
    """
    from commcast.operations.desk import read_history

    desk = session.desk_now(said.folder)
    with session.ledger_if_any(desk) as ledger:
        place = find_in(desk, ledger, said.incident, is_meant, what, none)
        name, last = place.incident.id, place.incident.latest
        if last.is_end and last.number not in read_history(ledger, name).releases:
            raise DecisionNeeded(
                f"update {last.number} ({last.status}) of {name} is an unreleased draft.\n"
                f"{ways_on(name, discard='to delete it and write it again')}"
            )
    return place


def find_in(
    desk: Desk, ledger: Ledger | None, wanted: str | None, is_meant: IsMeant, what: str, none: str
) -> Place:
    """Return the incident `wanted`, else the only one that `is_meant`. Raises InputError."""
    desk, loaded = session.load(desk, ledger)
    is_open = session.is_open_for_readers(ledger)
    found = session.find_incident(loaded, wanted, lambda each: is_meant(each, is_open(each)), what)
    if found is None:
        raise InputError(none)
    return Place(desk, found, loaded.ids)


def refuse_over(place: Place, of_maintenance: str = "") -> None:
    """Refuse to update what is over, and to end planned work with a verb for incidents.

    `of_maintenance` is the verb that ends planned work, "" if this verb fits both. Raises InputError.
    """
    found, last = place.incident, place.incident.latest
    name, again = found.id, f'commcast reopen {found.id} --issue "…"'
    if not last.is_end:
        if of_maintenance and found.kind == "maintenance":
            verb = of_maintenance.format(id=name)
            refuse("", f"{name} is planned work, not an incident", f"write: commcast {verb}")
        return
    if found.kind == "maintenance":
        remedy = f"schedule it again: commcast schedule; if something was wrong: commcast correct {name}"
    elif last.merged_into:
        remedy = f"post updates there: commcast update {last.merged_into}; if it is separate: {again}"
        refuse("", f"{name} is part of {last.merged_into}", remedy)
    else:
        remedy = f"if it is not: {again}; if something was wrong: commcast correct {name}; to add a review: "
        remedy += f"write postmortem: in {found.path}, then commcast send {name}"
    refuse("", f"{name} is over ({last.status})", remedy)


def refuse_untold(place: Place) -> None:
    """Refuse to withdraw what nobody was told. Raises InputError."""
    from commcast.operations.desk import read_history

    name = place.incident.id
    with suppress(LedgerError), session.ledger_of(place.desk, dry_run=True) as ledger:
        if not read_history(ledger, name).releases:
            refuse("", f"nobody was told about {name}", f"write: commcast discard {name}")


def typed_words(said: VerbInput, key: str, *, planned: bool = False) -> dict[str, str]:
    """Return the text for `key` as typed at a terminal; nothing if an option or an editor holds it.

    Raises InputError if there is no terminal to ask at.
    """
    if key in said.keys or said.edit:
        return {}
    if not prompt.at_terminal():
        raise missing_options([key], planned=planned)
    return {key: ask_for(key, planned=planned)}


def ask_for(key: str, check: prompt.Check = str, *, planned: bool = False, is_needed: bool = True) -> str:
    """Return what a person types for a key of the incident file, once `check` takes it; "" if not needed."""
    name = key.replace("_", " ").capitalize()
    how = meaning(key, planned=planned) + ("" if is_needed else "; Enter leaves it out")
    return prompt.ask_until_good(f"{name} ({how}):", check, is_needed=is_needed)


def append_and_send(place: Place, said: VerbInput, more: Mapping[str, Any] | None = None) -> NoReturn:
    """Append the update that options and `more` make, after every check, and send it.

    Raises typer.Exit with how that ended; InputError, DecisionNeeded and LedgerError.
    """
    desk, found, keys = place.desk, place.incident, {**said.keys, **(more or {})}
    is_expected = keys.get("status", found.latest.status) == "expected"
    entry = update_entry(with_dates(keys, desk, is_expected=is_expected))
    if said.edit:
        entry = _edited(entry)
    incident, seen = checked_update(desk, found, entry)
    if not said.dry_run:
        with suppress(LedgerError), session.ledger_of(desk) as ledger:  # without one the words are kept first
            check_unchanged(place, incident, said, ledger)
            check_can_go(desk, incident, ledger, edit=said.edit)
        incident = append(desk, incident, entry, seen)
    send_written(replace(place, incident=incident), said)


def check_unchanged(place: Place, checked: Incident, said: VerbInput, ledger: Ledger) -> None:
    """Refuse to add to an incident whose released words changed, or with --yes to a draft somebody left.

    Raises InputError and DecisionNeeded.
    """
    from commcast.model.release import drafts
    from commcast.operations.desk import check_story, read_history

    check_story(place.desk, checked, ledger, place.present)
    name = place.incident.id
    left = drafts(place.incident, read_history(ledger, name).releases)
    if left and said.yes:
        # Its words would be carried forward; --yes covers only the words of this command.
        raise DecisionNeeded(
            f"update {left[0]} of {name} is an unreleased draft; nothing was written.\n"
            f"{ways_on(name, 'to send it first')}"
        )


def append(desk: Desk, checked: Incident, entry: Mapping[str, Any], seen: str) -> Incident:
    """Write the update into the file whose text was `seen`; return the incident as it is in the file now.

    Raises InputError if somebody changed the file meanwhile, before or right after.
    """
    from commcast.incidents.editor import append_update
    from commcast.incidents.load import load_incident

    path = desk.config.folder / checked.path
    append_update(path, entry, seen=seen)
    say(f"Wrote update {checked.latest.number} into {checked.path}.")
    written = load_incident(path, desk.config, desk.now, desk.released_at)
    if len(written.updates) != len(checked.updates):
        refuse(checked.path, "was changed by someone else in the meantime", "look at it, then send it")
    return written


def checked_update(desk: Desk, incident: Incident, entry: Mapping[str, Any]) -> tuple[Incident, str]:
    """Return the incident with one more update, and the text it was checked against; write nothing.

    Raises InputError; a fault in what an option wrote names that option.
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
        check_estimate(desk, entry.get("timeframe"), checked.latest.timeframe.latest)
        return checked, seen
    except InputError as error:
        raise in_terms_of_options(error, text, name, line) from None


def _edited(entry: dict[str, Any]) -> dict[str, Any]:
    from commcast.incidents.yaml import parse
    from commcast.incidents.yaml_lines import lines_of

    shown = entry or dict.fromkeys(("status", "issue", "resolution", "timeframe", "works", "action"), "")
    hint = "# Lines left empty are carried forward; ~ clears a value."
    document = parse(prompt.edited("\n".join([hint, *lines_of(shown, 0), ""])), "the edited text")
    data = document.data
    if not isinstance(data, dict):
        raise InputError("the edited text is not a list of keys and values; nothing was written")
    return {key: each for key, each in data.items() if each not in (None, "") or (key,) in document.nulls}
