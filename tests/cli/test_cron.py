"""cron: what it prints can be copied as it stands, whatever the folder is called."""

from __future__ import annotations

import configparser
import shlex
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from commcast.ledger.oncall import last_tick
from tests.support.desk import Bench, write_desk, write_incident
from tests.support.terminal import just_now, run

ODD = "my desk 100% 'of' \"it\" $HOME ${{ x }}"


@pytest.fixture(params=["desk", ODD], ids=["plain", "odd"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    folder = tmp_path / request.param
    write_desk(folder)
    write_incident(folder, at=just_now())
    bench = Bench(folder, now=just_now())
    bench.send()  # a draft would wake somebody soon
    return bench


def printed(bench: Bench, form: str, *more: str) -> str:
    return run("cron", "--format", form, *more, folder=bench.folder).stdout


def ticked(bench: Bench) -> bool:
    with bench.ledger.read() as connection:
        return last_tick(connection) is not None


def run_with_nothing_set(script: str, place: Path) -> None:
    """Run a script as cron does: no environment, another folder."""
    shell = ["/bin/sh", "-c", script]
    done = subprocess.run(shell, cwd=place, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def crontab_commands(text: str) -> list[tuple[list[str], str]]:
    """Return (when, command) of each line of a crontab, as cron reads it: a bare % would end the command."""
    found = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        *when, command = line.split(None, 5)
        assert "%" not in command.replace("\\%", "")
        found.append((when, command.replace("\\%", "%")))
    return found


def units(text: str) -> dict[str, configparser.ConfigParser]:
    """Return the unit files in a text, by the ends of their names."""
    found = {}
    for part in text.split("# File: ")[1:]:
        name, _, content = part.partition("\n")
        parser = configparser.ConfigParser(interpolation=None, strict=True, comment_prefixes=("#",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(content)
        found[name.rpartition(".")[2]] = parser
    return found


def test_the_crontab_line_ticks_this_desk_with_nothing_set(bench: Bench, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets 5%.env"
    secrets.write_text("WITNESS='is set'\n")
    ((when, command),) = crontab_commands(printed(bench, "crontab", "--env-file", str(secrets)))
    assert when == ["*"] * 5
    run_with_nothing_set(command, tmp_path)
    assert ticked(bench)
    seen = command.partition("set +a; ")[0] + 'sh -c \'test "$WITNESS" = "is set"\''
    run_with_nothing_set(seen, tmp_path)


def test_a_file_of_secrets_that_is_not_there_is_no_matter(bench: Bench, tmp_path: Path) -> None:
    ((_, command),) = crontab_commands(printed(bench, "crontab", "--env-file", str(tmp_path / "none.env")))
    run_with_nothing_set(command, tmp_path)
    assert ticked(bench)


def test_receipts_are_asked_for_where_a_provider_has_any(tmp_path: Path) -> None:
    write_desk(tmp_path, email="sendgrid")
    lines = crontab_commands(run("cron", "--format", "crontab", folder=tmp_path).stdout)
    assert [when[0] for when, _ in lines] == ["*", "*/10"]
    assert " receipts -C " in lines[1][1]


def test_the_units_are_a_service_and_a_punctual_timer(bench: Bench) -> None:
    found = units(printed(bench, "systemd"))
    service, timer = found["service"], found["timer"]
    assert (timer["Timer"]["OnCalendar"], timer["Timer"]["AccuracySec"]) == ("minutely", "1s")
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert (service["Service"]["Type"], service["Service"]["EnvironmentFile"]) == (
        "oneshot",
        "-/etc/commcast.env",
    )
    assert service["Service"]["User"] == bench.folder.owner()
    line = service["Service"]["ExecStart"]
    assert "%" not in line.replace("%%", "")
    assert "$" not in line.replace("$$", "")
    # What systemd makes of it: quotes nearly as in a shell, then specifiers and variables.
    arguments = [each.replace("%%", "%").replace("$$", "$") for each in shlex.split(line)]
    assert arguments[-3:] == ["tick", "-C", str(bench.folder)]
    assert arguments[0].startswith("/")


def test_the_workflow_ticks_this_desk_on_a_runner_of_its_own(bench: Bench, tmp_path: Path) -> None:
    text = printed(bench, "actions")
    workflow = YAML(typ="safe", pure=True).load(text)
    assert workflow["on"]["schedule"] == [{"cron": "3-59/5 * * * *"}]
    job = workflow["jobs"]["tick"]
    assert job["runs-on"] == "self-hosted"
    (step,) = job["steps"]
    assert "${{" not in step["run"]
    run_with_nothing_set(step["run"].replace("--loop 1m --for 20m", "--loop 1s --for 0.5s"), tmp_path)
    assert ticked(bench)
    assert "A hosted runner starts without one" in text
    assert "every 5 minutes at" in text


def test_all_formats_come_one_after_another(bench: Bench) -> None:
    whole = printed(bench, "all")
    for form in ("crontab", "systemd", "actions"):
        assert printed(bench, form).strip() in whole
    assert run("cron", folder=bench.folder).stdout == whole


def test_it_says_why_no_lock_is_needed(bench: Bench) -> None:
    assert "No flock is needed" in printed(bench, "crontab")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1b[2Jb", "a\u202eb"])
def test_a_folder_whose_name_cannot_be_copied_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    write_desk(folder)
    assert "control character" in run("cron", folder=folder, expect=2).stderr
