"""Every example of docs/python.md runs, in a run whose sidecar is a stand-in."""

import re
import time
from pathlib import Path

import pytest

from remit.model.causes import Cause

PAGE = (Path(__file__).parents[3] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example(text, installation, monkeypatch, capsys):
    ends = str(int(time.time()) + 900)
    installation.say("/secret/msi/token", {"access_token": "eyJ.a.b", "expires_on": ends})
    for name, value in {
        "REMIT_JOB": "j-01m814yq8ktrvf3bdbs2bq4xs1",
        "GOOGLE_CLOUD_PROJECT": "contoso-fraud-test",
        "IDENTITY_ENDPOINT": f"{installation.url}/secret/msi/token",
        "IDENTITY_HEADER": "secret",
        "GCE_METADATA_HOST": f"{installation.url.removeprefix('http://')}/secret",
    }.items():
        monkeypatch.setenv(name, value)
    found = {}
    exec(compile(text, "docs/python.md", "exec"), found)  # noqa: S102 - it is our own page
    assert "eyJ" not in capsys.readouterr().out
    if "engine" in found:
        found["engine"].dispose()


def test_every_class_of_failure_has_its_row():
    table = PAGE.partition("| failure |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert rows == ["iam", "expired", "audience", "firewall", "dns", "tls", "throttled"]
    assert set(rows) <= set(Cause)


def test_every_cause_is_explained():
    table = PAGE.partition("| `cause` |")[2].partition("\n\n")[0]
    assert {cause for cause in Cause if f"`{cause}`" not in table} == set()
