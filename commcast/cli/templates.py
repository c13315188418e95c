"""The command templates: which file speaks to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.options import FolderOption, JsonOption, find_folder
from commcast.cli.output import show, show_json, table
from commcast.cli.present import NAMES
from commcast.errors import InputError
from commcast.model import Status

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.wording.templating import Listed

Group = tuple[str, str, str, str, str]  # audience, channel, text, html, note


def templates(
    audience: Annotated[
        str | None, typer.Option("--audience", help="Only this audience.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """List which template wins for each audience, channel and status.

    The first that is there: in templates/ of this folder, then among the shipped ones; there the folder of
    the audience, then customers/ (public view) or internal/; there the file of the status, then the general.

    Example: commcast templates --audience customers
    """
    from commcast.config_file import load_config
    from commcast.wording.templating import Templates, shipped_templates

    config = load_config(find_folder(folder))
    if audience is not None and audience not in config.audiences:
        raise InputError(f"no audience {audience!r:.60}; audiences are: {', '.join(config.audiences)}")
    found = Templates(config.folder / "templates", shipped_templates())
    rows = grouped(_listing(config, found, audience))
    if as_json:
        show_json("templates", {"templates": [_document(group, names) for group, names in rows.items()]})
    else:
        show("\n".join(_lines(rows)))


def _listing(config: Config, templates: object, audience: str | None) -> list[Listed]:
    from commcast.wording.templating import Templates

    assert isinstance(templates, Templates)  # noqa: S101 - the only caller gives one
    return [
        row
        for name, settings in config.audiences.items()
        if audience in (None, name)
        for row in templates.listing(
            {name: settings.view}, settings.channels, [status.value for status in Status]
        )
    ]


def grouped(rows: list[Listed]) -> dict[Group, list[str]]:
    """Return the statuses that share one winner, by audience and channel."""
    groups: dict[Group, list[str]] = {}
    for row in rows:
        key = (row.audience, row.channel.value, row.text, row.html, row.note)
        groups.setdefault(key, []).append(row.status)
    return groups


def _document(group: Group, statuses: list[str]) -> dict[str, object]:
    audience, channel, text, html, note = group
    return {
        "audience": audience,
        "channel": channel,
        "statuses": statuses,
        "text": text,
        "html": html or None,
        "note": note or None,
    }


def _lines(groups: dict[Group, list[str]]) -> list[str]:
    rows = []
    for (audience, channel, text, html, note), statuses in groups.items():
        which = "all" if len(statuses) == len(Status) else ", ".join(statuses)
        if len(Status) / 2 < len(statuses) < len(Status):
            which = "all others"
        origin = "shipped" if text.startswith("shipped ") else "yours"
        remark = f" ({note})" if note else ", .html" if html else ""
        file = text.partition("templates/")[2] or f"for {NAMES[channel]}:"
        rows.append((audience, which, origin if text else "", f"{file}{remark}"))
    return table(("AUDIENCE", "STATUS", "FROM", "TEMPLATE"), rows).splitlines()
