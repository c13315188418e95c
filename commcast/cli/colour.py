"""Colour, on a terminal only and never against NO_COLOR (https://no-color.org)."""

from __future__ import annotations

import os
import sys

from commcast.cli.output import put

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"


def has_colour() -> bool:
    """Return whether stdout shows colour: a terminal that can, and whose owner has not said no."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, *codes: str) -> str:
    """Return `text` in colour where stdout shows it. Make it inert first; print it with `show_painted`."""
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if has_colour() and text else text


def show_painted(text: str) -> None:
    """Print a result that holds our own colours; whatever others wrote in it has been made inert before."""
    put(text)
