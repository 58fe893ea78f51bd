"""Remit's word to a service: what it says, to whom, for how long, and that nobody gets another one's."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt

from remit.credentials.assertion import KEPT, LIFE, MAX_GROUPS, Assertions
from remit.credentials.obtainer import Obtainer
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.own_keys import OwnKeys
from remit.credentials.purpose import (
    CLOUD_PLATFORM,
    LOGGING_READ,
    LOGGING_WRITE,
    STORAGE,
    STORAGE_READ,
    purpose_of,
)
from remit.credentials.settings import AccountMapping
from remit.identity.settings import EntraIssuer
from remit.identity.tokens.authenticators import Authenticators
from remit.identity.tokens.entra import EntraAuthenticator
from remit.model.credential import Credential, Purpose
from remit.model.errors import HopFailed, Refused
from remit.model.estate import Service, ServiceKind
from remit.model.identity import Kind
from remit.model.operation import EXTERNAL, Action, Group, Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

ORIGIN = "https://remit.contoso.example"
BOARD = Service("board", "p", ServiceKind.WEB, f"{ORIGIN}/apps/board/", prefix="/apps/board/")
DIGITS = Service("digits", "p", ServiceKind.TENSORFLOW_SERVING, "digits", host="digits.contoso.example")
SERVICES = (BOARD, DIGITS)
Tell = Callable[..., None]


class Time:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moved() -> Time:
    return Time()


@pytest.fixture
def assertions(own_folder: Path, moved: Time) -> Assertions:
    return Assertions(ORIGIN, OwnKeys(own_folder, moved), clock=moved, wall=moved)


def opened(assertions: Assertions, credential: Credential) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, by a library that had no part in it."""
    keys = jwk.KeySet.import_key_set(assertions.jwks())  # type: ignore[arg-type] - plain JSON
    read = jwt.decode(credential.token.reveal(), keys, algorithms=["RS256"])
    return read.header, read.claims


def test_what_it_says(assertions: Assertions, somebody: Any, moved: Time) -> None:
    who = replace(
        somebody(1, "B", "A", kind=Kind.WORKLOAD, groups=frozenset({"h", "g"})), display="Örn " * 100, client="cli"
    )
    credential = assertions.sign(who, BOARD.audience)
    header, claims = opened(assertions, credential)
    assert header == {"alg": "RS256", "typ": "JWT", "kid": header["kid"]}
    now = int(moved.now)
    assert claims == {
        "iss": ORIGIN,
        "aud": BOARD.audience,
        "sub": who.principal.key,
        "tenant": who.principal.tenant,
        "kind": "workload",
        "name": ("Örn " * 100)[:200],
        "groups": ["g", "h"],
        "roles": ["A", "B"],
        "client_id": "cli",
        "iat": now,
        "nbf": now - 5,
        "exp": now + LIFE,
        "jti": claims["jti"],
    }
    assert (credential.expires_at, credential.account, credential.scopes) == (now + LIFE, "", ())
    assert claims["jti"] not in str(credential)


def test_the_keys_are_those_that_the_own_issuer_publishes(assertions: Assertions, own_folder: Path) -> None:
    assert assertions.jwks() == OwnIssuer(ORIGIN, own_folder).jwks()


def test_a_header_has_room_for_it_and_groups_are_told_whole_or_not_at_all(
    assertions: Assertions, somebody: Any
) -> None:
    groups = [f"0d000000-0000-4000-8000-{number:012}" for number in range(MAX_GROUPS + 1)]
    most = assertions.sign(somebody(groups=frozenset(groups[:-1])), "a")
    assert opened(assertions, most)[1]["groups"] == groups[:-1]
    assert len(most.token.reveal()) < 8_000
    claims = opened(assertions, assertions.sign(somebody(groups=frozenset(groups)), "a"))[1]
    assert "groups" not in claims
    assert claims["groups_omitted"] is True


@pytest.mark.parametrize(("left", "lives"), [(3600, LIFE), (LIFE, LIFE), (7, 7), (1, 1)])
def test_it_ends_with_what_proved_the_identity(
    assertions: Assertions, somebody: Any, moved: Time, left: int, lives: int
) -> None:
    who = replace(somebody(), expires_at=int(moved.now) + left)
    assert assertions.sign(who, "a").expires_at == int(moved.now) + lives


@pytest.mark.parametrize("left", [0, -30])
def test_nothing_is_said_of_whose_proof_has_ended(
    assertions: Assertions, somebody: Any, moved: Time, left: int
) -> None:
    with pytest.raises(Refused) as refused:
        assertions.sign(replace(somebody(), expires_at=int(moved.now) + left), "a")
    assert refused.value.reason is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(
    "audience",
    ["", "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/remit"],
)
def test_google_and_nobody_are_told_nothing(assertions: Assertions, somebody: Any, audience: str) -> None:
    with pytest.raises(HopFailed) as failed:
        assertions.sign(somebody(), audience)
    assert (failed.value.hop, failed.value.reason) == ("assertion", Reason.EXCHANGE_REFUSED)


def test_it_is_handed_out_again_for_half_a_minute(assertions: Assertions, somebody: Any, moved: Time) -> None:
    async def story() -> None:
        first = await assertions.obtain(somebody(), "a")
        moved.now += KEPT - 1
        again = await assertions.obtain(somebody(), "a")
        assert again == first
        assert again.expires_at - moved.now > LIFE - KEPT
        moved.now += 1
        assert await assertions.obtain(somebody(), "a") != first
        short = replace(somebody(), expires_at=int(moved.now) + 5)
        ends = await assertions.obtain(short, "a")
        moved.now += 4
        assert await assertions.obtain(short, "a") == ends
        moved.now += 1
        with pytest.raises(Refused):
            await assertions.obtain(short, "a")

    asyncio.run(story())


def test_nobody_gets_another_ones(assertions: Assertions, somebody: Any) -> None:
    base = somebody(1, "A", groups=frozenset({"g"}))
    others = [
        somebody(2, "A", groups=frozenset({"g"})),
        somebody(1, "B", groups=frozenset({"g"})),
        somebody(1, "A", groups=frozenset()),
        somebody(1, "A", groups=frozenset({"g"}), session="s-1"),
        somebody(1, "A", groups=frozenset({"g"}), kind=Kind.WORKLOAD),
        replace(base, token_id="another"),
        replace(base, display="another"),
    ]

    async def story() -> list[str]:
        made = [await assertions.obtain(who, "a") for who in (base, *others)]
        made.append(await assertions.obtain(base, "b"))
        return [one.token.reveal() for one in made]

    tokens = asyncio.run(story())
    assert len(set(tokens)) == len(tokens)


def test_memory_is_bounded(assertions: Assertions, somebody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.credentials.assertion.SIZE", 2)

    async def story() -> None:
        for number in range(4):
            await assertions.obtain(somebody(number), "a")

    asyncio.run(story())
    assert len(assertions._kept) == 2


def test_a_key_that_cannot_be_used_is_a_failed_hop(tmp_path: Path, somebody: Any, moved: Time) -> None:
    assertions = Assertions(ORIGIN, OwnKeys(tmp_path, moved))
    for file in tmp_path.iterdir():
        file.chmod(0o644)
        file.rename(file.with_name("issuer-000002.pem"))
    with pytest.raises(HopFailed) as failed:
        assertions.sign(somebody(), "a")
    assert (failed.value.hop, failed.value.reason) == ("assertion", Reason.EXCHANGE_UNAVAILABLE)


@pytest.mark.parametrize(
    "url", ["https://remit.example", "http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:1"]
)
def test_who_may_speak(own_folder: Path, moved: Time, url: str) -> None:
    assert Assertions(url, OwnKeys(own_folder, moved)).jwks()["keys"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://remit.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "https://a@remit.example",
        "https://remit.example/",
        "https://remit.example/x",
        "https://remit.example?x",
        "remit.example",
        "https://",
    ],
)
def test_who_may_not(own_folder: Path, moved: Time, url: str) -> None:
    with pytest.raises(ValueError, match="an origin"):
        Assertions(url, OwnKeys(own_folder, moved))


def test_whoever_brings_it_back_is_nobody(assertions: Assertions, somebody: Any, moved: Time) -> None:
    settings = EntraIssuer(somebody().principal.tenant, "api://remit", frozenset({"cli"}))

    class Keys:
        """Even an issuer whose keys were ours."""

        async def find(self, kid: str) -> Any:
            return assertions.jwks()["keys"]

    token = UnverifiedToken(assertions.sign(somebody(), "api://remit").token.reveal())
    with pytest.raises(Refused) as refused:
        asyncio.run(
            Authenticators((EntraAuthenticator(settings, Keys()),)).authenticate(token, int(moved.now))  # type: ignore[arg-type] - never asked
        )
    assert refused.value.reason is Reason.TOKEN_ISSUER


# purposes


def _board(name: str = "//remit/projects/p/services/board", kind: str = "Service", project: str = "p") -> Resource:
    return Resource(kind, name, project)


def _request(*resources: Resource, action: str = "web.get", group: Group = Group.USE) -> Request:
    return Request(tuple(Operation(Action(action, group), (resource,)) for resource in resources))


MODEL = _board("//remit/projects/p/services/digits/models/m/versions/1", "ServedModel")


@pytest.mark.parametrize(
    ("request_", "service"),
    [
        (_request(_board()), BOARD),
        (_request(_board(), _board()), BOARD),
        (_request(MODEL), DIGITS),
        (_request(_board("//remit/projects/p/services/digits"), MODEL), DIGITS),
        (Request((_request(_board()).first, Operation(EXTERNAL, (_board(),)))), BOARD),
    ],
)
def test_a_service_is_told_who_asks_whatever_accounts_are_mapped(
    somebody: Any, request_: Request, service: Service
) -> None:
    assert purpose_of(somebody(), request_, (), 900, SERVICES) == Purpose("", (), audience=service.audience)


@pytest.mark.parametrize(
    "request_",
    [
        _request(_board(), MODEL),
        _request(_board(), Resource("Endpoint", "//aiplatform.googleapis.com/projects/p/endpoints/1", "p")),
        _request(Resource("Endpoint", "//aiplatform.googleapis.com/projects/p/endpoints/1", "p"), _board()),
        _request(_board("//remit/projects/p/services/other")),
        _request(_board("//remit/projects/p/services/board-evil")),
        _request(_board("//remit/projects/p/services/board/models/m")),
        _request(_board("//remit/projects/p/services/board/x")),
        _request(_board(project="q")),
        _request(_board("//remit/projects/q/services/board")),
        _request(_board(kind="ServedModel")),
    ],
)
def test_a_request_for_several_parties_or_for_none_gets_nothing(somebody: Any, request_: Request) -> None:
    mappings = (AccountMapping("MLEngineer", "p", "sa@p"),)
    with pytest.raises(Refused) as refused:
        purpose_of(somebody(), request_, mappings, 900, SERVICES)
    assert refused.value.reason is Reason.REQUEST_AMBIGUOUS


@pytest.mark.parametrize(
    ("action", "group", "scope"),
    [
        ("logging.entries.list", Group.OBSERVE, LOGGING_READ),
        ("logging.entries.write", Group.CHANGE, LOGGING_WRITE),
        ("logging.logs.delete", Group.CHANGE, CLOUD_PLATFORM),
        ("aiplatform.projects.locations.endpoints.predict", Group.USE, CLOUD_PLATFORM),
        ("storage.objects.get", Group.USE, STORAGE_READ),
        ("storage.objects.list", Group.OBSERVE, STORAGE_READ),
        ("storage.objects.insert", Group.CHANGE, STORAGE),
        ("storage.buckets.setIamPolicy", Group.ADMINISTER, STORAGE),
    ],
)
def test_a_token_is_no_wider_than_what_is_done_with_it(somebody: Any, action: str, group: Group, scope: str) -> None:
    bucket = Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/b", "p")
    mappings = (AccountMapping("MLEngineer", "p", "sa@p"),)
    request = _request(bucket, action=action, group=group)
    buckets = ("b",) if action.startswith("storage.") else ()
    assert purpose_of(somebody(), request, mappings, 900) == Purpose("sa@p", (scope,), buckets, 900)


def test_one_writing_operation_makes_a_writing_token(somebody: Any) -> None:
    bucket = Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/b", "p")
    operations = (
        Operation(Action("storage.objects.get", Group.USE), (bucket,)),
        Operation(Action("storage.objects.insert", Group.CHANGE), (bucket,)),
    )
    mappings = (AccountMapping("MLEngineer", "p", "sa@p"),)
    assert purpose_of(somebody(), Request(operations), mappings, 900).scopes == (STORAGE,)


def test_the_obtainer_asks_no_cloud_for_it(tell: Tell, somebody: Any, assertions: Assertions) -> None:
    async def story(obtainer: Obtainer, cloud: Any, clock: Any) -> None:
        with pytest.raises(HopFailed, match="no assertions are configured"):
            await obtainer.obtain(somebody(), None, Purpose("", (), audience="a"))
        obtainer._assert = assertions
        credential = await obtainer.obtain(somebody(), None, Purpose("", (), audience="a"))
        assert opened(assertions, credential)[1]["aud"] == "a"
        assert not cloud.seen

    tell(story)
