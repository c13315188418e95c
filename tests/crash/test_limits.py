"""Two processes at one provider's limit keep to it together."""

from __future__ import annotations

from pathlib import Path

from tests.crash.harness import Children, Run
from tests.crash.services import Receiver, Service

PER_SECOND = 20
PEOPLE = 80


def test_two_processes_never_exceed_the_limit_in_any_rolling_second(tmp_path: Path, runs: Children) -> None:
    with Receiver() as receiver:
        service = Service("smtp", 8, receiver.counts, lambda: receiver.open, email="smtp", port=receiver.port)
        desk = service.desk(tmp_path / "limited", PEOPLE)
        config = desk.folder / "commcast.toml"
        config.write_text(
            config.read_text().replace("connections = 4", f"connections = 4\nper_second = {PER_SECOND}")
        )
        assert runs.run(desk.folder, Run(), Run()) == [0, 0]
        arrived = [message.at for message in receiver.inbox.messages]
    assert len(arrived) == PEOPLE
    busiest = max(sum(1 for other in arrived if at <= other < at + 1) for at in arrived)
    assert busiest <= PER_SECOND + 1
