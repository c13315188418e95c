"""What only root may do in a test: as root, or through a sudo that asks for no password."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def as_root() -> tuple[str, ...]:
    """Return what to write before a command that only root may give."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return (sudo, "-n")
    pytest.fail("only root can do this; run the tests as root, or where sudo asks for no password")


def own_disk_options() -> str:
    """Return the mount options that make a file system ours, whoever mounts it."""
    return f"uid={os.geteuid()},gid={os.getegid()}"
