"""`remit trust rotate` as the administrator types it, against a running lab."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from remit.cli.story.installation import write_contoso
from remit.lab import contoso, lifecycle

pytestmark = pytest.mark.e2e


def test_an_administrator_rotates_what_has_an_end(tmp_path: Path) -> None:
    lab = lifecycle.up(tmp_path / "lab")
    try:
        away = ("REMIT_", "AZURE_", "GOOGLE_", "CLOUDSDK_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(away)}
        told = {**plain, **lifecycle.variables(lab), **lifecycle.administrator(Path(lab.folder))}
        config, file = write_contoso(tmp_path / "remit", lab), tmp_path / "secret"

        def remit(*words: str, code: int = 0) -> str:
            command = [sys.executable, "-m", "remit.cli", "trust", "rotate", *words, "--config", str(config)]
            done = subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=180)
            assert done.returncode == code, done.stderr
            assert "Traceback" not in done.stderr
            return done.stdout + done.stderr

        assert "managed identity" in remit("secret", "remit", "--into", str(file), code=1)
        more = ("--into", str(file), "--settle", "1s", "--keep-secret")
        remit("secret", "remit", *more)
        first = file.read_text()
        remit("secret", "remit", *more)
        assert file.read_text() != first
        listed = json.loads(remit("--json").splitlines()[0])
        assert [one["of"] for one in listed if one["kind"] == "entra secret"] == ["remit"]
        turned = json.loads(remit("keys", "--json", code=1).splitlines()[0])
        assert turned["newest"] != turned["signs"]
        remit("assignments", "--renew", "MLEngineer", "--until", "2039-06-30")
        remit("assignments", "--remove", f"MLEngineer/{contoso.ZOE.oid}")
        found = {
            one["name"]: one for one in json.loads(remit("assignments", "--sign-ins", "--json", code=1).splitlines()[0])
        }
        assert f"MLEngineer/{contoso.ZOE.oid}" not in found
        assert found[f"MLEngineer/{contoso.DANA.oid}"]["expires"] == "2039-06-30"
    finally:
        lifecycle.down(tmp_path / "lab")
