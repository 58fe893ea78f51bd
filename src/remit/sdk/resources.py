"""What a token can be had for, under its three names.

    remit's own            the broker's audience                                  Azure's resource or scope
    remit                  remit                                                  remit
    gs://PROJECT           //storage.googleapis.com/projects/PROJECT
    az://PROJECT           //blob.core.windows.net/projects/PROJECT               https://storage.azure.com
    postgresql://PROJECT   //ossrdbms-aad.database.windows.net/projects/PROJECT   https://ossrdbms-aad.database.windows.net
    sql://PROJECT          //database.windows.net/projects/PROJECT                https://database.windows.net

A token for one of them is good for nothing else. Leaves out who may have one: the arbiter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from remit.model.errors import RemitError

OWN = "remit"
NOTHING = "remit-reads-nothing-here"
"""What stands in a token's place where the protocol has no way to say that policy permits nothing."""
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")  # as the broker reads it
_ACCOUNT = re.compile(r"https://[a-z0-9]{3,24}\.blob\.core\.windows\.net")  # one account's own name for Blob Storage
_DEFAULT = "/.default"  # Entra's word for everything that was consented to
STORAGE = "//storage.googleapis.com/projects/"
BLOB = "//blob.core.windows.net/projects/"
POSTGRESQL = "//ossrdbms-aad.database.windows.net/projects/"
AZURE_SQL = "//database.windows.net/projects/"
_NAMES = {  # scheme: the broker's audience before a project's id, Azure's resource
    "gs": (STORAGE, ""),
    "az": (BLOB, "https://storage.azure.com"),
    "postgresql": (POSTGRESQL, "https://ossrdbms-aad.database.windows.net"),
    "sql": (AZURE_SQL, "https://database.windows.net"),
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that a token is good for. `scheme`: as above, or `remit`; `project`: empty for `remit`."""

    scheme: str
    project: str = ""

    @property
    def audience(self) -> str:
        """What the broker calls it."""
        return OWN if self.scheme == OWN else _NAMES[self.scheme][0] + self.project

    @property
    def azure(self) -> str:
        """What the sidecar's Azure forms call it, empty where they have no word for it."""
        return OWN if self.scheme == OWN else _NAMES[self.scheme][1]

    def __str__(self) -> str:
        return OWN if self.scheme == OWN else f"{self.scheme}://{self.project}"


def parse(text: str) -> Resource:
    """A resource as people write it; raises `RemitError` for what is none."""
    scheme, separator, project = text.partition("://")
    if text == OWN:
        return Resource(OWN)
    if separator and scheme in _NAMES and _PROJECT.fullmatch(project):
        return Resource(scheme, project)
    schemes = ", ".join(f"{name}://PROJECT" for name in _NAMES)
    raise RemitError(
        f"`{text}` is not a resource that a token can be had for", hint=f"name a project: {schemes}, or `{OWN}`"
    )


def scheme_of(scope: str) -> str:
    """What a scope of azure-core's is for: `remit` or a scheme.

    Raises `RemitError` for any other: a guess would hand out a token for something that nobody asked for.
    """
    name = scope.removesuffix(_DEFAULT).rstrip("/")
    for scheme, (_, azure) in {**_NAMES, OWN: ("", OWN)}.items():
        if azure and name == azure:
            return scheme
    if _ACCOUNT.fullmatch(name):
        return "az"
    known = ", ".join(f"`{azure}{_DEFAULT}`" for _, azure in _NAMES.values() if azure)
    raise RemitError(f"no token can be had for the scope `{scope}`", hint=f"ask for {known}, or `{OWN}`")


def project_of(wanted: str | None, environment: Mapping[str, str]) -> str:
    """The project that is meant; raises `RemitError` when none is named, or a run has another.

    A run has one project: its sidecar answers for that and for no other.
    """
    ambient = environment.get("GOOGLE_CLOUD_PROJECT", "")
    if wanted and ambient and environment.get("REMIT_JOB") and wanted != ambient:
        hint = f"start another: `remit run --project {wanted} -- …`"
        raise RemitError(f"this run is in `{ambient}`, and has no tokens for `{wanted}`", hint=hint)
    if not (project := wanted or ambient):
        raise RemitError("it is not said which project a token is for", hint="name it, or set `GOOGLE_CLOUD_PROJECT`")
    return project
