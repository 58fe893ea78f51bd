"""What all tests share. Servers are started by fixtures, on loopback, and ended by their process id."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "contoso"


def pytest_configure(config: pytest.Config) -> None:
    # The machine's own roots and proxies must not decide a test.
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        os.environ.pop(name, None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests come last: what is quick to fail fails first."""
    items.sort(key=lambda item: "e2e" in item.keywords)


@pytest.fixture
def runtime_folder() -> Iterator[Path]:
    """A folder with a short path, since the path of a Unix socket holds 107 bytes."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="remit-t-") as folder:
        yield Path(folder)
