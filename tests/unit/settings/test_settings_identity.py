"""Who is believed, and where browsers sign in, as remit.yaml says it."""

from pathlib import Path

import pytest

from remit.identity.settings import OidcKind, RoleRule
from remit.model.errors import SettingsInvalid
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
OKTA = """  - oidc:
      name: okta
      issuer: https://contoso.okta.example
      audience: api://remit
      clients: [remit-cli]
      groups_claim: groups
      algorithms: [RS256, ES256]
"""
ADFS = """  - saml:
      name: adfs
      title: Contoso on premises
      entity_id: http://adfs.contoso.example/adfs/services/trust
      metadata: adfs.xml
      groups_attribute: groups
      roles:
        - role: MLEngineer
          when: {department: fraud}
"""


def written(tmp_path, *changes):
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file = tmp_path / "remit.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def said(tmp_path, *changes):
    with pytest.raises(SettingsInvalid) as caught:
        read(written(tmp_path, *changes))
    return [problem.message for problem in caught.value.problems]


def test_contosos_issuers():
    who = read(EXAMPLE).identity
    assert who.entra.guests == {"6f1c2a34-8b5d-4e6f-9a01-c0de00000002"}
    assert who.entra.uris == {"api://remit"}
    [github] = who.oidc
    assert (github.kind, github.jwks_host) == (OidcKind.GITHUB, "")
    assert github.roles == (
        RoleRule("Pipeline", (("repository", "contoso/fraud"), ("repository_owner_id", "4200001"))),
    )
    [browser] = who.providers
    assert browser.redirect == "http://127.0.0.1:8443/sign-in/entra/callback"
    assert browser.issuer == who.entra.issuer
    assert browser.token
    assert browser.scopes[-1] == "a0000000-0000-4000-8000-000000000001/.default"
    assert (who.graph, who.countries, who.transmitters) == (True, None, ())


def test_the_gateway_lets_each_issuers_own_audiences_through():
    settings = read(EXAMPLE)
    tenant = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
    app = "a0000000-0000-4000-8000-000000000001"
    assert settings.gateway.issuers == (
        (f"https://login.microsoftonline.com/{tenant}/v2.0", app),
        (f"https://sts.windows.net/{tenant}/", app),
        (f"https://sts.windows.net/{tenant}/", "api://remit"),
        ("https://token.actions.githubusercontent.com", "api://remit"),
    )


def test_other_providers_and_their_places(tmp_path):
    file = written(
        tmp_path,
        ("\n# What `remit login` asks for", f"{OKTA}{ADFS}\n# What `remit login` asks for"),
        ("  browser:\n", "  browser:\n    origin: https://remit.contoso.example\n    idle: 600\n"),
        ("policy:\n", "directory:\n  graph: false\n  countries: countries.mmdb\npolicy:\n"),
        ("policy:\n", "events:\n  - issuer: https://ssf.contoso.example\n    audience: https://a\npolicy:\n"),
        ("state:\n", "state:\n  database: postgresql://db.contoso.example/remit\n"),
    )
    settings = read(file)
    who = settings.identity
    [saml] = who.saml
    assert saml.metadata == tmp_path / "adfs.xml"
    assert saml.audience == "https://remit.contoso.example/saml/adfs"
    assert saml.recipient == "https://remit.contoso.example/sign-in/adfs/saml"
    assert who.titles == (("adfs", "Contoso on premises"),)
    assert [one.name for one in who.oidc] == ["github", "okta"]
    assert who.oidc[1].algorithms == ("RS256", "ES256")
    assert (who.sessions.origin, who.sessions.idle) == ("https://remit.contoso.example", 600)
    assert who.providers[0].redirect == "https://remit.contoso.example/sign-in/entra/callback"
    assert who.countries == tmp_path / "countries.mmdb"
    assert not who.graph
    assert [(one.issuer, one.audience) for one in who.transmitters] == [("https://ssf.contoso.example", "https://a")]
    assert settings.state.url == "postgresql://db.contoso.example/remit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  - oidc:\n      name: github", "  - oidc:\n      name: 6f1c2a34-8b5d"), "does not have the form"),
        (("https://token.actions", "http://token.actions"), "does not have the form"),
        (("      kind: github\n", "      kind: gitlub\n"), "`issuers.1.oidc.kind`"),
        (("  - oidc:\n      name: github", "  - oidc:\n      colour: red\n      name: github"), "is not a key that"),
        (
            (
                (
                    "      roles:\n        - role: Pipeline\n          when:\n            repository: contoso/fraud\n"
                    '            repository_owner_id: "4200001"\n'
                ),
                "",
            ),
            "anybody can get a token of this kind",
        ),
        (("            repository: contoso/fraud\n", "            repository: 7\n"), "valid string"),
        (("        entra: true\n", ""), "a provider has an `issuer`, or `entra: true`"),
        (("      - name: entra\n", "      - name: github\n"), "is the name of another issuer"),
        (("\n# What `remit login`", f"{OKTA}{OKTA}\n# What `remit login`"), "the issuer `okta` stands twice"),
        (("\n# What `remit login`", f"{ADFS.replace('adfs', 'entra', 1)}\n# What `remit login`"), "the sign-in"),
        (("  - oidc:\n", "  - entra: null\n  - oidc:\n"), "an issuer is one of"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, message):
    assert any(message in one for one in said(tmp_path, change))


def test_saml_metadata_comes_from_one_place(tmp_path):
    both = ADFS.replace("metadata: adfs.xml", "metadata: adfs.xml\n      metadata_url: https://adfs.contoso.example/m")
    marker = "\n# What `remit login`"
    assert any("name one of" in one for one in said(tmp_path, (marker, both + marker)))


def test_there_is_exactly_one_tenant(tmp_path):
    start, end = TEXT.index("  - entra:"), TEXT.index("  # A pipeline of GitHub")
    twice = TEXT[start:end] + TEXT[start:end]
    assert any("here are 2" in one for one in said(tmp_path, (TEXT[start:end], twice)))
    assert any("here are 0" in one for one in said(tmp_path, (TEXT[start:end], "")))


def test_the_command_line_must_be_a_known_client(tmp_path):
    change = ("  client: a0000000-0000-4000-8000-000000000002\n", "  client: a0000000-0000-4000-8000-00000000000f\n")
    assert said(tmp_path, change) == ["`sign_in.client` is not among the issuer's `clients`"]


def test_the_command_line_may_sign_in_at_another_issuer(tmp_path):
    marker = "\n# What `remit login`"
    mine = ("  client: a0000000-0000-4000-8000-000000000002\n", "  client: remit-cli\n  issuer: okta\n")
    assert read(written(tmp_path, (marker, OKTA + marker), mine)).sign_in.issuer == "https://contoso.okta.example"
    other = (mine[0], mine[1].replace("remit-cli", "somebody"))
    assert said(tmp_path, (marker, OKTA + marker), other) == ["`sign_in.client` is not among the issuer's `clients`"]
    assert said(tmp_path, mine) == ["`sign_in.client` is not among the issuer's `clients`"]
