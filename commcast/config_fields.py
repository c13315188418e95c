"""The kinds of values that commcast.toml holds, each with the check that its text must pass."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from commcast.durations import parse_duration
from commcast.model import ID_PATTERN

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_SERVICE_SID = "^(MG[0-9a-fA-F]{32})?$"


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("holds a line break or another control character; write plain text on one line")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f'{name!r:.60} is not a time zone; write one such as "Europe/Berlin" or "UTC"'
        ) from None
    return name


def web_url(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or any(c.isspace() for c in url)):
        raise ValueError(f"{url!r:.80} is not a web address; write https://…")
    return url


def _secret_url(url: str) -> str:
    """Check an address that may hold a token: what is wrong is said without it."""
    if re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", url):
        return url
    try:
        return web_url(url)
    except ValueError:
        raise ValueError('is not a web address; write "https://…", or "env:NAME" to keep it secret') from None


def _short_enough(length: timedelta) -> timedelta:
    # A claim's lease (delivering.LEASE) has to outlive the longest hand-over: three such steps, twice over.
    if not timedelta(seconds=1) <= length <= timedelta(minutes=2):
        raise ValueError("must be between 1s and 2m; write 60s")
    return length


def _base_url(url: str) -> str:
    parts = urlsplit(web_url(url))
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise ValueError(f"{url!r:.80} holds more than a server; write https://api.provider.example")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"{url!r:.80} would send the key in the clear; write https://…")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself, as a stand-in for a rehearsal is."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _service_sid(sid: str) -> str:
    if not re.fullmatch(_SERVICE_SID, sid):
        raise ValueError(
            "is no SID of a messaging service; write MG and its 32 hexadecimal digits, as Twilio's console "
            "shows them"
        )
    return sid


def _callback(url: str) -> str:
    # Twilio refuses a host with an underscore (its API description, StatusCallback).
    if "_" in (urlsplit(web_url(url)).hostname or ""):
        raise ValueError(f"{url!r:.80} has an underscore in its host, which Twilio refuses; use another name")
    return url


Line = Annotated[str, AfterValidator(_one_line)]
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
# Messages a second over all processes on one ledger; 0 is no limit of ours.
Rate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
# So many requests or dialogues at once; how many a kill leaves unknown grows with it.
Connections = Annotated[int, Field(ge=1, le=64)]
Name = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
ServiceSid = Annotated[str, AfterValidator(_service_sid), Field(json_schema_extra={"pattern": _SERVICE_SID})]
CallbackUrl = Annotated[Line, AfterValidator(_callback)]


class Table(BaseModel):
    """One table of commcast.toml: frozen, and no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)
