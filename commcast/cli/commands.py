"""Registers every command; command files import heavy parts only when they run."""

from __future__ import annotations

import typer

from commcast.cli import declare, init, preview, send, update

BAD_MINUTE = "In the bad minute"
LOOK_FIRST = "Look first"
UNATTENDED = "Unattended"
SET_UP = "Set up"


def register(app: typer.Typer) -> None:
    """Add all commands to `app`, in the order in which --help shows them."""
    app.command("declare", rich_help_panel=BAD_MINUTE)(declare.declare)
    app.command("update", rich_help_panel=BAD_MINUTE)(update.update)
    app.command("resolve", rich_help_panel=BAD_MINUTE)(update.resolve)
    app.command("send", rich_help_panel=BAD_MINUTE)(send.send)
    app.command("discard", rich_help_panel=BAD_MINUTE)(send.discard)

    app.command("preview", rich_help_panel=LOOK_FIRST)(preview.preview)
    app.command("test", rich_help_panel=LOOK_FIRST)(preview.test)

    app.command("init", rich_help_panel=SET_UP)(init.init)
