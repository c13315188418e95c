"""The table of all commands, and how each is parsed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from commcast.cli.output import inert
from commcast.errors import InputError

if TYPE_CHECKING:
    from typer.core import TyperCommand, TyperGroup


BAD_MINUTE = "In the bad minute"
PLANNED_WORK = "Planned work"
LOOK_FIRST = "Look first"
UNATTENDED = "Unattended"
LOST_ANSWERS = "When an answer was lost"
SET_UP = "Set up"


class CommandEntry(NamedTuple):
    """One command. `place` is module:name under commcast.cli; `help` is the first sentence of its own help.

    It stands here too so that --help need not read the code of twenty commands to list them.
    """

    name: str
    panel: str
    place: str
    help: str


# In the order in which --help shows them.
TABLE = (
    CommandEntry(
        "declare",
        BAD_MINUTE,
        "declare:declare",
        "Begin an incident: write its file, show what goes out, ask, and tell everybody.",
    ),
    CommandEntry(
        "update",
        BAD_MINUTE,
        "update:update",
        "Say more of an open incident; what you leave out is carried forward.",
    ),
    CommandEntry(
        "resolve",
        BAD_MINUTE,
        "end:resolve",
        "Say that it is over, to everybody who was told that it began.",
    ),
    CommandEntry(
        "correct",
        BAD_MINUTE,
        "correct:correct",
        "Put wrong words right: whoever got them is told so, everybody else gets the right words.",
    ),
    CommandEntry(
        "retract",
        BAD_MINUTE,
        "end:retract",
        "Take a false alarm back: exactly those who heard of it are told so.",
    ),
    CommandEntry(
        "reopen",
        BAD_MINUTE,
        "end:reopen",
        "Say that it is not over after all, with what is seen and done now.",
    ),
    CommandEntry(
        "merge",
        BAD_MINUTE,
        "end:merge",
        "End an incident that is part of another, with one last message that names it.",
    ),
    CommandEntry(
        "send",
        BAD_MINUTE,
        "send:send",
        "Release an incident's drafts after a question, and send what is owed.",
    ),
    CommandEntry(
        "discard",
        BAD_MINUTE,
        "send:discard",
        "Take back updates that nobody released: only their lines leave the file.",
    ),
    CommandEntry(
        "stop",
        BAD_MINUTE,
        "stop:stop",
        "Halt an incident's deliveries at the next claim, whoever is sending on whatever host.",
    ),
    CommandEntry(
        "resume", BAD_MINUTE, "stop:resume", "Lift a stop and deliver what is still open, nobody twice."
    ),
    CommandEntry(
        "handover",
        BAD_MINUTE,
        "handover:handover",
        "Offer an incident to another person; both are told, and it moves when it is taken.",
    ),
    CommandEntry(
        "take",
        BAD_MINUTE,
        "handover:take",
        "Take an incident over: from now on you are the one who is woken; both are told.",
    ),
    CommandEntry(
        "schedule",
        PLANNED_WORK,
        "maintenance:schedule",
        "Announce planned work: write its file, show what goes out, ask, and tell everybody.",
    ),
    CommandEntry("start", PLANNED_WORK, "maintenance:start", "Say that the planned work has begun."),
    CommandEntry(
        "extend", PLANNED_WORK, "maintenance:extend", "Say that the work takes longer than planned."
    ),
    CommandEntry(
        "reschedule",
        PLANNED_WORK,
        "maintenance:reschedule",
        "Move planned work to another time; calendars and reminders move with it.",
    ),
    CommandEntry(
        "complete", PLANNED_WORK, "maintenance:complete", "Say that the work is done, and what remains."
    ),
    CommandEntry(
        "cancel",
        PLANNED_WORK,
        "maintenance:cancel",
        "Call off planned work, or what was expected and will not come.",
    ),
    CommandEntry(
        "preview",
        LOOK_FIRST,
        "preview:preview",
        "Show exactly what send would hand over, to whom and why; changes nothing, sends nothing.",
    ),
    CommandEntry(
        "test",
        LOOK_FIRST,
        "preview:test",
        "Send every audience's newest message to yourself, marked as a test.",
    ),
    CommandEntry(
        "lint",
        LOOK_FIRST,
        "lint:lint",
        "Check the configuration, incident files, presets, lists and templates; name every fault at once.",
    ),
    CommandEntry(
        "status",
        LOOK_FIRST,
        "status:status",
        "Show where every incident stands: what was told to how many, and when the next update is due.",
    ),
    CommandEntry(
        "log",
        LOOK_FIRST,
        "log:log",
        "Show every message that was sent: when, to how many, and what became of it.",
    ),
    CommandEntry(
        "report",
        LOOK_FIRST,
        "report:report",
        "Show what was promised and kept: first word, silences, promises, estimates, outcomes.",
    ),
    CommandEntry(
        "feedback",
        LOOK_FIRST,
        "report:feedback",
        'Add readers\' answers to "did we keep you well informed?"; the report shows the sum.',
    ),
    CommandEntry(
        "templates",
        LOOK_FIRST,
        "lint:templates",
        "List which template wins for each audience, channel and status.",
    ),
    CommandEntry("tick", UNATTENDED, "tick:tick", "Send what is released and owed; for cron."),
    CommandEntry(
        "cron",
        UNATTENDED,
        "cron:cron",
        "Print what runs tick every minute, to copy: a crontab line, a systemd timer, an Actions workflow.",
    ),
    CommandEntry(
        "receipts",
        UNATTENDED,
        "reconcile:receipts",
        "Ask the providers what became of what they accepted: delivered, bounced or failed.",
    ),
    CommandEntry(
        "reconcile",
        LOST_ANSWERS,
        "reconcile:reconcile",
        "Ask the providers what became of messages whose answer was lost.",
    ),
    CommandEntry(
        "resend",
        LOST_ANSWERS,
        "unknown:resend",
        "Send once more what may or may not have arrived: who did get it gets it twice.",
    ),
    CommandEntry(
        "settle",
        LOST_ANSWERS,
        "unknown:settle",
        "Say what became of messages whose answer was lost, as a person who knows.",
    ),
    CommandEntry(
        "init", SET_UP, "init:init", "Make a desk's folder that works at once and sends nothing outside."
    ),
    CommandEntry(
        "doctor",
        SET_UP,
        "doctor:doctor",
        "Check whether this desk can send: configuration, lists, templates, ledger, providers, last tick.",
    ),
    CommandEntry(
        "schema",
        SET_UP,
        "lint:schema",
        "Print the JSON Schema of incident files, commcast.toml, or presets.",
    ),
    CommandEntry(
        "demo",
        SET_UP,
        "demo:demo",
        "Watch a whole incident being told: no account, no network, no question.",
    ),
    CommandEntry(
        "recipients",
        SET_UP,
        "recipients:app",
        "Check who is told; let an address hear nothing more; forget one.",
    ),
)


class Commands(Mapping[str, "TyperCommand | TyperGroup"]):
    """All commands by name; each is imported when it is asked for, and not when it is only listed."""

    def __init__(self) -> None:
        self._entries = {entry.name: entry for entry in TABLE}
        self._made: dict[str, TyperCommand | TyperGroup] = {}

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        entry = self._entries[name]
        if name not in self._made:
            self._made[name] = _make(entry)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _make(entry: CommandEntry) -> TyperCommand | TyperGroup:
    module, _, name = entry.place.partition(":")
    found = getattr(import_module(f"commcast.cli.{module}"), name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(entry.name, cls=CommcastCommand, rich_help_panel=entry.panel)(found)
        found = alone
    made: TyperCommand | TyperGroup = typer.main.get_command(found)  # type: ignore[assignment]
    made.name = entry.name
    return made


_TITLED = ("declare", "schedule")
# Where the words belong that somebody wrote in the place of an incident's id.
_WORDS_GO_TO = {
    "update": '--nothing-new "…" (or --issue "…")',
    "resolve": '--fixed "…"',
    "complete": '--fixed "…"',
    "cancel": '--because "…"',
    "retract": '--because "…"',
    "reopen": '--issue "…"',
}


class CommcastCommand(TyperCommand):
    """A command that tells a person all that is missing, not one option after another."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of `args`. Raises the library's usage error, which ends in exit code 2."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            missing = self._missing(ctx, given) if getattr(error, "param_type", self) is None else []
            if not missing:
                raise
            count = "an option is" if len(missing) == 1 else f"{len(missing)} options are"
            cast(typer.Context, ctx).fail("\n".join([f"{count} missing:", *missing]))
        except TyperException as error:
            what = str(getattr(error, "message", ""))
            remedy = self._meant(ctx, given) if what.startswith("Got unexpected extra argument") else ""
            if not remedy:
                raise
            cast(typer.Context, ctx).fail(f"{what}\n{remedy}")

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Of an id that holds spaces it is said where words go."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            if " " in str(ctx.params.get("incident") or "") and (remedy := self._place_of_words()):
                error.add_note(remedy)
            raise

    def _missing(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=args)
        return [
            f"  {param.opts[0]}  {getattr(param, 'help', '')}".rstrip()
            for param in self.get_params(ctx)
            if param.required and param.name not in given
        ]

    def _meant(self, ctx: Any, args: list[str]) -> str:
        """Return what was probably meant by more words than a command takes, "" where nobody knows."""
        given, more, _ = self.make_parser(ctx).parse_args(args=args)
        if self.name in _TITLED:
            title = shlex.quote(inert(" ".join([str(given.get("title", "")), *more])))
            return f"Put the words in quotes: commcast {self.name} {title}"
        return self._place_of_words()

    def _place_of_words(self) -> str:
        option = _WORDS_GO_TO.get(self.name or "")
        return f"Words go behind an option: commcast {self.name} {option}" if option else ""
