"""Adopts a ledger for a folder: all that is written there already counts as told elsewhere.

A ledger that looks restored from a backup is taken with the rest of its broadcasts in doubt: nobody is told
twice by it, and a provider can be asked who was told.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from commcast.cli.opening import who
from commcast.cli.options import CONFIG_NAME, clock
from commcast.cli.output import say, show_prose
from commcast.errors import ConfigError, DecisionNeeded, Fault

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from commcast.incidents.load import Loaded


def adopt(folder: Path, *, yes: bool) -> None:
    """Make the ledger of `folder` this desk's own, after a yes. Raises DecisionNeeded without one.

    The configuration gets its `desk` last: until then nothing can be sent from here.
    """
    from commcast.cli.asking import at_terminal, says_yes
    from commcast.config_file import load_config
    from commcast.incidents.load import load_incidents
    from commcast.ledger.releases import record_history
    from commcast.ledger.restored import doubt_all_open
    from commcast.ledger.store import adopt_ledger, ledger_path

    config, now = load_config(folder), clock()
    desk = config.desk or _new_desk(folder)
    path = ledger_path(folder)
    loaded = load_incidents(config, now)
    if not yes and not at_terminal():
        raise DecisionNeeded("Nothing was changed: this needs a yes, at a terminal or with --yes.")
    if not yes and not says_yes(f"{_what_happens(path, desk, loaded)} Go on?"):
        raise DecisionNeeded("Nothing was changed.")
    count = in_doubt = 0

    def record(connection: Connection, doubt: str) -> None:
        nonlocal count, in_doubt
        if doubt:
            in_doubt = doubt_all_open(connection, who(), now)
        count = record_history(connection, loaded.incidents, who(), now)

    adopt_ledger(path, desk, record).close()
    if not config.desk:
        write_desk(folder / CONFIG_NAME, desk)
    show_prose(f"{path} is the ledger of desk {desk[:8]}…; {count} updates count as told elsewhere.")
    if in_doubt:
        say(
            f"{in_doubt:,} deliveries that it had open are unknown now; ask the providers: commcast reconcile"
        )
    for name in loaded.broken:
        say(f"{name} is broken and was left out: mend it, then adopt again before you send anything of it.")


def _what_happens(path: Path, desk: str, loaded: Loaded) -> str:
    from commcast.ledger.restored import count_open
    from commcast.ledger.store import open_copy

    what = "A new ledger is made"
    with open_copy(path, desk, any_desk=True) as ledger:
        if ledger is not None:
            what = "The ledger that is here becomes this desk's own"
        if ledger is not None and ledger.doubt:
            with ledger.read() as connection:
                count = count_open(connection)
            what = (
                f"{ledger.doubt}\n{what}. {count:,} deliveries that it has open may have been sent since: "
                "they become unknown, and go again only if you say so (commcast resend)"
            )
    updates = sum(len(incident.updates) for incident in loaded.incidents)
    return (
        f"{what}. What it does not know of the {updates} updates in incidents/ counts as told elsewhere: "
        "nobody will be told of them from here."
    )


def _new_desk(folder: Path) -> str:
    """Return a new desk's id. Raises ConfigError where the file holds an empty one, which we do not edit."""
    import tomllib

    data = tomllib.loads((folder / CONFIG_NAME).read_text(encoding="utf-8-sig"))
    if "desk" in data:
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, "desk is empty", "take that line out, and try again"))
    return secrets.token_hex(8)


def write_desk(path: Path, desk: str) -> None:
    """Write `desk` into the configuration as its first line; every byte that stood there stays."""
    real = path.resolve()
    raw = real.read_bytes()
    mark = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    end = b"\r\n" if b"\r\n" in raw else b"\n"
    content = mark + f'desk = "{desk}"'.encode() + end + raw[len(mark) :]
    handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=real.parent)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), real.stat().st_mode & 0o7777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(real)
    except OSError as error:
        raise ConfigError(
            Fault(CONFIG_NAME, 0, 0, f"cannot be written: {error.strerror}", f'add the line: desk = "{desk}"')
        ) from None
    finally:
        written.unlink(missing_ok=True)
