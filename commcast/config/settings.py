"""The settings of commcast.toml, as one frozen Config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import time, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from commcast.model.hours import parse_hours
from commcast.model.incident import ID_PATTERN, Channel, Severity, View
from commcast.model.message import read_mailbox
from commcast.model.text import locale_of
from commcast.model.times import parse_duration

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_SERVICE_SID = "^(MG[0-9a-fA-F]{32})?$"


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("has a line break or another control character; write plain text on one line")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f'{name!r:.60} is not a time zone; write "Europe/Berlin" or "UTC"') from None
    return name


def web_url(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or any(c.isspace() for c in url)):
        raise ValueError(f"{url!r:.80} is not a web address; write https://…")
    return url


def _secret_url(url: str) -> str:
    """Check an address that may contain a token: faults never show it."""
    if re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", url):
        return url
    try:
        return web_url(url)
    except ValueError:
        raise ValueError('is not a web address; write "https://…", or "env:NAME" to keep it secret') from None


def _short_enough(length: timedelta) -> timedelta:
    # A claim's lease must outlive the longest hand-over: twice three such steps.
    if not timedelta(seconds=1) <= length <= timedelta(minutes=2):
        raise ValueError("must be between 1s and 2m; write 60s")
    return length


def _base_url(url: str) -> str:
    parts = urlsplit(web_url(url))
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise ValueError(f"{url!r:.80} has more than a server; write https://api.provider.example")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"{url!r:.80} would send the key in the clear; write https://…")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, such as a stand-in server for a rehearsal."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _service_sid(sid: str) -> str:
    if not re.fullmatch(_SERVICE_SID, sid):
        raise ValueError("is not a messaging service SID; copy it from Twilio's console (MG…)")
    return sid


def _callback(url: str) -> str:
    # Twilio refuses a host with an underscore (its API description, StatusCallback).
    if "_" in (urlsplit(web_url(url)).hostname or ""):
        raise ValueError(f"{url!r:.80} has an underscore in its host, which Twilio refuses; use another name")
    return url


def _own_folder(name: str) -> str:
    parts = Path(name).parts
    taken = {"/", "incidents", "presets", "templates", "audiences"}
    if not parts or parts[0].lower() in taken or any(part.startswith(".") for part in parts):
        raise ValueError(f'{name!r:.60} is not a folder of its own in this desk; write one such as "outbox"')
    return name


Line = Annotated[str, AfterValidator(_one_line)]
OwnFolder = Annotated[Line, AfterValidator(_own_folder)]
VariableName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
Zone = Annotated[str, AfterValidator(_zone)]
WebUrl = Annotated[Line, AfterValidator(web_url)]
SecretUrl = Annotated[Line, AfterValidator(_secret_url)]
BaseUrl = Annotated[Line, AfterValidator(_base_url)]
Length = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "description": "a length of time", "examples": ["20m", "1h30m", "2d"]}),
]
Timeout = Annotated[Length, AfterValidator(_short_enough)]
# Messages per second over all processes on one ledger; 0 sets no limit.
Rate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
# Requests or dialogues at once; the more, the more deliveries a killed process leaves unknown.
Connections = Annotated[int, Field(ge=1, le=64)]
Name = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
ServiceSid = Annotated[str, AfterValidator(_service_sid), Field(json_schema_extra={"pattern": _SERVICE_SID})]
CallbackUrl = Annotated[Line, AfterValidator(_callback)]


class ConfigTable(BaseModel):
    """One table of commcast.toml: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class SmtpProvider(ConfigTable):
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


class SendGridProvider(ConfigTable):
    """SendGrid's Web API. The key is read from SENDGRID_API_KEY.

    `batch` is the number of recipients per request; if its answer is lost, all of them become unknown.
    `timeout` is for a whole request. `asm_group` is an unsubscribe group of the account, 0 for none.
    """

    base_url: BaseUrl = "https://api.sendgrid.com"
    batch: Annotated[int, Field(ge=1, le=1000)] = 250
    connections: Connections = 4
    per_second: Rate = 0
    timeout: Timeout = timedelta(seconds=60)
    category: Annotated[Line, Field(min_length=1, max_length=255)] = "incidents"
    asm_group: Annotated[int, Field(ge=0)] = 0


class TwilioProvider(ConfigTable):
    """Twilio's Messages API. Secrets: TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY with its
    TWILIO_API_SECRET.

    `messaging_service` is the SID of a service that picks the sender; without it, `from` in [channels.sms]
    is the sender. `status_callback` is the page to which Twilio reports the status of each text.
    """

    base_url: BaseUrl = "https://api.twilio.com"
    messaging_service: ServiceSid = ""
    status_callback: CallbackUrl = ""
    connections: Connections = 16
    per_second: Rate = 0
    timeout: Timeout = timedelta(seconds=30)


class OutboxProvider(ConfigTable):
    """Files instead of a provider: nothing is sent. `connections` are the files written at the same time."""

    folder: OwnFolder = "outbox"
    connections: Connections = 8
    per_second: Rate = 0


class Providers(ConfigTable):
    """Settings of each provider that is used."""

    # model_construct: a default needs no check, and a model's checks are built only once they are used.

    smtp: SmtpProvider | None = None
    sendgrid: SendGridProvider = SendGridProvider.model_construct()
    twilio: TwilioProvider = TwilioProvider.model_construct()
    outbox: OutboxProvider = OutboxProvider.model_construct()


CONFIG_NAME = "commcast.toml"
TWILIO_SENDER = 'write from = "+4915799912345", or a name such as "Acme Pay", in [channels.sms]'


def _unsubscribe(url: str) -> str:
    if not url.startswith("mailto:"):
        return web_url(url)
    _mailbox(url.removeprefix("mailto:").partition("?")[0])
    return url


def _mailbox(text: str) -> str:
    try:
        address = read_mailbox(text.replace("{id}", "id")).address if text else ""
    except ValueError:
        raise ValueError('is not one address; write "Acme Pay <status@acme.example>"') from None
    if not address.isascii():
        raise ValueError("must be an ASCII address; providers accept nothing else")
    return text


def _quiet(text: str) -> tuple[time, time] | None:
    if not text:
        return None
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", text, re.ASCII):
        raise ValueError(f'{text!r:.40} is not a span of hours; write "21:00-08:00"')
    start, end = map(time.fromisoformat, text.split("-"))
    return start, end


def _hours(text: str) -> str:
    parse_hours(text)
    return text


def _short_lead(length: timedelta) -> timedelta:
    if length > timedelta(hours=1):
        raise ValueError("is longer than an hour; write 5m")
    return length


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", text) if isinstance(text, str) else None
    if not match or float(match[1]) > 100:
        raise ValueError(f'{text!r:.40} is not a percentage; write "2%"')
    return float(match[1]) / 100


def _mailbox_or_variable(text: str) -> str:
    return text if text.startswith("env:") else _mailbox(text)


Address = Annotated[Line, AfterValidator(_mailbox)]
Lead = Annotated[Length, AfterValidator(_short_lead)]
_QUIET_SCHEMA = {"type": "string", "pattern": r"^(\d\d:\d\d-\d\d:\d\d)?$", "examples": ["21:00-08:00"]}
QuietHours = Annotated[tuple[time, time] | None, BeforeValidator(_quiet), WithJsonSchema(_QUIET_SCHEMA)]
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema({"type": "string", "examples": ["2%"]})]
Language = Annotated[str, AfterValidator(locale_of)]
Hours = Annotated[Line, AfterValidator(_hours), Field(examples=["Mon-Fri 08:00-18:00, Sat 09:00-12:00"])]
SmsEvent = Literal["first", "worse", "correction", "retracted", "reopened", "resolved", "started", "reminder"]


class Organisation(ConfigTable):
    """Who speaks. `zone` is the time zone of times written without one.

    `language` is that of your own words, and of readers whose row names none.
    """

    name: Line = Field(min_length=1, max_length=60)
    zone: Zone = "UTC"
    language: Language = "en"
    status_url: WebUrl = ""


class Brand(ConfigTable):
    """What emails look like: the colour of your name and of links."""

    colour: Annotated[str, Field(pattern="^(#[0-9a-fA-F]{6})?$", examples=["#0b4f8a"])] = ""


class ContactOf(ConfigTable):
    """How the readers of one audience reach a person. `{id}` in `reply_to` becomes the incident's id.

    `hours` are those of the phone, in the organisation's zone; outside them, readers get `after_hours`.
    """

    reply_to: Address = ""
    phone: Line = ""
    hours: Hours = ""
    after_hours: Line = ""


class Contact(ContactOf):
    """How the public reaches a person. A table such as [contact.support] is for one audience.

    Audiences with the internal view have only that. `{id}` in `feedback_url` becomes the incident's id.
    """

    feedback_url: WebUrl = ""
    audiences: Mapping[str, ContactOf] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
        return {**{key: data[key] for key in data if key not in tables}, "audiences": tables}


class Person(ConfigTable):
    """Somebody who can own an incident. An address may be `env:NAME`, read only when needed."""

    name: Line
    email: Annotated[Line, AfterValidator(_mailbox_or_variable)] = ""
    phone: Line = ""


class Component(ConfigTable):
    """A part of the service. `public` is its name for readers outside."""

    public: Line


class Audience(ConfigTable):
    """People who get the same wording. If an address is in several audiences, the lowest `rank` wins.

    `lead` is how long before all others they are told, if the update can wait.
    """

    recipients: str
    view: View = View.PUBLIC
    rank: int = 5
    channels: tuple[Channel, ...] = (Channel.EMAIL,)
    severities: tuple[Severity, ...] | None = None
    lead: Lead | None = None


class Cadence(ConfigTable):
    """How often readers are updated at one severity. `later` has (after this long, this often), by age."""

    first: Length = timedelta(minutes=15)
    every: Length = timedelta(minutes=30)
    later: tuple[tuple[timedelta, timedelta], ...] = ()
    audiences: Mapping[str, timedelta] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = {key: data[key] for key in ("first", "every") if key in data}
        rest = {key: parse_duration(value) for key, value in data.items() if key not in own}
        ages = [key for key in rest if key.startswith("after_")]
        later = sorted((parse_duration(key.removeprefix("after_")), rest.pop(key)) for key in ages)
        return {**own, "later": tuple(later), "audiences": rest}


class OnSilence(StrEnum):
    """What happens when a promise to an audience is about to break: a holding statement, or only a nudge."""

    HOLD = "hold"
    NUDGE = "nudge"


class Step(NamedTuple):
    """How soon a holding statement promises the next message: a length of time, or a number of cadences."""

    length: timedelta = timedelta()
    cadences: int = 0

    def after(self, every: timedelta) -> timedelta:
        """Return the length for an audience that is updated every `every`."""
        return self.cadences * every if self.cadences else self.length


def _step(text: Any) -> Step:
    if isinstance(text, str) and (match := re.fullmatch(r"(\d{1,2})x", text)) and int(match[1]):
        return Step(cadences=int(match[1]))
    return Step(parse_duration(text))


StepWritten = Annotated[
    Step, BeforeValidator(_step), WithJsonSchema({"type": "string", "examples": ["1x", "60m"]})
]


class Silence(ConfigTable):
    """What happens when a promise is about to break: nothing is sent by itself unless this table says so.

    `audiences` are those that get a holding statement; for all others the owner is nudged. `steps` are what
    consecutive holding statements promise, `then` what each further one promises.
    """

    audiences: Mapping[str, OnSilence] = Field(default_factory=dict)
    severities: tuple[Severity, ...] = (1, 2)
    steps: Annotated[tuple[StepWritten, ...], Field(min_length=1, max_length=20)] = (
        Step(cadences=1),
        Step(cadences=2),
        Step(timedelta(minutes=60)),
    )
    then: StepWritten = Step(timedelta(hours=4))

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = {key: data[key] for key in ("severities", "steps", "then") if key in data}
        return {**own, "audiences": {key: value for key, value in data.items() if key not in own}}


class NudgeSettings(ConfigTable):
    """How to alert an owner besides email and text: a command that reads JSON from its standard input.

    `env` names the environment variables that it gets besides PATH, HOME, TZ and the locale.
    """

    command: tuple[Line, ...] = ()
    env: tuple[VariableName, ...] = ()


class EmailChannel(ConfigTable):
    """How email is sent."""

    provider: str = "outbox"
    sender: Annotated[Address, Field(alias="from", min_length=1)]
    fallback: str = ""


class SmsChannel(ConfigTable):
    """How texts are sent, for which events, and during which hours they wait."""

    provider: str = "outbox"
    sender: Line = Field(default="", alias="from")
    fallback: str = ""
    events: tuple[SmsEvent, ...] = tuple(event for event in get_args(SmsEvent) if event != "reminder")
    quiet: QuietHours = None
    wake_for: tuple[Severity, ...] = (1,)
    region: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = ""
    only_sms_every: Length = timedelta(hours=2)


class Channels(ConfigTable):
    """The channels in use; one that is left out is not used."""

    email: EmailChannel | None = None
    sms: SmsChannel | None = None


class Send(ConfigTable):
    """The safeguards of a broadcast."""

    confirm_above: Annotated[int, Field(ge=0)] = 1000
    tolerate: Share = 0.02
    bad_rows: Literal["skip", "stop"] = "skip"
    unsubscribe: Annotated[Line, AfterValidator(_unsubscribe)] = ""
    sms_price: Annotated[float, Field(ge=0)] = 0.0
    most_an_hour: Annotated[int, Field(ge=1)] = 6


class Tick(ConfigTable):
    """How long before a promise `tick` acts, and which URL it requests then.

    `heartbeat_url` may be `env:NAME`, because it may contain a token. `heartbeat_private` allows an address
    in a private network.
    """

    release: SkipJsonSchema[Literal["never"]] = "never"  # the only way there is yet
    hold_before: Length = timedelta(minutes=3)
    heartbeat_url: SecretUrl = ""
    heartbeat_private: bool = False


class Maintenance(ConfigTable):
    """How long before planned work readers are reminded of it."""

    reminders: Annotated[tuple[Length, ...], Field(max_length=10)] = (168 * _HOUR, 24 * _HOUR, _HOUR)


def _cadence(first: timedelta, every: timedelta, *later: tuple[timedelta, timedelta]) -> Cadence:
    return Cadence.model_construct(first=first, every=every, later=later)


DEFAULT_CADENCE = {
    "1": _cadence(10 * _MINUTE, 20 * _MINUTE, (2 * _HOUR, _HOUR)),
    "2": _cadence(15 * _MINUTE, 30 * _MINUTE, (2 * _HOUR, _HOUR)),
    "3": _cadence(30 * _MINUTE, _HOUR, (2 * _HOUR, 2 * _HOUR)),
    "4": _cadence(_HOUR, 24 * _HOUR),
}


class Config(ConfigTable):
    """All of commcast.toml. Every path in it is relative to `folder`, the folder of the file."""

    folder: Path = Field(exclude=True, default=Path())
    desk: Annotated[str, Field(pattern="^([0-9a-f]{16,64})?$")] = ""
    organisation: Organisation
    brand: Brand = Brand.model_construct()
    contact: Contact = Contact.model_construct()
    people: Mapping[Name, Person] = Field(default_factory=dict)
    components: Mapping[str, Component] = Field(default_factory=dict)
    offers: Mapping[Name, Annotated[Line, Field(min_length=1, max_length=500)]] = Field(default_factory=dict)
    audiences: Mapping[Name, Audience] = Field(min_length=1)
    cadence: Mapping[Literal["1", "2", "3", "4"], Cadence] = Field(default_factory=dict)
    silence: Silence | None = None
    nudge: NudgeSettings | None = None
    channels: Channels
    providers: Providers = Providers.model_construct()
    send: Send = Send.model_construct()
    tick: Tick = Tick.model_construct()
    maintenance: Maintenance = Maintenance.model_construct()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.organisation.zone)

    @property
    def twilio_sender_fault(self) -> str:
        """Why Twilio takes no such sender of texts, by its documentation; "" if it may.

        A name has up to 11 letters, digits and spaces, and at least one letter.
        """
        sender = self.channels.sms.sender if self.channels.sms else ""
        if not sender or self.providers.twilio.messaging_service:
            return ""
        if sender.startswith("+"):
            return "" if re.fullmatch(r"\+[1-9]\d{6,14}", sender) else "is not a complete number"
        if not re.search("[A-Za-z]", sender):
            is_code = re.fullmatch(r"\d{3,8}", sender)
            return "" if is_code else "is not a complete number or a short code, and a name needs a letter"
        is_short = len(sender) <= 11 or re.fullmatch(_SERVICE_SID, sender)
        return "" if is_short else "is longer than the 11 characters of a name"

    def per_second(self, channel: Channel) -> float:
        """Return how many messages per second the provider of a channel may get, 0 for no limit."""
        used = getattr(self.channels, channel)
        settings = getattr(self.providers, used.provider, None) if used else None
        return float(getattr(settings, "per_second", 0))

    def cadence_of(self, severity: int) -> Cadence:
        """Return the cadence of a severity: the folder's own, or the default (field norms, README)."""
        own = {str(name): cadence for name, cadence in self.cadence.items()}
        return own.get(str(severity), DEFAULT_CADENCE[str(severity)])

    def audiences_for(self, severity: int) -> tuple[str, ...]:
        """Return the audiences that are told of a severity, best rank first."""
        named = (n for n, a in self.audiences.items() if a.severities is None or severity in a.severities)
        return self.by_rank(named)

    def by_rank(self, audiences: Iterable[str]) -> tuple[str, ...]:
        """Return these audiences, best rank first, then by name."""
        return tuple(sorted(audiences, key=lambda name: (self.audiences[name].rank, name)))
