"""What a request that got no whole answer means for its recipients: the same at every HTTP provider."""

from __future__ import annotations

from commcast.message import Blame, Outcome, OutcomeKind
from commcast.providers.http_answer import HttpAnswer, Trouble

# Before the first byte has left, the provider took nothing; afterwards nobody knows.
_NOT_SENT = {
    Trouble.UNRESOLVED: (Blame.PROVIDER, "the provider's name has no address"),
    Trouble.UNREACHABLE: (Blame.PROVIDER, "the provider cannot be reached"),
    Trouble.CERTIFICATE: (Blame.ACCOUNT, "the provider's certificate is not trusted"),
    Trouble.HANDSHAKE: (Blame.PROVIDER, "no TLS connection can be made"),
    Trouble.LOST: (Blame.PROVIDER, "the connection broke before the request was sent"),
    Trouble.SILENCE: (Blame.PROVIDER, "the provider did not answer in time"),
    Trouble.GARBAGE: (Blame.PROVIDER, "the provider's answer makes no sense"),
}
_SENT = {
    Trouble.LOST: "the connection broke after the request was sent",
    Trouble.SILENCE: "no answer came after the request was sent",
    Trouble.GARBAGE: "a senseless answer came after the request was sent",
}
_SENT_ELSE = "the request was sent, and its answer was lost"


def without_answer(delivery: int, answer: HttpAnswer) -> Outcome:
    """Return the outcome of a delivery whose request got no whole answer; `answer.trouble` is set."""
    assert answer.trouble is not None  # noqa: S101 - a whole answer is judged by its provider's table
    if answer.sent:
        return Outcome(delivery, OutcomeKind.UNKNOWN, _SENT.get(answer.trouble, _SENT_ELSE))
    blame, words = _NOT_SENT[answer.trouble]
    return Outcome(delivery, OutcomeKind.NOT_TAKEN, words, blame=blame)
