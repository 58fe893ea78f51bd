"""What a token is asked for, in the words of those who ask: an audience of ours, a scope of Google's or of Azure's.

`//storage.googleapis.com/projects/PROJECT`, likewise for `blob.core.windows.net`, `ossrdbms-aad.database.windows.net`
and `database.windows.net`, or `remit`. A scope can ask for less, and is never read as nothing: what is not understood
is refused, since a token that opens more than was asked for is no answer. Sources: RFC 8693 section 2.1,
developers.google.com/identity/protocols/oauth2/scopes#storage, learn.microsoft.com/entra/identity-platform/scopes-oidc.
"""

import re

from remit.access.exchange import Audience, Target

_AUDIENCE = re.compile(r"//(?P<host>[a-z.-]+)/projects/(?P<project>[a-z0-9][a-z0-9.:-]{0,62})")
"""Of the project id or number; an id has 30 characters, a domain before it 32 more."""

_CLOUDS = frozenset(Target) - {Target.REMIT}
_GOOGLE = "https://www.googleapis.com/auth/"
_WHOLE = frozenset(
    f"{_GOOGLE}{name}" for name in ("cloud-platform", "devstorage.full_control", "devstorage.read_write")
)
_READING = frozenset(f"{_GOOGLE}{name}" for name in ("cloud-platform.read-only", "devstorage.read_only"))
_RESOURCES = {
    "https://storage.azure.com": Target.BLOB,
    "https://ossrdbms-aad.database.windows.net": Target.POSTGRESQL,
    "https://database.windows.net": Target.SQL,
}
_DEFAULT = "/.default"
_CLIENT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class NotUnderstoodError(ValueError):
    """The words mean nothing here. `error`: OAuth's name for it (`invalid_target`, `invalid_scope`, …)."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


def exchanged(audience: str, scope: str) -> Audience:
    """What an RFC 8693 request is for; raises `NotUnderstoodError`. `scope`: as given, empty for none."""
    if audience == Target.REMIT:
        if scope:
            raise NotUnderstoodError("invalid_scope", "the caller's own token has no other scope than it has")
        return Audience(Target.REMIT)
    found = _AUDIENCE.fullmatch(audience)
    if found is None or found["host"] not in _CLOUDS:
        hosts = ", ".join(f"`//{each}/projects/PROJECT`" for each in Target if each in _CLOUDS)
        raise NotUnderstoodError("invalid_target", f"`audience` must be {hosts} or `remit`")
    target = Target(found["host"])
    if target is Target.STORAGE:
        return Audience(target, found["project"], reading=_reading(scope))
    if scope and _RESOURCES.get(_resource(scope)) is not target:
        raise NotUnderstoodError("invalid_scope", "this audience has one scope, its own `/.default`")
    return Audience(target, found["project"])


def at_entra(client: str, scope: str) -> Audience:
    """What Entra would be asked for: one resource's `/.default`, by the application `client`.

    Raises `NotUnderstoodError`.
    """
    if not _CLIENT.fullmatch(client):
        raise NotUnderstoodError("invalid_request", "`client_id` must be the id of an application, in lower case")
    target = _RESOURCES.get(_resource(scope))
    if target is None:
        known = ", ".join(f"`{each}{_DEFAULT}`" for each in _RESOURCES)
        raise NotUnderstoodError("invalid_scope", f"`scope` must be one of {known}")
    return Audience(target, client=client)


def _reading(scope: str) -> bool:
    """Whether no more than reading is asked for; scopes of other services beside Storage's own are not granted."""
    asked = frozenset(scope.split(" ")) if scope else _WHOLE
    if not asked & (_WHOLE | _READING):
        raise NotUnderstoodError("invalid_scope", "`scope` holds none of Cloud Storage's")
    return not asked & _WHOLE


def _resource(scope: str) -> str:
    """`https://database.windows.net` of `https://database.windows.net//.default`: the slash is a part of some names."""
    return scope.removesuffix(_DEFAULT).removesuffix("/") if scope.endswith(_DEFAULT) else ""
