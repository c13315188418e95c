"""Our side of a comparison in a process of its own, over the product's own wiring; prints JSON at the end.

    python -m benchmarks.ours new DESK         make the ledger
    python -m benchmarks.ours freeze DESK      release the incident and freeze its broadcast; nothing is sent
    python -m benchmarks.ours deliver DESK     hand over what is frozen, until all is settled
    python -m benchmarks.ours history DESK     let closed incidents count as told elsewhere, send the others

What is timed leaves out the start of the interpreter, the imports, and reading the configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.profiling import all_threads, wanted


def main() -> None:
    """Run one step on a desk and print what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("new", "freeze", "deliver", "history"))
    parser.add_argument("desk", type=Path)
    parser.add_argument("--plain-loop", action="store_true", help="as on a platform that has no uvloop")
    chosen = parser.parse_args()
    if chosen.plain_loop:
        # An import of it now fails as where it is not installed.
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    steps = {"new": new, "freeze": freeze, "deliver": deliver, "history": history}
    print(json.dumps(steps[chosen.step](chosen.desk)))


def clock() -> datetime:
    """Return aware now."""
    return datetime.now(UTC)


def open_folder(folder: Path) -> tuple[Any, Any]:
    """Return a folder's desk and its ledger, made where there is none."""
    from commcast.ledger.store import create_ledger, ledger_path, open_ledger
    from commcast.operations.desk import open_desk

    desk = open_desk(folder, clock())
    path = ledger_path(folder)
    if not path.exists():
        create_ledger(path, desk.config.desk).close()
    return desk, open_ledger(path, desk.config.desk)


def profiled() -> Any:
    """Return a context that profiles all threads where a profile is wanted, and else does nothing."""
    path = wanted()
    return all_threads(path) if path else nullcontext()


def new(folder: Path) -> dict[str, Any]:
    """Make the ledger of a desk."""
    _, ledger = open_folder(folder)
    ledger.close()
    return {}


def freeze(folder: Path) -> dict[str, Any]:
    """Look and say yes. Timed: from the list's first byte to the last commit."""
    import commcast.operations.release
    import commcast.rendering.compose  # noqa: F401 - their imports are not what is timed
    from commcast.incidents.load import load_incidents

    desk, ledger = open_folder(folder)
    with closing(ledger):
        (incident,) = load_incidents(desk.config, desk.now).incidents
        with profiled():
            start = time.perf_counter()
            frozen = release(desk, incident, ledger, [incident.id])
            seconds = time.perf_counter() - start
    return {"seconds": seconds, "frozen": frozen}


def release(desk: Any, incident: Any, ledger: Any, present: list[str]) -> bool:
    """Release all drafts of an incident as a yes at the question does; return whether that was possible.

    `present` are the ids of all incidents in the folder.
    """
    from commcast.operations.desk import make_plan
    from commcast.operations.release import fill, looking, say_yes

    plan = make_plan(desk, incident, ledger, present=present, as_if_released=True)
    with looking(desk, plan, ledger, present, late=False, progress=lambda _: None) as look:
        until = look.good_until(clock())
        released = say_yes(look, how="yes", by="benchmark", good_until=until, clock=clock)
        if released is None:
            return False
        fill(look, released)
    return True


class LoopSeen:
    """Hears the progress of a delivery, and sees on which event loop it runs."""

    loop = ""

    def freezing(self, rows: int) -> None: ...

    def begins(self, broadcast: str, waiting: int) -> None:  # noqa: ARG002 - the protocol's signature
        self.loop = self.loop or type(asyncio.get_running_loop()).__module__.partition(".")[0]

    def settled(self, broadcast: str, outcomes: object) -> None: ...


def deliver(folder: Path) -> dict[str, Any]:
    """Hand over what is frozen. Timed: from opening the first connection until all is settled and closed."""
    from commcast.model.incident import Channel
    from commcast.operations.send import make_worker
    from commcast.providers.registry import adapter_for

    desk, ledger = open_folder(folder)
    seen = LoopSeen()
    with closing(ledger):
        worker = make_worker(desk, ledger, clock=clock, progress=seen)
        # Made once before, so that its imports are not timed; it opens nothing.
        channel = Channel(desk.config.audiences["customers"].channels[0])
        window = adapter_for(desk.config, channel, clock).window
        with profiled():
            start = time.perf_counter()
            delivered = worker.deliver("pay7")
            seconds = time.perf_counter() - start
    return {"seconds": seconds, "outcomes": dict(delivered.outcomes), "loop": seen.loop, "window": window}


def history(folder: Path) -> dict[str, Any]:
    """Let every incident that is over count as told elsewhere, and send the open ones."""
    from commcast.incidents.load import load_incidents
    from commcast.ledger.releases import record_history
    from commcast.model.message import Unheard
    from commcast.operations.send import make_worker, send_released

    desk, ledger = open_folder(folder)
    with closing(ledger):
        incidents = load_incidents(desk.config, desk.now).incidents
        closed = [each for each in incidents if each.latest.is_end]
        with ledger.write() as connection:
            record_history(connection, closed, "benchmark", desk.now)
        worker = make_worker(desk, ledger, clock=clock, progress=Unheard())
        still_open = [each for each in incidents if not each.latest.is_end]
        for each in still_open:
            release(desk, each, ledger, [each.id for each in incidents])
            send_released(desk, worker, each)
    return {"closed": len(closed), "open": len(still_open)}


if __name__ == "__main__":
    main()
