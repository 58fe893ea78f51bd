"""A training job goes on while its tokens come and go, and while Google's token service is away: the soak in little.

`benchmarks/soak.py` is the whole of it, twenty minutes on demand. Here the clouds' clocks are 40 s behind, so that a
token of six minutes is good for hardly more than the five that it must have when it is handed out: each renewal of the
run is a new exchange, half a minute after the one before.
"""

import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BEHIND = -40.0  # seconds: twenty are left for the first exchange, on a slow machine
PATIENCE = 240.0  # seconds for what takes half a minute on an idle machine


@pytest.fixture(scope="module")
def soaking() -> Any:
    """The benchmark, as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("benchmarks_soak", BENCHMARKS / "soak.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.mark.promise("V2")
@pytest.mark.promise("T5")
def test_a_training_job_outlives_its_tokens_and_the_loss_of_the_token_service(
    soaking: Any, runtime_folder: Path
) -> None:
    with ExitStack() as stack:
        soak = soaking.begun(stack, runtime_folder, skew=BEHIND)
        soak.until(lambda: bool(soak.out), PATIENCE)

        soak.tell(fault={"host": soaking.STS, "status": 503})
        soak.until(lambda: soak.says(soaking.WAITS), PATIENCE)
        trained = len(soak.out)
        soak.until(lambda: len(soak.out) > trained + 3, PATIENCE)  # on the token at hand
        soak.tell(clear=True)
        soak.until(lambda: soak.says(soaking.OVER), PATIENCE)
        trained = len(soak.out)
        soak.until(lambda: len(soak.out) > trained + 3, PATIENCE)
        found = {**soak.finish(), "evidence": soak.holds()}
    assert soaking.wrong(found) == []
    assert found["without_a_token"] >= 1  # each is in the ledger as well
    assert found["tokens"]["storage.objects.get"] >= 2  # the one at the start, and the one that came at last
    epochs = found["epochs"]
    assert found["passes"] == {"gs": epochs, "az": epochs, "google-auth": epochs, "held out": epochs}
    assert found["records"]["gs"] == found["records"]["az"] == epochs * 1437
    assert found["accuracy"] > 0.9
