"""The difference between what must hold and what does: pure functions over values."""

import re
from collections.abc import Iterator, Sequence

from remit.trust.findings import Finding, Hop
from remit.trust.google import Binding, Provider
from remit.trust.settings import Mapping, TrustSettings

_IMPERSONATE = frozenset({"roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator"})
_EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})
_EQUALS = re.compile(r"\s*==\s*")
_SUBJECT = 'assertion.tid + "/" + assertion.oid'


def provider_hops(settings: TrustSettings, provider: Provider) -> Iterator[Hop]:
    """Does the provider accept Remit's second audience, from Remit alone?"""
    name = settings.provider.rpartition("/")[2]
    yield Hop(
        "google-provider",
        provider.active,
        f"provider `{name}` is active" if provider.active else f"provider `{name}` is disabled or deleted",
        "" if provider.active else "enable the provider",
    )
    same = provider.issuer == settings.issuer
    yield Hop(
        "google-issuer",
        same,
        f"trusts `{provider.issuer}`",
        "" if same else f"set the provider's issuer to `{settings.issuer}`",
    )
    subject = provider.mapping.get("google.subject", "")
    yield Hop(
        "google-subject",
        subject == _SUBJECT,
        f"google.subject is `{subject}`",
        "" if subject == _SUBJECT else f"map `google.subject` to `{_SUBJECT}`",
    )
    alone = admits_only(settings, provider.condition)
    yield Hop(
        "google-condition",
        alone,
        "only Remit's application may exchange" if alone else "a caller could exchange a token without Remit",
        "" if alone else f'set the condition to `assertion.azp == "{settings.application}"` and the tenant',
    )


def admits_only(settings: TrustSettings, condition: str) -> bool:
    """Whether a condition is exactly a conjunction that demands Remit's application and tenant."""
    terms = {_EQUALS.sub(" == ", term.strip()).replace("'", '"') for term in condition.split("&&")}
    wanted = {f'assertion.azp == "{settings.application}"', f'assertion.tid == "{settings.tenant}"'}
    return terms == wanted


def impersonation_hop(settings: TrustSettings, mapping: Mapping, bindings: Sequence[Binding]) -> Hop:
    """May somebody of the pool become the account that a role is mapped to?"""
    ours = _members_of_pool(settings, bindings)
    name = f"google-impersonation {mapping.account}"
    if not ours:
        cure = f"grant `roles/iam.workloadIdentityUser` on `{mapping.account}` to the group of `{mapping.role}`"
        return Hop(name, holds=False, said="nobody of the pool may become this account", cure=cure)
    if wide := [member for member in ours if member.endswith("/*") or member in _EVERYBODY]:
        everybody = "everybody" if _EVERYBODY.intersection(wide) else "everybody of the pool"
        cure = f"bind a group of the pool instead of `{wide[0].rpartition('/')[2]}`"
        return Hop(name, holds=False, said=f"{everybody} may become this account", cure=cure)
    return Hop(name, holds=True, said=", ".join(member.rpartition("/workloadIdentityPools/")[2] for member in ours))


def groups_of(settings: TrustSettings, bindings: Sequence[Binding]) -> frozenset[str]:
    """The groups of the pool whose members may become an account."""
    members = _members_of_pool(settings, bindings)
    return frozenset(member.rpartition("/group/")[2] for member in members if "/group/" in member)


def _members_of_pool(settings: TrustSettings, bindings: Sequence[Binding]) -> list[str]:
    pool = settings.provider.removeprefix("//iam.googleapis.com/").partition("/providers/")[0]
    members = {member for line in bindings if line.role in _IMPERSONATE for member in line.members}
    return sorted(member for member in members if f"//iam.googleapis.com/{pool}/" in member or member in _EVERYBODY)


def permission_findings(
    mapping: Mapping, wanted: frozenset[str], allowed: frozenset[str], governed: frozenset[str]
) -> Iterator[Finding]:
    """Where policy and IAM disagree about a role in a project, among the permissions that Remit knows actions for."""
    for permission in sorted(wanted - allowed):
        cure = f"grant `{mapping.account}` a role with `{permission}` in `{mapping.project}`"
        yield Finding("missing", mapping.role, mapping.account, mapping.project, permission, cure)
    for permission in sorted((allowed & governed) - wanted):
        cure = f"use a narrower role than one with `{permission}`, or let the policy permit it"
        yield Finding("excess", mapping.role, mapping.account, mapping.project, permission, cure)
