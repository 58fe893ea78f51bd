"""Durations as people write them: 90s, 15m, 2h, 7d."""

from remit.model.errors import RemitError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 10  # characters: more are no number that anybody means, and many more none that Python reads


def duration(text: str) -> int:
    """Seconds of a duration such as 15m; raises `RemitError`."""
    if (
        len(text) <= _LONGEST
        and text[:-1].isdecimal()
        and text[:-1].isascii()
        and text[-1:] in _UNITS
        and int(text[:-1])
    ):
        return int(text[:-1]) * _UNITS[text[-1]]
    raise RemitError(f"`{text}` is no duration", hint="write 90s, 15m, 2h, 7d")


def in_words(seconds: int) -> str:
    """The same the other way, in the largest unit that fits it exactly; where only seconds do, `23h 57m 48s`."""
    for unit, size in reversed(_UNITS.items()):
        if size > 1 and seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    parts = {"h": seconds // 3600, "m": seconds // 60 % 60, "s": seconds % 60}
    return " ".join(f"{count}{unit}" for unit, count in parts.items() if count) or "0s"
