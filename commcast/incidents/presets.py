"""Presets: ready-made drafts for foreseeable incidents. The user's own come first, then the shipped ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from commcast.config.settings import Config
from commcast.errors import Fault, InputError
from commcast.files import read_text_file
from commcast.incidents.schema import PresetFile, check_shape
from commcast.model.incident import ID_PATTERN

PRESETS_FOLDER = "presets"


class Preset(NamedTuple):
    """One preset. `data` has the keys of an incident file as written, without id, at and started."""

    name: str
    origin: str  # "presets" (the user's folder) or "shipped"
    about: str
    title: str
    data: Mapping[str, Any]


def shipped_presets() -> Path:
    """Return the folder of the presets that come with commcast."""
    return Path(__file__).with_name("shipped_presets")


def list_presets(config: Config) -> tuple[Preset, ...]:
    """Return every preset by name; a user's own hides the shipped one of that name. Raises InputError."""
    presets: list[Preset] = []
    faults: list[Fault] = []
    for name, (path, origin) in sorted(_paths(config).items()):
        try:
            presets.append(_load(name, path, origin, config))
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    return tuple(presets)


def find_preset(config: Config, name: str) -> Preset:
    """Return the preset called `name`. Raises InputError with the known names, or its file's faults."""
    paths = _paths(config)
    if name not in paths:
        close = get_close_matches(name, paths, 1)
        remedy = f"did you mean {close[0]}?" if close else f"presets: {', '.join(sorted(paths))}"
        raise InputError.of("", f"no preset {name!r:.60}", remedy)
    return _load(name, *paths[name], config)


def preset_names(config: Config) -> tuple[str, ...]:
    """Return the name of every preset, also of broken ones."""
    return tuple(sorted(_paths(config)))


def _paths(config: Config) -> dict[str, tuple[Path, str]]:
    origins = ((shipped_presets(), "shipped"), (config.folder / PRESETS_FOLDER, PRESETS_FOLDER))
    return {
        path.stem: (path, origin)
        for folder, origin in origins
        for path in folder.glob("*.yaml")
        if re.fullmatch(ID_PATTERN, path.stem)
    }


def _load(name: str, path: Path, origin: str, config: Config) -> Preset:
    shown = f"{origin}/{path.name}"
    folder = shipped_presets() if origin == "shipped" else config.folder
    checked = check_shape(read_text_file(path, folder=folder, name=shown), shown, PresetFile)
    document, written, faults = checked.document, checked.written, checked.faults
    for number, entry in enumerate(written.updates if written else ()):
        if entry.at is not None:
            loc = ("updates", number, "at")
            faults.append(document.fault(loc, "a preset has no times", "remove `at`", key=True))
    if faults or written is None:
        raise InputError(document.all_faults(faults))
    data = {key: value for key, value in document.data.items() if key != "about"}
    return Preset(name, origin, written.about or "", written.title, data)
