"""The table of reasons in docs/ holds every reason that the plan gives, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import commcast.plan
from commcast.plan import reasons

PLAN = Path(commcast.plan.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "reasons.md"
GIVEN = {name: value for name, value in vars(reasons).items() if name.isupper()}


def documented(*sections: str) -> list[str]:
    """Return the first cell of each row of the tables in these sections."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return [cell for name in sections for cell in re.findall(r"^\| `([^`]+)` \|", found[name], re.MULTILINE)]


def test_every_reason_of_the_plan_is_in_the_table_once_and_the_reverse() -> None:
    table = documented("Of a notice on a channel", "Of a reader")
    assert sorted(table) == sorted(GIVEN.values())


def is_verdict(value: ast.expr | None) -> bool:
    """Return whether this is "owed or not, and why", with the reason written out."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != 2:
        return False
    plan, why = value.elts
    is_text = isinstance(why, ast.JoinedStr) or (isinstance(why, ast.Constant) and isinstance(why.value, str))
    return is_text and isinstance(plan, ast.Constant) and isinstance(plan.value, bool)


def literal_reasons() -> Iterator[str]:
    """Yield where the plan gives a reason that is not one of the constants."""
    for path in sorted(PLAN.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Return) and is_verdict(node.value):
                yield f"{path.name}:{node.lineno}"
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            place = {"Due": 2, "Decision": 1}.get(node.func.id)
            if place is None:
                continue
            given = [*node.args[place : place + 1], *(k.value for k in node.keywords if k.arg == "reason")]
            if any(isinstance(each, (ast.Constant, ast.JoinedStr)) for each in given):
                yield f"{path.name}:{node.lineno}"


def test_the_plan_writes_its_reasons_in_one_place_only() -> None:
    """Another reason is a constant in plan/reasons.py and a row in docs/reasons.md."""
    assert list(literal_reasons()) == []


def test_every_constant_is_used_by_the_plan() -> None:
    code = "\n".join(path.read_text() for path in Path(commcast.plan.__file__).parents[1].rglob("*.py"))
    for name in GIVEN:
        assert len(re.findall(rf"\b{name}\b", code)) > 1, name


def test_what_happens_to_a_row_later_is_what_the_ledger_says() -> None:
    package = Path(commcast.plan.__file__).parents[1]
    code = "\n".join(path.read_text() for path in package.rglob("*.py"))
    found = documented("What happens to a row later")
    assert found
    assert [reason for reason in found if f'"{reason}"' not in code] == []
