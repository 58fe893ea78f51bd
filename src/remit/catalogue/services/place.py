"""Where a service stands: its resource, and whether a path is its own.

What goes upstream is the target as it came, with the prefix: a path is looked at here and never rewritten.
"""

import re
import unicodedata
from urllib.parse import unquote

from remit.model.errors import Refused
from remit.model.estate import Service
from remit.model.operation import Resource
from remit.model.reasons import Reason

_LONGEST = 8192  # characters; as long a request line as nginx and gunicorn take at most
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,:=@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"[!-~]*")
_EMPTY_OR_DOTS = re.compile(r"//|/\.{1,2}(?=/|$)")
# What servers undo at different times: slashes, dots, parameters, escapes of escapes, control characters.
_TWICE_READ = re.compile(r"%(?:[01][0-9A-Fa-f]|2[5EeFf]|3[Bb]|5[Cc]|7[Ff])")
_STEERS = frozenset("/\\.%;?#")


def resource(service: Service) -> Resource:
    """The service itself."""
    return Resource("Service", f"//remit/projects/{service.project}/services/{service.name}", service.project)


def path_of(service: Service, target: str) -> tuple[str, str]:
    """A target's path, decoded once, and its raw query; raises `Refused`.

    Decoded, since `/%61dmin` and `/admin` are one path to every server, and must be one to policy. What servers decode
    differently is refused: encoded slashes, dots and escapes, empty and dotted segments, path parameters (`;`).
    """
    path, _, query = target.partition("?")
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query) or "#" in query or len(target) > _LONGEST:
        raise Refused(Reason.REQUEST_MALFORMED, "the target holds what has to be encoded, or is too long")
    if _EMPTY_OR_DOTS.search(path) or _TWICE_READ.search(path):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the path can be read in two ways")
    if service.prefix and not service.host and not path.startswith(service.prefix):
        raise Refused(Reason.RESOURCE_UNKNOWN, f"`{service.name}` stands below `{service.prefix}` only")
    return _decoded(path), query


def inside(service: Service, path: str) -> str:
    """The path that is left below the service's prefix, with its first slash; the path itself when it came by host."""
    if service.prefix and path.startswith(service.prefix):
        return path[len(service.prefix) - 1 :]
    return path


def _decoded(path: str) -> str:
    try:
        plain = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise Refused(Reason.REQUEST_MALFORMED, "the path is not UTF-8") from None
    if not plain.isascii() and any(_steers(sign) for sign in plain):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the path holds characters that some servers read as others")
    return plain


def _steers(sign: str) -> bool:
    """Whether a sign beyond ASCII is invisible, or becomes part of a path's grammar where text is normalised."""
    if sign.isascii():
        return False
    invisible = unicodedata.category(sign)[0] == "C" or unicodedata.category(sign) in {"Zl", "Zp"}
    return invisible or bool(_STEERS & set(unicodedata.normalize("NFKC", sign)))
