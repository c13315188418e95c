"""SendGrid's Web API: the SDK writes each request, and connections of ours carry it."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import python_http_client
import sendgrid

from commcast.errors import ProviderError
from commcast.providers.http import Connections, HttpAnswer, secret_faults

OWN_ID = "commcast_delivery"  # the custom argument that holds an email's Message-ID without its brackets
_KEYS = "https://app.sendgrid.com/settings/api_keys"

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


class SendGridClient(Connections):
    """The Web API of one account, for one event loop; its context holds the connections.

    `key` may have white space around it. `timeout` is the total for a request in seconds. Each request has a
    connection of its own: one that was kept may be closed by the other side as it is used, which would make a
    whole request unknown. Raises ProviderError if the key cannot be one, or if HTTPS_PROXY cannot work.
    """

    def __init__(self, base_url: str, key: str | None, timeout: float) -> None:
        super().__init__("sendgrid", base_url, timeout, keep=False)
        key = (key or "").strip()
        if faults := secret_faults("sendgrid", "SENDGRID_API_KEY", key, _KEYS):
            raise ProviderError("sendgrid", faults)
        _logger.addFilter(_mute)
        api = sendgrid.SendGridAPIClient(api_key=key, host=base_url)
        self._writer = _Writer(base_url, api.client.request_headers, version=3)

    async def post_mail(self, body: dict[str, Any]) -> HttpAnswer:
        """Hand over one mail/send request, once."""
        return await self._write(lambda: self._writer.mail.send.post(request_body=body))

    async def get(self, path: str, query: Mapping[str, str]) -> HttpAnswer:
        """Read what is at /v3/ and this path."""
        return await self._write(lambda: self._writer._(path).get(query_params=dict(query)))

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
