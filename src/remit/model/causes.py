"""Why something that was permitted failed all the same: the probable cause, from a closed list.

A refusal by Remit has a `Reason`; a 403 of a cloud's has a cause, and so has what a job meets on its way there. Leaves
out how an answer is read (`catalogue`), and an exception (`sdk.failures`).
"""

from enum import StrEnum


class Cause(StrEnum):
    """The probable cause. Those up to `UNKNOWN` stand in records and in the header `x-remit-upstream`."""

    IAM = "iam"
    API_DISABLED = "api_disabled"
    QUOTA = "quota"
    REGION = "region"
    WRONG_PROJECT = "wrong_project"
    FIREWALL = "firewall"
    TOKEN = "token"
    UNKNOWN = "unknown"

    # what only whoever asked can see
    REFUSED = "refused"
    EXPIRED = "expired"
    AUDIENCE = "audience"
    DNS = "dns"
    TLS = "tls"
    THROTTLED = "throttled"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    UNAVAILABLE = "unavailable"

    @property
    def sentence(self) -> str:
        """What a caller may read: lower case, no full stop."""
        return _SENTENCES[self]


_SENTENCES = {
    Cause.IAM: "the service account that this ran as lacks a permission at the cloud",
    Cause.API_DISABLED: "the API is not enabled in the project",
    Cause.QUOTA: "a quota of the project is exhausted",
    Cause.REGION: "the location is not available for this, or an organisation policy excludes it",
    Cause.WRONG_PROJECT: "the resource belongs to another project, or the project does not exist",
    Cause.TOKEN: "the cloud did not accept the credential itself",
    Cause.UNKNOWN: "the cloud refused and did not say why",
    Cause.REFUSED: "remit refused this",
    Cause.EXPIRED: "the token or the sign-in has expired",
    Cause.AUDIENCE: "the token was issued for another service",
    Cause.FIREWALL: "the service does not admit the network that this came from",
    Cause.DNS: "a name could not be resolved",
    Cause.TLS: "the server's certificate is not one that this machine trusts",
    Cause.THROTTLED: "the account or the server is asked for more than it answers at once",
    Cause.NOT_FOUND: "there is no such thing",
    Cause.TIMEOUT: "no answer came in time",
    Cause.CONNECTION: "the connection could not be made, or was cut",
    Cause.UNAVAILABLE: "the service does not work right now",
}
