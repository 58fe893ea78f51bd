"""Google's security token service: a federated token for an Entra token, and a token narrowed to buckets.

cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token (RFC 8693), and
cloud.google.com/iam/docs/downscoping-short-lived-credentials. Leaves out: other subject tokens than JWTs.
"""

import json
from collections.abc import Mapping, Sequence

import httpx

from remit.credentials.hop import Hop, Token, code, https
from remit.model.errors import HopFailed
from remit.model.prefixes import below_in_google
from remit.model.reasons import Reason
from remit.model.secret import Secret

STS = "https://sts.googleapis.com"
IMPERSONATE = "https://www.googleapis.com/auth/iam"  # all that a federated token is for, here
MAX_BUCKETS = 10  # rules in one credential access boundary

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
# objects, and the bucket's own metadata, which TensorFlow reads first
_OBJECTS = "inRole:roles/storage.objectAdmin"
_PERMISSIONS = (_OBJECTS, "inRole:roles/storage.legacyBucketReader")


class GoogleSts:
    """Token exchange. `provider`: the workload identity provider's full resource name; `timeout`: seconds."""

    def __init__(self, client: httpx.AsyncClient, provider: str, *, timeout: float, base: str = STS) -> None:
        self._exchange = Hop("google-sts", client, timeout=timeout, words=_words)
        self._downscope = Hop("google-downscope", client, timeout=timeout, words=_words)
        self.provider = provider
        self._url = f"{https(base)}/v1/token"

    async def exchange(self, subject: Secret) -> Token:
        """A federated token that can impersonate and nothing else; raises `HopFailed`."""
        form = _form(subject, _JWT) | {"audience": self.provider, "scope": IMPERSONATE}
        return self._read(self._exchange, await self._exchange.post_form(self._url, form))

    async def downscope(self, source: Token, buckets: Sequence[str]) -> Token:
        """`source` narrowed to these buckets, or to what lies below prefixes of them (`BUCKET/PREFIX/`).

        It lives no longer, and opens nothing else; raises `HopFailed`.
        """
        if len(buckets) > MAX_BUCKETS:
            message = f"a token can be narrowed to at most {MAX_BUCKETS} buckets, not {len(buckets)}"
            raise HopFailed(self._downscope.name, Reason.EXCHANGE_REFUSED, message, hint="ask for fewer buckets")
        try:
            form = _form(source.value, _ACCESS_TOKEN) | {"options": boundary(buckets)}
        except ValueError as wrong:
            message = "a token cannot be narrowed to what is no prefix"
            raise HopFailed(self._downscope.name, Reason.EXCHANGE_REFUSED, message) from wrong
        members = await self._downscope.post_form(self._url, form)
        # Google leaves the life out when it is the source's
        narrowed = self._read(self._downscope, {"expires_in": int(source.life), **members})
        return Token(narrowed.value, min(narrowed.life, source.life))

    def _read(self, hop: Hop, members: Mapping[str, object]) -> Token:
        if members.get("issued_token_type") != _ACCESS_TOKEN:
            hop.unavailable("answered with another kind of token than was asked for")
        return hop.bearer(members)


def boundary(buckets: Sequence[str]) -> str:
    """The credential access boundary for these buckets, or parts of them, as JSON; raises `ValueError` for neither."""
    return json.dumps({"accessBoundary": {"accessBoundaryRules": [_rule(name) for name in buckets]}})


def _rule(name: str) -> Mapping[str, object]:
    bucket, slash, prefix = name.partition("/")
    resource = f"//storage.googleapis.com/projects/_/buckets/{bucket}"
    if not slash:
        return {"availableResource": resource, "availablePermissions": list(_PERMISSIONS)}
    condition = {"title": f"below {prefix}", "expression": below_in_google(bucket, prefix)}
    return {
        "availableResource": resource,
        "availablePermissions": [_OBJECTS],
        "availabilityCondition": condition,
    }


def _form(subject: Secret, kind: str) -> dict[str, str | Secret]:
    return {
        "grant_type": _EXCHANGE,
        "requested_token_type": _ACCESS_TOKEN,
        "subject_token": subject,
        "subject_token_type": kind,
    }


def _words(members: Mapping[str, object]) -> str:
    return code(members.get("error"))
