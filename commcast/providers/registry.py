"""Builds the real objects; the only file that names concrete adapters."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from commcast.config.settings import CONFIG_NAME, Config, EmailChannel, SmsChannel
from commcast.errors import ConfigError, Fault, ProviderError
from commcast.model.incident import Channel
from commcast.providers.base import Adapter, Records

if TYPE_CHECKING:
    from commcast.providers.smtp.adapter import SmtpAdapter

SENDGRID_KEY = "SENDGRID_API_KEY"
SMTP_PASSWORD = "COMMCAST_SMTP_PASSWORD"  # noqa: S105 - the variable's name, not a password


def adapter_for(config: Config, channel: Channel, clock: Callable[[], datetime]) -> Adapter:
    """Return the adapter that the configuration names for a channel. Nothing is opened yet.

    Raises ConfigError if the channel is not configured, and ProviderError if settings or secrets can't work.
    """
    return _adapter(config, channel, _channel_settings(config, channel).provider, clock)


def fallback_for(config: Config, channel: Channel, clock: Callable[[], datetime]) -> Adapter | None:
    """Return the adapter that takes over if a channel's provider fails; None if there is no fallback."""
    fallback = _channel_settings(config, channel).fallback
    return _adapter(config, channel, fallback, clock) if fallback else None


def _adapter(config: Config, channel: Channel, provider: str, clock: Callable[[], datetime]) -> Adapter:
    if provider == "smtp":
        return relay_of(config)
    if provider == "sendgrid":
        from commcast.providers.sendgrid.adapter import SendGridAdapter

        return SendGridAdapter(config.providers.sendgrid, os.environ.get(SENDGRID_KEY), clock)
    if provider == "twilio":
        from commcast.providers.twilio.adapter import TwilioAdapter
        from commcast.providers.twilio.client import Credentials

        return TwilioAdapter(config.providers.twilio, Credentials.from_environment(os.environ), clock)
    from commcast.providers.outbox import OutboxAdapter

    folder = config.folder.resolve() / config.providers.outbox.folder
    if os.path.realpath(folder) != str(folder):
        what, remedy = "providers.outbox.folder: a link is in its way", "put a plain folder there"
        raise ProviderError("outbox", Fault(CONFIG_NAME, 0, 0, what, remedy))
    return OutboxAdapter(channel, folder)


def relay_of(config: Config) -> SmtpAdapter:
    """Return the adapter of the SMTP relay, which can also be greeted. Raises ProviderError."""
    from commcast.providers.smtp.adapter import SmtpAdapter

    smtp = config.providers.smtp
    assert smtp is not None  # noqa: S101 - load_config refuses smtp without settings
    if smtp.ca_file:
        smtp = smtp.model_copy(update={"ca_file": str(config.folder.absolute() / smtp.ca_file)})
    return SmtpAdapter(smtp, os.environ.get(SMTP_PASSWORD))


def records_for(config: Config, provider: str, clock: Callable[[], datetime]) -> Records | None:
    """Return the records of a provider; None if it has none that can be read.

    Raises ProviderError if its secrets are missing.
    """
    if provider == "sendgrid":
        from commcast.providers.sendgrid.records import SendGridRecords

        return SendGridRecords(config.providers.sendgrid, os.environ.get(SENDGRID_KEY), clock)
    if provider == "twilio":
        from commcast.providers.twilio.client import Credentials
        from commcast.providers.twilio.records import TwilioRecords

        return TwilioRecords(config.providers.twilio, Credentials.from_environment(os.environ), clock)
    return None


def _channel_settings(config: Config, channel: Channel) -> EmailChannel | SmsChannel:
    used = config.channels.email if channel is Channel.EMAIL else config.channels.sms
    if used is None:
        what = f"messages are waiting for {channel}, and [channels.{channel}] is missing"
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, what, "put it back until they have been sent"))
    return used
