"""How the people in commcast.toml are reached: by addresses given there or in the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from commcast.config.settings import Config
from commcast.recipients.addresses import normalise_email, normalise_phone

_FROM_ENVIRONMENT = "env:"


class Reach(NamedTuple):
    """Somebody of commcast.toml: `email` and `phone` (E.164) are "" where there is none that can be used.

    `key` is theirs in [people].
    """

    name: str
    email: str = ""
    phone: str = ""
    key: str = ""


def reach(person: str, config: Config, environ: Mapping[str, str]) -> Reach:
    """Return how to reach a person by their key in [people]; an address that cannot be used is left out.

    Whom the configuration does not know has their key as a name and no address. What is wrong is for
    `unreachable` to say: a nudge goes on with what there is.
    """
    found, _ = _resolve(person, config, environ)
    return found


def unreachable(person: str, config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what keeps a person from being reached, each as "what; remedy" and never with an address."""
    found, faults = _resolve(person, config, environ)
    if not faults and not found.email and not found.phone:
        what = f"{person} has no address"
        return (f"{what}; write email or phone in [people.{person}] of commcast.toml",)
    return faults


def variables_of(config: Config) -> Mapping[str, str]:
    """Return the variables of the environment that hold people's addresses, each with whose it is."""
    return {
        value.removeprefix(_FROM_ENVIRONMENT): f"the {kind} of {person}"
        for person, settings in config.people.items()
        for kind, value in (("email", settings.email), ("phone", settings.phone))
        if value.startswith(_FROM_ENVIRONMENT)
    }


def _resolve(person: str, config: Config, environ: Mapping[str, str]) -> tuple[Reach, tuple[str, ...]]:
    settings = config.people.get(person)
    if settings is None:
        known = ", ".join(list(config.people)[:20]) or "nobody yet"
        return Reach(person, key=person), (f"{person!r:.60} is not a known person; known: {known}",)
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
