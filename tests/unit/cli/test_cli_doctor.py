"""`remit doctor`: what it asks, how it speaks, and its exit codes."""

import json

import pytest

import remit.cli
from remit.cli.duration import in_words
from remit.model.secret import AccessToken
from remit.sdk import sign_in

ENDS = {"hop": "sign-in", "lasts": 36000, "why": "the tenant bounds it", "change": "sign in again"}
HOPS = [
    {**ENDS, "renews": False, "source": "https://page"},
    {"hop": "token", "lasts": 3600, "why": "an hour", "change": "", "renews": True, "source": "https://page"},
    {"hop": "other", "lasts": None, "why": "nobody says", "change": "", "renews": False, "source": ""},
]
FITS = {
    "lasting": 21600,
    "declared": True,
    "hops": HOPS,
    "outlived": [],
    "outcome": "permit",
    "detail": "",
    "hint": "",
}
SHORT = {**FITS, "lasting": 43200, "declared": False, "outlived": [ENDS]}
FORBIDDEN = {**FITS, "outcome": "step_up", "detail": "not like this", "hint": "sign in"}


@pytest.fixture(autouse=True)
def signed_in(api, monkeypatch):
    """Whoever runs a command is signed in there."""

    class Kept:
        class configuration:  # noqa: N801 - an attribute of the real one
            url = api.url

        def token(self):
            return AccessToken("secret")

    monkeypatch.setattr(sign_in.SignIn, "kept", classmethod(lambda _: Kept()))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)


@pytest.fixture
def run(capsys):
    """A command line in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(["doctor", "lifetime", *arguments])
        found = capsys.readouterr()
        assert "Traceback" not in found.err
        return ended.value.code, found.out, found.err

    return call


@pytest.mark.promise("V13")
@pytest.mark.promise("N2")
def test_work_that_fits(run, api):
    api.says(FITS)
    code, out, err = run("--project", "p", "--for", "6h", "--name", "nightly")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["hop", "lasts", "then"],
        ["sign-in", "10h", "ends"],
        ["token", "1h", "renews"],
        ["other", "unknown", "ends"],
    ]
    assert err == "the work: 6h, declared\n"
    assert api.asked[0][:2] == ("GET", "/v1/lifetime?project=p&name=nightly&lasting=21600")


@pytest.mark.promise("V13")
@pytest.mark.promise("N2")
def test_the_hop_that_is_too_short_is_named_with_what_would_change_it(run, api):
    api.says(SHORT)
    code, out, err = run("--name", "nightly")
    assert code == 1
    assert "too short" in out
    assert err.splitlines() == [
        "the work: 12h, as earlier runs of its name took",
        "too short: `sign-in` lasts 10h: the tenant bounds it",
        "hint: sign in again",
    ]
    assert api.asked[0][1] == "/v1/lifetime?name=nightly"


def test_what_the_policy_would_not_permit_does_not_fit(run, api):
    api.says(FORBIDDEN)
    code, _, err = run("--project", "p", "--for", "6h")
    assert code == 1
    assert "policy: step up: not like this\nhint: sign in\n" in err
    api.says({**FORBIDDEN, "detail": "", "hint": ""})
    assert "a run in `p` would not be permitted" in run("--project", "p", "--for", "6h")[2]


def test_unknown_is_not_yes(run, api):
    api.says({**FITS, "lasting": 0, "declared": False})
    code, _, err = run()
    assert (code, err) == (2, "nobody knows how long the work takes: say `--for 6h`\n")


@pytest.mark.parametrize(("answer", "code"), [(FITS, 0), (SHORT, 1), (FORBIDDEN, 1)])
def test_the_same_as_data(run, api, answer, code):
    api.says(answer)
    found = run("--for", "6h", "--json")
    assert (found[0], json.loads(found[1]), found[2]) == (code, answer, "")


@pytest.mark.parametrize("answer", [{}, {**FITS, "hops": 1}, {**FITS, "hops": [{}]}, {**SHORT, "outlived": [{}]}])
def test_an_answer_of_another_version_is_said(run, api, answer):
    api.says(answer)
    code, _, err = run("--for", "6h")
    assert code == 2
    assert "the answer of remit is not understood" in err


def test_what_is_no_duration(run, api):
    code, _, err = run("--for", "soon")
    assert (code, api.asked) == (2, [])
    assert "`soon` is no duration" in err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (45, "45s"), (90, "1m 30s"), (5400, "90m"), (7200, "2h"), (172800, "2d"), (86268, "23h 57m 48s")],
)
def test_durations_are_told_as_people_read_them(seconds, said):
    assert in_words(seconds) == said


# the whole installation: what it finds is in test_assembly_doctor.py and test_e2e_trust.py


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json", "lifetime"], "do not stand before `lifetime`"),
        (["--live", "lifetime"], "do not stand before `lifetime`"),
        (["--as-me", "lifetime"], "do not stand before `lifetime`"),
        (["--allow-changes"], "`--live`, or one of the commands"),
        (["--as-me"], "`--live`, or one of the commands"),
        (["--live", "lifetimes"], "lifetimes"),
    ],
)
def test_a_wrong_command_line_looks_at_nothing(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        remit.cli.main(["doctor", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
