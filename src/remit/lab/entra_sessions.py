"""People's sign-ins: how each was done, whether it still counts, and where its person sits.

Whether an account may sign in and since when its sessions count is the directory's word, asked each time that anything
is issued. People of other tenants are in no directory here and always may. Leaves out: the lifetime policies of
sessions.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import Group, User
from remit.lab.directory import Directory
from remit.lab.entra_challenge import CONTEXTS
from remit.lab.entra_errors import EntraError


@dataclass(frozen=True, slots=True)
class Session:
    """A person's sign-in. `at`: when it was done, seconds since the epoch; `methods`: `pwd`, `mfa`.

    `valid_from`: since when the account's sessions counted at that time, so that any later revocation shows.
    """

    user: User
    id: str
    methods: frozenset[str]
    at: int = 0
    valid_from: int = 0

    @property
    def contexts(self) -> frozenset[str]:
        """The authentication contexts that this sign-in satisfies."""
        return frozenset(context for context, method in CONTEXTS.items() if method in self.methods)


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody sits: the address that Entra sees, and the device (`states` as in `signin_state`)."""

    address: str = "127.0.0.1"
    device: str = ""
    states: tuple[str, ...] = ()


@dataclass(slots=True)
class Browser:
    """What the person does at a sign-in page when nobody is there to do it.

    `account`: who signs in where the client gives no hint, empty to show the page instead; `second_factor`: `approve`
    when it is demanded, `always`, or `refuse`; `decline`: whether the person cancels.
    """

    account: str = ""
    second_factor: str = "approve"
    decline: bool = False


@dataclass(slots=True)
class Sessions:
    """All sign-ins, in memory. `clock`: seconds since the epoch."""

    directory: Directory
    clock: Callable[[], float]
    browser: Browser = field(default_factory=Browser)
    _sessions: dict[str, Session] = field(default_factory=dict)
    _cookies: dict[str, str] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)

    def begin(self, user: User, methods: frozenset[str], *, session: str = "") -> Session:
        """Sign somebody in now, anew or once more in the session named; raises `EntraError`."""
        self.admit(user)
        since = self.directory.sessions_valid_from(user.oid) if _ours(user) else 0
        begun = Session(user, session or str(uuid.uuid4()), methods, int(self.clock()), since)
        self._sessions[begun.id] = begun
        return begun

    def find(self, session: str) -> Session | None:
        """The sign-in with this `sid`."""
        return self._sessions.get(session)

    def admit(self, user: User) -> None:
        """Raise `EntraError` unless the account may sign in."""
        if _ours(user) and not self.directory.enabled(user.oid):
            raise EntraError("invalid_grant", 50057, "The user account is disabled.")

    def require(self, session: Session, not_before: int = 0) -> None:
        """Raise `EntraError` unless the sign-in still gives tokens.

        `not_before`: what a claims challenge demands of a token's time; a sign-in that was revoked cannot give it.
        """
        self.admit(session.user)
        if _ours(session.user) and self.directory.sessions_valid_from(session.user.oid) > session.valid_from:
            raise EntraError(
                "interaction_required" if not_before > session.at else "invalid_grant",
                50173,
                "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might "
                "have changed or reset their password.",
                suberror="bad_token",
            )

    def groups(self, oid: str) -> tuple[Group, ...]:
        """Every group of a principal of Contoso."""
        return self.directory.groups_of(oid)

    def place(self, user: User) -> Place:
        """Where somebody sits now."""
        return self._places.get(user.oid, Place())

    def remember(self, session: Session) -> str:
        """The value of a browser's cookie that stands for a sign-in."""
        value = secrets.token_urlsafe(32)
        self._cookies[value] = session.id
        return value

    def remembered(self, cookie: str) -> Session | None:
        """The sign-in behind a browser's cookie, while it counts."""
        session = self._sessions.get(self._cookies.get(cookie, ""))
        try:
            if session:
                self.require(session)
        except EntraError:
            return None
        return session

    def forget(self, cookie: str) -> None:
        """Sign a browser out; tokens that it fetched live on."""
        self._cookies.pop(cookie, None)

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door: `browser` (members of `Browser`), `place` (`account`, and members of `Place`)."""
        return {"browser": self._set_browser, "place": self._set_place}

    def _set_browser(self, given: Mapping[str, Any]) -> None:
        self.browser = Browser(**given)

    def _set_place(self, given: Mapping[str, Any]) -> None:
        members = dict(given)
        user = contoso.person(members.pop("account"))
        if user is None:
            raise KeyError(given["account"])
        self._places[user.oid] = Place(**members | {"states": tuple(members.get("states", ()))})


def _ours(user: User) -> bool:
    return user.tenant == contoso.TENANT
