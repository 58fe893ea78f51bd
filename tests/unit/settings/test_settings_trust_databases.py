"""What roles of databases may do, in remit.yaml."""

import pytest
from tests.unit.settings.test_settings_read import TEXT

from remit.model.errors import SettingsInvalid
from remit.settings.read import read

AT = TEXT.index("\n# PostgreSQL behind")


def file(folder, *lines):
    text = "  databases:\n" + "".join(f"    {line}\n" for line in lines)
    (folder / "remit.yaml").write_text(TEXT[:AT] + text + TEXT[AT:])
    return folder / "remit.yaml"


def test_what_is_read(tmp_path):
    given = (
        "features:",
        "  administrator: dba",
        "  roles:",
        "    features_reader:",
        "      schemas/public: [USAGE]",
        "      'tables/\"public\".features': [SELECT]",
    )
    features, prod = read(file(tmp_path, *given)).trust.databases
    assert (features.administrator, features.project) == ("dba", "contoso-fraud-test")
    assert features.grants == {"features_reader": {"schemas/public": ("USAGE",), "tables/public.features": ("SELECT",)}}
    assert (prod.administrator, prod.grants) == ("", {})


@pytest.mark.parametrize(
    ("lines", "column", "message"),
    [
        (["nothing: {administrator: dba}"], 5, "`nothing` is none of the databases under `databases`"),
        (["features: {roles: {}}"], 5, "`trust.databases.features.administrator`: is missing"),
        (["features: {administrator: features_reader}"], 16, "`features_reader` is a role of Remit's there"),
        (["features: {administrator: dba, roles: {other: {}}}"], 44, "`other` is no role of `features`"),
        (["features: {administrator: dba, roles: {features_reader: {tables/features: [SELECT]}}}"], 62, "the form"),
        (["features: {administrator: dba, roles: {features_reader: {tables/a.b: []}}}"], 62, "at least 1 item"),
        (
            ["features: {administrator: dba, roles: {features_reader: {tables/a.b: [USAGE]}}}"],
            75,
            "`USAGE` is no privilege on tables: one of SELECT, INSERT",
        ),
        (
            ["features: {administrator: dba, roles: {features_reader: {schemas/a: [ALL]}}}"],
            74,
            "`ALL` is no privilege on schemas: one of CREATE, USAGE",
        ),
        (
            ["features: {administrator: dba, roles: {features_reader: {tables/a.b: [SELECT, SELECT]}}}"],
            83,
            "`SELECT` stands twice",
        ),
        (
            ["features: {administrator: dba, roles: {features_reader: {tables/pg_catalog.pg_authid: [SELECT]}}}"],
            62,
            "`pg_catalog` is PostgreSQL's own",
        ),
        (
            ["features: {administrator: dba, roles: {features_reader: {schemas/" + "ä" * 32 + ": [USAGE]}}}"],
            62,
            "longer than 63 bytes",
        ),
        (
            [
                "features: {administrator: dba, roles: {features_reader: {tables/a.b: [SELECT], 'tables/\"a\".b': [SELECT]}}}"
            ],
            84,
            '`tables/"a".b` is `tables/a.b`',
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path, lines, column, message):
    with pytest.raises(SettingsInvalid) as refused:
        read(file(tmp_path, *lines))
    [problem] = refused.value.problems
    assert message in problem.message
    assert (problem.line, problem.column) == (TEXT[:AT].count("\n") + 2, column)


@pytest.mark.parametrize("role", ["public", "none", "pg_read_all_data"])
def test_postgresqls_own_roles_are_nobodys(tmp_path, role):
    """Whoever gives something to `public` gives it to everybody."""
    written = file(tmp_path, "features: {administrator: dba}")
    written.write_text(written.read_text().replace("roles: [features_reader, features_writer]", f"roles: [a, {role}]"))
    with pytest.raises(SettingsInvalid, match=f"`{role}` is PostgreSQL's own"):
        read(written)
