"""Azure's side: role assignments that open containers, against the lines of remit.yaml. Pure."""

from collections.abc import Iterator

from remit.trust.planning.matching import Matched
from remit.trust.planning.words import place
from remit.trust.settings import TrustSettings
from remit.trust.things import Found, Thing
from remit.trust.verifying.findings import ALL, Finding

_KIND = "azure.assignment"
_CONTAINER = "/blobservices/default/containers/"


def container_findings(match: Matched, settings: TrustSettings) -> Iterator[Finding]:
    """Assignments that are missing, that a condition may defeat, and that open more than a line of remit.yaml says."""
    for thing, one in match.pairs:
        if thing.address.kind == _KIND:
            yield from _wanted(thing, one, settings)
    principals = {
        one.ids["id"]: thing.address.name
        for thing, one in match.pairs
        if thing.address.kind == "entra.principal" and one and "id" in one.ids
    }
    for one in match.rest:
        if one.address.kind == _KIND:
            yield _unwanted(one, principals.get(str(one.fields["principal"]), ""), settings)


def _wanted(thing: Thing, one: Found | None, settings: TrustSettings) -> Iterator[Finding]:
    scope, role = str(thing.fields["scope"]), str(thing.fields["role"])
    client = thing.address.name.rpartition(" ")[2]
    where = _where(scope)
    roles = _roles(client, settings)
    if one is None:
        cure = f"assign `{role}` on `{where}` to `{client}`: `remit trust apply`"
        said = "remit.yaml opens it, and no role assignment does"
        yield Finding("missing", roles, client, where, role, "azure-assignment", said, cure)
    elif one.fields.get("condition"):
        said = f"it is assigned under a condition: {one.fields['condition']}"
        cure = f"take the condition from `{role}` on `{where}`: `remit trust apply`"
        yield Finding("clash", roles, client, where, role, "azure-assignment", said, cure)


def _unwanted(one: Found, client: str, settings: TrustSettings) -> Finding:
    scope, role = str(one.fields["scope"]), str(one.fields["role"])
    who = client or str(one.fields["principal"])
    wide = "" if _CONTAINER in scope.lower() else ": every container below it, and every one that is still to come"
    whole = f"it is assigned on the {place(scope)}" if scope.strip("/") else "it is assigned on the whole tenant"
    cure = f"remove it, and assign single containers under `credentials.azure`: `{role}` of `{who}` on `{scope}`"
    said = f"{whole}{wide}; remit.yaml does not say so"
    return Finding("excess", _roles(client, settings), who, _where(scope), role, "azure-assignment", said, cure)


def _where(scope: str) -> str:
    named = place(scope)
    return f"containers/{named.removeprefix('container ')}" if named.startswith("container ") else scope


def _roles(client: str, settings: TrustSettings) -> str:
    """Whose tokens the application opens containers with."""
    found = next((one for one in settings.azure if one.name == client), None)
    return ALL.join(sorted({subject.rpartition("/")[2] for subject in found.subjects})) if found else ""
