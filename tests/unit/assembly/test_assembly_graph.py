"""Remit's own token for the directory: kept, and given up when the directory does not believe it."""

import asyncio
from dataclasses import dataclass, field

from remit.assembly.graph import ApplicationToken
from remit.credentials.hop import Token
from remit.model.secret import AccessToken


@dataclass
class Hops:
    """Entra and the machine's identity, as far as a token for Graph needs them."""

    given: list[str] = field(default_factory=list)

    @property
    def identity(self):
        return self

    @property
    def entra(self):
        return self

    async def assertion(self):
        return Token(AccessToken("assertion"), 3600.0)

    async def own(self, assertion, scope):
        assert (assertion.reveal(), scope) == ("assertion", "https://graph.microsoft.com/.default")
        self.given.append(f"token {len(self.given)}")
        return Token(AccessToken(self.given[-1]), 3600.0)


def test_a_token_that_the_directory_does_not_believe_is_fetched_anew_once_a_minute():
    hops, now = Hops(), [1000.0]

    async def story():
        token = ApplicationToken(hops, clock=lambda: now[0])
        first = await token()
        assert (await token()).reveal() == first.reveal() == "token 0"
        assert token.drop(first) is True
        second = await token()
        assert second.reveal() == "token 1"
        # a moment later: it is not the token
        now[0] += 59
        assert token.drop(second) is False
        assert (await token()).reveal() == "token 1"
        now[0] += 2
        # somebody was late to refuse the old one: the new one stays
        assert token.drop(first) is True
        assert (await token()).reveal() == "token 1"

    asyncio.run(story())
    assert hops.given == ["token 0", "token 1"]
