"""Whose tokens an OIDC issuer gives out: for each kind a table of claims, and what of them a policy may read.

Sources, kind by kind:
access tokens: RFC 9068 sections 2 and 4;
Google: developers.google.com/identity/openid-connect/openid-connect "An ID token's payload",
cloud.google.com/compute/docs/instances/verifying-instance-identity;
Kubernetes: kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin "Bound service account tokens";
GitHub: docs.github.com/actions/reference/security/oidc; GitLab: docs.gitlab.com/ci/secrets/id_token_authentication;
Azure DevOps: learn.microsoft.com/azure/devops/pipelines/release/convert-service-connections. Its audience cannot be
chosen, so that the token which opens Azure is the token that opens this; most connections move to an issuer of
Entra's by July 2027, whose tokens are for Entra's own exchange: those pipelines sign in at Entra first.

Names that people choose and give away (an e-mail address, a login) are shown and decide nothing: they are neither
attributes nor to be named in a rule. Leaves out: signature, party, time and who is accepted (`oidc`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from remit.identity.settings import OidcKind
from remit.identity.tokens.claims import Claim, Need, is_scalar, is_seconds, is_subject, is_text, is_texts, text
from remit.identity.tokens.role_rules import plain
from remit.model.errors import Refused
from remit.model.identity import Kind
from remit.model.reasons import Reason

MAX_AUDIENCES = 8  # of an access token; RFC 9068 section 4 lets there be several, and means few

Claims = Mapping[str, object]

_SUBJECT = Claim(Need.REQUIRED, is_subject, "a string that prints")
_TEXT = Claim(Need.OPTIONAL, is_text, "a string")
_TEXTS = Claim(Need.OPTIONAL, is_texts, "a list of strings")
_SECONDS = Claim(Need.REQUIRED, is_seconds, "a whole number of seconds")
_LATER = Claim(Need.OPTIONAL, is_seconds, "a whole number of seconds")
_NEEDED = Claim(Need.REQUIRED, lambda value: is_scalar(value) and value != "", "a string or a number")
_PLAIN = Claim(Need.OPTIONAL, is_scalar, "a string, a number or a boolean")
_OBJECT = Claim(Need.OPTIONAL, lambda value: isinstance(value, dict), "an object")
_ELSEWHERE = Claim(Need.ELSEWHERE)
_FOREIGN = Claim(Need.FOREIGN)
_INCOMPLETE = Claim(Need.FOREIGN, reason=Reason.IDENTITY_INCOMPLETE)

_EVERY: Mapping[str, Claim] = {
    "iss": _ELSEWHERE,
    "aud": _ELSEWHERE,
    "sub": _SUBJECT,
    "exp": _SECONDS,
    "iat": _SECONDS,
    **dict.fromkeys(("nbf", "auth_time"), _LATER),
    "amr": _TEXTS,
    **dict.fromkeys(("acr", "sid", "jti"), _TEXT),
    # a browser's sign-in, a logout token, a token that is good only with the proof of a key
    **dict.fromkeys(("nonce", "c_hash", "s_hash", "events", "cnf"), _FOREIGN),
    **dict.fromkeys(("_claim_names", "_claim_sources"), _INCOMPLETE),
}
_PIPELINE: Mapping[str, Claim] = {
    **_EVERY,
    **dict.fromkeys(("at_hash", "client_id", "scope", "azp"), _FOREIGN),
    "jti": Claim(Need.REQUIRED, is_text, "a string"),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """One kind: accepted `typ` (empty for none), claims, how many audiences, `client`: the claim that names it.

    `attributes` and `kind` read verified claims; `names`: claims with a name for people's eyes, best first.
    """

    types: frozenset[str]
    table: Mapping[str, Claim]
    attributes: Callable[[Claims], Mapping[str, str]]
    kind: Callable[[Claims], Kind] = lambda _: Kind.WORKLOAD
    client: str = ""
    audiences: int = 1
    names: tuple[str, ...] = ("sub",)


def _named(*names: str) -> Callable[[Claims], Mapping[str, str]]:
    return lambda claims: {name: found for name in names if (found := plain(claims.get(name)))}


def _pipeline(needed: tuple[str, ...], others: tuple[str, ...], silent: Mapping[str, Claim]) -> Rules:
    rows = {**dict.fromkeys(needed, _NEEDED), **dict.fromkeys(others, _PLAIN), **silent}
    return Rules(frozenset({"JWT"}), {**_PIPELINE, **rows}, _named(*needed, *others))


def _members(claims: Claims, name: str) -> Claims:
    """An object inside another, empty when absent; raises `Refused` for anything else."""
    value = claims.get(name, {})
    if not isinstance(value, dict):
        raise Refused(Reason.TOKEN_CLAIMS, f"the token's claim `{name}` is not an object")
    return value


def _person_or_client(claims: Claims) -> Kind:
    """A token that a client got for itself has the client as its subject (RFC 9068 section 2.2)."""
    return Kind.WORKLOAD if claims["sub"] == claims["client_id"] else Kind.PERSON


def _person_or_account(claims: Claims) -> Kind:
    """A service account is its own authorised party, by the same number; people come through a client."""
    return Kind.WORKLOAD if claims["sub"] == claims["azp"] else Kind.PERSON


def _google(claims: Claims) -> Mapping[str, str]:
    machine = _members(_members(claims, "google"), "compute_engine")
    return {
        **_named("hd")(claims),
        **_named("project_id", "project_number", "zone", "instance_id", "instance_name")(machine),
    }


def _kubernetes(claims: Claims) -> Mapping[str, str]:
    """The service account and what the token is bound to; `sub` must name the same account."""
    cluster = _members(claims, "kubernetes.io")
    account, pod, node = (_members(cluster, name) for name in ("serviceaccount", "pod", "node"))
    found = {
        "namespace": plain(cluster.get("namespace")),
        "serviceaccount": plain(account.get("name")),
        "serviceaccount_uid": plain(account.get("uid")),
        "pod": plain(pod.get("name")),
        "pod_uid": plain(pod.get("uid")),
        "node": plain(node.get("name")),
    }
    subject = f"system:serviceaccount:{found['namespace']}:{found['serviceaccount']}"
    if text(claims, "sub") != subject or not found["serviceaccount_uid"]:
        raise Refused(Reason.TOKEN_CLAIMS, "the token's `sub` and `kubernetes.io` do not name one service account")
    return {name: value for name, value in found.items() if value}


ACCESS_TOKEN = Rules(
    types=frozenset({"at+jwt", "application/at+jwt"}),
    table={
        **_EVERY,
        "client_id": Claim(Need.REQUIRED, is_text, "a string", Reason.TOKEN_CLIENT),
        "jti": Claim(Need.REQUIRED, is_text, "a string"),
        "scope": _PLAIN,
        "at_hash": _FOREIGN,
        **dict.fromkeys(("name", "preferred_username"), _TEXT),
        **dict.fromkeys(("email", "email_verified"), _ELSEWHERE),
    },
    attributes=lambda _: {},
    kind=_person_or_client,
    client="client_id",
    audiences=MAX_AUDIENCES,
    names=("preferred_username", "name", "sub"),
)

GOOGLE = Rules(
    types=frozenset({"JWT"}),
    table={
        **_EVERY,
        "azp": Claim(Need.REQUIRED, is_text, "a string", Reason.TOKEN_CLIENT),
        "email": _TEXT,
        "email_verified": _PLAIN,
        "hd": _TEXT,
        "google": _OBJECT,
        **dict.fromkeys(("client_id", "scope"), _FOREIGN),
        **dict.fromkeys(("at_hash", "name", "picture", "given_name", "family_name", "locale"), _ELSEWHERE),
    },
    attributes=_google,
    kind=_person_or_account,
    client="azp",
    names=("email", "sub"),
)

KUBERNETES = Rules(
    types=frozenset({"", "JWT"}),  # the API server writes none
    table={
        **_PIPELINE,
        "jti": _TEXT,  # since Kubernetes 1.30
        "kubernetes.io": Claim(Need.REQUIRED, lambda value: isinstance(value, dict), "an object"),
    },
    attributes=_kubernetes,
)

GITHUB = _pipeline(
    needed=("repository", "repository_id", "repository_owner", "repository_owner_id", "ref", "event_name"),
    others=(
        *("ref_type", "ref_protected", "sha", "environment", "workflow", "workflow_ref", "workflow_sha"),
        *("job_workflow_ref", "job_workflow_sha", "head_ref", "base_ref", "actor_id", "run_id", "run_attempt"),
        *("repository_visibility", "runner_environment", "enterprise", "enterprise_id"),
    ),
    silent=dict.fromkeys(("actor", "run_number", "environment_node_id"), _PLAIN),
)

GITLAB = _pipeline(
    needed=("project_path", "project_id", "namespace_id", "namespace_path", "ref", "ref_type", "ref_protected"),
    others=(
        *("pipeline_source", "pipeline_id", "job_id", "sha", "ref_path", "environment", "environment_protected"),
        *("deployment_tier", "deployment_action", "runner_environment", "project_visibility", "user_id"),
        *("user_access_level", "ci_config_ref_uri", "ci_config_sha", "job_project_id", "job_project_path"),
    ),
    silent={
        **dict.fromkeys(("user_login", "user_email", "runner_id", "job_source"), _PLAIN),
        **dict.fromkeys(("groups_direct", "user_identities"), _ELSEWHERE),
    },
)

AZURE_DEVOPS = _pipeline(
    needed=("org_id", "prj_id", "def_id"),
    others=("rpo_id", "rpo_uri", "rpo_ref", "rpo_ver", "run_id"),
    silent={},
)

RULES: Mapping[OidcKind, Rules] = {
    OidcKind.ACCESS_TOKEN: ACCESS_TOKEN,
    OidcKind.GOOGLE: GOOGLE,
    OidcKind.KUBERNETES: KUBERNETES,
    OidcKind.GITHUB: GITHUB,
    OidcKind.GITLAB: GITLAB,
    OidcKind.AZURE_DEVOPS: AZURE_DEVOPS,
}
