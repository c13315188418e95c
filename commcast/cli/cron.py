"""The command cron: prints a crontab line, a timer or a workflow that runs tick for this folder."""

from __future__ import annotations

import getpass
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from commcast.cli.options import FolderOption, find_folder
from commcast.cli.output import inert, put
from commcast.errors import InputError

_RECEIPTS = frozenset({"sendgrid", "twilio"})  # who can be asked what became of what they took
# What is true of Actions today, as a comment of the workflow.
_OF_ACTIONS = (
    "# The ledger (.commcast/, not in git) knows what was said; without it tick refuses to",
    "# send (exit 3). A hosted runner starts without one, and no cache is safe to keep it in:",
    "# words could be said twice. So this needs a runner of your own, on the machine that",
    "# holds the folder. There cron is on time; Actions starts a schedule every 5 minutes at",
    "# the shortest, late at the top of the hour, at times by hours, and not at all after 60",
    "# days without activity in a public repository. So each run ticks every minute for 20",
    "# minutes. commcast doctor says how late ticks come, and which promises that can keep.",
)


class CronFormat(StrEnum):
    """What can start a tick."""

    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    ACTIONS = "actions"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Installation:
    """This commcast and this desk: `program` begins every command; `has_receipts` says whether any are kept.

    `secrets` is the file that sets the environment: cron and systemd start with an empty one.
    """

    program: tuple[str, ...]
    folder: Path
    owner: str
    secrets: Path
    has_receipts: bool

    @property
    def unit(self) -> str:
        """The name of its systemd units, told apart by the folder's name."""
        return f"commcast-{re.sub('[^a-z0-9]+', '-', self.folder.name.lower()).strip('-') or 'desk'}"

    def arguments(self, verb: str, *more: str) -> list[str]:
        return [*self.program, verb, *more, "-C", str(self.folder)]

    def shell(self, verb: str, *more: str) -> str:
        """Return a command for a shell that starts with nothing set."""
        secrets = shlex.quote(str(self.secrets))
        command = shlex.join(self.arguments(verb, *more))
        return f"set -a; [ -r {secrets} ] && . {secrets}; set +a; {command}"


def cron(
    form: Annotated[CronFormat, typer.Option("--format", help="Only this one.")] = CronFormat.ALL,
    env_file: Annotated[
        Path, typer.Option("--env-file", help="The file that sets the secrets, as lines NAME=value.")
    ] = Path("/etc/commcast.env"),
    folder: FolderOption = None,
) -> None:
    """Print what runs tick every minute: a crontab line, a systemd timer, an Actions workflow.

    For copying; the paths are those of this installation and this folder. Nothing is installed or changed. A
    tick needs no lock (flock): two at once share the work, and the ledger rules out telling anybody twice.

    Example: commcast cron --format systemd
    """
    found = installation(find_folder(folder), env_file)
    wanted = [each for each in CronFormat if each is not CronFormat.ALL and form in {each, CronFormat.ALL}]
    put("\n\n".join("\n".join(_WRITERS[each](found)) for each in wanted))


def installation(folder: Path, secrets: Path) -> Installation:
    """Return what runs here, over which folder. Raises InputError for a path that no format can hold."""
    from commcast.config.load import load_config

    config = load_config(folder)
    here = folder.absolute()
    script = Path(sys.executable).parent / "commcast"
    program = (str(script),) if script.is_file() else (sys.executable, "-m", "commcast")
    for path in (*program, str(here), str(secrets)):
        if inert(path) != path or "\n" in path or "\t" in path:
            raise InputError(f"{path!r:.80} holds a control character, which no crontab can; rename it")
    used = {each.provider for each in (config.channels.email, config.channels.sms) if each}
    return Installation(program, here, _owner(here), secrets.absolute(), bool(used & _RECEIPTS))


def _owner(folder: Path) -> str:
    """Return who owns the folder: as them a tick has to run, so that it can write the ledger."""
    try:
        return folder.owner()
    except (KeyError, OSError):  # a user that this machine has no name for
        return getpass.getuser()


def crontab(found: Installation) -> Iterator[str]:
    """Yield lines for `crontab -e`: in a crontab a % ends the command, so it is written as \\%."""
    yield f"# crontab -u {found.owner} -e, then add what follows. No flock is needed: a tick that"
    yield "# runs into the next one shares the work, and nothing is said twice."
    yield f"# {found.secrets} (mode 600) sets the secrets, and PATH for [nudge]."
    yield f"* * * * * {_in_crontab(found.shell('tick'))}"
    if found.has_receipts:
        yield "# What became of what the providers accepted:"
        yield f"*/10 * * * * {_in_crontab(found.shell('receipts'))}"


def _in_crontab(command: str) -> str:
    return command.replace("%", "\\%")


def systemd(found: Installation) -> Iterator[str]:
    """Yield a service and its timer. AccuracySec: by itself systemd may be a minute late."""
    place = f"/etc/systemd/system/{found.unit}"
    yield f"# File: {place}.service"
    yield "# systemd starts no second one while the first runs: a long broadcast delays the"
    yield "# next tick. Cron does not wait, and need not: tick is safe in parallel."
    yield "[Unit]"
    yield f"Description=commcast tick for {_in_unit(str(found.folder))}"
    yield "[Service]"
    yield "Type=oneshot"
    yield f"User={found.owner}"
    yield f"EnvironmentFile=-{_in_unit(str(found.secrets))}"
    yield f"ExecStart={_command_in_unit(found.arguments('tick'))}"
    yield ""
    yield f"# File: {place}.timer"
    yield f"# then: systemctl daemon-reload && systemctl enable --now {found.unit}.timer"
    yield "[Unit]"
    yield f"Description=Every minute: commcast tick for {_in_unit(str(found.folder))}"
    yield "[Timer]"
    yield "OnCalendar=minutely"
    yield "AccuracySec=1s"
    yield "[Install]"
    yield "WantedBy=timers.target"


def _in_unit(text: str) -> str:
    """Return a text as it stands in a unit file, where % begins a specifier."""
    return text.replace("%", "%%")


def _command_in_unit(arguments: list[str]) -> str:
    """Return a command line for ExecStart: in arguments $ begins a variable, in the program's path not."""
    program, *others = (_in_unit(each).replace("\\", "\\\\").replace('"', '\\"') for each in arguments)
    return " ".join(f'"{each}"' for each in (program, *(other.replace("$", "$$") for other in others)))


def actions(found: Installation) -> Iterator[str]:
    """Yield a workflow for a runner of one's own: a hosted one has no ledger, and would refuse to send."""
    script = found.shell("tick", "--loop", "1m", "--for", "20m").replace("${{", "$''{{")
    yield "# File: .github/workflows/commcast.yml"
    yield from _OF_ACTIONS
    yield "name: commcast"
    yield "on:"
    yield "  schedule:"
    yield '    - cron: "3-59/5 * * * *"'
    yield "  workflow_dispatch:"
    yield "permissions: {}"
    yield "concurrency:"
    yield "  group: commcast"
    yield "  cancel-in-progress: false"
    yield "jobs:"
    yield "  tick:"
    yield "    runs-on: self-hosted"
    yield "    timeout-minutes: 30"
    yield "    steps:"
    yield "      - name: Send what is released and owed, nudge, keep promises"
    yield "        run: |"
    yield f"          {script}"


_WRITERS: Mapping[CronFormat, Callable[[Installation], Iterator[str]]] = {
    CronFormat.CRONTAB: crontab,
    CronFormat.SYSTEMD: systemd,
    CronFormat.ACTIONS: actions,
}
