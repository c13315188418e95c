"""Looks names up for HTTP, in threads that can be left behind: a resolver that hangs keeps nobody."""

from __future__ import annotations

import asyncio
import socket
import threading

from aiohttp.abc import AbstractResolver, ResolveResult


class NamesInThreads(AbstractResolver):
    """Looks names up in threads that keep no process alive: getaddrinfo cannot be cancelled."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()
        threading.Thread(target=_look_up, args=(loop, found, host, port, family), daemon=True).start()
        return await found

    async def close(self) -> None:
        """Nothing is held."""


def _look_up(
    loop: asyncio.AbstractEventLoop,
    found: asyncio.Future[list[ResolveResult]],
    host: str,
    port: int,
    family: socket.AddressFamily,
) -> None:
    results: list[ResolveResult] = []
    failed: BaseException | None = None
    try:
        for kind, _, proto, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM):
            results.append(
                ResolveResult(
                    hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0
                )
            )
    except ValueError:  # a name that cannot even be asked for
        failed = socket.gaierror(socket.EAI_NONAME, "not a name")
    except BaseException as error:  # who waits hears of it: nobody hears a thread
        failed = error

    def tell() -> None:
        if found.done():
            return
        if failed is not None:
            found.set_exception(failed)
        else:
            found.set_result(results)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop has ended meanwhile: nobody waits
