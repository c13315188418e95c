"""A mail is built the same way each time, by RFC 5322, 2045 and 2047, whatever its words hold."""

from __future__ import annotations

import email as stdlib_email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.adapters.mime import LONGEST_NAME, build, wire_address
from commcast.message import Email, Mailbox

MAIL = Email(
    sender=Mailbox("status@acme.example", "Acme Pay"),
    to=Mailbox("dana@example.com", "Dana Reyes"),
    subject="Card payments fail",
    text="Hello Dana,\n\n.dots and caf\u00e9s\nFrom here\n" + "long " * 400 + "\n",
    html="<p>Hello Dana, caf\u00e9</p>\n",
    message_id="<pay7.1.a1b2@acme.example>",
    references=("<pay7@acme.example>", "<pay7.0@acme.example>"),
    reply_to="help+pay7@acme.example",
    list_unsubscribe="mailto:unsubscribe@acme.example",
    list_id="incidents.acme.example",
    date=datetime(2026, 11, 21, 10, 5, tzinfo=UTC),
)
LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), max_size=300)


def parse(raw: bytes) -> EmailMessage:
    parsed = stdlib_email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def shown(raw: bytes, header: str) -> str:
    """Return a header as RFC 2047 has it shown; the stdlib's newer parser adds spaces between words."""
    value = str(stdlib_email.message_from_bytes(raw)[header]).replace("\r\n", "")
    return str(make_header(decode_header(parseaddr(value)[0] if header == "To" else value)))


def test_the_headers_of_a_mail() -> None:
    """All that design and RFCs ask for, and nothing else."""
    mail = parse(build(MAIL))
    assert dict(mail.items()) == {
        "From": "Acme Pay <status@acme.example>",
        "To": "Dana Reyes <dana@example.com>",
        "Subject": "Card payments fail",
        "Date": "Sat, 21 Nov 2026 10:05:00 +0000",
        "Message-ID": "<pay7.1.a1b2@acme.example>",
        "In-Reply-To": "<pay7.0@acme.example>",
        "References": "<pay7@acme.example> <pay7.0@acme.example>",
        "Reply-To": "help+pay7@acme.example",
        "List-Unsubscribe": "<mailto:unsubscribe@acme.example>",
        "List-Id": "<incidents.acme.example>",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "Content-Type": mail["Content-Type"],
    }
    assert not mail.defects


def test_both_parts_are_quoted_printable_and_whole() -> None:
    """Text first, then HTML; both read back as they were."""
    mail = parse(build(MAIL))
    parts = list(mail.iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert [part["Content-Transfer-Encoding"] for part in parts] == ["quoted-printable"] * 2
    assert [part.get_content().replace("\r\n", "\n") for part in parts] == [MAIL.text, MAIL.html]


def test_a_mail_without_html_has_one_part() -> None:
    """No HTML, no multipart."""
    mail = parse(build(replace(MAIL, html="")))
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == MAIL.text


def test_what_is_empty_has_no_header() -> None:
    """Reply-To, References and the List headers only where there is something to say; no date, no Date."""
    bare = replace(MAIL, references=(), reply_to="", list_unsubscribe="", list_id="", date=None)
    missing = {"In-Reply-To", "References", "Reply-To", "List-Unsubscribe", "List-Id", "Date"}
    assert not missing & set(parse(build(bare)).keys())


def test_the_same_mail_is_the_same_bytes() -> None:
    """Nothing random: the boundary comes from the message id."""
    assert build(MAIL) == build(MAIL)
    assert parse(build(MAIL)).get_boundary() != parse(build(replace(MAIL, message_id="<b@c>"))).get_boundary()


def test_lines_of_76_and_crlf_only() -> None:
    """RFC 2045 allows 76; no lone CR or LF; seven bits."""
    raw = build(MAIL)
    assert max(map(len, raw.split(b"\r\n"))) <= 76
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert raw.isascii()


@given(LINE)
def test_any_subject_reads_back(subject: str) -> None:
    """Any subject on one line is shown as it is, in lines of 76, also one that looks encoded."""
    raw = build(replace(MAIL, subject=subject))
    assert shown(raw, "Subject") == subject.strip()
    assert max(map(len, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 76


@given(LINE)
def test_any_name_reads_back(name: str) -> None:
    """Any name is shown as it is, cut at LONGEST_NAME; the address beside it stays the only one."""
    raw = build(replace(MAIL, to=Mailbox("dana@example.com", name)))
    assert shown(raw, "To") == name.strip()[:LONGEST_NAME].strip()
    value = str(stdlib_email.message_from_bytes(raw)["To"]).replace("\r\n", "")
    assert parseaddr(value)[1] == "dana@example.com"


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_no_text_makes_a_header(name: str, subject: str, text: str) -> None:
    """Whatever the words hold, the headers are the ones that we set; or the mail is refused."""
    try:
        raw = build(replace(MAIL, to=Mailbox("dana@example.com", name), subject=subject, text=text))
    except ValueError:
        return  # a lone surrogate in the text
    assert stdlib_email.message_from_bytes(raw).keys() == stdlib_email.message_from_bytes(build(MAIL)).keys()
    assert raw.isascii()


@pytest.mark.parametrize(
    "words", ["a\r\nBcc: eve@evil.example", "=?utf-8?q?=0D=0ABcc:_eve@evil.example?=", "a\u2028b\x85c\x0bd"]
)
def test_injection_in_subject_and_name(words: str) -> None:
    """Line breaks become spaces, and an encoded-word that somebody typed stays text."""
    raw = build(replace(MAIL, subject=words, to=Mailbox("dana@example.com", words)))
    assert not any(line.startswith(b"Bcc") for line in raw.split(b"\r\n"))
    assert "\n" not in shown(raw, "Subject")
    assert ("=?" in words) == ("=?" in shown(raw, "Subject"))


@pytest.mark.parametrize("field", ["message_id", "references", "list_unsubscribe", "list_id"])
@pytest.mark.parametrize(
    "value", ["<a@b>\r\nBcc: eve@evil.example", "<a b@c>", "<\u00e9@b>", "<a@b><c@d>", "<>"]
)
def test_ids_and_links_are_one_plain_word(field: str, value: str) -> None:
    """An id or link that could break a header is refused, by the name of its field."""
    given_value = (value,) if field == "references" else value
    with pytest.raises(ValueError, match=field):
        build(replace(MAIL, **{field: given_value}))  # type: ignore[arg-type]


def test_a_long_id_or_link_stays_whole() -> None:
    """No encoded-word is made of it: mail programs would not thread, or not unsubscribe."""
    link = "https://acme.example/u?t=" + "a" * 200
    raw = build(replace(MAIL, list_unsubscribe=link, references=(f"<{'r' * 150}@acme.example>",)))
    assert f"<{link}>".encode() in raw
    assert b"In-Reply-To: <" + b"r" * 150 + b"@acme.example>" in raw


def test_a_date_needs_a_zone() -> None:
    """A naive date is refused."""
    with pytest.raises(ValueError, match="time zone"):
        build(replace(MAIL, date=datetime(2026, 11, 21)))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        ("dana@example.com", "dana@example.com"),
        ("Dana.Reyes+x@Example.com", "Dana.Reyes+x@Example.com"),
        ("dana@m\u00fcnchen.example", "dana@xn--mnchen-3ya.example"),
        ("d\u00e1na@example.com", "d\u00e1na@example.com"),
        ("dana@localhost", "dana@localhost"),
    ],
)
def test_an_address_on_the_wire(address: str, wire: str) -> None:
    """The domain becomes punycode, the local part stays."""
    assert wire_address(address) == wire


@pytest.mark.parametrize(
    "address",
    ["", "dana", "@example.com", "dana@", "a@b@c", "a b@c.example", "a@b c", "<a@b>", "a@b>\r\nDATA",
     "a\x00@b", "a@b,c@d", '"a b"@c.example', "x" * 65 + "@c.example", "a@\u2028.example", "\ud800@c.example",
     "a@\ud800.example", "a.@b", ".a@b"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    """What could break a command or a header is refused, and the reason does not repeat it."""
    with pytest.raises(ValueError) as caught:
        wire_address(address)
    told = str(caught.value).replace("name@example.com", "")
    assert not address or address not in told


def test_a_non_ascii_local_part_stays_readable() -> None:
    """Such a mail is UTF-8 in its address alone (RFC 6532): only a server with SMTPUTF8 may get it."""
    raw = build(replace(MAIL, to=Mailbox("d\u00e1na@m\u00fcnchen.example", "D\u00e1na")))
    assert "<d\u00e1na@xn--mnchen-3ya.example>".encode() in raw
