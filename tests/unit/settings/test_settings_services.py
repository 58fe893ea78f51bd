"""remit.yaml: services behind the gate, and the second door."""

from pathlib import Path

import pytest
import yaml

from remit.gateway.settings import Address
from remit.model.errors import SettingsInvalid
from remit.model.estate import ServiceKind
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml"
BOARD = {"name": "board", "project": "contoso-fraud-test", "http": "http://127.0.0.1:6006", "prefix": "/apps/board/"}
DIGITS = {
    "name": "digits",
    "project": "contoso-fraud-test",
    "kind": "tensorflow-serving",
    "http": "https://serving.contoso.example",
    "grpc": "http://127.0.0.1:8500",
    "host": "digits.contoso.example",
    "ca_file": "serving.pem",
}


def settings(tmp_path, services=(), **gateway):
    document = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    document["services"] = list(services)
    document["gateway"] |= gateway
    file = tmp_path / "remit.yaml"
    file.write_text(yaml.safe_dump(document), "utf-8")
    return read(file)


def test_services_are_known_to_the_catalogue_and_to_the_gateway(tmp_path):
    found = settings(tmp_path, [BOARD | {"websockets": True}, DIGITS])
    board, digits = found.estate.services
    assert (board.kind, board.prefix, board.audience) == (
        ServiceKind.WEB,
        "/apps/board/",
        "http://127.0.0.1:8443/apps/board/",
    )
    assert board.websockets
    assert (digits.kind, digits.host, digits.audience) == (
        ServiceKind.TENSORFLOW_SERVING,
        "digits.contoso.example",
        "https://digits.contoso.example",
    )
    assert found.estate.service("digits.service") == digits
    assert found.estate.service("digits") is None
    first, second = found.gateway.services
    assert (first.known_as, first.http, first.grpc, first.websockets) == (
        "board.service",
        Address("127.0.0.1", 6006),
        None,
        True,
    )
    assert second.http == Address("serving.contoso.example", 443, tls=True, roots=tmp_path / "serving.pem")
    assert second.grpc == Address("127.0.0.1", 8500)


def test_the_second_door_stands_for_locations(tmp_path):
    found = settings(
        tmp_path,
        endpoint={"listen": "127.0.0.1:8444", "names": {"vertex.contoso.example": "us-central1"}},
    )
    assert found.gateway.endpoint.names == {"vertex.contoso.example": "us-central1-aiplatform.googleapis.com"}
    assert (found.gateway.endpoint.listen_host, found.gateway.endpoint.listen_port) == ("127.0.0.1", 8444)


def test_storage_is_tunnelled_unless_it_is_terminated(tmp_path):
    assert "storage.googleapis.com" not in settings(tmp_path).gateway.hosts
    found = settings(tmp_path, storage="terminate")
    assert found.estate.stores_terminated
    assert found.gateway.objects == ("storage.googleapis.com", "www.googleapis.com")
    assert set(found.gateway.objects) <= set(found.gateway.hosts)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (BOARD | {"project": "nobody"}, "`nobody` is no project"),
        ({key: value for key, value in BOARD.items() if key != "prefix"}, "needs a `prefix` or a `host`"),
        ({key: value for key, value in BOARD.items() if key != "http"}, "needs `http`"),
        (BOARD | {"grpc": "http://127.0.0.1:1"}, "takes no `grpc`"),
        (BOARD | {"kind": "grpc"}, "needs `grpc`"),
        (BOARD | {"http": "http://127.0.0.1:6006/path"}, "does not have the form"),
        (BOARD | {"http": "ftp://127.0.0.1"}, "does not have the form"),
        (BOARD | {"prefix": "/Apps/"}, "does not have the form"),
        (BOARD | {"prefix": "/apps"}, "`/apps` has to end in `/`"),
        (BOARD | {"audience": "https://iam.googleapis.com/x"}, "must mean nothing to Google"),
        (BOARD | {"ca_file": "x.pem"}, "shows no certificate"),
        (DIGITS | {"websockets": True}, "only a service of kind `web` has websockets"),
        ({**DIGITS, "http": None, "grpc": None}, "needs `http`, `grpc` or both"),
        ({**DIGITS, "http": None, "host": None, "prefix": "/apps/x/"}, "gRPC has no prefixes"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path, service, said):
    service = {key: value for key, value in service.items() if value is not None}
    with pytest.raises(SettingsInvalid, match=said) as caught:
        settings(tmp_path, [service])
    assert all(problem.line for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ({}, "the service `board` stands twice"),
        ({"name": "other"}, "the prefix `/apps/board/` stands twice"),
        ({"name": "other", "prefix": "/apps/other/", "host": "a.example"}, "the host `a.example` stands twice"),
    ],
)
def test_a_name_a_prefix_and_a_host_are_one_services_alone(tmp_path, pair, said):
    with pytest.raises(SettingsInvalid, match=said):
        settings(tmp_path, [BOARD | {"host": "a.example"}, BOARD | pair])


def test_a_name_for_a_location_that_nobody_uses_is_a_mistake(tmp_path):
    with pytest.raises(SettingsInvalid, match="`europe-west4` is no location of a project"):
        settings(tmp_path, endpoint={"listen": "127.0.0.1:8444", "names": {"x.example": "europe-west4"}})


def test_remit_is_no_issuer_of_identities(tmp_path):
    document = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    own = "https://remit.contoso.example"
    document["sign_in"]["browser"]["origin"] = own
    document["issuers"].append(
        {"oidc": {"name": "own", "issuer": own, "audience": "a", "subjects": ["x"], "clients": ["c"]}}
    )
    file = tmp_path / "remit.yaml"
    file.write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(SettingsInvalid, match="is remit itself, whose word to services is no identity"):
        read(file)
