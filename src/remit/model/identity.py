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

    `issuer`: the issuer's URL as in `iss`; `tenant`: Entra's `tid`, lower case; `subject`: Entra's `oid`.
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
    `capabilities`: `xms_cc`, lower case (`cp1`: the client understands claims challenges).
    """

    methods: frozenset[str] = frozenset()
    contexts: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    """What one verified token says, complete or not at all.

    Times are seconds since the epoch. `groups` are object ids, complete (an overage that was not
    resolved never becomes an `Identity`); `groups_at` is when they were read. `client` is `azp`,
    `token_id` Entra's `uti`, `session` its `sid`.
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
