"""How people in commcast.toml are reached: addresses written there or in environment variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from commcast.config.settings import Config
from commcast.recipients.addresses import normalise_email, normalise_phone

_FROM_ENVIRONMENT = "env:"


class Reach(NamedTuple):
    """A person in commcast.toml, by `key` in [people]; `email` and `phone` (E.164) are "" if not usable."""

    name: str
    email: str = ""
    phone: str = ""
    key: str = ""


def reach(person: str, config: Config, environ: Mapping[str, str]) -> Reach:
    """Return how to reach a person by their key in [people], leaving out addresses that are not usable.

    An unknown key is its own name, without an address. `unreachable` says what is wrong; a nudge makes do
    with what there is.
    """
    return _resolve(person, config, environ)[0]


def unreachable(person: str, config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return why a person cannot be reached, each as "what; remedy" and without any address."""
    found, faults = _resolve(person, config, environ)
    if not faults and not found.email and not found.phone:
        return (f"{person} has no address; write email or phone in [people.{person}] of commcast.toml",)
    return faults


def variables_of(config: Config) -> dict[str, str]:
    """Return the environment variables that hold addresses, each with what: "the email of dana"."""
    return {
        value.removeprefix(_FROM_ENVIRONMENT): f"the {kind} of {person}"
        for person, settings in config.people.items()
        for kind, value in (("email", settings.email), ("phone", settings.phone))
        if value.startswith(_FROM_ENVIRONMENT)
    }


def _resolve(person: str, config: Config, environ: Mapping[str, str]) -> tuple[Reach, tuple[str, ...]]:
    settings = config.people.get(person)
    if settings is None:
        return Reach(person, key=person), (f"no [people.{person:.60}] in commcast.toml; add it",)
    faults: list[str] = []
    region = config.channels.sms.region if config.channels.sms else ""

    def read(kind: str, written: str, normalise: Callable[[str], str]) -> str:
        name = written.removeprefix(_FROM_ENVIRONMENT)
        text = environ.get(name, "").strip() if written.startswith(_FROM_ENVIRONMENT) else written.strip()
        if not text:
            if written:
                faults.append(f"{name} is not set: the {kind} of {person}; set it where commcast runs")
            return ""
        try:
            return normalise(text)
        except ValueError as error:
            faults.append(f"the {kind} of {person} {error}")
            return ""

    email = read("email", settings.email, lambda text: normalise_email(text)[0])
    phone = read("phone", settings.phone, lambda text: normalise_phone(text, region))
    return Reach(settings.name, email, phone, person), tuple(faults)
