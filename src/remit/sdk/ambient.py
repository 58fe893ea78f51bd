"""Where this process gets its tokens: from what stands beside its run, else from the broker, by who is signed in."""

import os
import time
from collections.abc import Mapping

from remit.sdk.beside import beside
from remit.sdk.resources import OWN, Resource, project_of, scheme_of
from remit.sdk.tokens import Issued


class Ambient:
    """The surroundings, for a project: the one that is named here, else the environment's."""

    def __init__(self, project: str | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._project = project
        self._environment = environment

    def scoped(self, scope: str) -> Resource:
        """What a scope of azure-core's is for; raises `RemitError` for one that means nothing here."""
        return self.named(scheme_of(scope))

    def named(self, scheme: str) -> Resource:
        """A resource of the project; raises `RemitError` when there is none."""
        return Resource(OWN) if scheme == OWN else Resource(scheme, project_of(self._project, self._environment))

    def ask(self, resource: Resource) -> Issued:
        """A new token; raises `Refused` and other `RemitError`s. It blocks."""
        if found := beside(self._environment):
            return found.ask(resource)
        from remit.sdk.broker import Broker  # noqa: PLC0415 - httpx, and only outside of a run
        from remit.sdk.sign_in import current  # noqa: PLC0415 - the same

        sign_in = current(self._environment)
        began = time.time()
        exchanged = Broker(sign_in.configuration.url).exchange(sign_in.token(), resource.audience)
        return Issued(exchanged.token, began + exchanged.expires_in)
