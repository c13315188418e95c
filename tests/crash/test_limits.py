"""Two processes at one provider's limit keep to it together."""

from __future__ import annotations

from pathlib import Path

from tests.crash.harness import Children, Receiver
from tests.crash.test_kill import SEND, a_desk, receiver, runs  # noqa: F401 - fixtures

PER_SECOND = 20
PEOPLE = 79


def test_two_processes_never_exceed_the_limit_in_any_rolling_second(
    tmp_path: Path,
    receiver: Receiver,  # noqa: F811
    runs: Children,  # noqa: F811
) -> None:
    folder = a_desk(tmp_path / "limited", receiver.port, people=PEOPLE)
    config = folder / "commcast.toml"
    config.write_text(
        config.read_text().replace("connections = 4", f"connections = 4\nper_second = {PER_SECOND}")
    )
    before = len(receiver.inbox.messages)
    assert runs.run(folder, SEND, SEND) == [0, 0]
    arrived = [message.at for message in receiver.inbox.messages[before:]]
    assert len(arrived) == PEOPLE + 1
    busiest = max(sum(1 for other in arrived if at <= other < at + 1) for at in arrived)
    assert busiest <= PER_SECOND + 1
