"""What has to be renewed in one installation: where it is found, who is asked, and what is written."""

import asyncio
import contextlib
import datetime as dt
import json
import re
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from sqlalchemy import func, select

from remit.assembly import evidence
from remit.assembly.trust_plan import Who, folder, open_tokens
from remit.audit import tables
from remit.audit.lately import Lately
from remit.audit.query import Query
from remit.credentials.google_sts import GoogleSts
from remit.credentials.hop import cloud_client
from remit.credentials.own_keys import LONGEST, SETTLE, OwnKey, OwnKeys
from remit.model.errors import TrustBroken
from remit.model.secret import Secret
from remit.settings.document import load
from remit.settings.read import Settings, read
from remit.state.private_file import write_whole
from remit.trust.applying.journal import alone
from remit.trust.applying.patience import Sleep, Tell
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE as GRAPH
from remit.trust.clouds.entra_graph import Graph, keyed
from remit.trust.clouds.google_names import IAM, SCOPE, account_path, estate_accounts
from remit.trust.clouds.port import Missing
from remit.trust.rotating import edits, secret
from remit.trust.rotating.assignments import Assignment, Record, Use, assignments
from remit.trust.rotating.due import Credential, State, judged
from remit.trust.rotating.entra import Certificates, Kind, Secrets
from remit.trust.rotating.journal import Journal, Rotation
from remit.trust.rotating.keys import Turned, Turning, Uploaded

KEY_DAYS = 90  # days after which the own issuer's key is due
_PROOF = 300  # seconds that the token lives which proves a new key
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # it becomes part of a file's name
_MICROSECONDS = 1_000_000


def applications(settings: Settings) -> dict[str, str]:
    """Name → app id of every application that remit.yaml names; those that have no other name by their id."""
    trust = settings.trust
    found = {"remit": trust.application}
    if trust.applications and trust.applications.cli:
        found["remit-cli"] = trust.applications.cli
    found |= {one.name: one.client for one in trust.azure}
    known = set(found.values())
    clients = trust.applications.clients if trust.applications else ()
    return found | {one: one for one in clients if one not in known}


def _app(settings: Settings, name: str) -> str:
    """The app id that is meant; raises `TrustBroken`."""
    found = applications(settings).get(name, name)
    if not _GUID.fullmatch(found):
        known = ", ".join(f"`{one}`" for one in applications(settings))
        raise TrustBroken(f"`{name}` is no application of remit.yaml", hint=f"one of {known}, or an app id")
    return found


def secret_file(settings: Settings, app: str) -> Path | None:
    """Where the running Remit reads the secret of an application at Entra, at every sign-in."""
    entra = settings.identity.entra.issuer
    files = (one.secret_file for one in settings.identity.providers if (one.client, one.issuer) == (app, entra))
    return next((file for file in files if file), None)


def federated(settings: Settings, name: str) -> str:
    """How an application does without a secret; raises `TrustBroken`."""
    app = _app(settings, name)
    if app == settings.trust.application:
        return (
            "remit needs none: leave `secret_file` out of the sign-in provider, and it proves itself with the managed "
            "identity that `remit trust apply` has its application trust"
        )
    trusted = {
        "name": "workload",
        "issuer": settings.trust.issuer,
        "subject": "OBJECT-ID-OF-ITS-MANAGED-IDENTITY",
        "audiences": ["api://AzureADTokenExchange"],
    }
    parameters = json.dumps(trusted)
    return f"it can trust what it runs as: az ad app federated-credential create --id {app} --parameters '{parameters}'"


# Secrets and certificates


@dataclass(frozen=True, slots=True)
class Order:
    """Which credential is replaced, and how.

    `app`: a name of `applications`, or an app id; `into`: the file, where remit.yaml names none; `old`: key id;
    `settle`: seconds; `sleep`: seconds.
    """

    app: str
    certificate: bool = False
    into: Path | None = None
    old: str = ""
    days: int = secret.DAYS
    settle: float = secret.SETTLE
    sleep: Sleep = asyncio.sleep


async def rotate_secret(settings: Settings, order: Order, tell: Tell) -> Rotation:
    """Replaces it; raises `TrustBroken`."""
    app = _app(settings, order.app)
    file = order.into or secret_file(settings, app)
    if file is None:
        raise TrustBroken(f"remit.yaml names no file with a secret of `{order.app}`", hint="name it: `--into FILE`")
    async with _rotating(settings, order, app, tell) as work:
        name = "certificate" if order.certificate else "secret"
        return await secret.begin(work, app, name, file, old=order.old, days=order.days)


async def resume_secret(settings: Settings, order: Order, tell: Tell, *, back: bool = False) -> Rotation:
    """Goes on with what was interrupted, or undoes it."""
    app = _app(settings, order.app)
    async with _rotating(settings, order, app, tell) as work:
        return await secret.rollback(work) if back else await secret.resume(work, days=order.days)


@contextlib.asynccontextmanager
async def _rotating(settings: Settings, order: Order, app: str, tell: Tell) -> AsyncIterator[secret.Rotating]:
    place = folder(settings)
    with alone(place):
        journal = Journal(place, app)
        begun = journal.open()
        certificate = begun.kind == "certificate" if begun else order.certificate
        async with _graph(settings) as (graph, client):
            tenant = settings.trust.tenant
            kind: Kind = Secrets(graph, client, tenant, app)
            if certificate:
                kind = Certificates(graph, client, tenant, app)
            yield secret.Rotating(kind, journal, tell, settle=order.settle, sleep=order.sleep)


@contextlib.asynccontextmanager
async def _graph(settings: Settings) -> AsyncIterator[tuple[Graph, Any]]:
    async with open_tokens(settings, Who.SELF) as tokens, cloud_client() as client:
        yield Graph(Asking(client, tokens, GRAPH)), client


# Remit's own keys


async def turn_keys(
    settings: Settings,
    tell: Tell,
    *,
    back: bool = False,
    wall: Callable[[], float] = time.time,
    sleep: Sleep = asyncio.sleep,
) -> Turned:
    """Goes on with the rotation of the own issuer's keys, begins one, or goes back; raises `TrustBroken`."""
    found = settings.credentials
    if not found.own_issuer:
        raise TrustBroken("there is no issuer of remit's own", hint="`credentials.own_issuer` in remit.yaml")
    with alone(folder(settings)):
        async with open_tokens(settings, Who.SELF) as tokens, cloud_client() as client:
            sts = GoogleSts(client, found.own_provider, timeout=found.hop_timeout)

            async def prove(key: OwnKey) -> object:
                return await sts.exchange(_proof(settings, key))

            turning = Turning(
                OwnKeys(settings.own_keys, wall),
                Uploaded(Asking(client, tokens, SCOPE), found.own_provider, sleep=sleep),
                prove,
                signs_after=SETTLE,
                ends_after=LONGEST,
                wall=wall,
                tell=tell,
                sleep=sleep,
            )
            return await (turning.rollback() if back else turning.turn())


def _proof(settings: Settings, key: OwnKey) -> Secret:
    """A subject token for nobody: it can be exchanged, and no binding knows its subject."""
    found, now = settings.credentials, int(time.time())
    claims = {
        "iss": found.own_issuer,
        "sub": f"{found.tenant}/remit-key-proof",
        "aud": f"https:{found.own_provider}",
        "iat": now - 5,
        "nbf": now - 5,
        "exp": now + _PROOF,
        "tenant": found.tenant,
        "kind": "workload",
        "groups": [],
        "roles": [],
    }
    return Secret(key.sign(claims))


# Everything


async def everything(settings: Settings, within: float, now: float) -> tuple[Credential, ...]:
    """All that rotates; `within`: seconds before its end in which something is due. Raises `TrustBroken`."""
    found = [*_own(settings), *_files(settings)]
    async with _graph(settings) as (graph, client):
        for name, app in applications(settings).items():
            found += await _of_application(settings, graph, client, name, app)
            found += await _of_principal(graph, name, app)
    async with open_tokens(settings, Who.SELF) as tokens, cloud_client() as client:
        ask = Asking(client, tokens, SCOPE)
        for email in estate_accounts(settings.trust):
            found += await _of_account(ask, email)
    return judged(found, now, within)


async def _of_application(settings: Settings, graph: Graph, client: Any, name: str, app: str) -> list[Credential]:
    found = []
    kinds: dict[str, Kind] = {
        "secret": Secrets(graph, client, settings.trust.tenant, app),
        "certificate": Certificates(graph, client, settings.trust.tenant, app),
    }
    for kind, held in kinds.items():
        do = f"remit trust rotate secret {name}{' --certificate' if kind == 'certificate' else ''}"
        try:
            each = await held.held()
        except Missing:  # a managed identity has no application, and another tenant's is not ours to see
            continue
        found += [Credential(f"entra {kind}", name, one.id, do, one.starts, one.ends) for one in each]
    return found


async def _of_principal(graph: Graph, name: str, app: str) -> list[Credential]:
    """What somebody put on its service principal, where there should be nothing; a managed identity's are Azure's."""
    fields = "id,servicePrincipalType,passwordCredentials,keyCredentials"
    document = await graph.find(f"{keyed('servicePrincipals', 'appId', app)}?$select={fields}")
    if document is None or document.get("servicePrincipalType") == "ManagedIdentity":
        return []
    found = []
    for kind, held in (("secret", "passwordCredentials"), ("certificate", "keyCredentials")):
        for one in document.get(held) or ():
            do = f"find out whose it is, then `remit trust plan` removes it: it makes its holder `{name}`"
            times = _seconds(one.get("startDateTime")), _seconds(one.get("endDateTime"))
            of = f"{name} (service principal)"
            found.append(Credential(f"entra {kind}", of, str(one["keyId"]), do, *times, State.NEEDLESS))
    return found


async def _of_account(ask: Asking, email: str) -> list[Credential]:
    """Keys that somebody made and holds, of which there should be none."""
    try:
        answer = await ask("GET", f"{IAM}/{account_path(email)}/keys?keyTypes=USER_MANAGED")
    except TrustBroken as broken:
        return [Credential("google key", email, "", broken.message, state=State.UNREAD)]
    found = []
    for key in answer.get("keys") or ():
        number = str(key["name"]).rpartition("/")[2]
        do = f"gcloud iam service-accounts keys delete {number} --iam-account={email}"
        made, ends = _seconds(key.get("validAfterTime")), _seconds(key.get("validBeforeTime"))
        found.append(Credential("google key", email, number, do, made, ends, State.NEEDLESS))
    return found


def _own(settings: Settings) -> Iterator[Credential]:
    if settings.credentials.own_issuer and settings.own_keys.exists():
        keys = OwnKeys(settings.own_keys, time.time)
        for key in keys.published():
            do, ends = "remit trust rotate keys", key.made + KEY_DAYS * 86_400
            yield Credential("own key", settings.credentials.own_issuer, key.kid, do, key.made, ends)


def _files(settings: Settings) -> Iterator[Credential]:
    entra = settings.identity.entra.issuer
    for one in settings.identity.providers:
        if one.secret_file and one.issuer != entra:
            made = one.secret_file.stat().st_mtime if one.secret_file.exists() else 0.0
            do = f"make a new one at the provider, then write it to {one.secret_file}"
            state = State.GOOD if made else State.UNREAD
            yield Credential("sign-in secret", one.name, str(one.secret_file), do, made, state=state)
    for kind, path, do in _certificates(settings):
        if path and path.exists():
            found = x509.load_pem_x509_certificate(path.read_bytes())
            times = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
            yield Credential(kind, str(path), f"{found.serial_number:x}", do, *times)


def _certificates(settings: Settings) -> Iterator[tuple[str, Path | None, str]]:
    again = "move its folder away, start remit again, and have every client trust the new one"
    yield "door authority", settings.gateway.authority / "ca.pem", again
    yield "gateway certificate", settings.gateway.tls_certificate, "renew it where it came from"
    if settings.gateway.endpoint:
        yield "endpoint certificate", settings.gateway.endpoint.certificate, "renew it where it came from"


def _seconds(text: object) -> float:
    return dt.datetime.fromisoformat(str(text)).timestamp() if text else 0.0


# Assignments


async def assigned(settings: Settings, unused_for: float, now: float, *, sign_ins: bool) -> tuple[Assignment, ...]:
    """Every assignment of the file; `sign_ins`: Entra's log is asked besides, which reaches back 30 days."""
    record = await asyncio.to_thread(_record, settings, now - unused_for)
    if sign_ins:
        seen = [use async for use in _signed_in(settings, now - unused_for)]
        record = Record((*record.uses, *seen), record.since, record.whole)
    return assignments(settings.trust, record, now, unused_for)


def _record(settings: Settings, since: float) -> Record:
    """What is on Remit's own record, of the time that is asked about."""
    if not evidence.begun(settings):
        return Record()
    asked = Query(outcome="permit", since=max(1, int(since * _MICROSECONDS)), limit=10_000_000, everything=False)
    last: dict[str, dict[str, float]] = {}
    for row in evidence.asked(settings, asked):
        if row.principal:
            mine, at = last.setdefault(row.principal, {}), row.time / _MICROSECONDS
            for project in {"", row.project}:
                mine[project] = max(at, mine.get(project, 0.0))
    with evidence.reading(settings) as engine:
        lately = Lately(engine)()
        with engine.connect() as connection:
            first = connection.execute(select(func.min(tables.entries.c.at))).scalar()
    uses = []
    for who, when in last.items():
        known = lately.get(who)
        groups, roles = (known.groups, known.roles) if known else (frozenset[str](), frozenset[str]())
        uses.append(Use(who, frozenset(groups), frozenset(roles), when))
    return Record(tuple(uses), (first or 0) / _MICROSECONDS, whole=last.keys() <= lately.keys())


async def _signed_in(settings: Settings, since: float) -> AsyncIterator[Use]:
    """Of people and workloads, for Remit's application, by Entra's sign-in log."""
    moment = f"{dt.datetime.fromtimestamp(since, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    async with _graph(settings) as (graph, _):
        async for entry in graph.each(f"auditLogs/signIns?$filter={quote(f'createdDateTime ge {moment}')}"):
            who = entry.get("userId") or entry.get("servicePrincipalId")
            good = (entry.get("status") or {}).get("errorCode") == 0
            if who and good and entry.get("resourceId") == settings.trust.application:
                none = frozenset[str]()
                last = {"": _seconds(entry.get("createdDateTime"))}
                yield Use(f"{settings.trust.tenant}/{who}", none, none, last)


def renew(settings: Settings, name: str, day: str) -> None:
    """Writes another day of expiry into remit.yaml; raises `TrustBroken`."""
    _edit(settings.file, lambda text: edits.renewed(text, name, day))


def remove(settings: Settings, name: str) -> None:
    """Takes an assignment out of remit.yaml; raises `TrustBroken`."""
    _edit(settings.file, lambda text: edits.removed(text, name))


def _edit(file: Path, edit: Callable[[str], str]) -> None:
    """Writes the file whole, with its mode; what remit would not read is never left there."""
    target = file.resolve()
    load(target)  # nothing beyond the YAML that Remit reads is edited
    before = target.read_bytes()
    after = edit(before.decode()).encode()
    mode = stat.S_IMODE(target.stat().st_mode)
    trial = target.with_name(f".{target.name}.trial")
    try:
        write_whole(trial, after, 0o600)
        read(trial, pending=True)
    finally:
        trial.unlink(missing_ok=True)
    if target.read_bytes() != before:
        raise TrustBroken(f"`{file}` changed while it was edited", hint="run it again")
    write_whole(target, after, mode)
    target.chmod(mode)  # what the umask took away
