"""The incident file as a person writes it: its keys, their limits, and the JSON Schema for YAML editors."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from commcast.model import ID_PATTERN, Confidence, Kind, Status
from commcast.textfile import FORBIDDEN

LONGEST_TITLE = 200
LONGEST_SENTENCE = 4_000
MOST_UPDATES = 1_000

# Keys whose value is a sentence: YAML must not cut it at " #" (see yamlfile).
SENTENCE_KEYS = frozenset(
    [
        "title",
        "issue",
        "resolution",
        "scope",
        "action",
        "internal",
        "nothing_new",
        "because",
        "wrong",
        "right",
        "fixed",
        "remains",
        "if_it_persists",
        "offer",
    ]
)


def _sentence(text: str) -> str:
    found = FORBIDDEN.search(text) or re.search("\r", text)
    if found:
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}; write plain text")
    if not text.strip():
        raise ValueError("is empty; write it, or take the line out")
    return text.strip()


def _one_line(text: str) -> str:
    text = _sentence(text)
    if re.search(r"[\n\t]", text):
        raise ValueError("holds a line break or a tab; write it on one line")
    return text


def _link_or_words(text: str) -> str:
    text = _one_line(text)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S", text) and not re.match(r"https?://[^/\s]", text):
        raise ValueError("is not a web address; write https://…, or words")
    return text


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


Sentence = Annotated[str, Field(max_length=LONGEST_SENTENCE), AfterValidator(_sentence)]
OneLine = Annotated[str, Field(max_length=LONGEST_TITLE), AfterValidator(_one_line)]
Name = Annotated[str, Field(max_length=80), AfterValidator(_one_line)]
Names = Annotated[list[Name], Field(min_length=1, max_length=200), AfterValidator(_once)]
Moment = Annotated[
    OneLine, Field(description="Date and time with offset from UTC: 2026-11-21T10:05+01:00, or …Z")
]
SeverityWritten = Annotated[int, Field(strict=True, ge=1, le=4, description="1 is the worst, 4 the mildest")]
NumberWritten = Annotated[int, Field(strict=True, ge=1)]
NumbersWritten = Annotated[list[NumberWritten], Field(min_length=1, max_length=100)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class WindowWritten(_Entry):
    """The planned start and end of a maintenance."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")


class WordsWritten(_Entry):
    """Other words for one audience; the facts stay the same."""

    issue: Sentence | None = None
    resolution: Sentence | None = None
    scope: Sentence | None = None
    action: Sentence | None = None


class _Shared(_Entry):
    """What may stand at the top of the file and be changed by an update."""

    affected: Names | None = Field(None, description="Components of commcast.toml that are hit")
    audiences: Names | None = Field(None, description="Who is told; left out, commcast.toml decides")
    owner: Name | None = Field(None, description="The person of commcast.toml who leads")
    backup: Name | None = Field(None, description="Who is woken when the owner does not answer")
    window: WindowWritten | None = None
    translations: dict[Name, dict[Name, Sentence]] | None = Field(
        None, description="A locale's words: {de: {issue: …}}"
    )
    offer: Sentence | None = Field(None, description="What those hit are offered")
    merged_into: Name | None = Field(None, description="The id of the incident that goes on instead")
    expected_at: Moment | None = Field(None, description="When an expected incident will begin")


class UpdateEntry(_Shared):
    """One dated update. What is left out is carried forward from the update before."""

    at: Moment | None = Field(None, description="When it is said: 2026-11-21T10:05+01:00; filled at release")
    status: Status | None = None
    severity: SeverityWritten | None = None
    issue: Sentence | None = Field(None, description="What readers see, in their words")
    resolution: Sentence | None = Field(None, description="What is being done, or may be")
    timeframe: OneLine | None = Field(None, description="unknown | 30m | 1h to 2h | by 14:00")
    confidence: Confidence | None = Field(None, description="How sure the timeframe is")
    scope: Sentence | None = Field(None, description="Who and what is hit, and what works")
    action: Sentence | None = Field(None, description="What readers should do, or not do")
    next_update: OneLine | None = Field(None, description="When readers hear more: 20m, or 14:00")
    nothing_new: Sentence | None = Field(None, description="Said instead of repeating the words before")
    internal: Sentence | None = Field(None, description="For internal audiences only; never carried forward")
    words: dict[Name, WordsWritten] | None = Field(
        None, alias="for", description="Other words for one audience: {executives: {issue: …}}"
    )
    ended: Moment | None = Field(None, description="When it was over; left out: `at`")
    fixed: Sentence | None = Field(None, description="What mended it")
    remains: Sentence | None = Field(None, description="What readers may still notice")
    if_it_persists: Sentence | None = Field(None, description="What to do when it is not over for a reader")
    because: Sentence | None = Field(None, description="Why a plan changed")
    corrects: NumberWritten | NumbersWritten | None = Field(
        None, description="The number of the update that was wrong, or a list of them"
    )
    wrong: Sentence | None = Field(None, description="The wrong words of that update")
    right: Sentence | None = Field(None, description="The right words")
    check_in: Names | None = Field(
        None, description="In an end: audiences to ask on the next working day whether all is well"
    )


class IncidentFile(_Shared):
    """An incident or a maintenance: one file, its updates a dated list that is appended to."""

    id: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")] | None = Field(
        None, description="Short enough to say on the phone; left out: the file's name"
    )
    title: OneLine
    kind: Kind = Kind.INCIDENT
    severity: SeverityWritten
    started: Moment | None = Field(None, description="When it began; left out: the first update's `at`")
    postmortem: Annotated[OneLine, AfterValidator(_link_or_words)] | None = Field(
        None, description="Where the review stands, or when it will"
    )
    dedupe_key: OneLine | None = Field(None, description="The alert that opened it, so that it opens once")
    updates: list[UpdateEntry] = Field(min_length=1, max_length=MOST_UPDATES)


class PresetFile(_Shared):
    """An incident one can see coming: an incident file without id, at and started, nearly written."""

    about: OneLine | None = Field(None, description="When to take this preset")
    title: OneLine
    kind: Kind = Kind.INCIDENT
    severity: SeverityWritten
    updates: list[UpdateEntry] = Field(min_length=1, max_length=MOST_UPDATES)


def incident_schema() -> dict[str, Any]:
    """Return the JSON Schema of an incident file, for editors that complete and check YAML."""
    return {"title": "commcast incident", **_open(IncidentFile.model_json_schema(by_alias=True))}


def preset_schema() -> dict[str, Any]:
    """Return the JSON Schema of a preset file."""
    return {"title": "commcast preset", **_open(PresetFile.model_json_schema(by_alias=True))}


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop what only Python needs: a null for each key that may be left out (an empty value is a fault)."""
    if isinstance(schema.get("anyOf"), list):
        kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        schema = {k: v for k, v in schema.items() if k not in {"anyOf", "default"}}
        schema = {**schema, **kinds[0]} if len(kinds) == 1 else {**schema, "anyOf": kinds}
    return {key: _opened(value) for key, value in schema.items()}


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        return _open(value)
    return [_opened(item) for item in value] if isinstance(value, list) else value
