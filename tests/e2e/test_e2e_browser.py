"""People with browsers at the running plane: in with Entra, what the session is and is not, out again, and why not.

Pages are read in a real Chromium; what no page shows (attributes of cookies, requests that no page of ours sends) is
asked for without a window. Plain http on 127.0.0.1 is no obstacle: Chromium holds loopback for trustworthy and keeps
`__Host-` cookies there; anywhere else the door has TLS.
"""

import importlib.util
import os
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from remit.identity.browser.cipher import read_cipher
from remit.identity.browser.held import read_held, write_held
from remit.state.database import database_path

pytestmark = pytest.mark.e2e

HERE = Path(__file__).resolve().parent
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DANA = f"{TENANT}/0d000000-0000-4000-8000-000000000001"
GIL = "0d000000-0000-4000-8000-000000000004"
OLGA = f"{TENANT}/0d000000-0000-4000-8000-000000000007"
TEST = "projects/contoso-fraud-test/locations/us-central1"
SESSION = "__Host-remit"
FLOW = "__Host-remit-flow"


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browsers() -> ModuleType:
    return _load("e2e_browsers", HERE.parent / "providers" / "browser.py")


@pytest.fixture(scope="module")
def make_world() -> Iterator[Callable[..., Any]]:
    """Makes a world of this file's own, since its people are revoked and disabled. `changes`: of remit.yaml."""
    worlds, made = _load("e2e_worlds", HERE / "conftest.py"), []

    def make(*changes: tuple[str, str]) -> Any:
        folder = Path(tempfile.mkdtemp(prefix="remit-e2e-"))
        made.append((folder, None))
        found = worlds.World(folder)
        made[-1] = (folder, found)
        written = found.config.read_text("utf-8")
        for old, new in changes:
            assert old in written
            written = written.replace(old, new)
        found.config.write_text(written, "utf-8")
        found.settings = worlds.read(found.config)
        found.start()
        return found

    yield make
    for folder, found in made:
        if found:
            found.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def plane(make_world: Callable[..., Any]) -> Any:
    return make_world()


@pytest.fixture(scope="module")
def chromium(browsers: ModuleType, plane: Any) -> Iterator[Any]:
    front = Path(plane.lab.folder, "front.pem").read_text()
    with browsers.Chromium(proxy=f"http://127.0.0.1:{plane.lab.proxy}", trusted=[front]) as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures of pages go: a folder that `REMIT_PICTURES` names, to look at them, else one that is forgotten."""
    folder = Path(os.environ.get("REMIT_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def account(world: Any, name: str) -> None:
    """Who signs in next at Entra's page."""
    world.control(browser={"account": name if "@" in name else f"{name}@contoso.example"})


def at_entra(world: Any, name: str, url: str) -> str:
    """The address that Entra sends a browser back to."""
    account(world, name)
    with world.entra.browser() as browser:
        answer = browser.get(url)
        assert answer.is_redirect, answer.text
        return str(answer.headers["location"])


@pytest.fixture
def sign_in(browsers: ModuleType, plane: Any) -> Callable[..., Any]:
    """Somebody with a session."""

    def signed_in(name: str, world: Any = plane, visitor: Any = None) -> Any:
        found = visitor or browsers.Visitor(world.url)
        answer = found.ask("GET", at_entra(world, name, found.depart("entra")))
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == "/account"
        return found

    return signed_in


def why(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("x-remit-reason", "")


def session_of(page: str) -> str:
    """The name of this browser's session."""
    found = re.search(r'<code>(s-[0-9a-f]+)</code><span class="here">', page)
    assert found, page
    return found[1]


# With a window.


def test_in_two_browsers_and_out_of_both(chromium: Any, plane: Any, pictures: Path) -> None:
    account(plane, "dana")
    with chromium.person() as first, chromium.person() as second:
        first.go(f"{plane.url}/sign-in", "Your organisation's own sign-in page opens next.")
        first.picture(pictures / "sign-in.png")
        shown = first.press("Continue with Contoso", "Where you are signed in")
        first.picture(pictures / "account.png")
        assert DANA in shown
        assert shown.count("this browser") == shown.count("Sign out\n") == 1
        assert first.url == f"{plane.url}/account"
        cookie = first.cookies()[SESSION]
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
        assert cookie["session"]
        assert FLOW not in first.cookies()
        assert first.read("document.cookie") == ""
        assert first.go(f"{plane.url}/sign-in", "Sign in").count("This browser has a session already") == 1
        # the second one sees both, and ends the first
        second.go(f"{plane.url}/sign-in/entra", "Where you are signed in")
        first_id = next(line for line in shown.splitlines() if line.startswith("s-")).removesuffix("this browser")
        shown = second.press(f"Sign out of session {first_id}", "Sign out everywhere")
        assert first_id not in shown
        first.go(f"{plane.url}/account", "Your session has ended")
        first.picture(pictures / "ended.png")
        # and then itself, with whatever else there is
        first.go(f"{plane.url}/sign-in/entra", "Where you are signed in")
        mine = next(line for line in first.text.splitlines() if line.startswith("s-") and line.endswith("this browser"))
        second.go(f"{plane.url}/account", mine.removesuffix("this browser"))
        second.picture(pictures / "two-sessions.png")
        second.press("Sign out everywhere", "You are signed out here.")
        second.picture(pictures / "signed-out.png")
        assert SESSION not in second.cookies()
        first.go(f"{plane.url}/account", "Your session has ended")
        first.press("Go to the sign-in page", "Continue with Contoso")


def test_the_pages_of_those_who_may_not_enter(chromium: Any, plane: Any, pictures: Path) -> None:
    with chromium.person() as stranger:
        plane.control(browser={"account": "dana@contoso.example", "decline": True})
        said = stranger.go(f"{plane.url}/sign-in/entra", "The identity provider said no")
        assert "access_denied" in said
        stranger.picture(pictures / "declined.png")
        said = stranger.go(f"{plane.url}/sign-in/nobody", "There is nothing here")
        stranger.picture(pictures / "unknown.png")
        assert "token" not in said


@pytest.mark.promise("V9")
def test_a_guest_of_an_unmapped_tenant_is_told_why(chromium: Any, plane: Any, pictures: Path) -> None:
    account(plane, "zoe@adatum.example")
    with chromium.person() as zoe:
        said = zoe.go(f"{plane.url}/sign-in/entra", "Your organisation has no access here")
        zoe.picture(pictures / "zoe.png")
        assert "token_tenant" in said
        assert "Ask an administrator to list that tenant under guests" in said
        assert SESSION not in zoe.cookies()
        reference = re.search(r"r-[0-9a-z]{8}", said)
        assert reference
        assert zoe.go(f"{plane.url}/account", "Continue with Contoso")
    account(plane, "gil@fabrikam.example")
    with chromium.person() as gil:
        said = gil.go(f"{plane.url}/sign-in/entra", "Where you are signed in")
        gil.picture(pictures / "gil.png")
        assert "6f1c2a34-8b5d-4e6f-9a01-c0de00000002" in said


def test_a_second_factor_when_it_is_asked_for(chromium: Any, plane: Any) -> None:
    account(plane, "dana")
    with chromium.person() as dana:
        assert "no authentication context" in dana.go(f"{plane.url}/sign-in/entra", "Where you are signed in")
        shown = dana.go(f"{plane.url}/sign-in/entra?context=c1", "mfa")
        assert "c1" in shown.split("Strength")[1].split("Authenticated")[0]


# Without one: what the session is.


def test_what_the_cookie_is(browsers: ModuleType, plane: Any) -> None:
    visitor = browsers.Visitor(plane.url)
    begun = visitor.ask("GET", "/sign-in/entra")
    assert attributes(begun, FLOW) == {"httponly", "secure", "path=/", "samesite=lax", "max-age=600"}
    ended = visitor.ask("GET", at_entra(plane, "dana", begun.headers["location"]))
    assert attributes(ended, SESSION) == {"httponly", "secure", "path=/", "samesite=lax"}
    assert "max-age=0" in attributes(ended, FLOW)
    assert len(visitor.cookies[SESSION]) == 43
    assert list(visitor.cookies) == [SESSION]
    page = visitor.account()
    assert page.headers["cache-control"] == "no-store"
    assert visitor.cookies[SESSION] not in page.text


def attributes(answer: Any, name: str) -> set[str]:
    [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
    return {part.strip().lower() for part in line.split(";")[1:]}


def test_a_cookie_from_before_the_sign_in_is_worth_nothing(
    browsers: ModuleType, plane: Any, sign_in: Callable[..., Any]
) -> None:
    planted = "A" * 43
    victim = sign_in("dana", visitor=browsers.Visitor(plane.url, {SESSION: planted}))
    assert victim.cookies[SESSION] != planted
    assert why(browsers.Visitor(plane.url, {SESSION: planted}).account()) == (401, "session_ended")
    stolen = dict(victim.cookies)
    assert browsers.Visitor(plane.url, stolen).account().status_code == 200
    sign_in("dana", visitor=victim)
    assert victim.account().status_code == 200
    assert why(browsers.Visitor(plane.url, stolen).account()) == (401, "session_ended")


def test_an_answer_counts_once_and_in_the_browser_that_asked(browsers: ModuleType, plane: Any) -> None:
    dana, mallory = browsers.Visitor(plane.url), browsers.Visitor(plane.url)
    back = at_entra(plane, "dana", dana.depart("entra"))
    assert why(mallory.ask("GET", back)) == (400, "request_malformed")
    mallory.depart("entra")
    assert why(mallory.ask("GET", back)) == (400, "request_malformed")
    assert SESSION not in mallory.cookies
    flow = dict(dana.cookies)
    assert dana.ask("GET", back).status_code == 303
    again = browsers.Visitor(plane.url, flow)
    assert why(again.ask("GET", back)) == (400, "request_malformed")
    assert SESSION not in again.cookies
    assert dana.account().status_code == 200


def test_the_way_back_stays_at_home(browsers: ModuleType, plane: Any) -> None:
    for wanted, found in (("/v1/configuration?a=b", "/v1/configuration?a=b"), ("//evil.example", "/account")):
        visitor = browsers.Visitor(plane.url)
        back = at_entra(plane, "dana", visitor.depart("entra", f"?to={wanted.replace('?', '%3F')}"))
        assert visitor.ask("GET", back).headers["location"] == found


def test_two_sessions_at_once_are_none(plane: Any, browsers: ModuleType, sign_in: Callable[..., Any]) -> None:
    dana = sign_in("dana")
    good = f"{SESSION}={dana.cookies[SESSION]}"
    for two in (f"{good}; {SESSION}={'A' * 43}", f"{SESSION}={'A' * 43}; {good}", f"{good}; {good}"):
        stranger = browsers.Visitor(plane.url)
        assert why(stranger.ask("GET", "/account", cookie=two)) == (400, "request_ambiguous")
        assert why(stranger.ask("GET", "/sign-in", cookie=two)) == (400, "request_ambiguous")
    assert dana.account().status_code == 200


@pytest.mark.parametrize("path", ["/sign-out", "/sign-out/everywhere"])
def test_nobody_else_signs_anybody_out(plane: Any, sign_in: Callable[..., Any], path: str) -> None:
    dana, ada = sign_in("dana"), sign_in("ada")
    form = dana.form(dana.account().text)
    here = {"origin": plane.url}
    for sent, headers in (
        (form, {}),
        (form, {"origin": "null"}),
        (form, {"origin": "https://evil.example"}),
        (form, {"origin": plane.url.replace("127.0.0.1", "localhost")}),
        ({}, here),
        ({"token": ""}, here),
        (ada.form(ada.account().text), here),
    ):
        assert why(dana.ask("POST", path, sent, **headers)) == (400, "request_malformed")
        assert dana.account().status_code == 200
    assert dana.ask("POST", path, form, **here).status_code == 303
    assert SESSION not in dana.cookies
    assert ada.account().status_code == 200


def test_nobody_ends_a_session_of_somebody_else(plane: Any, sign_in: Callable[..., Any]) -> None:
    dana, ada = sign_in("dana"), sign_in("ada")
    form = dana.form(dana.account().text) | {"session": session_of(ada.account().text)}
    assert dana.ask("POST", "/sign-out", form, origin=plane.url).headers["location"] == "/account"
    assert ada.account().status_code == 200


# How long it lasts.


def test_a_session_outlives_its_arbiter(plane: Any, sign_in: Callable[..., Any]) -> None:
    dana = sign_in("dana")
    name = session_of(dana.account().text)
    os.kill(plane.arbiter, signal.SIGKILL)
    plane.until_ready()
    assert session_of(dana.account().text) == name


def test_a_revoked_session_is_over_when_the_command_returns(plane: Any, sign_in: Callable[..., Any]) -> None:
    dana, elsewhere = sign_in("dana"), sign_in("dana")
    done = plane.remit("revoke", session_of(dana.account().text), "--config", str(plane.config))
    began = time.monotonic()
    assert done.returncode == 0, done.stderr
    assert why(dana.account()) == (403, "revoked")
    assert time.monotonic() - began < 1
    assert elsewhere.account().status_code == 200


def test_a_revoked_person_has_to_sign_in_again_though_the_token_renews(plane: Any, sign_in: Callable[..., Any]) -> None:
    olga = sign_in("olga")
    time.sleep(1)  # whole seconds: what is issued within the revocation's own second has ended too
    done = plane.remit("revoke", OLGA, "--sign-in-again", "--config", str(plane.config))
    assert done.returncode == 0, done.stderr
    assert why(olga.account()) == (401, "sign_in_again")
    aged(plane, olga.cookies[SESSION])
    # Entra knows of nothing and gives a newer token, which is worth nothing while nobody signed in for it again: at
    # once when Entra has dated it back to before the revocation, which then ends the session, else by the session's age
    for _ in range(2):
        assert why(olga.account()) in {(401, "session_ended"), (401, "sign_in_again")}
    time.sleep(1)  # the same: a sign-in counts from the second after the revocation's own
    sign_in("olga", visitor=olga)
    assert olga.account().status_code == 200


def test_a_disabled_account_ends_at_the_next_renewal(plane: Any, sign_in: Callable[..., Any]) -> None:
    gil = sign_in("gil@fabrikam.example")
    aged(plane, gil.cookies[SESSION])
    assert gil.account().status_code == 200  # renewed
    plane.control(disable=GIL)
    try:
        aged(plane, gil.cookies[SESSION])
        ended = gil.account()
        assert why(ended) == (401, "session_ended")
        assert "AADSTS50057" in ended.text
    finally:
        plane.control(enable=GIL)
    assert why(gil.account()) == (401, "session_ended")


@pytest.mark.parametrize(
    ("idle", "total", "status"), [(3500, 0, 200), (3601, 0, 401), (0, 43_100, 200), (0, 43_201, 401)]
)
def test_idle_and_absolute_limits(plane: Any, sign_in: Callable[..., Any], idle: int, total: int, status: int) -> None:
    """As remit.yaml has them unless told otherwise: an hour, and twelve. The row is made older, nobody waits."""
    ada = sign_in("ada")
    name = session_of(ada.account().text)
    older = "UPDATE sessions SET used_at = used_at - ?, expires_at = expires_at - ? WHERE id = ?"
    with rows(plane) as connection:
        connection.execute(older, (idle, total, name))
    assert ada.account().status_code == status


def test_nothing_at_rest_can_be_used(plane: Any, sign_in: Callable[..., Any]) -> None:
    dana = sign_in("dana")
    secret = dana.cookies[SESSION]
    kept = held(plane, secret)
    assert kept.token
    assert kept.refresh
    folder = database(plane).parent
    signed = kept.token.reveal()
    words = [secret, signed, signed.split(".")[1], kept.refresh.reveal()]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert database(plane) in files
    for path in files:
        data = path.read_bytes()
        assert not [word for word in words if word.encode() in data], path
    said = plane.tail() + plane.log.read_text()
    assert not [word for word in words if word in said]


def database(world: Any) -> Path:
    found = database_path(world.settings.state.url)
    assert found
    return found


def rows(world: Any) -> sqlite3.Connection:
    return sqlite3.connect(database(world), timeout=10)


def held(world: Any, secret: str) -> Any:
    """What a session holds, unsealed with the installation's own key."""
    from remit.model.secret import SessionSecret

    key = SessionSecret(secret).digest()
    with rows(world) as connection:
        [(sealed,)] = connection.execute("SELECT sealed FROM sessions WHERE key = ?", (key,)).fetchall()
    return read_held(read_cipher(world.settings.identity.sessions.key_file).open(sealed, "session", key))


def aged(world: Any, secret: str) -> None:
    """Makes a session's token old enough to be renewed at the next use."""
    from remit.model.secret import SessionSecret

    key, now = SessionSecret(secret).digest(), int(time.time())
    older = replace(held(world, secret), obtained=now - 3500, ends=now + 100)
    sealed = read_cipher(world.settings.identity.sessions.key_file).seal(write_held(older), "session", key)
    with rows(world) as connection:
        connection.execute("UPDATE sessions SET sealed = ?, renewing_until = 0 WHERE key = ?", (sealed, key))


# The same on the larger database.


def test_everything_on_postgresql(
    make_world: Callable[..., Any], postgres: str, browsers: ModuleType, sign_in: Callable[..., Any]
) -> None:
    world = make_world(("state:\n", f"state:\n  database: {postgres}\n"))
    assert world.settings.state.url == postgres
    # a session, over a restart
    dana = sign_in("dana", world)
    os.kill(world.arbiter, signal.SIGKILL)
    world.until_ready()
    name = session_of(dana.account().text)
    # a permit, a refusal
    permit = world.ask("dana", "GET", f"/v1/{TEST}/customJobs?pageSize=1")
    assert permit.status == 200, permit.body
    refused = world.ask("ada", "DELETE", f"/v1/{TEST}/customJobs/1")
    assert (refused.status, refused.reason) == (403, "no_policy_permits")
    # a revocation
    done = world.remit("revoke", name, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    assert why(dana.account()) == (403, "revoked")
    # what was written down
    told = world.remit("audit", "query", "--config", str(world.config), "--json")
    assert told.returncode == 0, told.stderr
    assert permit.decision in told.stdout
    assert refused.decision in told.stdout
    verified = world.remit("audit", "verify", "--config", str(world.config))
    assert verified.returncode == 0, verified.stderr
    assert "the evidence holds" in verified.stderr
    # all of it there, and nothing that could be used
    engine = create_engine(postgres.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ledger_entries")).scalar_one() >= 3
        [sealed] = connection.execute(text("SELECT sealed FROM sessions WHERE id = :id"), {"id": name}).scalars()
    engine.dispose()
    assert b"eyJ" not in bytes(sealed)
    assert not list(world.folder.rglob("remit.db*"))
