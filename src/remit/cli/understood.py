"""An answer of another version, or of something that is no installation: said in one sentence, never a traceback."""

import contextlib
from collections.abc import Iterator

from remit.model.errors import RemitError


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """What reads an answer; raises `RemitError` when it is not of the form that this version knows."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError):
        pass  # outside the handler: what was read belongs in no traceback
    else:
        return
    raise RemitError("the answer of remit is not understood", hint="are both of one version? `remit --version`")
