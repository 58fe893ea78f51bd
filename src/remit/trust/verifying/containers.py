"""Azure's side: role assignments that open containers, against the lines of remit.yaml. Pure."""

from collections.abc import Iterator
from typing import Literal

from remit.trust.planning.matching import Matched
from remit.trust.planning.words import place
from remit.trust.prefixes import below, wider_than
from remit.trust.settings import TrustSettings
from remit.trust.things import Fields, Found, Thing
from remit.trust.verifying.findings import ALL, Finding

Kind = Literal["missing", "excess", "clash"]

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
    elif one.fields.get("condition") != thing.fields.get("condition"):
        for kind, said, cure in _otherwise(one.fields, below(thing.fields)):
            cure_ = f"{cure} `{role}` on `{where}`: `remit trust apply`"
            yield Finding(kind, roles, client, where, role, "azure-assignment", said, cure_)


def _otherwise(there: Fields, wanted: tuple[str, ...]) -> Iterator[tuple[Kind, str, str]]:
    """An assignment whose condition is not that of remit.yaml: what kind of finding it is, what is said, the cure."""
    condition, opened = there.get("condition"), below(there)
    if not wanted:
        yield "clash", f"it is assigned under a condition: {condition}", "take the condition from"
        return
    if not condition:
        said = f"it is assigned on the whole container, where remit.yaml opens {' and '.join(wanted)} alone"
        yield "excess", said, "give the condition back to"
        return
    defeated = [each for each in wanted if each not in opened and not wider_than(each, opened)]
    beyond = [each for each in opened if each not in wanted and not wider_than(each, wanted)]
    if defeated or not beyond:
        said = f"remit.yaml opens what lies below {' and '.join(defeated or wanted)}, and its condition is another"
        yield "clash", f"{said}: {condition}", "mend the condition of"
    if beyond:
        said = f"its condition opens what lies below {' and '.join(beyond)}, and remit.yaml does not"
        yield "excess", said, "mend the condition of"


def _unwanted(one: Found, client: str, settings: TrustSettings) -> Finding:
    scope, role = str(one.fields["scope"]), str(one.fields["role"])
    who = client or str(one.fields["principal"])
    wide = "" if _CONTAINER in scope.lower() else ": every container below it, and every one that is still to come"
    wide = f" under a condition{wide}" if one.fields.get("condition") else wide
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
