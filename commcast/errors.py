"""Every error commcast raises on purpose, and the exit code of each.

The tree (exit code)::

    CommcastError
      InputError            files, options or configuration are wrong; nothing from them is sent  2
        ConfigError         commcast.toml is wrong: stops everything, not only one incident       2
          ProviderError     a provider's settings or secrets can't work: it gets no messages     78
        TemplateError       a template cannot be found, compiled or rendered                      2
      LedgerError           we cannot remember safely, so we do not send                          3
      DecisionNeeded        a person must decide: a draft, a changed plan, a missing yes          5
      TryAgain              busy now: the ledger is locked, a provider is down                   75
      Interrupted           a signal ended the run; what is unsent can be resumed           130/143

What happens to one delivery is not an exception: it is an `Outcome` (see `model/message.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from operator import attrgetter
from typing import NamedTuple, Self

FAULTS_SHOWN_PER_FILE = 100


class ExitCode(IntEnum):
    """Exit codes of a run, the most serious first: if several apply, the first one is used."""

    INTERRUPTED = 130
    TERMINATED = 143
    LEDGER = 3
    INPUT = 2
    REFUSED = 78
    DECISION = 5
    UNKNOWN_OUTCOME = 1
    OVERDUE = 4
    TRY_AGAIN = 75
    DONE = 0


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a run with many parts, the most serious one."""
    return min(codes, key=list(ExitCode).index, default=ExitCode.DONE)


class Fault(NamedTuple):
    """One mistake in something a person wrote.

    `line` and `column` count from 1; 0 means unknown.
    `what` says what is wrong, `remedy` what to write instead.
    """

    file: str
    line: int
    column: int
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}" if self.column else f":{self.line}"
        text = f"{place}: {self.what}" if place else self.what
        return f"{text}; {self.remedy}" if self.remedy else text


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Return the faults of one file, each once, in the order of their places."""
    return sorted(dict.fromkeys(faults), key=attrgetter("line", "column"))


class CommcastError(Exception):
    """Something the person on call can act on. Never shown with a traceback."""

    exit_code: ExitCode = ExitCode.UNKNOWN_OUTCOME


class InputError(CommcastError):
    """What a person wrote is wrong. Holds every fault found, so that one run shows them all."""

    exit_code = ExitCode.INPUT

    def __init__(self, faults: Iterable[Fault] | Fault | str) -> None:
        if isinstance(faults, str):
            faults = Fault("", 0, 0, faults)
        if isinstance(faults, Fault):
            faults = (faults,)
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(self.lines()))

    @classmethod
    def of(cls, file: str, what: str, remedy: str = "") -> Self:
        """Return the error of one fault that concerns a file as a whole."""
        return cls(Fault(file, 0, 0, what, remedy))

    def lines(self) -> list[str]:
        """Return one line per fault: the first 100 of each file, then how many more it has."""
        lines: list[str] = []
        seen: Counter[str] = Counter()
        for fault in self.faults:
            seen[fault.file] += 1
            if seen[fault.file] <= FAULTS_SHOWN_PER_FILE:
                lines.append(str(fault))
        lines.extend(
            f"{file}: and {count - FAULTS_SHOWN_PER_FILE} more errors, {count} in total"
            for file, count in seen.items()
            if count > FAULTS_SHOWN_PER_FILE
        )
        return lines


class ConfigError(InputError):
    """The configuration is wrong: nothing at all can be sent."""


class ProviderError(ConfigError):
    """A provider's settings or secrets cannot work: it gets no messages; the others carry on."""

    exit_code = ExitCode.REFUSED

    def __init__(self, provider: str, faults: Iterable[Fault] | Fault | str) -> None:
        super().__init__(faults)
        self.provider = provider


class TemplateError(InputError):
    """A template is missing, does not compile, or fails for a recipient."""


class LedgerError(CommcastError):
    """The ledger is missing, foreign, damaged, newer than this program, or cannot be written."""

    exit_code = ExitCode.LEDGER


class DecisionNeeded(CommcastError):
    """Nothing was released: a person has to confirm, or check again."""

    exit_code = ExitCode.DECISION


class TryAgain(CommcastError):
    """A temporary problem: the same command, or the next tick, will carry on."""

    exit_code = ExitCode.TRY_AGAIN


class Interrupted(CommcastError):
    """A signal ended the run. `exit_code` is 130 for a person's Ctrl-C, 143 for SIGTERM."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code
