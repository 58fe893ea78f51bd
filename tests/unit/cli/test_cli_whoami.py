"""`remit whoami`: what is shown of an identity, line by line."""

import json
import time
from types import SimpleNamespace

import pytest

import remit.cli
from remit.cli import whoami
from remit.model.secret import AccessToken
from remit.sdk import broker, sign_in

URL = "http://127.0.0.1:8443"
BARE = {
    "name": "dana@contoso.example",
    "kind": "person",
    "principal": "tid/dana",
    "roles": [],
    "groups": [],
    "methods": [],
    "contexts": [],
    "expires_at": 0,
}
WHOLE = {
    **BARE,
    "issuer": "https://login/tid/v2.0",
    "guest": True,
    "home": "tid2",
    "roles": ["MLEngineer"],
    "groups": ["g-1", "g-2"],
    "methods": ["mfa", "pwd"],
    "contexts": ["c1"],
    "device": {"id": "d-1", "managed": True, "compliant": False, "known_network": True},
    "session": "s-1",
    "paths": [
        {
            "group": "g-3",
            "name": "ml-all",
            "path": [
                {"id": "g-1", "name": "ml-engineers-fraud"},
                {"id": "g-2", "name": "ml-engineers"},
                {"id": "g-3", "name": ""},
            ],
        },
        {"group": "g-9", "name": "lone"},
    ],
}


@pytest.fixture
def show(capsys, monkeypatch):
    asked = []

    class Broker:
        def __init__(self, url):
            assert url == URL

        def identity(self, token, *, groups):
            asked.append(groups)
            return Broker.found

    class SignedIn:
        configuration = SimpleNamespace(url=URL, door="d00r", provider="https://login")

        def token(self):
            return AccessToken("identity")

        def origin(self):
            return "the keyring (SecretService)"

    monkeypatch.setattr(broker, "Broker", Broker)
    monkeypatch.setattr(sign_in, "current", SignedIn)

    def call(found, *arguments):
        Broker.found = found
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(("whoami", *arguments))
        assert ended.value.code == 0
        return capsys.readouterr().out

    call.asked = asked
    return call


def test_everything_that_is_known(show):
    now = int(time.time())
    found = {**WHOLE, "authenticated_at": now - 3 * 3600, "expires_at": now + 71 * 60 + 30}
    assert show(found, "--groups").splitlines() == [
        "dana@contoso.example (person, guest)",
        "  principal  tid/dana",
        "  issuer     https://login/tid/v2.0",
        "  home       tid2",
        f"  at         {URL}",
        "  roles      MLEngineer",
        "  groups     g-1, g-2",
        "  signed in  by mfa, pwd, c1, 3 hours ago",
        "  device     d-1 (managed, known network)",
        "  session    s-1",
        "  from       the keyring (SecretService)",
        "  in         ml-engineers-fraud > ml-engineers > g-3  (g-3)",
        "  in         lone  (g-9)",
        "  token      renewed by itself, 71 minutes left",
    ]
    assert show.asked == [True]


def test_what_an_older_installation_does_not_say(show):
    assert show(BARE).splitlines() == [
        "dana@contoso.example (person)",
        "  principal  tid/dana",
        "  issuer     unknown",
        f"  at         {URL}",
        "  roles      none",
        "  groups     none",
        "  signed in  by unknown",
        "  from       the keyring (SecretService)",
        "  token      renewed by itself, 0 minutes left",
    ]
    assert "  home       unknown" in show({**BARE, "guest": True})


def test_data(show):
    own = {"installation": URL, "door": "d00r", "provider": "https://login", "origin": "the keyring (SecretService)"}
    assert json.loads(show(WHOLE, "--json")) == {**WHOLE, **own}
    assert show.asked == [False]


def test_a_name_does_not_command_the_terminal(show):
    assert "\x1b" not in show({**WHOLE, "name": "\x1b[2J", "principal": "\x1b[2J", "session": "\x1b[2J"})


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "a minute or so"),
        (119, "a minute or so"),
        (120, "2 minutes"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_an_age(seconds, said):
    assert whoami._age(seconds) == said


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ({}, ""),
        ({"id": "d"}, "d (neither managed nor compliant)"),
        ({"id": "d", "compliant": True}, "d (compliant)"),
        ({"known_network": True}, "known network"),
    ],
)
def test_a_device(device, said):
    assert whoami._device(device) == said
