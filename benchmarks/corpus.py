"""The words and the people of the benchmarks: one mail for all senders, 4 KB on the wire, and its readers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

SENDER = "Acme Pay <status@acme.example>"
SUBJECT = "[Identified] Card payments fail in the EU (pay7)"
TITLE = "Card payments fail in the EU"
ISSUE = "About four in ten card payments in the EU end in an error; no card is charged for a failed payment."
RESOLUTION = "We are rolling back the 09:45 release, one data centre after the other, and check each of them."
ACTION = "Please do not pay twice; we show pending payments under Orders."
STATUS_URL = "https://status.acme.example"

COLUMNS = ("email", "phone", "name", "locale", "link", "plan")
_NAMES = (
    "Ann",
    "Bob",
    "Carla",
    "Emil",
    "Fatima",
    "George",
    "Hana",
    "Jonas",
    "Klara",
    "Liam",
    "Petra",
    "Rosa",
)

# The incident's words come from its file, two places differ by reader. Our template holds both parts.
EMAIL = """\
Subject: [Identified] {{ incident.title }} ({{ incident.id }})
Hello {{ recipient.name }},

{{ update.issue }}

**What we are doing:** {{ update.resolution }}

**What you can do:** {{ update.action }}

[Your own page]({{ recipient.link }}) shows the state of each of your payments, and which of them we try
again by ourselves.

We know that this comes at a bad time for many of you. Payments by bank transfer and by direct debit
work as usual, and so does everything else in your account: orders, invoices, refunds and reports.

You hear from us again when there is news, and at the latest tomorrow at this time, even if there is
nothing new. The newest state always stands at {{ organisation.status_url }}

---
If you have questions, reply to this mail; somebody reads it day and night.

Dana Reyes, Acme Pay
"""

TEXT = """\
Hello {{ recipient.name }},

{{ update.issue }}

What we are doing: {{ update.resolution }}

What you can do: {{ update.action }}

Your own page shows the state of each of your payments, and which of them we try again by ourselves:
{{ recipient.link }}

We know that this comes at a bad time for many of you. Payments by bank transfer and by direct debit
work as usual, and so does everything else in your account: orders, invoices, refunds and reports.

You hear from us again when there is news, and at the latest tomorrow at this time, even if there is
nothing new. The newest state always stands at {{ organisation.status_url }}

If you have questions, reply to this mail; somebody reads it day and night.

Dana Reyes, Acme Pay
"""

_CELL = (
    "padding:8px 20px;font-family:Helvetica,Arial,sans-serif;font-size:16px;line-height:1.5;color:#1a1f24;"
)
HTML = f"""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{{{ incident.title }}}}</title></head>
<body style="margin:0;padding:0;background-color:#eef0f3;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
<tr><td style="background-color:#9b1c1c;padding:16px 20px;color:#ffffff;font-size:22px;font-weight:700;">
{{{{ incident.title }}}}</td></tr>
<tr><td style="{_CELL}">Hello {{{{ recipient.name }}}},</td></tr>
<tr><td style="{_CELL}">{{{{ update.issue }}}}</td></tr>
<tr><td style="{_CELL}"><b>What we are doing:</b> {{{{ update.resolution }}}}</td></tr>
<tr><td style="{_CELL}"><b>What you can do:</b> {{{{ update.action }}}}</td></tr>
<tr><td style="{_CELL}"><a href="{{{{ recipient.link }}}}" style="color:#0b4f8a;">Your own page</a> shows the
state of each of your payments, and which of them we try again by ourselves.</td></tr>
<tr><td style="{_CELL}">Payments by bank transfer and by direct debit work as usual, and so does
everything else in your account: orders, invoices, refunds and reports.</td></tr>
<tr><td style="{_CELL}">You hear from us again when there is news, and at the latest tomorrow at this time,
even if there is nothing new.</td></tr>
<tr><td style="{_CELL}color:#46505c;">If you have questions, reply to this mail. Dana Reyes</td></tr>
</table>
</body>
</html>
"""

LAYOUT = f"""\
<style inline>
p {{ margin:0;padding:8px 20px }}
</style>
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{{{ subject }}}}</title></head>
<body style="margin:0;padding:0;background-color:#eef0f3;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
<tr><td style="background-color:#9b1c1c;padding:16px 20px;color:#ffffff;font-size:22px;font-weight:700;">
{{{{ incident.title }}}}</td></tr>
<tr><td style="{_CELL}">
{{{{ body }}}}</td></tr>
<tr><td style="{_CELL}">
{{{{ foot }}}}</td></tr>
</table>
</body>
</html>
"""

SMS = (
    "{{ organisation.name }}: {{ update.issue }} Updates: {{ organisation.status_url }} Your page: "
    "{{ recipient.link }}\n"
)

# What differs by person in a way that no splicing can do: a name through a filter, a condition a person.
_BY_PERSON = (
    ("Hello {{ recipient.name }},", "Hello {{ recipient.name|upper }},"),
    (
        "{{ recipient.link }}",
        '{{ recipient.link }}{% if recipient.plan == "pro" %}?from=pro{% else %}?from=mail{% endif %}',
    ),
)
_LITERAL = {
    "{{ update.issue }}": ISSUE,
    "{{ update.resolution }}": RESOLUTION,
    "{{ update.action }}": ACTION,
    "{{ incident.title }}": TITLE,
    "{{ organisation.status_url }}": STATUS_URL,
    "{{ organisation.name }}": "Acme Pay",
}


def by_person(template: str) -> str:
    """Return a template that has to be rendered for each person alone."""
    for plain, personal in _BY_PERSON:
        template = template.replace(plain, personal)
    return template


def for_peers(template: str) -> str:
    """Return the same words for senders without incidents: with {{ name }}, {{ link }} and {{ plan }}."""
    for place, words in _LITERAL.items():
        template = template.replace(place, words)
    return template.replace("recipient.", "")


def people(count: int) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield readers as rows of COLUMNS, each with an address, number, name and link of their own."""
    for number in range(count):
        name = _NAMES[number % len(_NAMES)]
        link = f"{STATUS_URL}/pay7/{number * 2654435761 % 2**32:08x}"
        plan = "pro" if number % 3 == 0 else "free"
        yield f"c{number:07d}@example.com", f"+49151{10_000_000 + number}", name, "en", link, plan


def write_people(path: Path, count: int) -> None:
    """Write a list of readers as CSV."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(people(count))


def write_for_peers(folder: Path, text: str, html: str, count: int) -> None:
    """Write what the peers' scripts read: text.j2, html.j2 and people.csv."""
    folder.mkdir(parents=True)
    (folder / "text.j2").write_text(for_peers(text))
    (folder / "html.j2").write_text(for_peers(html))
    write_people(folder / "people.csv", count)
