"""Who is asking: a principal, and what the verified token says of it.

The key of an Entra principal is `(tid, oid)` (DESIGN section 6): an e-mail address or a display name
is carried for people's eyes and never decides anything.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What sort of principal this is."""

    PERSON = "person"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified identity's key.

    `issuer`: the issuer's URL as in `iss`, or a SAML provider's entity id; `tenant`: Entra's `tid`, lower case, or the
    name that `remit.yaml` gives the issuer, which never looks like a `tid`; `subject`: Entra's `oid`, else `sub`, or
    SAML's NameID.
    """

    issuer: str
    tenant: str
    subject: str
    kind: Kind

    @property
    def key(self) -> str:
        """`tenant/subject`: Google's `google.subject`, Cedar's entity id, the record's actor."""
        return f"{self.tenant}/{self.subject}"


@dataclass(frozen=True, slots=True)
class Authentication:
    """How strongly the principal signed in.

    `methods`: Entra's `amr` (`pwd`, `mfa`, …); `contexts`: `acrs` (`c1` to `c99`);
    `capabilities`: `xms_cc`, lower case (`cp1`: the client understands claims challenges);
    `at`: when the person last proved who they are (`auth_time`), seconds since the epoch, 0 when nobody says.
    """

    methods: frozenset[str] = frozenset()
    contexts: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    at: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """The device that somebody signed in from, as Entra says it (`deviceid`, `signin_state`); unsaid is untrue.

    `managed`: `dvc_mngd`, in the company's management; `compliant`: `dvc_cmp`, and as its rules want it;
    `known_network`: `inknownntwk`, signed in from a network that the directory trusts.
    """

    id: str = ""
    managed: bool = False
    compliant: bool = False
    known_network: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """What one verified token says, complete or not at all.

    Times are seconds since the epoch. `groups` are object ids, complete (an overage that was not
    resolved never becomes an `Identity`); `groups_at` is when they were read. `client` is `azp` or `appid`,
    `token_id` Entra's `uti` or `jti`, `session` its `sid` or Remit's own session. `guest`: not a member of the tenant,
    and `home`: the tenant or provider that a guest comes from. `address`: where the token was obtained from, empty when
    unsaid. `attributes`: what else was verified and policies may read, names sorted (a pipeline's `repository`, a
    cluster's `namespace`, a managed identity's `xms_mirid`).
    """

    principal: Principal
    display: str
    groups: frozenset[str]
    groups_at: int
    roles: frozenset[str]
    scopes: frozenset[str]
    client: str
    authentication: Authentication
    guest: bool
    issued_at: int
    expires_at: int
    token_id: str
    session: str = ""
    home: str = ""
    device: Device = Device()
    address: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
