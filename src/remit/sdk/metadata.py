"""Google's metadata server, for one job (cloud.google.com/compute/docs/metadata).

google-auth, TensorFlow's C++ and Google's other clients ask it for a token and get the `direct` Storage token where
policy permits one; else a word that is good for nothing, since behind the tunnel nobody reads what is inside. ID tokens
are issued for the installation alone. Leaves out attributes and waiting for changes, and who may ask at all
(`sidecar.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.sdk.renewal import Tokens, bare, passing
from remit.sdk.resources import NOTHING, OWN, STORAGE

PREFIX = "/computeMetadata/v1/"
FLAVOR = {"metadata-flavor": "Google", "server": "Metadata Server for VM"}
_ACCOUNT = "instance/service-accounts/default/"
_PLACEHOLDER_LIFE = 330  # seconds: google-auth asks again 3 min 45 s before, and a grant may have been given by then
_EMAIL = "default"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TEXT, _JSON, _PLAIN = "application/text", "application/json", "text/plain; charset=utf-8"

Tree = Mapping[str, "Tree | list[str] | str | int"]


@dataclass(frozen=True, slots=True)
class Page:
    """What one path answers. `headers`: besides the kind, such as the decision that a refusal came from."""

    status: int
    kind: str
    text: str
    headers: Mapping[str, str] | None = None


class Metadata:
    """The pages. `number`: the project's, where it is known; `own`: names of the installation as an audience."""

    def __init__(self, tokens: Tokens, project: str, own: frozenset[str], number: int = 0) -> None:
        self._tokens = tokens
        self._audience = STORAGE + project
        self._own = own | {OWN}
        account: Tree = {"aliases": ["default"], "email": _EMAIL, "scopes": [_SCOPE]}
        self._tree: Tree = {
            "instance": {"service-accounts": {"default": account}},
            "project": {"project-id": project, **({"numeric-project-id": number} if number else {})},
            "universe": {"universe-domain": "googleapis.com", "universe_domain": "googleapis.com"},
        }

    async def page(self, path: str, query: Mapping[str, str]) -> Page:
        """One path, without what stands before `computeMetadata`."""
        if path in ("", "/"):
            return Page(200, _TEXT, "computeMetadata/\n")
        if not path.startswith(PREFIX):
            return _missing()
        below = path.removeprefix(PREFIX)
        if below == _ACCOUNT + "token":
            return await self._token()
        if below == _ACCOUNT + "identity":
            return await self._identity(query.get("audience", ""))
        return _found(self._tree, below, query)

    async def _token(self) -> Page:
        try:
            live = await self._tokens.live(self._audience)
        except Refused as refused:
            if passing(refused) or refused.reason is Reason.REVOKED:
                return _refusal(refused)
            return _issued(NOTHING, _PLACEHOLDER_LIFE)
        except RemitError as error:
            return _refusal(error)
        return _issued(live.token.reveal(), int(live.left))

    async def _identity(self, audience: str) -> Page:
        if not audience:
            return Page(400, _PLAIN, "non-empty audience parameter required\n")
        if audience not in self._own:
            text = f"remit issues no ID tokens for {audience!a:.200}, only for itself: `audience={OWN}`\n"
            return Page(404, _PLAIN, text)
        try:
            return Page(200, _TEXT, (await self._tokens.live(OWN)).token.reveal())
        except RemitError as error:
            return _refusal(error)


def _issued(token: str, left: int) -> Page:
    return Page(200, _JSON, json.dumps({"access_token": token, "expires_in": left, "token_type": "Bearer"}))


def told(error: RemitError) -> dict[str, str]:
    """The headers that say which decision a refusal came from."""
    found = {"x-remit-decision": getattr(error, "decision", "")}
    if isinstance(error, Refused):
        found["x-remit-reason"] = str(error.reason)
    return {name: value for name, value in found.items() if value}


def words(error: RemitError) -> str:
    """What a program's own error will show: the message, the decision, what to do."""
    message, decision = bare(error.message), getattr(error, "decision", "")
    if decision and decision not in message:
        message += f" (decision {decision})"
    if error.hint and error.hint not in message:
        message += f"; {error.hint}"
    return message


def _refusal(error: RemitError) -> Page:
    if passing(error):
        return Page(503, _PLAIN, f"remit: no token can be had right now: {words(error)}\n", told(error))
    return Page(403, _PLAIN, f"remit: {words(error)}\n", told(error))


def _missing() -> Page:
    return Page(404, _PLAIN, "not found\n")


def _found(tree: Tree, below: str, query: Mapping[str, str]) -> Page:
    node: Tree | list[str] | str | int = tree
    *parts, last = below.split("/")
    for part in (*parts, last) if last else parts:
        if not isinstance(node, Mapping) or part not in node:
            return _missing()
        node = node[part]
    if isinstance(node, Mapping):
        return _directory(node, below, last, query)
    if not last:
        return _missing()  # a value is no folder
    return Page(200, _JSON, json.dumps(node)) if query.get("alt") == "json" else Page(200, _TEXT, _value(node))


def _directory(node: Tree, below: str, last: str, query: Mapping[str, str]) -> Page:
    if query.get("recursive", "").lower() == "true":
        text = query.get("alt") == "text"
        return Page(200, _TEXT, "".join(_lines(node, ""))) if text else Page(200, _JSON, json.dumps(_camel(node)))
    if last:
        return Page(301, _PLAIN, "", {"location": last + "/"})  # from where it was asked, wherever that is
    return Page(200, _TEXT, _listing(node, below))


def _value(node: object) -> str:
    return "".join(f"{each}\n" for each in node) if isinstance(node, list) else str(node)


def _listing(node: Tree, below: str) -> str:
    shown = [f"{name}/" if isinstance(each, Mapping) else name for name, each in node.items()]
    return "".join(f"{name}\n" for name in sorted([*shown, *(("identity", "token") if below == _ACCOUNT else ())]))


def _camel(node: object) -> object:
    """As the server writes it in JSON: `serviceAccounts`."""
    if not isinstance(node, Mapping):
        return node
    return {_joined(name): _camel(each) for name, each in node.items()}


def _joined(name: str) -> str:
    first, *rest = name.replace("_", "-").split("-")
    return first + "".join(part.capitalize() for part in rest)


def _lines(node: object, place: str) -> list[str]:
    if isinstance(node, Mapping):
        return [line for name, each in node.items() for line in _lines(each, f"{place}/{name}")]
    values = node if isinstance(node, list) else [node]
    return [f"{place.removeprefix('/')} {value}\n" for value in values]
