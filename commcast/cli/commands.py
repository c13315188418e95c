"""The table of all commands, and how each is parsed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from commcast.cli.output import inert
from commcast.errors import InputError


class CommandEntry(NamedTuple):
    """One command. `module` is its file under commcast.cli; `help` is the first sentence of its own help."""

    name: str
    panel: str
    module: str
    help: str


# In the order in which --help shows them: by panel; "file:command" if the file has another name.
# The sentences are repeated here so that --help need not read the code of twenty files.
_COMMANDS = {
    "During an incident": {
        "declare": "Start an incident: write its file, show what goes out, ask, and send.",
        "declare:update": "Post an update; fields you omit are carried forward.",
        "end:resolve": "Say that it is over, to everybody who was told that it began.",
        "correct": (
            "Correct something that was sent: its readers get a correction, everyone else the right wording."
        ),
        "end:retract": "Withdraw a false alarm; exactly those who were told get a retraction.",
        "end:reopen": "Say that it is not over after all, with what is seen and done now.",
        "end:merge": "End an incident that is part of another, with one last message that names it.",
        "send": "Release an incident's drafts after a question, and send what is due.",
        "send:discard": "Delete unreleased drafts from the incident file.",
        "stop": "Stop sending, on every host; messages already handed over still arrive.",
        "stop:resume": "Lift a stop and send what is still pending; nobody gets it twice.",
        "handover": "Offer an incident to another person; both are told, and it moves when it is taken.",
        "handover:take": "Take over an incident: from now on the nudges go to you; both are told.",
    },
    "Planned work": {
        "maintenance:schedule": "Announce planned work: write its file, show what goes out, ask, and send.",
        "maintenance:start": "Say that the planned work has begun.",
        "maintenance:extend": "Say that the work takes longer than planned.",
        "maintenance:reschedule": "Move planned work to another time; calendars and reminders move with it.",
        "maintenance:complete": "Say that the work is done, and what remains.",
        "maintenance:cancel": "Call off planned work, or what was expected and will not come.",
    },
    "Inspect": {
        "preview": "Show exactly what send would hand over, to whom and why; changes nothing, sends nothing.",
        "preview:test": "Send every audience's newest message to yourself, marked as a test.",
        "lint": "Check configuration, incidents, presets, lists and templates; name every fault at once.",
        "status": (
            "Show where every incident stands: what was told to how many, and when the next update is due."
        ),
        "log": "Show every message that was sent: when, to how many, and what became of it.",
        "report": "Show what was promised and kept: first word, silences, promises, estimates, outcomes.",
        "report:feedback": (
            'Add readers\' answers to "did we keep you well informed?"; the report shows the sum.'
        ),
        "lint:templates": "List which template wins for each audience, channel and status.",
    },
    "Unattended": {
        "tick": "Send what is released and owed; for cron.",
        "cron": "Print what runs tick every minute: a crontab line, a systemd timer, an Actions workflow.",
        "reconcile:receipts": "Ask providers what became of accepted messages: delivered, bounced, failed.",
    },
    "Unknown deliveries": {
        "reconcile": "Ask providers about deliveries of unknown outcome.",
        "unknown:resend": "Send again what may or may not have arrived, or what was rejected.",
        "unknown:settle": "Record the outcome of unknown deliveries, if you know it.",
    },
    "Set up": {
        "init": "Create a desk that works at once and sends nothing outside its folder.",
        "doctor": "Check whether this desk can send: settings, lists, templates, ledger, providers, ticks.",
        "lint:schema": "Print the JSON Schema of incident files, commcast.toml, or presets.",
        "demo": "Watch a whole incident from start to end: no account, no network, no question.",
        "recipients": "Check the lists; suppress or erase an address.",
    },
}
TABLE = tuple(
    CommandEntry(key.rpartition(":")[2], panel, key.partition(":")[0], help)
    for panel, commands in _COMMANDS.items()
    for key, help in commands.items()
)


_ENTRIES = {entry.name: entry for entry in TABLE}


class Commands(Mapping[str, TyperCommand | TyperGroup]):
    """All commands by name; each is imported when it is asked for, not when it is listed."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        return _make(_ENTRIES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_ENTRIES)

    def __len__(self) -> int:
        return len(_ENTRIES)


@cache
def _make(entry: CommandEntry) -> TyperCommand | TyperGroup:
    found = getattr(import_module(f"commcast.cli.{entry.module}"), entry.name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(entry.name, cls=CommcastCommand, rich_help_panel=entry.panel)(found)
        found = alone
    made: TyperCommand | TyperGroup = typer.main.get_command(found)  # type: ignore[assignment]
    made.name = entry.name
    return made


_TITLED = ("declare", "schedule")
# The option for words that somebody wrote in place of an incident's id.
_WORDS_GO_TO = {
    "update": '--nothing-new "…" (or --issue "…")',
    "resolve": '--fixed "…"',
    "complete": '--fixed "…"',
    "cancel": '--because "…"',
    "retract": '--because "…"',
    "reopen": '--issue "…"',
}


class CommcastCommand(TyperCommand):
    """A command that lists all missing options at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of `args`. Raises the library's usage error, which exits with 2."""
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
        """Run the command; if an id holds spaces, the error says which option takes words."""
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
        """Return what was probably meant by more words than a command takes, "" if unclear."""
        given, more, _ = self.make_parser(ctx).parse_args(args=args)
        if self.name in _TITLED:
            title = shlex.quote(inert(" ".join([str(given.get("title", "")), *more])))
            return f"Put the words in quotes: commcast {self.name} {title}"
        return self._place_of_words()

    def _place_of_words(self) -> str:
        option = _WORDS_GO_TO.get(self.name or "")
        return f"Words need an option: commcast {self.name} {option}" if option else ""
