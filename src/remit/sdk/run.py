"""`remit run -- COMMAND`: a command with ambient, renewing credentials, and no secret on disk or in its environment.

Beside the command stand metadata servers and a CONNECT proxy on loopback (`sidecar.py`); the environment names them
(`environment.py`). The command's exit code and signals pass through (`child.py`). Each run has an id, which its tunnels
and its requests for tokens carry: `remit revoke` takes it. The installation is told when it begins, what it is called
and how long it means to last, and answers what it takes (grants for a run of that name) and what it outlives; when it
ends, everything that was issued for it is revoked.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from remit.model.counts import counted
from remit.model.errors import RemitError
from remit.model.names import job_id
from remit.model.reasons import Reason
from remit.sdk.api import Api
from remit.sdk.broker import Broker, Exchanged
from remit.sdk.child import Relay, relayed
from remit.sdk.environment import (
    DIRECT_VARIABLES,
    PROXY_VARIABLES,
    Run,
    bundles,
    environment_of,
    first,
    foreign,
    system_roots,
)
from remit.sdk.places import taken
from remit.sdk.renewal import bare, say
from remit.sdk.sidecar import Sidecar
from remit.sdk.sign_in import SignedIn
from remit.sdk.tunnel import Onward, Tunnel

_MINUTE, _HOUR = 60, 3600  # seconds


def run(
    command: Sequence[str],
    project: str,
    sign_in: SignedIn,
    environment: Mapping[str, str],
    *,
    name: str = "",
    lasting: int = 0,
) -> int:
    """Runs a command in a project and returns its exit code, 128 + n when signal n ended it.

    `name`: of the run, for which grants may wait: they begin with it and end with it; `lasting`: seconds that it means
    to last, 0 when nobody says. Raises `RemitError` when the installation does not take the run, and while runs of this
    user in another project last.
    """
    sign_in.token()  # nobody signed in: say so before the command starts
    job = job_id(time.time_ns() // 1000)
    with taken(project, job), relayed() as relay:
        said = {"project": project, **({"name": name} if name else {}), **({"lasting": lasting} if lasting else {})}
        with _registered(Api(sign_in.configuration.url, sign_in.token), job, said):
            if relay.received:
                return relay.code
            return asyncio.run(_run(command, project, sign_in, environment, job=job, relay=relay))


@contextlib.contextmanager
def _registered(api: Api, job: str, said: Mapping[str, object]) -> Iterator[None]:
    """Tells the installation that a run begins, and that it has ended: also when it ended badly."""
    answer = api.post("/v1/jobs", {"job": job, **said})
    sys.stderr.write(f"remit: this run is {job}\n")  # not before it is one
    if name := said.get("name"):
        begin = counted(len(answer.get("grants") or ()), "grant begins", "grants begin")
        say(f"{begin} with `{name}`")
    for outlived in answer.get("outlived") or ():
        _warn(outlived)
    try:
        yield
    finally:
        try:
            api.delete("/v1/jobs", job=job)
        except RemitError as error:  # the command's own exit code counts
            say(f"what was issued for {job} ends with its time only: {bare(error.message)}", error.hint)


def _warn(outlived: Mapping[str, Any]) -> None:
    """One hop that ends for good before the run means to."""
    lasts = outlived.get("lasts")
    life = f" ({_in_words(int(lasts))})" if isinstance(lasts, int | float) else ""
    why = f": {outlived['why']}" if outlived.get("why") else ""
    say(f"this run outlives its {outlived.get('hop', 'credentials')}{life}{why}", str(outlived.get("change") or ""))


def _in_words(seconds: int) -> str:
    if seconds < _MINUTE or (seconds < _HOUR and seconds % _MINUTE):
        return f"{seconds} s"
    hours, minutes = divmod(seconds // _MINUTE, 60) if seconds >= 2 * _HOUR else (0, seconds // _MINUTE)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)


async def _run(
    command: Sequence[str], project: str, sign_in: SignedIn, environment: Mapping[str, str], *, job: str, relay: Relay
) -> int:
    configuration = sign_in.configuration
    broker = Broker(configuration.url)
    tunnel = Tunnel(configuration, sign_in.token, _onward(environment), job)

    def revoked() -> None:
        say(f"{Reason.REVOKED.sentence}: {job} has no credentials and no connections any more")
        tunnel.end()

    def exchange(audience: str) -> Exchanged:
        return broker.exchange(sign_in.token(), audience, job)

    sidecar = Sidecar(configuration, project, exchange, tunnel, revoked)
    await sidecar.open()
    try:
        with _folder(environment, configuration.ca_pem) as (files, gcloud):
            if names := foreign(environment):
                say(f"the command does not see {', '.join(names)}: this run has an identity of its own")
            given = Run(job, project, configuration, sidecar.addresses, files, gcloud)
            return await relay.run(command, environment_of(given, environment))
    finally:
        await sidecar.close()


def _onward(environment: Mapping[str, str]) -> Onward:
    proxy = first(environment, PROXY_VARIABLES)
    if not proxy and (every := first(environment, ("ALL_PROXY", "all_proxy"))).startswith("http"):
        proxy = every
    return Onward(proxy, first(environment, DIRECT_VARIABLES))


@contextlib.contextmanager
def _folder(environment: Mapping[str, str], ca_pem: str) -> Iterator[tuple[Mapping[str, str], str]]:
    """Files of public certificates, one name for each variable, and an empty folder; they go when the command ends."""
    if not system_roots():
        say("no file of trusted roots was found; only the gateway's hosts can be reached")
    with tempfile.TemporaryDirectory(prefix="remit-") as folder:
        empty = Path(folder) / "gcloud"
        empty.mkdir()
        yield bundles(environment, ca_pem, Path(folder)), str(empty)
