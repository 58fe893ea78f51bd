"""What stands beside a secret and is public: the account, the key's id, the host. Each in its own strict form.

Every function takes a text and where a secret stands in it, and returns names for the finding, or `None` where what
looked like a secret is not one of the rule's kind. The forms are narrow, so that a name is never part of a secret.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping

_REACH = 3000  # letters before and after: a service account's JSON has 2.4 kB
_NAMED = r"\\*[\"']?\]?\s{0,4}[:=]\s{0,4}\\*[\"']?"
_GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_ACCOUNT = re.compile(r"(?<![a-z0-9.-])[a-z0-9-]{1,63}@[a-z0-9.-]{1,80}\.gserviceaccount\.com(?![a-z0-9])")
_KEY_ID = re.compile(rf"private_key_id{_NAMED}([0-9a-f]{{40}})(?![0-9a-f])")
_GOOGLE_CLIENT = re.compile(r"(?<![\w-])[0-9]{6,21}-[a-z0-9]{20,40}\.apps\.googleusercontent\.com")
_ENTRA_CLIENT = re.compile(rf"(?i)client_?-?id{_NAMED}({_GUID})")
_ENTRA_TENANT = re.compile(rf"(?i)tenant_?-?(?:id)?{_NAMED}({_GUID})")
_HMAC_ID = re.compile(r"(?<![A-Za-z0-9])GOOG[A-Z0-9]{20,60}(?![A-Za-z0-9])")
_STORAGE = re.compile(
    r"(?i:account_?name|storage_?account)" + _NAMED + r"([a-z0-9]{3,24})(?![A-Za-z0-9/+=])"
    r"|(?<![a-z0-9])([a-z0-9]{3,24})\.(?:blob|dfs|file|queue|table)\.core\.windows\.net"
)
_ENDPOINT = re.compile(
    r"(?<![a-z0-9.-])([a-z0-9-]{3,60}\.(?:documents|table\.cosmos|batch|search|azurecr)\.(?:azure|windows)\.(?:com|net|io))"
)
_BUS = re.compile(r"(?<![a-z0-9.-])([a-z0-9-]{3,60}\.(?:servicebus\.windows\.net|azure-devices\.net))")
_AWS_ID = re.compile(r"(?<![A-Z0-9])(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}(?![A-Z0-9])")
_HOST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,252}")
_USER = re.compile(r"://([A-Za-z0-9_][A-Za-z0-9_.-]{0,62}):$")
_A_YEAR_FROM = 90 * 86400  # seconds: a token that lasts longer is a key by another name


def nothing(text: str, start: int, end: int) -> dict[str, str]:
    """There is no name that would help."""
    del text, start, end
    return {}


def service_account(text: str, start: int, end: int) -> dict[str, str] | None:
    """The account's address and the key's id, in the same JSON object."""
    around = _around(text, start, end)
    account = _nearest(_ACCOUNT, around)
    if not account or "private_key" not in around:
        return None
    return _known(account=account, key=_nearest(_KEY_ID, around))


def google_client(text: str, start: int, end: int) -> dict[str, str]:
    """The OAuth client."""
    return _known(client=_nearest(_GOOGLE_CLIENT, _around(text, start, end)))


def named_google(text: str, start: int, end: int) -> dict[str, str] | None:
    """The client beside a secret that has only a name."""
    found = google_client(text, start, end)
    return found if found and looks_random(text[start:end]) else None


def named_entra(text: str, start: int, end: int) -> dict[str, str] | None:
    """A client secret without a mark: only what looks random."""
    return entra_client(text, start, end) if looks_random(text[start:end]) else None


def entra_client(text: str, start: int, end: int) -> dict[str, str]:
    """The application and its tenant."""
    around = _around(text, start, end)
    return _known(client=_nearest(_ENTRA_CLIENT, around), tenant=_nearest(_ENTRA_TENANT, around))


def access_id(text: str, start: int, end: int) -> dict[str, str]:
    """The access id of an HMAC key."""
    return _known(access_id=_nearest(_HMAC_ID, _around(text, start, end)))


def storage_account(text: str, start: int, end: int) -> dict[str, str] | None:
    """The storage account, unless an endpoint on the same line is another service's."""
    return None if service_endpoint(text, start, end) else _storage(text, start, end)


def service_endpoint(text: str, start: int, end: int) -> dict[str, str] | None:
    """Cosmos DB, Batch: their keys have the form of a storage account's."""
    found = _ENDPOINT.search(_around(text, start, end, 300))
    return {"host": found[1]} if found else None


def service_bus(text: str, start: int, end: int) -> dict[str, str]:
    """The namespace."""
    return _known(host=_nearest(_BUS, _around(text, start, end, 300)))


def signature(text: str, start: int, end: int) -> dict[str, str] | None:
    """A query with a version, a signature and an end, or the stored policy that has the end."""
    query = re.sub(r"(?i)&amp;|\\+u0026|%26", "&", _run(text, start, end)).partition("?")
    words = dict(re.findall(r"(?:^|[&;])(s[a-z]{1,4})=([^&;]{0,120})", f"&{query[2] or query[0]}"))
    if "sv" not in words or not {"se", "si"} & words.keys():
        return None
    ends = re.match(r"\d{4}-\d\d-\d\d", words.get("se", ""))
    return _known(**_storage(text, start, end, 400), expires=ends[0] if ends else "")


def login(text: str, start: int, end: int) -> dict[str, str]:
    """User and host of an address."""
    user, host = _USER.search(text[max(0, start - 80) : start]), _HOST.match(text, end + 1)
    return _known(user=user[1] if user else "", host=host[0] if host else "")


def words(text: str, start: int, end: int) -> dict[str, str]:
    """User and host of a connection string."""
    around = _around(text, start, end, 300)
    host = re.search(r"(?i)\b(?:server|data source|host|hostaddr)\s?=\s?(?:tcp:)?([a-z0-9][a-z0-9.-]{0,252})", around)
    user = re.search(r"(?i)\b(?:user id|uid|user)\s?=\s?([a-z0-9_][a-z0-9_.@-]{0,62})", around)
    return _known(user=user[1] if user else "", host=host[1] if host else "")


def aws(text: str, start: int, end: int) -> dict[str, str] | None:
    """The key's id; `None` in the middle of base64, where sooner or later every four letters stand."""
    if re.search(r"[A-Za-z0-9+/]", text[start - 1 : start] + text[end : end + 1]):
        return None
    return _known(access_id=_nearest(_AWS_ID, _around(text, start, end, 300)))


def variable(text: str, start: int, end: int) -> dict[str, str] | None:
    """The variable of an environment file, unless its value is plainly none: a path, a word of a switch, a number."""
    name = re.search(r"([A-Za-z0-9_]{1,80})[ \t]*=[ \t]*[\"']?$", text[max(0, start - 100) : start])
    value = text[start:end]
    plain = re.fullmatch(r"(?i)[./~\\][\w./~\\-]*|true|false|none|null|disabled|enabled|[0-9.]+|https?://[^@]*", value)
    return None if plain or name is None else {"variable": name[1]}


def lasting(text: str, start: int, end: int) -> dict[str, str] | None:
    """A token whose claims have no end, or one that is months after its beginning; others end by themselves."""
    try:
        body = text[start:end].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(claims, Mapping) or not {"iss", "sub", "aud"} & claims.keys() or end - start < 80:  # noqa: PLR2004 - no signature
        return None
    ends, begins = claims.get("exp"), claims.get("iat", claims.get("nbf", 0))
    if not isinstance(ends, int | float):
        return {}
    return {} if isinstance(begins, int | float) and ends - begins > _A_YEAR_FROM else None


def looks_random(value: str) -> bool:
    """Letters of several sorts, and no word of a program: a name of a variable is not a secret."""
    sorts = [any(map(test, value)) for test in (str.islower, str.isupper, str.isdigit)]
    return (
        sum(sorts) > 1 and any(map(str.isdigit, value)) and not re.search(r"(?i)environ|getenv|secret|\(|\$\{", value)
    )


def _around(text: str, start: int, end: int, reach: int = _REACH) -> str:
    """What stands before and after, without the secret itself."""
    return text[max(0, start - reach) : start] + "\n" + text[end : end + reach]


def _run(text: str, start: int, end: int) -> str:
    """The address or query that a place stands in: all up to white space, quotes and brackets."""
    before = re.search(r"[^\s\"'`<>()]*$", text[max(0, start - 2000) : start])
    after = re.match(r"[^\s\"'`<>()]*", text[end : end + 2000])
    return (before[0] if before else "") + (after[0] if after else "")


def _storage(text: str, start: int, end: int, reach: int = 600) -> dict[str, str]:
    return _known(storage_account=_nearest(_STORAGE, _around(text, start, end, reach)))


def _nearest(pattern: re.Pattern[str], around: str) -> str:
    """The match that is nearest to the middle, where the secret was."""
    found = min(pattern.finditer(around), key=lambda match: abs(match.start() - len(around) // 2), default=None)
    return "" if found is None else next((group for group in found.groups() if group), found[0])


def _known(**names: str) -> dict[str, str]:
    return {name: value for name, value in names.items() if value}
