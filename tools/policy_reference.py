"""Makes `docs/policy-schema.md`: every word that policies, obligations and policy tests may use.

Entities, the context and their meanings are read from `remit.cedarschema`, groups and actions from the catalogue, the
annotations and the keys of tests from the code that reads them. What an annotation or a key means stands here; one
that has no meaning here, or is gone there, makes this fail.

    python tools/policy_reference.py            writes the page
    python tools/policy_reference.py --check    exits 1 when the page is not what the sources give
"""

import argparse
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from remit.catalogue import actions
from remit.model.obligation import CEILINGS, REDACTABLE
from remit.model.operation import ACCESS_ACTIONS, EXPLICIT_ACTIONS, OWN_ACTIONS, Group
from remit.model.reasons import Reason
from remit.policy import lint
from remit.policy.obligations import READERS
from remit.policy.reference import EntityType, Record, entities, records
from remit.policy.trials import actors, cases

PAGE = Path(__file__).resolve().parent.parent / "docs" / "policy-schema.md"

_HEAD = """\
# The words of policies

Every word that a policy, an obligation and a policy test may use. [policy.md](policy.md) tells how to write them, and
`remit policy init` writes a whole set to start from. `remit policy check` finds words that mean nothing, and rules that
nothing needs. This page is made by `tools/policy_reference.py`; `remit policy schema` prints the schema itself for
editors and other tools.
"""
_GROUPS = {
    Group.USE: "call what runs: predictions, reading an object",
    Group.OBSERVE: "see that it is there and how it does: get, list, logs",
    Group.LAUNCH: "start work that runs with somebody's permissions, and act as a service account",
    Group.CHANGE: "create, update, deploy, delete",
    Group.ADMINISTER: "everything else: permissions, settings, and whatever publishes no permission of its own",
}
_ANNOTATIONS = {
    "id": ("lower-case words joined by `-`", "the name in records, unique in the folder; required"),
    "purpose": ("one line", "why it exists, for whoever reads it next; required on an obligation"),
    "refusal": ("one line", "what a caller reads when the forbid fires; required on a `forbid`"),
    "otherwise": ("one line", "what a caller reads when the permit was within reach and did not apply"),
    "advice": ("one line", "what the caller can do about it"),
    "step_up": ("`c1` to `c99`", "the authentication context whose completion it waits for"),
}
_OBLIGATIONS = {
    "step_up": ('`"c1"`: `c1` to `c99`', "the caller has completed this authentication context", "all of them"),
    "approvals": ('`"2"`: `1` to `9`', "so many people have approved a grant that covers it", "the most"),
    "session": (
        '`"8h"`: a number and `s`, `m`, `h` or `d`',
        "a person has proved who they are within this time",
        "the shortest",
    ),
    "redact": (
        f'`"peer, name"`: of {", ".join(f"`{each}`" for each in sorted(REDACTABLE))}',
        "these fields are left out of the record",
        "all of them",
    ),
    "labels": ('`"team=fraud, cost=ml"`', "what is created carries these labels", "all; two values of one key refuse"),
    "ceilings": (
        f'`"duration=24h, replicas=4"`: of {", ".join(f"`{each}`" for each in sorted(CEILINGS))}',
        "the work asks for no more; a duration without end is above every ceiling",
        "the lowest of each",
    ),
}
_SUBJECT = {
    "id": "`TENANT/OBJECT-ID`, where a policy names them; one of their own otherwise",
    "groups": "names of `groups` above, or object ids; all of them, those that contain others included",
    "roles": "app roles",
    "attributes": "tags: `repository`, `ref`, `namespace`, …",
    "home": "the tenant or provider that a guest comes from",
    "guest": "`true` for a guest of the tenant",
    "methods": "how they signed in; `[pwd]`",
    "contexts": "authentication contexts that they completed",
    "capabilities": "of the client; `[cp1]`",
    "signed_in": "how long ago (`2h`), or `unknown`; just now",
    "device": "`managed`, `compliant`, `known_network`: `true` or `false`; `id`",
}
_TEST = {
    "name": "what it shows, in words; unique in its file",
    "who": "a name of `people` or `workloads`",
    "does": "a method's id or an end of it that only one has, or a group",
    "on": "a resource or a list: a project's id, `gs://BUCKET`, what lies below a prefix (`gs://BUCKET/PREFIX/`, "
    "`az://ACCOUNT/CONTAINER/PREFIX/`, alone), an account's e-mail address, a full or Google's relative name, "
    "`remit`, or `{type, project, name}`",
    "asked": "for `remit.grants.…`, the grant in question: `does`, `by` (a name), `lasting`, `break_glass`",
    "with": "the circumstances, below",
    "also": "further operations of the same request, each with `does`, `on`, `within`, `work`, `asked`",
    "expect": "`permit`, `deny`, `step-up`, `step-up c1` or `approval`",
    "because": "policies and obligations that must be among those that decided, and reasons",
}
_WITH = {
    "at": "the time, in UTC where it names no zone; noon of 2026-01-01",
    "peer": "the caller's address",
    "country": "of that address, `DE`",
    "locations": "named locations that it lies in",
    "locations_known": "`false` when they could not all be told; `true`",
    "risk": "`none`, `low`, `medium` or `high`",
    "job": "id of the run that asks",
    "job_name": "its name (`remit run --name NAME`): whoever asks is then in their job of that name",
    "outlived": "list of hops that end before the work does: `sign-in`, `session`, `grant`, `workflow`",
    "grant": "a grant in force, for what the test does unless `does` and `on` say otherwise: `approvals`, "
    "`lasting` (`1h`), `age`, `break_glass`",
    "contexts": "as of the person, in its place",
    "methods": "likewise",
    "capabilities": "likewise",
    "device": "likewise",
    "signed_in": "likewise",
    "work": "what it asks of the cloud: the words of [Work](#work)",
    "acts_as": "the account that it runs as; acting as that account is then asked for too",
    "within": "the part of the resource that is meant",
}


def page() -> str:
    """The page."""
    sections = (
        _HEAD,
        *_told_entities(entities()),
        *(_told_record(record) for record in sorted(records(), key=lambda each: each.name != "Circumstances")),
        _told_actions(),
        _told_annotations(),
        _told_tests(),
        _told_reasons(),
    )
    return "\n".join(sections)


def _told_entities(found: Iterable[EntityType]) -> Iterator[str]:
    """One table for those that the schema explains together; closed lists one after the other."""
    together: dict[str, list[EntityType]] = {}
    for each in found:
        together.setdefault(each.meaning, []).append(each)
    yield "## Entities\n"
    for meaning, kinds in together.items():
        yield _prose(meaning)
        if kinds[0].words:
            yield _prose(f"`{kinds[0].name}`: {', '.join(f'`{word}`' for word in kinds[0].words)}.")
            continue
        rows = ((f"`{kind.name}`", ", ".join(f"`{each}`" for each in kind.within) or "-") for kind in kinds)
        tagged = [f"`{kind.name}`" for kind in kinds if kind.tags]
        yield _table(("entity", "may be in"), rows)
        if tagged:
            yield f"{' and '.join(tagged)} have tags.\n"


def _told_record(record: Record) -> str:
    """A record as a table. Of what may be absent a policy asks first whether it is there."""
    context = record.name == "Circumstances"
    title = "The context" if context else record.name
    before = "context." if context else ""
    rows = (
        (f"`{before}{word.name}`", f"`{word.type}`", "no" if word.optional else "yes", word.meaning or "-")
        for word in record.words
    )
    said = f"{record.meaning} What is not always there wants `has` first: `context has risk && context.risk == …`."
    return f"## {title}\n\n{_prose(said if context else record.meaning)}\n" + _table(
        ("word", "type", "always", "meaning"), rows
    )


def _told_actions() -> str:
    known = Counter(actions().values())
    rows = ((f'`Action::"{group}"`', str(known[group]), _GROUPS[group]) for group in Group)
    own = (*OWN_ACTIONS, *ACCESS_ACTIONS, *EXPLICIT_ACTIONS)
    return (
        "## Actions\n\nEach action is in exactly one group, and is named by the provider's own method id; "
        "`remit catalogue` lists them.\n\n"
        + _table(("group", "actions", "meaning"), rows)
        + "\nRemit's own:\n\n"
        + _table(("action", "group"), ((f'`Action::"{each.id}"`', f"`{each.group}`") for each in own))
    )


def _told_annotations() -> str:
    allowed = lint._ALLOWED  # noqa: SLF001 - the table that is described
    _same("annotations", _ANNOTATIONS, frozenset().union(*allowed.values()))
    _same("obligations", _OBLIGATIONS, READERS)
    rows = (
        (f"`@{name}`", ", ".join(f"`{effect}`" for effect, names in allowed.items() if name in names), form, meaning)
        for name, (form, meaning) in _ANNOTATIONS.items()
    )
    demands = ((f"`@{name}`", *told) for name, told in _OBLIGATIONS.items())
    return (
        "## Annotations\n\n"
        + _table(("annotation", "on", "form", "meaning"), rows)
        + "\n## Obligations\n\n"
        + _prose(
            "A `permit` in the folder `obligations`, which grants nothing: what it demands of every permitted request "
            "that it matches, besides `@id` and `@purpose`. When several match, the strictest wins."
        )
        + "\n"
        + _table(("annotation", "form", "demands that", "of several"), demands)
    )


def _told_tests() -> str:
    _same("people", _SUBJECT, actors.PERSON)
    _same("tests", _TEST, cases.CASE)
    _same("circumstances", _WITH, cases.WITH)
    subject = (
        (f"`{name}`", "both" if name in actors.WORKLOAD else "people", meaning) for name, meaning in _SUBJECT.items()
    )
    return (
        "## Policy tests\n\n"
        + _prose(
            "Files `tests/*.yaml` of the policy folder; `remit policy test` runs them. `given` holds `groups` (ids by "
            "name), `people` and `workloads` (by name); what a file without `tests` gives, all files have. `tests` is "
            "a list."
        )
        + "\nOf somebody:\n\n"
        + _table(("key", "of", "meaning; what holds without it"), subject)
        + "\nOf a test:\n\n"
        + _table(("key", "meaning"), ((f"`{name}`", meaning) for name, meaning in _TEST.items()))
        + "\nUnder `with`:\n\n"
        + _table(("key", "meaning; what holds without it"), ((f"`{name}`", each) for name, each in _WITH.items()))
    )


def _told_reasons() -> str:
    rows = ((f"`{reason}`", f"`{reason.outcome}`", reason.sentence) for reason in Reason)
    return "## Reasons\n\nThe closed list, for every outcome.\n\n" + _table(("reason", "outcome", "what is said"), rows)


def _same(what: str, told: Mapping[str, object], known: Collection[str]) -> None:
    if set(told) != set(known):
        sys.exit(f"{what}: {sorted(set(told) ^ set(known))} have a meaning and are not known, or the other way round")


def _prose(text: str) -> str:
    """A paragraph in lines of 120 characters, as the other pages have them."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> None:
    """Writes the page, or says whether it is fresh."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE.name} is stale: run `python tools/policy_reference.py`")


if __name__ == "__main__":
    main()
