"""Registers every command; command files import heavy parts only when they run."""

from __future__ import annotations

import typer

from commcast.cli import (
    declare,
    demo,
    doctor,
    init,
    lint,
    log,
    preview,
    receipts,
    recipients,
    reconcile,
    resend,
    schema,
    send,
    settle,
    status,
    stop,
    templates,
    tick,
    update,
)

BAD_MINUTE = "In the bad minute"
LOOK_FIRST = "Look first"
UNATTENDED = "Unattended"
LOST_ANSWERS = "When an answer was lost"
SET_UP = "Set up"


def register(app: typer.Typer) -> None:
    """Add all commands to `app`, in the order in which --help shows them."""
    app.command("declare", rich_help_panel=BAD_MINUTE)(declare.declare)
    app.command("update", rich_help_panel=BAD_MINUTE)(update.update)
    app.command("resolve", rich_help_panel=BAD_MINUTE)(update.resolve)
    app.command("send", rich_help_panel=BAD_MINUTE)(send.send)
    app.command("discard", rich_help_panel=BAD_MINUTE)(send.discard)
    app.command("stop", rich_help_panel=BAD_MINUTE)(stop.stop)
    app.command("resume", rich_help_panel=BAD_MINUTE)(stop.resume)

    app.command("preview", rich_help_panel=LOOK_FIRST)(preview.preview)
    app.command("test", rich_help_panel=LOOK_FIRST)(preview.test)
    app.command("lint", rich_help_panel=LOOK_FIRST)(lint.lint)
    app.command("status", rich_help_panel=LOOK_FIRST)(status.status)
    app.command("log", rich_help_panel=LOOK_FIRST)(log.log)
    app.command("templates", rich_help_panel=LOOK_FIRST)(templates.templates)

    app.command("tick", rich_help_panel=UNATTENDED)(tick.tick)
    app.command("receipts", rich_help_panel=UNATTENDED)(receipts.receipts)

    app.command("reconcile", rich_help_panel=LOST_ANSWERS)(reconcile.reconcile)
    app.command("resend", rich_help_panel=LOST_ANSWERS)(resend.resend)
    app.command("settle", rich_help_panel=LOST_ANSWERS)(settle.settle)

    app.command("init", rich_help_panel=SET_UP)(init.init)
    app.command("doctor", rich_help_panel=SET_UP)(doctor.doctor)
    app.add_typer(
        recipients.app,
        name="recipients",
        help="Check who is told; let an address hear nothing more; forget one.",
        epilog="Example: commcast recipients check customers",
        rich_help_panel=SET_UP,
    )
    app.command("schema", rich_help_panel=SET_UP)(schema.schema)
    app.command("demo", rich_help_panel=SET_UP)(demo.demo)
