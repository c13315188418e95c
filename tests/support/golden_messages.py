"""What the shipped templates say at every moment, kept as text. python -m tests.support.golden_messages."""

from __future__ import annotations

from pathlib import Path

from commcast.config.settings import Config
from commcast.doctor import golden

FOLDER = Path(__file__).parents[1] / "rendering"
_BASE = {
    "organisation": {
        "name": "Acme Pay",
        "zone": "Europe/Berlin",
        "status_url": "https://status.acme.example",
    },
    "contact": {"reply_to": "help+{id}@acme.example", "phone": "+49 30 5550100", "hours": "24/7"},
    "channels": {"email": {"from": "status@acme.example"}, "sms": {}},
}


def messages() -> dict[str, str]:
    """Return by file what every audience is told in English, and customers in the other languages."""
    inside = {name: {"recipients": f"{name}.csv", "view": "internal"} for name in ("executives", "support")}
    customers = {"customers": {"recipients": "customers.csv", "channels": ["email", "sms"]}}
    partners = {"partners": {"recipients": "partners.csv"}}
    every = Config.model_validate({**_BASE, "audiences": {**customers, **partners, **inside}})
    outside = Config.model_validate({**_BASE, "audiences": customers})
    return golden.messages_now(every, [], ["en"]) | golden.messages_now(outside, [], ["de", "fr", "es"])


if __name__ == "__main__":
    golden.update(FOLDER, golden.changes(FOLDER, messages(), []))
