"""A job's own identity: the real google-auth at the metadata server, and Remit's rules for what it gets there."""

import asyncio
import os
import ssl
import subprocess
import sys
import time

import httpx
import pytest

from remit.identity.settings import OidcIssuer, OidcKind
from remit.identity.tokens.keys import ProviderKeys
from remit.identity.tokens.oidc import OidcAuthenticator
from remit.lab import certificates, contoso
from remit.lab.front import Front
from remit.lab.google_accounts import CERTS, HOST, GoogleAccounts, unique_id
from remit.lab.http_server import Hosts, HttpServer
from remit.lab.iam import Iam
from remit.lab.metadata import Metadata
from remit.lab.proxy import Proxy
from remit.model.errors import Refused
from remit.model.identity import Kind
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
PROGRAM = """
import google.auth.transport.requests, google.oauth2.id_token
print(google.oauth2.id_token.fetch_id_token(google.auth.transport.requests.Request(), "api://remit"))
"""


async def fetched(port):
    """What the stock library gets, with nothing but a machine's own variables."""
    place = f"127.0.0.1:{port}"
    environment = {"PATH": os.environ["PATH"], "GCE_METADATA_HOST": place, "GCE_METADATA_IP": place, "NO_PROXY": "*"}
    command = [sys.executable, "-c", PROGRAM]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def port_of(server):
    return int(server.sockets[0].getsockname()[1])


def judged(folder, **changes):
    """The identity that Remit makes of a job's token."""
    account = GoogleAccounts(time.time)

    async def www(request):
        assert request.path == CERTS
        return await account(request)

    async def story():
        handler = Metadata(Iam(), account).handler(TRAINER, project=contoso.FRAUD_TEST.id, location=contoso.LOCATION)
        found = certificates.ensure(folder)
        hosts = HttpServer(Hosts({HOST: account, "www.googleapis.com": www}, {}))
        front, metadata = await Front(found, hosts).listen(), await HttpServer(handler).listen()
        proxy = await Proxy(port_of(front)).listen()
        given = {"subjects": frozenset({unique_id(TRAINER)}), "audience": "api://remit", **changes}
        issuer = OidcIssuer("google", "https://accounts.google.com", kind=OidcKind.GOOGLE, **given)
        try:
            through = f"http://127.0.0.1:{port_of(proxy)}"
            roots = ssl.create_default_context(cafile=str(found.authority))
            async with httpx.AsyncClient(proxy=through, verify=roots, trust_env=False) as client:
                token = await fetched(port_of(metadata))
                authenticator = OidcAuthenticator(issuer, ProviderKeys(issuer, client))
                return await authenticator.authenticate(UnverifiedToken(token), int(time.time()))
        finally:
            for server in (front, metadata, proxy):
                server.close()

    return asyncio.run(story())


def test_a_job_is_known_by_the_number_of_its_account(tmp_path):
    identity = judged(tmp_path)
    assert identity.principal.kind is Kind.WORKLOAD
    assert identity.principal.key == f"google/{unique_id(TRAINER)}"
    assert identity.display == TRAINER


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audience": "api://somebody"}, Reason.TOKEN_AUDIENCE),
        ({"subjects": frozenset({"1"})}, Reason.TOKEN_CLAIMS),
        ({"subjects": frozenset()}, Reason.TOKEN_CLAIMS),
    ],
)
def test_anybody_at_google_can_get_such_a_token_so_it_must_be_ours(tmp_path, changes, reason):
    with pytest.raises(Refused) as refused:
        judged(tmp_path, **changes)
    assert refused.value.reason is reason


def test_an_identity_without_an_audience_is_refused():
    async def story():
        handler = Metadata(Iam(), GoogleAccounts(time.time)).handler(TRAINER, project="p", location="l")
        server = await HttpServer(handler).listen()
        async with httpx.AsyncClient(trust_env=False) as client:
            place = f"http://127.0.0.1:{port_of(server)}/computeMetadata/v1/instance/service-accounts/default/identity"
            answer = await client.get(place, headers={"Metadata-Flavor": "Google"})
        server.close()
        return answer.status_code

    assert asyncio.run(story()) == 400
