"""A plan as a shell script of `gcloud` and `az`, for teams that apply by other means.

Pure. The script stops at the first error and is no second way to apply: nothing resumes, rolls back or waits, and what
was deleted is not undeleted. Audit logging has no command of its own: the policy is read, edited with `jq` and written
with the etag that it was read with. Source: cloud.google.com/sdk/gcloud/reference; Microsoft's part: `az.py`.
"""

from collections.abc import Iterator, Mapping, Sequence

from remit.model.counts import counted
from remit.model.errors import TrustBroken
from remit.trust.clouds.google_bindings import EVERY_SERVICE
from remit.trust.clouds.google_names import local_part, project_of
from remit.trust.desired.google import OWN_MAPPING
from remit.trust.planning.az import FUNCTIONS, az, looked_up
from remit.trust.planning.plan import Act, Change, Plan
from remit.trust.planning.shell import Quoted, Words, comment, several
from remit.trust.things import Fields, Found, Ref, Value, ids_of

_HEAD = """#!/usr/bin/env bash
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"""
_AUDITS = """
audits() { # project, service, log types as JSON; none: the service is not mentioned any more
  gcloud projects get-iam-policy "$1" --format=json |
    jq --arg service "$2" --argjson types "$3" '.auditConfigs = ([.auditConfigs[]? | select(.service != $service)]
      + (if $types == [] then [] else [{service: $service, auditLogConfigs: ($types | map({logType: .}))}] end))' \\
      > "$work/policy.json"
  gcloud projects set-iam-policy "$1" "$work/policy.json" --quiet > /dev/null
}
"""
_PLACES: Mapping[str, tuple[str, ...]] = {
    "projects": ("gcloud", "projects"),
    "buckets": ("gcloud", "storage", "buckets"),
    "accounts": ("gcloud", "iam", "service-accounts"),
}


def gcloud(plan: Plan, found: Sequence[Found] = ()) -> str:
    """The script. `found`: what is there, for ids that no change names."""
    there = {Ref(one.address, name): value for one in plan.changes for name, value in (one.ids or {}).items()}
    words = Words(ids_of(tuple(found)) | there)
    body = [line for change in plan.changes for line in _change(words, change)]
    made = {change.address for change in plan.changes if change.act is Act.MAKE}
    waited_for = sorted((ref for ref in words.waited_for if ref.of not in made), key=lambda ref: (ref.of, ref.name))
    lookups = [line for ref in waited_for for line in looked_up(words, ref)]
    kinds = {change.address.kind for change in plan.changes}
    head = [_HEAD, comment(f"Remit's plan {plan.checksum}: {counted(len(plan.changes), 'change')}.")]
    head += [comment(f"Problem: {problem}") for problem in plan.problems]
    head += [_AUDITS] if "google.audit" in kinds else []
    head += [FUNCTIONS] if any(kind.startswith("entra.") for kind in kinds) else []
    return "\n".join([*head, *lookups, *body]) + "\n"


def _change(words: Words, change: Change) -> Iterator[str]:
    yield ""
    yield comment(f"{change.act} {change.address}")
    if change.says:
        yield comment(change.says)
    yield from (comment(f"CAUTION ({one.risk}): {one.said}") for one in change.unsafe)
    if change.address.cloud == "sql":
        yield comment("Not done here: `remit trust plan --out sql` prints it for psql.")
        return
    yield from _google(words, change) if change.address.cloud == "google" else az(words, change)


def _google(words: Words, change: Change) -> Iterator[str]:
    kind = change.address.kind
    ways = {
        "google.pool": _pool,
        "google.provider": _provider,
        "google.account": _account,
        "google.role": _role,
        "google.binding": _binding,
        "google.audit": _audit,
    }
    yield from ways[kind](words, change)


def _fields(change: Change) -> Fields:
    return (change.before if change.act is Act.REMOVE else change.after) or {}


def _pool(words: Words, change: Change) -> Iterator[str]:
    name = change.address.name.split("/")
    place = (words.flag("project", name[1]), words.flag("location", name[3]))
    pools = ("gcloud", "iam", "workload-identity-pools")
    if change.act is Act.REMOVE:
        yield words.line(*pools, "delete", name[5], *place, "--quiet")
        return
    disabled = _fields(change)["disabled"]
    if change.act is Act.MAKE:
        yield words.line(*pools, "create", name[5], *place, *(["--disabled"] if disabled else []))
    else:
        yield words.line(*pools, "update", name[5], *place, "--disabled" if disabled else "--no-disabled")


def _provider(words: Words, change: Change) -> Iterator[str]:
    name, fields = change.address.name.split("/"), _fields(change)
    place = [words.flag("project", name[1]), words.flag("location", name[3])]
    place.append(words.flag("workload-identity-pool", name[5]))
    providers = ("gcloud", "iam", "workload-identity-pools", "providers")
    if change.act is Act.REMOVE:
        yield words.line(*providers, "delete", name[7], *place, "--quiet")
        return
    mapping, audiences = fields["mapping"], fields["audiences"]
    flags: dict[str, object] = {
        "issuer": words.flag("issuer-uri", words.text(fields["issuer"])),
        "audiences": words.flag("allowed-audiences", several(words.text(each) for each in _each(audiences))),
        "mapping": words.flag("attribute-mapping", several(f"{key}={value}" for key, value in _pairs(mapping))),
        "condition": words.flag("attribute-condition", words.text(fields["condition"])),
        "disabled": "--disabled" if fields["disabled"] else "--no-disabled",
    }
    if change.act is Act.CHANGE:
        before = change.before or {}
        if before.get("uploadedKeys"):
            message = f"somebody's keys are uploaded to `{change.address.name}`, and gcloud cannot take them away"
            raise TrustBroken(message, hint="apply it with `remit trust apply`")
        differing = [flag for field, flag in flags.items() if fields[field] != before.get(field)]
        yield words.line(*providers, "update-oidc", name[7], *place, *differing)
        return
    kept = [flag for field, flag in flags.items() if fields[field] not in ((), False)]
    if mapping == OWN_MAPPING:  # Remit uploads its keys when it starts: until then nobody is vouched for
        yield """printf '%s' '{"keys": []}' > "$work/keys.json\""""
        kept.append(Quoted('--jwk-json-path="$work/keys.json"'))
    yield words.line(*providers, "create-oidc", name[7], *place, *kept)


def _account(words: Words, change: Change) -> Iterator[str]:
    email, disabled = change.address.name, _fields(change).get("disabled")
    accounts, place = ("gcloud", "iam", "service-accounts"), words.flag("project", project_of(email))
    if change.act is Act.REMOVE:
        yield words.line(*accounts, "delete", email, place, "--quiet")
        return
    if change.act is Act.MAKE:
        yield words.line(*accounts, "create", local_part(email), place, words.flag("display-name", local_part(email)))
    if change.act is Act.CHANGE or disabled:
        yield words.line(*accounts, "disable" if disabled else "enable", email, place)


def _role(words: Words, change: Change) -> Iterator[str]:
    _, project, _, name = change.address.name.split("/")
    fields, roles, place = _fields(change), ("gcloud", "iam", "roles"), words.flag("project", project)
    if change.act is Act.REMOVE:
        yield words.line(*roles, "delete", name, place, "--quiet")
        return
    flags = [words.flag("title", fields["title"]), words.flag("stage", fields["stage"])]
    flags.append(words.flag("permissions", several(map(str, _each(fields["permissions"])))))
    yield words.line(*roles, "create" if change.act is Act.MAKE else "update", name, place, *flags, "--quiet")


def _binding(words: Words, change: Change) -> Iterator[str]:
    """One whose fields change is another: the one goes and the other comes."""
    if change.act is not Act.MAKE:
        yield _bound(words, "remove", change.before or {})
    if change.act is not Act.REMOVE:
        yield _bound(words, "add", change.after or {})


def _bound(words: Words, verb: str, fields: Fields) -> str:
    kind, _, name = str(fields["resource"]).partition("/")
    place = f"gs://{name}" if kind == "buckets" else name
    flags = [words.flag("member", words.text(fields["member"])), words.flag("role", fields["role"])]
    flags += [words.flag("project", project_of(name))] if kind == "accounts" and project_of(name) else []
    flags.append(words.flag("condition", _condition(fields["condition"])))
    return words.line(*_PLACES[kind], f"{verb}-iam-policy-binding", place, *flags) + " > /dev/null"


def _condition(condition: Value) -> str:
    if not isinstance(condition, Mapping):
        return "None"
    return several((f"expression={condition['expression']}", f"title={condition['title']}"))


def _audit(words: Words, change: Change) -> Iterator[str]:
    fields = _fields(change)
    types = [str(each).partition(" ")[0] for each in _each(fields["logTypes"])]
    gone = change.act is Act.REMOVE and fields["service"] != EVERY_SERVICE  # there only its exemptions go
    yield words.line("audits", str(fields["project"]), str(fields["service"]), [] if gone else types)


def _each(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else ()


def _pairs(value: Value) -> list[tuple[str, Value]]:
    return sorted(value.items()) if isinstance(value, Mapping) else []
