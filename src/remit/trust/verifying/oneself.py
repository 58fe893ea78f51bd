"""The ways of whoever runs the verification, walked by their own token: sign-in, and what is done on their behalf.

No probe shows these, since Entra exchanges only what a person's own sign-in gave. In each project Remit maps somebody
to one account, by the first line that fits a role of theirs: those ways are walked, a call on each is decided and
recorded like any other, and its credential is asked what it may. Leaves out: ways of others, and those to Azure, where
Remit's own issuer speaks and no token of theirs. Codes: cloud.google.com/iam/docs/troubleshooting-workload-identity-
federation, learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import re
from collections.abc import Mapping as Mapping_
from collections.abc import Sequence
from dataclasses import replace

import httpx

from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_names import SCOPE
from remit.trust.settings import Mapping
from remit.trust.verifying.findings import Hop
from remit.trust.verifying.ports import Gained, Known, Oneself
from remit.trust.verifying.walking import Held, Walked, Way, asked_there, dry_calls, hop_of

_SIGN_IN, _POLICY = "sign-in", "policy"
_UNPERMITTED = frozenset(
    {
        Reason.NO_POLICY_PERMITS,
        Reason.POLICY_FORBIDS,
        Reason.STEP_UP_REQUIRED,
        Reason.APPROVAL_REQUIRED,
        Reason.CEILING_EXCEEDED,
        Reason.OBLIGATION_UNMET,
    }
)
"""What the policy says of a caller: no fault of the way, which stays unwalked."""
_UNKNOWN = frozenset(
    {
        Reason.TOKEN_MISSING,
        Reason.TOKEN_MALFORMED,
        Reason.TOKEN_SIGNATURE,
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_NOT_YET_VALID,
        Reason.TOKEN_AUDIENCE,
        Reason.TOKEN_ISSUER,
        Reason.TOKEN_TENANT,
        Reason.TOKEN_CLIENT,
        Reason.TOKEN_CLAIMS,
        Reason.SESSION_ENDED,
        Reason.SIGN_IN_AGAIN,
        Reason.IDENTITY_INCOMPLETE,
        Reason.REVOKED,
    }
)
_ELSEWHERE = "this sign-in is for another installation: `remit login --url` of the one in remit.yaml"
_SIGNED_IN: Mapping_[Reason, str] = {
    Reason.TOKEN_AUDIENCE: _ELSEWHERE,
    Reason.TOKEN_ISSUER: _ELSEWHERE,
    Reason.TOKEN_TENANT: _ELSEWHERE,
    Reason.TOKEN_CLIENT: "list the application that signs in under `clients` of `issuers` in remit.yaml",
    Reason.TOKEN_CLAIMS: "have Remit's application emit its optional claims: `remit trust apply`",
}
_STEPS: Mapping_[str, str] = {
    "azure-imds": "Azure gives Remit the proof of its managed identity",
    "entra-obo": "Entra gives Remit a token for the second audience in the name of `{name}`",
    "own-issuer": "Remit's own issuer vouches for `{name}`",
    "google-sts": "Google's provider takes `{name}`, from Remit",
    "google-iam": "`{name}` becomes `{account}`",
}
_AUDIENCE = "the token must be for `credentials.on_behalf_of.application`: is that the `audience` of `issuers`?"
_CONDITIONAL = (
    "a conditional access policy of the tenant stands before the second audience: the sign-in log names it; meet it "
    "when signing in (`remit login`), or leave the second audience out of it"
)
_CURES: Mapping_[str, str] = {
    "AADSTS50013": _AUDIENCE,
    "AADSTS500131": _AUDIENCE,
    "AADSTS500133": "the token ended on its way: run it again",
    "AADSTS50105": "the second audience admits only who is assigned to it: `remit trust apply` takes that away",
    "AADSTS50057": "the account is disabled at Entra",
    "AADSTS65001": "pre-authorize Remit's application at the second audience, or consent to it: `remit trust apply`",
    "AADSTS650052": "the second audience has no principal in this tenant: `remit trust apply`",
    "AADSTS500011": "the second audience is gone, or is named otherwise than `on_behalf_of.scope`: `remit trust apply`",
    "AADSTS500014": "the principal of the second audience is disabled: enable it, `remit trust apply`",
    "AADSTS7000112": "the principal of Remit's application is disabled: enable it, `remit trust apply`",
    "AADSTS53000": _CONDITIONAL,
    "AADSTS53001": _CONDITIONAL,
    "AADSTS53003": _CONDITIONAL,
    "invalid_target": "the provider or its pool is disabled or deleted: see the hops of the pool",
    "invalid_grant": "the provider trusts another issuer, audience or key than this token's: see the hops of the pool",
    "invalid_request": (
        "the provider makes more of this token than Google takes: a subject of 127 bytes, 400 groups, 8 KiB in all"
    ),
    "unauthorized_client": "the condition of the provider refuses what Remit obtained: see the hop of the provider",
    "PERMISSION_DENIED": (
        "bind `roles/iam.workloadIdentityUser` on `{account}` to a group of `{name}`, or to the subject, without a "
        "condition that refuses; and see that the account is not disabled"
    ),
    "NOT_FOUND": "there is no `{account}`: `remit trust apply`",
}
_CODE = re.compile(r"answered \d{3} `(\w{1,40})`")


class OwnWays:
    """One for each project where somebody works by a role of theirs. `me`: `None` where nobody asked for it."""

    def __init__(self, me: Oneself | None, mappings: Sequence[Mapping]) -> None:
        self._me = me
        self._mappings = mappings
        self._ways: dict[str, Mapping] = {}
        self._name = ""
        self._told = False

    async def begin(self) -> tuple[Hop, ...]:
        """Finds out who that is and which ways are theirs; what stands before all of them."""
        if self._me is None:
            return ()
        try:
            known = await self._me.known()
        except Refused as refused:
            self._told = True
            name, cure = _place(refused.reason), _signed_in(refused.reason, refused.hint)
            return (Hop(name, holds=False, said=refused.message, cure=cure),)
        return self._found(known)

    def _found(self, known: Known) -> tuple[Hop, ...]:
        self._name = known.name
        for one in self._mappings:
            if one.role in known.roles:
                self._ways.setdefault(one.project, one)
        if self._ways:
            return ()
        self._told = True
        said = f"`{known.name}` holds no role that an account is mapped to: nothing can be walked as them"
        cure = "assign one under `trust.roles`, `remit trust apply`; a new role is in the next token: `remit login`"
        return (Hop(_SIGN_IN, holds=False, said=said, cure=cure),)

    async def walk(self, way: Way, client: httpx.AsyncClient, sleep: Sleep) -> Walked | None:
        """A way to its end or to the hop that breaks, `None` when it is not theirs."""
        mine = self._ways.get(way.project.id)
        if self._me is None or mine is None or (mine.role, mine.account) != (way.role, way.account):
            return None
        gained = await self._me.ask(dry_calls(way.project))
        hops = tuple(self._taken(way, gained))
        self._told = self._told or any(hop.walked or not hop.holds for hop in hops)
        if gained.token is None:
            return Walked(hops)
        ask = Asking(client, Held(gained.token), SCOPE, sleep=sleep)
        there, tested = await asked_there(replace(way, call=gained.call), ask)
        return Walked((*hops, *there), tested)

    def end(self) -> tuple[Hop, ...]:
        """That nothing was walked at all, which is not what was asked for."""
        if self._me is None or self._told:
            return ()
        said = f"no way was walked as `{self._name}`: the policy permits them none of the calls that change nothing"
        cure = "permit one, as `aiplatform.models.list`; or leave out `--as-me`: the probe walks their roles"
        return (Hop(_POLICY, holds=False, said=said, cure=cure),)

    def _taken(self, way: Way, gained: Gained) -> list[Hop]:
        """The hops to the credential, as far as they were gone."""
        asked = f"`{gained.call.permission}` of `{self._name}`"
        if not gained.hops:
            return [_refused(way, gained, asked)]
        names = gained.hops[: gained.hops.index(gained.failed)] if gained.failed in gained.hops else gained.hops
        hops = [
            hop_of(way, _SIGN_IN, f"the token is `{self._name}`'s, with `{way.role}`"),
            hop_of(way, _POLICY, f"{asked} is permitted, and recorded as `{gained.decision}`"),
        ]
        if gained.token is None and not gained.failed:  # known a moment ago, and no longer
            return [*hops, _refused(way, gained, asked)]
        hops += [
            hop_of(way, name, _STEPS[name].format(name=self._name, account=gained.account))
            for name in names
            if name in _STEPS
        ]
        if gained.failed:
            hops.append(hop_of(way, gained.failed, gained.said, holds=False, cure=self._cure(way, gained)))
        return hops

    def _cure(self, way: Way, gained: Gained) -> str:
        code = _CODE.search(gained.said)
        known = _CURES.get(code[1], "") if code else ""
        cure = known.format(name=self._name, account=gained.account or way.account) or gained.hint
        if not cure and code and code[1].startswith("AADSTS"):
            return f"Entra's sign-in log tells what `{code[1]}` is about, for `{self._name}` at Remit's application"
        return cure or "is it reachable from here?"


def _refused(way: Way, gained: Gained, asked: str) -> Hop:
    """That it never came to a credential."""
    name = _place(gained.reason)
    if gained.reason in _UNPERMITTED:
        said = f"not walked: {asked} is not permitted: {gained.said}; recorded as `{gained.decision}`"
        return hop_of(way, name, said, cure=gained.hint, walked=False)
    return hop_of(way, name, gained.said, holds=False, cure=_signed_in(gained.reason, gained.hint))


def _place(reason: Reason) -> str:
    if reason in _UNKNOWN:
        return _SIGN_IN
    return {Reason.RECORD_UNAVAILABLE: "record", Reason.EXCHANGE_UNAVAILABLE: "credentials"}.get(reason, _POLICY)


def _signed_in(reason: Reason, hint: str) -> str:
    other = "sign in again: `remit login`" if reason in _UNKNOWN else "`remit doctor --live` looks at this machine"
    return _SIGNED_IN.get(reason) or hint or other
