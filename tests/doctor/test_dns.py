"""doctor --dns over a small real DNS server: SPF, DKIM and DMARC, and answers that are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from commcast.doctor import dns as doctor_dns
from tests.support.desk import Bench, write_desk
from tests.support.terminal import bench_now, run

Zone = Mapping[str, object]
SPF, KEY, DMARC = "v=spf1 include:sendgrid.net ~all", "k=rsa; t=s; p=MIGfMA0", "v=DMARC1; p=reject"
ROOT, S1, S2 = "acme.example", "s1._domainkey.acme.example", "s2._domainkey.acme.example"
POLICY = "_dmarc.acme.example"
GOOD: Zone = {
    ROOT: ["google-site-verification=x", SPF],
    S1: [KEY],
    S2: [KEY],
    POLICY: [DMARC],
}


@dataclass
class NameServer:
    """Answers TXT questions on 127.0.0.1. A name's value is a list of texts, another name (CNAME), a return
    code, bytes to send as they are, or None for no answer at all; a name that is not there is NXDOMAIN."""

    zone: Zone
    names: list[str] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> NameServer:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"end", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while (question := self._socket.recvfrom(65535))[0] != b"end":
            reply = self._answer(dns.message.from_wire(question[0]))
            if reply is not None:
                self._socket.sendto(reply, question[1])

    def _answer(self, asked: dns.message.Message) -> bytes | None:
        name = asked.question[0].name.to_text(omit_final_dot=True)
        self.names.append(name)
        reply = dns.message.make_response(asked)
        reply.flags |= dns.flags.RA
        found: object = self.zone.get(name, dns.rcode.NXDOMAIN)
        for _ in range(20):
            if not isinstance(found, str):
                break
            reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{found}."))
            name, found = found, self.zone.get(found, dns.rcode.NXDOMAIN)
        if found is None or isinstance(found, bytes):
            return found
        if isinstance(found, dns.rcode.Rcode):
            reply.set_rcode(found)
        elif isinstance(found, list) and found:
            reply.answer.append(dns.rrset.from_text_list(f"{name}.", 60, "IN", "TXT", [*map(quoted, found)]))
        return reply.to_wire(max_size=65535)


def quoted(text: str) -> str:
    """Return a TXT record's text in its zone form, in strings of at most 255 bytes."""
    escaped = [char if " " <= char <= "~" and char not in '"\\' else f"\\{ord(char):03}" for char in text]
    return " ".join(f'"{"".join(escaped[at : at + 255])}"' for at in range(0, len(text) or 1, 255))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.not-a-real-key.at-all")
    bench = bench_now(tmp_path)
    write_desk(tmp_path, email="sendgrid")
    return bench


Doctor = Callable[..., str]


@pytest.fixture
def doctor(bench: Bench) -> Doctor:
    """Run doctor --dns against a zone and return what it says of the DNS."""

    def ask(zone: Zone, *options: str, expect: int = 0) -> str:
        with NameServer(zone) as server:
            where = ("--dns-server", f"127.0.0.1:{server.port}")
            shown = run("doctor", "--dns", *where, *options, folder=bench.folder, expect=expect).stdout
        lines = shown.partition("warn  people:")[0].splitlines()  # the last of the DNS; nobody has an address
        first = next(number for number, line in enumerate(lines) if " DNS: " in line)
        return "\n".join(line for line in lines[first:] if "secret:" not in line)

    return ask


def test_a_good_domain_is_well(doctor: Doctor) -> None:
    assert doctor(GOOD).splitlines() == [
        f"ok    DNS: acme.example has an SPF record: {SPF}",
        "ok    DNS: a DKIM key is at s1._domainkey.acme.example",
        "ok    DNS: a DKIM key is at s2._domainkey.acme.example",
        "ok    DNS: a DMARC record is at _dmarc.acme.example: p=reject",
    ]


NO_SPF = "warn  DNS: acme.example has no SPF record"
ANYBODY = "warn  DNS: the SPF record of acme.example lets anybody send"
NOT_NAMED = "warn  DNS: the SPF record of acme.example does not name SendGrid"
GOOD_SPF = "ok    DNS: acme.example has an SPF record"
NO_KEY, GOOD_KEY = f"warn  DNS: no DKIM key is at {S1}", f"ok    DNS: a DKIM key is at {S1}\n"
NO_POLICY = f"warn  DNS: the DMARC record at {POLICY} names no policy"


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        (ROOT, [], NO_SPF),
        (ROOT, ["v=spf10 -all", "spf1"], NO_SPF),
        (
            ROOT,
            [SPF, "v=spf1 -all"],
            "warn  DNS: acme.example has 2 SPF records: receivers then believe none",
        ),
        (ROOT, ["v=spf1 include:sendgrid.net +all"], ANYBODY),
        (ROOT, ["v=spf1 ALL"], ANYBODY),
        (ROOT, ["v=spf1 mx -all"], NOT_NAMED),
        (ROOT, ["v=spf1 -include:sendgrid.net ~all"], NOT_NAMED),
        (ROOT, ["v=spf1 include:notsendgrid.net ~all"], NOT_NAMED),
        (ROOT, ["V=SPF1 ?include:SendGrid.net -all"], GOOD_SPF),
        (ROOT, ["v=spf1 " + "ip4:192.0.2.1 " * 40 + "include:sendgrid.net -all"], GOOD_SPF),
        (S1, ["k=rsa; p="], f"warn  DNS: the DKIM key at {S1} was revoked"),
        (S1, ["v=DKIM1; sp=x"], f"{NO_KEY}\n"),
        (S1, [], f"{NO_KEY}\n"),
        (S1, "gone.sendgrid.net", f"{NO_KEY} (it leads to gone.sendgrid.net)"),
        (S1, ["v=DKIM1; p = abc"], GOOD_KEY),
        (S1, ["k=rsa; p=" + "A" * 700], GOOD_KEY),
        (POLICY, [], f"warn  DNS: no DMARC record is at {POLICY}"),
        (POLICY, ["v=DMARC2; p=none"], f"warn  DNS: no DMARC record is at {POLICY}"),
        (POLICY, ["v=DMARC1; sp=none"], NO_POLICY),
        (POLICY, ["v=DMARC1; p=some"], NO_POLICY),
        (POLICY, [DMARC, DMARC + "; pct=5"], f"warn  DNS: 2 DMARC records are at {POLICY}"),
        (
            POLICY,
            ["v=DMARC1;p=None;rua=mailto:x@acme.example"],
            f"ok    DNS: a DMARC record is at {POLICY}: p=none",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_record_is_judged(doctor: Doctor, name: str, found: object, said: str) -> None:
    shown = doctor({**GOOD, name: found})
    assert said in shown
    if said in {NO_SPF, NOT_NAMED}:
        assert "https://app.sendgrid.com/settings/sender_auth" in shown


def test_a_key_that_leads_to_sendgrid_stands_for_its_return_path(doctor: Doctor) -> None:
    """Whoever points s1 at SendGrid has its CNAME for the return path too: SPF is then SendGrid's own."""
    zone: Zone = {
        **GOOD,
        "acme.example": ["v=spf1 mx -all"],
        "s1._domainkey.acme.example": "s1.domainkey.u1.wl2.sendgrid.net",
        "s1.domainkey.u1.wl2.sendgrid.net": [KEY],
    }
    shown = doctor(zone)
    assert "ok    DNS: acme.example has an SPF record: v=spf1 mx -all" in shown
    assert "ok    DNS: a DKIM key is at s1._domainkey.acme.example (it leads to s1.domainkey.u1" in shown
    assert "SendGrid's return path has its own" in doctor({**zone, "acme.example": []})


def test_a_resolver_that_knows_no_names_says_nothing_of_ours(doctor: Doctor) -> None:
    assert doctor({}, expect=75).splitlines() == [
        "FAIL  DNS: this resolver knows no names",
        "      ask another: --dns-server HOST",
    ]


@pytest.mark.parametrize("there", [{"example": []}, {"com": []}, {"example": dns.rcode.SERVFAIL}])
def test_a_domain_that_does_not_exist_fails(doctor: Doctor, there: Zone) -> None:
    shown = doctor(there, expect=78)
    assert "FAIL  DNS: acme.example does not exist: receivers refuse mail from it" in shown
    assert "warn  DNS: no DKIM key is at s1._domainkey.acme.example\n" in shown
    assert "warn  DNS: no DMARC record is at _dmarc.acme.example\n" in shown


def test_other_mail_needs_its_selector_named(bench: Bench, doctor: Doctor) -> None:
    write_desk(bench.folder)
    zone: Zone = {**GOOD, "acme.example": ["v=spf1 mx -all"], "mail26._domainkey.acme.example": [KEY]}
    shown = doctor(zone)
    assert "ok    DNS: acme.example has an SPF record: v=spf1 mx -all" in shown
    assert "warn  DNS: DKIM was not looked up" in shown
    assert "--dkim-selector NAME" in shown
    named = doctor(zone, "--dkim-selector", "mail26")
    assert "ok    DNS: a DKIM key is at mail26._domainkey.acme.example" in named
    assert "s1._domainkey" not in named


def test_a_domain_above_may_hold_the_policy(bench: Bench, doctor: Doctor) -> None:
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text().replace("<status@acme.example>", "<status@mail.acme.example>"))
    zone: Zone = {**GOOD, "mail.acme.example": [SPF]}
    assert "ok    DNS: a DMARC record is at _dmarc.acme.example: p=reject" in doctor(zone)


# --- answers that are none


FAILS, SILENT = "the resolver fails at it", "no answer within 2 s"
BOUNDED = 20.0  # seconds: generous, and below what the library would take by itself


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        (ROOT, dns.rcode.SERVFAIL, f"SPF of {ROOT} could not be looked up: {FAILS}"),
        (ROOT, dns.rcode.REFUSED, f"SPF of {ROOT} could not be looked up: {FAILS}"),
        (S2, dns.rcode.SERVFAIL, f"DKIM at {S2} could not be looked up: {FAILS}"),
        (S2, None, f"DKIM at {S2} could not be looked up: {SILENT}"),
        (POLICY, dns.rcode.SERVFAIL, f"DMARC of {ROOT} could not be looked up: {FAILS}"),
        (POLICY, b"\x00", f"DMARC of {ROOT} could not be looked up: {SILENT}"),
    ],
)
def test_no_answer_is_no_verdict(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, name: str, answer: object, said: str
) -> None:
    monkeypatch.setattr(doctor_dns, "SECONDS", 2.0)
    begun = time.monotonic()
    shown = doctor({**GOOD, name: answer}, expect=75)
    assert time.monotonic() - begun < BOUNDED
    assert f"FAIL  DNS: {said}" in shown
    assert shown.count("FAIL  ") == 1


def test_nobody_at_the_port_is_no_traceback(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_dns, "SECONDS", 0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{held.getsockname()[1]}"
        shown = run("doctor", "--dns-server", where, folder=bench.folder, expect=75).stdout
    assert "FAIL  DNS: SPF of acme.example could not be looked up" in shown


@pytest.mark.parametrize("loop", ["acme.example", "s1._domainkey.acme.example"])
def test_names_that_lead_in_a_circle_end(doctor: Doctor, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_dns, "SECONDS", 0.5)
    zone: Zone = {**GOOD, loop: "a.circle.example", "a.circle.example": loop}
    assert "FAIL  DNS:" in doctor(zone, expect=75)


def test_hostile_records_are_shown_harmless_and_short(doctor: Doctor) -> None:
    record = "v=spf1 \x1b]0;owned\x07\x9b31m include:sendgrid.net " + "x" * 3000 + " -all"
    shown = doctor({**GOOD, "acme.example": [record]})
    assert "SPF record: v=spf1 ?]0;owned?" in shown
    assert not any(char < " " and char != "\n" for char in shown)
    assert max(map(len, shown.splitlines())) < 160


NO_RESOLVER, NO_SELECTOR = "write 9.9.9.9 or 127.0.0.1:5353", "is no selector; write one such as s1"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        *(
            ("--dns-server", server, NO_RESOLVER)
            for server in ("nonsense server", "127.0.0.1:0", "127.0.0.1:99999", "[::1", "dns.invalid", ":53")
        ),
        *(("--dkim-selector", selector, NO_SELECTOR) for selector in ("a..b", "a b", "x" * 64, "s1;")),
    ],
)
def test_what_is_no_resolver_and_no_selector_is_refused(
    bench: Bench, option: str, value: str, said: str
) -> None:
    given = ("--dns-server", "127.0.0.1:9", option, value)
    assert said in run("doctor", *given, folder=bench.folder, expect=2).stderr


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("9.9.9.9", ("9.9.9.9", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
        ("[2620:fe::9]", ("2620:fe::9", 53)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_a_port(server: str, place: tuple[str, int]) -> None:
    assert doctor_dns._place(server) == place
