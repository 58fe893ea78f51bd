"""Google's metadata server, one account per listener: what a job on Vertex AI finds at 169.254.169.254.

Left out: attributes, waiting for changes. Sources: cloud.google.com/compute/docs/metadata and
cloud.google.com/compute/docs/access/authenticate-workloads.
"""

import json
import time
from collections.abc import Callable

from remit.lab import contoso
from remit.lab.google_accounts import GoogleAccounts
from remit.lab.http import Handler, Request, Response
from remit.lab.iam import CLOUD_PLATFORM, Iam

LIFETIME = 3599  # seconds: what a fresh token of Google's metadata server has left
_ROOT = "/computeMetadata/v1/"
_FLAVOR = {"metadata-flavor": "Google", "server": "Metadata Server for VM"}


class Metadata:
    """Makes the handlers. `clock`: seconds since the epoch."""

    def __init__(self, iam: Iam, accounts: GoogleAccounts, clock: Callable[[], float] = time.time) -> None:
        self._iam = iam
        self._accounts = accounts
        self._clock = clock

    def handler(
        self, account: str, *, project: str, location: str, scopes: tuple[str, ...] = (CLOUD_PLATFORM,)
    ) -> Handler:
        """Serves one account. `project`: id; `location`: a region; `scopes`: what the machine was given."""

        async def handle(request: Request) -> Response:
            if "x-forwarded-for" in request.headers:
                return _refusal("X-Forwarded-For")
            if request.path == "/":
                return _text("computeMetadata/\n")
            if request.headers.get("metadata-flavor") != "Google":
                return _refusal("Missing Metadata-Flavor:Google header")
            if not request.path.startswith(_ROOT) or request.method != "GET":
                return _missing()
            return self._answer(request, account, project, location, scopes)

        return handle

    def _answer(self, request: Request, account: str, project: str, location: str, scopes: tuple[str, ...]) -> Response:
        owner = contoso.project(project)
        texts = {
            "project/project-id": project,
            "project/numeric-project-id": owner.number if owner else "0",
            "universe/universe-domain": "googleapis.com",
            "universe/universe_domain": "googleapis.com",
            "instance/zone": f"projects/{owner.number if owner else 0}/zones/{location}-a",
            "instance/id": "4700000000000000001",
            "instance/service-accounts/": f"default/\n{account}/\n",
        }
        path = request.path.removeprefix(_ROOT)
        if path in texts:
            return _text(texts[path])
        parts = path.removeprefix("instance/service-accounts/").partition("/")
        if not path.startswith("instance/service-accounts/") or parts[0] not in {"default", account}:
            return _missing()
        if parts[2] == "token":
            return self._token(request, account, scopes)
        if parts[2] == "identity":
            return self._identity(request, account)
        about = {"aliases": ["default"], "email": account, "scopes": list(scopes)}
        if parts[2] == "" and request.parameter("recursive").lower() == "true":
            return _json(about)
        lines = {"": "aliases\nemail\nidentity\nscopes\ntoken\n", "email": account, "aliases": "default"}
        lines["scopes"] = "\n".join(scopes) + "\n"
        return _text(lines[parts[2]]) if parts[2] in lines else _missing()

    def _token(self, request: Request, account: str, scopes: tuple[str, ...]) -> Response:
        wanted = tuple(filter(None, request.parameter("scopes").split(",")))
        token, expires_at = self._iam.mint(email=account, scopes=wanted or scopes, lifetime=LIFETIME)
        left = expires_at - int(self._clock())
        return _json({"access_token": token, "expires_in": left, "token_type": "Bearer"})

    def _identity(self, request: Request, account: str) -> Response:
        audience = request.parameter("audience")
        if not audience:
            return Response(400, b"non-empty audience parameter required", _FLAVOR | {"content-type": "text/plain"})
        return _text(self._accounts.token(account, audience, full=request.parameter("format") == "full"))


def _text(body: str) -> Response:
    return Response(200, body.encode(), _FLAVOR | {"content-type": "application/text"})


def _json(body: object) -> Response:
    return Response(200, json.dumps(body).encode(), _FLAVOR | {"content-type": "application/json"})


def _refusal(why: str) -> Response:
    return Response(403, why.encode(), _FLAVOR | {"content-type": "text/plain"})


def _missing() -> Response:
    return Response(404, b"Not Found", _FLAVOR | {"content-type": "text/plain"})
