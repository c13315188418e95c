"""Checks providers: settings, secrets and, with --connect, what the providers answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from commcast.config.settings import (
    TWILIO_SENDER,
    SendGridProvider,
    SmtpProvider,
    TwilioProvider,
    is_loopback,
)
from commcast.doctor.checks import Check, fail, ok, warn
from commcast.errors import CommcastError, ExitCode, InputError, TryAgain
from commcast.model.incident import Channel
from commcast.providers import registry
from commcast.providers.base import Refused
from commcast.recipients.addresses import mask
from commcast.recipients.lists import open_recipients

if TYPE_CHECKING:
    from commcast.config.settings import Config


Clock = Callable[[], datetime]  # gives aware now

_REFUSED = ExitCode.REFUSED
KEYS_PAGE = "https://app.sendgrid.com/settings/api_keys"
CONSOLE = "https://console.twilio.com"
# The providers' own servers; anything else is somebody else, or a server for tests.
_HOSTS = {"sendgrid": ("api.sendgrid.com", "api.eu.sendgrid.com"), "twilio": ("api.twilio.com",)}
_TITLES = {"sendgrid": "SendGrid", "twilio": "Twilio", "smtp": "SMTP"}
_SECRETS = {
    "smtp": (registry.SMTP_PASSWORD,),
    "sendgrid": ("SENDGRID_API_KEY",),
    "twilio": ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY", "TWILIO_API_SECRET"),
}
# Scopes of SendGrid, and what does not work without them.
_READS = {
    "suppression.read": "bounces and suppressions, which receipts and recipients import need",
    "messages.read": "Email Activity, which reconcile and receipts need",
}
# Scopes that together are as good as one.
_PARTS = {
    "suppression.read": {f"suppression.{each}.read" for each in ("bounces", "blocks", "unsubscribes")},
}


_SECONDS = 20.0  # for all that a mail server is asked
_LONGEST_CODE = 8  # digits of a short code


class _SendGrid(Protocol):
    async def scopes(self) -> tuple[str, ...]: ...


class _Account(Protocol):
    @property
    def status(self) -> str: ...
    @property
    def type(self) -> str: ...


class _Twilio(Protocol):
    async def account(self) -> _Account: ...
    async def balance(self) -> tuple[float | Decimal, str]: ...
    async def knows_sender(self, sender: str) -> bool | None: ...


def providers(config: Config, clock: Clock, *, connect: bool) -> Iterator[Check]:
    """Yield the checks of each channel's provider and of its fallback."""
    for channel in Channel:
        settings = config.channels.email if channel is Channel.EMAIL else config.channels.sms
        if settings is None:
            continue
        if settings.provider == "outbox":
            remedy = 'to go live: README, "Going live", then commcast doctor --connect'
            yield warn(channel, "is written to files, nothing is sent", remedy)
        used = [name for name in (settings.provider, settings.fallback) if name and name != "outbox"]
        for name in used:
            yield from _written(config, channel, name, takes_over=name != settings.provider)
        yield from _shared_fate(config, used)
        refused = list(_refused_settings(config, channel, clock))
        yield from refused
        for name in used if connect and not refused else ():
            yield from asyncio.run(_asked(config, channel, name, clock))


def _written(config: Config, channel: Channel, name: str, *, takes_over: bool) -> Iterator[Check]:
    """Yield what the configuration and the environment say about one provider."""
    provider: Any = getattr(config.providers, name)
    role = "falls back on" if takes_over else "goes to"
    if name == "smtp":
        yield ok(
            channel, f"{role} {provider.host}:{provider.port} ({provider.security}); {_limits(provider)}"
        )
        if provider.security == "none":
            yield warn(channel, "is sent unencrypted", 'write security = "starttls", or "tls"')
    else:
        yield ok(channel, f"{role} {urlsplit(provider.base_url).netloc}; {_limits(provider)}")
        yield from _own_server(channel, name, provider)
    if name != "smtp" or provider.user:
        yield from (ok("secret", f"{each} is set") for each in _SECRETS[name] if os.environ.get(each))


def _limits(provider: SmtpProvider | SendGridProvider | TwilioProvider) -> str:
    rate = f"at most {provider.per_second:g} messages per second" if provider.per_second else "no rate limit"
    batch = f"batches of {provider.batch}" if isinstance(provider, SendGridProvider) else ""
    return ", ".join(filter(None, (f"{provider.connections} connections", batch, rate)))


def _own_server(channel: Channel, name: str, provider: SendGridProvider | TwilioProvider) -> Iterator[Check]:
    url, hosts = urlsplit(provider.base_url), _HOSTS[name]
    if url.scheme == "https" and url.hostname in hosts and url.port in (None, 443):
        return
    clear = ", and the key is sent unencrypted" if url.scheme != "https" else ""
    what = f"{provider.base_url} is not {_TITLES[name]} itself ({' or '.join(hosts)}){clear}"
    yield warn(channel, what, f"remove base_url from [providers.{name}], unless this is a server for tests")


def _shared_fate(config: Config, used: Collection[str]) -> Iterator[Check]:
    """Warn about a fallback that fails together with the first provider: it is the same company."""
    smtp = config.providers.smtp
    if smtp is None or set(used) != {"smtp", "sendgrid"}:
        return
    relay, web = smtp.host.lower().rstrip("."), urlsplit(config.providers.sendgrid.base_url).hostname
    # A server for tests is on this machine, as a relay may be: neither is SendGrid.
    if (relay == web and not is_loopback(relay)) or any(
        relay == own or relay.endswith(f".{own}") for own in ("sendgrid.net", "sendgrid.com")
    ):
        what = f"the fallback fails together with its provider: {smtp.host} is SendGrid too"
        yield warn(Channel.EMAIL, what, "use another company's relay as fallback, or none")


def _refused_settings(config: Config, channel: Channel, clock: Clock) -> Iterator[Check]:
    """Yield what keeps an adapter from being created, such as a user without a password."""
    for make in (registry.adapter_for, registry.fallback_for):
        try:
            make(config, channel, clock)
        except InputError as error:
            for fault in error.faults:
                remedy = f"{fault.remedy}, where commcast runs, also in cron"
                yield fail(channel, fault.what, remedy, _REFUSED)


async def _asked(config: Config, channel: Channel, name: str, clock: Clock) -> list[Check]:
    """Return what a provider answers; nothing is sent, and nothing is changed there."""
    asks: Any = {"smtp": _ask_relay, "sendgrid": _ask_sendgrid, "twilio": _ask_twilio}[name]
    found: list[Check] = []
    try:
        relay = registry.relay_of(config) if name == "smtp" else None
        asked: Any = relay or registry.records_for(config, name, clock)
        async with asked:
            async for check in asks(asked, config):
                found.append(check)
    except InputError as error:  # a certificate that cannot be read
        found.append(fail(channel, error.faults[0].what, error.faults[0].remedy, _REFUSED))
    except (Refused, TryAgain) as trouble:
        what, remedy = str(trouble), "try again, or check base_url"
        if name == "smtp":
            what, _, remedy = what.partition("; ")
        elif isinstance(trouble, Refused):
            remedy = f"look at {KEYS_PAGE if name == 'sendgrid' else CONSOLE}" * ("https://" not in what)
            if name == "sendgrid" and "refuses the key" in what:
                remedy += " (or base_url is the other region's)"
        found.append(fail(channel, what, remedy, trouble.exit_code))
    return found


async def _ask_relay(relay: Any, config: Config) -> AsyncIterator[Check]:
    smtp: Any = config.providers.smtp
    await relay.greet(_SECONDS)
    accepts = " and accepts the login" if smtp.user else ""
    yield ok(Channel.EMAIL, f"{smtp.host}:{smtp.port} responds{accepts}")


async def _ask_sendgrid(records: _SendGrid, config: Config) -> AsyncIterator[Check]:
    scopes = await records.scopes()
    about = Channel.EMAIL
    if "mail.send" in scopes:
        yield ok(about, "SendGrid accepts the key, and it may send")
    else:
        what = "the key may not send: it lacks the scope mail.send"
        yield fail(about, what, f"give it Mail Send: {KEYS_PAGE}", _REFUSED)
    reads = dict(_READS)
    if config.providers.sendgrid.asm_group:
        reads["asm.groups.read"] = "the unsubscribe group, which recipients import needs"
    for scope, without in reads.items():
        if scope not in scopes and not _PARTS.get(scope, {scope}) <= set(scopes):
            remedy = f"give it that scope: {KEYS_PAGE}"
            yield warn(about, f"the key may not read {without} ({scope})", remedy)


async def _ask_twilio(records: _Twilio, config: Config) -> AsyncIterator[Check]:
    account, about = await records.account(), Channel.SMS
    status, kind = account.status.lower(), account.type.lower()
    if status != "active":
        what = f"the Twilio account is {status[:40] or 'not active'}"
        yield fail(about, what, f"see why: {CONSOLE}", _REFUSED)
        return
    yield ok(about, "Twilio accepts the credentials, and the account is active")
    if kind == "trial":
        what = "this is a trial account: only numbers verified with Twilio get texts"
        yield warn(about, what, f"upgrade it: {CONSOLE}")
    for ask in (_sender, _balance):
        try:
            yield await ask(records, config)
        except CommcastError as error:
            yield warn(about, str(error), "the account works; only this could not be checked")


async def _sender(records: _Twilio, config: Config) -> Check:
    sms = config.channels.sms
    sender = config.providers.twilio.messaging_service or (sms.sender if sms else "")
    shown = sender if len(sender) <= 12 else f"{sender[:12]}…"
    if len(sender) > _LONGEST_CODE and sender.lstrip("+").isdigit():
        shown = mask(sender)
    if not config.providers.twilio.messaging_service and (check := _unasked_sender(config, sender, shown)):
        return check
    known = await records.knows_sender(sender)
    if known is None:
        depends = "whether Twilio accepts it depends on the country"
        return ok(Channel.SMS, f"the sender {shown} is a name: {depends}")
    if known:
        return ok(Channel.SMS, f"Twilio knows the sender {shown}")
    remedy = f"use one of its own: {CONSOLE}/us1/develop/phone-numbers/manage/incoming"
    return fail(Channel.SMS, f"the Twilio account has no sender {shown}", remedy, _REFUSED)


def _unasked_sender(config: Config, sender: str, shown: str) -> Check | None:
    """Return the check of a sender that Twilio need not be asked about, None for any other."""
    if fault := config.twilio_sender_fault:
        return fail(Channel.SMS, f"the sender {shown} {fault}", TWILIO_SENDER, _REFUSED)
    if sender.isdigit():
        return ok(Channel.SMS, f"the sender {shown} is a short code, which was not checked")
    return None


async def _balance(records: _Twilio, config: Config) -> Check:
    held_now, currency = await records.balance()
    amount = float(held_now)
    held = f"the Twilio balance is {amount:,.2f} {currency[:8]}"
    remedy = f"top it up: {CONSOLE}/us1/billing/manage-billing/billing-overview"
    if amount <= 0:
        return warn(Channel.SMS, f"{held}: texts may be refused", remedy)
    price = config.send.sms_price
    readers = await asyncio.to_thread(_readers_of_texts, config) if price else 0
    if readers * price > amount:
        return warn(Channel.SMS, f"{held}: enough for {int(amount / price):,} of {readers:,} texts", remedy)
    return ok(Channel.SMS, held)


def _readers_of_texts(config: Config) -> int:
    """Return how many numbers one update may go to; lists that cannot be read are reported elsewhere."""
    count = 0
    for name, audience in config.audiences.items():
        if Channel.SMS in audience.channels:
            with suppress(InputError):
                count += sum(1 for reader in open_recipients(name, config) if reader.key(Channel.SMS))
    return count
