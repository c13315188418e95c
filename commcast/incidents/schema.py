"""The incident file as a person writes it; faults in its shape, in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from itertools import chain
from typing import Annotated, Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema

from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault
from commcast.files import FORBIDDEN, named
from commcast.incidents.yaml import QUOTE, Loc, YamlDocument, examine
from commcast.model.incident import ID_PATTERN, SENTENCES, Confidence, Kind, Status
from commcast.model.text import locale_of

LONGEST_TITLE = 200
LONGEST_SENTENCE = 4_000
MOST_UPDATES = 1_000

# Keys whose value is a sentence: YAML must not cut it at " #".
_SENTENCE_KEYS = {*SENTENCES, "title", "internal", "wrong", "right", "postmortem", "offer"}


# Keys of an update that ~ takes back: from then on nothing is carried forward for them.
TAKEN_BACK = (
    *("scope", "works", "data", "action", "short", "link", "urgent", "offer", "offer_public", "timeframe"),
    *("affected", "audiences", "owner", "backup", "for", "translations"),
)
# Keys that earlier versions accepted without acting on them.
_NOT_YET = frozenset(("dedupe_key",))


def _sentence(text: str) -> str:
    found = FORBIDDEN.search(text) or re.search("\r", text)
    if found:
        raise ValueError(f"contains the control character {named(found[0])}; write plain text")
    if not text.strip():
        raise ValueError("is empty; write it, or remove the line")
    return text.strip()


def _one_line(text: str) -> str:
    text = _sentence(text)
    if re.search(r"[\n\t]", text):
        raise ValueError("has a line break or a tab; write it on one line")
    return text


def _link_or_words(text: str) -> str:
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S", text) and not re.match(r"https?://[^/\s]", text):
        raise ValueError("is not a web address; write https://…, or plain text")
    return text


def _https(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_fit = parts.scheme == "https" and bool(parts.hostname) and not re.search(r"[\s<>\"\\]", text)
    except ValueError:
        is_fit = False
    if not is_fit:
        raise ValueError("is not a secure web address; write https://…")
    return text


def _locale(text: str) -> str:
    """Check a locale; each has one spelling, so that none is there twice."""
    if (tag := locale_of(text)) != text:
        raise ValueError(f"{text!r:.40} is not how it is spelled; write {tag}")
    return text


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


Sentence = Annotated[str, Field(max_length=LONGEST_SENTENCE), AfterValidator(_sentence)]
OneLine = Annotated[str, Field(max_length=LONGEST_TITLE), AfterValidator(_one_line)]
Name = Annotated[str, Field(max_length=80), AfterValidator(_one_line)]
Link = Annotated[OneLine, AfterValidator(_https)]
Locale = Annotated[str, Field(max_length=35), AfterValidator(_locale)]
Names = Annotated[list[Name], Field(min_length=1, max_length=200), AfterValidator(_once)]
_MOMENTS = ["2026-11-21T10:05+01:00", "2026-11-21T09:05Z"]
_MOMENT_KEYS = {"at", "started", "ended", "expected_at", "from", "to"}
Moment = Annotated[OneLine, Field(description="Date and time with offset from UTC", examples=_MOMENTS)]
SeverityWritten = Annotated[int, Field(strict=True, ge=1, le=4, description="1 is the worst, 4 the mildest")]
NumberWritten = Annotated[int, Field(strict=True, ge=1)]
NumbersWritten = Annotated[list[NumberWritten], Field(min_length=1, max_length=100)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @property
    def taken_back(self) -> frozenset[str]:
        """The keys of which ~ says that what was carried forward no longer holds."""
        return frozenset(key for key in self.model_fields_set if getattr(self, key) is None)


class WindowWritten(_Entry):
    """The planned start and end of a maintenance."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")


class WordsWritten(_Entry):
    """Other wording for one audience; the facts stay the same."""

    issue: Sentence | None = None
    resolution: Sentence | None = None
    scope: Sentence | None = None
    works: Sentence | None = None
    data: Sentence | None = None
    action: Sentence | None = None


class TitleWritten(_Entry):
    """The title in another language."""

    title: OneLine


# What an update says, in another language: every sentence for readers.
Translation = create_model(
    "Translation",
    __base__=_Entry,
    **dict.fromkeys((*SENTENCES, "wrong", "right"), (Sentence | None, None)),  # type: ignore[call-overload]
)


class _Shared(_Entry):
    """What may be at the top of the file and may be changed by an update."""

    affected: Names | None = Field(None, description="Affected components, by their names in commcast.toml")
    audiences: Names | None = Field(None, description="Who is told; default: commcast.toml decides")
    owner: Name | None = Field(None, description="The person in commcast.toml who leads")
    backup: Name | None = Field(None, description="Who is alerted if the owner does not answer")
    window: WindowWritten | None = None
    merged_into: Name | None = Field(None, description="The id of the incident that continues instead")
    expected_at: Moment | None = Field(None, description="When an expected incident will begin")


class UpdateEntry(_Shared):
    """One dated update. What is left out is carried forward from the update before it."""

    at: Moment | None = Field(None, description="When it was sent: 2026-11-21T10:05+01:00; set at release")
    status: Status | None = None
    severity: SeverityWritten | None = None
    issue: Sentence | None = Field(None, description="What readers see, in their words")
    resolution: Sentence | None = Field(None, description="What is being done about it")
    timeframe: OneLine | None = Field(None, description="unknown | 30m | 1h to 2h | by 14:00")
    confidence: Confidence | None = Field(None, description="How reliable the timeframe is")
    scope: Sentence | None = Field(None, description="Who and what is affected; unknown: nobody knows yet")
    works: Sentence | None = Field(None, description="What still works")
    data: Sentence | None = Field(None, description="Whether data is safe or late")
    action: Sentence | None = Field(None, description="What readers should do, or not do; none: nothing")
    short: Sentence | None = Field(None, description="Texts say this in place of issue, scope and action")
    link: Link | None = Field(None, description="One https address of your own about this")
    urgent: StrictBool | None = Field(None, description="A maintenance that could not be planned")
    offer: Sentence | None = Field(
        None, description="What support may offer: a sentence, or a row of [offers] in commcast.toml"
    )
    offer_public: StrictBool | None = Field(None, description="true: the public is told of the offer, too")
    next_update: OneLine | None = Field(None, description="When readers will hear more: 20m, or 14:00")
    nothing_new: Sentence | None = Field(None, description="A short progress note when nothing else changed")
    internal: Sentence | None = Field(None, description="For internal audiences only; never carried forward")
    words: dict[Name, WordsWritten | None] | None = Field(
        None, alias="for", description="Other wording for one audience: {executives: {issue: …}}"
    )
    translations: dict[Locale, Translation | None] | None = Field(
        None, description="Sentences in other languages: {de: {issue: …}}"
    )
    ended: Moment | None = Field(None, description="When it was over; default: `at`")
    cause: Sentence | None = Field(None, description="What caused it, for the public")
    fixed: Sentence | None = Field(None, description="What fixed it")
    remains: Sentence | None = Field(None, description="What readers may still notice")
    if_it_persists: Sentence | None = Field(None, description="What readers do if they still have problems")
    change: Sentence | None = Field(
        None, description="What you are changing so that it does not happen again"
    )
    because: Sentence | None = Field(None, description="Why a plan changed")
    corrects: NumberWritten | NumbersWritten | None = Field(
        None, description="The number of the update that was wrong, or a list of them"
    )
    wrong: Sentence | None = Field(None, description="The wrong wording of that update")
    right: Sentence | None = Field(None, description="The correct wording")
    check_in: Names | None = Field(
        None, description="At the end: audiences to ask on the next working day whether all is well"
    )


class _File(_Shared):
    """What incident files and presets have in common."""

    title: OneLine
    translations: dict[Locale, TitleWritten] | None = Field(
        None, description="The title in other languages: {de: {title: …}}"
    )
    kind: Kind = Kind.INCIDENT
    severity: SeverityWritten
    updates: list[UpdateEntry] = Field(min_length=1, max_length=MOST_UPDATES)


class IncidentFile(_File):
    """An incident or a maintenance in one file; its updates are a dated, append-only list."""

    id: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")] | None = Field(
        None, description="Short enough to say on the phone; default: the file's name"
    )
    started: Moment | None = Field(None, description="When it began; default: the first update's `at`")
    postmortem: Annotated[Sentence, AfterValidator(_link_or_words)] | None = Field(
        None, description="After the end: the review itself, or where it is, or when it will be there"
    )


class PresetFile(_File):
    """A ready-made draft of a foreseeable incident: an incident file without id, at and started."""

    about: OneLine | None = Field(None, description="When to use this preset")


def json_schema(shape: type[_File]) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file, for editors that complete and check YAML."""
    schema = shape.model_json_schema(by_alias=True, schema_generator=_WithoutNulls)
    kinds = ("UpdateEntry", "WordsWritten", "Translation")
    entry, *words = (schema["$defs"][name]["properties"] for name in kinds)
    for each in (*(entry[key] for key in TAKEN_BACK), *chain(*(each.values() for each in words))):
        each["type"] = [each["type"], "null"]
    for each in (entry["for"], entry["translations"]):
        each["additionalProperties"] = {"anyOf": [each["additionalProperties"], {"type": "null"}]}
    return schema


class _WithoutNulls(GenerateJsonSchema):
    """Omits the null of each key that may be missing: in most of them an empty value is a fault."""

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value is not None}


Shape = TypeVar("Shape", IncidentFile, PresetFile)


class Checked(NamedTuple, Generic[Shape]):
    """A file as written and what is wrong with it besides the faults of its document.

    `spoiled` has the places of these faults.

    `written` is without the faulty values, so that the rest can still be checked; None if that fails.
    """

    document: YamlDocument
    written: Shape | None
    faults: list[Fault]
    spoiled: frozenset[Loc] = frozenset()


def check_shape(text: str, name: str, shape: type[Shape]) -> Checked[Shape]:
    """Return what is written in `text`, as far as it fits the shape; `name` is what faults call the file."""
    document = examine(text, name, sentences=frozenset(_SENTENCE_KEYS))
    faults: list[Fault] = []
    if not isinstance(document.data, dict):
        if document.data is not None or not document.faults:
            what = "is empty" if document.data is None else "is not a list of keys and values"
            faults.append(document.fault((), what, "write title, severity and updates"))
        return Checked(document, None, faults)
    back = {each for each in document.nulls if each[0] == "updates" and each[2:3] and each[2] in TAKEN_BACK}
    problems = [(loc, _BLANK) for loc in _blanks(document.data, ()) if loc not in back]
    written, found = _validated(shape, document.data)
    if not found and not problems:
        return Checked(document, written, faults)
    places = {loc for loc, _ in found}
    problems = found + [(loc, blank) for loc, blank in problems if places.isdisjoint(_around(loc))]
    meant = {key for each in problems[:FAULTS_SHOWN_PER_FILE] for key in _meant(*each, shape)}
    spoiled = {loc for loc, _ in problems} | meant
    for number, (loc, problem) in enumerate(problems):
        if problem["type"] != "missing" or loc not in meant:
            faults.append(_fault(document, loc, problem, shape, number < FAULTS_SHOWN_PER_FILE))
    rest, _ = _validated(shape, _without(document.data, [loc for loc, _ in problems]))
    return Checked(document, rest, faults, frozenset(spoiled))


Problem = tuple[Loc, Mapping[str, Any]]


def _validated(shape: type[Shape], data: Any) -> tuple[Shape | None, list[Problem]]:
    """Return the data in its shape, None if it does not fit, and pydantic's problems with their places.

    Steps of a place that are not in the file ("[key]" after a bad key) are left out.
    """
    try:
        return shape.model_validate(data), []
    except ValidationError as error:
        found = error.errors(include_url=False)
    return None, [(tuple(step for step in each["loc"] if step != "[key]"), each) for each in found]


def _around(loc: Loc) -> Iterator[Loc]:
    return (loc[:length] for length in range(1, len(loc) + 1))


_BLANK: Mapping[str, Any] = {"type": "blank"}


def _blanks(value: Any, loc: Loc) -> Iterator[Loc]:
    """Yield where a key has no value: pydantic takes it as left out, a person has not finished it."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        if inner is None:
            yield (*loc, step)
        else:
            yield from _blanks(inner, (*loc, step))


def _fault(
    document: YamlDocument, loc: Loc, problem: Mapping[str, Any], shape: type[BaseModel], suggest: bool
) -> Fault:
    kind = problem["type"]
    if kind == "extra_forbidden":
        what, remedy = _unknown_key(document, loc, shape, suggest)
        return document.fault(loc, what, remedy, key=True)
    if kind == "missing":
        return document.fault(loc[:-1], f"'{loc[-1]}' is missing", f"add {loc[-1]}: …")
    key = next((str(step) for step in reversed(loc) if isinstance(step, str)), "")
    if key == "updates" and len(loc) > 1:
        key = f"update {int(loc[1]) + 1}"
    what, remedy = _explain(key, kind, problem, document.value(loc))
    return document.fault(loc, f"{key}: {what}" if key else what, remedy)


def _unknown_key(document: YamlDocument, loc: Loc, shape: type[BaseModel], suggest: bool) -> tuple[str, str]:
    place = document.places.get(loc)
    if place and place.flow and document.value(loc) is None:
        return f"{str(loc[-1])!r:.60} was read as a key: a comma ends the text inside {{ }}", QUOTE
    if loc[-1] in _NOT_YET:
        return f"{loc[-1]} has no effect yet", "remove the line"
    known = _keys_at(loc, shape)
    close = get_close_matches(str(loc[-1]), known, 1) if suggest else []
    remedy = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
    return f"unknown key {str(loc[-1])!r:.60}", remedy


def _keys_at(loc: Loc, shape: type[BaseModel]) -> list[str]:
    model: type[BaseModel] = shape
    if "translations" in loc[:-1]:
        model = Translation if loc[0] == "updates" else TitleWritten
    elif "for" in loc[:-1]:
        model = WordsWritten
    elif "window" in loc[:-1]:
        model = WindowWritten
    elif loc[0] == "updates":
        model = UpdateEntry
    return [field.alias or name for name, field in model.model_fields.items()]


def _meant(loc: Loc, problem: Mapping[str, Any], shape: type[BaseModel]) -> Iterator[Loc]:
    """Yield the key that a mistyped one was meant to be: it is not missing as well."""
    if problem["type"] == "extra_forbidden":
        for close in get_close_matches(str(loc[-1]), _keys_at(loc, shape), 1):
            yield (*loc[:-1], close)


def _explain(key: str, kind: str, problem: Mapping[str, Any], value: Any) -> tuple[str, str]:
    if value is None or kind == "blank":
        return "has no value", "write it, or remove the line"
    if key in {"next_update", "timeframe"} and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value} has no unit", f"write {value}m or {value}h"
    if key == "severity":
        return f"must be 1 (worst) to 4, not {value!r:.40}", "write 1, 2, 3 or 4"
    if key == "id":
        return f"{value!r:.60} cannot be an id", "use a-z, 0-9 and -, at most 40 characters"
    if key in _MOMENT_KEYS and kind == "string_type" and isinstance(value, int | float):
        return f"YAML reads {value!s:.40} as a number, not as a time", f"write it as {_MOMENTS[0]}"
    if explain := _KINDS.get(kind):
        return explain(problem, value)
    what, _, remedy = problem["msg"].removeprefix("Value error, ").partition("; ")
    return what, remedy


def _text_expected(_: Mapping[str, Any], value: Any) -> tuple[str, str]:
    if isinstance(value, dict | list):
        return "is not a sentence: YAML read { } or [ ] or a list", QUOTE
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    kind = "yes or no" if isinstance(value, bool) else "a number"
    return f"YAML reads {shown:.40} as {kind}, not as text", f'write it in quotes: "{shown:.40}"'


def _choices(problem: Mapping[str, Any], value: Any) -> tuple[str, str]:
    known = [name.strip("' ") for name in re.split(", | or ", problem["ctx"]["expected"])]
    close = get_close_matches(str(value), known, 1)
    remedy = f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)}"
    return f"{value!r:.40} is not known", remedy


def _list_remedy(value: Any) -> str:
    if isinstance(value, dict):
        return f"begin each entry with a dash, as in - {next(iter(value), 'key')}: …"
    return f"write [{value}]" if isinstance(value, str) else "write [one, two]"


_KINDS: dict[str, Callable[[Mapping[str, Any], Any], tuple[str, str]]] = {
    "string_type": _text_expected,
    "enum": _choices,
    "string_too_long": lambda p, v: (f"is {len(v)} characters long", f"at most {p['ctx']['max_length']}"),
    "bool_type": lambda _, v: (f"must be true or false, not {v!r:.40}", "write true, or remove the line"),
    "list_type": lambda _, v: ("is not a list", _list_remedy(v)),
    **dict.fromkeys(
        ("dict_type", "model_type"), lambda _, __: ("is not a group of keys", "indent its keys below it")
    ),
    "too_short": lambda _, __: ("is empty", "name at least one, or remove the line"),
    "too_long": lambda p, _: ("has too many entries", f"at most {p['ctx']['max_length']}"),
    "int_type": lambda _, v: (f"must be a number, not {v!r:.40}", "write 1, 2 …"),
    "greater_than_equal": lambda _, v: (f"must be a number from 1, not {v!r:.40}", "write 1, 2 …"),
}


def _without(data: dict[str, Any], locs: list[Loc]) -> dict[str, Any]:
    """Return `data` without the values at `locs`; required keys get a placeholder."""
    rest: dict[str, Any] = deepcopy(data)
    for loc in sorted(locs, key=lambda loc: [str(step).zfill(6) for step in loc], reverse=True):
        _remove(rest, loc)
    return {"title": "?", "severity": 4, **rest, "updates": rest.get("updates") or [{}]}


def _remove(data: Any, loc: Loc) -> None:
    *steps, last = loc
    for step in steps:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data.pop(last, None)
    elif isinstance(data, list) and isinstance(last, int) and last < len(data):
        if isinstance(data[last], str | int | float | bool) and steps[-1:] != ["updates"]:
            del data[last]
        else:
            data[last] = {}  # an update keeps its number
