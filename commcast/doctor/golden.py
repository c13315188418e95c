"""Golden messages: what every template says, kept as text, so that a change of words shows in review."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

from commcast.config.settings import Config
from commcast.doctor.trial import TrialRenderer, made_up_stories
from commcast.errors import InputError, TemplateError
from commcast.files import read_text_file
from commcast.model.incident import Channel, Incident, Recipient
from commcast.plan.notices import audiences_of
from commcast.rendering.context import NO_OCCASION, Occasion
from commcast.rendering.moments import MOMENTS
from commcast.rendering.render import SmsContent

GOLDEN_FOLDER = "golden"
LARGEST_FILE = 4_000_000  # bytes
_READER = Recipient(2, email="ann@example.com", name="Ann")
Told = tuple[str, Incident, Occasion]  # what a message is headed, and what it tells of


class Change(NamedTuple):
    """One golden file that differs from what templates say now; `old` is "" for a new file."""

    file: str
    old: str
    new: str

    def diff(self) -> str:
        """Return the difference as a unified diff."""
        old, new = (text.splitlines(keepends=True) for text in (self.old, self.new))
        return "".join(unified_diff(old, new, self.file, f"{self.file} (now)"))


def messages_now(config: Config, incidents: Sequence[Incident], languages: Sequence[str]) -> dict[str, str]:
    """Return by file what readers are told: of made-up incidents at every moment, and of real ones.

    One file for each story, audience and language. Raises TemplateError with the faults of all templates.
    """
    trial, made_up = TrialRenderer(config), made_up_stories(config)
    every = [(each, *made_up[each][0]) for each in MOMENTS if each in made_up]
    told: dict[str, list[Told]] = {"example": every}
    for incident in incidents:
        updates = [incident.updates[:count] for count in range(1, len(incident.updates) + 1)]
        each_time = [incident.model_copy(update={"updates": each}) for each in updates]
        told[incident.id] = [(f"update {one.latest.number}", one, NO_OCCASION) for one in each_time]
    found: dict[str, str] = {}
    faults: list[TemplateError] = []
    for name, story in told.items():
        for audience in config.audiences:
            for language in languages:
                try:
                    text = "\n".join(_told(trial, story, audience, language))
                except TemplateError as error:
                    faults.append(error)
                    continue
                if text:
                    found[f"{GOLDEN_FOLDER}/{name}/{audience}.{language}.txt"] = text
    if faults:
        raise TemplateError(dict.fromkeys(fault for error in faults for fault in error.faults))
    return found


def _told(trial: TrialRenderer, story: Sequence[Told], audience: str, language: str) -> Iterator[str]:
    config, reader = trial.config, _READER._replace(locale=language)
    for heading, incident, occasion in story:
        is_told = heading in MOMENTS or audience in audiences_of(incident, incident.latest, config)
        for channel in config.audiences[audience].channels if is_told else ():
            if channel is Channel.SMS and occasion.follow_up:
                continue
            content = trial.render(incident, audience, channel, reader, occasion)
            if isinstance(content, SmsContent):
                yield f"## {heading}, text of {content.size.segments}\n\n{content.body}\n"
            else:
                yield f"## {heading}, email\n\nSubject: {content.subject}\n\n{content.text}"


def changes(folder: Path, now: dict[str, str], languages: Sequence[str]) -> list[Change]:
    """Return what differs from a desk's golden files, by name; `new` is "" if nothing tells it any more.

    Files of other languages are left alone; no `languages` mean all.
    """
    endings = tuple(f".{each}.txt" for each in languages) or ".txt"
    paths = (folder / GOLDEN_FOLDER).rglob("*.txt")
    kept = {path.relative_to(folder).as_posix() for path in paths if path.name.endswith(endings)}
    found = []
    for file in sorted(kept | now.keys()):
        new, old = now.get(file, ""), ""
        if file in kept:
            old = read_text_file(folder / file, folder=folder, name=file, largest=LARGEST_FILE)
        if old != new:
            found.append(Change(file, old, new))
    return found


def update(folder: Path, changed: Sequence[Change]) -> None:
    """Write golden files as templates say it now. Raises InputError if one cannot be written."""
    for each in changed:
        path = folder / each.file
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{each.file}: leads out of the desk's folder; make it a plain file")
        try:
            if each.new:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(each.new, encoding="utf-8", newline="")
            else:
                path.unlink()
        except OSError as error:
            raise InputError(f"{each.file}: cannot be written: {error.strerror}") from None
