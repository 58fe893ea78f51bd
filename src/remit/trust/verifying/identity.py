"""Remit's managed identity as Azure holds it, as hops: whom it trusts, and who could have it trust somebody. Pure."""

from collections.abc import Iterator

from remit.trust.planning.matching import Matched
from remit.trust.things import Found
from remit.trust.verifying.findings import Hop

_NAME = "azure-identity"
_MOST = 6  # names on one line


def identity_hops(match: Matched) -> Iterator[Hop]:
    """Federated credentials break it; roles on it and above are told, since somebody has to look after it."""
    pairs = [one for thing, one in match.pairs if thing.address.kind == "azure.identity"]
    trusted = [one for one in match.rest if one.address.kind == "azure.federation"]
    yield from map(_trusting, trusted)
    for one in pairs:
        if one is None:
            cure = "is `credentials.on_behalf_of.managed_identity` the one that this machine has?"
            yield Hop(_NAME, holds=False, said="the managed identity is not at Azure any more", cure=cure)
        elif not one.ids:
            said = "Microsoft Graph names no user-assigned identity: whom it trusts was not looked at"
            yield Hop(_NAME, holds=True, said=said, walked=False)
        elif not trusted:
            yield Hop(_NAME, holds=True, said=f"nobody but Azure gives its tokens; {_kept(one)}")


def _trusting(one: Found) -> Hop:
    fields = one.fields
    said = f"it trusts `{fields['subject']}` of `{fields['issuer']}`: whoever controls that is Remit, from anywhere"
    cure = f"`remit trust apply` removes it, or: az rest --method DELETE --url '{one.ids['id']}?api-version=2023-01-31'"
    return Hop(f"{_NAME} {fields['name']}", holds=False, said=said, cure=cure)


def _kept(one: Found) -> str:
    keepers = one.fields.get("keepers")
    found = keepers if isinstance(keepers, tuple) else ()
    if not found:
        return "nobody may use it or have it trust somebody, as far as roles on it and above tell"
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"who may use it, or have it trust somebody: {', '.join(map(str, found[:_MOST]))}{more}"
