"""The scripted provider, the house that signs people in at it, and a browser between the two."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
FAKE_HTTPS = HERE.parent / "unit" / "identity" / "fake_https.py"


def load(path: Path) -> ModuleType:
    """A module that lies beside the tests: there are no packages among them."""
    name = f"scripted_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


load(FAKE_HTTPS)
provider = load(HERE / "provider.py")
house = load(HERE / "house.py")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sys.modules["scripted_fake_https"].Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def provider_keys() -> Any:
    return provider.Keys()


@pytest.fixture
def visit(certificate: Any, provider_keys: Any, tmp_path: Path) -> Callable[..., Any]:
    """`visit(switches…, story, **options)`: runs a story, `async def story(visit)`, and returns what it does."""

    def run(story: Callable[[Any], Any], *switches: str, **options: Any) -> Any:
        return house.run(story, frozenset(switches), certificate, provider_keys, folder=tmp_path, options=options)

    return run
