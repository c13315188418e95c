"""The command update: adds news to an open incident."""

from __future__ import annotations

from commcast.cli import prompt
from commcast.cli.options import VerbInput, refuse, verb
from commcast.cli.session import Place
from commcast.cli.verbs import append_and_send, find_open, refuse_over, typed_words

# Statuses with a command of their own, and what an update alone would leave out.
_OWN_VERBS = {
    "resolved": ('resolve {id} --fixed "…"', "ends the incident without saying what fixed it"),
    "completed": ('complete {id} --fixed "…"', "ends the maintenance without saying what was done"),
    "cancelled": ('cancel {id} --because "…"', "ends the maintenance without saying why"),
    "rescheduled": ('reschedule {id} --window "…"', "needs the new window"),
    "extended": ('extend {id} --until "…"', "needs the new end"),
    "retracted": ('retract {id} --because "…"', "withdraws all of it without saying why"),
    "merged": ("merge {id} --into ID", "ends it without naming the incident that goes on"),
}


@verb(
    "incident status issue resolution timeframe confidence scope action nothing_new expected_at next_update "
    "severity affected audiences owner internal edit"
)
def update(said: VerbInput) -> None:
    """Post an update; fields you omit are carried forward.

    Example: commcast update --nothing-new "The rollback is at 60%." --next 20m
    """
    place = find_open(said)
    if "status" not in said.keys and not said.edit:
        refuse_over(place)
    _check_status(place, said)
    _refuse_news_without_news(place, said)
    if not (said.keys or said.edit or prompt.at_terminal()):
        refuse("", "nothing new to send", "write what is new with --issue, --status …, or --nothing-new")
    append_and_send(place, said, {} if said.keys else typed_words(said, "nothing_new"))


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
        what = f"readers would read that nothing is new, and the new text of {new} below it"
        remedy = f"leave out --nothing-new and write what is new in {new}, or leave out {new}"
        refuse("--nothing-new", what, remedy)
