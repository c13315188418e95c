"""What a template may cost: the budget of a message, and the charges put into the parsed template."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.visitor import NodeTransformer

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
