"""Whether a provider admits Remit alone. Nothing is guessed: a condition is one of two texts, or it is not.

CEL has more ways to say yes than a comparison of texts could see through, and so every other condition is unsafe.
"""

import re

from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Fields, Ref

OWN = 'assertion.kind in ["person", "workload"] && assertion.sub.startsWith(assertion.tenant + "/")'
"""Of the provider of Remit's own issuer, whose every token Remit issued for this."""
_EQUALS = re.compile(r"\s*==\s*")


def admits_only_remit(fields: Fields, settings: TrustSettings, given: str = "") -> bool:
    """Whether a provider takes tokens of Entra that Remit's application asked for, or tokens of Remit's own issuer.

    `given`: the app id that Entra has given to Remit and the file does not hold yet.
    """
    issuer, condition = fields.get("issuer"), str(fields.get("condition") or "")
    if issuer == settings.issuer:
        return bool(issuer) and _terms(condition) in _pinned(settings, given)
    return bool(issuer) and issuer == settings.own_issuer and condition == OWN


def _pinned(settings: TrustSettings, given: str) -> list[list[str]]:
    """The application by its id, and by what stands for it until Entra has given one."""
    asked = (settings.application, given, str(Ref(Address("entra.application", "remit"), "appId")))
    tenant = f'assertion.tid == "{settings.tenant}"'
    return [sorted([f'assertion.azp == "{one}"', tenant]) for one in asked if one and settings.tenant]


def _terms(condition: str) -> list[str]:
    return sorted(_EQUALS.sub(" == ", term.strip()).replace("'", '"') for term in condition.split("&&"))
