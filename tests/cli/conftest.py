"""Fixtures of the command line's tests."""

from tests.cli.terminals import desk, person

__all__ = ["desk", "person"]
