"""A scratch cycle at each cloud: something that opens nothing is made, read and removed, as an apply would do it.

At Entra an application `remit-doctor-…` with a federated credential that trusts an issuer that nobody has (RFC 2606),
at Google a custom role that is bound to nobody. Both are removed however the cycle ends, and what an earlier one left,
which was killed, before it begins. Azure has nothing that could be made without opening something.
"""

import hashlib
import platform
import secrets
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import httpx

from remit.assembly.doctor_checks import Check, State
from remit.model.errors import TrustBroken
from remit.trust.applying.patience import Patience, Tell
from remit.trust.clouds import entra, google
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE as GRAPH
from remit.trust.clouds.port import Cloud, CloudRefused, Missing, Tokens
from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Fields, Found, Thing

_PART = "changes"
_ROLE = "remit_doctor_"
_WAIT = 120.0  # seconds in all until what was made is seen
_DELETED = "https://graph.microsoft.com/v1.0/directory/deletedItems"


class Scratch:
    """The cycles of one installation. `place`: its file, of which the application's name is made."""

    def __init__(
        self, client: httpx.AsyncClient, tokens: Tokens, trust: TrustSettings, place: Path, tell: Tell
    ) -> None:
        self._entra = entra.Entra(client, tokens)
        self._google = google.Google(Asking(client, tokens, google.SCOPE), trust)
        self._graph = Asking(client, tokens, GRAPH)
        self._trust = trust
        self._name = f"doctor-{hashlib.sha256(f'{platform.node()} {place}'.encode()).hexdigest()[:8]}"
        self._patience = Patience(tell, limit=_WAIT)

    async def __call__(self) -> AsyncIterator[Check]:
        """Each cycle as it ends."""
        yield await self._at_entra()
        for project in self._trust.estate.projects[:1]:
            yield await self._at_google(project.id)

    async def _at_entra(self) -> Check:
        application = Thing(Address("entra.application", self._name), {"displayName": f"remit-{self._name}"})
        federation = Thing(
            Address("entra.federation", f"{self._name}/remit-doctor"),
            {
                "application": self._name,
                "issuer": "https://remit-doctor.invalid",
                "subject": "nobody",
                "audience": "api://AzureADTokenExchange",
            },
        )
        things = (application, federation)
        said = f"an application `remit-{self._name}` and a federated credential were made, read and removed"
        cure = "`remit trust plan --needs` lists what an apply needs, each with what it is for"
        return await self._cycle("at Entra", self._entra, things, said, cure)

    async def _at_google(self, project: str) -> Check:
        name = f"projects/{project}/roles/{_ROLE}{secrets.token_hex(4)}"
        fields: Fields = {"title": "Remit doctor", "permissions": ("resourcemanager.projects.get",), "stage": "GA"}
        short = name.rpartition("/")[2]
        said = f"a custom role `{short}` in {project} was made, read and removed (Google keeps it for 7 days)"
        cure = f"`gcloud projects add-iam-policy-binding {project} --member=user:YOU --role=roles/iam.roleAdmin`"
        things = (Thing(Address("google.role", name), fields),)
        return await self._cycle("at Google", self._google, things, said, cure)

    async def _cycle(self, name: str, cloud: Cloud, things: Sequence[Thing], said: str, cure: str) -> Check:
        trouble = ""
        try:
            await self._sweep(cloud, things)
            for thing in things:
                await self._patience(cloud.name, partial(cloud.make, thing), lagging=True)
            await self._patience(cloud.name, lambda: _seen(cloud, things), lagging=True)
        except TrustBroken as broken:
            trouble = broken.message
        finally:
            left = await self._removed(cloud, things)
        if left:
            return Check(
                _PART, name, State.FAIL, f"{trouble or 'made and read'}; not removed: {left}", "remove it by hand"
            )
        if trouble:
            return Check(_PART, name, State.FAIL, trouble, cure)
        return Check(_PART, name, State.PASS, said)

    async def _sweep(self, cloud: Cloud, things: Sequence[Thing]) -> None:
        """Removes what a cycle that was killed has left."""
        for found in reversed([one for one in await cloud.read(things) if _scratch(one, things)]):
            await self._remove(cloud, found)

    async def _removed(self, cloud: Cloud, things: Sequence[Thing]) -> str:
        """Removes all of it; what is left, and why, empty when nothing is."""
        try:
            await self._sweep(cloud, things)
        except TrustBroken as broken:
            return broken.message
        return ""

    async def _remove(self, cloud: Cloud, found: Found) -> None:
        await cloud.remove(found)
        if found.address.kind == "entra.application":
            try:  # Entra would keep it among what was deleted for 30 days
                await self._patience(
                    "entra", lambda: self._graph("DELETE", f"{_DELETED}/{found.ids['id']}"), lagging=True
                )
            except CloudRefused:
                return


def _scratch(found: Found, things: Sequence[Thing]) -> bool:
    """Whether something is of a doctor's making: nothing else is ever removed."""
    own = any(found.address == thing.address for thing in things)
    return own or (found.address.kind == "google.role" and found.address.name.rpartition("/")[2].startswith(_ROLE))


async def _seen(cloud: Cloud, things: Sequence[Thing]) -> None:
    """Raises `Missing` until everything can be read."""
    there = {found.address for found in await cloud.read(things)}
    for thing in things:
        if thing.address not in there:
            raise Missing(f"`{thing.address}` was made and is not seen")
