"""Google's Security Token Service: a foreign token for a Google one, and a Google token for a narrower one.

Workload identity pools (JWT subjects) and credential access boundaries. No workforce pools, SAML or AWS. Sources:
cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token; RFC 8693; cloud.google.com/iam/docs/
downscoping-short-lived-credentials.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from grpc import StatusCode

from remit.lab import google_conditions, google_mapping
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.contoso import Provider
from remit.lab.errors import CloudError
from remit.lab.google_mapping import Mapped, MappingError
from remit.lab.google_pools import Pools, audiences
from remit.lab.http import Request, Response
from remit.lab.http_server import form, reply
from remit.lab.iam import Iam, Rule
from remit.lab.jwt import BrokenTokenError, verify
from remit.lab.roles import permissions_of

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_JWT = {"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"}
_STALE = 24 * 3600  # seconds: the oldest `iat` that Google takes, whatever `exp` says
_LIFETIME = 3600  # seconds of a federated token
_RULES = 10  # access boundary rules at most
_BUCKET = re.compile(r"//storage\.googleapis\.com/projects/_/buckets/([a-z0-9._-]+)")
_CAMEL = {
    "grantType": "grant_type",
    "requestedTokenType": "requested_token_type",
    "subjectToken": "subject_token",
    "subjectTokenType": "subject_token_type",
}


class StsError(Exception):
    """A refusal in OAuth's form."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class _Exchange:
    token: str
    lifetime: int


class GoogleSts:
    """Answers sts.googleapis.com. `clock`: seconds since the epoch."""

    def __init__(self, iam: Iam, audit: CloudAuditLog, pools: Pools, clock: Callable[[], float]) -> None:
        self._iam = iam
        self._audit = audit
        self._pools = pools
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.method != "POST" or request.path != "/v1/token":
            raise CloudError(StatusCode.NOT_FOUND, f"Not found: {request.path}")
        try:
            fields = _fields(request)
            done = self._narrow(fields) if fields.get("subject_token_type") == _ACCESS else self._federate(fields)
        except StsError as error:
            body = {"error": error.error, "error_description": str(error)}
            return reply(body, HTTPStatus.BAD_REQUEST)
        return reply(
            {
                "access_token": done.token,
                "issued_token_type": _ACCESS,
                "token_type": "Bearer",
                "expires_in": done.lifetime,
            }
        )

    def _federate(self, fields: Mapping[str, str]) -> _Exchange:
        """A federated token for another issuer's."""
        # 1 the form of the request
        if fields.get("subject_token_type") not in _JWT:
            raise StsError("invalid_request", 'Invalid value for "subjectTokenType".')
        scopes = fields.get("scope", "").split()
        if not scopes:
            raise StsError("invalid_request", 'Invalid value for "scope".')
        # 2 the provider
        provider = self._provider(fields.get("audience", ""))
        claims: dict[str, Any] = {}
        try:
            # 3 the token
            claims = self._verified(provider, fields.get("subject_token", ""))
            # 4 the mapping and the condition
            mapped = google_mapping.apply(provider, claims)
        except MappingError as cause:
            self._enter(provider, fields, claims, None, str(cause))
            raise StsError(cause.error, str(cause)) from cause
        except StsError as cause:
            self._enter(provider, fields, claims, None, str(cause))
            raise
        # 5 the token of the pool's principal, and the entry
        lifetime = min(_LIFETIME, int(claims["exp"] - self._clock()))
        token, _ = self._iam.mint(
            email="",
            scopes=scopes,
            lifetime=lifetime,
            principal_subject=mapped.principal(provider.pool),
            sets=mapped.sets(provider.pool),
        )
        self._enter(provider, fields, claims, mapped, "")
        return _Exchange(token, lifetime)

    def _provider(self, audience: str) -> Provider:
        provider = self._pools.find(audience.removeprefix("//iam.googleapis.com/"))
        if provider and audience.startswith("//iam.googleapis.com/") and not provider.disabled:
            return provider
        if not audience.startswith("//iam.googleapis.com/"):
            raise StsError(
                "invalid_request",
                'Invalid value for "audience". This value should be the full resource name of the Identity Provider.',
            )
        raise StsError(
            "invalid_target",
            'The target service indicated by the "audience" parameters is invalid. This might either be because the '
            "pool or provider is disabled or deleted or because it doesn't exist.",
        )

    def _verified(self, provider: Provider, token: str) -> dict[str, Any]:
        try:
            claims = verify(token, self._pools.keys(provider))
        except BrokenTokenError as cause:
            raise StsError("invalid_grant", f"The ID Token could not be verified: {cause}.") from cause
        missing = [name for name in ("iss", "iat", "exp", "sub", "aud") if name not in claims]
        if missing:
            raise StsError("invalid_grant", f"The ID Token lacks the claim {missing[0]}.")
        now = self._clock()
        if claims["iss"] != provider.issuer:
            raise StsError(
                "invalid_grant",
                f"The issuer in ID Token {claims['iss']} does not match the expected ones: {provider.issuer}.",
            )
        meant = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if not audiences(provider).intersection(meant):
            raise StsError("invalid_grant", f"The audience in ID Token {meant} does not match the expected audience.")
        if claims["iat"] > now:
            raise StsError("invalid_grant", f"ID Token issued at {claims['iat']} is in the future.")
        if claims["iat"] < now - _STALE:
            raise StsError("invalid_grant", f"ID Token issued at {claims['iat']} is stale to sign-in.")
        if claims["exp"] <= now:
            raise StsError("invalid_grant", f"ID Token expired at {claims['exp']}.")
        return claims

    def _narrow(self, fields: Mapping[str, str]) -> _Exchange:
        """The same token with an access boundary."""
        try:
            caller = self._iam.caller(f"Bearer {fields.get('subject_token', '')}")
        except CloudError as cause:
            raise StsError("invalid_grant", "The subject token is not a valid access token.") from cause
        if caller.buckets is not None:
            raise StsError("invalid_grant", "The subject token is narrowed already.")
        rules = _boundary(fields.get("options", ""))
        lifetime = int(caller.expires_at - self._clock())
        token, _ = self._iam.mint(
            email=caller.email,
            scopes=caller.scopes,
            lifetime=lifetime,
            delegation=caller.delegation,
            buckets=rules,
            principal_subject=caller.principal_subject,
            sets=caller.sets,
            person=caller.person,
        )
        return _Exchange(token, lifetime)

    def _enter(
        self,
        provider: Provider,
        fields: Mapping[str, str],
        claims: Mapping[str, Any],
        mapped: Mapped | None,
        failure: str,
    ) -> None:
        request = {
            "@type": "type.googleapis.com/google.identity.sts.v1.ExchangeTokenRequest",
            "audience": fields.get("audience", ""),
            "grantType": _GRANT,
            "requestedTokenType": _ACCESS,
            "subjectTokenType": fields["subject_token_type"],
        }
        metadata: dict[str, Any] = {"@type": "type.googleapis.com/google.identity.sts.v1.AuditData"}
        metadata |= {"mapped_principal": mapped.principal(provider.pool)} if mapped else {}
        self._audit.write(
            service="sts.googleapis.com",
            method="google.identity.sts.v1.SecurityTokenService.ExchangeToken",
            resource=provider.resource,
            caller=None,
            permission="sts.identityProviders.checkLogging",
            granted=mapped is not None,
            request=request,
            status=CloudError(StatusCode.INVALID_ARGUMENT, failure) if failure else None,
            principal_subject=str(claims.get("sub", "")),
            metadata=metadata,
        )


def _fields(request: Request) -> dict[str, str]:
    """The request's fields in form names, of a form or of JSON; raises `StsError`."""
    fields = form(request)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            fields = {_CAMEL.get(name, name): value for name, value in json.loads(request.body).items()}
        except (ValueError, AttributeError) as cause:
            raise StsError("invalid_request", "Invalid JSON payload received.") from cause
    if fields.get("grant_type") != _GRANT:
        raise StsError("invalid_request", 'Invalid value for "grantType".')
    if fields.get("requested_token_type", _ACCESS) != _ACCESS:
        raise StsError("invalid_request", 'Invalid value for "requestedTokenType".')
    return fields


def _boundary(options: str) -> tuple[Rule, ...]:
    """The rules of an access boundary; google-auth percent-encodes the JSON once more than the form does."""
    try:
        given = json.loads(unquote(options))["accessBoundary"]["accessBoundaryRules"]
        read = [
            (
                _BUCKET.fullmatch(rule["availableResource"]),
                rule["availablePermissions"],
                rule["availabilityCondition"]["expression"] if "availabilityCondition" in rule else None,
            )
            for rule in given
        ]
    except (ValueError, KeyError, TypeError) as cause:
        raise StsError("invalid_request", 'Invalid value for "options".') from cause
    if not 0 < len(read) <= _RULES:
        raise StsError("invalid_request", "An access boundary holds 1 to 10 rules.")
    rules: list[Rule] = []
    for match, roles, condition in read:
        # To let a condition pass that the lab cannot evaluate would widen the token.
        broken = condition is not None and (not isinstance(condition, str) or google_conditions.problem(condition))
        if match is None or broken or not all(role.startswith("inRole:roles/storage.") for role in roles):
            raise StsError("invalid_request", "Invalid access boundary rule.")
        found = frozenset().union(*(permissions_of(role.removeprefix("inRole:")) for role in roles))
        rules.append(Rule(match[1], found, condition or ""))
    return tuple(rules)
