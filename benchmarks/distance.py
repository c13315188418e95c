"""Mail to a relay that is 20 ms away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks import corpus, desks, mailing
from benchmarks.model import Group, Lab, Row, Side

ROUND_TRIP = 0.020
MAILS = 10_000
BY_GENERATOR = 3_000
# One connection without pipelining hands over eleven mails a second here.
ONE_BY_ONE = 80

_OURS, _SOURCE, _SMTPLIB = "commcast, 32 connections", "smtp-source -s 32", "smtplib, one connection"


@contextmanager
def _sides(lab: Lab) -> Iterator[Sequence[Side]]:
    many, alone = lab.count(MAILS, least=100), lab.count(ONE_BY_ONE, least=10)
    frozen = desks.write_desk(lab.folder / "frozen", many)
    desks.freeze(frozen, many)
    words = lab.folder / "peers"
    corpus.write_for_peers(words, corpus.TEXT, corpus.HTML, alone)
    yield [
        mailing.hand_over(_OURS, frozen, many, round_trip=ROUND_TRIP),
        mailing.smtp_source(_SOURCE, lab.count(BY_GENERATOR, least=100), 32, round_trip=ROUND_TRIP),
        mailing.script(
            _SMTPLIB,
            "smtplib_loop.py",
            words,
            alone,
            "smtplib.send_message of an EmailMessage each, from connecting until QUIT",
            is_packaged=False,
            round_trip=ROUND_TRIP,
        ),
    ]


GROUP = Group(
    "relay",
    "A relay 20 ms away (a proxy delays both ways by 10 ms; bandwidth is not limited)",
    (
        Row("relay-smtplib", "a relay 20 ms away, against one smtplib connection", _OURS, _SMTPLIB, 60),
        Row("relay-source", "a relay 20 ms away, against smtp-source -d -s 32", _OURS, _SOURCE, 1.5),
    ),
    _sides,
)
