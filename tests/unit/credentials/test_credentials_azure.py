"""To Azure by an application that trusts Remit's own issuer: what it is shown, whose its tokens are, and for how long."""

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from remit.credentials.assertion import Assertions
from remit.credentials.azure_federation import HOP, LONGEST, SCOPES, EntraFederation, purpose_at_azure
from remit.credentials.azure_imds import ManagedIdentity
from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.obtainer import Obtainer
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.own_keys import OwnKeys
from remit.credentials.settings import AzureLine, CredentialSettings
from remit.model.credential import Cloud, Purpose
from remit.model.errors import HopFailed
from remit.model.identity import Kind
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

TID, ISSUER = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "https://remit.contoso.example"
WRITER, READER = "a0000000-0000-4000-8000-000000000011", "a0000000-0000-4000-8000-000000000012"
LINES = (
    AzureLine("MLEngineer", "test", WRITER, "remit/test/MLEngineer", ("storage", "sql"), "write", ("a/b",)),
    AzureLine("Pipeline", "test", WRITER, "remit/test/Pipeline", ("storage", "sql"), "write", ("a/b",)),
    AzureLine("DataScientist", "test", READER, "remit/test/DataScientist", ("storage",), "read", ("a/b",)),
)
TO_WRITE, TO_READ = purpose_at_azure(LINES[0], "storage"), purpose_at_azure(LINES[2], "storage")
SETTINGS = CredentialSettings(TID, "app", "scope", "mi", "//iam.googleapis.com/p", (), azure=LINES)


class Entra:
    """Names each token after what it was asked with; told how long they live, or how to answer else."""

    def __init__(self, fake):
        self.fake = fake
        self.asked = []
        self.life = 3599
        self.other = None

    def __call__(self, asked):
        form = dict(httpx.QueryParams(asked.body.decode()))
        self.asked.append((asked.path, form))
        if self.other:
            return self.fake.Answer(json.dumps(self.other[1]).encode(), self.other[0])
        token = f"token-{len(self.asked)}-{form['client_id'][-2:]}"
        return self.fake.Answer(
            json.dumps({"token_type": "Bearer", "expires_in": self.life, "access_token": token}).encode()
        )


@pytest.fixture
def tell(fake_https, certificate, own_folder):
    @asynccontextmanager
    async def world(entra, *, azure):
        async with (
            fake_https.FakeServer(entra, certificate) as server,
            httpx.AsyncClient(verify=certificate.client(), trust_env=False) as client,
        ):
            issuer = OwnIssuer(ISSUER, own_folder)
            federation = EntraFederation(client, TID, issuer, timeout=30, authority=server.url)
            obtainer = Obtainer(
                SETTINGS,
                identity=ManagedIdentity(client, "mi", timeout=30),
                entra=EntraOnBehalfOf(client, SETTINGS, timeout=30),
                sts=GoogleSts(client, SETTINGS.provider, timeout=30),
                iam=GoogleIam(client, timeout=30),
                azure=federation if azure else None,
            )
            yield obtainer
            await obtainer.close()

    def told(story, *, azure=True):
        entra = Entra(fake_https)

        async def main():
            async with world(entra, azure=azure) as obtainer:
                await story(obtainer, entra)

        asyncio.run(main())
        return entra

    return told


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.mark.promise("T4")
def test_the_application_is_shown_the_word_of_its_line_and_nothing_of_the_caller(tell, somebody):
    async def story(obtainer, entra):
        credential = await obtainer.obtain(somebody(1, "Pipeline"), UnverifiedToken("t"), TO_WRITE)
        assert (credential.account, credential.scopes) == (WRITER, (SCOPES["storage"],))

    [(path, form)] = tell(story).asked
    assert path == f"/{TID}/oauth2/v2.0/token"
    told = claims(form.pop("client_assertion"))
    assert form == {
        "grant_type": "client_credentials",
        "client_id": WRITER,
        "scope": "https://storage.azure.com/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    assert (told["iss"], told["sub"], told["aud"]) == (ISSUER, "remit/test/Pipeline", "api://AzureADTokenExchange")
    assert told["exp"] - told["nbf"] <= 605
    assert set(told) == {"iss", "sub", "aud", "iat", "nbf", "exp", "jti"}


OTHER = {"tenant": "6f1c2a34-8b5d-4e6f-9a01-c0de00000009"}


def test_a_callers_token_is_kept_for_this_caller_and_this_purpose_alone(tell, somebody):
    """A cache whose key is short gives one caller's token to another."""
    dana = somebody(1)
    askers = [
        (dana, UnverifiedToken("t"), TO_WRITE),
        (dana, UnverifiedToken("u"), TO_WRITE),
        (dana, None, TO_WRITE),
        (replace(dana, session="s"), None, TO_WRITE),
        (replace(dana, token_id="other"), UnverifiedToken("t"), TO_WRITE),
        (somebody(2), UnverifiedToken("t"), TO_WRITE),
        (somebody(1, **OTHER), UnverifiedToken("t"), TO_WRITE),
        (somebody(1, kind=Kind.WORKLOAD), UnverifiedToken("t"), TO_WRITE),
        (somebody(1, "Pipeline"), UnverifiedToken("t"), TO_WRITE),
        (somebody(1, "MLEngineer", "Pipeline"), UnverifiedToken("t"), TO_WRITE),
        (dana, UnverifiedToken("t"), purpose_at_azure(LINES[0], "sql")),
        (somebody(1, "DataScientist"), UnverifiedToken("t"), TO_READ),
    ]

    async def story(obtainer, entra):
        first = [(await obtainer.obtain(*asker)).token.reveal() for asker in askers]
        again = [(await obtainer.obtain(*asker)).token.reveal() for asker in askers]
        assert first == again
        assert len(set(first)) == len(askers) == len(entra.asked)

    tell(story)


@pytest.mark.promise("T9")
def test_an_application_of_another_line_is_given_to_nobody(tell, somebody):
    """Whatever was decided: the obtainer itself knows whose role an application is for."""
    wrong = [
        (somebody(1, "DataScientist"), TO_WRITE),
        (somebody(1, "MLEngineer"), TO_READ),
        (somebody(1, "Security"), TO_READ),
        (somebody(1, "DataScientist"), replace(TO_READ, scopes=(SCOPES["sql"],))),
        (somebody(1), replace(TO_WRITE, scopes=(SCOPES["storage"], SCOPES["sql"]))),
        (somebody(1), replace(TO_WRITE, scopes=("https://graph.microsoft.com/.default",))),
        (somebody(1), replace(TO_WRITE, scopes=())),
        (somebody(1), replace(TO_WRITE, account="app")),
        (somebody(1), Purpose("", (), cloud=Cloud.AZURE)),
    ]

    async def story(obtainer, entra):
        for identity, purpose in wrong:
            with pytest.raises(HopFailed) as caught:
                await obtainer.obtain(identity, UnverifiedToken("t"), purpose)
            assert (caught.value.hop, caught.value.reason) == (HOP, Reason.EXCHANGE_REFUSED)

    assert tell(story).asked == []


@pytest.mark.parametrize(
    ("life", "good"), [(LONGEST, True), (3599, True), (LONGEST + 1, False), (86399, False), (200, False)]
)
def test_a_token_lives_as_long_as_decisions_count_on_and_no_longer(tell, somebody, life, good):
    async def story(obtainer, entra):
        entra.life = life
        if good:
            credential = await obtainer.obtain(somebody(1), UnverifiedToken("t"), TO_WRITE)
            assert life - 60 <= credential.expires_at - time.time() <= life
        else:
            with pytest.raises(HopFailed, match=r"lives longer than 90 minutes|less than 300 s"):
                await obtainer.obtain(somebody(1), UnverifiedToken("t"), TO_WRITE)

    tell(story)


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (
            (
                401,
                {
                    "error": "invalid_client",
                    "error_description": "AADSTS700213: No matching federated identity record found for 'remit/test'",
                },
            ),
            Reason.EXCHANGE_REFUSED,
            "`entra-federation` answered 401 `AADSTS700213`",
        ),
        ((429, {"error": "temporarily_unavailable"}), Reason.EXCHANGE_UNAVAILABLE, "answered 429"),
        ((500, {}), Reason.EXCHANGE_UNAVAILABLE, "answered 500"),
    ],
)
def test_entras_refusal_is_told_apart_and_says_nothing_of_what_was_sent(tell, somebody, answer, reason, said):
    async def story(obtainer, entra):
        entra.other = answer
        with pytest.raises(HopFailed) as caught:
            await obtainer.obtain(somebody(1), UnverifiedToken("t"), TO_WRITE)
        assert caught.value.reason is reason
        assert said in caught.value.message
        assert "remit/test" not in caught.value.message
        assert ("docs/azure.md" in caught.value.hint) is (answer[0] == 401)

    tell(story)


def test_without_an_issuer_of_our_own_no_application_believes_us(tell, somebody):
    async def story(obtainer, entra):
        with pytest.raises(HopFailed, match="no own issuer") as caught:
            await obtainer.obtain(somebody(1), UnverifiedToken("t"), TO_WRITE)
        assert caught.value.hop == HOP

    assert tell(story, azure=False).asked == []


@pytest.mark.parametrize(
    "audience", ["api://AzureADTokenExchange", "API://azureadtokenexchange", "api://azureadtokenexchange/"]
)
def test_a_service_is_told_nothing_that_entra_would_take(own_folder, somebody, audience):
    assertions = Assertions("https://door.example", OwnKeys(own_folder, lambda: 2.0**31))
    with pytest.raises(HopFailed, match="nothing is asserted to that audience"):
        asyncio.run(assertions.obtain(somebody(1), audience))
