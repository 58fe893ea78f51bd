"""The process that serves one deployed model: TensorFlow Serving's JSON form over standard input and output.

`python -m remit.lab.vertex.model_server FOLDER` loads the SavedModel, says `{"ready": true}`, then answers each line (a
request body) with a line: `{"status": 200, "body": {…}}`. A process of its own, since TensorFlow takes 400 MB and may
crash. Left out: classify, regress, several versions. Source: tensorflow.org/tfx/serving/api_rest.
"""

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from remit.lab.vertex.tensorflow_c import Library, SavedModel, TensorFlowError, array


def predict(model: SavedModel, body: Any) -> dict[str, Any]:
    """The answer to one predict body; raises `TensorFlowError` for one that does not fit the model."""
    if not isinstance(body, dict) or ("instances" in body) == ("inputs" in body):
        raise TensorFlowError("Request must have either 'instances' or 'inputs' key")
    name = body.get("signature_name") or "serving_default"
    if name not in model.signatures:
        raise TensorFlowError(f'Serving signature name: "{name}" not found in signature def')
    signature = model.signatures[name]
    if "inputs" in body:
        columns = _columns(signature, body["inputs"])
        outputs = model.run(signature, columns)
        found = {key: _plain(value) for key, value in outputs.items()}
        return {"outputs": next(iter(found.values())) if len(found) == 1 else found}
    outputs = model.run(signature, _rows(signature, body["instances"]))
    if len(outputs) == 1:
        return {"predictions": _plain(next(iter(outputs.values())))}
    plain = {key: _plain(value) for key, value in outputs.items()}
    return {"predictions": [{key: value[at] for key, value in plain.items()} for at in range(len(body["instances"]))]}


def _rows(signature: Any, instances: Any) -> dict[str, Any]:
    """Inputs out of the row format: one value each, or one object with a value per input."""
    if not isinstance(instances, list) or not instances:
        raise TensorFlowError("Expecting 'instances' to be a non-empty list")
    names = set(signature.inputs)
    if isinstance(instances[0], dict) and set(instances[0]) != {"b64"}:
        if any(not isinstance(row, dict) or set(row) != names for row in instances):
            raise TensorFlowError(f"Missing or unexpected inputs: the model takes {sorted(names)}")
        return {name: _input(signature, name, [row[name] for row in instances]) for name in names}
    return {_only(names): _input(signature, _only(names), instances)}


def _columns(signature: Any, inputs: Any) -> dict[str, Any]:
    names = set(signature.inputs)
    if isinstance(inputs, dict) and set(inputs) != {"b64"}:
        if set(inputs) != names:
            raise TensorFlowError(f"Missing or unexpected inputs: the model takes {sorted(names)}")
        return {name: _input(signature, name, inputs[name]) for name in names}
    return {_only(names): _input(signature, _only(names), inputs)}


def _only(names: set[str]) -> str:
    if len(names) != 1:
        raise TensorFlowError(
            f"instances is a plain list, but expecting list of objects as multiple inputs: {sorted(names)}"
        )
    return next(iter(names))


def _input(signature: Any, name: str, value: Any) -> Any:
    return array(_decoded(value), signature.inputs[name].dtype)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, Mapping) and set(value) == {"b64"} else value


def _plain(value: Any) -> Any:
    """An array as JSON. A float of 32 bits is written in its shortest form, as TensorFlow Serving does."""
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value] if value.ndim else _plain(value[()])
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item()


def serve(folder: Path, requests: Any, answers: Any) -> None:
    """Loads a model and answers every line of `requests` with a line of `answers`."""

    def say(value: Mapping[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        model = SavedModel(folder, Library())
    except TensorFlowError as error:
        say({"ready": False, "error": str(error)})
        return
    say({"ready": True})
    for line in requests:
        try:
            say({"status": 200, "body": predict(model, json.loads(line))})
        except (TensorFlowError, ValueError) as error:
            say({"status": 400, "body": {"error": str(error)}})


if __name__ == "__main__":
    # TensorFlow's own words go to standard error: standard output belongs to the answers.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), sys.stdin, own)
