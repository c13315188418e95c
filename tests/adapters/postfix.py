"""Postfix on 127.0.0.1: its test sink, and a whole one."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.adapters.servers import HOST, Received


@dataclass(frozen=True)
class Sink:
    """A running smtp-sink: its port, and the folder it keeps every message in."""

    port: int
    folder: Path

    def messages(self) -> list[Received]:
        """Return what it took; the envelope stands in headers of its own."""
        taken = []
        for path in sorted(self.folder.rglob("mail.*")):
            raw = path.read_bytes()
            head = raw.partition(b"\n\n")[0]
            sender = re.search(rb"^X-Mail-Args: <(.*?)>", head, re.M)
            recipients = re.findall(rb"^X-Rcpt-Args: <(.*?)>", head, re.M)
            taken.append(
                Received(sender[1].decode() if sender else "", tuple(r.decode() for r in recipients), raw)
            )
        return taken


@contextmanager
def smtp_sink(*options: str) -> Iterator[Sink]:
    """Run Postfix's smtp-sink, which keeps all it takes; without it the test fails."""
    binary = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.fail("smtp-sink is missing; install it: apt-get install --no-install-recommends postfix")
    # Started by root it becomes nobody, who cannot look into pytest's own folders.
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    port = _free_port()
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        place = ("-R", "/", "-d", f"{name}/mail.") if user else ("-d", f"{name}/mail.")
        with subprocess.Popen([binary, "-4", *user, *place, *options, f"{HOST}:{port}", "128"]) as process:
            try:
                _wait_for(port, process)
                yield Sink(port, Path(name))
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=5).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    pytest.fail("smtp-sink does not listen")
