"""Whether anything is open still: an incident that has not ended, a draft or a message that waits."""

from __future__ import annotations

from commcast.desk import Desk, read_standing
from commcast.incidents.load import load_incidents
from commcast.ledger.judged import read_judged, unfinished_incidents
from commcast.ledger.releases import open_incidents
from commcast.ledger.store import Ledger
from commcast.model import Incident
from commcast.release import drafts


def is_anything_open(desk: Desk, ledger: Ledger) -> bool:
    """Return whether somebody may have to hear anything more: a reader, or the people of an incident.

    A file that cannot be read may be open: it counts. The end of what nobody ever heard of does not.
    """
    with ledger.read() as connection:
        if open_incidents(connection) or unfinished_incidents(connection):
            return True
        judged = read_judged(connection)
    loaded = load_incidents(desk.config, desk.now, judged)
    return bool(loaded.broken) or any(_waits_for_a_yes(each, ledger) for each in loaded.incidents)


def _waits_for_a_yes(incident: Incident, ledger: Ledger) -> bool:
    releases = read_standing(ledger, incident.id).releases
    return bool(drafts(incident, releases)) and (bool(releases) or not incident.latest.is_end)
