"""Which groups the policies name: those whose members a question about people has to know."""

from collections.abc import Callable

from cedarpy import pst

from remit.policy.book import Book


class NamedGroups:
    """Implements `access.who.Policies` for the set that decides now, which `book` gives."""

    def __init__(self, book: Callable[[], Book]) -> None:
        self._book = book
        self._read: tuple[str, dict[str, frozenset[str]]] = ("", {})

    def groups(self, policies: frozenset[str]) -> frozenset[str]:
        """Ids of the groups that the policies with these ids name."""
        named = self._named()
        return frozenset[str]().union(*(named.get(policy, frozenset()) for policy in policies))

    def all(self) -> frozenset[str]:
        """Ids of every group that is named."""
        return frozenset[str]().union(*self._named().values())

    def _named(self) -> dict[str, frozenset[str]]:
        book = self._book()
        if self._read[0] != book.version:
            whole = [book.engine_set.whole, *([book.obligations.whole] if book.obligations else [])]
            trees = (tree for each in whole for tree in each.to_pst().static_policies.values())
            self._read = (book.version, {tree.annotations.get("id", tree.id): _groups(tree) for tree in trees})
        return self._read[1]


def _groups(tree: pst.Template) -> frozenset[str]:
    return frozenset(name.id for name in pst.entity_uids(tree) if str(name.type) == "Group")
