"""What a cloud can be asked, and how it says no."""

from collections.abc import Sequence
from typing import Protocol

from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken
from remit.trust.things import Found, Thing


class CloudRefused(TrustBroken):
    """A cloud's answer was an error. `status`: of HTTP; `code`: the cloud's own word (`PERMISSION_DENIED`, …)."""

    def __init__(self, message: str, *, status: int = 0, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class Missing(CloudRefused):
    """There is no such thing, or not yet: what was just made takes a while until it is seen everywhere."""


class Conflict(CloudRefused):
    """It is there already, or somebody changed it meanwhile."""


class Throttled(CloudRefused):
    """Asked too often, or the cloud is not able to answer now. `after`: seconds that it asks to wait, 0 when unsaid."""

    def __init__(self, message: str, *, status: int = 0, code: str = "", after: float = 0.0) -> None:
        super().__init__(message, status=status, code=code)
        self.after = after


class Denied(CloudRefused):
    """Whoever asks may not. The message names the permission where the cloud does."""


class NotSetUp(TrustBroken):
    """Nothing is broken: by remit.yaml itself it is not there yet. The hint says what to write."""


class Tokens(Protocol):
    """Who asks: an administrator, or Remit itself."""

    async def token(self, scope: str) -> AccessToken:
        """A token for `https://graph.microsoft.com`, `https://management.azure.com` or Google's cloud-platform scope.

        Raises `TrustBroken` with a hint on how to sign in.
        """


class Cloud(Protocol):
    """One cloud. All methods raise `TrustBroken`, and of it the classes above where the cloud says what is wrong."""

    @property
    def name(self) -> str:
        """`entra`, `google`, `azure` or `sql`: the first word of its kinds."""

    async def read(self, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """All that there is of what the trust is about: of what is wanted, and of what is not wanted but lies there.

        One that is wanted has the wanted address. `wanted` may hold references to ids that are not known yet: such a
        thing is there only when the cloud knows it by its address.
        """

    async def make(self, thing: Thing) -> Found:
        """Make it, once; one that is there already and is the same is answered. Every reference is resolved."""

    async def change(self, thing: Thing, found: Found) -> Found:
        """Make what is there as it is wanted, and only in the fields that differ."""

    async def remove(self, found: Found) -> None:
        """Remove it; nothing happens when it is not there."""
