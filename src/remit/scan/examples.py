"""What has the form of a secret and is none: keys that every installation knows, and what documentation writes.

They are counted and named, never listed as findings. Well-known keys stand here as SHA-256, so that this file holds no
key. Sources:
learn.microsoft.com/azure/storage/common/storage-use-azurite, learn.microsoft.com/azure/cosmos-db/emulator;
docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html, cloud.google.com/storage/docs/samples/
storage-create-hmac-key, gcloud's own client, jwt.io;
RFC 2606 and RFC 6761 for names of hosts.
"""

import datetime as dt
import hashlib
import re

from detect_secrets.filters import heuristic

_WELL_KNOWN = {
    "0011cc25eb4320717494d2703e8cba85743e71b500283c21c8b88147992f9059": "Azurite's own key",
    "aa6547439583c3a275d4542a0df6c1ad6a863971be9f2a2220f027cc02aef615": "the key of the Cosmos DB emulator",
    "78314b11be2e581549ac1c4f616563fad3fdf0c3b71678f6e2299182080e0598": "an example of AWS's manual",
    "1a5d44a2dca19669d72edf4c4f1c27c4c1ca4b4408fbb17f6ce4ad452d78ddb3": "an example of AWS's manual",
    "8662fc2ab7d6d06282c94b4bec8da591be1a6a7e6be822ad92168efff38d8b81": "an example of Google's manual",
    "f0386f9be1fe905fb2f97a8daff11a9baa9988ceca7c2ecae4aec8db182db1b4": "the client of gcloud, which is public",
    "7f75367e7881255134e1375e723d1dea8ad5f6a4fdb79d938df1f1754a830606": "the example of jwt.io",
}
_RESERVED = re.compile(
    r"(?i)(?:^|\.)(?:example|invalid|test|localhost)(?:\.(?:com|net|org))?$|^(?:127\.[\d.]+|localhost|0\.0\.0\.0)$"
)
_WORDS = re.compile(
    r"(?i)example|placeholder|redacted|change.?me|your.?(?:own|key|token|secret|pass|account|api)|x{8,}|\*{3,}|\.{3}"
    r"|\xe2\x80\xa6|replace.?(?:me|with|this)|insert.?(?:your|here)|not.?a.?real|<[a-z _-]+>|\{\{|\$\(|%\("
    r"|0123456789abcdef|1234567890"
)
_SHORT_WORDS = re.compile(r"(?i)fake|dummy|todo|sample")  # four letters stand in a random key by chance
_COMMON = {
    "admin",
    "changeit",
    "docker",
    "guest",
    "hunter2",
    "mypass",
    "mypassword",
    "mysecretpassword",
    "pass",
    "passw0rd",
    "passwd",
    "password",
    "postgres",
    "pswd",
    "pw",
    "pwd",
    "root",
    "secret",
    "test",
    "testing",
    "tiger",
    "user",
    "username",
}  # fmt: skip - a list of words
_CHOSEN = {"postgresql-password", "sql-password", "url-password", "environment-secret"}
_LONG = 300  # letters: a private key may hold any word
_FEW = 5  # different letters: `AAAA…`, `abcabc…`


def why(kind: str, secret: str, names: dict[str, str], today: dt.date) -> str:
    """Why it is no secret; empty when it may be one."""
    if known := _WELL_KNOWN.get(hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()):
        return known
    if names.get("access_id", "").endswith("EXAMPLE") or _placeholder(secret):
        return "a placeholder"
    if names.get("expires", "9999") < today.isoformat():
        return "a signature that has expired"
    return _of_a_login(secret, names) if kind in _CHOSEN else ""


def _placeholder(secret: str) -> bool:
    few = len(secret) >= 16 and len(set(secret)) <= _FEW  # noqa: PLR2004 - shorter ones are judged as words
    return (
        few
        or (len(secret) < _LONG and bool(_WORDS.search(secret)))
        or heuristic.is_templated_secret(secret)
        or heuristic.is_sequential_string(secret)
    )


def _of_a_login(secret: str, names: dict[str, str]) -> str:
    """A password that is a word of manuals, a variable, or one for this machine or a host of documentation."""
    bare = secret.strip("\"'\\,;:)]}")
    if heuristic.is_prefixed_with_dollar_sign(secret) or re.search(r"[{}$<>\[\]]|%[s(]|%\w+%|^:|\.\.", secret):
        return "a placeholder"
    if bare.lower() in _COMMON or _SHORT_WORDS.search(secret) or len(bare) <= 1 or bare == names.get("user"):
        return "a placeholder"
    return "for this machine, or a host of documentation" if _RESERVED.search(names.get("host", "")) else ""
