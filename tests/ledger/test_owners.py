"""Who holds a claim: proof of death is needed, and nothing less will do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from commcast.ledger import settle as owners
from commcast.ledger.settle import current_owner, is_dead


def renamed(owner: str, **parts: str) -> str:
    """Return an owner's name with some of its parts replaced."""
    names = ("host", "boot", "space", "pid", "started")
    found = dict(zip(names, owner.split("|"), strict=True))
    return "|".join({**found, **parts}[name] for name in names)


@pytest.fixture
def gone() -> str:
    """The name of a process of this machine that ran and has ended."""
    done = subprocess.run(
        [sys.executable, "-c", "from commcast.ledger.settle import current_owner as o; print(o())"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout.strip()


def test_this_process_is_alive() -> None:
    assert not is_dead(current_owner())
    assert current_owner() == current_owner()


def test_a_process_that_ended_is_dead(gone: str) -> None:
    assert is_dead(gone)
    assert gone != current_owner()


def test_a_process_that_waits_to_be_buried_is_dead() -> None:
    """A zombie keeps its number and start time, and does nothing more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert owners._started(child.pid) == ""
        assert is_dead(renamed(current_owner(), pid=str(child.pid), started="1"))
    finally:
        child.wait()


def test_a_number_used_again_is_another_process() -> None:
    assert is_dead(renamed(current_owner(), started="1"))


def test_another_hosts_process_is_never_called_dead(gone: str) -> None:
    assert not is_dead(renamed(gone, host="other"))


def test_another_containers_process_is_never_called_dead(gone: str) -> None:
    assert not is_dead(renamed(gone, space="pid:[1]"))


def test_a_process_from_before_the_last_boot_is_dead() -> None:
    assert is_dead(renamed(current_owner(), boot="earlier"))


def test_where_no_boot_is_known_nobody_is_called_dead_for_it() -> None:
    assert not is_dead(renamed(current_owner(), boot=""))
