"""The parts of drift that ask nobody: edits of the file, the metrics, the watch, what an entry of a log says."""

import asyncio

import pytest
import yaml

from remit.model.errors import RemitError, TrustBroken
from remit.trust.drifting.attribution import Cause
from remit.trust.drifting.drift import Drift, Side
from remit.trust.drifting.edit import Edit, edited
from remit.trust.drifting.google_log import understood
from remit.trust.drifting.log import moment
from remit.trust.drifting.marks import Marks
from remit.trust.drifting.metrics import Metrics
from remit.trust.drifting.report import Explained, as_json, render
from remit.trust.drifting.watch import Watch
from remit.trust.planning.plan import Act, Change
from remit.trust.things import Address

FILE = """\
# the top
trust: # below
  apart: []
  roles:
    A:
      people: [x, y] # two
      groups:
        - g1 # the first

        # between
        - g2
  accounts:
    e@p:
      grants:
        projects/p: [roles/viewer]
      members: # who
        - remit
    f@p: {grants: {buckets/b: [roles/a]}}
last: 1 # stays
"""


def at(*path):
    return ("trust", *path)


@pytest.mark.parametrize(
    ("path", "value", "comes", "line"),
    [
        (at("apart"), "user:a@b.c", True, "  apart: [user:a@b.c]"),
        (at("roles", "A", "people"), "z", True, "      people: [x, y, z] # two"),
        (at("roles", "A", "people"), "x", False, "      people: [y] # two"),
        (at("roles", "A", "people"), "y", False, "      people: [x] # two"),
        (at("roles", "A", "groups"), "g3", True, "        - g2\n        - g3"),
        (at("roles", "A", "groups"), "g1", False, "      groups:\n\n        # between"),
        (at("roles", "A", "workloads"), "w", True, "        - g2\n      workloads: [w]"),
        (at("accounts", "e@p", "grants", "buckets/c"), "r", True, "roles/viewer]\n        buckets/c: [r]"),
        (at("accounts", "e@p", "grants", "projects/p"), "roles/viewer", False, "      grants: {}"),
        (at("accounts", "f@p", "grants", "buckets/b"), "roles/a", False, "    f@p: {grants: {}}"),
        (
            at("accounts", "f@p", "members"),
            "remit",
            True,
            "    f@p: {grants: {buckets/b: [roles/a]}, members: [remit]}",
        ),
        (at("accounts", "g@p", "members"), "a: b", True, '    g@p: {members: ["a: b"]}'),
        (at("redirects"), "https://x/y", True, "  redirects: [https://x/y]"),
    ],
)
def test_one_item_comes_or_goes_and_the_rest_stays(path, value, comes, line):
    after = edited(FILE, (Edit(path, value, comes),))
    assert line in after
    comments = {each.partition("#")[2] for each in FILE.splitlines()} - ({" the first"} if value == "g1" else set())
    assert all(comment in after for comment in comments)
    assert yaml.safe_load(after) != yaml.safe_load(FILE)


@pytest.mark.parametrize(
    "edit",
    [
        Edit(at("roles", "A", "people"), "nobody", comes=False),
        Edit(at("nowhere", "at all"), "x", comes=False),
        Edit(("last", "deeper"), "x", comes=True),
    ],
)
def test_what_cannot_be_edited_is_refused(edit):
    with pytest.raises(TrustBroken, match="edit"):
        edited(FILE, (edit,))


BINDING = {"resource": "projects/p", "role": "roles/viewer", "member": "user:a@b.c", "condition": None}


def drift(name="a"):
    change = Change(Act.REMOVE, Address("google.binding", name), {**BINDING, "member": name}, None, "")
    return Explained(Drift(change, Side.APPEARED), Cause(1.0, "eve\x1b[31m", "SetIamPolicy"), ())


def test_a_page_obeys_no_name_and_json_has_all():
    assert "\x1b" not in render([drift()])
    [data] = as_json([drift()])["drifts"]
    assert (data["cloud"], data["happened"], data["file"]) == ("google", "appeared", None)


def test_metrics_are_whole_and_tell_zeros_only_once_the_clouds_were_read(tmp_path):
    path = tmp_path / "remit.prom"
    Metrics(errors=2).write(path)
    assert "remit_trust_drift{" not in path.read_text()
    assert "remit_trust_drift_errors_total 2\n" in path.read_text()
    Metrics(5.0, 2, (drift(),)).write(path)
    text = path.read_text()
    assert 'remit_trust_drift{kind="google.binding",cloud="google"} 1\n' in text
    assert 'remit_trust_drift{kind="azure.assignment",cloud="azure"} 0\n' in text
    assert "remit_trust_drift_last_success_timestamp_seconds 5.000\n" in text
    assert (path.stat().st_mode & 0o777, [each.name for each in tmp_path.iterdir()]) == (0o644, ["remit.prom"])


def test_a_watch_tells_what_is_new_or_gone_and_survives_errors():
    readings = [(drift("a"),), (drift("a"), drift("b")), RemitError("busy"), (drift("b"),), ()]
    told = []

    async def look():
        now = readings.pop(0)
        if isinstance(now, RemitError):
            raise now
        return now

    async def pause():
        return bool(readings)

    watch = Watch(
        look=look,
        pause=pause,
        new=lambda one: told.append(f"+{one.drift.name[-1]}"),
        gone=lambda one: told.append(f"-{one.drift.name[-1]}"),
        failed=lambda error: told.append(error.message),
        noted=lambda metrics: told.append(metrics.errors),
        clock=lambda: 7.0,
    )
    assert asyncio.run(watch())
    assert told == ["+a", 0, "+b", 0, "busy", 1, "-a", 1, "-b", 1]
    assert watch.metrics.success == 7.0


def entry(**payload):
    base = {"methodName": "SetIamPolicy", "resourceName": "projects/p", "authenticationInfo": {"principalEmail": "a@b"}}
    labels = {"labels": {"project_id": "p"}}
    return {"timestamp": "2026-11-22T10:00:00.5Z", "resource": labels, "protoPayload": {**base, **payload}}


def delta(**one):
    return {"serviceData": {"policyDelta": {"bindingDeltas": [{"action": "ADD", "role": "r", "member": "m", **one}]}}}


def test_an_entry_says_who_and_what_and_a_refused_one_nothing():
    found = understood(entry(**delta()))
    assert (found.who, found.marks) == ("a@b", Marks(frozenset({("google.binding", "projects/p", "r", "m", "")})))
    assert understood(entry(**delta(), status={"code": 7})) is None
    assert understood(entry(methodName="google.cloud.aiplatform.v1.JobService.CreateCustomJob")) is None
    other = understood(entry(**delta(condition={"title": "t", "expression": "e"})))
    assert not other.marks.meet(found.marks)
    assert not understood(entry(**delta(action="REMOVE"))).marks.meet(found.marks)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5000000Z", 1.5),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("1970-01-01T01:00:01+01:00", 1.0),
        ("never", 0.0),
        (None, 0.0),
    ],
)
def test_moments_of_three_clouds(text, seconds):
    assert moment(text) == seconds
