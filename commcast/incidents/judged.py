"""Incident files that a tick need not read again: over, all told, and byte for byte as they were."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass

import commcast
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
    """Return the digest of what files are judged by besides their bytes: commcast.toml, this program."""
    return hashlib.blake2b(f"{commcast.__version__}\n{config.model_dump_json()}\n".encode()).digest()


def digest_of(raw: bytes, grounds: bytes) -> str:
    """Return the digest of a file's bytes, read on these grounds."""
    return hashlib.blake2b(raw, digest_size=32, key=grounds).hexdigest()


def is_as_judged(path: str, judged: Judged, grounds: bytes) -> bool:
    """Return whether a plain file holds what it held when it was judged; False where that cannot be seen.

    The bytes are compared, not size and time: a copy that keeps its time would be missed, and reading a
    thousand small files takes less than parsing five.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
            return False
        raw = os.read(handle, found.st_size + 1)
    except OSError:
        return False
    finally:
        os.close(handle)
    return digest_of(raw, grounds) == judged.digest
