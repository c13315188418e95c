"""templates and schema: what wins, and what an editor can be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.desk import write_desk
from tests.support.terminal import run


def test_templates_says_which_file_wins_and_why_a_mail_is_text_only(tmp_path: Path) -> None:
    folder = write_desk(tmp_path)
    own = folder / "templates" / "customers"
    own.mkdir(parents=True)
    (own / "resolved.email.txt.j2").write_text("{% block subject %}Over{% endblock %}It is over.")
    lines = run("templates", "--audience", "customers", folder=folder).stdout.splitlines()
    assert any("yours    customers/resolved.email.txt.j2 (text only)" in line for line in lines)
    assert any("all others" in line and "shipped  customers/email.txt.j2, .html" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert not any("support" in line for line in lines)


def test_templates_as_json_groups_statuses(tmp_path: Path) -> None:
    document = json.loads(run("templates", "--json", folder=write_desk(tmp_path)).stdout)
    assert {row["audience"] for row in document["templates"]} == {"support", "customers"}
    assert all("resolved" in row["statuses"] for row in document["templates"])


def test_templates_of_an_unknown_audience_are_refused(tmp_path: Path) -> None:
    run("templates", "--audience", "nobody", folder=write_desk(tmp_path), expect=2)


@pytest.mark.parametrize("kind", ["incident", "config", "preset"])
def test_schema_is_json_schema(kind: str) -> None:
    assert json.loads(run("schema", kind).stdout)["properties"]


def test_schema_of_nothing_known_is_refused() -> None:
    run("schema", "poem", expect=2)
