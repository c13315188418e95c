"""The heartbeat: tells a monitor that a tick went well, in bounded time and never inside one's own network.

The monitor is what notices that ticks stopped; nothing that goes wrong here makes a tick fail.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from commcast.errors import ExitCode
from commcast.providers.http import NamesInThreads

SECONDS = 5.0  # for all of it: name, connection, TLS, answer
# The pass got through every incident and was hindered by nothing. Where files are broken, providers down or
# nobody can be reached the monitor is not told: its alarm may be the last that reaches somebody.
WENT_WELL = frozenset({ExitCode.DONE, ExitCode.UNKNOWN_OUTCOME})
_FROM_ENVIRONMENT = "env:"
_ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$", re.IGNORECASE)
_NAT64 = IPv6Network("64:ff9b::/96")
_WHY: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "gave no answer in time"),
    (aiohttp.ClientConnectorDNSError, "is a name that cannot be found"),
    (aiohttp.ClientConnectorCertificateError, "shows a certificate that cannot be trusted"),
    (aiohttp.ClientConnectorSSLError, "speaks no TLS that we can use"),
    (aiohttp.ClientConnectorError, "cannot be reached"),
    (aiohttp.InvalidURL, "is no host that can be asked"),
    (aiohttp.ClientError, "gave no proper answer"),
)


class PrivateAddressError(Exception):
    """A host leads to an address of one's own network only, and that is not allowed."""


def url_of(written: str, environ: Mapping[str, str]) -> str:
    """Return the address that commcast.toml writes, or names; "" where its variable is not set."""
    if written.startswith(_FROM_ENVIRONMENT):
        return environ.get(written.removeprefix(_FROM_ENVIRONMENT), "").strip()
    return written


def ping(url: str, *, private: bool, seconds: float = SECONDS, names: AbstractResolver | None = None) -> str:
    """Ask `url` once with GET; return "" where the answer was 2xx, else why not.

    What is returned names the host and nothing else of the address. `private` lets it lead to an address of
    one's own network. A redirect is not followed; of an answer only its head is read; no proxy is used.
    """
    try:
        host = URL(url).host or "its host"
    except ValueError:
        return "the heartbeat's address is no web address"
    try:
        status = asyncio.run(_ask(url, private, seconds, names or NamesInThreads()))
    except PrivateAddressError:
        return f"{host} is an address of this network; if that is meant: heartbeat_private = true in [tick]"
    except (aiohttp.ClientError, OSError, ValueError, ssl.SSLError) as error:
        return f"{host} {next((why for kind, why in _WHY if isinstance(error, kind)), 'cannot be reached')}"
    if 200 <= status < 300:
        return ""
    moved = ": it is not followed, write where it leads" if 300 <= status < 400 else ""
    return f"{host} answered {status}{moved}"


async def _ask(url: str, private: bool, seconds: float, names: AbstractResolver) -> int:
    async with asyncio.timeout(seconds):
        _check_number(URL(url), private)
        connector = aiohttp.TCPConnector(
            resolver=names if private else _PublicOnly(names),
            # Made now: the library's own was made when it was imported, whatever is trusted since.
            ssl=ssl.create_default_context() if URL(url).scheme == "https" else True,
            use_dns_cache=False,
            force_close=True,
            limit=1,
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "commcast", "Accept-Encoding": "identity"},
                trust_env=False,  # no proxy, and no login out of .netrc
            ) as session,
            session.get(URL(url), allow_redirects=False) as response,
        ):
            response.close()
            return response.status


def _check_number(url: URL, private: bool) -> None:
    """Refuse a host that is a number where it may not be asked: numbers are not looked up by any resolver.

    Numbers in short or other forms (127.1, 0x7f000001) mean what nobody sees. Raises InvalidURL.
    """
    host = (url.raw_host or "").rstrip(".")
    try:
        ip_address(host)
    except ValueError:
        if _ENDS_IN_A_NUMBER.search(host):
            raise aiohttp.InvalidURL(url) from None
        return
    if not private and _is_private(host):
        raise PrivateAddressError


class _PublicOnly(AbstractResolver):
    """Looks a name up once, and gives only addresses of the internet: what it gives is connected to.

    A name that means another address a moment later changes nothing any more.
    """

    def __init__(self, names: AbstractResolver) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        public = [each for each in found if not _is_private(each["host"])]
        if found and not public:
            raise PrivateAddressError
        return public

    async def close(self) -> None:
        await self._names.close()


def _is_private(host: str) -> bool:
    """Return whether `host` is a number that means no machine of the internet; a name is not."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return not _is_public(address)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        if address in _NAT64:
            return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None or address.teredo is not None:
            return False  # ways to reach an IPv4 address by another name
    return address.is_global and not address.is_multicast
