"""lint: every fault of every file at once, with its place, and nothing heavy loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_tick import break_files
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.terminal import bench_now, every_byte, run

HEAVY = ("sqlalchemy", "alembic", "aiosmtplib", "sendgrid", "twilio", "aiohttp", "smtplib")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def test_a_good_folder_is_ok(bench: Bench) -> None:
    before = every_byte(bench.folder)
    result = run("lint", folder=bench.folder)
    assert result.stdout.startswith("OK: 1 incident, 4 presets, 2 audiences, 3 recipients")
    assert every_byte(bench.folder) == before


def test_names_every_fault_of_three_files_with_its_place(bench: Bench) -> None:
    break_files(bench.folder)
    found = run("lint", folder=bench.folder, expect=2).stdout.splitlines()
    for file, least in (("a-typo", 2), ("b-half", 1), ("c-number", 2)):
        faults = [line for line in found if line.startswith(f"incidents/{file}.yaml:")]
        assert len(faults) >= least
        for fault in faults:
            _, line, column, _ = fault.split(":", 3)
            assert int(line) > 0
            assert int(column) > 0


def test_loads_no_provider_and_no_database(bench: Bench) -> None:
    watched = (
        "import sys; from commcast.cli import app; app(sys.argv[1:], standalone_mode=False);"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", watched, "lint", "-C", str(bench.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines()[-1] == "loaded:", done.stdout + done.stderr


def test_a_promise_later_than_the_cadence_is_a_fault(bench: Bench) -> None:
    write_incident(bench.folder, "late", at=bench.now, more=update_text(bench.now, next_update="5h"))
    assert "cadence of severity 1" in run("lint", folder=bench.folder, expect=2).stdout


def test_a_template_that_cannot_be_rendered_is_a_fault(bench: Bench) -> None:
    folder = bench.folder / "templates" / "customers"
    folder.mkdir(parents=True)
    (folder / "sms.txt.j2").write_text("{{ incident.titel }}")
    assert "templates/customers/sms.txt.j2:1" in run("lint", folder=bench.folder, expect=2).stdout


def test_a_bad_row_is_a_warning(bench: Bench) -> None:
    write_list(bench.folder, "support", "email,name", ["help@acme.example,Su", "nobody,No"])
    result = run("lint", folder=bench.folder)
    assert "warning: audiences/support.csv:3" in result.stderr


def test_a_list_that_no_channel_of_its_audience_reaches_is_a_warning(bench: Bench) -> None:
    """Every row is good, and nobody would ever hear."""
    write_list(bench.folder, "support", "name,phone", ["Su,+4915112345679"])
    result = run("lint", folder=bench.folder)
    said = "warning: audiences/support.csv: no reader of it can be reached by email"
    assert said in result.stderr
    assert "add an email column, or sms to the channels of audience support" in result.stderr
    assert result.stdout.startswith("OK: ")


def test_a_list_that_one_of_two_channels_reaches_is_none(bench: Bench) -> None:
    write_list(bench.folder, "customers", "name,phone", ["Su,+4915112345679"])
    assert "warning" not in run("lint", folder=bench.folder).stderr


def test_one_file_may_be_named(bench: Bench) -> None:
    break_files(bench.folder)
    run("lint", bench.folder / "incidents" / "pay7.yaml", folder=bench.folder)
    result = run("lint", bench.folder / "incidents" / "a-typo.yaml", folder=bench.folder, expect=2)
    assert "b-half" not in result.stdout


def test_json_holds_every_fault(bench: Bench) -> None:
    break_files(bench.folder)
    document = json.loads(run("lint", "--json", folder=bench.folder, expect=2).stdout)
    assert {fault["file"] for fault in document["faults"]} == {
        "incidents/a-typo.yaml",
        "incidents/b-half.yaml",
        "incidents/c-number.yaml",
    }


def test_a_broken_configuration_is_told(bench: Bench) -> None:
    (bench.folder / "commcast.toml").write_text("[organisation]\n")
    assert "commcast.toml" in run("lint", folder=bench.folder, expect=2).stdout


def test_keys_that_have_no_effect_yet_are_named(tmp_path: Path) -> None:
    folder = write_desk(tmp_path, extra='[tick]\nrelease = "committed"')
    assert "tick.release has no effect yet" in run("lint", folder=folder).stderr
