"""Fixtures of the command line's tests."""

from tests.support.terminal import desk, person

__all__ = ["desk", "person"]
