"""The signing keys of Remit's own issuer turn, and no exchange fails meanwhile.

1  stage     a new key, which signs nothing but a proof
2  publish   at Google's provider beside those that are there, where keys are uploaded to it
3  prove     Google takes a token that the new key signed
4  promote   every arbiter publishes it, and signs with it ten minutes later (`OwnKeys`)
5  retire    the old one, once everything that it signed has ended

Each run does what can be done now, so that one that was interrupted is followed by another. Where Google reads the keys
at the issuer, the new key has to be there before it can be proved, and is withdrawn when it cannot. Keys of others at
the provider are left alone. Leaves out: how keys are made and kept (`credentials.own_keys`). Source: cloud.google.com/
iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers, `oidc.jwksJson`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from remit.model.errors import HopFailed, TrustBroken
from remit.trust.applying.patience import Sleep, Tell
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google_names import IAM, safe
from remit.trust.clouds.google_operations import finished

PROPAGATION = 300.0  # seconds: half of what a new key waits before it signs
_LONGEST = 15.0  # seconds between two attempts
_MARGIN = 60.0  # seconds before it signs in which a key is no longer withdrawn, but demoted
_AGAIN = "run it again, or with `--rollback`"


class Key(Protocol):
    """One key."""

    @property
    def kid(self) -> str:
        """Its id."""

    @property
    def made(self) -> float:
        """Seconds since the epoch."""

    def jwk(self) -> dict[str, str]:
        """Its public half."""


K_co = TypeVar("K_co", bound=Key, covariant=True)


class Folder(Protocol[K_co]):
    """What `OwnKeys` is."""

    def published(self) -> tuple[K_co, ...]:
        """All that is published, the oldest first."""

    def signing(self) -> K_co:
        """What signs."""

    def staged(self) -> K_co | None:
        """What is to be published."""

    def stage(self) -> K_co:
        """The same, made where there is none."""

    def promote(self) -> None:
        """It is published, and will sign."""

    def unstage(self) -> None:
        """It is gone."""

    def demote(self, kid: str) -> None:
        """It signs no more."""

    def remove(self, kid: str) -> None:
        """It is published no more."""

    def ended(self) -> tuple[str, ...]:
        """Ids of what has signed nothing that still lives."""


class Uploaded:
    """The keys that were uploaded to a provider. `provider`: full resource name; `sleep`: seconds."""

    def __init__(self, ask: Asking, provider: str, *, sleep: Sleep = asyncio.sleep) -> None:
        self._ask = ask
        self._url = f"{IAM}/{safe(provider.removeprefix('//iam.googleapis.com/'))}"
        self._sleep = sleep

    async def read(self) -> list[dict[str, Any]] | None:
        """Those that are there, `None` where Google reads them at the issuer; raises `TrustBroken`."""
        document = await self._ask("GET", self._url)
        text = (document.get("oidc") or {}).get("jwksJson")
        if not text:
            return None
        try:
            keys = json.loads(str(text))["keys"]
            return [dict(key) for key in keys]
        except (ValueError, KeyError, TypeError) as cause:
            raise TrustBroken("the provider's uploaded keys cannot be understood") from cause

    async def write(self, keys: Collection[Mapping[str, Any]]) -> None:
        """Those and no others."""
        body = {"oidc": {"jwksJson": json.dumps({"keys": list(keys)})}}
        await finished(self._ask, await self._ask("PATCH", f"{self._url}?updateMask=oidc.jwksJson", body), self._sleep)


@dataclass(frozen=True, slots=True)
class Turned:
    """Where a rotation is, in ids of keys.

    `signs`: now; `newest`: soon; `retired`: ended now; `open`: another run must follow, `after`: seconds since the
    epoch, 0 for any time.
    """

    signs: str
    newest: str
    retired: tuple[str, ...]
    open: bool
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Turning:
    """A rotation, and what it works with.

    `prove`: Google takes a token that this key signs, or `HopFailed`; `signs_after`, `ends_after`: seconds from the
    making of a key until it signs, and from then until what others signed has ended; `wall`: seconds since the epoch.
    """

    keys: Folder[Any]
    uploaded: Uploaded
    prove: Callable[[Any], Awaitable[object]]
    signs_after: float
    ends_after: float
    wall: Callable[[], float]
    tell: Tell
    sleep: Sleep = asyncio.sleep

    async def turn(self) -> Turned:
        """Goes on with the rotation that is open, or begins one; raises `TrustBroken`."""
        at_google = await self.uploaded.read()
        ended = self.keys.ended()
        if ended:
            await self._retire(ended, at_google)
            at_google = await self.uploaded.read()
        if self.keys.staged() is not None or (len(self.keys.published()) == 1 and not ended):
            await self._renew(at_google)
        elif at_google is not None:
            await self._publish(at_google, self.keys.published())
        return self._now(ended)

    async def rollback(self) -> Turned:
        """The key that signed before signs on; raises `TrustBroken` when there is nothing to go back from."""
        at_google = await self.uploaded.read()
        staged = self.keys.staged()
        others, newest = self.keys.published()[:-1], self.keys.published()[-1]
        if staged is not None:
            self.keys.unstage()
            await self._drop({staged.kid}, at_google)
        elif not others:
            raise TrustBroken("no rotation of the keys is open")
        elif newest.made > self.wall() - self.signs_after + _MARGIN:
            self.keys.remove(newest.kid)  # it has signed nothing yet but a proof
            await self._drop({newest.kid}, at_google)
        else:
            self.keys.demote(newest.kid)  # what it signed is still alive
        self.tell(f"`{self.keys.signing().kid}` signs")
        return self._now(())

    async def _renew(self, at_google: list[dict[str, Any]] | None) -> None:
        key = self.keys.stage()
        if at_google is None:
            self.keys.promote()
            try:
                await self._proved(key)
            except TrustBroken:
                self.keys.remove(key.kid)
                raise
        else:
            await self._publish(at_google, (*self.keys.published(), key))
            await self._proved(key)
            self.keys.promote()
        self.tell(f"`{key.kid}` is published, and signs in {self.signs_after / 60:.0f} minutes")

    async def _proved(self, key: Key) -> None:
        waited, pause = 0.0, 1.0
        while True:
            try:
                await self.prove(key)
            except HopFailed as failed:
                if waited >= PROPAGATION:
                    said = f"google does not take the new key after {waited:.0f} s: {failed.message}"
                    raise TrustBroken(said, hint=_AGAIN) from failed
            else:
                self.tell("google takes the new key")
                return
            waited += pause
            self.tell(f"waiting for google to take the new key ({waited:.0f} s)")
            await self.sleep(pause)
            pause = min(pause * 2, _LONGEST)

    async def _retire(self, ended: tuple[str, ...], at_google: list[dict[str, Any]] | None) -> None:
        """At Google first: a file that is gone could not say any more which key is to go there."""
        await self._drop(set(ended), at_google)
        for kid in ended:
            self.keys.remove(kid)
            self.tell(f"`{kid}` is retired")

    async def _publish(self, at_google: list[dict[str, Any]], keys: Collection[Key]) -> None:
        there = {key.get("kid") for key in at_google}
        if missing := [key.jwk() for key in keys if key.kid not in there]:
            await self.uploaded.write([*at_google, *missing])

    async def _drop(self, kids: Collection[str], at_google: list[dict[str, Any]] | None) -> None:
        left = [key for key in at_google or () if key.get("kid") not in kids]
        if at_google is not None and len(left) < len(at_google):
            await self.uploaded.write(left)

    def _now(self, retired: tuple[str, ...]) -> Turned:
        keys = self.keys.published()
        newest, more = keys[-1], len(keys) > 1
        after = newest.made + self.signs_after + self.ends_after if more else 0.0
        return Turned(self.keys.signing().kid, newest.kid, retired, more, after)
