"""Remit's word to a service of the estate: who asks, in one signed header, for this service and for half a minute.

A JWT (RFC 7519) with the claims of RFC 9068 as far as they fit: it names the caller by the principal's key, never by an
address, and is bound to one audience, so that no service can show it to another one. A service reads the keys at
`/.well-known/jwks.json` of the issuer, which is the door. The issuer is none of those that Remit trusts: whoever brings
an assertion back here is nobody. Leaves out: what a service makes of it, encryption.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from remit.credentials.own_keys import OwnKeys
from remit.model.credential import Credential
from remit.model.errors import HopFailed, Refused, SettingsInvalid
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

HOP = "assertion"
LIFE = 60  # seconds
KEPT = 30.0  # seconds that one is handed out again: it then has as many left, and a lease needs half a second
SIZE = 10_000  # assertions kept; at 4 KiB each, 40 MiB
MAX_GROUPS = 100  # Entra's ids take 52 bytes each in a header, of which many servers take 8 KiB in all
MAX_NAME = 200  # characters of a display name
BACKDATE = 5  # seconds that a service's clock may be behind

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_CLOUDS = ("iam.googleapis.com", "azureadtokenexchange")


class Assertions:
    """Assertions by the issuer at `issuer`, the door's origin (https, or http on loopback, no slash at the end).

    `keys`: Remit's own, which may be those of its OIDC issuer too; `clock`: monotonic seconds, `wall`: seconds since
    the epoch.
    """

    def __init__(
        self,
        issuer: str,
        keys: OwnKeys,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = _origin(issuer)
        self._keys = keys
        self._clock = clock
        self._wall = wall
        self._kept: OrderedDict[tuple[Identity, str], tuple[Credential, float]] = OrderedDict()

    def jwks(self) -> dict[str, object]:
        """The document at `/.well-known/jwks.json`: every key of the folder; raises `SettingsInvalid`."""
        return {"keys": [key.jwk() for key in self._keys.published()]}

    async def obtain(self, identity: Identity, audience: str) -> Credential:
        """An assertion of who this is for `audience` alone; raises `Refused`, or `HopFailed` when no key can be used.

        Its key is all of the identity: one token's, one session's, with the groups and roles that they have now.
        """
        key, now = (identity, audience), self._clock()
        kept = self._kept.get(key)
        if kept is not None and now < kept[1] and kept[0].expires_at > self._wall():
            return kept[0]
        made = await asyncio.to_thread(self.sign, identity, audience)
        self._kept[key] = (made, now + KEPT)
        self._kept.move_to_end(key)
        while len(self._kept) > SIZE:
            self._kept.popitem(last=False)
        return made

    def sign(self, identity: Identity, audience: str) -> Credential:
        """A new assertion, good for a minute, and no longer than the token or session that it is given for."""
        if not audience or any(cloud in audience.lower() for cloud in _CLOUDS):
            # the same keys sign what Google and Entra take for Remit's word: that has another form, and another way
            raise HopFailed(HOP, Reason.EXCHANGE_REFUSED, "nothing is asserted to that audience")
        now = int(self._wall())
        expires = min(now + LIFE, identity.expires_at)
        if expires <= now:
            raise Refused(Reason.TOKEN_EXPIRED)
        claims = self._claims(identity, audience) | {"iat": now, "nbf": now - BACKDATE, "exp": expires}
        try:
            token = self._keys.signing().sign(claims)
        except (SettingsInvalid, OSError):
            message = "the keys of Remit's own issuer cannot be used"
            raise HopFailed(HOP, Reason.EXCHANGE_UNAVAILABLE, message, hint="look at its folder of keys") from None
        return Credential(AccessToken(token), expires, "", ())

    def _claims(self, identity: Identity, audience: str) -> dict[str, object]:
        principal = identity.principal
        told = len(identity.groups) <= MAX_GROUPS
        return {
            "iss": self._issuer,
            "aud": audience,
            "sub": principal.key,
            "jti": secrets.token_urlsafe(16),
            "tenant": principal.tenant,
            "kind": principal.kind.value,
            "name": identity.display[:MAX_NAME],
            "roles": sorted(identity.roles),
            # all or none: with some of them left out, a service that keeps a group away would let it in
            **({"groups": sorted(identity.groups)} if told else {"groups_omitted": True}),
            **({"client_id": identity.client} if identity.client else {}),
        }


def _origin(url: str) -> str:
    """An issuer's URL, checked; raises `ValueError` when its keys could be changed on the way to a service."""
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not safe or not parts.hostname or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("the issuer of assertions is an origin: https, or http on loopback, without a path")
    return url
