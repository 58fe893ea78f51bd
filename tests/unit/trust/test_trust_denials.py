"""A deny policy is named only by what it says, and what cannot be read names none."""

import asyncio

import httpx
import pytest
from tests.unit.trust.planned_contoso import PROJECT, SCIENTIST, SETTINGS

from remit.model.secret import AccessToken
from remit.trust.clouds.asking import Asking
from remit.trust.verifying.denials import named
from remit.trust.verifying.findings import Finding

LIST = f"/v2/policies/cloudresourcemanager.googleapis.com%2Fprojects%2F{PROJECT}/denypolicies"
NAME = "policies/cloudresourcemanager.googleapis.com%2Fprojects%2F100000000001/denypolicies/no-models"
ITSELF = f"principal://iam.googleapis.com/projects/-/serviceAccounts/{SCIENTIST}"
LOOK = f"look for a deny policy, or an access boundary, over `projects/{PROJECT}`"


class Google(httpx.AsyncBaseTransport):
    def __init__(self, answers):
        self.answers, self.asked = answers, []

    async def handle_async_request(self, request):
        path = request.url.raw_path.decode()
        self.asked.append(path)
        status, body = self.answers.get(path, (403, {"error": {"status": "PERMISSION_DENIED", "message": "no"}}))
        return httpx.Response(status, json=body)

    async def token(self, scope):
        return AccessToken(scope)


def clash(permission="aiplatform.models.list", resource=f"projects/{PROJECT}", cure=LOOK):
    said = "`roles/aiplatform.user` grants it, and Google denies it all the same"
    return Finding("clash", "DataScientist", SCIENTIST, resource, permission, "google-permissions", said, cure)


def told(answers, *findings):
    google = Google(answers)

    async def go():
        async with httpx.AsyncClient(transport=google) as client:
            return await named(Asking(client, google, "x"), SETTINGS, findings or [clash()])

    return asyncio.run(go()), google.asked


def policy(permissions, principals, **more):
    rule = {"deniedPermissions": permissions, "deniedPrincipals": principals, **more}
    whole = {"name": NAME, "kind": "DenyPolicy", "rules": [{"denyRule": rule}]}
    listed = {"policies": [{name: whole[name] for name in ("name", "kind")}]}
    return {LIST: (200, listed), f"{LIST}/no-models": (200, whole)}


MODELS = "aiplatform.googleapis.com/models.list"


@pytest.mark.parametrize(
    ("permissions", "principals", "more", "how"),
    [
        ([MODELS], [ITSELF], {}, "does"),
        ([MODELS], ["principalSet://goog/public:all"], {}, "does"),
        ([MODELS], [ITSELF], {"denialCondition": {"expression": "x"}}, "may"),
        ([MODELS], ["principalSet://goog/group/all@contoso.example"], {}, "may"),
        (["aiplatform.googleapis.com/models.*"], [ITSELF], {}, "may"),
        ([MODELS], ["principal://goog/subject/eve@contoso.example"], {}, ""),
        (["storage.googleapis.com/objects.get"], [ITSELF], {}, ""),
        (["storage.googleapis.com/objects.*"], [ITSELF], {}, ""),
        ([], [], {}, ""),
    ],
)
def test_a_policy_is_named_by_what_it_says(permissions, principals, more, how):
    [found], _ = told(policy(permissions, principals, **more))
    if how:
        assert f"its deny policy `no-models` {how}" in found.said
        assert NAME in found.cure
    else:
        assert "deny policy `" not in found.said
        assert found.cure == f"{LOOK}; no deny policy of the project itself names it: look above it"


@pytest.mark.parametrize("answer", [(403, {}), (400, {}), (200, {"policies": [{"name": "x/denypolicies/gone"}]})])
def test_what_cannot_be_read_names_nothing_and_says_what_it_takes(answer):
    answers = {LIST: answer}
    [found], _ = told(answers)
    assert found.cure.startswith(LOOK)
    assert "roles/iam.denyReviewer" in found.cure


def test_a_policy_on_a_later_page_is_named_too():
    answers = policy([MODELS], [ITSELF])
    answers |= {f"{LIST}?pageToken=two%26": answers[LIST], LIST: (200, {"policies": [], "nextPageToken": "two&"})}
    [found], _ = told(answers)
    assert NAME in found.cure


def test_more_policies_than_are_looked_at_are_not_said_to_be_all():
    listed = {"policies": [{"name": f"x/denypolicies/{number}"} for number in range(60)]}
    answers = {f"{LIST}/{number}": (200, {"name": f"x/denypolicies/{number}"}) for number in range(60)}
    [found], asked = told(answers | {LIST: (200, listed)})
    assert "none of the first 50 deny policies of the project itself names it" in found.cure
    assert len(asked) == 51


def test_nobody_is_asked_where_nothing_was_denied():
    other = clash(cure="take the condition `x`")
    found, asked = told({}, other)
    assert (found, asked) == ([other], [])


@pytest.mark.parametrize("resource", [f"buckets/{PROJECT}-data", f"accounts/{SCIENTIST}", f"buckets/{PROJECT}-data/a/"])
def test_a_bucket_and_an_account_are_denied_by_their_project(resource):
    answers = policy(["storage.googleapis.com/objects.get"], [ITSELF])
    [found], asked = told(answers, clash("storage.objects.get", resource))
    assert asked[0] == LIST
    assert "`no-models` does" in found.said


def test_a_place_of_nobody_s_is_not_asked_about():
    [found], asked = told({}, clash(resource="buckets/elsewhere"))
    assert asked == []
    assert "roles/iam.denyReviewer" in found.cure
