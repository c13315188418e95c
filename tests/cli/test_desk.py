"""Making a desk and looking after it: init, demo, lint, cron, recipients, handover and take."""

from __future__ import annotations

import configparser
import getpass
import json
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from sqlalchemy import select

from commcast import files
from commcast.cli import options
from commcast.cli import prompt as asking
from commcast.cli.commands import TABLE
from commcast.config.load import load_config
from commcast.ledger import location
from commcast.ledger import tables as schema
from commcast.ledger.oncall import last_tick
from commcast.model.incident import Channel, View
from commcast.rendering.moments import moments_on
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.own_words import write_words
from tests.support.reader import parsed, words
from tests.support.terminal import (
    bench_now,
    do,
    every_byte,
    everything_in,
    in_one,
    just_now,
    missing,
    play,
    run,
)

ANN_PHONE = "+4915112345671"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def test_a_new_desk_declares_at_once(desk: Path) -> None:
    """Nothing has to be filled in before the first incident; its messages are files."""
    ledger = desk / ".commcast" / "ledger.db"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    assert {".commcast/", "outbox/", "audiences/"} <= {*(desk / ".gitignore").read_text().splitlines()}
    audiences = load_config(desk).audiences.items()
    public = [name for name, audience in audiences if audience.view is View.PUBLIC]
    assert (public, len(audiences)) == (["partners", "customers"], 5)
    words = "--severity 1 --issue Refused. --resolution Repaired. --timeframe unknown"
    assert do(desk, f"declare 'Cards fail' {words} --yes").exit_code == 0
    assert {path.suffix for path in (desk / "outbox").iterdir()} == {".eml", ".txt"}
    private = [*(desk / "audiences").iterdir(), *(desk / "incidents").glob("*.yaml")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_each_desk_has_its_own_id_and_what_lies_in_the_folder_stays(desk: Path, tmp_path: Path) -> None:
    mine = tmp_path / "a" / "audiences" / "customers.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("email\nme@example.com\n")
    assert "commcast declare" in run("init", tmp_path / "a").stderr
    assert mine.read_text() == "email\nme@example.com\n"
    assert load_config(tmp_path / "a").desk != load_config(desk).desk
    before = everything_in(desk)
    assert "is already a desk" in run("init", desk, expect=2).stderr
    assert everything_in(desk) == before
    (desk / "commcast.toml").unlink()
    assert "is the ledger of an earlier desk" in run("init", desk, expect=2).stderr


def test_options_are_written_so_that_they_read_back_or_make_nothing(tmp_path: Path) -> None:
    good = ('Acme "Pay", Ltd.', "Søren & Søn \\ 100%", "{desk} {name}", "花")
    for number, name in enumerate(good):
        run("init", tmp_path / str(number), "--organisation", name)
        assert load_config(tmp_path / str(number)).organisation.name == name
    bad = ("zone=Mars/Base", "email=no address", 'email=a"b', f"organisation={'x' * 80}", "organisation=a\nb")
    for option in bad:
        run("init", tmp_path / "new", f"--{option}", expect=2)
    assert not (tmp_path / "new").exists()


def test_the_demo_tells_the_whole_story_on_a_screen_of_eighty_columns_and_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No configuration is here or above."""
    monkeypatch.chdir(tmp_path)
    told, folder = run("demo").stdout, tmp_path / "commcast-demo"
    assert max(map(len, told.splitlines())) <= 80
    for moment in ("10:05", "10:24", "10:43", "11:02", "11:30"):
        assert f"\n{moment}  " in told
    once = ("EU card revenue is down about 40%", "case 88123)", "customers, SMS")
    assert [told.count(each) for each in once] == [1, 1, 2]
    assert missing("SMS: customers 2 … About four in ten card payments … commcast-demo/outbox", told) == []
    assert "\x1b" not in told
    for mail in map(parsed, (folder / "outbox").glob("*.eml")):
        assert "acme" in mail["to"] or "88123" not in words(mail), "a customer reads an internal word"
    assert run("demo").stdout == told
    assert run("status", folder=folder).stdout.splitlines()[1].startswith("pay7  1    resolved")
    assert run("lint", folder=folder).stdout.startswith("OK: 1 incident")
    assert run("tick", folder=folder).output == ""
    run("log", folder=folder)


def test_the_demo_works_on_every_day_also_in_summer_and_replaces_only_a_demo(tmp_path: Path) -> None:
    for now in ("2026-11-22T09:00+00:00", "2027-07-04T06:00+00:00", "2026-03-29T12:00+00:00"):
        told = run("demo", "--now", now, "--folder", tmp_path / "demo").stdout
        tick = "11:21  tick: nobody has posted, so a holding statement goes out automatically"
        assert missing(f" by 10:25 CE …  since 11:02 CE … 40 accepted … {tick}", told) == []
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "exists and is not a demo folder" in run("demo", "--folder", tmp_path, expect=2).stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


BROKEN = {
    "a-typo": "title: A\nseverity: 9\nupdates: []\n",
    "b-half": 'title: "half typed\n',
    "c-number": "severity: 2\nupdates:\n  - next_update: 20\n",
}


def test_every_fault_of_three_files_is_named_with_its_place(bench: Bench) -> None:
    before = every_byte(bench.folder)
    result = run("lint", folder=bench.folder)
    assert result.stdout.startswith("OK: 1 incident, 4 presets, 2 audiences, 3 recipients")
    assert every_byte(bench.folder) == before
    for name, text in BROKEN.items():
        (bench.folder / "incidents" / f"{name}.yaml").write_text(text)
    found = run("lint", folder=bench.folder, expect=2).stdout.splitlines()
    for file, least in (("a-typo", 2), ("b-half", 1), ("c-number", 2)):
        faults = [line.split(":", 3) for line in found if line.startswith(f"incidents/{file}.yaml:")]
        assert len(faults) >= least
        assert all(int(line) > 0 and int(column) > 0 for _, line, column, _ in faults)
    document = json.loads(run("lint", "--json", folder=bench.folder, expect=2).stdout)
    assert {fault["file"] for fault in document["faults"]} == {f"incidents/{name}.yaml" for name in BROKEN}
    run("lint", bench.folder / "incidents" / "pay7.yaml", folder=bench.folder)
    one = run("lint", bench.folder / "incidents" / "a-typo.yaml", folder=bench.folder, expect=2)
    assert "b-half" not in one.stdout


def test_each_kind_of_file_is_judged(bench: Bench) -> None:
    def lint() -> str:
        return run("lint", folder=bench.folder, expect=2).stdout

    write_incident(bench.folder, "late", at=bench.now, more=update_text(bench.now, next_update="5h"))
    assert "cadence of severity 1" in lint()
    template = bench.folder / "templates" / "customers" / "resolved.sms.j2"
    template.parent.mkdir(parents=True)
    template.write_text("{{ incident.titel }}")
    assert "templates/customers/resolved.sms.j2:1" in lint()
    (bench.folder / "commcast.toml").write_text("[organisation]\n")
    assert "commcast.toml" in lint()


def test_faults_of_one_layer_hide_none_of_another(bench: Bench) -> None:
    write_list(bench.folder, "customers", "email,greeting,levels", [])
    for name, text in BROKEN.items():
        (bench.folder / "incidents" / f"{name}.yaml").write_text(text)
    (bench.folder / "presets").mkdir()
    (bench.folder / "presets" / "own.yaml").write_text(BROKEN["a-typo"])
    (bench.folder / "commcast.toml").write_text("x =\n[organisation]\n")
    found = run("lint", folder=bench.folder, expect=2).stdout
    places = {":".join(line.split(":")[:2]) for line in found.splitlines()}
    assert places == {
        *("commcast.toml:1", "audiences/customers.csv:1", "presets/own.yaml:2", "presets/own.yaml:3"),
        *(f"incidents/a-typo.yaml:{line}" for line in (2, 3)),
        *("incidents/b-half.yaml:1", "incidents/c-number.yaml:1", "incidents/c-number.yaml:3"),
    }
    assert found.count("audiences/customers.csv:1:") == 2


@pytest.mark.parametrize(("channel", "ending"), [(Channel.EMAIL, "md"), (Channel.SMS, "sms")])
def test_every_template_of_a_desk_is_tried_on_its_own_moment(
    bench: Bench, channel: Channel, ending: str
) -> None:
    """No incident met that moment, and some facts are not always there."""
    (bench.folder / "incidents" / "pay7.yaml").unlink()
    names = [f"{moment}.{ending}.j2" for moment in moments_on(channel)]
    for text, is_fine in (
        ("{{ update.fixt }}", False),
        ("{% if update.because %}{{ update.nope }}{% endif %}x", False),
        ("{% if not update.because %}{{ update.nope }}{% endif %}x", False),
        ("{{ update.status }} {{ incident.title }} {{ update.issue }}", True),
    ):
        write_words(
            bench.folder, "customers", **{channel: f"Subject: x\n\n{text}" if ending == "md" else text}
        )
        found = run("lint", folder=bench.folder, expect=0 if is_fine else 2).stdout
        faulty = [name for name in names if f"templates/customers/{name}:" in found]
        assert faulty == ([] if is_fine else names), found


def test_what_is_left_out_of_a_list_is_a_warning(bench: Bench) -> None:
    """A bad row; good rows that no channel reaches; but not if one of two channels does."""
    unreachable = (
        "support.csv: none of its readers can be reached by email … or sms to the channels of audience"
    )
    phone = ["Su,+4915112345679"]
    for audience, head, rows, warned in (
        ("support", "email,name", ["help@acme.example,Su", "nobody,No"], "audiences/support.csv:3"),
        ("support", "name,phone", phone, unreachable),
        (
            "support",
            "email,locale",
            ["help@acme.example,deutsch"],
            "support.csv:2:19: locale … ignored in 1 row",
        ),
        ("support", "email,name", ["help@acme.example,Su"], ""),
        ("customers", "name,phone", phone, ""),
    ):
        write_list(bench.folder, audience, head, rows)
        result = run("lint", folder=bench.folder)
        assert result.stdout.startswith("OK: ")
        assert ("warning: " in result.stderr) == bool(warned)
        assert missing(warned, result.stderr) == []


def test_a_file_that_nothing_reads_is_named_with_what_was_perhaps_meant(bench: Bench) -> None:
    unread = {
        "incidents/pay8.YAML": "did you mean incidents/pay8.yaml?",
        "incidents/pay8.yaml.txt": "did you mean incidents/pay8.yaml?",
        "incidents/2026/pay8.yaml": "did you mean incidents/pay8.yaml?",
        "incidents/notes.txt": "move it elsewhere",
        "presets/outage.yml": "did you mean presets/outage.yaml?",
        "audiences/old.csv": "name it under [audiences] in commcast.toml",
        "templates/Customers/resolved.md.j2": "include it in a template, or move it elsewhere",
        "templates/customers/resolvd.md.j2": "did you mean templates/customers/resolved.md.j2?",
        "templates/de/resolvd.sms.j2": "did you mean templates/de/resolved.sms.j2?",
        "templates/support/resolved.email.txt.j2": "email and text are one file for each moment now",
        "template/": "did you mean templates/?",
    }
    read = {
        "templates/de-AT/customers/resolved.md.j2": "Subject: x\n\n{% include 'mine.j2' %}",
        **dict.fromkeys(
            ["templates/mine.j2", "audiences/README.md", "incidents/.swp.yaml", "presets/README"], ""
        ),
        **dict.fromkeys(
            ["docs/notes.txt", "incidents/2026/pay9.yaml"], ""
        ),  # one is named for all of its folder
    }
    for name, text in {**dict.fromkeys(unread, ""), "template/x": "", **read}.items():
        (bench.folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            (bench.folder / name).write_text(text)
    warned = [
        line for line in run("lint", folder=bench.folder).stderr.splitlines() if "nothing reads" in line
    ]
    kind = {True: "folder", False: "file"}
    assert sorted(line.partition("; ")[0] for line in warned) == sorted(
        f"warning: {name}: nothing reads this {kind[name.endswith('/')]}" for name in unread
    )
    assert all(any(f"{name}: " in line and said in line for line in warned) for name, said in unread.items())


def test_what_markdown_reads_otherwise_than_it_looks_is_named(bench: Bench) -> None:
    slips = {
        '{{ "**Late**" if late }}': "is printed as it is",
        "22. November is the day.": "becomes a numbered list",
        "5*3*2 of them": "read as italics",
        "<b>Now</b>": "HTML is switched off",
    }
    fine = ["**Late**", "1. One", "*Now*", "<https://acme.example>", "{# <b> #}", "{{ update.issue }}"]
    path = bench.folder / "templates" / "customers" / "resolved.md.j2"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["Subject: 5*3*2", *slips, *fine]))
    warned = [
        line for line in run("lint", folder=bench.folder, expect=2).stderr.splitlines() if ".md.j2:" in line
    ]
    assert len(warned) == len(slips)
    for number, (line, said) in enumerate(zip(warned, slips.values(), strict=True), 2):
        assert line.startswith(f"warning: templates/customers/resolved.md.j2:{number}: ") and said in line


def test_a_merge_conflict_is_one_fault_wherever_it_is(bench: Bench) -> None:
    for name in ("incidents/pay7.yaml", "templates/customers/resolved.md.j2", "presets/own.yaml"):
        path = bench.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else None
        path.write_text("id: pay7\n<<<<<<< HEAD\ntitle: A\n=======\ntitle: B\n>>>>>>> theirs\n")
        found = run("lint", folder=bench.folder, expect=2).stdout.splitlines()
        assert len(found) == 1
        assert found[0].startswith(f"{name}:2:1: unresolved merge conflict; keep one side, and")
        path.unlink() if before is None else path.write_text(before)


ACTS = (
    "send",
    "tick",
    "declare x --severity 1",
    "update pay7 --nothing-new x",
    "resolve pay7 --fixed x",
    "correct pay7 --wrong x --right y",
    "retract pay7 --because x",
    "reopen pay7 --issue x",
    "merge pay7 --into pay8",
    "discard pay7",
    "stop pay7",
    "resume pay7",
    "handover pay7 --to dana",
    "take pay7",
    "schedule x --window 22:00/23:00",
    "start pay7",
    "extend pay7 --until 23:00",
    "reschedule pay7 --window 22:00/23:00",
    "complete pay7",
    "cancel pay7",
    "test pay7 --to me@acme.example",
    "feedback pay7 --yes 1",
    "reconcile",
    "receipts",
    "resend pay7 --unknown",
    "settle pay7 --unknown --as accepted",
    "doctor --connect",
    "doctor --dns",
    "doctor --adopt-ledger --yes",
    "recipients suppress a@b.example",
    "recipients unsuppress a@b.example",
    "recipients erase a@b.example",
    "recipients import --from sendgrid",
    "recipients import --from sendgrid --dry-run",
)
SHOWS: tuple[str, ...] = (
    "status",
    "log",
    "report pay7",
    "preview",
    "lint",
    "templates",
    "cron",
    "tick --dry-run",
)
SHOWS += ("recipients check", "recipients suppressed", "doctor")


def test_a_desk_that_others_can_change_is_shown_with_a_warning_and_obeyed_by_no_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.send()
    own = {"init", "demo", "schema"}  # they read no desk that is there
    assert {line.split()[0] for line in (*ACTS, *SHOWS)} | own == {each.name for each in TABLE}
    path, before = bench.folder / "commcast.toml", every_byte(bench.folder)
    for where in (files, location):
        monkeypatch.setattr(where, "TRUSTED_OWNERS", {os.geteuid() + 1})
    allow = f"export COMMCAST_SAFE_FOLDER={bench.folder}"
    for line in ACTS:
        said = run(*shlex.split(line), folder=bench.folder, expect=2).stderr
        assert missing(f"{bench.folder}: belongs to another user … {allow}", in_one(said)) == [], line
    assert every_byte(bench.folder) == before
    monkeypatch.setenv("COMMCAST_SAFE_FOLDER", f"/nowhere:{bench.folder}/.")
    run("tick", folder=bench.folder)  # its ledger may be another user's as well
    for form in ("crontab", "systemd", "actions"):  # none of them has our environment
        assert f"COMMCAST_SAFE_FOLDER={bench.folder}" in printed(bench, form)
    monkeypatch.undo()
    for line in SHOWS:
        path.chmod(0o666)
        options._warn.cache_clear()
        code = 2 if line == "doctor" else 0
        said = run(*shlex.split(line), folder=bench.folder, expect=code).output
        assert f"Warning: {path}: anybody may change it" in said, line
        path.chmod(0o644)
        assert "anybody" not in run(*shlex.split(line), folder=bench.folder).output


@pytest.mark.parametrize(
    ("mode", "group", "is_obeyed"),
    [
        (0o755, "staff", True),
        (0o775, "dana", True),  # the user's own group, as most systems make one
        (0o775, "staff", False),  # its members may be listed nowhere
        (0o777, "dana", False),
        (0o1777, "dana", False),  # a sticky folder, as /tmp: anybody may add a file
    ],
)
def test_only_a_group_of_ones_own_may_write_a_desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str, is_obeyed: bool
) -> None:
    tmp_path.chmod(mode)
    monkeypatch.setattr(Path, "owner", lambda _: "dana")
    monkeypatch.setattr(Path, "group", lambda _: group)
    assert (files.distrusted(tmp_path, "commcast.toml") is None) == is_obeyed


ODD = "my desk 100% 'of' \"it\" $HOME ${{ x }}"


BACKSLASHES = "a\\%b\\\\c\\"


@pytest.fixture(params=["desk", ODD, BACKSLASHES], ids=["plain", "odd", "backslashes"])
def ticking(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    folder = tmp_path / request.param
    write_desk(folder)
    write_incident(folder, at=just_now())
    bench = Bench(folder, now=just_now())
    bench.send()  # a draft would nudge somebody soon
    return bench


def printed(bench: Bench, form: str, *more: str) -> str:
    return run("cron", "--format", form, *more, folder=bench.folder).stdout


def run_with_nothing_set(script: str, place: Path) -> None:
    """Run a script as cron does: no environment, another folder."""
    shell = ["/bin/sh", "-c", script]
    done = subprocess.run(shell, cwd=place, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def ticks(bench: Bench, script: str, place: Path) -> bool:
    """Return whether a script lets this desk tick."""
    run_with_nothing_set(script, place)
    with bench.ledger.read() as connection:
        return last_tick(connection) is not None


def as_cron_reads(command: str, unescaped: str) -> str:
    """Return a command as a cron reads it that takes the backslash before these characters away."""
    read, is_escaped = "", False
    for letter in command:
        assert letter != "%" or is_escaped, "it would end the command"
        read = (read[:-1] if is_escaped and letter in unescaped else read) + letter
        is_escaped = letter == "\\" and not is_escaped
    return read


def crontab_commands(text: str) -> list[tuple[list[str], str]]:
    """Return (when, command) of each line of a crontab, which all crons read alike."""
    lines = [line.split(None, 5) for line in text.splitlines() if line and not line.startswith("#")]
    assert all(as_cron_reads(line[5], "%") == as_cron_reads(line[5], "%\\") for line in lines)
    return [(line[:5], as_cron_reads(line[5], "%")) for line in lines]


@pytest.mark.parametrize("has_secrets", [True, False])
def test_the_crontab_line_ticks_this_desk(ticking: Bench, tmp_path: Path, has_secrets: bool) -> None:
    secrets = tmp_path / "secrets 5%.env"
    if has_secrets:
        secrets.write_text("WITNESS='is set'\n")
    text = printed(ticking, "crontab", "--env-file", str(secrets))
    ((when, command),) = crontab_commands(text)
    assert when == ["*"] * 5
    assert ticks(ticking, command, tmp_path)
    seen = command.partition("set +a; ")[0] + f'sh -c \'test "$WITNESS" = "{"is set" * has_secrets}"\''
    run_with_nothing_set(seen, tmp_path)
    assert "No flock is needed" in text


def test_the_units_are_a_service_and_a_punctual_timer(ticking: Bench) -> None:
    found = {}
    for part in printed(ticking, "systemd").split("# File: ")[1:]:
        name, _, content = part.partition("\n")
        parser = configparser.ConfigParser(interpolation=None, strict=True, comment_prefixes=("#",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(content)
        found[name.rpartition(".")[2]] = parser
    timer, service = found["timer"], found["service"]["Service"]
    assert (timer["Timer"]["OnCalendar"], timer["Timer"]["AccuracySec"]) == ("minutely", "1s")
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert (service["Type"], service["EnvironmentFile"]) == ("oneshot", "-/etc/commcast.env")
    assert service["User"] == ticking.folder.owner()
    assert not any(part[-1] == "\\" for parser in found.values() for part in parser["Unit"].values())
    line = service["ExecStart"]
    assert "%" not in line.replace("%%", "")
    assert "$" not in line.replace("$$", "")
    # What systemd makes of it: quotes nearly as in a shell, then specifiers and variables.
    arguments = [each.replace("%%", "%").replace("$$", "$") for each in shlex.split(line)]
    assert arguments[-3:] == ["tick", "-C", str(ticking.folder)]
    assert arguments[0].startswith("/")


def test_the_workflow_ticks_this_desk_on_a_runner_of_its_own(ticking: Bench, tmp_path: Path) -> None:
    text = printed(ticking, "actions")
    workflow = YAML(typ="safe", pure=True).load(text)
    assert workflow["on"]["schedule"] == [{"cron": "3-59/5 * * * *"}]
    job = workflow["jobs"]["tick"]
    assert job["runs-on"] == "self-hosted"
    (step,) = job["steps"]
    assert "${{" not in step["run"]
    assert ticks(ticking, step["run"].replace("--loop 1m --for 20m", "--loop 1s --for 0.5s"), tmp_path)
    assert missing("A hosted runner starts without one … every 5 minutes at", text) == []
    whole = run("cron", folder=ticking.folder).stdout
    assert whole == printed(ticking, "all")
    assert all(printed(ticking, form).strip() in whole for form in ("crontab", "systemd", "actions"))


def test_the_odd_cases_of_cron(tmp_path: Path) -> None:
    """A provider with receipts has a second line; a name that cannot be copied is refused."""
    folder = write_desk(tmp_path / "sendgrid", email="sendgrid")
    lines = crontab_commands(run("cron", "--format", "crontab", folder=folder).stdout)
    assert [when[0] for when, _ in lines] == ["*", "*/10"]
    assert " receipts -C " in lines[1][1]
    for name in ("a\nb", "a\tb", "a\x1b[2Jb", "a\u202eb"):
        folder = write_desk(tmp_path / name)
        assert "control character" in run("cron", folder=folder, expect=2).stderr


def rows(bench: Bench) -> str:
    """Return all rows of the ledger as text."""
    with bench.ledger.read() as connection:
        return "\n".join(
            str(row) for table in schema.metadata.sorted_tables for row in connection.execute(select(table))
        )


def test_erase_leaves_no_address_and_no_old_list_brings_it_back(bench: Bench) -> None:
    bench.send()
    assert "--yes" in run("recipients", "erase", "ann@example.com", folder=bench.folder, expect=5).stderr
    assert "ann@example.com" in rows(bench)
    result = run("recipients", "erase", "Ann@Example.com", "--yes", folder=bench.folder)
    left = rows(bench).lower()
    for trace in ("ann@example", "ann-example", ANN_PHONE, ANN_PHONE[1:]):
        assert trace not in left, trace
    assert "is still in the lists of: customers" in result.stderr
    assert "ann@example.com" not in result.output
    bench.write(status="identified", issue="Cards fail.")
    bench.later(minutes=1)
    bench.send()
    assert "ann@example" not in rows(bench)


def test_suppressed_addresses_get_nothing_and_are_shown_in_full_only_if_asked_for(bench: Bench) -> None:
    def recipients(verb: str, *more: str) -> str:
        return run("recipients", verb, *more, folder=bench.folder).stdout

    recipients("suppress", ANN_PHONE, "--reason", "asked by phone")
    assert "asked by phone" in recipients("suppressed")
    bench.send()
    assert bench.states()["sms", "skipped"] == 1
    assert "gets messages again" in recipients("unsuppress", ANN_PHONE)
    assert "was not" in recipients("unsuppress", ANN_PHONE)
    recipients("suppress", "ann@example.com")
    recipients("erase", "bob@example.com", "--yes")
    assert "ann@example.com" not in recipients("suppressed")
    full = recipients("suppressed", "--addresses")
    assert (missing("ann@example.com … (erased)", full), "erased:" in full) == ([], False)
    found = json.loads(recipients("suppressed", "--addresses", "--json"))["suppressed"]
    assert {each["address"] for each in found} == {"ann@example.com", "(erased)"}
    checked = json.loads(recipients("check", "customers", "--json"))
    assert checked["audiences"][0]["suppressed"] == 3  # bob by both channels


def test_check_counts_by_channel_and_names_rows_left_out(bench: Bench) -> None:
    people = ["help@acme.example,,Su Port", "bad,,Bad", f"ann@example.com,{ANN_PHONE},Ann"]
    write_list(bench.folder, "customers", "email,phone,name", people)
    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    found = json.loads(run("recipients", "check", "--json", folder=bench.folder).stdout)
    support, customers = found["audiences"]
    assert (support["rows"], customers["channels"]) == (1, {"email": 2, "sms": 1})
    assert (customers["left_out"], customers["again"], customers["suppressed"]) == (1, 1, 1)
    assert customers["faults"][0].startswith("audiences/customers.csv:3:")
    write_list(bench.folder, "support", "name,phone", ["Su,+4915112345679"])
    result = run("recipients", "check", folder=bench.folder)
    assert "none of its readers can be reached by email" in result.stderr
    assert "customers" in result.stdout and "warning" not in result.stdout
    # A whole number, one that lacks a digit, one with one too many; and one of a country without such a rule.
    phones = ["+4915112345678", "+491511234567", "+49151123456789", "+15550100123"]
    write_list(bench.folder, "customers", "phone", phones)
    checked = json.loads(run("recipients", "check", "--json", folder=bench.folder).stdout)
    _, customers = checked["audiences"]
    assert customers["left_out"] == 0
    warned = "audiences/customers.csv:3: phone may lack a digit or have one too many: 2 rows; check"
    assert [line[: len(warned)] for line in customers["warnings"]] == [warned]


@pytest.mark.parametrize(
    ("sender", "service", "warned"),
    [
        ("Acme", "", True),
        ("+4915112345678", "", False),
        ("12345", "", False),
        ("Acme", "MG" + "0" * 32, False),
    ],
)
def test_what_a_provider_never_does_is_known_without_asking_it(
    tmp_path: Path, sender: str, service: str, warned: bool
) -> None:
    more = f'[providers.twilio]\nmessaging_service = "{service}"\n'
    write_desk(tmp_path, email="sendgrid", sms='provider = "twilio"', extra=more)
    path = tmp_path / "commcast.toml"
    path.write_text(path.read_text().replace('from = "Acme"', f'from = "{sender}"'))
    rows = [
        "zo\N{LATIN SMALL LETTER E WITH DIAERESIS}@cafe.example,+12025550123",
        f"ann@example.com,{ANN_PHONE}",
    ]
    write_list(tmp_path, "customers", "email,phone", rows)
    checked = json.loads(run("recipients", "check", "--json", folder=tmp_path).stdout)["audiences"][1]
    said = ["audiences/customers.csv:2: SendGrid accepts only ASCII before the @: 1 row; use"]
    said += [
        "audiences/customers.csv:2: Twilio does not text US or Canadian numbers from a name: 1 row"
    ] * warned
    assert [line.startswith(each) for line, each in zip(checked["warnings"], said, strict=True)] == [
        True
    ] * len(said)


def test_what_is_no_audience_and_no_address_is_refused(bench: Bench) -> None:
    for typed, said in (
        ("check vip", "no audience 'vip'; audiences are: support, customers"),
        ("suppress alex", "'alex' is neither an email address nor a phone number; try "),
        ("suppress -- a@b@c", "'a@b@c' "),
        ("suppress -- -1", "'-1' "),
    ):
        verb, *rest = typed.split()
        result = run("recipients", verb, "-C", bench.folder, *rest, expect=2)
        assert (result.stdout, said in " ".join(result.stderr.split())) == ("", True), result.stderr


PEOPLE = """\
[people.sam]
name = "Sam Okafor"
email = "env:SAM_MAIL"
phone = "+4915199999902"
[people.kim]
name = "Kim Lee"
email = "kim@acme.example"
"""


@pytest.fixture
def duty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A desk of three people; dana, whose login it is, has the incident."""
    monkeypatch.setattr(getpass, "getuser", lambda: "dana")
    monkeypatch.setenv("SAM_MAIL", "sam@acme.example")
    write_desk(tmp_path, extra=PEOPLE)
    config = tmp_path / "commcast.toml"
    dana = 'name = "Dana Reyes"\n'
    config.write_text(config.read_text().replace(dana, dana + 'email = "dana@acme.example"\n'))
    write_incident(tmp_path, at=just_now())
    bench = Bench(tmp_path, now=just_now())
    bench.send()
    return bench


def nudges(bench: Bench, subject: str) -> dict[str, str]:
    """Return the nudges with this subject by whom they went to."""
    found = {path.name.split("-")[1]: " ".join(path.read_text().split()) for path in bench.mails()[3:]}
    return {name: text for name, text in found.items() if f"Subject: [Nudge] {subject} (pay7)" in text}


def test_an_incident_moves_when_it_is_taken_and_both_are_told(duty: Bench) -> None:
    offered = "pay7 is offered to sam. Until it is taken (commcast take pay7 --as sam) dana has it. Told: "
    play(duty.folder, f"handover pay7 --to sam --note 'watch db-eu-3' | 0 | 3 | {offered}Dana Reyes and Sam")
    mails = nudges(duty, "Dana Reyes is handing this over to Sam Okafor: watch db-eu-3")
    assert set(mails) == {"dana", "sam"}
    assert "commcast take pay7 --as sam" in mails["sam"]
    assert ("commcast take" in mails["dana"], "commcast status pay7" in mails["dana"]) == (False, True)
    assert any("commcast take pay7 --as sam" in path.read_text() for path in duty.texts())
    play(
        duty.folder,
        """
        status        | 0 | 0 | dana has it
        tick          | 0 | 0 |
        take --as sam | 0 | 3 | sam now has pay7. … not:not offered
        status        | 0 | 0 | sam has it
        """,
    )
    assert set(nudges(duty, "Sam Okafor has taken this over from Dana Reyes")) == {"dana", "sam"}


def test_after_a_crash_the_next_tick_tells(duty: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("commcast.oncall.nudges.handing_nudges", lambda *_, **__: ())
        play(duty.folder, "handover pay7 --to sam | 0 | 0 |")
    play(duty.folder, "tick | 0 | 3 | nudged Dana Reyes and Sam Okafor: it is offered to somebody else")


def test_offers_replace_each_other_and_what_nobody_offered_may_be_taken(duty: Bench) -> None:
    """An offer to its owner withdraws the one that is open."""
    run("handover", "pay7", "--to", "sam", folder=duty.folder)
    document = json.loads(run("handover", "pay7", "--to", "kim", "--json", folder=duty.folder).stdout)
    assert (document["commcast"], document["owner"], document["offered_to"]) == ("duty", "dana", "kim")
    for command, said in (
        ("status", "offered to kim"),
        ("handover pay7 --to sam", "is offered to sam instead of kim"),
        ("handover pay7 --to dana", "dana has pay7 already; the offer to sam is withdrawn."),
        ("status", "dana has it"),
        (
            "take pay7 --as 'Sam Okafor'",
            "still names dana … sam now has pay7. … from dana, who had not offered",
        ),
        ("handover pay7 --to kim", "is offered to kim"),
        ("take pay7 --as dana", "from sam, who had not offered it to you; it was offered to kim."),
    ):
        output = " ".join(do(duty.folder, command).output.split())
        assert missing(said, output) == []
        assert output.count("offered to ") == said.count("offered to ")


def test_a_login_or_an_answer_says_who_takes_it(duty: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "Kim")
    assert run("take", folder=duty.folder).stdout == "kim now has pay7.\n"
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    said = "no [people] entry matches your login 'root'; pass --as NAME; known: dana, sam, kim"
    play(duty.folder, f"take | 2 | 0 | {said}")
    monkeypatch.setattr(asking, "at_terminal", lambda: True)
    done = do(duty.folder, "take pay7", "alex\n\nsam\n")
    assert (done.exit_code, done.stdout) == (0, "sam now has pay7.\n")
    assert missing("Who are you? (dana, sam, kim) … no [people.alex] in commcast.toml", done.stderr) == []


def test_whom_nobody_knows_or_can_reach_is_said(duty: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("handover pay7 --to alex", "take pay7 --as alex"):
        said = "no [people.alex] in commcast.toml; add it; known: dana, sam, kim"
        play(duty.folder, f"{command} | 2 | 0 | {said}")
    for note in ("a\nb", "a\tb", "a\x1b[31mb", "a\u202eb", "a" * 201):
        run("handover", "pay7", "--to", "sam", "--note", note, folder=duty.folder, expect=2)
    monkeypatch.delenv("SAM_MAIL")
    done = run("handover", "pay7", "--to", "sam", folder=duty.folder)
    assert "Note: SAM_MAIL is not set: the email of sam; set it where commcast runs" in done.stderr
    (duty.folder / "incidents" / "pay7.yaml").write_text("title: [\n")
    assert "sam now has pay7" in run("take", "pay7", "--as", "sam", folder=duty.folder).stdout


def test_readers_inside_are_told_who_leads_now_and_what_is_over_needs_nobody(duty: Bench) -> None:
    """The file still names dana: what support reads names the person who took it over."""
    config = duty.folder / "commcast.toml"
    config.write_text(config.read_text().replace("[audiences.support]", "[audiences.internal]"))
    run("take", "pay7", "--as", "sam", folder=duty.folder)
    duty.write(nothing_new="Still at it.")
    play(duty.folder, "preview pay7 | 0 | 0 | Sam Okafor … not:Dana Reyes")
    duty.write(status="resolved", fixed="Rolled back.")
    play(duty.folder, "handover pay7 --to sam | 2 | 0 | is over\ntake --as sam | 2 | 0 | no incident is open")
