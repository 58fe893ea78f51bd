"""Which API a scope parameter asks for, and which of its permissions.

One resource a request, as the v2 endpoint demands; Graph when none is named. Source:
learn.microsoft.com/entra/identity-platform/scopes-oidc.
"""

from dataclasses import dataclass

from remit.lab import contoso
from remit.lab.contoso import App
from remit.lab.entra_errors import EntraError, missing
from remit.lab.entra_registry import Registry

_PROTOCOL = {"openid", "profile", "email", "offline_access"}
DEFAULT = ".default"


@dataclass(frozen=True, slots=True)
class Asked:
    """A scope parameter, understood. `prefix`: how the caller named the API; `permissions`: of the API."""

    resource: App
    prefix: str
    permissions: tuple[str, ...]
    default: bool
    protocol: frozenset[str]

    @property
    def granted(self) -> str:
        """The response's `scope`: full names, with `/.default` when that was asked."""
        names = [*self.permissions, *([DEFAULT] if self.default else [])]
        full = [f"{self.prefix}/{name}" for name in names]
        return " ".join([*full, *sorted(self.protocol - {"offline_access"})])


def understand(registry: Registry, scope: str) -> Asked:
    """What a `scope` parameter asks for; raises `EntraError`."""
    if not scope.strip():
        raise missing("scope")
    words = scope.split()
    named = [word.rpartition("/") for word in words if word not in _PROTOCOL]
    if not named:
        graph = resource_of(registry, contoso.GRAPH.id)
        return Asked(graph, graph.uri, (), default=False, protocol=frozenset(words))
    if not all(prefix for prefix, _, _ in named):
        raise EntraError(
            "invalid_scope", 70011, f"The provided value for the input parameter 'scope' is not valid: {scope}."
        )
    prefixes = {prefix for prefix, _, _ in named}
    if len(prefixes) > 1:
        raise EntraError(
            "invalid_scope",
            28000,
            "Provided value for the input parameter scope is not valid because it contains more than one resource.",
        )
    prefix = prefixes.pop()
    resource = resource_of(registry, prefix)
    asked = tuple(name for _, _, name in named if name != DEFAULT)
    default = len(asked) < len(named)
    unknown = [name for name in asked if name not in resource.scopes]
    if unknown:
        raise EntraError(
            "invalid_scope",
            650053,
            f"The application asked for scope '{unknown[0]}' that doesn't exist on the resource '{resource.id}'.",
        )
    return Asked(resource, prefix, resource.scopes if default else asked, default, frozenset(_PROTOCOL & set(words)))


def resource_of(registry: Registry, name: str) -> App:
    """The API with this identifier URI or app id; raises `EntraError`."""
    app = registry.resource(name)
    if app and app.principal:
        return app
    if app:
        raise EntraError(
            "invalid_client",
            650052,
            f"The app is trying to access a service '{app.id}'({app.name}) that your organization 'Contoso' lacks a "
            "service principal for. Contact your IT Admin to review the configuration of your service subscriptions or "
            "consent to the application in order to create the required service principal.",
        )
    raise EntraError(
        "invalid_resource",
        500011,
        f"The resource principal named {name} was not found in the tenant named Contoso. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You might have sent your authentication request to the wrong tenant.",
    )
