"""Google's long-running operations, and lists that come in pages.

Source: cloud.google.com/apis/design/design_patterns, google.longrunning.Operation; codes: google.rpc.Code.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_names import IAM, safe
from remit.trust.clouds.port import CloudRefused, Conflict, Denied, Missing, Throttled

_POLLS = 40  # of at most 5 s: three minutes, where Google needs seconds
_LONGEST = 5.0  # seconds between two polls
_CODES: Mapping[int, type[CloudRefused]] = {
    5: Missing,
    6: Conflict,
    7: Denied,
    8: Throttled,
    10: Conflict,
    14: Throttled,
    16: Denied,
}


async def finished(ask: Asking, operation: Mapping[str, Any], sleep: Sleep = asyncio.sleep) -> None:
    """Waits until an operation is done; raises `TrustBroken` when it failed or does not end."""
    name = str(operation.get("name", ""))
    for attempt in range(_POLLS):
        if operation.get("done"):
            break
        if "/operations/" not in name:
            raise TrustBroken("Google answered no operation")
        await sleep(min(0.5 * 2**attempt, _LONGEST))
        operation = await ask("GET", f"{IAM}/{safe(name)}")
    else:
        raise TrustBroken(f"`{name}` does not end", hint="plan again: what it does may have been done by then")
    error = operation.get("error")
    if error:
        code = int(error.get("code", 0))
        said = str(error.get("message", ""))
        raise _CODES.get(code, CloudRefused)(f"`{name}` failed: {said}", code=str(code))


async def listed(ask: Asking, url: str, member: str) -> AsyncIterator[dict[str, Any]]:
    """Every entry of a list. `url`: with a query; `member`: of the answer, that holds them."""
    seen: set[str] = set()
    token = ""
    while token not in seen:
        seen.add(token)
        page = await ask("GET", f"{url}&pageToken={quote(token, safe='')}" if token else url)
        for entry in page.get(member, ()):
            yield entry
        token = str(page.get("nextPageToken", ""))
        if not token:
            return
    raise TrustBroken(f"`{url.partition('?')[0]}` answers the same page again and again")
