"""What a refused request and its answer tell besides their text: its token of itself, and Remit's gateway of itself.

Cloud Storage answers `Invalid Credentials` to an expired token, to another party's and to none of its own kind alike
(github.com/googleapis/python-storage/issues/1401). Exceptions of google-cloud-storage and of Google's REST clients keep
the request, and a JWT in it can be read (RFC 7519): Google's own access tokens are none, an ID token or an Entra token
is one. Nothing is verified here, nothing of the token is kept or told, and nothing is decided by it but which hint is
given. The gateway names its decision on every answer that passes it (`x-remit-decision`), a cloud's refusals too.
"""

import base64
import json
import re
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

ANOTHER_AUDIENCE, EXPIRED = "remit:another_audience", "remit:expired"
_GOOGLE = ".googleapis.com"
_LONGEST = 32 << 10  # characters of a token that is looked at
_PARTS = 3  # of a JWT (RFC 7515 section 3.1)
_DECISION = re.compile(r"d-[0-9a-z]{1,40}")
_HEADER = "x-remit-decision"


def faults(response: Any) -> Iterator[str]:
    """What is wrong with the bearer token that a request to Google carried, as codes; nothing where it tells none."""
    request = getattr(response, "request", None)
    host = urlsplit(str(getattr(request, "url", ""))).hostname or ""
    claims = _claims(getattr(request, "headers", None)) if host.endswith(_GOOGLE) else {}
    if not claims:
        return
    if not _for_google(claims.get("aud")):
        yield ANOTHER_AUDIENCE
    elif isinstance(ends := claims.get("exp"), int | float) and ends < time.time():
        yield EXPIRED


def decision(response: Any) -> str:
    """The id of the permit that led to an answer, of an HTTP response or a gRPC call; empty where none is named."""
    headers = getattr(response, "headers", None)
    if headers is not None and hasattr(headers, "get"):
        said = str(headers.get(_HEADER) or "")
    else:
        metadata = (getattr(response, name, lambda: ())() or () for name in ("initial_metadata", "trailing_metadata"))
        said = next((str(value) for name, value in chain(*metadata) if name == _HEADER), "")
    return said if _DECISION.fullmatch(said) else ""


def _claims(headers: Any) -> dict[str, Any]:
    scheme, _, token = (
        str(headers.get("authorization") or "").partition(" ") if hasattr(headers, "get") else ("", "", "")
    )
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != _PARTS or len(token) > _LONGEST:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _for_google(audience: Any) -> bool:
    """Whether it names an API of Google's: service accounts may sign such tokens for themselves."""
    hosts = [
        urlsplit(one).hostname or ""
        for one in (audience if isinstance(audience, list) else [audience])
        if isinstance(one, str)
    ]
    return any(host.endswith(_GOOGLE) for host in hosts)
