"""Who asks Graph for what: a request with its caller, and which path is answered by which function.

Directory objects are named by `/ID`, or by an alternate key in brackets: `(appId='…')`, `(uniqueName='…')`. Each
operation is behind the application permissions that its page names. Source: learn.microsoft.com/graph/use-the-api.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from remit.lab.graph_errors import bad_request
from remit.lab.http import Request

ID = "([0-9a-fA-F-]{36})"
APPLICATION = r"applications(/[0-9a-fA-F-]{36}|\((?:appId|uniqueName)='[^/]*'\))"
PRINCIPAL = r"servicePrincipals(/[0-9a-fA-F-]{36}|\(appId='[^/]*'\))"


@dataclass(frozen=True, slots=True)
class Caller:
    """An application that asks. `oid`: of its service principal; `permissions`: at Graph, consented to by somebody."""

    app: str = ""
    oid: str = ""
    permissions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Call(Request):
    """A request, and who makes it."""

    caller: Caller = Caller()


class Created(dict[str, Any]):
    """An answer that is told as 201, since something was made."""


Answer = dict[str, Any] | Created | None


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method on a path; `permissions`: alternatives, each a set."""

    method: str
    path: re.Pattern[str]
    permissions: Sequence[frozenset[str]]
    answer: Callable[..., Answer]


def route(method: str, path: str, answer: Callable[..., Answer], *permissions: str) -> Route:
    """`permissions`: alternatives, each one or more names with `&` between; an empty one is for everybody."""
    alternatives = tuple(frozenset(name for name in each.split("&") if name) for each in permissions)
    return Route(method, re.compile(f"/v1\\.0/{path}"), alternatives, answer)


def body(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    try:
        value = json.loads(request.body or b"{}")
    except ValueError as cause:
        raise bad_request("Unable to read JSON request payload.", "BadRequest") from cause
    if not isinstance(value, dict):
        raise bad_request("Unable to read JSON request payload.", "BadRequest")
    return value


def keyed(key: str) -> tuple[str, str]:
    """How a path names an object: the property (`id`, `appId`, `uniqueName`) and its value."""
    if key.startswith("/"):
        return "id", key[1:].lower()
    name, _, value = key[1:-1].partition("=")
    text = value[1:-1].replace("''", "'")
    return name, text.lower() if name == "appId" else text
