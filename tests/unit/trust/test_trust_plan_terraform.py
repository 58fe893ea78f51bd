"""What Terraform is told: every reference is to something in the file, and no text can become an expression."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from planned_contoso import ENGINEER, FOUND, PROJECT, SETTINGS, WANTED, permitted

from remit.model.errors import TrustBroken
from remit.trust.desired import wanted
from remit.trust.planning.hcl import Expression, Template, literal, text
from remit.trust.planning.terraform import terraform
from remit.trust.things import Address, Ref, Thing

TOKEN = re.compile(r'"(?:\\.|\$\$\{|%%\{|\$\{[^}"]*(?:"[^"]*"[^}"]*)*\}|[^"\\])*"|[{}\[\]()]|#[^\n]*|[^\s"{}\[\]()#]+')
HEAD = re.compile(r'^(resource|data) "([a-z0-9_]+)" "([A-Za-z_][A-Za-z0-9_]*)" \{', re.MULTILINE)
REFERENCE = re.compile(r"\b(data\.)?((?:azuread|azurerm|google)_[a-z0-9_]+)\.([A-Za-z_][A-Za-z0-9_]*)")
ESCAPE = re.compile(r"\\(?:U([0-9a-f]{8})|u([0-9a-f]{4})|(.))|([$%])\4\{|([$%])\{", re.DOTALL)


def bare(hcl):
    """The file without its texts' own words and comments: only what Terraform would evaluate."""
    kept = []
    for token in TOKEN.findall(hcl):
        if token.startswith("#"):
            continue
        kept.append(" ".join(re.findall(r"(?<!\$)\$\{([^}]*)\}", token)) if token.startswith('"') else token)
    return " ".join(kept)


def defined(hcl):
    return {f"{'data.' if head == 'data' else ''}{kind}.{name}" for head, kind, name in HEAD.findall(hcl)}


def balanced(hcl):
    closing, open_ = {"}": "{", "]": "[", ")": "("}, []
    for token in TOKEN.findall(hcl):
        if token in closing.values():
            open_.append(token)
        elif token in closing:
            assert open_.pop() == closing[token]
    return not open_


def said(quoted):
    """What a quoted text says, and whether anything in it would be evaluated; the rules of hclsyntax/spec.md."""
    evaluated = []

    def plain(match):
        if match[5]:
            evaluated.append(match[5])
        if match[4]:
            return f"{match[4]}{{"
        if match[1] or match[2]:
            return chr(int(match[1] or match[2], 16))
        return {"n": "\n", "r": "\r", "t": "\t"}.get(match[3], match[3])

    return ESCAPE.sub(plain, quoted[1:-1]), bool(evaluated)


@pytest.mark.parametrize("found", [(), FOUND], ids=["empty", "there"])
def test_the_whole_file_stands_on_its_own(found):
    hcl = terraform(WANTED, found)
    heads = HEAD.findall(hcl)
    assert len(heads) == len(set(heads)), "no name twice"
    assert balanced(hcl)
    references = {"".join(match[:2]) + "." + match[2] for match in REFERENCE.findall(bare(hcl))}
    assert references
    assert references <= defined(hcl), references - defined(hcl)


def test_everything_that_is_wanted_is_in_it_and_everything_that_is_there_is_taken_over():
    made = [thing for thing in WANTED if not thing.given]
    hcl = terraform(WANTED)
    assert hcl.count('\nresource "') == len(made) + 2, "and two clients that need no consent"
    assert "\nimport {" not in hcl
    assert terraform(WANTED, FOUND).count("\nimport {") == len(made) + 2


def test_ids_are_references_and_not_copies():
    hcl = terraform(WANTED)
    assert re.search(r"authorized_client_id = azuread_application\.remit\.client_id", hcl)
    assert re.search(r"principal_id += azuread_service_principal\.\w+\.object_id", hcl)
    assert re.search(r"subject += data\.azuread_service_principal\.managed_identity\.object_id", hcl)
    pending = replace(SETTINGS, pending={SETTINGS.application: "remit"})
    hcl = terraform(wanted(pending, permitted))
    assert r'"assertion.azp == \"${azuread_application.remit.client_id}\" && assertion.tid ==' in hcl


def test_names_that_would_be_one_are_two():
    things = [
        Thing(Address("google.account", f"{name}@p.iam.gserviceaccount.com"), {}) for name in ("a-b", "a.b", "A_B")
    ]
    assert len(defined(terraform(things))) == 3


def test_a_reference_to_nothing_is_refused():
    lost = Thing(
        Address("azure.assignment", "x"),
        {"scope": "/s/x/y", "role": "r", "principal": Ref(Address("entra.principal", "z"), "id")},
    )
    with pytest.raises(TrustBroken, match=r"`entra.principal z` is referred to, and nothing describes it"):
        terraform([lost])
    with pytest.raises(TrustBroken, match="nothing describes it"):
        terraform([Thing(Address("google.account", "a@p.iam.gserviceaccount.com"), {}, (Address("google.pool", "p"),))])


def test_what_is_said_cannot_leave_its_comment():
    thing = Thing(
        Address("google.account", ENGINEER), {"disabled": False}, says='x\n} provisioner "local-exec" {\u2028}'
    )
    hcl = terraform([thing])
    assert balanced(hcl)
    assert sum("local-exec" in line for line in hcl.splitlines()) == 1
    assert next(line for line in hcl.splitlines() if "local-exec" in line).startswith("#")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", '"a"'),
        ('"\\', r'"\"\\"'),
        ("${a}", '"$${a}"'),
        ("%{if x}", '"%%{if x}"'),
        ("$${a}", r'"\u0024$${a}"'),
        ("$${${", r'"\u0024$${$${"'),
        ("$", '"$"'),
        ("\x00\x1b\u202e", r'"\u0000\u001b\u202e"'),
        ("\U000e0001", r'"\U000e0001"'),
    ],
)
def test_texts_are_written_so_that_they_stay_texts(value, written):
    """By the escapes of HCL's own specification (hclsyntax, template literals)."""
    assert text(value) == written
    assert said(written) == (value, False)


@settings(max_examples=500, deadline=None, print_blob=True)
@given(st.text(st.one_of(st.sampled_from('$%{}"\\\n'), st.characters(exclude_categories=["Cs"])), max_size=20))
def test_any_text_says_itself_and_nothing_more(value):
    assert said(text(value)) == (value, False)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.text(st.sampled_from('$%{}"\\a'), max_size=8))
def test_a_text_before_an_expression_cannot_disarm_it(value):
    written = literal(Template((value, Expression("a.b.c"), value)))
    middle = written.index("${a.b.c}")
    before = written[1:middle]
    assert not re.search(r"[$%]\Z", before)
    assert said(f'"{before}"') == (value, False)


def test_projects_are_those_of_the_accounts():
    assert f'service_account_id = "projects/{PROJECT}/serviceAccounts/{ENGINEER}"' in terraform(WANTED)
