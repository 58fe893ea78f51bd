"""What credentials needs to know: plain values, checked by `settings`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AccountMapping:
    """Who holds `role` (an app role's value) runs as `account` (an e-mail) in `project` (an id)."""

    role: str
    project: str
    account: str


@dataclass(frozen=True, slots=True)
class AzureLine:
    """Who holds `role` is given tokens of the application `client` (an app id), when all that it lists is permitted.

    `project`: an id; `subject`: `sub` of what the application's federated identity credential trusts; `services`: which
    tokens there are of it (`storage`, `postgresql`, `sql`); `access`: to `containers` (`ACCOUNT/CONTAINER[/PREFIX/]`);
    `databases`: names. A token cannot be narrowed, so that this is all that its role assignments at Azure may open.
    """

    role: str
    project: str
    client: str
    subject: str
    services: tuple[str, ...] = ("storage",)
    access: Literal["read", "write"] = "read"
    containers: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CredentialSettings:
    """The ways from an identity to Google and to Azure.

    `tenant`: Entra's tenant id; `application`: app id of Remit's confidential application, which has no secret;
    `scope`: the second audience, `api://remit-google/.default`; `managed_identity`: client id of the managed
    identity whose tokens the application's federated credential accepts; `provider`: full resource name,
    `//iam.googleapis.com/projects/N/locations/global/workloadIdentityPools/P/providers/X`; `mappings`: the first
    that fits counts; `hop_timeout`: seconds for one call, all of it; `lifetime`: seconds asked for, 360 to 900.

    For whoever Entra exchanges nothing on behalf of, all empty where nobody of them may come: `own_issuer`: URL of
    Remit's own issuer (https, no slash at the end); `own_provider`: full resource name of the provider that trusts it,
    of the same pool; `own_groups`: ids of the groups that Google's IAM bindings name, empty to tell Google all.
    `azure`: lines for tokens of Azure's, of which the first that is permitted as a whole counts.
    """

    tenant: str
    application: str
    scope: str
    managed_identity: str
    provider: str
    mappings: tuple[AccountMapping, ...]
    hop_timeout: float = 5.0
    lifetime: int = 900
    own_issuer: str = ""
    own_provider: str = ""
    own_groups: frozenset[str] = frozenset()
    azure: tuple[AzureLine, ...] = ()
