"""Microsoft Graph: who asks, how much, and one request or twenty in one.

What is answered stands in `graph_operations`. Application permissions only: a person's token is refused. Source:
learn.microsoft.com/graph "Use the API", "JSON batching", "Throttling".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from remit.lab import contoso
from remit.lab.directory import Directory
from remit.lab.entra_keys import Keys
from remit.lab.graph_errors import GraphError, bad_request, need, throttled, unauthenticated
from remit.lab.graph_operations import ROUTES, Operations
from remit.lab.graph_routes import Answer, Call, Caller, Created
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
            caller = self._caller(request)
            if request.method == "POST" and request.path == "/v1.0/$batch":
                return reply(self._batch(request, caller))
        except GraphError as error:
            return error.render(request)
        return self._respond(request, caller)

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

    def _respond(self, request: Request, caller: Caller) -> Response:
        try:
            left, later = self._throttled
            if left:
                self._throttled = left - 1, later
                raise throttled(later)
            answer = self._answer(request, caller)
        except GraphError as error:
            return error.render(request)
        if answer is None:
            return Response(HTTPStatus.NO_CONTENT)
        return reply(answer, HTTPStatus.CREATED if isinstance(answer, Created) else HTTPStatus.OK)

    def _answer(self, request: Request, caller: Caller) -> Answer:
        path = unquote(request.path).rstrip("/")
        for route in ROUTES:
            match = route.path.fullmatch(path)
            if match and route.method == request.method:
                need(caller.permissions, *route.permissions)
                call = Call(request.method, request.host, path, request.query, request.headers, request.body)
                return route.answer(self.operations, replace(call, caller=caller), *match.groups())
        raise bad_request(f"Resource not found for the segment '{request.path}'.", "BadRequest")

    def _batch(self, request: Request, caller: Caller) -> dict[str, Any]:
        asked = _object(request.body).get("requests")
        if not isinstance(asked, list) or not 0 < len(asked) <= BATCH:
            raise bad_request(f"Number of batch request steps is outside of 1 to {BATCH}.", "BadRequest")
        responses = []
        for each in asked:
            response = self._respond(_part(request, each), caller)
            body = {"body": json.loads(response.body)} if response.body else {}
            headers = {
                "-".join(word.capitalize() for word in key.split("-")): response.headers[key]
                for key in response.headers
            }
            responses.append({"id": each["id"], "status": int(response.status), "headers": headers, **body})
        # in no order of the requests, as the real one: a client has to look at the ids
        return {"responses": responses[::-1]}

    def _caller(self, request: Request) -> Caller:
        """Whom the bearer's token stands for, with its application permissions."""
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
        return Caller(claims.get("appid", ""), claims.get("oid", ""), frozenset(claims.get("roles", ())))


def _part(request: Request, part: Mapping[str, Any]) -> Request:
    """One request of a batch; its URL starts below the version."""
    path, _, query = part["url"].partition("?")
    body = json.dumps(part["body"]).encode() if "body" in part else b""
    pairs = tuple(parse_qsl(query, keep_blank_values=True))
    headers = dict(request.headers) | {name.lower(): text for name, text in (part.get("headers") or {}).items()}
    return Request(part["method"], request.host, f"/v1.0/{path.lstrip('/')}", pairs, headers, body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as cause:
        raise bad_request("Unable to read JSON request payload.", "BadRequest") from cause
    return value if isinstance(value, dict) else {}
