"""What holds for every test: no inherited settings, and no network but this machine's own."""

from __future__ import annotations

import gc
import ipaddress
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_INHERITED = re.compile(
    r"(COMMCAST|SENDGRID|TWILIO)_.*|(ALL|HTTP|HTTPS|NO)_PROXY|(NO|FORCE)_COLOR|CLICOLOR.*|EDITOR|VISUAL",
    re.IGNORECASE,
)


def pytest_configure(config: pytest.Config) -> None:
    """Close the network before the first test module is imported, and let slow machines be slow."""
    sys.addaudithook(_refuse_network)
    config.addinivalue_line("markers", "syncs: really waits for the disk, as all in tests/crash do")
    config.addinivalue_line("markers", "linux(what): needs something that only Linux has; skipped elsewhere")
    for number in (signal.SIGINT, signal.SIGHUP):  # ignored where tests run in a shell's background
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    settings.register_profile(
        "commcast",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize="CI" in os.environ,  # new examples are sought at a desk, not in somebody's merge
    )
    settings.load_profile("commcast")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that two processes end at about the same time.

    The crash tests wait for hundreds of processes: how long that takes on a busy machine is no failure.
    """
    for item in items:
        if "crash" in item.path.parts:
            item.add_marker(pytest.mark.timeout(1800))
            item.add_marker(pytest.mark.linux("strace, /proc and mounts"))
        if sys.platform != "linux" and (needs := item.get_closest_marker("linux")):
            item.add_marker(pytest.mark.skip(reason=f"needs Linux: {needs.args[0]}"))
    items.sort(key=lambda item: "crash" not in item.path.parts)


class _HastyConnection(sqlite3.Connection):
    """A ledger's connection that leaves it to the system when its commits reach the disk."""

    def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous=full", "synchronous=off"), *given)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for no disk, or a third of all time would be fsync; but where that it syncs is what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if "crash" not in item.path.parts and item.get_closest_marker("syncs") is None:
            patch.setattr(os, "fsync", lambda handle: None)
            patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_HastyConnection))
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _no_inherited_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if _INHERITED.fullmatch(name)]:
            patch.delenv(name)
        patch.setenv("TERM", "xterm")  # bars and tables are drawn otherwise where a cursor cannot be moved
        # The marks of the desks that tests make are not kept beside those of real ones.
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """Fail the test that would reach another machine; as an audit hook, which nothing here gets round."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = args[1]
        host = address[0] if isinstance(address, tuple) else "localhost"  # else a Unix socket
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host or "localhost"
    if name.endswith(".invalid"):  # names no machine, by RFC 6761: any resolver says so
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if not _is_this_machine(name):
        pytest.fail(f"{event} to {name}: a test may only talk to 127.0.0.1")


def _is_this_machine(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def pytest_collection_finish() -> None:
    """Spare the collector what stays to the end: modules and thousands of tests, looked through each time."""
    gc.collect()
    gc.freeze()
