"""Somebody who is not asking now: whom a word means, and what is known of them.

The directory says who there is, with groups and roles; the latest decision on record says how they sign in. A fresh
sign-in is taken for granted: how old the last one was says nothing of the next. Leaves out the circumstances.
"""

from collections.abc import Mapping
from dataclasses import replace

from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Principal
from remit.model.inventory import Account, Inventory
from remit.model.reasons import Reason

LIFE = 3600  # seconds that an assumed token lives
_NAMED = 5  # accounts that a refusal names
_SHOWN = 128  # characters of a word that a refusal repeats


def find(word: str, inventory: Inventory, lately: Mapping[str, Identity], now: int) -> tuple[Account | None, Identity]:
    """Whom a word means: a key, an object id, or a name that only one has; raises `Refused`."""
    accounts = [one for one in inventory.accounts if word in {one.principal.key, one.principal.subject}]
    accounts = accounts or [one for one in inventory.accounts if one.name.casefold() == word.casefold()]
    if len(accounts) > 1:
        keys = ", ".join(f"`{one.principal.key}`" for one in accounts[:_NAMED])
        more = f" and {len(accounts) - _NAMED} more" if len(accounts) > _NAMED else ""
        raise Refused(Reason.REQUEST_MALFORMED, f"`{word[:_SHOWN]}` can mean {keys}{more}", hint="name one of them")
    if accounts:
        return accounts[0], of(accounts[0], lately, now)
    if word not in lately:
        hint = "name the principal, TENANT/SUBJECT, or a name of the directory"
        raise Refused(Reason.REQUEST_MALFORMED, f"nobody named `{word[:_SHOWN]}` is known", hint=hint)
    return None, _freshly(lately[word], now)


def of(account: Account, lately: Mapping[str, Identity], now: int) -> Identity:
    """What is known of an account: the directory's groups and roles, and its latest sign-in for the rest."""
    known = lately.get(account.principal.key) or _plain(account.principal, now)
    return replace(
        _freshly(known, now),
        principal=account.principal,
        display=account.name,
        groups=account.groups,
        groups_at=now,
        roles=account.roles,
        guest=account.guest,
        home=account.home or (known.home if account.guest else ""),  # a directory need not say where a guest is from
    )


def _freshly(identity: Identity, now: int) -> Identity:
    authentication = replace(identity.authentication, at=now)
    return replace(identity, authentication=authentication, issued_at=now, expires_at=now + LIFE)


def _plain(principal: Principal, now: int) -> Identity:
    """Somebody of whom no sign-in is on record."""
    return Identity(
        principal=principal,
        display="",
        groups=frozenset(),
        groups_at=now,
        roles=frozenset(),
        scopes=frozenset(),
        client="",
        authentication=Authentication(capabilities=frozenset({"cp1"}), at=now),
        guest=False,
        issued_at=now,
        expires_at=now + LIFE,
        token_id="",
    )
