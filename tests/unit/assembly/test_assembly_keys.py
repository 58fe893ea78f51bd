"""The ring of keys: who shares keys with whom."""

from types import SimpleNamespace

from remit.assembly.keys import KeyRing
from remit.identity.settings import EntraIssuer, EventTransmitter, OidcIssuer, SignInProvider

OKTA = "https://okta.example"


def test_keys_are_shared_by_who_reads_the_same_document_for_the_same_algorithms():
    entra = EntraIssuer("6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "a", frozenset())
    ring = KeyRing(SimpleNamespace(entra=entra, oidc=(OidcIssuer("okta", OKTA, "remit"),)), None)

    def provider(issuer, algorithm):
        return SignInProvider("x", "X", issuer, "c", "https://remit.example/cb", ("openid",), algorithms=(algorithm,))

    assert ring.of(provider(OKTA, "RS256")) is ring.oidc[OKTA]
    assert ring.of(provider(entra.issuer, "RS256")) is ring.entra
    other = ring.of(provider(OKTA, "ES256"))
    assert other is not ring.oidc[OKTA]
    assert ring.of(provider(OKTA, "ES256")) is other
    transmitter = ring.of(EventTransmitter(OKTA, "a", ()), "ssf-configuration")
    assert transmitter not in (other, ring.oidc[OKTA])
