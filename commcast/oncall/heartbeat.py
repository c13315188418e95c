"""The heartbeat: tells a monitor that a tick went well, within a time limit and not inside our own network.

The monitor notices when ticks stop. Nothing that goes wrong here makes a tick fail.
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
# The tick handled every incident without trouble. If files are broken, providers are down or nobody can be
# reached, the monitor is not told: its alarm may be the only one that still reaches somebody.
WENT_WELL = frozenset({ExitCode.DONE, ExitCode.UNKNOWN_OUTCOME})
_FROM_ENVIRONMENT = "env:"
_ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$", re.IGNORECASE)
_NAT64 = IPv6Network("64:ff9b::/96")
_WHY: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "gave no answer in time"),
    (aiohttp.ClientConnectorDNSError, "cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, "has an untrusted certificate"),
    (aiohttp.ClientConnectorSSLError, "has no usable TLS"),
    (aiohttp.ClientConnectorError, "cannot be reached"),
    (aiohttp.InvalidURL, "is not a valid host"),
    (aiohttp.ClientError, "gave no valid response"),
)


class PrivateAddressError(Exception):
    """A host only has addresses in our own network, and that is not allowed."""


def url_of(written: str, environ: Mapping[str, str]) -> str:
    """Return the address in commcast.toml or in the variable it names; "" if that is not set."""
    if written.startswith(_FROM_ENVIRONMENT):
        return environ.get(written.removeprefix(_FROM_ENVIRONMENT), "").strip()
    return written


def ping(url: str, *, private: bool, seconds: float = SECONDS, names: AbstractResolver | None = None) -> str:
    """Request `url` once with GET; return "" if the response was 2xx, else why not.

    The returned text contains the host but nothing else of the address. `private` allows addresses in our own
    network. Redirects are not followed, only the head of a response is read, and no proxy is used.
    """
    try:
        host = URL(url).host or "its host"
    except ValueError:
        return "the heartbeat's address is not a web address"
    try:
        status = asyncio.run(_ask(url, private, seconds, names or NamesInThreads()))
    except PrivateAddressError:
        return f"{host} is in this network; if that is intended: heartbeat_private = true in [tick]"
    except (aiohttp.ClientError, OSError, ValueError, ssl.SSLError) as error:
        return f"{host} {next((why for kind, why in _WHY if isinstance(error, kind)), 'cannot be reached')}"
    if 200 <= status < 300:
        return ""
    moved = ": redirects are not followed, write the final address" if 300 <= status < 400 else ""
    return f"{host} responded with {status}{moved}"


async def _ask(url: str, private: bool, seconds: float, names: AbstractResolver) -> int:
    async with asyncio.timeout(seconds):
        _check_number(URL(url), private)
        connector = aiohttp.TCPConnector(
            resolver=names if private else _PublicOnly(names),
            # Created now: the library's own context dates from its import and may trust other certificates.
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
                trust_env=False,  # no proxy, and no login from .netrc
            ) as session,
            session.get(URL(url), allow_redirects=False) as response,
        ):
            response.close()
        await asyncio.sleep(0)  # the transport closes in a later round of the loop
        return response.status


def _check_number(url: URL, private: bool) -> None:
    """Refuse a host that is an address, which no resolver sees, if it may not be requested.

    Addresses in short or other forms (127.1, 0x7f000001) are always refused. Raises InvalidURL or
    PrivateAddressError.
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
    """Looks a name up once and returns only public addresses, which are then connected to.

    If the name means another address a moment later, that changes nothing.
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
    """Return whether `host` is an address, not a name, and not a public one."""
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
            return False  # other ways to reach an IPv4 address
    return address.is_global and not address.is_multicast
