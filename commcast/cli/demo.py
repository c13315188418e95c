"""The command demo: a whole incident told in a folder of its own, with the clock moved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commcast.cli.options import moment_or_now

FOLDER = "commcast-demo"


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", "-C", help="Where the demo's desk is made; an older demo goes.")
    ] = Path(FOLDER),
    now: Annotated[
        str | None,
        typer.Option(
            "--now", help="When the story begins, such as 2026-11-21T10:05+01:00.", show_default=False
        ),
    ] = None,
) -> None:
    """Watch a whole incident being told: no account, no network, no question.

    Three audiences read of the same moments in different words, by email and SMS, until it is over. All
    messages are written to files in the demo's folder.

    Example: commcast demo
    """
    from commcast.cli import demo_desk, demo_story

    desk = demo_desk.make(folder, moment_or_now(now))
    demo_story.tell(desk)
