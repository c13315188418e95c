"""Reads commcast.toml and reports all its faults at once, with their places."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from commcast.config.settings import CONFIG_NAME, Config, Contact
from commcast.errors import FAULTS_SHOWN_PER_FILE, ConfigError, Fault, in_order
from commcast.files import merge_conflict
from commcast.model.incident import Channel

_MOST_LINES = 60  # of one value: a longer one is not followed to its end
_MOST_TRIES = 100  # parses; if they are not enough, places are left out
_LARGEST = 1 << 16  # characters of a text that is parsed this often


class Places:
    """Finds the places of keys in one TOML text.

    A key is on the first line up to which the parsed text contains it. So however TOML writes it, nothing in
    a comment or a string is taken for a key.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._data = _parsed(text) or {}
        self._tries = _MOST_TRIES if len(text) <= _LARGEST else 0

    def of(self, path: str) -> tuple[int, int]:
        """Return line and column, from 1, of a key such as "send.most_an_hour"; (0, 0) if it is not found.

        A key that is missing has the place of the table in which it is missing.
        """
        keys = _held(self._data, path.split("."))
        if not keys:
            return 0, 0
        for number, line in enumerate(self._lines):
            found = re.search(rf"(?<![\w-]){re.escape(keys[-1])}(?![\w-])", line.partition("#")[0])
            if found and self._begins(number, keys):
                return number + 1, found.start() + 1
        return 0, 0

    def _begins(self, number: int, keys: Sequence[str]) -> bool:
        """Return whether the text has the key with this line, but not without it."""
        before = self._parse(number)
        if before is None or _held(before, keys) == keys:
            return False
        ends = range(number + 1, min(number + _MOST_LINES, len(self._lines)) + 1)
        after = next((data for end in ends if (data := self._parse(end)) is not None), {})
        return _held(after, keys) == keys

    def _parse(self, count: int) -> dict[str, Any] | None:
        self._tries -= 1
        return _parsed("\n".join(self._lines[:count]) + "\n") if self._tries > 0 else None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _held(node: Any, keys: Sequence[str]) -> Sequence[str]:
    """Return the part of a path that the data has."""
    for count, key in enumerate(keys):
        if not isinstance(node, dict) or key not in node:
            return keys[:count]
        node = node[key]
    return keys


PROVIDERS = {Channel.EMAIL: ("outbox", "smtp", "sendgrid"), Channel.SMS: ("outbox", "twilio")}
# Pydantic's kinds of errors in our words, and what to write instead; braces are filled in from the error.
_IN_OUR_WORDS = {
    kind: words
    for kinds, *words in (
        ("extra_forbidden", "unknown key", "check its spelling: commcast schema config lists all"),
        ("missing", "is missing", "add it: commcast schema config describes it"),
        ("less_than_equal", "is too large", "write {le} or less"),
        ("greater_than_equal", "is too small", "write {ge} or more"),
        ("finite_number", "is not a finite number", "write one such as 10"),
        ("int_type int_parsing", "is not a whole number", "write one such as 10, without quotes"),
        ("int_from_float", "is not a whole number", "write one such as 10"),
        ("float_type float_parsing", "is not a number", "write one such as 2.5, without quotes"),
        ("bool_type bool_parsing", "is neither true nor false", "write true or false, without quotes"),
        ("string_type", "is not text", "write it in quotes"),
        ("string_too_short", "is too short", "write at least {min_length} characters"),
        ("string_too_long too_long", "is too long", "write at most {max_length} characters"),
        ("string_pattern_mismatch", "has the wrong form", "look it up: commcast schema config"),
        ("literal_error enum", "is not known", "write {expected}"),
        ("tuple_type list_type", "is not a list", 'write one such as ["email"]'),
        ("mapping_type dict_type model_type", "is not a table", "write it as [{path}]"),
        ("too_short", "is empty", "fill it in"),
    )
    for kind in kinds.split()
}
# Patterns with words of their own, by the last part of the key path.
_FORMS = {
    "region": ("is not a region", 'write a country in two capital letters, such as "DE"'),
    "colour": ("is not a colour", 'write six hexadecimal digits, such as "#0b4f8a"'),
    "desk": ("is not a desk's id", "write 16 to 64 hexadecimal digits, as commcast init does"),
    "env": ("is not the name of a variable", 'write one such as "PAGER_TOKEN"'),
    "[key]": ("is not a name", "use up to 40 lower-case letters, digits and hyphens, such as big-customers"),
}
_LARGEST_CONFIG = 1 << 20  # bytes


def load_config(folder: Path) -> Config:
    """Read and check `folder`/commcast.toml.

    Raises ConfigError with every fault found, each with its key path and its place.
    """
    text, data = _read_toml(folder / CONFIG_NAME)
    if "folder" in data:
        raise _placed([("folder", "unknown key", "remove it")], text)
    try:
        config = Config.model_validate({**data, "folder": folder})
    except ValidationError as error:
        raise _placed(_faults(error), text) from None
    if found := [*_cross_faults(config)]:
        raise _placed(found, text)
    return config


Wrong = tuple[str, str, str]  # the key's path, what is wrong with it, what to write instead


def _placed(found: Iterable[Wrong], text: str) -> ConfigError:
    """Return the error of all that is wrong, in the order of the file."""
    places = Places(text)
    faults = (Fault(CONFIG_NAME, *places.of(path), f"{path}: {what}", remedy) for path, what, remedy in found)
    return ConfigError(in_order(faults))


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of commcast.toml."""
    schema = Config.model_json_schema(by_alias=True, schema_generator=_ReadableDefaults)
    del schema["properties"]["folder"]  # where the file is, not what is in it
    # Besides its own keys a cadence takes after_2h, after_1d … and the names of audiences.
    cadence = schema["$defs"]["Cadence"]
    length = cadence["properties"]["every"]
    cadence["properties"] = {key: cadence["properties"][key] for key in ("first", "every")}
    cadence["additionalProperties"] = {key: length[key] for key in ("type", "description", "examples")}
    # And [silence] and [contact] take the names of audiences beside their own keys.
    for table, kind in (("Silence", "OnSilence"), ("Contact", "ContactOf")):
        del schema["$defs"][table]["properties"]["audiences"]
        schema["$defs"][table]["additionalProperties"] = {"$ref": f"#/$defs/{kind}"}
    return schema


class _ReadableDefaults(GenerateJsonSchema):
    """Omits defaults such as PT20M, and tables with one: a length of time can't be written like that."""

    def default_schema(self, schema: Any) -> dict[str, Any]:
        found = super().default_schema(schema)
        default = found.get("default")
        if isinstance(default, dict) or re.search(r"^P|'P", str(default)):
            del found["default"]
        return found


def _read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    name = path.name
    try:
        if not path.is_file():
            raise ConfigError.of("", f"no desk here: no {name} in {path.parent}", "commcast init makes one")
        raw = path.read_bytes()[: _LARGEST_CONFIG + 1]
    except OSError as error:
        raise ConfigError.of(name, f"cannot be read: {error.strerror}", f"check: ls -l {path}") from None
    if len(raw) > _LARGEST_CONFIG:
        raise ConfigError.of(name, "is larger than 1 MiB", "keep recipients in audiences/*.csv")
    try:
        text = raw.decode("utf-8-sig")
        return text, tomllib.loads(text)
    except UnicodeDecodeError:
        raise ConfigError.of(name, "is not UTF-8 text", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        if conflict := merge_conflict(text, name):
            raise ConfigError(conflict) from None
        found = re.fullmatch(r"(.*?)\s*\(at (?:line (\d+), column (\d+))?.*\)", str(error), re.DOTALL)
        what, line, column = found.groups() if found else (str(error), 0, 0)
        fault = Fault(name, int(line or 0), int(column or 0), f"invalid TOML: {what}", "fix this line")
        raise ConfigError(fault) from None
    except RecursionError:
        raise ConfigError.of(name, "is nested too deeply", "fix the brackets") from None


def _faults(error: ValidationError) -> Iterator[Wrong]:
    problems = error.errors(include_url=False, include_input=False)
    unknown = [_plain(problem["loc"]) for problem in problems if problem["type"] == "extra_forbidden"]
    meant = {loc: close for loc in unknown[:FAULTS_SHOWN_PER_FILE] if (close := _close(loc))}
    taken = {(*loc[:-1], close) for loc, close in meant.items()}  # such a key is not missing as well
    for problem in problems:
        loc = _plain(problem["loc"])
        if problem["type"] != "missing" or loc not in taken:
            path = ".".join(loc)
            what, remedy = _in_our_words(problem, path)
            yield path, what, f"did you mean {meant[loc]}?" if loc in meant else remedy


def _plain(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Return the path of a key as it is written; names of audiences are beside a table's own keys."""
    path = [str(part) for part in loc if part not in {"function-before", "function-after"}]
    return tuple(part for at, part in enumerate(path) if not (part == "audiences" and at))


def _close(loc: tuple[str, ...]) -> str:
    """Return the key that was probably meant by an unknown one at `loc`, "" for none."""
    node = _schema()
    for step in loc[:-1]:
        named = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        node = _resolved(node.get("properties", {}).get(step) or named[0])
    return _nearest(loc[-1], node.get("properties", {}))


def _nearest(key: str, known: Iterable[str]) -> str:
    return next(iter(get_close_matches(key, known, 1)), "")


def _resolved(node: Any) -> dict[str, Any]:
    """Return the table that a place of the schema takes; {} if it takes none."""
    if not isinstance(node, dict):
        return {}
    for choice in [node, *node.get("anyOf", []), *node.get("allOf", [])]:
        if "$ref" in choice:
            found: dict[str, Any] = _schema()["$defs"][choice["$ref"].rpartition("/")[2]]
            return found
    return node


@cache
def _schema() -> dict[str, Any]:
    return config_schema()


def _in_our_words(problem: ErrorDetails, path: str) -> tuple[str, str]:
    """Return what is wrong and what to write instead; our own validators say both."""
    kind, last = problem["type"], next(part for part in problem["loc"][::-1] if isinstance(part, str))
    if kind == "string_pattern_mismatch" and last in _FORMS:
        return _FORMS[last]
    if kind in _IN_OUR_WORDS:
        what, remedy = _IN_OUR_WORDS[kind]
        return what, remedy.format(**{**problem.get("ctx", {}), "path": path})
    what, _, remedy = problem["msg"].removeprefix("Value error, ").partition("; ")
    return what, remedy


def _cross_faults(config: Config) -> Iterator[Wrong]:
    """Yield what is wrong between tables that are each valid."""
    for name, audience in config.audiences.items():
        path = f"audiences.{name}.channels"
        for channel in audience.channels:
            if getattr(config.channels, channel) is None:
                yield path, f"uses {channel}, which has no table", f"add [channels.{channel}]"
        if not audience.channels:
            yield path, "is empty", 'write ["email"], ["sms"] or both'
    for severity, cadence in config.cadence.items():
        yield from _not_audiences(config, f"cadence.{severity}", cadence.audiences, ("first", "every"))
    yield from _not_audiences(config, "contact", config.contact.audiences, Contact.model_fields)
    if config.silence is not None:
        own = ("severities", "steps", "then")
        yield from _not_audiences(config, "silence", config.silence.audiences, own)
    for event in ("resolved", "retracted"):
        if config.channels.sms is not None and event not in config.channels.sms.events:
            remedy = "add it: readers who are texted about the start need the end by text too"
            yield "channels.sms.events", f"leaves out {event!r}", remedy
    for channel in Channel:
        used = getattr(config.channels, channel)
        if used is not None:
            yield from _provider_faults(config, channel, "provider", used.provider)
            if used.fallback:
                yield from _fallback_faults(config, channel, used.provider, used.fallback)


def _not_audiences(config: Config, path: str, names: Iterable[str], own: Iterable[str]) -> Iterator[Wrong]:
    """Yield each key of a table that is not an audience; `own` are the table's other keys."""
    for name in names:
        if name not in config.audiences:
            close = _nearest(name, [*own, *config.audiences])
            remedy = f"did you mean {close}?" if close else f"audiences are: {', '.join(config.audiences)}"
            yield f"{path}.{name}", "is neither a known key nor an audience", remedy


def _provider_faults(config: Config, channel: Channel, key: str, provider: str) -> Iterator[Wrong]:
    path = f"channels.{channel}.{key}"
    sms = config.channels.sms
    if provider not in PROVIDERS[channel]:
        *others, last = PROVIDERS[channel]
        yield path, f"unknown {channel} provider {provider!r:.40}", f"use {', '.join(others)} or {last}"
    elif provider == "smtp" and config.providers.smtp is None:
        yield path, "smtp has no settings", "add [providers.smtp] with host and port"
    elif provider == "twilio" and not (config.providers.twilio.messaging_service or (sms and sms.sender)):
        yield path, "twilio has no sender", "set from in [channels.sms], or messaging_service of twilio"


def _fallback_faults(config: Config, channel: Channel, provider: str, fallback: str) -> Iterator[Wrong]:
    path = f"channels.{channel}.fallback"
    if fallback == provider:
        yield path, "is the provider itself", "name another, or leave it out"
    elif fallback == "outbox":
        # What goes into a file counts as sent, and nobody reads it.
        yield path, "outbox sends nothing", "name a provider that sends, or leave it out"
    else:
        yield from _provider_faults(config, channel, "fallback", fallback)
