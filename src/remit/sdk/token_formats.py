"""Tokens in the forms that other programs ask helpers for: Docker, git, kubectl, google-auth, Azure's command line.

    text       the token, alone
    json       `access_token`, `expires_in`, `token_type`, as RFC 6749 has them
    azure-cli  `az account get-access-token --output json` (learn.microsoft.com/cli/azure/account)
    docker     a credential helper's `get` (github.com/docker/docker-credential-helpers, README, "Development")
    git        gitcredentials(7) and git-credential(1), with `authtype` where git offers it (2.46)
    kubectl    ExecCredential (kubernetes.io/docs/reference/config-api/client-authentication.v1)
    google     executable-sourced credentials (google.aip.dev/auth/4117)

Docker and git name whom they want to show a token: whoever writes the name of an image or a submodule chooses that
place, so a helper answers for the hosts that it was told of and for no other. Everything here is a pure function.
"""

import datetime as dt
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from remit.model.errors import RemitError
from remit.sdk.tokens import Issued

FORMATS = ("text", "json", "azure-cli", "docker", "git", "kubectl", "google")
USER = "oauth2accesstoken"
"""The user name that Google's registries and many others expect beside a token."""
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_JWT = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")
_GOOGLE_S_OWN = "//iam.googleapis.com/"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a helper was asked besides. `action` and `said`: its last argument and its standard input.

    `hosts`: whom the token may be shown, lower case; `environment`: what the asking program set.
    """

    action: str = "get"
    said: str = ""
    hosts: Collection[str] = ()
    user: str = USER
    environment: Mapping[str, str] | None = None


class NotForHelper(RemitError):
    """The place that is asked for is none that this helper has a token for."""


def text(issued: Issued) -> str:
    """The token itself; raises `RemitError` for one that would not stay on its line."""
    token = issued.token.reveal()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise RemitError("the token is not one printable word")
    return token


def answer(form: str, issued: Issued, asked: Asked, now: float) -> str:
    """What is printed, without the last line's end; empty when there is nothing to say."""
    return _FORMS[form](issued, asked, now)


def silent(form: str, asked: Asked) -> str | None:
    """What a helper answers without a token, `None` when it takes one; raises `NotForHelper` and `RemitError`.

    To be asked before a token is: what nobody gets needs no decision.
    """
    check = _CHECKS.get(form)
    return check(asked) if check else None


def _text(issued: Issued, _asked: Asked, _now: float) -> str:
    return text(issued)


def _json(issued: Issued, _asked: Asked, now: float) -> str:
    left = int(issued.expires_on - now)
    return json.dumps({"access_token": text(issued), "expires_in": left, "token_type": "Bearer"})


def _azure_cli(issued: Issued, _asked: Asked, _now: float) -> str:
    local = dt.datetime.fromtimestamp(int(issued.expires_on)).astimezone()
    document = {
        "accessToken": text(issued),
        "expiresOn": f"{local:%Y-%m-%d %H:%M:%S}.000000",  # local time, and `expires_on` for whoever knows better
        "expires_on": int(issued.expires_on),
        "tokenType": "Bearer",
    }
    return json.dumps(document)


def _docker(issued: Issued, asked: Asked, _now: float) -> str:
    return json.dumps({"ServerURL": asked.said.strip(), "Username": asked.user, "Secret": text(issued)})


def _git(issued: Issued, asked: Asked, _now: float) -> str:
    token = text(issued)
    if ("capability[]", "authtype") in _lines(asked.said):
        return f"capability[]=authtype\nauthtype=Bearer\ncredential={token}\nephemeral=1\n"
    return f"username={asked.user}\npassword={token}\npassword_expiry_utc={int(issued.expires_on)}\n"


def _kubectl(issued: Issued, asked: Asked, _now: float) -> str:
    ends = dt.datetime.fromtimestamp(int(issued.expires_on), dt.UTC)
    status = {"token": text(issued), "expirationTimestamp": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps({"apiVersion": _exec_version(asked), "kind": "ExecCredential", "status": status})


def _google(issued: Issued, asked: Asked, _now: float) -> str:
    document = {
        "version": 1,
        "success": True,
        "token_type": _set(asked, "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE") or _JWT[0],
        "id_token": text(issued),
        "expiration_time": int(issued.expires_on),
    }
    return json.dumps(document)


def google_failure(code: str, error: RemitError) -> str:
    """How an executable says that it has none (google.aip.dev/auth/4117)."""
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return json.dumps({"version": 1, "success": False, "code": code, "message": message})


def _docker_check(asked: Asked) -> str | None:
    if asked.action == "list":
        return "{}"
    if asked.action != "get":
        return ""  # `store` and `erase`: nothing is kept, and so nothing is to be forgotten
    server = asked.said.strip()
    _demand(server if "://" in server else f"https://{server}", asked.hosts)
    return None


def _git_check(asked: Asked) -> str | None:
    if asked.action != "get":
        return ""
    said = _lines(asked.said)
    named = dict(said)
    if len([name for name, _ in said if name in ("protocol", "host")]) > 2:  # noqa: PLR2004 - once each
        raise NotForHelper("git names two places at once")
    try:
        _demand(f"{named.get('protocol', '')}://{named.get('host', '')}", asked.hosts)
    except NotForHelper:
        return ""  # git asks its next helper
    return None


def _kubectl_check(asked: Asked) -> None:
    _exec_version(asked)


def _google_check(asked: Asked) -> str | None:
    if _set(asked, "GOOGLE_EXTERNAL_ACCOUNT_REVOKE") == "1":
        return json.dumps({"version": 1, "success": True})
    kind = _set(asked, "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE")
    if kind and kind not in _JWT:
        raise NotForHelper(f"no token of the type `{kind}` can be had", hint=f"`subject_token_type` is `{_JWT[0]}`")
    audience = _set(asked, "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE")
    if audience.startswith(_GOOGLE_S_OWN):
        hint = "`token_url` is remit's `/v1/token`, and `audience` such as `//storage.googleapis.com/projects/PROJECT`"
        raise NotForHelper(f"`{audience}` is Google's own, and does not take remit's tokens", hint=hint)
    return None


def _demand(place: str, hosts: Collection[str]) -> None:
    """Raises `NotForHelper` unless a token may be shown there: a host that was named, and nobody listens in."""
    try:
        found = urlsplit(place)
        host, port = (found.hostname or "").lower(), found.port
    except ValueError:
        host, port, found = "", None, urlsplit("")
    protected = found.scheme == "https" or (found.scheme == "http" and host in _LOOPBACK)
    odd = "@" in found.netloc or "\\" in place or not host
    if odd or not protected or not ({host, f"{host}:{port}"} & set(hosts)):
        raise NotForHelper("credentials not found in native keychain")  # Docker's own words for it, which it knows


def _exec_version(asked: Asked) -> str:
    said = _set(asked, "KUBERNETES_EXEC_INFO")
    try:
        info: Any = json.loads(said) if said else {"apiVersion": _EXEC_VERSIONS[0]}
        version = info["apiVersion"]
    except (ValueError, RecursionError, KeyError, TypeError):
        version = None
    if version not in _EXEC_VERSIONS:
        hint = f"`apiVersion: {_EXEC_VERSIONS[0]}`"
        raise NotForHelper("kubectl asks in a version that is not known here", hint=hint)
    return str(version)


def _lines(said: str) -> list[tuple[str, str]]:
    """The attributes that git gives, up to the first empty line (git-credential(1), "INPUT/OUTPUT FORMAT")."""
    head = said.split("\n\n", 1)[0]
    return [(name, value) for name, _, value in (line.partition("=") for line in head.splitlines() if line)]


def _set(asked: Asked, name: str) -> str:
    return (asked.environment or {}).get(name, "")


_FORMS = {
    "text": _text,
    "json": _json,
    "azure-cli": _azure_cli,
    "docker": _docker,
    "git": _git,
    "kubectl": _kubectl,
    "google": _google,
}
_CHECKS = {"docker": _docker_check, "git": _git_check, "kubectl": _kubectl_check, "google": _google_check}
