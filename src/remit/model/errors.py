"""The one error tree.

RemitError                     code, public sentence, hint, private cause
├── Refused                    a reason from the closed list: the answer is no, or not now
│   ├── HopFailed              a credential hop answered badly or not at all; names the hop
│   └── SignInAgain            the sign-in is older than a revocation; names the time
├── NotRecorded                the ledger could not commit: nothing may be permitted
├── SettingsInvalid            remit.yaml or the policies: every problem, with file and line
├── NotSignedIn                no usable sign-in on this machine
├── ReadFailed                 data could not be read, or not rightly (`tensorflow/errors.py`)
├── TrustBroken                a probe of the trust did not hold
├── SchemaTooNew               the database was written by a newer program (`state/schema.py`)
└── EvidenceBroken             a record, segment or checkpoint does not verify

Messages follow one form: what happened, to what, what to do; lower case, no full stop, literals in backticks,
the hint on its own line.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from remit.model.reasons import Reason

_FEW = 3  # places of which the same is told one by one


class RemitError(Exception):
    """Anything that Remit says went wrong. `hint`: what to do about it, may be empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refused(RemitError):
    """The answer is no. `reason` is from the closed list; `message` is fit for the caller."""

    def __init__(self, reason: Reason, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or reason.sentence, hint=hint)
        self.reason = reason


class HopFailed(Refused):
    """A hop on the way to a credential failed.

    `hop`: `azure-imds`, `entra-obo`, `own-issuer`, `google-sts`, `google-iam`, `google-downscope`,
    `entra-federation`, `assertion`, `database-certificate`.
    """

    def __init__(self, hop: str, reason: Reason, message: str, *, hint: str = "") -> None:
        super().__init__(reason, message, hint=hint)
        self.hop = hop


class SignInAgain(Refused):
    """What was issued before `not_before` (seconds since the epoch) no longer counts; a newer sign-in would."""

    def __init__(self, not_before: int) -> None:
        super().__init__(Reason.SIGN_IN_AGAIN, hint="sign in again: `remit login`")
        self.not_before = not_before


class NotRecorded(RemitError):
    """The ledger could not make an entry durable."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file. `line` and `column` count from 1, 0 when unknown."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


def folded(problems: Sequence[Problem]) -> Iterator[str]:
    """A line for each problem; what is wrong in more than three places alike is told once, at the first of them."""
    alike = Counter(problem.message for problem in problems)
    told: set[str] = set()
    for problem in problems:
        if (count := alike[problem.message]) <= _FEW:
            yield str(problem)
        elif problem.message not in told:
            told.add(problem.message)
            yield f"{problem}; the same at {count - 1} more places"


class SettingsInvalid(RemitError):
    """Configuration is wrong; `problems` holds every finding, the message a line for each (`folded`)."""

    def __init__(self, problems: tuple[Problem, ...], *, hint: str = "") -> None:
        super().__init__("\n".join(folded(problems)), hint=hint)
        self.problems = problems


class NotSignedIn(RemitError):
    """There is no usable sign-in for this user on this machine."""


class TrustBroken(RemitError):
    """A hop of the trust between the clouds does not hold."""


class EvidenceBroken(RemitError):
    """A record, a segment or a checkpoint does not verify."""
