"""From remit.yaml to the roles that PostgreSQL databases must hold: what each may do there, and what cannot be said."""

from collections.abc import Iterator, Sequence

from remit.model.errors import Problem
from remit.settings.document import Document, Path_
from remit.settings.schema import RemitYaml
from remit.trust.clouds.sql_names import LONGEST_NAME, PRIVILEGES, PUBLIC, place, too_long
from remit.trust.settings import AzureClient, DatabaseRoles


def database_roles(yaml: RemitYaml, clients: Sequence[AzureClient]) -> Iterator[DatabaseRoles]:
    """Every database, with what `trust.databases` says of it."""
    lines = yaml.credentials.azure.accounts if yaml.credentials.azure else ()
    for one in yaml.databases:
        ids = {line.client for line in lines if "postgresql" in line.services and one.name in line.databases}
        given = yaml.trust.databases.get(one.name)
        grants = given.roles if given else {}
        yield DatabaseRoles(
            name=one.name,
            address=one.address,
            database=one.database,
            roles=tuple(one.roles),
            clients=tuple(each.name for each in clients if each.client in ids) if one.login == "entra" else (),
            project=one.project,
            administrator=given.administrator if given else "",
            grants={
                role: {str(place(on)): tuple(words) for on, words in objects.items()}
                for role, objects in grants.items()
            },
            roots=one.ca_file or "",
        )


def contradictions(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """What no single key of `trust.databases` can say."""
    known = {one.name: one.roles for one in yaml.databases}
    yield from _reserved(document, yaml)
    for name, given in yaml.trust.databases.items():
        path: Path_ = ("trust", "databases", name)
        if name not in known:
            yield document.problem(path, f"`{name}` is none of the databases under `databases`")
            continue
        if given.administrator in known[name]:
            message = f"`{given.administrator}` is a role of Remit's there, and gives itself nothing"
            yield document.problem((*path, "administrator"), message)
        for role, objects in given.roles.items():
            where: Path_ = (*path, "roles", role)
            if role not in known[name]:
                yield document.problem(where, f"`{role}` is no role of `{name}` under `databases`")
            seen: dict[str, str] = {}
            for on, privileges in objects.items():
                if (same := seen.setdefault(str(place(on)), on)) != on:
                    yield document.problem((*where, on), f"`{on}` is `{same}`, which stands there already")
                yield from _given(document, (*where, on), privileges)


def _reserved(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """Roles that PostgreSQL keeps to itself: `public` is everybody, and is never given anything."""
    for index, one in enumerate(yaml.databases):
        for number, role in enumerate(one.roles if one.name in yaml.trust.databases else ()):
            if role in {PUBLIC, "none"} or role.startswith("pg_"):
                yield document.problem(("databases", index, "roles", number), f"`{role}` is PostgreSQL's own")


def _given(document: Document, path: Path_, privileges: Sequence[str]) -> Iterator[Problem]:
    """An object that is not to be given, and words that are no privileges there."""
    found = place(str(path[-1]))
    if found.system:
        yield document.problem(path, f"`{found.parts[0]}` is PostgreSQL's own, and nothing is given there")
    for name in too_long(found.parts):
        yield document.problem(path, f"`{name}` is longer than {LONGEST_NAME} bytes, and would be cut")
    known = PRIVILEGES[found.kind]
    for index, privilege in enumerate(privileges):
        if privilege not in known:
            message = f"`{privilege}` is no privilege on {found.kind}: one of {', '.join(known)}"
            yield document.problem((*path, index), message)
        if privilege in privileges[:index]:
            yield document.problem((*path, index), f"`{privilege}` stands twice")
