"""Below Python: kills at system calls, and the disk as a power cut leaves it, both by strace.

strace (Debian, Ubuntu: apt-get install strace; `make test` does that) is attached to a forked child. A kill
injected at a call comes on its entry: the call is not done, which is also the state after the call before it
(seen: `write(3, "1", 1) = ?` and an empty file). A power cut keeps of each file what the last fsync or
fdatasync of it had made durable: all that was written later is gone.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

_CALLS = "pwrite64,pwritev,pwritev2,write,writev,ftruncate,fdatasync,fsync"
# "1700000000.123456 pwrite64(5<\x2f…>, "\x00…", 4096, 0) = 4096"; the numbers are arguments and the result.
_LINE = re.compile(
    r"^(?P<at>[\d.]+) (?P<call>\w+)\(\d+<(?P<path>[^>]*)>(?:\(deleted\))?(?P<rest>.*)\) += (?P<result>\d+)"
)
_DATA = re.compile(r'"(?P<data>(?:\\x[0-9a-f]{2})*)"')


def strace(*options: str) -> list[str]:
    """Return the command line of a strace that follows all threads; without strace the test fails."""
    binary = shutil.which("strace")
    if binary is None:
        pytest.fail("strace is missing; install it: apt-get install strace")
    return [binary, "-f", "-qq", *options]


def killing(call: str, number: int, log: Path) -> list[str]:
    """Return a strace that kills at the entry of the `number`th such call of any one thread."""
    return strace("-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")


def counting(calls: Sequence[str], log: Path) -> list[str]:
    """Return a strace that writes down each of these calls."""
    return strace("-yy", "-o", str(log), "-e", f"trace={','.join(calls)}")


def recording(prefix: Path) -> list[str]:
    """Return a strace that writes down all that is written and synced, a file for each thread."""
    return strace("-ff", "-ttt", "-y", "-xx", "-s", "10000000", "-o", str(prefix), "-e", f"trace={_CALLS}")


class Disk:
    """Files as they were before a child ran, and as they are after a power cut at its end."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._durable = {str(path.resolve()): path.read_bytes() if path.exists() else b"" for path in files}
        self._written = {path: bytearray(content) for path, content in self._durable.items()}
        self.syncs = 0

    def replay(self, prefix: Path) -> None:
        """Do again what strace saw, in the order of time."""
        lines = [
            line for path in prefix.parent.glob(f"{prefix.name}.*") for line in path.read_text().splitlines()
        ]
        done = sorted(filter(None, map(_LINE.match, lines)), key=lambda found: float(found["at"]))
        for call in done:
            path = _plain(call["path"]).decode()
            if path in self._written:
                self._do(call["call"], path, call["rest"])

    def _do(self, call: str, path: str, rest: str) -> None:
        written = self._written[path]
        if call in {"fsync", "fdatasync"}:
            self._durable[path] = bytes(written)
            self.syncs += 1
        elif call == "ftruncate":
            length = int(rest.strip(", "))
            written[length:] = bytes(max(length - len(written), 0))
        else:
            found = _DATA.search(rest)
            assert call == "pwrite64", f"SQLite writes by {call}, which is not known here"
            assert found is not None
            data, offset = _plain(found["data"]), int(rest.rsplit(",", 1)[1])
            written.extend(bytes(max(offset - len(written), 0)))
            written[offset : offset + len(data)] = data

    def cut_the_power(self) -> None:
        """Leave of the files what was durable."""
        for name, content in self._durable.items():
            path = Path(name)
            if content:
                path.write_bytes(content)
            else:
                path.unlink(missing_ok=True)


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
