"""The command update, and how every verb appends to the file of an open incident, then sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from commcast.cli import prompt
from commcast.cli.options import (
    ActionOption,
    AffectedOption,
    AudienceOption,
    ConfidenceOption,
    DryRunOption,
    EditOption,
    ExpectedOption,
    FolderOption,
    IncidentArgument,
    InternalOption,
    IssueOption,
    JsonOption,
    NextOption,
    NothingNewOption,
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
from commcast.cli.session import find_incident, is_open_for_readers
from commcast.errors import DecisionNeeded, Fault, InputError, LedgerError

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


# What an update alone would say without what belongs to it.
_OWN_VERBS = {
    "resolved": ('resolve {id} --fixed "…"', "ends the incident without what mended it"),
    "completed": ('complete {id} --fixed "…"', "ends the maintenance without what was done"),
    "cancelled": ('cancel {id} --because "…"', "ends the maintenance without saying why"),
    "rescheduled": ('reschedule {id} --window "…"', "needs the new window"),
    "extended": ('extend {id} --until "…"', "needs the new end"),
    "retracted": ('retract {id} --because "…"', "takes all of it back without saying why"),
    "merged": ("merge {id} --into ID", "ends it without naming the incident that goes on"),
}


def update(
    incident: IncidentArgument = None,
    status: StatusOption = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    timeframe: TimeframeOption = None,
    confidence: ConfidenceOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    nothing_new: NothingNewOption = None,
    expected: ExpectedOption = None,
    next_: NextOption = None,
    severity: SeverityOption = None,
    affected: AffectedOption = None,
    audience: AudienceOption = None,
    owner: OwnerOption = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say more of an open incident; what you leave out is carried forward.

    Example: commcast update --nothing-new "The rollback is at 60%." --next 20m
    """
    keys = written_keys(locals())
    place = find_open(folder, incident)
    if status is None and not edit:
        refuse_over(place)
    if status in _OWN_VERBS and not edit:
        verb, why = _OWN_VERBS[status]
        remedy = f"write: commcast {verb.format(id=place.incident.id)}"
        raise InputError(Fault("--status", 0, 0, f"{status} {why}", remedy))
    if status == "expected" != place.incident.latest.status and not edit:
        what = f"readers were told that {place.incident.id} has begun: it is {place.incident.latest.status}"
        raise InputError(Fault("--status", 0, 0, what, "leave it out"))
    if expected and place.incident.latest.status != "expected":
        what = f"{place.incident.id} has begun: it is {place.incident.latest.status}"
        raise InputError(Fault("--expected", 0, 0, what, "leave it out"))
    _refuse_news_without_news(place.incident, keys)
    if not keys and not edit:
        keys = asked_for("nothing_new", "say what is new, with --issue, --status …, or --nothing-new")
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def _refuse_news_without_news(incident: Incident, keys: Mapping[str, Any]) -> None:
    """Refuse to say that nothing is new above words that are. Raises InputError."""
    new = [
        f"--{key}"
        for key in ("issue", "resolution")
        if key in keys and str(keys[key]).strip() != getattr(incident.latest, key)
    ]
    if "nothing_new" in keys and new:
        said = " and ".join(new)
        what = f"readers would read that nothing is new, and new words of {said} below it"
        remedy = f"leave --nothing-new out and write what is new in {said}, or leave {said} out"
        raise InputError(Fault("--nothing-new", 0, 0, what, remedy))


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident, its desk, and the ids of all incidents there."""

    desk: Desk
    incident: Incident
    present: list[str]


def find_open(
    folder: Path | None,
    wanted: str | None,
    *,
    is_meant: Callable[[Incident], bool] = lambda _: True,
    what: str = "incidents are open",
    none: str = "no incident is open; begin one with: commcast declare",
) -> OpenIncident:
    """Return the incident to say more of: open for its readers, and without an end that waits for a yes.

    Where no id was `wanted` it is the only one that `is_meant`; `what` and `none` are said of several and of
    none. Raises InputError where there is none, DecisionNeeded where its end is a draft.
    """
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import with_releases

    desk = desk_now(folder)
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(ledger_of(desk, dry_run=True))
        except LedgerError:  # the words are kept first; sending will say it
            ledger = None
        desk = with_releases(desk, ledger)
        loaded = load_incidents(desk.config, desk.now, released_at=desk.released_at)
        is_open = is_open_for_readers(ledger)
        found = find_incident(loaded, wanted, lambda each: is_meant(each) and is_open(each), what)
        if found is None:
            raise InputError(none)
        _refuse_drafted_end(found, ledger)
    return OpenIncident(desk, found, [each.id for each in loaded.incidents])


def refuse_over(place: OpenIncident, of_maintenance: str = "") -> None:
    """Refuse to go on with what is over, and to end planned work with a verb for incidents.

    `of_maintenance` is the verb that ends planned work, "" where this verb fits both. Raises InputError.
    """
    found = place.incident
    if found.latest.is_end:
        raise InputError(_over(found))
    if of_maintenance and found.kind == "maintenance" and not found.latest.is_end:
        remedy = f"write: commcast {of_maintenance.format(id=found.id)}"
        raise InputError(Fault("", 0, 0, f"{found.id} is planned work, no incident", remedy))


def _over(incident: Incident) -> Fault:
    """Return that an incident is over, with the commands that can go on all the same."""
    last, name = incident.latest, incident.id
    what, again = f"{name} is over ({last.status})", f'commcast reopen {name} --issue "…"'
    remedy = f"if it is not: {again}; if words were wrong: commcast correct {name}"
    if incident.kind == "maintenance":
        remedy = f"plan it anew with: commcast schedule; if words were wrong: commcast correct {name}"
    elif last.merged_into:
        what = f"{name} is part of {last.merged_into}"
        remedy = f"say more there: commcast update {last.merged_into}; if it is no part of it: {again}"
    return Fault("", 0, 0, what, remedy)


def refuse_untold(place: OpenIncident) -> None:
    """Refuse to take back what nobody was ever told. Raises InputError."""
    from commcast.operations.desk import read_history

    name = place.incident.id
    with suppress(LedgerError), ledger_of(place.desk, dry_run=True) as ledger:
        if not read_history(ledger, name).releases:
            raise InputError(Fault("", 0, 0, f"nobody was told of {name}", f"write: commcast discard {name}"))


def _refuse_drafted_end(incident: Incident, ledger: Ledger | None) -> None:
    from commcast.operations.desk import read_history

    last = incident.latest
    if last.is_end and last.number not in read_history(ledger, incident.id).releases:
        raise DecisionNeeded(
            f"update {last.number} ({last.status}) of {incident.id} is a draft that nobody released.\n"
            f"  commcast send {incident.id}       to send it\n"
            f"  commcast discard {incident.id}    to take it back and say it anew"
        )


def asked_for(key: str, remedy: str, *, planned: bool = False) -> dict[str, str]:
    """Return the one key that a person types when the command came without words."""
    if not prompt.at_terminal():
        raise (
            InputError(Fault("", 0, 0, "there is nothing to say", remedy))
            if remedy
            else missing_options([key], planned=planned)
        )
    label = key.replace("_", " ").capitalize()
    question = f"{label} ({meaning(key, planned=planned)}):"
    return {key: prompt.ask_until_good(question, lambda answer: answer)}


def append_and_send(
    place: OpenIncident,
    keys: Mapping[str, Any],
    wishes: Wishes,
    *,
    edit: bool,
    dry_run: bool,
) -> None:
    desk, found, present = place.desk, place.incident, place.present
    is_expected = keys.get("status", found.latest.status) == "expected"
    entry = entry_of(with_dates(dict(keys), desk, is_expected=is_expected), edit=edit)
    checked, seen = checked_update(desk, found, entry)
    if dry_run:
        with ledger_of(desk, dry_run=True) as ledger:
            raise typer.Exit(plan_only(desk, checked, ledger, present, wishes))
    check_before_writing(desk, found, checked, present, wishes, edit=edit)
    incident = append(desk, checked, entry, seen)
    with ledger_for(desk, incident) as ledger:
        raise typer.Exit(send_incident(desk, incident, ledger, present, wishes))


def check_before_writing(
    desk: Desk, found: Incident, checked: Incident, present: list[str], wishes: Wishes, *, edit: bool
) -> None:
    """Refuse to add to a story whose released words changed, unasked to a draft somebody left, or in vain.

    Without a ledger the words are kept first. Raises InputError and DecisionNeeded.
    """
    with suppress(LedgerError), ledger_of(desk) as ledger:
        check_unchanged(desk, found, checked, present, wishes, ledger)
        check_can_go(desk, checked, ledger, edit=edit)


def check_unchanged(
    desk: Desk, found: Incident, checked: Incident, present: list[str], wishes: Wishes, ledger: Ledger
) -> None:
    """Do the same over a ledger that is open: no process may open it twice. Raises the same."""
    from commcast.model.release import drafts
    from commcast.operations.desk import check_story, read_history

    check_story(desk, checked, ledger, present)
    left = drafts(found, read_history(ledger, found.id).releases)
    if left and wishes.yes:
        # Its words would be carried forward; --yes is a yes to the words of this command alone.
        raise DecisionNeeded(
            f"update {left[0]} of {found.id} is a draft that nobody released; nothing was written.\n"
            f"  commcast send {found.id}       to send it first\n"
            f"  commcast discard {found.id}    to take it back"
        )


def entry_of(keys: Mapping[str, Any], *, edit: bool) -> dict[str, Any]:
    """Return the update that the options make, as changed in an editor where that is wanted."""
    entry = update_entry(keys)
    return _edited(entry) if edit else entry


def append(desk: Desk, checked: Incident, entry: Mapping[str, Any], seen: str) -> Incident:
    """Write the update into the file whose text was `seen`; return the incident as the file then stands.

    Raises InputError where somebody changed the file meanwhile, before or right after.
    """
    from commcast.incidents.editor import append_update
    from commcast.incidents.load import load_incident

    path = desk.config.folder / checked.path
    append_update(path, entry, seen=seen)
    say(f"Wrote update {checked.latest.number} into {checked.path}.")
    written = load_incident(path, desk.config, desk.now, desk.released_at)
    if len(written.updates) != len(checked.updates):
        raise InputError(
            Fault(checked.path, 0, 0, "was changed by somebody meanwhile", "look first, then send")
        )
    return written


def checked_update(desk: Desk, incident: Incident, entry: Mapping[str, Any]) -> tuple[Incident, str]:
    """Return the incident with one more update, and the text it was checked against. Nothing is written.

    Raises InputError, for what an option said in terms of that option.
    """
    from commcast.cli.clock_times import check_estimate
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
