"""doctor: what keeps a desk from sending, and the adoption of a ledger without telling old history."""

from __future__ import annotations

import json
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from commcast.cli.adopt import write_desk as write_desk_line
from commcast.cli.doctor_checks import file_system
from commcast.config_file import load_config
from tests.cli.running import bench_now, every_byte, just_now, run
from tests.desks import DESK, Bench, update_text, write_desk, write_incident


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
