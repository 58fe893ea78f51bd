"""What the stories need from the other rooms. `None` means "not mine", an exception "mine, and broken"."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from remit.model.credential import Credential, Purpose
from remit.model.decision import Circumstances, Verdict
from remit.model.explanation import Explanation
from remit.model.grant import Grant, Kept
from remit.model.identity import Identity
from remit.model.inventory import Inventory
from remit.model.operation import Action, Request, Resource
from remit.model.record import Recorded, Value
from remit.model.secret import SessionSecret, UnverifiedToken
from remit.model.wire import Answered, UpstreamAnswer, WireRequest


class Authenticator(Protocol):
    """identity: who is asking."""

    async def authenticate(self, token: UnverifiedToken, now: int) -> Identity:
        """The identity that the token proves at `now` (seconds); raises `Refused`."""


class Sessions(Protocol):
    """identity: who is asking, when a browser's session asks."""

    async def authenticate(self, session: SessionSecret, now: int) -> tuple[Identity, UnverifiedToken | None]:
        """The identity that the session holds, and its token for Remit where the provider gave one.

        Raises `Refused`, with `SESSION_ENDED` when the session is over or the provider said no.
        """


class Revocations(Protocol):
    """identity: who no longer counts. A view in memory, which follows the database."""

    @property
    def epoch(self) -> int:
        """The number of the newest revocation in the view; it only grows."""

    def check(self, identity: Identity, job: str, now: int) -> None:
        """Raises `Refused` with `REVOKED`, `SignInAgain`, or `PLANE_UNAVAILABLE` when the view is too old to ask."""


class Observer(Protocol):
    """identity: what is true around the caller."""

    def observe(self, identity: Identity, circumstances: Circumstances) -> Circumstances:
        """The circumstances with country, named locations and risk filled in; what is unknown stays empty."""


class Classifier(Protocol):
    """catalogue: what is being asked."""

    def classify(self, wire: WireRequest) -> Request:
        """The operations that the request asks for; raises `Refused` for what is not known or not clear."""

    def stamp(self, wire: WireRequest, labels: Mapping[str, str]) -> bytes:
        """The body of a request that is `stampable`, with these labels added to what it creates, in its own framing."""

    def answered(self, host: str, answer: UpstreamAnswer) -> Answered:
        """What an upstream's answer says: the canonical name of what came into being, the cause of a refusal."""


class Works(Protocol):
    """audit: what was started, and by whom."""

    async def owners(self, names: Collection[str]) -> Mapping[str, str]:
        """The principal key of whoever started each of these (canonical names); the unknown are left out.

        Raises `Refused` when that cannot be looked up.
        """

    async def started(self, name: str, principal: str, decision: str, at: int) -> None:
        """Writes down who started something, for good; raises `NotRecorded`.

        The first word counts until somebody else starts a thing of the same name: then it is nobody's.
        """


class Judge(Protocol):
    """policy: may they."""

    def decide(self, identity: Identity, request: Request, circumstances: Circumstances) -> Verdict:
        """The verdict on all operations together; never raises for a policy's own fault, which is a deny."""


class Grants(Protocol):
    """grants: what was granted just in time. A view in memory, which follows the database."""

    def in_force(self, principal: str, job: str, now: int) -> tuple[Grant, ...]:
        """Of a principal (`Principal.key`), in this run or in none (empty), at `now` (seconds).

        None when the view is too old to ask: what is not known to be granted is not.
        """


class Waiting(Protocol):
    """grants: what was granted for a run that has not begun."""

    async def waiting(self, principal: str, name: str, now: int) -> Sequence[Kept]:
        """To a principal (`Principal.key`), for the next run of this name, at `now` (seconds); raises `Refused`."""


class Memberships(Protocol):
    """audit: the groups and roles that decisions are taken on."""

    async def keep(self, identity: Identity) -> None:
        """Makes them durable, before a record names them by their digest; raises `NotRecorded`."""


class Explainer(Protocol):
    """policy: why, and what would change it."""

    def explain(
        self, identity: Identity, request: Request, circumstances: Circumstances, version: str
    ) -> Explanation | None:
        """What the policies of a version say; `None` when that version is not kept. Blocks."""


class Directory(Protocol):
    """identity: everybody who could ask, as the directory last told it."""

    def inventory(self) -> Inventory:
        """Accounts, groups and roles; raises `Refused` when nothing is known. Blocks."""


class Words(Protocol):
    """catalogue: what people mean by a word."""

    def action(self, word: str) -> Action:
        """A method by its id or an end of it that only one has (`endpoints.predict`), or a whole action group.

        A group is an `Action` with the group's own name as its id. Raises `Refused` with `METHOD_UNKNOWN`, whose hint
        names what comes near.
        """

    def resource(self, word: str) -> Resource:
        """A resource by its canonical name or Google's relative one, a project by its id.

        `gs://BUCKET`, an account's e-mail address and a service's name will do too. Raises `Refused` with
        `RESOURCE_UNKNOWN`, and with `REQUEST_MALFORMED` for a part of a resource.
        """

    def part(self, word: str) -> tuple[Resource, str]:
        """Likewise, or a part of a bucket or a container (`gs://BUCKET/PREFIX/`), with its prefix: empty for a whole.

        Raises `Refused` with `RESOURCE_UNKNOWN`, and with `REQUEST_MALFORMED` for what is no prefix.
        """


class Recorder(Protocol):
    """audit: what happened."""

    async def record(self, entry: Mapping[str, Value]) -> Recorded:
        """Makes the entry durable before it returns; raises `NotRecorded`."""


class Obtainer(Protocol):
    """credentials: with what."""

    def purpose(self, identity: Identity, request: Request) -> Purpose:
        """The account and scopes that a permitted request runs with; raises `Refused` when none is mapped."""

    async def obtain(self, identity: Identity, token: UnverifiedToken | None, purpose: Purpose) -> Credential:
        """A credential with at least five minutes left; raises `HopFailed`. `token`: the caller's own, if any."""
