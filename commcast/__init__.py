"""commcast: the incident-communication desk in a shell and a git repository."""

__version__ = "0.1.0"
