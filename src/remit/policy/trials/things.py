"""What policy tests name: actions and resources, by the words that the command line takes, or a resource spelt out.

A word that means nothing, or two things, is a problem of the test: it must not pass for being refused as unknown,
unless it expects just that. Leaves out what words mean: whoever reads tests hands in who knows (`catalogue` does).
"""

from collections.abc import Iterator
from typing import Protocol

from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Action, Group, Resource
from remit.model.reasons import Reason
from remit.policy.facts import ACCOUNT_PREFIX, BUCKET_PREFIX, PROJECT_PREFIX, resource_uid
from remit.policy.trials.written import Fields

_RESOURCE = ("type", "project", "name")
_PREFIXES = {"Project": PROJECT_PREFIX, "Bucket": BUCKET_PREFIX, "ServiceAccount": ACCOUNT_PREFIX}
_HOMES = {
    "KmsKey": "cloudkms.googleapis.com",
    "LogView": "logging.googleapis.com",
    "Network": "compute.googleapis.com",
    "Secret": "secretmanager.googleapis.com",
    "ServedModel": "remit",
    "Service": "remit",
    "Table": "bigquery.googleapis.com",
}  # the services that a relative name is of; of all other types it is Vertex AI's
_VERTEX = "aiplatform.googleapis.com"


class Words(Protocol):
    """What people mean by a word (`access.ports.Words`)."""

    def action(self, word: str) -> Action:
        """A method, or a group as an action of its own name; raises `Refused`."""

    def part(self, word: str) -> tuple[Resource, str]:
        """A resource, and the prefix in it that is meant, empty for all of it; raises `Refused`."""


class Things:
    """The actions and resources of one installation."""

    def __init__(self, estate: Estate, words: Words) -> None:
        self._estate = estate
        self._words = words

    def action(self, test: Fields, *, unknown: bool) -> Action | None:
        """What a test's `does` means, `None` for a problem.

        `unknown`: whether it expects to be refused for an action that nobody knows. A group stands for those of its
        members that no policy names.
        """
        if "does" not in test:
            test.lacks("does not say what is done: `does`")
            return None
        word = test.text("does")
        try:
            return self._words.action(word)
        except Refused as refusal:
            if unknown and word:
                return Action(word, Group.ADMINISTER)
            test.complain("does", f"must name a method or a group: {_said(refusal)}")
            return None

    def resources(self, test: Fields, *, unknown: bool) -> tuple[Resource, ...]:
        """What a test's `on` means, one or a list, each of them whole; empty for a problem.

        `unknown`: whether it expects to be refused for a resource that nobody knows.
        """
        found, prefix = self.part(test, unknown=unknown)
        if prefix:
            test.complain("on", "must name all of a bucket or container here: leave out the prefix")
        return () if prefix else found

    def part(self, test: Fields, *, unknown: bool) -> tuple[tuple[Resource, ...], str]:
        """Likewise, or one bucket or container with the prefix in it that is meant, empty for all of what is named."""
        found = list(self._each(test, unknown=unknown))
        known = [each for each in found if each is not None]
        prefixes = [prefix for _, prefix in known if prefix]
        if prefixes and len(found) > 1:
            test.complain("on", "has a prefix in a list: each part of a bucket or container stands for itself (`also`)")
        if len(known) < len(found) or (prefixes and len(found) > 1):
            return (), ""
        return tuple(resource for resource, _ in known), "".join(prefixes)

    def account(self, email: str) -> Resource | None:
        """A service account of the estate."""
        owner = self._estate.owner_of_account(email)
        return Resource("ServiceAccount", ACCOUNT_PREFIX + email, owner.id) if owner else None

    def _each(self, test: Fields, *, unknown: bool) -> Iterator[tuple[Resource, str] | None]:
        if "on" not in test:
            test.lacks("does not say what it is done to: `on`")
        value = test.raw("on")
        for index, one in enumerate(value if isinstance(value, list) else [value] if "on" in test else []):
            path = ("on", index) if isinstance(value, list) else ("on",)
            try:
                found = self._spelt(test.below(path, _RESOURCE)) if isinstance(one, dict) else self._word(one)
                if found is not None and not unknown:
                    resource_uid(found[0], self._estate)
                yield found
            except Refused as refusal:
                expected = unknown and refusal.reason is Reason.RESOURCE_UNKNOWN
                yield (Resource("Project", f"{PROJECT_PREFIX}{one}", str(one)), "") if expected else None
                if not expected:
                    test.complain_of("on", index, _said(refusal))
            except TypeError as error:
                test.complain_of("on", index, str(error))
                yield None

    def _word(self, word: object) -> tuple[Resource, str]:
        if not isinstance(word, str):
            raise TypeError("a resource is a word, or `{type: …, project: …, name: …}`")
        return self._words.part(word)

    def _spelt(self, given: Fields) -> tuple[Resource, str] | None:
        """A resource by type, project and name; the name may be one below the project (`locations/L/endpoints/1`)."""
        kind, project, name = given.text("type"), given.text("project"), given.text("name")
        if kind == "Project":
            return Resource(kind, f"{PROJECT_PREFIX}{project}", project), ""
        if not (kind and project and name):
            given.complain("", "must have `type`, `project` and `name`")
            return None
        above = _PREFIXES.get(kind, f"//{_HOMES.get(kind, _VERTEX)}/projects/{project}/")
        return Resource(kind, name if name.startswith("//") else above + name, project), ""


def _said(refusal: Refused) -> str:
    return f"{refusal.message}; {refusal.hint}" if refusal.hint else refusal.message
