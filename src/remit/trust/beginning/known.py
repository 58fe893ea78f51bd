"""What only people know of an estate that exists already: where to look, and which role works as which account."""

from collections.abc import Mapping

from remit.model.estate import Estate, Project
from remit.trust.beginning.answers import QUESTIONS, Question
from remit.trust.settings import Applications, AzureClient, StorageAccount, TrustSettings
from remit.trust.settings import Mapping as Works

_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PROJECT = r"[a-z][a-z0-9-]{4,28}[a-z0-9]"
_ACCOUNT = rf"[a-z][a-z0-9-]{{4,28}}[a-z0-9]@{_PROJECT}\.iam\.gserviceaccount\.com"
_IAM = "//iam.googleapis.com/"

_SHARED = ("tenant", "location", "managed-identity", "administrator")
ESTATE = (
    Question(
        "from-clouds",
        "describe an estate: the full name of its provider at Google",
        r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+",
        "`projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`",
        shape="PROVIDER",
    ),
    Question(
        "in",
        "a project, and its environment",
        rf"[a-z][a-z0-9-]{{0,31}}={_PROJECT}",
        "`ENVIRONMENT=PROJECT`",
        many=True,
        shape="ENVIRONMENT=PROJECT",
    ),
    Question(
        "works",
        "a role, and the service account that it works as",
        rf"[!-<>-~]{{1,120}}={_ACCOUNT}",
        "`ROLE=ACCOUNT`",
        many=True,
        shape="ROLE=ACCOUNT",
    ),
    Question("reviewer", "the service account that reads IAM policies", _ACCOUNT, "its e-mail address"),
    Question(
        "opens",
        "an application whose tokens open containers",
        rf"{_PROJECT}/[!-<>-~]{{1,120}}={_GUID}",
        "`PROJECT/ROLE=APPLICATION`",
        many=True,
        shape="PROJECT/ROLE=APP",
        needed=False,
    ),
    Question(
        "container",
        "a container of Azure Blob Storage, and whose it is",
        rf"{_PROJECT}=[a-z0-9]{{3,24}}/[a-z0-9](-?[a-z0-9]){{2,62}}",
        "`PROJECT=ACCOUNT/CONTAINER`",
        many=True,
        shape="PROJECT=PATH",
        needed=False,
    ),
    Question(
        "storage",
        "where a storage account lies in Azure",
        rf"[a-z0-9]{{3,24}}={_GUID}/[A-Za-z0-9_().-]{{0,89}}[A-Za-z0-9_()-]",
        "`ACCOUNT=SUBSCRIPTION/GROUP`",
        many=True,
        shape="ACCOUNT=PLACE",
        needed=False,
    ),
    *(question for question in QUESTIONS if question.name in _SHARED),
)
"""The questions for an estate that exists."""


def known(given: Mapping[str, tuple[str, ...]]) -> TrustSettings:
    """The answers as settings that wait to be completed; projects' numbers and buckets are looked up."""
    tenant = given["tenant"][0]
    pairs = {name: [one.split("=", 1) for one in given.get(name, ())] for name in ("opens", "container", "storage")}
    containers = {
        project: tuple(one for other, one in pairs["container"] if other == project)
        for project, _ in pairs["container"]
    }
    location = (given.get("location") or ("us-central1",))[0]
    projects = (
        Project(name, "", environment, (location,), containers=containers.get(name, ()))
        for environment, _, name in (one.partition("=") for one in given["in"])
    )
    return TrustSettings(
        issuer=f"https://login.microsoftonline.com/{tenant}/v2.0",
        tenant=tenant,
        application="",
        provider=f"{_IAM}{given['from-clouds'][0]}",
        reviewer=given["reviewer"][0],
        mappings=tuple(map(_works, given["works"])),
        estate=Estate(tuple(projects)),
        applications=Applications("", (), "", "", given["managed-identity"][0]),
        azure=tuple(
            AzureClient(name, client, (), containers.get(name.partition("/")[0], ()), write=False)
            for name, client in pairs["opens"]
        ),
        storage=tuple(StorageAccount(name, *place.split("/", 1)) for name, place in pairs["storage"]),
        administrators=given["administrator"][:1],
    )


def _works(text: str) -> Works:
    role, _, account = text.rpartition("=")
    return Works(role, account.partition("@")[2].partition(".")[0], account)
