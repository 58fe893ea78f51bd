"""What a message that starts or changes something may hold: an allow-list of fields per method.

A field that is not here is refused by its name, even where it looks harmless: networks, keys, mounts, persistent
resources, interactive shells and untyped values reach further than the resource that policy decides on. Every line was
held against what google-cloud-aiplatform 2.7.0 sends for the calls that the methods serve.
Source: cloud.google.com/vertex-ai/docs/reference/rest (fields of CustomJob, Model, Endpoint, DeployedModel).
"""

from collections.abc import Mapping
from typing import TypeAlias

from google.protobuf.message import Message

from remit.model.errors import Refused
from remit.model.reasons import Reason

Tree: TypeAlias = Mapping[str, "Tree | None"]


def _leaves(names: str) -> dict[str, "Tree | None"]:
    return dict.fromkeys(names.split())


_ENVIRONMENT = _leaves("name value")
_MACHINE = _leaves("machine_type accelerator_type accelerator_count")
_WORKERS: Tree = {
    "machine_spec": _MACHINE,
    "disk_spec": _leaves("boot_disk_type boot_disk_size_gb"),
    "container_spec": {**_leaves("image_uri command args"), "env": _ENVIRONMENT},
    "python_package_spec": {**_leaves("executor_image_uri package_uris python_module args"), "env": _ENVIRONMENT},
    **_leaves("replica_count"),
}
CREATE_CUSTOM_JOB: Tree = {
    "parent": None,
    "custom_job": {
        **_leaves("display_name labels"),
        "job_spec": {
            "worker_pool_specs": _WORKERS,
            "scheduling": _leaves("timeout restart_job_on_worker_restart strategy disable_retries max_wait_duration"),
            "base_output_directory": _leaves("output_uri_prefix"),
            "service_account": None,
        },
    },
}
UPLOAD_MODEL: Tree = {
    **_leaves("parent parent_model model_id service_account"),
    "model": {
        **_leaves("display_name description version_description version_aliases labels artifact_uri"),
        "container_spec": {
            **_leaves("image_uri command args predict_route health_route invoke_route_prefix"),
            **_leaves("deployment_timeout shared_memory_size_mb"),
            "env": _ENVIRONMENT,
            "ports": _leaves("container_port"),
            "grpc_ports": _leaves("container_port"),
        },
    },
}
CREATE_ENDPOINT: Tree = {**_leaves("parent endpoint_id"), "endpoint": _leaves("display_name description labels")}
DEPLOY_MODEL: Tree = {
    **_leaves("endpoint traffic_split"),
    "deployed_model": {
        **_leaves("id model display_name service_account disable_container_logging enable_access_logging"),
        "automatic_resources": _leaves("min_replica_count max_replica_count"),
        "dedicated_resources": {
            "machine_spec": _MACHINE,
            "autoscaling_metric_specs": _leaves("metric_name target"),
            **_leaves("min_replica_count max_replica_count required_replica_count spot"),
        },
    },
}
UNDEPLOY_MODEL: Tree = _leaves("endpoint deployed_model_id traffic_split")


def check(message: Message, allowed: Tree, inside: str = "") -> None:
    """Raises `Refused`, naming the field, when a message holds one that is not allowed."""
    for field, value in message.ListFields():
        if field.name not in allowed:
            raise Refused(
                Reason.RESOURCE_UNKNOWN,
                f"field `{inside}{field.name}` reaches beyond what Remit decides on yet",
                hint="leave the field out",
            )
        below = allowed[field.name]
        if below is not None:
            for one in value if field.is_repeated else (value,):
                check(one, below, f"{inside}{field.name}.")
