"""Taking updates out of a file: what an append wrote is taken back to the byte, all other lines stay."""

from __future__ import annotations

import pytest

from commcast.errors import InputError
from commcast.incidents.editor import with_update, without_updates

ONE = "title: T\nseverity: 1\nupdates:\n  - issue: I\n    resolution: R\n    timeframe: unknown\n"
SPACED = ONE + "\n  - status: identified\n    issue: J\n"
ENTRY = {"status": "monitoring", "issue": "Two\nlines: here", "for": {"support": {"issue": "x # y"}}}


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        SPACED,
        "# head\n" + ONE + "  # about the updates\n",
        ONE + "# at the end\n",
        ONE + "owner: dana\n",
        ONE.replace("\n", "\r\n"),
        ONE.replace("  - ", "- ").replace("    ", "  "),
        SPACED + "    # its own comment\n\n# below\naudiences: [support]\n",
    ],
)
def test_what_was_appended_is_taken_back_to_the_byte(text: str) -> None:
    count = text.count("issue:")
    longer = with_update(text, "f.yaml", ENTRY)
    assert longer != text
    assert without_updates(longer, "f.yaml", [count + 1]) == text


def test_two_at_once(text: str = SPACED) -> None:
    longer = with_update(with_update(text, "f.yaml", ENTRY), "f.yaml", {"issue": "K"})
    assert without_updates(longer, "f.yaml", [3, 4]) == text


def test_the_last_one_cannot_be_taken_out() -> None:
    with pytest.raises(InputError, match="by hand"):
        without_updates(ONE, "f.yaml", [1])


def test_updates_in_brackets_are_left_to_a_person() -> None:
    text = "title: T\nseverity: 1\nupdates: [{issue: I}, {issue: J}]\n"
    with pytest.raises(InputError, match="by hand"):
        without_updates(text, "f.yaml", [2])
