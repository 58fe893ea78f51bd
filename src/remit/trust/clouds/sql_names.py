"""How the trust names what a PostgreSQL database holds, and which privileges there are for each kind of object. Pure.

`database`, `schemas/S`, `tables/S.T` (views, materialized views, foreign tables and partitioned ones as well) and
`sequences/S.Q` can be given; `columns/S.T.C`, `functions/SIGNATURE`, `defaults/KIND/OWNER[.SCHEMA]` and `others/WHAT`
are only found. Names are to the letter: nothing is folded. One with a dot, slash, space or quote stands in double
quotes, doubled within. Source: postgresql.org/docs/17/ddl-priv.html, tables 5.1 and 5.2.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PUBLIC = "public"
"""Everybody. No role can have this name (postgresql.org/docs/17/sql-createrole.html)."""
OWNER = "OWNER"
"""Whoever owns a thing may do everything with it, and give it on."""
LONGEST_NAME = 63  # bytes: NAMEDATALEN

_TABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "database": ("CREATE", "CONNECT", "TEMPORARY"),
    "schemas": ("CREATE", "USAGE"),
    "tables": _TABLE,
    "sequences": ("SELECT", "UPDATE", "USAGE"),
}
"""Kind of object → what remit.yaml may give there."""
_FOUND: Mapping[str, tuple[str, ...]] = {
    "columns": ("SELECT", "INSERT", "UPDATE", "REFERENCES"),
    "functions": ("EXECUTE",),
    "defaults": (*_TABLE, "USAGE", "EXECUTE", "CREATE"),
}
KNOWN: Mapping[str, tuple[str, ...]] = {**PRIVILEGES, **_FOUND}
"""The same, for whatever can be taken away."""

_PARTS: Mapping[str, int] = {"schemas": 1, "tables": 2, "sequences": 2, "columns": 3}
_PLAIN = r'[^\s"./\x00-\x1f\x7f]+'
_PART = rf'(?:{_PLAIN}|"(?:[^"\x00-\x1f\x7f]|"")+")'
_ONE = re.compile(_PART)
_DOTTED = re.compile(rf"{_PART}(?:\.{_PART})*")
_DEFAULTS = re.compile(rf"([a-z ]+)/({_PART}(?:\.{_PART})?)")


@dataclass(frozen=True, slots=True)
class Place:
    """An object of one database. `parts`: its names from the schema on; `word`: of `defaults`, of which kind."""

    kind: str
    parts: tuple[str, ...] = ()
    word: str = ""

    def __str__(self) -> str:
        if self.kind in {"functions", "others"}:
            return f"{self.kind}/{self.parts[0]}"
        names = ".".join(map(quoted, self.parts))
        return "/".join(filter(None, (self.kind, self.word, names)))

    @property
    def system(self) -> bool:
        """Whether it lies in PostgreSQL's own schemas, or in a session's."""
        return bool(self.parts) and (self.parts[0].startswith("pg_") or self.parts[0] == "information_schema")


def place(text: str) -> Place:
    """The object of a name; raises `ValueError` for what is none."""
    kind, slash, rest = text.partition("/")
    if kind == "database" and not slash:
        return Place(kind)
    if kind in {"functions", "others"} and rest:
        return Place(kind, (rest,))
    if kind == "defaults" and (match := _DEFAULTS.fullmatch(rest)):
        return Place(kind, _names(match[2]), match[1])
    if kind in _PARTS and _DOTTED.fullmatch(rest) and len(names := _names(rest)) == _PARTS[kind]:
        return Place(kind, names)
    raise ValueError(text)


def quoted(name: str) -> str:
    """A part of a name, in double quotes where it has to be."""
    doubled = name.replace('"', '""')
    return name if re.fullmatch(_PLAIN, name) else f'"{doubled}"'


def too_long(names: Sequence[str]) -> tuple[str, ...]:
    """Those that PostgreSQL would cut, and take for another."""
    return tuple(name for name in names if len(name.encode()) > LONGEST_NAME)


def role_name(database: str, role: str) -> str:
    """What a role is called in a plan."""
    return f"{database}/{role}"


def grant_name(database: str, role: str, privilege: str, object_: str) -> str:
    """What a grant is called in a plan: neither a database of remit.yaml nor one of its roles holds a space."""
    return f"{database}/{role} {privilege} {object_}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(one[1:-1].replace('""', '"') if one[0] == '"' else one for one in _ONE.findall(text))
