"""Postfix's smtp-sink, fresh for each run, and a relay that is 20 ms away from it."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.children import PYTHON, Void, running

_ENDS_WITHIN = 0.5  # seconds
_BACKLOG = "1024"
_ANSWERS_WITHIN = 10.0


@contextmanager
def smtp_sink(expected: int) -> Iterator[int]:
    """Run a sink and yield its port. Raises Void at the end unless it got exactly so many mails.

    It counts at no cost: told to end with mail `expected` + 1, it must live until we send one more, and then
    end. So a sender that loses or doubles a mail is found out.
    """
    port = free_port()
    where = f"127.0.0.1:{port}"
    with running(["smtp-sink", "-u", "nobody", "-4", "-M", str(expected + 1), where, _BACKLOG]) as (sink, _):
        _wait_until_it_listens(sink, port)
        yield port
        with contextlib.suppress(subprocess.TimeoutExpired):
            sink.wait(_ENDS_WITHIN)  # one that got too many is on its way out
            raise Void(f"the sink got more than {expected:,} mails")
        _send_one_more(port)
        try:
            sink.wait(2)
        except subprocess.TimeoutExpired:
            raise Void(f"the sink got fewer than {expected:,} mails") from None


@contextmanager
def relay(port: int, round_trip: float) -> Iterator[int]:
    """Run a proxy before `port` that delays both ways, and yield its own port. `round_trip` is in seconds."""
    command = [PYTHON, "-m", "benchmarks.delay_proxy", str(port), str(round_trip)]
    with running(command, ready="port ") as (_, line):
        yield int(line.split()[1])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(sink: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + _ANSWERS_WITHIN
    while time.monotonic() < end and sink.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.recv(100)
            return
        time.sleep(0.01)
    raise Void("smtp-sink does not listen")


def _send_one_more(port: int) -> None:
    # The sink ends before it answers, so an error is what should come.
    with (
        contextlib.suppress(smtplib.SMTPException, OSError),
        smtplib.SMTP("127.0.0.1", port, timeout=5) as smtp,
    ):
        smtp.sendmail("a@acme.example", ["b@acme.example"], "Subject: the last\r\n\r\n")
