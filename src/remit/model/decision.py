"""The decision, the circumstances it was taken in, and the answer that goes back."""

from dataclasses import dataclass

from remit.model.credential import Credential
from remit.model.grant import Grant, Wanted
from remit.model.identity import Identity
from remit.model.obligation import NONE, Obligations
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is true now, besides who and what.

    `now`: seconds since the epoch; `peer`: the caller's address; `country`: of that address, ISO 3166-1 alpha-2, empty
    when unknown; `locations`: Entra's named locations that it lies in, and `locations_known`: whether that is
    all that could be told of it; `risk`: the provider's word on the sign-in
    (`low`, `medium`, `high`, `none`, empty when it said none); `job`: the run that asks, empty for none; `job_name`: of
    that run, where it is registered, goes on and is the caller's own, never by the caller's word; `epoch`: of
    the revocations that were looked at; `grants`: of the caller, in force now and in this run; `outlived`: names of
    the hops that end for good before the work does by its declared duration (`lifetime.Hop`).
    """

    now: int
    peer: str = ""
    country: str = ""
    locations: frozenset[str] = frozenset()
    locations_known: bool = False
    risk: str = ""
    job: str = ""
    job_name: str = ""
    epoch: int = 0
    grants: tuple[Grant, ...] = ()
    outlived: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeterminingPolicy:
    """A policy that decided: its `@id`, its effect, and its annotations (`advice`, `condition`, …)."""

    id: str
    effect: str
    annotations: tuple[tuple[str, str], ...] = ()

    def annotation(self, name: str) -> str:
        """One annotation's value, empty when absent."""
        return next((text for key, text in self.annotations if key == name), "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of a request, for either outcome.

    `challenge`: the authentication context (`c1`) that alone would flip a `STEP_UP`, else empty;
    `not_before`: when not 0, a sign-in after this time (seconds since the epoch) alone would flip the refusal;
    `detail`: one sentence for the caller, which names the failed condition and discloses no policy text;
    `hint`: what the caller can do about it, may be empty; `obligations`: what a permit demands besides;
    `grants`: ids of the grants that a permit rests on; `wanted`: what alone would flip a `NEEDS_APPROVAL` if it were
    granted, without time and reason.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    policies: tuple[DeterminingPolicy, ...] = ()
    policy_version: str = ""
    challenge: str = ""
    detail: str = ""
    hint: str = ""
    not_before: int = 0
    obligations: Obligations = NONE
    grants: tuple[str, ...] = ()
    wanted: Wanted | None = None


def relied_on(verdict: Verdict, circumstances: Circumstances) -> tuple[Grant, ...]:
    """The grants in force that a permit rests on."""
    return tuple(grant for grant in circumstances.grants if grant.id in verdict.grants)


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its name, its time and everything it was taken on.

    `id`: `d-` and 26 characters of Crockford base32, sortable by time; `at`: microseconds since the epoch.
    `identity` and `request` are `None` when the refusal came before they were known. `wire_path` has no query.
    `account`: e-mail of the service account that a permit runs with.
    """

    id: str
    at: int
    verdict: Verdict
    circumstances: Circumstances
    identity: Identity | None = None
    request: Request | None = None
    wire_method: str = ""
    wire_host: str = ""
    wire_path: str = ""
    account: str = ""

    @property
    def permitted(self) -> bool:
        """True for a permit, and for nothing else."""
        return self.verdict.outcome is Outcome.PERMIT


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to whoever asked: the decision, and with a permit the credential.

    `lease_ms`: for how long the gateway may repeat this answer, from when the decision began; 0 for never.
    `body`: what goes upstream in place of the body that came, `None` to send that one; `tell`: whether the gateway
    reports what the upstream answered (`access/answered.py`).
    """

    decision: Decision
    credential: Credential | None = None
    lease_ms: int = 0
    body: bytes | None = None
    tell: bool = False
