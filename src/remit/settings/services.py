"""From remit.yaml to services: what the catalogue and policy know of one, and where the gateway sends its calls."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from remit.gateway.settings import Address, ServiceRoute
from remit.model.errors import Problem
from remit.model.estate import Service, ServiceKind
from remit.settings import services_schema as schema
from remit.settings.document import Document, Path_
from remit.settings.schema import RemitYaml

_GOOGLE = "iam.googleapis.com"
_PORTS = {"http": 80, "https": 443}


def services(yaml: RemitYaml, origin: str) -> tuple[Service, ...]:
    """What they are. `origin`: of the door, which is a part of the audience of those below it."""
    return tuple(
        Service(
            name=one.name,
            project=one.project,
            kind=ServiceKind(one.kind),
            audience=one.audience or (f"{origin}{one.prefix}" if one.prefix else f"https://{one.host}"),
            prefix=one.prefix or "",
            host=one.host or "",
            websockets=one.websockets,
        )
        for one in yaml.services
    )


def routes(yaml: RemitYaml, folder: Path) -> tuple[ServiceRoute, ...]:
    """Where their calls go; which gRPC messages must be seen is the catalogue's to say."""
    return tuple(
        ServiceRoute(
            known_as=f"{one.name}.service",
            http=_address(one.http, one, folder),
            grpc=_address(one.grpc, one, folder),
            prefix=one.prefix or "",
            host=one.host or "",
            websockets=one.websockets,
        )
        for one in yaml.services
    )


def names(yaml: RemitYaml) -> Iterator[tuple[Path_, str, str]]:
    """Everything that must be there once: where it stands, what it is, its name."""
    for index, one in enumerate(yaml.services):
        path: Path_ = ("services", index)
        yield (*path, "name"), "service", one.name
        if one.prefix:
            yield (*path, "prefix"), "prefix", one.prefix
        if one.host:
            yield (*path, "host"), "host", one.host


def contradictions(document: Document, yaml: RemitYaml, projects: frozenset[str]) -> Iterator[Problem]:
    """What no single key of a service can say."""
    for index, one in enumerate(yaml.services):
        path: Path_ = ("services", index)
        if one.project not in projects:
            yield document.problem((*path, "project"), f"`{one.project}` is no project under `environments`")
        if not one.prefix and not one.host:
            yield document.problem(path, f"the service `{one.name}` needs a `prefix` or a `host`")
        if _GOOGLE in (one.audience or ""):
            yield document.problem((*path, "audience"), "an assertion for a service must mean nothing to Google")
        yield from (document.problem(path, said) for said in _addresses(one))
    endpoint = yaml.gateway.endpoint
    if endpoint:
        listed = {one for found in yaml.environments.values() for each in found.values() for one in each.locations}
        for name, location in endpoint.names.items():
            if location not in listed:
                path = ("gateway", "endpoint", "names", name)
                yield document.problem(path, f"`{location}` is no location of a project under `environments`")


def _addresses(one: schema.Service) -> Iterator[str]:
    needed = {"web": ("http",), "grpc": ("grpc",), "tensorflow-serving": ()}[one.kind]
    given = {key: getattr(one, key) for key in ("http", "grpc")}
    for key in needed:
        if not given[key]:
            yield f"the service `{one.name}` of kind `{one.kind}` needs `{key}`"
        for other in (other for other, value in given.items() if value and other not in needed):
            yield f"the service `{one.name}` of kind `{one.kind}` takes no `{other}`"
    if not any(given.values()) and not needed:
        yield f"the service `{one.name}` needs `http`, `grpc` or both"
    if one.ca_file and not any((value or "").startswith("https:") for value in given.values()):
        yield f"the service `{one.name}` shows no certificate that `ca_file` could prove: use `https://`"
    if one.grpc and one.prefix and not one.http:
        yield f"gRPC has no prefixes: give the service `{one.name}` a `host`"
    if one.websockets and one.kind != "web":
        yield f"only a service of kind `web` has websockets, and `{one.name}` is `{one.kind}`"


def _address(text: str | None, one: schema.Service, folder: Path) -> Address | None:
    if text is None:
        return None
    parts = urlsplit(text)
    tls = parts.scheme == "https"
    roots = folder / one.ca_file if one.ca_file and tls else None
    return Address(parts.hostname or "", parts.port or _PORTS[parts.scheme], tls=tls, roots=roots)
