"""The house put together from Contoso's own files: what is made once, what guards it, what closes behind it."""

import asyncio
import contextlib
import datetime as dt
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from remit.assembly import arbiter, evidence, rooms, serve
from remit.assembly.guard import AccessLogWatch, GuardedRecorder
from remit.assembly.policies import PolicyWatch
from remit.assembly.trust import ApplicationReviewer, PolicyWants
from remit.assembly.trust_verifying import verified
from remit.audit.query import Query
from remit.audit.recorder import LedgerRecorder
from remit.catalogue import methods
from remit.credentials.hop import Token
from remit.credentials.lifetimes import Lifetimes
from remit.gateway.admin import Admin
from remit.gateway.certificates import ensure
from remit.grants.runs import RunView
from remit.model.errors import NotRecorded, Refused, RemitError, SettingsInvalid, TrustBroken
from remit.model.record import Recorded
from remit.model.secret import AccessToken
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
ENGINEERS = frozenset({"9a000000-0000-4000-8000-000000000002"})
ENTRY = {"type": "decision", "schema": "decision/1", "decision": "d-1", "at": 1, "outcome": "deny"}


@pytest.fixture
def settings(runtime_folder, monkeypatch):
    for name in ("HTTPS_PROXY", "AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # every cloud is away
    shutil.copytree(EXAMPLE / "policies", runtime_folder / "policies")
    shutil.copy(EXAMPLE / "remit.yaml", runtime_folder)
    return read(runtime_folder / "remit.yaml")


def test_the_doors_authority_is_made_for_every_name_that_is_served(settings):
    """A service's own name and the endpoint's too: the gateway refuses an authority that was not made for them."""
    settings.file.write_text(
        settings.file.read_text().replace(
            "gateway:\n", "gateway:\n  endpoint:\n    listen: 127.0.0.1:1\n    names:\n      vertex.here: us-central1\n"
        )
        + "services:\n- {name: a, project: contoso-fraud-test, http: 'http://127.0.0.1:2', host: a.here}\n"
    )
    found = read(settings.file)
    evidence.install(found)
    assert {"vertex.here", "a.here"} < set(found.gateway.names)
    ensure(found.gateway.authority, found.gateway.names, dt.datetime.now(dt.UTC))


@pytest.fixture
def installed(settings):
    evidence.install(settings)
    return settings


# evidence


def test_an_installation_is_made_once(settings):
    evidence.install(settings)
    key, public = settings.audit.key.read_bytes(), evidence.public_key(settings).read_text()
    certificate = evidence.door(settings).read_bytes()
    evidence.install(settings)
    assert settings.audit.key.read_bytes() == key
    assert evidence.public_key(settings).read_text() == public == f"{evidence.signer(settings).verifier}\n"
    assert evidence.door(settings).read_bytes() == certificate
    assert settings.audit.key.stat().st_mode & 0o777 == 0o600


def test_a_public_key_that_was_lost_is_written_again(installed):
    public = evidence.public_key(installed)
    text = public.read_text()
    public.unlink()  # or a crash between the two files
    evidence.install(installed)
    assert public.read_text() == text


def test_a_key_that_was_lost_is_not_made_again_under_a_ledger(installed):
    key = installed.audit.key.read_bytes()
    with evidence.writing(installed) as engine, LedgerRecorder(evidence.ledger(installed, engine)) as recorder:
        recorder.record_now({**ENTRY, "at": rooms.now()})
    installed.audit.key.unlink()
    with pytest.raises(RemitError, match=r"ledger.key` is missing, and its ledger is not empty") as refused:
        evidence.install(installed)
    assert refused.value.hint.startswith("restore the key from a backup")
    assert not installed.audit.key.exists()
    installed.audit.key.write_bytes(key)
    installed.audit.key.chmod(0o600)
    evidence.install(installed)


def test_a_key_under_an_empty_ledger_is_made_with_its_public_half(installed):
    installed.audit.key.unlink()  # or a crash before the first record
    evidence.install(installed)
    assert evidence.public_key(installed).read_text() == f"{evidence.signer(installed).verifier}\n"


def test_whether_there_is_a_ledger(settings):
    assert not evidence.begun(settings)
    with evidence.writing(settings):
        pass
    assert not evidence.begun(settings)
    evidence.install(settings)
    assert not evidence.begun(settings)
    with evidence.writing(settings) as engine, LedgerRecorder(evidence.ledger(settings, engine)) as recorder:
        recorder.record_now({**ENTRY, "at": rooms.now()})
    assert evidence.begun(settings)


@pytest.mark.promise("N7")
def test_what_is_recorded_verifies_and_can_be_asked_for(installed):
    with evidence.writing(installed) as engine, LedgerRecorder(evidence.ledger(installed, engine)) as recorder:
        now = rooms.now()
        for number in range(3):
            recorder.record_now({**ENTRY, "decision": f"d-{number}", "at": now + number})
    keys = (evidence.public_key(installed).read_text().strip(),)
    report = evidence.verified(installed, keys)
    assert (report.passed, report.entries) == (True, 3)
    assert evidence.verified(installed, keys, report.checkpoint).passed
    assert [row.decision for row in evidence.asked(installed, Query())] == ["d-0", "d-1", "d-2"]
    assert abs(rooms.now() - time.time() * 1_000_000) < 5_000_000


def test_the_collector_seals_what_envoy_wrote(installed):
    class Reopener:
        def reopen(self):
            raise ProcessLookupError

    installed.audit.access_log.parent.mkdir(parents=True, exist_ok=True)
    with evidence.writing(installed) as engine:
        tree = evidence.ledger(installed, engine)
        with LedgerRecorder(tree) as recorder, evidence.collector(installed, tree, recorder, Reopener()) as found:
            assert found.trouble == ""
    assert evidence.verified(installed, (evidence.public_key(installed).read_text().strip(),)).passed


# the guard


@contextlib.asynccontextmanager
async def envoy(path, answers):
    """Envoy's admin socket, which gives one answer after the other."""

    async def accept(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(accept, path)
    try:
        yield
    finally:
        server.close()
        await asyncio.sleep(0)


def stats(*values):
    rows = [{"name": f"filesystem.write_failed_{index}", "value": value} for index, value in enumerate(values)]
    return 200, json.dumps({"stats": rows}).encode()


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def looks(runtime_folder, answers, times=1):
    clock = Clock()
    watch = AccessLogWatch(Admin(runtime_folder / "a.sock"), clock)

    async def story():
        async with envoy(runtime_folder / "a.sock", answers):
            for _ in range(times):
                await watch.look()

    asyncio.run(story())
    return watch, clock


def test_failed_writes_refuse_for_a_while(runtime_folder):
    watch, clock = looks(runtime_folder, [stats(0), stats(1, 2)], 2)
    assert "access events cannot be written" in watch.trouble
    clock.now += 4.9
    assert watch.trouble
    clock.now += 0.2
    assert watch.trouble == ""


def test_writes_that_failed_long_ago_are_no_trouble(runtime_folder):
    watch, clock = looks(runtime_folder, [stats(3), stats(3)], 2)
    clock.now += 6
    assert watch.trouble == ""


@pytest.mark.parametrize("answers", [[stats(0)], [stats()], [(500, b"")]])
def test_an_envoy_that_is_well_or_away_is_no_trouble(runtime_folder, answers):
    assert looks(runtime_folder, answers)[0].trouble == ""


def test_an_envoy_that_is_not_there_is_no_trouble(runtime_folder):
    watch = AccessLogWatch(Admin(runtime_folder / "none.sock"))
    asyncio.run(watch.look())
    assert watch.trouble == ""


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"stats": 7}', b"[]"])
def test_an_answer_that_cannot_be_read_is_trouble(runtime_folder, body):
    assert looks(runtime_folder, [(200, body)])[0].trouble


def test_it_goes_on_looking(runtime_folder):
    watch = AccessLogWatch(Admin(runtime_folder / "a.sock"))

    async def story():
        async with envoy(runtime_folder / "a.sock", [stats(0), stats(1)]):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watch.watch(), 0.6)

    asyncio.run(story())
    assert watch.trouble


def test_no_access_log_no_record(runtime_folder):
    class Keeps:
        entries = ()

        async def record(self, entry):
            self.entries = (*self.entries, entry)
            return Recorded(len(self.entries))

    class Watch:
        trouble = ""

    keeps, watch = Keeps(), Watch()
    guarded = GuardedRecorder(keeps, watch)
    assert asyncio.run(guarded.record(ENTRY)) == Recorded(1)
    watch.trouble = "the disk is full"
    with pytest.raises(NotRecorded, match="the disk is full"):
        asyncio.run(guarded.record(ENTRY))
    assert len(keeps.entries) == 1


# the arbiter


def test_the_house_opens_answers_and_closes(installed):
    async def story():
        async with arbiter.house(installed) as house:
            transport = httpx.ASGITransport(house.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
                return [
                    await client.get(path)
                    for path in (
                        "/healthz",
                        "/readyz",
                        "/v1/configuration",
                        "/v1/identity",
                        "/v1/decision",
                        "/check/v1/x",
                    )
                ]

    healthy, ready, configuration, identity, decision, check = asyncio.run(story())
    assert healthy.status_code == 200
    assert (ready.status_code, ready.json()["wrong"]) == (
        503,
        {"identities": "the identity provider's keys are not known"},
    )
    assert configuration.json()["tenant"] == TENANT
    assert configuration.json()["refused"] == ["sts.googleapis.com", "iamcredentials.googleapis.com"]
    assert configuration.json()["ca_pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert identity.status_code == decision.status_code == check.status_code == 401
    [row] = evidence.asked(installed, Query())
    assert row.decision == check.headers["x-remit-decision"]
    assert row.reasons == ("token_missing",)


def test_the_house_knows_whose_runs_are_and_what_ends(installed):
    async def story():
        async with arbiter.house(installed) as house:
            return type(house.rooms.runs), type(house.rooms.lifetimes), house.rooms.runs.of("j-" + "1" * 26)

    assert asyncio.run(story()) == (RunView, Lifetimes, None)


def test_a_ledger_and_an_access_log_that_fail_turn_readiness_red(installed):
    async def story():
        full = replace(installed, audit=replace(installed.audit, minimum_free_bytes=1 << 60))
        async with arbiter.house(full) as house:
            house.watch._failed_at = time.monotonic()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(house.app), base_url="http://h") as client:
                return await client.get("/readyz"), await client.get("/check/v1/x")

    ready, check = asyncio.run(story())
    assert set(ready.json()["wrong"]) == {"ledger", "identities", "access events"}
    assert (check.status_code, check.headers["x-remit-reason"]) == (503, "record_unavailable")


def test_a_house_that_is_left_by_an_error_is_closed_too(installed):
    async def story():
        async with arbiter.house(installed):
            raise KeyError("whatever")

    with pytest.raises(KeyError):
        asyncio.run(story())  # what were left open would be a ResourceWarning, and so an error


def test_bad_policies_keep_the_house_shut(installed):
    (installed.policy.folder / "fraud.cedar").write_text("permit (")

    async def story():
        async with arbiter.house(installed):
            raise AssertionError("it opened")

    with pytest.raises(SettingsInvalid):
        asyncio.run(story())


def test_edited_policies_are_followed_and_bad_ones_are_not(settings, caplog):
    judge = rooms.judge(settings)
    first = judge.policy_version
    folder = settings.policy.folder
    file = folder / "guests.cedar"
    good = file.read_text()
    kept, broken = {}, []

    async def keep(version, files):
        if broken:
            raise broken.pop()
        kept[version] = dict(files)

    watch = PolicyWatch(folder, judge, keep)

    async def looks(times=2):
        for _ in range(times):
            await watch.look()

    async def story():
        await looks(3)
        assert judge.policy_version == first
        assert not caplog.text
        file.write_text("permit (")
        await looks(4)
        assert judge.policy_version == first
        assert caplog.text.count("the last good set stays") == 1  # said once
        file.write_text(good + "\n// edited\n")
        broken.append(NotRecorded("the disk is full"))
        await looks(1)
        assert judge.policy_version == first  # it may still be being written
        await looks(1)
        assert judge.policy_version == first  # it could not be kept, and so it decides nothing
        assert "cannot be kept: the disk is full" in caplog.text
        await looks(1)
        assert judge.policy_version != first
        edited = judge.policy_version
        assert kept[edited]["guests.cedar"].endswith("// edited\n")
        file.unlink()
        file.symlink_to("none")  # seen by name, gone when it is looked at
        await looks()
        folder.rename(folder.with_name("elsewhere"))
        await looks()
        assert judge.policy_version == edited
        assert caplog.text.count("the last good set stays") >= 2

    asyncio.run(story())


def test_a_watch_that_ends_ends_the_process(caplog):
    async def breaks():
        await asyncio.sleep(0)
        raise KeyError("why")

    async def story():
        stop = asyncio.Event()
        async with arbiter.attended(stop, {"keys": asyncio.sleep(60), "policies": breaks()}):
            await asyncio.wait_for(stop.wait(), 5)

    asyncio.run(story())
    assert "nobody watches the policies any more" in caplog.text
    assert "KeyError" in caplog.text


def test_the_arbiter_runs_until_it_is_told(installed):
    socket = installed.gateway.arbiter_socket
    socket.parent.mkdir(parents=True)

    async def story():
        stop = asyncio.Event()
        task = asyncio.create_task(arbiter.run(installed, stop, asyncio.Event()))
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
            for _ in range(1000):
                with contextlib.suppress(httpx.TransportError):
                    if (answer := await client.get("/healthz")).is_success:
                        break
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(task, 15)
        return answer.text

    assert asyncio.run(story()) == "ok\n"


# rooms, trust, serve


def test_the_hops_go_where_the_environment_says(settings, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")

    async def story():
        async with rooms.open_hops(settings) as hops:
            with pytest.raises(Refused) as caught:
                await ApplicationReviewer(hops, "a").token()
        return caught.value

    assert asyncio.run(story()).hop == "azure-imds"


def test_the_reviewer_walks_every_hop():
    walked = []

    class Walk:
        def __init__(self, name):
            self.name = name

        async def _step(self, *given):
            walked.append((self.name, *given[:2]))
            return Token(AccessToken(self.name), 900)

        assertion = own = exchange = impersonate = _step

    class Hops:
        identity, entra, sts, iam = Walk("imds"), Walk("entra"), Walk("sts"), Walk("iam")

    assert asyncio.run(ApplicationReviewer(Hops(), "reviewer@p").token()) == AccessToken("iam")
    assert walked == [
        ("imds",),
        ("entra", AccessToken("imds")),
        ("sts", AccessToken("entra")),
        ("iam", AccessToken("sts"), "reviewer@p"),
    ]


def test_what_contoso_s_policy_wants(settings):
    wants = PolicyWants(rooms.judge(settings), settings.estate, TENANT)
    test = wants.permissions("MLEngineer", ENGINEERS, "contoso-fraud-test")
    assert {"aiplatform.customJobs.create", "aiplatform.endpoints.predict", "logging.logEntries.list"} <= test
    assert test <= wants.governed()
    assert "aiplatform.customJobs.create" in wants.permissions("MLEngineer", ENGINEERS, "contoso-fraud-prod")  # with c1
    hers = ("DataScientist", frozenset({"9a000000-0000-4000-8000-000000000004"}), "contoso-fraud-test")
    ada = wants.permissions(*hers, granted=False)
    assert "aiplatform.endpoints.predict" in ada
    assert "aiplatform.customJobs.create" not in ada
    assert wants.permissions(*hers) - ada >= {"aiplatform.customJobs.create"}  # just in time
    assert ada < wants.permissions(*hers)
    assert "aiplatform.models.delete" not in wants.permissions(*hers)  # nobody could grant her that
    repairing = wants.permissions("MLEngineer", ENGINEERS, "contoso-fraud-prod")  # also in an emergency
    assert "aiplatform.models.delete" in repairing - wants.permissions(
        "MLEngineer", ENGINEERS, "contoso-fraud-prod", granted=False
    )
    assert wants.permissions("Nobody", frozenset(), "contoso-fraud-test") == frozenset()
    assert wants.permissions("MLEngineer", ENGINEERS, "unknown") == frozenset()


def test_actions_asked_about_together_are_told_apart_where_policies_tell_them_apart(settings):
    """A whole group, but for one of it that is named, and one of another group that is named."""
    served = [row for row in methods() if row.served and row.permission and row.id.startswith("aiplatform.")]
    launched = [row for row in served if row.group == "launch"]
    but, other = launched[0], next(row for row in served if row.group == "observe")
    (settings.policy.folder / "odd.cedar").write_text(f"""
@id("odd") @purpose("a group") permit (principal in Role::"Odd", action in Action::"launch", resource);
@id("other") @purpose("one") permit (principal in Role::"Odd", action == Action::"{other.id}", resource);
@id("but") @purpose("not one") @refusal("not this one") forbid (principal in Role::"Odd", action == Action::"{but.id}", resource);
""")
    wants = PolicyWants(rooms.judge(settings), settings.estate, TENANT)
    found = wants.permissions("Odd", frozenset(), "contoso-fraud-test")
    assert found == {other.permission, *(row.permission for row in launched if row != but)}
    named = wants.methods("Odd", frozenset(), "contoso-fraud-test")
    assert named == {(row.permission, row.id) for row in (other, *launched) if row != but}


@pytest.mark.parametrize(
    "condition",
    [
        "context has grant && context.grant.approvals >= 3",
        "context has grant && context.grant.break_glass",
        "context has grant && context.grant.job && context.grant.lasting <= 300",
        'context has grant && context.grant.approvals > 1 && context.authentication.contexts.contains("c7")',
    ],
)
def test_whatever_could_be_granted_is_wanted_and_told_apart(settings, condition):
    """The account has to hold it: a grant that people agreed to would otherwise end in a refusal of Google's."""
    (settings.policy.folder / "odd.cedar").write_text(f"""
@id("odd") @purpose("granted") permit (principal in Role::"Odd", action in Action::"launch", resource)
when {{ {condition} }};
@id("read") @purpose("granted") permit (principal in Role::"Odd", action == Action::"storage.objects.get", resource)
when {{ {condition} }};
""")
    wants = PolicyWants(rooms.judge(settings), settings.estate, TENANT)
    odd = ("Odd", frozenset[str](), "contoso-fraud-test")
    assert "aiplatform.customJobs.create" in wants.permissions(*odd)
    assert wants.permissions(*odd, granted=False) == frozenset()
    assert wants.on_bucket(*odd, "contoso-fraud-test-data") == {"storage.objects.get"}
    assert wants.on_bucket(*odd, "contoso-fraud-test-data", granted=False) == frozenset()


def test_what_only_an_approval_is_missing_of_is_wanted(settings):
    """An obligation that asks for people's consent looks at no grant itself."""
    (settings.policy.folder / "odd.cedar").write_text("""
@id("odd") @purpose("in a run") permit (principal in Role::"Odd", action in Action::"launch", resource)
when { context has job };
""")
    (settings.policy.folder / "obligations" / "odd.cedar").write_text("""
@id("two") @purpose("four eyes") @approvals("2")
permit (principal in Role::"Odd", action == Action::"aiplatform.projects.locations.customJobs.create", resource);
""")
    wants = PolicyWants(rooms.judge(settings), settings.estate, TENANT)
    odd = ("Odd", frozenset[str](), "contoso-fraud-test")
    assert {"aiplatform.customJobs.create"} == wants.permissions(*odd) - wants.permissions(*odd, granted=False)
    assert "aiplatform.pipelineJobs.create" in wants.permissions(*odd, granted=False)


def test_the_door_s_address(settings):
    assert serve.url(settings) == "http://127.0.0.1:8443"
    tls = replace(settings.gateway, listen_host="::", tls_certificate=Path("/c"), tls_key=Path("/k"), listen_port=443)
    assert serve.url(replace(settings, gateway=tls)) == "https://[::]:443"
    told = serve.gateway_settings(settings)
    assert "/v1/token" in told.api_paths
    assert told.leasable_grpc
    assert told.hosts == settings.gateway.hosts


def test_a_plane_without_an_envoy_has_no_log_to_reopen(settings):
    with pytest.raises(ProcessLookupError):
        serve.Plane(settings).reopen()


def test_verifying_where_the_issuers_keys_are_not_makes_none(tmp_path):
    """A key made on some laptop would be told as one that Google lacks, and could be uploaded by mistake."""
    config = shutil.copytree(EXAMPLE, tmp_path / "contoso") / "remit.yaml"
    settings = read(config)
    with pytest.raises(TrustBroken, match="keys of Remit's own issuer are not on this machine"):
        asyncio.run(verified(settings))
    assert not settings.own_keys.exists()


def test_hops_that_only_look_make_no_issuer(tmp_path):
    """So that `doctor` or `plan --as remit` somewhere else leaves nothing that a verification takes for the issuer."""
    config = shutil.copytree(EXAMPLE, tmp_path / "contoso") / "remit.yaml"
    settings = read(config)

    async def looked():
        async with rooms.open_hops(settings):
            pass
        made = settings.own_keys.exists()
        async with rooms.open_hops(settings) as hops:
            assert hops.own is not None
        return made

    assert asyncio.run(looked()) is False
    assert settings.own_keys.exists()
