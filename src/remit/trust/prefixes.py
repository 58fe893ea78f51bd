"""Prefixes: what holds below one in a bucket or a container, as the condition that each cloud is given for it.

Pure. A condition is known again when it is, letter by letter, what is written here; every other one is somebody
else's. Sources: those of `model.prefixes`; learn.microsoft.com/azure/storage/blobs/storage-auth-abac-examples (read or
list blobs with a path, write blobs with a path) and /azure/role-based-access-control/conditions-format.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from remit.model.errors import TrustBroken
from remit.model.prefixes import LONGEST, PREFIX, below_in_google, is_prefix
from remit.trust.things import Fields, Value

READER, WRITER = "Storage Blob Data Reader", "Storage Blob Data Contributor"
"""The roles whose every data action a condition here speaks of."""
VERSION = "2.0"
"""Of Azure's conditions, the only one that it takes."""
_CONDITION = 8 * 1024  # characters (learn.microsoft.com/azure/role-based-access-control/conditions-faq)

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_READ, _LIST = f"ActionMatches{{'{_BLOBS}/read'}}", "SubOperationMatches{'Blob.List'}"
_WRITING = ("write", "add/action", "delete", "move/action")
"""What a role that writes may do besides reading."""
_WRITES: Mapping[str, bool] = {READER: False, WRITER: True}
_NAMED = re.compile(rf'.*\.startsWith\("({PREFIX})"\)')
_PATH = re.compile(rf"@Resource\[{re.escape(_BLOBS)}:path\] StringStartsWith '({PREFIX})'")


def checked(prefix: str) -> str:
    """The prefix; raises `TrustBroken` for one that could mean anything else, or everything."""
    if not is_prefix(prefix):
        raise TrustBroken(
            f"`{prefix}` is no prefix",
            hint=f"folders that end in `/`, of letters, digits and `_.=-`, {LONGEST} characters at most",
        )
    return prefix


def google_condition(bucket: str, prefix: str) -> Mapping[str, Value]:
    """Holds for objects below the prefix, and for lists of just these; raises `TrustBroken`."""
    try:
        expression = below_in_google(bucket, checked(prefix))
    except ValueError:
        raise TrustBroken(f"`{bucket}` is no bucket") from None
    return {"title": f"below {prefix}", "expression": expression}


def google_prefix(resource: str, condition: Value) -> str:
    """The prefix that a condition on `buckets/NAME` means, empty for any other condition."""
    kind, _, bucket = resource.partition("/")
    if kind != "buckets" or not isinstance(condition, Mapping):
        return ""
    expression = str(condition.get("expression"))
    named = _NAMED.fullmatch(expression)
    try:
        return named[1] if named and expression == below_in_google(bucket, named[1]) else ""
    except ValueError:
        return ""


def azure_condition(prefixes: Sequence[str], *, write: bool) -> str:
    """Holds for blobs below any of the prefixes, and for lists of just these; raises `TrustBroken`.

    `write`: whether it stands on a role that writes.
    """
    those = sorted({checked(each) for each in prefixes})
    if not those:
        raise TrustBroken("a condition without a prefix would open nothing, or everything")
    others = "".join(f" AND !(ActionMatches{{'{_BLOBS}/{verb}'}})" for verb in (_WRITING if write else ()))
    paths = " OR ".join(f"@Resource[{_BLOBS}:path] StringStartsWith '{each}'" for each in those)
    lists = " OR ".join(f"@Request[{_BLOBS}:prefix] StringStartsWith '{each}'" for each in those)
    found = f"((!({_READ} AND NOT {_LIST}){others}) OR ({paths})) AND ((!({_READ} AND {_LIST})) OR ({lists}))"
    if len(found) > _CONDITION:
        raise TrustBroken(f"{len(those)} prefixes of one container are more than a condition of Azure's can hold")
    return found


def azure_prefixes(condition: Value, role: str) -> tuple[str, ...]:
    """The prefixes that a condition on a role means, none for any other condition, and any other role.

    On a role that does more than the condition speaks of, the rest would hold everywhere.
    """
    if not isinstance(condition, str) or role not in _WRITES:
        return ()
    found = tuple(dict.fromkeys(match[1] for match in _PATH.finditer(condition)))
    if not found or any(len(each) > LONGEST for each in found):
        return ()
    return found if condition == azure_condition(found, write=_WRITES[role]) else ()


def parted(container: str) -> tuple[str, str]:
    """`ACCOUNT/CONTAINER` and the prefix, empty for the whole container, of `ACCOUNT/CONTAINER/PREFIX/`."""
    account, _, rest = container.partition("/")
    name, _, prefix = rest.partition("/")
    return f"{account}/{name}", prefix


def wider_than(name: str, others: Iterable[str]) -> str:
    """The one of the others, containers or buckets with or without a prefix, that a name lies in; empty for none."""
    return next((each for each in others if name != each and name.startswith(f"{each.rstrip('/')}/")), "")


def below(fields: Fields) -> tuple[str, ...]:
    """The prefixes that a binding or an assignment holds below; none where it holds on all, or otherwise."""
    condition = fields.get("condition")
    if "scope" in fields:
        current = fields.get("conditionVersion") == VERSION
        return azure_prefixes(condition, str(fields.get("role"))) if current else ()
    prefix = google_prefix(str(fields.get("resource")), condition)
    return (prefix,) if prefix else ()
