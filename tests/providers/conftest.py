"""The two independent providers. What cannot be installed or started fails: nothing is skipped."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RECIPIENT = "https://remit.contoso.example/sign-in/saml"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"providers_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def running() -> ModuleType:
    """The module with the providers' classes and the names of their clients, people and resources."""
    return _load("running")


@pytest.fixture(scope="session")
def installed() -> tuple[Path, Path]:
    """Node, and the folder with the providers; installs them when `make` has not."""
    installer = _load("install")
    try:
        installer.install()
        return installer.node(), installer.FOLDER
    except SystemExit as error:
        pytest.fail(str(error.code))


@pytest.fixture(scope="session")
def authority(running: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return running.Authority(tmp_path_factory.mktemp("providers"))


@pytest.fixture
def start_oidc_provider(
    running: ModuleType, installed: tuple[Path, Path], authority: Any
) -> Iterator[Callable[..., Any]]:
    """Starts an OpenID provider of the test's own, with other settings if given."""
    started: list[Any] = []

    def start(**given: Any) -> Any:
        started.append(running.OidcProvider(*installed, authority, **given))
        started[-1].start()
        return started[-1]

    yield start
    for provider in started:
        provider.stop()


@pytest.fixture(scope="session")
def oidc_provider(running: ModuleType, installed: tuple[Path, Path], authority: Any) -> Iterator[Any]:
    """The OpenID provider that tests share: they change nothing about it."""
    provider = running.OidcProvider(*installed, authority)
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def saml_provider(running: ModuleType, installed: tuple[Path, Path], authority: Any) -> Iterator[Any]:
    """The SAML provider that tests share; whoever restarts it puts its key back."""
    provider = running.SamlProvider(*installed, authority, RECIPIENT)
    provider.start()
    yield provider
    provider.stop()
