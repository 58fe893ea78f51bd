"""Numbers of things in words: the one way to say them wherever people read."""


def counted(number: int, one: str, several: str = "") -> str:
    """The number with its word: `1 key`, `2 keys`. `several`: where that is not `one` and an s (`policies`, `wait`)."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"
