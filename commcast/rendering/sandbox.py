"""The Jinja environment: what templates may access, and what they may cost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from itertools import islice
from types import CodeType
from typing import Any

from jinja2 import BytecodeCache, DictLoader, StrictUndefined, Template, nodes, pass_context
from jinja2.bccache import Bucket
from jinja2.environment import TemplateModule
from jinja2.exceptions import SecurityError, TemplateRuntimeError, TemplateSyntaxError, UndefinedError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, Undefined, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from commcast.model.text import as_sentence, single_quotes
from commcast.rendering.templates import resolve_in

LONGEST_TIME = 2.0  # seconds of work per message
MOST_STEPS = 50_000  # loop rounds, calls, filters and operators per message; shipped emails take hundreds
MOST_CHARACTERS = 5_000_000  # made per message, including those thrown away again
LONGEST_STRING = 100_000
MOST_ITEMS = 10_000  # in a list and all the lists inside it
LARGEST_NUMBER = 1e15

# No template can name these: the names contain a space.
CHARGE, CONCAT, HOLD = "commcast charge", "commcast concat", "commcast hold"


class LimitExceeded(SecurityError):
    """A template costs too much, or does something forbidden. Its text is "what" or "what; remedy"."""


@dataclass(slots=True)
class Budget:
    """What is left for one message."""

    steps: int = MOST_STEPS
    characters: int = MOST_CHARACTERS
    began: float = field(default_factory=time.thread_time)
    look_again: float = field(default_factory=lambda: time.monotonic() + LONGEST_TIME)

    def spend(self, characters: int = 0) -> None:
        """Take one step that makes `characters`. Raises LimitExceeded if steps, characters or time run out.

        Only this thread's CPU time counts: no message fails because the machine is busy or asleep.
        """
        self.steps -= 1
        self.characters -= characters
        if self.steps < 0:
            raise LimitExceeded("loops and calls without end")
        if self.characters < 0:
            raise LimitExceeded("makes far more text than a message holds")
        if time.monotonic() > self.look_again:  # far cheaper to ask than the thread's clock
            worked = time.thread_time() - self.began
            if worked >= LONGEST_TIME:
                raise LimitExceeded(f"takes longer than {LONGEST_TIME:g} seconds")
            self.look_again = time.monotonic() + LONGEST_TIME - worked


class _Metering(NodeTransformer):
    """Adds a charge to every body that can run again, and a check around everything that can grow."""

    def __init__(self, environment: MessageEnvironment, name: str | None) -> None:
        self._environment = environment
        self._name = name

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if what := self._refused(node):
            raise TemplateSyntaxError(what, node.lineno, self._name)
        return super().visit(node, *args, **kwargs)

    def _refused(self, node: nodes.Node) -> str:
        """Return why a node is not allowed, "" if it is."""
        match node:
            case nodes.For(recursive=True):
                return "recursive loops are not available in templates"
            case nodes.Compare() if len(node.ops) > 2:
                return "too many comparisons in a row; join them with and"
            case nodes.EvalContextModifier():
                return "escaping cannot be switched off"
            # Jinja itself reports an unknown name in a branch only when a message takes that branch.
            case nodes.Filter() if node.name not in self._environment.filters:
                return f"unknown filter {node.name!r:.60}"
            case nodes.Test() if node.name not in self._environment.tests:
                return f"unknown test {node.name!r:.60}"
        return ""

    def visit_Template(self, node: Any) -> nodes.Node:
        written = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        charge = _filter(nodes.Const(written, lineno=node.lineno), CHARGE)
        node.body.insert(0, nodes.ExprStmt(charge, lineno=node.lineno))
        return node  # type: ignore[no-any-return]

    visit_Block = visit_Macro = visit_CallBlock = visit_For = visit_Template

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.Tuple(node.nodes, "load", lineno=node.lineno), CONCAT)

    def visit_List(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, HOLD)

    visit_Dict = visit_Compare = visit_Test = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self.generic_visit(node) if node.ctx == "store" else self.visit_List(node)


# No "{%" inside a tag: so the time is proportional to the length of the text.
_TAGS = r"[ \t]*(?:\{%(?:(?!%\}|\{%).)*%\}|\{#(?:(?!#\}|\{#).)*#\})"
_TAG_LINE = rf"(?P<tags>(?:{_TAGS})+?)[ \t]*\n"
_END = r"\{%[ \t]*endif[ \t]*%\}"
_IF_LINE = rf"(?P<says>[ \t]*\{{%[ \t]*if\b(?:(?!%\}}|\n).)*%\}}(?:(?!\{{%|\n).)+)(?P<end>{_END})[ \t]*\n"
_LINE = re.compile(f"^(?:{_IF_LINE}|{_TAG_LINE})", re.MULTILINE | re.DOTALL)


def tag_lines(source: str) -> str:
    """Return a Markdown template in which a line of nothing but tags leaves no line behind.

    Its line end moves into its last tag, so that the numbers of all lines stay right. The end of a line that
    is one `if` moves inside the `if`: if it is false, no empty line cuts the paragraph. Jinja's own trimming
    would also take the line end after a tag at the end of a sentence.
    """

    def moved(line: re.Match[str]) -> str:
        if line["says"]:
            return f"{line['says']}\n{line['end']}"
        tags = re.sub(r"(?<=[%#]\})[ \t]+|^[ \t]+", "", line["tags"])
        cut = -3 if tags[-3] in "-+" else -2
        return f"{tags[:cut]}\n{tags[cut:]}"

    return _LINE.sub(moved, source)


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


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
_OPEN = (Namespace, TemplateModule)  # the names in these are the template's own
_LIST_FILTERS = frozenset(
    ("first", "last", "length", "list", "map", "reject", "rejectattr", "reverse", "select", "selectattr")
) | frozenset(("sort", "unique"))
_TEXT_FILTERS = frozenset(
    ("abs", "capitalize", "float", "indent", "int", "join", "lower", "replace", "string", "title", "trim")
) | frozenset(("truncate", "upper", "urlencode", "wordcount", "wordwrap"))
_OUR_FILTERS = {"sentence": as_sentence, "single_quotes": single_quotes}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_MOST_CODES = 500


class _Codes(BytecodeCache):
    """Compiled templates, for the life of this process: audiences and channels share their parts."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            if len(self._kept) >= _MOST_CODES:
                self._kept.clear()
            self._kept[bucket.key, bucket.checksum] = bucket.code


class Form(StrEnum):
    """What a template writes: plain text, HTML with values escaped, or Markdown with holes for its values."""

    PLAIN = "plain"
    HTML = "html"
    MARKDOWN = "markdown"


# The same source compiles to something else in each form.
_CODES = {form: _Codes() for form in Form}

# A value printed into Markdown leaves one private-use character of plane 16 there: no value is ever parsed.
FIRST_HOLE, MOST_HOLES = 0x100000, 2_000
_PRIVATE = re.compile("[\U00100000-\U0010ffff]")


class ReaderText(str):
    """A value of the reader, as printed: what depends on it can't be shared."""

    __slots__ = ()


class _Missing(StrictUndefined):
    """An undefined value. Errors never show what it was looked up in, which may be a reader's data."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = None,
        name: Any = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        del obj, exc
        super().__init__(hint, name=name if isinstance(name, str) and _NAME.fullmatch(name) else "item")


class _Fresh(Template):
    """A template whose variables are made anew for each message: captured text has that message's holes."""

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        self._module = None
        return super()._get_default_module(ctx)


class MessageEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, narrowed: values are JSON, and only what this module names can be accessed.

    Set `budget` before each message; one environment renders one message at a time. In Markdown, `holes` are
    the values printed since it was emptied last. Text that a template captured (a macro's, a `set` block's)
    is Markdown, too; no filter may take it apart.
    """

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, sources: Mapping[str, str], path: Sequence[str], form: Form) -> None:
        is_plain, in_markdown = form is Form.PLAIN, form is Form.MARKDOWN
        super().__init__(
            loader=DictLoader(sources),
            autoescape=not is_plain,
            undefined=_Missing,
            trim_blocks=not in_markdown,  # see tag_lines
            lstrip_blocks=not in_markdown,
            keep_trailing_newline=in_markdown,  # a part ends its own paragraph
            optimized=False,  # folding constants would run filters while compiling
            auto_reload=False,  # the sources never change
            finalize=self._printed,
            bytecode_cache=_CODES[form],
        )
        if in_markdown:
            self.template_class = _Fresh
        self.budget = Budget()
        self.holes: list[str] = []
        self._sources, self._path, self._in_markdown = sources, path, in_markdown
        self.globals = {name: self.globals[name] for name in ("range", "namespace")}
        self.filters = {
            name: self._guarded(name) for name in sorted(_LIST_FILTERS | _TEXT_FILTERS | {*_OUR_FILTERS})
        }
        self.filters["count"] = self.filters["length"]
        self.filters["default"] = self.filters["d"] = FILTERS["default"]
        if form is Form.HTML:
            self.filters["e"] = self.filters["escape"] = self._guarded("escape")
        self.filters |= {CHARGE: self._charge, CONCAT: self._concat, HOLD: self._held}

    def join_path(self, template: str, parent: str) -> str:
        """Return the full name: names are relative to the root of the templates, not to the parent."""
        del parent
        return resolve_in(self._sources, template, self._path)

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Return a template's globals as one plain dict: every message copies them."""
        return {**self.globals, **(d or {})}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if self._in_markdown:
            if private := _PRIVATE.search(source):
                line = source.count("\n", 0, private.start()) + 1
                raise TemplateSyntaxError("has a private character", line, name)
            source = tag_lines(source.replace("\r\n", "\n"))
        tree: nodes.Template = _Metering(self, name).visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a field, or one of the few methods that templates may use; all else is undefined."""
        if isinstance(obj, (dict, Mapping)) and attribute in obj:  # dict first: the cheap question
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow the methods listed above, and what a template itself put in a namespace or imported file."""
        del value
        if isinstance(obj, _OPEN):
            return not attr.startswith("_")
        if self._in_markdown and isinstance(obj, Markup):
            return False
        return any(attr in names for kind, names in _METHODS if isinstance(obj, kind))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Treat what is forbidden like what does not exist: a reader may lack a column `copy`."""
        return self.undefined(obj=obj, name=attribute)

    def wrap_str_format(self, value: Any) -> None:
        """Allow no method `format`, not even a sandboxed one: a width in it makes a text of any length."""
        del value

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, a block or an allowed method; its result is charged."""
        return self._held(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate with numbers of a sane size; join texts or lists with +, repeat a text with *."""
        if _both((int, float), left, right) and operator != "**":
            self.budget.spend()
            result = super().call_binop(context, operator, left, right)
            if not abs(result) <= LARGEST_NUMBER:
                raise LimitExceeded("a number is too large")
            return result
        if operator == "*" and isinstance(left, str) and isinstance(right, int):
            self._fits(len(left) * max(0, right))
            return left * right
        self._refuse_captured([left, right], f"{operator} does not work with captured text; use ~")
        joins = operator == "+" and any(_both(kind, left, right) for kind in (str, list, tuple))
        # For undefined values Jinja says which name it is.
        if not (joins or isinstance(left, Undefined) or isinstance(right, Undefined)):
            raise LimitExceeded(f"{operator} does not work here; use it with numbers, and ~ to join texts")
        return self._held(super().call_binop(context, operator, left, right))

    def _fits(self, characters: int) -> None:
        if characters > LONGEST_STRING:
            raise LimitExceeded("a text grows too long")
        self.budget.spend(characters)

    def _held(self, value: Any) -> Any:
        """Return `value` if it is small enough to be kept; a generator becomes a list."""
        if isinstance(value, str):
            self._fits(len(value))
            return value
        if hasattr(value, "__next__"):
            value = list(islice(value, MOST_ITEMS + 1))
        self.budget.spend(_size(value))
        return value

    @pass_context  # which also keeps Jinja from printing constants while it compiles
    def _printed(self, _: Context | None, value: Any) -> Any:
        """Let only text and numbers into a message: never "None", "True" or a list in brackets."""
        self._checked(value)
        if self._in_markdown and not isinstance(value, (Markup, Undefined)):
            return self._hole(value if isinstance(value, str) else str(value))
        return value

    def _checked(self, value: Any) -> Any:
        if isinstance(value, str):
            self.budget.spend(len(value))
        elif not isinstance(value, Undefined) and (what := _not_printable(value)):
            raise LimitExceeded(f"prints {what} instead of text; test it first, join a list")
        return value

    def _hole(self, value: str) -> Markup:
        """Keep a value, and return the character that stands for it in the Markdown."""
        if len(self.holes) >= MOST_HOLES:
            raise LimitExceeded(f"prints more than {MOST_HOLES} values")
        self.holes.append(value)
        return Markup(chr(FIRST_HOLE + len(self.holes) - 1))  # noqa: S704 - one character, no markup

    def _refuse_captured(self, values: Iterable[Any], what: str) -> None:
        if self._in_markdown and any(isinstance(each, Markup) for each in values):
            raise LimitExceeded(what)

    def _charge(self, characters: int) -> str:
        self.budget.spend(max(0, characters))  # `map` can call any filter by name, with any value
        return ""

    def _concat(self, parts: tuple[Any, ...]) -> str:
        if self._in_markdown and any(isinstance(part, Markup) for part in parts):
            return Markup("").join(self._printed(None, part) for part in parts)
        texts = [part if isinstance(part, str) else str(self._checked(part)) for part in parts]
        self._fits(sum(map(len, texts)))
        if self._in_markdown:
            return str_join(texts)
        return markup_join(texts) if self.autoescape else str_join(texts)

    def _guarded(self, name: str) -> Callable[..., Any]:
        """Return Jinja's filter or ours, with checks of its input and output."""
        function = _OUR_FILTERS.get(name) or FILTERS[name]
        place = int(hasattr(function, "jinja_pass_arg"))  # Jinja passes those a context or the like first

        @wraps(function)  # with the mark that makes Jinja do so
        def run(*given: Any, **named: Any) -> Any:
            value, *settings = given[place:]
            self.budget.spend()
            if not isinstance(value, Undefined):
                self._check(name, value, [*settings, *named.values()])
            return self._held(function(*given, **named))

        return run

    def _check(self, name: str, value: Any, settings: list[Any]) -> None:
        """Refuse what a filter would print as None or the like, or would make too much text of."""
        captured = f"{name} does not work with captured text; use it on the value"
        self._refuse_captured([value, *settings], captured)
        if name in _LIST_FILTERS:
            self.budget.spend(_size(value))
            return
        for each in (*value, *settings) if name == "join" else (value,):
            self._refuse_captured([each], captured)
            self._checked(each)
        if (20 + _size(value)) * max(map(_reach, settings), default=1) > MOST_CHARACTERS:
            raise LimitExceeded(f"{name} would make far more text than a message holds")


def _both(kind: type | tuple[type, ...], left: Any, right: Any) -> bool:
    return isinstance(left, kind) and isinstance(right, kind)


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
    """Return how far one setting of a filter can extend its text: a width, or the length of a text."""
    if isinstance(setting, str):
        return len(setting)
    return abs(int(setting)) if isinstance(setting, (int, float)) else 1


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "None"),
    (bool, "true or false"),
    (int, ""),
    (float, "NaN or infinity"),
    (Mapping, "a group of fields"),
    ((list, tuple, range), "a list"),
)


def _not_printable(value: Any) -> str:
    """Return what a value is, "" for a number. Infinity and NaN don't count as numbers."""
    if isinstance(value, float) and abs(value) <= LARGEST_NUMBER:
        return ""
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "something that is not text")
