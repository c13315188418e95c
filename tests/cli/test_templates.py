"""commcast templates: which file wins, a copy to edit, and what all of them say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from commcast.rendering.moments import FOLLOW_UPS, MOMENTS
from commcast.rendering.templates import shipped_templates
from tests.support.terminal import declare, do, every_byte, everything_in, in_one, missing, run

Kept = Callable[..., Path]
TESTED = "templates test"
ENGLISH = ("templates", "test", "--language", "en")


def copied(desk: Path) -> dict[str, bytes]:
    """Return what stands in templates/ of a desk that did not stand there when it was new."""
    return {name: text for name, text in every_byte(desk / "templates").items() if not name.endswith(".md")}


def rows(desk: Path, *options: str) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(run("templates", *options, "--json", folder=desk).stdout)[
        "templates"
    ]
    return listed


def test_every_moment_is_listed_with_the_file_that_wins(desk: Path) -> None:
    run("templates", "new", "customers", "resolved", folder=desk)
    run("templates", "new", "internal", "_foot", folder=desk)
    of_customers = rows(desk, "--audience", "customers", "--language", "en")
    found = {(row["channel"], row["moment"]): row["file"] for row in of_customers}
    assert [moment for channel, moment in found if channel == "email"] == [*MOMENTS]
    assert {moment for channel, moment in found if channel == "sms"} == {*MOMENTS} - {*FOLLOW_UPS.values()}
    assert found.pop(("email", "resolved")) == "templates/customers/resolved.md.j2"
    assert all(file.startswith("shipped templates/") for file in found.values())
    listed = [line.split() for line in run("templates", folder=desk).stdout.splitlines()]
    assert ["resolved", "yours", "customers/resolved.md.j2", "customers"] in listed
    assert ["reopened", "shipped", "reopened.sms.j2", "customers"] in listed
    assert {row["note"] for row in rows(desk, "--language", "it")} == {"not in it: en"}


@pytest.mark.parametrize(
    ("command", "made"),
    [
        ("customers resolved", ["customers/resolved.md.j2"]),
        ("customers resolved --sms", ["customers/resolved.sms.j2"]),
        ("customers investigating", ["customers/first_notice.md.j2", "customers/update.md.j2"]),
        ("support _for_audience", ["support/_for_audience.md.j2"]),
        ("executives _greeting", ["executives/_greeting.md.j2"]),
        ("all _foot", ["_foot.md.j2"]),
        ("all layout", ["layout.html.j2"]),
        ("partners", [f"partners/{moment}.md.j2" for moment in MOMENTS]),
    ],
)
def test_a_copy_is_what_was_used_and_says_the_same(desk: Path, command: str, made: list[str]) -> None:
    before = every_byte(desk)
    done = do(desk, f"templates new {command}")
    assert done.exit_code == 0, done.output
    assert sorted(copied(desk)) == sorted(str(desk / "templates" / name) for name in made)
    shipped = [shipped_templates() / name for name in (made[0], made[0].partition("/")[2])]
    internal = shipped_templates() / "internal" / Path(made[0]).name
    sources = [path.read_bytes() for path in (shipped[0], internal, shipped[1]) if path.is_file()]
    assert copied(desk)[str(desk / "templates" / made[0])] in sources
    assert {name: text for name, text in every_byte(desk).items() if name in before} == before
    assert run("lint", folder=desk).stderr == ""
    again = do(desk, f"templates new {command}")
    said = [f"templates/{name}: exists already; edit it, or delete it first" for name in made]
    assert (again.exit_code, missing(" … ".join(said), again.stderr)) == (2, [])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nobody resolved", "no audience 'nobody'; audiences are: support, "),
        ("customers over", "no template is named 'over'; commcast templates lists them"),
        ("customers ../resolved", "no template is named '../resolved'"),
        ("customers _nothing", "templates/_nothing.md.j2: no such template is shipped"),
        ("customers _/../../resolved", "no such template is shipped"),
        ("all review --sms", "templates/review.sms.j2: no such template is shipped"),
        ("all resolved --language xx", "templates/xx/resolved.md.j2: no such template is shipped"),
        ("all resolved --language ../internal", "no such template is shipped"),
    ],
)
def test_what_is_no_template_is_refused(kept: Kept, command: str, said: str) -> None:
    before = everything_in(kept())
    done = do(kept(), f"templates new {command}")
    assert (done.exit_code, missing(said, done.stderr)) == (2, [])
    assert everything_in(kept()) == before


@pytest.mark.parametrize("path", ["templates/customers", "templates", "golden", "golden/example"])
def test_nothing_is_written_through_a_link_out_of_the_desk(desk: Path, tmp_path: Path, path: str) -> None:
    (outside := tmp_path / "outside").mkdir()
    (desk / "golden").mkdir()
    place = desk / path
    if path == "templates":
        (place / "README.md").unlink()
    if place.exists():
        place.rmdir()
    place.symlink_to(outside)
    command = "templates test --update" if path.startswith("golden") else "templates new customers resolved"
    done = do(desk, command)
    assert (done.exit_code, missing("leads out of", done.stderr)) == (2, [])
    assert [*outside.iterdir()] == []


def test_a_file_in_the_place_of_a_folder_is_said(desk: Path) -> None:
    (desk / "templates" / "customers").write_text("")
    done = do(desk, "templates new customers resolved")
    said = "templates/customers/resolved.md.j2: cannot be written: "
    assert (done.exit_code, missing(said, done.stderr)) == (2, [])


def golden(desk: Path) -> dict[str, bytes]:
    return every_byte(desk / "golden")


def test_a_change_of_words_shows_until_it_is_accepted(desk: Path) -> None:
    declare(desk, "--id", "card1", "--yes")
    assert do(desk, TESTED).exit_code == 2, "no golden file is there yet"
    assert not (desk / "golden").exists()
    run("templates", "test", "--update", folder=desk)
    first, outside = golden(desk), everything_in(desk / "incidents")
    audiences = {row["audience"] for row in rows(desk)}
    languages = {"en", *(path.name for path in shipped_templates().iterdir() if len(path.name) == 2)}
    assert {Path(name).relative_to(desk / "golden").as_posix() for name in first} == {
        f"{story}/{audience}.{language}.txt"
        for story in ("example", "card1")
        for audience in audiences
        for language in languages
    }
    said = first[str(desk / "golden" / "example" / "customers.en.txt")].decode()
    assert [moment for moment in MOMENTS if f"## {moment}, email\n" not in said] == []
    run(*ENGLISH, folder=desk)
    run(*ENGLISH, "--update", folder=desk)
    assert golden(desk) == first, "twice the same"

    run("templates", "new", "customers", "resolved", folder=desk)
    template = desk / "templates" / "customers" / "resolved.md.j2"
    template.write_text(f"{template.read_text()}\nThank you, dear readers.\n")
    done = do(desk, " ".join(ENGLISH))
    assert (done.exit_code, golden(desk)) == (2, first)
    assert "\n+Thank you, dear readers.\n" in done.stdout and "\n-" not in done.stdout.replace("\n---", "")
    assert "1 of " in done.stderr
    run(*ENGLISH, "--update", folder=desk)
    assert [name for name in first if golden(desk)[name] != first[name]] == [
        str(desk / "golden" / "example" / "customers.en.txt")
    ]
    run(*ENGLISH, folder=desk)
    assert everything_in(desk / "incidents") == outside


def test_one_language_leaves_the_files_of_others_alone(desk: Path) -> None:
    run("templates", "test", "--update", folder=desk)
    first = golden(desk)
    for _ in range(2):
        run("templates", "test", "--language", "it", "--update", folder=desk)
        assert first.items() <= golden(desk).items()
    run("templates", "test", "--language", "it", folder=desk)
    assert {name[-6:] for name in golden(desk).keys() - first.keys()} == {"it.txt"}
    run("templates", "test", "--update", folder=desk)
    assert golden(desk) == first, "a language without templates is dropped"


def test_a_broken_template_is_a_fault_with_its_line_and_leaves_the_golden_files(desk: Path) -> None:
    run(*ENGLISH, "--update", folder=desk)
    first = golden(desk)
    for name in ("resolved", "reopened"):
        run("templates", "new", "customers", name, folder=desk)
        path = desk / "templates" / "customers" / f"{name}.md.j2"
        path.write_text(f"Subject: x\n\n{{{{ update.nope }}}}{path.read_text()}")
    for command in (" ".join(ENGLISH), " ".join((*ENGLISH, "--update"))):
        done = do(desk, command)
        assert done.exit_code == 2
        assert "templates/customers/resolved.md.j2:3: unknown variable 'nope'" in in_one(done.stderr)
        assert golden(desk) == first
