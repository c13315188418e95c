"""Hides this run's secrets in what others say: a server may repeat what we told it."""

from __future__ import annotations

from base64 import b64encode

_SHORTEST = 6  # characters; a shorter secret is part of many an innocent word
_hidden: dict[str, None] = {}


def hide(secret: str) -> None:
    """Let `masked` hide a secret from now on, also in Base64, as a login holds it."""
    if len(secret) < _SHORTEST:
        return
    _hidden[secret] = None
    for before, start in ((0, 0), (1, 2), (2, 3)):  # bytes before it, which share its first characters
        coded = b64encode(b"\0" * before + secret.encode()).decode()
        _hidden[coded[start : (before + len(secret.encode())) * 8 // 6]] = None


def masked(text: str) -> str:
    """Return a text without any secret."""
    for each in _hidden:
        text = text.replace(each, "***")
    return text
