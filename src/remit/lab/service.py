"""The lab's process: `python -m remit.lab.service FOLDER [MODELS] [--empty]` starts every cloud and ends on SIGTERM.

All ports are free ones on loopback. What the clouds keep lies in the folder: certificates, objects, logs. Tokens and
signing keys live in memory only, so that a restarted lab knows nobody.
"""

import asyncio
import base64
import json
import logging
import os
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from remit.lab import certificates, contoso
from remit.lab.api_surface import start_grpc
from remit.lab.arm import Arm
from remit.lab.arm_assignments import Assignments
from remit.lab.azure_metadata import AzureMetadata
from remit.lab.blob import ENDING as BLOB
from remit.lab.blob import Blob
from remit.lab.board import Board
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.directory import Directory
from remit.lab.entra import Entra
from remit.lab.entra_registry import Registry
from remit.lab.faults import Clock, Control, Faults
from remit.lab.front import Front
from remit.lab.github_actions import HOST, RUNNER, GitHubActions
from remit.lab.google_accounts import CERTS, GoogleAccounts
from remit.lab.google_accounts import HOST as GOOGLE
from remit.lab.google_estate import Estate
from remit.lab.google_keys import HOST as KEYS
from remit.lab.google_keys import GoogleKeys
from remit.lab.google_pools import Pools
from remit.lab.google_sts import GoogleSts
from remit.lab.graph import Graph
from remit.lab.http import Request, Response
from remit.lab.http_server import Hosts, HttpServer
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.iam_admin import IamAdmin
from remit.lab.iam_credentials import IamCredentials
from remit.lab.kubernetes import HOST as CLUSTER
from remit.lab.kubernetes import Cluster
from remit.lab.lag import Lag
from remit.lab.lifecycle import EMPTY, Lab, reach, variables
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.proxy import Proxy
from remit.lab.resource_manager import ResourceManager
from remit.lab.storage import Storage
from remit.lab.tensorflow_serving import TensorFlowServing
from remit.lab.vertex.projects import Projects
from remit.lab.vertex.service import Surroundings, Vertex


class Clouds:
    """Every cloud of the lab, put together over one folder. `world`: what they hold."""

    def __init__(self, folder: Path, models: Path | None = None, world: contoso.World = contoso.CONTOSO) -> None:
        self.world = world
        self.entra_clock, self.google_clock = Clock(), Clock()
        self.faults = Faults()
        self.directory = Directory(self.entra_clock, registry=Registry(self.entra_clock, world))
        self.entra = Entra(self.entra_clock, folder / "sign_ins.jsonl", self.directory, self._outside)
        self.google_lag = Lag()
        self.estate = Estate(world, self.google_clock, self.google_lag)
        self.iam = Iam(clock=self.google_clock, estate=self.estate)
        self.pools = Pools(self._keys_of, self.estate)
        self.audit = CloudAuditLog(folder / "cloud_audit.jsonl", self.estate.audited)
        self.storage = Storage(folder / "objects", self.iam, self.audit)
        self.logging = Logging(self.iam, self.audit)
        # What a job needs to meet the lab is known only once its ports are, and read when a job starts.
        self.given: dict[str, str] = {}
        self.accounts = GoogleAccounts(self.google_clock, self.estate.number)
        self.account_keys = GoogleKeys(self.iam, self.google_clock)
        metadata = Metadata(self.iam, self.accounts, self.google_clock)
        around = Surroundings(self.iam, self.audit, self.storage, self.logging, metadata, self.given)
        self.vertex = Vertex(around, folder)
        self.projects = Projects(self.iam, self.audit)
        self.vertex.surface.refuse = self.faults.of("aiplatform.googleapis.com", self.vertex.permission)
        self.logging.surface.refuse = self.faults.of("logging.googleapis.com")
        self.board = Board()
        self.serving = TensorFlowServing(models) if models else None
        self.graph = Graph(self.entra.keys, self.entra.sign_ins, self.entra_clock, self.directory)
        self.github = GitHubActions(Clock())
        self.cluster = Cluster(Clock())
        assignments = Assignments(world.assignments, self._groups_of)
        # Cloud → how long its changes take to be seen.
        self.lags = {"entra": self.directory.registry.lag, "google": self.google_lag, "azure": assignments.lag}
        self.arm = Arm(self.entra.keys, self.entra_clock, assignments, self._kind_of, self.directory.registry)
        self.blob = Blob(self.entra.keys, self.entra_clock, folder / "storage_blob.jsonl", assignments)
        self.azure = AzureMetadata(self.entra.tokens, self.entra.sign_ins, contoso.MANAGED_IDENTITIES, self.entra_clock)

    def hosts(self) -> Hosts:
        """Which cloud answers for which host."""
        entra, google = self.entra, self.google_clock
        return Hosts(
            {
                "login.microsoftonline.com": entra,
                "localhost": entra,
                "graph.microsoft.com": self.graph,
                "management.azure.com": self.arm,
                HOST: self.github,
                RUNNER: self.github,
                CLUSTER: self.cluster,
                "sts.googleapis.com": GoogleSts(self.iam, self.audit, self.pools, google),
                "iamcredentials.googleapis.com": IamCredentials(self.iam, self.audit),
                "iam.googleapis.com": IamAdmin(self.iam, self.pools, self.audit, self.account_keys),
                "cloudresourcemanager.googleapis.com": ResourceManager(self.iam, self.audit),
                "storage.googleapis.com": self.storage.handle,
                "www.googleapis.com": self._www,
                GOOGLE: self.accounts,
                KEYS: self.account_keys,
                "logging.googleapis.com": self.logging.handle,
                "aiplatform.googleapis.com": self.vertex.handle,
            },
            {"-aiplatform.googleapis.com": self.vertex.handle, BLOB: self.blob},
        )

    async def _www(self, request: Request) -> Response:
        """The oldest host of all: Google's keys, and Storage under its first address."""
        return await (self.accounts(request) if request.path == CERTS else self.storage.handle(request))

    def commands(self) -> dict[str, Callable[[Any], object]]:
        """What the control door can do besides host faults."""
        return {
            "rotate_keys": lambda how: self.entra.keys.replace() if how == "emergency" else self.entra.keys.rotate(),
            "expire": lambda whose: self.iam.expire() if whose == "google" else self.entra.grants.expire(),
            "overage": lambda how: setattr(self.entra.tokens, "overage", how),
            **self.entra.commands(),
            **self.directory.commands(),
            **self.graph.commands(),
            **self.github.commands(),
            **self.cluster.commands(),
            **self.blob.commands(),
            **self.arm.commands(),
            "lag": self._lag,
            "skew_entra": lambda seconds: setattr(self.entra_clock, "skew", float(seconds)),
            "put_object": self._put_object,
            "provider_keys": self.pools.upload,
            "google_administrator": lambda _: self._google_administrator(),
            "deny": self.iam.deny,
            "service_account_key": self.account_keys.make,
            "log_view": lambda given: self.logging.make_view(given["name"], given["filter"]),
            "board": self._place_board,
            "board_calls": lambda _: json.dumps(list(self.board.calls)),
            "serving_calls": lambda _: json.dumps(
                [asdict(each) for each in self.serving.calls] if self.serving else []
            ),
            "skew_google": lambda seconds: setattr(self.google_clock, "skew", float(seconds)),
        }

    def _lag(self, given: dict[str, float]) -> None:
        """Seconds for each cloud that is named; raises `KeyError` for one that has no lag."""
        for cloud, seconds in given.items():
            self.lags[cloud].seconds = float(seconds)

    def _google_administrator(self) -> str:
        """A token of the person who owns Contoso's projects, as `gcloud auth print-access-token` would tell."""
        return self.iam.mint(email=contoso.ADMIN, scopes=[CLOUD_PLATFORM], lifetime=3600, person=True)[0]

    def _put_object(self, given: dict[str, str]) -> None:
        """An object that was there before anybody came: `bucket`, `name`, `base64`."""
        self.storage.objects.write(given["bucket"], given["name"], base64.b64decode(given["base64"]), {})

    def _place_board(self, given: dict[str, str]) -> None:
        """Where the board stands and whom it believes: `jwks`, `audience`, `prefix` when it is not at the root."""
        self.board.trust(given["jwks"], given["audience"])
        self.board.prefix = given.get("prefix", "")

    def _outside(self, issuer: str) -> list[dict[str, Any]]:
        """What an issuer that nobody here can reach publishes: one upload to Google's provider tells both clouds."""
        return self.pools.uploaded(issuer)

    def _groups_of(self, oid: str) -> list[str]:
        """The ids of every group that a principal is in."""
        return [group.id for group in self.directory.groups_of(oid)]

    def _kind_of(self, oid: str) -> str:
        """What Azure finds in the directory under an id, empty when there is nothing, or nothing yet."""
        found = self.directory.find(oid)
        if found is None:
            return "Group" if self.directory.group(oid) else ""
        return "User" if found.person else "ServicePrincipal"

    def _keys_of(self, issuer: str) -> list[dict[str, Any]]:
        """What the issuer's `jwks_uri` would give: the lab's Google reads the lab's Entra."""
        return self.entra.keys.public() if issuer == contoso.ISSUER else []


async def serve(folder: Path, models: Path | None = None, *, empty: bool = False) -> None:
    """Run the lab until SIGTERM or SIGINT. `empty`: before anybody set up the trust."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clouds = Clouds(folder, models, contoso.EMPTY if empty else contoso.CONTOSO)
    surfaces = (clouds.vertex.surface, clouds.logging.surface, clouds.projects.surface)
    grpc_server, grpc_port = await start_grpc([surface.grpc for surface in surfaces])
    lab = replace(await _listen(clouds, folder, grpc_port), empty=empty)
    if clouds.serving:
        serving_server, serving_grpc = await start_grpc([clouds.serving.grpc])
        serving = _port(await HttpServer(clouds.serving.handle).listen())
        lab = replace(lab, serving=serving, serving_grpc=serving_grpc)
    clouds.given.update(reach(lab))
    _export(folder / "env", variables(lab))
    # what a pipeline's runner tells its steps, in a file of its own: not every program is a pipeline
    _export(folder / "github.env", clouds.github.variables())
    lab.write()
    # The expression library costs most of a second: read it now, so that the first exchange does not wait.
    threading.Thread(target=__import__, args=("cel",), daemon=True).start()
    await stop.wait()
    (folder / "lab.json").unlink(missing_ok=True)
    await clouds.vertex.close()
    await grpc_server.stop(0)
    if clouds.serving:
        await serving_server.stop(0)
        await clouds.serving.close()


def _export(path: Path, given: Mapping[str, str]) -> None:
    """Variables as a file that a shell reads."""
    path.touch(mode=0o600)
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in given.items()), encoding="utf-8")


async def _listen(clouds: Clouds, folder: Path, grpc_port: int) -> Lab:
    """Open every port, each a free one. They close with the event loop, when the process ends."""
    found = certificates.ensure(folder)
    bundle = folder / "bundle.pem"
    bundle.write_bytes(found.authority.read_bytes())
    server = HttpServer(clouds.faults.around(clouds.hosts()))
    front = _port(await Front(found, server, grpc_port).listen())
    secret = secrets.token_urlsafe(24)
    control = _port(await HttpServer(Control(secret, clouds.faults, clouds.commands())).listen())
    return Lab(
        folder=str(folder),
        pid=os.getpid(),
        proxy=_port(await Proxy(front).listen()),
        front=front,
        grpc=grpc_port,
        imds=_port(await HttpServer(clouds.azure).listen()),
        control=f"http://127.0.0.1:{control}/{secret}",
        bundle=str(bundle),
        board=_port(await HttpServer(clouds.board.handle).listen()),
    )


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def main() -> None:
    """Run the lab of the folder named on the command line."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    empty, given = EMPTY in sys.argv, [each for each in sys.argv[1:] if each != EMPTY]
    folder = Path(given[0]).resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.run(serve(folder, Path(given[1]) if given[1:] else None, empty=empty))


if __name__ == "__main__":
    main()
