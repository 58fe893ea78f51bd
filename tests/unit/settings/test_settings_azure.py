"""remit.yaml: containers, and the applications whose tokens open them."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from remit.credentials.settings import AzureLine
from remit.model.errors import SettingsInvalid
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
WRITER, OTHER = "a0000000-0000-4000-8000-000000000011", "a0000000-0000-4000-8000-000000000099"
FEATURES, STAGING = "contosofraudtest/features", "contosofraudtest/staging"
LINE = {"role": "MLEngineer", "project": TEST, "client": WRITER}


def settings(tmp_path, *lines, change=lambda document: None):
    document = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    document["credentials"]["azure"] = {"accounts": [deepcopy(line) for line in lines]}
    change(document)
    file = tmp_path / "remit.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return read(file)


def said(tmp_path, *lines, change=lambda document: None):
    with pytest.raises(SettingsInvalid) as caught:
        settings(tmp_path, *lines, change=change)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_a_line_says_by_default_as_little_as_it_can(tmp_path):
    found = settings(tmp_path, LINE)
    assert found.credentials.azure == (
        AzureLine("MLEngineer", TEST, WRITER, f"remit/{TEST}/MLEngineer", ("storage",), "read", (FEATURES, STAGING)),
    )
    assert found.estate.project(TEST).containers == (FEATURES, STAGING)
    assert found.estate.owner_of_container(STAGING).id == TEST


def test_a_line_says_what_it_is_told(tmp_path):
    line = {**LINE, "subject": "remit:ml", "access": "write", "containers": [STAGING]}
    [found] = settings(tmp_path, line).credentials.azure
    assert (found.subject, found.access, found.containers) == ("remit:ml", "write", (STAGING,))


def test_without_azure_nothing_is_offered(tmp_path):
    assert (
        settings(tmp_path, LINE, change=lambda document: document["credentials"].pop("azure")).credentials.azure == ()
    )


def _without_issuer(document):
    document["credentials"].pop("own_issuer")


def _without_containers(document):
    document["environments"]["test"][TEST].pop("containers")


def _twice(document):
    document["environments"]["prod"][PROD]["containers"].append(FEATURES)


def _service(document):
    audience = "api://AzureADTokenExchange"
    board = {"name": "board", "project": TEST, "http": "http://127.0.0.1:1", "prefix": "/b/", "audience": audience}
    document["services"] = [board]


def _remits_own(document):
    document["credentials"]["azure"]["accounts"][0]["client"] = "a0000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("lines", "change", "message"),
    [
        ([{**LINE, "project": "contoso-other"}], None, "`contoso-other` is no project under `environments`"),
        (
            [{**LINE, "containers": ["contosofraudprod/features"]}],
            None,
            f"`contosofraudprod/features` is not among the containers of `{TEST}`",
        ),
        ([LINE, LINE], None, f"the role and client `MLEngineer {WRITER}` stands twice"),
        (
            [LINE],
            _without_issuer,
            "applications at Azure trust remit's own issuer, and `credentials.own_issuer` is missing",
        ),
        ([LINE], _without_containers, f"a token for storage opens containers, and `{TEST}` lists none"),
        ([{**LINE, "containers": []}], None, f"a token for storage opens containers, and `{TEST}` lists none"),
        ([LINE], _twice, f"the container `{FEATURES}` stands twice"),
        ([LINE], _service, "an assertion for a service must mean nothing to Entra"),
        (
            [LINE],
            _remits_own,
            "`a0000000-0000-4000-8000-000000000001` is remit's own application, which is nobody's",
        ),
        # one application is one project and one list, whoever may have it: its tokens all open the same
        *(
            (
                [LINE, {**LINE, "role": "Pipeline", **other}],
                None,
                f"`{WRITER}` stands above for something else: one application is one project and one list",
            )
            for other in ({"access": "write"}, {"containers": [FEATURES]}, {"project": PROD})
        ),
        ([{**LINE, "databases": ["ghost"]}], None, f"`ghost` is no database of `{TEST}`"),
        (
            [{**LINE, "services": ["storage", "sql"]}],
            None,
            "a token for databases opens those under `databases`, and there are none",
        ),
    ],
)
def test_contradictions_are_told_with_their_line(tmp_path, lines, change, message):
    found = dict(reversed(line) for line in said(tmp_path, *lines, change=change or (lambda document: None)))
    assert message in found
    assert found[message] > 1


@pytest.mark.parametrize(
    "line",
    [
        {**LINE, "client": WRITER.upper()},
        {**LINE, "client": "somebody"},
        {**LINE, "services": ["vault"]},
        {**LINE, "services": []},
        {**LINE, "access": "owner"},
        {**LINE, "containers": ["features"]},
        {**LINE, "containers": ["contosofraudtest/*"]},
        {**LINE, "containers": ["contosofraudtest/features/folder"]},
        {**LINE, "containers": ["contosofraudtest/Features"]},
        {**LINE, "containers": ["contosofraudtest/fe--atures"]},
        {**LINE, "scope": "subscription"},
        {"role": "MLEngineer", "project": TEST},
    ],
)
def test_what_no_line_can_say(tmp_path, line):
    assert said(tmp_path, line)


def test_two_roles_share_an_application_of_one_list(tmp_path):
    found = settings(tmp_path, LINE, {**LINE, "role": "Pipeline"}, {**LINE, "client": OTHER, "containers": [FEATURES]})
    assert [line.subject for line in found.credentials.azure] == [
        f"remit/{TEST}/MLEngineer",
        f"remit/{TEST}/Pipeline",
        f"remit/{TEST}/MLEngineer",
    ]
