"""Postfix on 127.0.0.1: its test sink, and a whole one in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp

import pytest

from tests.support.reader import as_root
from tests.support.servers.http import HOST, Certificate, Received


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
    binary = _tool("smtp-sink")
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


@dataclass(frozen=True)
class Postfix:
    """A whole Postfix: it knows readerN@private.example, throws their mail away and keeps a log of each."""

    port: int
    folder: Path

    def delivered(self, at_least: int) -> Mapping[str, int]:
        """How often each reader's mail was delivered, once that many deliveries are logged."""
        until, sent = time.monotonic() + 30, list[str]()
        while len(sent) < at_least and time.monotonic() < until:
            log = (self.folder / "log").read_text()
            sent = re.findall(r"to=<([^>]*)>, .*status=sent", log)
            time.sleep(0.05)
        return Counter(sent)


_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
enable_long_queue_ids = yes
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.example
mydestination =
alias_maps =
virtual_mailbox_domains = private.example
virtual_mailbox_maps = regexp:{folder}/readers
virtual_transport = discard:
in_flow_delay = 0
"""
_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def real_postfix(certificate: Certificate | None = None) -> Iterator[Postfix]:
    """Run a Postfix that has nothing to do with the machine's own; with `certificate` it offers STARTTLS."""
    postfix, root = _tool("postfix"), as_root()
    port = _free_port()
    # What Postfix leaves behind belongs to others; only root can remove it.
    with _folder(root) as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("conf", "queue", "data"):
            (folder / part).mkdir()
        (folder / "readers").write_text("/^reader[0-9]+@private\\.example$/ x\n")
        main = _MAIN_CF.format(folder=folder)
        if certificate:
            main += f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {certificate.pem}\n"
            main += f"smtpd_tls_key_file = {certificate.key}\n"
        (folder / "conf" / "main.cf").write_text(main)
        (folder / "conf" / "master.cf").write_text(_MASTER_CF.format(port=port))
        subprocess.run([*root, "chown", "-R", "root:", name], check=True)
        subprocess.run([*root, "chown", "postfix", str(folder / "data")], check=True)
        _order([*root, postfix], folder, "start")
        try:
            with socket.create_connection((HOST, port), timeout=30) as probe:
                if not probe.recv(200).startswith(b"220 "):
                    pytest.fail(f"Postfix does not greet: {(folder / 'log').read_text()}")
            yield Postfix(port, folder)
        finally:
            _order([*root, postfix], folder, "stop")


@contextmanager
def _folder(root: tuple[str, ...]) -> Iterator[str]:
    name = mkdtemp(prefix="commcast-postfix-")
    try:
        yield name
    finally:
        subprocess.run([*root, "rm", "-rf", name], check=True)


def _order(postfix: Sequence[str], folder: Path, order: str) -> None:
    with TemporaryFile("w+") as words:  # a file, since the daemon would keep a pipe open for ever
        command = [*postfix, "-c", str(folder / "conf"), order]
        code = subprocess.run(command, stdout=words, stderr=words, timeout=60, check=False).returncode
        words.seek(0)
        if code:
            log = folder / "log"
            pytest.fail(f"postfix {order}: {words.read()}{log.read_text() if log.exists() else ''}")


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(f"{name} is missing; install it: apt-get install --no-install-recommends postfix")
    return found


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
    pytest.fail(f"{process.args!r} does not listen")
