"""The refusals of Google's front ends and of IAM, in the forms that their clients see.

Reasons: google/api/error_reason.proto; messages: cloud.google.com/apis/design/errors,
cloud.google.com/docs/authentication/troubleshoot-adc, cloud.google.com/docs/quotas/troubleshoot,
cloud.google.com/storage/docs/json_api/v1/status-codes. A perimeter's refusal as recorded: an API's in
github.com/cloudquery/cloudquery/issues/1062, that of Storage's JSON in TensorFlow's exception in Google's notebook on
TPUs in a perimeter, that of its XML in the tests of gitlab.com/gitlab-org/gitlab-runner. The sentence of a bucket's IP
filter (cloud.google.com/storage/docs/ip-filtering-overview) as gcloud repeats it, its reason ours. Sentences that
Google does not document are ours.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.errors import CloudError, Detail, error_info

STORAGE = "storage.googleapis.com"
_SERVICES = {"resourcemanager": "cloudresourcemanager"}
_TITLES = {
    "aiplatform.googleapis.com": "Vertex AI API",
    "logging.googleapis.com": "Cloud Logging API",
    STORAGE: "Cloud Storage API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
}
_SEE = "Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
_CONSOLE = "https://console.developers.google.com"
_LIMIT = "OnlinePredictionRequestsPerMinutePerProjectPerRegion"


@dataclass(frozen=True, slots=True)
class Refused:
    """What is refused. `service`: `aiplatform.googleapis.com`; `method`: gRPC's full name; `resource`: relative."""

    service: str
    method: str = ""
    resource: str = ""
    permission: str = ""

    @property
    def project(self) -> contoso.Project:
        """Whose the resource is; the first of the lab's projects where the call does not tell."""
        return contoso.owner(self.resource) or contoso.FRAUD_TEST

    @property
    def consumer(self) -> str:
        """The project as the service's consumer."""
        return f"projects/{self.project.number}"


def permission_denied(permission: str, resource: str) -> CloudError:
    """IAM's own refusal. `resource`: relative name."""
    prefix = permission.partition(".")[0]
    service = f"{_SERVICES.get(prefix, prefix)}.googleapis.com"
    return CloudError(
        StatusCode.PERMISSION_DENIED,
        f"Permission '{permission}' denied on resource '//{service}/{resource}' (or it may not exist).",
        (error_info("IAM_PERMISSION_DENIED", service, permission=permission, resource=resource),),
    )


def insufficient_scopes(method: str = "") -> CloudError:
    """A token whose scopes do not reach."""
    info = error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com", **_of(method))
    return CloudError(StatusCode.PERMISSION_DENIED, "Request had insufficient authentication scopes.", (info,))


def unauthenticated(reason: str, method: str = "") -> CloudError:
    """No token, or one that is not taken. `reason`: `CREDENTIALS_MISSING`, `ACCESS_TOKEN_EXPIRED` or another."""
    missing = "Request is missing required authentication credential."
    text = missing if reason == "CREDENTIALS_MISSING" else "Request had invalid authentication credentials."
    return CloudError(
        StatusCode.UNAUTHENTICATED, f"{text} {_SEE}", (error_info(reason, "googleapis.com", **_of(method)),)
    )


def refusal(kind: str, refused: Refused) -> CloudError:
    """The refusal of a kind of `KINDS`, or of `OF_BUCKETS`; Storage adds its older list and its own statuses."""
    make, reason = {**KINDS, **OF_BUCKETS}[kind]
    made = make(refused)
    if refused.service == STORAGE:
        domain = "usageLimits" if kind in {"quota", "api_disabled"} else "global"
        made.errors = ({"message": made.message, "domain": domain, "reason": reason},)
        made.http = {"quota": 403, "location_policy": 412}.get(kind, 0)
        made.details = () if kind == "perimeter" else made.details
    return made


def _of(method: str) -> dict[str, str]:
    """What the details of a refused credential tell of the call."""
    service = "aiplatform" if ".aiplatform." in method else "logging" if ".logging." in method else ""
    return {"service": f"{service}.googleapis.com", "method": method} if service else {}


def _denied(refused: Refused) -> CloudError:
    return permission_denied(refused.permission, refused.resource or f"projects/{refused.project.id}")


def _expired(refused: Refused) -> CloudError:
    return unauthenticated("ACCESS_TOKEN_EXPIRED", refused.method)


def _api_disabled(refused: Refused) -> CloudError:
    number, service = refused.project.number, refused.service
    title = _TITLES.get(service, service)
    url = f"{_CONSOLE}/apis/api/{service}/overview?project={number}"
    text = (
        f"{title} has not been used in project {number} before or it is disabled. Enable it by visiting {url} then "
        "retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and "
        "retry."
    )
    info = error_info(
        "SERVICE_DISABLED",
        "googleapis.com",
        service=service,
        consumer=refused.consumer,
        serviceTitle=title,
        activationUrl=url,
        containerInfo=number,
    )
    localized = {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": text}
    return CloudError(
        StatusCode.PERMISSION_DENIED, text, (info, localized, _help("Google developers console API activation", url))
    )


def _quota(refused: Refused) -> CloudError:
    service, project = refused.service, refused.project
    metric = f"{service}/online_prediction_requests"
    text = (
        "Quota exceeded for quota metric 'Online prediction requests' and limit 'Online prediction requests per "
        f"minute per region' of service '{service}' for consumer 'project_number:{project.number}'."
    )
    info = error_info(
        "RATE_LIMIT_EXCEEDED",
        "googleapis.com",
        service=service,
        consumer=refused.consumer,
        quota_metric=metric,
        quota_limit=_LIMIT,
        quota_limit_value="0",
        quota_location=contoso.LOCATION,
        quota_unit="1/min/{project}/{region}",
    )
    violation = {"subject": f"project:{project.id}", "description": text}
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
    link = _help("Request a higher quota limit.", "https://cloud.google.com/docs/quotas/help/request_increase")
    return CloudError(StatusCode.RESOURCE_EXHAUSTED, text, (info, failure, link))


def _location_policy(refused: Refused) -> CloudError:
    constraint = "constraints/gcp.resourceLocations"
    text = (
        f"Constraint {constraint} violated for {refused.consumer} attempting to use the location {contoso.LOCATION}. "
        "See https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints for more "
        "information."
    )
    info = error_info(
        "LOCATION_ORG_POLICY_VIOLATED",
        "googleapis.com",
        service=refused.service,
        consumer=refused.consumer,
        location=f"locations/{contoso.LOCATION}",
    )
    violation = {"type": constraint, "subject": f"orgpolicy:{refused.consumer}", "description": text}
    failure = {"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation]}
    return CloudError(StatusCode.PERMISSION_DENIED, text, (info, failure))


def _consumer_invalid(refused: Refused) -> CloudError:
    text = f"Permission denied on resource project {refused.project.id}."
    info = error_info("CONSUMER_INVALID", "googleapis.com", service=refused.service, consumer=refused.consumer)
    link = _help("Google developers console", _CONSOLE)
    return CloudError(StatusCode.PERMISSION_DENIED, text, (link, info))


def _user_project_denied(refused: Refused) -> CloudError:
    url = f"{_CONSOLE}/iam-admin/iam/project?project={refused.project.id}"
    text = (
        f"Caller does not have required permission to use project {refused.project.id}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, "
        f"by visiting {url} and then retry. Propagation of the new permission may take a few minutes."
    )
    info = error_info(
        "USER_PROJECT_DENIED",
        "googleapis.com",
        service=refused.service,
        consumer=refused.consumer,
        containerInfo=refused.project.id,
    )
    return CloudError(StatusCode.PERMISSION_DENIED, text, (_help("Google developer console IAM admin", url), info))


def _perimeter(refused: Refused) -> CloudError:
    """VPC Service Controls: the identifier is all that a caller learns, and what an administrator looks it up by."""
    uid = secrets.token_urlsafe(39)
    text = f"Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: {uid}"
    violation = {"type": "VPC_SERVICE_CONTROLS", "description": uid}
    failure = {"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation]}
    info = error_info(
        "SECURITY_POLICY_VIOLATED", "googleapis.com", service=refused.service, uid=uid, consumer=refused.consumer
    )
    in_xml = ("SecurityPolicyViolated", "Request violates VPC Service Controls.")
    return CloudError(StatusCode.PERMISSION_DENIED, text, (failure, info), in_xml=in_xml)


def _ip_filter(_: Refused) -> CloudError:
    text = "There is an IP filtering condition that is preventing access to the resource."
    return CloudError(StatusCode.PERMISSION_DENIED, text)


def _help(description: str, url: str) -> Detail:
    return {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": description, "url": url}]}


KINDS: Mapping[str, tuple[Callable[[Refused], CloudError], str]] = {
    "api_disabled": (_api_disabled, "accessNotConfigured"),
    "consumer_invalid": (_consumer_invalid, "forbidden"),
    "iam": (_denied, "forbidden"),
    "location_policy": (_location_policy, "conditionNotMet"),
    "perimeter": (_perimeter, "vpcServiceControls"),
    "quota": (_quota, "rateLimitExceeded"),
    "token_expired": (_expired, "authError"),
    "user_project_denied": (_user_project_denied, "forbidden"),
}
"""Each kind with what makes it, and Storage's own word for it."""
OF_BUCKETS: Mapping[str, tuple[Callable[[Refused], CloudError], str]] = {"ip_filter": (_ip_filter, "forbidden")}
"""Those that Storage alone has."""
