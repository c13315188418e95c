"""Checks the sender domain's DNS: SPF, DKIM and DMARC."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from commcast.doctor.checks import Check, fail, ok, warn
from commcast.errors import ExitCode, InputError
from commcast.model.message import read_mailbox

if TYPE_CHECKING:
    import dns.resolver

    from commcast.config.settings import Config


SECONDS = 5.0  # for one name, all tries together
AUTH_PAGE = "https://app.sendgrid.com/settings/sender_auth"
_LONGEST = 4096  # characters of a record that are read; SPF, DKIM and DMARC need far less
_SHOWN = 80  # of those, in a line of doctor
_PARENTS = 4  # how many parent domains may hold the DMARC record
_SURELY_THERE = "com"
_SENDGRID_SELECTORS = ("s1", "s2")


@dataclass(frozen=True, slots=True)
class DnsQuestion:
    """How to ask. `server` is HOST or HOST:PORT of a resolver, "" for this machine's own.

    `selector` is the DKIM selector, "" if the provider's own are used.
    """

    server: str = ""
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The DNS answer for one name: its TXT records, and the name that it is a CNAME for.

    `exists` is False if there is no such name. `trouble` says why there was no answer.
    """

    texts: tuple[str, ...] = ()
    alias: str = ""
    exists: bool = True
    trouble: str = ""


LookUp = Callable[[str], Found]


def mail_domain(config: Config, question: DnsQuestion) -> Iterator[Check]:
    """Yield what receivers of our email find. Raises InputError for an unusable resolver or selector."""
    email = config.channels.email
    if email is None:
        return
    domain = read_mailbox(email.sender).address.rpartition("@")[2].lower()
    look_up = _resolver(question.server)
    selectors = _selectors(question, email.provider)
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="dns") as threads:
        spf = threads.submit(look_up, domain)
        keys = {each: threads.submit(look_up, f"{each}._domainkey.{domain}") for each in selectors}
        dmarc = threads.submit(_policy, domain, look_up)
        found = {each: key.result() for each, key in keys.items()}
        place, policy = dmarc.result()
        is_nothing_there = not any(_is_there(each) for each in (spf.result(), policy, *found.values()))
        if is_nothing_there and _knows_no_names(domain, look_up):
            yield fail(
                "DNS", "DNS lookups fail", "try another resolver: --dns-server HOST", ExitCode.TRY_AGAIN
            )
            return
        sendgrid = email.provider == "sendgrid"
        aligned = any(_is_sendgrid(key.alias) for key in found.values())
        yield _spf(domain, spf.result(), sendgrid=sendgrid, aligned=aligned)
        for selector, key in found.items():
            yield _dkim(f"{selector}._domainkey.{domain}", key, sendgrid=sendgrid)
        if not selectors:
            what = "DKIM was not checked: its selector is not known"
            yield warn("DNS", what, "pass --dkim-selector NAME")
        yield _dmarc(domain, place, policy)


def _knows_no_names(domain: str, look_up: LookUp) -> bool:
    """Return whether a resolver even denies the top-level domain and one that surely exists.

    Resolvers of internal networks say that no outside name exists: that proves nothing.
    """
    return not any(_is_there(look_up(name)) for name in (domain.rpartition(".")[2], _SURELY_THERE))


def _is_there(found: Found) -> bool:
    """Return whether a name exists or, without an answer, may exist."""
    return found.exists or bool(found.trouble)


def _selectors(question: DnsQuestion, provider: str) -> Sequence[str]:
    if not question.selector:
        return _SENDGRID_SELECTORS if provider == "sendgrid" else ()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,5}", question.selector):
        raise InputError(f"--dkim-selector {question.selector!r:.80} is not a selector; write one like s1")
    return (question.selector,)


def _spf(domain: str, found: Found, *, sendgrid: bool, aligned: bool) -> Check:
    """Judge the SPF record (RFC 7208 4.5: exactly one)."""
    page = f"see {AUTH_PAGE}" if sendgrid else "ask your email provider what it has to contain"
    if found.trouble:
        return _untold(f"SPF of {domain}", found.trouble)
    if not found.exists:
        what = f"{domain} does not exist: receivers refuse email from it"
        return fail("DNS", what, "check from in [channels.email], or register it", ExitCode.REFUSED)
    records = [text for text in found.texts if re.match(r"v=spf1(?: |$)", text, re.IGNORECASE)]
    if not records:
        if aligned:
            return ok("DNS", f"{domain} has no SPF record; SendGrid's return path has its own")
        return warn("DNS", f"{domain} has no SPF record (TXT v=spf1 …)", page)
    if len(records) > 1:
        what = f"{domain} has {len(records)} SPF records: receivers ignore them all"
        return warn("DNS", what, "merge them into one")
    terms = records[0].lower().split()
    if {"all", "+all"} & set(terms):
        what = f"the SPF record of {domain} lets anybody send as this domain (+all)"
        return warn("DNS", what, "end it with ~all or -all")
    included = {term.lstrip("+?~").removeprefix("include:") for term in terms if "include:" in term}
    if sendgrid and not aligned and "sendgrid.net" not in included:
        what = f"the SPF record of {domain} does not include SendGrid (include:sendgrid.net)"
        return warn("DNS", what, f"authenticate the domain: {AUTH_PAGE}")
    return ok("DNS", f"{domain} has an SPF record: {_shown(records[0])}")


def _dkim(name: str, found: Found, *, sendgrid: bool) -> Check:
    """Judge a DKIM key (RFC 6376 3.6.1: p= is the key, empty if it was revoked)."""
    page = f"see {AUTH_PAGE}" if sendgrid else "ask your email provider for the record"
    if found.trouble:
        return _untold(f"DKIM at {name}", found.trouble)
    leads = f" (a CNAME for {_shown(found.alias)})" if found.alias else ""
    keys = [match[1] for text in found.texts if (match := re.search(r"(?:^|;)\s*p\s*=\s*([^;]*)", text))]
    if not keys:
        return warn("DNS", f"no DKIM key is at {name}{leads}", page)
    if not any(key.strip() for key in keys):
        return warn("DNS", f"the DKIM key at {name} was revoked{leads}", page)
    return ok("DNS", f"a DKIM key is at {name}{leads}")


def _is_sendgrid(alias: str) -> bool:
    return alias.rstrip(".").lower().endswith(".sendgrid.net")


def _policy(domain: str, look_up: LookUp) -> tuple[str, Found]:
    """Return the domain of the DMARC record and the answer there: the domain itself, else a parent."""
    labels = domain.split(".")
    own = look_up(f"_dmarc.{domain}")
    above = [".".join(labels[depth:]) for depth in range(1, min(len(labels) - 1, _PARENTS))]
    answers = itertools.chain([(domain, own)], ((name, look_up(f"_dmarc.{name}")) for name in above))
    return next((each for each in answers if each[1].trouble or _dmarc_records(each[1])), (domain, own))


def _dmarc_records(found: Found) -> list[str]:
    return [text for text in found.texts if re.match(r"v\s*=\s*DMARC1\s*(?:;|$)", text)]


def _dmarc(domain: str, place: str, found: Found) -> Check:
    """Judge the DMARC record (RFC 7489 6.3: p= is required; 6.6.3: exactly one)."""
    if found.trouble:
        return _untold(f"DMARC of {place}", found.trouble)
    records, name = _dmarc_records(found), f"_dmarc.{place}"
    write = f'add TXT "v=DMARC1; p=none; rua=mailto:you@{domain}" there, and tighten it later'
    if not records:
        return warn("DNS", f"no DMARC record is at _dmarc.{domain}", write)
    if len(records) > 1:
        return warn("DNS", f"{len(records)} DMARC records are at {name}: receivers ignore them all", write)
    policy = re.search(r";\s*p\s*=\s*(none|quarantine|reject)\s*(?:;|$)", records[0], re.IGNORECASE)
    if not policy:
        return warn("DNS", f"the DMARC record at {name} has no policy (p=)", write)
    return ok("DNS", f"a DMARC record is at {name}: p={policy[1].lower()}")


def _untold(what: str, trouble: str) -> Check:
    remedy = "try again, or use another resolver: --dns-server HOST"
    return fail("DNS", f"{what} could not be looked up: {trouble}", remedy, ExitCode.TRY_AGAIN)


def _shown(text: str) -> str:
    """Return text from the DNS, short, printable and on one line."""
    clean = "".join(char if char.isascii() and char.isprintable() else "?" for char in text[: _SHOWN + 1])
    return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}…"


def _resolver(server: str) -> LookUp:
    """Return a function that looks up one name. Raises InputError if there is no resolver to ask."""
    import dns.nameserver
    import dns.resolver

    try:
        resolver = dns.resolver.Resolver(configure=not server)
    except dns.resolver.NoResolverConfiguration:
        raise InputError("this machine has no DNS resolver; pass --dns-server HOST") from None
    if server:
        host, port = _place(server)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port)]
    resolver.cache = None
    resolver.lifetime = SECONDS
    resolver.timeout = min(resolver.timeout, SECONDS)
    return lambda name: _found(name, resolver)


def _place(server: str) -> tuple[str, int]:
    """Return address and port of a resolver given as HOST, HOST:PORT, an IPv6 address or [IPv6]:PORT."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([\w.-]+)(?::(\d{1,5}))?|([0-9a-fA-F:.]+)", server)
    try:
        if match is None:
            raise ValueError
        port = int(match[2] or match[4] or 53)
        if not 0 < port < 65536:
            raise ValueError
        return _address(match[1] or match[5] or "", match[3] or "", port), port
    except (ValueError, OSError):
        what = f"--dns-server {server!r:.80} is not a resolver"
        raise InputError(f"{what}; write 9.9.9.9 or 127.0.0.1:5353") from None


def _address(numeric: str, host: str, port: int) -> str:
    """Return an IP address; a name is looked up. Raises ValueError or OSError."""
    try:
        return str(ip_address(numeric or host))
    except ValueError:
        if numeric:
            raise
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0])


def _found(name: str, resolver: dns.resolver.Resolver) -> Found:
    """Return the TXT records of a name, or why there is no answer, within SECONDS."""
    import dns.exception
    import dns.name
    import dns.resolver

    try:
        answer = resolver.resolve(dns.name.from_text(name), "TXT", search=False, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN as error:
        alias = _alias(name, error.canonical_name)
        return Found(alias=alias, exists=bool(alias))
    except dns.exception.Timeout:
        return Found(trouble=f"no answer within {SECONDS:g} s")
    except dns.resolver.NoNameservers:
        return Found(trouble="the resolver failed (SERVFAIL or REFUSED)")
    except (dns.exception.DNSException, OSError, ValueError) as error:
        return Found(trouble=f"{type(error).__name__}")
    records = answer.rrset or ()
    texts = (b"".join(record.strings)[:_LONGEST].decode("ascii", "replace") for record in records)
    return Found(tuple(texts), _alias(name, answer.canonical_name))


def _alias(name: str, canonical: object) -> str:
    alias = str(canonical).rstrip(".").lower()
    return "" if alias == name.rstrip(".").lower() else alias[:_LONGEST]
