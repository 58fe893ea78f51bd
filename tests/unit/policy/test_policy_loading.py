"""Loading: every problem with its place, all or nothing, and the last good set stays."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from remit.model.errors import SettingsInvalid
from remit.model.estate import Estate
from remit.model.identity import Authentication
from remit.model.operation import Group
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy import lint, schema
from remit.policy.book import load, made
from remit.policy.judge import CedarJudge
from remit.policy.settings import PolicySettings
from remit.policy.source import Folder, PolicyFile

PERMIT = '@id("all") permit(principal, action, resource);\n'


def problems(judge_of, *texts, **settings):
    with pytest.raises(SettingsInvalid) as caught:
        judge_of(*texts, **settings)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("permit(principal, action, resource)", (1, 35), "unexpected end of input"),
        (PERMIT + "permit(principal;\n", (2, 17), "unexpected token `;`"),
        (
            PERMIT + '// x\n@id("b") permit(principal,\n action, resource) when { 1 === 2 };',
            (4, 31),
            "unexpected token `=`",
        ),
        ('permit(principal, action, resource) when { "abc };', (1, 44), "invalid token"),
        ('\n @id("a") @id("a") permit(principal, action, resource);', (2, 2), "duplicate annotation: @id"),
        (PERMIT + ";", (2, 1), "unexpected token `;`"),
    ],
)
def test_a_syntax_error_is_placed(judge_of, text, place, message):
    assert problems(judge_of, text) == [(*place, message)]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('@id("b")\npermit(principal, action == Action::"nothing", resource);', (2, 29), "unrecognized action"),
        ('@id("b") permit(principal in Grp::"x", action, resource);', (1, 30), "unrecognized entity type `Grp`"),
        ('@id("b") permit(principal, action, resource) when { context.guets };', (1, 61), "attribute `guets`"),
        (
            '@id("b") permit(principal, action, resource) when { context.peer.isLoopback() };',
            (1, 61),
            "optional attribute",
        ),
        ('@id("b") permit(principal, action, resource) when { context.guest == "no" };', (1, 1), "not compatible"),
        (
            '@id("b") permit(principal, action, resource) when { context has peer && context.peer == ip("zz") };',
            (1, 92),
            "IP",
        ),
    ],
)
def test_what_the_validator_finds_is_placed(judge_of, text, place, message):
    found = problems(judge_of, PERMIT, text)
    assert found[0][:2] == place
    assert message in found[0][2]
    assert "policy1" not in found[0][2]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("permit(principal, action, resource);", (1, 1), 'the policy has no `@id("…")`'),
        ('@id("A b") permit(principal, action, resource);', (1, 6), "`A b` is not an id"),
        ('@id("b") @idd("x") permit(principal, action, resource);', (1, 11), "`@idd` means nothing on a `permit`"),
        ('@id("b") @refusal("x") permit(principal, action, resource);', (1, 11), "`@refusal` means nothing"),
        ('@id("b") @refusal("x") @otherwise("x") forbid(principal, action, resource);', (1, 25), "`@otherwise` means"),
        ('@id("b") @purpose(" ") permit(principal, action, resource);', (1, 11), "one line of 1 to 300"),
        ('@id("b") @purpose("a\\nb") permit(principal, action, resource);', (1, 11), "one line of 1 to 300"),
        (f'@id("b") @purpose("{"x" * 301}") permit(principal, action, resource);', (1, 11), "one line of 1 to 300"),
        (
            '@id("b") @step_up("mfa") permit(principal, action, resource);',
            (1, 11),
            "`mfa` is not an authentication context",
        ),
        ('@id("b") forbid(principal, action, resource);', (1, 1), 'the forbid has no `@refusal("…")`'),
        (
            '@id("b") permit(principal, action, resource in Project::"contoso-fruad");',
            (1, 48),
            "does not exist in `remit.yaml`",
        ),
        (
            '@id("b") permit(principal, action, resource in Environment::"Prod");',
            (1, 48),
            "does not exist in `remit.yaml`",
        ),
        ('@id("b") permit(principal, action, resource == Bucket::"x");', (1, 48), "does not exist in `remit.yaml`"),
        (
            '@id("b") permit(principal, action, resource == ServiceAccount::"x");',
            (1, 48),
            "does not exist in `remit.yaml`",
        ),
        ('@id("b") permit(principal, action == Action::"any other use", resource);', (1, 38), "is not an action"),
        ('@id("b") permit(principal == ?principal, action, resource);', (1, 1), "a template permits nothing"),
    ],
)
def test_what_the_validator_does_not_find_is_found(judge_of, text, place, message):
    found = problems(judge_of, text)
    assert found[0][:2] == place
    assert message in found[0][2]


def test_two_policies_with_one_id_are_refused(judge_of):
    ((line, column, message),) = problems(judge_of, PERMIT, "\n" + PERMIT)
    assert (line, column) == (2, 6)
    assert message.startswith('`@id("all")` is taken by a policy in `')
    assert message.endswith("p0.cedar`")


def test_groups_and_roles_must_be_in_the_directory_where_one_is_known(judge_of):
    text = '@id("b") permit(principal in Group::"g", action, resource);@id("c") permit(principal in Role::"R", action, resource);'
    judge_of(text)
    judge_of(text, groups=frozenset({"g"}), roles=frozenset({"R"}))
    found = problems(judge_of, text, groups=frozenset(), roles=frozenset({"r"}))
    assert [message for _, _, message in found] == [
        '`Group::"g"` does not exist in the directory',
        '`Role::"R"` does not exist in the directory',
    ]


def test_every_problem_is_reported_at_once(judge_of):
    assert (
        len(
            problems(
                judge_of,
                "permit(principal, action, resource);",
                '@id("b") @x("y") forbid(principal, action, resource);',
            )
        )
        == 3
    )


def test_conditions_nested_too_deep_are_refused(judge_of):
    text = f'@id("deep") permit(principal, action, resource) when {{ {"!(" * 150}context.guest{")" * 150} }};'
    ((line, _, _),) = problems(judge_of, text)
    assert line == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("forbids.ceder", b"", "not a policy file"),
        ("p.cedar", b"\xff", "not UTF-8 at byte 0"),
        ("p.cedar", b"// nothing yet\n", "holds no policy"),
        ("README.md", b"words", "holds no `*.cedar` file"),
    ],
)
def test_a_folder_that_does_not_hold_policies_is_refused(tmp_path, world, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsInvalid, match=message.replace("*", r"\*")):
        CedarJudge(PolicySettings(tmp_path), world.estate, world.actions)


@pytest.mark.parametrize("left", ["", "\n", "// nobody", "// two\n// lines\n"])
def test_a_file_that_was_cut_off_before_its_first_policy_is_refused(tmp_path, world, left):
    (tmp_path / "a.cedar").write_text(PERMIT)
    (tmp_path / "b.cedar").write_text(left)
    with pytest.raises(SettingsInvalid) as caught:
        CedarJudge(PolicySettings(tmp_path), world.estate, world.actions)
    assert [(problem.file, problem.message) for problem in caught.value.problems] == [
        (str(tmp_path / "b.cedar"), "the file holds no policy: was it cut off? a file that is not needed is deleted")
    ]


def test_an_empty_and_a_missing_folder_are_refused(tmp_path, world):
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").unlink(missing_ok=True)
        if folder.name == "file":
            folder.write_text("")
        with pytest.raises(SettingsInvalid, match="policy folder"):
            CedarJudge(PolicySettings(folder), world.estate, world.actions)


def test_a_file_that_cannot_be_read_is_refused(tmp_path, world):
    (tmp_path / "a.cedar").write_text(PERMIT)
    (tmp_path / "b.cedar").mkdir()
    (tmp_path / "c.cedar").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsInvalid) as caught:
        CedarJudge(PolicySettings(tmp_path), world.estate, world.actions)
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == ["the file cannot be read"] * 2


def test_hidden_files_and_prose_are_no_policies(tmp_path, world):
    (tmp_path / "a.cedar").write_text(PERMIT)
    (tmp_path / ".a.cedar.swp").write_bytes(os.urandom(16))
    (tmp_path / "notes.txt").write_text("words")
    assert CedarJudge(PolicySettings(tmp_path), world.estate, world.actions).policy_version


OBLIGATION = '@id("o") @purpose("x") @session("8h") permit(principal, action, resource);\n'


def folder_with(tmp_path, **files):
    for name, text in {"a.cedar": PERMIT, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return PolicySettings(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("obligations/o.ceder", "not a policy file"),
        ("obligations/o.yaml", "not a policy file"),
        ("obligations/README.md", "the folder holds no `*.cedar` file"),
        ("tests/forbid.cedar", "not a policy test"),
        ("tests/t.yml", "not a policy test"),
        ("obligation/o.cedar", "in no subfolder but `obligations`"),
        ("Obligations/o.cedar", "in no subfolder but `obligations`"),
        ("old/p.cedar", "in no subfolder but `obligations`"),
        ("obligations", "not a policy file"),
        ("tests", "not a policy file"),
    ],
)
def test_what_lies_where_it_means_nothing_is_refused(tmp_path, world, name, message):
    with pytest.raises(SettingsInvalid) as caught:
        CedarJudge(folder_with(tmp_path, **{name: OBLIGATION}), world.estate, world.actions)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.file in {str(tmp_path / name), str(tmp_path / name.partition("/")[0])}


@pytest.mark.parametrize("name", ["obligations/deeper/o.cedar", "tests/deeper/t.yaml"])
def test_a_folder_in_a_subfolder_is_refused(tmp_path, world, name):
    settings = folder_with(tmp_path, **{f"{Path(name).parts[0]}/{'o.cedar' if 'o.' in name else 't.yaml'}": OBLIGATION})
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(OBLIGATION)
    with pytest.raises(SettingsInvalid, match="deeper: not a policy"):
        CedarJudge(settings, world.estate, world.actions)


def test_obligations_without_policies_are_refused(tmp_path, world):
    settings = folder_with(tmp_path, **{"obligations/o.cedar": OBLIGATION})
    (tmp_path / "a.cedar").unlink()
    with pytest.raises(SettingsInvalid, match="the policy folder holds no"):
        CedarJudge(settings, world.estate, world.actions)


def test_the_version_covers_obligations_and_no_tests(tmp_path, world):
    judge = CedarJudge(folder_with(tmp_path, **{"tests/t.yaml": "a"}), world.estate, world.actions)
    first = judge.policy_version
    (tmp_path / "tests" / "t.yaml").write_text("b")
    (tmp_path / "tests" / "more.yaml").write_text("c")
    assert judge.take(judge.read()) == first
    folder_with(tmp_path, **{"obligations/o.cedar": OBLIGATION})
    second = judge.take(judge.read())
    folder_with(tmp_path, **{"obligations/o.cedar": OBLIGATION + "// more\n"})
    third = judge.take(judge.read())
    (tmp_path / "obligations" / "o.cedar").rename(tmp_path / "obligations" / "p.cedar")
    assert len({first, second, third, judge.take(judge.read())}) == 4


def test_a_set_is_made_again_of_the_texts_that_were_kept(tmp_path, world):
    settings = folder_with(tmp_path, **{"obligations/o.cedar": OBLIGATION, "tests/t.yaml": "a"})
    book = load(settings, world.estate, world.actions)
    assert sorted(book.texts) == ["a.cedar", "obligations/o.cedar"]
    again = made(Folder(dict(book.texts)), settings, world.estate, world.actions)
    assert again.version == book.version
    assert dict(again.obliging) == dict(book.obliging)
    with pytest.raises(SettingsInvalid, match=r"^obligations/o\.cedar:1:6: "):
        made(Folder({**book.texts, "obligations/o.cedar": "permit"}), settings, world.estate, world.actions)


@pytest.mark.parametrize(
    "bad", ["permit(principal", "permit(principal, action, resource);", OBLIGATION.replace("8h", "8")]
)
def test_bad_obligations_never_replace_a_good_set(tmp_path, world, bad):
    settings = folder_with(tmp_path, **{"obligations/o.cedar": OBLIGATION})
    judge = CedarJudge(settings, world.estate, world.actions)
    before, request = judge.policy_version, world.request("use", world.project("contoso-fraud-test"))
    (tmp_path / "a.cedar").write_text(PERMIT + "// good\n")
    (tmp_path / "obligations" / "o.cedar").write_text(bad)
    with pytest.raises(SettingsInvalid, match=r"obligations/o\.cedar:1:"):
        judge.take(judge.read())
    assert judge.policy_version == before
    ageless = replace(world.dana(), authentication=Authentication(frozenset({"pwd"})))
    assert world.decide(judge, ageless, request).reasons == (Reason.SIGN_IN_AGAIN,)
    with pytest.raises(SettingsInvalid):
        CedarJudge(settings, world.estate, world.actions)


def test_an_estate_without_projects_is_refused(world):
    with pytest.raises(SettingsInvalid, match="no project"):
        load(world.settings, Estate(()), world.actions)


def test_an_action_id_that_no_catalogue_could_hold_is_an_error():
    for name in ('x" in [Action::"use"]', "use"):
        with pytest.raises(ValueError, match="cannot be an action's id"):
            schema.schema_text({name: Group.USE}, (name,))


def test_the_types_of_children_are_read_from_the_schema():
    assert {"CustomJob", "Bucket", "ServiceAccount", "LogView", "Operation"} <= schema.child_types().keys()
    assert schema.child_types()["Tensorboard"] == "Tensorboard"
    assert schema.child_types()["ServedModel"] == "Service"
    assert not schema.child_types()["Bucket"]
    assert not {"Project", "Environment", "Person", "Group"} & schema.child_types().keys()


def test_the_version_follows_names_and_contents(tmp_path, world):
    shutil.copytree(world.folder, tmp_path / "p")
    judge = CedarJudge(PolicySettings(tmp_path / "p"), world.estate, world.actions)
    assert judge.policy_version == CedarJudge(world.settings, world.estate, world.actions).policy_version
    assert len(judge.policy_version) == 16
    versions = {judge.policy_version}
    (tmp_path / "p" / "guests.cedar").rename(tmp_path / "p" / "visitors.cedar")
    versions.add(judge.take(judge.read()))
    visitors = tmp_path / "p" / "visitors.cedar"
    visitors.write_text(visitors.read_text() + "// more\n")
    versions.add(judge.take(judge.read()))
    assert len(versions) == 3


def test_a_broken_file_leaves_the_last_good_set_in_force(tmp_path, world):
    folder = tmp_path / "p"
    shutil.copytree(world.folder, folder)
    judge = CedarJudge(PolicySettings(folder), world.estate, world.actions)
    before = judge.policy_version
    request = world.request("use", world.project("contoso-fraud-test"))
    (folder / "guests.cedar").write_text('@id("guests")\nforbid(principal, acton, resource);\n')
    with pytest.raises(SettingsInvalid, match=r"guests\.cedar:2:19: .*acton") as caught:
        judge.take(judge.read())
    assert "last good set" in caught.value.hint
    assert judge.policy_version == before
    assert world.decide(judge, world.dana(), request).outcome is Outcome.PERMIT
    assert world.decide(judge, world.gil(), request).outcome is Outcome.DENY
    with pytest.raises(SettingsInvalid):
        CedarJudge(PolicySettings(folder), world.estate, world.actions)
    shutil.copy(world.folder / "guests.cedar", folder)
    assert judge.take(judge.read()) == before


def test_a_statement_is_found_whatever_stands_around_it():
    text = '// a; "b\n@id("x;//y") permit(principal, action, resource); // tail;\npermit(principal, action, resource);\n// end'
    found = PolicyFile("f", text).statements()
    assert [statement.text[:6] for statement in found] == ['@id("x', "permit"]
    assert PolicyFile("f", "// nothing").statements() == ()
    assert PolicyFile("f", text).syntax_problem() is None


def test_every_policy_in_the_documentation_loads(judge_of):
    text = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    blocks = re.findall(r"```cedar\n(.*?)```", text, re.DOTALL)
    (obligations,) = [block for block in blocks if "@approvals" in block]
    assert len(blocks) == 13
    judge_of(*(block for block in blocks if block is not obligations), obligations=obligations)


def test_the_documentation_names_every_word_of_the_schema():
    text = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    words = {*schema.child_types(), *schema.PRINCIPALS, *Group, "Group", "Role", "Job", "Environment", "Project"}
    words |= {f"@{name}" for names in (*lint._ALLOWED.values(), lint._OBLIGING) for name in names}
    assert not {word for word in words if f"`{word}" not in text}
