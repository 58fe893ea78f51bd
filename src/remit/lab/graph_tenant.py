"""The tenant that Graph's operations are about: where each looks a thing up, and where it writes down what it did."""

from remit.lab.directory import Directory
from remit.lab.entra_registry import Document, Registry
from remit.lab.graph_audits import Audits
from remit.lab.graph_errors import unknown
from remit.lab.graph_routes import keyed

PAGE = 100  # items, where a request does not say


class Tenant:
    """One tenant. `page_size`: items of a page where the caller names no number, changed by the control door."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.audits = Audits(directory)
        self.page_size = PAGE

    @property
    def registry(self) -> Registry:
        """The tenant's applications."""
        return self.directory.registry

    def application(self, key: str) -> Document:
        """The application that a path names, which must be seen by now; as it was written last."""
        name, value = keyed(key)
        found = self.registry.applications.all_seen().values()
        seen = next((each for each in found if each[name] == value), None)
        last = seen and self.registry.applications.written(seen["id"])
        if last is None:
            raise unknown(value)
        return last

    def principal(self, key: str) -> Document:
        """The service principal that a path names, likewise."""
        name, value = keyed(key)
        found = self.registry.principals.all_seen().values()
        seen = next((each for each in found if each[name] == value), None)
        last = seen and self.registry.principals.written(seen["id"])
        if last is None:
            raise unknown(value)
        return last
