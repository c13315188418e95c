"""Finds everything that is wrong in a desk's folder, without a ledger: what `commcast lint` shows."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

from commcast.config.load import load_config
from commcast.config.settings import CONFIG_NAME, Config
from commcast.errors import Fault, InputError
from commcast.incidents.load import INCIDENTS_FOLDER, load_incident, load_incidents
from commcast.incidents.presets import PRESETS_FOLDER, list_presets
from commcast.model.incident import Channel, Incident, Recipient, Status
from commcast.plan.cadence import lateness_faults, promises
from commcast.plan.notices import audiences_of
from commcast.recipients.lists import open_recipients
from commcast.rendering.context import Occasion, build_context, next_word, recipient_values
from commcast.rendering.render import Renderer
from commcast.rendering.templates import Templates, shipped_templates


@dataclass
class Findings:
    """What lint found. `checked` counts what was checked, by kind; warnings are not failures."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, faults: Iterable[Fault]) -> None:
        """Keep each fault once: the same template fails for many incidents."""
        self.faults.extend(fault for fault in faults if fault not in self.faults)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the faults that are raised inside, and go on."""
        try:
            yield
        except InputError as error:
            self.add(error.faults)


def find_faults(folder: Path, files: list[Path], now: datetime) -> Findings:
    """Return everything that is wrong in a folder, or in these of its incident files."""
    findings = Findings()
    with findings.noting():
        config = load_config(folder)
        findings.warnings.extend(
            Fault(CONFIG_NAME, 0, 0, f"{key} has no effect yet", "this version ignores it")
            for key in config.not_served
        )
        incidents = _incidents(config, files, now, findings)
        for incident in incidents:
            findings.add(lateness_faults(config, incident))
        with findings.noting():
            if not files:
                findings.warnings.extend(unread_files(config))
                findings.checked["presets"] += len(list_presets(config))
        lists = {name: _read_list(config, name, findings) for name in config.audiences}
        check_words(config, incidents, lists, findings)
    return findings


def _incidents(config: Config, files: list[Path], now: datetime, findings: Findings) -> list[Incident]:
    """Return the incidents that can be read, of these files or of all."""
    findings.checked["incidents"] += len(files)
    found: list[Incident] = []
    if files:
        # Files are only found to be in the desk's folder by its absolute path.
        anchored = config.model_copy(update={"folder": config.folder.absolute()})
        for file in files:
            with findings.noting():
                found.append(load_incident(Path.cwd() / file, anchored, now))
        return found
    with findings.noting():
        loaded = load_incidents(config, now)
        findings.checked["incidents"] += len(loaded.incidents) + len(loaded.broken)
        for error in loaded.broken.values():
            findings.add(error.faults)
        found.extend(loaded.incidents)
    return found


_DESK_FOLDERS = (INCIDENTS_FOLDER, PRESETS_FOLDER, "templates", "audiences")
_YAML = re.compile(r"\.ya?ml", re.IGNORECASE)
_LOCALE = re.compile(r"(?<=[/.])[a-z]{2,3}(-[A-Za-z0-9]+)*\.(?=(email|sms)\.)")
_KINDS = ("email.txt.j2", "email.html.j2", "sms.txt.j2")


def unread_files(config: Config) -> Iterator[Fault]:
    """Yield a warning for each file of a desk that nothing reads, one for all of a deeper folder."""
    seen: set[Path] = set()
    for found in sorted(config.folder.iterdir()):
        near = get_close_matches(found.name.lower(), _DESK_FOLDERS, 1, 0.8)
        if found.is_dir() and near and found.name not in _DESK_FOLDERS:
            yield Fault(f"{found.name}/", 0, 0, "nothing reads this folder", f"did you mean {near[0]}/?")
    lists = {os.path.normpath(audience.recipients) for audience in config.audiences.values()}
    for top in _DESK_FOLDERS:
        for path in sorted((config.folder / top).rglob("[!.]*")):
            file = path.relative_to(config.folder)
            if "/." in str(file) or not path.is_file() or file.stem == "README" or str(file) in lists:
                continue
            remedy = _meant_template(file, config) if top == "templates" else _meant_file(file)
            if remedy and (top == "templates" or len(file.parts) == 2 or file.parent not in seen):
                yield Fault(file.as_posix(), 0, 0, "nothing reads this file", remedy)
                seen.add(file.parent)


def _meant_file(file: Path) -> str:
    """Return what to do with an incident, preset or list that is not read; "" if it is."""
    top = file.parts[0]
    if top == "audiences":
        return "name it under [audiences] in commcast.toml, or move it elsewhere"
    if len(file.parts) == 2 and file.suffix in (".yaml", ".yml")[: 2 if top == INCIDENTS_FOLDER else 1]:
        return ""
    meant = f"{top}/{_YAML.split(file.name)[0].lower()}.yaml"
    return f"did you mean {meant}?" if _YAML.search(file.name) else "move it elsewhere"


def _meant_template(file: Path, config: Config) -> str:
    """Return what to do with a template that is not read; "" if it is, if only by another one."""
    name = file.relative_to("templates").as_posix()
    levels = ("", *(f"{status}." for status in Status))
    known = {
        *map(
            "".join,
            product((f"{each}/" for each in (*config.audiences, "customers", "internal")), levels, _KINDS),
        )
    }
    others = (path for path in (config.folder / "templates").rglob("*.j2") if path.is_file())
    if any(name.encode() in other.read_bytes() for other in others):
        return ""
    text = file.with_name(file.name.replace("email.html.j2", "email.txt.j2"))
    if _LOCALE.sub("", name) in known or (shipped_templates() / name).exists():
        return "" if (config.folder / text).exists() else f"add {text}: HTML goes with the text of its name"
    near = get_close_matches(name, sorted(known), 1)
    return f"did you mean templates/{near[0]}?" if near else "include it in a template, or move it elsewhere"


@dataclass
class SampleRow:
    """What templates are tried on: the first good row of a list, and all languages in the list."""

    sample: Recipient | None = None
    locales: set[str] = field(default_factory=lambda: {""})


def _read_list(config: Config, name: str, findings: Findings) -> SampleRow:
    found, audience = SampleRow(), config.audiences[name]
    findings.checked["audiences"] += 1
    with findings.noting():
        reading, is_reached = open_recipients(name, config), False
        for recipient in reading:
            found.sample = found.sample or recipient
            found.locales.add(recipient.locale)
            is_reached = is_reached or any(recipient.key(channel) for channel in audience.channels)
        findings.checked["recipients"] += reading.rows - reading.skipped
        findings.warnings = [*dict.fromkeys(findings.warnings + reading.faults + reading.warnings)]
        if reading.rows == reading.skipped:
            what = f"audience {name} has no usable recipient"
            findings.warnings.append(Fault(audience.recipients, 0, 0, what, "add a row"))
        elif not is_reached:
            findings.warnings.append(reaches_nobody(config, name))
    return found


def reaches_nobody(config: Config, name: str) -> Fault:
    """Return the warning about a list in which nobody has an address for their audience's channels."""
    audience = config.audiences[name]
    by = " and ".join("email" if channel is Channel.EMAIL else "SMS" for channel in audience.channels)
    column = " or ".join("an email" if each is Channel.EMAIL else "a phone" for each in audience.channels)
    others = [channel for channel in Channel if channel not in audience.channels]
    what = f"none of its readers can be reached by {by}, which audience {name} uses"
    more = f", or {others[0]} to the channels of audience {name}" if others else ""
    return Fault(audience.recipients, 0, 0, what, f"add {column} column{more}")


def check_words(
    config: Config, incidents: Iterable[Incident], lists: Mapping[str, SampleRow], findings: Findings
) -> None:
    """Compile the templates for each audience, status and language; render each incident's newest update."""
    trial = _TrialRenderer(config)
    for audience, settings in config.audiences.items():
        for channel, status, locale in product(settings.channels, Status, sorted(lists[audience].locales)):
            with findings.noting():
                trial.renderer(audience, channel, status, locale)
    for incident in incidents:
        for audience in audiences_of(incident, incident.latest, config):
            if sample := lists[audience].sample:
                for channel in config.audiences[audience].channels:
                    with findings.noting():
                        trial.render(incident, audience, channel, sample)
    findings.checked["templates"] += len(trial.by_digest)


class _TrialRenderer:
    """Renders as a broadcast would; `by_digest` holds each wording, compiled once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._templates = Templates(config.folder / "templates", shipped_templates())
        self._by_place: dict[tuple[str, ...], Renderer] = {}
        self.by_digest: dict[str, Renderer] = {}

    def renderer(self, audience: str, channel: Channel, status: str, locale: str) -> Renderer:
        place = (audience, channel.value, status, locale)
        if place not in self._by_place:
            view = self._config.audiences[audience].view
            wording = self._templates.choose(audience, view, status, locale, channel)
            if wording.digest not in self.by_digest:
                self.by_digest[wording.digest] = Renderer(wording)
            self._by_place[place] = self.by_digest[wording.digest]
        return self._by_place[place]

    def render(self, incident: Incident, audience: str, channel: Channel, reader: Recipient) -> None:
        """Render the newest update for one reader. Raises TemplateError."""
        update = incident.latest
        renderer = self.renderer(audience, channel, update.status, reader.locale)
        values = recipient_values(reader, self._config.audiences[audience])
        context = build_context(
            self._config,
            incident,
            update,
            audience,
            zone=ZoneInfo(reader.timezone or self._config.organisation.zone),
            locale=reader.locale,
            first=update.number == 1,
            next_update_by=promises(self._config, incident, update).get(audience),
            previous=incident.update(update.number - 1) if update.number > 1 else None,
            occasion=Occasion(next_word=next_word(reader.level, channel, by_email=values["by_email"])),
        )
        if channel is Channel.EMAIL:
            renderer.email(context, values)
        else:
            renderer.sms(context, values)
