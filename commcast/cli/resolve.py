"""The command resolve: what mended it, what remains, when it ended; asked for where nobody wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from commcast.cli import asking
from commcast.cli.options import DryRunOption, FolderOption, IncidentArgument, JsonOption, YesOption
from commcast.cli.output import say
from commcast.cli.releasing import Wishes
from commcast.cli.update import Place, append_and_send, asked_for, find_open, refuse_over
from commcast.cli.words import (
    EditOption,
    EndedOption,
    FixedOption,
    InternalOption,
    PersistsOption,
    RemainsOption,
    ResolutionOption,
    with_dates,
    written_keys,
)
from commcast.errors import Fault, InputError
from commcast.model import Incident, Status


def resolve(
    incident: IncidentArgument = None,
    fixed: FixedOption = None,
    remains: RemainsOption = None,
    if_it_persists: PersistsOption = None,
    ended: EndedOption = None,
    resolution: ResolutionOption = None,
    check_in: Annotated[
        list[str] | None,
        typer.Option(
            "--check-in",
            help="An audience to ask on the next working day whether all is well; repeat it.",
            show_default=False,
        ),
    ] = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say that it is over, to everybody who was told that it began.

    Without words it asks for them: what mended it, what remains, what to do if it persists, when it ended.

    Example: commcast resolve pay7 --fixed "We took back the 09:45 release."
    """
    from commcast.instants import write_instant

    keys = written_keys(locals())
    place = find_open(folder, incident)
    refuse_over(place, 'complete {id} --fixed "…"')
    _refuse_not_begun(place)
    if "fixed" not in keys and not edit:
        keys |= asked_for("fixed", "") | _asked_of_the_end(place, keys)
    keys["status"] = "resolved"
    # Now, not when somebody says yes to it: a draft that waits must not move the end.
    keys.setdefault("ended", write_instant(place.desk.now))
    _check_not_ahead(place, keys["ended"])
    _tell_duration(place, keys["ended"])
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def _refuse_not_begun(place: Place) -> None:
    """Refuse to end what was only expected: readers would be told of an end without a beginning."""
    name = place.incident.id
    if place.incident.latest.status == "expected":
        remedy = f'if it will not come: commcast cancel {name} --because "…"; if it has begun: '
        remedy += f"commcast update {name} --status investigating"
        raise InputError(Fault("", 0, 0, f"{name} is only expected, and has not begun", remedy))


_QUESTIONS = {
    "remains": "What remains (what readers may still notice; Enter for nothing):",
    "if_it_persists": "If it persists (what to do when it is not over for somebody; Enter for nothing):",
    "ended": "Ended (such as 11:08; Enter for now):",
}


def _asked_of_the_end(place: Place, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what else a person types about the end; all of it may be left empty."""

    def check(answer: str) -> None:
        ended = _moment(place, answer)
        if ended is None:
            raise ValueError("is no time; write 11:08, or 2026-11-21T11:08")
        began = _began(place.incident)
        if ended > place.desk.now or (began is not None and ended < began):
            raise ValueError("is in the future, or before it began; write when it was over")

    answers = {
        key: asking.ask_until_good(
            question, check if key == "ended" else lambda answer: answer, is_needed=False
        )
        for key, question in _QUESTIONS.items()
        if key not in given
    }
    return {key: answer for key, answer in answers.items() if answer}


def _began(incident: Incident) -> datetime | None:
    """Return when it began, last if it was reopened; None where nobody knows."""
    reopened = [each.at for each in incident.updates if each.status is Status.REOPENED]
    if reopened:
        return reopened[-1].replace(second=0, microsecond=0)
    return incident.started if incident.started_written else None


def _check_not_ahead(place: Place, ended: str) -> None:
    """Refuse a clock time that is still to come: the day before is not what was meant. Raises InputError."""
    moment, first = _moment(place, ended), place.incident.updates[0].at
    if moment is not None and ":" in ended[:3] and moment < min(first, place.incident.started):
        when = moment.astimezone(place.desk.config.zone)
        what = f"{ended} was last on {when:%a} {when.day} {when:%b}, before it began"
        raise InputError(Fault("--ended", 0, 0, what, "write when it was over, or leave it out: now"))


def _tell_duration(place: Place, ended: str) -> None:
    """Say how long it lasted, as readers will read it: a wrong time is seen before it is sent."""
    from commcast.durations import spoken_duration

    moment, incident = _moment(place, ended), place.incident
    if moment is not None and incident.started_written and moment >= incident.started:
        say(f"It lasted {spoken_duration(moment - incident.started)}.")


def _moment(place: Place, text: str) -> datetime | None:
    """Return the moment that a time of the end means, None where it is none."""
    from commcast.instants import parse_instant

    try:
        return parse_instant(str(with_dates({"ended": text}, place.desk)["ended"]), place.desk.config.zone)
    except ValueError:
        return None
