"""What a session holds, and its form at rest: the identity of the last sign-in or renewal, and the tokens behind it.

The form is JSON, to be sealed by `cipher` before it goes anywhere. Leaves out: who renews it (`relying_party`), where
it lies (`store`).
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from remit.model.identity import Authentication, Device, Identity, Kind, Principal
from remit.model.secret import Secret, UnverifiedToken

RENEW_BEFORE = 300  # seconds: a token with less than that is never handed to a client library (DESIGN section 7)


@dataclass(frozen=True, slots=True)
class Held:
    """`obtained` and `ends`: of the token, or of the identity where there is none, epoch seconds.

    `token`: an access token for Remit, when the provider gives such; `refresh`: `None` when the session cannot be
    renewed; `subject` and `sid`: the provider's own, for its logout; `nonce` and `auth_time`: of the sign-in.
    """

    identity: Identity
    obtained: int
    ends: int
    token: UnverifiedToken | None = None
    refresh: Secret | None = None
    subject: str = ""
    sid: str = ""
    nonce: str = field(default="", repr=False)
    auth_time: int = 0

    @property
    def renew_at(self) -> int:
        """Five minutes before the end, or after three quarters of a short life."""
        return self.ends - min(RENEW_BEFORE, (self.ends - self.obtained) // 4)


def write_held(held: Held) -> bytes:
    """The form at rest, to be sealed at once."""
    plain = {
        "identity": _write_identity(held.identity),
        "obtained": held.obtained,
        "ends": held.ends,
        "token": held.token.reveal() if held.token else "",
        "refresh": held.refresh.reveal() if held.refresh else "",
        "subject": held.subject,
        "sid": held.sid,
        "nonce": held.nonce,
        "auth_time": held.auth_time,
    }
    return json.dumps(plain).encode()


def read_held(text: bytes) -> Held:
    """What `write_held` wrote; raises `ValueError`, `KeyError` or `TypeError` for the form of another version."""
    plain = json.loads(text)
    token, refresh = plain.pop("token"), plain.pop("refresh")
    return Held(
        **{**plain, "identity": _read_identity(plain["identity"])},
        token=UnverifiedToken(token) if token else None,
        refresh=Secret(refresh) if refresh else None,
    )


def _write_identity(identity: Identity) -> dict[str, object]:
    plain = asdict(identity)
    for name in ("groups", "roles", "scopes"):
        plain[name] = sorted(plain[name])
    plain["authentication"] = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in plain["authentication"].items()
    }
    return plain


def _read_identity(plain: dict[str, Any]) -> Identity:
    who, how, device = (_members(plain[name]) for name in ("principal", "authentication", "device"))
    sets = {name: frozenset(_list(plain[name])) for name in ("groups", "roles", "scopes")}
    strengths = {name: frozenset(_list(how[name])) for name in ("methods", "contexts", "capabilities")}
    built = {
        "principal": Principal(**{**who, "kind": Kind(who["kind"])}),
        "authentication": Authentication(**{**how, **strengths}),
        "device": Device(**device),
        "attributes": tuple((str(name), str(value)) for name, value in _list(plain["attributes"])),
    }
    return Identity(**{**plain, **sets, **built})


def _members(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("is not an object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("is not a list")
    return value
