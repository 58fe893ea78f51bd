"""Tokens at hand: one question for many, renewed in time, given up when the answer is no."""

import threading
import time

import pytest

from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk import tokens as module
from remit.sdk.resources import Resource, parse, project_of, scheme_of
from remit.sdk.tokens import ClaimsUnmet, Issued, Tokens

BLOB, OWN = Resource("az", "p"), Resource("remit")


class Clock:
    """Two clocks that can be moved, together or one alone."""

    def __init__(self, monkeypatch):
        self.wall, self.steady = time.time(), time.monotonic()
        monkeypatch.setattr(module.time, "time", lambda: self.wall)
        monkeypatch.setattr(module.time, "monotonic", lambda: self.steady)

    def move(self, seconds):
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Source:
    """Gives `token-1`, `token-2`, …; `trouble` is raised instead, and `same` keeps the number."""

    def __init__(self, clock, lasts=900):
        self.clock, self.lasts = clock, lasts
        self.asked, self.number = [], 0
        self.trouble, self.same = None, False

    def __call__(self, resource):
        self.asked.append(resource)
        if self.trouble:
            raise self.trouble
        self.number += not (self.same and self.number)
        return Issued(AccessToken(f"token-{self.number}"), self.clock.wall + self.lasts)


@pytest.fixture
def source(clock):
    return Source(clock)


def name(issued):
    return issued.token.reveal()


def test_one_question_until_five_minutes_before_the_end(clock, source):
    tokens = Tokens(source)
    assert tokens.held(BLOB) is None
    assert name(tokens.get(BLOB)) == name(tokens.held(BLOB)) == "token-1"
    clock.move(599)
    assert name(tokens.get(BLOB)) == "token-1"
    clock.move(2)
    assert tokens.held(BLOB) is None
    assert name(tokens.get(BLOB)) == "token-2"
    assert source.asked == [BLOB, BLOB]


def test_each_resource_has_its_own(source):
    tokens = Tokens(source)
    found = [name(tokens.get(one)) for one in (BLOB, OWN, Resource("az", "q"), Resource("gs", "p"))]
    assert len(set(found)) == 4


def test_threads_wait_for_one_question(clock):
    begun, go = threading.Event(), threading.Event()

    def ask(_resource):
        begun.set()
        assert go.wait(60)
        return Issued(AccessToken("one"), clock.wall + 900)

    found = []
    tokens = Tokens(ask)
    threads = [threading.Thread(target=lambda: found.append(tokens.get(BLOB))) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go.set()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len({id(issued) for issued in found}) == 1


@pytest.mark.parametrize("steps", [("wall", 1000), ("steady", 1000)])
def test_either_clock_ends_a_token(clock, source, steps):
    tokens = Tokens(source)
    tokens.get(BLOB)
    setattr(clock, steps[0], getattr(clock, steps[0]) + steps[1])  # a laptop that slept; a clock that was set back
    assert name(tokens.get(BLOB)) == "token-2"


def test_a_token_of_a_minute_is_not_asked_for_on_every_call(clock, source):
    source.lasts = 60
    tokens = Tokens(source)
    assert name(tokens.get(BLOB)) == name(tokens.get(BLOB)) == "token-1"
    clock.move(31)
    assert name(tokens.get(BLOB)) == "token-2"
    source.lasts = 0
    clock.move(61)
    tokens.get(BLOB)
    tokens.get(BLOB)
    assert len(source.asked) == 4


@pytest.mark.promise("V2")
@pytest.mark.parametrize(
    "trouble",
    [Refused(Reason.EXCHANGE_UNAVAILABLE), Refused(Reason.PLANE_UNAVAILABLE), RemitError("remit does not answer")],
)
def test_an_outage_costs_nothing_while_the_token_lives(clock, source, trouble):
    tokens = Tokens(source)
    tokens.get(BLOB)
    clock.move(650)
    source.trouble = trouble
    assert name(tokens.get(BLOB)) == name(tokens.get(BLOB)) == "token-1"
    assert len(source.asked) == 2  # and it is not asked for on every call
    clock.move(31)
    assert name(tokens.get(BLOB)) == "token-1"
    assert len(source.asked) == 3
    clock.move(300)
    with pytest.raises(type(trouble)):
        tokens.get(BLOB)
    source.trouble = None
    assert name(tokens.get(BLOB)) == "token-2"


@pytest.mark.parametrize(
    "trouble",
    [Refused(Reason.REVOKED), Refused(Reason.NO_POLICY_PERMITS), Refused(Reason.SIGN_IN_AGAIN), NotSignedIn("nobody")],
)
def test_a_no_ends_it_at_once(clock, source, trouble):
    tokens = Tokens(source)
    tokens.get(BLOB)
    clock.move(650)
    source.trouble = trouble
    for _ in range(2):
        with pytest.raises(type(trouble)):
            tokens.get(BLOB)
    assert tokens.held(BLOB) is None


def test_a_challenge_passes_what_is_held(clock, source):
    tokens = Tokens(source)
    tokens.get(BLOB)
    assert name(tokens.get(BLOB, "c1")) == "token-2"
    assert name(tokens.get(BLOB, "c1")) == name(tokens.get(BLOB)) == "token-2"  # another thread, the same challenge
    assert name(tokens.get(BLOB, "c2")) == "token-3"
    clock.move(31)
    source.same = True
    with pytest.raises(ClaimsUnmet, match="newer or stronger sign-in") as caught:
        tokens.get(BLOB, "c2")
    assert "remit login" in caught.value.hint


def test_a_forked_process_asks_anew(source, monkeypatch):
    tokens = Tokens(source)
    tokens.get(BLOB)
    monkeypatch.setattr(module.os, "getpid", lambda: 1)
    assert tokens.held(BLOB) is None
    assert name(tokens.get(BLOB)) == "token-2"


# names


@pytest.mark.parametrize(
    ("text", "audience"),
    [
        ("remit", "remit"),
        ("gs://p", "//storage.googleapis.com/projects/p"),
        ("az://contoso-fraud-test", "//blob.core.windows.net/projects/contoso-fraud-test"),
        ("postgresql://p", "//ossrdbms-aad.database.windows.net/projects/p"),
        ("sql://example.com:p", "//database.windows.net/projects/example.com:p"),
    ],
)
def test_resources(text, audience):
    assert (parse(text).audience, str(parse(text))) == (audience, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gs://",
        "s3://p",
        "p",
        "gs://P",
        "az://p/containers/x",
        "az://p\n",
        "az://../remit",
        "remit://p",
        "REMIT",
        "az:p",
        "gs://p?x",
    ],
)
def test_what_is_no_resource(text):
    with pytest.raises(RemitError, match="is not a resource"):
        parse(text)


@pytest.mark.parametrize(
    ("scope", "scheme"),
    [
        ("https://storage.azure.com/.default", "az"),
        ("https://storage.azure.com//.default", "az"),
        ("https://contosomodels.blob.core.windows.net/.default", "az"),
        ("https://ossrdbms-aad.database.windows.net/.default", "postgresql"),
        ("https://database.windows.net/.default", "sql"),
        ("https://database.windows.net//.default", "sql"),
        ("remit/.default", "remit"),
        ("remit", "remit"),
    ],
)
def test_scopes_of_azure(scope, scheme):
    assert scheme_of(scope) == scheme


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "/.default",
        "https://management.azure.com/.default",
        "https://storage.azure.com.evil.example/.default",
        "https://graph.microsoft.com/.default",
    ],
)
def test_scopes_that_mean_nothing_here(scope):
    with pytest.raises(RemitError, match="no token can be had for the scope"):
        scheme_of(scope)


def test_a_run_has_one_project():
    run = {"REMIT_JOB": "j-1", "GOOGLE_CLOUD_PROJECT": "p"}
    assert project_of(None, run) == project_of("p", run) == "p"
    assert project_of("q", {"GOOGLE_CLOUD_PROJECT": "p"}) == "q"
    with pytest.raises(RemitError, match="has no tokens for `q`"):
        project_of("q", run)
    with pytest.raises(RemitError, match="not said which project"):
        project_of(None, {})
