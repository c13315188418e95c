"""Who holds a claim, and whether that process is still alive: host, boot, process id and its start time."""

from __future__ import annotations

import os
import socket
import subprocess
from functools import cache
from pathlib import Path


def current_owner() -> str:
    """Return this process's name in claims."""
    pid = os.getpid()
    return f"{_here()}|{pid}|{_started(pid)}"


def is_dead(owner: str) -> bool:
    """Return True where `owner` ran on this host and surely runs no more.

    False for a living process, and for another host's or container's: those claims end by their lease.
    """
    here, pid, started = owner.rsplit("|", 2)
    host, boot, space = here.split("|")
    own_host, own_boot, own_space = _here().split("|")
    if host != own_host:
        return False
    if boot != own_boot:
        return bool(boot and own_boot)
    return space == own_space and _started(int(pid)) != started


@cache
def _here() -> str:
    return f"{socket.gethostname()}|{_read('/proc/sys/kernel/random/boot_id')}|{_process_space()}"


def _process_space() -> str:
    """Return this process id namespace: the same number is another process in each container."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process began, in its system's own unit; "" when there is no such process."""
    if Path("/proc/self/stat").exists():
        # The name in brackets may hold anything; the start time is the 20th field after it (proc(5)).
        _, _, rest = _read(f"/proc/{pid}/stat").rpartition(")")
        fields = rest.split()
        return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else ""
    found = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
