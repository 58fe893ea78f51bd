"""What the door must be told: plain values, no parsing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """One database behind the door. `database`: its own name there; `roots`: PEM, `None` for the system's."""

    name: str
    host: str
    port: int
    database: str
    roots: Path | None = None


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Everything about the door.

    `certificate`, `key`: PEM files, `None` only on loopback, where clients may do without TLS in any case; `arbiter`:
    its Unix socket; `databases`: by name; `lifetime`: seconds after which a connection ends between two transactions,
    `longest`: in any case; `each`: connections of one principal, `all_`: of everybody, `greeting`: of those who have
    not been let in; `greeting_seconds`: for a client to say who it is; `reach_seconds`: for a database to let in;
    `blind_seconds`: without word from the arbiter, after which everything ends; `look_seconds`: between two questions
    to it; `flush_seconds`: between two records of what statements ran.
    """

    host: str
    port: int
    arbiter: Path
    databases: Mapping[str, Target]
    certificate: Path | None = None
    key: Path | None = None
    lifetime: float = 3600.0
    longest: float = 6 * 3600.0
    each: int = 100
    all_: int = 1000
    greeting: int = 256
    greeting_seconds: float = 15.0
    reach_seconds: float = 10.0
    blind_seconds: float = 3.0
    look_seconds: float = 0.25
    flush_seconds: float = 2.0
