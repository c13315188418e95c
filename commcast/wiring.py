"""Builds the real objects; the only file that names concrete adapters."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

from commcast.adapters.base import Adapter
from commcast.config import CONFIG_NAME, Config, EmailChannel, SmsChannel
from commcast.delivering import Deliverer, unsaid
from commcast.desk import Desk
from commcast.errors import ConfigError, Fault
from commcast.ledger.owners import current_owner
from commcast.ledger.store import Ledger
from commcast.model import Channel
from commcast.progress import Progress
from commcast.providers.base import Records
from commcast.sending import Sender

SENDGRID_KEY = "SENDGRID_API_KEY"
SMTP_PASSWORD = "COMMCAST_SMTP_PASSWORD"  # noqa: S105 - the variable's name, not a password


def adapter_for(config: Config, channel: Channel, clock: Callable[[], datetime]) -> Adapter:
    """Return the adapter that the configuration names for a channel. Nothing is opened yet.

    Raises ProviderError where its settings or secrets cannot work.
    """
    return _adapter(config, channel, _channel_settings(config, channel).provider, clock)


def fallback_for(config: Config, channel: Channel, clock: Callable[[], datetime]) -> Adapter | None:
    """Return the adapter that takes over where a channel's provider as a whole refuses; None for none."""
    fallback = _channel_settings(config, channel).fallback
    return _adapter(config, channel, fallback, clock) if fallback else None


def _adapter(config: Config, channel: Channel, provider: str, clock: Callable[[], datetime]) -> Adapter:
    if provider == "smtp":
        from commcast.adapters.smtp import SmtpAdapter

        smtp = config.providers.smtp
        assert smtp is not None  # noqa: S101 - load_config refuses smtp without settings
        if smtp.ca_file:
            smtp = smtp.model_copy(update={"ca_file": str(config.folder.absolute() / smtp.ca_file)})
        return SmtpAdapter(smtp, os.environ.get(SMTP_PASSWORD))
    if provider == "sendgrid":
        from commcast.adapters.sendgrid import SendGridAdapter

        return SendGridAdapter(config.providers.sendgrid, os.environ.get(SENDGRID_KEY), clock)
    if provider == "twilio":
        from commcast.adapters.twilio import TwilioAdapter
        from commcast.providers.twilio_client import Credentials

        return TwilioAdapter(config.providers.twilio, Credentials.from_environment(os.environ), clock)
    from commcast.adapters.outbox import OutboxAdapter

    return OutboxAdapter(channel, config.folder / config.providers.outbox.folder)


def make_sender(
    desk: Desk,
    ledger: Ledger,
    *,
    clock: Callable[[], datetime],
    progress: Progress,
    halting: Callable[[], None] = unsaid,
) -> Sender:
    """Return what sends for this process, and tells `progress` how far it is. `clock` gives aware now.

    `halting` is called when a signal asks a run to end.
    """
    deliverer = Deliverer(
        ledger=ledger,
        adapter_for=lambda channel: adapter_for(desk.config, channel, clock),
        fallback_for=lambda channel: fallback_for(desk.config, channel, clock),
        owner=current_owner(),
        clock=clock,
        progress=progress,
        halting=halting,
    )
    return Sender(desk, deliverer, progress.freezing)


def records_for(config: Config, provider: str, clock: Callable[[], datetime]) -> Records | None:
    """Return the records of a provider that keeps some; None for one that can be asked nothing.

    Raises ProviderError where its secrets are missing.
    """
    if provider == "sendgrid":
        from commcast.providers.sendgrid_records import SendGridRecords

        return SendGridRecords(config.providers.sendgrid, os.environ.get(SENDGRID_KEY), clock)
    if provider == "twilio":
        from commcast.providers.twilio_client import Credentials
        from commcast.providers.twilio_records import TwilioRecords

        return TwilioRecords(config.providers.twilio, Credentials.from_environment(os.environ), clock)
    return None


def _channel_settings(config: Config, channel: Channel) -> EmailChannel | SmsChannel:
    used = config.channels.email if channel is Channel.EMAIL else config.channels.sms
    if used is None:
        what = f"messages wait for {channel}, and there is no [channels.{channel}]"
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, what, "put it back until they are delivered"))
    return used
