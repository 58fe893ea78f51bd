"""Cloud Storage as it comes by default: through a tunnel that nobody reads, with a token for decided buckets only."""

import pytest

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def stored(tunnelled, run_program):
    return run_program(tunnelled.person("dana"), "stored.py")


@pytest.mark.promise("V7")
@pytest.mark.parametrize("step", ["objects", "large_object"])
def test_objects_go_through_the_tunnel(stored, step):
    told = stored.told[step]
    assert told["error"] == "", (told, stored.err[-3000:])


@pytest.mark.promise("V7")
def test_another_teams_bucket_is_beyond_the_token(stored):
    """Google itself refuses: the token is narrowed to what Remit decided, so that nobody has to read the tunnel."""
    told = stored.told["_elsewhere"]
    assert told["error"] == "Forbidden", told
    assert "remit" not in told["message"].lower()


def test_the_token_was_decided_on_and_the_objects_were_not(stored, tunnelled):
    """What was touched stands in the cloud's own log."""
    actions = {row.action for row in tunnelled.records(who="dana@contoso.example", outcome="permit")}
    assert any(action.startswith("storage.objects.") for action in actions), actions
    ran = tunnelled.records(resource="/objects/")
    assert ran == []
