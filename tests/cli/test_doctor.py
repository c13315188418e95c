"""doctor: what keeps a desk from sending, and the adoption of a ledger without telling old history."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from commcast.cli.doctor import write_desk as write_desk_line
from commcast.config.load import load_config
from commcast.doctor.checks import file_system
from tests.support.desk import DESK, Bench, update_text, write_desk, write_incident
from tests.support.servers.http import Certificate, Inbox, aiosmtpd_server, make_certificate
from tests.support.terminal import bench_now, every_byte, just_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def test_a_good_desk_is_ok_and_stays_as_it_is(bench: Bench) -> None:
    before = every_byte(bench.folder)
    result = run("doctor", folder=bench.folder)
    assert "FAIL" not in result.stdout
    assert every_byte(bench.folder) == before


def test_a_missing_ledger_is_three_and_broken_files_are_two(bench: Bench) -> None:
    (bench.folder / "incidents" / "half.yaml").write_text("title: [\n")
    assert "FAIL  incidents" in run("doctor", folder=bench.folder, expect=2).stdout
    (bench.folder / ".commcast" / "ledger.db").unlink()
    assert "FAIL  ledger" in run("doctor", folder=bench.folder, expect=3).stdout


def test_a_secret_is_named_and_never_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_desk(bench.folder, email="smtp", extra='[people.eve]\nname = "Eve"\nemail = "env:EVE_MAIL"')
    monkeypatch.setenv("EVE_MAIL", "eve@secret.example")
    result = run("doctor", folder=bench.folder)
    assert "EVE_MAIL is set" in result.stdout
    assert "eve@secret" not in result.output
    assert "in the clear" in result.stdout


def test_connect_says_hello_to_the_mail_server(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        write_desk(bench.folder, email="smtp", port=server.getsockname()[1])
        heard: list[str] = []
        thread = threading.Thread(target=answer, args=(server, heard))
        thread.start()
        assert "answers" in run("doctor", "--connect", folder=bench.folder).stdout
        thread.join()
    assert [line[:4].upper() for line in heard] == ["EHLO", "NOOP", "QUIT"]
    assert "FAIL  email" in run("doctor", "--connect", folder=bench.folder, expect=75).stdout


def answer(server: socket.socket, heard: list[str]) -> None:
    """Be a mail server for one client."""
    client, _ = server.accept()
    with client, client.makefile("rw", newline="\r\n") as wire:
        wire.write("220 hello\n")
        wire.flush()
        for line in wire:
            heard.append(line.strip())
            wire.write("221 bye\n" if line.startswith("QUIT") else "250 well\n")
            wire.flush()


def test_old_history_stays_quiet_over_an_adopted_ledger(tmp_path: Path) -> None:
    bench = bench_now(tmp_path)
    bench.ledger.close()
    for number in range(99):
        at = just_now() - timedelta(days=number)
        more = update_text(at + timedelta(minutes=1), status="resolved", fixed="Done.") if number else ""
        write_incident(tmp_path, f"old{number}", at=at, more=more)
    for path in (tmp_path / ".commcast").iterdir():
        path.unlink()
    result = run("doctor", "--adopt-ledger", "--yes", folder=tmp_path)
    assert "198 updates count as told elsewhere" in result.stdout
    assert run("tick", folder=tmp_path).output == ""
    for name in ("pay7", "old0", "old5"):
        run("send", name, "--yes", folder=tmp_path)
        run("send", name, "--late", "--yes", folder=tmp_path)
    assert not (tmp_path / "outbox").exists()


def test_adoption_needs_a_yes(bench: Bench) -> None:
    (bench.folder / ".commcast" / "ledger.db").unlink()
    run("doctor", "--adopt-ledger", folder=bench.folder, expect=5)
    assert not (bench.folder / ".commcast" / "ledger.db").exists()


def test_a_folder_without_a_desk_gets_one_as_its_first_line(bench: Bench) -> None:
    config = bench.folder / "commcast.toml"
    text = config.read_text().replace(f'desk = "{DESK}"\n', "# our desk\n")
    config.write_text(text)
    run("tick", folder=bench.folder, expect=3)
    run("doctor", "--adopt-ledger", "--yes", folder=bench.folder)
    assert config.read_text().split("\n", 1)[1] == text
    assert len(load_config(bench.folder).desk) == 16
    run("tick", folder=bench.folder)


def test_what_was_released_before_an_adoption_is_not_sent_again(bench: Bench) -> None:
    bench.send()
    run("doctor", "--adopt-ledger", "--yes", folder=bench.folder)
    assert "already sent" in run("send", "pay7", "--yes", folder=bench.folder).output
    assert len(bench.mails()) == 3


def test_the_desk_line_keeps_bom_line_ends_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "commcast.toml"
    path.write_bytes(b"\xef\xbb\xbf# ours\r\n[send]\r\n")
    path.chmod(0o640)
    write_desk_line(path, "0" * 16)
    assert path.read_bytes() == b'\xef\xbb\xbfdesk = "0000000000000000"\r\n# ours\r\n[send]\r\n'
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_remote_disk_is_recognised() -> None:
    mounts = "dev / ext4 rw 0 0\nhost:/x /srv/share nfs4 rw 0 0\n"
    assert file_system(Path("/srv/share/desk/.commcast"), mounts) == "nfs4"
    assert file_system(Path("/srv/shared"), mounts) == "ext4"


def test_json_tells_the_same(bench: Bench) -> None:
    document = json.loads(run("doctor", "--json", folder=bench.folder).stdout)
    assert document["ok"]
    assert {check["about"] for check in document["checks"]} >= {"ledger", "incidents", "tick", "email"}


def test_a_nearly_full_disk_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(bench.folder)._replace(free=3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert "warn  disk: is nearly full: 3,072 KiB free" in run("doctor", folder=bench.folder).stdout


@pytest.mark.parametrize("place", [".commcast", ".commcast/ledger.db"])
def test_a_ledger_that_cannot_be_written_is_three(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != bench.folder / place and real(path, how))
    result = run("doctor", folder=bench.folder, expect=3)
    assert f"FAIL  ledger: {bench.folder / place} cannot be written" in result.stdout


def test_a_lost_folder_of_incidents_is_no_quiet_day(bench: Bench) -> None:
    (bench.folder / "incidents" / "pay7.yaml").unlink()
    (bench.folder / "incidents").rmdir()
    assert "FAIL  incidents: incidents/: is missing" in run("doctor", folder=bench.folder, expect=2).stdout
    for verb in ("tick", "status"):
        assert "incidents/: is missing" in run(verb, folder=bench.folder, expect=2).stderr
    assert "incidents/: is missing" in run("lint", folder=bench.folder, expect=2).stdout


def test_files_are_no_sending_and_the_way_to_go_live_is_named(bench: Bench) -> None:
    shown = run("doctor", folder=bench.folder).stdout
    assert "warn  email: goes into files, nothing is sent\n      to go live: README, " in shown
    assert "warn  SMS: goes into files, nothing is sent\n" in shown


def live_desk(folder: Path, port: int, **settings: str) -> None:
    """Write a desk that sends over SMTP with a user."""
    write_desk(folder, email="smtp", port=port)
    path = folder / "commcast.toml"
    lines = "".join(f'{key} = "{value}"\n' for key, value in {"user": "desk", **settings}.items())
    path.write_text(path.read_text().replace('security = "none"\n', lines))


def test_a_user_without_a_password_keeps_the_desk_from_sending(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMMCAST_SMTP_PASSWORD", raising=False)
    live_desk(bench.folder, 25)
    shown = run("doctor", "--connect", folder=bench.folder, expect=78).stdout
    assert "FAIL  email: providers.smtp.user: has no password\n      set COMMCAST_SMTP_PASSWORD" in shown


@contextmanager
def mail_server(certificate: Certificate | None) -> Iterator[int]:
    """Run a server that demands STARTTLS where it has a certificate, and takes one login."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready: queue.Queue[int] = queue.Queue()

    async def serve() -> None:
        tls = certificate.server_context() if certificate else None
        async with aiosmtpd_server(Inbox(), tls=tls, login=("desk", "sesame") if tls else None) as port:
            ready.put(port)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ready.get(timeout=20)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize(
    ("password", "trusted", "code", "said"),
    [
        ("sesame", True, 0, "answers and takes the login"),
        ("barley", True, 78, "refuses the login of desk\n      check user and COMMCAST_SMTP_PASSWORD"),
        ("sesame", False, 78, 'write ca_file = "…"'),
    ],
)
def test_connect_logs_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, password: str, trusted: bool, code: int, said: str
) -> None:
    monkeypatch.setenv("COMMCAST_SMTP_PASSWORD", password)
    certificate = make_certificate(bench.folder)
    with mail_server(certificate) as port:
        live_desk(bench.folder, port, **({"ca_file": "certificate.pem"} if trusted else {}))
        done = run("doctor", "--connect", folder=bench.folder, expect=code)
    assert said in done.stdout
    assert password not in re.sub(r"/\S+", "", done.stdout)


def test_a_server_without_starttls_is_refused_with_what_to_write(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMCAST_SMTP_PASSWORD", "right")
    with mail_server(None) as port:
        live_desk(bench.folder, port)
        done = run("doctor", "--connect", folder=bench.folder, expect=78)
    assert "offers no STARTTLS" in done.stdout
    assert 'write security = "tls" with port = 465' in done.stdout
