"""What knowing somebody costs: a token's verification, keys that were never fetched, groups, and a whole sign-in.

Verification is `Authenticators.authenticate`, the product's own, beside the bare signature over the same bytes in the
same run: the ratio holds still on a shared machine. Keys come over TLS from a server on loopback; groups from the lab's
Graph in this process, whose own work is in the figure; a sign-in is the sdk's device code flow at the lab, and then one
read through the door of a whole installation. Leaves out the rest of a decision (`decision.py`). Run: `make bench`.
"""

import asyncio
import gc
import http.client
import importlib.util
import json
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from figures import keep, machine, versions
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from remit.cli.story.stage import Stage, stage
from remit.identity.directory.groups import DirectoryGroups
from remit.identity.settings import EntraIssuer, OidcIssuer
from remit.identity.tokens import jose
from remit.identity.tokens.authenticators import Authenticators
from remit.identity.tokens.entra import EntraAuthenticator
from remit.identity.tokens.keys import ProviderKeys, read_key_set
from remit.identity.tokens.oidc import OidcAuthenticator
from remit.lab import contoso, lifecycle
from remit.model.secret import UnverifiedToken
from remit.sdk.keeper import Keeper
from remit.sdk.sign_in import SignIn

ROUNDS, RUNS, FETCHES, SIGN_INS, GROUPS = 300, 7, 20, 5, 5_000
UNIT = Path(__file__).parents[1] / "tests" / "unit" / "identity"
PACKAGES = ("joserfc", "cryptography", "httpx", "msal")
TENANT = contoso.TENANT
ENTRA = EntraIssuer(TENANT, contoso.REMIT.id, frozenset({contoso.CLI.id}))
OIDC = OidcIssuer(
    "bench",
    "https://id.example",
    "api://remit",
    clients=frozenset({"cli"}),
    subjects=frozenset({"dana"}),
    algorithms=("ES256",),
)
HOST = "us-central1-aiplatform.googleapis.com"
JOB = "/v1/projects/contoso-fraud-test/locations/us-central1/customJobs/1"


def beside(name: str) -> Any:
    """A module that the unit tests of identity use."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", UNIT / f"{name}.py")
    assert spec is not None  # noqa: S101 - it stands there
    assert spec.loader is not None  # noqa: S101 - likewise
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Held:
    """Keys at hand."""

    def __init__(self, key: RSAKey | ECKey, settings: EntraIssuer | OidcIssuer) -> None:
        self._keys = read_key_set({"keys": [key.as_dict(private=False)]}, settings)

    async def key(self, kid: str) -> Any:
        """The key of that name."""
        return self._keys.get(kid)


def entra_claims(groups: int) -> dict[str, Any]:
    """Dana's, with so many groups."""
    now = int(time.time())
    times = {"iat": now - 60, "nbf": now - 60, "exp": now + 3600, "auth_time": now - 60}
    names = {"name": "Dana", "preferred_username": contoso.DANA.upn, "azp": contoso.CLI.id, "azpacr": "0", "acct": 0}
    return {
        **times,
        **names,
        "iss": ENTRA.issuer,
        "aud": ENTRA.audience,
        "tid": TENANT,
        "oid": contoso.DANA.oid,
        "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "groups": [f"9a000000-0000-4000-8000-{number:012}" for number in range(1, groups + 1)],
        "roles": ["MLEngineer"],
        "scp": "access",
        "sid": "00000000-0000-4000-8000-0000000000aa",
        "uti": "GCyDdLsQ8kSRhNSN3WkAAA",
        "ver": "2.0",
        "amr": ["pwd", "mfa"],
    }


def oidc_claims(issuer: str) -> dict[str, Any]:
    """An access token of RFC 9068."""
    now = int(time.time())
    who = {"iss": issuer, "aud": OIDC.audience, "sub": "dana", "client_id": "cli", "jti": "t-1", "auth_time": now - 60}
    return {**who, "iat": now - 60, "exp": now + 3600}


def signed(claims: Mapping[str, Any], key: RSAKey | ECKey, algorithm: str, typ: str) -> UnverifiedToken:
    """A token."""
    header = {"alg": algorithm, "kid": "bench", "typ": typ}
    return UnverifiedToken(jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=[algorithm]))


async def each(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Seconds of CPU, all threads', that one takes."""
    gc.collect()
    began = time.process_time()
    for _ in range(rounds):
        await work()
    return (time.process_time() - began) / rounds


async def verification(name: str, token: UnverifiedToken, authenticators: Authenticators, key: Any) -> dict[str, Any]:
    """The whole, and the signature alone, in turn; medians and the quartiles of the ratio."""
    form, now = jose.parse_compact(token), int(time.time())

    async def bare() -> None:
        jose.verify(form, key, "ES256" if name.endswith("ES256") else "RS256")

    async def whole() -> None:
        await authenticators.authenticate(token, now)

    runs = [(await each(whole, ROUNDS), await each(bare, ROUNDS)) for _ in range(RUNS)]
    ratios = [all_of_it / signature for all_of_it, signature in runs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "what": name,
        "token_bytes": len(token.reveal()),
        "whole_us": round(statistics.median(all_of_it for all_of_it, _ in runs) * 1e6, 1),
        "signature_us": round(statistics.median(signature for _, signature in runs) * 1e6, 1),
        "ratio": round(middle, 2),
        "ratio_quartiles": [round(low, 2), round(high, 2)],
    }


async def cached() -> list[dict[str, Any]]:
    """Verification with the keys at hand."""
    rsa = RSAKey.generate_key(2048, parameters={"kid": "bench", "alg": "RS256", "use": "sig"})
    ec = ECKey.generate_key("P-256", parameters={"kid": "bench", "alg": "ES256", "use": "sig"})
    entra_keys, oidc_keys = Held(rsa, ENTRA), Held(ec, OIDC)
    both = Authenticators((EntraAuthenticator(ENTRA, entra_keys), OidcAuthenticator(OIDC, oidc_keys)))
    rows = []
    for count in (1, 200):
        token = signed(entra_claims(count), rsa, "RS256", "JWT")
        name = f"Entra v2, {count} group{'s' if count > 1 else ''}, RS256"
        rows.append(await verification(name, token, both, await entra_keys.key("bench")))
    token = signed(oidc_claims(OIDC.issuer), ec, "ES256", "at+jwt")
    rows.append(await verification("OIDC, ES256", token, both, await oidc_keys.key("bench")))
    return rows


async def uncached(folder: Path) -> dict[str, Any]:
    """The first token of an issuer: discovery, keys, verification. One connection, TLS 1.3, loopback."""
    servers = beside("fake_https")
    key = ECKey.generate_key("P-256", parameters={"kid": "bench", "alg": "ES256", "use": "sig"})
    certificate = servers.Certificate(folder)
    roots = certificate.client()

    def answer(asked: Any) -> Any:
        keys = {"keys": [key.as_dict(private=False)]}
        found = keys if asked.path == "/jwks" else {"issuer": server.url, "jwks_uri": f"{server.url}/jwks"}
        return servers.Answer(json.dumps(found).encode())

    took = []
    async with servers.FakeServer(answer, certificate) as server:
        settings = replace(OIDC, issuer=server.url)
        token = signed(oidc_claims(server.url), key, "ES256", "at+jwt")
        for _ in range(FETCHES):
            async with httpx.AsyncClient(verify=roots, trust_env=False) as client:
                authenticators = Authenticators((OidcAuthenticator(settings, ProviderKeys(settings, client)),))
                began = time.perf_counter()
                await authenticators.authenticate(token, int(time.time()))
                took.append(time.perf_counter() - began)
    return {"what": "OIDC, ES256, keys never fetched", "median_ms": round(statistics.median(took) * 1e3, 2)}


async def groups() -> dict[str, Any]:
    """Somebody in 5,000 groups: read from Graph, and from the cache."""
    lab = beside("lab_graph")
    many = tuple(
        contoso.Group(f"9c000000-0000-4000-8000-{number:012}", f"many-{number}", (contoso.OLGA.oid,))
        for number in range(1, GROUPS + 1)
    )
    world = lab.LabWorld((contoso.ML_ENGINEERS_FRAUD, contoso.ML_ENGINEERS, contoso.ML_ALL, *many))
    now, read = 1_795_000_000, []
    for _ in range(RUNS):
        world.asked.clear()
        source = DirectoryGroups(world.graph)
        began = time.perf_counter()
        found = await source.of(lab.OLGA, now)
        read.append(time.perf_counter() - began)
    again = await each(lambda: source.of(lab.OLGA, now), ROUNDS)
    fresh = statistics.median(read)
    return {
        "what": f"groups of somebody in {len(found.groups):,}",
        "requests": len(world.asked),
        "read_ms": round(fresh * 1e3, 2),
        "cached_us": round(again * 1e6, 2),
        "ratio": round(fresh / again),
    }


def first_request(scene: Stage, number: int) -> dict[str, float]:
    """One sign-in by device code, approved at once, and one read through the door; seconds."""
    keeper = Keeper(scene.folder / f"keeper-{number}.sock")
    try:
        began = time.perf_counter()
        sign_in = SignIn.at(scene.url, keeper)
        sign_in.by_device(scene.person("dana").approve)
        token = sign_in.token().reveal()
        signed_in = time.perf_counter()
        roots = ssl.create_default_context(cadata=sign_in.configuration.ca_pem)
        door = http.client.HTTPSConnection("127.0.0.1", scene.settings.gateway.listen_port, context=roots, timeout=10)
        door.set_tunnel(HOST, 443, {"Proxy-Authorization": f"Bearer {token}"})
        door.request("GET", JOB)
        answer = door.getresponse()
        answer.read()
        door.close()
        if answer.getheader("x-remit-reason") or answer.status != http.client.NOT_FOUND:  # the lab has no such job
            raise SystemExit(f"it was not permitted: {answer.status} {answer.getheaders()}")
        return {"sign_in": signed_in - began, "first": time.perf_counter() - signed_in}
    finally:
        keeper.end()


def sign_ins() -> dict[str, Any]:
    """From nothing to the first permitted request. Only the very first meets an arbiter without a credential."""
    with tempfile.TemporaryDirectory(prefix="remit-b-") as name, stage(Path(name)) as scene:
        os.environ.update(lifecycle.variables(scene.lab))
        runs = [first_request(scene, number) for number in range(SIGN_INS)]
    whole = [run["sign_in"] + run["first"] for run in runs]
    return {
        "what": "from nothing to the first permitted request",
        "median_ms": round(statistics.median(whole) * 1e3, 1),
        "sign_in_ms": round(statistics.median(run["sign_in"] for run in runs) * 1e3, 1),
        "first_request_ms": round(statistics.median(run["first"] for run in runs) * 1e3, 1),
        "runs_ms": [round(seconds * 1e3, 1) for seconds in whole],
    }


def show(found: Mapping[str, Any]) -> None:
    """For people."""
    print(f"verification, keys at hand: medians of {RUNS} runs of {ROUNDS}, CPU")
    for row in found["cached"]:
        low, high = row["ratio_quartiles"]
        line = f"{row['whole_us']:8.1f} µs  {row['ratio']:5.2f} times its signature ({low:.2f}-{high:.2f})"
        print(f"  {row['what']:28} {row['token_bytes']:6} bytes {line}")
    print(f"  {found['uncached']['what']}: {found['uncached']['median_ms']} ms, {found['uncached_ratio']} times cached")
    many = found["groups"]
    read = f"{many['read_ms']} ms in {many['requests']} requests, from the cache {many['cached_us']} µs"
    print(f"  {many['what']}: {read} ({many['ratio']} times less)")
    whole = found["sign_in"]
    parts = f"{whole['sign_in_ms']} ms to sign in, {whole['first_request_ms']} ms for the request"
    print(f"  {whole['what']}: {whole['median_ms']} ms, median of {SIGN_INS}: {parts}")


def main() -> int:
    """Measures, prints, writes `results/identity.json`."""
    with tempfile.TemporaryDirectory(prefix="remit-b-") as name:
        known = asyncio.run(cached())
        first = asyncio.run(uncached(Path(name)))
    found = {
        "cached": known,
        "uncached": first,
        "uncached_ratio": round(first["median_ms"] * 1e3 / known[-1]["whole_us"]),
        "groups": asyncio.run(groups()),
        "sign_in": sign_ins(),
    }
    show(found)
    document = {
        "what": "what knowing somebody costs",
        "machine": machine(),
        "versions": versions(*PACKAGES),
        **found,
    }
    keep("identity", document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
