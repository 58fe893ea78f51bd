"""The kinds of static key, and for each: what replaces it, and how the old one is ended.

`random`: the vendor makes it, with far more than 128 bits, so that a digest of it tells nobody anything. The others are
chosen by people, and a digest would confirm a guess: see `finding.fingerprint`. `end` and `instead` may hold the names
that were found beside the key (`{account}`), which are public and of strict forms; unknown ones show in capitals.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_RUN = "remit run --project PROJECT -- COMMAND"
_VERTEX = "https://cloud.google.com/iam/docs/best-practices-for-managing-service-account-keys"
_FEDERATED = "https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust"
_STORAGE = "https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory"
_ENTRA_LOGIN = "https://learn.microsoft.com/azure/postgresql/flexible-server/concepts-azure-ad-authentication"
_PIPELINES = "https://docs.github.com/actions/concepts/security/openid-connect"
_ROTATE = "az storage account keys renew --account-name {storage_account} --key primary (then secondary)"
_BLOB = f"`{_RUN}`: adlfs and azure-storage-blob find a token; name the container under `credentials.azure.accounts`"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of key. `instead`: what to use; `docs`: where that is explained; `end`: how the old one is revoked."""

    name: str
    title: str
    random: bool
    instead: str
    docs: str
    end: str


def _service(name: str, title: str, end: str, instead: str = "") -> Kind:
    """A token of a service that Remit does not speak for: at least it need not stand in a file."""
    keep = instead or "keep it in a secret store and let the job fetch it with the identity that `remit run` gives it"
    return Kind(name, title, random=True, instead=keep, docs="", end=end)


_KINDS = (
    Kind(
        "google-service-account-key",
        "key of a Google service account",
        random=True,
        instead=f"`{_RUN}`: google-auth and gs:// find a token that renews; name the account under "
        "`credentials.accounts` of remit.yaml as the role of whoever runs the job",
        docs=_VERTEX,
        end="gcloud iam service-accounts keys delete {key} --iam-account {account}",
    ),
    Kind(
        "google-refresh-token",
        "refresh token of a Google user",
        random=True,
        instead=f"`remit login`, then `{_RUN}`: no file is written",
        docs="https://cloud.google.com/docs/authentication/provide-credentials-adc",
        end="gcloud auth application-default revoke (or take the access back at myaccount.google.com/connections)",
    ),
    Kind(
        "google-oauth-client-secret",
        "secret of a Google OAuth client",
        random=True,
        instead=f"`remit login` signs in without one; a job gets its token from `{_RUN}`",
        docs="https://support.google.com/cloud/answer/15549257",
        end="delete the secret of client {client} at console.cloud.google.com/auth/clients",
    ),
    Kind(
        "google-api-key",
        "Google API key",
        random=True,
        instead=f"`{_RUN}`: Vertex AI is called as the person who runs it, through the gateway",
        docs="https://cloud.google.com/docs/authentication/api-keys-best-practices",
        end="gcloud services api-keys list, then gcloud services api-keys delete KEY",
    ),
    Kind(
        "google-hmac-key",
        "HMAC key of Cloud Storage",
        random=True,
        instead=f"`{_RUN}`: gs:// with a token of minutes, narrowed to the buckets that policy permits",
        docs="https://cloud.google.com/storage/docs/authentication/managing-hmackeys",
        end="gcloud storage hmac update {access_id} --deactivate && gcloud storage hmac delete {access_id}",
    ),
    Kind(
        "azure-client-secret",
        "client secret of an Entra application",
        random=True,
        instead="a federated identity credential that trusts Remit's own issuer, and the client id under "
        f"`credentials.azure.accounts`: `{_RUN}` then gives azure-identity a token",
        docs=_FEDERATED,
        end="az ad app credential list --id {client}, then az ad app credential delete --id {client} --key-id KEYID",
    ),
    Kind(
        "azure-storage-key", "key of an Azure storage account", random=True, instead=_BLOB, docs=_STORAGE, end=_ROTATE
    ),
    Kind(
        "azure-sas",
        "shared access signature of Azure Storage",
        random=True,
        instead=f"{_BLOB}; where it must be a SAS, a user-delegation SAS of minutes",
        docs="https://learn.microsoft.com/azure/storage/blobs/storage-blob-user-delegation-sas-create-cli",
        end="delete its stored access policy, or " + _ROTATE.replace("az ", "rotate the key that signed it: az ", 1),
    ),
    Kind(
        "azure-service-key",
        "shared key of an Azure service",
        random=True,
        instead="a federated identity credential and a role assignment; azure-identity finds the token under "
        f"`{_RUN}`; then switch local authentication of the service off",
        docs=_FEDERATED,
        end="regenerate both keys of {host}",
    ),
    Kind(
        "postgresql-password",
        "password of a PostgreSQL login",
        random=False,
        instead=f"`{_RUN}` and `remit.database`: a token is the password; name the database and its roles "
        "under `databases` of remit.yaml",
        docs=_ENTRA_LOGIN,
        end="ALTER ROLE {user} PASSWORD NULL (or NOLOGIN)",
    ),
    Kind(
        "sql-password",
        "password of an SQL login",
        random=False,
        instead=f"`{_RUN}` and `remit.database.mssql_attributes`: a token instead of `PWD`; then allow Entra "
        "logins only",
        docs="https://learn.microsoft.com/azure/azure-sql/database/authentication-azure-ad-only-authentication",
        end="ALTER LOGIN [{user}] DISABLE",
    ),
    Kind(
        "url-password",
        "password in an address",
        random=False,
        instead="take it out of the address; a pipeline's or job's own identity, else a credential helper "
        "(`remit token`) or a secret store",
        docs="",
        end="change the password of {user} at {host}",
    ),
    Kind(
        "aws-access-key",
        "AWS access key",
        random=True,
        instead="a role that the job's own identity assumes (AssumeRoleWithWebIdentity)",
        docs="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc.html",
        end="aws iam delete-access-key --access-key-id {access_id}",
    ),
    Kind(
        "private-key",
        "private key",
        random=True,
        instead="for an Entra application or a service account a federated credential; else a key in a key vault "
        "that signs and does not export",
        docs=_FEDERATED,
        end="take its public half out of whatever trusts it, and revoke its certificate",
    ),
    Kind(
        "lasting-jwt",
        "JSON web token that lasts for months, or for ever",
        random=True,
        instead="a projected token that expires within the hour (Kubernetes: `kubectl create token`), which "
        "`remit run` takes",
        docs="https://kubernetes.io/docs/concepts/security/service-accounts/",
        end="delete the secret or the signing key that it stands on",
    ),
    Kind(
        "environment-secret",
        "secret in an environment file",
        random=False,
        instead=f"`{_RUN}` for what a cloud would ask for; the rest in a secret store that the job reads by its "
        "identity",
        docs="",
        end="change the value of {variable} where it is used",
    ),
    _service("huggingface-token", "Hugging Face token", "huggingface.co/settings/tokens: invalidate it"),
    _service("wandb-key", "Weights & Biases key", "wandb.ai/authorize: delete it"),
    _service("openai-key", "OpenAI key", "platform.openai.com/api-keys: revoke it"),
    _service("anthropic-key", "Anthropic key", "console.anthropic.com/settings/keys: delete it"),
    _service("kaggle-key", "Kaggle key", "kaggle.com/settings: expire the API token"),
    _service("databricks-token", "Databricks token", "databricks tokens delete TOKEN_ID"),
    _service(
        "github-token",
        "GitHub token",
        "github.com/settings/tokens: delete it",
        f"a pipeline has a token of its own, and Remit takes it without a stored secret ({_PIPELINES})",
    ),
    _service(
        "gitlab-token",
        "GitLab token",
        "revoke it under Access tokens",
        "a pipeline's own id_token, which Remit takes without a stored secret",
    ),
    _service("package-token", "token of a package registry", "revoke it at the registry", "trusted publishing (OIDC)"),
    _service("slack-token", "Slack token or webhook", "api.slack.com/apps: revoke it"),
    _service("stripe-key", "Stripe key", "dashboard.stripe.com/apikeys: roll it"),
    _service("sendgrid-key", "SendGrid key", "app.sendgrid.com/settings/api_keys: delete it"),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


class _Unknown(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name.upper()


def filled(text: str, names: Mapping[str, str]) -> str:
    """A remedy with the names that stood beside the key; what is not known stays a word in capitals."""
    return text.format_map(_Unknown(names))
