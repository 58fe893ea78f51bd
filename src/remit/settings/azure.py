"""From remit.yaml to the ways to Azure: lines of applications, each with everything that its tokens open."""

from collections.abc import Iterator

from remit.credentials.settings import AzureLine
from remit.model.errors import Problem
from remit.model.prefixes import LONGEST
from remit.settings.azure_schema import AzureAccount
from remit.settings.document import Document, Path_
from remit.settings.schema import RemitYaml
from remit.trust.prefixes import parted, wider_than

_EXCHANGE = "azureadtokenexchange"


def lines(yaml: RemitYaml) -> tuple[AzureLine, ...]:
    """The lines, in their order."""
    projects = _projects(yaml)
    return tuple(
        AzureLine(
            role=one.role,
            project=one.project,
            client=one.client,
            subject=one.subject or f"remit/{one.project}/{one.role}",
            services=tuple(one.services),
            access=one.access,
            containers=_containers(one, projects),
            databases=tuple(one.databases),
        )
        for one in _accounts(yaml)
    )


def names(yaml: RemitYaml) -> Iterator[tuple[Path_, str, str]]:
    """Everything that must be there once: where it stands, what it is, its name."""
    for environment, found in yaml.environments.items():
        for name, project in found.items():
            for index, one in enumerate(project.containers):
                yield ("environments", environment, name, "containers", index), "container", one
    for index, line in enumerate(_accounts(yaml)):
        yield ("credentials", "azure", "accounts", index), "role and client", f"{line.role} {line.client}"


def contradictions(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """What no single key can say: what a line names and nothing has, and what two lines say of one application."""
    for index, service in enumerate(yaml.services):
        if _EXCHANGE in (service.audience or "").lower():
            message = "an assertion for a service must mean nothing to Entra"
            yield document.problem(("services", index, "audience"), message)
    if yaml.credentials.azure and not yaml.credentials.own_issuer:
        message = "applications at Azure trust remit's own issuer, and `credentials.own_issuer` is missing"
        yield document.problem(("credentials", "azure"), message)
    first: dict[str, AzureAccount] = {}
    for index, line in enumerate(_accounts(yaml)):
        path: Path_ = ("credentials", "azure", "accounts", index)
        yield from _unknown(document, path, yaml, line)
        if line.client == yaml.credentials.on_behalf_of.application:
            yield document.problem((*path, "client"), f"`{line.client}` is remit's own application, which is nobody's")
        if _opened(first.setdefault(line.client, line)) != _opened(line):
            message = f"`{line.client}` stands above for something else: one application is one project and one list"
            yield document.problem((*path, "client"), message)


def _unknown(document: Document, path: Path_, yaml: RemitYaml, line: AzureAccount) -> Iterator[Problem]:
    projects = _projects(yaml)
    if line.project not in projects:
        yield document.problem((*path, "project"), f"`{line.project}` is no project under `environments`")
        return
    known = projects[line.project]
    for number, name in enumerate(line.containers or ()):
        container, prefix = parted(name)
        if container not in known:
            message = f"`{container}` is not among the containers of `{line.project}`"
            yield document.problem((*path, "containers", number), message)
        if len(prefix) > LONGEST:
            yield document.problem((*path, "containers", number), f"a prefix has {LONGEST} characters at most")
        if wider := wider_than(name, line.containers or ()):
            message = f"`{name}` lies in `{wider}`, which is opened as a whole"
            yield document.problem((*path, "containers", number), message)
    if "storage" in line.services and not _containers(line, projects):
        yield document.problem(path, f"a token for storage opens containers, and `{line.project}` lists none")
    yield from _unknown_databases(document, path, yaml, line)


def _unknown_databases(document: Document, path: Path_, yaml: RemitYaml, line: AzureAccount) -> Iterator[Problem]:
    known = {one.name for one in yaml.databases if one.project == line.project}
    for number, name in enumerate(line.databases):
        if name not in known:
            yield document.problem((*path, "databases", number), f"`{name}` is no database of `{line.project}`")
    if not line.databases and set(line.services) - {"storage"}:
        yield document.problem(path, "a token for databases opens those under `databases`, and there are none")


def _opened(line: AzureAccount) -> tuple[object, ...]:
    """All that the tokens of a line's application open: whoever names it, for whichever role."""
    containers = None if line.containers is None else frozenset(line.containers)
    return line.project, frozenset(line.services), line.access, containers, frozenset(line.databases)


def _containers(line: AzureAccount, projects: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return projects.get(line.project, ()) if line.containers is None else tuple(line.containers)


def _accounts(yaml: RemitYaml) -> list[AzureAccount]:
    return yaml.credentials.azure.accounts if yaml.credentials.azure else []


def _projects(yaml: RemitYaml) -> dict[str, tuple[str, ...]]:
    """The containers of each project; of one that stands twice, which is a problem of its own, both."""
    found: dict[str, tuple[str, ...]] = {}
    for name, project in (item for each in yaml.environments.values() for item in each.items()):
        found[name] = (*found.get(name, ()), *project.containers)
    return found
