"""Finds everything that is wrong in a desk's folder: what `commcast lint` shows."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from functools import partial
from itertools import product
from pathlib import Path

from sqlalchemy import Connection

from commcast.config.load import load_config
from commcast.config.settings import CONFIG_NAME, TWILIO_SENDER, Config
from commcast.doctor.trial import TrialRenderer, made_up_stories
from commcast.errors import ConfigError, Fault, InputError, LedgerError
from commcast.files import read_text_file
from commcast.incidents.editor import fill_times
from commcast.incidents.load import (
    INCIDENTS_FOLDER,
    incident_paths,
    load_incident,
    load_incidents,
)
from commcast.incidents.presets import PRESETS_FOLDER, list_presets
from commcast.incidents.schema import IncidentFile, check_shape
from commcast.incidents.unfold import ReleasedAt
from commcast.ledger.releases import read_releases, release_times, released_facts
from commcast.ledger.store import ledger_path, open_copy
from commcast.model.incident import Channel, Incident, Recipient
from commcast.model.release import changed
from commcast.model.times import write_instant
from commcast.model.translation import translation_warnings
from commcast.plan.cadence import lateness_faults
from commcast.plan.notices import audiences_of
from commcast.recipients.formats import SUFFIXES, check_list
from commcast.recipients.lists import open_recipients
from commcast.rendering.moments import moments_on
from commcast.rendering.render import word_warnings
from commcast.rendering.templates import LANGUAGE, LARGEST_TEMPLATE, USER, shipped_templates


@dataclass
class Findings:
    """What lint found. `checked` counts what was checked, by kind; warnings are not failures.

    `fixed` are the lines that were written into files.
    """

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    fixed: list[str] = field(default_factory=list)

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


def find_faults(folder: Path, files: list[Path], now: datetime, *, fix: bool = False) -> Findings:
    """Return everything that is wrong in a folder, or in these of its incident files.

    Where there is a ledger, what was released is compared. `fix` writes back the times that files have lost.
    """
    findings = Findings()
    try:
        config = load_config(folder)
    except ConfigError as error:
        findings.add(error.faults)
        _check_shapes(folder, findings)
        return findings
    with findings.noting():
        sms = config.channels.sms
        if sms and sms.provider == "twilio" and (fault := config.twilio_sender_fault):
            findings.warnings.append(Fault(CONFIG_NAME, 0, 0, f"channels.sms.from {fault}", TWILIO_SENDER))
        with reading_ledger(config, findings) as ledger:
            incidents = _incidents(config, files, now, findings, release_times(ledger) if ledger else {})
            for incident in incidents:
                _compare(config, incident, ledger, findings, fix=fix)
        with findings.noting():
            if not files:
                findings.warnings.extend([*unread_files(config), *markdown_slips(config)])
                findings.checked["presets"] += len(list_presets(config))
        lists = {name: _read_list(config, name, findings) for name in config.audiences}
        check_words(config, incidents, lists, findings)
    return findings


def _check_shapes(folder: Path, findings: Findings) -> None:
    """Check what can be checked without a configuration: keys, sentences, and the headers of lists."""
    bare = Config.model_construct(folder=folder)  # type: ignore[call-arg]
    with findings.noting():
        list_presets(bare)
    with findings.noting():
        for path in incident_paths(bare):
            name = f"{INCIDENTS_FOLDER}/{path.name}"
            with findings.noting():
                checked = check_shape(read_text_file(path, folder=folder, name=name), name, IncidentFile)
                findings.add(checked.document.all_faults(checked.faults))
    for path in sorted((folder / "audiences").glob("[!.]*")):
        with findings.noting():
            if path.suffix in SUFFIXES:
                check_list(path, f"audiences/{path.name}")


@contextmanager
def reading_ledger(config: Config, findings: Findings) -> Iterator[Connection | None]:
    """Yield a connection to a copy of the ledger; None if there is none, or none that can be read."""
    with ExitStack() as stack:
        connection = None
        try:
            if copy := stack.enter_context(open_copy(ledger_path(config.folder), config.desk)):
                connection = stack.enter_context(copy.read())
        except LedgerError as error:
            findings.warnings.append(Fault("", 0, 0, f"files cannot be compared with what was sent: {error}"))
        yield connection


def _compare(
    config: Config, incident: Incident, ledger: Connection | None, findings: Findings, *, fix: bool
) -> None:
    """Compare an incident's file with what was released of it."""
    releases = read_releases(ledger, incident.id) if ledger else {}
    findings.add(lateness_faults(config, incident, releases))
    if ledger:
        findings.add(changed(incident, releases, partial(released_facts, ledger, incident.id)))
    lost = [each for each in incident.updates if each.number in releases and not each.at_written]
    with findings.noting():
        if fix and lost:
            fill_times(config.folder / incident.path, {each.number: each.at for each in lost})
            findings.fixed += [f"{incident.path}: at of update {each.number}" for each in lost]
            return
    for each in lost:
        what = f"update {each.number} was released and has lost its line `at`"
        remedy = f"add at: {write_instant(each.at)}, or run: commcast lint --fix"
        findings.warnings.append(Fault(incident.path, each.line, 0, what, remedy))


def _incidents(
    config: Config, files: list[Path], now: datetime, findings: Findings, released_at: ReleasedAt
) -> list[Incident]:
    """Return the incidents that can be read, of these files or of all."""
    findings.checked["incidents"] += len(files)
    found: list[Incident] = []
    if files:
        # Files are only found to be in the desk's folder by its absolute path.
        anchored = config.model_copy(update={"folder": config.folder.absolute()})
        for file in files:
            with findings.noting():
                found.append(load_incident(Path.cwd() / file, anchored, now, released_at))
        return found
    with findings.noting():
        loaded = load_incidents(config, now, released_at=released_at)
        findings.checked["incidents"] += len(loaded.incidents) + len(loaded.broken)
        for error in loaded.broken.values():
            findings.add(error.faults)
        found.extend(loaded.incidents)
    return found


_DESK_FOLDERS = (INCIDENTS_FOLDER, PRESETS_FOLDER, "templates", "audiences")
_YAML = re.compile(r"\.ya?ml", re.IGNORECASE)
_OLD_KINDS = re.compile(r"(?:.*\.)?(?:email\.(?:txt|html)|sms\.txt)\.j2")


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
    *folders, name = file.parts[1:]
    if _OLD_KINDS.fullmatch(name):
        return "email and text are one file for each moment now: see docs/templates.md"
    others = (path for path in (config.folder / "templates").rglob("*.j2") if path.is_file())
    if any(name.encode() in other.read_bytes() for other in others):
        return ""
    shipped = shipped_templates()
    known = {path.name for path in shipped.rglob("*.j2") if not path.parent.name.startswith("_")}
    audiences = {*config.audiences, "internal"}
    wrong = [each for each in folders if each not in audiences and not LANGUAGE.fullmatch(each)]
    if name in known and len(folders) <= 2 and not wrong:
        return ""
    near = get_close_matches(name, sorted(known), 1)
    meant = "/".join(["templates", *folders, near[0]]) if near and not wrong else ""
    return f"did you mean {meant}?" if meant else "include it in a template, or move it elsewhere"


# What looks like Markdown and is not, or the other way round (CommonMark 0.31).
_SLIPS = (
    (
        re.compile(r"""\{\{[^{}]*["'][^"'{}]*(?:\*\*|\]\()"""),
        "Markdown inside {{ }} is printed as it is",
        "move it outside",
    ),
    (
        re.compile(r"^ {0,3}\d{2,9}[.)] +\S"),
        "a line that begins like this becomes a numbered list",
        "write 22\\. instead of 22.",
    ),
    (re.compile(r"\w\*\w[^*]*\*\w"), "these stars are read as italics and vanish", "write \\*"),
    (
        re.compile(r"<(?!https?:|mailto:)[a-zA-Z/][^>]*>"),
        "HTML is switched off, so readers see it as it is",
        "write Markdown",
    ),
)


def markdown_slips(config: Config) -> Iterator[Fault]:
    """Yield a warning for each line of a desk's own emails that Markdown reads otherwise than it looks."""
    for path in sorted((config.folder / "templates").rglob("*.md.j2")):
        name = path.relative_to(config.folder).as_posix()
        text = read_text_file(path, folder=config.folder, name=name, largest=LARGEST_TEMPLATE)
        for number, line in enumerate(text.split("\n"), 1):
            plain = re.sub(r"\{[%#].*?[%#]\}", "", line)
            for slip, what, remedy in _SLIPS:
                if slip.search(plain) and not plain.startswith("Subject:"):
                    yield Fault(name, number, 0, what, remedy)


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
    """Compile the templates for each audience, status and language; render each incident's newest update.

    A desk's own templates are also tried on a made-up update of their status, with and without its facts.
    """
    trial, made_up = TrialRenderer(config), made_up_stories(config)
    for audience, settings in config.audiences.items():
        sample = lists[audience].sample
        every = [(channel, moment) for channel in settings.channels for moment in moments_on(channel)]
        for (channel, moment), locale in product(every, sorted(lists[audience].locales)):
            with findings.noting():
                trial.check_languages(audience, channel, moment, locale)
                wording = trial.renderer(audience, channel, moment, locale).wording
                if sample and any(name.startswith(USER) for name in wording.sources):
                    for each, occasion in made_up.get(moment, ()):
                        trial.render(each, audience, channel, sample._replace(locale=locale), occasion)
    for incident in incidents:
        is_too_long = False
        for audience in audiences_of(incident, incident.latest, config):
            if sample := lists[audience].sample:
                for channel in config.audiences[audience].channels:
                    with findings.noting():
                        content = trial.render(incident, audience, channel, sample)
                        is_too_long |= getattr(content, "is_shortened", False)
        findings.warnings.extend(word_warnings(incident, is_too_long=is_too_long))
        findings.warnings.extend(translation_warnings(incident))
    findings.checked["templates"] += len(trial.by_digest)
