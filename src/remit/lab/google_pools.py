"""The workload identity pools' providers: what may stand in one, and the keys that they trust.

Whatever a provider says of its keys is taken at its word: uploaded ones (`oidc.jwksJson`), else what its issuer
publishes. OIDC alone. Source: cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools
.providers, whose limits are these.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import Provider
from remit.lab.google_estate import KEPT, Estate
from remit.lab.google_wire import flag, invalid, mask, members, text, timestamp

KeysOf = Callable[[str], list[dict[str, Any]]]
MEMBERS = (
    *("name", "displayName", "description", "state", "disabled", "expireTime"),
    *("attributeMapping", "attributeCondition", "oidc", "aws", "saml", "x509", "actorProviders"),
)
_OIDC = ("issuerUri", "allowedAudiences", "jwksJson", "discoveryUri")
_KINDS = {"RSA", "EC"}
_FIELDS = {
    "displayName": "title",
    "description": "about",
    "disabled": "disabled",
    "attributeCondition": "condition",
    "attributeMapping": "mapping",
    "oidc.issuerUri": "issuer",
    "oidc.allowedAudiences": "audiences",
    "oidc.jwksJson": "jwks",
}
"""Update mask → field of `Provider`."""
_WHOLE = ("oidc.issuerUri", "oidc.allowedAudiences", "oidc.jwksJson")  # what the mask `oidc` stands for
_ATTRIBUTE = re.compile(r"google\.(subject|groups)|attribute\.[a-z0-9_]{1,100}")
_ATTRIBUTES = 50  # custom ones
_EXPRESSION, _CONDITION = 2048, 4096  # characters
_AUDIENCES, _AUDIENCE = 10, 256  # of a provider; characters of one
_ISSUER = re.compile(r"https://[^\s?#]+")


class Pools:
    """Every provider. `keys_of`: an issuer's published keys, as its `jwks_uri` would give them."""

    def __init__(self, keys_of: KeysOf, estate: Estate) -> None:
        self._keys_of = keys_of
        self._estate = estate

    def find(self, resource: str) -> Provider | None:
        """The provider with this name, project by number, when tokens can be exchanged at it or it is disabled."""
        found = self._estate.provider(resource)
        return found if found and not found.deleted and self._estate.open(found.pool) else None

    def keys(self, provider: Provider) -> list[dict[str, Any]]:
        """The keys that a provider trusts."""
        if provider.jwks:
            uploaded: list[dict[str, Any]] = json.loads(provider.jwks)["keys"]
            return uploaded
        return self._keys_of(provider.issuer)

    def uploaded(self, issuer: str) -> list[dict[str, Any]]:
        """The keys that were uploaded for an issuer, none where nobody did."""
        every = self._estate.providers.all_seen().values()
        found = (self.keys(each) for each in every if each.issuer == issuer and each.jwks and not each.deleted)
        return next(found, [])

    def update(self, resource: str, body: Mapping[str, Any], given: str) -> Provider:
        """Change the masked members of a provider and return it; raises `CloudError`."""
        members(body.get("oidc") or {}, _OIDC, "oidc.")
        names = [each for name in mask(given, (*_FIELDS, "oidc")) for each in (_WHOLE if name == "oidc" else (name,))]
        changes: dict[str, Any] = {_FIELDS[name]: _value(name, body) for name in names}
        before = self._estate.providers.written(resource)
        if before is None:
            raise KeyError(resource)
        changed = _complete(replace(before, **changes))
        self._estate.providers.put(resource, changed)
        return changed

    def upload(self, given: Mapping[str, Any]) -> None:
        """For the control door: `name` of a provider and the `jwks` (a key set) that it trusts from now on."""
        resource = f"{contoso.PROVIDER.pool}/providers/{given['name']}"
        self.update(resource, {"oidc": {"jwksJson": json.dumps(given["jwks"])}}, "oidc.jwksJson")


def made(pool: str, name: str, body: Mapping[str, Any]) -> Provider:
    """A new provider of what a request says; raises `CloudError`."""
    members(body, MEMBERS)
    if "oidc" not in body:
        raise invalid("A provider of an OpenID Connect issuer is expected: `oidc` is missing.")
    members(body["oidc"], _OIDC, "oidc.")
    bare = Provider(pool, name, "", (), (), "")
    changes: dict[str, Any] = {field: _value(path, body) for path, field in _FIELDS.items()}
    return _complete(replace(bare, **changes))


def audiences(provider: Provider) -> frozenset[str]:
    """What an assertion may be meant for: the listed ones, else the provider itself."""
    return frozenset(provider.audiences) or frozenset(
        f"{scheme}//iam.googleapis.com/{provider.resource}" for scheme in ("", "https:")
    )


def describe(provider: Provider) -> dict[str, Any]:
    """The provider as REST shows it."""
    oidc: dict[str, Any] = {"issuerUri": provider.issuer, "allowedAudiences": list(provider.audiences)}
    oidc |= {"jwksJson": provider.jwks} if provider.jwks else {}
    found: dict[str, Any] = {
        "name": provider.resource,
        "state": "DELETED" if provider.deleted else "ACTIVE",
        "attributeMapping": dict(provider.mapping),
        "attributeCondition": provider.condition,
        "oidc": oidc,
    }
    found |= {"displayName": provider.title} if provider.title else {}
    found |= {"description": provider.about} if provider.about else {}
    found |= {"expireTime": timestamp(provider.deleted + KEPT)} if provider.deleted else {}
    return found | ({"disabled": True} if provider.disabled else {})


def _complete(provider: Provider) -> Provider:
    """The provider, when nothing is missing that it cannot be without."""
    if not provider.issuer:
        raise invalid("Invalid value at 'oidc.issuerUri': it is required.")
    if not any(name == "google.subject" for name, _ in provider.mapping):
        raise invalid("Invalid value at 'attributeMapping': google.subject is required.")
    return provider


def _value(name: str, body: Mapping[str, Any]) -> object:
    value: Any = body
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    readers: dict[str, Callable[[], object]] = {
        "disabled": lambda: flag(body, name),
        "displayName": lambda: text(body, name, 32),
        "description": lambda: text(body, name, 256),
        "attributeMapping": lambda: _mapping(value),
        "attributeCondition": lambda: _expression(text(body, name, _CONDITION), name),
        "oidc.allowedAudiences": lambda: _audiences(value),
        "oidc.jwksJson": lambda: _key_set(value),
        "oidc.issuerUri": lambda: _issuer(value),
    }
    return readers[name]()


def _issuer(value: object) -> str:
    if not isinstance(value, str) or not _ISSUER.fullmatch(value):
        raise invalid("Invalid value at 'oidc.issuerUri': an HTTPS address without query and fragment is expected.")
    return value


def _audiences(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | None) or not all(isinstance(each, str) for each in value or ()):
        raise invalid("Invalid value at 'oidc.allowedAudiences'.")
    if len(value or ()) > _AUDIENCES or any(len(each) > _AUDIENCE for each in value or ()):
        raise invalid(f"At most {_AUDIENCES} audiences of at most {_AUDIENCE} characters can be allowed.")
    return tuple(value or ())


def _mapping(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not value.get("google.subject"):
        raise invalid("Invalid value at 'attributeMapping': google.subject is required.")
    for name, expression in value.items():
        if not _ATTRIBUTE.fullmatch(name) or not isinstance(expression, str) or len(expression) > _EXPRESSION:
            raise invalid(f"Invalid mapped attribute: {name}")
        _expression(expression, f"attributeMapping.{name}")
    if sum(name.startswith("attribute.") for name in value) > _ATTRIBUTES:
        raise invalid(f"At most {_ATTRIBUTES} custom attributes can be mapped.")
    return tuple(value.items())


def _expression(expression: str, name: str) -> str:
    import cel  # noqa: PLC0415 - costs most of a second, and a lab whose providers nobody changes need not pay it

    try:
        _ = cel.compile(expression) if expression else None
    except ValueError as cause:
        raise invalid(f"Invalid value at '{name}': {cause}") from cause
    return expression


def _key_set(value: object) -> str:
    """Uploaded keys, RSA or EC and named; none goes back to the issuer's own."""
    if not value:
        return ""
    try:
        keys = json.loads(str(value))["keys"]
        good = all(key["kty"] in _KINDS and key["kid"] and "d" not in key for key in keys)
    except (ValueError, KeyError, TypeError) as cause:
        raise invalid("Invalid OIDC JWKs: not a JSON Web Key Set.") from cause
    if not good:
        raise invalid("Invalid OIDC JWKs: only named public keys of RSA and EC are supported.")
    return str(value)
