"""Somebody else at the job of a colleague, by both doors and both transports: `python others.py HOST:PORT JOB`.

Prints one JSON line for each attempt. The generated clients alone, which take half as long to import as the SDK.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator

warnings.simplefilter("ignore")  # the SDK's own dependencies warn

from google.cloud.aiplatform_v1.services.dataset_service import DatasetServiceClient  # noqa: E402 - after the filter
from google.cloud.aiplatform_v1.services.job_service import JobServiceClient  # noqa: E402 - the same
from google.oauth2.credentials import Credentials  # noqa: E402 - the same

from remit.sdk.sign_in import current  # noqa: E402 - the same

PARENT = "projects/contoso-fraud-test/locations/us-central1"
IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
TRAINER = "trainer@contoso-fraud-test.iam.gserviceaccount.com"


def attempts(
    jobs: JobServiceClient, datasets: DatasetServiceClient, job: str
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What they try, each with its name."""
    container = {"image_uri": IMAGE, "command": ["python3", "-c", "print('it ran')"]}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": container}
    wanted = {"display_name": "theirs", "job_spec": {"worker_pool_specs": [pool], "service_account": TRAINER}}
    data = {
        "display_name": "theirs",
        "metadata_schema_uri": "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml",
    }
    yield "list", lambda: jobs.list_custom_jobs(parent=PARENT)
    yield "get", lambda: jobs.get_custom_job(name=job)
    yield "cancel", lambda: jobs.cancel_custom_job(name=job)
    yield "delete", lambda: jobs.delete_custom_job(name=job)
    yield "create", lambda: jobs.create_custom_job(parent=PARENT, custom_job=wanted)
    yield "dataset", lambda: datasets.create_dataset(parent=PARENT, dataset=data)


def main() -> None:
    address, job = sys.argv[1:]
    own = Credentials(current().token().reveal())
    for way, given, where in (
        ("tunnel", None, "us-central1-aiplatform.googleapis.com"),
        ("endpoint", own, address),
    ):
        for transport in ("grpc", "rest"):
            options = {"api_endpoint": where}
            clients = (
                kind(transport=transport, client_options=options, credentials=given)
                for kind in (JobServiceClient, DatasetServiceClient)
            )
            for name, attempt in attempts(*clients, job):
                began, error, message = time.monotonic(), "", ""
                try:
                    attempt()
                except Exception as raised:  # noqa: BLE001 - whatever the SDK raises is what the tests look at
                    error, message = type(raised).__name__, str(raised)
                told = {"way": way, "transport": transport, "attempt": name, "error": error, "message": message}
                print(json.dumps({**told, "took": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
