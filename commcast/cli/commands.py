"""Registers every command; command files import heavy parts only when they run."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add all commands to `app`, once."""
    if app.registered_commands or app.registered_groups:
        return
