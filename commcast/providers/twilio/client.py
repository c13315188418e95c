"""Twilio's API: the SDK writes each request, and kept connections of ours carry it."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from commcast.config.settings import CONFIG_NAME
from commcast.errors import Fault, ProviderError
from commcast.providers.http import Connections, HttpAnswer, NoAnswer, object_in, secret_faults
from commcast.providers.masking import hide

CONSOLE = "https://console.twilio.com/"
GAVE_UP = frozenset({"failed", "undelivered", "canceled"})  # states of a message that did not arrive
PAGE_SIZE = 1000  # the most rows that Twilio puts on a page
MOST_PAGES = 1000
_SID = r"[0-9a-fA-F]{32}"
_MESSAGE_SID = re.compile(f"(?:SM|MM){_SID}")
_SERVICE = re.compile(f"MG{_SID}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_CODE = re.compile(r"[1-9][0-9]{0,5}")
# A link to the next page. It stays at the same server: it begins with one slash and a plain name.
_NEXT = re.compile(r"/2010-04-01/[A-Za-z0-9_.~!$&'()*+,;=:@%/-]{1,500}(?:\?[!-~]{0,4000})?")


class AnsweredError(Exception):
    """Not an error: how an answer leaves the SDK, which would read it, lose its headers, and fail on a
    broken one."""

    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__()
        self.answer = answer


class _SdkHttp(AsyncTwilioHttpClient):  # type: ignore[misc] # the SDK has no types
    """The SDK's transport. Unlike the SDK's own, it logs nothing: no numbers, no bodies."""

    def __init__(self, ask: Callable[..., Awaitable[HttpAnswer]], user: str, secret: str) -> None:
        super().__init__(pool_connections=False)
        self._ask = ask
        self._authorization = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,  # a login, which goes as a header, a timeout and redirects, which the SDK never sets
    ) -> NoReturn:
        """Ask once, and raise AnsweredError with whatever came."""
        query = "?" + urlencode(params, doseq=True) if params else ""
        head = {**(headers or {}), "Authorization": self._authorization}
        body = urlencode(data, doseq=True).encode() if data else None
        raise AnsweredError(await self._ask(method, url + query, head, body))


@dataclass(frozen=True)
class Credentials:
    """The login: `user` is the account itself (with its token) or an API key (with its secret)."""

    account_sid: str = field(repr=False)
    user: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def variables(self) -> str:
        """The environment variables that hold them, for the person who has to fix them."""
        keyed = self.user != self.account_sid
        return "TWILIO_API_KEY and TWILIO_API_SECRET" if keyed else "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Credentials:
        """Read TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY with TWILIO_API_SECRET.

        White space around a value is ignored. A key takes precedence over the token. Raises ProviderError,
        which names each variable that is missing or cannot be right, and no value.
        """
        names = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY", "TWILIO_API_SECRET")
        account, token, key, secret = (environ.get(name, "").strip() for name in names)
        faults = _sid_faults("TWILIO_ACCOUNT_SID", account, "AC")
        if key or secret:
            faults += _sid_faults("TWILIO_API_KEY", key, "SK")
            faults += secret_faults("twilio", "TWILIO_API_SECRET", secret, CONSOLE)
        elif token:
            faults += secret_faults("twilio", "TWILIO_AUTH_TOKEN", token, CONSOLE)
        else:
            what = "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY with TWILIO_API_SECRET is set"
            faults.append(Fault(CONFIG_NAME, 0, 0, f"providers.twilio: {what}", "set one of them"))
        if faults:
            raise ProviderError("twilio", faults)
        return cls(account, key or account, secret if key else token)


def _sid_faults(name: str, value: str, prefix: str) -> list[Fault]:
    return secret_faults("twilio", name, value, CONSOLE, prefix + _SID, f"{prefix} and 32 hexadecimal digits")


class TwilioClient(Connections):
    """The API of one account, for one event loop; its context holds the connections, which are kept.

    `timeout` is the total for a request in seconds. A server other than Twilio's own gets all requests.
    Raises ProviderError if HTTPS_PROXY cannot work.
    """

    def __init__(self, base_url: str, credentials: Credentials, timeout: float) -> None:
        super().__init__("twilio", base_url, timeout, keep=True)
        hide(credentials.secret)
        self._base_url, self._account_sid = base_url.rstrip("/"), credentials.account_sid
        self._sdk = Client(
            credentials.user,
            credentials.secret,
            credentials.account_sid,
            http_client=_SdkHttp(self.ask, credentials.user, credentials.secret),
            # An empty one is replaced by the process's own, where TWILIO_EDGE and TWILIO_REGION change hosts.
            environment={"TWILIO_ACCOUNT_SID": credentials.account_sid},
        )
        self._sdk.api.base_url = self._base_url
        self._sdk.messaging.base_url = _messaging_url(self._base_url)

    async def create_message(self, **fields: Any) -> HttpAnswer:
        """Hand over a message, once; the fields are those of the SDK's `messages.create`."""
        return await _answered(self._sdk.messages.create_async(**fields))

    async def list_messages(self, **filters: Any) -> AsyncIterator[HttpAnswer]:
        """Yield each page of the messages; the filters are those of the SDK's `messages.list`.

        An answer that is no page is the last. If the link to the next page leads elsewhere, in a circle or on
        forever, the last answer is a garbage one.
        """
        page = await _answered(self._sdk.messages.page_async(page_size=PAGE_SIZE, **filters))
        seen: set[str] = set()
        while True:
            yield page
            link = object_in(page).get("next_page_uri") if page.status == 200 else None
            if not link or not isinstance(link, str):
                return
            climbs = ".." in link.partition("?")[0] or "%2e" in link.lower()
            if link in seen or climbs or not _NEXT.fullmatch(link) or len(seen) >= MOST_PAGES:
                yield HttpAnswer(trouble=NoAnswer.GARBAGE)
                return
            seen.add(link)
            page = await _answered(self._sdk.request_async("GET", self._base_url + link))

    async def account(self) -> HttpAnswer:
        """Ask for the account itself."""
        return await _answered(self._sdk.api.v2010.accounts(self._account_sid).fetch_async())

    async def balance(self) -> HttpAnswer:
        """Ask for the account's balance."""
        return await _answered(self._sdk.balance.fetch_async())

    async def numbers_like(self, number: str) -> HttpAnswer:
        """Ask for the account's own numbers that contain this one."""
        return await _answered(self._sdk.incoming_phone_numbers.page_async(phone_number=number))

    async def messaging_service(self, sid: str) -> HttpAnswer:
        """Ask for a messaging service."""
        return await _answered(self._sdk.messaging.v1.services(sid).fetch_async())


def sendable(text: str) -> str:
    """Return the text in a form that HTTP can carry: lone surrogates become U+FFFD, NUL is removed."""
    return text.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_e164(number: str) -> bool:
    """Return whether this is a number with its country code, as Twilio wants it."""
    return bool(_E164.fullmatch(number))


def is_service(sender: str) -> bool:
    """Return whether a sender is the id of a messaging service."""
    return bool(_SERVICE.fullmatch(sender))


def message_sid(found: Mapping[str, Any]) -> str:
    """Return Twilio's id of a message, "" if there is none that can be one."""
    sid = found.get("sid")
    return sid if isinstance(sid, str) and _MESSAGE_SID.fullmatch(sid) else ""


def error_code(found: object) -> str:
    """Return Twilio's error number, "" if this is none."""
    code = str(found) if isinstance(found, int | str) else ""
    return code if _CODE.fullmatch(code) else ""


async def _answered(asking: Awaitable[object]) -> HttpAnswer:
    try:
        await asking
    except AnsweredError as answered:
        return answered.answer
    raise AssertionError("the SDK asked nothing")


def _messaging_url(base_url: str) -> str:
    """Return the server for messaging services: beside the API at Twilio, else the same server."""
    parts = urlsplit(base_url)
    if re.fullmatch(r"api\.(?:[a-z0-9-]+\.)*twilio\.com", parts.netloc):
        return f"{parts.scheme}://messaging.{parts.netloc.removeprefix('api.')}"
    return base_url
