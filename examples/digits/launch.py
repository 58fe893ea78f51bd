"""Launches the training job with Google's own SDK. Nothing here knows of Remit: there is no key file and no token.

remit run --project PROJECT -- python launch.py
"""

import argparse
import os

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import aiplatform


def main() -> None:
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--location", default="us-central1")
    arguments.add_argument("--service-account", default=f"trainer@{project}.iam.gserviceaccount.com")
    options = arguments.parse_args()

    aiplatform.init(project=project, location=options.location, staging_bucket=f"gs://{project}-staging")
    job = aiplatform.CustomJob(
        display_name="digits",
        base_output_dir=f"gs://{project}-staging/digits",
        worker_pool_specs=[
            {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 1,
                "python_package_spec": {
                    "executor_image_uri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest",
                    "package_uris": [f"gs://{project}-staging/packages/digits-1.0.tar.gz"],
                    "python_module": "trainer.task",
                    "args": ["--data", f"gs://{project}-data/digits"],
                },
            }
        ],
    )
    try:
        job.run(service_account=options.service_account)
    except GoogleAPICallError as error:
        raise SystemExit(f"{type(error).__name__}: {error.message}") from None
    print(job.resource_name)


if __name__ == "__main__":
    main()
