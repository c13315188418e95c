"""commcast: the incident-communication desk in a shell and a git repository."""

from __future__ import annotations

__version__ = "0.1.0"
