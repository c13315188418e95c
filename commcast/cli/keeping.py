"""What becomes of words that cannot go: refused before they are written, else kept as a draft."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from commcast.cli import asking
from commcast.cli.output import say
from commcast.errors import CommcastError, DecisionNeeded, ExitCode, InputError, Interrupted

if TYPE_CHECKING:
    from commcast.desk import Desk
    from commcast.ledger.store import Ledger
    from commcast.model import Incident


def check_can_go(desk: Desk, incident: Incident, ledger: Ledger | None, *, edit: bool) -> None:
    """Refuse words, before they are written, that broken lists or templates keep from going.

    Words that a person may have typed, in an editor or at a terminal, are not refused: they are kept as a
    draft. Raises InputError with the faults of all lists and templates.
    """
    if edit or asking.at_terminal():
        return
    from commcast.desk import what_is_owed
    from commcast.trial import faults_in

    remedy = "Nothing was written, nothing was sent. Mend that, then give the same command again."
    with _adding(remedy):
        owed = what_is_owed(desk, incident, ledger, as_if_released=True)
        if faults := faults_in(owed.deliveries):
            raise InputError(faults)


@contextmanager
def keeping_words(incident: Incident) -> Iterator[None]:
    """Say of every end before the release, after what is wrong, that the draft is kept, and how to go on."""
    remedy = draft_kept(incident)
    try:
        with _adding(f"Nothing was released. {remedy}"):
            yield
    except KeyboardInterrupt:
        say("")
        raise Interrupted(f"Interrupted: nothing was released. {remedy}", ExitCode.INTERRUPTED) from None
    except DecisionNeeded as error:
        raise DecisionNeeded(f"{error}\n{remedy}") from None


def draft_kept(incident: Incident) -> str:
    """Return where the words of an incident are kept, and how to go on with them."""
    return (
        f"The draft is kept in {incident.path}.\n"
        f"  commcast send {incident.id}       to send it\n"
        f"  commcast discard {incident.id}    to take it back"
    )


@contextmanager
def _adding(remedy: str) -> Iterator[None]:
    """Note on what goes wrong how to go on: it is said below the faults."""
    try:
        yield
    except CommcastError as error:
        error.add_note(remedy)
        raise
