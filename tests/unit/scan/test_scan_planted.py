"""Secrets of every kind, planted in every container: each is found, and none is shown in any mode."""

import base64
import json
import random
import string
import uuid

import pytest

import remit.cli
from remit.scan.kinds import KINDS

BASE64 = string.ascii_letters + string.digits + "+/"
WORD = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


class Maker:
    """Makes secrets of each kind: the secret's text, and the names and values that are written together."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def letters(self, count, alphabet=WORD):
        return "".join(self.random.choices(alphabet, k=count))

    def guid(self):
        return str(uuid.UUID(int=self.random.getrandbits(128)))

    def storage_key(self):
        return self.letters(86, BASE64) + "=="

    def pem(self, lines=26):
        body = "".join(self.letters(64, BASE64) + "\n" for _ in range(lines))
        return f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n"

    def password(self):
        return self.letters(5, string.ascii_letters) + "-" + self.letters(4) + "9"

    def every(self):  # noqa: PLR0915 - a list, one kind after another
        """Kind: the fields to be written, and what must not be shown."""
        pem, plain = self.pem(), self.pem(3)
        account = f"https://{self.letters(9, string.ascii_lowercase)}.blob.core.windows.net"
        signature = base64.b64encode(self.random.randbytes(32)).decode().replace("+", "%2B").replace("/", "%2F")
        lasting = ".".join(
            base64.urlsafe_b64encode(part).decode().rstrip("=")
            for part in (
                b'{"alg":"RS256"}',
                b'{"iss":"kubernetes/serviceaccount","sub":"a"}',
                self.random.randbytes(64),
            )
        )
        password, key = self.password(), self.storage_key()
        access = f"GOOG1E{self.letters(55, string.ascii_uppercase + string.digits)}"
        yield (
            "google-service-account-key",
            {
                "type": "service_account",
                "private_key_id": self.letters(40, HEX),
                "private_key": pem,
                "client_email": "trainer@contoso-ml.iam.gserviceaccount.com",
            },
            pem,
        )
        yield "private-key", {"deploy_key": plain}, plain
        yield from self.one("google-refresh-token", "refresh_token", "1//0" + self.letters(60, WORD + "-_") + "a")
        yield from self.one("google-oauth-client-secret", "oauth", "GOCSPX-" + self.letters(28))
        yield from self.one("google-api-key", "maps", "AIza" + self.letters(35))
        secret = self.letters(40, BASE64)
        yield "google-hmac-key", {"access_key_id": access, "hmac": secret}, secret
        marked = f"{self.letters(3)}8Q~{self.letters(34)}"
        yield "azure-client-secret", {"client_id": self.guid(), "value": marked}, marked
        named = self.letters(20) + "aA9" + self.letters(20)
        yield "azure-client-secret", {"AZURE_CLIENT_ID": self.guid(), "AZURE_CLIENT_SECRET": named}, named
        string_ = (
            f"DefaultEndpointsProtocol=https;AccountName=contosodata;AccountKey={key};EndpointSuffix=core.windows.net"
        )
        yield "azure-storage-key", {"connection": string_}, key
        second = self.storage_key()
        yield "azure-storage-key", {"AZURE_STORAGE_KEY": second}, second
        third = self.letters(43, BASE64) + "="
        bus = f"Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={third}"
        yield "azure-service-key", {"bus": bus}, third
        sas = f"{account}/c/b?sv=2025-01-05&ss=b&se=2099-01-01T00%3A00%3A00Z&sp=r&sig={signature}"
        yield "azure-sas", {"data": sas}, signature
        yield "postgresql-password", {"db": f"postgresql+psycopg://ml:{password}@db.contoso.net:5432/m"}, password
        password = self.password()
        yield "postgresql-password", {"dsn": f"host=db.contoso.net user=ml password={password} dbname=m"}, password
        password = self.password()
        sql = f"Server=tcp:x.database.windows.net,1433;User ID=ml;Password={password};Encrypt=True"
        yield "sql-password", {"sql": sql}, password
        password = self.password()
        yield "sql-password", {"sql": f"mssql+pyodbc://ml:{password}@x.database.windows.net/d"}, password
        password = self.password()
        yield "url-password", {"remote": f"https://ml:{password}@git.contoso.net/a.git"}, password
        aws = self.letters(40, BASE64)
        yield "aws-access-key", {"aws_secret_access_key": aws}, aws
        yield "lasting-jwt", {"t": lasting}, lasting
        yield from self.one("huggingface-token", "hub", "hf_" + self.letters(34))
        yield from self.one("wandb-key", "WANDB_API_KEY", self.letters(40, HEX))
        yield from self.one("openai-key", "k", f"sk-{self.letters(20)}T3BlbkFJ{self.letters(20)}")
        yield from self.one("openai-key", "k", f"sk-proj-{self.letters(100)}")
        yield from self.one("anthropic-key", "k", f"sk-ant-api03-{self.letters(93)}")
        yield "kaggle-key", {"username": "dana", "key": (kaggle := self.letters(32, HEX))}, kaggle
        yield from self.one("databricks-token", "k", f"dapi{self.letters(32, HEX)}")
        yield from self.one("github-token", "k", f"ghp_{self.letters(36)}")
        yield from self.one("github-token", "k", f"github_pat_{self.letters(22)}_{self.letters(59)}")
        yield from self.one("gitlab-token", "k", f"glpat-{self.letters(20)}")
        yield from self.one("package-token", "k", f"pypi-AgEIcHlwaS5vcmc{self.letters(80)}")
        yield from self.one("slack-token", "k", f"xoxb-{self.letters(11, string.digits)}-{self.letters(24)}")
        yield from self.one("stripe-key", "k", f"sk_live_{self.letters(24)}")
        yield from self.one("sendgrid-key", "k", f"SG.{self.letters(22)}.{self.letters(43)}")

    def one(self, kind, name, secret):
        yield kind, {name: secret}, secret


def environment(fields):
    return "".join(f'{name}="{value}"\n' if "\n" in value else f"{name}={value}\n" for name, value in fields.items())


def yaml(fields):
    return "secrets:\n" + "".join(
        f"  {name}: |\n" + "".join(f"    {line}\n" for line in value.splitlines())
        if "\n" in value
        else f"  {name}: '{value}'\n"
        for name, value in fields.items()
    )


def python(fields):
    return (
        "def settings():\n    return {\n"
        + "".join(f"        {name!r}: {value!r},\n" for name, value in fields.items())
        + "    }\n"
    )


def script(fields):
    return "#!/bin/sh\n" + "".join(f"export {name}='{value}'\n" for name, value in fields.items())


def notebook(source="", **output):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n"]},
        {
            "cell_type": "code",
            "metadata": {},
            "source": source.splitlines(keepends=True),
            "outputs": [output] if output else [],
        },
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}, indent=1)


def printed(fields):
    return notebook("main()\n", output_type="stream", name="stdout", text=environment(fields).splitlines(keepends=True))


def shown(fields):
    return notebook(
        "main()\n", output_type="execute_result", data={"text/plain": [repr(fields)], "image/png": "aGY="}, metadata={}
    )


def failed(fields):
    lines = ["\x1b[0;31mValueError\x1b[0m", *python(fields).splitlines()]
    return notebook("main()\n", output_type="error", ename="ValueError", evalue="x", traceback=lines)


CONTAINERS = {
    "prod.env": environment,
    "deploy.yaml": yaml,
    "key.json": lambda fields: json.dumps(fields, indent=2),
    "packed.json": lambda fields: json.dumps({"filler": ["z" * 5000], "held": fields, "more": "y" * 9000}),
    "nested.json": lambda fields: json.dumps({"env": {"JSON": json.dumps(fields)}}),
    "settings.py": python,
    "run.sh": script,
    "source.ipynb": lambda fields: notebook(python(fields)),
    "printed.ipynb": printed,
    "shown.ipynb": shown,
    "failed.ipynb": failed,
    "windows.env": lambda fields: environment(fields).replace("\n", "\r\n"),
}
JSON_OR_PYTHON = {
    CONTAINERS[name] for name in ("key.json", "packed.json", "nested.json", "settings.py", "source.ipynb")
}


@pytest.fixture
def seed():
    """Told when the test is over: what is printed before would stand among the command's own lines."""
    drawn = random.SystemRandom().getrandbits(64)
    yield drawn
    print(f"seed {drawn}")


@pytest.fixture
def scan(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            remit.cli.main(["scan", *words])
        found = capsys.readouterr()
        return ended.value.code, found.out, found.err

    return call


def written(secret):
    """How a secret may come out: itself, escaped, encoded, and pieces of it."""
    lines = [line for line in secret.splitlines() if len(line) > 8 and "-----" not in line] or [secret]
    pieces = [line[at : at + 12] for line in lines for at in range(0, max(1, len(line) - 12), 6)]
    return {*lines, *pieces, base64.b64encode(secret.encode()).decode()} - {""}


def hidden(secrets, *texts):
    for text in texts:
        for secret in secrets:
            assert not [each for each in written(secret) if each in text], "a secret is shown"


@pytest.mark.promise("V16")
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_kind_is_found_in_every_container_and_never_shown(scan, monkeypatch, tmp_path, container, seed):
    planted = []
    for number, (kind, fields, secret) in enumerate(Maker(seed).every()):
        if kind == "kaggle-key" and CONTAINERS[container] not in JSON_OR_PYTHON:
            continue  # its file is JSON, and it has no form but that
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / container).write_text(CONTAINERS[container](fields), newline="")
        planted.append((f"{number}/{container}", kind, secret))
    secrets = [secret for _, _, secret in planted]
    code, out, err = scan(".", "--json")
    document = json.loads(out)
    assert code == 1
    assert document["dismissed"] == []
    found = {(one["file"], one["kind"]) for one in document["findings"]}
    assert {(file, kind) for file, kind, _ in planted} - found == set()
    strangers = {(file, kind) for file, kind in found if kind != "environment-secret"} - {
        (file, kind) for file, kind, _ in planted
    }
    assert strangers == set()
    hidden(secrets, out, err)
    hidden(secrets, *scan(".")[1:])
    hidden(secrets, *scan(".", "--ci")[1:])
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, out, err = scan(".", "--ci")
    hidden(secrets, out, err)
    assert all(line.startswith("::error file=") for line in out.splitlines())
    assert scan(".", "--baseline", "known", "--write-baseline")[0] == 0
    hidden(secrets, (tmp_path / "known").read_text())
    assert scan(".", "--baseline", "known")[0] == 0


@pytest.mark.promise("V16")
def test_every_kind_is_planted():
    assert {kind for kind, _, _ in Maker(1).every()} | {"environment-secret"} == set(KINDS)


@pytest.mark.promise("V16")
def test_a_kubernetes_secret_is_read(scan, tmp_path):
    for number, (kind, fields, secret) in enumerate(Maker(3).every()):
        if kind == "google-service-account-key" or "connection" in fields or "db" in fields or kind == "private-key":
            held = json.dumps(fields) if kind.startswith("google") else next(iter(fields.values()))
            encoded = base64.b64encode(held.encode()).decode()
            (tmp_path / f"{number}.yaml").write_text(f"kind: Secret\ndata:\n  it: {encoded}\n")
            code, out, err = scan(f"{number}.yaml", "--json")
            [one] = json.loads(out)["findings"]
            assert (code, one["kind"], one["line"], one["where"]) == (1, kind, 3, "base64")
            hidden([secret, encoded], out, err)


@pytest.mark.promise("V16")
def test_a_name_of_a_file_or_a_folder_that_is_a_secret_is_not_shown(scan, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    token = "ghp_" + Maker(4).letters(36)
    (tmp_path / token).mkdir()
    (tmp_path / token / f"{token}\n::add-mask::x ##vso[a]b").write_text(f"t = '{token}'")
    for words in ((), ("--json",), ("--ci",), ("--ci", "--no-history")):
        code, out, err = scan(".", *words)
        assert code == 1
        hidden([token], out, err)
        assert "\n::add-mask" not in out + err
        assert "##vso" not in out + err
    code, out, err = scan(f"{token}/absent")
    assert code == 2
    hidden([token], out, err)
    hidden([token], *scan(".", "--since", token)[1:])
