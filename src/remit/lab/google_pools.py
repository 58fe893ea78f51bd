"""The workload identity pool's providers, as they stand: read, changed over REST, and the keys that they trust.

Whatever a provider says of its keys is taken at its word: uploaded ones (`oidc.jwksJson`), else what its issuer
publishes. Source: cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.contoso import Provider
from remit.lab.errors import CloudError

KeysOf = Callable[[str], list[dict[str, Any]]]
_KINDS = {"RSA", "EC"}
_FIELDS = {
    "disabled": "disabled",
    "attributeCondition": "condition",
    "attributeMapping": "mapping",
    "oidc.issuerUri": "issuer",
    "oidc.allowedAudiences": "audiences",
    "oidc.jwksJson": "jwks",
}
"""Update mask → field of `Provider`."""


class Pools:
    """Every provider. `keys_of`: an issuer's published keys, as its `jwks_uri` would give them."""

    def __init__(self, keys_of: KeysOf, providers: tuple[Provider, ...] = contoso.PROVIDERS) -> None:
        self._keys_of = keys_of
        self._providers = {provider.resource: provider for provider in providers}

    def find(self, resource: str) -> Provider | None:
        """The provider with this name, project by number."""
        return self._providers.get(resource)

    def has(self, pool: str) -> bool:
        """Whether there is such a pool."""
        return any(provider.pool == pool for provider in self._providers.values())

    def keys(self, provider: Provider) -> list[dict[str, Any]]:
        """The keys that a provider trusts."""
        if provider.jwks:
            uploaded: list[dict[str, Any]] = json.loads(provider.jwks)["keys"]
            return uploaded
        return self._keys_of(provider.issuer)

    def uploaded(self, issuer: str) -> list[dict[str, Any]]:
        """The keys that were uploaded for an issuer, none where nobody did."""
        found = (self.keys(each) for each in self._providers.values() if each.issuer == issuer and each.jwks)
        return next(found, [])

    def update(self, resource: str, body: Mapping[str, Any], mask: str) -> Provider:
        """Change the masked members of a provider and return it; raises `CloudError`."""
        names = [name.strip() for name in mask.split(",")]
        if not mask or not set(names) <= set(_FIELDS):
            raise _invalid(f"Invalid update mask: {mask}")
        changes: dict[str, Any] = {_FIELDS[name]: _value(name, body) for name in names}
        self._providers[resource] = replace(self._providers[resource], **changes)
        return self._providers[resource]

    def upload(self, given: Mapping[str, Any]) -> None:
        """For the control door: `name` of a provider and the `jwks` (a key set) that it trusts from now on."""
        resource = f"{contoso.PROVIDER.pool}/providers/{given['name']}"
        self.update(resource, {"oidc": {"jwksJson": json.dumps(given["jwks"])}}, "oidc.jwksJson")


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
        "displayName": provider.name,
        "state": "ACTIVE",
        "attributeMapping": dict(provider.mapping),
        "attributeCondition": provider.condition,
        "oidc": oidc,
    }
    return found | ({"disabled": True} if provider.disabled else {})


def _value(name: str, body: Mapping[str, Any]) -> object:
    value: Any = body
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if name == "disabled":
        return bool(value)
    if name == "attributeMapping" and isinstance(value, Mapping) and value.get("google.subject"):
        return tuple((str(key), str(each)) for key, each in value.items())
    if name == "oidc.allowedAudiences" and isinstance(value, list | None):
        return tuple(map(str, value or ()))
    if name == "oidc.jwksJson":
        return _key_set(value)
    if name in {"attributeCondition", "oidc.issuerUri"} and isinstance(value, str | None):
        return value or ""
    raise _invalid(f"Invalid value at '{name}'.")


def _key_set(value: object) -> str:
    """Uploaded keys, RSA or EC and named; none goes back to the issuer's own."""
    if not value:
        return ""
    try:
        keys = json.loads(str(value))["keys"]
        good = all(key["kty"] in _KINDS and key["kid"] and "d" not in key for key in keys)
    except (ValueError, KeyError, TypeError) as cause:
        raise _invalid("Invalid OIDC JWKs: not a JSON Web Key Set.") from cause
    if not good:
        raise _invalid("Invalid OIDC JWKs: only named public keys of RSA and EC are supported.")
    return str(value)


def _invalid(message: str) -> CloudError:
    return CloudError(StatusCode.INVALID_ARGUMENT, message)
