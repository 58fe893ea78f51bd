"""Remit's own OIDC issuer: it vouches for whoever no cloud would exchange a token on behalf of.

Workloads, and people of other providers; and at Entra for the applications whose tokens open Azure. What it signs was
decided already, lives ten minutes at most, is meant for one workload identity provider, or for Entra's exchange, and is
shown to nobody else. Google reads the keys by discovery (OpenID Connect Discovery 1.0), or gets them uploaded; Entra
reads them by discovery only. Limits: cloud.google.com/iam/docs/reference/rest/v1/
projects.locations.workloadIdentityPools.providers. Leaves out: every other flow of an OIDC provider.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from remit.credentials.hop import https
from remit.credentials.own_keys import OwnKeys
from remit.model.errors import HopFailed, SettingsInvalid
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import Secret

HOP = "own-issuer"
MAX_LIFETIME = 600  # seconds
MAX_SUBJECT = 127  # bytes of `google.subject`
MAX_GROUPS = 400  # of `google.groups`
MAX_MAPPED = 8 * 1024 - 512  # bytes of all mapped attributes, less room for those that are no groups
BACKDATE = 5  # seconds: Google refuses a token from what its clock holds for the future


class OwnIssuer:
    """The issuer at `url` (https, as in `iss`), with the keys of a folder, of which one is made where there is none.

    `groups`: ids of the groups that IAM bindings name, the only ones that Google is told; empty for all. `wall`:
    seconds since the epoch. Raises `SettingsInvalid` for keys that must not be used.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        groups: frozenset[str] = frozenset(),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = https(url)
        self._keys = OwnKeys(folder, wall)
        self._groups = groups
        self._wall = wall

    def discovery(self) -> dict[str, object]:
        """The document at `/.well-known/openid-configuration`."""
        return {
            "issuer": self._url,
            "jwks_uri": f"{self._url}/.well-known/jwks.json",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["aud", "exp", "groups", "iat", "iss", "jti", "kind", "nbf", "roles", "sub", "tenant"],
        }

    def jwks(self) -> dict[str, object]:
        """The document at `/.well-known/jwks.json`: every key of the folder; raises `SettingsInvalid`."""
        return {"keys": [key.jwk() for key in self._keys.published()]}

    def rotate(self) -> str:
        """A new key, published from now on and signing once it has settled: its `kid`."""
        return self._keys.add().kid

    def vouched(self, identity: Identity) -> tuple[str, ...]:
        """The groups that a token for this identity would name, sorted."""
        return tuple(sorted(identity.groups & self._groups if self._groups else identity.groups))

    def sign(self, identity: Identity, audience: str, lifetime: int = MAX_LIFETIME) -> Secret:
        """A subject token for `audience`, good for `lifetime` seconds (1 to 600); raises `HopFailed`."""
        if not 0 < lifetime <= MAX_LIFETIME:
            raise ValueError(f"a subject token lives 1 to {MAX_LIFETIME} seconds")
        subject, groups = _subject(identity), self.vouched(identity)
        _check_groups(groups)
        told: dict[str, object] = {
            "tenant": identity.principal.tenant,
            "kind": identity.principal.kind.value,
            "groups": list(groups),
            "roles": sorted(identity.roles),
        }
        return self._sign(subject, audience, lifetime, told)

    def client_assertion(self, subject: str, audience: str) -> Secret:
        """What an application at Entra proves itself with, whose credential trusts `subject`; raises `HopFailed`.

        It names a line of `remit.yaml` and no caller, so that `audience` must be one that is asked for nobody's sake.
        """
        return self._sign(subject, audience, MAX_LIFETIME, {})

    def _sign(self, subject: str, audience: str, lifetime: int, told: Mapping[str, object]) -> Secret:
        now = int(self._wall())
        claims: dict[str, object] = {
            "iss": self._url,
            "sub": subject,
            "aud": audience,
            "iat": now - BACKDATE,
            "nbf": now - BACKDATE,
            "exp": now + lifetime,
            "jti": secrets.token_urlsafe(16),
        }
        try:
            return Secret(self._keys.signing().sign({**claims, **told}))
        except (SettingsInvalid, OSError):
            message = "the keys of Remit's own issuer cannot be used"
            raise HopFailed(HOP, Reason.EXCHANGE_UNAVAILABLE, message, hint="look at its folder of keys") from None


def _subject(identity: Identity) -> str:
    """`Principal.key`, once it is one principal's alone and Google would take it."""
    principal = identity.principal
    if not principal.tenant or not principal.subject or "/" in principal.tenant:
        raise _refused("a principal without tenant or subject, or of a tenant with a slash, cannot be told from others")
    if len(principal.key.encode("utf-8", "surrogatepass")) > MAX_SUBJECT:
        message = f"the principal's `tenant/subject` has more than the {MAX_SUBJECT} bytes that google takes"
        raise _refused(message, hint="give the issuer a shorter name, or have it send a shorter subject")
    return principal.key


def _check_groups(groups: tuple[str, ...]) -> None:
    size = sum(len(group.encode("utf-8", "surrogatepass")) for group in groups)
    if len(groups) > MAX_GROUPS or size > MAX_MAPPED:
        raise _refused(
            f"somebody in {len(groups)} groups cannot be told to google, which takes {MAX_GROUPS} and 8 KiB",
            hint="name those that IAM bindings use: `own_groups`",
        )


def _refused(message: str, *, hint: str = "") -> HopFailed:
    return HopFailed(HOP, Reason.EXCHANGE_REFUSED, message, hint=hint)
