"""Google's own SDKs, unmodified, through a whole plane: both ways in, both transports, the same table of steps.

`tunnel`: the environment of `remit run` and nothing else. `endpoint`: an address in `api_endpoint`. Each pair is one
process, since the SDK takes fifteen seconds to import.
"""

import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WAYS = [(way, transport) for way in ("tunnel", "endpoint") for transport in ("grpc", "rest")]
SOON = 15.0  # seconds: the SDKs retry what they take for passing trouble for 60 and more
DECISION = re.compile(r"\(decision (d-[0-9a-z]{26})\)")
REFUSED = {"grpc": "PermissionDenied", "rest": "Forbidden"}

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def decisions(programs, plane):
    """Every decision, once all programs have ended, by its id."""
    for way in WAYS:
        programs(*way)
    return {row.decision: row for row in plane.records() if row.kind == "decision"}


def tables():
    """The names of the steps; the programs' modules import no SDK by themselves."""
    sys.path.insert(0, str(HERE))
    try:
        import denied
        import works
    finally:
        sys.path.remove(str(HERE))
    return list(works.STEPS), list(denied.STEPS), list(denied.STEP_UP)


WORKS, DENIED, STEP_UP = tables()
ways = pytest.mark.parametrize("way", WAYS, ids=["-".join(way) for way in WAYS])


@pytest.mark.promise("V1")
@pytest.mark.promise("V6")
@pytest.mark.promise("V7")
@ways
@pytest.mark.parametrize("name", WORKS)
def test_it_works_unchanged(programs, plane, way, name):
    ran = programs(*way)
    assert name in ran.told, ran.err[-3000:]
    told = ran.told[name]
    assert told["error"] == "", f"{told['error']}: {told['message']}\n{told.get('where')}"


@pytest.mark.promise("V7")
@ways
@pytest.mark.parametrize("name", DENIED)
def test_a_refusal_is_the_sdks_own_exception_at_once(programs, decisions, way, name):
    ran = programs(*way)
    assert name in ran.told, ran.err[-3000:]
    told = ran.told[name]
    assert told["error"] == expected(name, way[1]), told
    found = DECISION.search(told["message"])
    assert found, told
    assert told["took"] < SOON, told
    row = decisions[found[1]]
    assert (row.outcome, row.name) == ("deny", "dana@contoso.example"), row


def expected(name, transport):
    """Clients of Vertex AI and of logs speak both transports, the others REST only."""
    if name.startswith("generate"):
        return "ClientError"
    return "Forbidden" if name.endswith("objects") else REFUSED[transport]


# Behind the second door nobody renews the token in the program's place, so that a challenge is a 401. That google-auth
# takes for an expired token, over REST: it asks for another, and says that there is none.
CHALLENGED = {
    ("tunnel", "grpc"): "PermissionDenied",
    ("tunnel", "rest"): "Forbidden",
    ("endpoint", "grpc"): "Unauthenticated",
    ("endpoint", "rest"): "RefreshError",
}


@ways
def test_production_asks_for_a_second_factor(programs, decisions, way):
    (name,) = STEP_UP
    told = programs(*way).told[name]
    assert told["error"] == CHALLENGED[way], told
    assert told["took"] < SOON, told
    if told["error"] != "RefreshError":
        found = DECISION.search(told["message"])
        assert f"run `remit login --for {found[1]}`" in told["message"]
        assert decisions[found[1]].outcome == "step_up"


@ways
def test_nothing_else_was_tried_and_the_program_ended_well(programs, way):
    ran = programs(*way)
    assert ran.code == 0, ran.err[-3000:]
    assert list(ran.told) == ["import", *WORKS, *DENIED, *STEP_UP]


@pytest.mark.promise("V22")
@ways
def test_no_credential_lies_anywhere(programs, way):
    """Not in a file at home, not in a variable: what a program shows, it asks for."""
    assert programs(*way).told["import"]["environment"] == {"named": [], "files": [], "bearer": []}


def test_both_doors_and_both_transports_refuse_alike(programs, decisions):
    """The very same reason for each of the denied steps."""

    def reasons(way):
        told = programs(*way).told
        found = {name: DECISION.search(told[name]["message"]) for name in DENIED}
        return {name: each and decisions[each[1]].reasons for name, each in found.items()}

    first, *others = (reasons(way) for way in WAYS)
    assert all(each == first for each in others), [first, *others]


@pytest.mark.promise("V6")
def test_one_principal_in_one_timeline(decisions):
    """Jobs, models, predictions, logs and objects: one person in all of them."""
    rows = [row for row in decisions.values() if row.name == "dana@contoso.example" and row.outcome == "permit"]
    groups = {row.action.partition(".")[0] for row in rows}
    assert {"aiplatform", "logging", "storage"} <= groups
    assert len({row.principal for row in rows}) == 1


CREATED = (
    "custom_job_runs",
    "custom_training_job_runs",
    "hyperparameters_are_tuned",
    "pipeline_runs",
    "model_is_uploaded",
    "endpoint_is_created",
    "batch_predict",
)


@ways
@pytest.mark.parametrize("name", CREATED)
def test_what_was_created_leads_to_its_decision(programs, decisions, way, name):
    facts = programs(*way).told[name]["facts"]
    row = decisions[facts["labels"]["remit-decision"]]
    assert row.outcome == "permit"
    assert row.action.endswith((".create", ".upload"))
    assert row.name == "dana@contoso.example"
