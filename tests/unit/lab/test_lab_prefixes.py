"""Prefixes in the lab: conditions of bindings at Cloud Storage and of role assignments at Blob Storage, enforced.

What the product writes as a condition is held against each operation here; that the two agree is in tests/unit/trust.
"""

import asyncio
import json
import time
from urllib.parse import parse_qsl, quote

import pytest

from remit.credentials.google_sts import boundary
from remit.lab import contoso, contoso_azure, google_sts
from remit.lab.arm_assignments import Assignments
from remit.lab.arm_conditions import LIST, PATH, PREFIX, Asked, UnknownConditionError, understood
from remit.lab.blob import Blob
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.contoso_shapes import RoleAssignment
from remit.lab.entra_keys import Keys
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.storage import Storage
from remit.trust.prefixes import azure_condition, google_condition

BUCKET, STAGING = contoso.FRAUD_TEST.buckets
ACCOUNT = contoso.account("data-scientist", contoso.FRAUD_TEST)
NAMES = (
    "features/a",
    "features/deep/b",
    "features",
    "features2/c",
    "secret",
    "features/../secret",
    "..",
    "features%2Fa",
)


class Google:
    """Cloud Storage with one account that holds one role below `features/` of one bucket, and nothing else."""

    def __init__(self, folder, role, prefix="features/", expression="", title="t"):
        self.iam = Iam(bindings=[each for each in contoso.BINDINGS if ACCOUNT not in str(each)])
        self.storage = Storage(folder, self.iam, CloudAuditLog())
        for name in NAMES:
            self.storage.objects.write(BUCKET, name, f"content of {name}".encode(), {})
        condition = {"title": title, "expression": expression} if expression else dict(google_condition(BUCKET, prefix))
        line = {"role": role, "members": [f"serviceAccount:{ACCOUNT}"], "condition": condition}
        self.put = self(
            "PUT", f"/storage/v1/b/{BUCKET}/iam", json.dumps({"version": 3, "bindings": [line]}).encode(), contoso.ADMIN
        )

    def __call__(self, method, target, body=b"", who=ACCOUNT, **headers):
        scopes, person = (CLOUD_PLATFORM,), who == contoso.ADMIN
        token, _ = self.iam.mint(email=who, scopes=scopes, lifetime=600, person=person)
        path, _, query = target.partition("?")
        sent = {"authorization": f"Bearer {token}", **{key.replace("_", "-"): each for key, each in headers.items()}}
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        request = Request(method, "storage.googleapis.com", path, pairs, sent, body)
        return asyncio.run(self.storage.handle(request))

    def get(self, name):
        return self("GET", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}?alt=media")


@pytest.fixture
def reader(tmp_path):
    return Google(tmp_path, "roles/storage.objectViewer")


@pytest.fixture
def user(tmp_path):
    return Google(tmp_path, "roles/storage.objectUser")


def test_what_lies_below_the_prefix_is_read_and_nothing_beside_it(reader):
    assert reader.put.status == 200
    assert {name for name in NAMES if reader.get(name).status == 200} == {
        "features/a",
        "features/deep/b",
        "features/../secret",
    }, "an object's name is a name: `..` in it leads nowhere"
    assert reader.get("features/../secret").body == b"content of features/../secret"


@pytest.mark.parametrize(
    "path", ["features/../secret", "features%2F..%2F..%2Fsecret", "features%252Fa", "features%2fa/../../secret"]
)
def test_no_spelling_of_a_path_leads_out(reader, path):
    answer = reader("GET", f"/{BUCKET}/{path}")
    assert answer.status in {403, 404} or answer.body == b"content of features/../secret"
    assert b"content of secret" not in answer.body


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?prefix=features%2F", 200),
        ("?prefix=features/&delimiter=/", 200),
        ("?prefix=features/deep/", 200),
        ("", 403),
        ("?prefix=", 403),
        ("?prefix=features", 403),
        ("?prefix=features2/", 403),
        ("?prefix=f", 403),
        ("?prefix=&prefix=features/", 403),
        ("?startOffset=features/", 403),
    ],
)
def test_a_list_has_to_ask_for_what_lies_below(reader, query, status):
    answer = reader("GET", f"/storage/v1/b/{BUCKET}/o{query}")
    assert answer.status == status
    if status == 200:
        assert all(each["name"].startswith("features/") for each in json.loads(answer.body).get("items", ()))


def test_whoever_may_list_below_a_prefix_may_nothing_else_on_the_bucket(reader):
    assert reader("GET", f"/storage/v1/b/{BUCKET}").status == 403
    assert reader("GET", f"/storage/v1/b/{BUCKET}?prefix=features/").status == 403
    assert reader("GET", f"/storage/v1/b/{STAGING}/o?prefix=features/").status == 403
    asked = "&".join(f"permissions=storage.objects.{verb}" for verb in ("get", "list"))
    assert "permissions" not in json.loads(reader("GET", f"/storage/v1/b/{BUCKET}/iam/testPermissions?{asked}").body)


UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o?uploadType="


def part(name):
    return f"--M\r\na: b\r\n\r\n{json.dumps({'name': name})}\r\n--M\r\na: b\r\n\r\nx\r\n--M--".encode()


@pytest.mark.parametrize(
    ("method", "target", "body", "ok"),
    [
        ("POST", f"{UPLOAD}media&name=features/new", b"x", True),
        ("POST", f"{UPLOAD}media&name=features2/new", b"x", False),
        ("POST", f"{UPLOAD}media&name=features", b"x", False),
        ("POST", f"{UPLOAD}multipart", part("features/new"), True),
        ("POST", f"{UPLOAD}multipart", part("secret"), False),
        ("POST", f"{UPLOAD}resumable&name=features/new", b"{}", True),
        ("POST", f"{UPLOAD}resumable", b'{"name": "elsewhere"}', False),
        ("DELETE", f"/storage/v1/b/{BUCKET}/o/features%2Fa", b"", True),
        ("DELETE", f"/storage/v1/b/{BUCKET}/o/secret", b"", False),
        ("PATCH", f"/storage/v1/b/{BUCKET}/o/features2%2Fc", b"{}", False),
        *(
            (
                "POST",
                f"/storage/v1/b/{BUCKET}/o/{quote(to, safe='')}/compose",
                json.dumps({"sourceObjects": [{"name": name} for name in sources]}).encode(),
                ok,
            )
            for to, sources, ok in (
                ("features/sum", ["features/a", "features/deep/b"], True),
                ("features/sum", ["features/a", "secret"], False),
                ("sum", ["features/a"], False),
            )
        ),
        *(
            (
                "POST",
                f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}/{how}/b/{BUCKET}/o/{quote(to, safe='')}",
                b"",
                ok,
            )
            for how in ("rewriteTo", "copyTo")
            for name, to, ok in (
                ("features/a", "features/copy", True),
                ("secret", "features/copy", False),
                ("features/a", "copy", False),
            )
        ),
        ("POST", f"/storage/v1/b/{BUCKET}/o/features%2Fa/rewriteTo/b/{STAGING}/o/features%2Fa", b"", False),
    ],
)
def test_writing_holds_both_ends_to_the_prefix(user, method, target, body, ok):
    answer = user(method, target, body, content_type="multipart/related; boundary=M")
    assert (answer.status < 300) is ok, answer.body
    assert ok or answer.status == 403


@pytest.mark.parametrize(
    "expression",
    [
        'api.getAttribute("storage.googleapis.com/objectListPrefix", "")',
        'api.getAttribute("x.googleapis.com/y", "") == ""',
    ],
)
def test_what_the_lab_cannot_hold_a_request_against_is_not_taken(tmp_path, expression):
    assert Google(tmp_path, "roles/storage.objectViewer", expression=expression).put.status == 400


READ, WRITE = azure_condition(["features/", "raw/v=1/"], write=False), azure_condition(["features/"], write=True)
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


@pytest.mark.parametrize(
    ("condition", "asked", "holds"),
    [
        (READ, Asked(f"{BLOBS}/read", "", {PATH: "features/a"}), True),
        (READ, Asked(f"{BLOBS}/read", "", {PATH: "raw/v=1/a"}), True),
        (READ, Asked(f"{BLOBS}/READ", "", {PATH: "secret"}), False),
        (READ, Asked(f"{BLOBS}/read", "", {PATH: "Features/a"}), False),
        (READ, Asked(f"{BLOBS}/read", "", {PREFIX: "features/"}), False),
        (READ, Asked(f"{BLOBS}/read", LIST, {PREFIX: "features/x"}), True),
        (READ, Asked(f"{BLOBS}/read", LIST, {PREFIX: "features"}), False),
        (READ, Asked(f"{BLOBS}/read", LIST, {PATH: "features/a"}), False),
        (READ, Asked(f"{BLOBS}/read", LIST), False),
        *((WRITE, Asked(f"{BLOBS}/{verb}", "", {PATH: "features/a"}), True) for verb in ("write", "delete", "read")),
        *(
            (WRITE, Asked(f"{BLOBS}/{verb}", "", {PATH: "a"}), False)
            for verb in ("write", "add/action", "delete", "move/action", "read")
        ),
        ("NOT ActionMatches{'a'} AND (ActionMatches{'b'})", Asked("b"), True),
        ("!(ActionMatches{'a'})", Asked("a"), False),
    ],
)
def test_a_condition_holds_for_what_it_says(condition, asked, holds):
    assert understood(condition)(asked) is holds


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "(",
        "()",
        f"{READ})",
        "ActionMatches{'a'} ActionMatches{'b'}",
        "ActionMatches{'a'} AND ActionMatches{'b'} OR ActionMatches{'c'}",
        "ActionMatches{'a*'}",
        "Exists @Request[x]",
        f"@Resource[{BLOBS}:path] StringLike 'a*'",
        f"@Resource[{BLOBS}:path] StringNotEquals 'a'",
        f"@Resource[{BLOBS}/tags:Project] StringEquals 'a'",
        "@Environment[UtcNow] DateTimeGreaterThan '2026-05-01'",
        "(" * 40 + "ActionMatches{'a'}" + ")" * 40,
        "!" * 40 + "ActionMatches{'a'}",
    ],
)
def test_what_is_not_understood_is_said_and_holds_for_nobody(condition):
    with pytest.raises(UnknownConditionError):
        understood(condition)


@pytest.fixture(scope="module")
def keys():
    """Entra's, which take a while to make."""
    return Keys()


class Azure:
    """The Blob door before no store: what passes meets 503. One application with one role, under a condition."""

    def __init__(self, keys, condition, role=contoso_azure.CONTRIBUTOR):
        self.keys, self.app = keys, contoso_azure.FRAUD_TEST_STORAGE
        assignments = Assignments(())
        scope = contoso_azure.container_scope(contoso_azure.TEST_FEATURES)
        assignments.assign(RoleAssignment(self.app.principal, scope, role), condition)
        self.blob = Blob(keys, time.time, None, assignments)

    def __call__(self, method, target, **headers):
        now = int(time.time())
        claims = {"aud": "https://storage.azure.com", "iss": contoso.issuer(contoso.TENANT, "1.0"), "nbf": now - 5}
        claims |= {"tid": contoso.TENANT, "oid": self.app.principal, "exp": now + 600}
        sent = {"authorization": f"Bearer {self.keys.signing.sign(claims)}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        path, _, query = target.partition("?")
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        host = "contosofraudtest.blob.core.windows.net"
        return asyncio.run(self.blob(Request(method, host, path, pairs, sent, b"", target)))


@pytest.mark.parametrize(
    ("method", "target", "passes"),
    [
        ("GET", "/features/features/a", True),
        ("HEAD", "/features/features/a", True),
        ("GET", "/features/features%2Fa", True),
        ("PUT", "/features/features/a", True),
        ("PUT", "/features/features/a?comp=blocklist", True),
        ("DELETE", "/features/features/a", True),
        ("GET", "/features?restype=container&comp=list&prefix=features%2F", True),
        ("GET", "/features?restype=container&comp=list&prefix=features/deep/&delimiter=/", True),
        ("GET", "/features/features", False),
        ("GET", "/features/features2/a", False),
        ("GET", "/features/secret", False),
        ("GET", "/features//features/a", False),
        ("GET", "/features/features%252Fa", False),
        ("GET", "/features/features/../secret", False),
        ("GET", "/features/features%2F..%2Fsecret", False),
        ("PUT", "/features/secret?comp=appendblock", False),
        ("DELETE", "/features/secret", False),
        ("GET", "/features?restype=container&comp=list", False),
        ("GET", "/features?restype=container&comp=list&prefix=", False),
        ("GET", "/features?restype=container&comp=list&prefix=features", False),
        ("GET", "/features?restype=container&comp=list&prefix=features/&prefix=", False),
        ("GET", "/staging/features/a", False),
    ],
)
def test_blobs_open_below_the_prefix_alone(keys, method, target, passes):
    answer = Azure(keys, WRITE)(method, target)
    assert (answer.status == 503) is passes, answer.headers
    assert passes or answer.status in {400, 403}


def test_a_copy_names_no_blob_elsewhere(keys):
    source = "https://contosofraudtest.blob.core.windows.net/features/secret"
    answer = Azure(keys, WRITE)("PUT", "/features/features/a", x_ms_copy_source=source)
    assert answer.status == 400


def test_no_condition_reaches_the_deletion_of_the_container(keys):
    """As at Azure, where it is an action and no data action: the plan says so before."""
    assert Azure(keys, WRITE)("DELETE", "/features?restype=container").status == 503


def test_the_lab_says_which_condition_it_cannot_evaluate(keys):
    answer = Azure(keys, f"@Resource[{BLOBS}:path] StringLike 'features/*'")("GET", "/features/features/a")
    assert answer.status == 403
    assert b"The lab cannot evaluate the condition of role assignment" in answer.body
    assert b"The lab" not in Azure(keys, READ)("GET", "/features/secret").body


def test_a_token_that_is_narrowed_to_a_prefix_opens_that_and_no_more(tmp_path):
    """The product's own boundary: an account of the whole bucket, and a token of what lies below `features/`."""
    found = Google(tmp_path, "roles/storage.objectUser", expression="true")
    rules = tuple(google_sts._boundary(boundary([f"{BUCKET}/features/"])))
    token, _ = found.iam.mint(email=ACCOUNT, scopes=(CLOUD_PLATFORM,), lifetime=600, buckets=rules)
    caller = found.iam.caller(f"Bearer {token}")
    place = f"projects/_/buckets/{BUCKET}"

    def may(permission, resource, listed=None):
        try:
            found.iam.require(caller, permission, resource, listed)
        except CloudError:
            return False
        return True

    assert may("storage.objects.get", f"{place}/objects/features/a")
    assert may("storage.objects.create", f"{place}/objects/features/new")
    assert may("storage.objects.list", place, "features/")
    assert not may("storage.objects.get", f"{place}/objects/features2/c")
    assert not may("storage.objects.get", f"{place}/objects/secret")
    assert not may("storage.objects.list", place)
    assert not may("storage.objects.list", place, "features")
    assert not may("storage.objects.get", f"projects/_/buckets/{STAGING}/objects/features/a")
    assert found.iam.effective(caller, ["storage.objects.get", "storage.objects.list"], place) == []


@pytest.mark.parametrize("name", ["b/", "b/../", 'b/"/', "b/a", "b//"])
def test_no_boundary_is_made_of_what_is_no_prefix(name):
    with pytest.raises(ValueError, match="b/"):
        boundary([name])
