"""What doctor finds out about people: whether who owns an incident can be woken, and whom a monitor wakes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from commcast.cli.diagnosis import OK, WARN, Check, secret

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.duty import HandOver
    from commcast.model import Incident

_FROM_ENVIRONMENT = "env:"


def people(
    config: Config, incidents: Sequence[Incident], handovers: Mapping[str, Sequence[HandOver]]
) -> Iterator[Check]:
    """Yield whether anybody can be woken, which variables with addresses are set, and who on duty cannot be.

    No value of the environment is shown.
    """
    from commcast.people import reach, unreachable, variables_of

    if not config.people and not (config.nudge and config.nudge.command):
        remedy = (
            "write [people.dana] in commcast.toml, with name, email and phone, and in the incident's file: "
            "owner: dana"
        )
        yield Check(
            WARN, "people", "nobody can be woken before a promise breaks: there is no [people]", remedy
        )
    for name, what in variables_of(config).items():
        yield secret(name, what)
    for person, what in _on_duty(incidents, handovers).items():
        found = reach(person, config, os.environ)
        # A variable that is not set was told of above.
        faults = [each for each in unreachable(person, config, os.environ) if " is not set: " not in each]
        if not found.email and not found.phone and not faults:
            faults = [f"{person} has no address that can be used"]
        for fault in faults:
            problem, _, remedy = fault.partition("; ")
            yield Check(WARN, "people", f"{problem}, and {what}", remedy or "write one in commcast.toml")


def _on_duty(incidents: Sequence[Incident], handovers: Mapping[str, Sequence[HandOver]]) -> Mapping[str, str]:
    """Return who answers for an open incident, each with what for."""
    from commcast.duty import on_duty_for

    found: dict[str, str] = {}
    for incident in incidents:
        if incident.latest.is_end:
            continue
        duty = on_duty_for(incident, handovers.get(incident.id, ()))
        for person, part in ((duty.owner, "owns"), (duty.backup, "is the backup of")):
            if person:
                found.setdefault(person, f"{part} {incident.id}")
    return found


def heartbeat(config: Config) -> Iterator[Check]:
    """Yield where the heartbeat goes, by its host alone: the address may hold a token."""
    written = config.tick.heartbeat_url
    if not written:
        return
    if written.startswith(_FROM_ENVIRONMENT):
        name = written.removeprefix(_FROM_ENVIRONMENT)
        yield secret(name, "where the heartbeat goes")
        written = os.environ.get(name, "").strip()
    try:
        parts = urlsplit(written)
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        if written:
            yield Check(WARN, "heartbeat", "goes to no web address", "write https://…")
    elif parts.scheme != "https" and not config.tick.heartbeat_private:
        yield Check(WARN, "heartbeat", f"goes to {host} in the clear", "write https://…")
    else:
        yield Check(OK, "heartbeat", f"goes to {host} after every tick that went well")
