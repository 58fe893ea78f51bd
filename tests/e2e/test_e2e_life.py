"""The life of an installation: a new configuration, a new program, a stop. Nobody who is permitted notices.

Each of them comes while requests are under way, one after another and without a lease, from callers with a tunnel each.
"""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TEST = "projects/contoso-fraud-test/locations/us-central1"
SOON = 120.0  # seconds for a new program to start on a machine that has other things to do


class Callers:
    """Some who ask all the time: each status with the time that it took."""

    def __init__(self, world: Any, number: int = 3) -> None:
        self.seen: list[tuple[int, float]] = []
        self.refused: list[str] = []
        self._world = world
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in range(number)]

    def _run(self, number: int) -> None:
        job = time.time_ns() + number
        while not self._stop.is_set():
            with self._world.tunnel("dana") as tunnel:
                for _ in range(25):  # a tunnel of a second or so, as stock clients have them for longer
                    job += 10
                    reply = tunnel.ask("GET", f"/v1/{TEST}/customJobs/{job}")
                    self.seen.append((reply.status, reply.took))
                    if reply.status != 404:  # permitted: the lab has no such job, and says so itself
                        self.refused.append(f"{reply.status} {reply.body.decode()}")
                    if self._stop.wait(0.01):
                        return

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            self.until(20)
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def until(self, more: int) -> None:
        """Waits for so many further answers."""
        wanted, end = len(self.seen) + more, time.monotonic() + SOON
        while len(self.seen) < wanted:
            assert time.monotonic() < end, self._world.tail()
            time.sleep(0.01)


def reloaded(world: Any) -> float:
    """A new program in the place of the old one: how long it took until it had relieved both of its children."""
    arbiter, began = world.arbiter, time.monotonic()
    number = epoch(world)
    world.running.send_signal(signal.SIGHUP)
    end = began + SOON
    while (world.arbiter or arbiter) == arbiter or epoch(world) in {number, -1}:
        assert time.monotonic() < end, world.tail()
        time.sleep(0.02)
    world.until_ready()
    return time.monotonic() - began


def epoch(world: Any) -> int:
    """The number of the Envoy that answers; -1 while none does."""
    connection = http.client.HTTPConnection("envoy", timeout=2)
    # opened here, since httpcore leaves a socket open that nobody answered at
    with socket.socket(socket.AF_UNIX) as connection.sock:
        try:
            connection.sock.settimeout(2)
            connection.sock.connect(str(world.settings.gateway.admin_socket))
            connection.request("GET", "/server_info")
            answer = json.loads(connection.getresponse().read())
            return int(answer["command_line_options"]["restart_epoch"])
        except (OSError, http.client.HTTPException, ValueError):
            return -1


def test_a_new_configuration_and_a_new_program_fail_no_request(world: Any) -> None:
    supervisor, callers = world.running.pid, Callers(world)
    text = world.config.read_text("utf-8")
    with callers.asking():
        for leases in ("false", "true"):
            world.config.write_text(text.replace("gateway:\n", f"gateway:\n  leases: {leases}\n"), "utf-8")
            took = reloaded(world)
            print(f"relieved after {took:.2f} s")
            callers.until(100)
    world.config.write_text(text, "utf-8")
    reloaded(world)
    assert callers.refused == []
    print(f"{len(callers.seen)} answers, the slowest after {max(took for _, took in callers.seen):.2f} s")
    assert world.running.pid == supervisor
    assert world.running.poll() is None
    verified = world.remit("audit", "verify", "--config", str(world.config))
    assert verified.returncode == 0, verified.stderr


def test_a_configuration_that_is_not_good_is_not_taken(world: Any) -> None:
    text, arbiter, number = world.config.read_text("utf-8"), world.arbiter, epoch(world)
    world.config.write_text(text.replace("gateway:\n", "gateway:\n  leasse: false\n"), "utf-8")
    try:
        world.running.send_signal(signal.SIGHUP)
        end = time.monotonic() + SOON
        while "the new configuration is not taken" not in world.tail():
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        world.config.write_text(text, "utf-8")
    assert "`gateway.leasse`: is not a key that remit knows" in world.tail()
    assert (world.arbiter, epoch(world)) == (arbiter, number)
    assert world.ask("dana", "GET", f"/v1/{TEST}/customJobs/{time.time_ns()}").status == 404


@pytest.mark.parametrize("which", ["arbiter", "envoy"])
def test_what_crashes_after_a_reload_comes_back(world: Any, which: str) -> None:
    reloaded(world)
    transport_epoch = epoch(world)
    pid = world.arbiter if which == "arbiter" else newest_envoy(world)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    while not permitted(world):
        assert time.monotonic() - began < SOON, world.tail()
        time.sleep(0.02)
    print(f"`{which}` came back after {time.monotonic() - began:.2f} s, epoch {transport_epoch}")
    world.until_ready()


def permitted(world: Any) -> bool:
    try:
        return bool(world.ask("dana", "GET", f"/v1/{TEST}/customJobs/{time.time_ns()}").status == 404)
    except OSError:
        return False


def newest_envoy(world: Any) -> int:
    written = json.loads((Path(world.settings.gateway.runtime) / "envoy.pid").read_text())
    return int(written["pids"][-1])
