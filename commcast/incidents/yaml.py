"""Reads YAML written by people, with the place of each value; refuses hostile files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from commcast.errors import Fault, InputError, in_order
from commcast.files import FORBIDDEN, line_and_column, named
from commcast.incidents.yaml_lines import plain_value

_LONGEST_FAULT = 300

Loc = tuple[str | int, ...]


class YamlPlace(NamedTuple):
    """Where a value is, from 1. `key_*`: where its key, or else it, starts; `flow`: inside { } or [ ]."""

    line: int
    column: int
    key_line: int
    key_column: int
    end_line: int
    end_column: int
    flow: bool = False


@dataclass(slots=True)
class YamlDocument:
    """A file's data (dict, list, str, int, float, bool, None), each value's place, and the text's faults.

    `nulls` are the places where ~ or null is written, which is not the same as nothing.
    `broken` are the lines whose value could not be read: something stands in its place.
    """

    name: str
    data: Any = None
    places: dict[Loc, YamlPlace] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    nulls: set[Loc] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)

    def all_faults(self, others: list[Fault]) -> list[Fault]:
        """Return the text's faults and others, without those that only follow from a line that is broken."""
        return in_order([*self.faults, *(fault for fault in others if fault.line not in self.broken)])

    def place(self, loc: Loc) -> tuple[int, int]:
        """Return line and column of the value at `loc`, or of the nearest value around it."""
        around = (self.places.get(loc[:length]) for length in range(len(loc), -1, -1))
        return next(((found.line, found.column) for found in around if found), (1, 1))

    def key_place(self, loc: Loc) -> tuple[int, int]:
        """Return line and column of the key at `loc`, or of the nearest value around it."""
        if loc in self.places:
            return self.places[loc].key_line, self.places[loc].key_column
        return self.place(loc)

    def value(self, loc: Loc) -> Any:
        """Return the value at `loc`, None if there is none."""
        value = self.data
        for step in loc:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def fault(self, loc: Loc, what: str, remedy: str = "", *, key: bool = False) -> Fault:
        """Return a fault at the value (or the key) of `loc`."""
        line, column = self.key_place(loc) if key else self.place(loc)
        return Fault(self.name, line, column, _shown(what), _shown(remedy))


def _shown(text: str) -> str:
    """Return `text` fit for a terminal and a log: one short line without complete addresses or numbers."""
    text = " ".join(text.split())[:_LONGEST_FAULT]
    text = re.sub(r"([^\s@'\"])[^\s@'\"]*@(?=\S)", r"\1…@", text)
    return re.sub(r"\+[0-9 ]{5,}(?=[0-9]{4})", "…", text)


# Limits that keep the slowest possible text within a second; 500 updates are 134 KB in 3,500 lines.
_MOST_CHARACTERS = 1 << 19
_MOST_LINES = 10_000
_LONGEST_LINE = 20_000
_MOST_NODES = 20_000
_DEEPEST = 16
_LONGEST_SCALAR = 20_000
_REPAIR_BUDGET = 1 << 19  # characters read again to find the faults after the first broken line

QUOTE = "put the sentence in quotes, or on its own lines after |"
_NOT_IN_FILES = re.compile(FORBIDDEN.pattern + r"|\r(?!\n)")


def parse(text: str, name: str) -> YamlDocument:
    """Return the one document of `text`. Raises InputError with every fault of the text."""
    document = examine(text, name)
    if document.faults:
        raise InputError(document.faults)
    return document


def examine(text: str, name: str, *, sentences: frozenset[str] = frozenset()) -> YamlDocument:
    """Return the document of `text` with its faults in `.faults`, so that a caller can add its own.

    Under a key of `sentences` a comment after unquoted text is a fault: mostly it is a sentence with " #".
    A line that is not YAML is patched in memory to find the faults after it; `data` is None if that fails.
    """
    refused = _refuse(text, name)
    if refused:
        return YamlDocument(name, faults=[refused])
    faults: list[Fault] = []
    broken: set[int] = set()
    budget = _REPAIR_BUDGET
    while True:
        builder = _Builder(text, name, sentences, broken)
        patched = builder.run()
        budget -= len(text)
        if patched is None or budget < len(text):
            break
        faults.append(builder.broken[0])
        text = patched
    document = builder.document
    document.faults = in_order([*faults, *builder.broken, *builder.faults])
    return document


def _refuse(text: str, name: str) -> Fault | None:
    """Return why this text is not even parsed: it is too large, or has a forbidden character."""
    if len(text) > _MOST_CHARACTERS:
        return Fault(name, 0, 0, f"is larger than {_MOST_CHARACTERS >> 10} Ki characters", "shorten it")
    found = _NOT_IN_FILES.search(text)
    if found:
        remedy = "save it as UTF-8" if found[0] == "\0" else "delete it"
        before = text[: found.start()].rpartition("\n")[2][-20:].lstrip()
        what = f"control character {named(found[0])} is not allowed{before and f', after {before!r}'}"
        return Fault(name, *line_and_column(text, found.start()), _shown(what), remedy)
    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        return Fault(name, _MOST_LINES, 1, f"has more than {_MOST_LINES} lines", "shorten it")
    is_head = True  # only comments and blank lines so far
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            what = f"is longer than {_LONGEST_LINE} characters"
            return Fault(name, number, _LONGEST_LINE, what, "break it")
        if is_head and line.startswith("%"):
            return Fault(name, number, 1, "YAML directives (%…) are not allowed here", "delete the line")
        is_head = is_head and line.lstrip()[:1] in {"", "#"}
    return None


class _Stop(Exception):
    """Reading can't go on; the fault is already noted."""


class _Builder:
    """Builds the data from parser events, so that every limit is checked before anything large exists."""

    def __init__(self, text: str, name: str, sentences: frozenset[str], broken: set[int]) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.sentences = sentences
        self.document = YamlDocument(name, broken=broken)
        self.faults: list[Fault] = []
        self.broken: list[Fault] = []
        self.nodes = 0
        self.scalar: ScalarEvent | None = None
        self.events: Iterator[Any] = iter(())

    def run(self) -> str | None:
        """Read the text. If a line is not YAML but the rest can be read, return the text with it patched."""
        self.events = iter(YAML(typ="safe", pure=True).parse(self.text))
        try:
            self._documents()
        except _Stop:
            self.document.data = None
        except MarkedYAMLError as error:
            self.document.data = None
            return self._broken(error)
        except (YAMLError, ValueError, OverflowError):
            self.document.data = None
            mark = self.scalar.end_mark if self.scalar else None
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.broken.append(Fault(self.document.name, line, column, "invalid YAML here", QUOTE))
        return None

    def _documents(self) -> None:
        is_first = True
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if not is_first:
                    self._stop(event, "a second document starts here", "one file is one incident: delete ---")
                is_first = False
            elif isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                self.document.data = self._node(event, (), event)

    def _node(self, event: Any, loc: Loc, key: Any, flow: bool = False) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            self._stop(event, f"has more than {_MOST_NODES} values", "shorten it")
        if len(loc) > _DEEPEST:
            self._stop(event, "is nested too deeply", "check the brackets and dashes")
        if isinstance(event, AliasEvent):
            self._first(event, f"*{event.anchor} is a YAML alias, which is not allowed here", "alias")
            self._put(event, loc, key, event, flow)
            return None
        if event.anchor is not None:
            self._first(event, f"&{event.anchor} is a YAML anchor, which is not allowed here", "anchor")
        if event.tag is not None:
            self._fault(event, "a YAML tag (!…) is not allowed here", QUOTE)
        value: Any
        flow = flow or bool(getattr(event, "flow_style", False))
        if isinstance(event, MappingStartEvent):
            value, end = self._mapping(loc, flow)
        elif isinstance(event, SequenceStartEvent):
            value, end = self._sequence(loc, flow)
        else:
            value, end = self._scalar(event, loc), event
        self._put(event, loc, key, end, flow)
        return value

    def _mapping(self, loc: Loc, flow: bool) -> tuple[dict[str, Any], Any]:
        data: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                return data, event
            if not isinstance(event, ScalarEvent):
                self._stop(event, "a key must be one word", QUOTE)
            self._scalar(event, ())
            key = FORBIDDEN.sub("?", event.value)
            if key in data:
                self._fault(event, f"{key!r:.60} appears twice", "keep one of them")
            data[key] = self._node(next(self.events), (*loc, key), event, flow)
        raise _Stop

    def _sequence(self, loc: Loc, flow: bool) -> tuple[list[Any], Any]:
        data: list[Any] = []
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                return data, event
            data.append(self._node(event, (*loc, len(data)), event, flow))
        raise _Stop

    def _scalar(self, event: Any, loc: Loc) -> str | int | float | bool | None:
        self.scalar = event
        text: str = event.value
        if len(text) > _LONGEST_SCALAR:
            self._stop(event, f"is longer than {_LONGEST_SCALAR} characters", "shorten it")
        found = FORBIDDEN.search(text) or ("\r" in text and re.search("\r", text))
        if found:
            self._fault(event, f"\\u{ord(found[0]):04x} is a control character", "write plain text")
        if event.style is not None:
            return re.sub("\r\n?", "?", FORBIDDEN.sub("?", text))
        comment = self._comment_behind(event)
        if comment and loc and loc[-1] in self.sentences:
            what = 'YAML drops the rest of the line after " #"'
            self.faults.append(Fault(self.document.name, event.end_mark.line + 1, comment, what, QUOTE))
        value = plain_value(text)
        if value is None and text and loc:
            self.document.nulls.add(loc)
        return value

    def _comment_behind(self, event: Any) -> int:
        """Return the column of a comment on the line on which this unquoted text ends, 0 for none."""
        mark = event.end_mark
        line = self.lines[mark.line] if mark.line < len(self.lines) else ""
        found = re.compile(r"[ ,\]}]*[ \t]#").match(line, mark.column)
        return found.end() if found else 0

    def _put(self, event: Any, loc: Loc, key: Any, end: Any, flow: bool) -> None:
        first, begin, last = event.start_mark, key.start_mark, end.end_mark
        if isinstance(event, ScalarEvent) and event.style is None and not event.value:
            first = key.end_mark  # nothing is written: the place is the key's colon
        start, key_start, finish = ((mark.line + 1, mark.column + 1) for mark in (first, begin, last))
        self.document.places[loc] = YamlPlace(*start, *key_start, *finish, flow)

    def _fault(self, event: Any, what: str, remedy: str) -> None:
        mark = event.start_mark
        self.faults.append(Fault(self.document.name, mark.line + 1, mark.column + 1, what, remedy))

    def _first(self, event: Any, what: str, kind: str) -> None:
        """Note the first of its kind: a thousand more say no more."""
        if not any(f"YAML {kind}" in fault.what for fault in self.faults):
            self._fault(event, what, QUOTE)
        self.document.broken.add(event.start_mark.line + 1)

    def _stop(self, event: Any, what: str, remedy: str) -> None:
        self._fault(event, what, remedy)
        raise _Stop

    def _broken(self, error: MarkedYAMLError) -> str | None:
        """Note why the text is not YAML. Return it with the character that breaks it replaced, or None."""
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        problem = error.problem or "unreadable"
        here = self.lines[line][column : column + 1] if line < len(self.lines) else ""
        if here == ":":
            start = self.scalar.start_mark.line if self.scalar is not None else line
            what = '": " inside text without quotes'
            if start != line:
                what = f'": " inside the text that began in line {start + 1} (or a key there has no colon)'
            self._break(line, column, what, QUOTE)
            return self._covered(line, column)
        if "expected <block end>, but found '<scalar>'" in problem and self.scalar is not None:
            return self._broken_scalar(self.scalar, line, column)
        what, remedy, place = _explain(error, here, (line, column))
        self._break(*place, what, remedy)
        return self._without_value(place[0])

    def _broken_scalar(self, scalar: ScalarEvent, line: int, column: int) -> str | None:
        comment = self._comment_behind(scalar) if scalar.style is None else 0
        if comment:
            self._break(scalar.end_mark.line, comment - 1, 'YAML drops the rest after " #"', QUOTE)
            return self._covered(scalar.end_mark.line, comment - 1)
        if scalar.style in ("'", '"') and scalar.end_mark.line == line:
            what, remedy = "text after the closing quote", "put all of it in quotes, or after |"
        else:
            what, remedy = "text in place of a key", "check the indentation, or " + QUOTE
        self._break(line, column, what, remedy)
        return self._without_value(line)

    def _without_value(self, line: int) -> str | None:
        """Return the text with something else as the value of a line; None if that cannot mend it."""
        key = re.match(r"[ -]*[\w-]+:(?=\s)", self.lines[line]) if line < len(self.lines) else None
        if key is None or line + 1 in self.document.broken:
            return None
        self.document.broken.add(line + 1)
        return "\n".join((*self.lines[:line], f"{key[0]} _", *self.lines[line + 1 :]))

    def _break(self, line: int, column: int, what: str, remedy: str) -> None:
        self.broken.append(Fault(self.document.name, line + 1, column + 1, what, remedy))

    def _covered(self, line: int, column: int) -> str:
        old = self.lines[line]
        return "\n".join((*self.lines[:line], f"{old[:column]}_{old[column + 1 :]}", *self.lines[line + 1 :]))


_BACKSLASH = "write \\\\ for a backslash, or use single quotes"


def _explain(error: MarkedYAMLError, here: str, place: tuple[int, int]) -> tuple[str, str, tuple[int, int]]:
    """Return what is wrong in plain words, the remedy, and a better place than the parser's (from 0)."""
    problem, context = error.problem or "", error.context or ""
    opened = (error.context_mark.line, error.context_mark.column) if error.context_mark else place
    unquoted = f"text without quotes cannot start with {here}"
    is_open = "quoted scalar" in context and "end of stream" in problem
    has_no_colon = "could not find expected ':'" in problem
    or_quote = "or " + QUOTE
    next_lines, next_line = "write it on the next lines, indented", f"put it on the next line, {or_quote}"
    known = (
        (is_open, "this quote is never closed", "close it", opened),
        ("unknown escape" in problem, f"\\{here} means nothing in double quotes", _BACKSLASH, place),
        (here == "\t", "a tab where YAML needs spaces", "write spaces", place),
        ("cannot start any token" in problem, unquoted, QUOTE, place),
        (has_no_colon, "this line has no colon", f"write key: value, {or_quote}", opened),
        ("block scalar" in context, "text after | or >", next_lines, place),
        ("flow" in context, "this bracket is never closed", f"close it, {or_quote}", opened),
        ("sequence entries" in problem, "a list cannot start here", next_line, place),
        (re.search("anchor|alias|tag", context), unquoted if here else unquoted + "&, * or !", QUOTE, opened),
    )  # fmt: skip
    vague = (True, "invalid YAML here", "check indentation, quotes and brackets", place)
    return next(row[1:] for row in (*known, vague) if row[0])
