"""What no cloud takes, told by name before any is asked.

Pure. Sources: learn.microsoft.com/graph/api/resources/federatedidentitycredential, /approle, /application, /entra/
identity/users/directory-service-limits-restrictions; cloud.google.com/iam/quotas, /iam/docs/reference/rest/v1/
projects.locations.workloadIdentityPools.providers, /iam/docs/manage-workload-identity-pools-providers,
/iam/docs/service-accounts-create, /iam/docs/creating-custom-roles.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from remit.model.counts import counted
from remit.trust.things import Fields, Ref, Text, Thing, Value

_CREDENTIALS = 20  # federated, of one application
_CREDENTIAL_NAME, _CREDENTIAL_TEXT = 120, 600  # characters
_DISPLAY_NAME = 256  # characters, of an application
_ROLE_VALUE = re.compile(r"(?!\.)[\w!#$%&'()*+,\-./:;=?@\[\]^`{|}~]{1,120}", re.ASCII)
_REDIRECTS, _REDIRECT = 256, 256  # of one application; characters
_ENTRIES = 1200  # of one application's manifest
_SUBJECT = 127  # bytes of `google.subject`
_AUDIENCES, _AUDIENCE = 10, 256  # of one provider; characters
_CONDITION, _EXPRESSION, _ATTRIBUTES = 4096, 2048, 50  # characters; characters of one mapping; custom ones
_POOL = re.compile(r"(?!gcp-)[a-z0-9-]{4,32}")
_ACCOUNT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]@.+")
_ROLE = re.compile(r"[A-Za-z0-9_.]{3,64}")
_TITLE = 100  # bytes, of a custom role
_PERMISSIONS = 3000  # of a custom role
_ID = 36  # characters of an id that is not known yet


def limits(wanted: Sequence[Thing]) -> tuple[str, ...]:
    """Every limit that these things would break, a sentence each; none means that they can be made."""
    alone = (said for thing in wanted if not thing.given for said in _CHECKS.get(thing.address.kind, _nothing)(thing))
    return tuple(dict.fromkeys((*alone, *_credentials(wanted))))


def _nothing(_thing: Thing) -> Iterator[str]:
    yield from ()


def _application(thing: Thing) -> Iterator[str]:
    fields = thing.fields
    for value in _texts(fields, "roles"):
        if not _ROLE_VALUE.fullmatch(value):
            yield f"`{value}` is no app role's name: 1 to 120 characters without spaces, of which the first is no dot"
    for value in sorted(set(_texts(fields, "roles")) & set(_texts(fields, "scopes"))):
        yield f"`{value}` is a role and a scope of `{thing.address.name}`: Entra tells them apart by their names"
    yield from _too_long(thing, "display name", str(fields.get("displayName", "")), _DISPLAY_NAME)
    redirects = (*_texts(fields, "webRedirects"), *_texts(fields, "publicRedirects"))
    yield from _too_many(thing, "redirect URIs", redirects, _REDIRECTS)
    for uri in redirects:
        yield from _too_long(thing, "redirect URI", uri, _REDIRECT)
        if not re.match(r"https://|http://(localhost|127\.0\.0\.1)([:/]|$)", uri):
            yield f"`{uri}` is no redirect URI: `https`, or `http` at `localhost`"
    yield from _too_many(thing, "entries", [one for name in fields for one in _texts(fields, name)], _ENTRIES)


def _federation(thing: Thing) -> Iterator[str]:
    yield from _too_long(thing, "name", thing.address.name.rpartition("/")[2], _CREDENTIAL_NAME)
    for name in ("issuer", "subject", "audience"):
        value = thing.fields.get(name)
        yield from _too_long(thing, name, _text(value), _CREDENTIAL_TEXT)
        if not value:
            yield f"`{thing.address}` has no {name}: it would trust nobody, or everybody"


def _credentials(wanted: Sequence[Thing]) -> Iterator[str]:
    held = Counter(thing.fields["application"] for thing in wanted if thing.address.kind == "entra.federation")
    for application, count in held.items():
        if count > _CREDENTIALS:
            yield (
                f"`entra.application {application}` would have {counted(count, 'federated credential')}: "
                f"Entra takes {_CREDENTIALS} for one application"
            )


def _pool(thing: Thing) -> Iterator[str]:
    yield from _pool_id("pool", thing.address.name)


def _provider(thing: Thing) -> Iterator[str]:
    fields = thing.fields
    yield from _pool_id("provider", thing.address.name)
    audiences = fields.get("audiences")
    audiences = audiences if isinstance(audiences, tuple) else ()
    yield from _too_many(thing, "audiences", audiences, _AUDIENCES)
    for audience in audiences:
        yield from _too_long(thing, "audience", _text(audience), _AUDIENCE)
    yield from _too_long(thing, "condition", _text(fields.get("condition")), _CONDITION)
    mapping = fields.get("mapping")
    mapping = mapping if isinstance(mapping, Mapping) else {}
    custom = [name for name in mapping if name.startswith("attribute.")]
    yield from _too_many(thing, "mapped attributes", custom, _ATTRIBUTES)
    for name, expression in mapping.items():
        yield from _too_long(thing, f"mapping of `{name}`", _text(expression), _EXPRESSION)
    if not str(fields.get("issuer", "")).startswith("https://"):
        yield f"`{thing.address}` has an issuer that is not `https`"


def _pool_id(noun: str, resource: str) -> Iterator[str]:
    name = resource.rpartition("/")[2]
    if not _POOL.fullmatch(name):
        yield f"`{name}` is no {noun}'s name: 4 to 32 of a to z, 0 to 9 and `-`, and not `gcp-` first"


def _account(thing: Thing) -> Iterator[str]:
    if not _ACCOUNT.fullmatch(thing.address.name):
        yield f"`{thing.address.name}` is no service account: its name has 6 to 30 of a to z, 0 to 9 and `-`"


def _role(thing: Thing) -> Iterator[str]:
    name = thing.address.name.rpartition("/")[2]
    if not _ROLE.fullmatch(name):
        yield f"`{name}` is no custom role's name: 3 to 64 letters, digits, `_` and `.`"
    yield from _too_long(thing, "title", str(thing.fields.get("title", "")), _TITLE, bytes_=True)
    yield from _too_many(thing, "permissions", _texts(thing.fields, "permissions"), _PERMISSIONS)


def _binding(thing: Thing) -> Iterator[str]:
    """A subject comes to be one only as Google maps it: one that is longer can never have signed in."""
    member = _text(thing.fields.get("member"))
    subject = member.partition("/subject/")[2] if member.startswith("principal://") else ""
    size = len(subject.encode())
    if size > _SUBJECT:
        yield f"`{subject}` has {size} bytes: Google takes a subject of {_SUBJECT} at most"


_CHECKS: Mapping[str, Callable[[Thing], Iterator[str]]] = {
    "entra.application": _application,
    "entra.federation": _federation,
    "google.pool": _pool,
    "google.provider": _provider,
    "google.account": _account,
    "google.role": _role,
    "google.binding": _binding,
}


def _too_long(thing: Thing, noun: str, text: str, most: int, *, bytes_: bool = False) -> Iterator[str]:
    size = len(text.encode() if bytes_ else text)
    if size > most:
        unit = "bytes" if bytes_ else "characters"
        yield f"the {noun} of `{thing.address}` has {size} {unit}: {most} at most"


def _too_many(thing: Thing, noun: str, values: Sequence[object], most: int) -> Iterator[str]:
    if len(values) > most:
        yield f"`{thing.address}` has {len(values)} {noun}: {most} at most"


def _text(value: Value) -> str:
    """A value as long as it will be when every id is known."""
    if isinstance(value, Text):
        return "".join(_text(part) for part in value.parts)
    return "0" * _ID if isinstance(value, Ref) else str(value or "")


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    value = fields.get(name)
    return tuple(_text(one) for one in value) if isinstance(value, tuple) else ()
