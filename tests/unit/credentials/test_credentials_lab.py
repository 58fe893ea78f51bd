"""Remit's own issuer at the lab's Google: the real calls, over TLS, through the proxy."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from remit.credentials.azure_imds import ManagedIdentity
from remit.credentials.entra_obo import EntraOnBehalfOf
from remit.credentials.google_iam import GoogleIam
from remit.credentials.google_sts import GoogleSts
from remit.credentials.hop import cloud_client, metadata_client
from remit.credentials.obtainer import Obtainer, OwnWay
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.purpose import CLOUD_PLATFORM
from remit.credentials.settings import CredentialSettings
from remit.lab import contoso, lifecycle
from remit.model.credential import Purpose
from remit.model.errors import HopFailed
from remit.model.identity import Kind, Principal

SETTINGS = CredentialSettings(
    tenant=contoso.TENANT,
    application=contoso.REMIT.id,
    scope="api://remit-google/.default",
    managed_identity=contoso.MI_ARBITER.client_id,
    provider=f"//iam.googleapis.com/{contoso.PROVIDER.resource}",
    mappings=(),
    own_issuer=contoso.REMIT_ISSUER,
    own_provider=f"//iam.googleapis.com/{contoso.REMIT_PROVIDER.resource}",
)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[lifecycle.Lab]:
    folder = tmp_path / "lab"
    found = lifecycle.up(folder)
    for name, value in lifecycle.variables(found).items():
        monkeypatch.setenv(name, value)
    yield found
    lifecycle.down(folder)


def _principal(identity: Any, tenant: str, subject: str, kind: Kind) -> Any:
    return replace(identity, principal=Principal("https://issuer.example", tenant, subject, kind))


def test_everybody_whom_entra_exchanges_nothing_for(
    lab: lifecycle.Lab, own_folder: Path, somebody: Callable[..., Any]
) -> None:
    issuer = OwnIssuer(SETTINGS.own_issuer, own_folder)
    trainer, engineer = (contoso.account(name, contoso.FRAUD_TEST) for name in ("trainer", "ml-engineer"))
    main = "repo:contoso/fraud:ref:refs/heads/main"
    pipeline = _principal(somebody(), contoso.TENANT, contoso.FRAUD_PIPELINE.oid, Kind.WORKLOAD)
    github = _principal(somebody(), "github", main, Kind.WORKLOAD)
    branch = _principal(somebody(), "github", main.replace("main", "other"), Kind.WORKLOAD)
    okta = _principal(somebody(groups=frozenset({"okta/ml-engineers"})), "okta", "00u1", Kind.PERSON)

    async def story() -> None:
        async with cloud_client() as client, metadata_client() as local:
            sts = GoogleSts(client, SETTINGS.own_provider, timeout=10)
            obtainer = Obtainer(
                SETTINGS,
                identity=ManagedIdentity(local, SETTINGS.managed_identity, timeout=10),
                entra=EntraOnBehalfOf(client, SETTINGS, timeout=10),
                sts=GoogleSts(client, SETTINGS.provider, timeout=10),
                iam=GoogleIam(client, timeout=10),
                own=OwnWay(issuer, sts),
            )
            # Google knows none of our keys yet
            with pytest.raises(HopFailed, match="`google-sts` answered 400 `invalid_grant`"):
                await obtainer.obtain(pipeline, None, Purpose(trainer, (CLOUD_PLATFORM,)))
            upload = {"provider_keys": {"name": "remit", "jwks": issuer.jwks()}}
            assert (await local.post(lab.control, json=upload)).status_code == httpx.codes.OK
            for who, account in ((pipeline, trainer), (github, trainer), (github, engineer), (okta, engineer)):
                credential = await obtainer.obtain(who, None, Purpose(account, (CLOUD_PLATFORM,)))
                assert credential.token.reveal().startswith("ya29.")
                assert credential.account == account
            for who, account in ((branch, trainer), (okta, trainer)):
                with pytest.raises(HopFailed, match="PERMISSION_DENIED"):
                    await obtainer.obtain(who, None, Purpose(account, (CLOUD_PLATFORM,)))
            await obtainer.close()

    asyncio.run(story())
