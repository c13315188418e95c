"""The command tick: one pass for cron, or a bounded loop of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.loop import Loop
from commcast.cli.opening import desk_to_work, sender_for
from commcast.cli.options import DryRunOption, FolderOption, JsonOption, moment_or_now
from commcast.cli.outcomes import tell_signal
from commcast.cli.output import going_on_unread, say, show, show_json, show_prose
from commcast.cli.progress import Progress
from commcast.cli.tick_words import as_document, delivered_in_words, fault_in_words, nudged_in_words
from commcast.durations import parse_duration
from commcast.errors import CommcastError, ExitCode, InputError, Interrupted, LedgerError

if TYPE_CHECKING:
    from commcast.delivering import Delivered
    from commcast.desk import Desk
    from commcast.tick import Ticked

LoopOption = Annotated[
    str | None, typer.Option("--loop", help="Run a pass each so often, such as 1m.", show_default=False)
]
ForOption = Annotated[
    str | None, typer.Option("--for", help="End the loop after so long, such as 5h.", show_default=False)
]

UntilClosedOption = Annotated[
    bool, typer.Option("--until-closed", help="End the loop when no incident is open and nothing waits.")
]


def tick(
    loop: LoopOption = None,
    for_: ForOption = None,
    until_closed: UntilClosedOption = False,
    dry_run: DryRunOption = False,
    now: Annotated[
        str | None,
        typer.Option(
            "--now", help="With --dry-run: what a tick would send at this time.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Send what is released and owed; for cron. Running it twice, or late, is safe.

    It sends what was released, reminders, nudges, and where [silence] says so holding statements of
    released words; never a draft. It prints nothing when there is nothing to tell. A broken file is named
    (exit 2) and stops only its own incident. A loop ends in the gravest code of its passes; "try again" (75)
    counts only when the last pass says so. A pass that takes longer than the loop's step leaves out the steps
    it missed. A pass that ends in 0 or 1 asks heartbeat_url of commcast.toml, if there is one.

    Example: commcast tick --loop 1m --until-closed
    """
    if dry_run:
        from commcast.cli.tick_foreseen import show_foreseen

        raise typer.Exit(show_foreseen(folder, moment_or_now(now), as_json))
    if now is not None:
        raise InputError("--now only shows: write it with --dry-run; what is sent is sent now")
    if (for_ is not None or until_closed) and loop is None:
        option = "--until-closed" if until_closed else "--for"
        raise InputError(f"{option} bounds a loop: write it with --loop 1m")
    if loop is None:
        code = _pass(folder, as_json, Talk())
    elif as_json:
        raise InputError("--json tells of one pass: leave out --loop")
    else:
        try:
            talk, lasting = Talk(), _length(for_, "--for") if for_ else None
            passes = Loop(lambda: _pass_in_loop(folder, talk), _length(loop, "--loop"), lasting)
            code = passes.run(lambda: until_closed and _is_closed(folder))
        except KeyboardInterrupt:
            words = "Interrupted: the loop has ended; the next tick goes on where it left."
            raise Interrupted(words, ExitCode.INTERRUPTED) from None
    raise typer.Exit(code)


@dataclass
class Talk:
    """Says each thing that is wrong once, and again only when it was gone: a loop does not repeat itself."""

    last: dict[str, list[str]] = field(default_factory=dict)

    def faults(self, text: str, about: str = "files") -> None:
        lines = text.splitlines()
        before = self.last.get(about, [])
        if news := [line for line in lines if line not in before]:
            say("\n".join(news))
        self.last[about] = lines


def _pass_in_loop(folder: Path | None, talk: Talk) -> ExitCode:
    """Run one pass; what a later one may find mended does not end the loop."""
    try:
        return _pass(folder, False, talk)
    except (LedgerError, Interrupted):
        raise
    except CommcastError as error:
        talk.faults(str(error))
        return error.exit_code


def _is_closed(folder: Path | None) -> bool:
    """Return, and say, whether a loop has nothing to wait for any more; what cannot be read may be open."""
    from commcast.unfinished import is_anything_open

    try:
        with desk_to_work(folder) as (desk, ledger):
            is_open = is_anything_open(desk, ledger)
    except LedgerError:
        raise
    except CommcastError:
        return False
    if not is_open:
        show("No incident is open and nothing waits: the loop has ended.")
    return not is_open


def _pass(folder: Path | None, as_json: bool, talk: Talk) -> ExitCode:
    from commcast.tick import tick as run_tick

    with desk_to_work(folder) as (desk, ledger), Progress() as progress, going_on_unread():
        ticked = run_tick(desk, ledger, lambda: sender_for(desk, ledger, progress))
    with going_on_unread():
        code = _tell(desk, ticked, as_json, talk)
        talk.faults(_beat(desk, code), "heartbeat")
        return code


def _beat(desk: Desk, code: ExitCode) -> str:
    """Tell the monitor that this pass went well; return what kept it from hearing, "" for nothing."""
    settings = desk.config.tick
    if not settings.heartbeat_url:
        return ""
    from commcast.heartbeat import WENT_WELL, ping, url_of

    if code not in WENT_WELL:
        return ""
    url = url_of(settings.heartbeat_url, os.environ)
    if not url:
        return f"Heartbeat: {settings.heartbeat_url.removeprefix('env:')} is not set where commcast runs"
    why = ping(url, private=settings.heartbeat_private)
    return f"Heartbeat: {why}. The tick itself is done." if why else ""


def _tell(desk: Desk, ticked: Ticked, as_json: bool, talk: Talk) -> ExitCode:
    code = ticked.exit_code(desk.config.send.tolerate)
    faults = [fault_in_words(path, error) for path, error in ticked.errors.items()]
    faults += [f"{name}: {nudged.unreached}" for name, nudged in ticked.nudged.items() if nudged.unreached]
    talk.faults("\n".join(faults))
    if as_json:
        show_json("tick", as_document(ticked, code))
    else:
        for incident, nudged in ticked.nudged.items():
            if not nudged.unreached:
                show_prose(f"{incident}: {nudged_in_words(nudged)}")
        for incident, delivered in ticked.delivered.items():
            if _is_news(delivered) and (news := delivered_in_words(delivered)):
                show_prose(f"{incident}: {news}")
            tell_signal(incident, delivered)
    return code


def _is_news(delivered: Delivered) -> bool:
    """Return whether something happened: that an incident is still stopped is no news every minute."""
    return bool(
        delivered.handed_over
        or delivered.lost
        or delivered.expired
        or delivered.held_back
        or delivered.troubles
        or delivered.taken_over
    )


def _length(text: str, option: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
