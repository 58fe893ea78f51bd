"""Security Event Tokens: believed from whom they must be, put into effect once, and nothing else passes for one."""

import asyncio
import json
import time

import pytest

from remit.identity.revocation.event_subjects import EventSubject, SubjectRefused, subject_of
from remit.identity.revocation.security_events import MAX_AGE, SKEW, SecurityEvents
from remit.identity.settings import EventTransmitter
from remit.model.errors import NotRecorded, Refused
from remit.model.reasons import Reason
from remit.model.revocation import Revocation, Scope
from remit.model.secret import UnverifiedToken

NOW = 1_795_000_000
KID = "key-1"
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
OID = "0d000000-0000-4000-8000-000000000001"
ENTRA = f"https://login.microsoftonline.com/{TID}/v2.0"
ISSUER = "https://events.contoso.example"
US = "https://remit.contoso.example"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
DANA = {"format": "iss_sub", "iss": ENTRA, "sub": OID}
TRANSMITTER = EventTransmitter(ISSUER, US, ((ENTRA, TID), ("https://okta.example", "okta")), opaque="okta")


class Keys:
    """The transmitter's keys; none is known for `away`."""

    def __init__(self, key):
        self.key_ = key
        self.away = False

    async def key(self, kid):
        if self.away:
            raise Refused(Reason.PLANE_UNAVAILABLE)
        return self.key_ if kid == KID else None


class House:
    """The receiver, and what it asked for."""

    def __init__(self, key):
        self.keys = Keys(key)
        self.done = []
        self.fails = None
        self.receiver = SecurityEvents([(TRANSMITTER, self.keys)], self, self.risk)

    async def revoke(self, revocation, *, once):
        self._did("revoke", revocation, once)

    async def lift(self, scope, subject, source, *, before, because, once):
        self._did("lift", (scope, subject, source, before, because), once)

    def risk(self, principal, level, at):
        self._did("risk", (principal, level, at), None)

    def _did(self, what, value, once):
        if self.fails:
            raise self.fails
        self.done.append((what, value, once))

    def receive(self, token, now=NOW):
        return asyncio.run(self.receiver.receive(token, now))


@pytest.fixture
def house(signing_key):
    return House(signing_key)


@pytest.fixture
def event(sign):
    """A signed token that says one thing of Dana; `changes` to its claims, `None` takes one away."""

    def made(kind=CAEP + "session-revoked", values=None, header=None, key=None, **changes):
        claims = {
            "iss": ISSUER,
            "aud": US,
            "iat": NOW - 5,
            "jti": "24c63fb56e5a2d77a6b512616ca9fa24",
            "txn": "8675309",
            "sub_id": DANA,
            "events": {kind: {"event_timestamp": NOW - 20} if values is None else values},
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return sign(claims, key, **({"typ": "secevent+jwt"} | (header or {})))

    return made


def ended(at=NOW - 20, *, locked=False, because="session-revoked", scope=Scope.PRINCIPAL, subject=f"{TID}/{OID}"):
    return Revocation(scope, subject, at, locked, source=ISSUER, because=because)


@pytest.mark.parametrize(
    ("kind", "values", "locked"),
    [
        (CAEP + "session-revoked", {}, False),
        (CAEP + "credential-change", {"credential_type": "password", "change_type": "update"}, False),
        (CAEP + "token-claims-change", {"claims": {"role": "none"}}, False),
        (CAEP + "device-compliance-change", {"current_status": "not-compliant"}, False),
        (RISC + "sessions-revoked", {}, False),
        (RISC + "account-credential-change-required", {}, False),
        (RISC + "credential-compromise", {"credential_type": "password"}, False),
        (RISC + "account-disabled", {"reason": "hijacking"}, True),
        (RISC + "account-purged", {}, True),
    ],
)
@pytest.mark.promise("N10")
def test_events_that_end(house, event, kind, values, locked):
    assert house.receive(event(kind, {**values, "event_timestamp": NOW - 20})) is None
    [(what, revocation, once)] = house.done
    assert what == "revoke"
    assert revocation == ended(locked=locked, because=kind.rpartition("/")[2])
    assert once.until == NOW - 5 + MAX_AGE + SKEW
    assert ISSUER in once.name
    assert kind in once.name


def test_an_account_that_is_enabled_is_lifted_as_of_the_event(house, event):
    assert house.receive(event(RISC + "account-enabled")) is None
    [(what, value, _)] = house.done
    assert (what, value) == ("lift", (Scope.PRINCIPAL, f"{TID}/{OID}", ISSUER, NOW - 20, "account-enabled"))


def test_a_level_of_risk_is_handed_on(house, event):
    values = {"current_level": "HIGH", "principal": "USER", "event_timestamp": NOW - 20}
    assert house.receive(event(CAEP + "risk-level-change", values)) is None
    assert house.done == [("risk", (f"{TID}/{OID}", "high", NOW - 20), None)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (SSF + "verification", {"state": "VGhpcyBpcyBhbiBleGFtcGxl"}),
        (SSF + "stream-updated", {"status": "paused"}),
        (CAEP + "assurance-level-change", {"namespace": "NIST-AAL", "current_level": "nist-aal2"}),
        (CAEP + "session-established", {}),
        (CAEP + "device-compliance-change", {"current_status": "compliant"}),
        (CAEP + "risk-level-change", {"current_level": "HIGH", "principal": "DEVICE"}),
        (RISC + "identifier-changed", {"new-value": "dana@fabrikam.example"}),
        ("https://example.com/anything", {}),
    ],
)
def test_events_that_change_nothing_are_accepted(house, event, kind, values):
    assert house.receive(event(kind, values, sub_id={"format": "opaque", "id": "stream"})) is None
    assert house.done == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://elsewhere.example"}, "invalid_issuer"),
        ({"iss": ISSUER + "/"}, "invalid_issuer"),
        ({"iss": None}, "invalid_issuer"),
        ({"iss": ["a"]}, "invalid_issuer"),
        ({"aud": "https://somebody.example"}, "invalid_audience"),
        ({"aud": None}, "invalid_audience"),
        ({"aud": []}, "invalid_audience"),
        ({"aud": {"a": US}}, "invalid_audience"),
        ({"iat": NOW + SKEW + 1}, "invalid_request"),
        ({"iat": NOW - MAX_AGE - 1}, "invalid_request"),
        ({"iat": None}, "invalid_request"),
        ({"iat": str(NOW)}, "invalid_request"),
        ({"iat": True}, "invalid_request"),
        ({"exp": NOW + 60}, "invalid_request"),
        ({"sub": OID}, "invalid_request"),
        ({"jti": None}, "invalid_request"),
        ({"jti": ""}, "invalid_request"),
        ({"jti": 7}, "invalid_request"),
        ({"events": None}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
        ({"events": [CAEP + "session-revoked"]}, "invalid_request"),
        ({"events": {CAEP + "session-revoked": True}}, "invalid_request"),
        ({"events": {f"{CAEP}{number}": {} for number in range(9)}}, "invalid_request"),
        ({"sub_id": None}, "invalid_request"),
        ({"sub_id": "dana"}, "invalid_request"),
        ({"sub_id": {"format": "email", "email": "dana@contoso.example"}}, "invalid_request"),
        ({"sub_id": {**DANA, "iss": "https://github.example"}}, "invalid_request"),
        ({"header": {"typ": "JWT"}}, "invalid_request"),
        ({"header": {"typ": None}}, "invalid_request"),
        ({"header": {"kid": "another"}}, "invalid_key"),
        ({"header": {"crit": ["x"]}}, "invalid_request"),
        ({"kind": CAEP + "device-compliance-change", "values": {"current_status": "perhaps"}}, "invalid_request"),
        (
            {"kind": CAEP + "risk-level-change", "values": {"current_level": "ENORMOUS", "principal": "USER"}},
            "invalid_request",
        ),
        (
            {"kind": RISC + "account-disabled", "sub_id": {"session": {"format": "opaque", "id": "s"}}},
            "invalid_request",
        ),
    ],
)
def test_what_is_not_accepted(house, event, changes, code):
    found = house.receive(event(**changes))
    assert found is not None
    assert found[0] == code
    assert found[1]
    assert house.done == []


def test_a_signature_by_somebody_else_is_refused(house, event, other_key):
    assert house.receive(event(key=other_key))[0] == "invalid_key"
    assert house.done == []


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "{}", "é.é.é", "....."])
def test_what_is_no_token_is_refused(house, text):
    assert house.receive(UnverifiedToken(text))[0] == "invalid_request"


@pytest.mark.parametrize("payload", [b"[]", b"{", b'{"iss": "a", "iss": "b"}', b"\xff", b"[" * 5000])
def test_a_payload_that_is_not_one_strict_object_is_refused(house, sign, payload):
    assert house.receive(sign(payload, typ="secevent+jwt"))[0] == "invalid_request"


def test_the_type_s_long_form_and_a_list_of_audiences_are_accepted(house, event):
    token = event(aud=["https://other.example", US], header={"typ": "application/secevent+jwt"})
    assert house.receive(token) is None
    assert len(house.done) == 1


@pytest.mark.parametrize(
    ("said", "at"),
    [
        (NOW - 20, NOW - 20),
        (NOW - 5, NOW - 5),
        (NOW + 1000, NOW - 5),  # an event cannot be later than the token that tells it
        ((NOW - 20) * 1000, NOW - 5),  # drafts of CAEP had milliseconds
        (None, NOW - 5),
        (0, NOW - 5),
        (True, NOW - 5),
        (float(NOW), NOW - 5),
        ("yesterday", NOW - 5),
    ],
)
def test_when_it_happened(house, event, said, at):
    assert house.receive(event(values={} if said is None else {"event_timestamp": said})) is None
    assert house.done[0][1] == ended(at)


def test_several_events_of_one_token_are_each_put_into_effect_once(house, event):
    kinds = {CAEP + "session-revoked": {}, RISC + "sessions-revoked": {}}
    assert house.receive(event(events=kinds)) is None
    names = [once.name for _, _, once in house.done]
    assert len(set(names)) == 2


def test_a_subject_within_the_event_is_read_where_the_token_names_none(house, event):
    values = {"subject": DANA, "event_timestamp": NOW - 20}
    assert house.receive(event(values=values, sub_id=None)) is None
    assert house.done[0][1] == ended()


@pytest.mark.parametrize("error", [NotRecorded("the disk is full"), Refused(Reason.PLANE_UNAVAILABLE)])
def test_what_cannot_be_put_into_effect_now_is_not_accepted(house, event, error):
    house.fails = error
    with pytest.raises(type(error)):
        house.receive(event())


def test_keys_that_cannot_be_had_are_not_the_transmitter_s_mistake(house, event):
    house.keys.away = True
    with pytest.raises(Refused):
        house.receive(event())


@pytest.mark.parametrize(
    ("document", "event", "found"),
    [
        (DANA, "session-revoked", EventSubject(Scope.PRINCIPAL, f"{TID}/{OID}")),
        (
            {"format": "iss_sub", "iss": "https://okta.example", "sub": "00u1"},
            "x",
            EventSubject(Scope.PRINCIPAL, "okta/00u1"),
        ),
        (
            {"format": "iss_sub", "iss": "https://okta.example", "sub": "00U1"},
            "x",
            EventSubject(Scope.PRINCIPAL, "okta/00U1"),
        ),
        ({**DANA, "sub": DANA["sub"].upper()}, "x", EventSubject(Scope.PRINCIPAL, f"{TID}/{OID}")),
        ({"format": "opaque", "id": "s-1"}, "session-revoked", EventSubject(Scope.SESSION, "s-1")),
        ({"format": "opaque", "id": "00u1"}, "credential-change", EventSubject(Scope.PRINCIPAL, "okta/00u1")),
        (
            {"format": "complex", "user": DANA, "device": {"format": "opaque", "id": "d"}},
            "x",
            EventSubject(Scope.PRINCIPAL, f"{TID}/{OID}"),
        ),
        (
            {"session": {"format": "opaque", "id": "s-1"}, "user": DANA, "tenant": {"format": "opaque", "id": "t"}},
            "session-revoked",
            EventSubject(Scope.PRINCIPAL, f"{TID}/{OID}"),
        ),
        ({"format": "complex", "session": {"format": "opaque", "id": "s-1"}}, "x", EventSubject(Scope.SESSION, "s-1")),
        (
            {"format": "aliases", "identifiers": [{"format": "email", "email": "d@x"}, DANA]},
            "x",
            EventSubject(Scope.PRINCIPAL, f"{TID}/{OID}"),
        ),
    ],
)
def test_subjects(document, event, found):
    assert subject_of(document, event, TRANSMITTER) == found


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"format": "phone_number", "phone_number": "+1"},
        {"format": "account", "uri": "acct:dana@contoso.example"},
        {"format": "jwt_id", "iss": ENTRA, "jti": "x"},
        {"format": "iss_sub", "iss": ENTRA},
        {"format": "iss_sub", "iss": ENTRA, "sub": ""},
        {"format": "iss_sub", "iss": ENTRA, "sub": "a\nb"},
        {"format": "iss_sub", "iss": 1, "sub": "a"},
        {"format": "iss_sub", "iss": ENTRA, "sub": "x" * 2000},
        {"format": "complex", "device": {"format": "opaque", "id": "d"}},
        {"format": "complex", "user": "dana"},
        {"user": {"format": "complex", "user": DANA}},
        {"format": "aliases", "identifiers": []},
        {"format": "aliases", "identifiers": "dana"},
        {"format": "aliases", "identifiers": ["dana", {"format": "email", "email": "d@x"}]},
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [DANA]}]},
        {"format": ["iss_sub"]},
    ],
)
def test_subjects_that_are_nobody(document):
    with pytest.raises(SubjectRefused):
        subject_of(document, "session-revoked", TRANSMITTER)


def test_a_transmitter_names_users_by_opaque_ids_only_where_it_may():
    plain = EventTransmitter(ISSUER, US, ())
    with pytest.raises(SubjectRefused, match="opaque"):
        subject_of({"format": "opaque", "id": "u"}, "credential-change", plain)


def test_no_refusal_tells_what_was_sent(house, event):
    _, said = house.receive(event(sub_id={"format": "email", "email": "dana@contoso.example"}))
    assert "dana" not in said


@pytest.mark.promise("N10")
def test_an_event_holds_everywhere_before_it_is_accepted_and_counts_once(signing_key, event, tmp_path):
    """The receiver on the real revoker and two views: 5 s are promised, and a replay after the lift locks nobody."""
    from contextlib import ExitStack

    from remit.identity import replay
    from remit.identity.revocation import tables as revocation_tables
    from remit.identity.revocation.revoker import Revoker
    from remit.identity.revocation.view import RevocationView
    from remit.state.database import open_database, open_database_to_read
    from remit.state.schema import migrate
    from remit.state.settings import StateSettings

    settings = StateSettings(f"sqlite:///{tmp_path}/remit.db", 500)
    with ExitStack() as opened:
        writer = open_database(settings)
        opened.callback(writer.dispose)
        migrate(writer, "revocations", revocation_tables.metadata, revocation_tables.STEPS)
        migrate(writer, "replay", replay.metadata, replay.STEPS)
        reader = open_database_to_read(settings)
        opened.callback(reader.dispose)
        views = [opened.enter_context(RevocationView(reader, writer, name)) for name in "ab"]

        class Records:
            async def record(self, entry, also):
                json.dumps(entry)
                with writer.begin() as connection:
                    also(connection)

        revoker = Revoker(Records(), reader, writer, lambda: NOW * 1_000_000)
        receiver = SecurityEvents([(TRANSMITTER, Keys(signing_key))], revoker, lambda *_: None)
        disabled = event(RISC + "account-disabled")
        began = time.monotonic()
        assert asyncio.run(receiver.receive(disabled, NOW)) is None
        assert time.monotonic() - began < 5

        def locked():
            ends = [end for view in views for end in view._ends.get((Scope.PRINCIPAL, f"{TID}/{OID}"), ())]
            return [end for end in ends if end.locked]

        assert len(locked()) == 2
        enabled = event(RISC + "account-enabled", {"event_timestamp": NOW - 10}, jti="2")
        assert asyncio.run(receiver.receive(enabled, NOW)) is None
        assert locked() == []
        assert asyncio.run(receiver.receive(disabled, NOW)) is None
        assert locked() == []
        assert [one for one in revoker.standing(NOW) if one.revocation.locked] == []


def test_a_session_of_ours_is_not_a_transmitters_to_end():
    ours = {"format": "opaque", "id": "s-0123456789abcdef0123456789"}
    with pytest.raises(SubjectRefused, match="one of ours"):
        subject_of(ours, "session-revoked", TRANSMITTER)
