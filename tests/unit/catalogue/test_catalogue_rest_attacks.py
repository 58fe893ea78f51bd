"""Targets, queries, headers and JSON bodies that two servers would read differently (TH2, TH3 to TH11, TH42, TH43)."""

import base64
import json
from pathlib import Path

import pytest

from remit.catalogue import json_wire
from remit.model.errors import Refused
from remit.model.operation import UNTYPED
from remit.model.reasons import Reason

L = "projects/contoso-fraud-test/locations/us-central1"
VICTIM = "projects/contoso-churn-prod/locations/us-central1"
SUITE = Path(__file__).parents[2] / "vectors" / "json-parsing" / "JSONTestSuite.json"


def _refused(catalogue, wire):
    with pytest.raises(Refused) as caught:
        catalogue.classify(wire)
    return caught.value


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (f"/v1/{L}/customJobs/../models/1", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/./1", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/..", Reason.REQUEST_AMBIGUOUS),
        (f"/v1//{L}/customJobs/1", Reason.REQUEST_AMBIGUOUS),
        (f"//v1/{L}/customJobs/1", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/1;x=1", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs\\1", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/%31", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/1%2F..%2F2", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/1%252F2", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/1\x00", Reason.REQUEST_MALFORMED),
        (f"/v1/{L}/customJobs/1\n", Reason.REQUEST_MALFORMED),
        (f"/v1/{L}/customJobs/1 ", Reason.REQUEST_MALFORMED),
        (f"/v1/{L}/customJobs/1#x", Reason.REQUEST_MALFORMED),
        (f"/v1/{L}/customJobs/\uff11", Reason.REQUEST_MALFORMED),
        (f"/v1/{L}/customJobs/{'1' * 1100}", Reason.REQUEST_MALFORMED),
        (f"v1/{L}/customJobs/1", Reason.REQUEST_MALFORMED),
        ("", Reason.REQUEST_MALFORMED),
        ("/", Reason.REQUEST_MALFORMED),
        ("*", Reason.REQUEST_MALFORMED),
        (f"https://evil/v1/{L}/customJobs/1", Reason.REQUEST_AMBIGUOUS),
        (f"/v1/{L}/customJobs/1/", Reason.METHOD_UNKNOWN),
        (f"/v1/{L}/customJobs/1:get", Reason.METHOD_UNKNOWN),
        (f"/V1/{L}/customJobs/1", Reason.METHOD_UNKNOWN),
        (f"/v1/{L}/CustomJobs/1", Reason.METHOD_UNKNOWN),
        (f"/v2/{L}/customJobs/1", Reason.METHOD_UNKNOWN),
        (f"/v1beta2/{L}/customJobs/1", Reason.METHOD_UNKNOWN),
        (f"/v1/v1beta1/{L}/customJobs/1", Reason.METHOD_UNKNOWN),
        (f"/upload/v1/{L}/ragCorpora/1/ragFiles:upload", Reason.METHOD_UNKNOWN),
        ("/v1/projects/-/locations/us-central1/customJobs/1", Reason.RESOURCE_UNKNOWN),
        ("/v1/projects/contoso-fraud-test/locations/-/customJobs", Reason.RESOURCE_UNKNOWN),
        (f"/v1beta1/{L}/publishers/-/files", Reason.RESOURCE_UNKNOWN),
        (f"/v1/{L}/publishers/*/files", Reason.REQUEST_MALFORMED),
        (f"/ui/{L}/customJobs/1", Reason.METHOD_UNKNOWN),
        ("/batch", Reason.METHOD_UNKNOWN),
        ("/v1/customJobs/1/operations/1", Reason.METHOD_UNKNOWN),
        (f"/v1/{L}:x/customJobs/1", Reason.RESOURCE_UNKNOWN),
        (f"/v1/{L}/customJobs/-1", Reason.RESOURCE_UNKNOWN),
        ("/v1/projects/elsewhere/locations/us-central1/customJobs/1", Reason.RESOURCE_UNKNOWN),
        ("/v1/projects/contoso-fraud-test/locations/mars/customJobs/1", Reason.RESOURCE_UNKNOWN),
        ("/v1/projects/contoso-fraud-test/locations/europe-west4/customJobs/1", Reason.HOST_UNKNOWN),
    ],
)
def test_paths(catalogue, rest_wire, target, reason):
    refused = _refused(catalogue, rest_wire("GET", target))
    assert refused.reason is reason
    assert refused.message.isprintable()


@pytest.mark.parametrize(
    ("verb", "path", "said"),
    [
        ("POST", f"/v1/{L}/endpoints/1:fly", "`POST …:fly` is not a method of Vertex AI that Remit knows"),
        ("PUT", f"/v1/{L}/customJobs", "is not a method"),
        ("TRACE", f"/v1/{L}/customJobs/1", "is not a method"),
        ("get", f"/v1/{L}/customJobs/1", "is not a method"),
        ("POST", f"/v1beta1/{L}/endpoints/1:fly", "`POST …:fly` is not a method of Vertex AI that Remit knows"),
        ("POST", f"/v1/{L}/endpoints/1:predict:predict", "is not a method"),
        ("POST", f"/v1/{L}/endpoints/1/chat/completions/x", "is not a method"),
        ("GET", f"/v1/{L}/endpoints/openapi/completions", "`GET …/completions` is not a method"),
        ("GET", f"/v1/{L}/exampleStores/1", "is not a method"),
        ("POST", "/v1:evaluateDataset", "`aiplatform.evaluateDataset` is known, but this form of it belongs to no"),
        ("GET", "/v1beta1/publishers/google/models/gemini", "known, but this form of it belongs to no project"),
        ("POST", "/batch/x", "`POST …/x` is not a method"),
    ],
)
def test_methods_that_are_not_served(catalogue, rest_wire, verb, path, said):
    refused = _refused(catalogue, rest_wire(verb, path, "{}"))
    assert refused.reason is Reason.METHOD_UNKNOWN
    assert said in refused.message


@pytest.mark.parametrize(
    "query",
    [
        "access_token=x",
        "key=x",
        "%6Bey=x",
        "oauth_token=x",
        "callback=f",
        "$callback=f",
        "fields=name",
        "quotaUser=x",
        "$userProject=x",
        "uploadType=media",
        "upload_protocol=raw",
        "$httpMethod=DELETE",
        "_method=DELETE",
        "$.xgafv=2",
        "alt=media",
        "alt=sse",
        "%24alt=proto",
        "alt=json&alt=json",
        "alt=json&$alt=json",
        "alt=json&%24alt=json",
        "ALT=json",
        "pageSize=1&pageSize=2",
        "pageSize=1&page_size=2",
        "pageSize=x",
        "filter=%ff",
        "filter=%",
        "filter=%2",
        "filter=%00",
        "filter=a%0ab",
        "filter=\u00e9",
        "filter=" + "x" * 5000,
        "parent=" + VICTIM,
        "name=x",
        "readMask=a&read_mask=b",
        "pageSize",
        "&",
        "=x",
        "?",
    ],
)
def test_queries(catalogue, rest_wire, query):
    refused = _refused(catalogue, rest_wire("GET", f"/v1/{L}/customJobs?{query}"))
    assert refused.reason in {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}
    assert "x" * 200 not in refused.message


@pytest.mark.parametrize("query", ["", "?", "?alt=json", "?%24alt=json%3Benum-encoding%3Dint", "?filter=a+b%26c"])
def test_harmless_queries(catalogue, rest_wire, query):
    assert catalogue.classify(rest_wire("GET", f"/v1/{L}/customJobs{query}"))


def test_a_query_cannot_reach_into_a_body_or_a_path(catalogue, rest_wire):
    for verb, target, body in (
        ("POST", f"/v1/{L}/endpoints/1:predict?endpoint={VICTIM}/endpoints/1", "{}"),
        ("POST", f"/v1/{L}/endpoints/1:predict?labels=x", "{}"),
        ("POST", f"/v1/{L}/endpoints/1:rawPredict?endpoint={VICTIM}/endpoints/1", "{}"),
        ("POST", f"/v1/{L}/customJobs?customJob.displayName=x", "{}"),
        ("POST", f"/v1/{L}/customJobs?customJob=x", "{}"),
        ("POST", f"/v1/{L}/endpoints?endpoint=x", "{}"),
    ):
        assert _refused(catalogue, rest_wire(verb, target, body)).reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"displayName":"a","displayName":"b"}', Reason.REQUEST_AMBIGUOUS),
        ('{"displayName":"a","display_name":"a"}', Reason.REQUEST_AMBIGUOUS),
        ('{"jobSpec":{"serviceAccount":"a","service_account":"b"}}', Reason.REQUEST_AMBIGUOUS),
        ('{"jobSpec":{"workerPoolSpecs":[{"containerSpec":{},"pythonPackageSpec":{}}]}}', Reason.REQUEST_AMBIGUOUS),
        ('{"unheardOf":1}', Reason.REQUEST_AMBIGUOUS),
        ('{"DisplayName":"a"}', Reason.REQUEST_AMBIGUOUS),
        ('{"displayName":null}', Reason.REQUEST_AMBIGUOUS),
        ('{"jobSpec":null}', Reason.REQUEST_AMBIGUOUS),
        ('{"labels":{"a":"1","a":"2"}}', Reason.REQUEST_AMBIGUOUS),
        ('{"displayName":7}', Reason.REQUEST_MALFORMED),
        ('{"displayName":"\\ud800"}', Reason.REQUEST_MALFORMED),
        ('{"jobSpec":[]}', Reason.REQUEST_MALFORMED),
        ('{"jobSpec":"x"}', Reason.REQUEST_MALFORMED),
        ('{"jobSpec":{"workerPoolSpecs":{}}}', Reason.REQUEST_MALFORMED),
        ('{"jobSpec":{"workerPoolSpecs":[1]}}', Reason.REQUEST_MALFORMED),
        ('{"jobSpec":{"scheduling":{"timeout":"soon"}}}', Reason.REQUEST_MALFORMED),
        ('{"displayName":NaN}', Reason.REQUEST_MALFORMED),
        ("\ufeff{}", Reason.REQUEST_MALFORMED),
        ("{} {}", Reason.REQUEST_MALFORMED),
        ("{} // x", Reason.REQUEST_MALFORMED),
        ("{'a':1}", Reason.REQUEST_MALFORMED),
        ("[]", Reason.REQUEST_MALFORMED),
        ("null", Reason.REQUEST_MALFORMED),
        (b"\xff", Reason.REQUEST_MALFORMED),
        (json.dumps({}).encode("utf-16"), Reason.REQUEST_MALFORMED),
        ('{"a":' * 100_000, Reason.REQUEST_MALFORMED),
        ("1" * 5000, Reason.REQUEST_MALFORMED),
        ("{}" + " " * (1 << 20), Reason.REQUEST_MALFORMED),
        ('{"jobSpec":{"serviceAccount":"a@b.iam.gserviceaccount.com"}}', Reason.RESOURCE_UNKNOWN),
        ('{"jobSpec":{"serviceAccount":"a"}}', Reason.RESOURCE_UNKNOWN),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bodies(catalogue, rest_wire, body, reason):
    assert _refused(catalogue, rest_wire("POST", f"/v1/{L}/customJobs", body)).reason is reason


@pytest.mark.parametrize(
    ("verb", "hint"),
    [(":predict", "send it with `rawPredict`, whose body is passed on unread"), (":undeployModel", "")],
)
def test_large_bodies_are_refused_before_they_are_parsed(catalogue, rest_wire, monkeypatch, verb, hint):
    monkeypatch.setattr(json_wire.json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    limit = 3 << 19 if verb == ":predict" else 1 << 20
    large = b'{"instances":["' + b"x" * limit + b'"]}'
    refused = _refused(catalogue, rest_wire("POST", f"/v1/{L}/endpoints/1{verb}", large))
    assert refused.reason is Reason.REQUEST_MALFORMED
    assert refused.message == f"the message is larger than {limit / (1 << 20):g} MiB"
    assert refused.hint == hint


def test_the_largest_prediction_of_vertex_passes_and_a_raw_one_of_any_size(catalogue, rest_wire):
    body = b'{"instances":["' + b"x" * 1_499_980 + b'"]}'
    assert catalogue.classify(rest_wire("POST", f"/v1/{L}/endpoints/1:predict", body))
    assert catalogue.classify(rest_wire("POST", f"/v1/{L}/endpoints/1:rawPredict", body * 10))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (r"\ud83d\ude00", True),
        (r"\uD83D\uDE00\ud83d\ude00", True),
        (r"\\ud800", True),
        (r"\\\\udc00 \n\"\u00e9 \udbff\udfff", True),
        (r"\ud800", False),
        (r"\uDC00", False),
        (r"\\\ud800", False),
        (r"\ude00\ud83d", False),
        (r"\ud83d\ud83d\ude00", False),
        (r"\ud83d\ude00\ude00", False),
        (r"\ud83d\n\ude00", False),
    ],
)
def test_half_characters_are_told_from_whole_ones(text, whole):
    for document in (f'{{"a":["{text}"]}}', f'{{"{text}":1}}'):
        try:
            document_is_whole = bool(json.dumps(json.loads(document), ensure_ascii=False).encode())
        except UnicodeEncodeError:
            document_is_whole = False
        assert document_is_whole is whole, "what the interpreter itself says"
        if whole:
            assert json_wire.loads(document.encode())
        else:
            with pytest.raises(Refused, match="half a character"):
                json_wire.loads(document.encode())


def test_nesting_that_only_the_message_shows(catalogue, rest_wire, monkeypatch):
    monkeypatch.setattr(json_wire, "_DEEPEST", 1)
    body = '{"jobSpec":{"workerPoolSpecs":[{"machineSpec":{}}]}}'
    assert "too deeply" in _refused(catalogue, rest_wire("POST", f"/v1/{L}/customJobs", body)).message


def test_a_body_may_repeat_the_path_and_not_contradict_it(catalogue, rest_wire):
    target = f"/v1/{L}/endpoints/1:predict"
    for key in ("endpoint", "\\u0065ndpoint"):
        same = rest_wire("POST", target, f'{{"{key}":"{L}/endpoints/1","instances":[1]}}')
        assert catalogue.classify(same).first.resources[0].name.endswith("/endpoints/1")
        other = rest_wire("POST", target, f'{{"{key}":"{VICTIM}/endpoints/1"}}')
        assert _refused(catalogue, other).reason is Reason.REQUEST_AMBIGUOUS
    assert (
        _refused(catalogue, rest_wire("POST", target, '{"instances":[{"a":1,"a":2}]}')).reason
        is Reason.REQUEST_AMBIGUOUS
    )


def test_untyped_fields_of_a_change_need_a_permission_of_their_own(catalogue, rest_wire):
    body = '{"model":{"displayName":"m","metadata":{"anything":[1,null]}}}'
    upload, untyped = catalogue.classify(rest_wire("POST", f"/v1/{L}/models:upload", body)).operations
    assert untyped.action == UNTYPED
    assert (untyped.resources, untyped.within) == (upload.resources[:1], upload.action.id)
    for hidden in ("projects/elsewhere/locations/us-central1/models/1", "gs://evil/x"):
        nested = json.dumps({"model": {"metadata": {"a": [{"b": hidden}]}}})
        assert _refused(catalogue, rest_wire("POST", f"/v1/{L}/models:upload", nested))


@pytest.mark.parametrize(
    "headers",
    [
        [("content-type", "application/json"), ("content-type", "application/json")],
        [("content-type", "application/json"), ("x-http-method-override", "DELETE")],
        [("content-type", "application/json"), ("x-http-method", "DELETE")],
        [("content-type", "application/json"), ("x-method-override", "DELETE")],
        [("content-type", "application/json"), ("content-encoding", "gzip")],
        [("content-type", "text/plain")],
        [("content-type", "application/json; charset=utf-16")],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "multipart/mixed")],
        [],
    ],
)
def test_headers(catalogue, rest_wire, headers):
    refused = _refused(catalogue, rest_wire("POST", f"/v1/{L}/endpoints/1:predict", "{}", headers=headers))
    assert refused.reason in {Reason.REQUEST_AMBIGUOUS, Reason.REQUEST_MALFORMED}


def test_bodies_where_none_belong_and_bodies_that_are_missing(catalogue, rest_wire):
    assert "has no body" in _refused(catalogue, rest_wire("GET", f"/v1/{L}/customJobs", "{}")).message
    assert "has no body" in _refused(catalogue, rest_wire("DELETE", f"/v1/{L}/customJobs/1", "{}")).message
    assert "not sent along" in _refused(catalogue, rest_wire("POST", f"/v1/{L}/customJobs")).message
    assert "not sent along" in _refused(catalogue, rest_wire("POST", f"/v1/{L}/endpoints/1:predict")).message


def test_parameters_of_every_kind(catalogue, rest_wire):
    assert catalogue.classify(rest_wire("GET", f"/v1/{L}/operations?filter=x&returnPartialSuccess=true&pageSize=3"))
    assert catalogue.classify(rest_wire("GET", f"/v1/{L}/notebookRuntimes?orderBy=name"))
    for query in ("returnPartialSuccess=1", "filter=a&filter=b", "readMask=%3F%3F", "pageSize=1.5"):
        with pytest.raises(Refused):
            catalogue.classify(rest_wire("GET", f"/v1/{L}/operations?{query}"))


def test_the_json_corpus_of_others():
    outcomes = {"accept": 0, "reject": 0, "either": 0, "transform": 0}
    for case in json.loads(SUITE.read_text())["cases"]:
        content = base64.b64decode(case["b64"])
        outcomes[case["expect"]] += 1
        try:
            json_wire.loads(content)
        except Refused:
            # what a parser must accept may still be no object, or hold a key twice, which nobody may send here
            assert "duplicated" in case["name"] or "y_object_" not in case["name"], case["name"]
        else:
            assert case["expect"] != "reject", case["name"]
    assert all(count > 20 for count in outcomes.values()), outcomes
