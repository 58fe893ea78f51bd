"""What Remit's managed identity must hold: nothing. It is looked up, so that whom it trusts is told. Pure."""

from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Ref, Thing

_PRINCIPAL = Address("entra.principal", "managed-identity")


def identity(settings: TrustSettings) -> tuple[Thing, ...]:
    """The identity, where Microsoft Graph says that it lies."""
    if settings.applications is None:
        return ()
    says = "what Remit proves itself with: whomever it trusts is Remit"
    address = Address("azure.identity", "remit")
    return (Thing(address, {"resource": Ref(_PRINCIPAL, "resource")}, says=says, given=True),)
