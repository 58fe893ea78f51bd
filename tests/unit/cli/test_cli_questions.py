"""The commands that ask an installation: what they send, how they speak, their exit codes, and hostile answers."""

import importlib
import json

import pytest

import remit.cli
from remit.model.secret import AccessToken
from remit.sdk import sign_in

NOW = 1_800_000_000
MAY_ONLY = ("what policies permit", "whoever may")
CAN = {
    "decision": "",
    "action": "endpoints.predict",
    "resource": "//projects/p",
    "outcome": "permit",
    "reasons": ["policy_permits"],
    "detail": "",
    "hint": "",
    "who": {"principal": "tid/dana", "name": "Dana"},
    "assumed": {"country": "", "contexts": [], "compliant": False, "methods": ["mfa", "pwd"]},
    "ways": [["fraud", "everyone"]],
    "policies": ["p1", "p2"],
}
PERSON = {
    "principal": "tid/dana",
    "name": "Dana",
    "kind": "person",
    "outcome": "permit",
    "reasons": [],
    "challenge": "",
}
PERSON |= {"policies": ["p1"], "ways": [["fraud", "everyone"]]}
WHO = {"decision": "d-1", "action": "a", "resource": "r", "as_of": NOW}
WHO |= {
    "people": [
        PERSON,
        {**PERSON, "outcome": "step_up", "challenge": "c1", "ways": [], "policies": []},
        {**PERSON, "outcome": "needs_approval", "name": ""},
    ]
}
CHANGE = {"means": "grant", "what": "a grant of it", "value": "", "command": "remit request a p", "who": "Ada"}
EXPLAIN = {
    "decision": "d-1",
    "at": NOW * 1_000_000,
    "outcome": "deny",
    "reasons": ["no_policy_permits"],
    "detail": "not here",
    "hint": "ask",
    "action": "a",
    "resource": "//x/projects/p",
    "full": True,
    "left": "",
    "same": True,
    "questions": [
        {
            "action": "a",
            "resource": "//x/projects/p",
            "allowed": False,
            "policies": [
                {
                    "id": "p1",
                    "effect": "permit",
                    "purpose": "why",
                    "decided": True,
                    "conditions": [{"text": "context.x", "holds": None, "saw": "x is 1"}],
                }
            ],
        }
    ],
    "repairs": [[CHANGE]],
    "ways": [{"group": "everyone", "way": ["fraud", "everyone"]}],
    "principal": "tid/dana",
    "name": "Dana",
}
GRANT = {
    "id": "g-1",
    "principal": "tid/dana",
    "name": "Dana",
    "action": "launch",
    "resource": "//projects/p",
    "project": "p",
    "for": 7200,
    "because": "a fire",
    "job": "",
    "break_glass": False,
    "state": "asked",
    "asked_at": NOW,
    "since": 0,
    "until": 0,
    "needed": 2,
    "votes": [{"principal": "x", "name": "X", "said": "approve", "at": NOW, "because": ""}],
    "mine": False,
    "may_approve": True,
    "digest": "d",
    "review_due": True,
}
DONE = {"decision": "d-1", "grant": GRANT}
COMMANDS = {
    "can": (("can", "me", "predict", "p"), CAN),
    "who": (("who", "predict", "p"), WHO),
    "explain": (("explain", "d-1"), EXPLAIN),
    "request": (("request", "launch", "p", "--for", "2h", "--because", "a fire"), DONE),
    "approve": (("approve", "g-1"), DONE),
    "deny": (("deny", "g-1"), DONE),
    "withdraw": (("withdraw", "g-1"), DONE),
    "review": (("review", "g-1"), DONE),
    "list": (("list",), {"grants": [GRANT]}),
}
EVERY = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(autouse=True)
def signed_in(api, monkeypatch):
    """Whoever runs a command is signed in there."""

    class Kept:
        class configuration:  # noqa: N801 - an attribute of the real one
            url = api.url

        def token(self):
            return AccessToken("secret")

    monkeypatch.setattr(sign_in.SignIn, "kept", classmethod(lambda _: Kept()))


@pytest.fixture
def run(capsys):
    """A command line in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(arguments)
        found = capsys.readouterr()
        assert "Traceback" not in found.err
        return ended.value.code, found.out, found.err

    return call


def test_may_they(run, api):
    api.says(CAN)
    code, out, err = run("can", "Dana", "predict", "p", "--context", "c1", "--not-compliant", "--country", "DE")
    assert (code, out) == (0, "permit: Dana, `endpoints.predict` on `//projects/p`\n")
    assert err.splitlines() == [
        "policies: p1, p2",
        "through: fraud → everyone",
        "assumed: compliant no, contexts none, country unknown, methods mfa, pwd",
    ]
    with_ = {"contexts": ["c1"], "compliant": False, "country": "DE"}
    asked = {"action": "predict", "resource": "p", "who": "Dana", "with": with_}
    assert api.asked == [("POST", "/v1/can", "Bearer secret", asked)]


def test_what_lies_below_a_prefix_is_told_as_that(run, api):
    api.says({**CAN, "within": "train/"})
    assert run("can", "me", "get", "gs://b/train/")[1] == (
        "permit: Dana, `endpoints.predict` on `//projects/p` below `train/`\n"
    )
    assert api.asked[0][3] == {"action": "get", "resource": "gs://b/train/"}
    api.says({**WHO, "within": "train/"})
    assert "may do `a` to `r` below `train/`, as of" in run("who", "get", "gs://b/train/")[2]
    [question] = EXPLAIN["questions"]
    api.says({**EXPLAIN, "questions": [{**question, "within": "train/"}]})
    assert "a on p, `within` train/: refused" in run("explain", "d-1", "--full")[1].splitlines()


@pytest.mark.parametrize(
    ("resource", "address"),
    [
        ("//storage.googleapis.com/projects/_/buckets/b", "gs://b/PREFIX/"),
        ("//blob.core.windows.net/projects/p/accounts/a/containers/c", "az://a/c/PREFIX/"),
        ("//projects/p", ""),
    ],
)
def test_what_holds_only_below_a_prefix_is_not_in_an_answer_about_the_whole_and_that_is_said(
    run, api, resource, address
):
    said = [f"hint: {word} only below a prefix is not in this: name it, as `{address}`\n" for word in MAY_ONLY]
    for denied, document in enumerate((CAN, {**CAN, "outcome": "deny"})):
        api.says({**document, "resource": resource})
        assert (said[0] in run("can", "me", "get", "x")[2]) is bool(denied and address)
    api.says({**WHO, "resource": resource})
    assert (said[1] in run("who", "get", "x")[2]) is bool(address)
    api.says({**WHO, "resource": resource, "within": "train/"})
    assert "below a prefix" not in run("who", "get", "x")[2]


@pytest.mark.parametrize("outcome", ["deny", "step_up", "needs_approval", ""])
def test_whatever_is_no_permit_is_no(run, api, outcome):
    api.says({**CAN, "outcome": outcome, "detail": "not here", "hint": "ask"})
    code, out, err = run("can", "me", "predict", "p")
    assert code == 1
    assert out.startswith(outcome.replace("_", " ") + ": Dana")
    assert "because: not here\n" in err
    assert "hint: ask\n" in err
    assert api.asked[0][3] == {"action": "predict", "resource": "p"}
    assert run("can", "me", "predict", "p", "--json")[0] == 1


def test_everyone_who_may(run, api):
    api.says(WHO)
    code, out, _ = run("who", "predict", "p")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["who", "kind", "may", "by", "through", "principal"]
    assert lines[1].split()[:3] == ["Dana", "person", "yes"]
    assert "fraud → everyone" in lines[1]
    assert "after a step-up to c1" in lines[2]
    assert "when granted" in lines[3]
    assert api.asked[0][:2] == ("GET", "/v1/who?action=predict&resource=p")
    api.says({**WHO, "people": [{**PERSON, "guest": True}, {**PERSON, "guest": True, "kind": "workload"}]})
    kinds = [line.split()[1] for line in run("who", "predict", "p")[1].splitlines()]
    assert kinds == ["kind", "guest", "workload"]
    api.says({**WHO, "people": []})
    assert run("who", "predict", "p")[:2] == (1, "")
    assert run("who", "predict", "p", "--json")[0] == 1
    whole = {"people": [], "resource": "//cloudresourcemanager.googleapis.com/projects/p"}
    api.says({**WHO, **whole})
    assert "hint: what policies permit on something in it is not in this" in run("who", "predict", "p")[2]


def test_why(run, api):
    api.says(EXPLAIN)
    code, out, err = run("explain", "d-1", "--full")
    assert (code, err) == (0, "")
    for line in (
        "d-1: deny, 2027-01-15 08:00:00 UTC",
        "  who       Dana (tid/dana)",
        "    ? context.x   (x is 1)",
        "  permit p1, which decided: why",
        "  in everyone through fraud → everyone",
        "  1. a grant of it, by Ada",
        "       remit request a p",
    ):
        assert line in out.splitlines()
    assert api.asked[0][1] == "/v1/explain?id=d-1&full=1"


def test_a_refusal_before_the_policies_has_no_operation_to_tell(run, api):
    early = {**EXPLAIN, "questions": [], "repairs": [], "ways": [], "action": "", "left": "it was too early"}
    early.pop("resource")
    api.says(early)
    _, out, _ = run("explain", "d-1")
    assert "  what " not in out
    assert "It cannot be decided again: it was too early." in out


def test_a_request_and_the_words_about_it(run, api):
    api.says(DONE)
    code, out, err = run(*COMMANDS["request"][0], "--job", "nightly", "--break-glass")
    assert (code, out) == (0, "g-1 waits for approval, 1 of 2\n")
    assert err.splitlines() == [
        "Dana: `launch` on `//projects/p` for 2h: a fire",
        "hint: whoever may approve runs `remit approve g-1`",
    ]
    ask = {"action": "launch", "resource": "p", "for": 7200, "because": "a fire", "job": "nightly", "break_glass": True}
    assert api.asked[0] == ("POST", "/v1/grants", "Bearer secret", {"ask": ask})
    for word in ("approve", "deny", "withdraw", "review"):
        assert run(word, "g-1", "--because", "so")[0] == 0
        assert api.asked[-1][3] == {"grant": "g-1", "say": word, "because": "so"}


@pytest.mark.parametrize(
    ("grants", "by"),
    [
        ([], "by: the policies, without a grant"),
        ([{"id": "g-1", "job": "", "until": NOW}], "by: the grant `g-1` until 2027-01-15 08:00:00 UTC"),
    ],
)
def test_what_is_permitted_already_is_a_yes_and_nothing_is_asked_for(run, api, grants, by):
    permitted = {"principal": "tid/dana", "name": "Dana", "action": "launch", "resource": "//projects/p"}
    done = {"decision": "d-1", "permitted": {**permitted, "grants": grants}}
    api.says(done)
    code, out, err = run(*COMMANDS["request"][0])
    assert (code, out) == (0, "permitted already: Dana, `launch` on `//projects/p`\n")
    assert err.splitlines() == [by, "nothing was asked for: just do it"]
    assert run(*COMMANDS["request"][0], "--json") == (0, f"{json.dumps(done)}\n", "")


@pytest.mark.parametrize(
    ("grant", "by"),
    [
        ({"job": "", "until": NOW}, "the grant `g-1` until 2027-01-15 08:00:00 UTC"),
        ({"job": "nightly", "until": NOW}, "the grant `g-1` of the run `nightly` until 2027-01-15 08:00:00 UTC"),
        ({"job": "nightly", "until": 0}, "the grant `g-1`, which begins with the run `nightly`"),
    ],
)
def test_a_grant_that_permits_is_named(run, api, grant, by):
    api.says({**CAN, "grants": [{"id": "g-1", **grant}]})
    code, _, err = run("can", "me", "predict", "p", "--job", "nightly")
    assert code == 0
    assert f"by: {by}" in err.splitlines()


@pytest.mark.parametrize("lasting", ["soon", "0h", "9" * 5000 + "d", "1.5h"])
def test_what_is_no_duration_is_asked_of_nobody(run, api, lasting):
    code, out, err = run("request", "launch", "p", "--for", lasting, "--because", "x")
    assert (code, out, api.asked) == (2, "", [])
    assert "is no duration" in err


def test_the_list(run, api):
    api.says({"grants": [GRANT]})
    code, out, err = run("list", "--all")
    assert code == 0
    assert "waits for approval, 1 of 2" in out
    assert err == "1 waits for your approval, 1 for your review\n"
    assert api.asked[0][1] == "/v1/grants?all=1"
    api.says({"grants": []})
    assert run("list")[:2] == (0, "")


@EVERY
def test_as_data(run, api, name):
    words, document = COMMANDS[name]
    api.says(document)
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == (GRANT if name == "list" else document)


@EVERY
def test_a_refusal_is_1_with_its_hint_on_a_line_of_its_own(run, api, name):
    said = {"error": "no_policy_permits", "error_description": "no (decision d-1)", "hint": "ask"}
    api.answer = (403, {"x-remit-reason": "no_policy_permits"}, json.dumps(said).encode())
    for more in ((), ("--json",)):
        assert run(*COMMANDS[name][0], *more) == (1, "", "error: no (decision d-1)\nhint: ask\n")


@EVERY
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (400, {}, b'{"error": "invalid_request", "error_description": "what?", "hint": "so"}'),
            "error: what?\nhint: so",
        ),
        ((404, {}, b'{"error": "not_found", "error_description": "none"}'), "error: none"),
        ((503, {"x-remit-reason": "plane_unavailable"}, b'{"error_description": "later"}'), "error: later"),
        ((502, {}, b"<html>"), "error: remit cannot decide right now"),
        ((302, {"location": "https://evil.example/"}, b""), "error: remit cannot decide right now"),
        ((200, {}, b"[" * 100_000), "error:"),
        ((200, {}, b"[]"), "error: remit cannot decide right now"),
    ],
)
def test_no_answer_is_2(run, api, name, answer, said):
    api.answer = answer
    code, out, err = run(*COMMANDS[name][0])
    assert (code, out) == (2, "")
    assert err.startswith(said)
    assert "secret" not in err


class Straight:
    """An installation's API without a socket: hundreds of answers."""

    def says(self, document):
        self.document = document

    def get(self, path, **query):
        return self.document

    def post(self, path, document):
        return self.document


def bent(value):
    """The same, in forms that nobody agreed on."""
    if isinstance(value, dict):
        for name in value:
            yield {key: each for key, each in value.items() if key != name}
            yield from ({**value, name: each} for each in bent(value[name]))
    elif isinstance(value, list):
        yield {"a": 1}
        yield from ([each] for each in (bent(value[0]) if value else ()))
    yield from (None, 5, [None], 10**30)


@EVERY
@pytest.mark.promise("V20")
def test_an_answer_of_another_form_is_never_a_traceback(run, monkeypatch, name):
    words, document = COMMANDS[name]
    api = Straight()
    for module in ("can", "who", "explain", "request", "requested", "list"):
        monkeypatch.setattr(importlib.import_module(f"remit.cli.{module}"), "signed_in", lambda: api)
    for wrong in [{}, *(each for each in bent(document) if isinstance(each, dict))]:
        api.says(wrong)
        code, _, err = run(*words)
        assert code in {0, 1, 2}, err
        if code == 2:
            assert err.endswith("hint: are both of one version? `remit --version`\n")


def hostile(value):
    if isinstance(value, dict):
        return {name: hostile(each) for name, each in value.items()}
    if isinstance(value, list):
        return [hostile(each) for each in value]
    plain = {"permit", "deny", "asked"}
    return f"{value}\x1b[2J\x9b1m\x07\r\u202e\ud800" if isinstance(value, str) and value not in plain else value


@EVERY
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_nothing_that_a_terminal_obeys_reaches_it(run, api, name, more):
    words, document = COMMANDS[name]
    api.says(hostile(document))
    code, out, err = run(*words, *more)
    assert code in {0, 1}
    assert out
    assert all(letter.isprintable() or letter == "\n" for letter in out + err)
    if more:
        assert json.loads(out) == hostile(GRANT if name == "list" else document)
    api.answer = (403, {"x-remit-reason": "revoked"}, json.dumps(hostile({"error_description": "no"})).encode())
    _, out, err = run(*words)
    assert out == ""
    assert all(letter.isprintable() or letter == "\n" for letter in err)


def test_words_that_are_no_text(run, api):
    code, _, err = run("can", "me", "\udcff", "p")
    assert code in {1, 2}
    assert "Traceback" not in err


def test_nobody_answers(run, api, monkeypatch):
    api.answer = (200, {}, b"{}")
    monkeypatch.setattr(
        sign_in, "Api", lambda *_: remit.sdk.api.Api("http://127.0.0.1:1", lambda: AccessToken("secret"))
    )
    code, out, err = run("who", "a", "p")
    assert (code, out) == (2, "")
    assert err.endswith("hint: is `remit serve` running there?\n")
    assert "secret" not in err
