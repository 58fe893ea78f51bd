"""Microsoft Graph: who asks, how much, and one request or twenty in one.

What is answered stands in `graph_operations`. Application permissions only: a person's token is refused. Source:
learn.microsoft.com/graph "Use the API", "JSON batching", "Throttling".
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from remit.lab import contoso
from remit.lab.directory import Directory
from remit.lab.entra_keys import Keys
from remit.lab.graph_errors import GraphError, bad_request, need, throttled, unauthenticated
from remit.lab.graph_operations import ROUTES, Operations
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.jwt import BrokenTokenError
from remit.lab.sign_in_log import SignInLog

BATCH = 20  # requests in one


class Graph:
    """Answers graph.microsoft.com. `clock`: seconds since the epoch; `directory`: what Entra asks too."""

    def __init__(
        self, keys: Keys, sign_ins: SignInLog, clock: Callable[[], float], directory: Directory | None = None
    ) -> None:
        self._keys = keys
        self._clock = clock
        self.operations = Operations(directory or Directory(clock), sign_ins)
        self._throttled = (0, 0)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        try:
            permissions = self._permissions(request)
            if request.method == "POST" and request.path == "/v1.0/$batch":
                return reply(self._batch(request, permissions))
        except GraphError as error:
            return error.render(request)
        return self._respond(request, permissions)

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door: `graph_throttle` takes `{"times", "retry_after"}`; see `Operations` for the rest."""
        operations = self.operations
        return {
            "graph_throttle": lambda given: self.throttle(given["times"], given.get("retry_after", 1)),
            "graph_page": lambda size: setattr(operations, "page_size", int(size)),
            "graph_forget": lambda _: operations.delta.forget(),
            "graph_locations": lambda locations: setattr(operations, "locations", tuple(locations)),
        }

    def throttle(self, times: int, retry_after: int = 1) -> None:
        """Answer the next so many operations, each in a batch counted, with 429 (a fault). `retry_after`: seconds."""
        self._throttled = times, retry_after

    def _respond(self, request: Request, permissions: frozenset[str]) -> Response:
        try:
            left, later = self._throttled
            if left:
                self._throttled = left - 1, later
                raise throttled(later)
            answer = self._answer(request, permissions)
        except GraphError as error:
            return error.render(request)
        return Response(HTTPStatus.NO_CONTENT) if answer is None else reply(answer)

    def _answer(self, request: Request, permissions: frozenset[str]) -> dict[str, Any] | None:
        for route in ROUTES:
            match = route.path.fullmatch(request.path)
            if match and route.method == request.method:
                need(permissions, *route.permissions)
                return route.answer(self.operations, request, *match.groups())
        raise bad_request(f"Resource not found for the segment '{request.path}'.", "BadRequest")

    def _batch(self, request: Request, permissions: frozenset[str]) -> dict[str, Any]:
        asked = _object(request.body).get("requests")
        if not isinstance(asked, list) or not 0 < len(asked) <= BATCH:
            raise bad_request(f"Number of batch request steps is outside of 1 to {BATCH}.", "BadRequest")
        responses = []
        for each in asked:
            response = self._respond(_part(request, each), permissions)
            body = {"body": json.loads(response.body)} if response.body else {}
            headers = {
                "-".join(word.capitalize() for word in key.split("-")): response.headers[key]
                for key in response.headers
            }
            responses.append({"id": each["id"], "status": int(response.status), "headers": headers, **body})
        # in no order of the requests, as the real one: a client has to look at the ids
        return {"responses": responses[::-1]}

    def _permissions(self, request: Request) -> frozenset[str]:
        """The application permissions of the bearer's token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("Access token is empty.")
        try:
            claims = self._keys.verify(token)
        except BrokenTokenError as cause:
            raise unauthenticated(f"Access token validation failure: {cause}.") from cause
        if claims["aud"] not in {contoso.GRAPH.uri, contoso.GRAPH.id}:
            raise unauthenticated("Access token validation failure. Invalid audience.")
        if claims["exp"] <= self._clock():
            raise unauthenticated("Lifetime validation failed, the token is expired.")
        return frozenset(claims.get("roles", ()))


def _part(request: Request, part: Mapping[str, Any]) -> Request:
    """One request of a batch; its URL starts below the version."""
    path, _, query = part["url"].partition("?")
    body = json.dumps(part["body"]).encode() if "body" in part else b""
    pairs = tuple(parse_qsl(query, keep_blank_values=True))
    return Request(part["method"], request.host, f"/v1.0/{path.lstrip('/')}", pairs, request.headers, body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as cause:
        raise bad_request("Unable to read JSON request payload.", "BadRequest") from cause
    return value if isinstance(value, dict) else {}
