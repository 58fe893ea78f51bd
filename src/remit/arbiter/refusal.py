"""A refusal in the clouds' own words, on each transport.

REST callers get Google's error object, gRPC callers a status and a message, so that an SDK raises what its users know
(`PermissionDenied`, `Unauthenticated`, …). The message always holds the reason, the decision and what to do.
A refusal of Remit's own has `x-remit-reason`; `x-remit-upstream` stands on a cloud's refusals only, and never here.
Sources: google/rpc/status.proto, google/rpc/error_details.proto (ErrorInfo), gRPC over HTTP/2 (percent-encoding),
RFC 6750 section 3 and Entra's claims challenge for `www-authenticate`.
"""

import base64
import json
from urllib.parse import quote

from remit.model.decision import Decision, Verdict
from remit.model.outcome import Outcome

_GRPC = {
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "PERMISSION_DENIED"),
    503: (14, "UNAVAILABLE"),
}
_UNESCAPED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_CLAIMS_CAPABILITY = "cp1"


def status(decision: Decision) -> int:
    """The HTTP status of a refusal; 503 for a permit that lacks its credential."""
    number = 401 if challenge(decision) else decision.verdict.reasons[0].http_status
    return number if number in _GRPC else 503


def message(decision: Decision) -> str:
    """What the caller reads: what was refused and why, the decision, what to do."""
    verdict = decision.verdict
    said = verdict.reasons[0].sentence + (f": {verdict.detail}" if verdict.detail else "")
    todo = hint(decision)
    named = f" (decision {decision.id})" if decision.id else ""  # of a question that is on no record there is none
    return f"remit: {said}{named}" + (f"; {todo}" if todo else "")


def hint(decision: Decision) -> str:
    """What the caller can do about it; may be empty."""
    if decision.verdict.outcome is Outcome.STEP_UP:
        return f"run `remit login --for {decision.id}` and try again"
    return decision.verdict.hint


def challenge(decision: Decision) -> str:
    """`www-authenticate` for a client that understands claims challenges (`xms_cc: cp1`), else empty."""
    if decision.circumstances.job:  # the sidecar's token can be renewed so, and the program behind it cannot do it
        return ""
    identity, wanted = decision.identity, _wanted(decision.verdict)
    if not wanted or identity is None or _CLAIMS_CAPABILITY not in identity.authentication.capabilities:
        return ""
    claims = json.dumps({"access_token": wanted}, separators=(",", ":"))
    encoded = base64.b64encode(claims.encode()).decode()
    authority = f"https://login.microsoftonline.com/{identity.principal.tenant}/oauth2/v2.0/authorize"
    return f'Bearer realm="", authorization_uri="{authority}", error="insufficient_claims", claims="{encoded}"'


def _wanted(verdict: Verdict) -> dict[str, object]:
    """The claims that would flip the refusal: an authentication context, or a token not older than a revocation."""
    if verdict.challenge:
        return {"acrs": {"essential": True, "value": verdict.challenge}}
    if verdict.not_before:
        return {"nbf": {"essential": True, "value": str(verdict.not_before)}}
    return {}


def headers(decision: Decision, location: str = "") -> dict[str, str]:
    """The response headers of a refusal, for the gateway and for whoever asks in its place.

    `location`: where a browser is sent to sign in, a path of the door's.
    """
    code, _ = _GRPC[status(decision)]
    result = {
        **({"x-remit-decision": decision.id} if decision.id else {}),
        "x-remit-reason": str(decision.verdict.reasons[0]),
        "x-remit-grpc-status": str(code),
        "x-remit-grpc-message": quote(message(decision), safe=_UNESCAPED),
    }
    if status(decision) == 401:  # noqa: PLR2004 - HTTP 401, which must say how to authenticate (RFC 9110 section 15.5.2)
        result["www-authenticate"] = challenge(decision) or "Bearer"
    if location:
        result["location"] = location
    return result


def body(decision: Decision) -> bytes:
    """Google's error object with an ErrorInfo that names the decision."""
    number = status(decision)
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": str(decision.verdict.reasons[0]).upper(),
        "domain": "remit",
        "metadata": {"decision": decision.id},
    }
    error = {"code": number, "message": message(decision), "status": _GRPC[number][1], "details": [info]}
    return json.dumps({"error": error}).encode()
