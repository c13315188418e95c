"""commcast init: a folder that works at once, and never one over another."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from commcast.config.load import load_config
from commcast.model.incident import View
from tests.support.terminal import declare, everything_in, outbox, run_at_terminal


def test_a_new_desk_declares_at_once(desk: Path) -> None:
    """Nothing has to be filled in before the first incident; its messages are files."""
    done = declare(desk, "--yes")
    assert done.exit_code == 0, done.output
    assert [name for name in outbox(desk) if name.endswith(".eml")]
    assert [name for name in outbox(desk) if name.endswith(".txt")]


def test_every_shipped_audience_is_there_with_its_view(desk: Path) -> None:
    audiences = load_config(desk).audiences
    views = {name: audience.view for name, audience in audiences.items()}
    internal, public = View.INTERNAL, View.PUBLIC
    assert views == {
        "support": internal,
        "executives": internal,
        "internal": internal,
        "partners": public,
        "customers": public,
    }


def test_the_ledger_is_private_and_not_committed(desk: Path) -> None:
    ledger = desk / ".commcast" / "ledger.db"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    assert ".commcast/" in (desk / ".gitignore").read_text()


def test_each_desk_has_its_own_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run_at_terminal(tmp_path, "init", str(tmp_path / name)).exit_code == 0
    ids = {tomllib.loads((tmp_path / name / "commcast.toml").read_text())["desk"] for name in ("a", "b")}
    assert len(ids) == 2


def test_a_folder_that_is_a_desk_is_refused_and_untouched(desk: Path) -> None:
    before = everything_in(desk)
    done = run_at_terminal(desk, "init", str(desk))
    assert done.exit_code == 2
    assert "is there already" in done.stderr
    assert everything_in(desk) == before


@pytest.mark.parametrize(
    ("option", "value"),
    [("--zone", "Mars/Base"), ("--email", "no address"), ("--organisation", "x" * 80), ("--email", 'a"b')],
)
def test_an_option_that_cannot_stand_in_the_config_makes_nothing(
    tmp_path: Path, option: str, value: str
) -> None:
    done = run_at_terminal(tmp_path, "init", str(tmp_path / "new"), option, value)
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ['Acme "Pay", Ltd.', "Søren & Søn \\ 100%", "{desk} {name}", "花", "a\nb"])
def test_any_name_is_written_so_that_it_reads_back(tmp_path: Path, name: str) -> None:
    done = run_at_terminal(tmp_path, "init", str(tmp_path / "new"), "--organisation", name)
    if "\n" in name:
        assert done.exit_code == 2
    else:
        assert done.exit_code == 0, done.output
        assert load_config(tmp_path / "new").organisation.name == name


def test_what_lies_in_the_folder_already_stays(tmp_path: Path) -> None:
    (tmp_path / "audiences").mkdir()
    (tmp_path / "audiences" / "customers.csv").write_text("email\nme@example.com\n")
    assert run_at_terminal(tmp_path, "init", str(tmp_path)).exit_code == 0
    assert (tmp_path / "audiences" / "customers.csv").read_text() == "email\nme@example.com\n"


def test_it_ends_by_naming_the_next_command(tmp_path: Path) -> None:
    assert "commcast declare" in run_at_terminal(tmp_path, "init", str(tmp_path / "new")).stderr
