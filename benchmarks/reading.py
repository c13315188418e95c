"""From a list of readers to a frozen ledger, against reading and checking alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks import corpus, desks
from benchmarks.children import PYTHON, environment, run
from benchmarks.model import Group, Lab, Row, Sample, Side
from benchmarks.tools import SCRIPTS

ROWS = 100_000

_OURS, _PYDANTIC = "commcast, CSV to frozen ledger", "csv.DictReader + pydantic"


@contextmanager
def _sides(lab: Lab) -> Iterator[Sequence[Side]]:
    rows = lab.count(ROWS, least=100)
    drafted = desks.write_desk(lab.folder / "drafted", rows)
    people = lab.folder / "people.csv"
    corpus.write_people(people, rows)

    def ours() -> Sample:
        folder = desks.copy(drafted, "round")
        desks.write_incident(folder)
        return desks.freeze(folder, rows)

    def pydantic() -> Sample:
        command = [PYTHON, SCRIPTS / "csv_pydantic.py", people, str(rows)]
        ended = run(command, env=environment(ours=False))
        return Sample(rows, json.loads(ended.out)["seconds"], ended.cpu, ended.peak)

    yield [
        Side(
            _OURS,
            f"{rows:,} rows of 6 columns: read, checked, decided on, each reader's words made, and written "
            "to the ledger by thousands, each a synced commit",
            ours,
        ),
        Side(
            _PYDANTIC,
            f"the same {rows:,} rows: csv.DictReader, then TypeAdapter(list[Recipient]) by thousands with "
            "patterns for address, number and locale, and lengths; nothing is kept or written",
            pydantic,
        ),
    ]


GROUP = Group(
    "reading",
    "Reading recipients",
    (
        Row(
            "reading",
            "CSV to frozen ledger, rows a second, against csv.DictReader + pydantic by thousands (no ledger)",
            _OURS,
            _PYDANTIC,
            0.8,
        ),
    ),
    _sides,
)
