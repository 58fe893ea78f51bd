"""A short-lived credential, and the purpose it is asked for."""

from dataclasses import dataclass
from enum import StrEnum

from remit.model.secret import AccessToken


class Cloud(StrEnum):
    """Whose token a credential is."""

    GOOGLE = "google"
    AZURE = "azure"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a credential is for: it is the whole of its cache key besides the caller.

    `cloud`: who issues it; `account`: e-mail of the service account to impersonate, at Azure the client id of the
    application whose federated identity credential trusts Remit; `scopes`: OAuth scopes, sorted;
    `buckets`: when not empty, the token is narrowed to these Cloud Storage buckets, or to what lies below a prefix of
    one (`BUCKET/PREFIX/`), and good for nothing else;
    `lifetime`: seconds asked for, 300 to 3600; `audience`: when not empty, no cloud is asked: the credential is Remit's
    own assertion of who the caller is, for this audience and nobody else, and account and scopes are empty.
    """

    account: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...] = ()
    lifetime: int = 900
    audience: str = ""
    cloud: Cloud = Cloud.GOOGLE


@dataclass(frozen=True, slots=True)
class Credential:
    """A token obtained for one principal and one purpose. `expires_at`: seconds since the epoch."""

    token: AccessToken
    expires_at: int
    account: str
    scopes: tuple[str, ...]
