"""What readers of another language get: the translations of a file, and what has none (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from commcast.errors import Fault
from commcast.model.incident import SENTENCES, SHORT_OF, AudienceWords, Incident, Update
from commcast.model.text import in_locale

# An `action` and a `scope` that are no sentences: readers need to do nothing; nobody knows yet.
LITERAL = {"action": "none", "scope": "unknown"}


def translated(
    incident: Incident, update: Update, audience: str, locale: str
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return an update's sentences for the readers of an audience in a locale, and which are not translated.

    de-AT takes from de what it lacks. `locale` is "" for readers of the file's own language. What is written
    for the audience (`for:`) has no translation, and goes before one of the general words. The second part
    may name "title".
    """
    special = (update.words_in_force.get(audience) or AudienceWords()).model_dump(exclude_none=True)
    said = in_locale(update.translations_in_force, locale)
    if "fixed" in said and update.issue == update.fixed:
        said = {"issue": said["fixed"], **said}
    words = {key: special.get(key) or said.get(key) or getattr(update, key) for key in SENTENCES}
    # The short form is one of the general words, and no translation of it stands for those that are there.
    if special or ("short" not in said and SHORT_OF & said.keys()):
        words["short"] = None
    kept = [key for key, text in words.items() if text and (key in special or key not in said)]
    kept = [key for key in kept if words[key] != LITERAL.get(key)]
    title = [] if incident.title_in(locale, update) else ["title"]
    return words, tuple([*title, *kept] if locale else ())


def untranslated(incident: Incident, update: Update) -> dict[str, tuple[str, ...]]:
    """Return by locale, of those that the file is translated to, what its readers get in its own language."""
    said = [each.translations for each in incident.updates[: update.number]]
    locales = dict.fromkeys(chain(incident.translations, *said))
    found = {locale: translated(incident, update, "", locale)[1] for locale in locales}
    return {locale: keys for locale, keys in found.items() if keys}


def translation_warnings(incident: Incident) -> Iterator[Fault]:
    """Yield what the newest update says that is not in a language to which the file is translated."""
    update = incident.latest
    for locale, keys in untranslated(incident, update).items():
        what = f"readers of {locale} get {', '.join(keys)} in the language of the file"
        remedy = f"write translations: {{{locale}: {{{keys[-1]}: …}}}}"
        remedy += " at the top of the file" if keys == ("title",) else ""
        yield Fault(incident.path, update.line, 0, what, remedy)
