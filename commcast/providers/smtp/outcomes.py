"""What each answer of an SMTP server means for one delivery: the table OUTCOMES, and how it is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from commcast.model.message import Blame, Email, Mailbox, Outcome, OutcomeKind

_READ = 1000  # characters of a server's text that are looked at
_LONGEST_TEXT = 120  # characters of a server's text that we keep
_QUEUE_ID = re.compile(
    r"queued as ([\w-]+)|\bid=([\w-]+)|InternalId=(\d+)|^2\.0\.0 ([\w-]+) Message accepted", re.ASCII
)


class SmtpStage(StrEnum):
    """How far a transaction has come. From DOT on, the server may have the message."""

    CONNECT = "connect"
    TLS = "tls"
    HELLO = "hello"
    AUTH = "auth"
    RESET = "reset"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"


@dataclass(frozen=True, slots=True)
class Answer:
    """How a delivery ended: the stage, the reply or what came instead of one, and the server's text.

    `said` is a reply as "550 5.1.1" (the code, and the enhanced code if there is one), or one of unresolved,
    unreachable, certificate, handshake, missing (an extension), silence, lost, garbage, unsendable.
    """

    stage: SmtpStage
    said: str
    text: str = ""

    @property
    def keeps_connection(self) -> bool:
        """Whether the next transaction can follow, because both sides know where they are."""
        clear = r"[45](?!21)|2" if self.stage is SmtpStage.DOT else r"[45](?!21)"
        return self.stage is not SmtpStage.RESET and bool(re.match(clear, self.said))

    @property
    def was_stale(self) -> bool:
        """Whether an idle connection turned out to be dead before this transaction began."""
        gone = self.said == "lost" or self.said.startswith("421")
        return self.stage is SmtpStage.RESET or (self.stage is SmtpStage.MAIL and gone)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer means at some stages; `said` is a pattern for all of `Answer.said`.

    `text`, if it is set, has to be found in the server's text as well.
    """

    stages: frozenset[SmtpStage]
    said: str
    kind: OutcomeKind
    blame: Blame
    words: str
    suppress: bool = False
    text: str = ""


OPENING = frozenset({SmtpStage.CONNECT, SmtpStage.TLS, SmtpStage.HELLO, SmtpStage.AUTH})
_BEFORE_DOT = frozenset(SmtpStage) - {SmtpStage.DOT}
_CONNECT, _TLS, _AUTH = (frozenset({stage}) for stage in (SmtpStage.CONNECT, SmtpStage.TLS, SmtpStage.AUTH))
_MAIL, _RCPT, _DOT = (frozenset({stage}) for stage in (SmtpStage.MAIL, SmtpStage.RCPT, SmtpStage.DOT))
_CONTENT = frozenset({SmtpStage.DATA, SmtpStage.DOT})
_READER = _RCPT | _CONTENT  # one transaction is one reader: what is said here may be about them

_ACCEPTED, _REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
_UNKNOWN, _NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
_SERVER, _ACCOUNT, _ONE, _UNCLEAR = Blame.PROVIDER, Blame.ACCOUNT, Blame.RECIPIENT, Blame.UNCLEAR

_NEXT_IN_LINE = 300.0  # seconds that a refused reader waits, so that the next run begins with others
_LIMIT = r"\b(?:daily|hourly|sending|outgoing|message|rate)\b.*\b(?:limit|quota|rate exceeded)\b"
_NO_USER = (
    r"^(?!.*\bsender\b).*"
    r"(?:\b(?:no such|unknown|invalid|unrout(?:e)?able) (?:user|recipient|mailbox|address)\b"
    r"|\b(?:user|recipient|mailbox) (?:\S+ )?(?:unknown|not found|does(?:n't| not) exist)\b)"
)

# The first rule that matches applies. Sources: RFC 5321 3.8, 4.2 and 4.5.3.2; RFC 3463; RFC 4954; RFC 6531.
# Relays may say only at RCPT or after the dot that our sender, limit or content is refused. So only what can
# be about nothing but the reader ends a row; and only a code that says so, not words, suppresses somebody.
# No STARTTLS, or an untrusted certificate: trying again fixes neither, a person has to.
# A 421 after the dot is a refusal like any other 4xx: the server says that it did not accept the message.
# fmt: off
OUTCOMES: tuple[Rule, ...] = (
    Rule(_BEFORE_DOT, r"421.*", _NOT_TAKEN, _SERVER, "the server is closing the connection"),
    Rule(_CONNECT, "unresolved", _NOT_TAKEN, _SERVER, "the server's name has no address"),
    Rule(_CONNECT, "unreachable", _NOT_TAKEN, _SERVER, "the server cannot be reached"),
    Rule(_CONNECT | _TLS, "certificate", _NOT_TAKEN, _ACCOUNT, "the server's certificate is not trusted"),
    Rule(_CONNECT | _TLS, "handshake", _NOT_TAKEN, _SERVER, "no TLS connection can be made"),
    Rule(_TLS, "missing", _NOT_TAKEN, _ACCOUNT, "the server does not offer STARTTLS"),
    Rule(_AUTH, "missing", _NOT_TAKEN, _ACCOUNT, "the server does not offer a login method that we support"),
    Rule(_AUTH, r"5.*", _NOT_TAKEN, _ACCOUNT, "the login was refused"),
    Rule(OPENING, r"[45].*", _NOT_TAKEN, _SERVER, "the server refuses service for now"),
    Rule(_MAIL, "missing", _REJECTED, _ONE, "the address needs SMTPUTF8, which the server does not offer"),
    Rule(_MAIL, "unsendable", _REJECTED, _ONE, "the message cannot be made into an email"),
    Rule(_MAIL | _RCPT, r"5\d\d 5\.6\.7", _REJECTED, _ONE, "the server refuses this non-ASCII address"),
    Rule(_MAIL, r"552.*", _NOT_TAKEN, _ACCOUNT, "the message is too large, or our quota is used up"),
    Rule(_MAIL, r"5.*", _NOT_TAKEN, _ACCOUNT, "the sender was refused"),
    Rule(_MAIL, r"4.*", _NOT_TAKEN, _SERVER, "the server accepts no email for now"),
    Rule(_READER, r"5\d\d 5\.1\.[136]", _REJECTED, _ONE, "no such mailbox", suppress=True),
    Rule(_READER, r"5\d\d 5\.(?:2\.[12]|7\.13)", _REJECTED, _ONE, "the mailbox is disabled or full"),
    Rule(_READER, r"5\d\d 5\.(?:1\.90|4\.5)", _NOT_TAKEN, _ACCOUNT, "our sending limit is reached"),
    Rule(_READER, r"530.*|5\d\d 5\.(?:1\.[78]|2\.252|7\.\d+)",
         _NOT_TAKEN, _ACCOUNT, "our sender, login or message was refused"),
    Rule(_READER, r"5\d\d 5\.(?:3\.4|6\.\d+)", _NOT_TAKEN, _ACCOUNT, "our message was refused"),
    Rule(_READER, r"5.*", _NOT_TAKEN, _ACCOUNT, "our limit is reached", text=_LIMIT),
    Rule(_READER, r"5.*", _REJECTED, _ONE, "the recipient is not known", text=_NO_USER),
    Rule(_READER, r"5.*", _NOT_TAKEN, _UNCLEAR, "refused, without saying if because of us or the reader"),
    Rule(_READER, r"45[24]|452 4\.5\.3|454 4\.7\.0",
         _NOT_TAKEN, _SERVER, "the server accepts no more from us for now"),
    Rule(_RCPT, r"452 4\.3\.\d+", _NOT_TAKEN, _SERVER, "the server has no room for now"),
    Rule(_RCPT, r"4.*", _NOT_TAKEN, _ONE, "the recipient was not accepted for now"),
    Rule(_CONTENT, r"421.*|4\d\d 4\.3\.\d+", _NOT_TAKEN, _SERVER, "the server's mail system has a problem"),
    Rule(_CONTENT, r"4.*", _NOT_TAKEN, _ONE, "the message was not accepted for now"),
    Rule(_DOT, r"2.*", _ACCEPTED, _ONE, ""),
    Rule(_DOT, "lost", _UNKNOWN, _ONE, "the connection broke after the message was handed over"),
    Rule(_DOT, "silence", _UNKNOWN, _ONE, "no reply came after the message was handed over"),
    Rule(_DOT, r"garbage|\d.*", _UNKNOWN, _ONE, "an invalid reply came after the message was handed over"),
    Rule(_BEFORE_DOT, "lost", _NOT_TAKEN, _SERVER, "the connection broke before the message was handed over"),
    Rule(_BEFORE_DOT, "silence", _NOT_TAKEN, _SERVER, "the server did not reply in time"),
    Rule(_BEFORE_DOT, r"garbage|\d.*", _NOT_TAKEN, _SERVER, "the server's reply is invalid here"),
)
# fmt: on
_UNLISTED = Rule(frozenset(SmtpStage), "", _UNKNOWN, _ONE, "no rule covers this reply")


def judge(answer: Answer) -> Rule:
    """Return the rule for an answer. An answer that no rule covers is unknown: nobody is told twice."""
    at_stage = (rule for rule in OUTCOMES if answer.stage in rule.stages)
    fits = (rule for rule in at_stage if re.fullmatch(rule.said, answer.said))
    text = " ".join(answer.text[:_READ].split())
    return next((rule for rule in fits if re.search(rule.text, text, re.IGNORECASE)), _UNLISTED)


def reply_line(code: int, text: str) -> str:
    """Return a reply as `Answer.said` has it; an enhanced code of a different class is left out."""
    enhanced = re.match(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)", text)
    return f"{code} {enhanced[0]}" if enhanced and enhanced[1] == str(code)[0] else str(code)


def accepted(delivery: int, text: str) -> Outcome:
    """Return the outcome of a 2xx after the final dot: what the table says, but faster."""
    return Outcome(delivery, OutcomeKind.ACCEPTED, provider_id=queue_id(text))


def outcome(delivery: int, email: Email, answer: Answer, user: str) -> Outcome:
    """Return what the answer means for one delivery; `user` is our login, which no detail may contain."""
    rule = judge(answer)
    if rule.kind is OutcomeKind.ACCEPTED:
        return accepted(delivery, answer.text)
    detail = _detail(rule, email, answer, user)
    is_ours = rule.blame is _ACCOUNT or rule.blame is _UNCLEAR
    wait = _NEXT_IN_LINE if is_ours and answer.stage in _READER else None
    return Outcome(delivery, rule.kind, detail, blame=rule.blame, retry_after=wait, suppress=rule.suppress)


def queue_id(text: str) -> str:
    """Return the server's own id of the message, as Postfix, Exim, Exchange or Sendmail write it, or ""."""
    found = _QUEUE_ID.search(text)
    return found[found.lastindex or 0][:100] if found else ""


def _detail(rule: Rule, email: Email, answer: Answer, user: str) -> str:
    code = answer.said if answer.said[0].isdigit() else ""
    words = ""
    if answer.stage is not SmtpStage.AUTH:  # the reply to a login may contain it
        # Why no connection came about, this machine says: the same whoever is first in line.
        to = email.to if code or answer.stage not in OPENING else None
        words = _harmless(answer.text.removeprefix(code.partition(" ")[2]), to, email.sender, user)
    said = ": ".join(filter(None, (code, words)))
    return f"{rule.words} ({said})" if said else rule.words


def _harmless(text: str, to: Mailbox | None, sender: Mailbox, user: str) -> str:
    """Return a server's text without control characters, addresses, long codes and parts of known names."""
    known = f"{to.address} {to.name} {sender.address} {user}" if to else f"{sender.address} {user}"
    secret = {part.casefold() for part in re.split(r"[\W_]+", known)}
    shown = re.sub(r"\S*(?:@|%40)\S*", "*", text[:_READ])
    shown = re.sub(r"[^ -~]+", " ", shown)
    shown = re.sub(
        r"[^\W_]+", lambda word: "*" if word[0].casefold() in secret or len(word[0]) > 24 else word[0], shown
    )
    return " ".join(shown.split())[:_LONGEST_TEXT]
