"""Everybody and everything that an incident names, looked up in commcast.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from commcast.config import Config
from commcast.incidents.written import IncidentFile, UpdateEntry
from commcast.incidents.yamldocument import Loc

Unknown = tuple[Loc, str, str]  # place below the entry, what is wrong, what to write


def unknown_names(entry: IncidentFile | UpdateEntry, config: Config) -> Iterator[Unknown]:
    """Yield each audience, component and person of an entry that the configuration does not know.

    Components are looked up only where it knows any.
    """
    for key, known in (("audiences", config.audiences), ("affected", config.components)):
        for index, name in enumerate(getattr(entry, key) or ()):
            if name not in known and (known or key != "affected"):
                yield _unknown((key, index), "component" if key == "affected" else "audience", name, known)
    for key in ("owner", "backup"):
        name = getattr(entry, key)
        if name is not None and name not in config.people:
            yield _unknown((key,), "person", name, config.people)
    for name in getattr(entry, "words", None) or ():
        if name not in config.audiences:
            yield _unknown(("for", name), "audience", name, config.audiences)


def _unknown(loc: Loc, kind: str, name: str, known: Mapping[str, Any]) -> Unknown:
    names = ", ".join(list(known)[:20]) or "none yet: add it to commcast.toml"
    return loc, f"{name!r:.60} is not a known {kind}", f"known: {names}"
