"""A sidecar that really stands on loopback, in a thread of its own, with a broker that answers from a table."""

import asyncio
import contextlib
import os
import threading
from pathlib import Path

from tests.unit.sdk.conftest import configuration

from remit.model.secret import AccessToken
from remit.sdk.broker import Exchanged
from remit.sdk.environment import Run, bundles, environment_of
from remit.sdk.sidecar import Sidecar
from remit.sdk.tunnel import Onward, Tunnel


class Exchange:
    """The broker: `token-N AUDIENCE` each time, living `life` seconds, or what it is told to raise."""

    def __init__(self, life=900):
        self.life = life
        self.trouble = None
        self.asked = []

    def __call__(self, audience):
        self.asked.append(audience)
        if self.trouble:
            raise self.trouble
        return Exchanged(AccessToken(f"token-{len(self.asked)} {audience}"), self.life)


@contextlib.contextmanager
def standing(exchange, folder: Path, project="contoso-fraud-test", found=None):
    """The environment of a command beside which a sidecar stands."""
    found = found or configuration("http://127.0.0.1:1", audience="api://remit")
    tunnel = Tunnel(found, lambda: AccessToken("identity-of-dana"), Onward())
    sidecar = Sidecar(found, project, exchange, tunnel, lambda: None)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    do(sidecar.open())
    try:
        files = bundles(os.environ, found.ca_pem, folder)
        yield environment_of(
            Run("j-1", project, found, sidecar.addresses, files, str(folder / "gcloud")), dict(os.environ)
        )
    finally:
        do(sidecar.close())
        do(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
