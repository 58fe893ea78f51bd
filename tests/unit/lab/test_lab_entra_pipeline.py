"""A pipeline's token through the lab: GitHub's issuer is one more host behind the proxy."""

import shlex
from pathlib import Path

import requests

from remit.lab.jwt import peek, verify


def test_a_run_asks_for_its_token(lab_environment):
    lines = Path(lab_environment.folder, "github.env").read_text().splitlines()
    given = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    url = f"{given['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience=api://remit"
    headers = {"authorization": f"Bearer {given['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    assert requests.get(url, timeout=5).status_code == 401
    token = requests.get(url, headers=headers, timeout=5).json()["value"]
    issuer = peek(token)[1]["iss"]
    discovery = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=5).json()
    assert discovery["issuer"] == issuer
    claims = verify(token, requests.get(discovery["jwks_uri"], timeout=5).json()["keys"])
    assert (claims["aud"], claims["sub"]) == ("api://remit", "repo:contoso/fraud:ref:refs/heads/main")
    requests.post(lab_environment.control, json={"github_run": {"ref": "refs/heads/other"}}, timeout=5)
    other = requests.get(url, headers=headers, timeout=5).json()["value"]
    assert peek(other)[1]["sub"].endswith("refs/heads/other")
    requests.post(lab_environment.control, json={"github_run": {}}, timeout=5)
    assert requests.get(f"{issuer}/elsewhere", timeout=5).status_code == 404
