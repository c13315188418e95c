"""The settings of each provider in commcast.toml. Secrets come from the environment and never stand here."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from commcast.config_fields import BaseUrl, CallbackUrl, Connections, Line, Rate, ServiceSid, Table, Timeout


class SmtpProvider(Table):
    """An SMTP relay. The password is read from COMMCAST_SMTP_PASSWORD."""

    host: Line
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    user: Line = ""
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str = ""
    connections: Connections = 4
    per_second: Rate = 0
    timeout: Timeout = timedelta(seconds=60)
    hello: Line = ""


class SendGridProvider(Table):
    """SendGrid's Web API. The key is read from SENDGRID_API_KEY.

    `batch` is how many readers one request carries; an answer that is lost makes so many unknown.
    `timeout` is for a whole request. `asm_group` is an unsubscribe group of the account, 0 for none.
    """

    base_url: BaseUrl = "https://api.sendgrid.com"
    batch: Annotated[int, Field(ge=1, le=1000)] = 250
    connections: Connections = 4
    per_second: Rate = 0
    timeout: Timeout = timedelta(seconds=60)
    category: Annotated[Line, Field(min_length=1, max_length=255)] = "incidents"
    asm_group: Annotated[int, Field(ge=0)] = 0


class TwilioProvider(Table):
    """Twilio's Messages API. Secrets: TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY with its
    TWILIO_API_SECRET.

    `messaging_service` is the SID of a service that picks the sender; without it, `from` in [channels.sms]
    is the sender. `status_callback` is the page that Twilio tells what became of each text.
    """

    base_url: BaseUrl = "https://api.twilio.com"
    messaging_service: ServiceSid = ""
    status_callback: CallbackUrl = ""
    connections: Connections = 16
    per_second: Rate = 0
    timeout: Timeout = timedelta(seconds=30)


class OutboxProvider(Table):
    """Files instead of a provider: nothing is sent."""

    folder: str = "outbox"


class Providers(Table):
    """Settings of each provider that is used."""

    # model_construct: a default needs no check, and checks are made ready only where they are used.

    smtp: SmtpProvider | None = None
    sendgrid: SendGridProvider = SendGridProvider.model_construct()
    twilio: TwilioProvider = TwilioProvider.model_construct()
    outbox: OutboxProvider = OutboxProvider.model_construct()
