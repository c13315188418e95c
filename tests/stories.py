"""Incidents, configurations and readers for tests of the rules, made without any file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from commcast.config.settings import Config
from commcast.model.incident import Channel, Incident, Kind, Recipient, Status, Timeframe, Update, Window
from commcast.model.release import Release, digest
from commcast.model.standing import IncidentStanding

AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)

CONFIG = {
    "organisation": {"name": "Acme Pay", "zone": "Europe/Berlin"},
    "audiences": {
        "customers": {"recipients": "c.csv", "rank": 9, "channels": ["email", "sms"], "severities": [1, 2]},
        "support": {"recipients": "s.csv", "rank": 1, "view": "internal"},
        "board": {"recipients": "b.csv", "rank": 1, "severities": [1]},
    },
    "channels": {"email": {"from": "status@acme.example"}, "sms": {"quiet": "21:00-08:00"}},
}

READER = Recipient(2, email="Ann@example.com", email_key="ann@example.com", phone="+4915112345671")


def config_of(**changed: Any) -> Config:
    """Return the configuration with whole tables replaced."""
    return Config.model_validate({**CONFIG, **changed})


def update_of(number: int, status: Status = Status.IDENTIFIED, **more: Any) -> Update:
    """Return update `number`, ten minutes after the one before it."""
    said: dict[str, Any] = {
        "at": AT + timedelta(minutes=10 * (number - 1)),
        "severity": 1,
        "line": 5 + number,
        "at_written": True,
        "issue": "Cards fail.",
        "resolution": "We roll back.",
        "timeframe": Timeframe(),
    }
    return Update(number=number, status=status, **{**said, **more})


def incident_of(*updates: Update, **more: Any) -> Incident:
    """Return an incident that said these updates."""
    said = {"id": "pay7", "path": "incidents/pay7.yaml", "title": "Cards fail", "started": AT, **more}
    return Incident(updates=updates, **said)


def story(*statuses: Status, severities: tuple[int, ...] = ()) -> Incident:
    """Return an incident that went through these statuses."""
    window = Window(start=AT + timedelta(days=1), end=AT + timedelta(days=1, hours=2))
    maintenance = any(status is Status.SCHEDULED for status in statuses)
    updates = [
        update_of(
            number,
            status,
            severity=severities[number - 1] if severities else 1,
            window=window if maintenance else None,
        )
        for number, status in enumerate(statuses, start=1)
    ]
    return incident_of(*updates, kind=Kind.MAINTENANCE if maintenance else Kind.INCIDENT)


def released(incident: Incident, *numbers: int, how: str = "yes") -> dict[int, Release]:
    """Return releases of these updates, as they stand in the incident now."""
    return {
        number: Release("pay7", number, digest(incident, incident.update(number)), AT, how, "dana")
        for number in numbers
    }


def standing_of(
    incident: Incident, *numbers: int, told: int = 0, how: str = "yes", begun: frozenset[Any] = frozenset()
) -> IncidentStanding:
    """Return what is known where these updates were released, and all channels spoke up to `told`."""
    return IncidentStanding(
        releases=released(incident, *numbers, how=how),
        begun=begun,
        told_up_to=dict.fromkeys(Channel, told) if told else {},
    )
