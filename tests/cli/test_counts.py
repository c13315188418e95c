"""What one declare asks of disk and database: counted, never timed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from commcast.cli import prompt
from commcast.incidents import editor, schema
from commcast.ledger.bulk import Gathering
from commcast.ledger.store import Ledger
from commcast.model.message import Delivery, Outcome
from commcast.providers.outbox import OutboxAdapter
from commcast.rendering.compose import ReaderGroup
from tests.support.desk import numbered, write_desk
from tests.support.terminal import audited, declare, outbox


def test_one_declare_looks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person declares an incident to 14 readers by email, ten of whom get a text too, and says yes."""
    write_desk(tmp_path, customers=numbered(10), support=[f"s{n}@acme.example,Su" for n in range(4)])
    found, lists, words = Counter[str](), Counter[str](), Counter[tuple[str, str]]()

    def count(where: Any, name: str, what: str) -> None:
        plain = getattr(where, name)

        def counting(*given: Any, **named: Any) -> Any:
            # Presets are read for their names: they are not the incident's file.
            found[what] += what != "parses" or str(given[1]).startswith("incidents/")
            return plain(*given, **named)

        monkeypatch.setattr(where, name, counting)

    count(schema, "examine", "parses")
    count(editor, "parse", "parses")
    count(Ledger, "read", "reads")
    count(Ledger, "write", "writes")
    count(Gathering, "transaction", "writes")
    made = ReaderGroup.words

    def making(group: ReaderGroup, values: Any, *given: Any, **named: Any) -> Any:
        words[group.channel, str(values.get("email") or values.get("phone") or values)] += 1
        return made(group, values, *given, **named)

    monkeypatch.setattr(ReaderGroup, "words", making)

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and str(given[0]).startswith(str(tmp_path / "audiences")):
            lists[Path(given[0]).name] += 1

    package, plain_send = str(Path(prompt.__file__).parents[1]), OutboxAdapter.send

    def sending(adapter: OutboxAdapter, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        """Note how many frames of ours lie between the command and the adapter."""
        depth, frame = 0, sys._getframe(1)
        while frame is not None and "/cli/commands.py" not in frame.f_code.co_filename:
            depth += frame.f_code.co_filename.startswith(package)
            frame = frame.f_back  # type: ignore[assignment]
        found["frames"] = max(found["frames"], depth)
        return plain_send(adapter, batch)

    monkeypatch.setattr(OutboxAdapter, "send", sending)
    monkeypatch.setattr(prompt, "at_terminal", lambda: True)
    monkeypatch.setattr(prompt, "ask", lambda *_: "y")
    with audited(watch):
        assert declare(tmp_path).exit_code == 0
    assert len(outbox(tmp_path)) == 24
    assert found["parses"] <= 3 and found["reads"] <= 16 and found["writes"] <= 6
    assert max(lists.values()) <= 4 and max(words.values()) <= 2
    assert 4 <= found["frames"] <= 12
