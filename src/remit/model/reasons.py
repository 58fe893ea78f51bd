"""The closed list of reasons that a decision carries, for permits as for refusals.

A reason is an answer to "why", stable across releases: records, tests and people's scripts name it.
Its sentence is what the caller may read: it discloses no policy. Leaves out: how a client is told
(`arbiter`), which policy decided (`Decision.policies`).
"""

from enum import StrEnum

from remit.model.outcome import Outcome


class Reason(StrEnum):
    """Why a decision came out as it did. The value is the name in records and in `--json`."""

    # permits
    POLICY_PERMITS = "policy_permits"

    # who: the token (401)
    TOKEN_MISSING = "token_missing"
    TOKEN_MALFORMED = "token_malformed"
    TOKEN_SIGNATURE = "token_signature"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_AUDIENCE = "token_audience"
    TOKEN_ISSUER = "token_issuer"
    TOKEN_TENANT = "token_tenant"
    TOKEN_CLIENT = "token_client"
    TOKEN_CLAIMS = "token_claims"
    SESSION_ENDED = "session_ended"
    SIGN_IN_AGAIN = "sign_in_again"
    IDENTITY_INCOMPLETE = "identity_incomplete"

    # who, still: they were, and are no longer (403)
    REVOKED = "revoked"

    # what: the request (403, 400 for what is malformed)
    REQUEST_MALFORMED = "request_malformed"
    REQUEST_AMBIGUOUS = "request_ambiguous"
    METHOD_UNKNOWN = "method_unknown"
    HOST_UNKNOWN = "host_unknown"
    RESOURCE_UNKNOWN = "resource_unknown"

    # may: the policy (403)
    NO_POLICY_PERMITS = "no_policy_permits"
    POLICY_FORBIDS = "policy_forbids"
    STEP_UP_REQUIRED = "step_up_required"
    APPROVAL_REQUIRED = "approval_required"
    CEILING_EXCEEDED = "ceiling_exceeded"
    OBLIGATION_UNMET = "obligation_unmet"
    POLICY_ERROR = "policy_error"

    # with: the credential (403 when nothing is mapped, 503 when a hop is down)
    NO_ACCOUNT = "no_account"
    ACCOUNT_NOT_DELEGATED = "account_not_delegated"
    EXCHANGE_REFUSED = "exchange_refused"
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"

    # record and the plane itself (503)
    RECORD_UNAVAILABLE = "record_unavailable"
    PLANE_UNAVAILABLE = "plane_unavailable"

    @property
    def outcome(self) -> Outcome:
        """The outcome that this reason leads to when it is the first of a decision."""
        return _OUTCOMES.get(self, Outcome.DENY)

    @property
    def sentence(self) -> str:
        """What a caller may read: lower case, no full stop, no policy disclosed."""
        return _SENTENCES[self]

    @property
    def http_status(self) -> int:
        """The status that a refusal for this reason has over HTTP; 200 for a permit."""
        if self.outcome is Outcome.PERMIT:
            return 200
        if self in _UNAUTHENTICATED:
            return 401
        if self in _MALFORMED:
            return 400
        if self in _UNAVAILABLE:
            return 503
        return 403


_OUTCOMES = {
    Reason.POLICY_PERMITS: Outcome.PERMIT,
    Reason.STEP_UP_REQUIRED: Outcome.STEP_UP,
    Reason.APPROVAL_REQUIRED: Outcome.NEEDS_APPROVAL,
}
_UNAUTHENTICATED = frozenset(
    {
        Reason.TOKEN_MISSING,
        Reason.TOKEN_MALFORMED,
        Reason.TOKEN_SIGNATURE,
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_NOT_YET_VALID,
        Reason.TOKEN_AUDIENCE,
        Reason.TOKEN_ISSUER,
        Reason.TOKEN_TENANT,
        Reason.TOKEN_CLIENT,
        Reason.TOKEN_CLAIMS,
        Reason.SESSION_ENDED,
        Reason.SIGN_IN_AGAIN,
    }
)
_MALFORMED = frozenset({Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS})
_UNAVAILABLE = frozenset(
    {Reason.EXCHANGE_UNAVAILABLE, Reason.RECORD_UNAVAILABLE, Reason.PLANE_UNAVAILABLE, Reason.IDENTITY_INCOMPLETE}
)
_SENTENCES = {
    Reason.POLICY_PERMITS: "a policy permits this",
    Reason.TOKEN_MISSING: "the request carries no identity",
    Reason.TOKEN_MALFORMED: "the token is not a well-formed signed token",
    Reason.TOKEN_SIGNATURE: "the token's signature does not verify",
    Reason.TOKEN_EXPIRED: "the token has expired",
    Reason.TOKEN_NOT_YET_VALID: "the token is not valid yet",
    Reason.TOKEN_AUDIENCE: "the token was issued for somebody else",
    Reason.TOKEN_ISSUER: "the token's issuer is not trusted here",
    Reason.TOKEN_TENANT: "the token's tenant is not trusted here",
    Reason.TOKEN_CLIENT: "the application that obtained the token is not allowed here",
    Reason.TOKEN_CLAIMS: "the token lacks a claim that is needed",
    Reason.SESSION_ENDED: "the session has ended",
    Reason.SIGN_IN_AGAIN: "the sign-in no longer counts, and a newer one is needed",
    Reason.REVOKED: "access has been revoked",
    Reason.IDENTITY_INCOMPLETE: "the groups of this identity could not be determined completely",
    Reason.REQUEST_MALFORMED: "the request is malformed",
    Reason.REQUEST_AMBIGUOUS: "the request can be read in two ways",
    Reason.METHOD_UNKNOWN: "the request names a method that Remit does not know",
    Reason.HOST_UNKNOWN: "the request names a host that Remit does not serve",
    Reason.RESOURCE_UNKNOWN: "the request names a resource that belongs to no known project",
    Reason.NO_POLICY_PERMITS: "no policy permits this",
    Reason.POLICY_FORBIDS: "a policy forbids this",
    Reason.STEP_UP_REQUIRED: "a stronger sign-in is needed",
    Reason.APPROVAL_REQUIRED: "an approval is needed",
    Reason.CEILING_EXCEEDED: "the request asks for more than is granted to anybody here",
    Reason.OBLIGATION_UNMET: "what a permit demands here cannot be met",
    Reason.POLICY_ERROR: "the policy could not be evaluated",
    Reason.NO_ACCOUNT: "no service account is mapped for this identity in this project",
    Reason.ACCOUNT_NOT_DELEGATED: "this identity may not act as that service account",
    Reason.EXCHANGE_REFUSED: "the credential for this call was refused by a cloud",
    Reason.EXCHANGE_UNAVAILABLE: "the credential for this call could not be obtained in time",
    Reason.RECORD_UNAVAILABLE: "the decision could not be recorded, so nothing is permitted",
    Reason.PLANE_UNAVAILABLE: "remit cannot decide right now",
}
