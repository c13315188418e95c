"""Every comparison of `make bench` runs from end to end, here with tiny numbers; how fast is not asked."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.children import Void
from benchmarks.model import Group, Measured
from benchmarks.registry import GROUPS
from benchmarks.rounds import ratio_of
from benchmarks.sinks import relay, smtp_sink

CHECKOUT = Path(__file__).parents[1]
TINY = ("--rounds", "1", "--scale", "0.0001", "--no-install")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Measured]:
    """What one run of each comparison gave; half of them run beside the others: nothing is timed here."""
    folder = tmp_path_factory.mktemp("benchmarks")
    runs = [(_begin(GROUPS[half::2], folder / f"{half}.json"), folder / f"{half}.json") for half in (0, 1)]
    measured: dict[str, Measured] = {}
    for process, kept in runs:
        said, _ = process.communicate()
        assert kept.exists(), said
        measured |= {name: each.measured for name, each in results.read(kept).items()}
    return measured


def _begin(groups: Sequence[Group], kept: Path) -> subprocess.Popen[str]:
    names = [group.name for group in groups]
    # Through a shell: the peak memory of a direct child would begin with that of this process.
    through = ["sh", "-c", '"$@"; exit $?', "sh"]
    return subprocess.Popen(
        [*through, sys.executable, "-m", "benchmarks", *TINY, "--json", str(kept), "--only", *names],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("group", GROUPS, ids=[group.name for group in GROUPS])
def test_each_side_of_a_comparison_does_its_whole_work(group: Group, found: Mapping[str, Measured]) -> None:
    measured = found[group.name]
    assert measured.failed == {}
    for row in group.rows:
        # A peer that is not installed is left out; ours never is.
        assert row.ours not in measured.missing
        assert (ratio_of(measured, row) is None) == (row.peer in measured.missing)


def test_a_sender_that_loses_or_doubles_a_mail_is_found_out() -> None:
    for sent in (1, 3):
        with pytest.raises(Void, match="fewer" if sent < 2 else "more"), smtp_sink(2) as port:
            _send(port, sent)
    with smtp_sink(2) as port:
        _send(port, 2)


def test_a_relay_some_way_off_changes_nothing_of_what_is_sent() -> None:
    sent = b"".join(b"%d\n" % number for number in range(100_000))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        relay(server.getsockname()[1], 0.002) as port,
        socket.create_connection(("127.0.0.1", port)) as near,
    ):
        far, _ = server.accept()
        with far:
            near.sendall(sent)
            near.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: far.recv(65_536), b"")) == sent


def _send(port: int, count: int) -> None:
    with contextlib.suppress(smtplib.SMTPException), smtplib.SMTP("127.0.0.1", port) as smtp:
        for _ in range(count):
            smtp.sendmail("a@acme.example", ["b@example.com"], "Subject: one\r\n\r\n")
