"""Entra's signing keys, one set for all tenants as in the real one: one that signs, the next one already published."""

from typing import Any

from remit.lab import contoso
from remit.lab.jwt import SigningKey, verify


class Keys:
    """The key set."""

    def __init__(self) -> None:
        self._published = [SigningKey(), SigningKey()]

    @property
    def signing(self) -> SigningKey:
        """The key that signs now."""
        return self._published[0]

    def public(self, issuer: str = contoso.ISSUER) -> list[dict[str, Any]]:
        """The key set's `keys`, as a tenant shows them."""
        return [key.public(issuer) for key in self._published]

    def rotate(self) -> None:
        """The planned turn: the published next key signs, the old one stays for the tokens that it signed."""
        old, following = self._published[:2]
        self._published = [following, SigningKey(), old]

    def replace(self) -> None:
        """The emergency: all keys go at once, and what they signed is void."""
        self._published = [SigningKey(), SigningKey()]

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that Entra signed; raises `BrokenTokenError`."""
        return verify(token, self.public())
