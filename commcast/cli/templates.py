"""The command templates: which file wins, a copy to edit, and golden messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.options import FolderOption, JsonOption, clock, find_folder
from commcast.cli.output import say, show, show_json, table
from commcast.errors import ExitCode, Fault, InputError, TemplateError

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.model.incident import Channel
    from commcast.rendering.templates import TemplateRow, Templates

templates = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Show which template is used, copy one to edit, and check what all of them say.",
    epilog="Example: commcast templates --audience customers",
)
LanguageOption = Annotated[
    str, typer.Option("--language", help="The language, such as de.", show_default=False)
]


@templates.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    audience: Annotated[str | None, typer.Option("--audience", help="Only this audience.")] = None,
    language: LanguageOption = "",
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """List which template is used for each audience and moment.

    A reader's language is looked up first, then the desk's, then English. In a language, the audience's
    folder comes first, then internal/ (for internal views), then the language's own. In each, a file in
    templates/ of this folder wins over the shipped one.

    Example: commcast templates --audience customers
    """
    if context.invoked_subcommand:
        return
    from commcast.doctor.lint import unread_files

    config, found = _opened(folder)
    _known(audience, config)
    languages = [language] if language else found.languages(config.audiences)
    rows = [
        row
        for name, settings in config.audiences.items()
        if audience in (None, name)
        for row in found.listing({name: settings.view}, _told(settings.channels), languages)
    ]
    if as_json:
        show_json("templates", {"templates": [row._asdict() for row in rows]})
    else:
        # Of other languages, what is as shipped goes without saying.
        plain = [row for row in rows if language or row.locale == languages[0] or _is_odd(row)]
        show("\n".join(_lines(plain)))
        if parts := found.own_parts():
            say(f"Parts of yours: {', '.join(parts)}")
        if len(languages) > 1:
            say(f"Also in {', '.join(languages[1:])}: commcast templates --language {languages[1]}")
    for fault in unread_files(config):
        if fault.file.startswith("templates/"):
            say(f"warning: {fault}")


@templates.command()
def new(
    audience: Annotated[str, typer.Argument(metavar="AUDIENCE", help="Who gets it: an audience, or all.")],
    moment: Annotated[
        str, typer.Argument(metavar="[STATUS]", help="A moment, a status, or a part such as _foot; else all.")
    ] = "",
    sms: Annotated[bool, typer.Option("--sms", help="The text message, not the email.")] = False,
    language: LanguageOption = "",
    folder: FolderOption = None,
) -> None:
    """Copy the template that is used now into templates/, to edit it.

    Example: commcast templates new customers resolved
    """
    from commcast.rendering.moments import moments_named
    from commcast.rendering.templates import display_name

    config, found = _opened(folder, shows=False)
    _known(None if audience == "all" else audience, config)
    ending = ".sms.j2" if sms else ".md.j2"
    names = [f"{each}{ending}" for each in moments_named(moment)]
    if moment == "layout":
        names = ["layout.html.j2"]
    if not names:
        meant = (
            f"did you mean _{moment}?" if moment.isalpha() and found.has_part(f"_{moment}{ending}") else ""
        )
        raise InputError(f"no template is named {moment!r:.60}; {meant or 'commcast templates lists them'}")
    view = None if audience == "all" else config.audiences[audience].view
    faults: list[Fault] = []
    for name in names:
        try:
            source, target = found.copy("" if view is None else audience, view, name, language)
        except TemplateError as error:
            faults += error.faults
        else:
            say(f"templates/{target} is a copy of {display_name(source)}. Edit it, then: commcast preview")
    if faults:
        raise TemplateError(faults)
    others = [each for each in found.languages(config.audiences) if each != (language or "en")]
    if others:
        say(f"Readers in {', '.join(others)} have files of their own: add --language {others[0]}")


@templates.command()
def test(
    update: Annotated[bool, typer.Option("--update", help="Accept what the templates say now.")] = False,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="Only this language; may be repeated.")
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Compare what every template says with the golden files in golden/.

    Each audience, moment, channel and language is rendered for a made-up incident and for this desk's own.
    A change of words shows as a difference (exit 2) until --update accepts it; commit golden/ to review it.

    Example: commcast templates test --update
    """
    from commcast.doctor import golden
    from commcast.incidents.load import load_incidents

    config, found = _opened(folder, shows=False)
    # What nobody has released has no time of its own yet.
    loaded = [each for each in load_incidents(config, clock()).incidents if each.latest.at_written]
    told = languages or found.languages(config.audiences)
    said = golden.messages_now(config, loaded, told)
    changed = golden.changes(config.folder, said, languages or ())
    if update:
        golden.update(config.folder, changed)
        say(f"{len(changed)} of {len(said)} golden files are written anew in {golden.GOLDEN_FOLDER}/.")
        return
    if not (config.folder / golden.GOLDEN_FOLDER).is_dir():
        say("There are no golden files yet. To write them: commcast templates test --update")
        raise typer.Exit(ExitCode.INPUT)
    for each in changed:
        show(each.diff())
    if changed:
        say(f"{len(changed)} of {len(said)} golden files differ. To accept: commcast templates test --update")
        raise typer.Exit(ExitCode.INPUT)
    say(f"All {len(said)} golden files are as the templates say it.")


def _opened(folder: Path | None, *, shows: bool = True) -> tuple[Config, Templates]:
    from commcast.config.load import load_config
    from commcast.rendering.templates import Templates, shipped_templates

    config = load_config(find_folder(folder, shows=shows))
    return config, Templates(config.folder / "templates", shipped_templates())


def _known(audience: str | None, config: Config) -> None:
    if audience is not None and audience not in config.audiences:
        raise InputError(f"no audience {audience!r:.60}; audiences are: {', '.join(config.audiences)}")


def _told(channels: Iterable[Channel]) -> list[tuple[Channel, str]]:
    from commcast.rendering.moments import moments_on

    return [(channel, moment) for channel in channels for moment in moments_on(channel)]


def _is_odd(row: TemplateRow) -> bool:
    return bool(row.note) or not row.file.startswith("shipped ")


def _lines(rows: Sequence[TemplateRow]) -> list[str]:
    """Return a line for each file; what all audiences share is said once."""
    heard: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        heard.setdefault((row.moment, row.file, row.note), []).append(row.audience)
    found = []
    for (moment, file, note), audiences in heard.items():
        origin = "shipped" if file.startswith("shipped ") else "yours" if file else ""
        remark = f" ({note})" if note else ""
        who = "all" if {*audiences} == {row.audience for row in rows} else ", ".join(dict.fromkeys(audiences))
        found.append((moment, origin, f"{file.partition('templates/')[2]}{remark}", who))
    return table(("MOMENT", "FROM", "TEMPLATE", "AUDIENCES"), found).splitlines()
