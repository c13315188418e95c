"""Killed at every step of sending through SendGrid and Twilio: nobody twice, nobody lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import Children
from tests.crash.points import kill_at_every_point


@pytest.mark.parametrize("name", ["sendgrid", "twilio"])
def test_killed_at_every_point_and_run_again(name: str, folder: Path, plain: Children) -> None:
    kill_at_every_point(name, folder, plain)
