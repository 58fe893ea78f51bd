"""Keys of service accounts over REST, for whoever looks for them or ends one. Making one is the control door's.

Google's own keys (`SYSTEM_MANAGED`) are left out. Source:
cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys.
"""

import re
from collections.abc import Mapping
from typing import Any

from remit.lab.google_keys import GoogleKeys
from remit.lab.google_wire import missing, timestamp
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import Act, Activity

PATH = re.compile(
    r"/v1/projects/(?P<project>-|[a-z0-9-]+)/serviceAccounts/(?P<account>[^/:]+)/keys(?:/(?P<key>[0-9a-f]{40}))?"
)
_USERS = "USER_MANAGED"


class IamKeys:
    """Answers what is of keys."""

    def __init__(self, iam: Iam, keys: GoogleKeys, activity: Activity) -> None:
        self._iam = iam
        self._keys = keys
        self._activity = activity

    def handle(self, request: Request, caller: Caller, match: Mapping[str, str]) -> Response:
        """Answer one request; raises `CloudError`."""
        account = self._iam.estate.account(match["account"])
        if account is None:
            raise missing(f"Service account {match['account']} does not exist.")
        resource, key = f"projects/-/serviceAccounts/{account.email}", match["key"] or ""
        if request.method == "DELETE" and key:
            method = "google.iam.admin.v1.DeleteServiceAccountKey"
            act = Act(caller, "iam.serviceAccountKeys.delete", resource, method)
            with self._activity.of(act):
                if not self._keys.end(account.email, key):
                    raise missing(f"Service account key {key} does not exist.")
            return reply({})
        if request.method != "GET":
            raise missing(f"Method not found: {request.method} {request.path}")
        self._iam.require(caller, f"iam.serviceAccountKeys.{'get' if key else 'list'}", resource)
        kinds = {value for name, value in request.query if name == "keyTypes"} or {_USERS}
        found = [self._shown(resource, one) for one in self._keys.made(account.email) if key in {"", one["kid"]}]
        if key:
            if not found:
                raise missing(f"Service account key {key} does not exist.")
            return reply(found[0])
        return reply({"keys": found} if found and _USERS in kinds else {})

    def _shown(self, resource: str, key: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": f"{resource}/keys/{key['kid']}",
            "keyAlgorithm": "KEY_ALG_RSA_2048",
            "keyOrigin": "GOOGLE_PROVIDED",
            "keyType": _USERS,
            "validAfterTime": timestamp(float(key["made"])),
            "validBeforeTime": "9999-12-31T23:59:59Z",
        }
