"""Which groups and jobs the policies name: what a question about people has to know of them."""

from collections.abc import Callable, Iterable

from remit.policy.book import Book
from remit.policy.slices import Name, names


class NamedGroups:
    """Implements `access.who.Policies` for the set that decides now, which `book` gives."""

    def __init__(self, book: Callable[[], Book]) -> None:
        self._book = book
        self._read: tuple[str, dict[str, frozenset[Name]]] = ("", {})

    def groups(self, policies: frozenset[str]) -> frozenset[str]:
        """Ids of the groups that the policies with these ids name."""
        named = self._named()
        return _ids("Group", (named.get(policy, frozenset()) for policy in policies))

    def jobs(self, policies: frozenset[str] | None = None) -> frozenset[str]:
        """The jobs that the policies with these ids name, or all policies; as `model.job.job`."""
        named = self._named()
        some = named.values() if policies is None else (named.get(policy, frozenset()) for policy in policies)
        return _ids("Job", some)

    def all(self) -> frozenset[str]:
        """Ids of every group that is named."""
        return _ids("Group", self._named().values())

    def _named(self) -> dict[str, frozenset[Name]]:
        book = self._book()
        if self._read[0] != book.version:
            whole = [book.engine_set.whole, *([book.obligations.whole] if book.obligations else [])]
            trees = (tree for each in whole for tree in each.to_pst().static_policies.values())
            self._read = (book.version, {tree.annotations.get("id", tree.id): names([tree]) for tree in trees})
        return self._read[1]


def _ids(kind: str, named: Iterable[frozenset[Name]]) -> frozenset[str]:
    return frozenset(name for each in named for of, name in each if of == kind)
