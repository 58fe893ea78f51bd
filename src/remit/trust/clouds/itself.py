"""The tokens of Remit itself: what it reads with when no person is there.

At Microsoft Graph as its application, at Resource Manager as its managed identity, at Google as the reviewing account.
How each comes about belongs to `credentials`, and assembly fits it.
"""

from collections.abc import Awaitable, Callable

from remit.model.errors import HopFailed, TrustBroken
from remit.model.secret import AccessToken

Source = Callable[[], Awaitable[AccessToken]]
"""A token, kept as long as it is good; raises `HopFailed` or `TrustBroken`."""

_HINT = "`remit trust verify` probes the hops one by one"


class Itself:
    """`graph`, `management`, `google`: a token for each."""

    def __init__(self, *, graph: Source, management: Source, google: Source) -> None:
        self._sources = {
            "https://graph.microsoft.com": graph,
            "https://management.azure.com": management,
            "https://www.googleapis.com": google,
        }

    async def token(self, scope: str) -> AccessToken:
        """A token for a scope of one of the three; raises `TrustBroken`."""
        source = next((one for start, one in self._sources.items() if scope.startswith(f"{start}/")), None)
        if source is None:
            raise TrustBroken(f"remit has no token for `{scope}`")
        try:
            return await source()
        except HopFailed as failed:
            raise TrustBroken(failed.message, hint=failed.hint or _HINT) from failed
