"""The relying-party flows of the OpenID Foundation's older test suite, and what each one is here.

Names: github.com/openid-certification/oidctest, `test_tool/cp/test_rplib/rp/flows/`, Apache-2.0; all 73 of them. A flow that
concerns a confidential client with the code flow is run: `Run` names the switch, what the suite expects of a client, and
what Remit does, which may be stricter. The others say why they do not concern one.
"""

from dataclasses import dataclass, field
from typing import Any

ACCEPT = "accept"
REFUSE = "refuse"


@dataclass(frozen=True)
class Run:
    """`kind`: `sign-in`, `rotation`, `start` or `logout`; `stricter`: why Remit refuses what the suite lets pass."""

    switch: str = ""
    remit: str = ACCEPT
    kind: str = "sign-in"
    stricter: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Not:
    """A flow that does not concern this client."""

    because: str


def refused(switch: str, kind: str = "sign-in", stricter: str = "", **options: Any) -> Run:
    return Run(switch, REFUSE, kind, stricter, options)


USERINFO = Not("Remit asks no userinfo endpoint: the identity is the ID token's, or an access token's for Remit")
IMPLICIT = Not("implicit and hybrid answers are never asked for (RFC 9700 section 2.1.2)")
WEBFINGER = Not("issuers stand in remit.yaml; no issuer is found by what a person types")
REQUEST_OBJECT = Not("no request object is sent")
FORM_POST = Not("the answer is asked for in the query; the callback takes no form")
RP_LOGOUT = Not("Remit ends its own session, and offers no logout at the provider")

FLOWS: dict[str, Run | Not] = {
    "rp-3rd_party-init-login": Run(kind="start"),
    "rp-backchannel-rpinitlogout": Run(kind="logout"),
    "rp-backchannel-rpinitlogout-lt-alg-none": refused("logout-none", "logout"),
    "rp-backchannel-rpinitlogout-lt-no-event": refused("logout-no-event", "logout"),
    "rp-backchannel-rpinitlogout-lt-with-nonce": refused("logout-nonce", "logout"),
    "rp-backchannel-rpinitlogout-lt-wrong-alg": refused("logout-hs256", "logout"),
    "rp-backchannel-rpinitlogout-lt-wrong-aud": refused("logout-aud", "logout"),
    "rp-backchannel-rpinitlogout-lt-wrong-event": refused("logout-event", "logout"),
    "rp-backchannel-rpinitlogout-lt-wrong-issuer": refused("logout-iss", "logout"),
    "rp-claims-aggregated": refused(
        "id-token-groups-aggregated", stricter="groups that stand elsewhere leave the identity incomplete"
    ),
    "rp-claims-distributed": refused(
        "id-token-groups-elsewhere", stricter="groups that stand elsewhere leave the identity incomplete"
    ),
    "rp-claims_request-id_token": Not("no claims are requested by name, but Entra's authentication contexts"),
    "rp-claims_request-userinfo": USERINFO,
    "rp-discovery-issuer-not-matching-config": refused("discovery-issuer"),
    "rp-discovery-jwks_uri-keys": Run(),
    "rp-discovery-openid-configuration": Run(),
    "rp-discovery-webfinger-acct": WEBFINGER,
    "rp-discovery-webfinger-http-href": WEBFINGER,
    "rp-discovery-webfinger-unknown-member": WEBFINGER,
    "rp-discovery-webfinger-url": WEBFINGER,
    "rp-frontchannel-rpinitlogout": Not(
        "a logout by a frame needs the cookie in a third party's page; back channel only"
    ),
    "rp-id_token-aud": refused("id-token-aud"),
    "rp-id_token-bad-at_hash": refused("id-token-at-hash"),
    "rp-id_token-bad-c_hash": refused("id-token-c-hash"),
    "rp-id_token-bad-sig-es256": refused("id-token-bad-signature", algorithm="ES256", algorithms=("RS256", "ES256")),
    "rp-id_token-bad-sig-hs256": refused("id-token-hs256"),
    "rp-id_token-bad-sig-rs256": refused("id-token-bad-signature"),
    "rp-id_token-iat": refused("id-token-no-iat"),
    "rp-id_token-issuer-mismatch": refused("id-token-iss"),
    "rp-id_token-kid-absent-multiple-jwks": refused("id-token-no-kid two-keys"),
    "rp-id_token-kid-absent-single-jwks": refused(
        "id-token-no-kid", stricter="a token says which key signed it, however many keys there are"
    ),
    "rp-id_token-missing-at_hash": Run("id-token-no-at-hash"),  # needed in implicit and hybrid answers only
    "rp-id_token-missing-c_hash": Run("id-token-no-c-hash"),  # the same
    "rp-id_token-sig+enc": refused("id-token-encrypted", stricter="encrypted ID tokens are not accepted"),
    "rp-id_token-sig+enc-a128kw": refused("id-token-encrypted", stricter="encrypted ID tokens are not accepted"),
    "rp-id_token-sig-es256": Run(options={"algorithm": "ES256", "algorithms": ("RS256", "ES256")}),
    "rp-id_token-sig-hs256": refused("id-token-hs256", stricter="symmetric signatures are not accepted"),
    "rp-id_token-sig-none": refused("id-token-none", stricter="unsigned ID tokens are not accepted"),
    "rp-id_token-sig-rs256": Run(),
    "rp-id_token-sub": refused("id-token-no-sub"),
    "rp-init-logout": RP_LOGOUT,
    "rp-init-logout-no-state": RP_LOGOUT,
    "rp-init-logout-other-state": RP_LOGOUT,
    "rp-init-logout-session": RP_LOGOUT,
    "rp-key-rotation-op-enc-key": Not("nothing is encrypted to the provider's keys"),
    "rp-key-rotation-op-sign-key": Run(kind="rotation"),
    "rp-key-rotation-op-sign-key-native": Run(kind="rotation"),
    "rp-nonce-invalid": refused("id-token-nonce"),
    "rp-nonce-unless-code-flow": Run(),  # here a nonce is sent always; the provider complains without one
    "rp-registration-dynamic": Not("clients are registered by people"),
    "rp-request_uri-enc": REQUEST_OBJECT,
    "rp-request_uri-sig": REQUEST_OBJECT,
    "rp-request_uri-sig+enc": REQUEST_OBJECT,
    "rp-request_uri-unsigned": REQUEST_OBJECT,
    "rp-response_mode-form_post": FORM_POST,
    "rp-response_mode-form_post-error": FORM_POST,
    "rp-response_type-code": Run(),
    "rp-response_type-code+id_token": IMPLICIT,
    "rp-response_type-code+id_token+token": IMPLICIT,
    "rp-response_type-code+token": IMPLICIT,
    "rp-response_type-id_token": IMPLICIT,
    "rp-response_type-id_token+token": IMPLICIT,
    "rp-scope-userinfo-claims": USERINFO,
    "rp-token_endpoint-client_secret_basic": Run(),
    "rp-token_endpoint-client_secret_jwt": refused(
        "secret-jwt-only", stricter="an assertion is signed with a private key, or is none"
    ),
    "rp-token_endpoint-client_secret_post": Run("post-only"),
    "rp-token_endpoint-private_key_jwt": Run(options={"assertion": True}),
    "rp-userinfo-bad-sub-claim": USERINFO,
    "rp-userinfo-bearer-body": USERINFO,
    "rp-userinfo-bearer-header": USERINFO,
    "rp-userinfo-enc": USERINFO,
    "rp-userinfo-sig": USERINFO,
    "rp-userinfo-sig+enc": USERINFO,
}
