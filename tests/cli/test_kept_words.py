"""Words that broken lists or templates keep from going: never written twice, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.terminal import declare, everything_in, outbox, run_at_terminal

KEPT = """\
Nothing was released. The draft is kept in incidents/card1.yaml.
  commcast send card1       to send it
  commcast discard card1    to take it back
"""


def break_lists(desk: Path) -> None:
    for name in ("partners", "internal"):
        (desk / "audiences" / f"{name}.csv").write_text("team,street\nOps,Main St\n")


def break_templates(desk: Path, text: str = "{% if") -> None:
    for name in ("customers", "internal"):
        (desk / "templates" / name).mkdir()
        (desk / "templates" / name / "email.txt.j2").write_text(text)


def places(text: str) -> list[str]:
    """Return the files that faults were found in."""
    return sorted(line.partition(":")[0] for line in text.splitlines() if ".csv:" in line or ".j2:" in line)


def test_every_fault_is_named_at_once_and_nothing_is_written(desk: Path) -> None:
    break_lists(desk)
    break_templates(desk)
    before = everything_in(desk / "incidents")
    for _ in range(2):
        done = declare(desk, "--yes")
        assert done.exit_code == 2, done.output
        assert places(done.stderr) == [
            "audiences/internal.csv",
            "audiences/partners.csv",
            "templates/customers/email.txt.j2",
            "templates/internal/email.txt.j2",
        ]
        assert done.stderr.endswith("Mend that, then give the same command again.\n")
        assert everything_in(desk / "incidents") == before


def test_a_template_that_fails_for_its_first_reader_is_named_once(desk: Path) -> None:
    break_templates(desk, "{% block subject %}x{% endblock %}{{ nosuch }}")
    done = declare(desk, "--yes")
    assert places(done.stderr) == ["templates/customers/email.txt.j2", "templates/internal/email.txt.j2"]
    assert not list((desk / "incidents").glob("*.yaml"))


def test_a_template_that_nobody_gets_now_keeps_nothing_back(desk: Path) -> None:
    (desk / "templates" / "customers").mkdir()
    (desk / "templates" / "customers" / "resolved.sms.txt.j2").write_text("{% if")
    assert declare(desk, "--yes").exit_code == 0


@pytest.mark.parametrize("verb", [["update", "--issue", "More."], ["resolve", "--fixed", "Done."]])
@pytest.mark.parametrize("break_it", [break_lists, break_templates])
def test_no_update_is_appended_that_cannot_go(desk: Path, verb: list[str], break_it: object) -> None:
    assert declare(desk, "--yes").exit_code == 0
    assert callable(break_it)
    break_it(desk)
    before = everything_in(desk / "incidents"), outbox(desk)
    done = run_at_terminal(desk, *verb, "--yes")
    assert (done.exit_code, len(places(done.stderr))) == (2, 2), done.output
    assert (everything_in(desk / "incidents"), outbox(desk)) == before


@pytest.mark.usefixtures("person")
def test_words_typed_at_a_terminal_are_kept_and_how_to_go_on_stands_last(desk: Path) -> None:
    break_lists(desk)
    typed = "1\nSome cards are refused.\nWe look.\nunknown\n"
    done = run_at_terminal(desk, "declare", "Card payments fail", typed=typed)
    assert done.exit_code == 2, done.output
    assert len(places(done.stderr)) == 2
    assert done.stderr.endswith(KEPT)
    assert "Some cards are refused." in (desk / "incidents" / "card1.yaml").read_text()


def test_words_of_an_editor_are_kept(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_templates(desk)
    monkeypatch.setenv("EDITOR", "true")
    done = declare(desk, "--edit", "--yes")
    assert (done.exit_code, done.stderr.endswith(KEPT)) == (2, True), done.output


def test_a_row_that_breaks_a_list_below_its_first_readers_leaves_a_draft(desk: Path) -> None:
    """Lists are not read to their end before the words are written."""
    path = desk / "commcast.toml"
    path.write_text(path.read_text().replace('bad_rows = "skip"', 'bad_rows = "stop"'))
    for name in ("partners", "internal"):
        (desk / "audiences" / f"{name}.csv").write_text("email\na@acme.example\nno address\n")
    done = declare(desk, "--yes", "--json")
    assert done.exit_code == 2, done.output
    assert done.stderr.endswith(KEPT)
    named = {fault["file"] for fault in json.loads(done.stdout)["faults"]}
    assert named == {"audiences/internal.csv", "audiences/partners.csv"}
