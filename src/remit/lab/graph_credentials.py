"""Graph's ways to give an application or a service principal a secret or a certificate, and to take it away again.

A secret is made by the directory and told once. A certificate is added against a proof of one that is held already; the
first one comes by a change of the object. Whichever of the two holds it, both prove themselves with it. Leaves out:
private keys (`X509CertAndPassword`). Source: learn.microsoft.com/graph/api/application-addpassword, .../
application-addkey, .../application-removekey, .../serviceprincipal-addpassword, .../serviceprincipal-addkey.
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from remit.lab.entra_registry import Document, fresh, seconds, written
from remit.lab.graph_applications import WRITE, certificate
from remit.lab.graph_audits import Target, described
from remit.lab.graph_errors import GraphError, bad_request, need
from remit.lab.graph_paging import CONTEXT
from remit.lab.graph_routes import APPLICATION, PRINCIPAL, Answer, Call, body, route
from remit.lab.graph_tenant import Tenant
from remit.lab.jwt import BrokenTokenError, peek, verify_with

_YEARS = 2
_AUDIENCE = "00000002-0000-0000-c000-000000000000"
_PROOF = 600  # seconds that a proof is good for
_SKEW = 300  # seconds that its clock may be off
_ACTIVITY = "Update application \u2013 Certificates and secrets management "  # as the log spells it
_OWN = (frozenset({"Application.ReadWrite.All"}), frozenset({"Directory.ReadWrite.All"}))


def add_password(tenant: Tenant, call: Call, key: str) -> Answer:
    """`addPassword`: the one answer that tells the secret."""
    before, asked = _object(tenant, call, key), body(call).get("passwordCredential") or {}
    if not isinstance(asked, Mapping) or not set(asked) <= {"displayName", "startDateTime", "endDateTime"}:
        raise bad_request("Invalid value specified for property 'passwordCredential' of resource 'Application'.")
    now = tenant.registry.clock()
    start, ends = (
        _time(asked.get(name), other) for name, other in (("startDateTime", now), ("endDateTime", _later(now)))
    )
    if not max(start, now) < ends:
        raise bad_request("Invalid value specified for property 'endDateTime' of resource 'PasswordCredential'.")
    secret = secrets.token_urlsafe(30)
    held: dict[str, Any] = {
        "customKeyIdentifier": None,
        "displayName": asked.get("displayName"),
        "endDateTime": written(ends),
        "hint": secret[:3],
        "keyId": fresh(),
        "secretText": None,
        "startDateTime": written(start),
    }
    tenant.registry.secrets[held["keyId"]] = secret
    _write(tenant, call, before, {**before, "passwordCredentials": [*before["passwordCredentials"], held]})
    return {"@odata.context": f"{CONTEXT}#microsoft.graph.passwordCredential", **held, "secretText": secret}


def remove_password(tenant: Tenant, call: Call, key: str) -> Answer:
    """`removePassword`."""
    before = _object(tenant, call, key)
    left = _without(before["passwordCredentials"], body(call).get("keyId"), "password")
    _write(tenant, call, before, {**before, "passwordCredentials": left})
    return None


def add_key(tenant: Tenant, call: Call, key: str) -> Answer:
    """`addKey`: an application needs no permission for its own keys, but always a proof."""
    before, asked = _mine(tenant, call, key), body(call)
    _prove(tenant, before, asked.get("proof"))
    given = asked.get("keyCredential")
    if not isinstance(given, Mapping) or asked.get("passwordCredential") is not None:
        raise bad_request("Invalid value specified for property 'keyCredential' of resource 'Application'.")
    held = certificate(given)
    _write(tenant, call, before, {**before, "keyCredentials": [*before["keyCredentials"], held]})
    return {"@odata.context": f"{CONTEXT}#microsoft.graph.keyCredential", **held, "key": None}


def remove_key(tenant: Tenant, call: Call, key: str) -> Answer:
    """`removeKey`, likewise."""
    before, asked = _mine(tenant, call, key), body(call)
    _prove(tenant, before, asked.get("proof"))
    left = _without(before["keyCredentials"], asked.get("keyId"), "key")
    _write(tenant, call, before, {**before, "keyCredentials": left})
    return None


def _object(tenant: Tenant, call: Call, key: str) -> Document:
    if "/servicePrincipals" not in call.path:
        return tenant.application(key)
    document = tenant.principal(key)
    if document["servicePrincipalType"] == "ManagedIdentity":
        raise bad_request("Credentials of a managed identity cannot be changed.")
    return document


def _write(tenant: Tenant, call: Call, before: Document, after: Document) -> None:
    of_application = before["id"] in tenant.registry.applications.all_written()
    where = tenant.registry.applications if of_application else tenant.registry.principals
    where.put(after["id"], after)
    old, new = described(before), described(after)
    verb = "Add" if len(new["KeyDescription"]) > len(old["KeyDescription"]) else "Remove"
    activity = _ACTIVITY if of_application else f"{verb} service principal credentials"
    kind = "Application" if of_application else "ServicePrincipal"
    tenant.audits.write(call, activity, Target(kind, after["id"], after["displayName"], old, new))


def _mine(tenant: Tenant, call: Call, key: str) -> Document:
    document = _object(tenant, call, key)
    if call.caller.app != document["appId"]:
        need(call.caller.permissions, *_OWN)
    return document


def _prove(tenant: Tenant, application: Document, proof: object) -> None:
    """Raise `GraphError` unless the proof is signed with a certificate that the application holds and that counts."""
    now = tenant.registry.clock()
    try:
        claims = peek(str(proof))[1]
        times = (float(claims.get("nbf", 0)), float(claims.get("exp", 0)))
        fits = (claims.get("aud"), claims.get("iss")) == (_AUDIENCE, application["id"])
        timely = times[0] - _SKEW <= now < times[1] <= times[0] + _PROOF
        if fits and timely and any(_signed(str(proof), each, now) for each in application["keyCredentials"]):
            return
    except (BrokenTokenError, TypeError, ValueError):
        pass  # told as any other proof that does not hold
    raise GraphError(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")


def _signed(proof: str, held: Mapping[str, Any], now: float) -> bool:
    if seconds(held["endDateTime"]) <= now:
        return False
    key = x509.load_der_x509_certificate(base64.b64decode(held["key"])).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        verify_with(proof, key)
    except BrokenTokenError:
        return False
    return True


def _without(held: list[dict[str, Any]], number: object, what: str) -> list[dict[str, Any]]:
    left = [each for each in held if each["keyId"] != str(number).lower()]
    if len(left) == len(held):
        raise bad_request(f"No {what} credential found with keyId.", details=("CredentialNotFound", "keyId"))
    return left


def _time(given: object, otherwise: float) -> float:
    if given is None:
        return otherwise
    try:
        return seconds(str(given))
    except ValueError as cause:
        raise bad_request("Cannot convert a value to the expected target type 'Edm.DateTimeOffset'.") from cause


def _later(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    # the 29th of February has no second anniversary
    day = min(today.day, 28) if today.month == 2 else today.day  # noqa: PLR2004 - February
    return today.replace(year=today.year + _YEARS, day=day).timestamp()


ROUTES = tuple(
    found
    for place in (APPLICATION, PRINCIPAL)
    for found in (
        route("POST", f"{place}/addPassword", add_password, *WRITE),
        route("POST", f"{place}/removePassword", remove_password, *WRITE),
        route("POST", f"{place}/addKey", add_key, ""),
        route("POST", f"{place}/removeKey", remove_key, ""),
    )
)
