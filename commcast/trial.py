"""Tries what is owed on the first readers of each list: all that keeps it from going, at once and early."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from commcast.compose import renderer_for
from commcast.errors import Fault, InputError, TemplateError
from commcast.owed import OwedDeliveries


def faults_in(
    owed: Iterable[OwedDeliveries], known: InputError | None = None, *, whole: bool = False
) -> tuple[Fault, ...]:
    """Return the faults of every audience's list and templates, each once, after those `known` already.

    Each list is read until its first readers have their words, and to its end only where the `whole` is asked
    for; what is wrong below what was read stays unseen.
    """
    found: dict[Hashable, Fault] = {}
    errors = [known] if known else []
    for deliveries in owed:
        for audience in deliveries.notice.audiences:
            errors.extend(_errors_of(deliveries, audience, whole=whole))
    for error in errors:
        for fault in error.faults:
            # A template that many audiences share names another reader in each of them.
            is_same = (fault.file, fault.line, fault.column) if isinstance(error, TemplateError) else fault
            found.setdefault(is_same, fault)
    return tuple(found.values())


def _errors_of(deliveries: OwedDeliveries, audience: str, *, whole: bool) -> list[InputError]:
    only = replace(deliveries, notice=replace(deliveries.notice, audiences=(audience,)))
    try:
        for _ in only.chunks():
            if not whole:
                break
        return []
    except TemplateError as error:
        return [error]
    except InputError as error:
        return [error, *_errors_of_template(deliveries, audience)]


def _errors_of_template(deliveries: OwedDeliveries, audience: str) -> list[InputError]:
    """Return what keeps the words of an audience from being made whose readers nobody can know."""
    told = deliveries.config.audiences.get(audience)
    if told is None:
        return []
    status = deliveries.incident.update(deliveries.notice.number).status
    try:
        chosen = deliveries.templates.choose(audience, told.view, status, "", deliveries.notice.channel)
        renderer_for(chosen.to_json())
    except InputError as error:
        return [error]
    return []
