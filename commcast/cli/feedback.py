"""The command feedback: what readers answered, counted elsewhere, enters the report."""

from __future__ import annotations

from typing import Annotated

import typer

from commcast.cli.opening import desk_to_work, who
from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import show, show_json
from commcast.errors import Fault, InputError

_LARGEST = 100_000_000


def feedback(
    incident: Annotated[
        str, typer.Argument(metavar="ID", help="The incident that readers were asked about.")
    ],
    yes: Annotated[int, typer.Option("--yes", metavar="N", help="How many more said yes.")] = 0,
    no: Annotated[int, typer.Option("--no", metavar="N", help="How many more said no.")] = 0,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Add what readers answered to "did we keep you well informed?"; the report shows the sum.

    What is given is added to what was entered before; without --yes and --no the sum is shown.

    Example: commcast feedback pay7 --yes 41 --no 3
    """
    _check(yes, no)
    from commcast.ledger.aftermath import messages_accepted, read_answers, record_answers

    with desk_to_work(folder) as (_, ledger):
        with ledger.read() as connection:
            told = messages_accepted(connection, incident)
            before = read_answers(connection, incident)
        sums = sum(each.yes for each in before) + yes, sum(each.no for each in before) + no
        if not told:
            raise InputError(f"nobody was told of an incident {incident!r:.60}; commcast log lists all")
        if sum(sums) > told:
            what = f"that makes {sum(sums):,} answers to {told:,} messages"
            remedy = "give only what came in since the last time"
            if not before:
                remedy = f"write how many answered yes and no, {told:,} in all at most"
            raise InputError(Fault("", 0, 0, what, remedy))
        if yes or no:
            with ledger.write() as connection:
                sums = record_answers(connection, incident, yes=yes, no=no, by=who(), now=clock())
    if as_json:
        show_json("feedback", {"incident": incident, "yes": sums[0], "no": sums[1]})
    else:
        show(f"{incident}: {sums[0]:,} yes, {sums[1]:,} no in all.")


def _check(yes: int, no: int) -> None:
    faults = [
        Fault(option, 0, 0, f"{count} is no count of answers", "write how many more came in, such as 12")
        for option, count in (("--yes", yes), ("--no", no))
        if not 0 <= count <= _LARGEST
    ]
    if faults:
        raise InputError(faults)
