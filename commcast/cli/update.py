"""The command update: adds news to an open incident."""

from __future__ import annotations

from commcast.cli import options
from commcast.cli.options import refuse
from commcast.cli.verbs import OpenIncident, VerbInput, append_and_send, asked_for, find_open, refuse_over

# Statuses that a verb of their own says, and what an update alone would leave out.
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
    incident: options.IncidentArgument = None,
    status: options.StatusOption = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    timeframe: options.TimeframeOption = None,
    confidence: options.ConfidenceOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    nothing_new: options.NothingNewOption = None,
    expected: options.ExpectedOption = None,
    next_: options.NextOption = None,
    severity: options.SeverityOption = None,
    affected: options.AffectedOption = None,
    audience: options.AudienceOption = None,
    owner: options.OwnerOption = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Post an update; fields you omit are carried forward.

    Example: commcast update --nothing-new "The rollback is at 60%." --next 20m
    """
    said = VerbInput.of(locals())
    place = find_open(said)
    if status is None and not edit:
        refuse_over(place)
    _check_status(place, said)
    _refuse_news_without_news(place, said)
    remedy = "say what is new, with --issue, --status …, or --nothing-new"
    append_and_send(place, said, {} if said.keys or edit else asked_for("nothing_new", remedy))


def _check_status(place: OpenIncident, said: VerbInput) -> None:
    """Refuse a status that a verb of its own says, and to expect what has begun. Raises InputError."""
    name, now, status = place.incident.id, place.incident.latest.status, said.keys.get("status")
    if status in _OWN_VERBS and not said.edit:
        verb, why = _OWN_VERBS[status]
        refuse("--status", f"{status} {why}", f"write: commcast {verb.format(id=name)}")
    if now == "expected":
        return
    if status == "expected" and not said.edit:
        refuse("--status", f"readers were told that {name} has begun: it is {now}", "leave it out")
    if "expected_at" in said.keys:
        refuse("--expected", f"{name} has begun: it is {now}", "leave it out")


def _refuse_news_without_news(place: OpenIncident, said: VerbInput) -> None:
    """Refuse to say that nothing is new above words that are. Raises InputError."""
    latest, keys = place.incident.latest, said.keys
    new = " and ".join(
        f"--{key}"
        for key in ("issue", "resolution")
        if key in keys and str(keys[key]).strip() != getattr(latest, key)
    )
    if "nothing_new" in keys and new:
        what = f"readers would read that nothing is new, and new words of {new} below it"
        remedy = f"leave --nothing-new out and write what is new in {new}, or leave {new} out"
        refuse("--nothing-new", what, remedy)
