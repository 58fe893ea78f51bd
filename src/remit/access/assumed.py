"""What is taken for true of somebody's circumstances when nobody asks for real.

Only what a request could come with can be supposed: words of closed forms. Leaves out who somebody is (`people`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.identity import Identity, Kind
from remit.model.job import NAME
from remit.model.lifetime import ENDING
from remit.model.reasons import Reason

RUN = "j-hypothetical"
"""The run that is supposed where only its name is: one that would begin now."""

_FORMS = {
    "contexts": (re.compile(r"c[1-9][0-9]?"), "`c1` to `c99`"),
    "methods": (re.compile(r"[A-Za-z0-9_.:-]{1,64}"), "a word as the provider says it, `mfa`"),
    "country": (re.compile(r"[A-Z]{2}|"), "two capital letters, `DE`"),
    "risk": (re.compile(r"|none|low|medium|high"), "`none`, `low`, `medium` or `high`"),
    "outlived": (re.compile("|".join(ENDING)), "one of " + ", ".join(f"`{name}`" for name in ENDING)),
    "job": (re.compile(r"[A-Za-z0-9._-]{0,64}"), "the id of a run"),
    "job_name": (re.compile(rf"({NAME.pattern})?"), "letters, digits, `.`, `_` and `-`, at most 63"),
}
"""What each may be, and how people are told so."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is taken for true of the circumstances; `None` and empty: as it was last, else as in a plain sign-in."""

    contexts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    country: str = ""
    peer: str = ""
    risk: str = ""
    compliant: bool | None = None
    managed: bool | None = None
    job: str = ""
    job_name: str = ""
    acts_as: str = ""
    outlived: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises `Refused` for a word that no request could come with: the policies would fail on it."""
        for name, (form, told) in _FORMS.items():
            value = getattr(self, name)
            for word in value if isinstance(value, tuple) else (value,):
                if not form.fullmatch(word):
                    raise _unlike(name, told)
        try:
            if self.peer:
                ip_address(self.peer)
        except ValueError:
            raise _unlike("peer", "one address, `192.0.2.7`") from None

    @property
    def told(self) -> Iterator[tuple[str, Any]]:
        """What was taken for true because it was asked so, by name."""
        for name in self.__slots__:
            value = getattr(self, name)
            if value not in {(), "", None}:
                yield name, list(value) if isinstance(value, tuple) else value


PLAIN = Assumed()


def supposing(identity: Identity, assumed: Assumed) -> Identity:
    """Somebody with the sign-in that is supposed."""
    authentication = replace(
        identity.authentication,
        contexts=identity.authentication.contexts | frozenset(assumed.contexts),
        methods=identity.authentication.methods | frozenset(assumed.methods),
    )
    device = replace(
        identity.device,
        compliant=identity.device.compliant if assumed.compliant is None else assumed.compliant,
        managed=identity.device.managed if assumed.managed is None else assumed.managed,
    )
    return replace(identity, authentication=authentication, device=device)


def overruling(circumstances: Circumstances, assumed: Assumed) -> Circumstances:
    """Observed circumstances with what is supposed in their place."""
    return replace(
        circumstances,
        country=assumed.country or circumstances.country,
        risk=assumed.risk or circumstances.risk,
        job=circumstances.job or (RUN if assumed.job_name else ""),
        job_name=assumed.job_name or circumstances.job_name,
        outlived=circumstances.outlived | frozenset(assumed.outlived),
    )


def unsaid(identity: Identity, circumstances: Circumstances) -> Iterator[tuple[str, Any]]:
    """What was taken for true because nobody said otherwise, by name."""
    if identity.principal.kind is Kind.PERSON:
        yield "contexts", sorted(identity.authentication.contexts)
        yield "methods", sorted(identity.authentication.methods)
        yield "compliant", identity.device.compliant
        yield "managed", identity.device.managed
    if identity.guest:
        yield "home", identity.home
    yield "country", circumstances.country
    yield "risk", circumstances.risk


def _unlike(name: str, told: str) -> Refused:
    return Refused(Reason.REQUEST_MALFORMED, f"`{name}` is nothing that a request could come with", hint=told)
