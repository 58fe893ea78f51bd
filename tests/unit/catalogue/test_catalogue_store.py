"""Cloud Storage through the gateway: every object that a request touches, by the one name that it has (TH8, TH19, TH20)."""

import io
import json
from urllib.parse import quote, urlsplit

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from remit.catalogue.names import Names
from remit.catalogue.storage import storage_request
from remit.catalogue.store import ACTIONS, store_request, upload_started
from remit.model.errors import Refused
from remit.model.operation import UNTYPED, Group
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

HOST = "storage.googleapis.com"
DATA, STAGING, PROD = "contoso-fraud-test-data", "contoso-fraud-test-staging", "contoso-fraud-prod-data"
OBJECTS, UPLOADS = f"/storage/v1/b/{DATA}/o", f"/upload/storage/v1/b/{DATA}/o"
JSON = (("content-type", "application/json"),)


@pytest.fixture
def asked(estate):
    """Classifies one request; `body` is bytes or JSON, `None` for one that was not sent along."""
    names = Names(estate)

    def made(method, target, body=b"", *, host=HOST, headers=JSON):
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        wire = WireRequest(None, method, host, target, tuple(headers), raw or b"", body_sent=raw is not None)
        return store_request(wire, names)

    return made


@pytest.fixture
def refused(asked):
    def made(*arguments, **more):
        with pytest.raises(Refused) as caught:
            asked(*arguments, **more)
        return caught.value

    return made


def _said(request):
    return [
        (one.action.id, *(resource.name.rpartition("/")[2] for resource in one.resources), one.within)
        for one in request.operations
    ]


@pytest.mark.parametrize(
    ("method", "target", "body", "said"),
    [
        ("GET", f"/storage/v1/b/{DATA}?projection=noAcl&prettyPrint=false", b"", [("storage.buckets.get", DATA, "")]),
        ("GET", OBJECTS, b"", [("storage.objects.list", DATA, "")]),
        ("GET", f"{OBJECTS}?prefix=team-a%2F&delimiter=%2F", b"", [("storage.objects.list", DATA, "team-a/")]),
        ("GET", f"{OBJECTS}/a?fields=size%2Cgeneration", b"", [("storage.objects.get", DATA, "a")]),
        ("GET", f"{OBJECTS}/a?alt=media", b"", [("storage.objects.get", DATA, "a")]),
        ("GET", f"/download/storage/v1/b/{DATA}/o/a%2Fb?alt=media", b"", [("storage.objects.get", DATA, "a/b")]),
        ("PATCH", f"{OBJECTS}/a", {"metadata": {"k": "v"}}, [("storage.objects.patch", DATA, "a")]),
        ("PUT", f"{OBJECTS}/a", {"name": "a", "bucket": DATA}, [("storage.objects.update", DATA, "a")]),
        ("DELETE", f"{OBJECTS}/a?generation=1", b"", [("storage.objects.delete", DATA, "a")]),
        (
            "POST",
            f"{OBJECTS}/c/compose",
            {"sourceObjects": [{"name": "a"}, {"name": "b/1", "generation": "1"}], "destination": {"name": "c"}},
            [
                ("storage.objects.compose", DATA, "c"),
                ("storage.objects.get", DATA, "a"),
                ("storage.objects.get", DATA, "b/1"),
            ],
        ),
        (
            "POST",
            f"{OBJECTS}/a%2Fb/copyTo/b/{STAGING}/o/c%2Fd",
            b"",
            [("storage.objects.copy", STAGING, "c/d"), ("storage.objects.get", DATA, "a/b")],
        ),
        (
            "POST",
            f"{OBJECTS}/a/rewriteTo/b/{PROD}/o/b?rewriteToken=x&sourceGeneration=3",
            {"storageClass": "NEARLINE"},
            [("storage.objects.rewrite", PROD, "b"), ("storage.objects.get", DATA, "a")],
        ),
        ("POST", f"{UPLOADS}?uploadType=media&name=a%2Fb", b"\xff\x00", [("storage.objects.insert", DATA, "a/b")]),
        ("POST", f"{UPLOADS}?uploadType=media&name=a", None, [("storage.objects.insert", DATA, "a")]),
        ("POST", f"{UPLOADS}?uploadType=resumable&name=a", b"", [("storage.objects.insert", DATA, "a")]),
        ("POST", f"{UPLOADS}?uploadType=resumable", {"name": "a/b"}, [("storage.objects.insert", DATA, "a/b")]),
        ("POST", f"{UPLOADS}?uploadType=resumable&name=a", {"name": "a"}, [("storage.objects.insert", DATA, "a")]),
    ],
)
def test_every_method(asked, method, target, body, said):
    request = asked(method, target, body)
    assert _said(request) == said
    assert request.leasable == (method == "GET")
    assert request.starts == ("uploadType=resumable" in target)
    assert asked(method, target, body, host="www.googleapis.com") == request
    for operation in request.operations:
        assert {resource.type for resource in operation.resources} == {"Bucket"}
        assert operation.action in ACTIONS


def test_the_groups():
    changes = {"insert", "delete", "patch", "update", "compose", "copy", "rewrite"}
    assert {action.id: action.group for action in ACTIONS} == {
        "storage.buckets.get": Group.OBSERVE,
        "storage.objects.get": Group.USE,
        "storage.objects.list": Group.OBSERVE,
        **{f"storage.objects.{name}": Group.CHANGE for name in changes},
    }


def test_a_direct_token_holds_the_same_actions(estate):
    assert {one.action for one in storage_request(estate, [DATA], "write").operations} <= set(ACTIONS)
    reads = [one.action.id for one in storage_request(estate, [DATA], "read").operations]
    assert reads == ["storage.objects.get", "storage.objects.list"]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%2F%2Fb%2F", "a//b/"),
        ("..a%2Fb..", "..a/b.."),
        ("a%3Fb%23c%3Bd%2Be", "a?b#c;d+e"),
        ("caf%C3%A9", "café"),
        ("a%20b!$&'()*,:=@~-_.", "a b!$&'()*,:=@~-_."),
        ("..%252Fsecret", "..%2Fsecret"),
        ("%61", "a"),
        ("acl", "acl"),
        (quote("x" * 1024), "x" * 1024),
    ],
)
def test_a_name_is_one_segment_decoded_once(asked, raw, name):
    for target in (f"{OBJECTS}/{raw}", f"/{DATA}/{raw}", f"{OBJECTS}?prefix={raw.replace('&', '%26')}"):
        assert asked("GET", target).first.within == name


BAD_NAMES = [
    *(
        "%2e%2e%2Fb",
        "..%2Fb",
        "a%2F..%2Fb",
        "a%2F..",
        "a%2F.%2Fb",
        "..",
        ".",
        "%2E",
        "a%2F%2e%2e",
        "a%5Cb",
        "a%5C..%5Cb",
    ),
    *(
        "a%00",
        "a%0a",
        "a%0D%0A",
        "%7f",
        "a%C2%85b",
        "a%E2%80%AEb",
        "a%E2%80%A8b",
        "%FF",
        "%C0%AE",
        "%ED%A0%80",
        "a%",
        "a%2",
    ),
    *("a%zz", "x" * 1025, "%C3%A9" * 513),
]


@pytest.mark.parametrize("raw", BAD_NAMES)
def test_a_bad_name_is_refused_everywhere(refused, raw):
    bad = {Reason.REQUEST_AMBIGUOUS, Reason.REQUEST_MALFORMED}
    for method, target in (
        ("GET", f"{OBJECTS}/{raw}"),
        ("GET", f"/download/storage/v1/b/{DATA}/o/{raw}?alt=media"),
        ("DELETE", f"{OBJECTS}/{raw}"),
        ("POST", f"{OBJECTS}/a/copyTo/b/{STAGING}/o/{raw}"),
        ("POST", f"{OBJECTS}/{raw}/copyTo/b/{STAGING}/o/a"),
        ("POST", f"{UPLOADS}?uploadType=media&name={raw}"),
        ("POST", f"{UPLOADS}?uploadType=resumable&name={raw}"),
        ("GET", f"/{DATA}/{raw}"),
        ("GET", f"{OBJECTS}?prefix={raw}"),
    ):
        assert refused(method, target).reason in bad, target


@pytest.mark.parametrize("raw", ["a+b", "a;b", "a\\b", "a b", "a\nb", "é", "a|b", "a<b", 'a"b', "a^b", "a[1]"])
def test_a_raw_name_needs_its_escapes(refused, raw):
    for target in (f"{OBJECTS}/{raw}", f"/{DATA}/{raw}"):
        assert refused("GET", target).reason in {Reason.REQUEST_MALFORMED, Reason.METHOD_UNKNOWN}


def test_the_xml_read(asked, refused):
    for method in ("GET", "HEAD"):
        request = asked(method, f"/{DATA}/a/b%2Fc?generation=1")
        assert (_said(request), request.leasable) == ([("storage.objects.get", DATA, "a/b/c")], True)
    for method, target, host in (
        ("PUT", f"/{DATA}/a", HOST),
        ("POST", f"/{DATA}/a?uploads", HOST),
        ("DELETE", f"/{DATA}/a", HOST),
        ("GET", f"/{DATA}", HOST),
        ("GET", f"/{DATA}/", HOST),
        ("GET", "/", HOST),
        ("GET", f"/{DATA}/a", "www.googleapis.com"),
    ):
        assert refused(method, target, host=host).reason is Reason.METHOD_UNKNOWN
    for query in ("acl", "tagging", "uploadId=1", "X-Goog-Signature=1", "GoogleAccessId=x", "Signature=y", "alt=media"):
        assert refused("GET", f"/{DATA}/a?{query}").reason is Reason.REQUEST_MALFORMED
    for path in ("a//b", "a/../b", "./a", "a/.", "..", "/a", "a//"):
        assert refused("GET", f"/{DATA}/{path}").reason is Reason.REQUEST_AMBIGUOUS


@pytest.mark.parametrize("bucket", ["evil", "contoso-fraud-test-data2", "contoso-churn-prod"])
def test_another_bucket_is_unknown(refused, bucket):
    for method, target in (
        ("GET", f"/storage/v1/b/{bucket}"),
        ("GET", f"/storage/v1/b/{bucket}/o/a"),
        ("GET", f"/{bucket}/a"),
        ("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a"),
        ("POST", f"{OBJECTS}/a/copyTo/b/{bucket}/o/a"),
        ("POST", f"/storage/v1/b/{bucket}/o/a/rewriteTo/b/{DATA}/o/a"),
    ):
        assert refused(method, target).reason is Reason.RESOURCE_UNKNOWN


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/batch/storage/v1"),
        ("POST", "/batch"),
        ("GET", "/storage/v1/b?project=contoso-fraud-test"),
        ("POST", "/storage/v1/b?project=contoso-fraud-test"),
        ("DELETE", f"/storage/v1/b/{DATA}"),
        ("PATCH", f"/storage/v1/b/{DATA}"),
        ("GET", f"/storage/v1/b/{DATA}/iam"),
        ("PUT", f"/storage/v1/b/{DATA}/iam"),
        ("GET", f"/storage/v1/b/{DATA}/acl"),
        ("POST", f"/storage/v1/b/{DATA}/defaultObjectAcl"),
        ("POST", f"{OBJECTS}/a/acl"),
        ("GET", f"{OBJECTS}/a/iam"),
        ("POST", f"/storage/v1/b/{DATA}/notificationConfigs"),
        ("POST", "/storage/v1/projects/contoso-fraud-test/hmacKeys"),
        ("GET", "/storage/v1/projects/contoso-fraud-test/serviceAccount"),
        ("POST", f"{OBJECTS}/a/moveTo/o/b"),
        ("POST", f"{OBJECTS}/a/restore"),
        ("POST", f"{OBJECTS}/watch"),
        ("POST", f"{OBJECTS}/a/compose/b"),
        ("POST", OBJECTS),
        ("POST", f"/resumable/upload/storage/v1/b/{DATA}/o?uploadType=resumable&name=a"),
        ("GET", f"/storage/v1beta1/b/{DATA}/o/a"),
        ("GET", f"/storage/v1/b/{DATA}//o/a"),
        ("GET", f"/storage/v1/b/{DATA}/o/a/b"),
        ("GET", f"//storage/v1/b/{DATA}/o/a"),
        ("GET", "/storage/v1/b/contoso%2Dfraud-test-data/o/a"),
        ("GET", f"/storage%2Fv1/b/{DATA}/o/a"),
        ("GET", f"/STORAGE/v1/b/{DATA}/o/a"),
        ("HEAD", f"{OBJECTS}/a"),
        ("TRACE", f"{OBJECTS}/a"),
        ("GET", UPLOADS),
        ("GET", "/compute/v1/projects/p/zones"),
        ("GET", "/discovery/v1/apis"),
        ("GET", "/oauth2/v3/userinfo"),
    ],
)
def test_what_is_not_served(refused, method, target):
    for host in (HOST, "www.googleapis.com"):
        found = refused(method, target, host=host)
        assert found.reason in {Reason.METHOD_UNKNOWN, Reason.RESOURCE_UNKNOWN, Reason.REQUEST_AMBIGUOUS}


def test_refusals_say_why(refused):
    for target, word in (
        ("/batch/storage/v1", "batch"),
        (f"/storage/v1/b/{DATA}/iam", "policies"),
        (f"{OBJECTS}/a/acl", "access lists"),
    ):
        assert word in refused("POST", target).hint
    assert "another project" in refused("GET", f"{OBJECTS}/a?userProject=evil").hint


@pytest.mark.parametrize(
    "query",
    [
        *(
            "userProject=contoso-fraud-prod",
            "projection=full",
            "key=x",
            "access_token=x",
            "oauth_token=x",
            "callback=f",
        ),
        *("alt=sse", "alt=proto", "upload_protocol=raw", "uploadType=media", "name=b", "upload_id=x", "$alt=xml", "x"),
        *("alt=json&alt=json", "alt=json&$alt=json", "alt=json&%24alt=media", "al%74=xml", "$.xgafv=1", "%zz=1"),
        *("generation=%0a%zz", "quotaUser=x", "predefinedAcl=publicRead", "kmsKeyName=k"),
    ],
)
def test_other_parameters_are_refused(refused, query):
    assert refused("GET", f"{OBJECTS}/a?{query}").reason in {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}


@pytest.mark.parametrize(
    "query",
    ["predefinedAcl=publicRead", "kmsKeyName=k", "userProject=p", "upload_protocol=resumable", "projection=full"],
)
def test_an_upload_shares_nothing(refused, query):
    assert refused("POST", f"{UPLOADS}?uploadType=media&name=a&{query}").reason is Reason.REQUEST_MALFORMED
    target = f"{OBJECTS}/a/copyTo/b/{STAGING}/o/b?destinationPredefinedAcl=publicRead"
    assert refused("POST", target).reason is Reason.REQUEST_MALFORMED


METADATA_ATTACKS = [
    {"acl": [{"entity": "allUsers", "role": "READER"}]},
    {"name": "other"},
    {"name": 7},
    {"name": None},
    {"bucket": PROD},
    {"bucket": None},
    {"owner": {"entity": "x"}},
    {"kmsKeyName": "projects/evil/locations/l/keyRings/r/cryptoKeys/k"},
    {"temporaryHold": True},
    {"retention": {"mode": "Locked"}},
    {"contexts": {}},
    {"Name": "other"},
]


@pytest.mark.parametrize("body", METADATA_ATTACKS)
def test_metadata_contradicts_nothing(refused, body):
    bad = {Reason.REQUEST_AMBIGUOUS, Reason.RESOURCE_UNKNOWN}
    for method, target in (
        ("PATCH", f"{OBJECTS}/a"),
        ("PUT", f"{OBJECTS}/a"),
        ("POST", f"{OBJECTS}/x/copyTo/b/{DATA}/o/a"),
        ("POST", f"{OBJECTS}/x/rewriteTo/b/{DATA}/o/a"),
        ("POST", f"{UPLOADS}?uploadType=resumable&name=a"),
    ):
        assert refused(method, target, body).reason in bad, target
    composed = {"sourceObjects": [{"name": "b"}], "destination": body}
    assert refused("POST", f"{OBJECTS}/a/compose", composed).reason in bad
    assert refused("POST", f"{UPLOADS}?uploadType=multipart&name=a", **_multipart(json.dumps(body))).reason in bad


@pytest.mark.parametrize(
    "body", [b"[]", b"x", b'{"name":"a","name":"b"}', b'{"name":"a"} {}', b"\xef\xbb\xbf{}", b"null"]
)
def test_metadata_is_one_plain_object(refused, body):
    for method, target in (("PATCH", f"{OBJECTS}/a"), ("POST", f"{UPLOADS}?uploadType=resumable&name=a")):
        assert refused(method, target, body).reason in {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sourceObjects": []},
        {"sourceObjects": {}},
        {"sourceObjects": [{}]},
        {"sourceObjects": [{"name": 1}]},
        {"sourceObjects": [{"name": ""}]},
        {"sourceObjects": [{"name": "../x"}]},
        {"sourceObjects": ["a"]},
        {"sourceObjects": [{"name": "a", "bucket": PROD}]},
        {"sourceObjects": [{"name": "a"}] * 33},
        {"sourceObjects": [{"name": "a"}], "deleteSourceObjects": True},
        {"sourceObjects": [{"name": "a"}], "destination": []},
    ],
)
def test_a_compose_reads_known_objects(refused, body):
    bad = {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}
    assert refused("POST", f"{OBJECTS}/c/compose", body).reason in bad


def _multipart(
    metadata, *, boundary="===1==", kind='multipart/related; boundary="===1=="', part="application/json; charset=UTF-8"
):
    head = f"--{boundary}\r\ncontent-type: {part}\r\n\r\n{metadata}\r\n--{boundary}\r\ncontent-type: text/plain\r\n\r\n"
    return {
        "body": head.encode() + b"\x00\xff data\r\n" + f"--{boundary}--".encode(),
        "headers": (("content-type", kind),),
    }


def test_a_multipart_upload_names_its_object_first(asked):
    request = asked("POST", f"{UPLOADS}?uploadType=multipart", **_multipart('{"name": "a/b", "metadata": {"k": "v"}}'))
    assert (_said(request), request.starts) == ([("storage.objects.insert", DATA, "a/b")], False)
    assert _said(asked("POST", f"{UPLOADS}?uploadType=multipart&name=q", **_multipart("{}"))) == [
        ("storage.objects.insert", DATA, "q")
    ]


@pytest.mark.parametrize(
    "more",
    [
        _multipart('{"name": "a"}', kind="multipart/related"),
        _multipart('{"name": "a"}', kind="multipart/form-data; boundary====1=="),
        _multipart('{"name": "a"}', kind='multipart/related; boundary="other"'),
        _multipart('{"name": "a"}', kind='multipart/related; boundary="===1=="; boundary=x'),
        _multipart('{"name": "a"}', part="text/plain"),
        _multipart('{"name": "a"}', part="application/json\r\ncontent-type: text/plain"),
        _multipart('{"name": "a"}\n--===1==\ncontent-type: x\n\n{"name": "b"}'),
        _multipart('{"name": "a", "name": "b"}'),
        _multipart(""),
        _multipart("{}"),
        {"body": b"preamble" + _multipart('{"name": "a"}')["body"], "headers": _multipart("{}")["headers"]},
        {"body": b"\r\n" + _multipart('{"name": "a"}')["body"], "headers": _multipart("{}")["headers"]},
        {
            "body": b'--===1==\r\ncontent-type: application/json\r\n\r\n{"name":"a"}',
            "headers": _multipart("{}")["headers"],
        },
        {"body": b"", "headers": _multipart("{}")["headers"]},
    ],
)
def test_a_multipart_upload_has_one_reading(refused, more):
    found = refused("POST", f"{UPLOADS}?uploadType=multipart", **more)
    assert found.reason in {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}


@pytest.mark.parametrize("query", ["", "uploadType=media", "uploadType=resumable", "uploadType=x&name=a", "name=a"])
def test_an_upload_says_how_and_what(refused, query):
    assert refused("POST", f"{UPLOADS}?{query}").reason is Reason.REQUEST_MALFORMED
    assert refused("PUT", f"{UPLOADS}?{query}").reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    ("method", "target", "action", "named"),
    [
        ("POST", f"{UPLOADS}?uploadType=multipart", "insert", ""),
        ("POST", f"{UPLOADS}?uploadType=resumable", "insert", ""),
        ("POST", f"{UPLOADS}?uploadType=multipart&name=a", "insert", "a"),
        ("PATCH", f"{OBJECTS}/a", "patch", "a"),
        ("PUT", f"{OBJECTS}/a", "update", "a"),
        ("POST", f"{OBJECTS}/a/compose", "compose", "a"),
        ("POST", f"{OBJECTS}/b/copyTo/b/{DATA}/o/a", "copy", "a"),
        ("POST", f"{OBJECTS}/b/rewriteTo/b/{DATA}/o/a", "rewrite", "a"),
    ],
)
def test_a_body_that_was_not_sent_needs_an_explicit_permission(asked, method, target, action, named):
    request = asked(method, target, None)
    first, last = request.first, request.operations[-1]
    assert (first.action.id, first.within) == (f"storage.objects.{action}", named)
    assert (last.action, last.within, last.resources) == (UNTYPED, f"storage.objects.{action}", first.resources)
    assert asked(method, target, None, headers=(("content-length", "0"),)) == request  # a question's own length


def test_reads_and_deletes_have_no_body(refused, asked):
    for method, target in (("GET", OBJECTS), ("GET", f"{OBJECTS}/a"), ("DELETE", f"{OBJECTS}/a")):
        assert refused(method, target, b"{}").reason is Reason.REQUEST_MALFORMED
        assert len(asked(method, target, None).operations) == 1


def test_an_upload_belongs_to_who_started_it(asked):
    for method in ("PUT", "POST", "DELETE"):
        request = asked(method, f"{UPLOADS}?uploadType=resumable&upload_id=ABg5-_x", b"\xff" * 9)
        (operation,) = request.operations
        bucket, session = operation.resources
        assert (operation.action.id, bucket.type, session.type) == ("storage.objects.insert", "Bucket", "Operation")
        assert session.name == f"//storage.googleapis.com/projects/_/buckets/{DATA}/uploads/ABg5-_x"
        assert (session.project, request.starts, request.leasable) == ("contoso-fraud-test", False, False)
        assert asked(method, f"{UPLOADS}?upload_id=ABg5-_x&uploadType=resumable", None) == request


def test_the_session_of_another_bucket_or_object_is_another_session(asked):
    places = (
        f"b/{DATA}/o?",
        f"b/{STAGING}/o?",
        f"b/{DATA}/o?name=a&",
        f"b/{DATA}/o?name=a%2Fb&",
        f"b/{DATA}/o?name=a%252Fb&",
    )
    names = set()
    for place in places:
        target = f"/upload/storage/v1/{place}uploadType=resumable&upload_id=X"
        session = asked("PUT", target, b"").first.resources[1].name
        assert upload_started(f"https://{HOST}{target}") == session
        names.add(session)
    assert len(names) == len(places)


@pytest.mark.parametrize("session", ["", "a/b", "..", "a%2Fb", "a b", "x" * 1025, "a%00", "é"])
def test_a_strange_session_is_refused(refused, session):
    target = f"{UPLOADS}?uploadType=resumable&upload_id={session}"
    assert refused("PUT", target).reason is Reason.REQUEST_MALFORMED
    assert upload_started(f"https://{HOST}{target}") == ""
    for how in ("", "uploadType=media&", "uploadType=multipart&"):
        assert refused("PUT", f"{UPLOADS}?{how}upload_id=X").reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    "location",
    [
        "",
        f"http://{HOST}{UPLOADS}?upload_id=X",
        f"https://evil.example{UPLOADS}?upload_id=X",
        f"https://{HOST}@evil.example{UPLOADS}?upload_id=X",
        f"https://{HOST}:443{UPLOADS}?upload_id=X",
        f"https://{HOST}{UPLOADS}",
        f"https://{HOST}{UPLOADS}?uploadType=resumable",
        f"https://{HOST}{UPLOADS}?upload_id=X&upload_id=Y",
        f"https://{HOST}{OBJECTS}?upload_id=X",
        f"https://{HOST}{UPLOADS}?upload_id=X#y",
        f"https://{HOST}{UPLOADS}?upload_id=X&name=..",
        f"https://{HOST}{UPLOADS}?upload_id=X\n",
        "https://[",
    ],
)
def test_a_strange_location_starts_nothing(location):
    assert upload_started(location) == ""


@pytest.mark.parametrize(
    "header",
    [
        *("x-goog-acl", "x-goog-copy-source", "x-goog-copy-source-range", "x-goog-resumable", "x-goog-user-project"),
        *("x-goog-upload-protocol", "x-goog-upload-command", "x-goog-metadata-directive", "x-http-method-override"),
    ],
)
def test_no_header_makes_another_request_of_it(refused, header):
    for method, target in (("GET", f"{OBJECTS}/a"), ("POST", f"{UPLOADS}?uploadType=media&name=a")):
        assert refused(method, target, headers=((header, "x"),)).reason is Reason.REQUEST_AMBIGUOUS


class _Recorder(requests.Session):
    """Takes what the stock client sends, and answers each time with this."""

    def __init__(self, answer):
        super().__init__()
        self.sent, self._answer, self.is_mtls = [], answer, False

    def request(self, method, url, data=None, headers=None, **_):
        parts = urlsplit(url)
        body = data.read() if hasattr(data, "read") else data or b""
        lower = tuple((str(_plain(key)).lower(), _plain(value)) for key, value in (headers or {}).items())
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        body = body if isinstance(body, bytes) else body.encode()
        self.sent.append(WireRequest(None, method, parts.netloc, target, lower, body, body_sent=True))
        answer = requests.Response()
        answer.status_code, answer.raw = 200, None
        answer._content, answer.headers["location"] = self._answer, f"https://{HOST}{UPLOADS}?{SESSION}"
        return answer


SESSION = "uploadType=resumable&upload_id=ABg5-_x"


def _plain(value):
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: client.get_bucket(DATA), [[("storage.buckets.get", DATA, "")]]),
        (
            lambda client: list(client.list_blobs(DATA, prefix="a/", max_results=5)),
            [[("storage.objects.list", DATA, "a/")]],
        ),
        (lambda client: client.bucket(DATA).get_blob("a/b c+é"), [[("storage.objects.get", DATA, "a/b c+é")]]),
        (
            lambda client: client.bucket(DATA).blob("a/b").upload_from_string("x"),
            [[("storage.objects.insert", DATA, "a/b")]],
        ),
        (lambda client: client.bucket(DATA).blob("a/b").delete(), [[("storage.objects.delete", DATA, "a/b")]]),
        (
            lambda client: client.bucket(DATA).copy_blob(client.bucket(DATA).blob("a/b"), client.bucket(STAGING), "c"),
            [[("storage.objects.copy", STAGING, "c"), ("storage.objects.get", DATA, "a/b")]],
        ),
        (
            lambda client: client.bucket(STAGING).blob("c").rewrite(client.bucket(DATA).blob("a/b")),
            [[("storage.objects.rewrite", STAGING, "c"), ("storage.objects.get", DATA, "a/b")]],
        ),
        (
            lambda client: client.bucket(DATA).blob("c").compose([client.bucket(DATA).blob("a/b")]),
            [[("storage.objects.compose", DATA, "c"), ("storage.objects.get", DATA, "a/b")]],
        ),
        (
            lambda client: (
                client.bucket(DATA)
                .blob("a/b")
                ._initiate_resumable_upload(
                    client, stream=io.BytesIO(b"x"), content_type="text/plain", size=1, chunk_size=None
                )
            ),
            [[("storage.objects.insert", DATA, "a/b")]],
        ),
    ],
)
def test_what_the_stock_client_sends(estate, call, said):
    answer = {"name": "a/b", "bucket": DATA, "items": [], "done": True, "totalBytesRewritten": "1", "objectSize": "1"}
    recorder = _Recorder(json.dumps({**answer, "resource": {}}).encode())
    call(storage.Client(project="contoso-fraud-test", credentials=AnonymousCredentials(), _http=recorder))
    asked = [_said(store_request(wire, Names(estate))) for wire in recorder.sent]
    # Beside some calls the client looks at the bucket, in a thread of its own.
    assert all(one in asked for one in said)
    assert all(one in said or one[0][0] == "storage.buckets.get" for one in asked)
