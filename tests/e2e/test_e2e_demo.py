"""The main job, end to end: `remit demo --json`, with the stock SDKs, TensorFlow and the real Envoy."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """What the demo told, by step, in an empty home with no credential file anywhere."""
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "remit.cli", "demo", "--json"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [step["step"] for step in told] == [1, 2, 3, 4, 5, 6, 7]
    return {step["step"]: step for step in told}


@pytest.mark.e2e
def test_the_trust_is_probed_before_anything_runs(story):
    kinds = {finding["kind"] for finding in story[1]["facts"]["findings"]}
    assert kinds == {"missing", "excess"}


@pytest.mark.e2e
@pytest.mark.promise("V1")
@pytest.mark.promise("V6")
@pytest.mark.promise("V22")
@pytest.mark.promise("N9")
def test_one_sign_in_trains_reads_logs_deploys_and_predicts(story):
    assert story[2]["facts"]["job"].startswith("projects/")
    facts = story[3]["facts"]
    assert facts["accuracy"] > 0.9
    assert facts["over_grpc"] == facts["over_rest"]
    assert sum(a == b for a, b in zip(facts["asked"], facts["over_grpc"], strict=True)) >= len(facts["asked"]) - 1


@pytest.mark.e2e
def test_a_refusal_reads_as_a_normal_permission_denied(story):
    message = story[4]["facts"]["message"]
    assert message.startswith("PermissionDenied: remit: an approval is needed")
    assert "the group `ml-engineers` is missing" in message
    assert "remit request aiplatform.projects.locations.customJobs.create contoso-fraud-test" in message


@pytest.mark.e2e
def test_a_second_factor_is_asked_for_and_the_unchanged_script_runs(story):
    facts = story[5]["facts"]
    assert f"remit login --for {facts['decision']}" in facts["message"]
    assert facts["job"].startswith("projects/100000000002/")


@pytest.mark.e2e
def test_a_foreign_service_account_never_reaches_vertex(story):
    assert story[6]["facts"]["message"].startswith("PermissionDenied: remit:")


@pytest.mark.e2e
@pytest.mark.promise("V5")
def test_both_logs_agree_and_nobody_goes_around(story):
    facts = story[7]["facts"]
    assert facts["verified"] is True
    assert facts["google"] > 5
    assert "attribute condition" in facts["alone"]
    outcomes = {row["outcome"] for row in facts["decisions"]}
    assert outcomes == {"permit", "deny", "step_up", "needs_approval"}


@pytest.mark.e2e
def test_the_story_for_people_is_short(story):
    assert sum(1 + len(step["lines"]) for step in story.values()) < 40
