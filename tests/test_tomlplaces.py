"""Where keys of a TOML text stand, in every way in which TOML may write them."""

from __future__ import annotations

import pytest

from commcast.config.load import Places

TEXT = """\
# most_an_hour = 1
desk = "a"          # desk

[send]
confirm_above = 1
most_an_hour = 0

[audiences.support]
view = "internal" # rank
channels = [
  "email",
  "pigeon",
]
rank = 1
[audiences."big one"]
note = '''
[channels.sms]
quiet = "x"
'''
[channels]
email = {provider = "outbox", from = "a"}
sms.provider = "twilio"
"""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("desk", (2, 1)),
        ("send", (4, 2)),
        ("send.most_an_hour", (6, 1)),
        ("audiences.support", (8, 12)),
        ("audiences.support.view", (9, 1)),
        ("audiences.support.channels", (10, 1)),
        ("audiences.support.channels.1", (10, 1)),
        ("audiences.support.rank", (14, 1)),
        ("audiences.big one.note", (16, 1)),
        ("channels.sms.provider", (22, 5)),
        ("channels.sms.quiet", (22, 1)),
        ("channels.email.from", (21, 31)),
        ("audiences.support.recipients", (8, 12)),
        ("providers.smtp", (0, 0)),
    ],
)
def test_a_key_is_found_where_it_begins(path: str, place: tuple[int, int]) -> None:
    """One in a comment or in a text is none; one that is missing is missing in its table."""
    assert Places(TEXT).of(path) == place


def test_a_text_of_many_lines_is_not_searched_for_ever() -> None:
    """Each look costs a parse of all before it."""
    text = "[a]\n" + "".join(f'k{number} = "last"\n' for number in range(3_000)) + "last = 1\n"
    assert Places(text).of("a.last") == (0, 0)
