"""SendGrid's Web API: the SDK writes each request, and connections of ours carry it."""

from __future__ import annotations

import asyncio
import logging
import re
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote

import python_http_client
import sendgrid

from commcast.config.settings import CONFIG_NAME
from commcast.errors import Fault, ProviderError
from commcast.providers.http import Connections, HttpAnswer

OWN_ID = "commcast_delivery"  # the custom argument that holds a mail's Message-ID without its brackets

_KEY = re.compile(r"[!-~]{1,500}")
# At DEBUG it logs each request's key and payload. A filter, since logging.config switches loggers on again.
_logger = logging.getLogger("python_http_client.client")


class _WrittenError(Exception):
    """Not an error: how a request leaves the SDK, which would follow redirects and take the key along."""

    def __init__(self, request: urllib.request.Request) -> None:
        super().__init__()
        self.request = request


class _Writer(python_http_client.Client):  # type: ignore[misc] # the SDK has no types
    """The SDK's client, stopped when the request is written."""

    def _build_client(self, name: str | None = None) -> _Writer:
        path = [*self._url_path, name] if name else self._url_path
        return _Writer(self.host, self.request_headers, self._version, path)

    def _make_request(self, _opener: object, request: urllib.request.Request, **_: object) -> NoReturn:
        raise _WrittenError(request)


def checked_key(key: str | None) -> str:
    """Return the key without the white space around it. Raises ProviderError if it cannot be one."""
    key = (key or "").strip()
    if _KEY.fullmatch(key):
        return key
    what = "is not a key: it holds more than plain characters" if key else "has no key"
    raise ProviderError(
        "sendgrid", Fault(CONFIG_NAME, 0, 0, f"providers.sendgrid: {what}", "set SENDGRID_API_KEY")
    )


class SendGridClient(Connections):
    """The Web API of one account, for one event loop; its context holds the connections.

    `timeout` is the total for a request in seconds. Each request has a connection of its own: one that was
    kept may be closed by the other side as it is used, which would make a whole request unknown.
    Raises ProviderError if the key cannot be one, or if HTTPS_PROXY cannot work.
    """

    def __init__(self, base_url: str, key: str | None, timeout: float) -> None:
        super().__init__("sendgrid", base_url, timeout, keep=False)
        _logger.addFilter(_mute)
        api = sendgrid.SendGridAPIClient(api_key=checked_key(key), host=base_url)
        self._writer = _Writer(base_url, api.client.request_headers, version=3)

    async def post_mail(self, body: dict[str, Any]) -> HttpAnswer:
        """Hand over one mail/send request, once."""
        return await self._write(lambda: self._writer.mail.send.post(request_body=body))

    async def get(self, path: Sequence[str], query: Mapping[str, str]) -> HttpAnswer:
        """Read what stands at /v3/ and the path's parts."""

        def write() -> None:
            at: Any = self._writer
            for part in path:
                at = at._(quote(part, safe=""))
            at.get(query_params=dict(query))

        return await self._write(write)

    async def _write(self, write: Callable[[], object]) -> HttpAnswer:
        request = await asyncio.to_thread(_written, write)  # a thousand readers take a while to write
        body = request.data if isinstance(request.data, bytes) else None
        return await self.ask(request.get_method(), request.full_url, dict(request.header_items()), body)


def _written(write: Callable[[], object]) -> urllib.request.Request:
    try:
        write()
    except _WrittenError as written:
        return written.request
    raise AssertionError("the SDK wrote no request")


def _mute(_record: logging.LogRecord) -> bool:
    return False
