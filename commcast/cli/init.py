"""The command init: makes a new desk that works at once and sends nothing outside."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Annotated

import typer

from commcast.cli.options import CONFIG_NAME, refuse
from commcast.cli.output import say, show_prose

_SHIPPED = Path(__file__).with_name("shipped_desk")  # its commcast.toml has {names} for a desk's own values
_IGNORED = (
    ".commcast/\noutbox/\n# Addresses of people: remove this line to keep the lists in Git.\naudiences/\n"
)
_HIDDEN = {"incidents/.gitkeep": "", "presets/.gitkeep": "", ".gitignore": _IGNORED}


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to create; default: this one.")] = Path(),
    organisation: Annotated[
        str | None, typer.Option(help="Your organisation; default: the folder's name.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Your time zone, such as Europe/Berlin.")] = None,
    email: Annotated[str | None, typer.Option(help="The address that emails come from.")] = None,
) -> None:
    """Create a desk that works right away and sends nothing outside its folder.

    Example: commcast init desk --organisation "Acme Pay" --zone Europe/Berlin
    """
    name = organisation or _name_of(folder)
    desk = secrets.token_hex(8)
    config = _config_text(desk, name, zone or system_zone(), email or "status@desk.example")
    shipped = [path for path in _SHIPPED.rglob("*") if path.is_file()]
    files = {path.relative_to(_SHIPPED).as_posix(): path.read_text(encoding="utf-8") for path in shipped}
    make_desk(folder, desk, {**files, **_HIDDEN, CONFIG_NAME: config})
    show_prose(f"Created the desk of {name} in {folder}/: messages are written to outbox/, nothing is sent.")
    step = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    say(f"Next: look at {CONFIG_NAME} and audiences/, then: {step}commcast declare payments --dry-run")
    say('To go live: README, "Going live", then: commcast doctor --connect')


def make_desk(folder: Path, desk: str, files: dict[str, str]) -> None:
    """Write a desk's files and its ledger; existing files are not replaced.

    The configuration is checked first and written last: a folder that has one is complete.
    Raises InputError.
    """
    from commcast.config.load import load_config
    from commcast.ledger.store import create_ledger, ledger_path

    config, ledger = folder / CONFIG_NAME, ledger_path(folder)
    if config.exists():
        refuse(str(config), "exists: this folder is already a desk", "use it, or name a new folder")
    if ledger.exists():
        remedy = f"bring its {CONFIG_NAME} back, or name a new folder"
        refuse(str(ledger), "is the ledger of an earlier desk", remedy)
    _check_config(files[CONFIG_NAME])
    try:
        for name, text in files.items():
            if name != CONFIG_NAME:
                _write_new(folder / name, text)
        create_ledger(ledger, desk).close()
        _write_new(config, files[CONFIG_NAME])
    except OSError as error:
        refuse(str(folder), f"cannot be created: {error.strerror}", "check the path and its permissions")
    load_config(folder)


def system_zone() -> str:
    """Return the name of this machine's time zone, "UTC" if it has none."""
    from zoneinfo import ZoneInfo

    try:
        name = str(Path("/etc/localtime").resolve()).rpartition("/zoneinfo/")[2]
        return ZoneInfo(name).key if name else "UTC"
    except (OSError, ValueError, KeyError):
        return "UTC"


def _config_text(desk: str, name: str, zone: str, email: str) -> str:
    plain = re.sub(r"[^\w .-]", "", name).strip()  # a comma or a quote would be read as something else
    sender = email if "<" in email else f"{plain} <{email}>"
    values = {"name": name, "zone": zone, "sender": sender}
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    comment = " ".join(name.split())
    return (_SHIPPED / CONFIG_NAME).read_text(encoding="utf-8").format(desk=desk, comment=comment, **quoted)


def _check_config(text: str) -> None:
    """Raise ConfigError if the options make no valid configuration, before anything is written."""
    import tempfile

    from commcast.config.load import load_config

    with tempfile.TemporaryDirectory(prefix="commcast-") as folder:
        (Path(folder) / CONFIG_NAME).write_text(text, encoding="utf-8")
        load_config(Path(folder))


def _name_of(folder: Path) -> str:
    return folder.resolve().name.replace("_", " ").replace("-", " ").strip().title() or "Our Desk"


def _write_new(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(0o600 if path.parent.name == "audiences" else 0o666)
        path.write_text(text, encoding="utf-8")
