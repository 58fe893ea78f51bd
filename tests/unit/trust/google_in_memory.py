"""A small Google, as a transport: pools, accounts, custom roles and policies, with etags and deletions that can be undone."""

import json
import re
from copy import deepcopy

import httpx

NUMBERS = {"100000000002": "contoso-fraud-prod"}


class Refusal(Exception):
    def __init__(self, status, code, message=""):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class MemoryGoogle:
    """What is there, by resource name.

    `polls`: how often an operation is not done yet; `unseen`: accounts that policies do not know yet; `before_write`:
    called with the resource just before a policy is written.
    """

    def __init__(self):
        self.pools, self.accounts, self.roles = {}, {}, {}
        self.deleted_accounts = {}
        self.policies = {}
        self.polls = 0
        self.unseen = set()
        self.before_write = lambda resource: None
        self.operations, self.asked, self.made = {}, [], 0

    def client(self, also=lambda request: None):
        def handle(request):
            also(request)
            return self(request)

        return httpx.AsyncClient(transport=httpx.MockTransport(handle))

    def policy(self, resource):
        return self.policies.setdefault(resource, {"version": 1, "etag": "e0", "bindings": []})

    def write(self, resource, policy, mask="bindings,etag"):
        """Set a policy, as anybody would."""
        now = self.policy(resource)
        kept = {**now, **{name: deepcopy(policy[name]) for name in mask.split(",") if name in policy}}
        if "bindings" in mask.split(","):
            kept["bindings"] = deepcopy(policy.get("bindings", []))
        kept["etag"] = f"e{int(now['etag'][1:]) + 1}"
        self.policies[resource] = kept
        return kept

    def bind(self, resource, role, *members, condition=None):
        line = {"role": role, "members": list(members), **({"condition": condition} if condition else {})}
        self.write(resource, {**self.policy(resource), "bindings": [*self.policy(resource)["bindings"], line]})

    def bound(self, resource):
        return sorted(
            (line["role"], member) for line in self.policy(resource)["bindings"] for member in line["members"]
        )

    def __call__(self, request):
        self.asked.append((request.method, str(request.url)))
        try:
            return httpx.Response(200, json=self.answer(request))
        except Refusal as refusal:
            error = {"code": refusal.status, "status": refusal.code, "message": refusal.message}
            return httpx.Response(refusal.status, json={"error": error})

    def answer(self, request):
        body = json.loads(request.content) if request.content else None
        host, path, query = request.url.host, request.url.path, dict(request.url.params)
        if host == "storage.googleapis.com":
            return self.bucket(request.method, path.split("/")[4], body)
        if host == "cloudresourcemanager.googleapis.com":
            name, _, verb = path.removeprefix("/v1/").partition(":")
            return self.project(name, verb, body)
        assert host == "iam.googleapis.com", host
        path = path.removeprefix("/v1/")
        for pattern, handler in (
            (r".*/operations/.*", self.operation),
            (r".*/workloadIdentityPools.*", self.pool),
            (r".*/serviceAccounts.*", self.account),
            (r".*roles.*", self.role),
        ):
            if re.fullmatch(pattern, path):
                return handler(request.method, path, query, body)
        raise Refusal(404, "NOT_FOUND")

    def set_policy(self, resource, policy, mask="bindings,etag"):
        self.before_write(resource)
        for line in policy.get("bindings", ()):
            for member in line["members"]:
                email = member.removeprefix("serviceAccount:")
                if email != member and (email in self.unseen or email not in self.accounts):
                    raise Refusal(400, "INVALID_ARGUMENT", f"Service account {email} does not exist.")
            if line.get("condition") and policy.get("version") != 3:
                raise Refusal(400, "INVALID_ARGUMENT", "conditions need version 3")
        if policy.get("etag") != self.policy(resource)["etag"]:
            raise Refusal(409, "ABORTED", "There were concurrent policy changes.")
        return self.write(resource, policy, mask)

    def bucket(self, method, name, body):
        return self.policy(f"buckets/{name}") if method == "GET" else self.set_policy(f"buckets/{name}", body)

    def project(self, name, verb, body):
        if verb == "getIamPolicy":
            assert body["options"]["requestedPolicyVersion"] == 3
            return self.policy(name)
        return self.set_policy(name, body["policy"], body.get("updateMask") or "bindings,etag")

    def operation(self, method, path, query, body):
        self.operations[path] -= 1
        return {"name": path, "done": self.operations[path] <= 0}

    def start(self, name, **more):
        self.made += 1
        operation = f"{name}/operations/o{self.made}"
        self.operations[operation] = self.polls
        return {"name": operation, "done": not self.polls, **more}

    def pool(self, method, path, query, body):  # noqa: C901 - one answer for each verb
        name, _, verb = path.partition(":")
        if method == "POST" and not verb:
            identifier = query.get("workloadIdentityPoolProviderId") or query["workloadIdentityPoolId"]
            name = f"{name}/{identifier}"
            if name in self.pools:
                raise Refusal(409, "ALREADY_EXISTS", "Requested entity already exists")
            if "/providers/" in name and self.pools.get(name.partition("/providers/")[0], {}).get("state") != "ACTIVE":
                raise Refusal(404, "NOT_FOUND")
            self.pools[name] = {**body, "name": name, "state": "ACTIVE"}
            return self.start(name)
        if name.endswith("/providers"):
            inside = [each for key, each in self.pools.items() if key.startswith(f"{name}/")]
            start = int(query.get("pageToken", "0"))
            more = {"nextPageToken": str(start + 1)} if start + 1 < len(inside) else {}
            return {"workloadIdentityPoolProviders": inside[start : start + 1], **more}
        if name not in self.pools:
            raise Refusal(404, "NOT_FOUND")
        found = self.pools[name]
        if method == "GET":
            return found
        if method == "DELETE":
            found["state"] = "DELETED"
        elif verb == "undelete":
            found["state"] = "ACTIVE"
        else:
            for field in query["updateMask"].split(","):
                outer, _, inner = field.partition(".")
                if inner:
                    found[outer] = {**found[outer], inner: body[outer][inner]}
                else:
                    found[outer] = body[outer]
        return self.start(name)

    def account(self, method, path, query, body):  # noqa: PLR0911 - one answer for each verb
        parts, _, verb = path.partition(":")
        project, _, email = parts.removeprefix("projects/").partition("/serviceAccounts")
        email = email.removeprefix("/")
        if not email and method == "POST":
            email = f"{body['accountId']}@{project}.iam.gserviceaccount.com"
            if email in self.accounts or email in self.deleted_accounts:
                raise Refusal(409, "ALREADY_EXISTS", f"Service account {body['accountId']} already exists")
            self.made += 1
            self.accounts[email] = {"email": email, "uniqueId": str(1000 + self.made), **body["serviceAccount"]}
            return self.accounts[email]
        if not email:
            inside = [
                each for key, each in self.accounts.items() if key.endswith(f"@{project}.iam.gserviceaccount.com")
            ]
            return {"accounts": inside} if inside else {}
        if verb == "undelete":
            [name] = [key for key, each in self.deleted_accounts.items() if each["uniqueId"] == email]
            self.accounts[name] = self.deleted_accounts.pop(name)
            return {"restoredAccount": self.accounts[name]}
        if email not in self.accounts:
            raise Refusal(404, "NOT_FOUND", "Unknown service account")
        if verb == "getIamPolicy":
            return self.policy(f"accounts/{email}")
        if verb == "setIamPolicy":
            return self.set_policy(f"accounts/{email}", body["policy"])
        if verb:
            self.accounts[email]["disabled"] = verb == "disable"
            return {}
        if method == "DELETE":
            self.deleted_accounts[email] = self.accounts.pop(email)
            return {}
        return self.accounts[email]

    def role(self, method, path, query, body):
        name, _, verb = path.partition(":")
        if method == "POST" and not verb:
            name = f"{name}/{body['roleId']}"
            if self.roles.get(name, {}).get("deleted"):
                raise Refusal(400, "FAILED_PRECONDITION", "there is a role with that role_id in a deleted state")
            if name in self.roles:
                raise Refusal(409, "ALREADY_EXISTS")
            if any("*" in each for each in body["role"]["includedPermissions"]):
                raise Refusal(400, "INVALID_ARGUMENT", "Permission * is not valid.")
            self.roles[name] = {**body["role"], "name": name, "etag": "r1"}
            return self.roles[name]
        if name.endswith("/roles"):
            return {"roles": [each for key, each in self.roles.items() if key.startswith(f"{name}/")]}
        if name not in self.roles:
            raise Refusal(404, "NOT_FOUND")
        found = self.roles[name]
        if method == "PATCH":
            if body.get("etag", found["etag"]) != found["etag"]:
                raise Refusal(409, "ABORTED")
            found |= {field: body[field] for field in query["updateMask"].split(",")}
        if method != "GET":
            found |= {"deleted": True} if method == "DELETE" else {}
            found |= {"deleted": False} if verb == "undelete" else {}
            found["etag"] = f"r{int(found['etag'][1:]) + 1}"
        return dict(found)
