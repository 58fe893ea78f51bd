"""Two hundred random changes behind the file's back: each found, by whom and when, whom it concerns, and undone."""

import os
import random
import time
from dataclasses import replace

import pytest
from tests.unit.trust.drifting_lab import Hands, World

from remit.assembly import trust_drift
from remit.lab import contoso
from remit.lab.roles import known_roles
from remit.model.errors import TrustBroken
from remit.trust.drifting.drift import Side
from remit.trust.drifting.report import as_json, render
from remit.trust.things import Address

SEED = int(os.environ.get("DRIFT_SEED", "20261122"))
DRIFTS, BATCH = 200, 25
PROJECTS = tuple(project.id for project in contoso.PROJECTS)
ROLES = ("roles/viewer", "roles/aiplatform.viewer", "roles/logging.viewer", "roles/aiplatform.user", "roles/browser")
BUCKET_ROLES = ("roles/storage.objectViewer", "roles/storage.objectAdmin", "roles/storage.legacyBucketReader")
STRANGERS = ("user:admin@contoso.example", "user:eve@contoso.example", "group:all@contoso.example")
WHO = {"google": contoso.ADMIN, "entra": contoso.ADMINISTRATOR.name, "azure": contoso.ADMINISTRATOR.oid}
BLOB = {
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("drift"))
    assert made.clean().empty
    return made


class Mischief:
    """Random changes, none of a thing that an earlier one of the same reading changed."""

    def __init__(self, rng, view, found):
        self.rng, self.view, self.hands = rng, view, Hands(view)
        self.found = sorted(found, key=lambda one: one.address)
        self.touched = set()
        self.done = 0
        self.log = []

    def of(self, kind):
        return [one for one in self.found if one.address.kind == kind and one.address not in self.touched]

    def id(self, kind, name):
        return next(one.ids["id"] for one in self.found if one.address == Address(kind, name))

    async def one(self):
        kinds = (
            self.bind, self.bind, self.bind, self.unbind, self.unbind, self.unbind, self.condition, self.assign,
            self.unassign, self.provider, self.preauthorize, self.federate, self.unfederate, self.audit, self.role,
            self.azure, self.unazure, self.disable, self.open, self.redirect,
        )  # fmt: skip
        kind = self.rng.choice(kinds)
        if await kind():
            self.done += 2 if kind == self.condition else 1  # one line goes, another comes
            self.log.append(kind.__name__)

    def taken(self, *key):
        if key in self.touched:
            return True
        self.touched.add(key)
        return False

    async def bind(self):
        accounts = [one.address.name for one in self.found if one.address.kind == "google.account"]
        place = self.rng.choice(["projects", "buckets", "accounts"])
        if place == "projects":
            resource, role = f"projects/{self.rng.choice(PROJECTS)}", self.rng.choice(ROLES)
        elif place == "buckets":
            names = [bucket for project in contoso.PROJECTS for bucket in project.buckets]
            resource, role = f"buckets/{self.rng.choice(names)}", self.rng.choice(BUCKET_ROLES)
        else:
            resource = f"accounts/{self.rng.choice(accounts)}"
            role = self.rng.choice(["roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator"])
        pool = contoso.group_member(self.rng.choice(contoso.GROUPS[:8]))
        member = self.rng.choice([f"serviceAccount:{self.rng.choice(accounts)}", pool, *STRANGERS[1:]])
        if role not in known_roles() or self._held(resource, role, member):
            return False
        if self.taken(resource, role, member):
            return False
        line = {"role": role, "members": [member]}
        await self.hands.policy(resource, lambda policy: policy.setdefault("bindings", []).append(line))
        return True

    def _held(self, resource, role, member):
        wanted = {"resource": resource, "role": role, "member": member}
        return any(wanted.items() <= one.fields.items() for one in self.found if one.address.kind == "google.binding")

    def _lines(self):
        return [
            one
            for one in self.of("google.binding")
            if "user:admin" not in one.address.name and not one.fields["condition"]
        ]

    async def unbind(self):
        one = self.rng.choice(self._lines())
        if self.taken(one.fields["resource"], one.fields["role"], one.fields["member"]):
            return False

        def edit(policy):
            for line in policy["bindings"]:
                if line["role"] == one.fields["role"] and not line.get("condition"):
                    line["members"] = [each for each in line["members"] if each != one.fields["member"]]
            policy["bindings"] = [line for line in policy["bindings"] if line["members"]]

        await self.hands.policy(one.fields["resource"], edit)
        return True

    async def condition(self):
        lines = [one for one in self._lines() if one.fields["resource"].startswith("projects/")]
        one = self.rng.choice(lines)
        if self.taken(one.fields["resource"], one.fields["role"], one.fields["member"]):
            return False
        when = {"title": "until", "expression": 'request.time < timestamp("2030-01-01T00:00:00Z")'}

        def edit(policy):
            for line in policy["bindings"]:
                if line["role"] == one.fields["role"] and not line.get("condition"):
                    line["members"] = [each for each in line["members"] if each != one.fields["member"]]
            kept = [line for line in policy["bindings"] if line["members"]]
            policy["bindings"] = [
                *kept,
                {"role": one.fields["role"], "members": [one.fields["member"]], "condition": when},
            ]

        await self.hands.policy(one.fields["resource"], edit)
        return True

    async def assign(self):
        remit = self.id("entra.principal", "remit")
        document = await self.hands.graph.get(f"servicePrincipals/{remit}?$select=id,appId,appRoles")
        role = self.rng.choice(document["appRoles"])
        oid = self.rng.choice([*(user.oid for user in contoso.USERS), *(group.id for group in contoso.GROUPS[:20])])
        held = {
            (one.fields["role"], one.fields["principal"])
            for one in self.found
            if one.address.kind == "entra.assignment"
        }
        if (role["value"], oid) in held or self.taken("assignment", role["value"], oid):
            return False
        body = {"principalId": oid, "resourceId": remit, "appRoleId": role["id"]}
        await self.hands.graph.send("POST", f"servicePrincipals/{remit}/appRoleAssignedTo", body)
        return True

    async def unassign(self):
        one = self.rng.choice(self.of("entra.assignment"))
        if self.taken("assignment", one.fields["role"], one.fields["principal"]):
            return False
        remit = self.id("entra.principal", "remit")
        await self.hands.graph.delete(f"servicePrincipals/{remit}/appRoleAssignedTo/{one.ids['id']}")
        return True

    async def provider(self):
        one = self.rng.choice([each for each in self.found if each.address.kind == "google.provider"])
        if self.taken("provider", one.address.name):
            return False
        said = f'assertion.azp == "{self.rng.randrange(10**6)}"'
        body = self.rng.choice([{"attributeCondition": said}, {"disabled": True}])
        url = f"https://iam.googleapis.com/v1/{one.address.name}?updateMask={next(iter(body))}"
        await self.hands.google("PATCH", url, body)
        return True

    async def _application(self, name, change):
        if self.taken("application", name):
            return False
        key = self.id("entra.application", name)
        document = await self.hands.graph.get(f"applications/{key}")
        await self.hands.graph.send("PATCH", f"applications/{key}", change(document))
        return True

    async def preauthorize(self):
        def change(document):
            api = document["api"]
            one = {
                "appId": contoso.FOREIGN.id,
                "delegatedPermissionIds": [scope["id"] for scope in api["oauth2PermissionScopes"]],
            }
            return {"api": {**api, "preAuthorizedApplications": [*api["preAuthorizedApplications"], one]}}

        return await self._application(self.rng.choice(["remit", "remit-google"]), change)

    async def redirect(self):
        def change(document):
            uris = [*document["web"]["redirectUris"], f"https://eve.example/{self.rng.randrange(10**6)}"]
            return {"web": {**document["web"], "redirectUris": uris}}

        return await self._application(self.rng.choice(["remit", "remit-google"]), change)

    async def federate(self):
        name = self.rng.choice([one.address.name for one in self.found if one.address.kind == "entra.application"])
        number = self.rng.randrange(10**6)
        body = {
            "name": f"eve-{number}",
            "issuer": "https://eve.example",
            "subject": f"repo:eve/{number}",
            "audiences": ["api://AzureADTokenExchange"],
        }
        if self.taken("federation", number):
            return False
        key = self.id("entra.application", name)
        await self.hands.graph.send("POST", f"applications/{key}/federatedIdentityCredentials", body)
        return True

    async def unfederate(self):
        one = self.rng.choice(self.of("entra.federation"))
        if self.taken("federation", one.address.name):
            return False
        key = self.id("entra.application", one.fields["application"])
        await self.hands.graph.delete(f"applications/{key}/federatedIdentityCredentials/{one.ids['id']}")
        return True

    async def audit(self):
        one = self.rng.choice(self.of("google.audit"))
        if self.taken("audit", one.address.name):
            return False

        def edit(policy):
            for each in policy["auditConfigs"]:
                if each["service"] == one.fields["service"]:
                    each["auditLogConfigs"] = each["auditLogConfigs"][1:]
            policy["auditConfigs"] = [each for each in policy["auditConfigs"] if each["auditLogConfigs"]]

        await self.hands.policy(f"projects/{one.fields['project']}", edit)
        return True

    async def role(self):
        one = self.rng.choice([each for each in self.found if each.address.kind == "google.role"])
        if self.taken("role", one.address.name):
            return False
        lacking = {"aiplatform.customJobs.create", "aiplatform.models.delete", "aiplatform.endpoints.delete"}
        held = [*one.fields["permissions"], self.rng.choice(sorted(lacking.difference(one.fields["permissions"])))]
        url = f"https://iam.googleapis.com/v1/{one.address.name}?updateMask=includedPermissions"
        await self.hands.google("PATCH", url, {"includedPermissions": held})
        return True

    async def _arm(self, method, resource, body=None):
        url = f"https://management.azure.com{resource}?api-version=2022-04-01"
        await self.view.logs[2]._ask(method, url, body)

    async def azure(self):
        scope = self.rng.choice([one.fields["scope"] for one in self.found if one.address.kind == "azure.assignment"])
        role = self.rng.choice(sorted(BLOB))
        oid = self.rng.choice([user.oid for user in contoso.USERS])
        if self.taken("azure", scope, role, oid):
            return False
        name = f"{self.rng.getrandbits(32):08x}-0000-4000-8000-{self.rng.getrandbits(48):012x}"
        definition = (
            f"/subscriptions/{scope.split('/')[2]}/providers/Microsoft.Authorization/roleDefinitions/{BLOB[role]}"
        )
        body = {"properties": {"roleDefinitionId": definition, "principalId": oid, "principalType": "User"}}
        await self._arm("PUT", f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}", body)
        return True

    async def unazure(self):
        one = self.rng.choice(self.of("azure.assignment"))
        if self.taken("unazure", one.address.name):
            return False
        await self._arm("DELETE", one.ids["id"])
        return True

    async def disable(self):
        one = self.rng.choice([each for each in self.found if each.address.kind == "google.account"])
        if self.taken("account", one.address.name):
            return False
        project = one.address.name.partition("@")[2].partition(".")[0]
        url = f"https://iam.googleapis.com/v1/projects/{project}/serviceAccounts/{one.address.name}:disable"
        await self.hands.google("POST", url, {})
        return True

    async def open(self):
        name = self.rng.choice([one.address.name for one in self.found if one.fields.get("assignmentRequired") is True])
        if self.taken("principal", name):
            return False
        change = {"appRoleAssignmentRequired": False}
        await self.hands.graph.send("PATCH", f"servicePrincipals/{self.id('entra.principal', name)}", change)
        return True


async def batch(view, rng, count):
    mischief = Mischief(rng, view, (await view.look()).found)
    before = time.time()
    while mischief.done < count:
        await mischief.one()
    found = await trust_drift.explained(view)
    assert len(found) == mischief.done, (mischief.log, [one.drift.name for one in found])
    for one in found:
        page = render([one])
        assert one.cause.who == WHO[one.drift.change.address.cloud], page
        assert before - 1 <= one.cause.at <= time.time() + 1, page
        assert one.blast, page
        assert all(reach.who and all(who.label for who in reach.who) and reach.what for reach in one.blast), page
        assert one.drift.key in page
    return found, render(found), as_json(found)


async def undo(view, found):
    names = [one.drift.key for one in found]
    planned = await trust_drift.to_revert(view, names)
    risky = [change.name for change in planned.changes]
    outcome = await trust_drift.reverted(view, planned, risky, lambda _: None)
    assert outcome.left.empty
    assert (await view.look()).plan.empty


@pytest.mark.promise("V19")
def test_two_hundred_random_drifts_are_found_explained_and_reverted(world):
    print("DRIFT_SEED", SEED)
    rng = random.Random(SEED)
    sides, kinds, total = set(), set(), 0

    async def story(view):
        nonlocal total
        for _ in range(DRIFTS // BATCH):
            found, page, data = await batch(view, rng, BATCH)
            assert len(data["drifts"]) == len(found) >= BATCH
            assert page.endswith("for each")
            total += len(found)
            sides.update(one.drift.side for one in found)
            kinds.update(one.drift.change.address.kind for one in found)
            await undo(view, found)

    world.run(story)
    assert total >= DRIFTS
    assert sides == set(Side)
    assert len(kinds) >= 9


def bind(resource, role, member):
    async def story(view):
        line = {"role": role, "members": [member]}
        await Hands(view).policy(resource, lambda policy: policy.setdefault("bindings", []).append(line))
        return await trust_drift.explained(view)

    return story


def test_a_binding_and_a_person_are_adopted_and_every_comment_stays(tmp_path):
    world = World(tmp_path)
    assert world.clean().empty
    account = "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"
    before = world.file.read_text()

    async def story(view):
        await bind("projects/contoso-fraud-test", "roles/browser", f"serviceAccount:{account}")(view)
        remit = next(one for one in (await view.look()).found if one.address == Address("entra.principal", "remit"))
        roles = await view.graph.get(f"servicePrincipals/{remit.ids['id']}?$select=appRoles")
        role = next(one["id"] for one in roles["appRoles"] if one["value"] == "Security")
        body = {"principalId": contoso.OLGA.oid, "resourceId": remit.ids["id"], "appRoleId": role}
        await view.graph.send("POST", f"servicePrincipals/{remit.ids['id']}/appRoleAssignedTo", body)
        found = await trust_drift.explained(view)
        return await trust_drift.adopted(view, [one.drift.key for one in found], [])

    done = world.run(story)
    assert len(done.edits) == 2
    assert not done.also
    after = world.file.read_text()
    assert "roles/logging.logWriter, roles/browser]" in after
    assert f"people: [{contoso.SAM.oid}, {contoso.OLGA.oid}] # Sam" in after
    assert len(after.splitlines()) == len(before.splitlines())
    assert world.reread().empty
    assert not list(world.file.parent.glob(".remit.yaml.*"))


def test_what_is_unsafe_or_has_no_words_is_not_adopted(tmp_path):
    world = World(tmp_path)
    assert world.clean().empty
    before = world.file.read_bytes()
    eve = "user:eve@contoso.example"

    async def story(view):
        found = await bind("projects/contoso-fraud-test", "roles/owner", eve)(view)
        [owner] = found
        assert owner.drift.unsafe
        with pytest.raises(TrustBroken, match="unsafe, and not named"):
            await trust_drift.adopted(view, [owner.drift.key], [])
        hands = Hands(view)
        provider = next(one for one in (await view.look()).found if one.address.name.endswith("/providers/entra"))
        url = f"https://iam.googleapis.com/v1/{provider.address.name}?updateMask=attributeCondition"
        await hands.google("PATCH", url, {"attributeCondition": "assertion.sub != ''"})
        opened = next(one for one in await trust_drift.explained(view) if one.drift.now.get("condition"))
        assert "anybody whose token" in render([opened])
        with pytest.raises(TrustBroken, match="cannot be adopted"):
            await trust_drift.adopted(view, [opened.drift.key], [opened.drift.key])
        assert world.file.read_bytes() == before
        with pytest.raises(TrustBroken, match="there is no drift"):
            await trust_drift.to_revert(view, ["00000000"])
        return await trust_drift.adopted(view, [owner.drift.name], [owner.drift.name])

    [edit] = world.run(story).edits
    assert (edit.path, edit.value) == (("trust", "apart"), eve)


def test_a_log_that_nobody_may_read_is_told_and_stops_nothing(world):
    async def story(view):
        found = await bind("projects/contoso-churn-prod", "roles/browser", "user:eve@contoso.example")(view)
        blind = replace(view, logs=(Blind("google"), Blind("entra"), Blind("azure")))
        [told] = await trust_drift.explained(blind)
        old = replace(view, clock=lambda: time.time() + 500 * 86400)
        [late] = await trust_drift.explained(old)
        await undo(view, found)
        return told, late

    told, late = world.run(story)
    assert told.cause.unknown == "not found in the log of google: `roles/logging.viewer` is missing"
    assert "older than 400 days" in late.cause.unknown
    assert told.blast
    assert not told.cause.who


class Blind:
    def __init__(self, cloud):
        self.cloud = cloud

    async def read(self, drifts, found, since):
        raise TrustBroken("`roles/logging.viewer` is missing")


def test_what_remit_did_itself_is_told_as_such(world):
    async def story(view):
        found = await bind("projects/contoso-churn-prod", "roles/browser", "user:eve@contoso.example")(view)
        await undo(view, found)
        extra = next(thing for thing in view.wanted if thing.address.kind == "google.audit")
        fewer = replace(view, wanted=tuple(one for one in view.wanted if one != extra))
        seen = await view.look()
        there = next(one for one in seen.found if one.address == extra.address)
        await view.clouds["google"].remove(there)
        [gone] = await trust_drift.explained(view)
        planned = await trust_drift.to_revert(view, [gone.drift.name])
        await trust_drift.reverted(view, planned, [], lambda _: None)
        [own] = await trust_drift.explained(fewer)  # the file no longer says it
        return gone, own, planned.checksum

    gone, own, checksum = world.run(story)
    assert not gone.cause.remit
    assert own.cause.remit == checksum
    assert "the file is another since" in render([own])
