"""Sessions: what is kept of them, their limits, their renewal by one of many arbiters, and their end."""

import asyncio
import os
import stat
from dataclasses import replace

import pytest
from sqlalchemy import event, select

from remit.identity.browser import tables as session_tables
from remit.identity.browser.cipher import Cipher, Unreadable, make_key_file, read_cipher
from remit.identity.browser.held import Held, read_held, write_held
from remit.identity.browser.sessions import Sessions
from remit.identity.browser.store import SessionStore
from remit.identity.browser.token_endpoint import ProviderSaysNo
from remit.identity.settings import SessionSettings
from remit.model.errors import Refused, SettingsInvalid
from remit.model.identity import Authentication, Device, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.secret import Secret, SessionSecret, UnverifiedToken
from remit.state.database import open_database, open_database_to_read
from remit.state.schema import migrate
from remit.state.settings import StateSettings

NOW = 1_795_000_000
HOUR = 3600
DANA = Identity(
    principal=Principal("https://okta.example", "okta", "dana", Kind.PERSON),
    display="Dana Ö",
    groups=frozenset({"okta/ml", "okta/all"}),
    groups_at=NOW,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset({"x"}),
    client="remit",
    authentication=Authentication(frozenset({"pwd"}), frozenset({"c1"}), frozenset({"cp1"}), NOW - 5),
    guest=True,
    issued_at=NOW,
    expires_at=NOW + HOUR,
    token_id="jti",
    home="fabrikam",
    device=Device("d", managed=True, compliant=False, known_network=True),
    address="192.0.2.1",
    attributes=(("namespace", "ml"), ("repository", "a/b")),
)
HELD = Held(
    DANA, NOW, NOW + HOUR, refresh=Secret("refresh-1"), subject="dana", sid="sid-1", nonce="n", auth_time=NOW - 5
)
TOKEN = UnverifiedToken("a.b.c")


# ---- sealed at rest


def test_a_key_file_is_made_once_for_its_owner_and_read(tmp_path):
    path = tmp_path / "new" / "key"
    make_key_file(path)
    first = path.read_text()
    make_key_file(path)
    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]
    cipher = read_cipher(path)
    sealed = cipher.seal(b"text", "session", "row")
    assert b"text" not in sealed
    assert cipher.open(sealed, "session", "row") == b"text"
    assert cipher.seal(b"text", "session", "row") != sealed


def test_two_processes_that_make_the_key_agree_on_one(tmp_path, monkeypatch):
    path = tmp_path / "key"
    link = os.link

    def late(source, target):
        target.write_text("k0 " + "A" * 43 + "\n")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    make_key_file(path)
    assert path.read_text().startswith("k0 ")


@pytest.mark.parametrize(
    "text",
    ["", "k1", "k1 short", "k1 " + "A" * 43 + "\nk1 " + "B" * 43, "k1 " + "A" * 44, "k1 " + "!" * 43, "x" * 5000],
)
def test_a_bad_key_file_is_refused(tmp_path, text):
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsInvalid, match="does not hold one key a line"):
        read_cipher(path)


def test_a_key_file_that_others_may_read_is_refused_as_is_none(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        read_cipher(path)
    make_key_file(path)
    path.chmod(0o640)
    with pytest.raises(SettingsInvalid, match="by others"):
        read_cipher(path)


def test_keys_rotate():
    old, new = ("k1", b"1" * 32), ("k2", b"2" * 32)
    sealed = Cipher((old,)).seal(b"text", "x")
    both = Cipher((new, old))
    assert both.open(sealed, "x") == b"text"
    assert Cipher((new,)).open(both.seal(b"text", "x"), "x") == b"text"
    with pytest.raises(Unreadable):
        Cipher((new,)).open(sealed, "x")


def test_what_was_changed_or_moved_cannot_be_read():
    cipher = Cipher((("k1", b"1" * 32),))
    sealed = cipher.seal(b"text", "session", "ab", "c")
    for number in range(len(sealed)):
        for changed in (sealed[:number] + bytes([sealed[number] ^ 1]) + sealed[number + 1 :], sealed[:number]):
            with pytest.raises(Unreadable):
                cipher.open(changed, "session", "ab", "c")
    for place in (("session", "a", "bc"), ("session", "ab"), ("flow", "ab", "c")):
        with pytest.raises(Unreadable):
            cipher.open(sealed, *place)


def test_what_a_session_holds_comes_back_as_it_was_and_prints_nothing():
    for held in (HELD, replace(HELD, token=TOKEN, refresh=None)):
        assert read_held(write_held(held)) == held
        assert "refresh-1" not in repr(held)
        assert "a.b.c" not in repr(held)
    for text in (b"{}", b"[]", b"x", write_held(HELD).replace(b'"groups": [', b'"groups": 1, "other": [')):
        with pytest.raises((ValueError, KeyError, TypeError)):
            read_held(text)
    with pytest.raises(TypeError):
        read_held(write_held(HELD).replace(b'"device": {', b'"device": 1, "other": {'))


# ---- the house: one database, any number of arbiters


class Provider:
    """Renews as a test says, slowly enough for two to meet."""

    def __init__(self):
        self.asked = []
        self.answer = None
        self.pause = 0.05
        self.begun = asyncio.Event()

    async def renew(self, held, now):
        self.asked.append(held.refresh.reveal())
        self.begun.set()
        await asyncio.sleep(self.pause)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        number = len(self.asked) + 1
        identity = replace(held.identity, expires_at=now + HOUR)
        return replace(held, identity=identity, obtained=now, ends=now + HOUR, refresh=Secret(f"refresh-{number}"))


class House:
    def __init__(self, engine):
        self.engine = engine
        self.store = SessionStore(engine)
        self.provider = Provider()
        self.told = []
        self.judged = DANA
        self.cipher = Cipher((("k1", b"1" * 32),))

    def arbiter(self, **limits):
        settings = SessionSettings("https://remit.example", None, **{"idle": 4 * HOUR, **limits})
        return Sessions(
            self.store,
            self.cipher,
            settings,
            authenticate=self.judge,
            renewers={"okta": self.provider},
            ended=self.tell,
        )

    async def judge(self, token, now):
        assert token == TOKEN
        if isinstance(self.judged, Exception):
            raise self.judged
        return self.judged

    async def tell(self, lines):
        self.told += [line.id for line in lines]

    def rows(self):
        with self.engine.begin() as connection:
            return connection.execute(select(session_tables.sessions)).mappings().all()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    url = f"sqlite:///{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    engine = open_database(StateSettings(url, 2000))
    migrate(engine, "sessions", session_tables.metadata, session_tables.STEPS)
    with engine.begin() as connection:
        connection.execute(session_tables.sessions.delete())
    yield engine
    engine.dispose()


@pytest.fixture
def house(engine):
    return House(engine)


def reason(awaited):
    with pytest.raises(Refused) as refused:
        asyncio.run(awaited)
    return refused.value.reason


def test_a_session_is_found_by_its_secret_and_nothing_readable_is_kept(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        identity, token = await sessions.authenticate(secret, NOW)
        line = await sessions.current(secret, NOW)
        assert identity == replace(DANA, session=line.id)
        assert token is None
        assert line.id.startswith("s-")
        return secret

    secret = asyncio.run(story())
    (row,) = house.rows()
    assert row["key"] == secret.digest()
    kept = repr(dict(row))
    assert secret.reveal() not in kept
    assert "refresh-1" not in kept
    assert "MLEngineer" not in kept


@pytest.mark.parametrize("secret", ["", "A" * 43, "A" * 42, "A" * 42 + "'", "é" * 43, "A" * 9999])
def test_an_unknown_secret_is_an_ended_session(house, secret):
    assert reason(house.arbiter().authenticate(SessionSecret(secret), NOW)) is Reason.SESSION_ENDED


def test_a_session_goes_by_our_own_name_which_operators_revoke(house):
    async def story():
        sessions = house.arbiter()
        named = replace(HELD, identity=replace(DANA, session="sid-1"))
        secret = await sessions.start(named, "okta", NOW)
        return (await sessions.authenticate(secret, NOW))[0].session, (await sessions.current(secret, NOW)).id

    assert len(set(asyncio.run(story()))) == 1


def test_a_session_is_as_old_as_its_beginning_however_new_its_token(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(replace(HELD, token=TOKEN), "okta", NOW)
        house.judged = replace(DANA, issued_at=NOW + 300)
        newer = (await sessions.authenticate(secret, NOW + 301))[0].issued_at
        house.judged = replace(DANA, issued_at=NOW - 300)
        return newer, (await sessions.authenticate(secret, NOW + 302))[0].issued_at

    assert asyncio.run(story()) == (NOW, NOW - 300)


def test_idle_and_absolute_limits(house):
    async def story():
        sessions = house.arbiter(idle=600, absolute=2000)
        secret, idle = await sessions.start(HELD, "okta", NOW), await sessions.start(HELD, "okta", NOW)
        for later in (500, 1000, 1500, 1999):
            await sessions.authenticate(secret, NOW + later)
        assert [line.used_at for line in await sessions.of("okta/dana", NOW + 1999)] == [NOW + 1999]
        for one, later in ((secret, 2000), (idle, 600)):
            with pytest.raises(Refused) as refused:
                await sessions.authenticate(one, NOW + later)
            assert refused.value.reason is Reason.SESSION_ENDED
        assert await sessions.sweep(NOW + 1999) == 1
        assert await sessions.sweep(NOW + 2000) == 1

    asyncio.run(story())
    assert house.rows() == []
    assert house.told == []


def test_use_is_written_once_a_minute(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        for later in (0, 59, 60, 61, 119):
            await sessions.authenticate(secret, NOW + later)

    writes = []
    event.listen(
        house.engine,
        "before_cursor_execute",
        lambda *said: writes.append(said[2]) if said[2].startswith("UPDATE") else None,
    )
    asyncio.run(story())
    assert len(writes) == 1
    assert house.rows()[0]["used_at"] == NOW + 60


def test_a_row_that_was_changed_or_whose_key_is_gone_is_an_ended_session(house):
    async def story():
        return [await house.arbiter().start(HELD, "okta", NOW) for _ in range(2)]

    one, other = asyncio.run(story())
    table = session_tables.sessions
    with house.engine.begin() as connection:
        sealed = connection.execute(select(table.c.sealed).where(table.c.key == one.digest())).scalar_one()
        connection.execute(table.update().where(table.c.key == other.digest()).values(sealed=sealed))
    assert reason(house.arbiter().authenticate(other, NOW)) is Reason.SESSION_ENDED
    house.cipher = Cipher((("k2", b"2" * 32),))
    assert reason(house.arbiter().authenticate(one, NOW)) is Reason.SESSION_ENDED


def test_a_database_that_is_away_lets_nobody_in(house):
    async def story():
        return await house.arbiter().start(HELD, "okta", NOW)

    secret = asyncio.run(story())
    session_tables.metadata.drop_all(house.engine)
    try:
        assert reason(house.arbiter().authenticate(secret, NOW)) is Reason.PLANE_UNAVAILABLE
        assert reason(house.arbiter().end(secret)) is Reason.PLANE_UNAVAILABLE
    finally:
        session_tables.metadata.create_all(house.engine)


# ---- renewal


def test_two_arbiters_renew_once_between_them(house):
    async def story():
        one, two = house.arbiter(), house.arbiter()
        secret = await one.start(HELD, "okta", NOW)
        late = NOW + HOUR + 10  # nobody may go on with the old identity
        answers = await asyncio.gather(*(sessions.authenticate(secret, late) for sessions in (one, two) * 8))
        assert house.provider.asked == ["refresh-1"]
        assert {identity.expires_at for identity, _ in answers} == {late + HOUR}
        await two.authenticate(secret, late + 3500)
        assert house.provider.asked == ["refresh-1", "refresh-2"]

    asyncio.run(story())


def test_a_short_token_is_renewed_in_its_last_quarter():
    assert HELD.renew_at == NOW + HOUR - 300
    assert replace(HELD, ends=NOW + 300).renew_at == NOW + 225


def test_a_no_ends_the_session_and_is_told(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        house.provider.answer = ProviderSaysNo("invalid_grant", final=True)
        with pytest.raises(Refused, match="invalid_grant"):
            await sessions.authenticate(secret, NOW + 3400)

    asyncio.run(story())
    assert house.rows() == []
    assert len(house.told) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        Refused(Reason.EXCHANGE_UNAVAILABLE),
        Refused(Reason.PLANE_UNAVAILABLE),
        Refused(Reason.IDENTITY_INCOMPLETE),
        ProviderSaysNo("invalid_client", final=False),
    ],
)
def test_a_provider_in_trouble_ends_nothing_and_is_not_asked_by_every_request(house, trouble):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        house.provider.answer = trouble
        for later in range(3400, 3410):
            await sessions.authenticate(secret, NOW + later)
        assert len(house.provider.asked) == 1
        with pytest.raises(Refused):
            await sessions.authenticate(secret, NOW + HOUR)
        house.provider.answer = None
        await sessions.authenticate(secret, NOW + HOUR + 20)

    asyncio.run(story())


def test_whoever_waits_for_another_arbiter_in_vain_is_told_to_try_again(house, monkeypatch):
    monkeypatch.setattr("remit.identity.browser.sessions.WAIT", 0.2)

    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        late = NOW + HOUR
        assert house.store.claim(secret.digest(), late, late + 15)
        with pytest.raises(Refused) as refused:
            await sessions.authenticate(secret, late)
        assert refused.value.reason is Reason.SESSION_ENDED
        assert "minute" in refused.value.hint
        # 1. ended meanwhile
        house.store.end_key(secret.digest())
        row = (await asyncio.gather(sessions.end(secret), return_exceptions=True))[0]
        assert row == 0

    asyncio.run(story())


def test_a_session_that_is_ended_while_it_renews_stays_ended(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        waiting = asyncio.create_task(sessions.authenticate(secret, NOW + 3400))
        await house.provider.begun.wait()
        await sessions.end(secret)
        with pytest.raises(Refused) as refused:
            await waiting
        assert refused.value.reason is Reason.SESSION_ENDED

    asyncio.run(story())
    assert house.rows() == []


def test_a_renewal_arrives_though_everybody_who_waited_left(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        waiting = asyncio.create_task(sessions.authenticate(secret, NOW + 3400))
        await house.provider.begun.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.3)
        identity, _ = await sessions.authenticate(secret, NOW + HOUR + 100)
        assert identity.expires_at == NOW + 3400 + HOUR
        assert house.provider.asked == ["refresh-1"]

    asyncio.run(story())


def test_nobody_waits_long_for_a_slow_provider(house, monkeypatch):
    monkeypatch.setattr("remit.identity.browser.sessions.PATIENCE", 0.05)
    house.provider.pause = 0.3

    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        # 1. the old identity while it lasts, and then a word to try again
        identity, _ = await sessions.authenticate(secret, NOW + 3400)
        assert identity.expires_at == NOW + HOUR
        with pytest.raises(Refused) as refused:
            await sessions.authenticate(secret, NOW + HOUR)
        assert refused.value.reason is Reason.SESSION_ENDED
        # 2. the answer arrives for whoever comes next
        await asyncio.sleep(0.6)
        identity, _ = await sessions.authenticate(secret, NOW + HOUR)
        assert identity.expires_at == NOW + 3400 + HOUR
        assert len(house.provider.asked) == 1

    asyncio.run(story())


def test_a_session_that_was_ended_before_its_renewal_began_is_not_renewed(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        claim = house.store.claim

        def slow(key, now, until):
            house.store.end_key(key)
            return claim(key, now, until)

        house.store.claim = slow
        with pytest.raises(Refused) as refused:
            await sessions.authenticate(secret, NOW + 3400)
        assert refused.value.reason is Reason.SESSION_ENDED
        assert house.provider.asked == []

    asyncio.run(story())


def test_a_quicker_arbiter_s_renewal_is_taken_over(house):
    """Between our look at the row and our claim on it, another arbiter has finished."""

    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(HELD, "okta", NOW)
        newer = replace(HELD, obtained=NOW + 3400, ends=NOW + 3400 + HOUR, refresh=Secret("refresh-9"))
        sealed = house.cipher.seal(write_held(newer), "session", secret.digest())
        claim = house.store.claim

        def slow(key, now, until):
            house.store.renew(key, sealed)
            return claim(key, now, until)

        house.store.claim = slow
        await sessions.authenticate(secret, NOW + 3400)
        assert house.provider.asked == []
        assert house.rows()[0]["renewing_until"] == 0

    asyncio.run(story())


def test_without_a_refresh_token_a_session_ends_with_its_identity(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(replace(HELD, refresh=None), "okta", NOW)
        # it shows its real end from the first: that of what it rests on
        assert (await sessions.current(secret, NOW)).expires_at == NOW + HOUR
        await sessions.authenticate(secret, NOW + HOUR - 1)
        with pytest.raises(Refused) as refused:
            await sessions.authenticate(secret, NOW + HOUR)
        assert refused.value.reason is Reason.SESSION_ENDED

    asyncio.run(story())


# ---- sessions that hold a token for Remit


def test_a_token_is_judged_by_its_issuer_s_rules_each_time(house):
    async def story():
        sessions = house.arbiter()
        secret = await sessions.start(replace(HELD, token=TOKEN), "okta", NOW)
        house.judged = replace(DANA, session="entra-sid", display="from the token")
        identity, token = await sessions.authenticate(secret, NOW)
        line = await sessions.current(secret, NOW)
        issued = min(house.judged.issued_at, NOW)
        assert (identity, token) == (replace(house.judged, session=line.id, issued_at=issued), TOKEN)
        for refused, wanted in (
            (Refused(Reason.TOKEN_EXPIRED), Reason.SESSION_ENDED),
            (Refused(Reason.TOKEN_TENANT), Reason.TOKEN_TENANT),
            (Refused(Reason.PLANE_UNAVAILABLE), Reason.PLANE_UNAVAILABLE),
        ):
            house.judged = refused
            with pytest.raises(Refused) as raised:
                await sessions.authenticate(secret, NOW)
            assert raised.value.reason is wanted
        house.judged = replace(DANA, principal=replace(DANA.principal, subject="mallory"))
        with pytest.raises(Refused) as raised:
            await sessions.authenticate(secret, NOW)
        assert raised.value.reason is Reason.SESSION_ENDED

    asyncio.run(story())


@pytest.mark.parametrize(
    "issuers", [{}, {"okta": "https://another.example"}, {"other": DANA.principal.issuer}], ids=["none", "new", "named"]
)
def test_a_session_ends_with_its_provider_s_place_in_the_settings(house, issuers):
    async def story():
        before = house.arbiter()
        secret = await before.start(HELD, "okta", NOW)
        here = house.arbiter()
        here._issuers = {"okta": DANA.principal.issuer}
        assert (await here.authenticate(secret, NOW))[0].principal == DANA.principal
        after = house.arbiter()
        after._issuers = issuers
        assert await after.of("okta/dana", NOW) == []
        await after.authenticate(secret, NOW)

    assert reason(story()) is Reason.SESSION_ENDED


def test_a_session_that_was_revoked_by_the_provider_s_name_of_it_ends(house):
    def check(identity, now):
        if identity.session == "sid-1":
            raise Refused(Reason.REVOKED)

    async def story(session):
        sessions = house.arbiter()
        sessions._check = check
        secret = await sessions.start(replace(HELD, identity=replace(DANA, session=session)), "okta", NOW)
        return (await sessions.authenticate(secret, NOW))[0]

    assert reason(story("sid-1")) is Reason.REVOKED
    assert asyncio.run(story("sid-2")).principal == DANA.principal


def test_what_a_session_is_permitted_ends_with_its_absolute_limit(house):
    async def story():
        sessions = house.arbiter(absolute=600)
        secret = await sessions.start(HELD, "okta", NOW)
        return (await sessions.authenticate(secret, NOW))[0].expires_at

    assert asyncio.run(story()) == NOW + 600


# ---- the end


def test_every_way_to_end_sessions(house):
    other = replace(
        HELD,
        identity=replace(DANA, principal=replace(DANA.principal, subject="ada")),
        subject="ada",
        sid="",
    )

    async def story():
        sessions = house.arbiter()

        async def three():
            started = [await sessions.start(held, "okta", NOW) for held in (HELD, replace(HELD, sid="sid-2"), other)]
            return [(await sessions.current(secret, NOW)).id for secret in started], started

        async def left():
            return [line.id for key in ("okta/dana", "okta/ada") for line in await sessions.of(key, NOW)]

        issuer = DANA.principal.issuer
        for end, gone in (
            (lambda ids, secrets: sessions.end(secrets[0]), {0}),
            (lambda ids, secrets: sessions.end_id(ids[1]), {1}),
            (lambda ids, secrets: sessions.end_all("okta/dana"), {0, 1}),
            (lambda ids, secrets: sessions.end_by_sid(issuer, "sid-2"), {1}),
            (lambda ids, secrets: sessions.end_by_sid("https://other.example", "sid-2"), set()),
            (lambda ids, secrets: sessions.end_by_sid(issuer, ""), set()),
            (lambda ids, secrets: sessions.end_by_subject(issuer, "dana"), {0, 1}),
            (lambda ids, secrets: sessions.end_by_subject(issuer, ""), set()),
        ):
            house.told.clear()
            ids, started = await three()
            assert await end(ids, started) == len(gone)
            assert set(house.told) == {ids[number] for number in gone}
            assert set(await left()) == {name for number, name in enumerate(ids) if number not in gone}
            await sessions.end_all("okta/dana")
            await sessions.end_all("okta/ada")

    asyncio.run(story())


def test_whoever_presents_a_secret_takes_no_writer_s_lock(tmp_path):
    settings = StateSettings(f"sqlite:///{tmp_path}/state.db", 50)
    engine = open_database(settings)
    migrate(engine, "sessions", session_tables.metadata, session_tables.STEPS)
    reader = open_database_to_read(settings)
    store = SessionStore(engine, reader)
    with engine.begin():  # as the ledger does; SQLite has one writer
        assert store.find("x") is None
        assert store.of("okta/dana") == []
        with pytest.raises(Refused):
            store.end_id("s-1")
    engine.dispose()
    reader.dispose()


def test_nobody_has_to_listen():
    from remit.identity.browser.sessions import _nobody

    assert asyncio.run(_nobody([])) is None
