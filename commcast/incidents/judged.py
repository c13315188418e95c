"""Incident files that a tick need not read again: over, all told, and byte for byte as they were."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from commcast import __version__
from commcast.config import Config
from commcast.textfile import LARGEST_FILE


@dataclass(frozen=True, slots=True)
class Judged:
    """What is kept of a file whose incident was found to be over, with nothing left to say or send.

    `digest` stands for its bytes and for all they were judged by; `incident` is its id, so that a second
    file with the same id is still noticed.
    """

    digest: str
    incident: str


def grounds(config: Config) -> bytes:
    """Return what every file is judged by besides its own bytes: all of commcast.toml, and this program."""
    return f"{__version__}\n{config.model_dump_json()}\n".encode()


def digest_of(raw: bytes, grounds: bytes) -> str:
    """Return the digest of a file's bytes, read on these grounds."""
    return hashlib.sha256(hashlib.sha256(grounds).digest() + raw).hexdigest()


def is_as_judged(path: Path, judged: Judged, grounds: bytes) -> bool:
    """Return whether a plain file holds what it held when it was judged; False where that cannot be seen.

    The bytes are compared, not size and time: a copy that keeps its time would be missed, and reading a
    thousand small files takes less than parsing five.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    with os.fdopen(handle, "rb", buffering=0) as file:
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return False
            raw = file.read(LARGEST_FILE + 1)
        except OSError:
            return False
    return digest_of(raw, grounds) == judged.digest
