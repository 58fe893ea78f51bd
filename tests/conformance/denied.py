"""What the same person is refused, through the same SDKs: by whose word, as which exception, and how soon."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from program import LOCATION, PROJECT, STAGING, TRAINER, Program
from works import _talk, pools

PROD, CHURN = "contoso-fraud-prod", "contoso-churn-prod"
_CHURNS = "churn-trainer@contoso-churn-prod.iam.gserviceaccount.com"


def _launch(
    program: Program,
    *,
    project: str = PROJECT,
    account: str = TRAINER,
    output: str = f"{STAGING}/refused",
    machine: str = "n1-standard-4",
    **more: Any,
) -> None:
    submitted = {name: more.pop(name) for name in ("network", "enable_web_access") if name in more}
    workers = pools("print('it ran')", **more)
    workers[0]["machine_spec"]["machine_type"] = machine
    job = program.vertex.CustomJob(
        display_name=f"refused-{program.tag}",
        worker_pool_specs=workers,
        base_output_dir=output,
        staging_bucket=output,
        project=project,
    )
    job.submit(service_account=account, **submitted)


_LAUNCHES: dict[str, dict[str, Any]] = {
    "a_machine_too_large": {"machine": "a2-megagpu-16g"},
    "a_strangers_image": {"image_uri": "docker.io/stranger/miner:latest"},
    "a_key_file": {"env": [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/gcs/keys/key.json"}]},
    "a_network": {"network": "projects/100000000001/global/networks/default"},
    "another_teams_account": {"account": _CHURNS},
    "the_account_of_people": {"account": f"ml-engineer@{PROJECT}.iam.gserviceaccount.com"},
    "another_teams_bucket": {"output": "gs://contoso-churn-prod-data/x"},
    "a_bucket_of_nobodys": {"output": "gs://nobodys-bucket/x"},
    "another_teams_project": {"project": CHURN, "account": _CHURNS, "output": "gs://contoso-churn-prod-data/x"},
    "an_unknown_project": {"project": "contoso-unknown"},
}


def _account_of_nobody(program: Program) -> None:
    """Where nobody names an account, Google's agent would be it."""
    job = {"display_name": "refused", "job_spec": {"worker_pool_specs": pools("print('it ran')")}}
    client = program.client(program.vertex.gapic.JobServiceClient)
    client.create_custom_job(parent=f"projects/{PROJECT}/locations/{LOCATION}", custom_job=job)


def _other_endpoint(program: Program) -> None:
    name = f"projects/{CHURN}/locations/{LOCATION}/endpoints/1"
    client = program.client(program.vertex.gapic.PredictionServiceClient)
    client.predict(endpoint=name, instances=[])


def _iam(program: Program) -> None:
    """Nobody changes who may use an endpoint."""
    name = f"projects/{PROJECT}/locations/{LOCATION}/endpoints/1"
    program.client(program.vertex.gapic.EndpointServiceClient).set_iam_policy({"resource": name, "policy": {}})


def _other_model(program: Program) -> None:
    """The project stands in the model's name, whatever the client was made with."""
    name = f"projects/{CHURN}/locations/{LOCATION}/publishers/google/models/gemini-2.5-flash"
    _talk(program).models.generate_content(model=name, contents="Hello")


def _other_logs(program: Program) -> None:
    from google.cloud import logging

    client = logging.Client(project=PROJECT, _use_grpc=program.transport == "grpc")
    list(client.list_entries(resource_names=[f"projects/{PROJECT}", f"projects/{CHURN}"]))


def _other_bucket(program: Program) -> None:
    from google.cloud import storage

    storage.Client(project=PROJECT).bucket("contoso-churn-prod-data").blob("x").download_as_bytes()


def _list(program: Program, kind: str) -> None:
    getattr(program.vertex, kind).list(project=CHURN)


def _steps() -> Iterator[tuple[str, Callable[[Program], object]]]:
    for name, launch in _LAUNCHES.items():
        yield f"launch_with_{name}" if "project" not in launch else f"launch_in_{name}", partial(_launch, **launch)
    yield "launch_as_nobody", _account_of_nobody
    yield "predict_in_another_teams_project", _other_endpoint
    yield "change_iam", _iam
    for kind in ("CustomJob", "Model", "Endpoint", "TabularDataset", "PipelineJob"):
        yield f"list_another_teams_{kind}", partial(_list, kind=kind)
    yield "generate_in_another_teams_project", _other_model
    yield "read_another_teams_logs", _other_logs
    yield "read_another_teams_objects", _other_bucket


STEPS: dict[str, Callable[[Program], object]] = dict(_steps())
STEP_UP: dict[str, Callable[[Program], object]] = {
    "launch_in_production": partial(
        _launch, project=PROD, account=f"trainer@{PROD}.iam.gserviceaccount.com", output=f"gs://{PROD}-staging/x"
    )
}
