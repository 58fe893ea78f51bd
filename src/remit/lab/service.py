"""The lab's process: `python -m remit.lab.service FOLDER [MODELS]` starts every cloud and ends on SIGTERM.

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
from remit.lab.azure_metadata import AzureMetadata
from remit.lab.blob import ENDING as BLOB
from remit.lab.blob import Blob
from remit.lab.board import Board
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.directory import Directory
from remit.lab.entra import Entra
from remit.lab.faults import Clock, Control, Faults
from remit.lab.front import Front
from remit.lab.github_actions import HOST, RUNNER, GitHubActions
from remit.lab.google_accounts import CERTS, GoogleAccounts
from remit.lab.google_accounts import HOST as GOOGLE
from remit.lab.google_keys import HOST as KEYS
from remit.lab.google_keys import GoogleKeys
from remit.lab.google_pools import Pools
from remit.lab.google_sts import GoogleSts
from remit.lab.graph import Graph
from remit.lab.http import Request, Response
from remit.lab.http_server import Hosts, HttpServer
from remit.lab.iam import Iam
from remit.lab.iam_admin import IamAdmin
from remit.lab.iam_credentials import IamCredentials
from remit.lab.lifecycle import Lab, reach, variables
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.proxy import Proxy
from remit.lab.resource_manager import ResourceManager
from remit.lab.storage import Storage
from remit.lab.tensorflow_serving import TensorFlowServing
from remit.lab.vertex.projects import Projects
from remit.lab.vertex.service import Surroundings, Vertex


class Clouds:
    """Every cloud of the lab, put together over one folder."""

    def __init__(self, folder: Path, models: Path | None = None) -> None:
        self.entra_clock, self.google_clock = Clock(), Clock()
        self.faults = Faults()
        self.directory = Directory(self.entra_clock)
        self.entra = Entra(self.entra_clock, folder / "sign_ins.jsonl", self.directory, self._outside)
        self.iam = Iam(clock=self.google_clock)
        self.pools = Pools(self._keys_of)
        self.audit = CloudAuditLog(folder / "cloud_audit.jsonl")
        self.storage = Storage(folder / "objects", self.iam, self.audit)
        self.logging = Logging(self.iam, self.audit)
        # What a job needs to meet the lab is known only once its ports are, and read when a job starts.
        self.given: dict[str, str] = {}
        self.accounts = GoogleAccounts(self.google_clock)
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
        self.blob = Blob(self.entra.keys, self.entra_clock, folder / "storage_blob.jsonl")
        self.azure = AzureMetadata(self.entra.tokens, self.entra.sign_ins, contoso.MANAGED_IDENTITIES, self.entra_clock)

    def hosts(self) -> Hosts:
        """Which cloud answers for which host."""
        entra, google = self.entra, self.google_clock
        return Hosts(
            {
                "login.microsoftonline.com": entra,
                "localhost": entra,
                "graph.microsoft.com": self.graph,
                HOST: self.github,
                RUNNER: self.github,
                "sts.googleapis.com": GoogleSts(self.iam, self.audit, self.pools, google),
                "iamcredentials.googleapis.com": IamCredentials(self.iam, self.audit),
                "iam.googleapis.com": IamAdmin(self.iam, self.pools),
                "cloudresourcemanager.googleapis.com": ResourceManager(self.iam),
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
            **self.blob.commands(),
            "skew_entra": lambda seconds: setattr(self.entra_clock, "skew", float(seconds)),
            "put_object": self._put_object,
            "provider_keys": self.pools.upload,
            "service_account_key": self.account_keys.make,
            "log_view": lambda given: self.logging.make_view(given["name"], given["filter"]),
            "board": self._place_board,
            "board_calls": lambda _: json.dumps(list(self.board.calls)),
            "serving_calls": lambda _: json.dumps(
                [asdict(each) for each in self.serving.calls] if self.serving else []
            ),
            "skew_google": lambda seconds: setattr(self.google_clock, "skew", float(seconds)),
        }

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

    def _keys_of(self, issuer: str) -> list[dict[str, Any]]:
        """What the issuer's `jwks_uri` would give: the lab's Google reads the lab's Entra."""
        return self.entra.keys.public() if issuer == contoso.ISSUER else []


async def serve(folder: Path, models: Path | None = None) -> None:
    """Run the lab until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clouds = Clouds(folder, models)
    surfaces = (clouds.vertex.surface, clouds.logging.surface, clouds.projects.surface)
    grpc_server, grpc_port = await start_grpc([surface.grpc for surface in surfaces])
    lab = await _listen(clouds, folder, grpc_port)
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
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.run(serve(folder, Path(sys.argv[2]) if len(sys.argv) > 2 else None))  # noqa: PLR2004 - the second argument


if __name__ == "__main__":
    main()
