import json

import duckdb
import pytest

from remit.audit.ledger import Entry
from remit.audit.query import _open

AT = 1_790_000_000_000_000
ADA = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000002"
MODEL = "//aiplatform.googleapis.com/projects/contoso-fraud-prod/locations/us-central1/models/9"


def access(number: int, at: int, decision: str | None = None, **changes) -> str:
    row = {
        "time": str(at),
        "stream": f"s-{number}",
        "method": "POST",
        "host": "us-central1-aiplatform.googleapis.com",
        "path": "/v1/x",
        "status": 200,
        "flags": "-",
        "detail": "via_upstream",
        "decision": decision,
        "asked": None,
        "reason": None,
        "grpc_status": None,
        **changes,
    }
    # What has no value is null; lines that were sealed by earlier versions leave it out.
    return json.dumps({name: value for name, value in row.items() if value is not None or number % 2})


@pytest.fixture
def story(place, decided):
    """Four decisions, a hop that failed, and access rows that are sealed, waiting to be sealed, and live."""
    ledger = place.ledger()
    ids = [f"d-{number:026}" for number in range(5)]
    ledger.append(
        [
            Entry.of(decided(1)),
            Entry.of(
                decided(
                    2,
                    principal=ADA,
                    name="Ada",
                    outcome="deny",
                    reasons=["no_policy_permits"],
                    policies=[],
                    action="aiplatform.projects.locations.customJobs.create",
                    detail="no policy permits this for Ada",
                )
            ),
            Entry.of(decided(3, project="contoso-fraud-prod", resource=MODEL, resources=[MODEL, "//other/thing"])),
            Entry.of(
                {
                    "type": "outcome",
                    "schema": "outcome/1",
                    "decision": ids[3],
                    "at": AT + 4,
                    "hop": "google-sts",
                    "reason": "exchange_unavailable",
                    "detail": "it hangs",
                }
            ),
        ]
    )
    place.writer.write(access(1, AT + 10, ids[1], asked=True))
    place.writer.write(access(2, AT + 20, ids[2], asked=True, status=403, reason="no_policy_permits", grpc_status=7))
    sealer = place.sealer(ledger)
    sealer.seal()
    place.writer.write(access(3, AT + 30, ids[1]))
    place.settings.access_log.rename(place.settings.access_log.parent / "000000000002.jsonl")
    place.writer.write(access(4, AT + 40, status=401, flags="UAEX", detail="jwt_authn_access_denied"))
    with place.settings.access_log.open("ab") as file:
        file.write(b'garbage\n\xff\xfe\n{"time":"17')
    return place


def told(rows) -> list[tuple[int, str]]:
    return [(row.time - AT, row.kind) for row in rows]


@pytest.mark.promise("V18")
def test_one_question_answers_who_decided_and_what_ran(story):
    rows = story.ask()
    assert told(rows) == [
        (1, "decision"),
        (2, "decision"),
        (3, "decision"),
        (4, "outcome"),
        (10, "access"),
        (20, "access"),
        (30, "access"),
        (40, "access"),
    ]
    permitted, denied, _, failed, ran, refused, leased, native = rows
    assert (permitted.name, permitted.outcome, permitted.policies) == ("Dana", "permit", ("engineers-use",))
    assert (denied.principal, denied.reasons, denied.detail) == (
        ADA,
        ("no_policy_permits",),
        "no policy permits this for Ada",
    )
    assert (failed.outcome, failed.reasons, failed.detail, failed.project) == (
        "failed",
        ("exchange_unavailable",),
        "google-sts: it hangs",
        "contoso-fraud-prod",
    )
    assert (ran.name, ran.decision, ran.status, ran.outcome) == ("Dana", permitted.decision, 200, "permit")
    assert (ran.action, ran.resource) == (permitted.action, permitted.resource)
    assert ran.detail == "POST us-central1-aiplatform.googleapis.com/v1/x via_upstream"
    assert (refused.name, refused.status, refused.reasons) == ("Ada", 403, ("no_policy_permits",))
    assert "grpc 7" in refused.detail
    assert leased.detail.endswith("via_upstream lease")
    assert (native.name, native.decision, native.outcome, native.status) == ("", "", "", 401)
    assert "UAEX jwt_authn_access_denied" in native.detail


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"who": "dana"}, [1, 3, 4, 10, 30]),
        ({"who": ADA}, [2, 20]),
        ({"who": "nobody"}, []),
        ({"resource": "models/9"}, [3, 4]),
        ({"resource": "//other/thing"}, [3, 4]),
        ({"resource": "endpoints/7"}, [1, 2, 10, 20, 30]),
        ({"action": "customJobs.create"}, [2, 20]),
        ({"action": "aiplatform.projects.locations.endpoints.predict"}, [1, 3, 4, 10, 30]),
        ({"action": "obs.create"}, []),
        ({"project": "contoso-fraud-prod"}, [3, 4]),
        ({"outcome": "deny"}, [2, 20]),
        ({"outcome": "failed"}, [4]),
        ({"decision": f"d-{1:026}"}, [1, 10, 30]),
        ({"since": AT + 10}, [10, 20, 30, 40]),
        ({"until": AT + 10}, [1, 2, 3, 4]),
        ({"since": AT + 4, "until": AT + 31}, [4, 10, 20, 30]),
        ({"since": AT + 25}, [30, 40]),
        ({"until": AT + 5}, [1, 2, 3, 4]),
        ({"limit": 3}, [20, 30, 40]),
        ({"who": "Dana", "outcome": "permit", "project": "contoso-fraud-test", "limit": 1}, [30]),
        ({"who": "' OR '1'='1"}, []),
    ],
)
def test_by_person_by_resource_by_time(story, query, expected):
    assert [row.time - AT for row in story.ask(**query)] == expected


def test_a_segment_that_is_kept_and_still_waits_counts_once(story):
    text = access(1, AT + 10, f"d-{1:026}") + "\n"
    (story.settings.access_log.parent / "000000000001.jsonl").write_text(text)
    assert told(story.ask(decision=f"d-{1:026}")) == [(1, "decision"), (10, "access"), (30, "access")]


def test_a_field_of_an_unexpected_type_does_not_cost_its_row(place):
    place.writer.write(access(1, AT + 1, status="teapot", grpc_status="-", asked="perhaps"))
    place.sealer(place.ledger()).seal()
    [row] = place.ask()
    assert (row.time, row.status) == (AT + 1, 0)


def test_a_record_that_was_written_twice_multiplies_nothing(story, decided):
    story.ledger().append([Entry.of(decided(1))])
    assert told(story.ask(decision=f"d-{1:026}")) == [(1, "decision"), (10, "access"), (30, "access")]


def test_an_empty_place_answers_nothing(place):
    assert place.ask() == []
    place.spool.log.parent.rmdir()
    assert place.ask() == []


def test_many_entries_are_read_in_batches(place, decided, monkeypatch):
    monkeypatch.setattr("remit.audit.query._BATCH", 7)
    place.ledger().append([Entry.of(decided(number)) for number in range(50)])
    assert [row.time - AT for row in place.ask(limit=1000)] == list(range(50))


def test_duckdb_reads_nothing_but_the_evidence_and_loads_nothing(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    (tmp_path / "inside").mkdir()
    with _open([str(tmp_path / "inside")]) as database:
        for statement in (
            f"FROM read_text('{outside}')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                database.execute(statement)
        settings = dict(database.execute("SELECT name, value FROM duckdb_settings()").fetchall())
    assert settings["autoinstall_known_extensions"] == settings["autoload_known_extensions"] == "false"


def test_what_passed_without_a_decision_can_be_left_out_but_a_refusal_never_is(place):
    lines = [access(1, AT + 1), access(2, AT + 2, status=401), access(3, AT + 3, status=503)]
    place.writer.write("\n".join(lines))
    assert [row.status for row in place.ask()] == [200, 401, 503]
    assert [row.status for row in place.ask(everything=False)] == [401, 503]


@pytest.mark.promise("T3")
@pytest.mark.parametrize("query", [{"action": "predict"}, {"resource": "databases/claims"}, {"who": ADA}])
def test_what_ran_on_a_database_stands_in_the_timeline(place, decided, query):
    ran = {
        "type": "statements",
        "schema": "statements/1",
        "decision": decided(1)["decision"],
        "at": AT + 9,
        "principal": ADA,
        "resource": "//remit/projects/contoso-fraud-test/databases/claims/roles/reader",
        "count": 3,
        "fingerprints": ["a", "b"],
        "counts": ["2", "1"],
        "statements": ["select ? from claims", "begin"],
    }
    place.ledger().append([Entry.of(decided(1, principal=ADA)), Entry.of(ran)])
    (row,) = [row for row in place.ask(**query) if row.kind == "statements"]
    assert (row.principal, row.resource, row.outcome) == (ADA, ran["resource"], "ran")
    assert row.detail == "3: select ? from claims; begin"


@pytest.mark.parametrize("query", [{"who": ADA}, {"who": "os/sam"}, {"resource": ADA[-12:]}, {"outcome": "revoke"}])
def test_a_revocation_is_found_by_whom_it_ended_and_by_who_asked(place, query):
    entry = {
        "type": "revocation",
        "schema": "revocation/1",
        "at": AT + 5,
        "effect": "revoke",
        "scope": "principal",
        "subject": ADA,
        "before": 0,
        "locked": 1,
        "until": 0,
        "source": "operator",
        "because": "left the company",
        "actor": "os/sam",
        "decision": "",
        "epoch": 3,
    }
    place.ledger().append([Entry.of(entry)])
    [row] = place.ask(**query)
    assert (row.kind, row.principal, row.resource, row.outcome) == ("revocation", "os/sam", ADA, "revoke")
    assert row.detail == "principal left the company"
    assert place.ask(who="os/nobody") == []


def test_what_a_run_s_end_leaves_names_whose_run_it_was(place):
    """No decision stands behind an end that could name anybody: each entry does so itself."""
    job = "j-" + "1" * 26
    ended = {"decision": "", "name": "Ada", "at": AT + 5}
    entries = [
        {"type": "run", "schema": "run/1", "step": "end", "principal": ADA, "job": job, "job_name": "nightly", **ended},
        {"type": "grant", "schema": "grant/1", "step": "end", "actor": ADA, "principal": ADA, "grant": "g-1", **ended},
        {"type": "revocation", "schema": "revocation/1", "effect": "revoke", "subject": job, "actor": ADA, **ended},
    ]
    place.ledger().append([Entry.of(entry) for entry in entries])
    found = [(row.kind, row.name, row.principal) for row in place.ask(who="ada")]
    assert found == [("run", "Ada", ADA), ("grant", "Ada", ADA), ("revocation", "Ada", ADA)]
