"""From mails to mail/send requests and back: each reader gets exactly his own words, and nobody another's."""

from __future__ import annotations

import json
import string
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email import message_from_bytes, policy
from html import escape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import SendGridProvider
from commcast.model.incident import Channel
from commcast.model.message import (
    Blame,
    CalendarFile,
    Delivery,
    Email,
    Mailbox,
    Outcome,
    OutcomeKind,
    Pieces,
    Skeleton,
    Sms,
    Spliced,
)
from commcast.providers import mime
from commcast.providers.sendgrid import request as sendgrid_request
from commcast.providers.sendgrid.client import OWN_ID
from commcast.providers.sendgrid.letter import ReaderView
from commcast.providers.sendgrid.request import Request, expand, requests
from tests.providers.contract import HOSTILE, email
from tests.support.servers.sendgrid import check_body, seen
from tests.support.values import AUDIENCES, PHASES, full, minimal

PROVIDER = SendGridProvider()


def made(*mails: Email, provider: SendGridProvider = PROVIDER) -> tuple[list[Request], list[Outcome]]:
    """Make the requests for mails numbered from 1, each of which must be a right one."""
    built, refused = requests([Delivery(number, mail) for number, mail in enumerate(mails, 1)], provider)
    for request in built:
        check_body(request.body)
        assert len(request.body["personalizations"]) == len(request.deliveries)
    answered = [
        *(number for each in built for number in each.deliveries),
        *(each.delivery for each in refused),
    ]
    assert sorted(answered) == list(range(1, len(mails) + 1))
    return built, refused


def readings(built: Sequence[Request]) -> dict[int, tuple[str, ReaderView]]:
    """What each delivery's reader sees, by the stand-in's own substitution: address and words."""
    found = {}
    for request in built:
        for at, delivery in enumerate(request.deliveries):
            taken = seen(request.body, at)
            assert taken.reading == expand(request.body, at)
            found[delivery] = (taken.address, taken.reading)
    return found


def mail(number: int, text: str = "Hello,\nAll is well.\n", html: str = "", **changed: Any) -> Email:
    return replace(email(number, name=f"Reader {number}"), text=text, html=html, **changed)


def people(request: Request) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = request.body["personalizations"]
    return found


def test_a_calendar_file_goes_with_each_reader_of_its_words() -> None:
    """Mails with another file, or none, are a request of their own."""
    first, moved = CalendarFile("move1.ics", "BEGIN:1\r\n"), CalendarFile("move1.ics", "BEGIN:2\r\n")
    built, refused = made(
        mail(1, calendar=first), mail(2), mail(3, calendar=first), mail(4, calendar=moved), mail(5)
    )
    assert refused == []
    attached = {
        number: [b64decode(each["content"]) for each in request.body.get("attachments", [])]
        for request in built
        for number in request.deliveries
    }
    assert attached == {1: [b"BEGIN:1\r\n"], 2: [], 3: [b"BEGIN:1\r\n"], 4: [b"BEGIN:2\r\n"], 5: []}
    assert len(built) == 3


LINES = st.text(st.sampled_from("ab-cn0<>&\n\r\t \u2028\U0001f6a8;,%{}"), max_size=30)


# --- merging


def test_the_same_words_go_as_they_are() -> None:
    """Mails that do not differ need no substitution."""
    (request,), _ = made(*(mail(number, html="<p>Hi</p>\n") for number in range(1, 4)))
    assert request.body["content"] == [
        {"type": "text/plain", "value": "Hello,\nAll is well.\n"},
        {"type": "text/html", "value": "<p>Hi</p>\n"},
    ]
    assert not any("substitutions" in person for person in people(request))


def test_only_lines_that_differ_are_substituted() -> None:
    """Each place and context has a tag of its own, and its value is a reader's whole line."""
    (request,), _ = made(
        *(
            mail(number, f"Hello {who},\nAll is well.\n", f"<p>Hello {who},</p>\n<p>All is well.</p>\n")
            for number, who in ((1, "Dana & Eve"), (2, "Kim"))
        )
    )
    text, html = (part["value"].split("\n") for part in request.body["content"])
    assert text[1:] == ["All is well.", ""]
    assert html[1:] == ["<p>All is well.</p>", ""]
    assert text[0] != html[0]
    assert people(request)[0]["substitutions"] == {
        text[0]: "Hello Dana & Eve,",
        html[0]: "<p>Hello Dana & Eve,</p>",
    }


def test_the_subject_is_substituted_too() -> None:
    """Two subjects go in one request."""
    built, _ = made(mail(1, subject="Cards fail"), mail(2, subject="[TEST] Cards fail"))
    assert len(built) == 1
    assert [words.subject for _, words in readings(built).values()] == ["Cards fail", "[TEST] Cards fail"]


@pytest.mark.parametrize(
    "other",
    [
        mail(2, "Hello,\nAll is well.\nAnd more.\n"),
        mail(2, html="<p>Hi</p>"),
        mail(2, sender=Mailbox("other@acme.example")),
        mail(2, reply_to="other@acme.example"),
        mail(2, list_unsubscribe="mailto:other@acme.example"),
        mail(2, references=("<other@acme.example>",)),
    ],
    ids=["lines", "html", "sender", "reply to", "unsubscribe", "references"],
)
def test_what_cannot_be_merged_goes_apart(other: Email) -> None:
    """Another shape or frame is another request."""
    built, _ = made(mail(1), other, mail(3))
    assert [request.deliveries for request in built] == [(1, 3), (2,)]


def test_every_shipped_template_reaches_its_reader_word_for_word() -> None:
    """All audiences and phases, with and without all facts, to readers with all kinds of names."""
    from tests.support.templates import shipped_renderer as renderer

    names = ("Dana", "", "Reyes; Dana", 'Kim "K" <k>', "\u05d3\u05e0\u05d4", "\U0001f6a8 Ann", "a & b")
    for audience in AUDIENCES:
        for status in PHASES:
            for told in (full, minimal):
                context = told(audience, status)
                chosen = renderer(audience, status, Channel.EMAIL)
                mails = []
                for number, name in enumerate(names, 1):
                    reader = {**context["recipient"], "name": name, "greeting": f"Hello {name},"}
                    content = chosen.email(context, reader)
                    mails.append(mail(number, content.text, content.html, subject=content.subject))
                built, refused = made(*mails)
                assert not refused
                assert len(built) == 1, (audience, status)
                for number, (address, words) in readings(built).items():
                    sent = mails[number - 1]
                    assert address == sent.to.address
                    assert words == ReaderView(sent.subject, sent.text, sent.html)


@st.composite
def batches(draw: st.DrawFn) -> list[Email]:
    texts = draw(st.lists(LINES.filter(bool), min_size=1, max_size=3))
    return [
        mail(
            draw(st.integers(1, 6)),
            draw(st.sampled_from(texts)) + draw(LINES),
            draw(st.sampled_from(["", *texts])),
            subject=draw(LINES),
            message_id=f"<{number}@acme.example>",
        )
        for number in range(draw(st.integers(1, 8)))
    ]


@given(batches())
def test_any_mails_come_out_as_they_went_in(mails: list[Email]) -> None:
    """Whatever the lines: each reader sees his mail, under his own id, and no address but his own."""
    built, refused = made(*mails)
    found = readings(built)
    for number, sent in enumerate(mails, 1):
        if number in found:
            address, words = found[number]
            assert address == sent.to.address
            assert (words.text, words.html) == (sent.text, sent.html)
            assert words.subject.split() == sent.subject.replace("\u2028", " ").split()
        else:
            assert not sent.subject.replace("\u2028", " ").strip()
    assert {each.kind for each in refused} <= {OutcomeKind.REJECTED}
    for request in built:
        for at, person in enumerate(people(request)):
            own = mails[request.deliveries[at] - 1]
            assert person["custom_args"] == {OWN_ID: own.message_id[1:-1]}
            others = {sent.to.address for sent in mails} - {own.to.address}
            assert not [address for address in others if address in json.dumps(person)]


# --- spliced mails


SKELETON = Skeleton(
    ("Cards fail for ", 0),
    ("Hello ", 0, ",\nall is well.\n", 1, "\n"),
    ("<p>Hello ", 0, ",</p>\n<p>all is well: ", 1, "</p>\n"),
)


def spliced(number: int, *values: str, skeleton: Skeleton = SKELETON, **changed: Any) -> Email:
    """A mail as splicing makes it."""
    how = Spliced(skeleton, values, tuple(map(escape, values)))
    made = mail(
        number,
        joined(skeleton.text, how.values),
        joined(skeleton.html, how.escaped),
        subject=joined(skeleton.subject, how.values),
    )
    return replace(made, spliced=how, **changed)


def joined(pieces: Pieces, values: Sequence[str]) -> str:
    return "".join(values[piece] if isinstance(piece, int) else piece for piece in pieces)


def test_the_values_of_spliced_mails_are_the_substitutions() -> None:
    """One tag a place and context, and its value is what was put there; all else stands once."""
    (request,), _ = made(spliced(1, "Dana & Eve", "/a"), spliced(2, "Kim", "/b"))
    text, html = (part["value"] for part in request.body["content"])
    own = people(request)[0]["substitutions"]
    assert list(own.values()) == ["Dana & Eve", "Dana & Eve", "/a", "Dana &amp; Eve", "/a"]
    subject, hello, link, markup, markup_link = own
    assert request.body["subject"] == f"Cards fail for {subject}"
    assert text == f"Hello {hello},\nall is well.\n{link}\n"
    assert html == f"<p>Hello {markup},</p>\n<p>all is well: {markup_link}</p>\n"
    assert len({tag[:35] for tag in own}) == 1
    assert len(own) == len(set(own)) == 5


def test_a_spliced_mail_alone_needs_no_tag() -> None:
    (request,), _ = made(spliced(1, "Dana", "/a"))
    assert "substitutions" not in people(request)[0]
    assert readings([request])[1][1].text == "Hello Dana,\nall is well.\n/a\n"


def test_a_group_without_marks_needs_no_tag() -> None:
    skeleton = Skeleton(("x",), ("y\n",), ())
    (request,), _ = made(*(spliced(n, skeleton=skeleton) for n in (1, 2)))
    assert not any("substitutions" in person for person in people(request))


def test_spliced_or_not_each_reader_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both roads give each reader the same words, also when they stand in one batch."""
    mails = [spliced(n, f"Reader {n} <&>", f"/{n}") for n in range(1, 9)]
    mixed = [sent if number % 3 else replace(sent, spliced=None) for number, sent in enumerate(mails)]
    plain = [replace(sent, spliced=None) for sent in mails]
    found = [readings(made(*each)[0]) for each in (mails, mixed, plain)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 8


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "Hello Kim,\nsomething else.\n/b\n"},
        {"html": "<p>Hello Kin,</p>\n"},
        {"subject": "Cards fail for K"},
    ],
)
def test_what_splicing_would_not_give_goes_as_it_is(changed: dict[str, Any]) -> None:
    """Each mail's own words are compared before it leaves: a mistake in splicing reaches nobody."""
    mails = [spliced(1, "Dana", "/a"), spliced(2, "Kim", "/b", **changed), spliced(3, "Ann", "/c")]
    built, _ = made(*mails)
    found = readings(built)
    for number, sent in enumerate(mails, 1):
        assert found[number][1] == ReaderView(sent.subject, sent.text, sent.html)


def test_what_tags_would_not_give_goes_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request itself is expanded before it leaves; where that is not the mail, no tag is used."""
    monkeypatch.setattr(sendgrid_request, "expand", lambda body, index: ReaderView("", "", ""))
    built, _ = made(spliced(1, "Dana", "/a"), spliced(2, "Kim", "/b"))
    assert [request.deliveries for request in built] == [(1,), (2,)]
    assert not any("substitutions" in person for request in built for person in people(request))


@pytest.mark.parametrize("where", ["value", "text"])
def test_a_tag_that_stands_in_a_spliced_mail_is_drawn_again(where: str) -> None:
    """In a reader's value as well as in what stands for all."""
    tags = drawn("0" * 32, "1" * 32)
    tag = f"-c{'0' * 32}n0-"
    skeleton = SKELETON if where == "value" else Skeleton(("x ", 0), (tag, 0, "\n"), ())
    names = (tag, "Kim") if where == "value" else ("Dana", "Kim")
    batch = [Delivery(n, spliced(n, name, "/a", skeleton=skeleton)) for n, name in enumerate(names, 1)]
    (request,), _ = requests(batch, PROVIDER, lambda: next(tags))
    assert all(own.startswith(f"-c{'1' * 32}n") for own in people(request)[0]["substitutions"])
    assert tag in readings([request])[1][1].text


def test_long_values_go_literally_and_alone() -> None:
    """The limit of 10,000 bytes is counted in JSON, and costs the others nothing."""
    mails = [spliced(1, "Dana", "/a"), spliced(2, "\u00e9" * 900, "/b"), spliced(3, "Kim", "/c")]
    built, _ = made(*mails)
    assert [request.deliveries for request in built] == [(1, 3), (2,)]
    assert readings(built)[2][1].text == mails[1].text


def test_a_value_that_no_mail_can_hold_is_replaced() -> None:
    """As without splicing: U+FFFD."""
    built, _ = made(spliced(1, "Dana", "/a"), spliced(2, "a\x00\ud800b", "/b"), spliced(3, "Kim", "/c"))
    assert readings(built)[2][1].text.startswith("Hello a\ufffd\ufffdb,")


def test_several_groups_of_one_shape_go_together() -> None:
    """Two time zones differ in a line: one request, as long as the lines that differ are short enough."""
    other = Skeleton(SKELETON.subject, ("Hi ", 0, ",\nall went well.\n", 1, "\n"), SKELETON.html)
    mails = [spliced(n, f"Reader {n}", "/a", skeleton=(SKELETON, other)[n % 2]) for n in range(1, 7)]
    (request,), _ = made(*mails)
    assert {n: words.text for n, (_, words) in readings([request]).items()} == {
        number: sent.text for number, sent in enumerate(mails, 1)
    }


def test_several_groups_of_long_lines_go_apart_and_stay_whole() -> None:
    """HTML on one long line cannot be merged by its lines: each group goes by its own tags."""
    long = "x" * 12_000
    skeletons = [Skeleton(("x",), ("Hello ", 0, "\n"), (f"<p>{zone}{long}", 0, "</p>")) for zone in "ab"]
    mails = [spliced(n, f"Reader {n}", skeleton=skeletons[n % 2]) for n in range(1, 9)]
    built, _ = made(*mails)
    assert sorted(request.deliveries for request in built) == [(1, 3, 5, 7), (2, 4, 6, 8)]
    assert all(readings(built)[n][1].html == sent.html for n, sent in enumerate(mails, 1))


def test_groups_of_one_skeleton_with_other_frames_go_apart() -> None:
    built, _ = made(
        spliced(1, "Dana", "/a"),
        spliced(2, "Kim", "/b", reply_to="other@acme.example"),
        spliced(3, "Ann", "/c"),
    )
    assert [request.deliveries for request in built] == [(1, 3), (2,)]


VALUES = st.text(st.sampled_from("ab-cn0<>&\"' .,;%{}=\u00e9\u200d\U0001f6a8\u05d3"), min_size=1, max_size=20)
PIECES = st.lists(st.one_of(st.integers(0, 1), LINES.filter(bool)), max_size=6)


@st.composite
def spliced_batches(draw: st.DrawFn) -> list[Email]:
    def pieces() -> Pieces:
        found: list[str | int] = []
        for piece in draw(PIECES):
            if isinstance(piece, str) and found and isinstance(found[-1], str):
                found[-1] += piece
            else:
                found.append(piece)
        return tuple(found)

    skeletons = [Skeleton(pieces(), pieces(), pieces()) for _ in range(2)]
    return [
        spliced(
            draw(st.integers(1, 6)),
            draw(VALUES),
            draw(VALUES),
            skeleton=draw(st.sampled_from(skeletons)),
            message_id=f"<{number}@acme.example>",
        )
        for number in range(draw(st.integers(1, 8)))
    ]


@given(spliced_batches())
def test_any_spliced_mails_come_out_as_they_went_in(mails: list[Email]) -> None:
    """Whatever skeletons and values: each reader sees his mail, by the stand-in's own substitution."""
    built, refused = made(*mails)
    found = readings(built)
    assert {each.kind for each in refused} <= {OutcomeKind.REJECTED}
    for number, sent in enumerate(mails, 1):
        if number in found:
            address, words = found[number]
            assert address == sent.to.address
            assert (words.text, words.html) == (sent.text, sent.html)
            assert words.subject == mime.one_line(sent.subject)


def test_a_thousand_spliced_readers_are_expanded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is compared with another reader's: one look at the request, whoever is in it."""
    looks = []
    honest = sendgrid_request.expand

    def counted(body: Any, index: int) -> ReaderView:
        looks.append(index)
        return honest(body, index)

    monkeypatch.setattr(sendgrid_request, "expand", counted)
    (request,), _ = requests(
        [Delivery(n, spliced(n, f"Reader {n}", f"/{n}")) for n in range(1, 1001)], PROVIDER
    )
    assert looks == [0]
    assert len(request.deliveries) == 1000


# --- what a tag is


def drawn(*values: str) -> Iterator[str]:
    yield from values


def test_a_tag_that_stands_in_a_mail_is_drawn_again() -> None:
    """Content that holds the tag would be filled with another's line: that tag is not used."""
    tags = drawn("0" * 32, "1" * 32)
    batch = [
        Delivery(1, mail(1, f"Hello Dana,\n-c{'0' * 32}n0-\n")),
        Delivery(2, mail(2, f"Hello Kim,\n-c{'0' * 32}n0-\n")),
    ]
    (request,), _ = requests(batch, PROVIDER, lambda: next(tags))
    assert list(people(request)[0]["substitutions"]) == [f"-c{'1' * 32}n0-"]
    assert readings([request])[1][1].text == f"Hello Dana,\n-c{'0' * 32}n0-\n"


def test_tags_differ_from_request_to_request() -> None:
    """What was in one request tells nothing about the next one's tags: 128 random bits."""
    tags = set()
    for _ in range(20):
        (request,), _ = made(mail(1, "Hello Dana\n"), mail(2, "Hello Kim\n"))
        tags |= people(request)[0]["substitutions"].keys()
    assert len(tags) == 20


def test_more_than_ten_tags_do_not_touch_each_other() -> None:
    """The tag of line 1 is no part of the tag of line 11."""
    built, _ = made(*(mail(n, "".join(f"{n} line {line}\n" for line in range(25))) for n in (1, 2)))
    assert [words.text.split("\n")[11] for _, words in readings(built).values()] == ["1 line 11", "2 line 11"]


def test_what_substitution_would_change_goes_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mail is expanded before it leaves; where that is not the mail, it goes alone and as it is."""
    honest = expand

    def broken(body: Any, index: int) -> ReaderView:
        found = honest(body, index)
        return replace(found, text=found.text.replace("Kim", "Kin"))

    monkeypatch.setattr(sendgrid_request, "expand", broken)
    built, _ = made(*(mail(n, f"Hello {who}\n") for n, who in enumerate(("Dana", "Kim", "Ann", "Kim"), 1)))
    assert [request.deliveries for request in built] == [(1, 3), (2, 4)]
    assert built[1].body["content"][0]["value"] == "Hello Kim\n"
    assert not any("substitutions" in person for person in people(built[1]))


# --- limits


def test_substitutions_beyond_ten_thousand_bytes_go_literally() -> None:
    """Whose lines are too long for SendGrid's substitutions gets his mail alone; the others stay together."""
    long = "\u00e9" * 2000  # 2,000 characters, 12,000 bytes on the wire
    built, _ = made(*(mail(n, f"Hello {who}\n") for n, who in enumerate(("Dana", long, "Ann", "Kim"), 1)))
    assert [request.deliveries for request in built] == [(1, 3, 4), (2,)]
    assert readings(built)[2][1].text == f"Hello {long}\n"


def test_long_lines_that_are_the_same_go_together() -> None:
    """Two kinds of long mails for many readers are two requests, not many."""
    built, _ = made(*(mail(n, f"{'ab'[n % 2] * 10_000}\n") for n in range(1, 41)))
    assert sorted(len(request.deliveries) for request in built) == [20, 20]


def test_at_most_a_thousand_readers_a_request() -> None:
    """1,001 readers are two requests."""
    built, _ = made(*(mail(n, f"Hello {n}\n") for n in range(1, 1002)))
    assert [len(request.deliveries) for request in built] == [1000, 1]
    assert readings(built)[1001][1].text == "Hello 1001\n"


def test_an_address_stands_once_in_a_request() -> None:
    """The same address, however it is written, is in requests of its own."""
    mails = [mail(1), mail(2, to=Mailbox("READER1@private.example")), mail(3), mail(4, to=mail(1).to)]
    built, _ = made(*mails)
    assert [request.deliveries for request in built] == [(1, 3), (2,), (4,)]


def test_no_request_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much for one request goes in several, and a mail that is too large alone is refused."""
    monkeypatch.setattr(sendgrid_request, "LARGEST_REQUEST", 4000)
    built, refused = made(*(mail(n, f"Hello {n}\n") for n in range(1, 31)), mail(31, "x" * 4000))
    assert len(built) > 2
    assert all(len(json.dumps(request.body)) < 4000 for request in built)
    assert [(each.delivery, each.kind) for each in refused] == [(31, OutcomeKind.REJECTED)]
    assert sendgrid_request.MOST_SUBSTITUTED == 10_000


def test_a_part_has_its_own_readers() -> None:
    """A part of a request says the same to fewer people."""
    (request,), _ = made(*(mail(n, f"Hello {n}\n") for n in range(1, 6)))
    part = request.part([1, 3])
    assert part.deliveries == (2, 4)
    assert readings([part]) == {number: readings([request])[number] for number in (2, 4)}


# --- names, addresses, words


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Reyes; Dana, Dr.", "Reyes Dana Dr."),
        ('Dana "Dee" Reyes', 'Dana "Dee" Reyes'),
        ("\u05d3\u05e0\u05d4 \u202egnp.exe\u202c", "\u05d3\u05e0\u05d4 gnp.exe"),
        ("\U0001f6a8 Dana", "\U0001f6a8 Dana"),
        ("Dana\r\nBcc: eve@evil.example", "Dana Bcc: eve@evil.example"),
        ("Dana \ud800", "Dana"),
        ("x" * 99 + "; y", "x" * 99),
        (";,", None),
        ("", None),
    ],
)
def test_names(name: str, written: str | None) -> None:
    """A name is only shown: what SendGrid would stumble over is taken out, and nobody is left untold."""
    (request,), _ = made(
        mail(1, to=Mailbox("dana@example.com", name), sender=Mailbox("s@acme.example", name))
    )
    wanted = {"name": written} if written else {}
    assert people(request)[0]["to"] == [{"email": "dana@example.com", **wanted}]
    assert request.body["from"] == {"email": "s@acme.example", **wanted}


def test_a_domain_outside_ascii_is_written_in_punycode() -> None:
    (request,), _ = made(mail(1, to=Mailbox("dana@b\u00fccher.example")))
    assert people(request)[0]["to"][0]["email"] == "dana@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-",
        "dana",
        "d\u00e4na@example.com",
        "a@b\r\nBcc: eve@evil.example",
        "a b@c.example",
        "\ud800@c.example",
    ],
)
def test_an_impossible_address_is_refused_alone(address: str) -> None:
    """The others go, and the words do not repeat the address."""
    built, (refused,) = made(mail(1), mail(2, to=Mailbox(address)), mail(3))
    assert [request.deliveries for request in built] == [(1, 3)]
    assert (refused.kind, refused.delivery) == (OutcomeKind.REJECTED, 2)
    assert refused.detail.startswith("the address ")
    assert not address or address not in refused.detail


@pytest.mark.parametrize("changed", [{"subject": " \r\n\u202e "}, {"text": ""}, {"message_id": "<a b>"}])
def test_a_mail_that_cannot_be_is_refused_alone(changed: dict[str, str]) -> None:
    """No subject, no text, no id: never sent, and only for that reader."""
    built, (refused,) = made(mail(1), replace(mail(2), **changed))  # type: ignore[arg-type]
    assert [request.deliveries for request in built] == [(1,)]
    assert (refused.kind, refused.blame) == (OutcomeKind.REJECTED, Blame.RECIPIENT)


@pytest.mark.parametrize(
    "changed",
    [
        {"sender": Mailbox("st\u00e4tus@acme.example")},
        {"sender": Mailbox("")},
        {"reply_to": "nobody"},
        {"list_unsubscribe": "mailto:a b"},
        {"list_id": "a\r\nBcc: eve@evil.example"},
    ],
)
def test_a_sender_that_cannot_be_stops_the_run(changed: dict[str, Any]) -> None:
    """It is the same for everybody: a person has to mend it."""
    built, (refused,) = made(replace(mail(1), **changed))
    assert not built
    assert (refused.kind, refused.blame) == (OutcomeKind.NOT_TAKEN, Blame.ACCOUNT)


def test_what_no_mail_can_hold_is_replaced() -> None:
    """Lone surrogates and NUL become U+FFFD; all else stays."""
    (request,), _ = made(mail(1, "a\x00b\ud800c\u2028d\n", "<p>\udfff\x0b</p>", subject="x\ud800y"))
    assert readings([request])[1][1] == ReaderView("x y", "a\ufffdb\ufffdc\u2028d\n", "<p>\ufffd\x0b</p>")
    (request,), _ = made(mail(1, "a\x00b\n"))
    assert readings([request])[1][1].text == "a\ufffdb\n"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_words_beside_plain_ones(text: str) -> None:
    """Hostile names, subjects and lines in one batch with others reach nobody else."""
    mails = [mail(1, "Hello\n"), mail(2, f"{text}\n", subject=text or "x", to=Mailbox("b@c.example", text))]
    built, _ = made(*mails)
    found = readings(built)
    assert found[1] == (mails[0].to.address, ReaderView(mails[0].subject, "Hello\n", ""))
    assert found[2][0] == "b@c.example"


def test_only_mail() -> None:
    with pytest.raises(TypeError):
        requests([Delivery(1, Sms("+4915112345678", "hi"))], PROVIDER)


# --- headers and settings


def test_headers_are_those_of_the_other_adapters() -> None:
    """What a mail program threads and filters by is the same through SendGrid as through a relay."""
    sent = mail(1, references=("<a@acme.example>", "<pay7@acme.example>"))
    (request,), _ = made(sent)
    built = message_from_bytes(mime.build(sent), policy=policy.default)
    told = {**request.body["headers"], **people(request)[0]["headers"]}
    for name in ("References", "In-Reply-To", "List-Id", "List-Unsubscribe", "Auto-Submitted", "Message-ID"):
        assert "".join(told.pop(name).split()) == "".join(str(built[name]).split())
    assert not told
    assert request.body["reply_to"] == {"email": "help+pay7@acme.example"}


def test_a_reply_address_with_a_name() -> None:
    (request,), _ = made(mail(1, reply_to='"Help, Desk" <help@acme.example>'))
    assert request.body["reply_to"] == {"email": "help@acme.example", "name": "Help Desk"}


def test_what_is_not_there_is_left_out() -> None:
    """No header is empty."""
    sent = mail(1, references=(), list_id="", list_unsubscribe="", reply_to="")
    (request,), _ = made(sent)
    assert request.body["headers"] == {"Auto-Submitted": "auto-generated"}
    assert "reply_to" not in request.body
    assert "asm" not in request.body


def test_an_unsubscribe_group_brings_its_own_link() -> None:
    """The group is named, and our header left out: a mail has one List-Unsubscribe."""
    provider = SendGridProvider(asm_group=7, category="outages")
    (request,), _ = made(mail(1), provider=provider)
    assert request.body["asm"] == {"group_id": 7}
    assert "List-Unsubscribe" not in request.body["headers"]
    assert request.body["categories"] == ["outages"]


@given(st.text(string.printable, max_size=40), st.text(string.printable, max_size=40))
def test_expand_is_what_a_reader_sees(one: str, two: str) -> None:
    """Our own expansion and the stand-in's agree."""
    built, _ = made(mail(1, one + "x"), mail(2, two + "x"))
    assert [words.text for _, words in sorted(readings(built).values())] == [one + "x", two + "x"]
