"""Everything that is sent to Microsoft Graph is of the shape that Microsoft publishes (`@microsoft/microsoft-graph-types`).

The package says no paths: which of its interfaces a path takes stands here, from the reference of each call.
"""

import asyncio
import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from tests.unit.trust.graph_in_memory import Anybody, GraphInMemory
from tests.unit.trust.test_trust_entra import DRIFTS, GROUP, SETTINGS, Tenant

from remit.trust.settings import Role

PROVIDERS = Path(__file__).parents[2] / "providers"
TYPES = "node_modules/@microsoft/microsoft-graph-types/microsoft-graph.d.ts"
_KEYED = r"\((?:appId|uniqueName)='[^']*'\)"
BODIES = (
    (rf"PATCH applications(?:{_KEYED}|/[^/]+)", "Application"),
    (r"POST servicePrincipals", "ServicePrincipal"),
    (r"PATCH servicePrincipals/[^/]+", "ServicePrincipal"),
    (r"POST applications/[^/]+/federatedIdentityCredentials", "FederatedIdentityCredential"),
    (r"PATCH applications/[^/]+/federatedIdentityCredentials/[^/]+", "FederatedIdentityCredential"),
    (r"POST servicePrincipals/[^/]+/appRoleAssignedTo", "AppRoleAssignment"),
    (r"POST directory/deletedItems/[^/]+/restore", ""),  # an action without parameters
)
SELECTED = (
    (rf"applications(?:{_KEYED}|/[^/]+)?", "Application"),
    (rf"servicePrincipals(?:{_KEYED}|/[^/]+)", "ServicePrincipal"),
    (r"directory/deletedItems/microsoft\.graph\.application", "Application"),
    (r"directory/deletedItems/microsoft\.graph\.servicePrincipal", "ServicePrincipal"),
)
PLAIN = {"string": str, "boolean": bool, "number": int}


class Published:
    """Interfaces of a file of declarations: members, and their plain types."""

    def __init__(self, text: str) -> None:
        declared = re.finditer(
            r"^export interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL
        )
        self._interfaces = {one[1]: (one[2], _members(one[3])) for one in declared}
        self._unions = set(re.findall(r"^export type (\w+) =", text, re.MULTILINE))

    def members(self, name: str) -> dict[str, str]:
        parent, own = self._interfaces[name]
        return {**(self.members(parent) if parent else {}), **own}

    def differs(self, value: Any, kind: str, place: str) -> list[str]:
        """Where a value is not of a type."""
        nullable = re.fullmatch(r"NullableOption<(.*)>", kind)
        if nullable:
            return [] if value is None else self.differs(value, nullable[1], place)
        if kind.endswith("[]"):
            if not isinstance(value, list):
                return [f"{place}: {value!r} is no list"]
            return [said for one in value for said in self.differs(one, kind[:-2], f"{place}[]")]
        if kind in PLAIN or kind in self._unions:
            return [] if type(value) is PLAIN.get(kind, str) else [f"{place}: {value!r} is no {kind}"]
        if not isinstance(value, dict):
            return [f"{place}: {value!r} is no {kind}"]
        known = self.members(kind)
        unknown = [f"{place}.{name}: {kind} has no such member" for name in value if name not in known]
        return unknown + [
            said
            for name in value
            if name in known
            for said in self.differs(value[name], known[name], f"{place}.{name}")
        ]


def _members(body: str) -> dict[str, str]:
    plain = re.sub(r"/\*.*?\*/|//[^\n]*", "", body, flags=re.DOTALL)
    return dict(re.findall(r"(\w+)\?: ([^;]+);", plain))


class Recording(httpx.AsyncBaseTransport):
    def __init__(self, graph: GraphInMemory) -> None:
        self._graph = graph
        self.queries: list[tuple[str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.queries.append((request.url.path.removeprefix("/v1.0/"), request.url.query.decode()))
        return await self._graph.handle_async_request(request)


@pytest.fixture(scope="module")
def published() -> Published:
    spec = importlib.util.spec_from_file_location("providers_install", PROVIDERS / "install.py")
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)
    try:
        installer.install()
    except SystemExit as error:
        pytest.fail(str(error.code))
    return Published((installer.FOLDER / TYPES).read_text())


@pytest.fixture(scope="module")
def cycle() -> tuple[GraphInMemory, Recording]:
    """A whole life: made, changed by somebody in every way and set back, roles renamed, removed, restored."""
    tenant = Tenant()
    recording = Recording(tenant.graph)
    tenant.cloud = type(tenant.cloud)(httpx.AsyncClient(transport=recording), Anybody())
    tenant.apply()
    for name, change in DRIFTS:
        tenant.application(name).update(change)
        tenant.apply()
    remit = tenant.application("remit")
    tenant.graph.credentials[remit["id"]][0]["subject"] = "somebody"
    tenant.apply()
    for principal in tenant.graph.principals.values():
        principal["accountEnabled"] = False
    fewer = replace(SETTINGS, roles=(SETTINGS.roles[1], Role("Auditor", groups=(GROUP,))))
    tenant.apply(fewer)
    known = replace(fewer, applications=replace(fewer.applications, remit=remit["appId"]), pending={})
    known = replace(known, pending={key: name for key, name in SETTINGS.pending.items() if name != "remit"})
    gone = next(one for one in tenant.read(fewer) if str(one.address) == "entra.application remit")
    asyncio.run(tenant.cloud.remove(gone))
    tenant.apply(known)
    assert tenant.plan(known).empty
    return tenant.graph, recording


def test_the_description_is_the_published_one(published):
    for _, name in (*BODIES, *SELECTED):
        assert not name or len(published.members(name)) > 5
    application = published.members("Application")
    assert (application["api"], application["identifierUris"]) == ("NullableOption<ApiApplication>", "string[]")
    assert published.differs({"api": {"scopes": []}}, "Application", "x") == [
        "x.api.scopes: ApiApplication has no such member"
    ]
    assert published.differs({"identifierUris": None}, "Application", "x") == ["x.identifierUris: None is no list"]
    assert published.differs({"appRoles": [{"isEnabled": "yes"}]}, "Application", "x")


def test_every_body_is_of_the_published_shape(published, cycle):
    seen = set()
    for method, path, body in cycle[0].changes:
        if method == "DELETE":
            assert body is None
            continue
        kind = next(name for pattern, name in BODIES if re.fullmatch(pattern, f"{method} {path}"))
        seen.add((method, kind))
        assert (published.differs(body, kind, kind) == []) if kind else body == {}
        assert body or not kind  # nothing is sent that changes nothing
    assert seen == {
        ("PATCH", "Application"),
        ("POST", "ServicePrincipal"),
        ("PATCH", "ServicePrincipal"),
        ("POST", "FederatedIdentityCredential"),
        ("PATCH", "FederatedIdentityCredential"),
        ("POST", "AppRoleAssignment"),
        ("POST", ""),
    }


def test_every_property_that_is_asked_for_is_published(published, cycle):
    found = False
    for path, query in cycle[1].queries:
        asked = parse_qs(query, strict_parsing=True) if query else {}
        assert set(asked) <= {"$select", "$filter", "$skiptoken"}
        if "$select" in asked:
            kind = next(name for pattern, name in SELECTED if re.fullmatch(pattern, path))
            assert set(asked["$select"][0].split(",")) <= set(published.members(kind))
            found = True
    assert found
