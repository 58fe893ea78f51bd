"""Every flow of the OpenID Foundation's suite that concerns a confidential code-flow client, run against the provider."""

import sys
from pathlib import Path

import pytest

load = next(module for name, module in sys.modules.items() if name.endswith("conftest") and hasattr(module, "provider"))
flows = load.load(Path(__file__).with_name("flows.py"))

RUN = {name: row for name, row in flows.FLOWS.items() if isinstance(row, flows.Run)}


def test_every_flow_is_run_or_says_why_not():
    assert len(flows.FLOWS) == 73
    assert len(RUN) == 42
    assert all(row.because for row in flows.FLOWS.values() if isinstance(row, flows.Not))


async def _signed_in(v):
    return (await v.signed_in(v.browser())).status_code == 303


async def _rotated(v):
    assert await _signed_in(v)
    v.provider.rotated, v.clock.ahead = True, 31
    return await _signed_in(v)


async def _started_elsewhere(v):
    """Core section 4: another site may link to the start with `iss` and a target; what it says decides nothing."""
    browser = v.browser()
    query = f"iss={v.provider.issuer}&login_hint=dana&target_link_uri=https://evil.example/"
    answer = await v.signed_in(browser, f"/sign-in/scripted?{query}")
    return answer.headers.get("location") == "/account"


async def _logged_out(v):
    browser = v.browser()
    await v.signed_in(browser)
    told = await browser.ask(
        "POST", "/sign-in/scripted/backchannel-logout", data={"logout_token": v.provider.logout_token()}
    )
    assert ("x-remit-reason" in told.headers) == (told.status_code == 400)
    ended = (await browser.ask("GET", "/account")).headers.get("x-remit-reason") == "session_ended"
    assert ended == (told.status_code == 200)
    return ended


KINDS = {"sign-in": _signed_in, "rotation": _rotated, "start": _started_elsewhere, "logout": _logged_out}


@pytest.mark.parametrize("name", RUN)
def test_flow(visit, name):
    row = RUN[name]

    async def story(v):
        return await KINDS[row.kind](v), v.provider.complaints

    accepted, complaints = visit(story, *row.switch.split(), **row.options)
    assert accepted == (row.remit == flows.ACCEPT)
    assert complaints == []
