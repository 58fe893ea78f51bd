"""A data scientist's program, as named steps with Google's own SDKs: what works (`works.py`), what is refused (`denied.py`).

    remit run --project PROJECT -- python program.py tunnel grpc
    remit run --project PROJECT -- python program.py endpoint rest HOST:PORT

By `tunnel` nothing here knows of Remit. By `endpoint` the one line that makes clients of Vertex AI gives them an address,
and the token for Remit that goes with it. Prints one JSON line for each step; a step that fails ends nothing.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT, LOCATION = "contoso-fraud-test", "us-central1"
TRAINER = f"trainer@{PROJECT}.iam.gserviceaccount.com"
STAGING, DATA = f"gs://{PROJECT}-staging", f"gs://{PROJECT}-data"
TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
SERVING_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

_POLL = 0.3  # seconds; the SDK's own five are for jobs of hours
_PATIENCE = 60.0  # seconds


@dataclass
class Program:
    """One way to Vertex AI and one transport; `held`: what steps leave for later ones; `facts`: of the present step."""

    way: str
    transport: str
    address: str = ""
    held: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from google.cloud import aiplatform

        self.tag = f"{self.way}-{self.transport}"
        self.vertex = aiplatform
        self.own: dict[str, Any] = {}
        if self.address:
            from google.oauth2.credentials import Credentials

            from remit.sdk.sign_in import current

            self.own = {"api_endpoint": self.address, "credentials": Credentials(current().token().reveal())}
        for module in (aiplatform.jobs, aiplatform.training_jobs, aiplatform.pipeline_jobs):
            module._JOB_WAIT_TIME = _POLL
        self.begin()

    def begin(self, **more: Any) -> None:
        """The line that every program begins with."""
        self.vertex.init(
            project=PROJECT,
            location=LOCATION,
            staging_bucket=STAGING,
            api_transport=self.transport,
            service_account=TRAINER,
            **self.own,
            **more,
        )

    def client(self, kind: Any) -> Any:
        """A generated client of Vertex AI by the same way."""
        options = {"api_endpoint": self.address or f"{LOCATION}-aiplatform.googleapis.com"}
        return kind(transport=self.transport, client_options=options, credentials=self.own.get("credentials"))


def until(done: Callable[[], bool]) -> None:
    """Waits for a condition of the cloud's."""
    end = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not come about within {_PATIENCE} s")
        time.sleep(_POLL)


def raised(call: Callable[[], object], kind: str) -> Exception:
    """The exception of a call, which must be of this class."""
    found: Exception | None = None
    try:
        call()
    except Exception as error:  # noqa: BLE001 - looked at below
        found = error
    assert found is not None, f"nothing was raised, {kind} was expected"
    assert type(found).__name__ == kind, f"{type(found).__name__} instead of {kind}: {found}"
    return found


def run(program: Program, name: str, step: Callable[[Program], object]) -> dict[str, Any]:
    """Does one step and tells what came of it. `took`: seconds."""
    program.facts = {}
    began = time.monotonic()
    told: dict[str, Any] = {"step": name, "error": "", "message": ""}
    try:
        step(program)
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is what the tests look at
        import traceback

        where = traceback.extract_tb(error.__traceback__)
        told |= {"error": type(error).__name__, "message": str(error)[:4000], "where": str(where[-4:])[:1500]}
    return {**told, "took": time.monotonic() - began, "facts": program.facts}


def main() -> None:
    """Every step in its order."""
    import denied
    import works

    warnings.simplefilter("ignore")  # the SDK's own dependencies warn
    began = time.monotonic()
    program = Program(*sys.argv[1:])
    print(json.dumps({"step": "import", "took": time.monotonic() - began, "environment": visible()}), flush=True)
    for table in (works.STEPS, denied.STEPS, denied.STEP_UP):
        for name, step in table.items():
            print(json.dumps(run(program, name, step)), flush=True)


def visible() -> dict[str, Any]:
    """What of credentials this process could find without asking anybody."""
    names = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY", "GOOGLE_AUTH_TOKEN_FOR_TESTING")
    home = Path(os.environ["HOME"])
    gcloud = Path(os.environ.get("CLOUDSDK_CONFIG", home))  # a run's is an empty folder
    found = (*home.rglob("*"), *gcloud.rglob("*"), *Path.cwd().glob("*.json"))
    files = [str(path) for path in found if path.is_file()]
    bearer = [name for name, value in os.environ.items() if "eyJ" in value or "ya29." in value]
    return {"named": [name for name in names if name in os.environ], "files": files, "bearer": bearer}


if __name__ == "__main__":
    main()
