"""What doctor finds out of lists and templates: can each be opened? To read them whole is for lint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from commcast.cli.diagnosis import FAIL, OK, Check
from commcast.cli.lint_check import Findings, Listed, check_words
from commcast.errors import ExitCode, InputError

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.model import Incident


def lists_and_templates(config: Config, incidents: Sequence[Incident]) -> Iterator[Check]:
    """Yield whether each list and template can be used, tried on the newest words of what is open."""
    broken, listed = Findings(), {}
    for name in config.audiences:
        listed[name] = _opened(name, config, broken)
    yield _check("lists", broken, f"{len(listed)} can be opened")
    broken = Findings()
    check_words(config, [each for each in incidents if not each.latest.is_end], listed, broken)
    yield _check("templates", broken, f"{broken.checked['templates']} can be used")


def _opened(name: str, config: Config, broken: Findings) -> Listed:
    """Return the first good reader of a list; what keeps it from being opened goes to `broken`."""
    from commcast.audiences.recipients import open_recipients

    try:
        reading = open_recipients(name, config)
    except InputError as error:
        broken.add(error)
        return Listed()
    try:
        first = next(iter(reading), None)
    except InputError:  # rows are for lint to judge
        first = None
    return Listed(first, {"", first.locale} if first else {""})


def _check(about: str, broken: Findings, good: str) -> Check:
    if not broken.faults:
        return Check(OK, about, good)
    count = len(broken.faults)
    what = f"{count} {'is' if count == 1 else 'are'} broken: {broken.faults[0]}"
    return Check(FAIL, about, what, "see: commcast lint", ExitCode.INPUT)
