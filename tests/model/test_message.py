"""A mailbox as people write it: one address, and perhaps a name."""

from __future__ import annotations

import pytest

from commcast.model.message import Mailbox, read_mailbox


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *(("a@b.example", ""), (" <a@b.example> ", ""), ("Acme <a@b.example>", "Acme")),
        *(
            (f"{name} <a@b.example>", name)
            for name in ("Acme: Status", "Acme @ Home", "Acme@Home", "Ann, Bob")
        ),
        *(('"Acme, Inc." <a@b.example>', "Acme, Inc."), ('"A \\"B\\"" <a@b.example>', 'A "B"')),
    ],
)
def test_a_mailbox_is_read_as_it_is_written(written: str, name: str) -> None:
    assert read_mailbox(written) == Mailbox("a@b.example", name)


@pytest.mark.parametrize(
    "written",
    [
        *("", "Acme", "Acme <a>", "a@b.example, c@d.example", "a@b.example; c@d.example"),
        *("a@b.example, Cy <c@d.example>", "Al <a@b.example>, c@d.example", "Al <a@b.example> <c@d.example>"),
        *("a@b@c.example", "a@b.example c@d.example", "<a@b.example", "a@b.example (Acme)"),
    ],
)
def test_none_or_two_addresses_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not one address"):
        read_mailbox(written)
