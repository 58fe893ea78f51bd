"""Reads a job's log, serves the model that it wrote, and asks it about real digits, with Google's own SDKs.

remit run --project PROJECT -- python serve.py JOB
"""

import argparse
import json
import os

from google.cloud import aiplatform, storage
from google.cloud import logging as cloud_logging

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


def read_log(project: str, job: str) -> list[str]:
    """The lines that the job wrote."""
    client = cloud_logging.Client(project=project)
    wanted = f'resource.type="ml_job" AND resource.labels.job_id="{job.rpartition("/")[2]}"'
    return [entry.payload["message"] for entry in client.list_entries(filter_=wanted)]


def most_likely(scores: list[float]) -> int:
    """The digit with the highest score."""
    return max(range(len(scores)), key=scores.__getitem__)


def main() -> None:
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    arguments = argparse.ArgumentParser()
    arguments.add_argument("job")
    arguments.add_argument("--location", default="us-central1")
    options = arguments.parse_args()

    for line in read_log(project, options.job):
        print("log:", line, flush=True)

    aiplatform.init(project=project, location=options.location)
    job = aiplatform.CustomJob.get(options.job)
    output = job.gca_resource.job_spec.base_output_directory.output_uri_prefix
    model = aiplatform.Model.upload(
        display_name="digits", artifact_uri=f"{output.rstrip('/')}/model", serving_container_image_uri=IMAGE
    )
    endpoint = aiplatform.Endpoint.create(display_name="digits")
    model.deploy(endpoint, machine_type="n1-standard-2")

    blob = storage.Client(project=project).bucket(f"{project}-data").blob("digits/questions.json")
    questions = json.loads(blob.download_as_bytes())
    pixels = [[value / 16.0 for value in question["pixels"]] for question in questions]
    over_grpc = [most_likely(scores) for scores in endpoint.predict(instances=pixels).predictions]
    raw = endpoint.raw_predict(json.dumps({"instances": pixels}).encode(), {"content-type": "application/json"})
    over_rest = [most_likely(scores) for scores in json.loads(raw.text)["predictions"]]
    answer = {
        "asked": [question["label"] for question in questions],
        "over_grpc": over_grpc,
        "over_rest": over_rest,
        "endpoint": endpoint.resource_name,
    }
    print("answer:", json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
