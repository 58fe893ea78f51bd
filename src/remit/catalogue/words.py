"""What people mean by a word: an action by its end, a resource by the name that it goes by.

For questions about the policy (`remit can`, `who`, `request`), which no wire form carries. A word that means two things
means none, and the refusal names what comes near. Leaves out wire forms (`classifier`), which never guess.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache

from remit.catalogue import blob, databases
from remit.catalogue.listing import actions
from remit.catalogue.methods import NEIGHBOURS, PROJECTS, vertex
from remit.catalogue.names import Names, project_resource, shown
from remit.catalogue.services import place
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import INSTALLATION, Action, Group, Resource
from remit.model.prefixes import LONGEST, is_prefix
from remit.model.reasons import Reason

_MOST = 5  # words in a hint
_LONGEST = 1024  # characters of a word: as of a resource's name
_STORES = {"gs": 1, "az": 2}  # parts of the name before a prefix: the bucket, or the account and the container
_REMITS_NAME = "//remit/projects/"
_DATABASE_NAME = re.compile(r"//remit/projects/[^/]+/databases/([^/]+)(?:/roles/([^/]+))?")
_ACCOUNT_NAME = "//iam.googleapis.com/projects/-/serviceAccounts/"


class Words:
    """Implements `access.ports.Words` for one estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._names = Names(estate)

    def action(self, word: str) -> Action:
        """A method by its id or an end of it that only one has, or a whole group; raises `Refused`."""
        if word in set(Group):
            return Action(word, Group(word))
        known = actions()
        if word in known:
            return _action(word)
        ends = sorted(
            name for name in _asked() if word and len(word) <= _LONGEST and name.endswith((f".{word}", f"/{word}"))
        )
        own = [name for name in ends if "." not in word or name.count(".") == min(one.count(".") for one in ends)]
        if len(own) == 1:  # the shortest is the thing's own: `endpoints.predict`, and not a publisher's
            return _action(own[0])
        hint = f"say which: {_listed(own)}" if own else _near(word, known)
        said = "can mean several methods" if own else "is no method that Remit knows, and no group of them"
        raise Refused(Reason.METHOD_UNKNOWN, f"{shown(word)} {said}", hint=hint)

    def resource(self, word: str) -> Resource:
        """A resource by its canonical name, Google's relative one, or what it is called for short; raises `Refused`."""
        found, prefix = self.part(word)
        if prefix:
            hint = f"name all of it: {shown(word.removesuffix(f'/{prefix}'))}"
            said = f"{shown(word)} is a part, and here only all of it can be meant"
            raise Refused(Reason.REQUEST_MALFORMED, said, hint=hint)
        return found

    def part(self, word: str) -> tuple[Resource, str]:
        """A resource, and the prefix below which a part of it is meant, empty for all of it; raises `Refused`.

        Buckets and containers have parts: `gs://BUCKET/PREFIX/`, `az://ACCOUNT/CONTAINER/PREFIX/`.
        """
        scheme, sign, rest = word.partition("://")
        above = _STORES.get(scheme) if sign else None
        if above is None:
            return self._whole(word), ""
        segments = rest.split("/", above)
        name, prefix = "/".join(segments[:above]), "".join(segments[above:])
        resource = self._names.bucket(name) if scheme == "gs" else blob.container(self._estate, name)
        if prefix and not is_prefix(prefix):
            raise _no_prefix(word, name, prefix)
        return resource, prefix

    def _whole(self, word: str) -> Resource:
        if word in {"remit", INSTALLATION.name}:
            return INSTALLATION
        if word.startswith(_REMITS_NAME):
            return self._database_by_name(word) or self._below_a_service(word)
        short = self._by_short_name(word.removeprefix(_ACCOUNT_NAME))
        return short or self._not_googles(word) or self._googles(word)

    def _googles(self, word: str) -> Resource:
        try:
            return self._names.resource(word)
        except Refused as refused:
            raise Refused(refused.reason, refused.message, hint=refused.hint or self._spelling(word)) from None

    def _spelling(self, word: str) -> str:
        """How a word that means nothing might have been meant."""
        if word.startswith(("projects/", "//")):
            return ""  # it is Google's form, and what is wrong with it has been said
        parts = word.removeprefix("buckets/").split("/")
        bucket, container = parts[0], "/".join(parts[:2])
        stores = [f"gs://{bucket}"] if self._estate.owner_of_bucket(bucket) else []
        stores += [f"az://{container}"] if self._estate.owner_of_container(container) else []
        if stores:
            return f"say `{stores[0]}`, or `{stores[0]}/PREFIX/` for what lies below a prefix"
        return "name a project, `gs://BUCKET`, `az://ACCOUNT/CONTAINER`, or a whole name, `projects/P/locations/L/…`"

    def _by_short_name(self, word: str) -> Resource | None:
        project = self._estate.project(word)
        if project:
            return project_resource(project)
        if self._estate.owner_of_account(word):
            return self._names.account(word)
        return next((place.resource(one) for one in self._estate.services if one.name == word), None)

    def _not_googles(self, word: str) -> Resource | None:
        """A container of Azure's, or a database with or without a role; raises `Refused` for one that nobody lists."""
        if word.startswith(f"//{blob.HOST}/"):
            return blob.named_container(self._estate, word)
        if word.startswith("postgresql://"):
            return self._database(*word.removeprefix("postgresql://").partition("/")[::2])
        return None

    def _below_a_service(self, name: str) -> Resource:
        """A service, or a model that one serves, by its canonical name."""
        for service in self._estate.services:
            own = place.resource(service)
            if name == own.name:
                return own
            if name.startswith(f"{own.name}/models/"):
                return Resource("ServedModel", name, own.project)
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(name)} is no service and no database in `remit.yaml`")

    def _database_by_name(self, name: str) -> Resource | None:
        """A database, or a role of one, by its canonical name, which names its own project."""
        found = _DATABASE_NAME.fullmatch(name)
        resource = self._database(found[1], found[2] or "") if found else None
        return resource if resource and resource.name == name else None

    def _database(self, name: str, role: str) -> Resource:
        """A database by its name, or with a role that one; raises `Refused`."""
        database = self._estate.database(name)
        if database is not None and not role:
            return Resource("Database", f"{_REMITS_NAME}{database.project}/databases/{name}", database.project)
        return databases.database_request(self._estate, name, role).first.resources[0]


@cache
def _asked() -> frozenset[str]:
    """The actions that a request can come to: Vertex AI's without a project are known, and refused."""
    return frozenset(actions()) - {one.action.id for one in vertex()} | {
        one.action.id for one in vertex() if one.scoped
    }


@cache
def _permissions() -> Mapping[str, str]:
    others = (*NEIGHBOURS, *blob.ACTIONS, *databases.ACTIONS)
    return {one.id: one.permission for one in (*(m.action for m in (*vertex(), *PROJECTS)), *others)}


def _action(name: str) -> Action:
    return Action(name, actions()[name], _permissions().get(name, ""))


def _no_prefix(word: str, name: str, prefix: str) -> Refused:
    """What is said of a word for a part of a bucket or container that could mean anything else."""
    if is_prefix(f"{prefix}/"):
        hint = f"what lies below it is {shown(f'{word}/')}; single objects are not asked about"
    else:
        hint = f"folders that end in `/`, of letters, digits and `_.=-`, {LONGEST} characters at most"
    return Refused(Reason.REQUEST_MALFORMED, f"{shown(prefix)} is no prefix in {shown(name)}", hint=hint)


def _near(word: str, known: Iterable[str]) -> str:
    """What looks like a word, by the last two parts of each id."""
    short = {".".join(name.split(".")[-2:]): name for name in known}
    close = get_close_matches(word[:_LONGEST], short, _MOST)
    found = _listed(close) if close else "the groups " + _listed(Group)
    return f"near it: {found}; `remit catalogue` lists all"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in list(words)[:_MOST])
