"""Loads the incident files of a folder; a broken one does not stop the others."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import commcast
from commcast.config.settings import Config
from commcast.errors import Fault, InputError
from commcast.files import LARGEST_FILE, cannot_read, decode, open_regular, read_bytes_file
from commcast.incidents.schema import IncidentFile, check_shape
from commcast.incidents.unfold import ReleasedAt, Unfolding
from commcast.model.incident import Incident


class Judged(NamedTuple):
    """What is kept of a file whose incident was found to be over, with nothing left to send.

    `digest` covers its bytes and all they were judged by; `incident` is its id, so that a second file with
    the same id is still noticed.
    """

    digest: str
    incident: str


def grounds(config: Config) -> bytes:
    """Return the digest of what else files are judged by: commcast.toml and this program."""
    return hashlib.blake2b(f"{commcast.__version__}\n{config.model_dump_json()}\n".encode()).digest()


def digest_of(raw: bytes, grounds: bytes) -> str:
    """Return the digest of a file's bytes, judged on these grounds."""
    return hashlib.blake2b(raw, digest_size=32, key=grounds).hexdigest()


INCIDENTS_FOLDER = "incidents"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A folder's incidents in the order of their files, and what is wrong with the other files.

    `over` has, by file, the ids of incidents that were not read because they were judged before. `digests`
    has the digests of the files of `incidents`, with which they can be judged.
    """

    incidents: tuple[Incident, ...]
    broken: Mapping[str, InputError]
    over: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all incidents that have a file which can be read."""
        return (*(incident.id for incident in self.incidents), *self.over.values())


_NO_TIMES: ReleasedAt = MappingProxyType({})


def load_incidents(
    config: Config,
    now: datetime,
    judged: Mapping[str, Judged] | None = None,
    released_at: ReleasedAt = _NO_TIMES,
) -> Loaded:
    """Read every incident file of the folder. A broken one does not stop the others.

    A file that was `judged` to be over and has not changed since is not read again. `released_at` gives the
    times of updates that have none in their file.
    Raises InputError if the files cannot be found, which is not the same as an empty folder.
    """
    reading = _Reading(config, now, None if judged is None else grounds(config), released_at)
    over: dict[str, str] = {}
    for file in _incident_files(config):
        name = f"{INCIDENTS_FOLDER}/{file}"
        if judged and name in judged and reading.is_as_judged(name, judged[name]):
            over[name] = judged[name].incident
        else:
            reading.read(config.folder / INCIDENTS_FOLDER / file)
    # If two files have one id it is a fault of both: then the one that was judged is read after all.
    taken = Counter([*over.values(), *{incident.id for incident in reading.incidents.values()}])
    for name in [name for name, incident in over.items() if taken[incident] > 1]:
        reading.read(config.folder / name)
        del over[name]
    return reading.result(over)


@dataclass
class _Reading:
    """Reads files one by one, and keeps what is wrong with each."""

    config: Config
    now: datetime
    grounds: bytes | None
    released_at: ReleasedAt
    incidents: dict[str, Incident] = field(default_factory=dict)
    broken: dict[str, InputError] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def is_as_judged(self, name: str, judged: Judged) -> bool:
        """Return whether a regular file holds what it held when it was judged; False if it cannot be read.

        The bytes are compared, not size and time: a copy that keeps its time would be missed, and reading a
        thousand small files takes less time than parsing five.
        """
        try:
            with open_regular(f"{self.config.folder}/{name}", name, "") as file:
                raw = file.read(LARGEST_FILE + 1)
        except (OSError, InputError):
            return False
        return self.grounds is not None and digest_of(raw, self.grounds) == judged.digest

    def read(self, path: Path) -> None:
        name = _name(path, self.config)
        try:
            raw = _read(path, name, self.config)
            text = decode(raw, name)
            self.incidents[name] = parse_incident(text, name, self.config, self.now, self.released_at)
            if self.grounds is not None:
                self.digests[name] = digest_of(raw, self.grounds)
        except InputError as error:
            self.broken[name] = error
        except Exception as error:  # a mistake of ours in one file must not silence the others
            what = f"could not be read: {type(error).__name__}"
            self.broken[name] = InputError.of(name, what, "please report this")

    def result(self, over: Mapping[str, str]) -> Loaded:
        incidents = dict(sorted(self.incidents.items()))
        names: dict[str, list[str]] = {}
        for name, incident in incidents.items():
            names.setdefault(incident.id, []).append(name)
        for name, incident in incidents.items():
            if others := [other for other in names[incident.id] if other != name]:
                what = f"id {incident.id!r} is also used by {', '.join(others)}"
                self.broken[name] = InputError(Fault(name, 1, 1, what, "give each incident its own id"))
        good = {name: incident for name, incident in incidents.items() if name not in self.broken}
        return Loaded(
            tuple(good.values()),
            dict(sorted(self.broken.items())),
            over,
            {name: digest for name, digest in self.digests.items() if name in good},
        )


def incident_paths(config: Config) -> list[Path]:
    """Return the incident files of the folder by name; hidden files belong to text editors.

    Raises InputError if the folder cannot be read.
    """
    return [config.folder / INCIDENTS_FOLDER / file for file in _incident_files(config)]


def _incident_files(config: Config) -> list[str]:
    """Return the names of the incident files, in order.

    Raises InputError if incidents/ is missing, unreadable, not a folder, or a link out of the desk's folder.
    """
    folder = config.folder / INCIDENTS_FOLDER
    try:
        if not folder.resolve(strict=True).is_relative_to(config.folder.resolve(strict=True)):
            raise _unfit("points outside the desk's folder", "make it a folder there")
        found = sorted(os.listdir(folder))  # noqa: PTH208 - a thousand Paths cost more than reading the files
    except FileNotFoundError:
        raise _unfit("is missing", f"create it: mkdir {folder}") from None
    except NotADirectoryError:
        raise _unfit("is not a folder", f"move it away, then: mkdir {folder}") from None
    except (OSError, RuntimeError) as error:
        raise _unfit(cannot_read(error), f"check: ls -ld {folder}") from None
    return [name for name in found if name.endswith((".yaml", ".yml")) and not name.startswith(".")]


def _unfit(what: str, remedy: str) -> InputError:
    return InputError.of(f"{INCIDENTS_FOLDER}/", what, remedy)


def load_incident(path: Path, config: Config, now: datetime, released_at: ReleasedAt = _NO_TIMES) -> Incident:
    """Return the incident of one file. `now` (aware) stands for the `at` of an update not yet released.

    Raises InputError with every fault of the file.
    """
    name = _name(path, config)
    return parse_incident(decode(_read(path, name, config), name), name, config, now, released_at)


def _read(path: Path, name: str, config: Config) -> bytes:
    if not path.name.isprintable():
        raise InputError.of(name, "has a control character in its name", "rename it")
    if path.suffix != ".yaml":
        raise InputError.of(name, "is not read under this name", f"rename it to {path.stem}.yaml")
    return read_bytes_file(path, folder=config.folder, name=name)


def parse_incident(
    text: str, name: str, config: Config, now: datetime, released_at: ReleasedAt = _NO_TIMES
) -> Incident:
    """Return the incident that `text` describes; `name` is its path in the folder ("incidents/pay7.yaml").

    Raises InputError with every fault of the text.
    """
    checked = check_shape(text, name, IncidentFile)
    faults, incident = checked.document.all_faults(checked.faults), None
    if checked.written is not None:
        unfolding = Unfolding(
            checked.document, config, now, checked.written, checked.spoiled, Path(name).stem, released_at
        )
        incident = unfolding.incident()
        faults = checked.document.all_faults([*checked.faults, *unfolding.faults])
    if faults or incident is None:
        raise InputError(faults)
    return incident.model_copy(update={"source": source_of(text)})


def source_of(text: str) -> str:
    """Return the digest that tells one text of an incident file from any other."""
    return hashlib.sha256(text.encode()).hexdigest()


def _name(path: Path, config: Config) -> str:
    inside = path.is_relative_to(config.folder)
    name = path.relative_to(config.folder).as_posix() if inside else path.name
    return "".join(character if character.isprintable() else "?" for character in name)
