"""Which of a reader's values a wording uses, and how: decided on the syntax tree, never by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from jinja2 import Environment, nodes
from jinja2.exceptions import TemplateError

from commcast.rendering.templates import resolve_in

READER = "recipient"
# What a group of fields can be asked for besides its fields: the answer may hold all of them.
_ALL_FIELDS = frozenset(("get", "items", "keys", "values"))
# The output of what stands in these is a value of the template's, which it may cut, compare or throw away.
_CAPTURING = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a reader that a wording uses.

    `bare` ones are only printed, as they are, straight into the message: what else the message says does not
    depend on them. Everything may depend on the `keys`. Each field is in one of the two.
    """

    bare: tuple[str, ...]
    keys: tuple[str, ...]


def fields_used(sources: Mapping[str, str]) -> Fields | None:
    """Return the fields that templates use, with all that they include or import, in a fixed order.

    Return None where they cannot be listed: the reader as a whole is passed on, compared, looped over or
    asked for a field by a name worked out, or something else takes its name.
    """
    found = {name: _found_in(source) for name, source in sources.items()}
    listed = {name: each for name, each in found.items() if each is not None}
    return _sorted_out(listed, sources) if len(listed) == len(found) else None


class _NotListed(Exception):
    """A template uses the reader in a way that names no field."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands in its template."""

    captured: bool = False
    in_block: bool = False


@dataclass(slots=True)
class _FieldsFound:
    """What one template holds: fields printed and where, fields used otherwise, templates it names."""

    printed: list[tuple[str, _Place]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    names: list[tuple[type[nodes.Node], str, _Place]] = field(default_factory=list)
    # What a block writes may be read back: it stands in a captured place, or is asked for by self or super.
    blocks_are_read: bool = False


@lru_cache(maxsize=500)  # audiences and channels share their parts
def _found_in(source: str) -> _FieldsFound | None:
    """Return what one template holds; None where its fields cannot be listed."""
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
    """Raise _NotListed where the reader stands alone, or where its name may mean something else.

    A name that is part of `recipient.x` is never asked about: that node is taken as a whole.
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


def _sorted_out(found: Mapping[str, _FieldsFound], sources: Mapping[str, str]) -> Fields:
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
                    captured.add(resolve_in(sources, written))
    return _divided(found, captured, is_read)


def _divided(
    found: Mapping[str, _FieldsFound], captured: set[str], is_read: Callable[[_Place], bool]
) -> Fields:
    keys: set[str] = set()
    printed: set[str] = set()
    for name, each in found.items():
        keys |= each.used
        for named, place in each.printed:
            (keys if name in captured or is_read(place) else printed).add(named)
    return Fields(tuple(sorted(printed - keys)), tuple(sorted(keys)))
