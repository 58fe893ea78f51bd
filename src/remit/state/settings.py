"""The state room's settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StateSettings:
    """Where the state lives.

    `url`: `sqlite:////absolute/path.db` or `postgresql://HOST/DATABASE`; `busy_ms`: how long a writer waits for
    another one, short, since a decision has one second in all.
    """

    url: str
    busy_ms: int = 500
