"""All comparisons, in the order in which they run and stand on the page."""

from __future__ import annotations

from benchmarks import distance, growth, mail, reading, services, startup

GROUPS = (
    startup.HELP,
    startup.TICK,
    reading.GROUP,
    mail.SPLICED,
    mail.BY_PERSON,
    distance.GROUP,
    services.SENDGRID,
    services.TWILIO,
    growth.GROUP,
)
