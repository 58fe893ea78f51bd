"""From a request to a credential: purposes, caching of every hop, and a thousand callers who do not cross."""

import asyncio
import random
import re
import secrets
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from remit.access.ports import Obtainer as ObtainerPort
from remit.credentials.purpose import CLOUD_PLATFORM, STORAGE
from remit.model.credential import Purpose
from remit.model.errors import HopFailed, Refused
from remit.model.identity import Kind
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

TEST = "contoso-fraud-test"
OTHER = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"
ENGINEER = f"ml-engineer@{TEST}.iam.gserviceaccount.com"
SCIENTIST = f"data-scientist@{TEST}.iam.gserviceaccount.com"
PURPOSE = Purpose(ENGINEER, (CLOUD_PLATFORM,))

Tell = Callable[..., None]


def _operation(action: str, *names: str, project: str = TEST, group: Group = Group.USE) -> Operation:
    names = names or (f"//cloudresourcemanager.googleapis.com/projects/{project}",)
    resources = tuple(Resource("Any", name, project) for name in names)
    return Operation(Action(action, group), resources)


def _bucket(name: str, tail: str = "") -> str:
    return f"//storage.googleapis.com/projects/_/buckets/{name}{tail}"


def _purposes(tell: Tell, identity: Any, *operations: Operation) -> Purpose:
    found: list[Purpose] = []

    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        port: ObtainerPort = obtainer
        found.append(port.purpose(identity, Request(operations)))
        assert not cloud.seen

    tell(story)
    return found[0]


@pytest.mark.parametrize(
    "action",
    [
        "aiplatform.projects.locations.endpoints.predict",
        "logging.logs.delete",
        "cloudresourcemanager.projects.get",
    ],
)
def test_control_services_get_the_platform_scope(tell: Tell, somebody: Any, action: str) -> None:
    assert _purposes(tell, somebody(), _operation(action)) == Purpose(ENGINEER, (CLOUD_PLATFORM,), (), 900)


def test_storage_gets_its_own_scope_and_its_buckets_only(tell: Tell, somebody: Any) -> None:
    purpose = _purposes(
        tell,
        somebody(),
        _operation("storage.objects.get", _bucket("b-data", "/objects/x")),
        _operation("storage.objects.create", _bucket("a-staging"), _bucket("b-data"), group=Group.CHANGE),
    )
    assert purpose == Purpose(ENGINEER, (STORAGE,), ("a-staging", "b-data"), 900)


def test_a_job_that_names_buckets_and_an_account_is_still_a_call_to_vertex(tell: Tell, somebody: Any) -> None:
    purpose = _purposes(
        tell,
        somebody(),
        _operation("aiplatform.projects.locations.customJobs.create"),
        _operation("iam.serviceAccounts.actAs", f"//iam.googleapis.com/projects/-/serviceAccounts/trainer@{TEST}"),
        _operation("storage.objects.create", _bucket("b-data")),
    )
    assert purpose == Purpose(ENGINEER, (CLOUD_PLATFORM,))


def test_the_first_mapping_that_fits_counts(tell: Tell, somebody: Any) -> None:
    predict = "aiplatform.projects.locations.endpoints.predict"
    both = somebody(1, "DataScientist", "MLEngineer")
    assert _purposes(tell, both, _operation(predict)).account == ENGINEER
    assert _purposes(tell, somebody(1, "DataScientist"), _operation(predict)).account == SCIENTIST
    pipeline = somebody(1, "Pipeline", kind=Kind.WORKLOAD)
    assert _purposes(tell, pipeline, _operation(predict)).account == f"trainer@{TEST}.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("roles", "operation", "reason"),
    [
        (("Security",), _operation("logging.entries.list"), Reason.NO_ACCOUNT),
        (("mlengineer",), _operation("logging.entries.list"), Reason.NO_ACCOUNT),
        (("MLEngineer",), _operation("logging.entries.list", project="contoso-churn-prod"), Reason.NO_ACCOUNT),
        (("MLEngineer",), _operation("logging.entries.list", project=""), Reason.NO_ACCOUNT),
        (("DataScientist",), _operation("logging.entries.list", project="contoso-fraud-prod"), Reason.NO_ACCOUNT),
        (("MLEngineer",), _operation("compute.instances.insert"), Reason.METHOD_UNKNOWN),
        (("MLEngineer",), _operation("iam.serviceAccounts.actAs"), Reason.METHOD_UNKNOWN),
        (("MLEngineer",), _operation(""), Reason.METHOD_UNKNOWN),
        (("MLEngineer",), _operation("storage.buckets.list"), Reason.RESOURCE_UNKNOWN),
        (("MLEngineer",), _operation("storage.objects.get", _bucket("")), Reason.RESOURCE_UNKNOWN),
    ],
)
def test_what_is_not_mapped_is_refused(
    tell: Tell, somebody: Any, roles: tuple[str, ...], operation: Operation, reason: Reason
) -> None:
    with pytest.raises(Refused) as refused:
        _purposes(tell, somebody(1, *roles), operation)
    assert refused.value.reason is reason


def test_nobody_but_people_of_the_tenant_gets_anywhere_without_an_own_issuer(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        for identity, token in (
            (somebody(1, "Pipeline", kind=Kind.WORKLOAD), UnverifiedToken("t")),
            (somebody(1, tenant="okta"), UnverifiedToken("t")),
            (somebody(1), None),
        ):
            with pytest.raises(HopFailed, match="no own issuer is configured") as failed:
                await obtainer.obtain(identity, token, PURPOSE)
            assert (failed.value.hop, failed.value.reason) == ("own-issuer", Reason.EXCHANGE_REFUSED)
            assert "own_issuer" in failed.value.hint
        assert not cloud.seen

    tell(story)


def test_each_hop_is_asked_once_for_as_long_as_its_token_is_good(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        dana, token = somebody(), UnverifiedToken("dana")
        for _ in range(5):
            await obtainer.obtain(dana, token, PURPOSE)
        assert cloud.calls == {"azure-imds": 1, "entra-obo": 1, "google-sts": 1, "google-iam": 1}
        # another account and other buckets: only what differs is asked again
        await obtainer.obtain(dana, token, Purpose(SCIENTIST, (CLOUD_PLATFORM,)))
        await obtainer.obtain(dana, token, Purpose(ENGINEER, (STORAGE,), ("b-data",)))
        assert cloud.calls == {"azure-imds": 1, "entra-obo": 1, "google-sts": 1, "google-iam": 3, "google-downscope": 1}
        # a new sign-in: nothing of the old one is used for it
        await obtainer.obtain(dana, UnverifiedToken("dana-again"), PURPOSE)
        assert cloud.calls["entra-obo"] == cloud.calls["google-sts"] == 2
        assert cloud.calls["azure-imds"] == 1

    tell(story)


def test_a_long_job_is_served_without_a_gap_and_without_a_short_token(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        dana, token = somebody(), UnverifiedToken("dana")
        for _ in range(240):  # four hours, a call a minute
            credential = await obtainer.obtain(dana, token, PURPOSE)
            assert credential.expires_at - clock.wall() >= 299
            await asyncio.sleep(0.003)
            clock.moved += 60
        assert 240 * 60 / 600 <= cloud.calls["google-iam"] <= 240 * 60 / 300
        assert cloud.calls["entra-obo"] <= 8

    tell(story)


def test_an_outage_at_google_does_not_reach_whoever_holds_a_good_token(
    tell: Tell, fake_https: ModuleType, somebody: Any
) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        dana, token = somebody(), UnverifiedToken("dana")
        first = await obtainer.obtain(dana, token, PURPOSE)
        cloud.override = dict.fromkeys(("google-sts", "google-iam"), fake_https.Answer(status=500))
        clock.moved += 590
        assert (await obtainer.obtain(dana, token, PURPOSE)).token == first.token
        await asyncio.sleep(0.1)
        clock.moved += 20
        with pytest.raises(HopFailed) as failed:
            await obtainer.obtain(dana, token, PURPOSE)
        assert (failed.value.hop, failed.value.reason) == ("google-iam", Reason.EXCHANGE_UNAVAILABLE)
        with pytest.raises(HopFailed) as failed:
            await obtainer.obtain(somebody(2), UnverifiedToken("ada"), PURPOSE)
        assert failed.value.hop == "google-sts"
        cloud.override.clear()
        assert (await obtainer.obtain(dana, token, PURPOSE)).token != first.token

    tell(story)


def _is_own(who: int, purpose: Purpose, result: Any) -> None:
    assert isinstance(result, tuple), result
    assert result[:2] == (who, purpose)
    scope = purpose.scopes[0].rsplit("/", 1)[1]
    # those of the other tenant come by Remit's own word
    subject = rf"obo\(token-{who}\)" if who % 2 else rf"own\({OTHER}/[0-9a-f-]+{who // 2:03};;MLEngineer\)"
    leaf = rf"sa\(fed\({subject}\)\|{re.escape(purpose.account)}\|{re.escape(scope)}\|[0-9]+\)"
    narrowed = rf"down\({leaf}:{','.join(purpose.buckets)}\)" if purpose.buckets else leaf
    assert re.fullmatch(narrowed, result[2])


def test_a_thousand_callers_at_once_never_cross(tell: Tell, fake_https: ModuleType, somebody: Any) -> None:
    """TH25: forty people of two tenants with look-alike ids, four purposes, failures and cancellations among them."""
    number = secrets.randbits(32)
    print(f"seed {number}")  # a random test prints its seed
    choose = random.Random(number)  # a test's shuffle, no secret
    purposes = (
        PURPOSE,
        Purpose(SCIENTIST, (CLOUD_PLATFORM,)),
        Purpose(ENGINEER, (STORAGE,), ("b-data",)),
        Purpose(ENGINEER, (STORAGE,), ("b-data", "b-staging")),
    )
    # some people meet a cloud that refuses, hangs up or answers rubbish
    unlucky = {33: (400, b"{}"), 35: (500, b"{}"), 37: (200, b"rubbish"), 39: (200, b"{}")}

    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        def exchange(form: dict[str, Any]) -> Any:
            if form["audience"].endswith("/remit"):
                return cloud.json(cloud._google_sts(None, form, 0))
            who = int(form["subject_token"].removeprefix("obo(token-").removesuffix(")"))
            if who in unlucky:
                status, body = unlucky[who]
                return fake_https.Answer(body, status)
            return cloud.json(cloud._google_sts(None, form, 0))

        cloud.override["google-sts"] = exchange
        cloud.pause = 0.01

        async def ask(who: int, purpose: Purpose) -> tuple[int, Purpose, str]:
            # two people share each object id, in two tenants
            identity = somebody(who // 2) if who % 2 else somebody(who // 2, tenant=OTHER)
            credential = await obtainer.obtain(identity, UnverifiedToken(f"token-{who}"), purpose)
            return who, purpose, credential.token.reveal()

        asked = [(choose.randrange(40), choose.choice(purposes)) for _ in range(1000)]
        tasks = [asyncio.create_task(ask(*one)) for one in asked]
        await asyncio.sleep(0.005)
        given_up = set(choose.sample(range(1000), 50))
        for index in given_up:
            tasks[index].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for index, (one, result) in enumerate(zip(asked, results, strict=True)):
            if index in given_up:
                assert isinstance(result, asyncio.CancelledError)
            elif one[0] in unlucky:
                assert getattr(result, "hop", "") == "google-sts"
            else:
                _is_own(*one, result)
        assert cloud.calls["azure-imds"] == 1
        assert cloud.calls["entra-obo"] <= 40
        assert cloud.calls["google-iam"] <= 36 * 4

    tell(story, timeout=60.0, own=True)


def test_a_slow_hop_is_named_in_time_and_whoever_tries_again_finds_its_token(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        dana, token, named = somebody(), UnverifiedToken("dana"), []
        obtainer._patience, cloud.pause = 0.05, 0.4
        for _ in range(100):
            try:
                credential = await obtainer.obtain(dana, token, PURPOSE)
            except HopFailed as failed:
                named.append((failed.hop, failed.reason, failed.message))
            else:
                break
        assert credential.account == ENGINEER
        assert list(dict.fromkeys(named)) == [
            (hop, Reason.EXCHANGE_UNAVAILABLE, f"`{hop}` did not answer within 0.05 s")
            for hop in ("azure-imds", "entra-obo", "google-sts", "google-iam")
        ]
        assert set(cloud.calls.values()) == {1}
        # whoever asks the broker for buckets waits
        assert (await obtainer.obtain(dana, token, Purpose(ENGINEER, (STORAGE,), ("b-data",)))).scopes == (STORAGE,)

    tell(story)


def _believes(cloud: Any, *assertions: str) -> None:
    """Entra takes these client assertions and no other, as after a change of keys."""

    def answer(form: dict[str, Any]) -> Any:
        if form["client_assertion"] in assertions:
            return cloud.json(cloud._entra_obo(None, form, 0))
        described = "AADSTS700027: Client assertion failed signature validation."
        return cloud.json({"error": "invalid_client", "error_description": described}, 401)

    cloud.override["entra-obo"] = answer


def test_an_assertion_that_is_no_longer_believed_is_asked_for_again(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        await obtainer.obtain(somebody(), UnverifiedToken("dana"), PURPOSE)
        _believes(cloud, "mi-2")
        people = [(somebody(number), UnverifiedToken(f"token-{number}")) for number in range(2, 12)]
        found = await asyncio.gather(*(obtainer.obtain(*who, PURPOSE) for who in people))
        assert len(found) == 10
        assert cloud.calls["azure-imds"] == 2, "one for all"

    tell(story)


def test_whoever_is_never_believed_asks_azure_once_a_minute(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        _believes(cloud)

        async def refused(number: int) -> None:
            with pytest.raises(HopFailed, match="`entra-obo` answered 401 `AADSTS700027`"):
                await obtainer.obtain(somebody(number), UnverifiedToken(f"token-{number}"), PURPOSE)

        await refused(1)
        assert (cloud.calls["azure-imds"], cloud.calls["entra-obo"]) == (2, 2)
        await refused(2)
        assert (cloud.calls["azure-imds"], cloud.calls["entra-obo"]) == (2, 3)
        clock.moved += 61
        await refused(3)
        assert (cloud.calls["azure-imds"], cloud.calls["entra-obo"]) == (3, 5)

    tell(story)


def test_an_assertion_is_kept_when_the_person_is_what_entra_refuses(tell: Tell, somebody: Any) -> None:
    async def story(obtainer: Any, cloud: Any, clock: Any) -> None:
        said = {"error": "invalid_grant", "error_description": "AADSTS50173: revoked"}
        cloud.override["entra-obo"] = cloud.json(said, 400)
        with pytest.raises(HopFailed, match="AADSTS50173"):
            await obtainer.obtain(somebody(), UnverifiedToken("dana"), PURPOSE)
        assert (cloud.calls["azure-imds"], cloud.calls["entra-obo"]) == (1, 1)

    tell(story)
