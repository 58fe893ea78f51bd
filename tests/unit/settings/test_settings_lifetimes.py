"""`credentials.lifetimes`: how long what only the estate knows lasts."""

from pathlib import Path

import pytest

from remit.credentials.lifetimes import LifetimeSettings
from remit.model.errors import SettingsInvalid
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
PLACE = "  accounts: # the first line that fits"
DAY = 86_400


def with_lifetimes(tmp_path, text):
    file = tmp_path / "remit.yaml"
    assert PLACE in TEXT
    file.write_text(TEXT.replace(PLACE, f"  lifetimes: {text}\n{PLACE}", 1), encoding="utf-8")
    return file


@pytest.mark.promise("V13")
def test_nothing_is_bound_that_nobody_has_bound():
    found = read(EXAMPLE).lifetimes
    assert found == LifetimeSettings(
        sign_in=0,
        workflow=21_600,
        cloud_job=7 * DAY,
        workflows=frozenset({"https://token.actions.githubusercontent.com"}),
        tenant="6f1c2a34-8b5d-4e6f-9a01-c0de00000001",
    )


@pytest.mark.promise("V13")
def test_what_the_estate_knows_is_read(tmp_path):
    found = read(with_lifetimes(tmp_path, "{sign_in: 12h, workflow: 5d, cloud_job: 14d}")).lifetimes
    assert (found.sign_in, found.workflow, found.cloud_job) == (43_200, 5 * DAY, 14 * DAY)
    assert read(with_lifetimes(tmp_path, "{sign_in: 90m}")).lifetimes.sign_in == 5400


@pytest.mark.parametrize(
    "text",
    [
        "{sign_in: 0h}",
        "{sign_in: 12}",
        "{sign_in: 1.5h}",
        "{sign_in: 12 h}",
        "{workflow: -1h}",
        "{cloud_job: 1w}",
        "{sign_in: '1234567h'}",
        "{refresh: 90d}",
        "{workflow: null}",
    ],
)
def test_what_is_no_duration_is_refused(tmp_path, text):
    with pytest.raises(SettingsInvalid) as refused:
        read(with_lifetimes(tmp_path, text))
    assert "credentials.lifetimes" in str(refused.value.problems[0])


@pytest.mark.promise("V13")
def test_googles_tokens_live_as_long_as_the_estate_says(tmp_path):
    provider = "  google:\n"
    assert TEXT.count(provider) == 1
    file = tmp_path / "remit.yaml"
    file.write_text(TEXT.replace(provider, f"{provider}    lifetime: 360\n"), encoding="utf-8")
    found = read(file)
    assert (found.credentials.lifetime, found.lifetimes.direct) == (360, 360)
    for seconds in (359, 901):
        file.write_text(TEXT.replace(provider, f"{provider}    lifetime: {seconds}\n"), encoding="utf-8")
        with pytest.raises(SettingsInvalid) as refused:
            read(file)
        assert "credentials.google.lifetime" in str(refused.value.problems[0])
