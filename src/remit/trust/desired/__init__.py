"""What the clouds must hold, out of remit.yaml: a file for each cloud, and what no cloud takes. Pure: nothing asks."""

from collections.abc import Callable

from remit.trust.desired.azure import azure
from remit.trust.desired.entra import entra
from remit.trust.desired.google import google
from remit.trust.desired.identity import identity
from remit.trust.desired.sql import sql
from remit.trust.settings import TrustSettings
from remit.trust.things import Thing

__all__ = ["wanted"]


def wanted(settings: TrustSettings, permitted: Callable[[str, str], tuple[str, ...]]) -> tuple[Thing, ...]:
    """Every thing that a cloud must hold, of all of them.

    `permitted`: e-mail of a service account and project → IAM permissions of all that the policy lets those do who
    work there as it. Raises `TrustBroken` where a custom role would hold more than one can.
    """
    return (*entra(settings), *google(settings, permitted), *azure(settings), *identity(settings), *sql(settings))
