"""Private keys with their bodies, over lines and however a container wrote them, and tokens of other services.

detect-secrets' own plug-in for private keys finds the words `BEGIN PRIVATE KEY`, which programs hold that make keys.
A key has a body: here at least 100 letters of base64 follow (the shortest, Ed25519's, has 64 with its frame and is
found by its closing line). Source: RFC 7468; the vendors' forms of tokens.
"""

import re

from detect_secrets.plugins.base import RegexBasedDetector

# what containers put between the lines: real newlines, escaped ones at any depth, quotes, commas, comment signs
_BETWEEN = r"[\s\\\"',#>|*+()-]"


class PrivateKeyBodyDetector(RegexBasedDetector):
    """PEM (PKCS 1, PKCS 8, EC, DSA, OpenSSH) and PuTTY."""

    secret_type = "Private Key with Body"
    denylist = (
        re.compile(
            r"-----BEGIN (?:RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----"
            r"((?:[A-Za-z0-9+/=]|[\s\\\"',#>|*()]){60,12000})-----END"
        ),
        re.compile(
            r"-----BEGIN (?:RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----((?:[A-Za-z0-9+/=]|[\s\\\"',#>|*():-]){100,12000})"
        ),
        re.compile(
            r"PuTTY-User-Key-File-[23]: [\x00-\xff]{1,4000}?Private-Lines: \d{1,4}\s([A-Za-z0-9+/=\s]{60,8000})"
        ),
    )


class HuggingFaceDetector(RegexBasedDetector):
    """`hf_…`, and an organisation's `api_org_…`."""

    secret_type = "Hugging Face Token"
    denylist = (re.compile(r"(?<![A-Za-z0-9_])(?:hf_|api_org_)[A-Za-z0-9]{34,40}(?![A-Za-z0-9_])"),)


class WandbDetector(RegexBasedDetector):
    """Forty hex digits that are named as such, in netrc too; and the newer `wandb_v1_…`."""

    secret_type = "Weights & Biases Key"
    denylist = (
        re.compile(
            r"(?i)wandb[_-]?(?:api)?[_-]?key[\\\"'\]]{0,4}[ \t]{0,4}"
            r"[=:,][ \t]{0,4}[\\\"']{0,3}([0-9a-f]{40})(?![0-9a-f])"
        ),
        re.compile(r"(?i)\bwandb\.login\([^()\r\n]{0,80}?[\"']([0-9a-f]{40})[\"']"),
        re.compile(r"(?i)\bwandb login (?:--\w+ ){0,3}([0-9a-f]{40})(?![0-9a-f])"),
        re.compile(
            r"api\.wandb\.ai[\s\\n]{1,12}login[ \t]+\w{1,40}[\s\\n]{1,12}password[ \t]+([0-9a-f]{40})(?![0-9a-f])"
        ),
        re.compile(r"(?<![A-Za-z0-9_])wandb_v\d_[A-Za-z0-9_]{40,120}(?![A-Za-z0-9_])"),
    )


class OpenAIProjectKeyDetector(RegexBasedDetector):
    """`sk-proj-…`, `sk-svcacct-…` and `sk-admin-…`: detect-secrets knows the older form."""

    secret_type = "OpenAI Project Key"
    denylist = (re.compile(r"(?<![A-Za-z0-9_-])sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200}(?![A-Za-z0-9_-])"),)


class AnthropicDetector(RegexBasedDetector):
    """`sk-ant-…`."""

    secret_type = "Anthropic Key"
    denylist = (re.compile(r"(?<![A-Za-z0-9_-])sk-ant-[a-z]{2,8}\d\d-[A-Za-z0-9_-]{60,120}(?![A-Za-z0-9_-])"),)


class KaggleDetector(RegexBasedDetector):
    """`kaggle.json`, wherever it was copied to."""

    secret_type = "Kaggle Key"
    denylist = (
        re.compile(
            r"\\*[\"']username\\*[\"']\s?:\s?\\*[\"'][\w.-]{1,60}\\*[\"'],\s{0,24}\\*[\"']key\\*[\"']\s?:\s?\\*[\"']([0-9a-f]{32})(?![0-9a-f])"
        ),
        re.compile(r"KAGGLE_KEY[\\\"'\]]{0,4}[ \t]{0,4}[=:][ \t]{0,4}[\\\"']{0,3}([0-9a-f]{32})(?![0-9a-f])"),
    )


class DatabricksDetector(RegexBasedDetector):
    """`dapi…`."""

    secret_type = "Databricks Token"
    denylist = (re.compile(r"(?<![A-Za-z0-9_])dapi[0-9a-f]{32}(?:-\d)?(?![0-9a-zA-Z])"),)


class GitHubFineGrainedDetector(RegexBasedDetector):
    """`github_pat_…`: detect-secrets knows the older forms."""

    secret_type = "GitHub Fine-Grained Token"
    denylist = (re.compile(r"(?<![A-Za-z0-9_])github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?![A-Za-z0-9_])"),)


class NpmTokenDetector(RegexBasedDetector):
    """`npm_…`, and the older form in `.npmrc`."""

    secret_type = "NPM Token"
    denylist = (
        re.compile(r"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9_])"),
        re.compile(r":_authToken[ ]?=[ ]?[\"']?([0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"),
    )


class AwsSecretDetector(RegexBasedDetector):
    """`aws_secret_access_key = …` without quotes, as in `~/.aws/credentials` and environment files."""

    secret_type = "AWS Secret Access Key"
    denylist = (
        re.compile(
            r"(?i)aws_?secret_?(?:access_?)?key[\\\"'\]]{0,4}[ \t]{0,4}[=:][ \t]{0,4}[\\\"']{0,3}"
            r"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
        ),
    )


class EnvironmentSecretDetector(RegexBasedDetector):
    """A value whose variable says that it is a secret; for environment files only, since code is full of such names."""

    secret_type = "Secret in an Environment File"
    denylist = (
        re.compile(
            r"(?m)^[ \t]*(?:export[ \t]+)?[A-Za-z0-9_]*"
            r"(?:SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|API_?KEY|ACCESS_?KEY|ACCOUNT_?KEY"
            r"|PRIVATE_KEY|CREDENTIALS?)(?:_?\d|_BASE64|_VALUE|_KEY)?[ \t]*=[ \t]*[\"']?([^\s\"'#]{8,512})"
        ),
    )
