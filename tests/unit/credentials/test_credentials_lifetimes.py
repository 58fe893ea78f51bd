"""The hops between a sign-in and the data: whose, how long, which of them end, and the page that says so."""

from dataclasses import replace

import pytest

from remit.credentials.lifetimes import Lifetimes, LifetimeSettings
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.lifetime import NOTHING, Place, Rests, outlives

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
GITHUB = "https://token.actions.githubusercontent.com"
HOUR = 3600
DANA = Identity(
    principal=Principal(f"https://login.microsoftonline.com/{TID}/v2.0", TID, "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(at=NOW - 2 * HOUR),
    guest=False,
    issued_at=NOW - 600,
    expires_at=NOW + 3000,
    token_id="uti",
)
SETTINGS = LifetimeSettings(sign_in=12 * HOUR, workflows=frozenset({GITHUB}), tenant=TID)


def somebody(kind, tenant=TID, issuer="https://issuer.example"):
    return replace(DANA, principal=Principal(issuer, tenant, "s", kind), authentication=Authentication())


def hops(identity=DANA, place=Place.RUN, rests=NOTHING, settings=SETTINGS):
    return {hop.name: hop for hop in Lifetimes(settings).hops(identity, place, rests, NOW)}


@pytest.mark.promise("V13")
def test_a_persons_run_ends_with_the_sign_in_where_the_tenant_bounds_it():
    found = hops()
    assert (found["sign-in"].lasts, found["sign-in"].renews) == (10 * HOUR, False)
    assert "12 hours" in found["sign-in"].why
    assert "remit login" in found["sign-in"].change
    assert [hop.name for hop in outlives(10 * HOUR + 1, found.values())] == ["sign-in"]
    assert outlives(10 * HOUR, found.values()) == ()
    unbounded = hops(settings=replace(SETTINGS, sign_in=0))
    assert unbounded["sign-in"].renews
    assert outlives(30 * 86400, unbounded.values()) == ()


@pytest.mark.promise("V13")
def test_a_sign_in_whose_time_nobody_says_is_at_least_as_old_as_its_token():
    unsaid = replace(DANA, authentication=Authentication())
    assert hops(unsaid)["sign-in"].lasts == 12 * HOUR - 600


def test_a_sign_in_that_is_over_is_over():
    old = replace(DANA, authentication=Authentication(at=NOW - 13 * HOUR))
    assert hops(old)["sign-in"].lasts == 0


@pytest.mark.promise("V13")
def test_a_workload_has_no_sign_in_hop():
    found = hops(somebody(Kind.WORKLOAD))
    assert {"sign-in", "refresh-token", "session"} & set(found) == set()
    assert found["workload"].renews
    assert outlives(30 * 86400, found.values()) == ()


@pytest.mark.promise("V13")
def test_a_pipelines_token_is_good_while_its_job_runs():
    pipeline = somebody(Kind.WORKLOAD, "github", GITHUB)
    found = hops(pipeline)
    assert (found["workflow"].lasts, found["workflow"].renews) == (6 * HOUR - 600, False)
    assert "workload" not in found
    assert hops(pipeline, settings=replace(SETTINGS, workflow=86400))["workflow"].lasts == 86400 - 600


def test_what_another_provider_does_is_not_known():
    found = hops(somebody(Kind.PERSON, "keycloak"))
    assert (found["sign-in"].lasts, found["sign-in"].renews) == (None, False)
    assert outlives(30 * 86400, found.values()) == ()


@pytest.mark.promise("V13")
def test_what_the_permit_rests_on_ends():
    rests = Rests(session=3 * HOUR, signed_in=NOW - 2 * HOUR, grants=NOW + 1800)
    found = hops(rests=rests)
    assert (found["session"].lasts, found["grant"].lasts) == (HOUR, 1800)
    assert [hop.name for hop in outlives(4 * HOUR, found.values())] == ["grant", "session"]
    assert hops(rests=Rests(session=HOUR))["session"].lasts == 0
    assert hops(rests=Rests(grants=NOW - 5))["grant"].lasts == 0
    assert "session" not in hops(somebody(Kind.WORKLOAD), rests=rests)


@pytest.mark.promise("V13")
def test_work_at_the_cloud_is_nobodys_sign_in():
    rests = Rests(session=3 * HOUR, signed_in=NOW, grants=NOW + 1800)
    found = hops(place=Place.CLOUD, rests=rests)
    assert [name for name, hop in found.items() if not hop.renews] == ["grant"]
    assert found["cloud-job"].lasts == Lifetimes(SETTINGS).endless == 7 * 86400
    assert found["metadata"].renews


def test_every_figure_has_its_page():
    everybody = (DANA, somebody(Kind.WORKLOAD), somebody(Kind.WORKLOAD, "github", GITHUB))
    for place in Place:
        for identity in everybody:
            for hop in hops(identity, place).values():
                assert hop.source.startswith("https://"), hop
                assert hop.why, hop
                assert hop.renews or hop.change, hop
