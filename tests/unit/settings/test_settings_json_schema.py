"""remit.yaml for editors: the schema is made of the sources, takes what is right and marks what is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from jsonschema import Draft7Validator
from tests.unit.settings.test_settings_read import TEXT, changed

from remit.settings.json_schema import shipped

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docs" / "remit.schema.json"
SCHEMA = json.loads(shipped())


class Loader(yaml.SafeLoader):
    """YAML as editors read it (1.2): a day is a text."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {
        first: [each for each in found if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def wrong(text):
    """Where the schema finds something wrong."""
    found = Draft7Validator(SCHEMA).iter_errors(yaml.load(text, Loader))  # noqa: S506 - a SafeLoader
    return {".".join(map(str, error.absolute_path)) for error in found}


def test_it_is_what_the_sources_give():
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "remit_schema.py"), "--check"], check=False)
    assert done.returncode == 0, "run `python tools/remit_schema.py`"
    assert FILE.read_text(encoding="utf-8") == shipped()


def test_it_is_a_schema_and_every_key_in_it_is_explained():
    Draft7Validator.check_schema(SCHEMA)
    assert "$ref" not in json.dumps(SCHEMA)
    assert (SCHEMA["title"], SCHEMA["$id"]) == ("remit.yaml", "urn:remit:remit.yaml:1")
    below = [("", SCHEMA)]
    for key, part in below:
        for name, one in part.get("properties", {}).items():
            assert one.get("description"), f"{key}.{name}"
            assert not re.search(r"\]\(", one["description"]), "links are for pages"
        below += [(f"{key}.{name}", one) for name, one in part.get("properties", {}).items()]
        below += [(f"{key}.*", one) for one in part.get("patternProperties", {}).values()]
        below += [(key, one) for one in part.get("anyOf", ())]
        single = (part.get("items"), part.get("additionalProperties"))
        below += [(f"{key}[]", one) for one in single if isinstance(one, dict)]
    assert len(below) > 250


def test_the_example_is_right():
    assert wrong(TEXT) == set()


def test_an_application_that_is_yet_to_be_made_is_right():
    text = re.sub(r"(audience|application): a0000000-\S+", r"\1: app:remit", TEXT)
    assert text.count("app:remit") == 2
    assert wrong(text) == set()


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("version: 1", "version: 2", "version"),
        ("version: 1", "version: 1\nsurprise: true", ""),
        ('number: "100000000001"', "number: 100000000001", "environments.test.contoso-fraud-test.number"),
        ("contoso-fraud-test:", "Contoso_Test:", "environments.test"),
        ("locations: [us-central1]", "locations: []", "environments.test.contoso-fraud-test.locations"),
        ("application: a0000000-0000-4000-8000-000000000001", "application: remit", "credentials.on_behalf_of.application"),
        ("  reviewer:", "  viewer:", "trust"),
        ("expires: 2027-06-30", "expires: soon", "trust.roles.MLEngineer.expires"),
        ("    DataScientist:\n", "    Data Scientist:\n", "trust.roles"),
        ("[policy, ", "[owner, ", "trust.accounts.data-scientist@contoso-fraud-test.iam.gserviceaccount.com.grants.projects/contoso-fraud-test.0"),
        ("listen: 127.0.0.1:8443", "workers: 65", "gateway.workers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_marked(old, new, path):
    assert path in wrong(changed(old, new))
