"""Mail to a sink on this machine: words that can be spliced, and words that need each person alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks import corpus, desks, mailing
from benchmarks.model import Group, Lab, Row, Side

MAILS = 20_000
# The peers' rates do not depend on the number (seen at 300 and at 20,000), and they take minutes for 20,000.
FEWER = 2_000

_MANY, _PLAIN = "commcast, 64 connections", "commcast without uvloop, 64"
_UVLOOP, _EIGHT = "commcast, 32 connections", "commcast, 8 connections"
_WHOLE, _SOURCE = "commcast send --yes", "smtp-source -s 8"
_SMTPLIB, _MAILMERGE, _DJANGO, _APPRISE = "smtplib + EmailMessage", "mailmerge", "Django", "apprise"
_LOOP = "the loop, from connecting until QUIT; Jinja2 templates compiled once, rendered for each reader"


@contextmanager
def _spliced(lab: Lab) -> Iterator[Sequence[Side]]:
    many, fewer = lab.count(MAILS), lab.count(FEWER)
    drafted = desks.write_desk(lab.folder / "drafted", many)
    desks.ours("new", drafted)
    frozen = desks.write_desk(lab.folder / "frozen", many)
    desks.freeze(frozen, many)
    words = lab.folder / "peers"
    corpus.write_for_peers(words, corpus.TEXT, corpus.HTML, fewer)
    yield [
        mailing.hand_over(_MANY, frozen, many, connections=64),
        mailing.smtp_source(_SOURCE, many, 8),
        mailing.hand_over(_PLAIN, frozen, many, connections=64, plain_loop=True),
        mailing.hand_over(_UVLOOP, frozen, many),
        mailing.hand_over(_EIGHT, frozen, many, connections=8),
        mailing.whole_command(_WHOLE, drafted, many),
        mailing.script(
            _SMTPLIB,
            "smtplib_loop.py",
            words,
            fewer,
            f"smtplib.send_message of an EmailMessage each over one connection: {_LOOP}",
            is_packaged=False,
        ),
        mailing.mailmerge(_MAILMERGE, words, fewer),
        mailing.script(
            _APPRISE,
            "apprise_loop.py",
            words,
            fewer,
            "the API with one mailto service and a target a reader, one text for all: add() and notify()",
        ),
    ]


@contextmanager
def _by_person(lab: Lab) -> Iterator[Sequence[Side]]:
    many, fewer = lab.count(MAILS), lab.count(FEWER)
    frozen = desks.write_desk(lab.folder / "frozen", many, template=desks.Template.by_person())
    desks.freeze(frozen, many)
    words = lab.folder / "peers"
    corpus.write_for_peers(words, corpus.by_person(corpus.TEXT), corpus.by_person(corpus.HTML), fewer)
    yield [
        mailing.hand_over(_MANY, frozen, many, connections=64),
        mailing.mailmerge(_MAILMERGE, words, fewer),
        mailing.script(
            _DJANGO,
            "django_loop.py",
            words,
            fewer,
            f"EmailMultiAlternatives.send() each over one opened connection: {_LOOP}",
        ),
    ]


SPLICED = Group(
    "mail",
    "Personalised mail, text and HTML, 4 KB on the wire",
    (
        Row("mail-uvloop", "20,000 personalised mails, against smtp-source -d -s 8", _MANY, _SOURCE, 1.0),
        Row(
            "mail-plain",
            "20,000 personalised mails without uvloop, against smtp-source -d -s 8",
            _PLAIN,
            _SOURCE,
            0.6,
        ),
        Row(
            "mail-smtplib",
            "20,000 personalised mails, against smtplib and EmailMessage",
            _MANY,
            _SMTPLIB,
            50,
        ),
        Row("mail-mailmerge", "20,000 personalised mails, against mailmerge", _MANY, _MAILMERGE, 70),
        Row("mail-32", "over 32 connections, against smtp-source -d -s 8", _UVLOOP, _SOURCE, None),
        Row("mail-8", "over 8 connections, against smtp-source -d -s 8", _EIGHT, _SOURCE, None),
        Row("mail-whole", "the whole command from the list on, against smtp-source", _WHOLE, _SOURCE, None),
        Row("mail-apprise", "against apprise, which sends one text to all", _MANY, _APPRISE, None),
    ),
    _spliced,
)

BY_PERSON = Group(
    "person",
    "Words that need each person alone: a name through a filter, a condition a person",
    (
        Row(
            "person-mailmerge",
            "templates that need person by person, against mailmerge",
            _MANY,
            _MAILMERGE,
            15,
        ),
        Row(
            "person-django",
            "templates that need person by person, against Django's EmailMultiAlternatives",
            _MANY,
            _DJANGO,
            6,
        ),
    ),
    _by_person,
)
