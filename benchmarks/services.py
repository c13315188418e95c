"""SendGrid and Twilio, as stand-ins that answer after 100 ms."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlencode

from benchmarks import corpus, desks
from benchmarks.children import PYTHON, Void, environment, run
from benchmarks.model import Group, Lab, Row, Sample, Side
from benchmarks.stand_in import stand_in
from benchmarks.tools import SCRIPTS, missing_tool

LATENCY = 0.100
MAILS, BATCH, REQUESTS_IN_FLIGHT = 100_000, 250, 16
TEXTS, IN_FLIGHT = 4_000, 64

_OURS = "commcast"
_SDK, _WRK = "sendgrid SDK", "wrk -c64"


@contextmanager
def _sendgrid(lab: Lab) -> Iterator[Sequence[Side]]:
    people = lab.count(MAILS, least=1000)
    frozen = desks.write_desk(lab.folder / "frozen", people, provider="sendgrid")
    desks.freeze(frozen, people)
    words = lab.folder / "peers"
    corpus.write_for_peers(words, corpus.TEXT, corpus.HTML, people)

    def ours() -> Sample:
        folder = desks.copy(frozen, "round")
        with stand_in(LATENCY, people) as url:
            desks.point_to(folder, "sendgrid", base_url=url, batch=BATCH, connections=REQUESTS_IN_FLIGHT)
            return desks.deliver(folder, people)

    def sdk() -> Sample:
        with stand_in(LATENCY, people) as url:
            ended = run([PYTHON, SCRIPTS / "sendgrid_loop.py", words, url], env=environment(ours=False))
        return Sample(people, json.loads(ended.out)["seconds"], ended.cpu, ended.peak)

    yield [
        Side(
            _OURS,
            f"hand-over of a frozen broadcast of {people:,}, {BATCH} readers a request, {REQUESTS_IN_FLIGHT} "
            "requests in flight, until all is "
            "settled",
            ours,
        ),
        Side(
            _SDK,
            f"SendGridAPIClient.send for {people:,}, 1,000 personalizations with two substitutions each a "
            "request, one request after another: the loop",
            sdk,
        ),
    ]


@contextmanager
def _twilio(lab: Lab) -> Iterator[Sequence[Side]]:
    people = lab.count(TEXTS, least=64)
    frozen = desks.write_desk(lab.folder / "frozen", people, provider="twilio")
    desks.freeze(frozen, people)
    seconds = max(1, round(people * LATENCY / IN_FLIGHT))

    def ours() -> Sample:
        folder = desks.copy(frozen, "round")
        with stand_in(LATENCY, people) as url:
            desks.point_to(folder, "twilio", base_url=url, connections=IN_FLIGHT)
            return desks.deliver(folder, people)

    def wrk() -> Sample:
        with stand_in(LATENCY, 1, at_least=True) as url:
            command = ["wrk", f"-c{IN_FLIGHT}", "-t2", f"-d{seconds}s", "-s", SCRIPTS / "twilio.lua", url]
            ended = run(command, env=environment(_as_we_post()))
        return _read(ended.out, ended.cpu, ended.peak)

    yield [
        Side(
            _OURS,
            f"hand-over of a frozen broadcast of {people:,} texts, {IN_FLIGHT} in flight, until all is "
            "settled",
            ours,
        ),
        Side(
            _WRK,
            f"`wrk -c{IN_FLIGHT} -t2 -d{seconds}s` (C) with the same form for the same path: one ready body "
            "for everybody, nothing recorded; its own count and time",
            wrk,
            missing_tool("wrk"),
        ),
    ]


def _as_we_post() -> dict[str, str]:
    account, token = desks.KEYS["TWILIO_ACCOUNT_SID"], desks.KEYS["TWILIO_AUTH_TOKEN"]
    words = corpus.for_peers(corpus.SMS).strip()
    _, phone, _, _, link, _ = next(corpus.people(1))
    body = words.replace("{{ link }}", link)
    form = {
        "To": phone,
        "From": "+4915799912345",
        "Body": body,
        "SmartEncoded": "false",
        "ValidityPeriod": "36000",
    }
    return {
        "BENCHMARK_PATH": f"/2010-04-01/Accounts/{account}/Messages.json",
        "BENCHMARK_BODY": urlencode(form),
        "BENCHMARK_AUTHORIZATION": "Basic " + base64.b64encode(f"{account}:{token}".encode()).decode(),
    }


def _read(said: str, cpu: float, peak: int) -> Sample:
    """Return what wrk counted: "1234 requests in 2.01s, …"."""
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise Void(f"wrk had trouble: {said[-300:]}")
    seconds = float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    return Sample(int(found[1]), seconds, cpu, peak)


SENDGRID = Group(
    "sendgrid",
    "SendGrid, a stand-in that answers after 100 ms",
    (
        Row(
            "sendgrid",
            "SendGrid stand-in at 100 ms, 250 a request, against the SDK at 1,000 one after another",
            _OURS,
            _SDK,
            3,
        ),
    ),
    _sendgrid,
)

TWILIO = Group(
    "twilio",
    "Twilio, a stand-in that answers after 100 ms",
    (Row("twilio", "Twilio stand-in at 100 ms, 64 in flight, against wrk -c64", _OURS, _WRK, 0.75),),
    _twilio,
)
