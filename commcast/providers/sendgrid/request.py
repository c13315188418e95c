"""SendGrid's requests: as few as keep each reader's exact words, and the connections that carry them."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import python_http_client
import sendgrid

from commcast.config.settings import SendGridProvider
from commcast.errors import ProviderError
from commcast.model.message import Delivery, Outcome, OutcomeKind
from commcast.providers.http import Connections, HttpAnswer, secret_faults
from commcast.providers.masking import hide
from commcast.providers.sendgrid.letter import Cut, ReaderView, SplitEmail, letter_of

# Limits of mail/send: at most 1,000 personalizations, under 30 MB, 10,000 bytes of substitutions per person.
MOST_READERS = 1000
LARGEST_REQUEST = 29_900_000  # bytes
MOST_SUBSTITUTED = 10_000  # bytes
_MOST_BESIDE = 6_000  # bytes that a personalization takes besides: address, name, id twice
_LONGEST_ESCAPE = 12  # bytes that JSON writes for one character at most
_BETWEEN = 8  # bytes that JSON writes around a name and its value


@dataclass(frozen=True, slots=True)
class Request:
    """One body for mail/send. `deliveries` are in the order of its personalizations."""

    body: dict[str, Any]
    deliveries: tuple[int, ...]

    def part(self, indices: Iterable[int]) -> Request:
        """Return the request for only some of its readers."""
        kept = list(indices)
        everybody = self.body["personalizations"]
        body = {**self.body, "personalizations": [everybody[index] for index in kept]}
        return Request(body, tuple(self.deliveries[index] for index in kept))


def requests(
    batch: Sequence[Delivery],
    provider: SendGridProvider,
    draw: Callable[[], str] = lambda: secrets.token_hex(16),
) -> tuple[list[Request], list[Outcome]]:
    """Return the requests for a batch, and the outcomes of the emails that fit in no request.

    `draw` returns 128 random bits in hexadecimal, so that no incident text can guess the tags that stand for
    a reader's own lines.
    """
    refused: list[Outcome] = []
    alike: dict[tuple[str, int, int], list[SplitEmail]] = defaultdict(list)
    frames: dict[object, str] = {}
    for item in batch:
        letter = letter_of(item, provider, frames)
        if isinstance(letter, Outcome):
            refused.append(letter)
        else:
            alike[letter.shape].append(letter)
    made: list[Request] = []
    for group in chain.from_iterable(map(_groups, alike.values())):
        for request in _packed(group, draw):
            _keep(request, made, refused)
    return made, refused


def expand(body: Mapping[str, Any], index: int) -> ReaderView:
    """Return what the reader of a personalization will see after SendGrid's substitution."""
    own = body["personalizations"][index].get("substitutions", {})
    content = {part["type"]: part["value"] for part in body["content"]}
    parts = [body["subject"], content["text/plain"], content.get("text/html", "")]
    for tag, value in own.items():
        parts = [part.replace(tag, value) for part in parts]
    return ReaderView(*parts)


def _groups(letters: Sequence[SplitEmail]) -> Iterator[list[SplitEmail]]:
    """Yield the letters in groups that are not too large and hold no address twice."""
    times: Counter[str] = Counter()
    rounds: dict[int, list[SplitEmail]] = defaultdict(list)
    for letter in letters:
        rounds[times[letter.address]].append(letter)
        times[letter.address] += 1
    for group in rounds.values():
        for start in range(0, len(group), MOST_READERS):
            yield group[start : start + MOST_READERS]


def _packed(letters: Sequence[SplitEmail], draw: Callable[[], str]) -> Iterator[Request]:
    """Yield the requests for letters of one shape."""
    by_cut: dict[Cut | None, list[SplitEmail]] = defaultdict(list)
    for letter in letters:
        by_cut[letter.cut].append(letter)
    if len(by_cut) > 1:
        request, right = _merged_right(letters, draw)
        if len(right) == len(letters):
            yield request
            return
    for cut, group in by_cut.items():
        request, right = (_tagged if cut and len(group) > 1 else _merged_right)(group, draw)
        if right:
            yield request if len(right) == len(group) else request.part(right)
        # If substitution would not give readers exactly their words, these go as they are.
        literal: dict[ReaderView, list[SplitEmail]] = defaultdict(list)
        for index in sorted(set(range(len(group))).difference(right)):
            literal[group[index].reading].append(group[index])
        for same in literal.values():
            yield _merged(same, draw)


def _tagged(letters: Sequence[SplitEmail], draw: Callable[[], str]) -> tuple[Request, list[int]]:
    """Return one request for letters cut at the same places, and which of them it reproduces exactly.

    Each letter is known to equal its cut filled with its own texts. No text holds a tag, so substitution
    gives the same; this is checked for the first letter, and then holds for all.
    """
    cut = letters[0].cut
    assert cut is not None  # noqa: S101 - asked only for letters that are cut
    own = "\n".join([text for letter in letters for text in letter.own])
    mark = _mark([own, *cut.literals], draw)
    tags = [f"{mark}{place}-" for place in range(len(letters[0].own))]
    substitutions = [dict(zip(tags, letter.own, strict=True)) for letter in letters]
    request = _request(letters, cut.filled(tags), substitutions)
    if expand(request.body, 0) != letters[0].reading:
        return request, []
    return request, [index for index, values in enumerate(substitutions) if _is_short(values)]


def _merged_right(letters: Sequence[SplitEmail], draw: Callable[[], str]) -> tuple[Request, list[int]]:
    """Return the letters merged line by line, and which of them the request reproduces exactly."""
    request = _merged(letters, draw)
    people = request.body["personalizations"]
    return request, [
        index
        for index, letter in enumerate(letters)
        if _is_short(people[index].get("substitutions", {})) and expand(request.body, index) == letter.reading
    ]


def _is_short(values: Mapping[str, str]) -> bool:
    characters = sum(map(len, values)) + sum(map(len, values.values()))
    if characters * _LONGEST_ESCAPE + len(values) * _BETWEEN <= MOST_SUBSTITUTED:
        return True
    return len(json.dumps(values)) <= MOST_SUBSTITUTED


def _keep(request: Request, made: list[Request], refused: list[Outcome]) -> None:
    count = len(request.deliveries)
    if _is_small(request.body):
        made.append(request)
    elif count == 1:
        words = "the email is too large for SendGrid"
        refused.append(Outcome(request.deliveries[0], OutcomeKind.REJECTED, words))
    else:
        _keep(request.part(range(count // 2)), made, refused)
        _keep(request.part(range(count // 2, count)), made, refused)


def _is_small(body: Mapping[str, Any]) -> bool:
    people = len(body["personalizations"]) * (MOST_SUBSTITUTED + _MOST_BESIDE)
    shared = len(json.dumps({name: value for name, value in body.items() if name != "personalizations"}))
    return people + shared < LARGEST_REQUEST or len(json.dumps(body)) < LARGEST_REQUEST


def _merged(letters: Sequence[SplitEmail], draw: Callable[[], str]) -> Request:
    """Return one request: a line that all emails share stays as it is, any other becomes a tag."""
    readings = [letter.reading for letter in letters]
    mark = _mark(set(chain.from_iterable(readings)), draw)
    own: list[dict[str, str]] = [{} for _ in letters]
    parts = [[text.split("\n") for text in texts] for texts in zip(*readings, strict=True)]
    return _request(letters, ReaderView(*("\n".join(_lines(part, mark, own)) for part in parts)), own)


def _request(letters: Sequence[SplitEmail], shared: ReaderView, own: Sequence[Mapping[str, str]]) -> Request:
    persons = [
        {**letter.person, "substitutions": values} if values else letter.person
        for letter, values in zip(letters, own, strict=True)
    ]
    content = [{"type": "text/plain", "value": shared.text}]
    if shared.html:
        content.append({"type": "text/html", "value": shared.html})
    frame = json.loads(letters[0].frame)
    body = {"personalizations": persons, **frame, "subject": shared.subject, "content": content}
    return Request(body, tuple(letter.delivery for letter in letters))


def _mark(texts: Iterable[str], draw: Callable[[], str]) -> str:
    """Return how this request's tags begin; no text holds their random part."""
    while True:
        drawn = draw()
        if not any(drawn in text for text in texts):
            return f"-c{drawn}n"


def _lines(emails: Sequence[Sequence[str]], mark: str, own: Sequence[dict[str, str]]) -> Iterator[str]:
    """Yield the shared lines of all emails; note in `own` what each reader's tags become."""
    for lines in zip(*emails, strict=True):
        if lines.count(lines[0]) == len(lines):
            yield lines[0]
            continue
        tag = f"{mark}{len(own[0])}-"
        for values, line in zip(own, lines, strict=True):
            values[tag] = line
        yield tag


_KEYS = "https://app.sendgrid.com/settings/api_keys"

# At DEBUG it logs each request's key and payload. A filter, since logging.config switches loggers on again.
_logger = logging.getLogger("python_http_client.client")


class _WrittenError(Exception):
    """Not an error: how a request leaves the SDK, which would follow redirects and take the key along."""

    def __init__(self, request: urllib.request.Request) -> None:
        super().__init__()
        self.request = request


class _Writer(python_http_client.Client):  # type: ignore[misc] # the SDK has no types
    """The SDK's client, stopped when the request is written."""

    def _build_client(self, name: str | None = None) -> _Writer:
        path = [*self._url_path, name] if name else self._url_path
        return _Writer(self.host, self.request_headers, self._version, path)

    def _make_request(self, _opener: object, request: urllib.request.Request, **_: object) -> NoReturn:
        raise _WrittenError(request)


class SendGridClient(Connections):
    """The Web API of one account, for one event loop; its context holds the connections.

    `key` may have white space around it. `timeout` is the total for a request in seconds. Each request has a
    connection of its own: one that was kept may be closed by the other side as it is used, which would make a
    whole request unknown. Raises ProviderError if the key cannot be one, or if HTTPS_PROXY cannot work.
    """

    def __init__(self, base_url: str, key: str | None, timeout: float) -> None:
        super().__init__("sendgrid", base_url, timeout, keep=False)
        key = (key or "").strip()
        if faults := secret_faults("sendgrid", "SENDGRID_API_KEY", key, _KEYS):
            raise ProviderError("sendgrid", faults)
        hide(key)
        _logger.addFilter(_mute)
        api = sendgrid.SendGridAPIClient(api_key=key, host=base_url)
        self._writer = _Writer(base_url, api.client.request_headers, version=3)

    async def post_mail(self, body: dict[str, Any]) -> HttpAnswer:
        """Hand over one mail/send request, once."""
        return await self._write(lambda: self._writer.mail.send.post(request_body=body))

    async def get(self, path: str, query: Mapping[str, str]) -> HttpAnswer:
        """Read what is at /v3/ and this path."""
        return await self._write(lambda: self._writer._(path).get(query_params=dict(query)))

    async def _write(self, write: Callable[[], object]) -> HttpAnswer:
        request = await asyncio.to_thread(_written, write)  # a thousand readers take a while to write
        body = request.data if isinstance(request.data, bytes) else None
        return await self.ask(request.get_method(), request.full_url, dict(request.header_items()), body)


def _written(write: Callable[[], object]) -> urllib.request.Request:
    try:
        write()
    except _WrittenError as written:
        return written.request
    raise AssertionError("the SDK wrote no request")


def _mute(_record: logging.LogRecord) -> bool:
    return False
