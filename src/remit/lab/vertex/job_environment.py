"""What a training job finds in its environment and which commands it runs.

Nothing is inherited but `PATH` and `LANG`. Sources: cloud.google.com/vertex-ai/docs/training/code-requirements
(variables), cloud.google.com/vertex-ai/docs/training/distributed-training (`CLUSTER_SPEC`). Left out: the `/gcs/`
mount.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from remit.lab.api_table import Proto

_FOLDERS = {"AIP_MODEL_DIR": "model/", "AIP_CHECKPOINT_DIR": "checkpoints/", "AIP_TENSORBOARD_LOG_DIR": "logs/"}
_TASK = {"type": "workerpool0", "index": 0}


def environment(job: Proto, folder: Path, metadata_port: int, given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a job, the ones that its own specification names last.

    `metadata_port`: where its metadata server listens on 127.0.0.1; `given`: what the assembler adds (proxy, roots).
    """
    _, project, _, location, _, job_id = job.name.split("/")
    metadata = f"127.0.0.1:{metadata_port}"
    found = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(folder),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(folder / "packages"),
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,
        "CLOUD_ML_JOB_ID": job_id,
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": location,
        "CLUSTER_SPEC": json.dumps(
            {
                "cluster": {"workerpool0": [f"cmle-training-workerpool0-{job_id[-10:]}-0:2222"]},
                "environment": "cloud",
                "task": _TASK,
            }
        ),
        **given,
    }
    prefix = job.job_spec.base_output_directory.output_uri_prefix.rstrip("/")
    if prefix:
        found |= {name: f"{prefix}/{below}" for name, below in _FOLDERS.items()}
    for each in _task(job).env:
        found[each.name] = each.value
    return found


def commands(job: Proto, packages: Sequence[Path], folder: Path) -> list[list[str]]:
    """What a job runs, in order. `packages`: its source distributions, fetched already."""
    pool = job.job_spec.worker_pool_specs[0]
    if pool.WhichOneof("task") == "container_spec":
        return [[*pool.container_spec.command, *pool.container_spec.args]]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    install += ["--no-build-isolation", "--no-deps", "--no-index", "--target", str(folder / "packages")]
    spec = pool.python_package_spec
    return [[*install, *map(str, packages)], [sys.executable, "-m", spec.python_module, *spec.args]]


def package_uris(job: Proto) -> tuple[str, ...]:
    """Where a job's source distributions are; none for a container."""
    pool = job.job_spec.worker_pool_specs[0]
    return tuple(pool.python_package_spec.package_uris) if pool.WhichOneof("task") == "python_package_spec" else ()


def _task(job: Proto) -> Proto:
    pool = job.job_spec.worker_pool_specs[0]
    return getattr(pool, pool.WhichOneof("task"))
