"""The gateway under pressure: idle streams, slow and half-open clients, huge bodies, crashes. All of it costs little.

The gateway alone, as `benchmarks/pressure.py` has it, which does the same for longer and keeps the figures; crashes are
of the whole plane. Bounds are generous, since the machine has other things to do; what was measured is printed.
"""

import asyncio
import importlib.util
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MB = 1_000_000


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The benchmark with its neighbours; afterwards their names are free again."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("pressure", BENCHMARKS / "pressure.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["pressure"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["pressure"])
        yield sys.modules["pressure"]
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("pressure", "slow", "gateway", "callers", "upstreams", "figures"):
            if name not in before:
                sys.modules.pop(name, None)


class Running:
    """The benchmark's gateway, on a loop of its own."""

    def __init__(self, bench: ModuleType, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._context = bench.town(folder)
        try:
            self.town = self.run(self._context.__aenter__())
        except BaseException:
            self._end()
            raise

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def close(self) -> None:
        try:
            self.run(self._context.__aexit__(None, None, None))
            self.run(self._rest())
        finally:
            self._end()

    async def _rest(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def running(bench: ModuleType) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="remit-t-") as name:
        found = Running(bench, Path(name))
        yield found
        found.close()


@pytest.mark.promise("V24")
@pytest.mark.parametrize("tunnel", [False, True], ids=["folder", "tunnel"])
def test_idle_streams_cost_little(bench: ModuleType, running: Running, tunnel: bool) -> None:
    found = running.run(bench.idle_streams(running.town, 250, tunnel=tunnel))
    print(found)
    assert found["alive"] == 250
    assert found["bytes_each"] < 400_000


@pytest.mark.parametrize("kind", ["silent", "half_tls", "headers", "body", "upload"])
def test_slow_clients_slow_nobody_else(bench: ModuleType, running: Running, kind: str) -> None:
    """A good client beside a hundred: its answers come, about as soon, and Envoy holds little for them."""
    found = bench.beside(running.town, kind, 100, rounds=1, requests=200)
    print(found)
    assert found["p99_beside_ms"] < max(20 * found["p99_without_ms"], 500)
    assert found["bytes_each"] < 300_000


def test_a_body_without_end_is_not_held(bench: ModuleType, running: Running) -> None:
    """A gigabyte declared and a hundred megabytes sent to a prediction, by four at once: 16 MiB each, and no more."""
    found = bench.huge(running.town, 4, declared=1 << 30, sent=100 << 20)
    print(found)
    assert found["answers"] == ["HTTP/1.1 413"]
    assert found["rss_most_mb"] - found["rss_before_mb"] < 4 * 3 * 16.8
    again = bench.huge(running.town, 4, declared=1 << 30, sent=100 << 20)
    assert again["rss_most_mb"] < found["rss_most_mb"] + 60  # what was held is used again


@pytest.mark.parametrize("which", ["arbiter", "envoy"])
def test_what_crashes_is_back_soon(bench: ModuleType, world: Any, which: str) -> None:
    """Two seconds on a quiet machine (`benchmarks/results/pressure.json`); here others work too."""
    until = time.monotonic() + 30
    while not bench.permitted(world):
        assert time.monotonic() < until, world.tail()
    os.kill(getattr(world, which), signal.SIGKILL)
    began = time.monotonic()
    while not bench.permitted(world):
        assert time.monotonic() - began < 30, world.tail()
        time.sleep(0.01)
    print(f"the {which} was back after {time.monotonic() - began:.2f} s")
    world.until_ready()
