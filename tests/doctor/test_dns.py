"""doctor --dns over a small real DNS server: SPF, DKIM and DMARC, and answers that are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from commcast.doctor import dns as doctor_dns
from tests.support.desk import Bench, write_desk
from tests.support.terminal import bench_now, missing, run
from tests.support.values import cases

Zone = Mapping[str, object]
SPF, KEY, DMARC = "v=spf1 include:sendgrid.net ~all", "k=rsa; t=s; p=MIGfMA0", "v=DMARC1; p=reject"
ROOT, S1, S2 = "acme.example", "s1._domainkey.acme.example", "s2._domainkey.acme.example"
POLICY = "_dmarc.acme.example"
GOOD: Zone = {ROOT: ["google-site-verification=x", SPF], S1: [KEY], S2: [KEY], POLICY: [DMARC]}


@contextmanager
def name_server(zone: Zone) -> Iterator[str]:
    """Answer TXT questions on 127.0.0.1; yield HOST:PORT. A name's value is a list of texts, another name
    (CNAME), a return code, bytes to send as they are, or None for no answer at all; no value is NXDOMAIN."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (question := server.recvfrom(65535))[0] != b"end":
                reply = answered(dns.message.from_wire(question[0]), zone)
                if reply is not None:
                    server.sendto(reply, question[1])

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = server.getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", (host, port))
            thread.join()


def answered(asked: dns.message.Message, zone: Zone) -> bytes | None:
    name = asked.question[0].name.to_text(omit_final_dot=True)
    reply = dns.message.make_response(asked)
    reply.flags |= dns.flags.RA
    found: object = zone.get(name, dns.rcode.NXDOMAIN)
    for _ in range(20):
        if not isinstance(found, str):
            break
        reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{found}."))
        name, found = found, zone.get(found, dns.rcode.NXDOMAIN)
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
        with name_server(zone) as where:
            given = ("doctor", "--dns", "--dns-server", where, *options)
            shown = run(*given, folder=bench.folder, expect=expect).stdout
        lines = shown.partition("warn  people:")[0].splitlines()  # the last of the DNS; nobody has an address
        first = next(number for number, line in enumerate(lines) if " DNS: " in line)
        return "\n".join(line for line in lines[first:] if "secret:" not in line)

    return ask


def test_a_good_domain_is_well(doctor: Doctor) -> None:
    assert doctor(GOOD).splitlines() == [
        f"ok    DNS: acme.example has an SPF record: {SPF}",
        f"ok    DNS: a DKIM key is at {S1}",
        f"ok    DNS: a DKIM key is at {S2}",
        "ok    DNS: a DMARC record is at _dmarc.acme.example: p=reject",
    ]


SAID = {
    "no SPF": "warn  DNS: acme.example has no SPF record … https://app.sendgrid.com/settings/sender_auth",
    "anybody": "warn  DNS: the SPF record of acme.example lets anybody send",
    "not named": "warn  DNS: the SPF record of acme.example does not include SendGrid … sender_auth",
    "two SPF": "warn  DNS: acme.example has 2 SPF records: receivers ignore them all",
    "SPF": "ok    DNS: acme.example has an SPF record",
    "no key": f"warn  DNS: no DKIM key is at {S1}\n",
    "revoked": f"warn  DNS: the DKIM key at {S1} was revoked",
    "key": f"ok    DNS: a DKIM key is at {S1}\n",
    "no DMARC": f"warn  DNS: no DMARC record is at {POLICY}",
    "no policy": f"warn  DNS: the DMARC record at {POLICY} has no policy",
    "two DMARC": f"warn  DNS: 2 DMARC records are at {POLICY}",
    "DMARC": f"ok    DNS: a DMARC record is at {POLICY}: p=none",
}


@cases(f"""
    name     | records                                    | said
    {ROOT}   |                                            | no SPF
    {ROOT}   | {SPF} & v=spf1 -all                        | two SPF
    {ROOT}   | v=spf1 include:sendgrid.net +all           | anybody
    {ROOT}   | v=spf1 mx -all                             | not named
    {ROOT}   | v=spf1 -include:sendgrid.net ~all          | not named
    {ROOT}   | V=SPF1 ?include:SendGrid.net -all          | SPF
    {ROOT}   | v=spf1 {"ip4:192.0.2.1 " * 40} include:sendgrid.net -all | SPF
    {S1}     | k=rsa; p=                                  | revoked
    {S1}     |                                            | no key
    {S1}     | v=DKIM1; p = abc                           | key
    {S1}     | k=rsa; p={"A" * 700}                       | key
    {POLICY} |                                            | no DMARC
    {POLICY} | v=DMARC2; p=none                           | no DMARC
    {POLICY} | v=DMARC1; sp=none                          | no policy
    {POLICY} | {DMARC} & {DMARC}; pct=5                   | two DMARC
    {POLICY} | v=DMARC1;p=None;rua=mailto:x@acme.example  | DMARC
""")
def test_each_record_is_judged(doctor: Doctor, name: str, records: str, said: str) -> None:
    shown = doctor({**GOOD, name: records.split(" & ") if records else []})
    assert missing(SAID[said], shown) == []


def test_a_key_that_leads_to_sendgrid_stands_for_its_return_path(doctor: Doctor) -> None:
    """Whoever points s1 at SendGrid has its CNAME for the return path too: SPF is then SendGrid's own."""
    leads = "s1.domainkey.u1.wl2.sendgrid.net"
    zone: Zone = {**GOOD, ROOT: ["v=spf1 mx -all"], S1: leads, leads: [KEY]}
    shown = doctor(zone)
    assert "ok    DNS: acme.example has an SPF record: v=spf1 mx -all" in shown
    assert f"ok    DNS: a DKIM key is at {S1} (a CNAME for {leads})" in shown
    assert "SendGrid's return path has its own" in doctor({**zone, ROOT: []})
    gone = doctor({**GOOD, S1: "gone.sendgrid.net"})
    assert f"warn  DNS: no DKIM key is at {S1} (a CNAME for gone.sendgrid.net)" in gone


@pytest.mark.parametrize("there", [{"example": []}, {"com": []}, {"example": dns.rcode.SERVFAIL}])
def test_a_domain_that_does_not_exist_fails(doctor: Doctor, there: Zone) -> None:
    shown = doctor(there, expect=78)
    assert "FAIL  DNS: acme.example does not exist: receivers refuse email from it" in shown
    assert f"warn  DNS: no DKIM key is at {S1}\n" in shown
    assert "warn  DNS: no DMARC record is at _dmarc.acme.example\n" in shown
    failed = "FAIL  DNS: DNS lookups fail\n      try another resolver: --dns-server HOST"
    assert doctor({}, expect=75) == failed


def test_other_mail_needs_its_selector_named(bench: Bench, doctor: Doctor) -> None:
    write_desk(bench.folder)
    zone: Zone = {**GOOD, ROOT: ["v=spf1 mx -all"], "mail26._domainkey.acme.example": [KEY]}
    spf = "ok    DNS: acme.example has an SPF record: v=spf1 mx -all"
    assert missing(f"{spf} … warn  DNS: DKIM was not checked … --dkim-selector NAME", doctor(zone)) == []
    named = doctor(zone, "--dkim-selector", "mail26")
    assert "ok    DNS: a DKIM key is at mail26._domainkey.acme.example" in named
    assert "s1._domainkey" not in named


def test_a_domain_above_may_hold_the_policy(bench: Bench, doctor: Doctor) -> None:
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text().replace("<status@acme.example>", "<status@a.b.acme.example>"))
    assert "DMARC record is at _dmarc.acme.example: p=reject" in doctor({**GOOD, "a.b.acme.example": [SPF]})
    own = {**GOOD, "_dmarc.b.acme.example": ["v=DMARC1; p=none"]}
    assert "DMARC record is at _dmarc.b.acme.example: p=none" in doctor(own, expect=78)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_dns, "SECONDS", 0.5)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("name", "answer", "what"),
    [
        *((ROOT, code, f"SPF of {ROOT}") for code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED)),
        *((S2, code, f"DKIM at {S2}") for code in (dns.rcode.SERVFAIL, None)),
        *((POLICY, code, f"DMARC of {ROOT}") for code in (dns.rcode.SERVFAIL, b"\x00")),
    ],
)
def test_no_answer_is_no_verdict(doctor: Doctor, name: str, answer: object, what: str) -> None:
    begun = time.monotonic()
    shown = doctor({**GOOD, name: answer}, expect=75)
    assert time.monotonic() - begun < 20.0  # below what the library would take by itself
    why = "the resolver failed" if isinstance(answer, dns.rcode.Rcode) else "no answer within 0.5 s"
    assert f"FAIL  DNS: {what} could not be looked up: {why}" in shown
    assert shown.count("FAIL  ") == 1


@pytest.mark.usefixtures("hurried")
def test_a_circle_ends_and_nobody_at_the_port_is_no_traceback(bench: Bench, doctor: Doctor) -> None:
    assert "FAIL  DNS:" in doctor({**GOOD, ROOT: "a.circle.example", "a.circle.example": ROOT}, expect=75)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{held.getsockname()[1]}"
        shown = run("doctor", "--dns-server", where, folder=bench.folder, expect=75).stdout
    assert "FAIL  DNS: SPF of acme.example could not be looked up" in shown


def test_hostile_records_are_shown_harmless_and_short(doctor: Doctor) -> None:
    record = "v=spf1 \x1b]0;owned\x07\x9b31m include:sendgrid.net " + "x" * 3000 + " -all"
    shown = doctor({**GOOD, ROOT: [record]})
    assert "SPF record: v=spf1 ?]0;owned?" in shown
    assert not any(char < " " and char != "\n" for char in shown)
    assert max(map(len, shown.splitlines())) < 160


NO_RESOLVER = ("nonsense server", "127.0.0.1:0", "127.0.0.1:99999", "[::1", "dns.invalid", ":53")
NONE = [("--dns-server", each, "write 9.9.9.9 or 127.0.0.1:5353") for each in NO_RESOLVER]
NONE += [("--dkim-selector", each, "is not a selector; write") for each in ("a..b", "a b", "x" * 64, "s1;")]


@pytest.mark.parametrize(("option", "value", "said"), NONE)
def test_no_resolver_and_no_selector_is_refused(bench: Bench, option: str, value: str, said: str) -> None:
    given = ("--dns-server", "127.0.0.1:9", option, value)
    assert said in run("doctor", *given, folder=bench.folder, expect=2).stderr


@cases("""
    server         | host        | port
    9.9.9.9        | 9.9.9.9     | 53
    127.0.0.1:5353 | 127.0.0.1   | 5353
    ::1            | ::1         | 53
    [::1]:5353     | ::1         | 5353
    [2620:fe::9]   | 2620:fe::9  | 53
""")
def test_a_resolver_is_an_address_with_or_without_a_port(server: str, host: str, port: str) -> None:
    assert doctor_dns._place(server) == (host, int(port))
