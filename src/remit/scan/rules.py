"""Which plug-in finds which kind, where it is worth asking, and what is public beside a find.

`marks`: in lower case; whatever the plug-in finds holds one of them, so a text without any is passed over at the speed
of a search for a word. `around`: letters before and after a mark that the plug-in sees; without it, the mark's line.
The first rule that finds a text has it: a service account's key is no longer a private key, an address of PostgreSQL no
longer just an address.

Of detect-secrets' plug-ins these are left out: those that guess by entropy or by words (`Base64HighEntropyString`,
`HexHighEntropyString`, `KeywordDetector`: thousands of finds in any repository), `IPPublicDetector`, and services that
have nothing to do with this (Artifactory, Cloudant, Discord, IBM, Mailchimp, SoftLayer, Square, Telegram, Twilio).
Its `AzureStorageKeyDetector`, `BasicAuthDetector`, `PrivateKeyDetector` and `NpmDetector` (quadratic in a long line)
are replaced by stricter ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.stripe import StripeDetector

from remit.scan import beside
from remit.scan.plugins import azure, databases, google, keys

Names = dict[str, str]
About = Callable[[str, int, int], Names | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """`about`: what is public beside a secret at start and end of a text; `None` when it is none after all."""

    kind: str
    plugin: RegexBasedDetector
    marks: tuple[str, ...]
    about: About
    around: int = 0
    environment: bool = False


def spans(plugin: RegexBasedDetector, text: str) -> list[tuple[int, int]]:
    """Where the secrets stand that a plug-in finds: its group where that is one, else all that it matched.

    Some of detect-secrets' patterns have groups that are not the secret (`(ghp|gho)_…`, of which `analyze_string`
    yields `ghp`): a group that holds less than half of the match is not it, unless the plug-in is ours.
    """
    ours = type(plugin).__module__.startswith("remit.")
    found = []
    for pattern in plugin.denylist:
        for match in pattern.finditer(text):
            group = 1 if pattern.groups and match[1] and (ours or 2 * len(match[1]) > len(match[0])) else 0
            found.append(match.span(group))
    if isinstance(plugin, JwtTokenDetector):
        return [(start, end) for start, end in found if plugin.is_formally_valid(text[start:end])]
    return found


_LOGIN_MARKS = ("://",)
_AROUND_A_KEY = 6000  # a key of 4096 bits is 3.3 kB in PEM; escaped, and with what stands before it in the file, less

RULES: tuple[Rule, ...] = (
    Rule(
        "google-service-account-key", keys.PrivateKeyBodyDetector(), ("-begin ",), beside.service_account, _AROUND_A_KEY
    ),
    Rule(
        "private-key", keys.PrivateKeyBodyDetector(), ("-begin ", "putty-user-key-file"), beside.nothing, _AROUND_A_KEY
    ),
    Rule("google-refresh-token", google.GoogleRefreshTokenDetector(), ("1//0",), beside.google_client),
    Rule("google-oauth-client-secret", google.GoogleClientSecretDetector(), ("gocspx-",), beside.google_client),
    Rule("google-api-key", google.GoogleApiKeyDetector(), ("aiza",), beside.nothing),
    Rule("google-hmac-key", google.GoogleHmacKeyDetector(), ("goog",), beside.access_id, 420),
    Rule("azure-storage-key", keys_ := azure.StorageKeyDetector(), ("==",), beside.storage_account),
    Rule("azure-service-key", keys_, ("==",), beside.service_endpoint),
    Rule("azure-service-key", azure.SharedAccessKeyDetector(), ("sharedaccesskey",), beside.service_bus),
    Rule("azure-sas", azure.SharedAccessSignatureDetector(), ("sig=",), beside.signature),
    Rule("azure-client-secret", azure.EntraClientSecretDetector(), ("q~",), beside.entra_client),
    Rule("google-oauth-client-secret", named_ := azure.NamedClientSecretDetector(), ("client",), beside.named_google),
    Rule("azure-client-secret", named_, ("client",), beside.named_entra),
    Rule("postgresql-password", databases.PostgresUrlDetector(), _LOGIN_MARKS, beside.login),
    Rule("postgresql-password", databases.PostgresWordsDetector(), ("password",), beside.words),
    Rule("sql-password", databases.SqlUrlDetector(), _LOGIN_MARKS, beside.login),
    Rule("sql-password", databases.SqlStringDetector(), ("password", "pwd"), beside.words),
    Rule("aws-access-key", AWSKeyDetector(), ("akia", "asia", "abia", "acca", "a3t", "aws"), beside.aws),
    Rule("aws-access-key", keys.AwsSecretDetector(), ("aws",), beside.aws),
    Rule("huggingface-token", keys.HuggingFaceDetector(), ("hf_", "api_org_"), beside.nothing),
    Rule("wandb-key", keys.WandbDetector(), ("wandb",), beside.nothing, 240),
    Rule("openai-key", OpenAIDetector(), ("t3blbkfj",), beside.nothing),
    Rule("openai-key", keys.OpenAIProjectKeyDetector(), ("sk-",), beside.nothing),
    Rule("anthropic-key", keys.AnthropicDetector(), ("sk-ant-",), beside.nothing),
    Rule("kaggle-key", keys.KaggleDetector(), ("username", "kaggle_key"), beside.nothing, 200),
    Rule("databricks-token", keys.DatabricksDetector(), ("dapi",), beside.nothing),
    Rule("github-token", GitHubTokenDetector(), ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), beside.nothing),
    Rule("github-token", keys.GitHubFineGrainedDetector(), ("github_pat_",), beside.nothing),
    Rule(
        "gitlab-token",
        GitLabTokenDetector(),
        (
            "glpat-",
            "gldt-",
            "glft-",
            "glsoat-",
            "glrt-",
            "gr1348941",
            "glcbt-",
            "glimt-",
            "glptt-",
            "glagent-",
            "gloas-",
        ),
        beside.nothing,
    ),
    Rule("package-token", keys.NpmTokenDetector(), ("_authtoken", "npm_"), beside.nothing),
    Rule("package-token", PypiTokenDetector(), ("pypi-age",), beside.nothing),
    Rule("slack-token", SlackDetector(), ("xox", "hooks.slack.com"), beside.nothing),
    Rule("stripe-key", StripeDetector(), ("k_live_",), beside.nothing),
    Rule("sendgrid-key", SendGridDetector(), ("sg.",), beside.nothing),
    Rule("lasting-jwt", JwtTokenDetector(), ("eyj",), beside.lasting),
    Rule("url-password", databases.UrlPasswordDetector(), _LOGIN_MARKS, beside.login),
    Rule(
        "environment-secret",
        keys.EnvironmentSecretDetector(),
        ("secret", "pass", "token", "key", "credential"),
        beside.variable,
        environment=True,
    ),
)

ENVIRONMENT_FILE = re.compile(r"(?:^|[/.])env(?:rc)?(?:\.[\w-]+)?$", re.IGNORECASE)
