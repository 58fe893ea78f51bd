"""The native module: that it is built, found and packed, that Envoy takes it for its own, and its rooms' own tests."""

import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from remit.gateway.binary import envoy_binary
from remit.gateway.envoy import Envoy
from remit.gateway.native import MACHINES, module_path
from remit.gateway.settings import GatewaySettings
from remit.model.errors import RemitError

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "remit" / "gateway" / "native"
CACHE = ROOT / ".zig-cache"
ELF_MACHINE = {"x86_64": 62, "aarch64": 183}  # e_machine, of elf.h
TYPES = "type.googleapis.com/envoy.extensions.filters"


def source() -> str:
    return "".join(file.read_text(encoding="utf-8") for file in sorted(SOURCE.glob("*.zig")))


def test_what_each_room_tests(tmp_path):
    """Every `test` in the source. What Envoy would do, nobody does: a test that calls it ends there."""
    stubs = tmp_path / "envoy.c"
    asked = sorted(set(re.findall(r"\benvoy_dynamic_module_callback_\w+", source())))
    stubs.write_text("".join(f"__attribute__((weak)) void {name}(void) {{ __builtin_trap(); }}\n" for name in asked))
    CACHE.mkdir(exist_ok=True)
    places = ("--cache-dir", CACHE, "--global-cache-dir", CACHE)
    zig = (sys.executable, "-m", "ziglang", "test", "-lc", *places, SOURCE / "module.zig", stubs)

    ran = subprocess.run(zig, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    written = len(re.findall(r'^test (?:"|\w)', source(), re.MULTILINE))
    assert f"All {written} tests passed." in ran.stderr, f"rooms not reached from module.zig\n{ran.stderr}"


def test_envoy_takes_it_for_its_own(tmp_path):
    """Envoy only warns of a module that was made for another one, so an upgrade of it must end here."""
    module = {"module": {"local": {"filename": str(module_path())}}}
    gate = {"@type": f"{TYPES}.http.dynamic_modules.v3.DynamicModuleFilter", "dynamic_module_config": module}
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {},
        "http_filters": [{"name": "gate", "typed_config": gate}],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    command = [envoy_binary(), "--mode", "validate", "-c", config, "--component-log-level", "dynamic_modules:info"]

    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert re.search(r"Dynamic module ABI version v[\d.]+ matched", said), said


@pytest.mark.parametrize("machine", MACHINES)
def test_each_machine_has_its_own(machine):
    head = module_path(machine).read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:], "little") == ELF_MACHINE[machine]


def test_this_machine_s_is_found():
    assert module_path() == module_path(platform.machine())


def test_another_machine_is_told_where_it_runs():
    with pytest.raises(RemitError, match="does not run on `riscv64`") as caught:
        module_path("riscv64")
    assert "x86_64, aarch64" in caught.value.hint


def test_one_that_was_not_compiled_is_said(tmp_path):
    with pytest.raises(RemitError, match="was not compiled") as caught:
        module_path("x86_64", tmp_path)
    assert "make native" in caught.value.hint


def test_no_envoy_starts_without_it(monkeypatch, runtime_folder):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    places = ("arbiter_socket", "access_log", "admin_socket", "runtime", "authority")
    paths = {name: runtime_folder / name for name in places}
    envoy = Envoy(
        GatewaySettings(hosts=("logging.googleapis.com",), issuers=(("https://i", "a"),), listen_port=1, **paths)
    )
    with pytest.raises(RemitError, match="does not run on `riscv64`"):
        asyncio.run(envoy.start())
    assert envoy.pid is None


def test_the_wheel_holds_both_and_runs_anywhere(tmp_path):
    hatchling = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path)
    as_compiled = os.environ | {"HATCH_BUILD_NO_HOOKS": "true"}
    made = subprocess.run(hatchling, cwd=ROOT, env=as_compiled, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr

    (wheel,) = tmp_path.glob("*.whl")

    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = {Path(name).name for name in names if name.startswith("remit/gateway/native/")}
    assert package == {"__init__.py"} | {f"remit-gate.{machine}.so" for machine in MACHINES}
    assert [name for name in names if name.endswith(".dist-info/licenses/src/remit/gateway/native/LICENSE.zig.txt")]


def test_what_builds_it_is_what_tests_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["dev"])
