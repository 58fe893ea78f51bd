"""A Kubernetes cluster as an issuer: what the kubelet projects into a pod, and what its API server publishes.

Sources: kubernetes.io/docs/tasks/configure-pod-container/configure-service-account (discovery, projected volumes) and
…/docs/reference/access-authn-authz/service-accounts-admin ("Bound service account tokens": the claims). Leaves out the
cluster: there is one pod, of which the control door tells a token.
"""

import uuid
from collections.abc import Callable
from typing import Any

from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.jwt import SigningKey

HOST = "oidc.cluster.contoso.example"
ISSUER = f"https://{HOST}"
NAMESPACE, ACCOUNT = "training", "nightly"
SUBJECT = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
LIFETIME = 3600  # seconds, `expirationSeconds` of the volume
_POD = {
    "namespace": NAMESPACE,
    "node": {"name": "node-1", "uid": "7d1c6a52-3f0e-4b68-8f6e-c0de00000001"},
    "pod": {"name": "nightly-28871520-x7k2p", "uid": "7d1c6a52-3f0e-4b68-8f6e-c0de00000002"},
    "serviceaccount": {"name": ACCOUNT, "uid": "7d1c6a52-3f0e-4b68-8f6e-c0de00000003"},
}


class Cluster:
    """Its API server, as far as issuers go. `clock`: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = SigningKey()

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        match request.path:
            case "/.well-known/openid-configuration":
                return reply(_discovery())
            case "/openid/v1/jwks":
                return reply({"keys": [self._key.public(ISSUER)]})
        return reply({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}, 404)

    def commands(self) -> dict[str, Callable[[Any], object]]:
        """`pod_token`: the pod's token for an audience, as the kubelet writes it into the volume."""
        return {"pod_token": self.token}

    def token(self, audience: str) -> str:
        """The pod's token for an audience."""
        now = int(self._clock())
        claims = {"iss": ISSUER, "aud": [audience], "sub": SUBJECT, "jti": str(uuid.uuid4())}
        return self._key.sign({**claims, "iat": now, "nbf": now, "exp": now + LIFETIME, "kubernetes.io": _POD})


def _discovery() -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
