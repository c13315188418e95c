"""One finished Email -> the bytes of its mail: the same Email always gives the same bytes."""

from __future__ import annotations

import re
from email.header import Header
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr
from hashlib import sha256
from typing import Any

import idna

from commcast.message import Email, Mailbox

LONGEST_NAME = (
    100  # characters; a name is only shown, so a longer one is cut rather than its reader left untold
)
_LONGEST_TOKEN = 900  # bytes of an id or link: a header line ends at 998 (RFC 5322 2.1.1)

_UNSHOWN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_PLAIN = re.compile(r"[ -~]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_TOKEN = re.compile(r"[!-;=?-~]+")  # visible ASCII without angle brackets
_DOT_ATOM = r"[^\s\x00-\x20\x7f-\x9f()<>\[\]:;@\\,.\"]+"
_LOCAL_PART = re.compile(rf"{_DOT_ATOM}(?:\.{_DOT_ATOM})*")
_ASCII_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ORIGIN = {"from", "to", "subject", "date", "message-id", "in-reply-to", "references", "reply-to"}
_OUR_HEADERS = frozenset(_ORIGIN | {"list-unsubscribe", "list-id", "auto-submitted"})


class _MailPolicy(EmailPolicy):
    """Lines of 76 (the stdlib's SMTP policy writes 78, RFC 2045 allows 76), and our headers as we fold them.

    The stdlib would decode a title that looks like an encoded-word, line breaks in it included, and turns a
    long id or link into an encoded-word, which no mail program reads as one.
    """

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        return (name, value) if name.lower() in _OUR_HEADERS else super().header_store_parse(name, value)

    def fold(self, name: str, value: Any) -> str:
        return f"{name}: {value}\r\n" if name.lower() in _OUR_HEADERS else super().fold(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode()


_POLICY = _MailPolicy(linesep="\r\n", max_line_length=76, cte_type="7bit")


def build(email: Email) -> bytes:
    """Return the mail with CRLF line ends: ASCII, but for an address that needs SMTPUTF8 (RFC 6532).

    Text and HTML are quoted-printable always. A mail without a date gets no Date: the first server adds it.
    Control characters in a name or subject become spaces; where an address, id or link holds them, or the
    date has no zone, ValueError("what; remedy") is raised, which holds no address.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = _mailbox(email.sender, "From")
    mail["To"] = _mailbox(email.to, "To")
    mail["Subject"] = _unstructured(one_line(email.subject), "Subject")
    _set_origin(mail, email)
    _set_body(mail, email)
    return _checked(mail)


def wire_address(address: str) -> str:
    """Return the address as it goes over the wire: its domain in ASCII (punycode), its local part as it is.

    Raises ValueError where it is no address that can stand in an SMTP command or a header.
    """
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or len(local.encode()) > 64:
        raise ValueError("the address cannot stand in a mail; write it as name@example.com")
    if not domain.isascii():
        domain = _punycode(domain)
    if not _ASCII_DOMAIN.fullmatch(domain):
        raise ValueError("the address has no usable domain; write it as name@example.com")
    return f"{local}@{domain}"


def _punycode(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("the address has no usable domain; write it as name@example.com") from None


def _mailbox(mailbox: Mailbox, header: str) -> str:
    address = wire_address(mailbox.address)
    name = one_line(mailbox.name)[:LONGEST_NAME].strip()
    if not name:
        return address
    phrase = _phrase(name, header)
    gap = " " if len(header) + len(phrase) + len(address) < 70 and "\r\n" not in phrase else "\r\n "
    return f"{phrase}{gap}<{address}>"


def _phrase(name: str, header: str) -> str:
    if not _PLAIN.fullmatch(name) or "=?" in name or len(name) > 60:
        return _encoded(name, header)
    if _ATOMS.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unstructured(text: str, header: str) -> str:
    """Return the text folded at its spaces; encoded where it must be, or where it only looks encoded."""
    foldable = all(len(word) <= 60 for word in text.split(" "))
    if not _PLAIN.fullmatch(text) or "=?" in text or not foldable or "  " in text:
        return _encoded(text, header)
    return Header(text, "us-ascii", maxlinelen=76, header_name=header).encode(linesep="\r\n")


def _encoded(text: str, header: str) -> str:
    return Header(text, "utf-8", maxlinelen=75, header_name=header).encode(linesep="\r\n")


def one_line(text: str) -> str:
    return _UNSHOWN.sub(" ", text).strip()


def _set_origin(mail: EmailMessage, email: Email) -> None:
    if email.date is not None:
        if email.date.tzinfo is None:
            raise ValueError("the date has no time zone; give an aware datetime")
        mail["Date"] = format_datetime(email.date)
    mail["Message-ID"] = bracketed(email.message_id, "message_id")
    if email.references:
        mail["In-Reply-To"] = bracketed(email.references[-1], "references")
        mail["References"] = "\r\n ".join(bracketed(each, "references") for each in email.references)
    if email.reply_to:
        name, address = parseaddr(email.reply_to)
        mail["Reply-To"] = _mailbox(Mailbox(address, name), "Reply-To")
    if email.list_unsubscribe:
        mail["List-Unsubscribe"] = bracketed(email.list_unsubscribe, "list_unsubscribe")
    if email.list_id:
        mail["List-Id"] = bracketed(email.list_id, "list_id")
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies


def bracketed(text: str, field: str) -> str:
    inner = text.removeprefix("<").removesuffix(">")
    if not _TOKEN.fullmatch(inner) or len(inner) > _LONGEST_TOKEN:
        raise ValueError(f"{field} is not one word of plain characters; write it as <…>")
    return f"<{inner}>"


def _set_body(mail: EmailMessage, email: Email) -> None:
    mail.set_content(email.text, subtype="plain", charset="utf-8", cte="quoted-printable")
    if email.html:
        mail.add_alternative(email.html, subtype="html", charset="utf-8", cte="quoted-printable")
        # Quoted-printable text never holds "=_", so the boundary cannot occur in a part (RFC 2045 6.7).
        mail.set_boundary("=_" + sha256(email.message_id.encode()).hexdigest()[:32])


def _checked(mail: EmailMessage) -> bytes:
    """Return the mail's bytes, proved to have no header that we did not set."""
    raw = mail.as_bytes()
    head = raw.partition(b"\r\n\r\n")[0]
    names = [
        line.partition(b":")[0].decode("latin-1") for line in head.split(b"\r\n") if line[:1] not in b" \t"
    ]
    if names != mail.keys() or len(raw.replace(b"\r\n", b"").splitlines()) > 1:
        raise ValueError(
            "the mail's headers do not come out as they were set; write a plainer name or subject"
        )
    return raw
