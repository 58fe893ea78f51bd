"""`remit trust drift`: what it prints, its exit codes, its metrics, and the two ways out, on the lab in this process."""

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import replace

import pytest
from tests.unit.trust.drifting_lab import Hands, World

import remit.cli
from remit.assembly import trust_drift
from remit.model.errors import TrustBroken

ACCOUNT = "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("drift"))
    assert made.clean().empty
    return made


@pytest.fixture
def drift(capsys, world, monkeypatch):
    """`remit trust drift` in this process: exit code, stdout, stderr."""

    @contextlib.asynccontextmanager
    async def scene(settings, who):
        world.settings = settings
        async with world.client() as client:
            yield world.scene(client)

    monkeypatch.setattr(trust_drift, "open_scene", scene)

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(("trust", "drift", "--config", str(world.file), *words))
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


def bind(world, role, member=f"serviceAccount:{ACCOUNT}"):
    line = {"role": role, "members": [member]}

    async def story(view):
        edit = lambda policy: policy.setdefault("bindings", []).append(line)  # noqa: E731 - one edit of one test
        await Hands(view).policy("projects/contoso-fraud-test", edit)

    world.run(story)


def test_none_then_one_which_is_explained_and_reverted(drift, world, tmp_path):
    assert drift()[:2] == (0, "the clouds hold what remit.yaml says: no drift\n")
    bind(world, "roles/browser")
    metrics = tmp_path / "drift.prom"
    code, out, _ = drift("--json", "--metrics", str(metrics))
    assert code == 1
    [told] = json.loads(out)["drifts"]
    assert (told["who"], told["happened"], told["cloud"]) == ("admin@contoso.example", "appeared", "google")
    assert told["blast"][0]["gains"]
    assert 'remit_trust_drift{kind="google.binding",cloud="google"} 1' in metrics.read_text()
    code, out, _ = drift()
    assert code == 1
    assert "by admin@contoso.example, " in out
    assert "group 9a000000-0000-4000-8000-000000000002" in out
    code, out, err = drift("revert", told["key"])
    assert (code, out) == (2, "")
    assert "nothing is reverted without a yes" in err
    assert "0 to make, 0 to change, 1 to remove" in err
    assert "remit trust apply" not in err  # the checksum of a part is none that it takes
    code, out, err = drift("revert", told["key"], "--yes")
    assert (code, out) == (0, "1 reverted\n"), err
    assert drift()[0] == 0


def test_what_changes_while_somebody_reads_is_not_reverted_and_said(drift, world, monkeypatch):
    bind(world, "roles/browser")
    [told] = json.loads(drift("--json")[1])["drifts"]
    reverted = trust_drift.reverted

    async def late(view, plan, allowed, tell):
        other = replace(plan.changes[0], says="something else")
        return await reverted(view, replace(plan, changes=(other,)), allowed, tell)

    with monkeypatch.context() as patch:
        patch.setattr(trust_drift, "reverted", late)
        code, out, err = drift("revert", told["key"], "--yes")
    assert (code, out) == (2, "")
    assert err.endswith(
        "error: since these drifts were shown, the clouds, the policy or remit.yaml changed\n"
        "hint: look again: `remit trust drift`\n"
    )
    assert "remit trust apply" not in err
    assert drift("revert", told["key"], "--yes")[0] == 0


def test_adopting_edits_the_file(drift, world):
    bind(world, "roles/browser")
    [told] = json.loads(drift("--json")[1])["drifts"]
    code, out, err = drift("adopt", told["key"])
    path = f"trust.accounts.{ACCOUNT}.grants.projects/contoso-fraud-test"
    assert (code, out) == (0, f"`roles/browser` added to `{path}`\n"), err
    assert world.reread().empty


def test_a_cloud_that_cannot_be_read_is_an_error_and_not_a_clean_answer(drift, monkeypatch, tmp_path):
    async def broken(view):
        raise TrustBroken("google could not be read")

    monkeypatch.setattr(trust_drift, "explained", broken)
    metrics = tmp_path / "drift.prom"
    code, out, err = drift("--metrics", str(metrics))
    assert (code, out) == (2, "")
    assert "google could not be read" in err
    assert "remit_trust_drift_errors_total 1" in metrics.read_text()


@pytest.mark.parametrize("words", [("revert",), ("revert", "a", "--resume"), ("adopt",), ("adopt", "00000000")])
def test_what_is_not_named_is_not_done(drift, words):
    assert drift(*words)[0] == 2


def test_a_watch_goes_on_after_an_error_and_ends_by_a_signal_in_the_middle_of_a_reading(drift, monkeypatch, tmp_path):
    readings = []

    async def explained(view):
        readings.append(view)
        if len(readings) == 1:
            raise TrustBroken("azure could not be read")
        if len(readings) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(3600)
        return ()

    monkeypatch.setattr(trust_drift, "explained", explained)
    metrics = tmp_path / "drift.prom"
    code, out, err = drift("--watch", "1", "--metrics", str(metrics))
    assert (code, out, len(readings)) == (0, "", 3)
    assert err == "error: azure could not be read\n"
    assert "remit_trust_drift_errors_total 1\n" in metrics.read_text()
