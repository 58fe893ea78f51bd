"""Shell text: words that nothing can break out of, ids that an earlier line has yet to give, and comments.

Pure. Every value stands in single quotes (`shlex`); an id that is not known yet is a variable in double quotes between
them. Source: pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02 (quoting).
"""

import json
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping

from remit.model.errors import TrustBroken
from remit.trust.things import Ref, Text, Value

_DELIMITERS = (",", ";", "|", "~", "#", "%", "::", ";;", "||")


class Quoted(str):
    """What may stand in a command as it is."""

    __slots__ = ()


class Words:
    """Values as words of a shell. `known`: ids that need no variable."""

    def __init__(self, known: Mapping[Ref, str]) -> None:
        self._known = dict(known)
        self._refs: list[Ref] = []
        self._variables: dict[str, Ref] = {}
        self._nonce = secrets.token_hex(8)  # in no text that somebody else wrote; it is never printed
        self._token = re.compile(f"\ue000{self._nonce}:([0-9]+)\ue001")

    @property
    def waited_for(self) -> tuple[Ref, ...]:
        """Every id that some word took from a variable, in the order of their first use."""
        return tuple(self._refs)

    def variable(self, ref: Ref) -> str:
        """The variable that holds an id, and no other's."""
        name = "_".join(re.sub(r"[^A-Za-z0-9]", "_", part) for part in (ref.of.kind, ref.of.name, ref.name))
        while self._variables.setdefault(name, ref) != ref:
            name += "_"
        return name

    def text(self, value: Value) -> str:
        """A value as text, in which ids that are not known yet are marked for `word`."""
        if isinstance(value, Ref):
            return self._known.get(value) or self._mark(value)
        if isinstance(value, Text):
            return "".join(self.text(part) for part in value.parts)
        return str(value)

    def plain(self, value: Value) -> object:
        """A value for JSON, with the same marks."""
        if isinstance(value, tuple):
            return [self.plain(each) for each in value]
        if isinstance(value, Mapping):
            return {name: self.plain(each) for name, each in value.items()}
        return self.text(value) if isinstance(value, Ref | Text) else value

    def word(self, text: object) -> Quoted:
        """One word of the shell; whatever is no text, as JSON."""
        if isinstance(text, Quoted):
            return text
        told = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        pieces = self._token.split(told)
        words = [shlex.quote(piece) if index % 2 == 0 else self._quoted(piece) for index, piece in enumerate(pieces)]
        return Quoted("".join(word for word in words if word != "''") or "''")

    def json(self, value: Value) -> Quoted:
        """A value as one word of JSON."""
        return self.word(json.dumps(self.plain(value), ensure_ascii=False))

    def flag(self, name: str, text: object) -> Quoted:
        """`--NAME=TEXT`."""
        return Quoted(f"--{name}={self.word(text)}")

    def line(self, *words: object) -> str:
        """A command."""
        return " ".join(map(self.word, words))

    def _mark(self, ref: Ref) -> str:
        if ref not in self._refs:
            self._refs.append(ref)
        return f"\ue000{self._nonce}:{self._refs.index(ref)}\ue001"

    def _quoted(self, number: str) -> str:
        return f'"${self.variable(self._refs[int(number)])}"'


def several(pieces: Iterable[str]) -> str:
    """A list for a flag of gcloud's, with a delimiter that is in none of its entries (`gcloud topic escaping`)."""
    listed = list(pieces)
    fitting = next((each for each in _DELIMITERS if not any(each in piece for piece in listed)), None)
    if fitting is None:
        raise TrustBroken("no delimiter is left for a list", hint="apply it with `remit trust apply`")
    joined = fitting.join(listed)
    return joined if fitting == "," and not joined.startswith("^") else f"^{fitting}^{joined}"


def comment(text: str) -> str:
    """One line that the shell passes over, whatever stands in the text."""
    return "# " + "".join(each if each.isprintable() else " " for each in text)
