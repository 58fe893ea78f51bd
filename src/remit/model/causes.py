"""Why a cloud itself said no to a permitted request: the probable cause, from a closed list.

A refusal by Remit has a `Reason`; a 403 of Google's has a cause. Leaves out how an answer is read (`catalogue`).
"""

from enum import StrEnum


class Cause(StrEnum):
    """The probable cause of an upstream 403. The value stands in records and in the header `x-remit-upstream`."""

    IAM = "iam"
    API_DISABLED = "api_disabled"
    QUOTA = "quota"
    REGION = "region"
    WRONG_PROJECT = "wrong_project"
    TOKEN = "token"
    UNKNOWN = "unknown"

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
}
