"""What identity needs to know of each issuer: plain values, checked by `settings`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntraIssuer:
    """One Entra tenant whose v2 access tokens are accepted.

    `tenant`: the tenant's id, lower case, never `common`; `audience`: the app id of Remit's registration;
    `clients`: app ids that may have obtained a token (`azp`), those of workloads included; `authority`:
    https URL without a trailing slash.
    """

    tenant: str
    audience: str
    clients: frozenset[str]
    authority: str = "https://login.microsoftonline.com"

    @property
    def issuer(self) -> str:
        """The exact value of `iss`, and the base of the discovery document's URL."""
        return f"{self.authority}/{self.tenant}/v2.0"
