"""The outbox writes real emails and texts, whole or not at all, for their owner alone."""

from __future__ import annotations

import asyncio
import email as stdlib_email
import errno
import os
import resource
import stat
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email import policy
from pathlib import Path
from typing import Any

import pytest

from commcast.cli.options import clock
from commcast.config.load import load_config
from commcast.errors import ProviderError
from commcast.model import text as sms
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Delivery, Outcome, Sms
from commcast.providers import mime, outbox
from commcast.providers.base import Adapter
from commcast.providers.outbox import OutboxAdapter
from commcast.providers.registry import adapter_for
from tests.providers.contract import AdapterContract, Arrived, Rig, collect, email, hand_overs
from tests.providers.kinds import ACCEPTED, ACCOUNT, NOT_TAKEN, PROVIDER, REJECTED
from tests.support.desk import write_desk

FIRST, SECOND = "000001-reader1-private-example.eml", "000001-reader1-private-example-2.eml"


class _EmailRig(Rig):
    channel = Channel.EMAIL

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Adapter]:
        async with OutboxAdapter(self.channel, self.outbox) as adapter:
            yield adapter

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Callable[[], Adapter]]:
        """A disk that never finishes writing."""
        release = threading.Event()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda handle: release.wait())
            try:
                yield lambda: OutboxAdapter(self.channel, self.outbox)
            finally:
                release.set()

    def arrived(self) -> Sequence[Arrived]:
        found = []
        for path in sorted(self.outbox.glob("*.eml")):
            mail = stdlib_email.message_from_bytes(path.read_bytes(), policy=policy.default)
            readers = tuple(address.addr_spec for address in mail["To"].addresses)
            found.append(Arrived(readers, path.read_bytes().decode()))
        return found


class _SmsRig(_EmailRig):
    channel = Channel.SMS

    def arrived(self) -> Sequence[Arrived]:
        texts = [path.read_text() for path in sorted(self.outbox.glob("*.txt"))]
        return [Arrived((text.splitlines()[0].removeprefix("To: "),), text) for text in texts]


class TestEmailOutbox(AdapterContract):
    rig_class = _EmailRig


class TestSmsOutbox(AdapterContract):
    rig_class = _SmsRig


def _send(folder: Path, *items: Delivery, channel: Channel = Channel.EMAIL) -> list[Outcome]:
    async def scenario() -> list[Outcome]:
        async with OutboxAdapter(channel, folder) as adapter:
            return await collect(adapter, items)

    return asyncio.run(scenario())


def _failing(code: int, folders_only: bool = False) -> Callable[..., None]:
    """A system call that fails, with a folder or with anything."""
    real = os.fsync

    def fail(handle: int, *_: object, **__: object) -> None:
        if folders_only and not stat.S_ISDIR(os.fstat(handle).st_mode):
            return real(handle)
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_is_what_would_be_sent(tmp_path: Path) -> None:
    """An .eml is mime.build's email, CRLF and all; a .txt begins with To and Segments."""
    (outcome,) = _send(tmp_path, Delivery(12, email(1, name="Dana")))
    assert outcome.provider_id == "000012-reader1-private-example.eml"
    assert (tmp_path / outcome.provider_id).read_bytes() == mime.build(email(1, name="Dana"))
    body = "Zahlungen gehen wieder \u2713"
    (outcome,) = _send(tmp_path, Delivery(3, Sms("+4915501234567", body)), channel=Channel.SMS)
    size = sms.measure(body)
    head = f"To: +4915501234567\nSegments: {size.segments} ({size.encoding})\n\n"
    assert (tmp_path / outcome.provider_id).read_text() == f"{head}{body}\n"
    assert outcome.provider_id == "000003-4915501234567.txt"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_only_the_owner_can_read(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        (outcome,) = _send(tmp_path / "outbox", Delivery(1, email(1)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "outbox" / outcome.provider_id).stat().st_mode) == 0o600


def test_names() -> None:
    """They sort by delivery, as the ledger does, name the reader in ASCII and are never too long."""
    stems = [outbox.file_stem(Delivery(number, email(1))) for number in (9, 10, 100_000)]
    assert stems == sorted(stems)
    assert outbox.file_stem(Delivery(1, Sms("+49155", "x"))) == "000001-49155"
    assert outbox.file_stem(Delivery(1, email(1, address="\u65e5\u672c@x.example"))) == "000001-x-example"
    longest = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.example"
    assert len(outbox.file_stem(Delivery(1, email(1, address=longest)))) < 80


@pytest.mark.parametrize("address", ["../../etc/passwd@x.example", "a/b@x.example", "..@x.example"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, address: str) -> None:
    _send(tmp_path / "a" / "outbox", Delivery(1, email(1, address=address)))
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} <= {tmp_path / "a" / "outbox"}


@pytest.mark.parametrize("links", [True, False])
def test_another_deliverys_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Other content of the same name gets a number, the same is this message; also without hard links."""
    if not links:
        monkeypatch.setattr(os, "link", _failing(errno.EPERM))
    mails = [email(1, subject=subject) for subject in ("One", "Two", "One")]
    names = [_send(tmp_path, Delivery(1, each))[0].provider_id for each in mails]
    assert names == [FIRST, SECOND, FIRST]
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {FIRST: mime.build(mails[0]), SECOND: mime.build(mails[1])}


def test_a_link_under_the_files_name_is_not_followed(tmp_path: Path) -> None:
    target, folder = tmp_path / "precious", tmp_path / "outbox"
    target.write_bytes(mime.build(email(1)))
    folder.mkdir(mode=0o700)
    (folder / FIRST).symlink_to(target)
    assert _send(folder, Delivery(1, email(1)))[0].provider_id == SECOND


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "link", "fchmod"])
def test_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    """Disk full or broken: not taken, the provider's fault, nothing left behind."""
    monkeypatch.setattr(os, call, _failing(code))
    (outcome,) = _send(tmp_path / "outbox", Delivery(1, email(1)))
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert os.strerror(code) in outcome.detail
    assert list((tmp_path / "outbox").iterdir()) == []


def test_a_write_that_stops_half_way(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        (outcome,) = _send(tmp_path / "outbox", Delivery(1, email(1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert list((tmp_path / "outbox").iterdir()) == []


def test_a_batch_waits_once_for_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    outcomes = _send(tmp_path / "outbox", *hand_overs(Channel.EMAIL, 8))
    assert {each.kind for each in outcomes} == {ACCEPTED}
    assert sorted(synced) == [False] * 8 + [True]


def test_names_that_may_not_last_are_all_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch whose folder does not reach the disk no file stays, and nobody counts as told."""
    monkeypatch.setattr(os, "fsync", _failing(errno.EIO, folders_only=True))
    items = [*hand_overs(Channel.EMAIL, 4), Delivery(5, email(5, address="-"))]
    outcomes = _send(tmp_path / "outbox", *items)
    assert [each.kind for each in outcomes] == [NOT_TAKEN] * 4 + [REJECTED]
    assert list((tmp_path / "outbox").iterdir()) == []


async def test_after_a_halt_no_file_is_begun(tmp_path: Path) -> None:
    async with OutboxAdapter(Channel.EMAIL, tmp_path / "outbox") as adapter:
        adapter.halt()
        outcomes = await collect(adapter, hand_overs(Channel.EMAIL, 5))
    assert [(each.kind, each.detail) for each in outcomes] == [(NOT_TAKEN, NOT_BEGUN)] * 5
    assert not (tmp_path / "outbox").exists()


@pytest.mark.parametrize(("lay", "below", "says"), [
    (lambda outbox: outbox.symlink_to("."), "", "is a link; replace"),
    (lambda outbox: outbox.mkdir() or outbox.chmod(0o777), "", "chmod 700"),
    *[(lambda outbox: outbox.write_text("a file"), below, "is a file; move") for below in ("", "outbox")],
    (lambda outbox: outbox.write_text("a file"), "outbox/outbox", "a parent of the outbox"),
])  # fmt: skip
def test_a_folder_laid_by_a_stranger_is_refused(tmp_path: Path, lay: Any, below: str, says: str) -> None:
    """A link, a folder open to all, a file, also on the way: nothing is written, and a person has to look."""
    lay(tmp_path / "outbox")
    (outcome,) = _send(tmp_path / "outbox" / below, Delivery(1, email(1)))
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT)
    assert says in outcome.detail
    assert not list(tmp_path.rglob("*.eml"))


def test_no_link_leads_to_another_folder(tmp_path: Path) -> None:
    write_desk(tmp_path, extra='[providers.outbox]\nfolder = "a/outbox/"')
    config = load_config(tmp_path)
    adapter_for(config, Channel.EMAIL, clock)
    (tmp_path / ".git" / "outbox").mkdir(parents=True)
    (tmp_path / "a").symlink_to(".git")
    with pytest.raises(ProviderError, match=r"providers\.outbox\.folder: a link is in its way"):
        adapter_for(config, Channel.EMAIL, clock)
