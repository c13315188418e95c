"""Templates of a desk's own, in place of the shipped ones."""

from __future__ import annotations

from pathlib import Path

from commcast.rendering.moments import MOMENTS


def write_words(desk: Path, audience: str, *, email: str = "", sms: str = "") -> None:
    """Let an audience be told every moment in these words; `email` begins with its subject."""
    folder = desk / "templates" / audience
    folder.mkdir(parents=True, exist_ok=True)
    for ending, words in ((".md.j2", email), (".sms.j2", sms)):
        for moment in MOMENTS if words else ():
            (folder / f"{moment}{ending}").write_text(words)
