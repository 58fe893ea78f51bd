"""How long each hop between a sign-in and a cloud lasts, as data: every figure with the page that it comes from.

What Remit renews by asking again for a decision is no end, as long as whoever began the work may still do it. Ends are
what only a person, or nobody, can renew: the sign-in where the tenant bounds it, a grant, the run of a pipeline.
Leaves out which of them is too short for what work (`model.lifetime`), and the renewing itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from remit.model.identity import Identity, Kind
from remit.model.lifetime import GRANT, SESSION, SIGN_IN, WORKFLOW, Hop, Place, Rests

_HOUR, _DAY = 3600, 86_400

_SESSION_PAGE = "https://learn.microsoft.com/entra/identity/conditional-access/concept-session-lifetime"
_REFRESH_PAGE = "https://learn.microsoft.com/entra/identity-platform/refresh-tokens"
_CAE_PAGE = "https://learn.microsoft.com/entra/identity/conditional-access/concept-continuous-access-evaluation"
_ACCESS_PAGE = "https://learn.microsoft.com/entra/identity-platform/access-tokens"
_GITHUB_PAGE = "https://docs.github.com/en/actions/reference/limits"
_FEDERATION_PAGE = "https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token"
_SUBJECT_PAGE = "https://cloud.google.com/iam/docs/workload-identity-federation"
_IMPERSONATION_PAGE = (
    "https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken"
)
_DOWNSCOPE_PAGE = "https://cloud.google.com/iam/docs/downscoping-short-lived-credentials"
_UPLOAD_PAGE = "https://cloud.google.com/storage/docs/resumable-uploads"
_SAS_PAGE = "https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key"
_LOGIN_PAGE = "https://learn.microsoft.com/azure/postgresql/flexible-server/security-entra-concepts"
_VERTEX_PAGE = "https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec"

_RENEWED = {
    Place.RUN: (
        Hop(
            "subject-token",
            _DAY,
            renews=True,
            why="google takes no subject token that was issued more than 24 hours ago: an older one is renewed first",
            source=_SUBJECT_PAGE,
        ),
        Hop(
            "federation",
            _HOUR,
            renews=True,
            why="google's token service gives a federated token for an hour at the most",
            source=_FEDERATION_PAGE,
        ),
        Hop(
            "impersonation",
            _HOUR,
            renews=True,
            why="a service account's token lives for an hour at the most, up to 12 where the organisation policy "
            "`constraints/iam.allowServiceAccountCredentialLifetimeExtension` lists the account",
            source=_IMPERSONATION_PAGE,
        ),
    ),
    Place.CLOUD: (
        Hop(
            "metadata",
            _HOUR,
            renews=True,
            why="the job's own service account gets its tokens from the metadata server beside it, for an hour each",
            source="https://cloud.google.com/compute/docs/access/authenticate-workloads",
        ),
    ),
}
_DATA = (
    Hop(
        "upload-session",
        7 * _DAY,
        renews=True,
        why="one resumable upload to cloud storage goes on for a week at the most; the next one begins a new session",
        change="write checkpoints as objects of their own",
        source=_UPLOAD_PAGE,
    ),
    Hop(
        "sas",
        7 * _DAY,
        renews=True,
        why="the key behind a user delegation sas lives for seven days; remit hands out none, but tokens that renew",
        change="read blobs with a token: `remit.Credential`",
        source=_SAS_PAGE,
    ),
    Hop(
        "database-login",
        _HOUR,
        renews=True,
        why="a token is a database's password when a connection begins, and is not looked at again while it lasts",
        change="let the pool renew: `remit.database.attach`",
        source=_LOGIN_PAGE,
    ),
)


@dataclass(frozen=True, slots=True)
class LifetimeSettings:
    """What only the estate knows, in seconds.

    `sign_in`: the sign-in frequency that conditional access demands of whoever signs in to Remit, 0 where no policy
    bounds it; `workflow`: for how long a job of a pipeline may run; `cloud_job`: of Vertex AI's jobs that set no end;
    `workflows`: `iss` of the pipelines' issuers; `tenant`: Entra's; `direct`: what a token for buckets is asked for.
    """

    sign_in: int = 0
    workflow: int = 6 * _HOUR
    cloud_job: int = 7 * _DAY
    workflows: frozenset[str] = frozenset()
    tenant: str = ""
    direct: int = 900


class Lifetimes:
    """The `Lifetimes` of the stories (`remit.access.lifetime`)."""

    def __init__(self, settings: LifetimeSettings) -> None:
        self._settings = settings

    @property
    def endless(self) -> int:
        """Seconds after which the cloud itself ends a job that sets no end."""
        return self._settings.cloud_job

    def hops(self, identity: Identity, place: Place, rests: Rests, now: int) -> Sequence[Hop]:
        """The hops that work of this caller depends on, from the sign-in to the data; `now`: seconds."""
        return (
            *(self._who(identity, now) if place is Place.RUN else ()),
            *_permitted(identity, place, rests, now),
            *_RENEWED[place],
            *(self._direct() if place is Place.RUN else ()),
            *(self._cloud_job() if place is Place.CLOUD else ()),
            *_DATA,
        )

    def _direct(self) -> Iterator[Hop]:
        lasts = self._settings.direct
        why = f"a token for buckets is asked for {_words(lasts)}, and then decided again"
        yield Hop("direct-token", lasts, renews=True, why=why, source=_DOWNSCOPE_PAGE)

    def _cloud_job(self) -> Iterator[Hop]:
        lasts = self._settings.cloud_job
        why = f"vertex ai ends a job after {_words(lasts)} unless its `timeout` says otherwise"
        yield Hop("cloud-job", lasts, renews=True, why=why, change="say when it ends: `timeout`", source=_VERTEX_PAGE)

    def _who(self, identity: Identity, now: int) -> Iterator[Hop]:
        """What the caller proves who they are with."""
        settings, principal = self._settings, identity.principal
        if principal.issuer in settings.workflows:
            yield Hop(
                WORKFLOW,
                max(0, identity.issued_at + settings.workflow - now),
                renews=False,
                why="a pipeline's token is given to its running job only, and the provider ends that job",
                change="launch the work at the cloud, where it has an identity of its own, or split it",
                source=_GITHUB_PAGE,
            )
            return
        if principal.kind is not Kind.PERSON:
            why = "a workload proves who it is by itself, again and again: a managed identity, a certificate, a cluster"
            yield Hop("workload", None, renews=True, why=why, source=_ACCESS_PAGE)
            return
        if principal.tenant != settings.tenant:
            why = "how long this provider lets somebody stay signed in, it tells nobody"
            yield Hop(SIGN_IN, None, renews=False, why=why, change="ask whoever runs the provider")
            return
        yield self._signed_in(identity, now)
        yield Hop(
            "refresh-token",
            90 * _DAY,
            renews=True,
            why="a refresh token is good for 90 days without use, and each use gives a new one",
            source=_REFRESH_PAGE,
        )
        yield Hop(
            "access-token",
            max(0, identity.expires_at - now),
            renews=True,
            why="a token for remit lives for about an hour, up to 28 hours with continuous access evaluation",
            source=_CAE_PAGE,
        )

    def _signed_in(self, identity: Identity, now: int) -> Hop:
        bound = self._settings.sign_in
        if not bound:
            why = "no sign-in frequency is set: whoever works stays signed in"
            return Hop(SIGN_IN, None, renews=True, why=why, source=_SESSION_PAGE)
        since = identity.authentication.at or identity.issued_at  # a token is never older than its sign-in
        return Hop(
            SIGN_IN,
            max(0, since + bound - now),
            renews=False,
            why=f"the tenant's sign-in frequency is {_words(bound)}: then only a person can sign in again",
            change="sign in again just before (`remit login`), run it as a workload, or have the frequency raised",
            source=_SESSION_PAGE,
        )


def _permitted(identity: Identity, place: Place, rests: Rests, now: int) -> Iterator[Hop]:
    """What the permit rests on: a fresh sign-in, as long as the work acts as the person, and grants."""
    if rests.session and place is Place.RUN and identity.principal.kind is Kind.PERSON:
        yield Hop(
            SESSION,
            max(0, rests.signed_in + rests.session - now) if rests.signed_in else 0,
            renews=False,
            why=f"the policy wants a sign-in of the last {_words(rests.session)} (`@session`), at every decision",
            change="sign in again just before: `remit login`",
        )
    if rests.grants:
        yield Hop(
            GRANT,
            max(0, rests.grants - now),
            renews=False,
            why="this is permitted by a grant, which ends",
            change="ask for a grant that lasts as long as the work: `remit request --for`",
        )


def _words(seconds: int) -> str:
    for unit, size in (("days", _DAY), ("hours", _HOUR), ("minutes", 60)):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds // size} {unit if seconds // size > 1 else unit[:-1]}"
    return f"{seconds} seconds"
