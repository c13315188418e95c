"""A change of words shows in review: every message is kept in golden/, as readers get it."""

from __future__ import annotations

from commcast.doctor import golden
from tests.support.golden_messages import FOLDER, messages


def test_every_message_is_as_it_was_reviewed() -> None:
    """After a change: python -m tests.support.golden_messages, and read the difference."""
    changed = golden.changes(FOLDER, messages(), [])
    assert not changed, "\n".join(each.diff() for each in changed)
