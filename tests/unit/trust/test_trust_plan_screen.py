"""How a plan reads: a golden screen, and what no name may do to it."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from planned_contoso import AUDITOR, FOUND, POOL, PROJECT, SCIENTIST, SETTINGS, WANTED, as_found, without

from remit.trust.planning.diff import plan
from remit.trust.planning.plan import Act, Change, Plan, Risk, Unsafe
from remit.trust.planning.render import WIDTH, as_json, compact, page, render
from remit.trust.things import Address, Found

GOLDEN = Path(__file__).parents[2] / "golden" / "trust" / "plan.txt"
EVE = "user:eve@contoso.example"


def binding(resource, role, member, condition=None):
    fields = {"resource": resource, "role": role, "member": member, "condition": condition}
    return Found(Address("google.binding", f"{resource} {role} {member}"), fields)


def behind_the_file():
    """Contoso as somebody left it: a scientist may train, the auditor reads no logs, and Eve holds a role."""
    role = f"projects/{PROJECT}/roles/remit_data_scientist"
    scientist, auditor = f"serviceAccount:{SCIENTIST}", f"serviceAccount:{AUDITOR}"
    rest = without(
        FOUND,
        role,
        f"projects/{PROJECT} {role} {scientist}",
        f"projects/{PROJECT} roles/logging.viewer {auditor}",
        f"{PROJECT}/MLEngineer/remit-{PROJECT}-pipeline",
    )
    changed = tuple(
        Found(one.address, {**one.fields, "logTypes": ("ADMIN_READ",)}, one.ids)
        if one.address.name == f"{PROJECT} sts.googleapis.com"
        else one
        for one in rest
    )
    project = f"projects/{PROJECT}"
    return (
        *changed,
        binding(project, "roles/aiplatform.user", scientist),
        binding(project, "roles/editor", EVE),
    )


def test_the_screen_is_one_that_a_person_enjoys():
    text = render(plan(WANTED, behind_the_file(), SETTINGS))
    assert text == GOLDEN.read_text(encoding="utf-8").removesuffix("\n")
    assert len(text.splitlines()) <= 50, "one screen"


def test_what_is_refused_can_be_named_and_is_then_part_of_what_is_typed():
    change = plan(WANTED, behind_the_file(), SETTINGS)
    name = f"google.binding projects/{PROJECT} roles/editor {EVE}"
    assert [one.name for one in change.refused()] == [name]
    assert change.refused([name]) == ()
    assert change.refused(["google.binding *", name[:-1], name.upper()]) != ()
    assert f"refused, unless you type: --allow '{name}'" in render(change)
    assert render(change, [name]).endswith(f"remit trust apply {change.checksum} --allow '{name}'")


def test_lines_are_short_but_for_what_is_typed():
    first = render(plan(WANTED, tuple(one for one in FOUND if one.address.name in GIVEN), SETTINGS))
    for line in first.splitlines():
        assert len(line) <= WIDTH or "--allow" in line or max(map(len, line.split())) > WIDTH - 40, line


GIVEN = ("managed-identity", "microsoft-graph")


def test_json_tells_all_that_the_page_tells():
    change = plan(WANTED, behind_the_file(), SETTINGS)
    told = json.loads(json.dumps(as_json(change)))
    assert told["checksum"] == change.checksum
    assert told["summary"] == {"make": 4, "change": 1, "remove": 2, "refused": 1}
    assert [one["name"] for one in told["changes"]] == [one.name for one in change.changes]
    assert [one["name"] for one in told["changes"] if one["refused"]] == [one.name for one in change.refused()]
    assert [one["risk"] for row in told["changes"] for one in row["unsafe"]] == ["not-ours"]


def test_nothing_to_do_is_one_line():
    assert render(plan(WANTED, FOUND, SETTINGS)) == "the clouds hold what remit.yaml says: nothing to do"


def test_problems_stand_first_and_the_plan_cannot_be_applied():
    text = render(plan(WANTED, without(FOUND, "managed-identity"), SETTINGS))
    assert text.startswith("problem: `entra.principal managed-identity` is not there")
    assert "remit trust apply" not in text
    assert text.endswith("cannot be applied: 1 problem first")


def test_names_cannot_move_the_cursor_nor_turn_the_line_around():
    evil = "user:\x1b[2Ja\u202eb\nc\u2066@x"
    change = plan(WANTED, (*FOUND, binding("projects/p", "roles/viewer\r", evil)), SETTINGS)
    for line in page(change):
        assert line.text.isprintable(), line
    assert "\N{REPLACEMENT CHARACTER}" in render(change)


ROLE = next(thing for thing in WANTED if thing.address.name.endswith("remit_data_scientist"))


def role(permissions, before=None):
    """A plan that makes a custom role of these permissions, or changes it to them."""
    after = {**ROLE.fields, "permissions": tuple(permissions)}
    then = before and {**after, "permissions": tuple(before)}
    return Plan((Change(Act.CHANGE if before else Act.MAKE, ROLE.address, then, after, "", ROLE),))


def test_every_field_of_what_is_made_and_changed_is_told():
    """Nothing that is part of the checksum is kept from whoever wants to read it."""
    permissions = [f"aiplatform.things{number}.use" for number in range(200)]
    assert all(each in render(role(permissions), verbose=True) for each in permissions)
    [change] = as_json(role(permissions))["changes"]
    assert change["after"]["permissions"] == permissions


def test_many_permissions_are_counted_and_the_dangerous_named():
    kinds = [f"things{number}" for number in range(50)]
    read = [f"aiplatform.{kind}.{verb}" for kind in kinds for verb in ("get", "list")]
    made = [f"aiplatform.{kind}.create" for kind in (*kinds, "customJobs", "pipelineJobs")]
    odd = ["aiplatform.things1.getSecret", "iam.serviceAccounts.getAccessToken", "logging.logEntries.list"]
    text = " ".join(render(role([*read, *made, *odd])).split())
    assert "permissions 155, each told by `remit trust plan --verbose`" in text
    assert "takes what others hold by iam.serviceAccounts.getAccessToken" in text
    assert (
        "aiplatform 153: create 52 (customJobs, pipelineJobs, things0, things1 and 48 more), getSecret things1," in text
    )
    assert "read 100 (things0, things1, things10, things11 and 46 more)" in text
    assert "logging 1: read logEntries" in text
    assert len(render(role([*read, *made, *odd])).splitlines()) < 20


def test_what_a_role_gains_and_loses_is_told_and_folded_beyond_a_dozen():
    few, many = [f"a.few{n}.use" for n in range(12)], [f"b.many{n}.use" for n in range(13)]
    assert render(role(few)) == render(role(few), verbose=True)
    text = render(role(["c.x.y", *many], ["c.x.y", *few]))
    assert "permissions  - a.few0.use, a.few1.use" in text
    assert all(each in text for each in few)
    assert "+ 13, each told by `remit trust plan --verbose`" in text
    assert "b 13: use 13 (many0, many1, many10, many11 and 9 more)" in text
    assert "c.x.y" not in text
    assert all(each in render(role(many, few), verbose=True) for each in (*few, *many))


def test_a_change_tells_what_comes_and_what_goes():
    address = Address("google.provider", f"{POOL}/providers/entra")
    before = {"issuer": "https://a", "audiences": ("a", "b"), "mapping": {"x": "1", "y": "2"}, "disabled": True}
    after = {"issuer": "https://b", "audiences": ("b", "c"), "mapping": {"x": "1", "y": "3"}, "disabled": False}
    text = render(Plan((Change(Act.CHANGE, address, before, after, "", None),)))
    for told in ("https://a -> https://b", "- a; + c", "y: 2 -> 3", "disabled   yes -> no"):
        assert told in text, text


def test_permissions_are_told_by_what_they_share():
    assert compact(["a.b.get", "a.b.list", "a.c.get"]) == "a.b.{get,list}, a.c.get"
    assert compact(["https://a.b.c/d", "GA"]) == "https://a.b.c/d, GA"


def test_the_page_says_why_of_each_risk():
    unsafe = tuple(Unsafe(risk, f"because of {number}") for number, risk in enumerate(Risk))
    text = render(Plan((Change(Act.REMOVE, Address("google.role", "x"), {}, None, "", unsafe=unsafe),)))
    for number, risk in enumerate(Risk):
        assert re.search(rf"  ! +{risk.value}: because of {number}", text)


def test_a_first_plan_names_every_application_and_account():
    first = plan(WANTED, as_found([thing for thing in WANTED if thing.given]), SETTINGS)
    assert not first.problems
    assert not first.refused(), [(one.name, one.unsafe) for one in first.refused()]
    text = render(first)
    for thing in WANTED:
        assert thing.given or thing.address.name.rpartition("/")[2].split(" ")[0] in text
