"""docs/performance.md is what the kept results of `make bench` and the notes give; the benchmarks import."""

from __future__ import annotations

from benchmarks import page, results
from benchmarks.registry import GROUPS


def test_the_page_is_what_the_kept_results_and_the_notes_give() -> None:
    assert page.PAGE.read_text() == page.render(results.read(), page.read_notes())


def test_the_page_has_each_row_with_its_target() -> None:
    lines = page.PAGE.read_text().splitlines()
    for group in GROUPS:
        for row in group.rows:
            if row.target is not None:
                assert [line for line in lines if line.startswith(f"| {row.what} |")], row.key


def test_a_note_speaks_of_a_row_that_there_is() -> None:
    keys = {row.key for group in GROUPS for row in group.rows}
    assert set(page.read_notes()) <= keys
