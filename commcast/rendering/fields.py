"""Which of a reader's values a template uses, and how, according to its syntax tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from jinja2 import Environment, nodes
from jinja2.exceptions import TemplateError

from commcast.rendering.templates import resolve_in

READER = "recipient"
# Methods of a group of fields: what they return may hold all of its fields.
_ALL_FIELDS = frozenset(("get", "items", "keys", "values"))
# What is written inside these becomes a value, which the template may cut, compare or throw away.
_CAPTURING = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)


class Fields(NamedTuple):
    """The fields of a reader that a wording uses.

    `bare` fields are only printed, unchanged, into the message: nothing else in it depends on them. Anything
    may depend on the `keys`. Each field is in one of the two.
    """

    bare: tuple[str, ...]
    keys: tuple[str, ...]


def fields_used(sources: Mapping[str, str], path: Sequence[str]) -> Fields | None:
    """Return the fields that templates and all they include or import use, in a fixed order.

    Return None if they can't be listed: the reader as a whole is passed on, compared or looped over, a field
    is looked up by a computed name, or something else has the reader's name.
    """
    found = {name: _found_in(source) for name, source in sources.items()}
    listed = {name: each for name, each in found.items() if each is not None}
    return _sorted_out(listed, sources, path) if len(listed) == len(found) else None


class _NotListed(Exception):
    """A template uses the reader in a way that names no field."""


class _Place(NamedTuple):
    """Where a node is in its template."""

    captured: bool = False
    in_block: bool = False


@dataclass(slots=True)
class _FieldsFound:
    """What one template contains: fields printed and where, fields used otherwise, templates it names."""

    printed: list[tuple[str, _Place]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    names: list[tuple[type[nodes.Node], str, _Place]] = field(default_factory=list)
    # A block's output may be read back: the block is in a captured place, or called through self or super.
    blocks_are_read: bool = False


@lru_cache(maxsize=500)  # audiences and channels share their parts
def _found_in(source: str) -> _FieldsFound | None:
    """Return what one template contains; None if its fields cannot be listed."""
    try:
        return _read(Environment(autoescape=True).parse(source))
    except (_NotListed, TemplateError, RecursionError, ValueError):
        return None


def _read(tree: nodes.Template) -> _FieldsFound:
    found = _FieldsFound()
    todo: list[tuple[nodes.Node, _Place]] = [(tree, _Place())]
    while todo:
        node, place = todo.pop()
        _refuse_other_readers(node)
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and (named := _field(node)):
            found.used.add(named)
            continue
        if isinstance(node, nodes.Output):
            bare = [(each, _field(each)) for each in node.nodes]
            found.printed += [(named, place) for _, named in bare if named]
            todo += [(each, place) for each, named in bare if not named]
            continue
        if isinstance(node, nodes.Name) and node.name in ("self", "super"):
            found.blocks_are_read = True
        if isinstance(node, (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)):
            found.names.append((type(node), _constant(node.template), place))
        if isinstance(node, nodes.Block):
            found.blocks_are_read |= place.captured
            place = _Place(place.captured, in_block=True)
        elif isinstance(node, _CAPTURING):
            place = _Place(captured=True, in_block=place.in_block)
        todo += [(child, place) for child in node.iter_child_nodes()]
    return found


def _field(node: nodes.Node) -> str:
    """Return which field `recipient.x` or `recipient["x"]` names; "" for any other node."""
    if not isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return ""
    if not isinstance(node.node, nodes.Name) or node.node.name != READER:
        return ""
    named = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
    if not named or named in _ALL_FIELDS:
        raise _NotListed
    return named


def _constant(node: nodes.Node) -> str:
    if not isinstance(node, nodes.Const) or not isinstance(node.value, str):
        raise _NotListed
    return node.value


def _refuse_other_readers(node: nodes.Node) -> None:
    """Raise _NotListed if the reader is used as a whole, or if its name may mean something else.

    The name inside `recipient.x` never gets here: that node is handled before.
    """
    taken: list[str] = []
    if isinstance(node, (nodes.Name, nodes.NSRef, nodes.Macro)):
        taken.append(node.name)
    elif isinstance(node, nodes.Import):
        taken.append(node.target)
    elif isinstance(node, nodes.FromImport):
        for each in node.names:
            taken += (each,) if isinstance(each, str) else each
    if READER in taken:
        raise _NotListed


def _sorted_out(found: Mapping[str, _FieldsFound], sources: Mapping[str, str], path: Sequence[str]) -> Fields:
    blocks_are_read = any(each.blocks_are_read for each in found.values())

    def is_read(place: _Place) -> bool:
        return place.captured or (place.in_block and blocks_are_read)

    captured: set[str] = set()
    before = -1
    while len(captured) > before:
        before = len(captured)
        for name, each in found.items():
            for kind, written, place in each.names:
                imported = issubclass(kind, (nodes.Import, nodes.FromImport))
                if imported or name in captured or is_read(place):
                    captured.add(resolve_in(sources, written, path))
    keys = {named for each in found.values() for named in each.used}
    printed: set[str] = set()
    for name, each in found.items():
        for named, place in each.printed:
            (keys if name in captured or is_read(place) else printed).add(named)
    return Fields(tuple(sorted(printed - keys)), tuple(sorted(keys)))
