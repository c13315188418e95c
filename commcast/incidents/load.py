"""Incident files -> incidents, all faults of each at once; a broken file does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from commcast.config import Config
from commcast.errors import Fault, InputError
from commcast.incidents.shape import check_shape
from commcast.incidents.unfold import Unfolding
from commcast.incidents.written import SENTENCE_KEYS, IncidentFile
from commcast.incidents.yamlfile import examine
from commcast.model import Incident
from commcast.textfile import read_text_file

INCIDENTS_FOLDER = "incidents"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A folder's incidents in order of their files, and what is wrong with each of the others."""

    incidents: tuple[Incident, ...]
    broken: Mapping[str, InputError]


def load_incidents(config: Config, now: datetime) -> Loaded:
    """Read every incident file of the folder. One that is broken does not stop the others.

    Raises InputError where the files cannot be found, which is not the same as that there are none.
    """
    incidents: dict[str, Incident] = {}
    broken: dict[str, InputError] = {}
    for path in incident_paths(config):
        name = _name(path, config)
        try:
            incidents[name] = load_incident(path, config, now)
        except InputError as error:
            broken[name] = error
        except Exception as error:  # a mistake of ours in one file must not silence the others
            what = f"could not be read: {type(error).__name__}"
            broken[name] = InputError(Fault(name, 0, 0, what, "please report it"))
    for name, others in _twins(incidents).items():
        what = f"id {incidents[name].id!r} is also that of {', '.join(others)}"
        broken[name] = InputError(Fault(name, 1, 1, what, "give each incident its own id"))
    good = tuple(incident for name, incident in incidents.items() if name not in broken)
    return Loaded(good, dict(sorted(broken.items())))


def incident_paths(config: Config) -> list[Path]:
    """Return the incident files of the folder by name; hidden files are those of text editors.

    Raises InputError where incidents/ is missing, unreadable, no folder, or a link out of the desk's folder.
    """
    folder = config.folder / INCIDENTS_FOLDER
    try:
        if not folder.resolve(strict=True).is_relative_to(config.folder.resolve(strict=True)):
            raise _unfit("leads out of the folder", "make it a plain folder there")
        found = sorted(folder.iterdir())  # unlike a glob it tells what it may not see
    except FileNotFoundError:
        raise _unfit("is missing", f"make it: mkdir {folder}") from None
    except NotADirectoryError:
        raise _unfit("is not a folder", f"move it away, then: mkdir {folder}") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links go round in a circle"
        raise _unfit(f"cannot be read: {reason}", f"look at: ls -ld {folder}") from None
    return [path for path in found if path.suffix in {".yaml", ".yml"} and not path.name.startswith(".")]


def _unfit(what: str, remedy: str) -> InputError:
    return InputError(Fault(f"{INCIDENTS_FOLDER}/", 0, 0, what, remedy))


def load_incident(path: Path, config: Config, now: datetime) -> Incident:
    """Return the incident of one file. `now` (aware) stands for the `at` of an update not yet released.

    Raises InputError with every fault of the file.
    """
    name = _name(path, config)
    if not path.name.isprintable():
        raise InputError(Fault(name, 0, 0, "holds a control character in its name", "rename it"))
    if path.suffix != ".yaml":
        raise InputError(Fault(name, 0, 0, "is not read under this name", f"rename it to {path.stem}.yaml"))
    return parse_incident(read_text_file(path, folder=config.folder, name=name), name, config, now)


def parse_incident(text: str, name: str, config: Config, now: datetime) -> Incident:
    """Return the incident that `text` describes; `name` is its path in the folder ("incidents/pay7.yaml").

    Raises InputError with every fault of the text.
    """
    document = examine(text, name, sentences=SENTENCE_KEYS)
    faults = list(document.faults)
    incident = None
    if document.data is not None or not faults:
        written, wrong, spoiled = check_shape(document, IncidentFile)
        faults.extend(wrong)
        if written is not None:
            reading = Unfolding(document, config, now, written, spoiled)
            incident = reading.incident(Path(name).stem)
            faults.extend(reading.faults)
    if faults or incident is None:
        raise InputError(sorted(set(faults), key=lambda fault: (fault.line, fault.column)))
    return incident


def _name(path: Path, config: Config) -> str:
    inside = path.is_relative_to(config.folder)
    name = path.relative_to(config.folder).as_posix() if inside else path.name
    return "".join(character if character.isprintable() else "?" for character in name)


def _twins(incidents: Mapping[str, Incident]) -> dict[str, list[str]]:
    by_id: dict[str, list[str]] = {}
    for name, incident in incidents.items():
        by_id.setdefault(incident.id, []).append(name)
    return {
        name: [n for n in names if n != name] for names in by_id.values() if len(names) > 1 for name in names
    }
