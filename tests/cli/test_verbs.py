"""The verbs of an incident: what each changes in the file, whom it tells, what it refuses and asks for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.cli import prompt
from commcast.cli.clock_times import with_dates
from commcast.config.load import load_config
from commcast.config.settings import Organisation
from commcast.errors import InputError
from commcast.incidents.editor import with_update, without_updates
from commcast.model.times import parse_instant
from commcast.operations.desk import Desk
from tests.support.own_words import write_words
from tests.support.terminal import do, everything_in, missing, outbox, prepare, refuse, succeed, timeless

FILE = "incidents/card1.yaml"
NOW = datetime.now(UTC)
GONE, SOON, AHEAD = NOW - timedelta(minutes=5), NOW + timedelta(minutes=18), NOW + timedelta(hours=2)
BEFORE, TOMORROW = NOW - timedelta(hours=11), GONE + timedelta(days=1)
DAY = f"{NOW + timedelta(days=3):%Y-%m-%d}"

WORDS = "--issue 'Some cards are refused.' --resolution 'We roll back.' --timeframe '1h to 2h'"
CARD = f"declare 'Card payments fail' --severity 1 {WORDS}"
SIGN = CARD.replace("Card payments fail", "Sign-in fails")
NEEDED = "--issue 'Cards fail again.' --resolution 'We look into it.'"
ANEW = f"{NEEDED} --timeframe unknown"
NETWORK = f"declare 'The network is slow' --severity 1 {ANEW} --audience internal --yes"
PLANNED = f"schedule Database --id db1 {NEEDED} --window '{DAY} 02:00/04:00'"
STORM = f"declare Storm --severity 2 {ANEW} --id db1 --expected"
EXPECTED = f"{STORM} '{DAY} 02:00'"
RESOLVE, UPDATE, RETRACT = "resolve --fixed Done.", "update --issue More.", "retract --because Wrong."
REOPEN = f"reopen {ANEW}"

# A desk in each state that the tables below begin with: the commands that bring it there.
STATES = {
    "empty": [],
    "draft": [CARD],
    "told": [f"{CARD} --yes"],
    "found": [f"{CARD} --yes", "update --status identified --yes"],
    "ending": [f"{CARD} --yes", RESOLVE],
    "over": [f"{CARD} --yes", f"{RESOLVE} --yes"],
    "reopened": [f"{CARD} --yes", f"{RESOLVE} --yes", f"{REOPEN} --yes"],
    "two": [f"{CARD} --yes", f"{SIGN} --yes"],
    "other over": [f"{CARD} --yes", f"{SIGN} --yes", "resolve sign1 --fixed Done. --yes"],
    "other untold": [f"{CARD} --yes", SIGN],
    "merged": [f"{CARD} --yes", f"{SIGN} --yes", "merge card1 --into sign1 --yes"],
    "with planned": [f"{CARD} --yes", f"{PLANNED} --yes"],
    "with expected": [f"{CARD} --yes", f"{EXPECTED} --yes"],
    "planned draft": [PLANNED],
    "expected": [f"{EXPECTED} --yes"],
}
Kept = Callable[..., Path]


def files(desk: Path) -> list[str]:
    return sorted(path.name for path in (desk / "incidents").glob("*.yaml"))


REDATED = f"update --timeframe 'by {TOMORROW:%Y-%m-%dT%H:%M}'"
PRESET = "declare payments --severity 2 --timeframe 30m"  # brings its words; options go over them
LASTED = f"--started {BEFORE:%H:%M} --ended {BEFORE:%H:%M}"  # over before its first message
ADDED = [
    ("empty", CARD, 7, "severity: 1 … issue: Some cards are refused."),
    ("empty", PRESET, 7, "severity: 2 … timeframe: 30m … by card."),
    ("empty", f"{CARD} --started {BEFORE:%H:%M}", 7, f"started: {BEFORE:%Y-%m-%dT%H:%M}+00:00"),
    ("empty", f"{CARD} --status resolved {LASTED}", 7, f"ended: {BEFORE:%Y-%m-%dT%H:%M}+00:00"),
    ("told", "update --nothing-new 'At 60%.' --next 20m", 6, "nothing_new: At 60%. … next_update: 20m"),
    ("told", "update --no-scope --action '~' --no-audience", 6, "audiences: ~ … scope: ~ … action: ~"),
    ("told", f"update --scope {Path.home()}", 6, "scope: ~"),  # a shell's ~
    (
        "told",
        "update --works Transfers. --data Safe. --link https://a.example/x",
        6,
        "works: … data: … link: ",
    ),
    ("told", "update --no-works --no-link --cause 'A release.'", 6, "cause: A release. … works: ~ … link: ~"),
    ("told", f"{RESOLVE} --change 'A test.' --offer 'A month.'", 7, "change: A test. … offer: A month."),
    ("empty", "declare 'Cards fail' --id card1 --severity 1 --issue 'Cards fail.'", 7, "issue: Cards fail."),
    ("told", "update --next 26h --because 'A part comes then.'", 6, "A part comes then. … next_update: 26h"),
    ("told", REDATED, 6, f"by {TOMORROW:%Y-%m-%dT%H:%M}"),
    ("told", f"{RESOLVE} --remains Slips.", 7, "status: resolved … Done. … remains: Slips. … ended: "),
    ("told", RETRACT, 7, "status: retracted … because: Wrong."),
    ("over", REOPEN, 7, "status: reopened … issue: Cards fail again."),
    ("two", "merge --into sign1", 7, "status: merged … merged_into: sign1"),
    ("reopened", UPDATE, 6, "issue: More."),  # a plain update is not texted
    ("reopened", RESOLVE, 7, "status: resolved"),
]


@pytest.mark.parametrize(("state", "command", "messages", "written"), ADDED, ids=timeless)
def test_a_verb_adds_and_tells_once(
    desk: Path, state: str, command: str, messages: int, written: str
) -> None:
    path, sent, before = prepare(desk, *STATES[state]) / FILE, len(outbox(desk)), ""
    if path.exists():
        before = "# ours: keep me\n" + path.read_text()
        path.write_text(before)
    done = do(desk, f"{command} --yes")
    assert done.exit_code == 0, done.output
    assert f"released, {messages} handed over." in done.stdout
    assert path.read_text().startswith(before)
    assert missing(written, path.read_text().removeprefix(before)) == []
    assert "already sent" in do(desk, "send card1").stdout
    assert len(outbox(desk)) == sent + messages


def test_a_clock_time_is_written_with_its_date(desk: Path) -> None:
    """A draft that is released after that time would mean the next day."""
    prepare(desk, *STATES["told"])
    assert do(desk, f"{UPDATE} --timeframe 'by {SOON:%H:%M}' --next {SOON:%H:%M}").exit_code == 5
    text = (desk / FILE).read_text().replace('"', "").replace("'", "")
    assert f"timeframe: by {SOON:%Y-%m-%dT%H:%M}+00:00\n" in text
    assert f"next_update: {SOON:%Y-%m-%dT%H:%M}+00:00\n" in text


@pytest.mark.parametrize(("state", "command"), [("empty", CARD), ("told", UPDATE), ("over", REOPEN)])
def test_a_dry_run_shows_all_and_leaves_every_byte(kept: Kept, state: str, command: str) -> None:
    desk = kept(*STATES[state])
    before = everything_in(desk)
    done = do(desk, f"{command} --dry-run")
    assert (done.exit_code, "Dry run: nothing was written, nothing was sent." in done.stdout) == (0, True)
    document = json.loads(do(desk, f"{command} --dry-run --json").stdout)
    sent = (document["commcast"], document["version"], document["send"])
    assert sent == ("plan", 1, 6 if command == UPDATE else 7)
    assert everything_in(desk) == before


SEVERITY = "declare Cards --severity"
NONE_MISSING = "--severity is missing … --issue is missing"
NEARLY = "--severity is missing … is not a preset; did you mean: commcast declare payments\n"
OVER = "card1 is over (resolved); if it is not: commcast reopen card1 --issue"
JOINED = "card1 is part of sign1; post updates there: commcast update sign1;  … commcast reopen card1"
NEWS = "leave out --nothing-new and write what is new in --issue, or leave out --issue"
PASSED = f"--timeframe: by {GONE:%H:%M} is on {TOMORROW:%a} {TOMORROW.day} {TOMORROW:%b}"
REFUSED = [
    ("empty", f"{CARD} --timeframe soon", "--timeframe: 'soon' is not a timeframe"),
    ("empty", f"{CARD} --next 9h", "--next: next_update is later than the cadence"),
    ("empty", f"{CARD} --owner nobody", "--owner: "),
    ("empty", f"{CARD} --link http://a.example", "--link: is not a secure web address; write https://…"),
    ("empty", f"{CARD} --offer gift", "--offer: no gift in [offers] of commcast.toml"),
    ("empty", "declare Cards --severity 1 --issue x --status identified", "--resolution is missing"),
    ("empty", f"{CARD} --started yesterday", "--started: "),
    ("empty", f"{CARD} --started {SOON:%H:%M}", f"--started: {SOON:%H:%M} was last on "),
    ("empty", f"{CARD} --issue 'a\x1b[2Jb'", "--issue: "),
    ("empty", f"{CARD} --id ../x", "--id: "),
    ("empty", CARD.replace("fail", "\x1b]0;owned\x07"), "TITLE: "),
    ("empty", CARD.replace("fail", "\udcff"), "TITLE contains bytes that are not text"),
    ("empty", f"{STORM} '2020-01-01 02:00'", "--expected: "),
    ("empty", f"{EXPECTED} --status identified", "--expected: an incident that is identified has begun"),
    ("empty", "declare 'Cards fail'", NONE_MISSING),
    *(("empty", f"{SEVERITY} {typed!r}", f"to 4, not {typed!r}") for typed in ("one", "0", "1.5", "")),
    *(("empty", f"declare {typed}", NEARLY) for typed in ("Payments", "' payment'")),
    ("empty", UPDATE, "commcast declare"),
    (
        "told",
        "update --action Wait. --no-action",
        "--action: is both set and cleared; leave out --no-action",
    ),
    ("two", UPDATE, "card1, sign1"),
    ("told", "update", "nothing new to send"),
    ("told", f"update --timeframe 'by {GONE:%H:%M}'", f"{PASSED} … 'by {TOMORROW:%Y-%m-%dT%H:%M}'"),
    ("told", "update --nothing-new 'At 60%.' --issue 'All fail.'", NEWS),
    ("told", "update --next 26h", 'later than the cadence … write 20m or less, or add --because "…" (why'),
    ("found", "update --status investigating", "--because is missing"),
    ("told", "update --status scheduled", "--status: "),
    ("told", "update --status resolved", 'write: commcast resolve card1 --fixed "…"'),
    ("told", "update --status merged", "commcast merge card1 --into ID"),
    ("told", "update --status retracted", 'commcast retract card1 --because "…"'),
    ("told", "update --status expected", "readers were told that card1 has begun"),
    ("told", f"update --expected '{DAY} 05:00'", "--expected: card1 has begun: it is investigating"),
    ("told", "resolve", "--fixed is missing"),
    ("told", f"{RESOLVE} --remains ''", "--remains: is empty; write it, or leave --remains out"),
    ("told", f"{RESOLVE} --ended {AHEAD:%H:%M}", "--ended:  … before it began; write when it was over"),
    ("reopened", f"{RESOLVE} --ended {GONE.isoformat()}", "ended is before it was reopened"),
    ("expected", RESOLVE, "commcast cancel db1 … commcast update db1 --status investigating"),
    ("over", "update card1 --issue More.", OVER),
    ("over", "retract card1 --because Wrong.", OVER),
    ("over", "reopen card1 --issue Again.", "--resolution is missing"),
    ("told", "retract", "--because is missing"),
    ("draft", RETRACT, "nobody was told about card1; write: commcast discard card1"),
    ("planned draft", "cancel --because Wrong.", "nobody was told about db1; write: commcast discard db1"),
    ("told", f"reopen card1 {ANEW}", "card1 is not over"),
    ("told", REOPEN, "no incident is over"),
    ("told", "merge card1 --into card1", "cannot be part of itself"),
    ("other over", "merge card1 --into sign1", "--into: sign1 is over"),
    ("other untold", "merge card1 --into sign1", "nobody has been told about sign1"),
    # Whoever was told that something is down would hear nothing until then, and no end of it.
    ("with planned", "merge card1 --into db1", "--into: db1 is planned work"),
    ("with expected", "merge card1 --into db1", "--into: db1 has not begun"),
    ("merged", "update card1 --issue More.", JOINED),
]
DRAFTED = [
    ("ending", f"reopen card1 {ANEW}", "commcast discard card1 deletes it"),
    ("ending", "update card1 --issue More.", "update 2 (resolved) of card1 is an unreleased draft"),
    ("draft", UPDATE, "update 1 of card1 is an unreleased draft; nothing was written"),
]


@pytest.mark.parametrize(
    ("code", "state", "command", "said"),
    [*((2, *row) for row in REFUSED), *((5, *row) for row in DRAFTED)],
    ids=timeless,
)
def test_what_is_refused_names_the_option(kept: Kept, code: int, state: str, command: str, said: str) -> None:
    said_so = refuse(kept(*STATES[state]), f"{command} --yes", said, code)
    assert "status:" not in said_so.replace("--status:", "")


def test_without_any_word_the_presets_are_listed(kept: Kept, desk: Path) -> None:
    (desk / "presets" / "warehouse.yaml").write_text("title: [\n")
    names = "dependency | login | payments | slow | warehouse"
    listed = f"Presets (ready-made drafts):\n  commcast declare {names}\n"
    assert do(desk, "declare").stderr.endswith(listed)
    assert "preset" not in do(kept(), "declare 'Card payments fail'").stderr.lower()


def test_an_id_that_is_known_is_not_used_again(desk: Path) -> None:
    """Under an id that only the ledger knows everybody would already have been told."""
    shutil.rmtree(desk / "incidents")  # the first incident makes its folder
    for _ in range(2):
        assert do(desk, f"{CARD} --yes").exit_code == 0
    assert files(desk) == ["card1.yaml", "card2.yaml"]
    (desk / FILE).unlink()
    assert do(desk, f"{CARD} --yes --scope 'All cards.'").exit_code == 0
    assert files(desk) == ["card2.yaml", "card3.yaml"]
    refuse(desk, f"{CARD} --yes --id card1", "card1 is already in use")


def test_a_broken_ledger_keeps_the_words_and_sends_nothing(desk: Path) -> None:
    (desk / ".commcast" / "ledger.db").unlink()
    done = do(desk, f"{CARD} --yes")
    assert (done.exit_code, "The draft is kept in incidents/card1.yaml" in done.stderr) == (3, True)
    assert (files(desk), outbox(desk)) == (["card1.yaml"], [])
    done = do(desk, f"{UPDATE} --yes")
    assert (done.exit_code, "The draft is kept" in done.stderr) == (3, True), done.output
    assert "issue: More." in (desk / FILE).read_text()


ALL = "Cards fail\n7\n1\nSome fail.\nWe look.\nsoon\nunknown\ny\n"
# Read as tomorrow, it would be refused once everything else was answered.
EARLIER = f"Cards\n1\nAll fail.\nWe look.\nby {GONE:%H:%M}\nunknown\ny\n"
CONTROL = "1\nSome {} fail.\nSome fail.\nWe look.\nunknown\ny\n"
AGAIN = "contains the control character {}; type it again"
TYPED = [
    ("empty", "declare", ALL, "must be 1 (worst) to 4 … 'soon' is not a timeframe", "severity: 1"),
    ("empty", "declare", EARLIER, f"by {GONE:%H:%M} is on ", "timeframe: unknown"),
    *(
        ("empty", "declare Cards", CONTROL.format(bad), AGAIN.format(named), "issue: Some fail.")
        for bad, named in (("\x1b[A", "U+001B"), ("a\u2028b", "U+2028"), ("a\tb", "U+0009"))
    ),
    ("told", "resolve", "All back.\nSlips.\n\n\ny\n", "", "fixed: All back. … remains: Slips."),
    ("told", "retract", "It was wrong.\ny\n", "", "because: It was wrong."),
    ("found", "update --status investigating", "A wrong trace.\ny\n", "", "because: A wrong trace."),
    ("over", "reopen", "Again.\nWe look.\nsoon\nunknown\ny\n", "is not a timeframe", "issue: Again."),
]


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(("state", "command", "typed", "said", "written"), TYPED, ids=timeless)
def test_what_is_missing_is_asked_for(
    desk: Path, state: str, command: str, typed: str, said: str, written: str
) -> None:
    done = do(prepare(desk, *STATES[state]), command, typed)
    assert done.exit_code == 0, done.output
    assert missing(said, done.stderr) == [], done.stderr
    text = next((desk / "incidents").glob("*.yaml")).read_text()
    assert missing(written, text) == [], text
    assert "if_it_persists" not in text


@pytest.mark.usefixtures("person")
def test_resolve_asks_when_it_ended_and_says_how_long_it_was(desk: Path) -> None:
    assert do(desk, f"{CARD} --started 2026-01-01T10:00Z --yes").exit_code == 0
    typed = "Done.\n\n\nsoon\n2025-12-31T10:00Z\n2026-01-01T11:30Z\ny\n"
    done = do(desk, "resolve", typed)
    assert done.exit_code == 0, done.output
    assert missing("is not a time … before it began … It lasted 1 hour 30 minutes.", done.stderr) == []


@pytest.mark.usefixtures("person")
def test_input_that_ends_while_words_are_asked_for_writes_nothing(desk: Path) -> None:
    done = do(desk, "declare Cards", "1\nSome cards are refused.\n")
    assert (done.exit_code, files(desk)) == (5, [])
    hint = "'paymets' is not a preset; did you mean: commcast declare payments\n"
    assert do(desk, "declare paymets").stderr.startswith(hint)  # before anything is asked


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("sed -i '1i # ours\ns/Some cards/All cards/' \"$1\"", 0, ""),
        ("exit 1", 2, "the editor"),
        ('rm "$1"; mkfifo "$1"', 2, "the edited text: is not a regular file"),  # it would hang
    ],
)
def test_an_editor_runs_without_a_shell_and_its_text_is_used(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: int, said: str
) -> None:
    editor = tmp_path / "my editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{editor}'")
    done = do(desk, f"{CARD} --edit --yes")
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
    assert files(desk) == ([] if code else ["card1.yaml"])
    assert code or missing("# ours … All cards are refused.", (desk / FILE).read_text()) == []


def bodies(desk: Path, before: list[str]) -> list[str]:
    new = (path for path in (desk / "outbox").iterdir() if path.name not in before)
    return [" ".join(path.read_text().replace("=\n", "").split()) for path in new]


def test_a_false_alarm_is_taken_back_from_those_who_heard_it(desk: Path) -> None:
    before = outbox(prepare(desk, *STATES["told"]))
    path = desk / "audiences/customers.csv"
    path.write_text(path.read_text().splitlines()[0] + "\nnew@example.com,,New,\n")
    assert do(desk, f"{RETRACT} --yes").exit_code == 0
    new = bodies(desk, before)
    assert len(new) == 7
    assert all("Wrong." in text and "new@example.com" not in text for text in new)


def test_two_stories_become_one_and_its_end_reaches_the_readers_of_both(desk: Path) -> None:
    """Also along a chain; who is told of the one, and is on no list of the other, is told of its end once."""
    prepare(desk, *STATES["told"])
    do(desk, NETWORK)
    before = outbox(desk)
    succeed(desk, "merge card1 --into network1")
    last = bodies(desk, before)
    assert len(last) == 7
    mails = [text for text in last if "MIME-Version" in text]
    assert all(missing("The network is slow … network1", mail) == [] for mail in mails)
    assert do(desk, "update network1 --nothing-new 'We look.' --yes").exit_code == 0
    assert len(outbox(desk)) == len(before) + 8, "the story goes on for its own readers"
    succeed(desk, f"declare 'Power is out' --severity 1 {ANEW} --audience support")
    before = succeed(desk, "merge network1 --into power1")
    assert len(succeed(desk, "resolve power1 --fixed Done.")) == len(before) + 7
    assert do(desk, "tick").exit_code == 0
    assert len(outbox(desk)) == len(before) + 7


KEPT = """\
Nothing was released. The draft is kept in incidents/card1.yaml.
  commcast send card1       to send it
  commcast discard card1    to delete it
"""


def break_lists(desk: Path) -> None:
    for name in ("partners", "internal"):
        (desk / "audiences" / f"{name}.csv").write_text("team,street\nOps,Main St\n")


def break_templates(desk: Path, text: str = "{% if") -> None:
    for name in ("customers", "internal"):
        write_words(desk, name, email=text)


def places(text: str) -> list[str]:
    """Return the files that faults were found in."""
    return sorted(line.partition(":")[0] for line in text.splitlines() if ".csv:" in line or ".j2:" in line)


TEMPLATES = ["templates/customers/first_notice.md.j2", "templates/internal/first_notice.md.j2"]


def test_every_fault_is_named_at_once_and_nothing_is_written(desk: Path) -> None:
    break_lists(desk)
    break_templates(desk)
    for _ in range(2):
        said = refuse(desk, f"{CARD} --yes", "")
        assert places(said) == ["audiences/internal.csv", "audiences/partners.csv", *TEMPLATES]
        assert said.endswith("Fix that, then run the same command again.\n")


def test_only_a_template_that_somebody_gets_now_keeps_words_back(desk: Path) -> None:
    """One that fails for its first reader is named once."""
    (desk / "templates" / "customers").mkdir()
    (desk / "templates" / "customers" / "resolved.sms.j2").write_text("{% if")
    assert do(desk, f"{CARD} --yes --dry-run").exit_code == 0
    (desk / "templates" / "customers").rename(desk / "templates" / "partners")
    break_templates(desk, "Subject: x\n{{ nosuch }}")
    assert places(do(desk, f"{CARD} --yes").stderr) == TEMPLATES
    assert files(desk) == []


@pytest.mark.parametrize(("verb", "break_it"), [(UPDATE, break_lists), (RESOLVE, break_templates)])
def test_no_update_is_appended_that_cannot_go(desk: Path, verb: str, break_it: Callable[..., None]) -> None:
    break_it(prepare(desk, *STATES["told"]))
    assert len(places(refuse(desk, f"{verb} --yes", ""))) == 2


@pytest.mark.parametrize("how", ["typed", "edited"])
def test_what_a_person_typed_is_kept(desk: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setattr(prompt, "at_terminal", lambda: how == "typed")
    if how == "typed":
        break_lists(desk)
        done = do(desk, "declare 'Card payments fail'", "1\nSome cards are refused.\nWe look.\nunknown\n")
    else:
        break_templates(desk)
        done = do(desk, f"{CARD} --edit --yes")
    assert (done.exit_code, len(places(done.stderr))) == (2, 2), done.output
    assert done.stderr.endswith(KEPT)
    assert "Some cards are refused." in (desk / FILE).read_text()


def test_a_row_that_breaks_a_list_below_its_first_readers_leaves_a_draft(desk: Path) -> None:
    """Lists are not read to their end before the words are written."""
    path = desk / "commcast.toml"
    path.write_text(path.read_text().replace('bad_rows = "skip"', 'bad_rows = "stop"'))
    for name in ("partners", "internal"):
        (desk / "audiences" / f"{name}.csv").write_text("email\na@acme.example\nno address\n")
    done = do(desk, f"{CARD} --yes --json")
    assert (done.exit_code, done.stderr.endswith(KEPT)) == (2, True), done.output
    named = {fault["file"] for fault in json.loads(done.stdout)["faults"]}
    assert named == {"audiences/internal.csv", "audiences/partners.csv"}


def test_discard_gives_the_file_back_as_it_was(desk: Path) -> None:
    before = (prepare(desk, *STATES["told"]) / FILE).read_bytes()
    for commands, what, them in (([UPDATE], "update 2", "it"), ([UPDATE, RESOLVE], "updates 2, 3", "them")):
        for command in commands:
            do(desk, command)
        assert (desk / FILE).read_bytes() != before
        done = do(desk, "discard --yes")
        assert done.stdout == f"Discarded {what} of {FILE}; nobody was told of {them}.\n", done.output
        assert (desk / FILE).read_bytes() == before
    refuse(desk, "discard card1 --yes", "card1 has no draft")
    succeed(desk, UPDATE)  # a discarded end leaves it open


@pytest.mark.usefixtures("person")
def test_discard_asks_first(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (prepare(desk, *STATES["draft"]) / FILE).read_bytes()
    for typed in ("n\n", ""):
        assert do(desk, "discard card1", typed).exit_code == 5
    monkeypatch.setattr(prompt, "at_terminal", lambda: False)
    refuse(desk, "discard card1", "with --yes", 5)
    assert (desk / FILE).read_bytes() == before
    assert do(desk, "discard card1 --yes").exit_code == 0
    assert not (desk / FILE).exists()


ONE = "title: T\nseverity: 1\nupdates:\n  - issue: I\n    resolution: R\n    timeframe: unknown\n"
SPACED = ONE + "\n  - status: identified\n    issue: J\n"
ENTRY = {"status": "monitoring", "issue": "Two\nlines: here", "for": {"support": {"issue": "x # y"}}}


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        SPACED,
        "# head\n" + ONE + "  # about the updates\n",
        ONE + "# at the end\n",
        ONE + "owner: dana\n",
        ONE.replace("\n", "\r\n"),
        ONE.replace("  - ", "- ").replace("    ", "  "),
        SPACED + "    # its own comment\n\n# below\naudiences: [support]\n",
    ],
)
def test_what_was_appended_is_taken_back_to_the_byte(text: str) -> None:
    count = text.count("issue:")
    longer = with_update(text, "f.yaml", ENTRY)
    assert longer != text
    assert without_updates(longer, "f.yaml", [count + 1]) == text
    longer = with_update(longer, "f.yaml", {"issue": "K"})
    assert without_updates(longer, "f.yaml", [count + 1, count + 2]) == text


def test_what_cannot_be_taken_out_is_left_to_a_person() -> None:
    in_brackets = "title: T\nseverity: 1\nupdates: [{issue: I}, {issue: J}]\n"
    for text, number in ((ONE, 1), (in_brackets, 2)):
        with pytest.raises(InputError, match="by hand"):
            without_updates(text, "f.yaml", [number])


def test_a_time_that_a_night_shows_twice_is_refused_for_that(desk: Path) -> None:
    config = load_config(desk).model_copy(
        update={"organisation": Organisation(name="A", zone="Europe/Berlin")}
    )
    morning = Desk(config, datetime(2026, 10, 25, 9, tzinfo=UTC))
    for key in ("started", "ended"):
        typed = with_dates({key: "02:40"}, morning)[key]
        with pytest.raises(
            ValueError, match="occurs twice in Europe/Berlin; write the offset: 2026-10-25T02:40"
        ):
            parse_instant(typed, config.zone)
