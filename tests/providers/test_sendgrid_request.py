"""From emails to mail/send requests and back: each reader gets exactly their own words, nobody another's."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import SendGridProvider
from commcast.model.message import CalendarFile, Delivery, Email, Mailbox, Outcome, Skeleton
from commcast.providers import mime
from commcast.providers.sendgrid import request as sendgrid_request
from commcast.providers.sendgrid.letter import OWN_ID, ReaderView
from commcast.providers.sendgrid.request import Request, expand, requests
from tests.providers import splicing
from tests.providers.contract import email
from tests.providers.kinds import ACCOUNT, NOT_TAKEN, RECIPIENT, REJECTED
from tests.support.servers.apis import check_body, seen

PROVIDER = SendGridProvider()
LINES = st.text(st.sampled_from("ab-cn0<>&\n\r\t \u2028\U0001f6a8;,%{}"), max_size=30)
VALUES = st.text(st.sampled_from("ab-cn0<>&\"' .,;%{}=\u00e9\u200d\U0001f6a8\u05d3"), min_size=1, max_size=20)
TAG = f"-c{'0' * 32}n0-"
BESIDE = Skeleton(("x ", 0), (TAG, 0, "\n"), ())
IMPOSSIBLE = ["", "-", "dana", "d\u00e4na@example.com", "a@b\r\nBcc: eve@evil.example", "\ud800@c.example"]
ONE, ALL = (REJECTED, RECIPIENT), (NOT_TAKEN, ACCOUNT)


def made(*mails: Email, provider: SendGridProvider = PROVIDER) -> tuple[list[Request], list[Outcome]]:
    """Make the requests for emails numbered from 1, each of which must be a right one."""
    built, refused = requests([Delivery(number, mail) for number, mail in enumerate(mails, 1)], provider)
    for request in built:
        check_body(request.body)
        assert len(request.body["personalizations"]) == len(request.deliveries)
    answered = [number for each in built for number in each.deliveries] + [each.delivery for each in refused]
    assert sorted(answered) == list(range(1, len(mails) + 1))
    return built, refused


def readings(*built: Request) -> dict[int, tuple[str, ReaderView]]:
    """What each delivery's reader sees, by the stand-in's own substitution: address and words."""
    found = {}
    for request in built:
        for at, delivery in enumerate(request.deliveries):
            taken = seen(request.body, at)
            assert taken.reading == expand(request.body, at)
            found[delivery] = (taken.address, taken.reading)
    return found


def deliveries(built: Sequence[Request]) -> list[tuple[int, ...]]:
    return [request.deliveries for request in built]


def mail(number: int, text: str = "Hello,\nAll is well.\n", html: str = "", **changed: Any) -> Email:
    return replace(email(number, name=f"Reader {number}"), text=text, html=html, **changed)


def people(request: Request) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = request.body["personalizations"]
    return found


def tagged(*built: Request) -> list[dict[str, str]]:
    """The substitutions of all readers who have any."""
    return [each["substitutions"] for request in built for each in people(request) if "substitutions" in each]


SKELETON = Skeleton(
    ("Cards fail for ", 0),
    ("Hello ", 0, ",\nall is well.\n", 1, "\n"),
    ("<p>Hello ", 0, ",</p>\n<p>all is well: ", 1, "</p>\n"),
)


def spliced(number: int, *values: str, skeleton: Skeleton = SKELETON, **changed: Any) -> Email:
    return replace(splicing.spliced(mail(number), skeleton, values), **changed)


def test_the_same_words_go_as_they_are() -> None:
    """Emails that do not differ, or only one, need no substitution, spliced or not."""
    (request,), _ = made(*(mail(number, html="<p>Hi</p>\n") for number in range(1, 4)))
    assert request.body["content"] == [
        {"type": "text/plain", "value": "Hello,\nAll is well.\n"},
        {"type": "text/html", "value": "<p>Hi</p>\n"},
    ]
    alone, unmarked = spliced(1, "Dana", "/a"), Skeleton(("x",), ("y\n",), ())
    (one,), _ = made(alone)
    (both,), _ = made(*(spliced(n, skeleton=unmarked) for n in (1, 2)))
    assert tagged(request, one, both) == []
    assert readings(one)[1][1] == (alone.subject, alone.text, alone.html)
    assert readings(both)[2][1] == ("x", "y\n", "")


def test_only_lines_that_differ_are_substituted() -> None:
    """Each place and context has a tag of its own, and its value is a reader's whole line."""
    texts = [
        (f"Hello {who},\nAll is well.\n", f"<p>Hello {who},</p>\n<p>x</p>\n", who) for who in ("A & B", "Kim")
    ]
    (request,), _ = made(*(mail(n, text, html, subject=who) for n, (text, html, who) in enumerate(texts, 1)))
    text, html = (part["value"].split("\n") for part in request.body["content"])
    subject = request.body["subject"]
    assert (text[1:], html[1:]) == (["All is well.", ""], ["<p>x</p>", ""])
    assert len({text[0], html[0], subject}) == 3
    assert tagged(request)[0] == {subject: "A & B", text[0]: "Hello A & B,", html[0]: "<p>Hello A & B,</p>"}


def test_the_values_of_spliced_emails_are_the_substitutions() -> None:
    """One tag per place and context, and its value is what was put there; all else is there once."""
    (request,), _ = made(spliced(1, "Dana & Eve", "/a"), spliced(2, "Kim", "/b"))
    own = tagged(request)[0]
    assert list(own.values()) == ["Dana & Eve", "Dana & Eve", "/a", "Dana &amp; Eve", "/a"]
    subject, hello, link, markup, markup_link = own
    assert request.body["subject"] == f"Cards fail for {subject}"
    text, html = (part["value"] for part in request.body["content"])
    assert text == f"Hello {hello},\nall is well.\n{link}\n"
    assert html == f"<p>Hello {markup},</p>\n<p>all is well: {markup_link}</p>\n"
    assert (len({tag[:35] for tag in own}), len(own)) == (1, 5)


@pytest.mark.parametrize("changed", [
    *({"reply_to": "other@acme.example"}, {"list_unsubscribe": "mailto:other@acme.example"}),
    *({"text": "Hello,\nAll is well.\nAnd more.\n"}, {"html": "<p>Hi</p>"}),
    *({"sender": Mailbox("other@acme.example")}, {"references": ("<other@acme.example>",)}),
    {"calendar": CalendarFile("move1.ics", "BEGIN:2\r\n")},
], ids=lambda changed: next(iter(changed)))  # fmt: skip
def test_what_cannot_be_merged_goes_apart(changed: dict[str, Any]) -> None:
    """Another shape or frame is another request, spliced or not."""
    built, _ = made(mail(1), replace(mail(2), **changed), mail(3))
    assert deliveries(built) == [(1, 3), (2,)]
    if not changed.keys() & {"text", "html"}:
        again = [spliced(1, "Dana", "/a"), spliced(2, "Kim", "/b", **changed), spliced(3, "Ann", "/c")]
        assert deliveries(made(*again)[0]) == [(1, 3), (2,)]


def test_a_calendar_file_goes_with_each_reader_of_its_words() -> None:
    first, moved = CalendarFile("move1.ics", "BEGIN:1\r\n"), CalendarFile("move1.ics", "BEGIN:2\r\n")
    built, _ = made(*(mail(n, calendar=file) for n, file in enumerate((first, None, first, moved, None), 1)))
    attached = {
        request.deliveries: [b64decode(each["content"]) for each in request.body.get("attachments", [])]
        for request in built
    }
    assert attached == {(1, 3): [b"BEGIN:1\r\n"], (2, 5): [], (4,): [b"BEGIN:2\r\n"]}


@st.composite
def batches(draw: st.DrawFn) -> list[Email]:
    """Emails that share much, to addresses that come again: spliced, whole, or some of each."""
    texts = draw(st.lists(LINES.filter(bool), min_size=1, max_size=3))
    two = draw(st.lists(splicing.skeletons(LINES, 2), min_size=2, max_size=2))
    kinds = draw(st.sampled_from([[True], [False], [True, False]]))

    def one(number: int) -> Email:
        own_id = {"message_id": f"<{number}@acme.example>"}
        if draw(st.sampled_from(kinds)):
            values = draw(VALUES), draw(VALUES)
            return spliced(draw(st.integers(1, 6)), *values, skeleton=draw(st.sampled_from(two)), **own_id)
        text, html = draw(st.sampled_from(texts)) + draw(LINES), draw(st.sampled_from(["", *texts]))
        return mail(draw(st.integers(1, 6)), text, html, subject=draw(LINES), **own_id)

    return [one(number) for number in range(draw(st.integers(1, 8)))]


@given(batches())
def test_any_emails_come_out_as_they_went_in(mails: list[Email]) -> None:
    """Whatever the lines, skeletons and values: each reader sees their own email, id and address."""
    built, refused = made(*mails)
    for number, (address, words) in readings(*built).items():
        sent = mails[number - 1]
        assert address == sent.to.address
        assert words == (mime.one_line(sent.subject), sent.text, sent.html)
    empty = {n for n, sent in enumerate(mails, 1) if not (mime.one_line(sent.subject) and sent.text)}
    assert {each.delivery for each in refused if each.kind is REJECTED} == empty
    persons = [each for request in built for each in zip(request.deliveries, people(request), strict=True)]
    for number, person in persons:
        assert person["custom_args"] == {OWN_ID: mails[number - 1].message_id[1:-1]}
        others = {sent.to.address for sent in mails} - {mails[number - 1].to.address}
        assert not [address for address in others if address in json.dumps(person)]


@pytest.mark.parametrize(("name", "words"), [
    *(("text", "Hello Kim,\nsomething else.\n/b\n"), ("html", "<p>Hello Kin,</p>\n")),
    ("subject", "Cards fail for K"),
])  # fmt: skip
def test_what_splicing_would_not_give_goes_as_it_is(name: str, words: Any) -> None:
    """Each email's own words are compared before it leaves: a mistake in splicing reaches nobody."""
    mails = [spliced(1, "Dana", "/a"), spliced(2, "Kim", "/b", **{name: words}), spliced(3, "Ann", "/c")]
    found = readings(*made(*mails)[0])
    assert [found[n][1] for n in (1, 2, 3)] == [(each.subject, each.text, each.html) for each in mails]


@pytest.mark.parametrize(("mails", "wrong", "expected"), [
    ([spliced(n, "Dana", f"/{n}") for n in (1, 2)], "Dana", [(1,), (2,)]),
    ([mail(n, f"Hello {who}\n") for n, who in enumerate(("A", "Li", "B", "Li"), 1)], "Li", [(1, 3), (2, 4)]),
], ids=["spliced", "merged"])  # fmt: skip
def test_what_substitution_would_change_goes_literally(
    mails: list[Email], wrong: str, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request is expanded before it leaves; a reader whose email it is not gets it without a tag."""

    def broken(body: Any, index: int) -> ReaderView:
        found = expand(body, index)
        return found._replace(text=found.text.replace(wrong, "Kin"))

    monkeypatch.setattr(sendgrid_request, "expand", broken)
    built, _ = requests([Delivery(number, each) for number, each in enumerate(mails, 1)], PROVIDER)
    assert deliveries(built) == expected
    assert tagged(built[-1]) == []
    assert built[-1].body["content"][0]["value"] == mails[1].text


def test_a_value_that_no_email_can_hold_is_replaced() -> None:
    """As without splicing: U+FFFD for lone surrogates and NUL; all else stays."""
    built, _ = made(spliced(1, "Dana", "/a"), spliced(2, "a\x00\ud800b", "/b"), spliced(3, "Kim", "/c"))
    assert readings(*built)[2][1].text.startswith("Hello a\ufffd\ufffdb,")
    (request,), _ = made(mail(1, "a\x00b\ud800c\u2028d\n", "<p>\udfff\x0b</p>", subject="x\ud800y"))
    assert readings(request)[1][1] == ("x y", "a\ufffdb\ufffdc\u2028d\n", "<p>\ufffd\x0b</p>")
    (request,), _ = made(mail(1, "a\x00b\n"))
    assert readings(request)[1][1].text == "a\ufffdb\n"


LONG = [Skeleton(("x",), ("Hello ", 0, "\n"), (f"<p>{zone}{'x' * 12_000}", 0, "</p>")) for zone in "ab"]
SHORT = [SKELETON, Skeleton(SKELETON.subject, ("Hi ", 0, ",\nall went well.\n", 1, "\n"), SKELETON.html)]


@pytest.mark.parametrize(
    ("two", "expected"),
    [(SHORT, [(1, 2, 3, 4, 5, 6)]), (LONG, [(1, 3, 5), (2, 4, 6)])],
    ids=["short", "long"],
)
def test_several_groups_of_one_shape(two: list[Skeleton], expected: list[Any]) -> None:
    """Two time zones are one request; with HTML on one long line each group goes by its own tags, whole."""
    mails = [spliced(n, f"Reader {n}", "/a", skeleton=two[n % 2]) for n in range(1, 7)]
    built, _ = made(*mails)
    assert sorted(deliveries(built)) == expected
    found = {n: (words.text, words.html) for n, (_, words) in readings(*built).items()}
    assert found == {n: (sent.text, sent.html) for n, sent in enumerate(mails, 1)}


def test_a_thousand_spliced_readers_are_expanded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is compared with another reader's: one look at the whole request."""
    looks = []

    def counted(body: Any, index: int) -> ReaderView:
        looks.append(index)
        return expand(body, index)

    monkeypatch.setattr(sendgrid_request, "expand", counted)
    batch = [Delivery(n, spliced(n, f"Reader {n}", f"/{n}")) for n in range(1, 1001)]
    (request,), _ = requests(batch, PROVIDER)
    assert (looks, len(request.deliveries)) == ([0], 1000)


@pytest.mark.parametrize("mails", [
    [mail(1, f"Hello Dana,\n{TAG}\n"), mail(2, f"Hello Kim,\n{TAG}\n")],
    [spliced(1, TAG, "/a"), spliced(2, "Kim", "/a")],
    [spliced(n, who, "/a", skeleton=BESIDE) for n, who in enumerate(("Dana", "Kim"), 1)],
], ids=["in an email", "in a reader's value", "in what stands for all"])  # fmt: skip
def test_a_tag_that_is_in_an_email_is_drawn_again(mails: list[Email]) -> None:
    """Content that holds the tag would be filled with another's line: that tag is not used."""
    drawn = iter(["0" * 32, "1" * 32])
    batch = [Delivery(number, each) for number, each in enumerate(mails, 1)]
    (request,), _ = requests(batch, PROVIDER, lambda: next(drawn))
    assert all(own.startswith(f"-c{'1' * 32}n") for own in tagged(request)[0])
    assert readings(request)[1][1].text == mails[0].text


def test_tags_differ() -> None:
    """What was in one request tells nothing about the next one's: 128 random bits. None holds another."""
    made_twenty = [made(mail(1, "Hello Dana\n"), mail(2, "Hello Kim\n"))[0] for _ in range(20)]
    assert len({tag for built in made_twenty for tag in tagged(*built)[0]}) == 20
    built, _ = made(*(mail(n, "".join(f"{n} line {line}\n" for line in range(25))) for n in (1, 2)))
    lines = [words.text.split("\n")[11] for _, words in readings(*built).values()]
    assert lines == ["1 line 11", "2 line 11"]


@pytest.mark.parametrize("mails", [
    [mail(n, f"Hello {who}\n") for n, who in enumerate(("Dana", "\u00e9" * 2000, "Ann", "Kim"), 1)],
    [spliced(n, who, "/a") for n, who in enumerate(("Dana", "\u00e9" * 900, "Ann", "Kim"), 1)],
], ids=["merged", "spliced"])  # fmt: skip
def test_substitutions_beyond_ten_thousand_bytes_go_literally(mails: list[Email]) -> None:
    """Counted in JSON, six bytes per letter here: that email goes alone, the others stay together."""
    built, _ = made(*mails)
    assert deliveries(built) == [(1, 3, 4), (2,)]
    assert readings(*built)[2][1].text == mails[1].text


def test_how_many_go_together() -> None:
    """Long lines that are the same, a thousand readers, and each address once, however it is written."""
    built, _ = made(*(mail(n, f"{'ab'[n % 2] * 10_000}\n") for n in range(1, 41)))
    assert sorted(map(len, deliveries(built))) == [20, 20]
    built, _ = made(*(mail(n, f"Hello {n}\n") for n in range(1, 1002)))
    assert list(map(len, deliveries(built))) == [1000, 1]
    assert readings(*built)[1001][1].text == "Hello 1001\n"
    again = mail(2, to=Mailbox("READER1@private.example"))
    assert deliveries(made(mail(1), again, mail(3), mail(4, to=mail(1).to))[0]) == [(1, 3), (2,), (4,)]
    (request,), _ = made(*(mail(n, f"Hello {n}\n") for n in range(1, 6)))
    part = readings(request.part([1, 3]))  # says the same to fewer people
    assert part == {number: readings(request)[number] for number in (2, 4)}


def test_no_request_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much for one request goes in several, and an email too large on its own is refused."""
    monkeypatch.setattr(sendgrid_request, "LARGEST_REQUEST", 4000)
    built, refused = made(*(mail(n, f"Hello {n}\n") for n in range(1, 31)), mail(31, "x" * 4000))
    assert len(built) > 2
    assert all(len(json.dumps(request.body)) < 4000 for request in built)
    assert [(each.delivery, each.kind) for each in refused] == [(31, REJECTED)]
    assert sendgrid_request.MOST_SUBSTITUTED == 10_000


# A name is only shown: what SendGrid would stumble over is taken out.
NAMES = {
    "Reyes; Dana, Dr.": "Reyes Dana Dr.",
    'Dana "Dee" Reyes': 'Dana "Dee" Reyes',
    "\u05d3\u05e0\u05d4 \u202egnp.exe\u202c": "\u05d3\u05e0\u05d4 gnp.exe",
    "\U0001f6a8 Dana": "\U0001f6a8 Dana",
    "Dana\r\nBcc: eve@evil.example": "Dana Bcc: eve@evil.example",
    "Dana \ud800": "Dana",
    "x" * 99 + "; y": "x" * 99,
    **dict.fromkeys((";,", ""), ""),
}


@pytest.mark.parametrize(("name", "written"), NAMES.items())
def test_names(name: str, written: str) -> None:
    """In an address as in the sender; a domain goes in punycode."""
    to, sender = Mailbox("dana@b\u00fccher.example", name), Mailbox("s@acme.example", name)
    (request,), _ = made(mail(1, to=to, sender=sender))
    wanted = {"name": written} if written else {}
    assert people(request)[0]["to"] == [{"email": "dana@xn--bcher-kva.example", **wanted}]
    assert request.body["from"] == {"email": "s@acme.example", **wanted}


@pytest.mark.parametrize(("changed", "expected", "words"), [
    *[({"to": Mailbox(address)}, ONE, "the address ") for address in IMPOSSIBLE],
    *[(each, ONE, "the email has no ") for each in ({"subject": " \r\n\u202e "}, {"text": ""})],
    ({"message_id": "<a b>"}, ONE, ""),
    *[({"sender": Mailbox(address)}, ALL, "the sender") for address in ("st\u00e4@a.example", "")],
    ({"reply_to": "nobody"}, ALL, "the sender, reply address"),
    ({"list_unsubscribe": "mailto:a b"}, ALL, ""),
    ({"list_id": "a\r\nBcc: eve@evil.example"}, ALL, ""),
])  # fmt: skip
def test_an_email_that_cannot_be_is_refused_alone(changed: Any, expected: Any, words: str) -> None:
    """For that reader only, without the address; what is the same for everybody stops the run."""
    built, (refused,) = made(mail(1), replace(mail(2), **changed), mail(3))
    assert deliveries(built) == [(1, 3)]
    assert ((refused.kind, refused.blame), refused.delivery) == (expected, 2)
    assert refused.detail.startswith(words)
    address = changed["to"].address if "to" in changed else ""
    assert not address or address not in refused.detail


def test_headers_are_those_of_the_other_adapters() -> None:
    """What an email program threads and filters by is the same through SendGrid as through a relay."""
    named = '"Help, Desk" <help@acme.example>'
    sent = mail(1, references=("<a@acme.example>", "<pay7@acme.example>"), reply_to=named)
    (request,), _ = made(sent)
    built = message_from_bytes(mime.build(sent), policy=policy.default)
    told = {**request.body["headers"], **people(request)[0]["headers"]}
    names = ("References", "In-Reply-To", "List-Id", "List-Unsubscribe", "Message-ID")
    for name in (*names, *mime.NO_AUTOMATIC_REPLY):
        assert "".join(told.pop(name).split()) == "".join(str(built[name]).split())
    assert not told
    assert request.body["reply_to"] == {"email": "help@acme.example", "name": "Help Desk"}


def test_what_is_not_there_is_left_out() -> None:
    """No header is empty. An unsubscribe group brings its own link: an email has one List-Unsubscribe."""
    (request,), _ = made(mail(1, references=(), list_id="", list_unsubscribe="", reply_to=""))
    assert request.body["headers"] == mime.NO_AUTOMATIC_REPLY
    assert not {"reply_to", "asm"} & request.body.keys()
    (request,), _ = made(mail(1), provider=SendGridProvider(asm_group=7, category="outages"))
    assert (request.body["asm"], request.body["categories"]) == ({"group_id": 7}, ["outages"])
    assert "List-Unsubscribe" not in request.body["headers"]
