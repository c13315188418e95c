"""Builds the real objects; the only file that names concrete adapters."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

from commcast.adapters.base import Adapter
from commcast.config import CONFIG_NAME, Config
from commcast.delivering import Deliverer
from commcast.desk import Desk
from commcast.errors import ConfigError, Fault
from commcast.freezing import silent
from commcast.ledger.owners import current_owner
from commcast.ledger.store import Ledger
from commcast.model import Channel
from commcast.sending import Sender

SMTP_PASSWORD = "COMMCAST_SMTP_PASSWORD"  # noqa: S105 - the variable's name, not a password


def adapter_for(config: Config, channel: Channel) -> Adapter:
    """Return the adapter that the configuration names for a channel. Nothing is opened yet."""
    provider = _provider_of(config, channel)
    if provider == "smtp":
        from commcast.adapters.smtp import SmtpAdapter

        smtp = config.providers.smtp
        assert smtp is not None  # noqa: S101 - load_config refuses smtp without settings
        if smtp.ca_file:
            smtp = smtp.model_copy(update={"ca_file": str(config.folder.absolute() / smtp.ca_file)})
        return SmtpAdapter(smtp, os.environ.get(SMTP_PASSWORD))
    from commcast.adapters.outbox import OutboxAdapter

    return OutboxAdapter(channel, config.folder / config.providers.outbox.folder)


def make_sender(
    desk: Desk,
    ledger: Ledger,
    *,
    clock: Callable[[], datetime],
    progress: Callable[[str], None],
    freezing: Callable[[int], None] = silent,
) -> Sender:
    """Return what sends for this process. `clock` gives aware now.

    `progress` hears each outcome's kind, `freezing` how many rows of a list are frozen.
    """
    deliverer = Deliverer(
        ledger=ledger,
        adapter_for=lambda channel: adapter_for(desk.config, channel),
        owner=current_owner(),
        clock=clock,
        progress=progress,
    )
    return Sender(desk, deliverer, freezing)


def _provider_of(config: Config, channel: Channel) -> str:
    used = config.channels.email if channel is Channel.EMAIL else config.channels.sms
    if used is None:
        what = f"messages wait for {channel}, and there is no [channels.{channel}]"
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, what, "put it back until they are delivered"))
    return used.provider
