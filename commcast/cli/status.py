"""The command status: where every incident stands, once or with --watch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import (
    CONFIG_NAME,
    FolderOption,
    JsonOption,
    NowOption,
    clock,
    duration,
    find_folder,
    moment_or_now,
)
from commcast.cli.output import DIM, can_draw, console_for, inert, room_of, say, show, show_json, show_prose
from commcast.cli.present import NAMES
from commcast.cli.progress import per_second
from commcast.cli.session import desk_to_read
from commcast.cli.status_text import Line, as_document, last_tick_line, lines_of, warnings
from commcast.errors import CommcastError, ExitCode, InputError
from commcast.files import sign_of
from commcast.model.history import way_on
from commcast.operations.status import DeskStatus, read_status

if TYPE_CHECKING:
    from rich.text import Text

    from commcast.incidents.load import Loaded
    from commcast.ledger.overview import BroadcastCounts
    from commcast.operations.desk import Desk


def status(
    incident: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only this incident.")] = None,
    overdue: Annotated[
        bool,
        typer.Option("--overdue", help="Only what is late, first messages included; exits with 4 if any."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", "-w", help="Redraw in place until Ctrl-C (exits with 0), with what is being sent."
        ),
    ] = False,
    every: Annotated[
        str | None, typer.Option("--every", help="With --watch: how often to look; default: 2s.")
    ] = None,
    as_json: JsonOption = False,
    now: NowOption = None,
    folder: FolderOption = None,
) -> None:
    """Show where every incident stands: who was told what, and when the next update is due.

    Open incidents come first, by their next deadline. Below each you see what every audience was told last
    and when it expects more, who is on duty, and who was nudged. A promise stays broken until its audience
    gets something newer; an incident that has ended has no deadline. Without a ledger, or with an
    old copy of one, it is not known what was sent: it exits with 3.

    --watch reads a copy of the ledger, and only when something has changed, so it never slows down a send.
    With --json it prints one line of JSON per change, even into a pipe.

    Example: commcast status --overdue

    Example: commcast status --watch
    """
    if watch:
        if overdue or now is not None:
            raise InputError("--watch always shows the current state: leave out --overdue and --now")
        watch_status(folder, incident, every or "2s", as_json=as_json)
        return
    if every is not None:
        raise InputError("--every is only for --watch; add --watch, or leave it out")
    found = _read(folder, moment_or_now(now), incident)
    if overdue:
        found = found.only_late()
    if as_json:
        show_json("status", as_document(found))
    elif found.overdue or not overdue:
        _show(found)
    if found.doubt:
        if not found.has_ledger:  # else it was said when the ledger was opened
            say(found.doubt)
        raise typer.Exit(ExitCode.LEDGER)
    if overdue and found.overdue:
        is_first = all(each.is_draft for each in found.histories)
        why = "Nobody has been told yet" if is_first else "Readers were promised an update"
        say(f"Overdue: {', '.join(found.overdue)}. {why}; {_way_out(found)}")
        raise typer.Exit(ExitCode.OVERDUE)


_PLANNED = frozenset({"scheduled", "rescheduled", "in_progress", "extended", "verifying"})


def _way_out(found: DeskStatus) -> str:
    """Return what helps: writing an update or, if one is pending, getting it out."""
    late = [each for each in found.histories if each.id in found.overdue]
    name = late[0].id if len(late) == 1 else "ID"
    if all(each.is_draft for each in late):
        return f"a draft is waiting to be released: commcast send {name}"
    if all(each.stopped_by for each in late):
        return f"{late[0].stopped_by} stopped it; lift it with: {way_on(name, late[0].stopped_by)}"
    if any(each.counts.get("pending") for each in late):
        return f"one is written but still pending: commcast send {name}, commcast doctor --connect"
    if all(each.status in _PLANNED for each in late):
        return f"say whether the work has started or is done: commcast start {name}, commcast complete {name}"
    return f'post one: commcast update {name} --nothing-new "…"'


def show_status(folder: Path | None, *, now: datetime, incident: str | None) -> None:
    """Show the table of a folder as of `now`."""
    _show(_read(folder, now, incident))


def _read(
    folder: Path | None,
    now: datetime,
    incident: str | None,
    load: Callable[[Desk], Loaded] | None = None,
) -> DeskStatus:
    with desk_to_read(folder, now) as (desk, ledger):
        return read_status(desk, ledger, incident, load)


def _show(found: DeskStatus) -> None:
    for text, style in lines_of(found):
        show_prose(text, style)
    for line in warnings(found):
        say(line)
    if line := last_tick_line(found):
        show(line, DIM)


# Looking takes at most a sixth of the time: a large ledger must not be copied all the time.
_REST = 5
_ALWAYS_NEW = frozenset({"now", "last_tick", "ticks"})  # no change worth a line by themselves


@dataclass
class Watch:
    """One watch. `seconds` gives monotonic time, `now` aware time.

    The ledger is copied and the files are read only if they have changed since the last look.
    """

    folder: Path
    incident: str | None
    seconds: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = clock
    looks: int = 0  # how often the ledger was read
    cost: float = 0.0  # seconds that the last reading took
    rates: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _found: DeskStatus | None = None
    _signs: tuple[object, object] = ((), ())
    _loaded: tuple[object, Loaded] | None = None
    _counted: tuple[float, Mapping[tuple[str, str, str], int]] | None = None

    def look(self) -> DeskStatus:
        """Return the current state of the desk. Raises what status raises."""
        signs = (_sign_of_files(self.folder), _sign_of_ledger(self.folder))
        self.cost = 0.0
        if self._found is None or signs != self._signs:
            began = self.seconds()
            self._found = _read(self.folder, self.now(), self.incident, self._load)
            self.cost = self.seconds() - began
            self.looks += 1
            self._signs = signs
        self._measure(self._found.sending)
        return replace(self._found, now=self.now())

    def _load(self, desk: Desk) -> Loaded:
        from commcast.incidents.load import load_incidents

        sign = _sign_of_files(self.folder)
        if self._loaded is None or self._loaded[0] != sign:
            self._loaded = (sign, load_incidents(desk.config, desk.now, released_at=desk.released_at))
        return self._loaded[1]

    def _measure(self, sending: tuple[BroadcastCounts, ...]) -> None:
        """Note how fast each broadcast went since the last look."""
        at, counts = self.seconds(), {_key(each): each.done for each in sending}
        if self._counted is not None:
            before, past = self._counted
            lasted = max(at - before, 0.001)
            self.rates = {key: (done - past[key]) / lasted for key, done in counts.items() if key in past}
        self._counted = (at, counts)


def watch_status(folder: Path | None, incident: str | None, every: str, *, as_json: bool) -> None:
    """Watch a desk until Ctrl-C. Raises InputError without a terminal to draw on, unless for JSON."""
    pause = duration(every, "--every").total_seconds()
    if not as_json and not can_draw(sys.stdout):
        raise InputError("--watch needs a terminal; scripts use: commcast status --watch --json")
    watch = Watch(find_folder(folder, shows=True), incident)
    with suppress(KeyboardInterrupt):  # the normal end of a watch
        (print_changes if as_json else draw)(watch, lambda: time.sleep(max(pause, _REST * watch.cost)))


def print_changes(watch: Watch, rest: Callable[[], None]) -> None:
    """Print a line of JSON for each change, and `rest` after each look."""
    last: Mapping[str, Any] = {}
    while True:
        found = watch.look()
        document = as_document(found)
        said = {key: value for key, value in document.items() if key not in _ALWAYS_NEW}
        if said != last:
            rates = [watch.rates.get(_key(each)) for each in found.sending]
            sending = [
                {**each, "per_second": None if rate is None else round(rate, 1)}
                for each, rate in zip(document["sending"], rates, strict=True)
            ]
            show_json("status", {**document, "sending": sending}, indent=None)
            last = said
        rest()


def draw(watch: Watch, rest: Callable[[], None]) -> None:
    """Redraw in place after each look, and `rest` after it."""
    from rich.live import Live

    lines, size = picture(watch.look(), watch.rates), (0, 0)
    console = console_for(sys.stdout)
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            if size != room_of(sys.stdout):  # the first look, or the window was resized
                console.size = size = room_of(sys.stdout)
                console.clear()
            live.update(_fitted(lines, size[1]), refresh=True)
            rest()
            try:
                lines = picture(watch.look(), watch.rates)
            except CommcastError as error:  # a file half written, a ledger being written: try the next look
                fault = f"{watch.now().astimezone():%H:%M:%S} {_UNREADABLE}: {error}".partition("\n")[0]
                head, *more = (line for line in lines if _UNREADABLE not in line[0])
                lines = [head, (fault, ""), *more]


_UNREADABLE = "cannot be read now"


def picture(found: DeskStatus, rates: Mapping[tuple[str, str, str], float]) -> list[Line]:
    """Return the lines of one look: warnings and what is being sent come above the table."""
    local = found.now.astimezone(found.zone)
    lines = [(f"{local:%H:%M:%S %Z}. Press Ctrl-C to stop.", ""), *((each, "") for each in warnings(found))]
    if ticked := last_tick_line(found):
        lines.append((ticked, DIM))
    if found.sending:
        sending = [(_sending_line(each, rates.get(_key(each))), "") for each in found.sending]
        lines += [("", ""), ("Being sent now:", ""), *sending]
    return [*lines, ("", ""), *lines_of(found)]


def _sending_line(each: BroadcastCounts, rate: float | None) -> str:
    facts = [f"{each.done:,} of {each.total:,}"]
    if rate is not None:
        facts.append(per_second(rate) if rate else "nothing since the last refresh")
    facts += [f"{count:,} {state}" for state in ("rejected", "unknown") if (count := each.counts.get(state))]
    return f"  {each.incident} {NAMES[each.channel]}, {each.notice}: {', '.join(facts)}"


def _key(each: BroadcastCounts) -> tuple[str, str, str]:
    return each.incident, each.notice, each.channel


def _fitted(lines: list[Line], height: int) -> Text:
    """Return as many lines as fit into the window."""
    from rich.text import Text

    room = max(height - 2, 2)
    if len(lines) > room:
        more = len(lines) - room + 1
        lines = [
            *lines[: room - 1],
            (f"… {more} more lines: a taller window or commcast status shows them", ""),
        ]
    shown = Text("\n").join(Text(inert(text), style) for text, style in lines)
    shown.no_wrap, shown.overflow = True, "ellipsis"
    return shown


def _sign_of_files(folder: Path) -> object:
    """Return what changes when an incident file or the configuration does."""
    from commcast.incidents.load import INCIDENTS_FOLDER

    paths = [folder / CONFIG_NAME]
    try:
        paths += sorted((folder / INCIDENTS_FOLDER).iterdir())
    except OSError:
        return object()  # reading it tells what is wrong there
    return [sign_of(path) for path in paths]


def _sign_of_ledger(folder: Path) -> object:
    from commcast.ledger.store import ledger_path

    path = ledger_path(folder)
    return sign_of(path), sign_of(path.with_name(f"{path.name}-wal"))
