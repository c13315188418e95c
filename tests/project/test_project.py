"""The project as others meet it: documents and help are true, a wheel is complete, little is imported.

In README.md a block of commands under the comment `<!-- checked -->` is run and compared::

    <!-- checked -->
    ```console
    $ commcast status
    pay7  resolved
    ```

All checked blocks are one story: they run in order, in one scratch folder, without a terminal. A command is
`commcast …` or `cd …`; a line that ends in a backslash goes on in the next. `…` stands for any text
within a line, and alone on a line for any lines. A command exits with 0 unless the comment says otherwise:
`<!-- checked: exit 5 -->` (of the block's last command). A block under `<!-- file: NAME -->` is written to
that file first.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main

import commcast
from benchmarks import page, results
from benchmarks.registry import GROUPS
from commcast.cli import app
from tests.project import templates_page
from tests.support.desk import Bench, write_desk, write_incident

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
BLOCK = re.compile(r"(?ms)^<!-- checked(?:: exit (?P<exit>\d+))? -->\n+```console\n(?P<text>.*?)^```$")
FILE = re.compile(r"(?ms)^<!-- file: (?P<name>[\w./-]+) -->\n+```\w+\n(?P<text>.*?)^```$")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


# --- the README


def steps(text: str) -> Iterator[tuple[int, str, str, int]]:
    """Yield line, command, printed text and exit code of all checked blocks, and of the blocks to write.

    These have the command "file NAME", and their text as what is printed.
    """
    for block in sorted([*BLOCK.finditer(text), *FILE.finditer(text)], key=lambda found: found.start()):
        if block.re is FILE:
            yield text.count("\n", 0, block.start()) + 1, f"file {block['name']}", block["text"], 0
            continue
        starts = list(re.finditer(r"^\$ ((?:.*\\\n)*.*)\n?", block["text"], re.MULTILINE))
        ends = [*(start.start() for start in starts[1:]), len(block["text"])]
        for start, end in zip(starts, ends, strict=True):
            line = text.count("\n", 0, block.start("text") + start.start()) + 1
            code = int(block["exit"] or 0) if start is starts[-1] else 0
            yield line, start[1].replace("\\\n", " "), block["text"][start.end() : end], code


def as_pattern(printed: str) -> str:
    """Return the regular expression of what a block shows."""
    return "".join(
        "(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.rstrip().split("…"))) + "\n"
        for line in printed.rstrip().splitlines()
    )


def test_every_checked_block_of_the_readme_prints_what_it_shows(tmp_path: Path) -> None:
    story = list(steps(README.read_text()))
    assert story, "README.md has no checked block"
    folder = tmp_path
    for line, command, shown, expected in story:
        verb, _, rest = command.partition(" ")
        if verb == "cd":
            folder = folder / rest.strip()
        elif verb == "file":
            (folder / rest).write_text(shown)
        else:
            code, printed = run_commcast(command, folder, home=tmp_path)
            place = f"README.md:{line}: $ {command}"
            assert code == expected, f"{place} exited with {code}:\n{printed}"
            assert re.fullmatch(as_pattern(shown), printed), f"{place} printed:\n{printed}"


def run_commcast(command: str, folder: Path, home: Path) -> tuple[int, str]:
    """Run one command line; return its exit code and what a terminal would show, without trailing blanks."""
    program, *arguments = shlex.split(command)
    assert program == "commcast", f"only commcast and cd can be checked, not {program}"
    scripts = sysconfig.get_path("scripts")
    path = f"{scripts}{os.pathsep}{os.defpath}"
    done = subprocess.run(
        [f"{scripts}/commcast", *arguments],
        cwd=folder,
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    text = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines()).rstrip("\n")
    return done.returncode, text + "\n" if text else ""


def test_the_documents_name_what_is_there() -> None:
    """The two commands of a newcomer, files that exist, this version; and CI runs what the README says."""
    text = README.read_text()
    assert "make demo" in text and "make test" in text
    assert [link for link in LINK.findall(text) if not (CHECKOUT / link).exists()] == []
    assert f"## [{commcast.__version__}]" in (CHECKOUT / "CHANGELOG.md").read_text()
    script = (CHECKOUT / ".ci" / "run").read_text()
    assert re.search(r"^make check$", script, re.MULTILINE) and "make test" in script
    check = (CHECKOUT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    assert "$(MAKE) test" in check


def test_each_dependency_names_the_oldest_version_that_ci_tests() -> None:
    """`make test-lowest` reads these lines; it would take the newest of what is written otherwise."""
    text = (CHECKOUT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    read = re.findall(r'^    "([A-Za-z0-9._-]*>=[0-9.]+)', text, re.MULTILINE)
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert [each for each in needed if not each.startswith(tuple(read))] == []
    assert "- run: make test-lowest\n" in (CHECKOUT / ".github/workflows/ci.yml").read_text()


def test_the_performance_page_is_what_the_kept_results_and_the_notes_give() -> None:
    text, rows = page.PAGE.read_text(), [row for group in GROUPS for row in group.rows]
    assert text == page.render(results.read(), page.read_notes())
    assert [row.key for row in rows if row.target is not None and f"\n| {row.what} |" not in text] == []
    assert set(page.read_notes()) <= {row.key for row in rows}


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command and group below a group, with the words that call it."""
    for name, child in getattr(command, "commands", {}).items():
        yield f"{path} {name}", child
        yield from commands(child, f"{path} {name}")


def test_the_help_of_every_command_has_an_example() -> None:
    found = dict(commands(typer.main.get_command(app), "commcast"))
    without = [name for name, each in found.items() if name not in f"{each.help or ''}\n{each.epilog or ''}"]
    assert len(found) == 46 and without == []


def options(command: Any) -> set[str]:
    """Return the options and arguments of a command, as they are typed or named."""
    return {word for each in command.params for word in [*each.opts, *each.secondary_opts]}


def test_no_command_or_option_that_a_script_may_use_is_gone() -> None:
    lines = (CHECKOUT / "tests" / "data" / "options.txt").read_text().splitlines()[1:]
    found, gone = dict(commands(typer.main.get_command(app), "commcast")), []
    for words, _, known in (line.partition(":") for line in lines):
        gone += [f"{words} {each}" for each in set(known.split()) - options(found[f"commcast {words}"])]
    assert len(lines) == 46 and gone == []


# --- what is imported when

# Runs `commcast` as its entry point does, then tells on the last line which of the named modules it loaded.
WATCHED = """
import sys
heavy, sys.argv = sys.argv[1].split(","), ["commcast", *sys.argv[2:]]
from commcast.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print("loaded:", *sorted(set(heavy) & set(sys.modules)))
sys.exit(code)
"""
HEAVY = {"sqlalchemy", "alembic", "aiosmtplib", "sendgrid", "twilio", "aiohttp", "icalendar", "rich", "babel"}
# What only sending, asking or showing needs.
OF_SENDING = HEAVY - {"sqlalchemy"} | {"email_validator", "jinja2", "phonenumbers", "uvloop"}
OF_SENDING |= {"commcast.delivery.run", "commcast.delivery.worker", "commcast.rendering.compose"}
OF_SENDING |= {"commcast.providers.registry", "sqlalchemy.dialects.postgresql"}
OF_COMMANDS = {f"commcast.cli.{path.stem}" for path in (CHECKOUT / "commcast/cli").glob("*.py")}
OF_COMMANDS -= {f"commcast.cli.{name}" for name in ("__init__", "commands", "output")}
# Asks every command for its help in one process; prints who was the first to load which heavy module.
OF_HELP = """
import sys
from commcast.cli.commands import Commands
heavy = set(sys.argv[1].split(","))
for name, command in Commands().items():
    print(*(f"{name} loads {each}" for each in sorted(heavy & set(sys.modules))), sep="\\n", end="")
    heavy -= set(sys.modules)
"""


NEEDLESS = {"--help": HEAVY | OF_COMMANDS, "lint": HEAVY - {"sqlalchemy"}, "tick": OF_SENDING}
NEEDLESS |= {key: {"rich", "babel"} for key in ("status", "log", "report", "send pay7 --yes")}


@pytest.mark.parametrize(("command", "heavy"), NEEDLESS.items())
def test_a_command_loads_nothing_that_it_does_not_need(command: str, heavy: set[str], tmp_path: Path) -> None:
    """No command for --help, no provider to lint, nothing that sends for an idle tick, rich in no pipe."""
    write_desk(tmp_path)
    write_incident(tmp_path, at=datetime.now(UTC).replace(microsecond=0))
    bench = Bench(tmp_path, now=datetime.now(UTC))
    if not command.startswith("send"):
        bench.send()
    bench.ledger.close()
    printed = _run(sys.executable, "-c", WATCHED, ",".join(heavy), *command.split(), folder=tmp_path)
    assert printed.splitlines()[-1] == "loaded:"


def test_the_help_of_no_command_loads_anything_heavy() -> None:
    heavy = OF_SENDING | {"sqlalchemy", "asyncio"}
    assert _run(sys.executable, "-c", OF_HELP, ",".join(heavy)) == ""


def test_the_layer_rules_name_every_provider() -> None:
    """A provider is a package of its own, or, like the outbox, one file."""
    folder = CHECKOUT / "commcast" / "providers"
    packages = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    expected = {f"commcast.providers.{name}" for name in packages | {"outbox"}}
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = {contract["type"]: contract for contract in settings["contracts"]}
    assert set(contracts["independence"]["modules"]) == expected
    assert set(contracts["protected"]["protected_modules"]) == expected


# --- however it is installed, it finds its templates and its example from any folder


def installed(folder: Path, *what: str) -> tuple[Path, Path]:
    """Install commcast into a new environment that borrows our dependencies, and let it play its demo.

    Returns its site-packages, and the folder in which it finds the templates.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    # It adds the folder alone: the .pth files in there, our own editable install, are not followed.
    Path(packages, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet")
    python = str(folder / "bin" / "python")
    _run(sys.executable, "-m", "pip", f"--python={python}", "install", *offline, *what)
    _run(str(folder / "bin" / "commcast"), "demo", folder=folder)  # reads the shipped example and templates
    code = "from commcast.rendering.templates import shipped_templates; print(shipped_templates())"
    templates = Path(_run(python, "-c", code, folder=folder).strip())
    assert (templates / "resolved.md.j2").is_file()
    return Path(packages), templates


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel from the checkout, an sdist, and in `again/` the wheel made of that sdist."""
    folder = tmp_path_factory.mktemp("built")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder))
    (sdist,) = folder.glob("*.tar.gz")
    for source, place in ((CHECKOUT, folder), (sdist, folder / "again")):
        options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--wheel-dir", str(place))
        _run(sys.executable, "-m", "pip", "wheel", *options, str(source))
    return folder


@pytest.mark.parametrize("source", [".", "again"], ids=["wheel", "sdist"])
def test_a_built_commcast_carries_its_own_data(source: str, built: Path, tmp_path: Path) -> None:
    (wheel,) = (built / source).glob("*.whl")
    packages, templates = installed(tmp_path, str(wheel))
    assert templates == packages / "commcast" / "_data" / "templates"


def test_an_editable_install_uses_the_folders_of_the_checkout(tmp_path: Path) -> None:
    assert installed(tmp_path, "--editable", str(CHECKOUT))[1] == CHECKOUT / "templates"


def test_the_wheel_holds_all_data_files_and_nothing_else_of_the_checkout(built: Path) -> None:
    (wheel,), (by_sdist,) = built.glob("*.whl"), built.glob("again/*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert zipfile.ZipFile(by_sdist).namelist() == names
    wanted = {f"commcast/_data/{path}" for kind in ("templates", "incidents") for path in _files(kind)}
    for kind in ("commcast/incidents/shipped_presets", "commcast/report", "commcast/cli"):
        wanted |= {str(path) for path in _files(kind) if path.suffix != ".pyc"}
    assert wanted <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"commcast"}


def _files(kind: str) -> list[Path]:
    found = [path.relative_to(CHECKOUT) for path in (CHECKOUT / kind).rglob("*") if path.is_file()]
    assert found, f"{kind}/ is empty"
    return found


def _run(*command: str, folder: Path = CHECKOUT) -> str:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=bare, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_page_of_templates_names_every_variable() -> None:
    """After a change: python -m tests.project.templates_page."""
    assert templates_page.PAGE.read_text("utf-8") == templates_page.page()
    assert "| ? |" not in templates_page.page()
