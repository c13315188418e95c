"""Finds everything that is wrong in a folder, without a ledger: what the command lint shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from commcast.errors import Fault, InputError

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Channel, Incident, Recipient
    from commcast.rendering.render import Renderer
    from commcast.rendering.templates import Templates


@dataclass
class Findings:
    """What lint found. `checked` counts by kind what was looked at; warnings do not fail."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def add(self, error: InputError) -> None:
        """Keep each fault once: the same template fails for many incidents."""
        self.faults.extend(fault for fault in error.faults if fault not in self.faults)

    def count(self, kind: str, number: int) -> None:
        self.checked[kind] = self.checked.get(kind, 0) + number


def find_faults(folder: Path, files: list[Path], now: datetime) -> Findings:
    """Return all that is wrong in a folder, or in some of its incident files."""
    from commcast.config.load import load_config
    from commcast.config.settings import CONFIG_NAME

    findings = Findings()
    try:
        config = load_config(folder)
    except InputError as error:
        findings.add(error)
        return findings
    findings.warnings.extend(
        Fault(CONFIG_NAME, 0, 0, f"{key} has no effect yet", "this version reads it and does nothing more")
        for key in config.not_served
    )
    incidents = _named_incidents(config, files, now, findings) if files else _incidents(config, now, findings)
    findings.count("incidents", len(incidents))
    if not files:
        _check_presets(config, findings)
    lists = _check_lists(config, findings)
    check_words(config, incidents, lists, findings)
    return findings


def _incidents(config: Config, now: datetime, findings: Findings) -> list[Incident]:
    from commcast.incidents.load import load_incidents

    try:
        loaded = load_incidents(config, now)
    except InputError as fault:
        findings.add(fault)
        return []
    for error in loaded.broken.values():
        findings.add(error)
    findings.count("incidents", len(loaded.broken))
    return _keeping_the_cadence(config, loaded.incidents, findings)


def _named_incidents(config: Config, files: list[Path], now: datetime, findings: Findings) -> list[Incident]:
    from commcast.incidents.load import load_incident

    incidents = []
    for file in files:
        path = file if file.is_absolute() else Path.cwd() / file
        try:
            incidents.append(load_incident(path, _anchored(config), now))
        except InputError as error:
            findings.add(error)
            findings.count("incidents", 1)
    return _keeping_the_cadence(config, incidents, findings)


def _anchored(config: Config) -> Config:
    """Return the configuration with its folder as an absolute path, so that files are found to be in it."""
    return config.model_copy(update={"folder": config.folder.absolute()})


def _keeping_the_cadence(config: Config, incidents: Iterable[Incident], findings: Findings) -> list[Incident]:
    from commcast.plan.cadence import lateness_faults

    incidents = list(incidents)
    for incident in incidents:
        if faults := lateness_faults(config, incident):
            findings.add(InputError(faults))
    return incidents


def _check_presets(config: Config, findings: Findings) -> None:
    from commcast.incidents.presets import list_presets

    try:
        findings.count("presets", len(list_presets(config)))
    except InputError as error:
        findings.add(error)


@dataclass
class SampleRow:
    """What the words are tried on: the first good row of a list, and all languages in it."""

    sample: Recipient | None = None
    locales: set[str] = field(default_factory=lambda: {""})


def _check_lists(config: Config, findings: Findings) -> dict[str, SampleRow]:
    lists = {}
    for name in config.audiences:
        lists[name] = SampleRow()
        findings.count("audiences", 1)
        with _noting(findings):
            _read_list(config, name, lists[name], findings)
    return lists


def _read_list(config: Config, name: str, found: SampleRow, findings: Findings) -> None:
    from commcast.recipients.lists import open_recipients

    reading, channels, is_reached = open_recipients(name, config), config.audiences[name].channels, False
    for recipient in reading:
        found.sample = found.sample or recipient
        found.locales.add(recipient.locale)
        is_reached = is_reached or any(recipient.key(channel) for channel in channels)
    findings.count("recipients", reading.rows - reading.skipped)
    findings.warnings.extend(fault for fault in reading.faults if fault not in findings.warnings)
    if reading.rows == reading.skipped:
        what = f"audience {name} has nobody who can be told"
        findings.warnings.append(Fault(config.audiences[name].recipients, 0, 0, what, "add a row"))
    elif not is_reached:
        findings.warnings.append(reaches_nobody(config, name))


def reaches_nobody(config: Config, name: str) -> Fault:
    """Return the warning of a list whose readers have nothing that their audience's channels could use."""
    from commcast.model.incident import Channel

    audience = config.audiences[name]
    by = " and ".join("email" if channel is Channel.EMAIL else "SMS" for channel in audience.channels)
    columns = {Channel.EMAIL: "an email", Channel.SMS: "a phone"}
    column = " or ".join(columns[channel] for channel in audience.channels)
    others = [channel for channel in Channel if channel not in audience.channels]
    what = f"no reader of it can be reached by {by}, which is how audience {name} is told"
    more = f", or {others[0]} to the channels of audience {name}" if others else ""
    return Fault(audience.recipients, 0, 0, what, f"add {column} column{more}")


def check_words(
    config: Config, incidents: Iterable[Incident], lists: Mapping[str, SampleRow], findings: Findings
) -> None:
    """Compile the templates of every audience, status and language; render each incident's newest words."""
    from commcast.model.incident import Status
    from commcast.plan.notices import audiences_of
    from commcast.rendering.templates import Templates, shipped_templates

    words = _TrialRenderer(config, Templates(config.folder / "templates", shipped_templates()))
    for audience, settings in config.audiences.items():
        for channel in settings.channels:
            for status in Status:
                for locale in sorted(lists[audience].locales):
                    with _noting(findings):
                        words.renderer(audience, channel, status, locale)
    for incident in incidents:
        for audience in audiences_of(incident, incident.latest, config):
            if sample := lists[audience].sample:
                for channel in config.audiences[audience].channels:
                    with _noting(findings):
                        words.render(incident, audience, channel, sample)
    findings.count("templates", words.compiled)


class _TrialRenderer:
    """Renders as a broadcast would; each wording is compiled once."""

    def __init__(self, config: Config, templates: Templates) -> None:
        self._config = config
        self._templates = templates
        self._by_place: dict[tuple[str, ...], Renderer] = {}
        self._by_digest: dict[str, Renderer] = {}

    @property
    def compiled(self) -> int:
        return len(self._by_digest)

    def renderer(self, audience: str, channel: Channel, status: str, locale: str) -> Renderer:
        from commcast.rendering.render import Renderer

        place = (audience, channel.value, status, locale)
        if place not in self._by_place:
            view = self._config.audiences[audience].view
            wording = self._templates.choose(audience, view, status, locale, channel)
            if wording.digest not in self._by_digest:
                self._by_digest[wording.digest] = Renderer(wording)
            self._by_place[place] = self._by_digest[wording.digest]
        return self._by_place[place]

    def render(self, incident: Incident, audience: str, channel: Channel, reader: Recipient) -> None:
        """Render the newest update for one reader. Raises TemplateError."""
        from commcast.model.incident import Channel
        from commcast.plan.cadence import promises
        from commcast.rendering.context import Occasion, build_context, next_word, recipient_values

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


@contextmanager
def _noting(findings: Findings) -> Iterator[None]:
    """Keep what is wrong, and go on."""
    try:
        yield
    except InputError as error:
        findings.add(error)
