"""Every other issuer's tokens, kind by kind and refusal by refusal."""

import asyncio
import dataclasses
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc.jwk import Key, RSAKey

from remit.identity.settings import EntraIssuer, OidcIssuer, OidcKind, RoleRule
from remit.identity.tokens.authenticators import Authenticators
from remit.identity.tokens.entra import EntraAuthenticator
from remit.identity.tokens.oidc import OidcAuthenticator
from remit.identity.tokens.oidc_kinds import MAX_AUDIENCES
from remit.model.errors import Refused
from remit.model.identity import Device, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

NOW = 1_795_000_000
GONE = object()
TIMES = {"iat": NOW - 60, "exp": NOW + 600}
REMIT = "https://remit.contoso.example"

Claims = dict[str, Any]
Sign = Callable[..., UnverifiedToken]


def _rule(role: str, **when: str) -> RoleRule:
    return RoleRule(role, tuple(when.items()))


OKTA = OidcIssuer(
    "okta",
    "https://contoso.okta.example/oauth2/remit",
    REMIT,
    clients=frozenset({"remit-cli", "pipeline"}),
    groups_claim="groups",
    roles=(_rule("DataScientist", client_id="remit-cli"), _rule("Pipeline", client_id="pipeline")),
)
GOOGLE = OidcIssuer(
    "google",
    "https://accounts.google.com",
    REMIT,
    OidcKind.GOOGLE,
    clients=frozenset({"32555940559.apps.googleusercontent.com"}),
    roles=(_rule("Trainer", sub="113774264463038321964"), _rule("Reader", hd="contoso.example")),
)
KUBERNETES = OidcIssuer(
    "cluster",
    "https://oidc.cluster.contoso.example/id/1",
    REMIT,
    OidcKind.KUBERNETES,
    roles=(_rule("Trainer", namespace="fraud", serviceaccount="trainer"),),
)
GITHUB = OidcIssuer(
    "github",
    "https://token.actions.githubusercontent.com",
    REMIT,
    OidcKind.GITHUB,
    roles=(_rule("Pipeline", repository_id="74", repository_owner_id="65", ref="refs/heads/main"),),
)
GITLAB = OidcIssuer(
    "gitlab",
    "https://gitlab.contoso.example",
    REMIT,
    OidcKind.GITLAB,
    roles=(_rule("Pipeline", project_id="22", ref_protected="true"),),
)
AZURE_DEVOPS = OidcIssuer(
    "devops",
    "https://vstoken.dev.azure.com/0c000000-0000-4000-8000-000000000001",
    "api://AzureADTokenExchange",
    OidcKind.AZURE_DEVOPS,
    subjects=frozenset({"sc://contoso/fraud/remit"}),
)

CLAIMS: dict[str, Claims] = {
    "okta": {
        "iss": OKTA.issuer,
        "aud": REMIT,
        "sub": "00u1",
        "client_id": "remit-cli",
        "jti": "AT.1",
        "scope": "openid jobs",
        "auth_time": NOW - 3600,
        "acr": "urn:contoso:2",
        "amr": ["pwd", "mfa"],
        "sid": "s1",
        "groups": ["ml-engineers", "9a000000-0000-4000-8000-000000000001"],
        "preferred_username": "dana@contoso.example",
    },
    "google": {
        "iss": "https://accounts.google.com",
        "aud": REMIT,
        "azp": "113774264463038321964",
        "sub": "113774264463038321964",
        "email": "trainer@contoso-fraud-test.iam.gserviceaccount.com",
        "email_verified": True,
        "google": {
            "compute_engine": {
                "instance_id": "152986662232938449",
                "instance_name": "vm",
                "project_id": "contoso-fraud-test",
                "project_number": 100000000001,
                "zone": "us-central1-a",
                "license_id": ["1"],
            }
        },
    },
    "cluster": {
        "iss": KUBERNETES.issuer,
        "aud": [REMIT],
        "sub": "system:serviceaccount:fraud:trainer",
        "nbf": NOW - 60,
        "kubernetes.io": {
            "namespace": "fraud",
            "node": {"name": "n1", "uid": "u3"},
            "pod": {"name": "train-1", "uid": "u2"},
            "serviceaccount": {"name": "trainer", "uid": "u1"},
            "warnafter": NOW + 300,
        },
    },
    "github": {
        "iss": GITHUB.issuer,
        "aud": REMIT,
        "sub": "repo:contoso/fraud:ref:refs/heads/main",
        "jti": "j1",
        "nbf": NOW - 60,
        "actor": "dana",
        "actor_id": "12",
        "base_ref": "",
        "event_name": "push",
        "environment": "prod",
        "head_ref": "",
        "job_workflow_ref": "contoso/fraud/.github/workflows/train.yml@refs/heads/main",
        "ref": "refs/heads/main",
        "ref_protected": "true",
        "ref_type": "branch",
        "repository": "contoso/fraud",
        "repository_id": "74",
        "repository_owner": "contoso",
        "repository_owner_id": "65",
        "repository_visibility": "private",
        "run_id": "5",
        "runner_environment": "github-hosted",
        "workflow_ref": "contoso/fraud/.github/workflows/train.yml@refs/heads/main",
    },
    "gitlab": {
        "iss": GITLAB.issuer,
        "aud": REMIT,
        "sub": "project_path:contoso/fraud:ref_type:branch:ref:main",
        "jti": "j2",
        "nbf": NOW - 65,
        "namespace_id": "72",
        "namespace_path": "contoso",
        "project_id": "22",
        "project_path": "contoso/fraud",
        "user_login": "dana",
        "user_email": "dana@contoso.example",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": "true",
        "runner_id": 1,
        "groups_direct": ["contoso/ml"],
    },
    "devops": {
        "iss": AZURE_DEVOPS.issuer,
        "aud": "api://AzureADTokenExchange",
        "sub": "sc://contoso/fraud/remit",
        "jti": "j3",
        "nbf": NOW - 60,
        "org_id": "0c000000-0000-4000-8000-000000000001",
        "prj_id": "0c000000-0000-4000-8000-000000000002",
        "def_id": "9",
        "rpo_ref": "refs/heads/main",
    },
}
ISSUERS = {issuer.name: issuer for issuer in (OKTA, GOOGLE, KUBERNETES, GITHUB, GITLAB, AZURE_DEVOPS)}
TYPES = {"okta": "at+jwt", "cluster": None}


class Keys:
    def __init__(self, key: Key) -> None:
        self._key = key

    async def key(self, kid: str) -> Key | None:
        return self._key if kid == "key-1" else None


@pytest.fixture
def make(sign: Sign) -> Callable[..., UnverifiedToken]:
    """A token of an issuer, with changes to its claims."""

    def made(name: str, changes: Claims | None = None, **header: Any) -> UnverifiedToken:
        claims = {**TIMES, **CLAIMS[name], **(changes or {})}
        kept = {claim: value for claim, value in claims.items() if value is not GONE}
        return sign(kept, **{"typ": TYPES.get(name, "JWT"), **header})

    return made


@pytest.fixture
def ask(signing_key: RSAKey) -> Callable[..., Identity]:
    def asked(issuer: OidcIssuer, token: UnverifiedToken, now: int = NOW) -> Identity:
        return asyncio.run(OidcAuthenticator(issuer, Keys(signing_key)).authenticate(token, now))

    return asked


@pytest.fixture
def reason(ask: Any) -> Callable[..., Reason]:
    def refused(issuer: OidcIssuer, token: UnverifiedToken, now: int = NOW) -> Reason:
        with pytest.raises(Refused) as error:
            ask(issuer, token, now)
        assert token.reveal() not in str(error.value)
        return error.value.reason

    return refused


def test_a_person_with_an_access_token(ask: Any, make: Any) -> None:
    identity = ask(OKTA, make("okta"))
    assert identity.principal == Principal(OKTA.issuer, "okta", "00u1", Kind.PERSON)
    assert identity.principal.key == "okta/00u1"
    assert identity.display == "dana@contoso.example"
    assert identity.groups == {"okta/ml-engineers", "okta/9a000000-0000-4000-8000-000000000001"}
    assert identity.roles == {"DataScientist"}
    assert identity.scopes == {"openid", "jobs"}
    assert identity.client == "remit-cli"
    assert identity.authentication.methods == {"pwd", "mfa"}
    assert identity.authentication.contexts == {"urn:contoso:2"}
    assert identity.authentication.capabilities == frozenset()
    assert identity.authentication.at == NOW - 3600
    assert (identity.issued_at, identity.expires_at, identity.groups_at) == (NOW - 60, NOW + 600, NOW - 60)
    assert (identity.token_id, identity.session, identity.home, identity.guest) == ("AT.1", "s1", "", False)
    assert (identity.device, identity.address, identity.attributes) == (Device(), "", ())


@pytest.mark.parametrize("context", ["c1", "c25", "c99"])
def test_nobody_but_entra_proves_an_authentication_context_of_entra_s(ask: Any, make: Any, context: str) -> None:
    assert ask(OKTA, make("okta", {"acr": context})).authentication.contexts == frozenset()


def test_a_client_with_a_token_of_its_own_is_a_workload(ask: Any, make: Any) -> None:
    changes = {"sub": "pipeline", "client_id": "pipeline", "groups": GONE, "acr": GONE, "preferred_username": GONE}
    identity = ask(OKTA, make("okta", changes, typ="application/at+jwt"))
    assert identity.principal.kind is Kind.WORKLOAD
    assert (identity.roles, identity.groups, identity.display) == ({"Pipeline"}, frozenset(), "pipeline")
    assert identity.authentication.contexts == frozenset()


@pytest.mark.parametrize(
    ("changes", "reason_"),
    [
        # for whom
        ({"aud": "https://elsewhere.example"}, Reason.TOKEN_AUDIENCE),
        ({"aud": REMIT + "/"}, Reason.TOKEN_AUDIENCE),
        ({"aud": []}, Reason.TOKEN_AUDIENCE),
        ({"aud": ["https://elsewhere.example"]}, Reason.TOKEN_AUDIENCE),
        ({"aud": [REMIT, 7]}, Reason.TOKEN_AUDIENCE),
        ({"aud": [REMIT, *(f"https://{n}.example" for n in range(MAX_AUDIENCES))]}, Reason.TOKEN_AUDIENCE),
        ({"aud": {REMIT: True}}, Reason.TOKEN_AUDIENCE),
        ({"aud": GONE}, Reason.TOKEN_AUDIENCE),
        ({"aud": None}, Reason.TOKEN_AUDIENCE),
        # through whom
        ({"client_id": "somebody"}, Reason.TOKEN_CLIENT),
        ({"client_id": ["remit-cli"]}, Reason.TOKEN_CLIENT),
        ({"client_id": GONE}, Reason.TOKEN_CLIENT),
        ({"client_id": GONE, "azp": "remit-cli"}, Reason.TOKEN_CLIENT),
        # who
        ({"sub": GONE}, Reason.TOKEN_CLAIMS),
        ({"sub": ""}, Reason.TOKEN_CLAIMS),
        ({"sub": 7}, Reason.TOKEN_CLAIMS),
        ({"sub": "00u1\n"}, Reason.TOKEN_CLAIMS),
        ({"sub": "00u1\u202e"}, Reason.TOKEN_CLAIMS),
        ({"jti": GONE}, Reason.TOKEN_CLAIMS),
        ({"jti": 7}, Reason.TOKEN_CLAIMS),
        ({"sid": 7}, Reason.TOKEN_CLAIMS),
        ({"scope": ["jobs"]}, Reason.TOKEN_CLAIMS),
        ({"acr": ["c1"]}, Reason.TOKEN_CLAIMS),
        ({"amr": "mfa"}, Reason.TOKEN_CLAIMS),
        ({"auth_time": "1"}, Reason.TOKEN_CLAIMS),
        ({"auth_time": NOW + 60}, Reason.TOKEN_CLAIMS),
        # another kind of token
        ({"nonce": "n"}, Reason.TOKEN_CLAIMS),
        ({"at_hash": "h"}, Reason.TOKEN_CLAIMS),
        ({"c_hash": "h"}, Reason.TOKEN_CLAIMS),
        ({"s_hash": "h"}, Reason.TOKEN_CLAIMS),
        ({"events": {}}, Reason.TOKEN_CLAIMS),
        ({"cnf": {"jkt": "x"}}, Reason.TOKEN_CLAIMS),
        # groups complete, or nothing
        ({"groups": "ml-engineers"}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": [1]}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": [""]}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": None}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": ["g"] * 201}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": GONE, "_claim_names": {"groups": "src1"}}, Reason.IDENTITY_INCOMPLETE),
        ({"_claim_sources": {}}, Reason.IDENTITY_INCOMPLETE),
        # when
        ({"exp": NOW - 60}, Reason.TOKEN_CLAIMS),
        ({"exp": NOW - 60, "iat": NOW - 90, "auth_time": GONE}, Reason.TOKEN_EXPIRED),
        ({"iat": NOW + 61, "exp": NOW + 90}, Reason.TOKEN_NOT_YET_VALID),
        ({"nbf": NOW + 61}, Reason.TOKEN_NOT_YET_VALID),
        ({"nbf": "soon"}, Reason.TOKEN_CLAIMS),
        ({"iat": GONE}, Reason.TOKEN_CLAIMS),
        ({"iat": 1.5}, Reason.TOKEN_CLAIMS),
        ({"exp": GONE}, Reason.TOKEN_CLAIMS),
        # whose
        ({"iss": OKTA.issuer + "/"}, Reason.TOKEN_ISSUER),
        ({"iss": [OKTA.issuer]}, Reason.TOKEN_ISSUER),
        ({"iss": GONE}, Reason.TOKEN_ISSUER),
    ],
)
def test_an_access_token_that_breaks_a_rule_is_refused_for_that_rule(
    make: Any, reason: Any, changes: Claims, reason_: Reason
) -> None:
    assert reason(OKTA, make("okta", changes)) is reason_


def test_an_access_token_may_have_a_few_audiences(ask: Any, make: Any) -> None:
    assert ask(OKTA, make("okta", {"aud": [REMIT]}))
    assert ask(OKTA, make("okta", {"aud": ["https://other.example", REMIT]}))


@pytest.mark.parametrize("typ", ["JWT", None, "at+JWT", "jwt", "id_token+jwt", "logout+jwt", "at+jwt "])
def test_an_id_token_is_no_access_token(make: Any, reason: Any, typ: str | None) -> None:
    assert reason(OKTA, make("okta", typ=typ)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("name", ["google", "cluster", "github", "gitlab", "devops"])
def test_an_access_token_is_no_id_token(make: Any, reason: Any, name: str) -> None:
    assert reason(ISSUERS[name], make(name, typ="at+jwt")) is Reason.TOKEN_MALFORMED
    if name != "cluster":
        assert reason(ISSUERS[name], make(name, typ=None)) is Reason.TOKEN_MALFORMED
    assert reason(ISSUERS[name], make(name, {"client_id": "remit-cli", "scope": "jobs"})) is Reason.TOKEN_CLAIMS


@pytest.mark.parametrize("name", ISSUERS)
def test_every_issuer_refuses_what_no_issuer_may_let_pass(
    make: Any, reason: Any, name: str, other_key: RSAKey, sign: Sign
) -> None:
    issuer = ISSUERS[name]
    for alg in ("none", "HS256", "RS384", "ES256", "EdDSA"):
        assert reason(issuer, make(name, alg=alg)) is Reason.TOKEN_SIGNATURE
    assert reason(issuer, make(name, kid="unknown")) is Reason.TOKEN_SIGNATURE
    assert reason(issuer, make(name, kid=None)) is Reason.TOKEN_MALFORMED
    claims = {**TIMES, **CLAIMS[name]}
    assert reason(issuer, sign(claims, other_key, typ=TYPES.get(name, "JWT"))) is Reason.TOKEN_SIGNATURE
    for mark in ("nonce", "c_hash", "events", "cnf"):
        assert reason(issuer, make(name, {mark: "x"})) is Reason.TOKEN_CLAIMS
    assert reason(issuer, make(name, {"_claim_names": {}})) is Reason.IDENTITY_INCOMPLETE
    assert reason(issuer, make(name, {"aud": "https://elsewhere.example"})) is Reason.TOKEN_AUDIENCE
    assert reason(issuer, make(name, {"aud": GONE})) is Reason.TOKEN_AUDIENCE
    assert reason(issuer, make(name), NOW + 660) is Reason.TOKEN_EXPIRED
    assert reason(issuer, make(name), NOW - 3000) is Reason.TOKEN_NOT_YET_VALID
    for claim in ("sub", "iat", "exp"):
        assert reason(issuer, make(name, {claim: GONE})) is Reason.TOKEN_CLAIMS
    if name != "okta":
        assert reason(issuer, make(name, {"aud": [issuer.audience, "https://other.example"]})) is Reason.TOKEN_AUDIENCE


def test_who_may_get_a_token_for_us_by_a_listed_client_needs_no_rule(ask: Any, make: Any, reason: Any) -> None:
    issuer = dataclasses.replace(ISSUERS["okta"], roles=(), subjects=frozenset())
    assert ask(issuer, make("okta")).roles == frozenset()
    assert reason(dataclasses.replace(issuer, clients=frozenset()), make("okta")) is Reason.TOKEN_CLIENT
    assert reason(dataclasses.replace(issuer, subjects=frozenset({"other"})), make("okta")) is Reason.TOKEN_CLAIMS


@pytest.mark.parametrize("name", [name for name in ISSUERS if name != "okta"])
def test_a_good_signature_admits_nobody_who_is_not_listed_or_fitted(
    ask: Any, make: Any, reason: Any, name: str
) -> None:
    token, subject = make(name), CLAIMS[name]["sub"]
    issuer = dataclasses.replace(ISSUERS[name], roles=(), subjects=frozenset())
    assert reason(issuer, token) is Reason.TOKEN_CLAIMS
    assert ask(dataclasses.replace(issuer, subjects=frozenset({subject})), token).roles == frozenset()
    for other in (subject + "x", subject.upper() + "X", subject[:-1], "*", ""):
        assert reason(dataclasses.replace(issuer, subjects=frozenset({other})), token) is Reason.TOKEN_CLAIMS
    for rule in (
        RoleRule("Everybody", ()),
        _rule("R", iss=issuer.issuer),
        _rule("R", aud=issuer.audience),
        _rule("R", email=str(CLAIMS[name].get("email", "x"))),
        _rule("R", actor="dana"),
        _rule("R", user_login="dana"),
        _rule("R", preferred_username="dana@contoso.example"),
        _rule("R", absent=""),
        _rule("R", base_ref=""),
        _rule("R", sub=subject, ref="refs/heads/other"),
        _rule("R", sub="repo:*"),
    ):
        assert reason(dataclasses.replace(issuer, roles=(rule,)), token) is Reason.TOKEN_CLAIMS, rule
    admitted = ask(dataclasses.replace(issuer, roles=(_rule("A", sub=subject), _rule("B", sub="else"))), token)
    assert admitted.roles == {"A"}
    # a list of subjects is the whole list: no rule adds to it
    listed = dataclasses.replace(issuer, roles=(_rule("A", sub=subject),), subjects=frozenset({"other"}))
    assert reason(listed, token) is Reason.TOKEN_CLAIMS


def test_a_google_service_account(ask: Any, make: Any, reason: Any) -> None:
    identity = ask(GOOGLE, make("google"))
    assert identity.principal == Principal(GOOGLE.issuer, "google", "113774264463038321964", Kind.WORKLOAD)
    assert identity.display == "trainer@contoso-fraud-test.iam.gserviceaccount.com"
    assert dict(identity.attributes) == {
        "instance_id": "152986662232938449",
        "instance_name": "vm",
        "project_id": "contoso-fraud-test",
        "project_number": "100000000001",
        "zone": "us-central1-a",
    }
    assert (identity.roles, identity.token_id, identity.client) == ({"Trainer"}, "", "113774264463038321964")
    for verified in (False, "true", GONE):
        assert ask(GOOGLE, make("google", {"email_verified": verified})).display == "113774264463038321964"
    assert ask(GOOGLE, make("google", {"google": GONE})).attributes == ()
    on_machine = dataclasses.replace(GOOGLE, roles=(_rule("Vm", project_id="contoso-fraud-test"),))
    assert ask(on_machine, make("google")).roles == {"Vm"}
    for machine in ("x", {"compute_engine": []}, [], None):
        assert reason(GOOGLE, make("google", {"google": machine})) is Reason.TOKEN_CLAIMS
    assert reason(GOOGLE, make("google", {"azp": GONE})) is Reason.TOKEN_CLIENT
    assert reason(GOOGLE, make("google", {"iss": "accounts.google.com"})) is Reason.TOKEN_ISSUER


def test_a_person_at_google_comes_through_a_listed_client(ask: Any, make: Any, reason: Any) -> None:
    person = {
        "azp": "32555940559.apps.googleusercontent.com",
        "sub": "108000000000000000001",
        "email": "dana@contoso.example",
        "hd": "contoso.example",
        "at_hash": "h",
        "google": GONE,
    }
    identity = ask(GOOGLE, make("google", person))
    assert (identity.principal.kind, identity.roles) == (Kind.PERSON, {"Reader"})
    assert identity.attributes == (("hd", "contoso.example"),)
    assert reason(GOOGLE, make("google", {**person, "azp": "other"})) is Reason.TOKEN_CLIENT
    assert reason(GOOGLE, make("google", {**person, "hd": "gmail.com"})) is Reason.TOKEN_CLAIMS
    assert reason(GOOGLE, make("google", {**person, "hd": GONE})) is Reason.TOKEN_CLAIMS
    assert reason(GOOGLE, make("google", {**person, "nonce": "n"})) is Reason.TOKEN_CLAIMS


def test_a_kubernetes_service_account(ask: Any, make: Any, reason: Any) -> None:
    identity = ask(KUBERNETES, make("cluster"))
    assert identity.principal.key == "cluster/system:serviceaccount:fraud:trainer"
    assert identity.principal.kind is Kind.WORKLOAD
    assert identity.roles == {"Trainer"}
    assert dict(identity.attributes) == {
        "namespace": "fraud",
        "serviceaccount": "trainer",
        "serviceaccount_uid": "u1",
        "pod": "train-1",
        "pod_uid": "u2",
        "node": "n1",
    }
    assert ask(KUBERNETES, make("cluster", {"aud": REMIT, "jti": "j"}, typ="JWT")).token_id == "j"
    account = {"name": "trainer", "uid": "u1"}
    unbound = {"namespace": "fraud", "serviceaccount": account}
    assert len(ask(KUBERNETES, make("cluster", {"kubernetes.io": unbound})).attributes) == 3
    for cluster in (
        {"namespace": "other", "serviceaccount": account},
        {"namespace": "fraud", "serviceaccount": {"name": "admin", "uid": "u1"}},
        {"namespace": "fraud", "serviceaccount": {"name": "trainer"}},
        {"namespace": "fraud", "serviceaccount": "trainer"},
        {"namespace": ["fraud"], "serviceaccount": account},
        {"namespace": "fraud"},
        {**unbound, "pod": "train-1"},
        {},
        "fraud",
        GONE,
    ):
        assert reason(KUBERNETES, make("cluster", {"kubernetes.io": cluster})) is Reason.TOKEN_CLAIMS
    # `sub` and the object must agree, whichever of them a rule or a list reads
    anybody = dataclasses.replace(KUBERNETES, subjects=frozenset({"system:serviceaccount:fraud:admin"}))
    for issuer in (KUBERNETES, anybody):
        mixed = make("cluster", {"sub": "system:serviceaccount:fraud:admin"})
        assert reason(issuer, mixed) is Reason.TOKEN_CLAIMS
    # a claim of the token's own cannot stand in for what the cluster says
    other = {"sub": "system:serviceaccount:other:trainer", "namespace": "fraud"}
    other["kubernetes.io"] = {"namespace": "other", "serviceaccount": account}
    assert reason(KUBERNETES, make("cluster", other)) is Reason.TOKEN_CLAIMS


@pytest.mark.promise("T4")
def test_a_github_workflow(ask: Any, make: Any, reason: Any) -> None:
    identity = ask(GITHUB, make("github"))
    assert identity.principal == Principal(
        GITHUB.issuer, "github", "repo:contoso/fraud:ref:refs/heads/main", Kind.WORKLOAD
    )
    assert identity.roles == {"Pipeline"}
    told = dict(identity.attributes)
    assert (told["repository"], told["environment"], told["event_name"]) == ("contoso/fraud", "prod", "push")
    assert "actor" not in told
    assert "base_ref" not in told
    assert list(told) == sorted(told)
    for change in (
        {"repository_id": "75"},
        {"repository_owner_id": "66"},
        {"ref": "refs/heads/other"},
        {"ref": "refs/heads/main\n"},
        {"repository_id": GONE},
        {"repository": ""},
        {"repository": ["contoso/fraud"]},
        {"repository_id": ["74"]},
        {"environment": {}},
        {"jti": GONE},
        {"at_hash": "h"},
        {"azp": "x"},
    ):
        assert reason(GITHUB, make("github", change)) is Reason.TOKEN_CLAIMS, change
    assert ask(GITHUB, make("github", {"repository_id": 74})).roles == {"Pipeline"}  # as text


def test_a_gitlab_pipeline(ask: Any, make: Any, reason: Any) -> None:
    identity = ask(GITLAB, make("gitlab"))
    assert identity.principal.key == "gitlab/project_path:contoso/fraud:ref_type:branch:ref:main"
    assert (identity.roles, identity.principal.kind) == ({"Pipeline"}, Kind.WORKLOAD)
    told = dict(identity.attributes)
    assert (told["project_path"], told["ref_protected"], told["pipeline_source"]) == ("contoso/fraud", "true", "push")
    assert not {"user_login", "user_email"} & told.keys()
    assert ask(GITLAB, make("gitlab", {"ref_protected": True})).roles == {"Pipeline"}
    assert reason(GITLAB, make("gitlab", {"ref_protected": "false"})) is Reason.TOKEN_CLAIMS
    assert reason(GITLAB, make("gitlab", {"project_id": "23"})) is Reason.TOKEN_CLAIMS
    # what GitLab signs for somebody's sign-in elsewhere
    person = dict.fromkeys(("project_id", "project_path", "namespace_id", "ref"), GONE)
    assert reason(GITLAB, make("gitlab", {**person, "sub": "1"})) is Reason.TOKEN_CLAIMS
    of_groups = dataclasses.replace(GITLAB, roles=(_rule("Ml", groups_direct="contoso/ml"),))
    assert ask(of_groups, make("gitlab")).roles == {"Ml"}


def test_an_azure_devops_service_connection(ask: Any, make: Any, reason: Any) -> None:
    identity = ask(AZURE_DEVOPS, make("devops"))
    assert identity.principal.key == "devops/sc://contoso/fraud/remit"
    assert (identity.principal.kind, identity.roles) == (Kind.WORKLOAD, frozenset())
    assert dict(identity.attributes)["def_id"] == "9"
    assert reason(AZURE_DEVOPS, make("devops", {"sub": "sc://contoso/fraud/other"})) is Reason.TOKEN_CLAIMS
    other = "https://vstoken.dev.azure.com/0c000000-0000-4000-8000-000000000009"
    assert reason(AZURE_DEVOPS, make("devops", {"iss": other})) is Reason.TOKEN_ISSUER


def test_another_algorithm_counts_when_it_is_listed(make: Any, signing_key: RSAKey, sign: Sign) -> None:
    from joserfc import jws

    header = {"alg": "PS256", "typ": "at+jwt", "kid": "key-1"}
    text = jws.serialize_compact(header, json.dumps({**TIMES, **CLAIMS["okta"]}), signing_key, algorithms=["PS256"])
    strict, both = OKTA, dataclasses.replace(OKTA, algorithms=("RS256", "PS256"))

    def asked(issuer: OidcIssuer) -> Identity:
        authenticator = OidcAuthenticator(issuer, Keys(signing_key))
        return asyncio.run(authenticator.authenticate(UnverifiedToken(text), NOW))

    assert asked(both).principal.key == "okta/00u1"
    with pytest.raises(Refused) as refused:
        asked(strict)
    assert refused.value.reason is Reason.TOKEN_SIGNATURE


def test_no_clients_means_no_access_tokens(make: Any, reason: Any) -> None:
    assert reason(dataclasses.replace(OKTA, clients=frozenset()), make("okta")) is Reason.TOKEN_CLIENT


def test_no_groups_claim_means_no_groups(ask: Any, make: Any) -> None:
    assert ask(dataclasses.replace(OKTA, groups_claim=""), make("okta", {"groups": 7})).groups == frozenset()


def test_unknown_claims_are_reported_by_name(ask: Any, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask(OKTA, make("okta", {"tenant_secret": "private"}))
    assert "issuer okta" in caplog.text
    assert "tenant_secret" in caplog.text
    assert "private" not in caplog.text


@pytest.mark.promise("V21")
def test_issuers_side_by_side_judge_their_own_tokens_only(
    settings: EntraIssuer, signing_key: RSAKey, person: Claims, make: Any, sign: Sign
) -> None:
    keys = Keys(signing_key)  # even one key for all would not confuse them
    everybody = Authenticators(
        (EntraAuthenticator(settings, keys), *(OidcAuthenticator(issuer, keys) for issuer in ISSUERS.values()))
    )

    def tenant(token: UnverifiedToken) -> str:
        return asyncio.run(everybody.authenticate(token, NOW)).principal.tenant

    assert tenant(sign(person)) == settings.tenant
    for name, issuer in ISSUERS.items():
        assert tenant(make(name)) == name
        for other in ISSUERS.values():
            if other.name != name:
                with pytest.raises(Refused):
                    tenant(make(name, {"iss": other.issuer}))
        for claims in ({**person, "iss": issuer.issuer}, {**TIMES, **CLAIMS[name], "iss": settings.issuer}):
            with pytest.raises(Refused):
                tenant(sign(claims, typ=TYPES.get(name, "JWT")))


SEED = secrets.randbits(32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ISSUERS)
def test_any_value_of_any_claim_is_an_identity_or_a_refusal(signing_key: RSAKey, sign: Sign, name: str) -> None:
    print(f"seed {SEED}")
    good = {**TIMES, **CLAIMS[name]}
    more = ("auth_time", "amr", "acr", "sid", "jti", "nbf", "email", "scope", "azp", "google", "name", "groups", "hd")
    authenticator = OidcAuthenticator(ISSUERS[name], Keys(signing_key))
    with asyncio.Runner() as runner:

        @seed(SEED)
        @hypothesis_settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from([*good, *more]), JSON)
        def replaced(claim: str, value: object) -> None:
            token = sign(json.dumps({**good, claim: value}).encode(), typ=TYPES.get(name, "JWT"))
            try:
                identity = runner.run(authenticator.authenticate(token, NOW))
            except Refused:
                return
            assert identity.principal.tenant == name
            assert all(isinstance(said, str) and said for _, said in identity.attributes)

        replaced()
