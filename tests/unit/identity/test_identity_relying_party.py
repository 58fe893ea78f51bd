"""The parts of a sign-in that need no provider: addresses, documents, answers, flows, credentials."""

import asyncio
import base64
import contextlib
import json
import random
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from remit.identity.browser import sign_in as sign_in_module
from remit.identity.browser.cipher import Cipher
from remit.identity.browser.provider_http import ask
from remit.identity.browser.provider_metadata import Discovery, ProviderMetadata, read_metadata
from remit.identity.browser.relying_party import RelyingParty
from remit.identity.browser.return_address import FALLBACK, return_address
from remit.identity.browser.sign_in import OidcDoor, SamlDoor, SignIn
from remit.identity.browser.sign_in_flow import Flow, new_flow, open_flow, seal_flow
from remit.identity.browser.token_endpoint import (
    ClientAssertion,
    ClientSecret,
    TokenEndpoint,
    Tokens,
    read_tokens,
    says_no,
)
from remit.identity.settings import SignInProvider
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, Secret, SessionSecret, UnverifiedToken

NOW = 1_795_000_000
ISSUER = "https://idp.example/tenant"
CIPHER = Cipher((("k1", b"1" * 32),))
PROVIDER = SignInProvider(
    "idp", "The IdP", ISSUER, "remit", "https://remit.example/sign-in/idp/callback", ("openid", "x")
)
VECTORS = Path(__file__).parents[2] / "vectors" / "url" / "urltestdata.json"

# ---- return addresses

GOOD = [
    "/",
    "/account",
    "/notebooks/7",
    "/notebooks/7/",
    "/a.b/c_d~e/@me",
    "/v1/projects/p:predict",
    "/x?y=1&z=a/b",
    "/x?next=%2Fy%20z&u=https://ok.example/",
    "/na%C3%AFve",
    "/a?",
    "/a?b?c",
    "/sign-inn",
    "/..a",
]
HOSTILE = [
    "",
    " ",
    "account",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "http://evil.example/account",
    "//evil.example",
    "///evil.example",
    "////evil.example//",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "//\\evil.example",
    "/\tevil.example",
    "/\t/evil.example",
    "\t//evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    " //evil.example",
    "/ /evil.example",
    "/%09/evil.example",
    "/%0a/evil.example",
    "/%0d%0aLocation:%20https://evil.example",
    "/%00/evil.example",
    "/%2f/evil.example",
    "/%2fevil.example",
    "/%2F%2Fevil.example",
    "/%5cevil.example",
    "/%5C%5Cevil.example",
    "/%252fevil.example",
    "/%255cevil.example",
    "/%25%32%66evil.example",
    "/%u2215evil.example",
    "/.//evil.example",
    "/./evil.example",
    "/../evil.example",
    "/a/..//evil.example",
    "/a/../../evil.example",
    "/%2e%2e/evil.example",
    "/%2e/evil.example",
    "/.%2e/evil.example",
    "/..;/evil.example",
    "/..;x=1/evil.example",
    "/%2e%2e;/evil.example",
    "/a//evil.example",
    "/a/b//",
    "/#evil",
    "/a#//evil.example",
    "/a?b#c",
    "/a?b=%0d%0aSet-Cookie:x=1",
    "/a?b=%00",
    "/a%3Fb",
    "/a%23b",
    "/a%20b",
    "/a b",
    "/a?b c",
    "javascript:alert(1)",
    "javascript://%0aalert(1)",
    "/javascript:alert(1)//",
    "data:text/html,x",
    "JaVaScRiPt:alert(1)",
    "@evil.example",
    "//evil.example@remit.example",
    "/\u2215evil.example",
    "/\uff0fevil.example",
    "\u3002evil.example",
    "/\u202eevil",
    "/é",
    "/%",
    "/%2",
    "/%zz",
    "/%c0%ae%c0%ae/x",
    "/%ff",
    '/"><script>',
    "/<script>",
    "/[::1]",
    "/{x}",
    "/|evil",
    "/^",
    "/`",
    "?x",
    ".",
    "./x",
    "/sign-in",
    "/sign-in/idp",
    "/sign-in?to=/sign-in",
    "/sign-out",
    "/sign-out/everywhere",
    "/" + "a" * 1024,
]


@pytest.mark.parametrize("address", GOOD)
def test_a_plain_path_is_kept(address):
    assert return_address(address) == address


@pytest.mark.parametrize("address", HOSTILE)
def test_anything_else_becomes_the_account_page(address):
    assert return_address(address) == FALLBACK


def test_what_is_kept_stays_on_the_origin_for_every_url_of_the_web_platform_tests():
    """Where a browser would resolve it elsewhere, or rewrite it, it is not kept."""
    rows = [row for row in json.loads(VECTORS.read_text(encoding="utf-8")) if isinstance(row, dict)]
    assert len(rows) > 850
    kept = 0
    for row in rows:
        address = row["input"]
        if return_address(address) != address:
            continue
        kept += 1
        base = row["base"]
        if base is not None and base.startswith(("http:", "https:")):
            assert not row.get("failure"), address
            scheme, host = urlsplit(base)[:2]
            assert row["origin"] == f"{scheme}://{host.rpartition('@')[2]}", address
            assert row["pathname"] + row["search"] == address.removesuffix("?"), address
    assert kept > 5


def test_what_is_kept_means_the_same_however_often_it_is_decoded():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    parts = [
        "/",
        "\\",
        "..",
        ".",
        "%2f",
        "%5c",
        "%2e",
        "%25",
        "%",
        ";",
        "a",
        "b",
        "?",
        "#",
        "@",
        ":",
        "\t",
        "%09",
        "é",
        "%C3%A9",
    ]
    kept = 0
    for _ in range(20_000):
        address = "/" + "".join(chance.choices(parts, k=chance.randrange(1, 7)))
        if return_address(address) != address:
            continue
        kept += 1
        path = address.partition("?")[0]
        once, twice = unquote(path), unquote(unquote(path))
        assert once == twice, address
        assert not once.startswith(("//", "/\\")), address
        assert "//" not in once, address
        assert "\\" not in once, address
        assert not {".", ".."} & {segment.partition(";")[0] for segment in once.split("/")}, address
    assert kept > 100


# ---- a sign-in under way


def test_a_flow_comes_back_to_the_provider_that_it_was_begun_for():
    flow = new_flow("/x", NOW, 0)
    cookie = seal_flow(CIPHER, "idp", flow)
    assert open_flow(CIPHER, "idp", cookie, NOW + 599) == flow
    assert len(seal_flow(CIPHER, "idp", new_flow("/" + "x" * 1023, NOW)).reveal()) < 4000
    for secret in (flow.state, flow.nonce, flow.verifier):
        assert len(secret) >= 43
        assert secret not in repr(flow)
        assert secret not in cookie.reveal()
    assert len({secret for _ in range(100) for secret in (new_flow("/", NOW).state, new_flow("/", NOW).nonce)}) == 200


@pytest.mark.parametrize("name", ["idp", "other"])
def test_a_flow_of_another_provider_or_browser_is_none(name):
    cookie = seal_flow(CIPHER, "other" if name == "idp" else "idp", new_flow("/x", NOW))
    stranger = seal_flow(Cipher((("k1", b"2" * 32),)), name, new_flow("/x", NOW))
    for bad in (cookie, stranger, Secret(""), Secret("!"), Secret("AAAA"), Secret("A" * 5000)):
        with pytest.raises(Refused, match="not begun in this browser"):
            open_flow(CIPHER, name, bad, NOW)


def test_a_flow_is_over_after_ten_minutes_and_not_from_the_future():
    cookie = seal_flow(CIPHER, "idp", new_flow("/x", NOW))
    for when in (NOW + 600, NOW - 61):
        with pytest.raises(Refused, match="10 minutes"):
            open_flow(CIPHER, "idp", cookie, when)


def test_the_challenge_is_that_of_rfc_7636():
    flow = Flow("s", "n", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "/", NOW)
    assert flow.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


# ---- what a provider says of itself

DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.idp.example/authorize",
    "token_endpoint": "https://idp.example/token",
}


def test_a_document_is_read_and_what_it_leaves_out_has_the_standard_s_defaults():
    found = read_metadata(ISSUER, DOCUMENT)
    assert found.methods == {"client_secret_basic"}
    assert not found.names_itself


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"issuer": ISSUER + "/"}, Reason.TOKEN_ISSUER),
        ({"issuer": None}, Reason.TOKEN_ISSUER),
        ({"response_types_supported": ["id_token"]}, Reason.EXCHANGE_UNAVAILABLE),
        ({"response_types_supported": "code"}, Reason.EXCHANGE_UNAVAILABLE),
        ({"code_challenge_methods_supported": ["plain"]}, Reason.EXCHANGE_UNAVAILABLE),
        ({"token_endpoint": "http://idp.example/token"}, Reason.EXCHANGE_UNAVAILABLE),
        ({"token_endpoint": "https:///token"}, Reason.EXCHANGE_UNAVAILABLE),
        ({"token_endpoint": "https://a@idp.example/token"}, Reason.EXCHANGE_UNAVAILABLE),
        ({"token_endpoint": "https://idp.example/token#x"}, Reason.EXCHANGE_UNAVAILABLE),
        ({"token_endpoint": "https://[idp.example/token"}, Reason.EXCHANGE_UNAVAILABLE),
        ({"token_endpoint": 1}, Reason.EXCHANGE_UNAVAILABLE),
        ({"authorization_endpoint": "javascript:alert(1)"}, Reason.EXCHANGE_UNAVAILABLE),
    ],
)
def test_a_document_that_cannot_be_used_is_refused(change, reason):
    with pytest.raises(Refused) as refused:
        read_metadata(ISSUER, DOCUMENT | change)
    assert refused.value.reason is reason


class Wire(httpx.AsyncBaseTransport):
    """A provider without a network: a function from request to answer."""

    def __init__(self, handler):
        self._handler = handler

    async def handle_async_request(self, request):
        await request.aread()
        return self._handler(request)


def answering(handler):
    return httpx.AsyncClient(transport=Wire(handler))


def said(document, status=200):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return httpx.Response(status, headers={"content-type": "application/json"}, stream=httpx.ByteStream(body))


def test_discovery_asks_once_an_hour_and_drops_one_slash():
    asked = []

    def handler(request):
        asked.append(str(request.url))
        return said({**DOCUMENT, "issuer": ISSUER + "/"})

    async def story():
        seconds = [0.0]
        discovery = Discovery(ISSUER + "/", answering(handler), clock=lambda: seconds[0])
        await asyncio.gather(*(discovery.metadata() for _ in range(5)))
        seconds[0] = 3600
        await discovery.metadata()

    asyncio.run(story())
    assert asked == [f"{ISSUER}/.well-known/openid-configuration"] * 2


def test_discovery_is_https():
    with pytest.raises(Refused) as refused:
        asyncio.run(Discovery("http://idp.example", answering(lambda _: said({}, 500))).metadata())
    assert refused.value.reason is Reason.TOKEN_ISSUER


@pytest.mark.parametrize("body", [b"[]", b"x", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff"])
def test_an_answer_that_is_no_strict_object_is_empty(body):
    async def story():
        client = answering(lambda _: said(body))
        return await ask(client, "GET", "https://idp.example/")

    assert asyncio.run(story()).members == {}


def test_a_url_that_is_none_is_unavailable():
    with pytest.raises(Refused) as refused:
        asyncio.run(ask(answering(lambda _: said({})), "GET", "https://idp.example:x/"))
    assert refused.value.reason is Reason.EXCHANGE_UNAVAILABLE
    assert refused.value.__context__ is None


# ---- the token endpoint


def metadata(*methods):
    return ProviderMetadata(
        "https://idp.example/a", "https://idp.example/token", frozenset(methods), names_itself=False
    )


def test_a_client_secret_is_form_encoded_and_read_each_time(tmp_path):
    file = tmp_path / "secret"
    file.write_text("a:b+ c%é\n")
    credentials = ClientSecret("re mit", file)
    presented = asyncio.run(credentials.present(metadata("client_secret_basic", "client_secret_post")))
    assert base64.b64decode(presented.headers["Authorization"].removeprefix("Basic ")) == b"re+mit:a%3Ab%2B+c%25%C3%A9"
    assert "a:b" not in repr(presented)
    file.write_text("new")
    assert asyncio.run(credentials.present(metadata("client_secret_post"))).form["client_secret"] == "new"
    file.write_bytes(b"\xff")
    for methods in (["private_key_jwt"], ["client_secret_basic"]):
        with pytest.raises(Refused) as refused:
            asyncio.run(credentials.present(metadata(*methods)))
        assert refused.value.reason is Reason.EXCHANGE_UNAVAILABLE


def test_an_assertion_is_made_anew_for_each_request():
    made = iter("ab")

    async def assertion():
        return Secret(next(made))

    credentials = ClientAssertion("remit", assertion)
    forms = [asyncio.run(credentials.present(metadata())).form["client_assertion"] for _ in range(2)]
    assert forms == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "description", "code", "final"),
    [
        ("invalid_grant", None, "invalid_grant", True),
        ("invalid_grant", "AADSTS700082: expired", "invalid_grant AADSTS700082", True),
        ("invalid_client", "see AADSTS1", "invalid_client", False),
        ("<b>", "AADSTSx", "unknown_error", False),
        (["x"], 3, "unknown_error", False),
    ],
)
def test_a_provider_s_no(error, description, code, final):
    no = says_no(error, description)
    assert (no.code.split(" ")[0] if " " not in code else no.code) == code
    assert says_no(error).final == final
    assert says_no(error, "AADSTS700082: x").final == final


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"access_token": "a"},
        {"access_token": "", "token_type": "Bearer"},
        {"access_token": 1, "token_type": "Bearer"},
        {"access_token": "a", "token_type": "DPoP"},
        {"access_token": "a", "token_type": None},
    ],
)
def test_an_answer_without_a_bearer_token_is_none(members):
    with pytest.raises(Refused) as refused:
        read_tokens(members)
    assert refused.value.reason is Reason.EXCHANGE_UNAVAILABLE


def test_tokens_do_not_print():
    tokens = read_tokens({"access_token": "one", "token_type": "BEARER", "id_token": "two", "refresh_token": "three"})
    assert tokens == Tokens(AccessToken("one"), UnverifiedToken("two"), Secret("three"))
    assert not {"one", "two", "three"} & set(repr(tokens).replace("'", " ").split())
    assert (
        read_tokens({"access_token": "a", "token_type": "bearer", "id_token": 1, "refresh_token": ""}).refresh is None
    )


# ---- a provider of access tokens for Remit (Entra)

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
OID = "0d000000-0000-4000-8000-000000000001"
ENTRA = f"https://login.microsoftonline.com/{TID}/v2.0"
DANA = Identity(
    principal=Principal(ENTRA, TID, OID, Kind.PERSON),
    display="dana",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="remit",
    authentication=Authentication(),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + 4000,
    token_id="uti",
)


class Entra:
    """What stands behind a relying party: told how to answer."""

    def __init__(self, sign, keys, *, token=True, prompt="", **claims):
        self.sign = sign
        self.claims = {
            "iss": ENTRA,
            "aud": "remit",
            "sub": "pairwise",
            "oid": OID,
            "iat": NOW,
            "exp": NOW + 3600,
            **claims,
        }
        self.answer = {"access_token": "for-remit", "token_type": "Bearer", "refresh_token": "r1"}
        self.judged = DANA
        self.with_id_token = True
        self.nonce = ""
        self.forms = []
        provider = SignInProvider(
            "entra", "Entra", ENTRA, "remit", "https://remit.example/cb", ("openid",), token=token, prompt=prompt
        )

        async def assertion():
            return Secret("assertion")

        client = answering(self.handle)
        self.party = RelyingParty(
            provider,
            Discovery(ENTRA, client),
            TokenEndpoint(client, ClientAssertion("remit", assertion)),
            keys,
            self.judge,
        )

    async def judge(self, token, now):
        assert token == UnverifiedToken("for-remit")
        if isinstance(self.judged, Exception):
            raise self.judged
        return self.judged

    def handle(self, request):
        if request.method == "GET":
            return said({**DOCUMENT, "issuer": ENTRA})
        self.forms.append(parse_qs(request.content.decode()))
        extra = {"id_token": self.sign({**self.claims, "nonce": self.nonce}).reveal()} if self.with_id_token else {}
        return said({**self.answer, **extra})

    async def signed_in(self):
        flow = new_flow("/", NOW)
        self.nonce = flow.nonce
        return await self.party.finish(flow, f"code=c&state={flow.state}", NOW)


class OneKey:
    def __init__(self, key):
        self._key = key

    async def key(self, kid):
        return self._key


@pytest.fixture
def entra(sign, signing_key):
    return lambda **more: Entra(sign, OneKey(signing_key), **more)


def test_the_access_token_s_own_rules_say_who_signed_in(entra):
    async def story():
        house = entra()
        held = await house.signed_in()
        assert (held.identity, held.token, held.ends) == (DANA, UnverifiedToken("for-remit"), NOW + 4000)
        assert house.forms[0]["client_assertion"] == ["assertion"]
        # 1. renewed without an ID token, with a rotated refresh token or without
        house.with_id_token = False
        house.answer["refresh_token"] = "r2"
        held = await house.party.renew(held, NOW)
        assert held.refresh == Secret("r2")
        del house.answer["refresh_token"]
        assert (await house.party.renew(held, NOW)).refresh == Secret("r2")
        assert [form["grant_type"][0] for form in house.forms] == ["authorization_code"] + ["refresh_token"] * 2
        # 2. somebody else's
        house.judged = Identity(**{**_members(DANA), "principal": Principal(ENTRA, TID, "other", Kind.PERSON)})
        with pytest.raises(Refused, match="somebody else"):
            await house.party.renew(held, NOW)

    asyncio.run(story())


def _members(identity):
    return {name: getattr(identity, name) for name in Identity.__slots__}


@pytest.mark.parametrize("ahead", [61, 3600, NOW * 1000])
def test_nobody_signed_in_later_than_now_or_no_revocation_would_be_newer(entra, ahead):
    with pytest.raises(Refused, match="auth_time"):
        asyncio.run(entra(token=False, auth_time=NOW + ahead).signed_in())


@pytest.mark.promise("V9")
def test_an_unmapped_guest_is_refused_at_the_door(entra):
    house = entra()
    house.judged = Refused(Reason.TOKEN_TENANT)
    with pytest.raises(Refused) as refused:
        asyncio.run(house.signed_in())
    assert refused.value.reason is Reason.TOKEN_TENANT


def test_two_tokens_of_two_people_are_nobody(entra):
    with pytest.raises(Refused, match="two people"):
        asyncio.run(entra(oid="0d000000-0000-4000-8000-000000000002").signed_in())


def test_a_party_of_access_tokens_needs_a_judge():
    provider = SignInProvider("e", "E", ENTRA, "remit", "https://remit.example/cb", ("openid",), token=True)
    with pytest.raises(ValueError, match="judges"):
        RelyingParty(provider, None, None, None)


def test_groups_are_nobody_s_business_where_no_claim_is_named(entra):
    held = asyncio.run(entra(token=False, groups=["ml"], nonce="x").signed_in())
    assert held.identity.groups == frozenset()
    assert held.identity.principal == Principal(ENTRA, "entra", "pairwise", Kind.PERSON)
    assert held.token is None


def test_an_authentication_context_is_asked_for_in_the_access_token(entra):
    async def claims(context, **more):
        address = await entra(**more).party.address(new_flow("/", NOW), context)
        return parse_qs(urlsplit(address).query).get("claims")

    assert asyncio.run(claims("")) is None
    assert json.loads(asyncio.run(claims("c1"))[0]) == {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    for context, more in (("c100", {}), ('c1"', {}), ("c1", {"token": False})):
        with pytest.raises(Refused) as refused:
            asyncio.run(claims(context, **more))
        assert refused.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(("prompt", "asked"), [("", None), ("consent", ["consent"])])
def test_a_provider_is_asked_with_the_prompt_that_it_wants(entra, prompt, asked):
    address = asyncio.run(entra(prompt=prompt).party.address(new_flow("/", NOW)))
    assert parse_qs(urlsplit(address).query).get("prompt") == asked


@pytest.mark.parametrize(("token", "scope"), [(True, ["openid"]), (False, None)])
def test_scopes_are_named_again_where_the_provider_would_narrow_them(entra, token, scope):
    async def story():
        house = entra(token=token)
        held = await house.signed_in()
        house.nonce = ""
        with contextlib.suppress(Refused):  # what the provider says to it is another test's
            await house.party.renew(held, NOW + 1)
        return house.forms[-1]

    form = asyncio.run(story())
    assert (form["grant_type"], form.get("scope")) == (["refresh_token"], scope)


def test_what_cannot_be_renewed_is_not_tried(entra):
    from dataclasses import replace

    async def story():
        house = entra()
        held = replace(await house.signed_in(), refresh=None)
        with pytest.raises(Refused):
            await house.party.renew(held, NOW)

    asyncio.run(story())


@pytest.mark.parametrize(
    "query", ["code=a&code=b&state=", "code=a&error=b&state=", "x" * 9000, "a=%ff", "&".join(["a=1"] * 40)]
)
def test_an_odd_query_is_refused(entra, query):
    async def story():
        flow = new_flow("/", NOW)
        await entra().party.finish(flow, query.replace("state=", f"state={flow.state}"), NOW)

    with pytest.raises(Refused):
        asyncio.run(story())


# ---- all providers


class Saml:
    def __init__(self):
        self.asked = []

    async def authn_request(self, request_id, now):
        return f"https://saml.example/sso?id={request_id}"

    async def accept(self, response, in_response_to, now):
        self.asked.append((response, in_response_to))
        if response != "good":
            raise Refused(Reason.TOKEN_SIGNATURE)
        return DANA


class Kept:
    def __init__(self):
        self.started = []
        self.ended = []

    async def start(self, held, provider, now):
        self.started.append((held, provider))
        return SessionSecret("new")

    async def end(self, secret):
        self.ended.append(secret)


class House:
    def __init__(self):
        self.saml, self.kept, self.seen = Saml(), Kept(), set()
        doors = {"saml": SamlDoor("SAML", self.saml), "idp": OidcDoor(_Untouched(), None)}
        self.sign_in = SignIn(doors, self.kept, CIPHER, self.first)

    def first(self, kind, name, until, now):
        assert (kind, until > now) == ("sign-in", True)
        new = name not in self.seen
        self.seen.add(name)
        return new


class _Untouched:
    provider = PROVIDER


def test_a_saml_provider_answers_the_request_of_this_browser_once():
    async def story():
        house = House()
        departure = await house.sign_in.begin("saml", "/x", NOW)
        assert departure.posted
        request_id = departure.location.partition("id=")[2]
        arrival = await house.sign_in.accept("saml", "good", departure.flow, SessionSecret("old"), NOW)
        assert (arrival.session, arrival.to) == (SessionSecret("new"), "/x")
        assert house.saml.asked == [("good", request_id)]
        assert house.kept.ended == [SessionSecret("old")]
        held, provider = house.kept.started[0]
        assert (held.identity, held.refresh, held.ends, provider) == (DANA, None, DANA.expires_at, "saml")
        with pytest.raises(Refused, match="used before"):
            await house.sign_in.accept("saml", "good", departure.flow, None, NOW)
        assert len(house.kept.started) == 1

    asyncio.run(story())


def test_a_bad_response_ends_its_flow_and_starts_nothing():
    async def story():
        house = House()
        departure = await house.sign_in.begin("saml", "/x", NOW)
        for response in ("bad", "good"):
            with pytest.raises(Refused):
                await house.sign_in.accept("saml", response, departure.flow, None, NOW)
        assert house.kept.started == []

    asyncio.run(story())


def test_the_names_of_providers_lead_to_their_own_kind_of_door():
    house = House()
    assert house.sign_in.providers == [("saml", "SAML"), ("idp", "The IdP")]
    cookie = Secret("")
    for awaited in (
        house.sign_in.begin("nobody", "/", NOW),
        house.sign_in.finish("saml", "", cookie, None, NOW),
        house.sign_in.accept("idp", "", cookie, None, NOW),
        house.sign_in.logout("saml", UnverifiedToken(""), NOW),
    ):
        with pytest.raises(Refused) as refused:
            asyncio.run(awaited)
        assert refused.value.reason is Reason.RESOURCE_UNKNOWN


def test_browsers_that_return_are_noted_one_after_the_other_and_no_queue_is_endless(monkeypatch):
    monkeypatch.setattr(sign_in_module, "MAX_WAITING", 5)

    async def story():
        house = House()
        flows = [(await house.sign_in.begin("saml", "/x", NOW)).flow for _ in range(8)]
        began = time.monotonic()
        came = await asyncio.gather(
            *(house.sign_in.accept("saml", "good", flow, None, NOW) for flow in flows), return_exceptions=True
        )
        assert time.monotonic() - began >= 5 * sign_in_module.PAUSE
        refused = [each for each in came if isinstance(each, Refused)]
        assert [each.reason for each in refused] == [Reason.PLANE_UNAVAILABLE] * 3
        assert len(house.seen) == 5
        await house.sign_in.accept("saml", "good", flows[-1], None, NOW)

    asyncio.run(story())
