"""An email is built the same way each time, by RFC 5322, 2045 and 2047, whatever its words are."""

from __future__ import annotations

import email as stdlib_email
import email.policy
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.utils import parseaddr
from unittest.mock import Mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commcast.model.message import CalendarFile, Email, Mailbox, Skeleton, Spliced
from commcast.providers import mime
from commcast.providers import quoted_printable as mime_body
from commcast.providers.mime import LONGEST_NAME, build, by_stdlib, wire, wire_address
from tests.providers.splicing import skeletons, spliced

MAIL = Email(
    sender=Mailbox("status@acme.example", "Acme Pay"), to=Mailbox("dana@example.com", "Dana Reyes"),
    subject="Card payments fail", html="<p>Hello Dana, caf\u00e9</p>\n",
    text="Hello Dana,\n\n.dots and caf\u00e9s\nFrom here\n" + "long " * 400 + "\n",
    references=("<pay7@acme.example>", "<pay7.0@acme.example>"), reply_to="help+pay7@acme.example",
    list_unsubscribe="mailto:unsubscribe@acme.example", list_id="incidents.acme.example",
    message_id="<pay7.1.a1b2@acme.example>", date=datetime(2026, 11, 21, 10, 5, tzinfo=UTC),
)  # fmt: skip
CALENDAR = CalendarFile("move1.ics", "BEGIN:VCALENDAR\r\nMETHOD:PUBLISH\r\nEND:VCALENDAR\r\n")
CALLED_OFF = CalendarFile("move1.ics", CALENDAR.text.replace("PUBLISH", "CANCEL"))
CALENDARS = st.none() | st.builds(CalendarFile, st.just("move1.ics"), st.text(max_size=200))


def parse(raw: bytes) -> EmailMessage:
    parsed = stdlib_email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def shown(raw: bytes, header: str) -> str:
    """Return a header as RFC 2047 has it shown; the stdlib's newer parser adds spaces between words."""
    value = str(stdlib_email.message_from_bytes(raw)[header]).replace("\r\n", "")
    return str(make_header(decode_header(parseaddr(value)[0] if header == "To" else value)))


def text_of(part: MIMEPart | None) -> str:
    assert part is not None
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def test_the_headers_of_an_email() -> None:
    """All that design and RFCs ask for, and nothing else; what is empty has no header."""
    mail = parse(build(MAIL))
    optional = {
        "Date": "Sat, 21 Nov 2026 10:05:00 +0000", "In-Reply-To": "<pay7.0@acme.example>",
        "References": "<pay7@acme.example> <pay7.0@acme.example>", "Reply-To": "help+pay7@acme.example",
        "List-Unsubscribe": "<mailto:unsubscribe@acme.example>", "List-Id": "<incidents.acme.example>",
    }  # fmt: skip
    always = {
        "From": "Acme Pay <status@acme.example>", "To": "Dana Reyes <dana@example.com>",
        "Subject": "Card payments fail", "Message-ID": "<pay7.1.a1b2@acme.example>",
        "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All", "MIME-Version": "1.0",
        "Content-Type": mail["Content-Type"],
    }  # fmt: skip
    assert dict(mail.items()) == always | optional
    assert not mail.defects
    bare = replace(MAIL, references=(), reply_to="", list_unsubscribe="", list_id="", date=None)
    assert set(parse(build(bare)).keys()) == set(always)


@pytest.mark.parametrize("calendar", [None, CALENDAR, CALLED_OFF], ids=["", "calendar", "off"])
@pytest.mark.parametrize("html", [MAIL.html, ""], ids=["html", "text"])
def test_the_parts_of_an_email(html: str, calendar: CalendarFile | None) -> None:
    """Text first, then HTML, both quoted-printable; then the file, with the method that its content names."""
    mail = parse(build(replace(MAIL, html=html, calendar=calendar)))
    words: MIMEPart = mail
    if calendar is not None:
        words, file = mail.iter_parts()
        method = "CANCEL" if calendar is CALLED_OFF else "PUBLISH"
        assert mail.get_content_type() == "multipart/mixed"
        assert file["Content-Type"].params == {"charset": "utf-8", "method": method, "name": "move1.ics"}
        assert (file.get_content_type(), file.get_content_disposition()) == ("text/calendar", "attachment")
        assert file.get_filename() == "move1.ics"
        assert file.get_payload(decode=True) == calendar.text.encode()
    parts = list(words.iter_parts()) or [words]
    kinds = ["text/plain", *(["text/html"] if html else [])]
    assert words.get_content_type() == ("multipart/alternative" if html else "text/plain")
    assert [part.get_content_type() for part in parts] == kinds
    assert {part["Content-Transfer-Encoding"] for part in parts} == {"quoted-printable"}
    assert [text_of(part) for part in parts] == [MAIL.text, html][: len(kinds)]
    assert text_of(mail.get_body(("plain",))) == MAIL.text
    assert not mail.defects


@pytest.mark.parametrize("calendar", [None, CalendarFile("move1.ics", "x" * 5000)], ids=["", "calendar"])
def test_lines_of_76_and_crlf_only(calendar: CalendarFile | None) -> None:
    """RFC 2045 allows 76; no lone CR or LF; seven bits; nothing is random; each email has its boundary."""
    raw = build(replace(MAIL, calendar=calendar))
    assert max(map(len, raw.split(b"\r\n"))) <= 76
    assert not {b"\r", b"\n"} & set(re.findall(rb"[\r\n]", raw.replace(b"\r\n", b"")))
    assert raw.isascii()
    assert raw == build(replace(MAIL, calendar=calendar))
    other = build(replace(MAIL, calendar=calendar, message_id="<b@c>"))
    assert parse(raw).get_boundary() != parse(other).get_boundary()


INJECTIONS = (
    "a\r\nBcc: eve@evil.example", "=?utf-8?q?=0D=0ABcc:_eve@evil.example?=", "a\u2028b\x85c\x0bd"
)  # fmt: skip


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=200))
@example(INJECTIONS[0], INJECTIONS[0], "")
@example(INJECTIONS[1], INJECTIONS[1], "")
@example(INJECTIONS[2], INJECTIONS[2], "")
@example("n" * 99 + "\u00e9" * 9, "s" * 200, "")
def test_any_words_read_back_and_make_no_header(name: str, subject: str, text: str) -> None:
    """They are shown as they are, on one line, also if they look encoded; address and headers stay ours."""
    try:
        raw = build(replace(MAIL, to=Mailbox("dana@example.com", name), subject=subject, text=text))
    except ValueError:
        return  # a lone surrogate in the text
    assert stdlib_email.message_from_bytes(raw).keys() == stdlib_email.message_from_bytes(build(MAIL)).keys()
    assert raw.isascii()
    assert max(map(len, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 76
    assert shown(raw, "Subject") == mime.one_line(subject)
    one_space = re.compile(" +")  # which is all that parseaddr leaves of several
    wanted = mime.one_line(name)[:LONGEST_NAME].strip()
    assert one_space.sub(" ", shown(raw, "To")) == one_space.sub(" ", wanted)
    assert len(shown(raw, "Subject").splitlines()) <= 1
    value = str(stdlib_email.message_from_bytes(raw)["To"]).replace("\r\n", "")
    assert parseaddr(value)[1] == "dana@example.com"


@pytest.mark.parametrize("field", ["message_id", "references", "list_unsubscribe", "list_id"])
@pytest.mark.parametrize(
    "value", ["<a@b>\r\nBcc: eve@evil.example", "<a b@c>", "<\u00e9@b>", "<a@b><c@d>", "<>"]
)
def test_ids_and_links_are_one_plain_word(field: str, value: str) -> None:
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
    with pytest.raises(ValueError, match="time zone"):
        build(replace(MAIL, date=datetime(2026, 11, 21)))  # noqa: DTZ001


@pytest.mark.parametrize(
    "address",
    ["dana@example.com", "Dana.Reyes+x@Example.com", "a@localhost", "d\u00e1na@m\u00fcnchen.example"],
)
def test_an_address_on_the_wire(address: str) -> None:
    """The domain becomes punycode; the local part stays, in UTF-8 if it must (RFC 6532)."""
    wanted = address.replace("m\u00fcnchen", "xn--mnchen-3ya")
    assert wire_address(address) == wanted
    assert f"<{wanted}>".encode() in build(replace(MAIL, to=Mailbox(address, "D\u00e1na")))


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


def stuffed(raw: bytes) -> bytes:
    """Return an email as SMTP carries it: a dot before each dot that begins a line (RFC 5321 4.5.2)."""
    return b"".join(b"." + line if line.startswith(b".") else line for line in raw.splitlines(keepends=True))


def told(make: Callable[[Email], bytes], mail: Email) -> bytes | str:
    try:
        return make(mail)
    except ValueError as error:
        return str(error)


ODD = st.sampled_from("ab=. -\t~\u00e9\U0001f6a8\u200d\u2028\x00\x0b\x85\"'&<%{}")
WORDS = st.text(ODD | st.characters(exclude_categories=["Cs"]), max_size=40)
PRINTABLE = st.text(st.sampled_from("ab=. ~\u00e9\U0001f6a8\"'&<%{}\u05d3\u65e5"), max_size=40)
FILLERS = st.builds(str.__mul__, st.sampled_from("x=\u00e9 ."), st.sampled_from([0, 60, *range(70, 80), 150]))
LINES = st.builds(str.__add__, FILLERS, PRINTABLE | WORDS)
BODIES = st.lists(LINES | st.sampled_from([".", "..", "From here", "-- ", "=20", ""]), max_size=6).map(
    "\n".join
)
# What a value may hold: it stands in a line and ends none.
VALUES = LINES.map(lambda value: value.replace("\n", "").replace("\r", "").strip()).filter(bool)
MAILBOXES = st.builds(
    Mailbox,
    st.sampled_from(["dana@example.com", f"{'d' * 60}@example.com", "d\u00e1na@example.com",
                     "o'neil.x@m\u00fcnchen.example"]),
    st.sampled_from(["", "Dana Reyes", "Dr. Dana", 'Dana "Dee"', "x" * 60, "=?utf-8?q?x?="]) | WORDS,
)  # fmt: skip


@st.composite
def spliced_mails(draw: st.DrawFn) -> Email:
    values = draw(st.lists(VALUES, min_size=1, max_size=3))
    base = replace(MAIL, to=draw(MAILBOXES), calendar=draw(CALENDARS))
    return spliced(base, draw(skeletons(BODIES, len(values))), values)


def bodies_of(mail: Email) -> bytes:
    """Return what follows an email's headers, built with the stdlib's own policy."""
    built = EmailMessage(policy=email.policy.SMTP.clone(max_line_length=76))
    mime._set_body(built, mail)
    return built.as_bytes().partition(b"\r\n\r\n")[2]


@settings(max_examples=200)
@given(spliced_mails())
def test_a_spliced_mail_is_the_stdlibs_byte_for_byte(mail: Email) -> None:
    """Spliced or not, whichever code encodes the lines; on the wire dots that begin a line are doubled."""
    built = build(mail)
    assert built == build(replace(mail, spliced=None)) == by_stdlib(mail)
    assert built.partition(b"\r\n\r\n")[2] == bodies_of(mail)
    assert wire(mail) == wire(replace(mail, spliced=None)) == stuffed(built)
    assert built.endswith(b"\r\n")


ODD_MAILS = st.builds(
    lambda **own: replace(MAIL, **own),
    sender=MAILBOXES,
    to=MAILBOXES,
    subject=BODIES,
    text=BODIES,
    html=st.just("") | BODIES,
    message_id=st.sampled_from(["<a@b.example>", "a@b", "", "<a b@c>"]),
    date=st.none() | st.datetimes(timezones=st.timezones()) | st.datetimes(),
    calendar=CALENDARS,
)


@settings(max_examples=200)
@given(ODD_MAILS)
def test_any_mail_is_the_stdlibs_or_refused_in_its_words(mail: Email) -> None:
    assert told(build, mail) == told(by_stdlib, mail)


@pytest.mark.parametrize("end", ["=", "\u00e9", ".", " ", "\t", "x", " x", "=x", "%b%"])
@pytest.mark.parametrize("begin", ["", ".", "=", " "])
def test_the_borders_of_a_line(begin: str, end: str) -> None:
    """At every length around one line and two, with every kind of end, in a text and behind a value."""
    for length in (*range(68, 80), *range(143, 155)):
        words = f"{begin}{'a' * length}{end}"
        skeleton = Skeleton(("x",), (0, words, 1, words), (words, 0, "\n", words, 1))
        mail = spliced(MAIL, skeleton, ("b", "cc" * 40))
        assert wire(mail) == stuffed(by_stdlib(mail))


@pytest.mark.parametrize("value", [
    # At the beginning of a line of its own, and behind a soft break.
    *(".hidden", "x" * 75 + ".x", "x" * 73 + "..", "."),
    # What should not be a value: it must break no line.
    *("a\rb", "a\nb", "a\n.\nb", "a \nb" + "c" * 90, "a\u2028b", "a\x0bb"),
    *("", " ", "a ", "\u200d", "\ud800"),
])  # fmt: skip
def test_a_value_at_the_beginning_and_end_of_a_line(value: str) -> None:
    skeleton = Skeleton(("x",), (0, " and more\n", 0), ("<p>\n", 0, "</p>\n", 0, "\n"))
    mail = spliced(MAIL, skeleton, (value,))
    wanted = told(by_stdlib, mail)
    assert told(wire, mail) == (stuffed(wanted) if isinstance(wanted, bytes) else wanted)


def test_what_was_spliced_otherwise_is_not_believed() -> None:
    """The words that a person saw are those that go, whatever is said about how they came about."""
    for skeleton in (Skeleton(("x",), ("Hello ", 0), (MAIL.html,)), Skeleton(("x",), (MAIL.text,), (0,))):
        mail = replace(MAIL, spliced=Spliced(skeleton, ("Eve",), ("Eve",)))
        assert build(mail) == by_stdlib(MAIL)


def test_a_thousand_readers_of_one_skeleton_make_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is alike for a group is made once: one mail by the stdlib, one look at each body."""
    by_the_stdlib, bodies = Mock(wraps=mime.by_stdlib), Mock(wraps=mime_body._lines)
    monkeypatch.setattr(mime, "by_stdlib", by_the_stdlib)
    monkeypatch.setattr(mime_body, "_lines", bodies)
    skeleton = Skeleton(("Cards fail",), ("Hello ", 0, ",\nall is well.\n"), ("<p>Hello ", 0, "</p>\n"))
    base = replace(MAIL, sender=Mailbox("group@acme.example", "A group that no other test has"))
    for number in range(1000):
        own = replace(base, to=Mailbox(f"reader{number}@example.com"), message_id=f"<{number}@acme.example>")
        assert build(spliced(own, skeleton, (f"Reader {number}",))).count(b"Reader %d<" % number) == 1
    assert (by_the_stdlib.call_count, bodies.call_count) == (1, 2)
