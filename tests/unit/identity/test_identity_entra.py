"""Entra's rules, refusal by refusal (threats TH26 to TH32 of the security notes' numbering)."""

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc.jwk import Key, OctKey, RSAKey

from remit.identity.ports import Membership
from remit.identity.settings import EntraIssuer
from remit.identity.tokens.authenticators import Authenticators
from remit.identity.tokens.claims import MAX_LIST, MAX_REPORTS, SKEW
from remit.identity.tokens.entra import EntraAuthenticator
from remit.model.errors import Refused
from remit.model.identity import Device, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

NOW = 1_795_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
OTHER = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"
LOGIN = "https://login.microsoftonline.com"
GONE = object()

Sign = Callable[..., UnverifiedToken]
Claims = dict[str, Any]


class Keys:
    """The keys of a provider, in memory."""

    def __init__(self, **keys: Key) -> None:
        self._keys = {name.replace("_", "-"): key for name, key in keys.items()}

    async def key(self, kid: str) -> Key | None:
        return self._keys.get(kid)


@pytest.fixture
def authenticator(settings: EntraIssuer, signing_key: RSAKey) -> EntraAuthenticator:
    return EntraAuthenticator(settings, Keys(key_1=signing_key))


@pytest.fixture
def old(person: Claims, first: Any) -> Claims:
    """Dana's claims in a v1 token."""
    return first(person)


def _ask(authenticator: Any, token: UnverifiedToken, now: int = NOW) -> Identity:
    return asyncio.run(authenticator.authenticate(token, now))


def _reason(authenticator: Any, token: UnverifiedToken, now: int = NOW) -> Reason:
    with pytest.raises(Refused) as refused:
        _ask(authenticator, token, now)
    assert token.reveal() == "" or token.reveal() not in str(refused.value)
    return refused.value.reason


def _with(claims: Claims, **changes: object) -> Claims:
    changed = {**claims, **changes}
    return {name: value for name, value in changed.items() if value is not GONE}


def test_a_person_is_known_by_tenant_and_object_id(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign
) -> None:
    identity = _ask(authenticator, sign(person))
    dana = "0d000000-0000-4000-8000-000000000001"
    assert identity.principal == Principal(f"{LOGIN}/{TID}/v2.0", TID, dana, Kind.PERSON)
    assert identity.principal.key == f"{TID}/{dana}"
    assert identity.display == "dana@contoso.example"
    assert identity.groups == {"9a000000-0000-4000-8000-000000000001"}
    assert identity.roles == {"MLEngineer"}
    assert identity.scopes == {"access_as_user", "extra"}
    assert identity.client == "a0000000-0000-4000-8000-000000000002"
    assert identity.authentication.methods == {"pwd", "mfa"}
    assert identity.authentication.contexts == {"c1"}
    assert identity.authentication.capabilities == {"cp1"}
    assert not identity.guest
    assert (identity.issued_at, identity.expires_at, identity.groups_at) == (NOW - 60, NOW + 3600, NOW - 60)
    assert (identity.token_id, identity.session) == (person["uti"], person["sid"])


def test_a_managed_identity_is_a_workload(authenticator: EntraAuthenticator, workload: Claims, sign: Sign) -> None:
    identity = _ask(authenticator, sign(workload))
    assert identity.principal.kind is Kind.WORKLOAD
    assert identity.principal.subject == workload["oid"]
    assert identity.display == workload["azp"]
    assert (identity.roles, identity.scopes, identity.groups) == ({"Pipeline"}, frozenset(), frozenset())
    assert not identity.guest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        # whose: exactly one issuer
        ({"iss": f"{LOGIN}/{OTHER}/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/common/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/organizations/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/consumers/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/{{tenantid}}/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/{TID}/v2.0/"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/{TID}/v2"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}/{TID.upper()}/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"{LOGIN}.evil.example/{TID}/v2.0"}, Reason.TOKEN_ISSUER),
        ({"iss": f"https://sts.windows.net/{TID}"}, Reason.TOKEN_ISSUER),
        ({"iss": f"https://sts.windows.net/{OTHER}/"}, Reason.TOKEN_ISSUER),
        ({"iss": [f"{LOGIN}/{TID}/v2.0"]}, Reason.TOKEN_ISSUER),
        ({"iss": {"a": 1}}, Reason.TOKEN_ISSUER),
        ({"iss": ""}, Reason.TOKEN_ISSUER),
        ({"iss": GONE}, Reason.TOKEN_ISSUER),
        # the tenant: signatures are shared by all of them
        ({"tid": OTHER}, Reason.TOKEN_TENANT),
        ({"tid": TID.upper()}, Reason.TOKEN_TENANT),
        ({"tid": [TID]}, Reason.TOKEN_TENANT),
        ({"tid": "common"}, Reason.TOKEN_TENANT),
        ({"tid": GONE}, Reason.TOKEN_TENANT),
        # for whom
        ({"aud": "a0000000-0000-4000-8000-000000000003"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "api://remit"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "00000003-0000-0000-c000-000000000000"}, Reason.TOKEN_AUDIENCE),
        ({"aud": ["a0000000-0000-4000-8000-000000000001"]}, Reason.TOKEN_AUDIENCE),
        ({"aud": "A0000000-0000-4000-8000-000000000001"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "a0000000-0000-4000-8000-000000000001/"}, Reason.TOKEN_AUDIENCE),
        ({"aud": ""}, Reason.TOKEN_AUDIENCE),
        ({"aud": GONE}, Reason.TOKEN_AUDIENCE),
        # which client
        ({"azp": "a0000000-0000-4000-8000-000000000009"}, Reason.TOKEN_CLIENT),
        ({"azp": ["a0000000-0000-4000-8000-000000000002"]}, Reason.TOKEN_CLIENT),
        ({"azp": GONE}, Reason.TOKEN_CLIENT),
        ({"azp": GONE, "appid": "a0000000-0000-4000-8000-000000000002"}, Reason.TOKEN_CLIENT),
        ({"appid": "a0000000-0000-4000-8000-000000000002"}, Reason.TOKEN_CLAIMS),
        ({"azpacr": "3"}, Reason.TOKEN_CLIENT),
        ({"azpacr": 1}, Reason.TOKEN_CLIENT),
        # which version and kind
        ({"ver": "1.0"}, Reason.TOKEN_CLAIMS),
        ({"ver": 2.0}, Reason.TOKEN_CLAIMS),
        ({"ver": GONE}, Reason.TOKEN_CLAIMS),
        ({"scp": GONE}, Reason.TOKEN_CLAIMS),
        ({"scp": ""}, Reason.TOKEN_CLAIMS),
        ({"scp": " "}, Reason.TOKEN_CLAIMS),
        ({"scp": ["a"]}, Reason.TOKEN_CLAIMS),
        ({"idtyp": "app"}, Reason.TOKEN_CLAIMS),
        ({"idtyp": "device"}, Reason.TOKEN_CLAIMS),
        ({"idtyp": ["app"]}, Reason.TOKEN_CLAIMS),
        ({"nonce": "n"}, Reason.TOKEN_CLAIMS),
        ({"at_hash": "h"}, Reason.TOKEN_CLAIMS),
        ({"c_hash": None}, Reason.TOKEN_CLAIMS),
        ({"cnf": {"kid": "k"}}, Reason.TOKEN_CLAIMS),
        ({"events": {}}, Reason.TOKEN_CLAIMS),
        # who
        ({"oid": GONE}, Reason.TOKEN_CLAIMS),
        ({"oid": "dana@contoso.example"}, Reason.TOKEN_CLAIMS),
        ({"oid": "0D000000-0000-4000-8000-000000000001"}, Reason.TOKEN_CLAIMS),
        ({"oid": "0d000000-0000-4000-8000-000000000001\n"}, Reason.TOKEN_CLAIMS),
        ({"oid": 7}, Reason.TOKEN_CLAIMS),
        ({"sub": GONE}, Reason.TOKEN_CLAIMS),
        ({"sub": ["x"]}, Reason.TOKEN_CLAIMS),
        ({"uti": GONE}, Reason.TOKEN_CLAIMS),
        ({"uti": ""}, Reason.TOKEN_CLAIMS),
        ({"uti": "x" * 2000}, Reason.TOKEN_CLAIMS),
        ({"sid": 7}, Reason.TOKEN_CLAIMS),
        ({"name": {}}, Reason.TOKEN_CLAIMS),
        ({"roles": "MLEngineer"}, Reason.TOKEN_CLAIMS),
        ({"roles": [""]}, Reason.TOKEN_CLAIMS),
        ({"roles": ["r"] * (MAX_LIST + 1)}, Reason.TOKEN_CLAIMS),
        ({"acrs": "c1"}, Reason.TOKEN_CLAIMS),
        ({"amr": [1]}, Reason.TOKEN_CLAIMS),
        ({"xms_cc": "cp1"}, Reason.TOKEN_CLAIMS),
        ({"idp": ["x"]}, Reason.TOKEN_CLAIMS),
        ({"wids": ["Global Administrator"]}, Reason.TOKEN_CLAIMS),
        ({"auth_time": "1795000000"}, Reason.TOKEN_CLAIMS),
        ({"auth_time": NOW + 1}, Reason.TOKEN_CLAIMS),
        ({"deviceid": "laptop"}, Reason.TOKEN_CLAIMS),
        ({"signin_state": "dvc_cmp"}, Reason.TOKEN_CLAIMS),
        ({"ipaddr": "localhost"}, Reason.TOKEN_CLAIMS),
        ({"ipaddr": "fe80::1%eth0"}, Reason.TOKEN_CLAIMS),
        ({"ipaddr": 2130706433}, Reason.TOKEN_CLAIMS),
        ({"xms_mirid": "fraud-pipeline"}, Reason.TOKEN_CLAIMS),
        ({"acct": "0"}, Reason.TOKEN_CLAIMS),
        ({"acct": False}, Reason.TOKEN_CLAIMS),
        ({"acct": 2}, Reason.TOKEN_CLAIMS),
        # the groups, complete or nothing
        ({"groups": GONE, "_claim_names": {"groups": "src1"}}, Reason.IDENTITY_INCOMPLETE),
        ({"_claim_names": {}}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": GONE, "hasgroups": True}, Reason.IDENTITY_INCOMPLETE),
        ({"hasgroups": False}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": "9a000000-0000-4000-8000-000000000001"}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": "src1"}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": ["ml-engineers"]}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": None}, Reason.IDENTITY_INCOMPLETE),
        ({"groups": ["9a000000-0000-4000-8000-000000000001"] * (MAX_LIST + 1)}, Reason.IDENTITY_INCOMPLETE),
        # when
        ({"exp": NOW - SKEW, "iat": NOW - 3600}, Reason.TOKEN_EXPIRED),
        ({"exp": NOW - 86400, "iat": NOW - 90000}, Reason.TOKEN_EXPIRED),
        ({"exp": 0}, Reason.TOKEN_CLAIMS),
        ({"exp": -1}, Reason.TOKEN_CLAIMS),
        ({"exp": NOW - 60, "iat": NOW - 60}, Reason.TOKEN_CLAIMS),
        ({"exp": GONE}, Reason.TOKEN_CLAIMS),
        ({"exp": str(NOW + 60)}, Reason.TOKEN_CLAIMS),
        ({"exp": NOW + 60.0}, Reason.TOKEN_CLAIMS),
        ({"iat": NOW + SKEW + 1}, Reason.TOKEN_NOT_YET_VALID),
        ({"nbf": NOW + SKEW + 1}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": GONE}, Reason.TOKEN_CLAIMS),
        ({"nbf": GONE}, Reason.TOKEN_CLAIMS),
        ({"nbf": True}, Reason.TOKEN_CLAIMS),
        ({"iat": 1.5}, Reason.TOKEN_CLAIMS),
    ],
)
def test_a_token_that_breaks_a_rule_is_refused_for_that_rule(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign, changes: Claims, reason: Reason
) -> None:
    assert _reason(authenticator, sign(_with(person, **changes))) is reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scp": "access_as_user"}, Reason.TOKEN_CLAIMS),
        ({"sub": "3d000000-0000-4000-8000-000000000003"}, Reason.TOKEN_CLAIMS),
        ({"idtyp": GONE}, Reason.TOKEN_CLAIMS),
        ({"idtyp": "user"}, Reason.TOKEN_CLAIMS),
        ({"azp": "a0000000-0000-4000-8000-000000000009"}, Reason.TOKEN_CLIENT),
        ({"_claim_names": {"groups": "src1"}}, Reason.IDENTITY_INCOMPLETE),
    ],
)
def test_an_apps_token_does_not_pass_for_a_persons(
    authenticator: EntraAuthenticator, workload: Claims, sign: Sign, changes: Claims, reason: Reason
) -> None:
    assert _reason(authenticator, sign(_with(workload, **changes))) is reason


@pytest.fixture
def open_to(settings: EntraIssuer, signing_key: RSAKey) -> Callable[..., EntraAuthenticator]:
    """The same tenant, with guests from some homes and identifier URIs."""

    def opened(*guests: str, uris: tuple[str, ...] = ()) -> EntraAuthenticator:
        issuer = EntraIssuer(
            settings.tenant, settings.audience, settings.clients, uris=frozenset(uris), guests=frozenset(guests)
        )
        return EntraAuthenticator(issuer, Keys(key_1=signing_key))

    return opened


@pytest.mark.promise("V9")
@pytest.mark.parametrize(
    ("changes", "home"),
    [
        ({}, ""),
        ({"idp": f"https://sts.windows.net/{TID}/"}, ""),
        ({"idp": f"{LOGIN}/{TID}/v2.0"}, ""),
        ({"acct": 1, "idp": f"https://sts.windows.net/{OTHER}/"}, OTHER),
        ({"acct": 0, "idp": f"https://sts.windows.net/{OTHER}/"}, OTHER),
        ({"acct": GONE, "idp": f"https://sts.windows.net/{OTHER}/"}, OTHER),
        ({"acct": 1, "idp": "live.com"}, "live.com"),
        ({"acct": 1}, TID),
        ({"acct": 1, "idp": f"https://sts.windows.net/{TID}/"}, TID),
    ],
)
def test_a_guest_comes_from_a_listed_home_or_not_at_all(
    open_to: Any, person: Claims, sign: Sign, changes: Claims, home: str
) -> None:
    token = sign(_with(person, **changes))
    identity = _ask(open_to(OTHER, "live.com", TID), token)
    assert (identity.home, identity.guest) == (home, bool(home))
    if home:
        assert _reason(open_to(), token) is Reason.TOKEN_TENANT
        assert _reason(open_to("6f1c2a34-8b5d-4e6f-9a01-c0de00000003", f"{home}/", ""), token) is Reason.TOKEN_TENANT
    else:
        assert _ask(open_to(), token) == identity


def test_a_refused_guest_is_told_which_home_and_what_to_do(open_to: Any, person: Claims, sign: Sign) -> None:
    with pytest.raises(Refused) as refused:
        _ask(open_to(), sign(_with(person, acct=1, idp="evil\x1b[31m")))
    assert refused.value.reason is Reason.TOKEN_TENANT
    assert "`evil\ufffd[31m`" in refused.value.message
    assert "`guests`" in refused.value.hint


def test_a_person_who_is_not_said_to_be_a_member_is_refused(open_to: Any, person: Claims, sign: Sign) -> None:
    with pytest.raises(Refused) as refused:
        _ask(open_to(TID, OTHER, ""), sign(_with(person, acct=GONE)))
    assert refused.value.reason is Reason.TOKEN_CLAIMS
    assert "`acct`" in refused.value.hint


def test_an_app_of_another_tenant_is_a_guest(open_to: Any, workload: Claims, sign: Sign) -> None:
    token = sign(_with(workload, idp=f"https://sts.windows.net/{OTHER}/"))
    assert _ask(open_to(OTHER), token).guest
    assert _reason(open_to(), token) is Reason.TOKEN_TENANT


@pytest.mark.parametrize("audience", ["a0000000-0000-4000-8000-000000000001", "api://remit"])
def test_a_token_of_either_version_is_the_same_identity(
    open_to: Any, person: Claims, first: Any, sign: Sign, audience: str
) -> None:
    authenticator = open_to(uris=("api://remit",))
    old = _ask(authenticator, sign({**first(person), "aud": audience}))
    assert old == _ask(authenticator, sign(person))


@pytest.mark.promise("T4")
def test_a_managed_identity_often_has_a_v1_token(open_to: Any, workload: Claims, first: Any, sign: Sign) -> None:
    place = "/subscriptions/S/resourcegroups/R/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Fraud"
    claims = {**first(workload), "xms_mirid": place, "appidacr": "2", "wids": [TID]}
    identity = _ask(open_to(uris=("api://remit",)), sign(claims))
    assert identity.principal.kind is Kind.WORKLOAD
    assert identity.client == workload["azp"]
    assert identity.attributes == (("xms_mirid", place.lower()),)
    assert not identity.guest


def test_a_persons_token_brings_no_azure_resource(open_to: Any, person: Claims, sign: Sign) -> None:
    assert _ask(open_to(), sign({**person, "xms_mirid": "/subscriptions/s"})).attributes == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": f"{LOGIN}/{TID}/v2.0"}, Reason.TOKEN_CLIENT),  # v2 by its issuer: `azp` is missing
        ({"ver": "2.0"}, Reason.TOKEN_CLAIMS),
        ({"appid": GONE}, Reason.TOKEN_CLIENT),
        ({"appid": GONE, "azp": "a0000000-0000-4000-8000-000000000002"}, Reason.TOKEN_CLIENT),
        ({"azp": "a0000000-0000-4000-8000-000000000002"}, Reason.TOKEN_CLAIMS),
        ({"azpacr": "0"}, Reason.TOKEN_CLAIMS),
        ({"appidacr": "9"}, Reason.TOKEN_CLIENT),
        ({"appid": "a0000000-0000-4000-8000-000000000009"}, Reason.TOKEN_CLIENT),
        ({"aud": "api://remit/"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "API://remit"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "api://remit-google"}, Reason.TOKEN_AUDIENCE),
        ({"aud": "https://graph.microsoft.com"}, Reason.TOKEN_AUDIENCE),
        ({"tid": OTHER}, Reason.TOKEN_TENANT),
        ({"iss": f"https://sts.windows.net/{OTHER}/"}, Reason.TOKEN_ISSUER),
        ({"iss": f"https://sts.windows.net/{TID.upper()}/"}, Reason.TOKEN_ISSUER),
        ({"unique_name": 7}, Reason.TOKEN_CLAIMS),
    ],
)
def test_a_v1_token_that_breaks_a_rule_is_refused_for_that_rule(
    open_to: Any, old: Claims, sign: Sign, changes: Claims, reason: Reason
) -> None:
    assert _reason(open_to(uris=("api://remit",)), sign(_with(old, **changes))) is reason


def test_a_v1_audience_counts_when_it_is_listed_only(open_to: Any, person: Claims, first: Any, sign: Sign) -> None:
    assert _reason(open_to(), sign(first(person))) is Reason.TOKEN_AUDIENCE
    assert _ask(open_to(uris=("api://remit/",)), sign({**first(person), "aud": "api://remit/"}))
    v2 = sign({**person, "aud": "api://remit"})
    assert _reason(open_to(uris=("api://remit",)), v2) is Reason.TOKEN_AUDIENCE


def test_where_when_and_on_what_somebody_signed_in(open_to: Any, person: Claims, sign: Sign) -> None:
    device = "9d000000-0000-4000-8000-000000000001"
    state = ["dvc_mngd", "dvc_cmp", "kmsi"]
    told = {"auth_time": NOW - 600, "deviceid": device, "signin_state": state, "ipaddr": "2001:DB8::0001"}
    identity = _ask(open_to(), sign({**person, **told}))
    assert identity.authentication.at == NOW - 600
    assert identity.device == Device(device, managed=True, compliant=True, known_network=False)
    assert identity.address == "2001:db8::1"
    unsaid = _ask(open_to(), sign(person))
    assert (unsaid.authentication.at, unsaid.device, unsaid.address) == (0, Device(), "")
    assert _ask(open_to(), sign({**person, "signin_state": ["inknownntwk"]})).device.known_network


class Directory:
    """A directory that knows everybody's groups, or is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.asked: list[tuple[Principal, int]] = []
        self._away = away

    async def of(self, principal: Principal, now: int) -> Membership:
        self.asked.append((principal, now))
        if self._away:
            raise Refused(Reason.IDENTITY_INCOMPLETE)
        return Membership(frozenset({"9a000000-0000-4000-8000-000000000003"}), now - 30)


SOURCES = {"src1": {"endpoint": "https://evil.example/getMemberObjects"}}


@pytest.mark.parametrize("mark", [{"_claim_names": {"groups": "src1"}, "_claim_sources": SOURCES}, {"hasgroups": True}])
def test_too_many_groups_are_asked_of_the_directory(
    settings: EntraIssuer, signing_key: RSAKey, person: Claims, sign: Sign, mark: Claims
) -> None:
    token = sign(_with(person, groups=GONE, **mark))
    directory = Directory()
    identity = _ask(EntraAuthenticator(settings, Keys(key_1=signing_key), directory), token)
    assert directory.asked == [(identity.principal, NOW)]
    assert identity.principal.key == f"{TID}/{person['oid']}"
    assert identity.groups == {"9a000000-0000-4000-8000-000000000003"}
    assert identity.groups_at == NOW - 30
    away = EntraAuthenticator(settings, Keys(key_1=signing_key), Directory(away=True))
    assert _reason(away, token) is Reason.IDENTITY_INCOMPLETE
    assert _reason(EntraAuthenticator(settings, Keys(key_1=signing_key)), token) is Reason.IDENTITY_INCOMPLETE


@pytest.mark.parametrize(
    "changes",
    [
        {"_claim_names": {"groups": "src1"}},  # beside groups
        {"groups": GONE, "_claim_names": {"groups": "src1", "roles": "src1"}},
        {"groups": GONE, "_claim_names": {"groups": ["src1"]}},
        {"groups": GONE, "_claim_names": ["groups"]},
        {"groups": GONE, "_claim_names": None},
        {"groups": GONE, "hasgroups": "true"},
        {"groups": GONE, "hasgroups": 1},
        {"groups": GONE, "hasgroups": False, "_claim_names": {"groups": "src1"}},
    ],
)
def test_any_other_overage_is_incomplete_and_asks_nobody(
    settings: EntraIssuer, signing_key: RSAKey, person: Claims, sign: Sign, changes: Claims
) -> None:
    directory = Directory()
    authenticator = EntraAuthenticator(settings, Keys(key_1=signing_key), directory)
    assert _reason(authenticator, sign(_with(person, **changes))) is Reason.IDENTITY_INCOMPLETE
    assert directory.asked == []


def test_the_directory_is_asked_for_good_tokens_only(
    settings: EntraIssuer, signing_key: RSAKey, other_key: RSAKey, person: Claims, sign: Sign
) -> None:
    directory = Directory()
    authenticator = EntraAuthenticator(settings, Keys(key_1=signing_key), directory)
    overage = _with(person, groups=GONE, _claim_names={"groups": "src1"})
    assert _reason(authenticator, sign(overage, other_key)) is Reason.TOKEN_SIGNATURE
    assert _reason(authenticator, sign({**overage, "aud": OTHER})) is Reason.TOKEN_AUDIENCE
    assert _reason(authenticator, sign({**overage, "acct": 1})) is Reason.TOKEN_TENANT
    assert _reason(authenticator, sign({**overage, "exp": NOW - 90})) is Reason.TOKEN_CLAIMS
    assert directory.asked == []


def test_an_address_is_never_the_key(authenticator: EntraAuthenticator, person: Claims, sign: Sign) -> None:
    first = _ask(authenticator, sign(person))
    recycled = _ask(authenticator, sign(_with(person, oid="0d000000-0000-4000-8000-000000000099")))
    renamed = _ask(authenticator, sign(_with(person, preferred_username="someone@else.example")))
    assert first.display == recycled.display
    assert first.principal != recycled.principal
    assert first.principal == renamed.principal


def test_a_name_cannot_steer_a_terminal(authenticator: EntraAuthenticator, person: Claims, sign: Sign) -> None:
    name = "a\x1b[31m\n\u202eb" + "x" * 400
    display = _ask(authenticator, sign(_with(person, preferred_username=name))).display
    assert display.isprintable() or "\N{REPLACEMENT CHARACTER}" in display
    assert display.startswith("a\ufffd[31m\ufffd\ufffdb")
    assert len(display) == 256


@pytest.mark.parametrize(
    "changes", [{"exp": NOW - SKEW + 1, "iat": NOW - 3600}, {"iat": NOW + SKEW}, {"nbf": NOW + SKEW}]
)
def test_clocks_may_differ_by_a_minute(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign, changes: Claims
) -> None:
    assert _ask(authenticator, sign(_with(person, **changes))).principal.tenant == TID


def test_nobody_in_no_group_is_complete(authenticator: EntraAuthenticator, person: Claims, sign: Sign) -> None:
    assert _ask(authenticator, sign(_with(person, groups=GONE))).groups == frozenset()
    assert _ask(authenticator, sign(_with(person, groups=[]))).groups == frozenset()


def test_unknown_claims_are_reported_by_name_once(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            _ask(authenticator, sign(_with(person, xms_st={"sub": "private"})))
        assert caplog.text.count("xms_st") == 1
        for number in range(2 * MAX_REPORTS):
            _ask(authenticator, sign(_with(person, **{f"claim_{number}": 1})))
    assert len(caplog.records) == MAX_REPORTS
    assert "private" not in caplog.text


def test_a_key_that_the_issuer_does_not_publish_proves_nothing(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign, other_key: RSAKey
) -> None:
    assert _reason(authenticator, sign(person, other_key)) is Reason.TOKEN_SIGNATURE
    assert _reason(authenticator, sign(person, kid="key-2")) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS384", "PS256", "ES256", "rs256", "RS256 "])
def test_only_the_issuers_algorithm_counts(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign, alg: str
) -> None:
    assert _reason(authenticator, sign(person, alg=alg)) is Reason.TOKEN_SIGNATURE


def test_a_public_key_is_no_shared_secret(
    authenticator: EntraAuthenticator, person: Claims, signing_key: RSAKey
) -> None:
    from joserfc import jws

    secret = OctKey.import_key(signing_key.as_pem(private=False).decode().replace("-----", "=====").encode())
    header = {"alg": "HS256", "typ": "JWT", "kid": "key-1"}
    token = jws.serialize_compact(header, json.dumps(person), secret, algorithms=["HS256"])
    assert _reason(authenticator, UnverifiedToken(token)) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("typ", [None, "jwt", "at+jwt", "JOSE", "secevent+jwt", "logout+jwt"])
def test_only_a_jwt_is_an_access_token_of_entra(
    authenticator: EntraAuthenticator, person: Claims, sign: Sign, typ: str | None
) -> None:
    assert _reason(authenticator, sign(person, typ=typ)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "ya29.c.c0ASRK0GaGoogleAccessToken",
        "ya29.d.federated",
        "Bearer x.y.z",
        "eyJhbGciOiJub25lIn0.e30.",
        "d-01JD0000000000000000000000",
        "undefined",
    ],
)
def test_tokens_of_other_kinds_are_malformed(authenticator: EntraAuthenticator, text: str) -> None:
    assert _reason(authenticator, UnverifiedToken(text)) is Reason.TOKEN_MALFORMED


def test_each_issuer_judges_its_own_tokens_only(
    settings: EntraIssuer, signing_key: RSAKey, other_key: RSAKey, person: Claims, sign: Sign
) -> None:
    second = EntraIssuer(OTHER, settings.audience, settings.clients)
    everybody = Authenticators(
        (
            EntraAuthenticator(settings, Keys(key_1=signing_key)),
            EntraAuthenticator(second, Keys(key_1=other_key)),
        )
    )
    abroad = _with(person, iss=second.issuer, tid=OTHER)
    assert _ask(everybody, sign(person)).principal.tenant == TID
    assert _ask(everybody, sign(abroad, other_key)).principal.tenant == OTHER
    assert _ask(everybody, sign(person)).principal != _ask(everybody, sign(abroad, other_key)).principal
    assert _reason(everybody, sign(abroad)) is Reason.TOKEN_SIGNATURE
    assert _reason(everybody, sign(_with(person, tid=OTHER))) is Reason.TOKEN_TENANT
    assert _reason(everybody, sign(_with(person, iss="https://accounts.google.com"))) is Reason.TOKEN_ISSUER
    assert _reason(everybody, UnverifiedToken("")) is Reason.TOKEN_MISSING
    assert _reason(Authenticators(()), sign(person)) is Reason.TOKEN_ISSUER


SEED = secrets.randbits(32)
CHARACTERS = st.sampled_from("ABCxyz019-_.=+/ \n\x00éA")


@st.composite
def _mutations(draw: st.DrawFn) -> Callable[[str], str]:
    """One to four edits of a token's text: replace, insert, drop, repeat a stretch, swap segments."""

    def edit(text: str) -> str:
        kind = draw(st.integers(0, 5))
        place = draw(st.integers(0, max(len(text) - 1, 0)))
        end = min(len(text), place + draw(st.integers(1, 40)))
        if kind == 0:
            return text[:place] + draw(CHARACTERS) + text[place + 1 :]
        if kind == 1:
            return text[:place] + draw(CHARACTERS) + text[place:]
        if kind == 2:
            return text[:place] + text[end:]
        if kind == 3:
            return text[:end] + text[place:]
        if kind == 4:
            return ".".join(draw(st.permutations(text.split("."))))
        return text[:place] + text[place : place + 1].swapcase() + text[place + 1 :]

    edits = draw(st.integers(1, 4))

    def mutate(text: str) -> str:
        for _ in range(edits):
            text = edit(text)
        return text

    return mutate


def test_a_mutated_token_never_authenticates(authenticator: EntraAuthenticator, person: Claims, sign: Sign) -> None:
    print(f"seed {SEED}")  # a random test prints its seed
    token = sign(person).reveal()
    refused = 0
    with asyncio.Runner() as runner:

        @seed(SEED)
        @hypothesis_settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(_mutations())
        def mutated(mutate: Callable[[str], str]) -> None:
            nonlocal refused
            text = mutate(token)
            if text == token:
                return
            with pytest.raises(Refused) as error:
                runner.run(authenticator.authenticate(UnverifiedToken(text), NOW))
            assert error.value.reason in {
                Reason.TOKEN_MALFORMED,
                Reason.TOKEN_MISSING,
                Reason.TOKEN_SIGNATURE,
                Reason.TOKEN_CLAIMS,
                Reason.TOKEN_ISSUER,
            }
            refused += 1

        mutated()
    assert refused > 1000
