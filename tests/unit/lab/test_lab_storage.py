"""Cloud Storage in the lab: both APIs, permissions, narrowed tokens, what TensorFlow sends."""

import asyncio
import base64
import hashlib
import json
from urllib.parse import parse_qsl

import pytest

from remit.lab import contoso
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.http import Request, Response
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.storage import Storage

BUCKET, STAGING = contoso.FRAUD_TEST.buckets
ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
SCIENTIST = contoso.account("data-scientist", contoso.FRAUD_TEST)


class Client:
    """A caller with a token, speaking to the storage hosts."""

    def __init__(self, folder, email=ENGINEER, **mint):
        self.iam, self.audit = Iam(), CloudAuditLog()
        self.storage = Storage(folder, self.iam, self.audit)
        self.use(email, **mint)

    def use(self, email, **mint):
        token, _ = self.iam.mint(email=email, scopes=(CLOUD_PLATFORM,), lifetime=600, **mint)
        self.authorization = f"Bearer {token}"

    def __call__(self, method, target, body=b"", host="storage.googleapis.com", **headers) -> Response:
        path, _, query = target.partition("?")
        sent = {"authorization": self.authorization, **{key.replace("_", "-"): value for key, value in headers.items()}}
        request = Request(method, host, path, tuple(parse_qsl(query, keep_blank_values=True)), sent, body)
        return asyncio.run(self.storage.handle(request))

    def put(self, name, content=b"content", bucket=BUCKET):
        answer = self("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", content)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path)


def names(answer):
    return [item["name"] for item in json.loads(answer.body).get("items", ())]


def test_a_bucket_tells_its_project(client):
    found = json.loads(client("GET", f"/storage/v1/b/{BUCKET}?projection=noAcl").body)
    assert (found["name"], found["projectNumber"]) == (BUCKET, "100000000001")


def test_an_uploaded_object_comes_back_with_its_checksums(client):
    made = client.put("folder%2Fa.txt", b"hello")
    assert made["md5Hash"] == base64.b64encode(hashlib.md5(b"hello", usedforsecurity=False).digest()).decode()
    assert made["crc32c"] == "mnG7TA=="  # published: CRC32C of "hello"
    answer = client("GET", f"/storage/v1/b/{BUCKET}/o/folder%2Fa.txt?alt=media")
    assert answer.body == b"hello"
    assert answer.headers["x-goog-hash"] == f"crc32c={made['crc32c']},md5={made['md5Hash']}"
    assert json.loads(client("GET", f"/storage/v1/b/{BUCKET}/o/folder%2Fa.txt").body) == made


def test_a_multipart_upload_keeps_binary_content_and_metadata(client):
    content = b"\x00\r\n--not the mark\r\n\r\n\xff"
    head = b'--MARK\r\ncontent-type: application/json\r\n\r\n{"name": "b.bin", "metadata": {"k": "v"}}\r\n--MARK\r\n'
    body = head + b"content-type: image/png\r\n\r\n" + content + b"\r\n--MARK--"
    for kind in ("multipart/related; boundary=MARK", 'multipart/related; boundary="MARK"'):
        target = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
        made = json.loads(client("POST", target, body, content_type=kind).body)
        assert (made["contentType"], made["metadata"]) == ("image/png", {"k": "v"})
        assert client("GET", f"/download/storage/v1/b/{BUCKET}/o/b.bin?alt=media").body == content


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/related", b"x"),
        ("multipart/related; boundary=M", b"--M\r\n{}\r\n--M--"),
        ("x; boundary=M", b"--M\r\n\r\n[]\r\n--M\r\n\r\n\r\n--M--"),
    ],
)
def test_a_broken_multipart_upload_is_refused(client, kind, body):
    answer = client("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart", body, content_type=kind)
    assert answer.status == 400


def test_a_resumable_upload_in_parts(client):
    start = client("POST", f"/upload/storage/v1/b/{STAGING}/o?uploadType=resumable&name=big", host="www.googleapis.com")
    place = start.headers["Location"]  # TensorFlow looks for exactly this spelling
    assert place.startswith(
        f"https://www.googleapis.com/upload/storage/v1/b/{STAGING}/o?uploadType=resumable&upload_id="
    )
    target = place.removeprefix("https://www.googleapis.com")
    assert client("PUT", target, b"", content_range="bytes */*").headers == {}
    first = client("PUT", target, b"abcd", content_range="bytes 0-3/6")
    assert (first.status, first.headers["Range"]) == (308, "bytes=0-3")
    assert client("PUT", target, b"zz", content_range="bytes 5-6/7").status == 400
    assert client("PUT", target, b"cdef", content_range="bytes 2-5/6").status == 200
    assert client("GET", f"/{STAGING}/big").body == b"abcdef"
    assert client("PUT", target, b"x").status == 404


def test_a_resumable_upload_at_once_with_its_name_in_the_body(client):
    body = json.dumps({"name": "n", "contentType": "text/plain"}).encode()
    start = client("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable", body)
    target = start.headers["Location"].removeprefix("https://storage.googleapis.com")
    assert client("PUT", target.replace(BUCKET, STAGING), b"x").status == 404
    made = json.loads(client("PUT", target, b"whole").body)
    assert (made["size"], made["contentType"]) == ("5", "text/plain")


@pytest.mark.parametrize(
    ("asked", "status", "body", "said"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-67108863", 206, b"89", "bytes 8-9/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_ranges(client, asked, status, body, said):
    client.put("r", b"0123456789")
    answer = client("GET", f"/{BUCKET}/r", range=asked)
    assert (answer.status, answer.body, answer.headers.get("content-range")) == (status, body, said)


def test_a_range_past_the_end_is_416_in_either_api(client):
    client.put("r", b"0123456789")
    assert client("GET", f"/{BUCKET}/r", range="bytes=10-20").status == 416
    assert client("GET", f"/storage/v1/b/{BUCKET}/o/r?alt=media", range="bytes=10-").status == 416


def test_listing_by_prefix_and_delimiter_in_pages(client):
    for name in ("a.txt", "a/", "a/1", "a/2/x", "b"):
        client.put(name)
    assert names(client("GET", f"/storage/v1/b/{BUCKET}/o")) == ["a.txt", "a/", "a/1", "a/2/x", "b"]
    assert names(client("GET", f"/storage/v1/b/{BUCKET}/o?prefix=a/")) == ["a/", "a/1", "a/2/x"]
    below = json.loads(client("GET", f"/storage/v1/b/{BUCKET}/o?prefix=a/&delimiter=/").body)
    assert ([item["name"] for item in below["items"]], below["prefixes"]) == (["a/", "a/1"], ["a/2/"])
    seen, token = [], ""
    for _ in range(3):
        page = json.loads(client("GET", f"/storage/v1/b/{BUCKET}/o?delimiter=/&maxResults=1&pageToken={token}").body)
        seen += [item["name"] for item in page.get("items", ())] + page.get("prefixes", [])
        token = page.get("nextPageToken", "")
    assert (seen, token) == (["a.txt", "a/", "b"], "")


def test_changing_copying_composing_and_deleting(client):
    client.put("one", b"1")
    client.put("two", b"2")
    changed = json.loads(client("PATCH", f"/storage/v1/b/{BUCKET}/o/one", b'{"metadata": {"k": "v", "n": null}}').body)
    assert (changed["metadata"], changed["metageneration"]) == ({"k": "v"}, "2")
    copied = json.loads(client("POST", f"/storage/v1/b/{BUCKET}/o/one/rewriteTo/b/{STAGING}/o/x%2Fy").body)
    assert (copied["done"], copied["resource"]["metadata"], copied["objectSize"]) == (True, {"k": "v"}, "1")
    body = b'{"contentType": "text/html"}'
    assert (
        json.loads(client("POST", f"/storage/v1/b/{BUCKET}/o/one/copyTo/b/{STAGING}/o/z", body).body)["contentType"]
        == "text/html"
    )
    body = b'{"sourceObjects": [{"name": "one"}, {"name": "two"}], "destination": {"contentType": "text/plain"}}'
    composed = json.loads(client("POST", f"/storage/v1/b/{BUCKET}/o/both/compose", body).body)
    assert (composed["size"], composed["contentType"]) == ("2", "text/plain")
    assert client("DELETE", f"/storage/v1/b/{BUCKET}/o/one").status == 204
    assert client("GET", f"/storage/v1/b/{BUCKET}/o/one").status == 404
    assert client("PATCH", f"/storage/v1/b/{BUCKET}/o/two", b"nonsense").status == 400


def test_preconditions_and_generations(client):
    target = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=g&ifGenerationMatch="
    assert client("POST", f"{target}0", b"first").status == 200
    refused = client("POST", f"{target}0", b"second")
    assert refused.status == 412
    assert json.loads(refused.body)["error"]["errors"][0]["reason"] == "conditionNotMet"
    generation = json.loads(client("GET", f"/storage/v1/b/{BUCKET}/o/g").body)["generation"]
    assert client("POST", f"{target}{generation}", b"second").status == 200
    assert client("GET", f"/storage/v1/b/{BUCKET}/o/g?generation={generation}").status == 404


def test_objects_survive_a_restart(tmp_path):
    Client(tmp_path).put("kept", b"still here")
    assert Client(tmp_path)("GET", f"/{BUCKET}/kept").body == b"still here"


def test_nobody_and_a_false_token_are_told_apart(client):
    client.authorization = "Bearer ya29.false"
    assert json.loads(client("GET", f"/storage/v1/b/{BUCKET}").body)["error"]["message"] == "Invalid Credentials"
    request = Request("GET", "storage.googleapis.com", f"/storage/v1/b/{BUCKET}", (), {}, b"")
    answer = asyncio.run(client.storage.handle(request))
    assert answer.status == 401
    assert "Anonymous caller does not have storage.buckets.get" in json.loads(answer.body)["error"]["message"]
    assert client.audit.entries() == []


def test_a_reader_may_not_write_and_the_refusal_names_the_permission(client):
    client.put("there")
    client.use(SCIENTIST)
    assert client("GET", f"/storage/v1/b/{BUCKET}/o/there").status == 200
    answer = client(
        "POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=new", b"x", x_goog_request_reason="decision/d-1"
    )
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["errors"][0]["reason"]) == (403, "forbidden")
    assert error["message"].startswith(f"{SCIENTIST} does not have storage.objects.create access")
    entry = client.audit.entries("contoso-fraud-test")[-1]["protoPayload"]
    assert entry["resourceName"] == f"projects/_/buckets/{BUCKET}/objects/new"
    assert entry["authorizationInfo"][0]["granted"] is False
    assert entry["requestMetadata"]["requestAttributes"]["reason"] == "decision/d-1"


def test_to_overwrite_is_also_to_delete(tmp_path):
    writer = contoso.Binding(
        f"projects/_/buckets/{BUCKET}", "roles/storage.objectCreator", (f"serviceAccount:{SCIENTIST}",)
    )
    client = Client(tmp_path)
    client.put("mine")
    client.iam = client.storage._iam = Iam((writer,))
    client.use(SCIENTIST)
    answer = client("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=mine", b"x")
    assert answer.status == 403


def test_a_narrowed_token_is_good_for_its_buckets_only(tmp_path):
    client = Client(tmp_path, buckets=(BUCKET,))
    client.put("in")
    assert client("POST", f"/upload/storage/v1/b/{STAGING}/o?uploadType=media&name=x", b"x").status == 403
    answer = client("GET", f"/{STAGING}/x")
    assert (answer.status, answer.headers["content-type"]) == (403, "application/xml; charset=UTF-8")
    assert b"<Code>AccessDenied</Code>" in answer.body


def test_another_projects_bucket_is_refused_and_an_unknown_one_looks_the_same(client):
    assert client("GET", f"/storage/v1/b/{contoso.CHURN_PROD.buckets[0]}/o").status == 403
    assert client("GET", "/storage/v1/b/nobodys-bucket/o").status == 403


def test_a_bucket_that_iam_knows_and_storage_does_not(client):
    binding = contoso.Binding("projects/_/buckets/gone", "roles/storage.objectAdmin", (f"serviceAccount:{ENGINEER}",))
    client.iam = client.storage._iam = Iam((binding,))
    client.use(ENGINEER)
    assert (
        json.loads(client("GET", "/storage/v1/b/gone/o").body)["error"]["message"]
        == "The specified bucket does not exist."
    )


def test_buckets_and_their_policies_are_for_reviewers(client):
    assert client("GET", "/storage/v1/b?project=contoso-fraud-test").status == 403
    assert client("GET", f"/storage/v1/b/{BUCKET}/iam").status == 403
    client.use(contoso.account("auditor", contoso.FRAUD_TEST))
    assert names(client("GET", "/storage/v1/b?project=contoso-fraud-test")) == [BUCKET, STAGING]
    policy = json.loads(client("GET", f"/storage/v1/b/{BUCKET}/iam").body)
    assert {"role": "roles/storage.objectViewer", "members": [f"serviceAccount:{SCIENTIST}"]} in policy["bindings"]
    assert client("GET", "/storage/v1/b?project=nobodys").status == 403


def test_what_is_not_played_is_404(client):
    assert client("POST", "/batch/storage/v1").status == 404
    assert client("GET", "/anything", host="www.googleapis.com").status == 404
    assert client("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media", b"x").status == 400
    missing = client("GET", f"/{BUCKET}/nothing")
    assert (missing.status, b"<Code>NoSuchKey</Code>" in missing.body) == (404, True)
