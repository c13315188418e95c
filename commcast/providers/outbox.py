"""The outbox: every message becomes a file that a person can open. Nothing is sent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import stat
import tempfile
import threading
import unicodedata
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from commcast.config.settings import OutboxProvider
from commcast.files import sync_folder
from commcast.model import text
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Email, Message, Outcome, OutcomeKind, Sms
from commcast.providers import mime

_LONGEST_SLUG = 60
_MOST_NAMESAKES = 1000  # files of other ledgers with this delivery's name, before we give up
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class _UnfitFolder(OSError):
    """We must not write into this folder; a person has to fix it."""


class OutboxAdapter:
    """Writes emails as .eml and texts as .txt files to `folder`, which is created for the first message.

    Only the owner may read the folder (0700) and each file (0600), whatever the umask. A file appears whole
    and on disk, or not at all; the file of another delivery is never overwritten.
    """

    name = "outbox"
    batch_size = 1
    window = 16

    def __init__(self, channel: Channel, folder: Path, settings: OutboxProvider | None = None) -> None:
        settings = settings or OutboxProvider()
        self.channel = channel
        self.per_second = settings.per_second
        self._folder = folder
        self._is_halted = False
        self._disk = ThreadPoolExecutor(settings.connections, "outbox")
        self._folders = threading.Lock()  # between making a folder and opening it to ourselves

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Begin no more files, and wait for none: a disk that hangs blocks only its own threads."""
        self.halt()
        self._disk.shutdown(wait=False)

    def halt(self) -> None:
        """Begin no more files, not even in a `send` that is in progress."""
        self._is_halted = True

    async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        """Yield one outcome per message, once its file is on disk; `provider_id` is the file's name.

        Raises TypeError if a message is not for this channel.
        """
        wanted = Email if self.channel is Channel.EMAIL else Sms
        if not all(isinstance(item.message, wanted) for item in batch):
            raise TypeError(f"this outbox takes {self.channel} only")
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(*(loop.run_in_executor(self._disk, self._write, each) for each in batch))
        for outcome in await asyncio.to_thread(self._settled, found):
            yield outcome

    def _settled(self, found: Sequence[Outcome]) -> Sequence[Outcome]:
        """Return the outcomes once the names of all written files are on disk."""
        written = [each for each in found if each.kind is OutcomeKind.ACCEPTED]
        try:
            if written:
                sync_folder(self._folder)
        except OSError as error:
            for each in written:
                with contextlib.suppress(OSError):  # if it stays, the next try finds it
                    (self._folder / each.provider_id).unlink(missing_ok=True)
            return [_failed(each.delivery, error) if each in written else each for each in found]
        return found

    def _write(self, item: Delivery) -> Outcome:
        if self._is_halted:
            return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN)
        try:
            content, ending = _file_of(item.message)
        except ValueError as error:
            return Outcome(item.delivery, OutcomeKind.REJECTED, f"cannot be written to a file: {error}")
        try:
            with self._folders:
                _make_folder(self._folder)
            file = _write(self._folder, file_stem(item), ending, content)
        except OSError as error:
            return _failed(item.delivery, error)
        return Outcome(item.delivery, OutcomeKind.ACCEPTED, provider_id=file.name)


def _failed(delivery: int, error: OSError) -> Outcome:
    if isinstance(error, _UnfitFolder):
        return Outcome(delivery, OutcomeKind.NOT_TAKEN, str(error), blame=Blame.ACCOUNT)
    reason = f"{error.strerror or 'cannot be written'} in the outbox folder"
    return Outcome(delivery, OutcomeKind.NOT_TAKEN, reason, blame=Blame.PROVIDER)


def file_stem(item: Delivery) -> str:
    """Return a name that sorts by delivery and names the reader: "000012-dana-example-com"."""
    message = item.message
    address = message.to.address if isinstance(message, Email) else message.to
    plain = unicodedata.normalize("NFKD", address).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:_LONGEST_SLUG].strip("-")
    return f"{item.delivery:06d}-{slug}".rstrip("-")


def _file_of(message: Message) -> tuple[bytes, str]:
    if isinstance(message, Email):
        return mime.build(message), ".eml"
    if not re.fullmatch(r"\+?[0-9]+", message.to):
        raise ValueError("the number must be in international format; write it as +4930123456")
    size = text.measure(message.body)
    head = f"To: {message.to}\nSegments: {size.segments} ({size.encoding})\n\n"
    return f"{head}{message.body}\n".encode(), ".txt"


def _make_folder(folder: Path) -> None:
    """Create the folder; refuse a link, and a folder that anyone can write to (it may be a stranger's)."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
    except NotADirectoryError:
        raise _UnfitFolder(f"a parent of the outbox {folder} is a file; move it away") from None
    except FileExistsError:
        _check_folder(folder if os.path.lexists(folder) else folder.parent)


def _check_folder(folder: Path) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise _UnfitFolder(f"the outbox {folder} is a link; replace it with a folder")
    if not stat.S_ISDIR(found.st_mode):
        raise _UnfitFolder(f"the outbox {folder} is a file; move it away")
    if found.st_mode & stat.S_IWOTH:
        raise _UnfitFolder(f"anyone can write to the outbox; fix it with: chmod 700 {folder}")


def _write(folder: Path, stem: str, ending: str, content: bytes) -> Path:
    """Write a file that is whole or absent. Its name is not on disk yet.

    Raises OSError, and then leaves nothing behind.
    """
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _place(Path(temporary), folder, stem, ending, content)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _place(temporary: Path, folder: Path, stem: str, ending: str, content: bytes) -> Path:
    """Give the file its name. If a file there has the same content, this message was written before."""
    for number in range(1, _MOST_NAMESAKES):
        target = folder / (f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}")
        try:
            _link(temporary, target)
        except FileExistsError:
            if target.is_symlink() or not target.is_file() or target.read_bytes() != content:
                continue
        return target
    raise FileExistsError(errno.EEXIST, "Too many files of this name")


def _link(temporary: Path, target: Path) -> None:
    """Name the file without replacing another; on a disk without hard links, check and rename."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "File exists") from None
        temporary.rename(target)
