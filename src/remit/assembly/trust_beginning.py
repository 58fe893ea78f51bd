"""Reading an estate that exists, to write the remit.yaml that describes it."""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

import httpx

from remit.credentials.hop import cloud_client
from remit.model.errors import TrustBroken
from remit.model.estate import Estate, Project
from remit.trust.beginning.complete import Described, completed, recognised, second_audience
from remit.trust.clouds import azure, entra, google
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.port import Cloud, Tokens
from remit.trust.desired import wanted
from remit.trust.planning.reading import read
from remit.trust.settings import TrustSettings
from remit.trust.things import Address, Found, Thing

_ROUNDS = 6  # a reading finds what the next one looks at; three are enough for Contoso
_PAGES = 100
_SECOND = Address("entra.application", "remit-google")


async def described(known: TrustSettings, tokens: Tokens) -> Described:
    """Everything that the clouds hold, as settings; raises `TrustBroken`."""
    async with cloud_client() as client:
        ask = Asking(client, tokens, google.SCOPE)
        known = replace(known, estate=await _estate(ask, known.estate))
        found: Sequence[Found] = await google.Google(ask, known).read(_provider(known))
        settings, second = recognised(known, found), second_audience(known, found)
        for _ in range(_ROUNDS):
            found = await read(_clouds(client, tokens, settings), _things(settings, second))
            described = completed(settings, found)
            if described.settings == settings:
                return described
            settings = described.settings
    raise TrustBroken("what the clouds hold changes while it is read", hint="run it again")


def _clouds(client: httpx.AsyncClient, tokens: Tokens, settings: TrustSettings) -> tuple[Cloud, ...]:
    return (
        entra.Entra(client, tokens),
        google.Google(Asking(client, tokens, google.SCOPE), settings),
        *((azure.Azure(Asking(client, tokens, azure.SCOPE), settings),) if settings.storage else ()),
    )


def _provider(known: TrustSettings) -> list[Thing]:
    return [
        Thing(Address("google.pool", known.pool), {}),
        Thing(Address("google.provider", known.provider.removeprefix("//iam.googleapis.com/")), {}),
    ]


def _things(settings: TrustSettings, second: str) -> list[Thing]:
    """What would be wanted; the policy has no say in what there is, and the second audience is known by its id.

    Whom the managed identity trusts is none of a file's words, and left to the plan.
    """
    things = [one for one in wanted(settings, lambda _email, _project: ()) if one.address.kind != "azure.identity"]
    return [
        replace(thing, fields={**thing.fields, "appId": second}) if thing.address == _SECOND else thing
        for thing in things
    ]


async def _estate(ask: Asking, estate: Estate) -> Estate:
    return replace(estate, projects=tuple([await _project(ask, project) for project in estate.projects]))


async def _project(ask: Asking, project: Project) -> Project:
    """The project with its number, as Resource Manager tells it, and its buckets, as Storage lists them."""
    answer = await ask("GET", f"https://cloudresourcemanager.googleapis.com/v1/projects/{project.id}")
    buckets: list[str] = []
    page = ""
    for _ in range(_PAGES):
        more = f"&pageToken={quote(page, safe='')}" if page else ""
        listed = await ask("GET", f"https://storage.googleapis.com/storage/v1/b?project={project.id}{more}")
        buckets += [str(one["name"]) for one in listed.get("items", ())]
        page = str(listed.get("nextPageToken", ""))
        if not page:
            return replace(project, number=str(answer["projectNumber"]), buckets=tuple(buckets))
    raise TrustBroken(f"the list of buckets of `{project.id}` does not end")
