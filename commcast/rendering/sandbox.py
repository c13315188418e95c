"""The Jinja environment: what templates may touch, and what they may cost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, NoReturn

from jinja2 import BytecodeCache, DictLoader, StrictUndefined, nodes, pass_context
from jinja2.bccache import Bucket
from jinja2.environment import TemplateModule
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, TemplateReference, Undefined, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from commcast.rendering.templates import resolve_in

LONGEST_TIME = 2.0  # seconds of work a message
MOST_STEPS = 50_000  # loop rounds, calls, filters and operators a message; a shipped mail takes a few hundred
MOST_CHARACTERS = 5_000_000  # made in all, also where they are thrown away again
LONGEST_STRING = 100_000
MOST_ITEMS = 10_000  # in a list, with the lists in it
LARGEST_NUMBER = 1e15
DEEPEST_CALL = 30

# Spaces keep these out of reach: no template can name them.
CHARGE, CONCAT, HOLD = "commcast charge", "commcast concat", "commcast hold"


class LimitExceeded(SecurityError):
    """A template wants more than a message may cost, or what it may not touch. "what", or "what; remedy"."""


@dataclass(slots=True)
class Budget:
    """What is left for one message. Every step also looks at the clock, so that no template works for long.

    Time that this thread did not work, on a busy or sleeping machine, does not count.
    """

    steps: int = MOST_STEPS
    characters: int = MOST_CHARACTERS
    depth: int = 0
    began: float = field(default_factory=time.thread_time)
    ends: float = field(default_factory=lambda: time.monotonic() + LONGEST_TIME)

    def spend(self, characters: int = 0) -> None:
        """Take one step that makes `characters`. Raises LimitExceeded when one of the three is used up."""
        self.steps -= 1
        self.characters -= characters
        if self.steps < 0:
            raise LimitExceeded("loops and calls without end")
        if self.characters < 0:
            raise LimitExceeded("makes far more text than a message holds")
        if time.monotonic() > self.ends:  # the cheap clock first
            self._look_at_work()

    def _look_at_work(self) -> None:
        worked = time.thread_time() - self.began
        if worked >= LONGEST_TIME:
            raise LimitExceeded(f"takes longer than {LONGEST_TIME:g} seconds")
        self.ends = time.monotonic() + LONGEST_TIME - worked


class Metered(NodeTransformer):
    """Puts a charge at the head of every body that can run again, and a guard round all that can grow."""

    def __init__(self, name: str | None, filters: Collection[str], tests: Collection[str]) -> None:
        self._name = name
        self._filters = filters
        self._tests = tests

    def visit_Template(self, node: nodes.Template) -> nodes.Node:
        return self._charge(node)

    visit_Block = visit_Macro = visit_CallBlock = visit_Template

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            self._refuse(node, "recursive loops are not available in templates")
        return self._charge(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.Tuple(node.nodes, "load", lineno=node.lineno), CONCAT)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, HOLD)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return node if node.ctx == "store" else _filter(node, HOLD)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        if len(node.ops) > 2:
            self._refuse(node, "too many comparisons in a row; join them with and")
        self.generic_visit(node)
        return _filter(node, HOLD)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        # Jinja itself notices a name in a branch only when a message takes that branch.
        if node.name not in self._filters:
            self._refuse(node, f"no filter is named {node.name!r:.60}")
        return self.generic_visit(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        if node.name not in self._tests:
            self._refuse(node, f"no test is named {node.name!r:.60}")
        self.generic_visit(node)
        return _filter(node, HOLD)

    def visit_EvalContextModifier(self, node: nodes.Node) -> NoReturn:
        self._refuse(node, "escaping cannot be switched off")

    visit_ScopedEvalContextModifier = visit_EvalContextModifier

    def _charge(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(
            0, nodes.ExprStmt(_filter(nodes.Const(_literal(node.body), lineno=node.lineno), CHARGE))
        )
        node.body[0].lineno = node.lineno
        return node  # type: ignore[no-any-return]

    def _refuse(self, node: nodes.Node, what: str) -> NoReturn:
        raise TemplateSyntaxError(what, node.lineno, self._name)


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _literal(body: list[nodes.Node]) -> int:
    """Return how many characters of plain text a run of `body` writes; inner bodies charge for themselves."""
    total, todo = 0, list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, nodes.TemplateData):
            total += len(node.data)
        elif isinstance(node, nodes.For):
            todo.extend(node.else_)
        elif not isinstance(node, (nodes.Block, nodes.Macro, nodes.CallBlock)):
            todo.extend(node.iter_child_nodes())
    return total


_METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (
        str,
        frozenset(("capitalize", "endswith", "lower", "lstrip", "rstrip", "split", "splitlines"))
        | frozenset(("startswith", "strip", "title", "upper")),
    ),
    (Mapping, frozenset(("get", "items", "keys", "values"))),
    (
        LoopContext,
        frozenset(("changed", "cycle", "depth", "depth0", "first", "index", "index0", "last"))
        | frozenset(("length", "nextitem", "previtem", "revindex", "revindex0")),
    ),
)
_LIST_FILTERS = frozenset(
    ("first", "join", "last", "length", "list", "map", "reject", "rejectattr")
) | frozenset(("reverse", "select", "selectattr", "sort", "unique"))
_TEXT_FILTERS = frozenset(
    ("abs", "capitalize", "float", "indent", "int", "lower", "replace", "string")
) | frozenset(("title", "trim", "truncate", "upper", "urlencode", "wordcount", "wordwrap"))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_MOST_CODES = 500
_OPEN = (Namespace, TemplateModule)  # their names are the template's own


class _Codes(BytecodeCache):
    """What templates compile to, for the life of this process: audiences and channels share their parts."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            if len(self._kept) >= _MOST_CODES:
                self._kept.clear()
            self._kept[bucket.key, bucket.checksum] = bucket.code


# By whether the text is escaped: the same source compiles to something else then.
_CODES = {html: _Codes() for html in (False, True)}


class MessageEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, narrowed: values are JSON, and only what this module names can be reached from them.

    `budget` is replaced before each message; one environment renders one message at a time.
    """

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, sources: Mapping[str, str], *, html: bool) -> None:
        super().__init__(
            loader=DictLoader(sources),
            autoescape=html,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would run filters while compiling
            auto_reload=False,  # the sources never change
            finalize=self._finalized,
            bytecode_cache=_CODES[html],
        )
        self.budget = Budget()
        self._sources = sources
        self.globals = {"range": _range, "namespace": Namespace}
        allowed = _LIST_FILTERS | _TEXT_FILTERS
        self.filters = {name: self._guarded(name) for name in sorted(allowed)}
        self.filters["count"] = self.filters["length"]
        self.filters["default"] = self.filters["d"] = FILTERS["default"]
        if html:
            self.filters["e"] = self.filters["escape"] = self._guarded("escape")
        self.filters |= {CHARGE: self._charge, CONCAT: self._concat, HOLD: self._hold}

    def join_path(self, template: str, parent: str) -> str:
        """Return the full name: names count from the root of the templates, whatever the parent."""
        del parent
        return resolve_in(self._sources, template)

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Return a template's globals as one dict, made once and not looked through for each message."""
        return {**self.globals, **(d or {})}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        counted: nodes.Template = Metered(name, self.filters, self.tests).visit(tree)
        counted.set_environment(self)
        return counted

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a field, or one of the few methods that templates may use; anything else is undefined."""
        if isinstance(obj, (dict, Mapping)) and attribute in obj:  # dict first: the cheap question
            return obj[attribute]
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if isinstance(obj, TemplateReference):
            return self._block(obj, attribute)
        if attribute in _reachable(obj) or (isinstance(obj, _OPEN) and not attribute.startswith("_")):
            return getattr(obj, attribute, self.undefined(name=attribute))
        return self.undefined(name=attribute)

    def _block(self, template: TemplateReference, name: str) -> Any:
        try:
            return template[name]
        except KeyError:
            return self.undefined(name=name)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item; unlike in plain Jinja never an attribute."""
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if isinstance(obj, (dict, list, tuple, str, range, Mapping)):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        # The name is shown in errors: one that was worked out may be a reader's data.
        plain = isinstance(argument, str) and _NAME.fullmatch(argument)
        return self.undefined(name=argument if plain else "item")

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, a block or an allowed method, counted, and not too deep in another."""
        budget = self.budget
        budget.spend()
        if budget.depth >= DEEPEST_CALL:
            raise LimitExceeded("a macro or block calls itself without end")
        budget.depth += 1
        try:
            return self._held(super().call(context, function, *args, **kwargs))
        finally:
            budget.depth -= 1

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute with numbers of a sane size; join two texts or two lists with +, repeat a text with *."""
        self.budget.spend()
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return super().call_binop(context, operator, left, right)  # which says what is undefined
        if _are((int, float), left, right) and operator != "**":
            result = super().call_binop(context, operator, left, right)
            if not abs(result) <= LARGEST_NUMBER:
                raise LimitExceeded("a number is too large")
            return result
        return self._joined(operator, left, right)

    def _joined(self, operator: str, left: Any, right: Any) -> Any:
        if operator == "*" and isinstance(left, str) and isinstance(right, int):
            self._fits(len(left) * max(0, right))
            return left * right
        if operator == "+" and _are(str, left, right):
            self._fits(len(left) + len(right))
            return left + right
        if operator == "+" and (_are(list, left, right) or _are(tuple, left, right)):
            return self._held(left + right)
        raise LimitExceeded(f"{operator} does not work here; it is for numbers, and ~ joins texts")

    def _fits(self, characters: int) -> None:
        if characters > LONGEST_STRING:
            raise LimitExceeded("a text grows too long")
        self.budget.spend(characters)

    def _held(self, value: Any) -> Any:
        """Return `value` when it is small enough to be kept; a generator becomes a list."""
        if isinstance(value, str):
            self._fits(len(value))
        elif not isinstance(value, (dict, list, tuple, int)) and isinstance(value, Iterator):
            value = self._held(list(self._counted(value)))
        else:
            self.budget.spend(_size(value))
        return value

    def _counted(self, values: Iterator[Any]) -> Iterator[Any]:
        for number, value in enumerate(values):
            if number >= MOST_ITEMS:
                raise LimitExceeded("a list grows too long")
            self.budget.spend()
            yield value

    def _printed(self, value: Any) -> Any:
        """Let only text and numbers into a message: never "None", "True" or a list in brackets."""
        if isinstance(value, str):
            self.budget.spend(len(value))
        elif not isinstance(value, Undefined) and not _is_number(value):
            raise LimitExceeded(f"prints {_kind(value)} where text is meant; test it first, join a list")
        return value

    @pass_context  # which also keeps Jinja from printing constants while it compiles
    def _finalized(self, _: Context, value: Any) -> Any:
        return self._printed(value)

    @pass_context
    def _charge(self, _: Context, characters: int) -> str:
        self.budget.spend(max(0, characters))
        return ""

    @pass_context
    def _hold(self, _: Context, value: Any) -> Any:
        return self._held(value)

    @pass_context
    def _concat(self, _: Context, parts: list[Any]) -> str:
        texts = [part if isinstance(part, str) else str(self._printed(part)) for part in parts]
        self._fits(sum(map(len, texts)))
        return markup_join(texts) if self.autoescape else str_join(texts)

    def _guarded(self, name: str) -> Callable[..., Any]:
        function = FILTERS[name]
        leading = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

        @pass_context
        def run(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
            self.budget.spend()
            if not isinstance(value, Undefined):
                value = self._checked(name, value, [*args, *kwargs.values()])
            if not leading:
                return self._held(function(value, *args, **kwargs))
            given = {"context": context, "eval_context": context.eval_ctx, "environment": self}[leading]
            return self._held(function(given, value, *args, **kwargs))

        return run

    def _checked(self, name: str, value: Any, settings: list[Any]) -> Any:
        """Return the value for a filter, after a look at how much the filter could make of it."""
        if name == "join":
            value = [item if isinstance(item, str) else str(self._printed(item)) for item in value]
            settings = [self._printed(setting) for setting in settings]
            self._fits(sum(map(len, value)) + len(value) * max((_reach(s) for s in settings), default=0))
        elif name in _LIST_FILTERS:
            self.budget.spend(_size(value))
        else:
            self._printed(value)
            length = len(value) if isinstance(value, str) else 20
            if (length + 1) * (max(map(_reach, settings)) if settings else 1) > MOST_CHARACTERS:
                raise LimitExceeded(f"{name} would make far more text than a message holds")
        return value


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MOST_ITEMS:
        raise LimitExceeded("a range is too long")
    return numbers


def _reachable(obj: Any) -> frozenset[str]:
    return next((names for kind, names in _METHODS if isinstance(obj, kind)), frozenset())


def _size(value: Any) -> int:
    """Return what a value costs to copy or compare: its items and characters, with all that is in it."""
    total, items, todo = 0, 0, [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            total += len(one)
        elif isinstance(one, (list, tuple, range, dict, Mapping)):
            items += len(one)
            if items > MOST_ITEMS:
                raise LimitExceeded("a list grows too long")
            todo.extend(one if isinstance(one, (list, tuple, range)) else one.values())
    return total + items


def _reach(setting: Any) -> int:
    """Return how far one setting of a filter can blow its text up: a width, or the length of a text."""
    if isinstance(setting, str):
        return len(setting)
    return abs(int(setting)) if isinstance(setting, (int, float)) else 1


def _are(kind: type | tuple[type, ...], *values: Any) -> bool:
    return all(isinstance(value, kind) for value in values)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return abs(value) <= LARGEST_NUMBER  # neither infinite nor NaN
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float):
        return "no number"
    if isinstance(value, Mapping):
        return "a group of fields"
    return "a list" if isinstance(value, (list, tuple, range)) else "what is no text"
