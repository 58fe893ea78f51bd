"""Two workers that train one model together, each a run of its own under `remit run`, on two machines of one pipeline."""

import contextlib
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.jobs_world import MACHINE, PIPELINE, Ended, Jobs, ended, shared, since, tfrecords

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).parents[1] / "unit" / "tensorflow" / "two_workers.py"
FILES, EACH = 4, 50


@pytest.fixture(scope="module")
def jobs(pytestconfig: pytest.Config, postgres: str) -> Jobs:
    found = shared(pytestconfig, postgres)
    for file in range(FILES):
        found.store(f"two/{file}.tfrecord", tfrecords([_example(file * EACH + each) for each in range(EACH)]))
    return found


@pytest.mark.promise("T5")
@pytest.mark.promise("T3")
def test_two_workers_train_one_model_and_each_leaves_a_record(jobs: Jobs) -> None:
    began = since()
    before = len(jobs.blob_log())
    done = _both(jobs)
    assert [run.code for run in done] == [0, 0], done[0].err[-3000:] + done[1].err[-3000:]
    told = [run.lines[-1] for run in done]
    assert told[0]["weights"] == pytest.approx(told[1]["weights"], abs=1e-6)
    assert told[0]["weights"] == pytest.approx([3, -1], abs=0.5)
    assert sorted(told[0]["seen"] + told[1]["seen"]) == list(range(FILES * EACH)), "each reads its own, both read all"
    assert done[0].job != done[1].job
    records = [row for row in jobs.records(since=began) if row.kind == "decision" and row.outcome == "permit"]
    for run in done:
        mine = [row for row in records if row.job == run.job]
        assert {row.principal for row in mine} == {MACHINE}
        assert any(row.action.endswith("/blobs/read") for row in mine), "a record for the data of each worker"
    read = [line["identity"]["requester"] for line in jobs.blob_log()[before:] if line["operationName"] == "GetBlob"]
    assert len({line["objectId"] for line in read}) == 1, "one application, which stands for the pipeline"
    assert len({line["uti"] for line in read}) == 2, "a token for each worker"


def _both(jobs: Jobs) -> Sequence[Ended]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        places = [f"127.0.0.1:{each.getsockname()[1]}" for each in held]
    workers = []
    for index in range(2):
        config: dict[str, Any] = {"cluster": {"worker": places}, "task": {"type": "worker", "index": index}}
        machine = jobs.machine(
            f"worker-{index}",
            REMIT_WORKLOAD="managed-identity",
            AZURE_CLIENT_ID=PIPELINE,
            TF_CONFIG=json.dumps(config),
        )
        command = [sys.executable, str(PROGRAM), "az://contosofraudtest/features/two/*.tfrecord"]
        workers.append(jobs.begin(machine, command))
    return [ended(worker) for worker in workers]


def _example(number: int) -> bytes:
    """A `tf.train.Example` of a line, y = 3x - 1."""
    from tensorflow.core.example.example_pb2 import Example

    example = Example()
    x = (number % 100) / 100
    for name, value in (("x", x), ("y", 3 * x - 1)):
        example.features.feature[name].float_list.value.append(value)
    example.features.feature["id"].int64_list.value.append(number)
    return bytes(example.SerializeToString())
