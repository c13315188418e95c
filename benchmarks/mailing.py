"""What all comparisons over SMTP share: our side over a fresh sink, and each peer over one."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks import corpus, desks
from benchmarks.children import PYTHON, environment, run
from benchmarks.model import Sample, Side
from benchmarks.sinks import relay, smtp_sink
from benchmarks.tools import MAILMERGE, PEER_PYTHON, SCRIPTS, missing_peers, missing_tool

LENGTH = 4096  # bytes of a mail of smtp-source, without its headers

_MAILMERGE_TEMPLATE = """\
TO: {{{{email}}}}
SUBJECT: {subject}
FROM: {sender}
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="boundary"

--boundary
Content-Type: text/plain; charset=us-ascii

{text}
--boundary
Content-Type: text/html; charset=us-ascii

{html}
--boundary--
"""


def hand_over(
    name: str,
    frozen: Path,
    people: int,
    *,
    connections: int = 32,
    plain_loop: bool = False,
    round_trip: float = 0.0,
) -> Side:
    """Return our side: the hand-over of a frozen broadcast, on a copy of its desk each time."""

    def once() -> Sample:
        folder = desks.copy(frozen, "round")
        with smtp_sink(people) as port, _at_distance(port, round_trip) as reached:
            desks.point_to_smtp(folder, reached, connections)
            return desks.deliver(folder, people, *(["--plain-loop"] if plain_loop else []))

    loop = "asyncio's own event loop (no uvloop)" if plain_loop else "the product's event loop"
    timed = (
        f"hand-over of a frozen broadcast of {people:,}, from opening the first of {connections} connections "
        f"until all is settled in the ledger and closed; {loop}"
    )
    return Side(name, timed, once, missing_tool("smtp-sink"))


def whole_command(name: str, drafted: Path, people: int) -> Side:
    """Return our side as a person meets it: the whole command, from the list to the last answer."""

    def once() -> Sample:
        folder = desks.copy(drafted, "round")
        desks.write_incident(folder)
        with smtp_sink(people) as port:
            desks.point_to_smtp(folder, port, 32)
            return desks.send(folder, people)

    timed = (
        f"the whole of `commcast send --yes` for {people:,}, 32 connections: interpreter, reading and "
        "checking the list, rendering all of it once before anything is released, freezing, hand-over"
    )
    return Side(name, timed, once, missing_tool("smtp-sink"))


def smtp_source(name: str, count: int, sessions: int, *, round_trip: float = 0.0) -> Side:
    """Return Postfix's load generator: ready content, nothing rendered, nothing recorded."""

    def once() -> Sample:
        with smtp_sink(count) as port, _at_distance(port, round_trip) as reached:
            options = ["-d", "-s", str(sessions), "-m", str(count), "-l", str(LENGTH)]
            ended = run(["smtp-source", *options, f"127.0.0.1:{reached}"])
        return Sample(count, ended.seconds, ended.cpu, ended.peak)

    timed = (
        f"`smtp-source -d -s {sessions} -m {count} -l {LENGTH}`, the whole process (C): one ready mail for "
        "everybody, nothing rendered and nothing recorded"
    )
    return Side(name, timed, once, missing_tool("smtp-source"))


def script(
    name: str,
    file: str,
    folder: Path,
    count: int,
    timed: str,
    *,
    is_packaged: bool = True,
    round_trip: float = 0.0,
) -> Side:
    """Return a peer that is a script in peers/, run on the words in `folder`; it times itself.

    `is_packaged` says that it needs the peers' packages; else the standard library and Jinja2 are enough.
    """
    python, missing = (PEER_PYTHON, missing_peers()) if is_packaged else (PYTHON, "")

    def once() -> Sample:
        with smtp_sink(count) as port, _at_distance(port, round_trip) as reached:
            command = [python, SCRIPTS / file, folder, str(reached)]
            ended = run(command, env=environment(ours=False))
        return Sample(count, json.loads(ended.out.splitlines()[-1])["seconds"], ended.cpu, ended.peak)

    return Side(name, f"{timed}, {count:,} mails", once, missing or missing_tool("smtp-sink"))


def mailmerge(name: str, folder: Path, count: int) -> Side:
    """Return mailmerge's own command, with its template made of the words in `folder`."""
    text, html = ((folder / each).read_text() for each in ("text.j2", "html.j2"))
    template = folder / "mailmerge_template.txt"
    template.write_text(
        _MAILMERGE_TEMPLATE.format(subject=corpus.SUBJECT, sender=corpus.SENDER, text=text, html=html)
    )
    server = folder / "mailmerge_server.conf"

    def once() -> Sample:
        with smtp_sink(count) as port:
            server.write_text(f"[smtp_server]\nhost = 127.0.0.1\nport = {port}\nratelimit = 0\n")
            options = ["--no-dry-run", "--no-limit", "--template", template]
            options += ["--database", folder / "people.csv", "--config", server]
            ended = run([MAILMERGE, *options], env=environment(ours=False))
        return Sample(count, ended.seconds, ended.cpu, ended.peak)

    timed = (
        f"`mailmerge --no-dry-run --no-limit`, {count:,} mails, the whole process; it connects anew for each"
    )
    return Side(name, timed, once, missing_peers() or missing_tool("smtp-sink"))


def _at_distance(port: int, round_trip: float) -> AbstractContextManager[int]:
    """Return the port to send to: the sink's own, or that of a relay `round_trip` seconds before it."""
    return relay(port, round_trip) if round_trip else nullcontext(port)
