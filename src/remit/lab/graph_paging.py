"""Pages, selections and the tokens that stand for where a reader is.

A hundred items a page, `$top` for up to 999, `@odata.nextLink` until the last one. Tokens are opaque to a client, and
are no secret here. Source: learn.microsoft.com/graph/paging.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from remit.lab.graph_errors import bad_request
from remit.lab.http import Request

HOST = "https://graph.microsoft.com"
CONTEXT = f"{HOST}/v1.0/$metadata"
MOST = 999


def page(request: Request, items: Sequence[Mapping[str, Any]], context: str, size: int) -> dict[str, Any]:
    """The page of `items` that the request asks for, reduced to what it selects. `size`: items when it names none."""
    first = int(read_token(request.parameter("$skiptoken")).get("first", 0))
    count = _top(request, size)
    selected = _selected(request)
    answer: dict[str, Any] = {
        "@odata.context": f"{CONTEXT}#{context}",
        "value": [select(item, selected) for item in items[first : first + count]],
    }
    if first + count < len(items):
        answer["@odata.nextLink"] = link(request, "$skiptoken", token(first=first + count))
    return answer


def select(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The item's selected members, and what it always has; all of them when nothing is selected."""
    wanted = set(names)
    return {
        name: value for name, value in item.items() if not wanted or name in wanted or name == "id" or name[0] == "@"
    }


def link(request: Request, name: str, value: str) -> str:
    """This request's own address, at another place."""
    kept = [(key, text) for key, text in request.query if key not in {"$skiptoken", "$deltatoken"}]
    query = "&".join(f"{quote(key, safe='$')}={quote(text, safe=',')}" for key, text in [*kept, (name, value)])
    return f"{HOST}{request.path}?{query}"


def token(**state: object) -> str:
    """An opaque word for `state`."""
    return base64.urlsafe_b64encode(json.dumps(state).encode()).rstrip(b"=").decode()


def read_token(text: str) -> dict[str, Any]:
    """What `token` was given; empty for no token."""
    if not text:
        return {}
    try:
        state = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError) as cause:
        raise bad_request("Badly formed token.", "BadRequest") from cause
    if not isinstance(state, dict):
        raise bad_request("Badly formed token.", "BadRequest")
    return state


def _selected(request: Request) -> list[str]:
    return [name for name in request.parameter("$select").split(",") if name]


def _top(request: Request, size: int) -> int:
    top = request.parameter("$top")
    if not top:
        return size
    if not top.isdigit() or not 1 <= int(top) <= MOST:
        raise bad_request(f"Invalid page size specified: '{top}'. Must be between 1 and {MOST} inclusive.")
    return int(top)
