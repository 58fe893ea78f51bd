"""The `claims` parameter: what a client wants satisfied by a sign-in, and what it says it can handle.

Authentication contexts (`acrs`), a token's earliest time (`nbf`, continuous access evaluation) and client capabilities
(`xms_cc`), all of the access token; other members are let be, as Entra does. Source:
learn.microsoft.com/entra/identity-platform/claims-challenge and app-resilience-continuous-access-evaluation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from remit.lab.entra_errors import EntraError

# What each authentication context demands of the sign-in, by Contoso's conditional access: c1 is a second factor.
CONTEXTS: Mapping[str, str] = {"c1": "mfa"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """A `claims` parameter, understood.

    `contexts`: wanted ones; `capabilities`: the client's (`CP1`); `not_before`: the token's earliest time, seconds
    since the epoch, 0 for none.
    """

    contexts: frozenset[str] = frozenset()
    capabilities: tuple[str, ...] = ()
    not_before: int = 0

    @property
    def methods(self) -> frozenset[str]:
        """The authentication methods that its contexts demand."""
        return frozenset(CONTEXTS[context] for context in self.contexts)

    @property
    def text(self) -> str:
        """The challenge as Entra gives it back with an interaction that it demands."""
        wanted = {"essential": True, "value": min(self.contexts)}
        return json.dumps({"access_token": {"acrs": wanted}}, separators=(",", ":"))


def understand(claims: str) -> Challenge:
    """The challenge in a `claims` parameter, an empty one when there is none; raises `EntraError`."""
    if not claims:
        return Challenge()
    try:
        wanted = json.loads(claims)["access_token"]
        acrs = wanted.get("acrs") or {}
        contexts = frozenset(acrs.get("values") or ([acrs["value"]] if "value" in acrs else []))
        capabilities = tuple((wanted.get("xms_cc") or {}).get("values") or ())
        not_before = int((wanted.get("nbf") or {}).get("value", 0))
    except KeyError:
        return Challenge()
    except (ValueError, TypeError, AttributeError) as cause:
        raise EntraError("invalid_request", 900235, "The claims parameter is not a valid JSON object.") from cause
    unknown = sorted(contexts - set(CONTEXTS))
    if unknown:
        raise EntraError(
            "invalid_request", 50146, f"The authentication context '{unknown[0]}' is not known to the tenant."
        )
    return Challenge(contexts, capabilities, not_before)


def require(challenge: Challenge, methods: frozenset[str], *, error: str = "invalid_grant") -> None:
    """Raise `EntraError` with this OAuth error when a sign-in by these methods does not satisfy the challenge."""
    if not challenge.methods <= methods:
        raise EntraError(
            error,
            50076,
            "Due to a configuration change made by your administrator, or because you moved to a new location, you "
            "must use multi-factor authentication to access the resource.",
            suberror="basic_action",
            claims=challenge.text,
        )
