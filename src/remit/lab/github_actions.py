"""GitHub Actions as an issuer: each run may ask for a token that says which repository, branch and workflow it is.

Source: docs.github.com/actions/reference/openid-connect-reference (claims, `ACTIONS_ID_TOKEN_REQUEST_URL`). One run is
under way at a time; the control door says which.
"""

import secrets
import uuid
from collections.abc import Callable
from typing import Any

from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.jwt import SigningKey

HOST = "token.actions.githubusercontent.com"
RUNNER = "pipelines.actions.githubusercontent.com"
ISSUER = f"https://{HOST}"
LIFETIME = 300  # seconds, as GitHub's
RUN = {
    "repository": "contoso/fraud",
    "repository_id": "730000001",
    "repository_owner": "contoso",
    "repository_owner_id": "4200001",
    "repository_visibility": "private",
    "ref": "refs/heads/main",
    "ref_type": "branch",
    "ref_protected": "true",
    "sha": "9f2b0c1d4e5f60718293a4b5c6d7e8f901234567",
    "workflow": "nightly training",
    "event_name": "schedule",
    "actor": "dana",
    "actor_id": "5100001",
    "run_id": "8800000001",
    "run_number": "42",
    "run_attempt": "1",
    "runner_environment": "github-hosted",
}


class GitHubActions:
    """Answers both hosts. `clock`: seconds since the epoch; `request_token`: what the run asks with."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = SigningKey()
        self._run = dict(RUN)
        self.request_token = secrets.token_urlsafe(24)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.host == RUNNER:
            return self._token(request)
        match request.path:
            case "/.well-known/openid-configuration":
                return reply(_discovery())
            case "/.well-known/jwks":
                return reply({"keys": [self._key.public(ISSUER)]})
        return reply({"message": "Not Found"}, 404)

    def commands(self) -> dict[str, Callable[[Any], object]]:
        """`github_run`: claims of the run that is under way, over the usual ones."""
        return {"github_run": self._change}

    def variables(self) -> dict[str, str]:
        """What a runner tells its steps."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://{RUNNER}/run/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.request_token,
        }

    def token(self, audience: str) -> str:
        """The run's token for an audience."""
        now = int(self._clock())
        run = self._run
        workflow = f"{run['repository']}/.github/workflows/nightly.yml@{run['ref']}"
        return self._key.sign(
            {
                **run,
                "iss": ISSUER,
                "aud": audience,
                "sub": f"repo:{run['repository']}:ref:{run['ref']}",
                "jti": str(uuid.uuid4()),
                "iat": now,
                "nbf": now - LIFETIME,
                "exp": now + LIFETIME,
                "workflow_ref": workflow,
                "job_workflow_ref": workflow,
                "head_ref": "",
                "base_ref": "",
            }
        )

    def _token(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.request_token}":
            return reply({"message": "Unauthorized"}, 401)
        audience = request.parameter("audience") or "https://github.com/contoso"
        return reply({"count": 1, "value": self.token(audience)})

    def _change(self, claims: dict[str, str]) -> None:
        self._run = {**RUN, **claims}


def _discovery() -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/.well-known/jwks",
        "subject_types_supported": ["public", "pairwise"],
        "response_types_supported": ["id_token"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
    }
