"""What the trust is about, out of remit.yaml."""

from dataclasses import dataclass

from remit.model.estate import Estate


@dataclass(frozen=True, slots=True)
class Mapping:
    """People and workloads with `role` work in `project` as `account`."""

    role: str
    project: str
    account: str


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """What must agree.

    `issuer`: Entra's issuer URL; `application`: Remit's own app id;
    `reviewer`: e-mail of the account that reads IAM policies;
    `provider`: `//iam.googleapis.com/projects/N/locations/global/workloadIdentityPools/P/providers/X`.
    """

    issuer: str
    tenant: str
    application: str
    provider: str
    reviewer: str
    mappings: tuple[Mapping, ...]
    estate: Estate
