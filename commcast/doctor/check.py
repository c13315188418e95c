"""One line of doctor: what was looked at, how it stands, and what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass

from commcast.errors import ExitCode

OK, WARN, FAIL = "ok", "warn", "FAIL"
SMTP_PASSWORD = "COMMCAST_SMTP_PASSWORD"  # noqa: S105 - the variable's name, not a password


@dataclass(frozen=True, slots=True)
class Check:
    """One line of doctor. `exit_code` is what this finding makes of the run."""

    state: str
    about: str
    what: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.DONE


def secret(name: str, what: str) -> Check:
    """Return whether a variable of the environment is set, never its value; `what` says what it holds."""
    if os.environ.get(name):
        return Check(OK, "secret", f"{name} is set")
    return Check(
        WARN, "secret", f"{name} is not set: {what}", f"set {name} where commcast runs, also in cron"
    )
