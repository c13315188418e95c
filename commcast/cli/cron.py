"""The command cron: prints a crontab line, a timer or a workflow that runs tick for this folder."""

from __future__ import annotations

import getpass
import re
import shlex
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from commcast.cli.options import FolderOption, find_folder
from commcast.cli.output import inert, put
from commcast.errors import InputError
from commcast.files import SAFE_FOLDER, is_named_safe

_RECEIPTS = frozenset({"sendgrid", "twilio"})  # providers that can be asked what became of messages


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
    """Print a crontab line, a systemd timer and an Actions workflow that run tick every minute.

    Copy what you need; the paths are those of this installation and this folder. Nothing is installed or
    changed. tick needs no lock (flock): two at once share the work, and nobody is told twice.

    Example: commcast cron --format systemd
    """
    found = installation(find_folder(folder, shows=True), env_file)
    wanted = [each for each in CronFormat if each is not CronFormat.ALL and form in {each, CronFormat.ALL}]
    put("\n\n".join(text_of(each, found) for each in wanted))


def installation(folder: Path, secrets: Path) -> Installation:
    """Return the program and the folder to run. Raises InputError for a path that no format can hold."""
    from commcast.config.load import load_config

    config = load_config(folder)
    here = folder.absolute()
    script = Path(sys.executable).parent / "commcast"
    program = (str(script),) if script.is_file() else (sys.executable, "-m", "commcast")
    if is_named_safe(folder):
        program = ("/usr/bin/env", f"{SAFE_FOLDER}={here.resolve()}", *program)
    for path in (*program, str(here), str(secrets)):
        if inert(path) != path or "\n" in path or "\t" in path:
            raise InputError(f"{path!r:.80} contains a control character, unfit for a crontab; rename it")
    used = {each.provider for each in (config.channels.email, config.channels.sms) if each}
    return Installation(program, here, _owner(here), secrets.absolute(), bool(used & _RECEIPTS))


def _owner(folder: Path) -> str:
    """Return the folder's owner: a tick has to run as that user to write the ledger."""
    try:
        return folder.owner()
    except (KeyError, OSError):  # a user without a name on this machine
        return getpass.getuser()


def text_of(form: CronFormat, found: Installation) -> str:
    """Return the text of one format: its file beside this one, with the paths filled in.

    The workflow needs a self-hosted runner: a hosted one has no ledger and would refuse to send.
    """
    tick, receipts = (_in_crontab(found.shell(each)) for each in ("tick", "receipts"))
    more = "\n# What became of the messages that providers accepted:"
    text = Path(__file__).with_name(f"cron_{form}.txt").read_text(encoding="utf-8")
    filled = Template(text).substitute(
        owner=found.owner,
        secrets=found.secrets,
        unit=found.unit,
        crontab_tick=tick,
        crontab_receipts=f"{more}\n*/10 * * * * {receipts}" * found.has_receipts,
        unit_folder=_in_unit(str(found.folder)),
        unit_secrets=_in_unit(re.sub(r"[\\*?[]", r"\\\g<0>", str(found.secrets))),  # it is a pattern there
        unit_command=_command_in_unit(found.arguments("tick")),
        workflow_script=found.shell("tick", "--loop", "1m", "--for", "20m").replace("${{", "$''{{"),
    )
    return filled.rstrip("\n")


def _in_crontab(command: str) -> str:
    """Return a command for a crontab, where a % ends it, and crons differ on a backslash before another."""
    return command.replace("\\", "'\"$(printf '\\134')\"'").replace("%", "\\%")


def _in_unit(text: str) -> str:
    """Return a text for a unit file, where % starts a specifier."""
    return text.replace("%", "%%")


def _command_in_unit(arguments: list[str]) -> str:
    """Return a command line for ExecStart: $ starts a variable in arguments, not in the program's path."""
    program, *others = (_in_unit(each).replace("\\", "\\\\").replace('"', '\\"') for each in arguments)
    return " ".join(f'"{each}"' for each in (program, *(other.replace("$", "$$") for other in others)))
