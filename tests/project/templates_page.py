"""Writes docs/templates.md: how templates work, every moment, every variable with an example value.

python -m tests.project.templates_page
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from commcast.config.settings import Config
from commcast.doctor.trial import made_up_stories
from commcast.model.incident import NextWord, Recipient
from commcast.plan.cadence import promises
from commcast.rendering.context import build_context, recipient_values
from commcast.rendering.moments import MOMENTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "templates.md"
HEAD = Path(__file__).with_name("templates_page.md")
MEANINGS = Path(__file__).with_name("template_variables.toml")

CONFIG = Config.model_validate(
    {
        "organisation": {
            "name": "Acme Pay",
            "zone": "Europe/Berlin",
            "status_url": "https://status.acme.example",
        },
        "contact": {
            "reply_to": "help+{id}@acme.example",
            "phone": "+49 30 5550100",
            "hours": "24/7",
            "feedback_url": "https://acme.example/informed",
        },
        "brand": {"colour": "#0b4f8a"},
        "audiences": {
            "customers": {"recipients": "c.csv"},
            "support": {"recipients": "s.csv", "view": "internal"},
        },
        "channels": {"email": {"from": "status@acme.example"}},
        "people": {"dana": {"name": "Dana Reyes"}},
        "components": {"payments-api": {"public": "Card payments"}},
    }
)
READER = Recipient(2, "ann@example.com", "ann@example.com", name="Ann", timezone="Europe/Berlin", locale="en")
_TIME, _SPAN = {"iso", "short"}, {"short", "start", "end"}


def contexts() -> Iterator[dict[str, Any]]:
    """Yield what templates know at each moment, of an incident that says all it can."""
    for audience, moment in product(CONFIG.audiences, MOMENTS):
        incident, occasion = made_up_stories(CONFIG)[moment][0]
        update, before = incident.latest, incident.updates[-2:-1]
        changed = {"affected": ("payments-api",), "owner": "dana", "link": "https://acme.example/card"}
        incident = incident.model_copy(
            update={"updates": (*incident.updates[:-1], update.model_copy(update=changed))}
        )
        now = occasion.now or update.at
        occasion = occasion._replace(
            now=now,
            broken=now,
            held_back=2,
            catches_up=True,
            next_word=NextWord.UPDATE,
            goes_on_as="The network is slow",
        )
        yield build_context(
            CONFIG,
            incident,
            incident.latest,
            audience,
            zone=ZoneInfo("Europe/Berlin"),
            language="en",
            first=not before,
            next_update_by=promises(CONFIG, incident, incident.latest).get(audience),
            previous=before[0] if before else None,
            occasion=occasion,
            with_calendar=True,
        )


def leaves(value: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each name that templates may print with its value; a time or a stretch of time is one."""
    for name, each in value.items():
        if isinstance(each, Mapping) and not (each.keys() >= _TIME or each.keys() >= _SPAN):
            yield from leaves(each, f"{start}{name}.")
        else:
            yield f"{start}{name}", each


def examples() -> dict[str, Any]:
    """Return an example of each value; a time stands for all of its forms."""
    found: dict[str, Any] = {}
    for context in [*contexts(), {"recipient": recipient_values(READER, CONFIG.audiences["support"], "en")}]:
        for name, value in leaves(context):
            if found.get(name) in (None, "", [], False, {}):
                found[name] = value
    groups = {name.rpartition(".")[0] for name in found} - {""}
    return {name: value for name, value in found.items() if name not in groups}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['short']} (time)" if "iso" in value else f"{value['short']} (from, to)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`{flat[:70]}…`" if len(flat) > 70 else f"`{flat}`"


def _forms(name: str, value: Mapping[str, str]) -> Iterator[str]:
    for form, text in value.items():
        yield f"| `{name}.{form}` | {_shown(text)} |"


def page() -> str:
    """Return the page."""
    meanings, found = tomllib.loads(MEANINGS.read_text("utf-8"))["meanings"], examples()
    lines = [HEAD.read_text("utf-8").rstrip(), "", "## Moments", "", "| File | When |", "|--|--|"]
    lines += [f"| `{moment}` | {when} |" for moment, when in MOMENTS.items()]
    lines += ["", "## Variables", ""]
    lines += [
        "`internal` exists only for audiences with the internal view. Examples are of a made-up incident.",
        "",
    ]
    lines += ["| Variable | What it is | Example |", "|--|--|--|"]
    lines += [
        f"| `{name}` | {meanings.get(name, '?')} | {_shown(value)} |" for name, value in sorted(found.items())
    ]
    lines += ["", "A time has these forms; print one of them:", "", "| Form | Example |", "|--|--|"]
    lines += _forms("update.at", found["update.at"])
    lines += ["", "A stretch of time has these:", "", "| Form | Example |", "|--|--|"]
    lines += _forms("update.window.span", found["update.window.span"])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
