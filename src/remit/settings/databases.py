"""From remit.yaml to databases: what policy knows of one, where the door finds it, and how it is logged in to."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from remit.credentials.database_login import DatabaseLogin, LoginKind
from remit.model.errors import Problem
from remit.model.estate import Database
from remit.settings.document import Document, Path_
from remit.settings.schema import RemitYaml
from remit.sql.settings import DoorSettings, Target

_PORTS = range(1, 65536)


def databases(yaml: RemitYaml) -> tuple[Database, ...]:
    """What they are."""
    return tuple(Database(one.name, one.project, tuple(one.roles)) for one in yaml.databases)


def logins(yaml: RemitYaml) -> tuple[DatabaseLogin, ...]:
    """How they are logged in to."""
    return tuple(DatabaseLogin(one.name, one.project, LoginKind(one.login)) for one in yaml.databases)


def door(yaml: RemitYaml, folder: Path, arbiter: Path) -> DoorSettings | None:
    """The door, `None` where there is none. `folder`: of the file; `arbiter`: its socket."""
    if yaml.gateway.databases is None:
        return None
    host, port = _split(yaml.gateway.databases)
    tls = yaml.gateway.tls
    targets = (
        Target(one.name, *_split(one.address), one.database, folder / one.ca_file if one.ca_file else None)
        for one in yaml.databases
    )
    return DoorSettings(
        host=host,
        port=port,
        arbiter=arbiter,
        databases={one.name: one for one in targets},
        certificate=folder / tls.certificate if tls else None,
        key=folder / tls.key if tls else None,
    )


def names(yaml: RemitYaml) -> Iterator[tuple[Path_, str, str]]:
    """Everything that must be there once: where it stands, what it is, its name."""
    for index, one in enumerate(yaml.databases):
        path: Path_ = ("databases", index)
        yield (*path, "name"), "database", one.name
        for number, role in enumerate(one.roles):
            yield (*path, "roles", number), f"role of `{one.name}`", role


def contradictions(document: Document, yaml: RemitYaml, projects: frozenset[str]) -> Iterator[Problem]:
    """What no single key of a database can say."""
    lines = yaml.credentials.azure.accounts if yaml.credentials.azure else ()
    tokens = {name for line in lines if "postgresql" in line.services for name in line.databases}
    for index, one in enumerate(yaml.databases):
        path: Path_ = ("databases", index)
        if one.project not in projects:
            yield document.problem((*path, "project"), f"`{one.project}` is no project under `environments`")
        if _split(one.address)[1] not in _PORTS:
            yield document.problem((*path, "address"), f"`{one.address}` names no port")
        if one.login == "entra" and one.name not in tokens:
            message = f"no line of `credentials.azure.accounts` is for `postgresql` and the database `{one.name}`"
            yield document.problem((*path, "login"), message)
    yield from (document.problem(("gateway", "databases"), said) for said in _door(yaml))


def _door(yaml: RemitYaml) -> Iterator[str]:
    listen = yaml.gateway.databases
    if listen is None:
        return
    host, port = _split(listen)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        yield f"`{host}` is not an IP address"
        return
    if port not in _PORTS:
        yield f"`{listen}` names no port"
    if not loopback and yaml.gateway.tls is None:
        yield f"beyond loopback tokens come over TLS only: `{listen}` needs `gateway.tls`"
    if listen == yaml.gateway.listen:
        yield f"`{listen}` is where the door itself listens"
    if not yaml.databases:
        yield "there is a door for databases, and none under `databases`"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
